"""The rules: each explains itself and is found where it says."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

from fastindex import RULES
from fastindex.names.findings import RULE_OF_REASON

README = Path(__file__).parent.parent.parent / 'README.md'


def test_the_readme_lists_the_codes_as_the_code_has_them():
    from fastindex.names.rules import iter_table_lines

    assert '\n'.join(iter_table_lines()) in README.read_text()


@pytest.mark.parametrize('rule', RULES.values(), ids=list(RULES))
def test_a_rule_explains_itself(rule):
    text = str(rule)
    assert text.startswith(f'{rule.code} {rule.title}\n{rule.severity}: ')
    assert rule.meaning.endswith(('.', '?'))
    assert rule.example in text


@pytest.mark.parametrize('rule', RULES.values(), ids=list(RULES))
def test_a_rule_names_the_module_that_finds_it(rule):
    source = inspect.getsource(import_module(f'fastindex.{rule.finder}'))
    reasons = [rf'\bReason\.{reason.name}\b' for reason, code in RULE_OF_REASON.items() if code == rule.code]
    assert rule.finder != 'names.rules'
    assert re.search('|'.join([f"'{rule.code}'", *reasons]), source)

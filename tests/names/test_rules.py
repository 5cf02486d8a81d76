"""The rules: each explains itself and is found where it says."""

from __future__ import annotations

import inspect
import re
from importlib import import_module

import pytest

from fastindex import RULES
from fastindex.names.findings import RULE_OF_REASON


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

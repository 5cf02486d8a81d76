"""The rules: each explains itself and is found where it says."""

from __future__ import annotations

import inspect
import re
from importlib import import_module

import pytest

from fastindex import RULES, UsageError
from fastindex.names.rules import RULE_OF_REASON, find_rule


@pytest.mark.parametrize('rule', RULES.values(), ids=list(RULES))
def test_a_rule_explains_itself(rule):
    text = str(rule)
    assert text.startswith(f'{rule.code} {rule.title}\n{rule.severity}: ')
    assert rule.meaning.endswith(('.', '?'))
    assert rule.example in text


@pytest.mark.parametrize('rule', RULES.values(), ids=list(RULES))
def test_a_rule_is_found_by_its_code_as_people_write_it(rule):
    digits = rule.code.removeprefix('ALF')
    for code in (rule.code, rule.code.lower(), digits, f'alf-{digits}', f'ALF {digits}', f' {digits}\n'):
        assert find_rule(code) is rule


@pytest.mark.parametrize(
    ('code', 'wanted'),
    [
        ('504', 'one of ALF501, ALF502, ALF503'),
        ('alf599', 'one of ALF501, ALF502, ALF503'),
        ('', 'one as ALF117'),
        ('999', 'one as ALF117'),
        ('\x1b', 'one as ALF117'),
        ('١١٧', 'one as ALF117'),
    ],
)
def test_another_code_names_those_that_there_are(code, wanted):
    with pytest.raises(UsageError, match=f'^unknown code .*: expected {wanted}') as caught:
        find_rule(code)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize('rule', RULES.values(), ids=list(RULES))
def test_a_rule_names_the_module_that_finds_it(rule):
    source = inspect.getsource(import_module(f'fastindex.{rule.finder}'))
    reasons = [rf'\bReason\.{reason.name}\b' for reason, code in RULE_OF_REASON.items() if code == rule.code]
    assert rule.finder != 'names.rules'
    assert re.search('|'.join([f"'{rule.code}'", *reasons]), source)

"""What is wrong with a name, and the nearest valid one: the client's word on both."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from one.alf import spec

from fastindex import RULES
from fastindex.names.alf import judge_folder
from fastindex.names.diagnose import (
    diagnose_date,
    diagnose_file,
    diagnose_folder,
    diagnose_lab,
    diagnose_number,
    diagnose_subject,
)
from tests.support.cases import cases
from tests.support.strategies import folder_paths, names

TEMPORARY = 'ALF308'
MISREAD = 'ALF305'
NOT_ON_WINDOWS = 'ALF412'


@pytest.mark.long
@given(names)
@settings(max_examples=cases(500))
def test_a_name_is_found_wrong_where_the_client_says_it_is_invalid(name):
    diagnosis = diagnose_file(name)
    if diagnosis is None or diagnosis.code in (MISREAD, NOT_ON_WINDOWS):
        assert spec.is_valid(name)
    elif diagnosis.code != TEMPORARY:
        assert not spec.is_valid(name)


@given(names)
@settings(max_examples=cases(500))
def test_a_name_with_a_strange_namespace_is_one_that_the_client_reads_otherwise(name):
    diagnosis = diagnose_file(name)
    if diagnosis is None:
        parts = spec.regex(spec.FILE_SPEC).match(name).groupdict()
        head = f'_{parts["namespace"]}_' if parts['namespace'] else ''
        assert name.startswith(head + parts['object'] + '.')


@pytest.mark.long
@given(st.one_of(names, st.text(max_size=20)))
@settings(max_examples=cases(500))
def test_a_fix_of_a_file_is_valid_to_the_client(name):
    diagnosis = diagnose_file(name)
    if diagnosis and diagnosis.fix and diagnosis.code != 'ALF405':
        assert spec.is_valid(diagnosis.fix)
        assert diagnose_file(diagnosis.fix) is None
        assert '/' not in diagnosis.fix


@given(folder_paths)
@settings(max_examples=cases(500))
def test_a_folder_is_found_wrong_where_a_build_leaves_it_out_and_its_fix_is_right(path):
    for name in path.split('/'):
        diagnosis = diagnose_folder(name)
        is_valid = diagnosis is None or diagnosis.code == NOT_ON_WINDOWS
        assert is_valid == (judge_folder(name) is None)
        if diagnosis and diagnosis.fix:
            assert judge_folder(diagnosis.fix) is None


@given(st.binary(min_size=1, max_size=20).filter(lambda name: not set(b'/\0') & set(name)))
def test_a_name_of_any_bytes_is_diagnosed(name):
    for diagnosis in (diagnose_file(os.fsdecode(name)), diagnose_folder(os.fsdecode(name))):
        assert diagnosis is None or diagnosis.code in RULES


NAMERS = {
    **dict.fromkeys(('ALF112',), diagnose_lab),
    **dict.fromkeys(('ALF113',), diagnose_subject),
    **dict.fromkeys(('ALF114', 'ALF115'), diagnose_date),
    **dict.fromkeys(('ALF116', 'ALF117'), diagnose_number),
    **dict.fromkeys(('ALF201', 'ALF202'), diagnose_folder),
    **dict.fromkeys([f'ALF30{i}' for i in (1, 2, 3, 4, 5, 8, 9)], diagnose_file),
    **dict.fromkeys(('ALF412',), diagnose_file),
}


@pytest.mark.parametrize('code', NAMERS)
def test_the_example_of_a_rule_breaks_it_and_has_that_fix(code):
    rule = RULES[code]
    diagnosis = NAMERS[code](os.path.basename(rule.example))
    assert (diagnosis.code, diagnosis.fix) == (code, os.path.basename(rule.fix))

"""The grammar, judged by `one.alf.spec` of the ONE client."""

from __future__ import annotations

import doctest
import re
import time
from datetime import date
from importlib import import_module

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from one.alf import spec

from fastindex.names.alf import (
    EXPECTED,
    SkipReason,
    is_dataset_name,
    is_opaque_folder,
    is_revision_folder,
    judge_date,
    judge_file,
    judge_folder,
    judge_number,
    parse_dataset_name,
    parse_session_path,
    split_revision,
)
from tests.support.cases import cases
from tests.support.strategies import folder_paths, folders, names

FILE = spec.regex(spec.FILE_SPEC)
REL_PATH = spec.regex(spec.REL_PATH_SPEC)
SESSION = spec.regex(spec.SESSION_SPEC)

DATASET = 'spikes.times.npy'


# File names


@pytest.mark.long
@given(names)
@example('_times.x.npy')
@example('__a.b.c')
@example('a.b_times.c')
@example('a.b_intervals_bpod.c.d-e.f')
@example('a.b..c')
@example('a._phy_ids.csv')
@settings(max_examples=cases(300))
def test_name_is_a_dataset_where_the_client_says_so(name):
    assert is_dataset_name(name) == spec.is_valid(name)


@given(names)
@example('_ibl_trials.goCue_times_bpod.raw.v12.npy')
@example('_times.x.npy')
@example('_a_b_c.d.e')
@example('_ns.a.b')
@settings(max_examples=cases(300))
def test_parts_of_a_name_are_those_of_the_client(name):
    match = FILE.match(name)
    if match is None:
        with pytest.raises(ValueError, match='is not an ALF name'):
            parse_dataset_name(name)
    else:
        assert parse_dataset_name(name)._asdict() == match.groupdict()


@pytest.mark.parametrize('name', ['spikes.times.npy\n', 'spikes.times.npy\n\n', '\nspikes.times.npy'])
def test_newline_is_no_part_of_a_name(name):
    assert judge_file(name) is SkipReason.NOT_DATASET


@given(names)
def test_file_left_out_has_a_reason_and_no_other_has(name):
    reason = judge_file(name)
    assert (reason is None) == is_dataset_name(name)
    assert reason in (None, SkipReason.DOT_FILE if name.startswith('.') else SkipReason.NOT_DATASET)


@pytest.mark.parametrize(
    'name',
    [
        '.' * 255,
        'a' + '.' * 254,
        'a.b' + '.c' * 126,
        'a.b' + '.c' * 125 + '-',
        'a.b' + '.' * 251 + '-',
        '_' * 255,
        '_' + 'a' * 254,
        '_' + 'a' * 125 + '.' + 'a' * 127 + '-',
        '_' + 'a_' * 63 + '.a' + '_a' * 62 + '-',
        '_a' * 60 + '._a_' + 'b' * 60 + '_times' * 10 + '-',
    ],
)
def test_longest_name_is_judged_in_no_time(name):
    started = time.thread_time()
    judge_file(name[:255])
    assert time.thread_time() - started < 0.05  # of CPU; it takes 0.0001


# Folders


@given(folder_paths)
@example('')
@example('alf/#2024-05-06#')
@example('#a#/alf')
@example('#a#/#b#')
@example('alf/probe 00')
@settings(max_examples=cases(300))
def test_folder_is_representable_where_the_client_reads_it_back(path):
    above = f'{path}/' if path else ''
    match = REL_PATH.fullmatch(f'{above}{DATASET}')
    assert (judge_folder(path) is None) == (match is not None)


@given(folder_paths)
@settings(max_examples=cases(300))
def test_revision_is_split_off_as_the_client_does(path):
    rel_path = f'{path}/{DATASET}' if path else DATASET
    match = REL_PATH.fullmatch(rel_path)
    if match:
        collection = f'{match["collection"]}/' if match['collection'] else ''
        assert split_revision(rel_path) == (f'{collection}{DATASET}', match['revision'] or '')


@pytest.mark.parametrize(
    ('path', 'reason'),
    [
        ('my probe', SkipReason.COLLECTION),
        ('alf/my probe/x', SkipReason.COLLECTION),
        ('my probe/#a#', SkipReason.COLLECTION),
        ('#a b#', SkipReason.REVISION),
        ('alf/#a', SkipReason.REVISION),
        ('#a/alf', SkipReason.REVISION),
        ('#a#/alf', SkipReason.REVISION_NOT_LAST),
        ('#a#/#b#', SkipReason.REVISION_NOT_LAST),
    ],
)
def test_folder_is_left_out_for_the_reason_that_is_its_own(path, reason):
    assert judge_folder(path) is reason


@given(st.one_of(folders, st.text(max_size=6)))
def test_revision_folder_is_what_the_client_calls_one(name):
    assume('\n' not in name and '/' not in name)
    match = re.fullmatch(r'#[\w.-]+#', name)
    assert is_revision_folder(name) == (match is not None)


@pytest.mark.parametrize(
    ('name', 'is_opaque'),
    [('a.zarr', True), ('A.ZARR', True), ('x.n5', True), ('zarr', False), ('a.zarr2', False)],
)
def test_folder_of_chunks_is_opaque(name, is_opaque):
    assert is_opaque_folder(name) == is_opaque


# Sessions


@given(st.dates())
def test_every_day_of_the_calendar_is_a_date(day):
    assert judge_date(day.isoformat()) is None


@pytest.mark.parametrize(
    ('name', 'reason'),
    [
        ('2021-02-30', SkipReason.NO_SUCH_DAY),
        ('2021-02-29', SkipReason.NO_SUCH_DAY),
        ('2021-13-01', SkipReason.NO_SUCH_DAY),
        ('2021-00-01', SkipReason.NO_SUCH_DAY),
        ('0000-01-01', SkipReason.NO_SUCH_DAY),
        ('20210101', SkipReason.NOT_DATE),
        ('2021-W01-1', SkipReason.NOT_DATE),
        ('2021-1-1', SkipReason.NOT_DATE),
        ('2021-01-01 ', SkipReason.NOT_DATE),
        ('2021-01-01\n', SkipReason.NOT_DATE),
        ('2021-01-01T00', SkipReason.NOT_DATE),
        ('٢٠٢١-٠١-٠١', SkipReason.NOT_DATE),
        ('２０２１-01-01', SkipReason.NOT_DATE),
        ('', SkipReason.NOT_DATE),
    ],
)
def test_what_is_no_day_of_the_calendar_is_no_date(name, reason):
    assert judge_date(name) is reason


@given(st.integers(0, 999), st.integers(1, 3))
def test_one_to_three_digits_are_a_number(number, width):
    assert judge_number(f'{number:0{width}}') is None


@pytest.mark.parametrize(
    'name', ['', '0001', '1000', '-1', '+1', ' 1', '1 ', '1\n', '1_0', '٠٠١', '００１', '²', 'a']
)
def test_what_is_not_one_to_three_ascii_digits_is_no_number(name):
    assert judge_number(name) is SkipReason.NOT_NUMBER


session_parts = st.tuples(
    st.sampled_from(['', 'lab', 'my-lab', 'Subjects', 'é']),
    st.one_of(st.sampled_from(['s1', 'my mouse', 'a.b-c', 'Subjects', '2021-01-01']), st.text(min_size=1)),
    st.one_of(st.dates().map(str), st.sampled_from(['2021-02-30', '2021-1-1', '٢٠٢١-٠١-٠١'])),
    st.one_of(st.integers(0, 1100).map(str), st.sampled_from(['001', '01', '٠٠١', 'a'])),
)


@given(session_parts)
@settings(max_examples=cases(300))
def test_session_path_parses_where_the_client_finds_one_and_ours_is_narrower_in_digits_alone(parts):
    lab, subject, day, number = parts
    assume('/' not in subject)
    path = '/'.join([*([lab, 'Subjects'] if lab else []), subject, day, number])
    try:
        ours = parse_session_path(path)
    except ValueError:
        ours = None
    match = SESSION.fullmatch(path)
    if match and judge_date(day) is None and number.isascii():
        assert ours == (match['lab'] or '', match['subject'], date.fromisoformat(day), int(number))
    elif ours:  # the client loads labs and subjects beyond its grammar
        assert re.search(r'[^\w.-]', lab + subject) or '-' in lab
        assert ours == (lab, subject, date.fromisoformat(day), int(number))


@pytest.mark.parametrize(
    'path',
    [
        '',
        '2021-01-01/001',
        'lab/s1/2021-01-01/001',
        'lab/subjects/s1/2021-01-01/001',
        'a/lab/Subjects/s1/2021-01-01/001',
        's1/2021-01-01/001/alf',
        's1/2021-01-01/001/',
        '/s1/2021-01-01/001',
        's1/2021-01-01/0001',
        's1/2021-02-30/001',
    ],
)
def test_what_is_no_session_path_does_not_parse(path):
    with pytest.raises(ValueError, match=r'is not .*subject/date/number'):
        parse_session_path(path)


# The rest


def test_every_reason_says_what_was_expected():
    assert set(EXPECTED) == set(SkipReason)


@pytest.mark.parametrize(
    'module',
    ['names.alf', 'names.diagnose', 'names.ids', 'pipeline.shard', 'text', 'trees.digests'],
    ids=lambda name: f'fastindex.{name}',
)
def test_examples_in_the_docstrings_are_true(module):
    results = doctest.testmod(import_module(f'fastindex.{module}'))
    assert results.attempted
    assert not results.failed

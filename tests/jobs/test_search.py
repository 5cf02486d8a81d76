"""Search: the client's questions have the client's answers, and there are some more of both."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import numpy as np
import one.alf.cache
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from iblutil.io import parquet
from one.api import One

import fastindex
from fastindex import Query, UnknownSessionError, UsageError, cli
from fastindex.commands import search as search_command
from fastindex.commands.rows import to_paths
from fastindex.jobs.read.search import find_datasets
from fastindex.text import to_size
from tests.support.cases import to_id
from tests.support.patience import run_on_terminal
from tests.support.tables import reverse
from tests.support.trees import SESSION, grow

pytestmark = [
    # What one.api and one.alf.cache do, pandas 3 deprecates.
    pytest.mark.filterwarnings('ignore:The copy keyword is deprecated:DeprecationWarning:one.api'),
    pytest.mark.filterwarnings('ignore:The inplace keyword in DataFrame.\\w+:DeprecationWarning'),
    pytest.mark.filterwarnings('ignore:This pattern is interpreted as a regular expression:UserWarning'),
]

QUESTIONS = 100

AWKWARD = {
    f'{SESSION}/alf/spikes.times.npy': b'12',
    f'{SESSION}/alf/#2024-05-06#/spikes.times.npy': b'1',
    f'{SESSION}/alf/probe00/_phy_spikes.amps_bpod.raw.npy': b'',
    'lab/Subjects/s1/2024-01-01/002/alf/spikes.times.npy': b'',
    'lab/Subjects/s1/2023-12-31/010/alf/wheel.position.npy': b'',
    'lab/Subjects/S1/2024-01-01/001/alf/spikes.times.npy': b'',
    'lab/Subjects/no data/2024-02-29/003/': None,
    'lab-2/Subjects/s1/2024-01-01/001/spikes.times.npy': b'',  # a twin but for the lab
    'lab_3/Subjects/s1/2024-01-01/001/spikes.times.npy': b'',
    'été/Subjects/ñandú/1999-12-31/001/spikes_times.x.npy': b'',
    's(1)$+[a]/2024-01-01/001/spikes.times.npy': b'',
    's.1|x/2024-03-01/001/a.b.c': b'',
    'a\nb\x1b[31m/2024-03-02/001/a.b.c': b'',
    'zz\n/2024-03-02/001/a.b.c': b'',
    's1/2024-03-02/001/_ibl_trials.goCue_times.npy': b'',
    's1/2024-03-02/001/_ibl_trials.table.pqt': b'',
}


def fill(folder: Path) -> None:
    """Make the index of the client's own builder of a folder; fill what it leaves empty."""
    one.alf.cache.make_parquet_db(folder)
    random = Random('fill')
    for table, columns in {
        'sessions': {'projects': ['ibl_brainwide', 'u19', '', 'a,b'], 'task_protocol': ['training 6.2', '']},
        'datasets': {'qc': one.alf.cache.QC_TYPE.categories, 'exists': [True, True, True, False]},
    }.items():
        frame, metadata = parquet.load(folder / f'{table}.pqt')
        for name, values in columns.items():
            frame[name] = pd.Series(random.choices(list(values), k=len(frame)), frame.index).astype(
                one.alf.cache.QC_TYPE if name == 'qc' else type(values[0])
            )
        parquet.save(folder / f'{table}.pqt', frame, metadata)


@pytest.fixture(scope='module')
def indexes(example_tree, tmp_path_factory) -> dict[str, Path]:
    """Indexes: of the example, of awkward names, and of the client's builder with all columns filled."""
    folder = tmp_path_factory.mktemp('indexes')
    example, _ = example_tree
    for name in ('example', 'awkward', 'filled'):
        (folder / name).mkdir()
    fastindex.build(example, out=folder / 'example', workers=1)
    fastindex.build(grow(folder / 'awkward', AWKWARD), workers=1)
    plain = {
        path: content for path, content in AWKWARD.items() if re.match(r'(lab(_3)?/Subjects/)?[sS]1/', path)
    }
    fill(grow(folder / 'filled', {**plain, 'lab/Subjects/s-2/2024-02-29/003/a.b.c': b''}))
    return {name: folder / name for name in ('example', 'awkward', 'filled')}


def ask(random: Random, sessions: list[dict[str, Any]], names: list[str]) -> dict[str, Any]:
    """Make up a question about some sessions, and files of these names."""

    def text(column: str) -> str:
        value = random.choice(sessions)[column]
        part = value[random.randrange(3) : random.randint(2, 9)]
        return random.choice(
            [
                value,
                part,
                value.swapcase(),
                re.escape(part),
                f'^{re.escape(value)}$',
                f'(?i){re.escape(part)}',
            ]
            + [r'\d', r'^\w+$', '', '.', '(?=s)', r'(.)\1', '[^a-z]', 'x|y', f'{re.escape(part)}$', 'nobody']
            + [r'\s', r'_\d+$', 's.1', '^s1$', r'\bs', 'é']
        )

    def name() -> str:
        value = random.choice(names)
        return random.choice(
            [
                value,
                re.escape(value),
                value[1:],
                f'.*{re.escape(value[3:])}',
                '.*',
                r'_ibl_.*',
                'nobody.has.npy',
            ]
            + [f'{value}|x', '(?i)' + value.upper(), r'\w+\.\w+\.npy', r'(?!_).*', 'spikes.*']
        )

    def day() -> Any:
        value = random.choice(sessions)['date'] + timedelta(days=random.randint(-2, 2))
        moment = datetime.combine(value, datetime.min.time()) + timedelta(hours=random.choice([0, 0, 9]))
        return random.choice(
            [value, str(value), moment, np.datetime64(value), pd.Timestamp(moment), str(moment)]
        )

    def some(make: Callable[[], Any]) -> Any:
        return random.choice([make, lambda: [make()], lambda: [make(), make()], lambda: (make(), make())])()

    terms: dict[str, Callable[[], Any]] = {
        'subject': lambda: some(lambda: text('subject')),
        'lab': lambda: some(lambda: text('lab')),
        'projects': lambda: some(lambda: text('projects')),
        'task_protocol': lambda: some(lambda: text('task_protocol')),
        'date_range': lambda: random.choice([day(), [day(), day()], [None, day()], (day(), None), [day()]]),
        'number': lambda: some(lambda: random.choice([1, 2, '10', '003', 0, 999, 70_000, -1])),
        'datasets': lambda: some(name),
    }
    question = {term: terms[term]() for term in random.sample(list(terms), random.choice([0, 1, 1, 2, 2, 3]))}
    if 'datasets' in question and random.random() < 0.5:
        question['dataset_qc_lte'] = random.choice(['PASS', 'not_set', 'CRITICAL', 30, '40'])
    return question


def answers(question: dict[str, Any], search: Callable[..., list[UUID]]) -> list[UUID] | type[Exception]:
    try:
        return search(**question)
    except ValueError:  # a pattern that (?i) in its middle makes none, ArrowInvalid among them
        return ValueError


def to_scoped(question: dict[str, Any]) -> dict[str, Any]:
    """Have each flag count for its own pattern: the client joins those of one term."""

    def scope(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [scope(one) for one in value]
        is_text = isinstance(value, str)
        return re.sub(r'^\(\?i\)(.*)$', r'(?i:\1)', value, flags=re.DOTALL) if is_text else value

    return {term: scope(value) for term, value in question.items()}


@pytest.mark.long
@pytest.mark.parametrize('name', ['example', 'awkward', 'filled'])
def test_a_hundred_questions_have_the_answers_of_the_client(indexes, name):
    client = One(cache_dir=indexes[name], mode='local')
    index = fastindex.open(indexes[name])
    sessions = index.sessions.collect().to_dicts()
    names = sorted({path.rpartition('/')[2] for path in index.datasets.collect()['rel_path']})
    random = Random(name)
    found = []
    for _ in range(QUESTIONS):
        question = ask(random, sessions, names)
        got = answers(question, index.search)
        if got is not ValueError:
            assert got == answers(to_scoped(question), client.search), question
            found.append(len(got))
    assert len(found) > QUESTIONS * 0.9
    assert len(set(found)) > 5  # of none, of all, and between
    assert sum(0 < count < len(sessions) for count in found) >= 10


@pytest.mark.long
@pytest.mark.parametrize(
    'question',
    [
        {'datasets': 'spikes.times'},  # not the whole name
        {'datasets': 'times.npy'},
        {'datasets': 'spikes.times|spikes.times.npy'},
        {'date_range': datetime(2024, 1, 1, 9)},  # a midnight that comes after is the next day's
        {'date_range': [datetime(2024, 3, 1, 9), None]},
        {'date_range': [None, '2024-03-01 09:00']},
        {'date_range': ['2024-03-02', '2024-03-01']},
        {'number': []},
        {'subject': []},
        {'datasets': []},
        {'datasets': (), 'dataset_qc_lte': 'PASS'},
        {'datasets': [], 'subject': []},
    ],
    ids=str,
)
def test_questions_that_look_alike_have_the_answers_of_the_client(indexes, question):
    for name in ('awkward', 'filled'):
        client = One(cache_dir=indexes[name], mode='local')
        assert fastindex.open(indexes[name]).search(**question) == client.search(**question)


@pytest.mark.long
def test_patterns_of_one_term_are_compiled_each_by_itself(indexes):
    """The client joins them, and so refuses a flag of the second, and takes one of the first for all."""
    index = fastindex.open(indexes['awkward'])

    def find(*patterns, term='subject'):
        return set(index.search(**{term: list(patterns)}))

    assert find('s2', '(?i)S1') == find('s2') | find('(?i)S1') > find('S1') != set()
    assert find('(?i)S1', 'S2') == find('(?i)S1') | find('S2')
    assert find('(1)', r'(z)\1') == find('1') | find('zz') > find('1')
    assert find('(?P<a>x)', '(?P<a>s)') == find('x') | find('s')
    parts = find('spikes', '(?i)_IBL_TRIALS|TRIALS', term='object')
    assert parts == find('spikes', term='object') | find('(?i)trials', term='object') != set()


def test_what_the_client_documents_and_does_not_find(make_tree, build):
    root = make_tree(
        {
            f'{SESSION}/alf/spikes.times.npy': b'',
            f'{SESSION}/_ibl_trials.goCue_times.npy': b'',
            'old/1600-01-01/001/a.b.c': b'',
            'new/2300-01-01/001/a.b.c': b'',
        }
    )
    build(root)
    index, client = fastindex.open(root), One(cache_dir=root, mode='local')
    for question, expected in {
        ('datasets', '_ibl_trials.goCue_times.npy'): ['s1'],
        ('dataset_qc_lte', 'PASS'): ['new', 's1', 'old'],
        ('date_range', ('2200-01-01', None)): ['new'],
        ('date_range', (None, '1700-01-01')): ['old'],
    }.items():
        found = index.search(**dict([question]))
        assert [index.path(eid).parts[-3] for eid in found] == expected
        assert client.search(**dict([question])) == []


@pytest.mark.long
def test_the_answer_takes_no_two_hundredth_of_the_clients_time(example_tree, indexes):
    index = fastindex.open(indexes['example'])
    client = One(cache_dir=indexes['example'], mode='local')

    def seconds(search: Callable[..., Any]) -> float:
        started = time.process_time()  # of all threads: what others do on this machine does not count
        assert len(search(datasets='_ibl_trials.goCue_times.npy')) == 60
        return time.process_time() - started

    ours = min(seconds(index.search) for _ in range(5))
    assert ours < min(seconds(client.search) for _ in range(2)) / 3  # on 60 sessions; of 4,933 it is 1/300


# Beyond the client


@pytest.fixture(scope='module')
def awkward(indexes) -> fastindex.Index:
    return fastindex.open(indexes['awkward'])


@pytest.mark.parametrize(
    ('terms', 'found'),
    [
        ({'object': 'trials'}, {'s1/2024-03-02/001'}),
        ({'object': 'trial'}, set()),
        ({'object': 'trials', 'attribute': 'goCue_times'}, {'s1/2024-03-02/001'}),
        ({'object': 'trials', 'attribute': 'times'}, set()),
        ({'object': ['wheel', 'trials']}, {'s1/2024-03-02/001', 'lab/Subjects/s1/2023-12-31/010'}),
        ({'collection': 'alf/probe00'}, {SESSION}),
        ({'collection': 'probe00'}, set()),
        ({'collection': 'alf.*', 'attribute': 'amps'}, {SESSION}),
        ({'collection': '', 'lab': 'lab'}, {f'lab{i}/Subjects/s1/2024-01-01/001' for i in ('-2', '_3')}),
        ({'revision': '2024-05-06'}, {SESSION}),
        ({'revision': '2024-05'}, set()),
        ({'revision': '2024-05-06', 'attribute': 'amps'}, set()),  # one dataset must be both
        ({'revision': '', 'object': 'spikes', 'number': 2}, {'lab/Subjects/s1/2024-01-01/002'}),
        ({'min_size_bytes': 2}, {SESSION}),
        ({'min_size_bytes': 2, 'revision': '2024-05-06'}, set()),
        ({'datasets': ['spikes.times.npy', '_phy_.*'], 'min_size_bytes': 0}, {SESSION}),
        ({'datasets': ['spikes.times.npy', '_phy_.*'], 'min_size_bytes': 1}, set()),
    ],
    ids=to_id,
)
def test_datasets_are_found_by_their_parts(awkward, terms, found):
    eids = awkward.search(**terms)
    assert {awkward.path(eid).relative_to(awkward.root).as_posix() for eid in eids} == found


def test_a_session_is_where_its_path_says(awkward, indexes):
    eids = awkward.search()
    assert len(eids) == 13
    assert all(awkward.path(eid).is_dir() and awkward.path(str(eid)) == awkward.path(eid) for eid in eids)


def test_the_number_in_a_path_has_the_digits_of_the_folder(make_tree, build):
    numbers = {f's1/2024-01-01/{number}' for number in ('1', '01', '001', '23', '023', '456')}
    root = make_tree({f'{path}/a.b.c': b'' for path in numbers})
    build(root)
    index = fastindex.open(root)
    assert {index.path(eid).relative_to(root).as_posix() for eid in index.search()} == numbers


def test_an_eid_that_no_session_has_is_an_error(awkward):
    with pytest.raises(UnknownSessionError, match='no such session'):
        awkward.path('5d0a0b3c-0f4c-3d6e-8f00-000000000000')


def test_a_tree_elsewhere_is_where_paths_lead_and_the_client_looks(example_tree, indexes):
    root, _ = example_tree
    index = fastindex.open(indexes['example'], root=root)
    [eid, *_] = index.search()
    assert index.path(eid).is_dir()
    client = index.to_one()
    assert client.eid2path(eid) == index.path(eid)
    assert len(client.load_object(eid, 'trials')['goCue_times']) > 0


@pytest.mark.parametrize(
    ('terms', 'says'),
    [
        ({'subject': '['}, r"subject '\[': no regular expression \(unterminated"),
        ({'subject': ['(a', 'b']}, 'no regular expression'),
        ({'subject': 7}, 'subject 7: expected text, a regular expression'),
        ({'min_size_bytes': '10MB'}, "min_size_bytes '10MB': expected a whole number"),
        ({'dataset': 'a'}, "unknown search term 'dataset': did you mean datasets. There are subject, lab"),
        ({'zzz': 'a'}, "unknown search term 'zzz': There are subject, lab"),
        ({'datasets': ['a', '*']}, r"datasets '\*': no regular expression \(nothing to repeat"),
        ({'collection': '('}, 'no regular expression'),
        ({'date_range': '2019-02-30'}, "'2019-02-30': no such date; expected yyyy-mm-dd"),
        ({'date_range': ['2019-01-01', 'soon']}, "'soon': no such date"),
        ({'date_range': ''}, 'no such date'),
        ({'date_range': []}, 'date_range has 0 dates'),
        ({'date_range': ['2019-01-01'] * 3}, 'date_range has 3 dates'),
        ({'date_range': '2019-01-01T00:00Z'}, 'no time zone'),
        ({'number': 'one'}, "number 'one': expected a whole number"),
        ({'dataset_qc_lte': 'good'}, "`dataset_qc_lte` 'good': expected one of NOT_SET, PASS"),
        ({'dataset_qc_lte': 20}, '`dataset_qc_lte` 20'),
    ],
    ids=str,
)
def test_a_value_that_makes_no_sense_is_wrong_usage(terms, says):
    with pytest.raises(UsageError, match=says):
        Query.of_terms(terms)


# Whoever wrote it


def rewrite(folder: Path, table: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change a table, and leave only the client's own metadata on it."""
    path = folder / f'{table}.pqt'
    rows = pq.read_table(path)
    metadata = {b'one_metadata': pq.read_metadata(path).metadata[b'one_metadata']}
    pq.write_table(change(rows).replace_schema_metadata(metadata), path)


@pytest.mark.long
@pytest.mark.parametrize(
    ('table', 'change'),
    [
        ('sessions', reverse),
        ('datasets', reverse),
        ('sessions', lambda rows: rows.drop_columns(['projects']).append_column('project', rows['subject'])),
        ('datasets', lambda rows: rows.drop_columns(['qc'])),
        ('sessions', lambda rows: rows.set_column(1, 'lab', rows['lab'].dictionary_encode())),
        ('datasets', lambda rows: rows.set_column(2, 'rel_path', rows['rel_path'].cast(pa.large_string()))),
    ],
    ids=['sessions reversed', 'datasets reversed', 'project', 'no qc', 'dictionary', 'large'],
)
def test_tables_of_another_program_have_the_answers_of_the_client(make_tree, build, table, change):
    root = make_tree(AWKWARD)
    build(root)
    for name in ('sessions', 'datasets'):
        rewrite(root, name, change if name == table else lambda rows: rows)
    client, index = One(cache_dir=root, mode='local'), fastindex.open(root)
    assert index.generation is None
    for question in (
        {},
        {'subject': 's1', 'datasets': 'spikes.times.npy'},
        {'datasets': ['spikes.times.npy', '_phy_.*'], 'dataset_qc_lte': 'PASS'},
        {'projects': '^$|s1', 'lab': ['lab', 'é']},
    ):
        assert index.search(**question) == client.search(**question) != []


def test_columns_that_nobody_needs_may_be_missing(make_tree, build):
    root = make_tree(AWKWARD)
    build(root)
    rewrite(root, 'sessions', lambda rows: rows.drop_columns(['task_protocol', 'projects']))
    rewrite(root, 'datasets', lambda rows: rows.drop_columns(['exists', 'hash', 'default_revision', 'qc']))
    index = fastindex.open(root)
    assert len(index.search(projects='', datasets='spikes.times.npy')) == 6
    assert index.search(task_protocol='x') == []


def test_an_index_without_rows_has_no_answers(make_tree, build):
    root = make_tree({'lab/Subjects/s1/': None})
    build(root, allow_empty=True)
    index = fastindex.open(root)
    assert index.search() == index.search(datasets='a.b.c', subject='x') == []


# The command


@pytest.fixture
def search(capfdbinary, indexes, monkeypatch):
    """Run the command on an index: exit code, stdout, stderr."""

    def search(name: str, *words: object, command: str = 'search') -> tuple[int, str, str]:
        monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(io.FileIO(1, 'w', closefd=False)))
        code = cli.main([command, str(indexes.get(name, name)), *map(str, words)])
        out, err = capfdbinary.readouterr()
        return code, out.decode(), err.decode()

    return search


def test_sessions_are_shown_as_a_table(search):
    code, out, err = search('awkward', '--subject', '^s1$', '--number', 2, 10)
    head, *lines = out.splitlines()
    assert head.split() == ['date', 'no.', 'subject', 'lab', 'eid']
    assert [line.split()[:4] for line in lines] == [
        ['2024-01-01', '2', 's1', 'lab'],
        ['2023-12-31', '10', 's1', 'lab'],
    ]
    assert (code, err) == (0, 'fastindex: 2 sessions\n')


def test_datasets_are_shown_as_a_table(search):
    code, out, err = search('awkward', '--datasets', '--collection', 'alf', '--min-size', '1B')
    assert [line.split() for line in out.splitlines()] == [
        ['date', 'no.', 'subject', 'dataset', 'size'],
        ['2024-01-01', '1', 's1', 'alf/#2024-05-06#/spikes.times.npy', '1', 'B'],
        ['2024-01-01', '1', 's1', 'alf/spikes.times.npy', '2', 'B'],
    ]
    assert (code, err) == (0, 'fastindex: 2 datasets\n')


def test_columns_that_are_not_empty_are_shown(search):
    assert 'projects' in search('filled')[1].splitlines()[0]
    assert ' qc ' in search('filled', '--datasets')[1].splitlines()[0]


def test_only_datasets_that_were_asked_for_are_listed(search):
    _, out, _ = search('awkward', '--datasets', '--dataset', 'spikes.*', '_phy_.*', '--paths')
    assert [path.rpartition('/')[2] for path in out.splitlines()] == [
        'spikes.times.npy',
        '_phy_spikes.amps_bpod.raw.npy',
        'spikes.times.npy',
    ]


def test_datasets_are_in_the_order_of_the_sessions_and_of_their_paths(awkward):
    found = find_datasets(awkward, Query(object='spikes')).collect()
    eids = [str(eid) for eid in awkward.search(object='spikes')]
    assert found['eid'].unique(maintain_order=True).to_list() == eids
    keys = [(eids.index(eid), path) for eid, path in found.select('eid', 'rel_path').iter_rows()]
    assert keys == sorted(keys)
    assert len(keys) == 8


@pytest.mark.parametrize('option', ['--lab', '--object', '--dataset'])
def test_a_search_that_only_the_case_empties_says_so(search, awkward, option):
    name = {'--lab': 'lab', '--object': 'spikes', '--dataset': 'spikes.times.npy'}[option].title()
    err = search('awkward', option, name)[2]
    assert f"(upper and lower case differ: '(?i){name}' finds both)" in err
    assert search('awkward', option, f'(?i){name}')[1]


def test_nothing_found_is_no_error(search):
    code, out, err = search('awkward', '--subject', 'NYU')
    assert (code, out) == (0, '')
    assert 'no sessions found' in err
    code, out, err = search('awkward', '--subject', 'NYU', '--count')
    assert (code, out) == (0, '0\n')
    assert "no session has subject 'NYU'" in err
    assert '(?i)' not in err  # which would find nothing either
    assert search('awkward', '--subject', 'NYU', '--json')[:2] == (0, '[]\n')
    assert search('awkward', '--subject', 'NYU', '--paths')[:2] == (0, '')


def test_eids_and_their_number(search, awkward):
    eids = [str(eid) for eid in awkward.search()]
    assert search('awkward', '--eids') == (0, '\n'.join(eids) + '\n', '')
    assert search('awkward', '--count')[1] == f'{len(eids)}\n'
    assert search('awkward', '--eids', '--limit', 2)[1].split() == eids[:2]
    assert '2 of 13 sessions' in search('awkward', '--limit', 2)[2]


def test_paths_are_those_of_this_system(monkeypatch):
    frame = pl.DataFrame({'session_path': [SESSION], 'rel_path': ['alf/a.b.npy']})
    assert to_paths(frame) == [f'{SESSION}/alf/a.b.npy']
    monkeypatch.setattr('os.sep', '\\')
    assert to_paths(frame) == [f'{SESSION}/alf/a.b.npy'.replace('/', '\\')]


def test_paths_that_end_in_nul_are_those_on_disk(search, indexes):
    _, out, _ = search('awkward', '--paths', '-0')
    folders = {str(path) for path in indexes['awkward'].rglob('*') if re.fullmatch(r'\d{3}', path.name)}
    assert set(out.split('\0')) == {*folders, ''}
    _, out, _ = search('awkward', '--paths', '-0', '--datasets')
    assert len(out.split('\0')) == 16
    assert all(os.path.isfile(path) for path in out.split('\0')[:-1])


@pytest.mark.parametrize(
    'words', [(), ('--paths',), ('--csv',), ('--datasets',), ('--datasets', '--csv')], ids=str
)
def test_what_is_for_people_cannot_control_the_terminal(search, words):
    _, out, _ = search('awkward', *words)
    assert r'a\nb\x1b[31m' in out
    assert not re.search('[\x00-\x09\x0b-\x1f\x7f\u202e]', out)


def test_json_is_exact_and_plain(search, make_tree, build):
    subject = 's\u202e\x7f\n\x1b},{"\U0001f42d'
    root = make_tree({f'{subject}/2024-01-01/001/a.b.c': b'12'})
    build(root)
    _, out, _ = search(root, '--json', '--datasets')
    assert out.isascii()
    assert re.sub(r'\n$', '', out).isprintable()
    [row] = json.loads(out)
    assert row['subject'] == subject
    assert row['session_path'] == f'{subject}/2024-01-01/001'
    assert (row['rel_path'], row['file_size'], row['date']) == ('a.b.c', 2, '2024-01-01')


def test_rows_that_are_written_in_pieces_are_those_that_are_written_at_once(search, awkward, monkeypatch):
    whole = [search('awkward', '--datasets', form)[1] for form in ('--json', '--csv')]
    monkeypatch.setattr(fastindex.commands.rows, 'SLICE_ROWS', 4)
    assert [search('awkward', '--datasets', form)[1] for form in ('--json', '--csv')] == whole
    assert len(json.loads(whole[0])) == 15


@pytest.mark.long
@pytest.mark.parametrize('form', ['', '--json', '--csv', '--eids', '--count', '--paths', '--paths -0'])
def test_an_answer_that_could_not_be_written_whole_is_an_error(indexes, form):
    command = [sys.executable, '-m', 'fastindex', 'search', indexes['awkward'], *form.split()]
    with open('/dev/full', 'w') as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert 'could not be written whole (No space left on device)' in done.stderr


def test_csv_has_the_columns_of_the_tables(search, awkward):
    _, out, _ = search('awkward', '--csv')
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row['eid'] for row in rows] == [str(eid) for eid in awkward.search()]
    assert list(rows[0])[1:4] == ['lab', 'subject', 'date']
    _, out, _ = search('awkward', '--csv', '--datasets')
    assert len(list(csv.DictReader(io.StringIO(out)))) == 15


@pytest.mark.long
@pytest.mark.parametrize(
    ('words', 'questions'),
    [
        (['--date', '2024-01-01'], {'date_range': '2024-01-01'}),
        (['--date-range', '2024-01-02', '-'], {'date_range': ['2024-01-02', None]}),
        (['--date-range', '', '2024-01-01'], {'date_range': [None, '2024-01-01']}),
        (['--lab', 'lab-', '_3', '--subject', '1'], {'lab': ['lab-', '_3'], 'subject': '1'}),
        (['--lab', 'lab-', '--lab', '_3'], {'lab': ['lab-', '_3']}),
        (['--project', 'u19', '--task', 'training'], {'projects': 'u19', 'task_protocol': 'training'}),
        (['--dataset', 'spikes.times.npy', '--dataset-qc-lte', 'PASS'],
         {'datasets': 'spikes.times.npy', 'dataset_qc_lte': 'PASS'}),
        (['--object', 'spikes', '--attribute', 'times'], {'object': 'spikes', 'attribute': 'times'}),
        (['--revision', '', '--min-size', '2'], {'revision': '', 'min_size_bytes': 2}),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize('name', ['awkward', 'filled'])
def test_options_are_the_questions(search, indexes, name, words, questions):
    eids = fastindex.open(indexes[name]).search(**questions)
    assert search(name, *words, '--eids')[1].split() == [str(eid) for eid in eids]


@pytest.mark.parametrize(
    ('words', 'says'),
    [
        (['--subject', '['], "subject '[': no regular expression"),
        (['--date', '2019-13-01'], "'2019-13-01': no such date"),
        (['--date', '2024-01-01', '--date-range', '-', '-'], 'leave one of them out'),
        (['--number', 'x'], "number 'x': expected a whole number"),
        (['--min-size', 'big'], "'big': expected a size"),
        (['-0'], 'add --paths'),
        (['--datasets', '--eids'], 'leave --datasets out'),
        (['--json', '--csv'], 'not allowed with'),
        (['--limit', '0'], '1 or more'),
        (['--animal', 's1'], 'unrecognized arguments: --animal s1. See fastindex search --help'),
    ],
    ids=str,
)
def test_wrong_usage_exits_2_and_says_what_was_expected(search, words, says):
    code, out, err = search('awkward', *words)
    assert (code, out) == (2, '')
    assert says in err


def test_a_root_behind_an_option_that_takes_it_is_explained(capfd):
    assert cli.main(['search', '--subject', 's1', '/data']) == 2
    assert 'ROOT comes before the options' in capfd.readouterr().err


def test_a_folder_without_an_index_exits_2(search, tmp_path):
    code, _, err = search(tmp_path)
    assert code == 2
    assert 'there is no such table' in err


def test_tables_elsewhere_are_found(search, indexes, example_tree):
    root, _ = example_tree
    _, out, _ = search(root, '--out', indexes['example'], '--paths', '--datasets')
    assert len(out.splitlines()) == 900
    assert all(os.path.isfile(path) for path in out.splitlines())


@pytest.mark.parametrize(
    ('text', 'size_bytes'),
    [('4096', 4096), ('1kB', 1000), ('1.5GiB', 1_610_612_736), ('10 MB', 10**7), ('2t', 2 * 10**12)],
)
def test_sizes_are_written_as_people_do(text, size_bytes):
    assert search_command.parse_size(text) == size_bytes


@pytest.mark.parametrize(
    ('size_bytes', 'text'),
    [(0, '0 B'), (999, '999 B'), (1000, '1.0 kB'), (999_950, '1.0 MB'), (10**15, '1,000.0 TB')],
)  # fmt: skip
def test_sizes_are_shown_with_a_unit(size_bytes, text):
    assert to_size(size_bytes) == text


def start(*words: object, **options: Any) -> subprocess.Popen[bytes]:
    """Start the command in a process of its own."""
    return subprocess.Popen([sys.executable, '-m', 'fastindex', *map(str, words)], **options)


@pytest.mark.long
def test_a_table_fits_the_terminal(indexes):
    for columns in (60, 80):
        command = [sys.executable, '-m', 'fastindex', 'search', indexes['awkward']]
        environment = {name: value for name, value in os.environ.items() if name != 'COLUMNS'}
        options = {'stderr': subprocess.DEVNULL, 'env': environment}
        shown = run_on_terminal(command, shows='stdout', columns=columns, **options).splitlines()
        eids = {str(eid) for eid in fastindex.open(indexes['awkward']).search()}
        assert len(shown) == 14
        assert max(map(len, shown)) <= max(columns, 72)  # the day, the number and the eid are never cut
        assert {line.split()[-1] for line in shown[1:]} == eids
        assert columns == 80 or '…' in ''.join(shown)


@pytest.mark.long
def test_a_reader_that_leaves_is_no_error(indexes):
    for words in (['--csv'], ['--paths', '-0']):
        reader, writer = os.pipe()
        os.close(reader)
        with start('search', indexes['awkward'], *words, stdout=writer, stderr=subprocess.PIPE) as process:
            os.close(writer)
            assert process.communicate()[1] == b''
        assert process.returncode == 0


@pytest.mark.long
def test_the_command_in_its_own_process_refuses_what_open_refuses(make_tree, build):
    root = make_tree(AWKWARD)
    build(root)
    table = bytearray((root / 'datasets.pqt').read_bytes())
    table[100] ^= 1
    (root / 'datasets.pqt').write_bytes(table)
    with pytest.raises(fastindex.InvalidIndexError) as caught:
        fastindex.open(root)
    with start('search', root, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        out, err = process.communicate()
    assert (process.returncode, out) == (2, b'')
    assert err.decode() == f'fastindex: error: {caught.value}\n'


@pytest.mark.long
def test_a_search_loads_no_pandas_and_checks_the_index_in_another_process(indexes):
    code = (
        'import sys\nfrom fastindex.cli import main\nmain(sys.argv[1:])\n'
        'print(*{name.partition(".")[0] for name, module in sys.modules.items() if module}, file=sys.stderr)'
    )
    words = ['search', indexes['awkward'], '--count']
    run = subprocess.run([sys.executable, '-c', code, *words], capture_output=True, check=True, text=True)
    assert run.stdout == '13\n'
    assert 'polars' in run.stderr.split()
    assert not {'pandas', 'numpy', 'pyarrow', 'one'} & set(run.stderr.split())


def test_a_process_that_may_have_threads_is_not_forked(indexes, search, monkeypatch):
    monkeypatch.delattr(os, 'fork')
    assert search('awkward', '--count')[1] == '13\n'


def test_an_index_of_the_example_is_a_polars_frame_too(indexes):
    index = fastindex.open(indexes['example'])
    eids = [str(eid) for eid in index.search(subject='NYU-01')]
    rows = index.datasets.filter(pl.col('eid').is_in(eids)).collect()
    assert rows.height == 15 * len(eids) > 0
    assert isinstance(index.search()[0], UUID)
    assert date(2018, 1, 1) < index.sessions.select(pl.col('date').min()).collect().item()

"""Info: what is in an index, counted as one would by hand."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import date
from pathlib import Path

import one.alf.cache
import pyarrow.parquet as pq
import pytest
from one.alf.path import rel_path_parts

import fastindex
from fastindex import cli
from fastindex.jobs.read.info import BigDataset, Info, LabCount, ObjectCount, summarize
from tests.support.tables import read
from tests.support.trees import SESSION

TREE = {
    f'{SESSION}/alf/spikes.times.npy': b'12345',
    f'{SESSION}/alf/#2024-05-06#/spikes.times.npy': b'123456',
    f'{SESSION}/alf/#2024-05-07#/spikes.times.npy': b'1',
    f'{SESSION}/alf/#2024-05-07#/_phy_spikes.amps_bpod.raw.npy': b'',
    'lab/Subjects/s2/2024-02-29/001/_ibl_trials.table.pqt': b'12',
    'lab/Subjects/s2/2024-03-01/1/': None,
    'other/Subjects/s1/1999-12-31/010/alf/wheel.position.npy': b'1234',
    'flat/2024-01-01/001/wheel.position.npy': b'',
}


@pytest.fixture
def info(make_tree, build) -> Info:
    root = make_tree(TREE)
    build(root, hash=['xxh128'])
    return summarize(fastindex.open(root))


def test_what_is_in_a_small_index(info, tmp_path):
    root = tmp_path / 'root'
    assert info == Info(
        path=str(root),
        generation=fastindex.open(root).generation,
        version=fastindex.__version__,
        date_created=json.loads(pq.read_metadata(root / 'datasets.pqt').metadata[b'one_metadata'])[
            'date_created'
        ],
        age_seconds=info.age_seconds,
        previous=(),
        labs=2,
        subjects=4,
        sessions=5,
        sessions_without_datasets=1,
        first_date=date(1999, 12, 31),
        last_date=date(2024, 3, 1),
        datasets=7,
        bytes=18,
        missing=0,
        revised=3,
        superseded=2,
        revisions={'2024-05-07': 2, '2024-05-06': 1},
        digests={'xxh128': 7},
        by_lab=(
            LabCount('lab', 2, 3, 5, 14),
            LabCount('', 1, 1, 1, 0),
            LabCount('other', 1, 1, 1, 4),
        ),
        by_object=(ObjectCount('spikes', 4, 12), ObjectCount('wheel', 2, 4), ObjectCount('trials', 1, 2)),
        biggest=(
            BigDataset(f'{SESSION}/alf/#2024-05-06#/spikes.times.npy', 6),
            BigDataset(f'{SESSION}/alf/spikes.times.npy', 5),
            BigDataset('other/Subjects/s1/1999-12-31/010/alf/wheel.position.npy', 4),
            BigDataset('lab/Subjects/s2/2024-02-29/001/_ibl_trials.table.pqt', 2),
            BigDataset(f'{SESSION}/alf/#2024-05-07#/spikes.times.npy', 1),
        ),
    )
    assert 0 <= info.age_seconds < 180


def test_the_example_is_counted_as_its_rows_are(example_tree, tmp_path):
    root, _ = example_tree
    fastindex.build(root, out=tmp_path, workers=1)
    info = summarize(fastindex.open(tmp_path, root=root))
    rows = read(tmp_path, 'datasets')
    names = [rel_path_parts(row['rel_path'], as_dict=True, assert_valid=True)['object'] for row in rows]
    assert {count.object: count.datasets for count in info.by_object} == Counter(names)
    assert (info.datasets, info.bytes) == (len(rows), sum(row['file_size'] for row in rows))
    labs = Counter(row['lab'] for row in read(tmp_path, 'sessions'))
    assert {count.lab: count.sessions for count in info.by_lab} == labs
    assert info.biggest[0].bytes == max(row['file_size'] for row in rows)
    assert (root / info.biggest[0].path).stat().st_size == info.biggest[0].bytes


def test_an_index_of_the_clients_builder_is_counted_too(make_tree):
    root = make_tree({path: content for path, content in TREE.items() if not path.endswith('/')})
    one.alf.cache.make_parquet_db(root)
    info = summarize(fastindex.open(root))
    assert (info.generation, info.version) == (None, None)
    assert (info.sessions, info.datasets, info.bytes, info.digests) == (4, 7, 18, {})
    assert info.age_seconds is not None


def test_an_index_without_rows_is_counted_too(make_tree, build):
    root = make_tree({'lab/Subjects/s1/': None})
    build(root, allow_empty=True)
    info = summarize(fastindex.open(root))
    assert (info.sessions, info.datasets, info.bytes) == (0, 0, 0)
    assert (info.first_date, info.by_lab, info.by_object, info.biggest) == (None, (), (), ())
    assert info.revisions == info.digests == {}


def run(capsys, *words: object) -> tuple[int, str]:
    code = cli.main(['info', *map(str, words)])
    return code, capsys.readouterr().out


def test_text_has_what_one_wants_to_know(info, capsys, tmp_path):
    code, out = run(capsys, tmp_path / 'root')
    assert code == 0
    for line in (
        f'{tmp_path}/root: index by fastindex {fastindex.__version__}, made ',
        f'generation {info.generation}',
        '5 sessions of 4 subjects in 2 labs, 1999-12-31 to 2024-03-01',
        '7 datasets, 18 B; digests: xxh128',
        'sessions without a dataset: 1',
        'datasets in a revision: 3, of 2024-05-07 (2), 2024-05-06 (1)',
        'datasets that have a later revision: 2',
        '(none)         1         1         1   0 B',
        f'      6 B  {SESSION}/alf/#2024-05-06#/spikes.times.npy',
    ):
        assert line in out


def test_json_has_all_of_it(info, capsys, tmp_path):
    code, out = run(capsys, tmp_path / 'root', '--json')
    found = json.loads(out)
    assert code == 0
    assert set(found) == set(Info.__slots__)
    assert found['last_date'] == '2024-03-01'
    assert found['by_lab'][0] == {'lab': 'lab', 'subjects': 2, 'sessions': 3, 'datasets': 5, 'bytes': 14}


def test_names_cannot_control_the_terminal(make_tree, build, capsys):
    root = make_tree({'l\x1b[31m\n/Subjects/s\u202e/2024-01-01/001/a.b.c': b'1'})
    build(root)
    out = run(capsys, root)[1] + run(capsys, root, '--json')[1]
    assert not re.search('[\x1b\u202e]', out)
    assert r'l\x1b[31m\n' in out


def test_in_a_notebook_it_is_short(make_tree, build):
    root = make_tree(TREE)
    build(root)
    info = fastindex.info(root)
    assert repr(info) == f'<Info of {root}: 5 sessions, {info.datasets} datasets, {info.bytes} B>'


def test_many_labs_are_cut_and_said_to_be(make_tree, build, capsys):
    root = make_tree({f'lab{i}/Subjects/s/2024-01-01/001/o{i}.b.c': b'' for i in range(25)})
    build(root)
    _, out = run(capsys, root)
    assert out.count('... and 5 more (--json has all)') == 2


def test_a_folder_without_an_index_exits_2(capsys, tmp_path: Path):
    assert cli.main(['info', str(tmp_path)]) == 2
    assert 'there is no such table' in capsys.readouterr().err

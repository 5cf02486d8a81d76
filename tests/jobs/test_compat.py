"""`fastindex.make_parquet_db` in the place of `one.alf.cache.make_parquet_db`."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import one.alf.cache
import pandas as pd
import pyarrow.parquet as pq
import pytest
from iblutil.io import parquet
from one.api import One
from pandas.testing import assert_frame_equal

import fastindex
from tests.support.tables import read, read_paths
from tests.support.trees import SESSION, grow, npy

TREE = {
    f'{SESSION}/alf/spikes.times.npy': npy(1, 2),
    f'{SESSION}/alf/#2024-05-06#/spikes.times.npy': npy(3),
    f'{SESSION}/alf.old/spikes.times.npy': npy(4),
    f'{SESSION}/_ibl_trials.goCue_times.npy': npy(5),
    'lab/Subjects/s1/2024-01-01/002/alf/spikes.times.npy': npy(6),
    'lab/Subjects/s-1/2023-12-31/001/alf/spikes.times.npy': npy(7),
    'lab_2/Subjects/S1/2024-01-01/010/alf/wheel.position_bpod.csv': b'1,2',
    'flat/2024-01-01/001/notes.txt': b'',
    'flat/2024-01-01/001/spikes.times.npy': npy(8),
}

# one.alf.cache sets the index of a table that has none in place, which pandas 3.1 deprecates.
INPLACE = 'ignore:The inplace keyword in DataFrame.set_index:DeprecationWarning:one.alf.cache'

FLAT = {'s1/2024-01-01/001/spikes.times.npy': npy(1), 's2/2024-01-01/001/spikes.times.npy': npy(2)}


@pytest.fixture(autouse=True)
def _one_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Allow one CPU alone, so that no worker processes are started: half a second a test.

    The client's builder takes 256 MiB for each MD5 that it computes: another 0.2 s.
    """
    monkeypatch.setattr('iblutil.io.hashfile.BUF_SIZE', 2**16)
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    yield
    os.sched_setaffinity(0, cpus)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / 'out'
    folder.mkdir()
    return folder


def load_both(root: Path, out: Path, **options: object) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Index with theirs and ours; load each table of both as the client does."""
    theirs, ours = out / 'theirs', out / 'ours'
    for make, folder in ((one.alf.cache.make_parquet_db, theirs), (fastindex.make_parquet_db, ours)):
        folder.mkdir()
        make(root, out_dir=folder, **options)
    for table in ('sessions', 'datasets'):
        yield tuple(parquet.load(folder / f'{table}.pqt')[0] for folder in (theirs, ours))


# Arguments and result


def test_arguments_are_those_of_the_client():
    theirs = inspect.signature(one.alf.cache.make_parquet_db).parameters
    ours = inspect.signature(fastindex.make_parquet_db).parameters
    assert [(name, p.default) for name, p in ours.items()] == [
        (name, p.default) for name, p in theirs.items()
    ]


def test_result_is_the_two_paths(make_tree):
    root = make_tree(TREE)
    assert fastindex.make_parquet_db(root) == (root / 'sessions.pqt', root / 'datasets.pqt')
    assert all(isinstance(path, Path) for path in fastindex.make_parquet_db(str(root)))


def test_result_has_links_in_the_root_resolved_as_with_the_client(make_tree, tmp_path):
    (tmp_path / 'link').symlink_to(make_tree(TREE))
    theirs = one.alf.cache.make_parquet_db(tmp_path / 'link')
    assert fastindex.make_parquet_db(tmp_path / 'link') == theirs
    assert theirs[0] == tmp_path / 'root/sessions.pqt'


def test_result_has_the_out_dir_as_it_was_passed_as_with_the_client(make_tree, out, monkeypatch):
    root = make_tree(TREE)
    monkeypatch.chdir(out.parent)
    theirs = one.alf.cache.make_parquet_db(root, out_dir='out')
    assert fastindex.make_parquet_db(root, out_dir='out') == theirs


def test_tables_go_to_the_out_dir(make_tree, out):
    root = make_tree(TREE)
    assert fastindex.make_parquet_db(root, out) == (out / 'sessions.pqt', out / 'datasets.pqt')
    assert {path.name for path in out.glob('*.pqt')} == {'sessions.pqt', 'datasets.pqt'}
    assert not list(root.glob('*.pqt'))


@pytest.mark.parametrize('name', ['gone', 'file'])
def test_out_dir_that_is_no_folder_is_an_assertion_error(make_tree, tmp_path, name):
    (tmp_path / 'file').touch()
    root = make_tree(TREE)
    for make in (one.alf.cache.make_parquet_db, fastindex.make_parquet_db):
        with pytest.raises(AssertionError):
            make(root, out_dir=tmp_path / name)


# Rows, as the client's


def test_frames_are_those_of_the_client_but_for_ids_and_hash(make_tree, out):
    for theirs, ours in load_both(make_tree(TREE), out):
        assert ours.index.names == theirs.index.names
        added = [name for name in ours if name not in theirs]
        assert added == (['default_revision'] if 'rel_path' in ours else [])
        frames = [
            frame[list(theirs)]
            .drop(columns='hash', errors='ignore')
            .sort_values(
                [name for name in ('rel_path', 'file_size', 'lab', 'subject', 'number') if name in frame]
            )
            .reset_index(drop=True)
            for frame in (theirs, ours)
        ]
        # file_size: theirs is the nullable UInt64, ours uint64, which no row needs to be null
        assert_frame_equal(*frames, check_dtype=False)


def test_ids_are_uuids_as_in_the_library(make_tree):
    root = make_tree(TREE)
    fastindex.make_parquet_db(root)
    assert str(fastindex.eid(SESSION)) in {row['id'] for row in read(root, 'sessions')}
    for row in read(root, 'datasets'):
        assert row['id'] == str(fastindex.dataset_id(uuid.UUID(row['eid']), row['rel_path']))


def test_frames_without_hashed_ids_are_those_of_the_client_in_their_order(make_tree, out):
    for theirs, ours in load_both(make_tree(TREE), out, hash_ids=False):
        assert ours.index.names == theirs.index.names == [None]
        assert isinstance(ours.index, pd.RangeIndex)
        columns = [name for name in theirs if name != 'hash']
        assert_frame_equal(ours[columns], theirs[columns], check_dtype=False)


def test_ids_without_hashing_are_paths_without_subjects(make_tree):
    root = make_tree(TREE)
    fastindex.make_parquet_db(root, hash_ids=False)
    assert [row['id'] for row in read(root, 'sessions')] == [
        'flat/2024-01-01/001',
        'lab/s-1/2023-12-31/001',
        'lab/s1/2024-01-01/001',
        'lab/s1/2024-01-01/002',
        'lab_2/S1/2024-01-01/010',
    ]
    assert all(row['id'] == row['rel_path'] for row in read(root, 'datasets'))


def test_paths_are_ordered_part_by_part_as_with_the_client(make_tree, out):
    """A `-` sorts before a slash: `a-b/x` comes after `a/x` only if the parts are compared."""
    below = [
        f'{SESSION}/{folder}spikes.times.npy' for folder in ('', 'a/', 'a/b/', 'a-b/', 'a.b/', 'a_b/', 'é/')
    ]
    subjects = [
        path.replace('/s1/', f'/{name}/') for path in below[:2] for name in ('s', 's-1', 's.1', 's1', 'S')
    ]
    labs = [f'{lab}/Subjects/s/2024-01-01/001/a.b.c' for lab in ('l', 'l_1', 'L')]
    root = make_tree(dict.fromkeys([*below, *subjects, *labs], b''))
    for theirs, ours in load_both(root, out, hash_ids=False):
        assert ours['id'].tolist() == theirs['id'].tolist()


@pytest.mark.filterwarnings(INPLACE)
def test_tables_without_hashed_ids_load_in_the_client_with_its_own_index(make_tree):
    root = make_tree(FLAT)
    fastindex.make_parquet_db(root, hash_ids=False)
    tables = one.alf.cache.load_tables(root)
    assert tables['sessions'].index.tolist() == ['s1/2024-01-01/001', 's2/2024-01-01/001']
    assert tables['datasets'].index.names == ['eid', 'id']


@pytest.mark.parametrize('hash_files', [False, True])
def test_hashes_are_md5_where_asked_for_and_null_otherwise(make_tree, hash_files):
    root = make_tree(TREE)
    fastindex.make_parquet_db(root, hash_files=hash_files)
    md5 = {hashlib.md5(data).hexdigest() for path, data in TREE.items() if not path.endswith('.txt')}
    assert {row['hash'] for row in read(root, 'datasets')} == (md5 if hash_files else {None})


def test_hashes_are_those_of_the_client(make_tree, out):
    _, (theirs, ours) = load_both(make_tree(TREE), out, hash_files=True, hash_ids=False)
    assert ours['hash'].tolist() == theirs['hash'].tolist()


# Lab


def test_lab_is_filled_in(make_tree, out):
    (theirs, ours), _ = load_both(make_tree(FLAT), out, lab='mylab')
    assert set(ours['lab']) == set(theirs['lab']) == {'mylab'}


def test_lab_changes_no_id(make_tree):
    root = make_tree(FLAT)
    ids = []
    for lab in (None, 'mylab'):
        fastindex.make_parquet_db(root, lab=lab)
        ids.append([row['id'] for row in read(root, 'sessions')])
    assert ids[0] == ids[1]


@pytest.mark.parametrize('lab', ['lab', 'lab_2', 'mylab'])
def test_lab_in_conflict_with_the_tree_is_an_assertion_error(make_tree, lab):
    root = make_tree(TREE)
    for make in (one.alf.cache.make_parquet_db, fastindex.make_parquet_db):
        with pytest.raises(AssertionError, match='lab'):
            make(root, lab=lab)


def test_lab_of_the_name_lab_is_in_conflict_too(make_tree):
    """The client takes the word 'lab' for no name and writes a lab that no folder has: nothing loads."""
    root = make_tree({f'{SESSION}/spikes.times.npy': b''})
    one.alf.cache.make_parquet_db(root, lab='mylab')
    with pytest.raises(AssertionError, match='lab'):
        fastindex.make_parquet_db(root, lab='mylab')


def test_lab_in_conflict_leaves_the_index_that_was_there(make_tree):
    root = make_tree(TREE)
    before = fastindex.make_parquet_db(root)[0].read_bytes()
    with pytest.raises(AssertionError):
        fastindex.make_parquet_db(root, lab='mylab')
    assert (root / 'sessions.pqt').read_bytes() == before


def test_lab_that_the_tree_has_already_is_no_conflict(make_tree):
    """The client compares with the word 'lab', whatever lab was passed."""
    root = make_tree({'mylab/Subjects/s1/2024-01-01/001/spikes.times.npy': b''})
    with pytest.raises(AssertionError, match='conflict'):
        one.alf.cache.make_parquet_db(root, lab='mylab')
    fastindex.make_parquet_db(root, lab='mylab')
    assert [row['lab'] for row in read(root, 'sessions')] == ['mylab']


def test_empty_lab_is_no_lab(make_tree):
    root = make_tree(TREE)
    fastindex.make_parquet_db(root, lab='')
    assert {row['lab'] for row in read(root, 'sessions')} == {'', 'lab', 'lab_2'}


# Empty trees


@pytest.mark.parametrize(
    ('tree', 'missing'), [({'notes/': b''}, 'sessions'), ({f'{SESSION}/notes.txt': b''}, 'datasets')]
)
@pytest.mark.parametrize('hash_ids', [True, False])
@pytest.mark.filterwarnings(INPLACE)
def test_nothing_found_is_a_warning_and_tables_that_open(make_tree, tree, missing, hash_ids):
    root = make_tree(tree)
    with pytest.warns(RuntimeWarning, match=f'^No {missing} found$'):
        _, path = fastindex.make_parquet_db(root, hash_ids=hash_ids)
    assert 'qc' not in pq.read_schema(path).names
    assert One(cache_dir=root, mode='local').list_datasets() == []


def test_warning_points_to_the_line_that_called(make_tree):
    with pytest.warns(RuntimeWarning) as warned:
        fastindex.make_parquet_db(make_tree({'notes/': b''}))
    assert warned[0].filename == __file__


def test_index_that_was_there_is_replaced_by_an_empty_one_as_with_the_client(make_tree):
    root = make_tree(FLAT)
    fastindex.make_parquet_db(root)
    for path in root.rglob('*.npy'):
        path.unlink()
    with pytest.warns(RuntimeWarning, match='No datasets found'):
        _, path = fastindex.make_parquet_db(root)
    assert pq.read_metadata(path).num_rows == 0


# In the client


def test_metadata_is_that_of_the_client(make_tree, out):
    root = make_tree(TREE)
    theirs = one.alf.cache.make_parquet_db(root, out_dir=out)
    ours = fastindex.make_parquet_db(root)
    for paths in zip(theirs, ours, strict=True):
        facts = [json.loads(pq.read_schema(path).metadata[b'one_metadata']) for path in paths]
        assert list(facts[0]) == list(facts[1]) == ['date_created', 'origin']
        assert facts[0]['origin'] == facts[1]['origin'] == str(root)


@pytest.mark.parametrize('options', [{}, {'hash_files': True}, {'hash_ids': True}], ids=str)
def test_client_sets_itself_up_with_it(make_tree, monkeypatch, options):
    root = make_tree(TREE)
    monkeypatch.setattr('one.api.make_parquet_db', fastindex.make_parquet_db)
    client = One.setup(cache_dir=root, silent=True, **options)
    eid = client.path2eid(root / SESSION)
    assert eid == fastindex.eid(SESSION)
    assert list(client.load_dataset(eid, 'spikes.times.npy', collection='alf', revision='2024')) == [1, 2]
    assert list(client.load_dataset(eid, 'spikes.times.npy', collection='alf')) == [3]


def test_worker_processes_give_the_same_rows(make_tree, out):
    root = make_tree({f's{i}/2024-01-01/001/spikes.times.npy': b'x' * i for i in range(40)})
    fastindex.make_parquet_db(root)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    fastindex.make_parquet_db(root, out)
    assert read(out, 'datasets') == read(root, 'datasets')


@pytest.mark.long
def test_script_without_a_main_guard_runs_once(tmp_path):
    """The client's builder needs none: workers must not run the caller's script again."""
    root = grow(tmp_path / 'root', FLAT)
    script = tmp_path / 'script.py'
    script.write_text(
        'import threading, time\n'
        'import fastindex\n'
        'threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()  # as many libraries do\n'
        'print("once")\n'
        f'fastindex.make_parquet_db({str(root)!r})\n'
    )
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    above = str(Path(fastindex.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, script], env={**os.environ, 'PYTHONPATH': above}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, 'once\n'), done.stderr
    assert len(read(root, 'datasets')) == 2


PARTS = (
    'lab',
    'lab/Subjects',
    'lab/Subjects/s1',
    'lab/Subjects/s1/2024-01-01',
    SESSION,
    's3',
    's3/2024-01-01',
)


@pytest.mark.long
@pytest.mark.parametrize('part', PARTS)
def test_part_of_a_tree_has_the_rows_of_the_whole(make_tree, out, part):
    subjects = ('lab/Subjects/s1', 'lab/Subjects/s2', 's3')
    paths = [f'{subject}/2024-01-01/{number}/a.b.npy' for subject in subjects for number in ('001', '002')]
    root = make_tree(dict.fromkeys([*paths, 'lab2/Subjects/s1/2024-01-01/001/a.b.npy'], b'1'))
    folders = [out / name for name in ('ours', 'theirs', 'whole')]
    for folder in folders:
        folder.mkdir()
    fastindex.make_parquet_db(root / part, out_dir=folders[0])
    one.alf.cache.make_parquet_db(root / part, out_dir=folders[1])
    fastindex.make_parquet_db(root, out_dir=folders[2])
    assert read_paths(folders[0]) == read_paths(folders[1]) != set()
    rows = {row['id']: row for row in read(folders[2], 'datasets')}
    assert all(rows[row['id']] == row for row in read(folders[0], 'datasets'))
    client = One(cache_dir=root, tables_dir=folders[0], mode='local')
    for eid in client.search():
        assert client.load_dataset(eid, 'a.b.npy', download_only=True).exists()


def test_what_is_left_out_for_its_name_is_logged(make_tree, out, caplog):
    root = make_tree({**TREE, 'UCL/s1/2024-01-01/001/a.b.npy': b'', 'flat/2024-1-2/001/a.b.npy': b''})
    fastindex.make_parquet_db(root, out)
    text = '\n'.join(record.getMessage() for record in caplog.records if record.levelname == 'WARNING')
    assert 'Subjects is missing in UCL: what is below is not in the index' in text
    assert '1 folder looks like a misnamed session and is left out: flat/2024-1-2' in text

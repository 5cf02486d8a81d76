"""Digests, and what people have set, are found where a run gives other ids to the same files."""

from __future__ import annotations

import itertools
import os
import shutil
import time
from uuid import UUID

import pandas as pd
import pyarrow.parquet as pq
import pytest
from iblutil.io import parquet

import fastindex
from fastindex.jobs.build import tasks
from fastindex.pipeline import scan, shard, walk
from fastindex.pipeline.scan import ScanTask
from fastindex.tables import rekeyed, write
from fastindex.tables.publish import Stage
from fastindex.tables.reuse import FINGERPRINTS
from fastindex.tables.schema import from_ipc
from fastindex.trees import digests, fingerprints
from tests.support.strangers import TABLES, of_a_database
from tests.support.tables import read, tables_digest
from tests.support.trees import grow

pytestmark = pytest.mark.usefixtures('fixed_date')

UUIDS = [f'6cdb7b06-3fd2-4e1c-9d6e-2e4a8a4f1c{number:02}' for number in range(36)]
NAMES = ('alf/a.b', 'alf/#r1#/a.b', 'c.d')
TREE = {
    f'{subject}/2024-01-0{day}/001/{name}.{UUIDS[9 * i + 3 * day + j - 3]}.npy': b'%d' % i * (day + j)
    for i, subject in enumerate(('s0', 's1', 'lab/Subjects/s2'))
    for day in (1, 2, 3)
    for j, name in enumerate(NAMES)
}
SESSION = 's1/2024-01-02/001'
FIRST = f'{SESSION}/c.d.{UUIDS[14]}.npy'
USUAL = {'namespace': fastindex.NAMESPACE, 'ids_from': False, 'uuid_filenames': False}
OTHER = UUID('c1d61b47-7a9d-4b8e-9b8e-6f6a3f0a2d11')
RECIPES = {
    'plain': {},
    'namespace': {'namespace': OTHER},
    'a database': {'ids_from': 'alyx'},
    'another database': {'ids_from': 'other'},
    'names': {'uuid_filenames': True},
    'names and namespace': {'uuid_filenames': True, 'namespace': OTHER},
}
PAIRS = [pair for pair in itertools.product(RECIPES, RECIPES) if pair[0] != pair[1]]


def never(*_, **__):
    raise AssertionError('this is not to be called')


@pytest.fixture(scope='module')
def databases(tmp_path_factory):
    """Two folders of ids of version 4 for the tree, and nothing else."""
    above = tmp_path_factory.mktemp('tables')
    root = grow(above / 'tree', TREE)
    for name in ('alyx', 'other'):
        (above / name).mkdir()
        of_a_database(root, above / name)
        (sessions, about), (datasets, _) = (parquet.load(above / name / table) for table in TABLES)
        categories = datasets['qc'].cat.categories
        datasets['qc'] = pd.Categorical(['NOT_SET'] * len(datasets), categories, ordered=True)
        parquet.save(above / name / 'sessions.pqt', sessions.assign(projects=''), about)
        parquet.save(above / name / 'datasets.pqt', datasets, about)
    return above


@pytest.fixture
def root(make_tree, databases, monkeypatch):
    monkeypatch.chdir(databases)
    monkeypatch.setattr(fingerprints, 'SETTLED_NS', 20_000_000)
    root = make_tree(TREE)
    time.sleep(0.05)
    return root


@pytest.fixture
def make(root, build, tmp_path):
    """Build as a recipe says; with an outcome for one dataset, whatever it is called."""
    qc = tmp_path / 'qc.csv'
    qc.write_text(f'{SESSION},c.d.npy,FAIL\n{SESSION},{FIRST[len(SESSION) + 1 :]},FAIL\n')

    def make(recipe, *, judged=False, **options):
        options = {**USUAL, **RECIPES[recipe], 'hash': ['xxh128', 'md5'], **options}
        return build(root, qc=qc if judged else None, **options)

    return make


@pytest.fixture
def fresh(make, tmp_path):
    """The tables of a first run."""

    def fresh(recipe, *, judged=True, **options):
        (tmp_path / 'fresh').mkdir(exist_ok=True)
        make(recipe, judged=judged, out=tmp_path / 'fresh', fresh=True, rehash=True, **options)
        return tables_digest(tmp_path / 'fresh')

    return fresh


@pytest.mark.long
@pytest.mark.parametrize(('before', 'now'), PAIRS, ids=map(' to '.join, PAIRS))
def test_other_ids_lose_no_digest_and_no_outcome(root, make, fresh, monkeypatch, before, now):
    make(before, judged=True)
    wanted = fresh(now)
    monkeypatch.setattr(digests.Hasher, 'measure', never)
    summary = make(now)
    assert tables_digest(root) == wanted
    assert summary.digests_reused == summary.datasets == len(TREE)
    assert not any('the index before knew' in warning for warning in summary.warnings)
    assert [row['rel_path'][:3] for row in read(root, 'datasets') if row['qc'] == 'FAIL'] == ['c.d']
    monkeypatch.setattr(rekeyed.RekeyedRows, '__init__', never)
    assert make(now, ids_from=None).digests_reused == len(TREE)  # the next run finds them as ever


@pytest.fixture
def stop(make, monkeypatch):
    """Build, and fail when all is hashed."""

    def stop(recipe, **options):
        with monkeypatch.context() as patch:
            patch.setattr(Stage, 'publish', never)
            with pytest.raises(AssertionError):
                make(recipe, **options)

    return stop


@pytest.mark.long
@pytest.mark.parametrize(('before', 'now'), PAIRS, ids=map(' to '.join, PAIRS))
def test_other_ids_lose_nothing_of_a_run_that_did_not_end(root, make, stop, fresh, monkeypatch, before, now):
    monkeypatch.setattr(walk, 'BIG_BYTES', 5)  # some are hashed by themselves
    stop(before)
    wanted = fresh(now, judged=False)
    monkeypatch.setattr(digests.Hasher, 'measure', never)
    assert make(now).digests_reused == len(TREE)
    assert tables_digest(root) == wanted


@pytest.mark.long
def test_runs_that_did_not_end_add_up_with_the_index_whatever_their_ids(root, make, stop, fresh, monkeypatch):
    make('namespace', judged=True)
    for i, recipe in enumerate(('plain', 'a database', 'names')):
        grow(root, {FIRST: recipe.encode(), f'{SESSION}/new.n{i}.{UUIDS[30 + i]}.npy': b''})
        time.sleep(0.05)
        stop(recipe, workers=2)
    wanted = fresh('names and namespace')
    monkeypatch.setattr(digests.Hasher, 'measure', never)
    assert make('names and namespace').digests_reused == len(TREE) + 3
    assert tables_digest(root) == wanted


@pytest.mark.long
def test_a_plain_run_looks_for_no_path(root, make, build, monkeypatch):
    """It costs what it did: rows are written apart only where the ids may be others."""
    monkeypatch.setattr(rekeyed.RekeyedRows, '__init__', never)
    for recipe in RECIPES:
        out = root.parent / recipe
        out.mkdir()
        make(recipe, out=out)
        assert build(root, out=out).digests_reused == len(TREE)


@pytest.mark.long
@pytest.mark.parametrize('workers', [1, 3])
def test_however_the_rows_lie_each_is_found_and_no_shard_has_too_many(
    root, make, fresh, monkeypatch, workers
):
    monkeypatch.setattr(write, 'ROW_GROUP_ROWS', 5)  # in which no session has all its rows
    wanted = fresh('plain')
    make('namespace', judged=True)
    assert pq.read_metadata(root / 'datasets.pqt').num_row_groups == 6
    monkeypatch.setattr(shard, 'SHARD_ROWS', 4)
    sent = []
    monkeypatch.setattr(tasks, 'ScanTask', lambda *words: sent.append(ScanTask(*words)) or sent[-1])
    assert make('plain', workers=workers).digests_reused == len(TREE)
    assert tables_digest(root) == wanted
    assert max(len(task.keys) for task in sent) <= 2
    assert {from_ipc(task.known).num_rows for task in sent} <= {3, 6}


@pytest.mark.long
def test_datasets_of_a_session_that_is_shared_are_found(root, make, stop, fresh, monkeypatch):
    wanted = fresh('names and namespace')
    monkeypatch.setattr('fastindex.trees.kernel.BLOCK_NAMES', 2)
    monkeypatch.setattr(scan, 'PART_ROWS', 2)
    tree = {f's9/2024-01-01/001/many.n{i}.{UUIDS[28 + i]}.npy': b'' for i in range(8)}
    grow(root, tree)
    time.sleep(0.05)
    stop('namespace')
    for recipe in ('plain', 'a database', 'names and namespace'):
        assert make(recipe, judged=recipe == 'plain').digests_reused == len(TREE) + len(tree)
    shutil.rmtree(root / 's9')
    assert make('names and namespace').digests_reused == len(TREE)
    assert tables_digest(root) == wanted


CHANGES = {
    'rewritten': lambda path: path.write_bytes(b'#' * path.stat().st_size),
    'grown': lambda path: path.write_bytes(b'longer than before'),
    'touched': lambda path: os.utime(path),
    'replaced': lambda path: [(path.parent / 'y').write_bytes(b'#'), os.replace(path.parent / 'y', path)],
    'renamed': lambda path: path.rename(path.with_name(f'e.f.{UUIDS[30]}.npy')),
}


@pytest.mark.long
@pytest.mark.parametrize('change', CHANGES)
def test_a_file_that_may_have_changed_is_read_again_and_no_other(root, make, fresh, change):
    make('namespace', judged=True)
    CHANGES[change](root / FIRST)
    time.sleep(0.05)
    wanted = fresh('names', judged=change != 'renamed')
    assert make('names').digests_reused == len(TREE) - 1
    assert tables_digest(root) == wanted


def test_of_files_with_one_id_none_gets_the_digest_of_another(root, make, fresh):
    """Where size and time are all that is trusted, and both are those of the other file."""
    here, there = root / FIRST, root / 's0/2024-01-01/001'
    for path in (here.with_name(f'c.e.{UUIDS[14]}.npy'), there / f'a.b.{UUIDS[14]}.npy'):
        path.write_bytes(b'#' * here.stat().st_size)
        os.utime(path, ns=(here.stat().st_mtime_ns,) * 2)
    here.with_name('without.id.npy').touch()  # so that it is no dataset any more
    make('plain', judged=True, trust=['size', 'mtime'])
    wanted = fresh('names', trust=['size', 'mtime'])
    assert make('names', trust=['size', 'mtime']).digests_reused >= len(TREE) - 1
    assert tables_digest(root) == wanted


def test_what_is_not_in_the_names_is_found_after_the_client_saved_the_index(root, make, fresh, monkeypatch):
    make('plain', judged=True)
    wanted = fresh('names')
    for table in TABLES:
        parquet.save(root / table, *parquet.load(root / table))
    monkeypatch.setattr(digests.Hasher, 'measure', never)
    assert make('names').digests_reused == len(TREE)
    assert tables_digest(root) == wanted


def test_an_index_without_a_row_is_no_obstacle(root, make, fresh, build, tmp_path):
    (tmp_path / 'empty').mkdir()
    build(tmp_path / 'empty', out=root, hash=['xxh128', 'md5'], allow_empty=True)
    assert (root / '.fastindex' / FINGERPRINTS).exists()
    wanted = fresh('namespace')
    assert make('namespace', judged=True).digests_reused == 0
    assert tables_digest(root) == wanted

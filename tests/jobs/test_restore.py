"""The index that a run has replaced is kept, and put back."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

import fastindex
from fastindex import InvalidIndexError, UsageError
from fastindex.folders import OpenFolder
from fastindex.tables.previous import iter_kept
from fastindex.trees import fingerprints
from tests.support.broken import nest
from tests.support.strangers import by_the_builder
from tests.support.tables import stop_between_the_renames, tables_digest
from tests.support.trees import SESSION, grow

FILES = ('datasets.pqt', 'sessions.pqt', '.fastindex/fingerprints.parquet')


@pytest.fixture
def root(make_tree, build, monkeypatch):
    """A tree that is indexed with digests."""
    monkeypatch.setenv('SOURCE_DATE_EPOCH', '1700000000')
    monkeypatch.setattr(fingerprints, 'SETTLED_NS', -(10**12))
    root = make_tree({f'{SESSION}/a.b.npy': b'1', f'{SESSION}/c.d.npy': b'2'})
    build(root, hash=['xxh128'])
    return root


@pytest.fixture
def change(build):
    """Add a dataset to the tree, and index it."""

    def change(root, number=1, **options):
        grow(root, {f'{SESSION}/new.n{number}.npy': b'new'})
        return build(root, **options)

    return change


def look_at(root):
    return [(root / name).read_bytes() for name in FILES]


def list_kept(root):
    return [(index.number, index.datasets) for index in iter_kept(root)]


def test_what_is_replaced_is_kept_and_put_back_and_forward_again(root, build, change, run):
    first = look_at(root)
    inodes = [os.stat(root / name).st_ino for name in FILES]
    change(root)
    second = look_at(root)
    assert list_kept(root) == [(1, 2)]
    kept = root / '.fastindex/previous'
    assert [(kept / Path(name).name).stat().st_ino for name in FILES] == inodes  # no copy
    for now, other in ((first, second), (second, first), (first, second)):
        code, out, err = run('restore', root)
        assert (code, err, 'is published again' in out) == (0, '', True)
        assert look_at(root) == now
        assert [(kept / Path(name).name).read_bytes() for name in FILES] == other
    assert list(fastindex.verify_index(root)) == []
    assert not (root / '.fastindex/stage').exists()
    assert build(root).digests_reused == 2  # the fingerprints came back too


def test_info_names_what_can_be_put_back(root, change, run):
    assert json.loads(run('info', root, '--json')[1])['previous'] == []
    change(root, 1)
    change(root, 2, keep=2)
    found = json.loads(run('info', root, '--json')[1])['previous']
    assert [(one['number'], one['sessions'], one['datasets']) for one in found] == [(1, 1, 3), (2, 1, 2)]
    assert all(one['generation'] and one['date_created'] for one in found)
    out = run('info', root)[1]
    assert 'before it: 1 session, 3 datasets, made 2023-11-14 22:13 (fastindex restore)\n' in out
    assert '2 datasets, made 2023-11-14 22:13 (fastindex restore --number 2)\n' in out


def test_a_run_that_changes_no_row_keeps_what_was_kept(root, build, change):
    change(root)
    for _ in range(2):
        build(root)
        assert list_kept(root) == [(1, 2)]


def test_more_are_kept_where_that_is_said_and_then_stay(root, change):
    change(root, 1, keep=3)
    assert list_kept(root) == [(1, 2)]
    for number in (2, 3):
        change(root, number, keep=3)
    assert list_kept(root) == [(1, 4), (2, 3), (3, 2)]
    change(root, 4)  # as many as there are
    assert list_kept(root) == [(1, 5), (2, 4), (3, 3)]
    change(root, 5, keep=1)
    assert list_kept(root) == [(1, 6)]


def test_any_of_them_is_put_back_and_the_others_stay(root, change, run):
    for number in (1, 2):
        change(root, number, keep=3)
    assert run('restore', root, '--number', 2, '--quiet')[0] == 0
    assert fastindex.open(root).facts['datasets'] == 2
    assert list_kept(root) == [(1, 3), (2, 4)]


def test_what_is_kept_and_beside_may_say_anything(root, change, run):
    change(root)
    kept = root / '.fastindex/previous'
    nest(kept)
    assert json.loads(run('info', root, '--json')[1])['previous'] == []
    assert [fault.code for fault in fastindex.verify_index(kept)] == ['damaged']
    assert run('restore', root)[0] == 2


def test_what_is_damaged_or_not_there_is_not_put_back(root, change, run):
    code, _, err = run('restore', root)
    assert (code, 'is kept: ' in err) == (2, True)
    change(root)
    before = look_at(root)
    path = root / '.fastindex/previous/datasets.pqt'
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.unlink()
    path.write_bytes(data)
    with pytest.raises(InvalidIndexError):
        fastindex.restore(root)
    assert look_at(root) == before
    assert not (root / '.fastindex/stage').exists()
    with pytest.raises(UsageError):
        fastindex.restore(root, number=0)
    with pytest.raises(UsageError):
        fastindex.build(root, keep=0)


@pytest.mark.parametrize('table', FILES[:2])
def test_half_an_index_is_not_put_back_nor_made(root, change, run, table):
    change(root)
    before = look_at(root)
    (root / '.fastindex/previous' / table).unlink()
    code, _, err = run('restore', root)
    assert (code, 'is gone' in err, 'makes it' in err) == (2, True, False), err
    assert look_at(root) == before


def test_an_index_that_is_damaged_is_no_reason_to_drop_the_one_that_is_kept(root, build, change):
    change(root)
    (root / 'datasets.pqt').write_bytes(b'damaged')
    build(root)
    assert list_kept(root) == [(1, 2)]
    (root / 'datasets.pqt').write_bytes(b'damaged')
    assert fastindex.restore(root).datasets == 2


def test_tables_of_another_program_that_are_replaced_are_kept_and_put_back(root, build, tmp_path):
    out = tmp_path / 'out'
    out.mkdir()
    by_the_builder(root, out)
    before = tables_digest(out)
    build(root, out=out, force=True)
    assert [index.generation for index in iter_kept(out)] == [None]
    assert fastindex.restore(root, index=out).generation is None
    assert tables_digest(out) == before
    assert fastindex.restore(root, index=out).datasets == 2


@pytest.mark.long
@pytest.mark.parametrize('number', [errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP])
def test_where_there_are_no_hard_links_it_is_copied(root, change, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, 'no hard links')

    first = look_at(root)
    with monkeypatch.context() as patch:
        patch.setattr(OpenFolder, 'link', refuse)
        change(root)
        second = look_at(root)
        fastindex.restore(root)
    assert look_at(root) == first
    fastindex.restore(root)
    assert look_at(root) == second


def test_a_run_that_is_stopped_between_the_renames_keeps_what_it_replaced(root, build, change):
    stop_between_the_renames(lambda: change(root))
    build(root)
    assert list_kept(root) == [(1, 2)]
    stop_between_the_renames(lambda: fastindex.restore(root))
    assert build(root).datasets == 3
    assert list_kept(root) == [(1, 2)]


def test_the_drop_in_keeps_nothing_and_drops_nothing(root, change):
    change(root)
    grow(root, {f'{SESSION}/more.b.npy': b''})
    fastindex.make_parquet_db(root)
    assert list_kept(root) == [(1, 2)]

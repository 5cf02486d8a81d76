"""Whatever is wrong with the index that is there, a build replaces it, and says that it could not compare."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import fastindex
from fastindex.tables.reuse import FINGERPRINTS
from fastindex.trees import STATE_FOLDER, fingerprints
from tests.support.broken import FOREIGN, KINDS, Break
from tests.support.tables import tables_digest
from tests.support.trees import SESSION, digest_of, grow

TREE = {
    f'{SESSION[:-1]}{number}/{name}': f'{number}{name}'.encode()
    for number in (1, 2, 3)
    for name in ('alf/a.b.npy', 'alf/#1#/c.d.npy', 'e.f.npy')
}
NEW = f'{SESSION}/new.file.npy'
DIGESTS = ['xxh128', 'md5']


class Indexed(NamedTuple):
    """A tree that is indexed, and has changed since."""

    tree: Path
    index: Path
    """With both digests, which hold."""
    first: dict[str, str]
    """What a first run writes: a digest of the tables without digests, and of those with both."""


@pytest.fixture(scope='module')
def indexed(tmp_path_factory) -> Indexed:
    folder = tmp_path_factory.mktemp('indexed')
    tree = grow(folder / 'tree', TREE)
    for name in ('index', '', 'hash'):
        (folder / f'first{name}').mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('SOURCE_DATE_EPOCH', '1700000000')
        patch.setattr(fingerprints, 'SETTLED_NS', -(10**12))
        fastindex.build(tree, out=folder / 'firstindex', workers=1, hash=DIGESTS)
        grow(tree, {NEW: b'new'})
        for name, hash in (('', ()), ('hash', DIGESTS)):
            fastindex.build(tree, out=folder / f'first{name}', workers=1, hash=hash)
    return Indexed(
        tree, folder / 'firstindex', {name: tables_digest(folder / f'first{name}') for name in ('', 'hash')}
    )


@pytest.fixture
def broken(indexed, tmp_path, monkeypatch):
    """Copy the index to where something becomes wrong with it."""
    monkeypatch.setenv('SOURCE_DATE_EPOCH', '1700000000')
    monkeypatch.setattr('iblutil.io.hashfile.BUF_SIZE', 2**16)

    def broken(change: Break, name: str = 'out') -> Path:
        shutil.copytree(indexed.index, tmp_path / name)
        change(tmp_path / name)
        return tmp_path / name

    return broken


@pytest.fixture
def rerun(indexed, run, tmp_path):
    """Run the command line; give exit code, output, errors and what --changes wrote."""

    def rerun(out: Path, *words: str) -> tuple[int, str, str, str]:
        changes = tmp_path / 'changes'
        changes.write_text('')
        found = run(indexed.tree, '--out', out, '--workers', 1, *words, '--changes', changes)
        return (*found, changes.read_text())

    return rerun


@pytest.mark.long
@pytest.mark.parametrize(
    ('kind', 'hash'), [*((kind, 'hash') for kind in KINDS), ('a path that is too long', ''), ('a text', '')]
)
def test_a_build_replaces_whatever_was_there_and_says_what_it_could_not_do(
    indexed, broken, rerun, kind, hash
):
    out = broken(KINDS[kind])
    before = digest_of(out)
    words = [
        '--hash=xxh128,md5' if hash else '--no-hash',
        *(['--force'] if kind in FOREIGN else []),
        *(['--fresh'] if kind == 'metadata that is deep' else []),
    ]
    for code, more in ((1, ['--check']), (0, [])):
        assert digest_of(out) == before
        found = rerun(out, *words, *more)
        assert found[0] == code
        # These can be compared: the one is whole, the other as where an object is archived.
        if kind not in ('tables of another program', 'a null digest'):
            assert 'since the last index' not in found[1]
            assert 'warning: the index before could not be compared with this one: ' in found[2]
            assert (found[2].count('\n'), found[3]) == (1, '')
    assert tables_digest(out) == indexed.first[hash]
    assert list(fastindex.verify_index(out)) == []
    assert rerun(out, *words)[2:] == ('', '')
    if (out / STATE_FOLDER / 'previous').exists():  # what is kept can be put back
        assert fastindex.restore(out).datasets
        fastindex.restore(out)
        assert tables_digest(out) == indexed.first[hash]


def test_an_index_that_is_whole_is_compared_and_used_here(broken, rerun):
    """So that what the other tests break is what is read."""
    out = broken(lambda _: None)
    code, stdout, err, changes = rerun(out, '--hash=xxh128,md5')
    assert (code, err, changes.count('\n')) == (0, '', 1)
    assert f'1 computed, {len(TREE)} reused' in stdout
    assert 'since the last index: datasets added: 1' in stdout


FINGERPRINTS_OF_OTHERS: dict[str, Break] = {
    'a table of another program': lambda path: pq.write_table(pa.table({'a': [1]}), path),
    'no table at all': lambda path: path.write_bytes(b'x' * 99),
    'an empty file': lambda path: path.write_bytes(b''),
    'a pipe': lambda path: [path.unlink(), os.mkfifo(path)],
    'metadata that is no object': lambda path: pq.write_table(
        pq.read_table(path).replace_schema_metadata({b'fastindex': b'[]'}), path
    ),
    'metadata that is deep': lambda path: pq.write_table(
        pq.read_table(path).replace_schema_metadata({b'fastindex': b'[' * 100_000}), path
    ),
    'nulls': lambda path: pq.write_table(
        pa.table(
            {
                name: pc.if_else(True, None, column)
                for name, column in zip('abc', pq.read_table(path).columns, strict=True)
            }
        ),
        path,
    ),
}


@pytest.mark.parametrize('kind', FINGERPRINTS_OF_OTHERS)
def test_fingerprints_that_are_none_are_no_reason_to_fail(broken, rerun, kind):
    out = broken(lambda out: FINGERPRINTS_OF_OTHERS[kind](out / STATE_FOLDER / FINGERPRINTS))
    code, stdout, _, _ = rerun(out, '--hash=xxh128,md5')
    assert (code, f'{len(TREE) + 1} computed, 0 reused' in stdout) == (0, True)


def test_an_error_of_the_caller_is_not_taken_for_one_of_the_index(indexed, broken, build):
    def fail(change):
        raise ValueError('of the caller')

    out = broken(lambda _: None)
    before = digest_of(out)
    with pytest.raises(ValueError, match='of the caller'):
        build(indexed.tree, out=out, on_change=fail)
    assert tables_digest(out) == tables_digest(indexed.index)
    assert digest_of(out / STATE_FOLDER) != before


@pytest.mark.parametrize('kind', ['a pipe', 'the half of a table', 'a path that is too long'])
def test_a_tree_that_lost_all_its_datasets_is_told_from_one_whose_index_cannot_be_read(
    make_tree, broken, run, kind
):
    tree = make_tree({f'{SESSION}/': None})
    out = broken(KINDS[kind])
    code, _, err = run(tree, '--out', out, '--force', '--workers', 1)
    has_rows = kind == 'a path that is too long'  # they can be counted
    assert (code, 'without a dataset' in err) == ((2, True) if has_rows else (0, False))


def test_tables_whose_ids_are_asked_for_must_be_fit_to_be_read(indexed, broken, run, tmp_path):
    source = broken(KINDS['a null id'])
    (tmp_path / 'ids').mkdir()
    code, _, err = run(indexed.tree, '--ids-from', source, '--out', tmp_path / 'ids', '--workers', 1)
    assert (code, 'column id has nulls' in err) == (2, True)
    assert list((tmp_path / 'ids').iterdir()) == []

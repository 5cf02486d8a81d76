"""Whatever is wrong with the index that is there, a build replaces it, and says that it could not compare."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import one.alf.cache
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from conftest import SESSION, digest_of, grow, tables_digest
from test_index import TABLES, disown, forge, put, reverse, rewrite

import fastindex
from fastindex import limits
from fastindex.tables.reuse import FINGERPRINTS
from fastindex.trees import STATE_FOLDER, digests

TREE = {
    f'{SESSION[:-1]}{number}/{name}': f'{number}{name}'.encode()
    for number in (1, 2, 3)
    for name in ('alf/a.b.npy', 'alf/#1#/c.d.npy', 'e.f.npy')
}
NEW = f'{SESSION}/new.file.npy'
DIGESTS = ['xxh128', 'md5']

Break = Callable[[Path], object]


def forging(table: str, change: Callable[[pa.Table], pa.Table]) -> Break:
    return lambda root: forge(root, table, change)


def all_dates(day: int) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        days = pa.array([day] * table.num_rows, pa.int32()).cast(pa.date32())
        return table.set_column(table.schema.get_field_index('date'), 'date', days)

    return change


def not_utf8(name: str) -> Callable[[pa.Table], pa.Table]:
    """Bytes that are no UTF-8 in a column of text."""

    def change(table: pa.Table) -> pa.Table:
        column = table[name].combine_chunks()
        broken = pa.array([b'\xff' * len(value.as_py()) for value in column], pa.binary())
        text = pa.StringArray.from_buffers(len(broken), broken.buffers()[1], broken.buffers()[2])
        return table.set_column(table.schema.get_field_index(name), name, text)

    return change


def cast(name: str, kind: pa.DataType) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        return table.set_column(table.schema.get_field_index(name), name, table[name].cast(kind))

    return change


def writing(name: str, data: bytes) -> Break:
    return lambda root: (root / name).write_bytes(data)


def damage(root: Path) -> None:
    data = bytearray((root / 'datasets.pqt').read_bytes())
    data[100] ^= 1  # in the rows
    (root / 'datasets.pqt').write_bytes(data)


def cut(root: Path) -> None:
    os.truncate(root / 'datasets.pqt', (root / 'datasets.pqt').stat().st_size // 2)


def mix(root: Path) -> None:
    """The sessions of an earlier run."""
    shutil.copy(root / 'sessions.pqt', root / 'earlier')
    forge(root, 'datasets', put('file_size', 7))
    (root / 'earlier').replace(root / 'sessions.pqt')


def build_as_the_client(root: Path) -> None:
    about = json.loads(pq.read_metadata(root / 'sessions.pqt').metadata[b'one_metadata'])
    one.alf.cache.make_parquet_db(about['origin'], out_dir=root)


def too_long(root: Path) -> None:
    """As fastindex wrote it before it had a limit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, 'MAX_TEXT_BYTES', 2**20)
        forge(root, 'datasets', put('rel_path', f'{"a" * 250}/' * 20 + 'a.b.npy'))


def say(**facts: object) -> Break:
    """Other facts than ours, in tables without digests."""

    def change(table: pa.Table) -> pa.Table:
        place = table.schema.get_field_index('hash')
        return table.drop_columns('xxh128').set_column(place, 'hash', pa.nulls(table.num_rows))

    return lambda root: forge(root, 'datasets', change, **facts)


def say_of_generation(value: object) -> Break:
    """Something else than the digest of the rows, in both tables."""

    def change(root: Path) -> None:
        for table in TABLES:
            path = root / f'{table}.pqt'
            metadata = {**pq.read_metadata(path).metadata}
            del metadata[b'ARROW:schema']
            said = {**json.loads(metadata[b'fastindex']), 'generation': value}
            rows = pq.read_table(path).replace_schema_metadata({**metadata, b'fastindex': json.dumps(said)})
            pq.write_table(rows, path)

    return change


def nest(root: Path) -> None:
    for table in TABLES:
        rows = pq.read_table(root / f'{table}.pqt')
        metadata = {**rows.schema.metadata, b'fastindex': b'[' * 100_000}
        pq.write_table(rows.replace_schema_metadata(metadata), root / f'{table}.pqt')


def pipe(root: Path) -> None:
    (root / 'datasets.pqt').unlink()
    os.mkfifo(root / 'datasets.pqt')


NO_ID = '00000000-0000-3000-8000-000000000000'

ROWS: dict[str, Break] = {
    'a path that is too long': too_long,
    'datasets out of order': forging('datasets', reverse),
    'sessions out of order': forging('sessions', reverse),
    'a dataset of no session': forging('datasets', put('eid', NO_ID)),
    'sessions without datasets gone': forging('sessions', lambda table: table.slice(1)),
    'no sessions at all': forging('sessions', lambda table: table.slice(table.num_rows)),
    'a dataset twice': forging('datasets', lambda table: pa.concat_tables([table.slice(0, 1), table])),
    'a null eid': forging('datasets', put('eid', None)),
    'a null id': forging('datasets', put('id', None)),
    'a null size': forging('datasets', put('file_size', None)),
    'a null path': forging('datasets', put('rel_path', None)),
    'a null digest': forging('datasets', put('xxh128', None)),
    'a null session': forging('sessions', put('id', None)),
    'a null date': forging('sessions', put('date', None)),
    'ids of another length': forging('datasets', put('id', 'x' * 40)),
    'eids that are none': forging('datasets', put('eid', 'x')),
    'an empty eid': forging('datasets', put('eid', '')),
    'digests of another length': forging('datasets', put('xxh128', '0' * 31)),
    'digests that are none': forging('datasets', put('xxh128', 'x' * 32)),
    'digests in capitals': forging('datasets', put('hash', 'A' * 32)),
    'digests of blanks': forging('datasets', put('hash', ' ' * 32)),
    'paths out of the session': forging('datasets', put('rel_path', '../../x')),
    'paths that are not UTF-8': forging('datasets', not_utf8('rel_path')),
    'eids that are not UTF-8': forging('datasets', not_utf8('eid')),
    'subjects that are not UTF-8': forging('sessions', not_utf8('subject')),
    'days after the calendar': forging('sessions', all_dates(2**31 - 1)),
    'days before the calendar': forging('sessions', all_dates(-(2**31))),
    'a number that no session has': forging('sessions', put('number', 65535)),
}
FILES: dict[str, Break] = {
    'other types, and our metadata': lambda root: rewrite(root, 'datasets', cast('file_size', pa.string())),
    'a column less': lambda root: rewrite(root, 'datasets', lambda table: table.drop_columns(['qc'])),
    'another digest than it says': lambda root: rewrite(root, 'datasets', lambda table: table),
    'algorithms that are none': say(algorithms=[['md5'], {'xxh128': 1}]),
    'algorithms of a newer version': say(algorithms=['blake3']),
    'algorithms that are no list': say(algorithms=7),
    'no algorithms': say(algorithms=None),
    'a generation that is a number': say_of_generation(7),
    'a generation that is a list': say_of_generation([]),
    'metadata that is deep': nest,
    'a bit that has flipped': damage,
    'the half of a table': cut,
    'an empty file': writing('datasets.pqt', b''),
    'a text': writing('sessions.pqt', b'not a table at all'),
    'a pair of two runs': mix,
    'one table alone': lambda root: (root / 'sessions.pqt').unlink(),
}
FOREIGN: dict[str, Break] = {
    'a pipe': pipe,
    "tables of the client's builder": build_as_the_client,
    'tables of another program': disown,
    'tables of another program, out of order': lambda root: [
        disown(root),
        rewrite(root, 'datasets', reverse),
    ],
    'tables of another program, with nulls': lambda root: [
        disown(root),
        rewrite(root, 'datasets', lambda table: put('eid', None)(put('rel_path', None)(table))),
    ],
}
KINDS = {**ROWS, **FILES, **FOREIGN}
"""What may be wrong with an index. Those of `FOREIGN` may need to be told that they are to be replaced."""


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
        patch.setattr(digests, 'SETTLED_NS', -(10**12))
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


@pytest.mark.parametrize(
    ('kind', 'hash'), [*((kind, 'hash') for kind in KINDS), ('a path that is too long', ''), ('a text', '')]
)
def test_a_build_replaces_whatever_was_there_and_says_what_it_could_not_do(
    indexed, broken, rerun, kind, hash
):
    out = broken(KINDS[kind])
    before = digest_of(out)
    words = [*(['--hash=xxh128,md5'] if hash else []), *(['--force'] if kind in FOREIGN else [])]
    for code, more in ((1, ['--check']), (0, [])):
        assert digest_of(out) == before
        found = rerun(out, *words, *more)
        assert found[0] == code
        assert 'since the last index' not in found[1]
        assert 'warning: the index before could not be compared with this one: ' in found[2]
        assert (found[2].count('\n'), found[3]) == (1, '')
    assert tables_digest(out) == indexed.first[hash]
    assert list(fastindex.verify_index(out)) == []
    assert rerun(out, *words)[2:] == ('', '')


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
    assert (code, 'sessions without a dataset' in err) == ((2, True) if has_rows else (0, False))


def test_tables_whose_ids_are_asked_for_must_be_fit_to_be_read(indexed, broken, run, tmp_path):
    source = broken(KINDS['a null id'])
    (tmp_path / 'ids').mkdir()
    code, _, err = run(indexed.tree, '--ids-from', source, '--out', tmp_path / 'ids', '--workers', 1)
    assert (code, 'column id has nulls' in err) == (2, True)
    assert list((tmp_path / 'ids').iterdir()) == []

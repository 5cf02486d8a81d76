"""Whatever may be wrong with an index that is there: each kind by its name, and how to make it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import one.alf.cache
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastindex import limits
from tests.support.tables import TABLES, disown, forge, put, reverse, rewrite

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

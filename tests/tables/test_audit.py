"""The faults of an index by itself: each rule of the contract is named where it is broken, and only there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import one.alf.cache
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from iblutil.io import parquet

import fastindex
from fastindex.tables.faults import RULES
from tests.support.tables import disown, put, reverse
from tests.support.trees import SESSION

FIRST, SECOND = f'{SESSION}/alf/a.b.npy', f'{SESSION}/alf/#1#/a.b.npy'
THIRD = f'{SESSION[:-1]}2/c.d.npy'


@pytest.fixture
def index(make_tree, build) -> Path:
    """An index that another program might have written, and wrote well."""
    root = make_tree({FIRST: b'x', SECOND: b'', THIRD: b''})
    build(root, hash=['xxh128', 'md5'])
    disown(root)
    return root


def codes(folder: Path) -> set[str]:
    return {fault.code for fault in fastindex.verify_index(folder)}


def cast(name: str, kind: pa.DataType) -> Callable[[pa.Table], pa.Table]:
    def change(rows: pa.Table) -> pa.Table:
        place = rows.schema.get_field_index(name)
        return rows.set_column(place, name, rows[name].cast(kind))

    return change


def fill(name: str, values: Any) -> Callable[[pa.Table], pa.Table]:
    def change(rows: pa.Table) -> pa.Table:
        place = rows.schema.get_field_index(name)
        column = values if isinstance(values, pa.Array) else pa.array([values] * rows.num_rows)
        return rows.set_column(place, name, column)

    return change


def drop(name: str) -> Callable[[pa.Table], pa.Table]:
    return lambda rows: rows.drop_columns([name])


def twice(rows: pa.Table) -> pa.Table:
    return pa.concat_tables([rows, rows])


def tell(key: bytes, value: bytes | None) -> Callable[[pa.Table], pa.Table]:
    """Change the metadata."""

    def change(rows: pa.Table) -> pa.Table:
        metadata = {name: text for name, text in rows.schema.metadata.items() if name != key}
        return rows.replace_schema_metadata(metadata if value is None else {**metadata, key: value})

    return change


def category(names: list[str], *, ordered: bool) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0, 0, 0], pa.int8()), pa.array(names), ordered=ordered)


QC = ['NOT_SET', 'PASS', 'WARNING', 'FAIL', 'CRITICAL']
UUID = '5d0a0b3c-0f4c-4d6e-8f00-000000000000'
ABOUT = {'date_created': '2024-01-01 00:00+01:00', 'origin': 'x'}
CASES: list[tuple[str, str, Callable[[pa.Table], pa.Table]]] = [
    ('no-one-metadata', 'sessions', tell(b'one_metadata', None)),
    ('no-one-metadata', 'datasets', tell(b'one_metadata', b'[]')),
    ('wrong-one-metadata', 'datasets', tell(b'one_metadata', json.dumps(ABOUT).encode())),
    ('wrong-one-metadata', 'datasets', tell(b'one_metadata', b'{"origin": "x"}')),
    ('no-pandas-metadata', 'datasets', tell(b'pandas', None)),
    ('missing-column', 'sessions', drop('subject')),
    ('missing-column', 'datasets', drop('file_size')),
    ('wrong-type', 'sessions', cast('date', pa.string())),
    ('wrong-type', 'datasets', cast('file_size', pa.float64())),
    ('wrong-type', 'datasets', fill('exists', 'yes')),
    (
        'dictionary-id',
        'datasets',
        lambda rows: fill('eid', rows['eid'].combine_chunks().dictionary_encode())(rows),
    ),
    ('null', 'datasets', put('file_size', None)),
    ('null', 'sessions', put('lab', None)),
    ('null', 'datasets', put('exists', None)),
    ('wrong-id', 'sessions', put('id', '5d0a0b3c-0f4c-5d6e-8f00-000000000000')),
    ('wrong-id', 'datasets', put('id', '00000000-0000-1000-8000-00000000000A')),
    ('duplicate-session-id', 'sessions', twice),
    ('duplicate-dataset-id', 'datasets', fill('id', UUID)),
    ('unsorted', 'sessions', reverse),
    ('unsorted', 'datasets', reverse),
    ('wrong-name', 'sessions', put('subject', '..')),
    ('wrong-name', 'sessions', put('lab', 'a/b')),
    ('wrong-number', 'sessions', put('number', 1000)),
    ('twin-sessions', 'sessions', lambda rows: fill('number', pa.array([1, 1], pa.uint16()))(rows)),
    ('orphan', 'datasets', put('eid', '00000000-0000-3000-8000-000000000000')),
    ('unsafe-path', 'datasets', put('rel_path', '../a.b.npy')),
    ('not-alf', 'datasets', put('rel_path', 'alf/notes.txt')),
    ('empty-hash', 'datasets', put('hash', '')),
    ('empty-hash', 'datasets', put('hash', None)),
    ('wrong-hash', 'datasets', put('hash', 'A' * 32)),
    ('wrong-xxh128', 'datasets', put('xxh128', 'no digest')),
    ('wrong-qc', 'datasets', fill('qc', category(QC, ordered=False))),
    ('wrong-qc', 'datasets', fill('qc', category(QC[::-1], ordered=True))),
    ('wrong-qc', 'datasets', fill('qc', category(QC[:2], ordered=True))),
    ('no-qc', 'datasets', drop('qc')),
    ('no-default-revision', 'datasets', drop('default_revision')),
    ('two-default-revisions', 'datasets', fill('default_revision', True)),
    ('no-default-among-revisions', 'datasets', fill('default_revision', False)),
    (
        'old-default-revision',
        'datasets',
        lambda rows: fill(
            'default_revision', pa.array(['#' not in path for path in rows['rel_path'].to_pylist()])
        )(rows),
    ),
]


FOLLOWS = {
    'missing-column': {'orphan'},
    'wrong-id': {'orphan', 'unsorted'},
    'duplicate-session-id': {'twin-sessions', 'unsorted'},
    'duplicate-dataset-id': set(),
    'orphan': {'no-default-among-revisions', 'unsorted'},
    'unsafe-path': {'no-default-among-revisions'},
    'not-alf': {'no-default-among-revisions'},
    'null': set(),
}
"""What else is broken by the same change: datasets lose their session, revisions their dataset."""


def test_a_good_index_has_no_fault(index):
    assert codes(index) == set()


@pytest.mark.parametrize('hash', [(), ('xxh128',), ('md5',)], ids=str)
def test_no_index_of_ours_has_a_fault(make_tree, build, hash):
    root = make_tree({FIRST: b'x', SECOND: b'', THIRD: b'', 's/2024-01-01/001/': None})
    build(root, hash=hash)
    assert codes(root) == set()


def test_an_empty_index_of_ours_has_no_fault(make_tree, build):
    root = make_tree({'lab/': None})
    build(root, allow_empty=True)
    assert codes(root) == set()


@pytest.mark.long
@pytest.mark.parametrize(
    ('code', 'table', 'change'), CASES, ids=[f'{c}-{i}' for i, (c, _, _) in enumerate(CASES)]
)
def test_each_rule_is_named_where_it_is_broken(index, code, table, change):
    path = index / f'{table}.pqt'
    pq.write_table(change(pq.read_table(path)), path)
    found = codes(index)
    assert code in found
    assert found <= {code, *FOLLOWS.get(code, ())}


def test_a_column_that_pandas_would_take_for_the_index_is_named(index):
    path = index / 'datasets.pqt'
    rows = pq.read_table(path).append_column('video', pa.array(['x'] * 3))
    pq.write_table(rows, path)
    assert codes(index) == set()
    pq.write_table(tell(b'pandas', None)(rows), path)
    assert codes(index) == {'no-pandas-metadata', 'other-id-column'}


def test_a_table_without_the_schema_of_arrow_is_named(index):
    """As a program writes it that knows Parquet and not Arrow."""
    path = index / 'datasets.pqt'
    pq.write_table(pq.read_table(path), path, store_schema=False)
    assert codes(index) == {'no-arrow-schema', 'no-one-metadata', 'no-pandas-metadata'}


def test_a_qc_column_without_rows_is_named(index):
    path = index / 'datasets.pqt'
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    assert codes(index) == {'wrong-qc'}


def test_another_table_in_the_folder_is_named(index):
    shutil.copy(index / 'sessions.pqt', index / '.old.pqt')
    (fault,) = fastindex.verify_index(index)
    assert (fault.code, fault.table) == ('foreign-table', '.old.pqt')


def test_damage_is_named(make_tree, build):
    root = make_tree({FIRST: b'x'})
    build(root)
    data = bytearray((root / 'datasets.pqt').read_bytes())
    data[30] ^= 1
    (root / 'datasets.pqt').write_bytes(data)
    assert 'damaged' in codes(root)
    (root / 'datasets.pqt').write_bytes(b'PAR1')
    assert codes(root) == {'damaged'}


def test_a_mixed_pair_is_named(make_tree, build, tmp_path):
    root = make_tree({FIRST: b'x'})
    build(root)
    shutil.copy(root / 'sessions.pqt', tmp_path)
    (root / FIRST).write_bytes(b'xx')
    build(root)
    shutil.copy(tmp_path / 'sessions.pqt', root)
    assert codes(root) == {'mixed-pair'}


def test_a_missing_table_is_no_fault_but_an_error(tmp_path):
    with pytest.raises(fastindex.InvalidIndexError, match='there is no such table'):
        list(fastindex.verify_index(tmp_path))


@pytest.mark.parametrize('hash_files', [False, True])
def test_the_faults_of_the_clients_own_builder_are_named(make_tree, monkeypatch, hash_files):
    monkeypatch.setattr('iblutil.io.hashfile.BUF_SIZE', 2**16)
    root = make_tree({FIRST: b'x', THIRD: b'', f'{SESSION[:-1]}2/alf/a.b.npy': b''})
    one.alf.cache.make_parquet_db(root, hash_files=hash_files)
    expected = {'duplicate-dataset-id', 'no-default-revision'}
    assert codes(root) == expected | (set() if hash_files else {'empty-hash'})


def test_each_rule_is_tried():
    others = {'damaged', 'mixed-pair', 'foreign-table', 'other-id-column', 'no-arrow-schema', 'null-size'}
    others |= {'unknown-session'}
    assert set(RULES) == {code for code, _, _ in CASES} | others


def test_a_fault_says_what_follows_and_what_to_do(index):
    path = index / 'datasets.pqt'
    pq.write_table(put('hash', '')(pq.read_table(path)), path)
    (fault,) = fastindex.verify_index(index)
    assert str(fault).startswith('datasets.pqt: column hash is')
    assert 'MD5' in fault.consequence
    assert 'python -m fastindex ROOT' in fault.remedy


def test_what_is_usual_in_a_database_is_a_warning_there_and_all_advice_keeps_the_ids(index, run):
    for name in ('sessions', 'datasets'):
        frame, about = parquet.load(index / f'{name}.pqt')
        if name == 'datasets':
            frame['file_size'] = frame['file_size'].astype('UInt64').mask(frame['rel_path'].str.len() > 0)
        parquet.save(index / f'{name}.pqt', frame.iloc[::-1], about)
    faults = list(fastindex.verify_index(index))
    assert {(fault.code, fault.severity) for fault in faults} == {
        (code, 'warning') for code in ('unsorted', 'null-size')
    }
    assert all('`ids_from`' in fault.remedy for fault in faults)
    code, out, _ = run('verify', '--index-only', index)
    assert (code, out.splitlines()[-1].rpartition(': ')[2]) == (0, f'{len(faults)} warnings')
    assert 'do: fastindex ROOT, with --ids-from and the folder of these tables, keeps' in out
    pq.write_table(drop('default_revision')(pq.read_table(index / 'datasets.pqt')), index / 'datasets.pqt')
    assert {fault.severity for fault in fastindex.verify_index(index)} == {'warning', 'error'}
    assert run('verify', '--index-only', index)[0] == 1


def test_where_ids_cannot_be_kept_the_advice_says_so(make_tree):
    root = make_tree({FIRST: b'x', f'{SESSION[:-1]}2/alf/a.b.npy': b''})
    one.alf.cache.make_parquet_db(root)
    assert {'`force`' in fault.remedy for fault in fastindex.verify_index(root)} == {True}

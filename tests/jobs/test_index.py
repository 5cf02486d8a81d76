"""The door: what is opened, and what is refused before a row of it is used."""

from __future__ import annotations

import os
import shutil
import warnings
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import one.alf.cache
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import fastindex
from fastindex import InvalidIndexError
from fastindex.names.alf import judge_file, judge_folder
from fastindex.tables import check
from tests.support.tables import TABLES, disown, forge, put, reverse, rewrite
from tests.support.trees import SESSION

FIRST, SECOND = f'{SESSION}/alf/a.b.npy', f'{SESSION}/alf/#1#/c.d.npy'


@pytest.fixture
def index(make_tree, build) -> Path:
    root = make_tree({FIRST: b'x', SECOND: b'', f'{SESSION[:-1]}2/é.b.npy': b''})
    build(root, hash=['xxh128', 'md5'])
    return root


def test_both_tables_are_given_as_they_are(index):
    found = fastindex.open(index)
    for table in TABLES:
        assert getattr(found, table).collect().equals(pl.read_parquet(index / f'{table}.pqt'))


@pytest.mark.parametrize('hash', [(), ('xxh128',), ('md5',)], ids=str)
def test_every_index_of_ours_can_be_opened(make_tree, build, hash):
    root = make_tree({FIRST: b'x', SECOND: b''})
    generation = build(root, hash=hash).generation
    assert fastindex.open(root).generation == generation


def test_an_index_without_rows_can_be_opened(make_tree, build):
    root = make_tree({'lab/Subjects/s1/': None})
    build(root, allow_empty=True)
    found = fastindex.open(root)
    assert (found.sessions.collect().height, found.datasets.collect().height) == (0, 0)


def test_an_index_of_sessions_without_datasets_can_be_opened(make_tree, build):
    root = make_tree({f'{SESSION}/': None})
    build(root)
    assert fastindex.open(root).sessions.collect().height == 1


def test_an_index_of_several_row_groups_can_be_opened(make_tree, build, monkeypatch):
    monkeypatch.setattr('fastindex.tables.write.ROW_GROUP_ROWS', 3)
    monkeypatch.setattr('fastindex.limits.BATCH_ROWS', 2)
    root = make_tree({f'lab/Subjects/s{i}/2024-01-01/001/a.b.{j}': b'' for i in range(5) for j in range(4)})
    build(root)
    assert pq.read_metadata(root / 'datasets.pqt').num_row_groups > 5
    assert fastindex.open(root).datasets.collect().height == 20


@pytest.mark.parametrize('hash_files', [False, True])
def test_an_index_of_the_clients_own_builder_can_be_opened(make_tree, monkeypatch, hash_files):
    monkeypatch.setattr('iblutil.io.hashfile.BUF_SIZE', 2**16)
    root = make_tree({FIRST: b'x', SECOND: b''})
    one.alf.cache.make_parquet_db(root, hash_files=hash_files)
    found = fastindex.open(root)
    assert found.generation is None
    assert set(found.datasets.collect()['rel_path']) == {'alf/a.b.npy', 'alf/#1#/c.d.npy'}


def test_an_empty_index_of_the_clients_own_builder_can_be_opened(make_tree):
    root = make_tree({'lab/': None})
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', RuntimeWarning)
        one.alf.cache.make_parquet_db(root)
    assert fastindex.open(root).sessions.collect().height == 0


def test_a_folder_of_any_name_can_be_opened(make_tree, build):
    root = Path(os.fsdecode(os.fsencode(make_tree({FIRST: b''})) + b'-caf\xe9'))
    root.mkdir()
    build(make_tree({}), out=root)
    assert fastindex.open(root).sessions.collect().height == 1


def change_in_place(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    with path.open('r+b') as file:
        file.write(content)


@pytest.mark.parametrize('how', ['by a run', 'in place', 'in place, of another program'])
def test_a_table_that_is_replaced_after_it_was_opened_is_not_used(index, build, how):
    if 'program' in how:
        disown(index)
    found = fastindex.open(index)
    if how == 'by a run':
        (index / FIRST).unlink()
        build(index)
    else:
        change_in_place(index / 'datasets.pqt')
    with pytest.raises(InvalidIndexError, match=r'datasets.pqt: .*open it again'):
        _ = found.datasets


@pytest.mark.long
def test_a_table_is_the_same_whatever_times_and_inodes_a_share_tells(index, run, tmp_path, monkeypatch):
    """On SMB the time of a file may be another one a moment after it was written."""
    told = count()

    def tell_another(fd):
        info = os.fstat(fd)
        fields = ('st_mode', 'st_size', 'st_dev')
        names = {name: getattr(info, name) for name in fields}
        return SimpleNamespace(**names, st_ino=next(told), st_mtime_ns=next(told))

    shim = SimpleNamespace(**{**vars(os), 'fstat': tell_another})
    monkeypatch.setattr('fastindex.tables.file.os', shim)
    found = fastindex.open(index)
    assert (found.sessions.collect().height, found.datasets.collect().height) == (2, 3)
    for words in (
        [index, '--hash'],
        [index, '--quick'],
        ['release', index, '--out', tmp_path / 'x.zip', '--force'],
        ['verify', index, '--hash'],
        ['search', index, '--count'],
    ):
        assert run(*words)[0] == 0, words


def test_frames_stay_what_they_were_when_the_table_is_replaced(index, build):
    frame = fastindex.open(index).datasets
    (index / FIRST).unlink()
    build(index)
    assert frame.collect().height == 3


def test_a_mixed_pair_is_refused(index, build, tmp_path):
    shutil.copy(index / 'sessions.pqt', tmp_path / 'old')
    (index / FIRST).unlink()
    build(index)
    shutil.copy(tmp_path / 'old', index / 'sessions.pqt')
    with pytest.raises(InvalidIndexError, match=r'different generations: run python -m fastindex'):
        fastindex.open(index)


@pytest.mark.parametrize('table', TABLES)
def test_a_missing_table_is_refused(index, table):
    (index / f'{table}.pqt').unlink()
    with pytest.raises(InvalidIndexError, match=f'{table}.pqt: there is no such table'):
        fastindex.open(index)


@pytest.mark.parametrize('content', [b'', b'PAR1', b'PAR1' + bytes(8) + b'PAR1', b'x' * 999], ids=len)
def test_what_is_no_table_is_refused(index, content):
    (index / 'sessions.pqt').write_bytes(content)
    with pytest.raises(InvalidIndexError, match='not Parquet, or damaged'):
        fastindex.open(index)


def test_a_pipe_in_the_place_of_a_table_is_refused_and_not_waited_for(index):
    (index / 'sessions.pqt').unlink()
    os.mkfifo(index / 'sessions.pqt')
    with pytest.raises(InvalidIndexError, match='this is no file, expected a table'):
        fastindex.open(index)


def test_a_looping_link_in_the_place_of_a_table_is_refused(index):
    (index / 'sessions.pqt').unlink()
    (index / 'sessions.pqt').symlink_to('sessions.pqt')
    with pytest.raises(InvalidIndexError, match='cannot be opened'):
        fastindex.open(index)


def test_a_table_behind_a_link_can_be_opened(index, tmp_path):
    (index / 'sessions.pqt').rename(tmp_path / 'elsewhere')
    (index / 'sessions.pqt').symlink_to(tmp_path / 'elsewhere')
    assert fastindex.open(index).sessions.collect().height == 2


UNSAFE_PATHS = [
    '../x.y.z',
    '/a.b.npy',
    'alf/../../a.b.npy',
    'a.b\0.npy',
    '',
    '.',
    'alf//a.b.c',
    'alf/',
    './a.b.c',
]
UNSAFE_PATHS += ['..\\a.b.npy', '\x1b]0;x\x07/a.b.npy', 'a\n/b.c.d', 'alf/' * 1024 + 'a.b.c', 'a/..', '..']


@pytest.mark.long
@pytest.mark.parametrize('path', UNSAFE_PATHS, ids=repr)
def test_a_path_that_leads_out_of_its_session_is_refused(index, path):
    disown(index)
    rewrite(index, 'datasets', put('rel_path', path))
    with pytest.raises(InvalidIndexError, match='rel_path') as caught:
        fastindex.open(index)
    assert str(caught.value).isprintable()


@pytest.mark.long
@pytest.mark.parametrize(
    ('table', 'column', 'value'),
    [
        ('datasets', 'id', 'x'),
        ('datasets', 'id', '5d0a0b3c-0f4c-5d6e-8f00-000000000000'),  # version 5
        ('datasets', 'id', '5d0a0b3c-0f4c-3d6e-8f00-000000000000\n'),
        ('datasets', 'eid', '5D0A0B3C-0F4C-4D6E-8F00-000000000000'),
        ('datasets', 'eid', None),
        ('sessions', 'id', '../../etc'),
        ('sessions', 'subject', '..'),
        ('sessions', 'subject', ''),
        ('sessions', 'subject', 'a/b'),
        ('sessions', 'lab', '../lab'),
        ('sessions', 'lab', None),
        ('sessions', 'number', 1000),
        ('sessions', 'date', None),
    ],
)
def test_a_value_that_the_client_could_not_use_is_refused(index, table, column, value):
    disown(index)
    assert fastindex.open(index).generation is None
    rewrite(index, table, put(column, value))
    with pytest.raises(InvalidIndexError, match=rf'{table}.pqt: column {column} '):
        fastindex.open(index)


def test_days_beyond_the_calendar_are_refused(index):
    disown(index)
    days = pa.array([2**31 - 1, 0], pa.int32()).cast(pa.date32())
    rewrite(
        index, 'sessions', lambda table: table.set_column(table.schema.get_field_index('date'), 'date', days)
    )
    with pytest.raises(InvalidIndexError, match='column date'):
        fastindex.open(index)


@pytest.mark.parametrize(('table', 'column'), [('datasets', 'file_size'), ('sessions', 'number')])
def test_columns_of_ours_that_are_missing_are_named(index, table, column):
    """Those of others: see tests/tables/test_columns.py."""
    rewrite(index, table, lambda rows: rows.drop_columns([column]))
    with pytest.raises(InvalidIndexError, match=f'its columns are .*{column}'):
        fastindex.open(index)


def test_an_id_twice_is_refused(index):
    disown(index)
    rewrite(index, 'sessions', lambda table: pa.concat_tables([table, table]))
    with pytest.raises(InvalidIndexError, match='twice'):
        fastindex.open(index)


def test_a_forged_index_that_is_well_formed_is_opened(index):
    forge(index, 'datasets', lambda table: table)
    assert fastindex.open(index).datasets.collect().height == 3


@pytest.mark.long
@pytest.mark.parametrize(
    ('table', 'change', 'message'),
    [
        ('datasets', put('rel_path', '../x'), 'rel_path'),
        ('datasets', put('rel_path', 'alf/notes.txt'), 'rel_path'),
        ('datasets', put('rel_path', 'my alf/a.b.npy'), 'rel_path'),
        ('datasets', put('rel_path', '#1#/alf/a.b.npy'), 'rel_path'),
        ('datasets', put('xxh128', '\x1b[31m'), 'xxh128'),
        ('datasets', put('hash', 'A' * 32), 'hash'),
        ('datasets', put('eid', '00000000-0000-3000-8000-000000000000'), 'sessions that are not'),
        ('datasets', reverse, 'order'),
        ('datasets', lambda table: pa.concat_tables([table.slice(0, 1), table]), 'twice'),
        ('sessions', reverse, 'order'),
        ('sessions', lambda table: table.slice(1), 'sessions that are not'),
    ],
)
def test_a_forged_index_is_held_to_the_contract(index, table, change, message):
    forge(index, table, change)
    with pytest.raises(InvalidIndexError, match=message):
        fastindex.open(index)


@pytest.mark.long
def test_a_small_file_of_many_rows_is_refused_before_they_are_read(index):
    rows = 10_000_000
    zeros = pa.Array.from_buffers(pa.int8(), rows, [None, pa.py_buffer(bytes(rows))])
    same = pa.DictionaryArray.from_arrays(zeros, pa.array(['5d0a0b3c-0f4c-3d6e-8f00-000000000000']))
    table = pa.table({'eid': same, 'id': same, 'rel_path': same, 'file_size': zeros})
    disown(index)
    pq.write_table(
        table, index / 'datasets.pqt', compression='zstd', row_group_size=rows, data_page_size=2**28
    )
    assert (index / 'datasets.pqt').stat().st_size < 2**21
    with pytest.raises(InvalidIndexError, match=r'10,000,000 rows in [\d,]+ bytes'):
        fastindex.open(index)


def test_a_footer_that_claims_much_is_refused(index):
    path = index / 'sessions.pqt'
    path.write_bytes(b'PAR1' + bytes(2**23 + 10) + (2**23 + 1).to_bytes(4, 'little') + b'PAR1')
    with pytest.raises(InvalidIndexError, match='a footer of 8,388,609 bytes'):
        fastindex.open(index)


@pytest.mark.parametrize(
    'metadata', [b'[]', b'{', b'\xff', b'{"generation": 1}', b'{"generation": null}'], ids=repr
)
def test_metadata_that_is_none_of_ours_is_refused_or_passed_over(index, metadata):
    for table in TABLES:
        rows = pq.read_table(index / f'{table}.pqt')
        pq.write_table(
            rows.replace_schema_metadata({**rows.schema.metadata, b'fastindex': metadata}),
            index / f'{table}.pqt',
        )
    if b'null' in metadata:
        assert fastindex.open(index).generation is None
    else:
        with pytest.raises(InvalidIndexError):
            fastindex.open(index)


names = st.text('ab_.-#é9', max_size=6) | st.sampled_from(
    ['_ibl_a.b_times.c', 'a.b', 'alf', '#1#', 'a._x_b_c.d-e.f']
)
paths = st.lists(names, min_size=1, max_size=4).map('/'.join)


@given(paths)
@example('alf/#2024-05-06#/_ibl_trials.goCue_times_bpod.raw.v1-2.npy')
def test_the_fast_grammar_lets_nothing_pass_that_the_grammar_does_not(path):
    folder, _, name = path.rpartition('/')
    if pc.match_substring_regex(pa.array([path]), check._ASCII_REL_PATH)[0].as_py():
        assert judge_folder(folder) is None
        assert judge_file(name) is None


def test_the_fast_grammar_lets_ordinary_paths_pass():
    paths = [
        'a.b.c',
        'alf/#1#/_ibl_a.b_times.npy',
        'a-b/c.d/_phy_s.t._x_y.z',
        'x/_ns_obj.attr_clock.e-x.tra.npy',
    ]
    assert pc.all(pc.match_substring_regex(pa.array(paths), check._ASCII_REL_PATH)).as_py()


def transplant(source: Path, target: Path, column: str) -> None:
    """Copy the bytes of a column from one table into another, as a disk does that lost a write."""
    chunks = []
    for path in (source, target):
        group = pq.read_metadata(path).row_group(0)
        [chunk] = [
            group.column(i) for i in range(group.num_columns) if group.column(i).path_in_schema == column
        ]
        start = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
        chunks.append(slice(start, start + chunk.total_compressed_size))
    data, old = bytearray(target.read_bytes()), source.read_bytes()[chunks[0]]
    assert len(old) == len(data[chunks[1]])
    assert old != data[chunks[1]]
    data[chunks[1]] = old
    target.write_bytes(data)


def test_a_column_of_an_older_index_whose_checksums_are_right_is_refused(index, build, tmp_path):
    shutil.copy(index / 'datasets.pqt', tmp_path / 'older')
    (index / FIRST).write_bytes(b'yy')
    build(index, hash=['xxh128', 'md5'])
    transplant(tmp_path / 'older', index / 'datasets.pqt', 'file_size')
    assert pq.read_table(index / 'datasets.pqt', page_checksum_verification=True).num_rows == 3
    with pytest.raises(InvalidIndexError, match='another digest than when they were written'):
        fastindex.open(index)


def test_statistics_that_would_mislead_a_filter_are_refused(index):
    path = index / 'datasets.pqt'
    data = bytearray(path.read_bytes())
    first = min(pq.read_table(path)['eid'].to_pylist()).encode()
    place = data.rindex(first)  # in the footer
    data[place] = ord('f')
    path.write_bytes(data)
    with pytest.raises(InvalidIndexError, match='the footer is wrong about what is in the columns'):
        fastindex.open(index)


def varint(number: int) -> bytes:
    """A positive number as Thrift's compact protocol writes it."""
    number <<= 1
    parts = []
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def test_a_footer_that_takes_one_column_for_another_is_refused(index):
    """MD5 digests where XXH3 digests should be: nothing in the rows would tell."""
    path = index / 'datasets.pqt'
    group = pq.read_metadata(path).row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    right, wrong = (varint(columns[name].data_page_offset) for name in ('xxh128', 'hash'))
    assert len(right) == len(wrong)
    data = bytearray(path.read_bytes())
    place = data.rindex(right)
    data[place : place + len(right)] = wrong
    path.write_bytes(data)
    rows = pq.read_table(path)
    assert rows['xxh128'].equals(rows['hash'])
    with pytest.raises(InvalidIndexError, match='the footer is wrong about where the columns are'):
        fastindex.open(index)


def test_page_checksums_of_another_program_are_checked(index):
    disown(index)
    path = index / 'datasets.pqt'
    options = {'compression': 'none', 'use_dictionary': False, 'write_page_checksum': True}
    rewrite(index, 'datasets', lambda table: table, **options)
    assert fastindex.open(index).generation is None
    data = bytearray(path.read_bytes())
    data[data.index(b'alf/a.b.npy')] = ord('x')
    path.write_bytes(data)
    assert 'xlf/a.b.npy' in pq.read_table(path)['rel_path'].to_pylist()
    with pytest.raises(InvalidIndexError, match='damaged'):
        fastindex.open(index)

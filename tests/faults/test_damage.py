"""P15 damage is noticed, P16 hostile input."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fastindex
from fastindex import InvalidIndexError
from tests.support.injectors import TABLES, environment, run, scaled
from tests.support.patience import PATIENCE_SECONDS
from tests.support.trees import SESSION, Link, digest_of, grow

pytestmark = pytest.mark.fault


def flip(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def flip_footer(data: bytearray, chance: random.Random) -> None:
    start = len(data) - 8 - int.from_bytes(data[-8:-4], 'little')
    data[chance.randrange(start, len(data))] ^= 1 << chance.randrange(8)


def truncate(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data)) :]


def zero(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(data))
    end = min(len(data), start + chance.choice([1, 512, 4096]))
    data[start:end] = bytes(end - start)


def swap(data: bytearray, chance: random.Random) -> None:
    """Exchange two blocks, as a disk does that writes one in the place of the other."""
    size = min(512, len(data) // 2)
    one, other = chance.randrange(len(data) - size), chance.randrange(len(data) - size)
    data[one : one + size], data[other : other + size] = data[other : other + size], data[one : one + size]


DAMAGES: list[Callable[[bytearray, random.Random], None]] = [flip, flip_footer, truncate, zero, swap]


def everything(index: fastindex.Index) -> list[Any]:
    """All that a reader gets: the rows, and what filters find with the help of the statistics."""
    sessions, datasets = index.sessions, index.datasets
    some = sessions.collect().row(3, named=True)
    return [
        sessions.collect().to_dicts(),
        datasets.collect().to_dicts(),
        datasets.filter(pl.col('eid') == some['id']).collect().height,
        sessions.filter(pl.col('subject') == some['subject']).collect().height,
        sessions.filter(pl.col('lab') < some['lab']).select(pl.len()).collect().item(),
        datasets.select(pl.len()).collect().item(),
        index.generation,
    ]


def metadata_of(folder: Path) -> list[Any]:
    """What the client reads beside the rows."""
    return [
        pq.read_metadata(folder / name).metadata[key]
        for name in TABLES
        for key in (b'one_metadata', b'pandas')
    ]


def test_no_damaged_table_is_read_wrong(tmp_path, figure):
    tree = {
        f'lab{i % 3}/Subjects/s{i % 9}/2024-01-{1 + i % 28:02}/{i:03}/alf/{name}': b'x' * i
        for i in range(150)
        for name in ('a.b.c', '#1#/a.b.c', 'd.e.f', 'g.h.i')
    }
    root = grow(tmp_path / 'root', tree)
    folder = tmp_path / 'damaged'
    folder.mkdir()
    fates = Counter[str]()
    for hash in ([], ['xxh128', 'md5']):
        fastindex.build(root, workers=1, hash=hash)
        good = {name: (root / name).read_bytes() for name in TABLES}
        true, true_metadata = everything(fastindex.open(root)), metadata_of(root)
        chance = random.Random(0)
        for turn in range(scaled(400, 1000)):
            name = chance.choice(TABLES)
            data = bytearray(good[name])
            damage = DAMAGES[turn % len(DAMAGES)]
            damage(data, chance)
            for table in TABLES:
                (folder / table).write_bytes(data if table == name else good[table])
            try:
                index = fastindex.open(folder)
            except InvalidIndexError:
                assert data != good[name]
                fates['refused'] += 1
                continue
            try:
                found = everything(index)
            except pl.exceptions.PolarsError:
                fates['refused by polars'] += 1
                continue
            assert found == true, (damage.__name__, turn)
            assert metadata_of(folder) == true_metadata, (damage.__name__, turn)
            fates['without effect'] += 1
    total = sum(fates.values())
    assert fates['refused'] > total * 0.8
    assert fates['refused by polars'] < total * 0.02
    figure(
        'P15',
        f'0 of {total:,} damaged tables read wrong ({", ".join(f"{n:,} {f}" for f, n in fates.items())})',
    )


def test_damage_to_a_table_of_another_program_never_goes_beyond_its_rows(tmp_path, figure):
    """The client's builder writes no checksum: damage that leaves a table well-formed cannot be noticed."""
    import one.alf.cache

    root = grow(
        tmp_path / 'root', {f's{i}/2024-01-01/001/alf/a.b.x{j}': b'' for i in range(30) for j in range(5)}
    )
    one.alf.cache.make_parquet_db(root)
    good = {name: (root / name).read_bytes() for name in TABLES}
    chance, fates = random.Random(0), Counter[str]()
    for turn in range(scaled(300, 2000)):
        name = chance.choice(TABLES)
        data = bytearray(good[name])
        DAMAGES[turn % len(DAMAGES)](data, chance)
        for table in TABLES:
            (root / table).write_bytes(data if table == name else good[table])
        try:
            fastindex.open(root)
        except InvalidIndexError:
            fates['refused'] += 1
        else:
            fates['opened'] += 1
    assert fates['refused'] > fates['opened'] > 0
    figure('P15', f"{fates['refused']} of {fates.total()} damaged tables of the client's builder refused")


BOMB = """
import re, sys
import fastindex
try:
    fastindex.open(sys.argv[1])
except fastindex.InvalidIndexError as error:
    print(error)
with open('/proc/self/status') as status:
    print(int(re.search(r'VmHWM:\\s+(\\d+) kB', status.read())[1]) // 1024)
"""


def zeros(rows: int, type: pa.DataType) -> pa.Array:
    return pa.Array.from_buffers(type, rows, [None, pa.py_buffer(bytes(rows * type.bit_width // 8))])


def same(text: str, rows: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(zeros(rows, pa.int8()), pa.array([text]))


UUID = '5d0a0b3c-0f4c-3d6e-8f00-000000000000'
SESSIONS = {
    'id': [UUID],
    'lab': ['lab'],
    'subject': ['s'],
    'date': pa.array([0], pa.date32()),
    'number': pa.array([1], pa.uint16()),
}
BOMBS: dict[str, Callable[[], dict[str, Any]]] = {
    'rows': lambda: {
        **{name: same(UUID, 50_000_000) for name in ('eid', 'id', 'rel_path')},
        'file_size': zeros(50_000_000, pa.int8()),
    },
    'a long path': lambda: {
        'eid': [UUID],
        'id': [UUID],
        'rel_path': ['a/' * 2**26 + 'a.b.c'],
        'file_size': [1],
    },
    'many long paths': lambda: {
        'eid': [UUID] * 500,
        'id': [UUID] * 500,
        'rel_path': ['a' * 10**6] * 500,
        'file_size': [1] * 500,
    },
    'columns': lambda: {f'c{i}': [1] for i in range(20_000)},
}


@pytest.mark.parametrize('bomb', BOMBS)
def test_a_table_that_would_fill_the_memory_is_refused(tmp_path, figure, bomb):
    pq.write_table(pa.table(SESSIONS), tmp_path / 'sessions.pqt')
    table = pa.table(BOMBS[bomb]())
    with (tmp_path / 'datasets.pqt').open('wb') as file:
        pq.write_table(table, file, compression='zstd', row_group_size=table.num_rows, data_page_size=2**30)
    del table
    size = (tmp_path / 'datasets.pqt').stat().st_size
    done = subprocess.run(
        [sys.executable, '-c', BOMB, tmp_path],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=PATIENCE_SECONDS,
    )
    message, peak_mb = done.stdout.splitlines()
    assert 'datasets.pqt: ' in message
    assert int(peak_mb) < 400
    figure('P16', f'{size / 1e6:.1f} MB of {bomb} refused with {peak_mb} MB')


def test_an_index_from_a_stranger_runs_no_code_and_writes_nothing(tmp_path, figure):
    """Metadata that tempts: pickles, paths, terminal sequences; and tables that are links or pipes."""
    root = grow(tmp_path / 'root', {f'{SESSION}/a.b.c': b'x'})
    fastindex.build(root, workers=1)
    tempting = [
        b'cos\nsystem\n(S"touch /tmp/here"\ntR.',
        b'\x1b]0;x\x07',
        b'{"generation": "\\u001b[2J"}',
        b'\xff' * 99,
    ]
    tempting += [
        b'{"generation": "x", "algorithms": ["../x"]}',
        b'[' * 10_000,
        b'9' * 10_000,
        b'{"generation": {}}',
    ]
    opened = 0
    for value in tempting:
        for key in (b'fastindex', b'pandas', b'one_metadata', b'ARROW:schema'):
            for name in TABLES:
                rows = pq.read_table(root / name)
                metadata = {**(rows.schema.metadata or {}), key: value}
                pq.write_table(rows.replace_schema_metadata(metadata), tmp_path / name)
            before = digest_of(tmp_path)
            with contextlib.suppress(InvalidIndexError):
                fastindex.open(tmp_path)
                opened += 1
            assert digest_of(tmp_path) == before
    total = len(tempting) * 4
    figure('P16', f'{total} of {total} tempting metadata read as data ({total - opened} refused)')


def test_a_tree_from_a_stranger_makes_the_run_neither_leave_it_nor_last_for_ever(tmp_path, figure):
    """Links to links that double, loops, a lock, a stage and tables that lead elsewhere, deep folders."""
    victim = grow(tmp_path / 'victim', {'precious.b.npy': b'precious'})
    tree: dict[str | bytes, Any] = {f'{SESSION}/x0/a.b.c': b''}
    for i in range(1, 40):
        tree |= {f'{SESSION}/x{i}/{name}': Link(f'../x{i - 1}') for name in ('l', 'r')}
    tree |= {f'{SESSION}/deep/' + 'd/' * 300 + 'a.b.c': b'', f'{SESSION}/loop': Link('..')}
    root = grow(tmp_path / 'root', tree)
    for planted, target in (
        ('.fastindex', victim),
        ('.fastindex/stage', victim),
        ('.fastindex/lock', victim / 'precious.b.npy'),
        ('sessions.pqt', victim / 'precious.b.npy'),
        ('datasets.pqt', victim / 'new'),
    ):
        (root / planted).parent.mkdir(exist_ok=True)
        (root / planted).symlink_to(target)
        done = run(root, '--workers', '2')
        # A link in the place of the lock is replaced, and what it leads to left alone.
        assert done.returncode == (3 if planted == '.fastindex/lock' else 2), (planted, done)
        assert 'Traceback' not in done.stderr
        (root / planted).unlink()
        if '/' in planted:
            shutil.rmtree(root / '.fastindex')
            for table in TABLES:
                (root / table).unlink(missing_ok=True)
    assert sorted(os.listdir(victim)) == ['precious.b.npy']
    assert (victim / 'precious.b.npy').read_bytes() == b'precious'
    done = run(root, '--workers', '2', '--hash')
    assert done.returncode == 3
    assert fastindex.open(root).datasets.collect().height >= 1
    figure('P16', '5 of 5 planted links refused; 2^40 paths of links to links indexed in bounds')

"""Verify: what differs is found, nothing is invented."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import UUID

import one.alf.cache
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

import fastindex
from fastindex import Difference, Kind
from fastindex.jobs.verify import comparison, expected
from tests.support.cases import cases
from tests.support.mutations import as_nobody, count_mutations
from tests.support.tables import disown, forge, put
from tests.support.trees import SESSION, Fifo, Link, Socket, Sparse, digest_of, grow


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that anybody may enter, as that of pytest is not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.long
def test_each_mutation_is_found_and_none_is_invented(open_folder):
    found, wrong = count_mutations(open_folder, cases(176), seed=0)
    assert wrong == []
    assert found > cases(176)


FIRST, SECOND = f'{SESSION}/alf/a.b.npy', f'{SESSION}/alf/#1#/c.d.npy'
TREE = {FIRST: b'first', SECOND: b'second', 's2/2024-01-01/1/a.b.npy': b'', 's3/2024-01-01/001/': None}


def verify(root: Path, **options: Any) -> list[tuple[str, str]]:
    """The differences: kinds and paths."""
    return [
        (difference.kind.value, difference.path)
        for difference in fastindex.verify(root, **{'workers': 1, **options})
    ]


@pytest.fixture
def indexed(make_tree, build) -> Path:
    root = make_tree(TREE)
    build(root, hash=['xxh128'])
    return root


def test_a_tree_that_was_just_indexed_has_no_difference(indexed):
    verification = fastindex.verify(indexed, hash=True, workers=1)
    assert list(verification) == []
    assert (verification.sessions, verification.datasets, verification.bytes) == (3, 3, 11)
    assert verification.problem_count == 0
    assert verification.seconds > 0


def test_a_difference_says_what_was_expected_and_found(indexed):
    (indexed / FIRST).write_bytes(b'1')
    (indexed / SECOND).write_bytes(b'SECOND')
    resized, altered = sorted(fastindex.verify(indexed, hash=True, workers=1), reverse=True)
    assert resized == Difference(Kind.RESIZED, FIRST, 'size_bytes', 5, 1)
    assert str(resized) == f'{FIRST}: expected 5 bytes, found 1 byte'
    assert altered.measure == 'xxh128'
    assert altered.found == xxhash.xxh3_128_hexdigest(b'SECOND')


@pytest.mark.parametrize(
    ('replacement', 'found'),
    [
        (Fifo(), 'FIFO'),
        (Socket(), 'socket'),
        (Link('nowhere'), 'dangling link'),
        (Link('a.b.npy'), 'looping link'),
        (Link('.'), 'folder'),
    ],
)
def test_the_type_that_was_found_is_named(indexed, monkeypatch, replacement, found):
    (indexed / FIRST).unlink()
    monkeypatch.chdir((indexed / FIRST).parent)  # the address of a socket may have 107 bytes
    grow(Path(), {'a.b.npy': replacement})
    (difference,) = fastindex.verify(indexed, workers=1)
    assert difference == Difference(Kind.RETYPED, FIRST, 'type', 'file', found)


def test_the_fast_level_compares_counts(indexed):
    (indexed / FIRST).unlink()
    shutil.rmtree(indexed / 's3')
    assert [str(difference) for difference in fastindex.verify(indexed, fast=True, workers=1)] == [
        'expected 3 sessions, found 2 sessions',
        'expected 3 datasets, found 2 datasets',
        'expected 11 bytes, found 6 bytes',
    ]


def test_the_fast_level_does_not_see_a_file_that_moved(indexed):
    (indexed / FIRST).rename(indexed / SESSION / 'x.y.npy')
    assert verify(indexed, fast=True) == []
    assert len(verify(indexed)) == 2


@pytest.mark.long
@pytest.mark.parametrize('options', [{}, {'hash': ['xxh128']}, {'hash': ['md5']}], ids=str)
def test_workers_find_what_one_process_finds(example_tree, tmp_path, build, options):
    root = tmp_path / 'tree'
    shutil.copytree(example_tree[0], root, symlinks=True)
    build(root, **options)
    chance = random.Random(0)
    files = sorted(root.rglob('*.npy'))
    for path in chance.sample(files, 40):
        chance.choice([path.unlink, lambda path=path: path.write_bytes(b'x')])()
    shutil.rmtree(files[0].parent.parent)
    alone = list(fastindex.verify(root, workers=1, hash=bool(options)))
    assert len(alone) > 40
    assert list(fastindex.verify(root, workers=2, hash=bool(options))) == alone
    with ThreadPoolExecutor(3) as executor:
        assert list(fastindex.verify(root, executor=executor, hash=bool(options))) == alone


def test_a_session_that_is_scanned_in_parts_is_compared_like_any_other(make_tree, build, monkeypatch):
    monkeypatch.setattr('fastindex.trees.kernel.BLOCK_NAMES', 10)
    monkeypatch.setattr('fastindex.pipeline.scan.PART_ROWS', 7)
    names = [f'{SESSION}/{folder}a.b.x{i}' for folder in ('', 'alf/') for i in range(100)]
    root = make_tree(dict.fromkeys([*names, 's0/2024-01-01/001/a.b.c', 's9/2024-01-01/001/a.b.c'], b'x'))
    build(root)
    assert verify(root) == []
    for name in names[::3]:
        (root / name).unlink()
    assert sorted(verify(root)) == sorted(('missing', name) for name in names[::3])


def test_big_files_are_compared_too(make_tree, build):
    root = make_tree({FIRST: Sparse(20 * 2**20), SECOND: Sparse(17 * 2**20)})
    build(root, hash=['xxh128'])
    assert verify(root, hash=True) == []
    with (root / FIRST).open('r+b') as file:
        file.seek(12_345_678)
        file.write(b'x')
    assert verify(root, hash=True) == [('altered', FIRST)]


@pytest.mark.long
@pytest.mark.parametrize('change', ['renamed', 'gone', 'resized'])
def test_where_all_differs_no_session_is_looked_at_more_than_thrice(make_tree, build, monkeypatch, change):
    """Of sessions that were gone, the rows of all were unpacked at each; of a dataset, the path at each."""
    sessions = [f'lab/Subjects/s{i}/2024-01-01/001' for i in range(100)]
    root = make_tree({f'{session}/a.b.{j}': b'' for session in sessions for j in range(4)})
    build(root)
    if change == 'gone':
        shutil.rmtree(root / 'lab/Subjects')
    elif change == 'renamed':
        (root / 'lab').rename(root / 'other')
    for path in root.rglob('*.b.?') if change == 'resized' else ():
        path.write_bytes(b'x')
    looks = Counter[str]()

    def count(module: Any, name: str) -> None:
        function = getattr(module, name)

        def counting(rows: Any, *others: Any) -> Any:
            rows = list(rows) if name == 'list_session_paths' else rows
            looks[name] += len(rows)
            return function(rows, *others)

        monkeypatch.setattr(module, name, counting)

    count(comparison, 'iter_rows')
    count(expected, 'list_session_paths')
    found = Counter(kind for kind, _ in verify(root))
    assert found.total() == {'renamed': 1000, 'gone': 500, 'resized': 400}[change]
    assert max(looks.values()) <= 3 * len(sessions) * (1 + (change == 'renamed'))


@pytest.mark.long
def test_many_lost_sessions_are_found_in_chunks(make_tree, build, monkeypatch):
    monkeypatch.setattr('fastindex.tables.merge.CHUNK_ROWS', 4)
    monkeypatch.setattr('fastindex.jobs.verify.comparison.CHUNK_ROWS', 4)
    monkeypatch.setattr('fastindex.tables.write.ROW_GROUP_ROWS', 9)
    sessions = [f's{i}/2024-01-01/001' for i in range(60)]
    root = make_tree({f'{session}/a.b.{j}': b'' for session in sessions for j in range(3)})
    build(root)
    for session in sessions[:57]:
        shutil.rmtree(root / session)
    lost = [
        path for session in sessions[:57] for path in [session, *(f'{session}/a.b.{j}' for j in range(3))]
    ]
    assert sorted(verify(root)) == sorted(('missing', path) for path in lost)


def test_parts_are_the_whole_each_dataset_in_one(example_tree, tmp_path):
    root, summary = example_tree
    fastindex.build(root, out=tmp_path, workers=1, hash=['xxh128'])
    parts = [fastindex.verify(root, index=tmp_path, workers=1, hash=True, part=(i, 4)) for i in range(1, 5)]
    assert [list(part) for part in parts] == [[], [], [], []]
    assert sum(part.datasets for part in parts) == summary.datasets
    assert sum(part.bytes for part in parts) == summary.bytes
    assert min(part.datasets for part in parts) > summary.datasets / 10


@pytest.mark.long
def test_each_difference_is_in_one_part_and_stays_there(indexed):
    (indexed / FIRST).unlink()
    grow(indexed, {'new/2024-01-01/001/a.b.npy': b''})
    whole = verify(indexed)
    parts = [verify(indexed, part=(i, 3)) for i in (1, 2, 3)]
    assert sorted(chain(*parts)) == sorted(whole)
    for i in range(20):
        grow(indexed, {f'more{i}/2024-01-01/001/a.b.npy': b''})
    for i, part in enumerate(parts, 1):
        assert set(part) <= set(verify(indexed, part=(i, 3)))


@pytest.mark.parametrize('part', [(0, 3), (4, 3), (1, 2**17)])
def test_a_part_that_is_none_is_refused(indexed, part):
    with pytest.raises(fastindex.UsageError, match=r'part \d+/\d+: expected'):
        fastindex.verify(indexed, part=part)


def test_fast_goes_with_nothing_else(indexed):
    with pytest.raises(fastindex.UsageError, match='`fast` counts the whole tree'):
        fastindex.verify(indexed, fast=True, hash=True)


def test_an_index_without_digests_has_no_contents_to_compare(make_tree, build):
    root = make_tree(TREE)
    build(root)
    with pytest.raises(fastindex.InvalidIndexError, match='no digests'):
        verify(root, hash=True)


def test_a_damaged_index_is_refused(indexed):
    data = bytearray((indexed / 'datasets.pqt').read_bytes())
    data[30] ^= 1
    (indexed / 'datasets.pqt').write_bytes(data)
    with pytest.raises(fastindex.InvalidIndexError, match='damaged'):
        verify(indexed)


def test_nothing_is_written(indexed):
    before = digest_of(indexed), sorted(indexed.rglob('*'))
    verify(indexed, hash=True)
    assert (digest_of(indexed), sorted(indexed.rglob('*'))) == before


def test_what_could_not_be_looked_into_is_a_problem_but_no_difference(indexed):
    grow(indexed, {f'{SESSION}/x.y.npy': Fifo(), f'{SESSION}/z.z.npy': Link('nowhere')})
    verification = fastindex.verify(indexed, workers=1)
    assert list(verification) == []
    assert [problem.path for problem in verification.problems] == [f'{SESSION}/x.y.npy', f'{SESSION}/z.z.npy']
    assert verification.problem_count == 2


def test_a_path_is_escaped_where_it_is_printed(make_tree, build):
    root = make_tree({'s\x1b[2J/2024-01-01/001/a.b.npy': b''})
    build(root)
    (root / 's\x1b[2J/2024-01-01/001/a.b.npy').unlink()
    (difference,) = fastindex.verify(root, workers=1)
    assert difference.path == 's\x1b[2J/2024-01-01/001/a.b.npy'
    assert str(difference).isprintable()


def test_the_work_may_be_ended_before_its_end(indexed):
    shutil.rmtree(indexed / SESSION)
    verification = fastindex.verify(indexed, workers=2)
    next(verification)
    verification.close()
    assert list(verification) == []


def test_an_index_in_another_namespace_is_compared_by_path(make_tree, build):
    root = make_tree(TREE)
    build(root, namespace=UUID(int=5), hash=['md5'])
    assert verify(root, hash=True) == []
    (root / FIRST).write_bytes(b'FIRST')
    assert verify(root, hash=True) == [('altered', FIRST)]


@pytest.mark.long
@pytest.mark.parametrize('hash_files', [False, True])
def test_an_index_of_the_clients_own_builder_is_compared_by_path(make_tree, monkeypatch, hash_files):
    monkeypatch.setattr('iblutil.io.hashfile.BUF_SIZE', 2**16)
    # Its sessions all have datasets, as it knows no others.
    root = make_tree({FIRST: b'first', SECOND: b'second', 's2/2024-01-01/1/a.b.npy': b'x'})
    one.alf.cache.make_parquet_db(root, hash_files=hash_files)
    assert verify(root, hash=hash_files) == []
    assert verify(root, fast=True) == []
    (root / FIRST).write_bytes(b'FIRST')
    (root / SECOND).unlink()
    grow(root, {'s2/2024-01-01/1/new.x.npy': b''})
    altered = {('altered', FIRST)} if hash_files else set()
    found = verify(root, hash=hash_files)
    assert set(found) == {('missing', SECOND), ('unexpected', 's2/2024-01-01/1/new.x.npy')} | altered
    parts = [verify(root, hash=hash_files, part=(i, 3)) for i in (1, 2, 3)]
    assert sorted(chain(*parts)) == sorted(found)


def test_no_row_makes_it_look_out_of_the_root(indexed, tmp_path):
    (tmp_path / 'a.b.npy').write_bytes(b'first')
    forge(indexed, 'datasets', put('rel_path', '../../../../../../a.b.npy'))
    (unsafe,) = (path for kind, path in verify(indexed) if kind == 'missing')
    assert unsafe.endswith('/../../a.b.npy')
    disown(indexed)
    with pytest.raises(fastindex.InvalidIndexError, match='rel_path'):
        verify(indexed)


@pytest.mark.parametrize('is_ours', [True, False])
@pytest.mark.parametrize('position', [0, 1, -1])
@pytest.mark.parametrize('times', [2, 3])
@pytest.mark.parametrize('hash', [False, True])
def test_a_path_that_the_index_has_more_than_once_is_a_difference(indexed, is_ours, position, times, hash):
    # The client's load_dataset raises for it; --fast counts it.
    def repeat(rows: pa.Table) -> pa.Table:
        chosen = range(rows.num_rows)[position]
        return rows.take(sorted([*range(rows.num_rows), *[chosen] * (times - 1)]))

    if is_ours:
        forge(indexed, 'datasets', repeat)
    else:
        disown(indexed)
        path = indexed / 'datasets.pqt'
        pq.write_table(repeat(pq.read_table(path)), path)
    (found,) = fastindex.verify(indexed, workers=1, hash=hash)
    assert (found.kind, found.measure, found.expected, found.found) == (Kind.MISSING, 'rows', times, 1)
    assert str(found).endswith(f': expected {times} rows, found 1 row')
    assert verify(indexed, fast=True)


def test_a_session_that_the_index_has_more_than_once_is_a_difference(indexed):
    disown(indexed)
    path = indexed / 'sessions.pqt'
    rows = pq.read_table(path)
    other = put('id', str(UUID(int=1 << 127, version=4)))(rows.slice(0, 1))
    pq.write_table(pa.concat_tables([rows, other]), path)
    (found,) = fastindex.verify(indexed, workers=1)
    assert (found.kind, found.measure, found.expected, found.found) == (Kind.MISSING, 'rows', 2, 1)


@pytest.mark.parametrize(('column', 'value'), [('subject', 's9'), ('lab', 'lab'), ('number', 9)])
def test_a_session_that_has_the_id_of_another_one_is_a_difference(indexed, column, value):
    forge(indexed, 'sessions', lambda rows: pa.concat_tables([rows[:1], put(column, value)(rows[1:])]))
    kinds = [kind for kind, path in verify(indexed)]
    assert kinds == ['unexpected', 'missing']


@pytest.mark.long
def test_the_story_of_a_data_manager(example_tree, tmp_path, build):
    """Index; ten things happen; they are found; index again; a disk damages a byte; it is found."""
    root = tmp_path / 'tree'
    shutil.copytree(example_tree[0], root)
    build(root, hash=['xxh128'])
    files = sorted(root.rglob('*.npy'))[::80]
    for path in files[:4]:
        path.unlink()
    for path in files[4:7]:
        path.write_bytes(b'truncated')
    for path in files[7:10]:
        (path.parent / 'new.file.npy').write_bytes(b'')
    assert Counter(kind for kind, _ in verify(root, hash=True)) == {
        'missing': 4,
        'resized': 3,
        'unexpected': 3,
    }
    build(root, hash=['xxh128'])
    assert verify(root, hash=True) == []
    damaged = files[10]
    times = damaged.stat()
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    os.utime(damaged, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert verify(root) == []
    assert verify(root, hash=True) == [('altered', str(damaged.relative_to(root)))]


@pytest.mark.long
@pytest.mark.parametrize('seed', range(12))
def test_losses_are_found_wherever_shards_begin_and_end(open_folder, seed):
    """Sessions with and without datasets, of which some vanish, some lose files, some cannot be listed."""
    chance = random.Random(seed)
    sessions = [f's{i}/2024-01-01/001' for i in range(40)]
    paths = [f'{session}/a.b.{i}' for session in sessions for i in range(chance.choice([0, 1, 3]))]
    root = grow(open_folder / 'root', dict.fromkeys([*(f'{session}/' for session in sessions), *paths], b'x'))
    fastindex.build(root, workers=1)
    lost = {path for path in [*sessions, *paths] if chance.random() < seed / 12}
    locked = {session for session in sessions if chance.random() < 0.2} - lost
    for path in sorted(lost, reverse=True):  # files first
        shutil.rmtree(root / path) if path in sessions else (root / path).unlink()
    for session in locked:
        (root / session).chmod(0o311)
    wanted = set()
    for path in [*sessions, *paths]:
        session = path.partition('/a.b')[0]
        if session in locked and path != session:
            wanted.add(('unreadable', path))
        elif path in lost or session in lost:
            wanted.add(('missing', path))
    with as_nobody():
        verification = fastindex.verify(root, workers=1)
        assert {(difference.kind.value, difference.path) for difference in verification} == wanted
    explained = {path.partition('/a.b')[0] for kind, path in wanted if kind == 'unreadable'}
    assert verification.problem_count == len(locked - explained)


def test_a_folder_that_became_a_loop_has_no_files_though_they_can_be_opened(indexed):
    grow(indexed, {f'{SESSION}/c.d.npy': b''})
    shutil.rmtree(indexed / SESSION / 'alf')
    grow(indexed, {f'{SESSION}/alf': Link('.'), f'{SESSION}/a.b.npy': b'first'})
    assert ('missing', FIRST) in verify(indexed)


def test_a_new_big_file_that_cannot_be_read_is_a_problem(open_folder):
    root = grow(open_folder / 'root', TREE)
    fastindex.build(root, workers=1, hash=['xxh128'])
    grow(root, {f'{SESSION}/big.file.npy': Sparse(20 * 2**20)})
    (root / SESSION / 'big.file.npy').chmod(0)
    with as_nobody():
        verification = fastindex.verify(root, hash=True, workers=1)
        assert list(verification) == []
    assert verification.problem_count == 1


@pytest.mark.parametrize(
    'recipe',
    [{'follow_symlinks': False}, {'exclude': ['*.mp4']}, {'one_file_system': True}, {}],
    ids=lambda recipe: '-'.join(recipe) or 'plain',
)
def test_a_tree_is_opened_and_discovered_once_as_its_index_was_made(tmp_path, monkeypatch, recipe):
    grow(tmp_path, TREE)
    fastindex.build(tmp_path, workers=1, **recipe)
    calls: list[tuple[str, object]] = []

    def note(name):
        plain = getattr(module, name)

        def call(*args, **options):
            calls.append((name, options.get('follow_links')))
            return plain(*args, **options)

        monkeypatch.setattr(module, name, call)

    from fastindex.jobs.verify import verify as module

    note('open_tree')
    note('discover')
    assert verify(tmp_path) == []
    assert calls == [('open_tree', recipe.get('follow_symlinks', True)), ('discover', None)]

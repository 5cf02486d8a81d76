"""Running again: digests are reused where they still hold, and the index is that of a first run."""

from __future__ import annotations

import hashlib
import os
import random
import tempfile
import time
from array import array
from datetime import datetime
from mmap import mmap
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastindex
from fastindex.pipeline import scan as scan_module
from fastindex.tables import check as check_module
from fastindex.tables import reuse as known_module
from fastindex.tables.check import Published
from fastindex.tables.reuse import FINGERPRINTS, KnownIndex, KnownRows
from fastindex.tables.schema import fingerprint_columns
from fastindex.trees import digests, fingerprints
from fastindex.trees.disk import LocalTree
from fastindex.trees.fingerprints import NO_FINGERPRINT
from tests.support.broken import KINDS
from tests.support.tables import read, stop_between_the_renames, tables_digest
from tests.support.trees import SESSION, grow

pytestmark = pytest.mark.usefixtures('fixed_date')

TREE = {
    f's{subject}/2024-01-0{day}/001/{name}': f'{subject}{day}{name}'.encode() * subject
    for subject in range(4)
    for day in range(1, 4)
    for name in ('alf/spikes.times.npy', 'alf/#r1#/spikes.times.npy', 'a.b.npy', 'c.d.npy')
}
FIRST = 's1/2024-01-02/001/a.b.npy'
EDGES = [-(2**63) - 1, -(2**63), 0, 2**63 - 1, 2**63]


@pytest.fixture
def settling(monkeypatch):
    """Call it, and all files are old enough for their digests to be reused."""
    monkeypatch.setattr(fingerprints, 'SETTLED_NS', 20_000_000)
    return lambda: time.sleep(0.05)


@pytest.fixture
def root(make_tree, build, settling):
    """A tree that is indexed with both digests."""
    root = make_tree(TREE)
    settling()
    build(root, hash=['xxh128', 'md5'])
    return root


@pytest.fixture
def rebuilt(build, root, tmp_path):
    """Tell what a first run would write."""

    def rebuilt(**options):
        out = tmp_path / 'rebuilt'
        out.mkdir(exist_ok=True)
        build(root, out=out, rehash=True, **{'hash': ['xxh128', 'md5'], **options})
        return tables_digest(out)

    return rebuilt


def never(*_):
    raise AssertionError('a file was read')


@pytest.mark.long
@pytest.mark.parametrize('hash', [['xxh128', 'md5'], ['xxh128'], ['md5']])
def test_nothing_is_read_again_where_nothing_has_changed(root, build, rebuilt, monkeypatch, hash):
    expected = rebuilt(hash=hash)
    for twin in (digests.Hasher.measure, digests.Hasher.digest):
        monkeypatch.setattr(digests.Hasher, twin.__name__, never)
    for _ in range(2):
        summary = build(root, hash=hash)
        assert summary.digests_reused == summary.datasets == len(TREE)
        assert tables_digest(root) == expected


@pytest.mark.long
@pytest.mark.parametrize('workers', [2, 5])
def test_any_number_of_workers_reuses_the_same(root, build, rebuilt, workers):
    grow(root, {f's2/2024-01-0{day}/001/new{day}.b.npy': b'new' for day in range(1, 4)})
    summary = build(root, hash=['md5'], workers=workers)
    assert summary.digests_reused == len(TREE)
    assert tables_digest(root) == rebuilt(hash=['md5'])


def test_a_row_without_a_digest_is_read_again_and_no_other(root, build, rebuilt):
    KINDS['a null digest'](root)
    summary = build(root, hash=['xxh128', 'md5'])
    assert summary.digests_reused == len(TREE) - 1
    assert tables_digest(root) == rebuilt()


def rewrite(root, keep):
    """Change the content but not the size; restore the time of change."""
    before = os.stat(root / FIRST)
    (root / FIRST).write_bytes(b'#' * before.st_size)
    if keep:
        os.utime(root / FIRST, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES = {
    'grown': lambda root: (root / FIRST).write_bytes(b'longer than before' * 9),
    'rewritten': lambda root: rewrite(root, False),
    'rewritten, mtime restored': lambda root: rewrite(root, True),
    'replaced': lambda root: (
        (os.link(root / FIRST, root / 'x'), os.replace(root / 'x', root / FIRST))
        and [(root / 'y').write_bytes(b'#' * 99), os.replace(root / 'y', root / FIRST)]
    ),
    'touched': lambda root: os.utime(root / FIRST),
    'mode changed': lambda root: (root / FIRST).chmod(0o600),
    'made a link': lambda root: [os.rename(root / FIRST, root / 'x'), os.symlink(root / 'x', root / FIRST)],
}


@pytest.mark.long
@pytest.mark.parametrize('change', CHANGES.values(), ids=list(CHANGES))
def test_a_file_that_may_have_changed_is_read_again(root, build, rebuilt, settling, change):
    change(root)
    settling()
    summary = build(root, hash=['xxh128', 'md5'])
    assert summary.digests_reused == len(TREE) - 1
    assert tables_digest(root) == rebuilt()
    assert build(root, hash=['xxh128', 'md5']).digests_reused == len(TREE)


def test_files_and_sessions_that_come_go_and_move(root, build, rebuilt, settling):
    (root / FIRST).rename(root / 's1/2024-01-02/001/moved.b.npy')
    (root / 's3/2024-01-01/001/c.d.npy').unlink()
    (root / 's0/2024-01-01').rename(root / 's0/2023-01-01')
    (root / 's2').rename(root / 'gone')
    grow(root, {'new/2024-01-01/001/a.b.npy': b'new', 's1/2024-01-02/001/c.d.e.npy': b'new'})
    settling()
    summary = build(root, hash=['xxh128', 'md5'])
    assert tables_digest(root) == rebuilt()
    # Lost: moved, deleted, a session of 4 and a subject of 12. A new place is a new dataset.
    assert summary.digests_reused == len(TREE) - 1 - 1 - 4 - 12


def test_a_file_that_changed_shortly_before_it_was_read_is_read_again(make_tree, build, monkeypatch):
    """A second change in the same tick of the clock would not show."""
    monkeypatch.setattr(fingerprints, 'SETTLED_NS', 3600 * 10**9)  # on a slow machine too
    root = make_tree(TREE)
    build(root, hash=['md5'])
    assert build(root, hash=['md5']).digests_reused == 0


def test_a_digest_that_the_index_has_not_is_computed(make_tree, build, settling):
    root = make_tree(TREE)
    settling()
    build(root, hash=['xxh128'])
    assert build(root, hash=['md5']).digests_reused == 0
    assert build(root, hash=['xxh128', 'md5']).digests_reused == 0
    assert build(root, hash=['xxh128']).digests_reused == len(TREE)


@pytest.mark.long
def test_an_index_without_digests_has_no_fingerprints(root, build):
    assert (root / '.fastindex' / FINGERPRINTS).exists()
    build(root, hash=())
    assert not (root / '.fastindex' / FINGERPRINTS).exists()
    assert build(root, hash=['md5']).digests_reused == 0


def test_all_is_read_again_where_that_is_asked_for(root, build):
    assert build(root, hash=['md5'], rehash=True).digests_reused == 0


def test_fingerprints_of_another_generation_are_not_used(root, build, rebuilt):
    fingerprints = (root / '.fastindex' / FINGERPRINTS).read_bytes()
    rewrite(root, True)
    build(root, hash=['md5'])
    (root / '.fastindex' / FINGERPRINTS).write_bytes(fingerprints)
    assert build(root, hash=['md5']).digests_reused == 0
    assert tables_digest(root) == rebuilt(hash=['md5'])


@pytest.mark.long
@pytest.mark.parametrize('name', ['datasets.pqt', 'sessions.pqt', f'.fastindex/{FINGERPRINTS}'])
def test_no_damage_of_the_index_makes_a_digest_wrong(root, build, rebuilt, name):
    expected = rebuilt()
    whole = (root / name).read_bytes()
    random.seed(0)
    for _ in range(40):
        damaged = bytearray(whole)
        damaged[random.randrange(len(whole))] ^= 1 << random.randrange(8)
        (root / name).write_bytes(damaged)
        build(root, hash=['xxh128', 'md5'])
        assert tables_digest(root) == expected
    (root / name).write_bytes(whole[: len(whole) // 2])
    assert build(root, hash=['xxh128', 'md5']).digests_reused == 0
    assert tables_digest(root) == expected


@pytest.mark.long
@pytest.mark.parametrize(
    'facts', [None, b'\xff', b'7', b'[]', b'{}', b'{"generation": {}}', b'[' * 100_000], ids=range(7)
)
def test_fingerprints_that_say_anything_else_are_of_no_use_and_no_error(root, build, facts):
    path = root / '.fastindex' / FINGERPRINTS
    metadata = None if facts is None else {b'fastindex': facts}
    rows = pq.read_table(path).replace_schema_metadata(metadata)
    pq.write_table(rows, path, store_schema=facts is not None)
    assert build(root, hash=['md5']).digests_reused == 0


def test_what_stands_in_the_place_of_the_fingerprints_is_not_waited_for(root, build):
    (root / '.fastindex' / FINGERPRINTS).unlink()
    os.mkfifo(root / '.fastindex' / FINGERPRINTS)
    assert build(root, hash=['md5']).digests_reused == 0


def test_digests_of_big_files_are_reused(root, build, rebuilt, monkeypatch):
    monkeypatch.setattr('fastindex.pipeline.walk.BIG_BYTES', 20)
    build(root, hash=['xxh128', 'md5'], rehash=True)
    summary = build(root, hash=['xxh128', 'md5'])
    assert summary.digests_reused == len(TREE)
    assert tables_digest(root) == rebuilt()


def test_digests_of_a_session_that_is_shared_are_reused(make_tree, build, settling, monkeypatch):
    root = make_tree({f'{SESSION}/alf/frame.n{i}.npy': b'x' * i for i in range(60)})
    settling()
    build(root, hash=['md5'])
    expected = tables_digest(root)
    monkeypatch.setattr('fastindex.trees.kernel.BLOCK_NAMES', 5)
    monkeypatch.setattr(scan_module, 'PART_ROWS', 7)
    assert build(root, hash=['md5']).digests_reused == 60
    assert tables_digest(root) == expected
    (root / SESSION / 'alf/frame.n7.npy').write_bytes(b'changed')
    assert build(root, hash=['md5']).digests_reused == 59


@pytest.fixture(params=[1600, 2400])
def dated(request):
    """A tree of 20 files, of which one has a time that no column of nanoseconds holds."""
    place = '/dev/shm' if os.path.isdir('/dev/shm') else None  # tmpfs takes any time, a disk may not
    with tempfile.TemporaryDirectory(dir=place) as folder:
        root = grow(Path(folder), {f'{SESSION}/a.b{i}.npy': b'%02d' % i for i in range(20)})
        seconds = (datetime(request.param, 1, 1) - datetime(1970, 1, 1)).days * 86400
        os.utime(root / SESSION / 'a.b7.npy', (seconds, seconds))
        yield root


def is_right(root, build, tmp_path):
    build(root, hash=['md5'], out=tmp_path)
    return tables_digest(root) == tables_digest(tmp_path)


def test_a_time_that_no_column_can_hold_makes_no_other_digest_wrong(dated, build, tmp_path, monkeypatch):
    """All files are fresh, so all have the mark for "never the same": it must not be the same."""
    monkeypatch.setattr(fingerprints, 'SETTLED_NS', 3600 * 10**9)
    build(dated, hash=['md5'])
    (dated / SESSION / 'a.b3.npy').write_bytes(b'##')
    assert build(dated, hash=['md5'], check=True).changes.datasets_changed == 1
    assert build(dated, hash=['md5']).digests_reused == 0
    assert is_right(dated, build, tmp_path)


@pytest.mark.parametrize('big_bytes', [1, 2**20])
def test_a_time_that_no_column_can_hold_is_that_of_its_file_alone(
    dated, build, settling, monkeypatch, big_bytes
):
    monkeypatch.setattr('fastindex.pipeline.walk.BIG_BYTES', big_bytes)
    settling()
    build(dated, hash=['md5'])
    info = (dated / SESSION / 'a.b7.npy').stat()
    is_held = abs(info.st_mtime_ns) < 2**63 and info.st_mtime < time.time()
    for _ in range(2):
        assert build(dated, hash=['md5']).digests_reused == 19 + is_held


@given(
    st.lists(
        st.tuples(*[st.integers(-(2**64), 2**64) | st.sampled_from(EDGES)] * 2, st.integers(0, 2**64 - 1))
    )
)
def test_columns_hold_each_fingerprint_that_fits_and_the_mark_for_the_others(fingerprints):
    expected = [
        one if all(-(2**63) <= time_ns < 2**63 for time_ns in one[:2]) else NO_FINGERPRINT
        for one in fingerprints
    ]
    assert list(zip(*fingerprint_columns(fingerprints), strict=True)) == expected


def test_the_mark_for_never_the_same_equals_nothing(make_tree, build, monkeypatch):
    """Not even a file that is said to be of 1970 and to have the inode 0."""
    monkeypatch.setattr(fingerprints, 'SETTLED_NS', 3600 * 10**9)
    root = make_tree(TREE)
    build(root, hash=['md5'])
    table = read(root, 'datasets')
    rows = KnownRows(KnownIndex.open(Published(root), ['md5']).for_shard(ALL), ['md5'])
    never = fingerprint_columns([NO_FINGERPRINT] * len(TREE))
    sizes = array('Q', [row['file_size'] for row in table])
    assert rows.take_all(''.join(row['id'] for row in table).encode(), (sizes, *never)) is None
    states = {row['id'].encode(): (row['file_size'], *NO_FINGERPRINT) for row in table}
    assert {rows.take(one, state) for one, state in states.items()} == {'recent'}


def test_a_file_in_a_memory_map_is_read_again_until_a_change_must_show(make_tree, build, monkeypatch):
    """The second write to a page that is not yet on the disk need not touch a time."""
    root = make_tree(TREE)
    monkeypatch.setattr(digests, 'time', SimpleNamespace(time_ns=lambda: now_ns))
    first_ns = time.time_ns()
    with (root / FIRST).open('rb+') as file, mmap(file.fileno(), 0) as mapped:
        for seconds, byte in ((0, b'x'), (35, b'y'), (50, b'z')):
            mapped[:1] = byte
            now_ns = first_ns + seconds * 10**9
            build(root, hash=['md5'])
            digest = hashlib.md5((root / FIRST).read_bytes()).hexdigest()
            assert digest in {row['hash'] for row in read(root, 'datasets')}


@pytest.mark.long
def test_the_index_is_read_a_row_group_at_a_time(make_tree, build, settling, monkeypatch):
    monkeypatch.setattr('fastindex.tables.write.ROW_GROUP_ROWS', 5)
    root = make_tree(TREE)
    settling()
    build(root, hash=['md5'])
    held = []
    peek = known_module.KnownIndex._peek
    monkeypatch.setattr(
        known_module.KnownIndex,
        '_peek',
        lambda self, eid: held.append(len(rows) if (rows := peek(self, eid)) else 0) or rows,
    )
    monkeypatch.setattr('fastindex.jobs.build.tasks.MAX_SESSIONS', 1)
    assert build(root, hash=['md5']).digests_reused == len(TREE)
    assert max(held) == 5


def test_the_command_line_tells_what_was_reused(root, capsys):
    from fastindex.cli import main

    assert main([str(root), '--hash=md5', '--workers', '1']) == 0
    assert f'digests: 0 computed, {len(TREE)} reused' in capsys.readouterr().out
    assert main([str(root), '--hash=md5', '--rehash', '--workers', '1']) == 0
    assert f'digests: {len(TREE)} computed, 0 reused' in capsys.readouterr().out


def test_a_dry_run_reuses_nothing_and_needs_no_index(root):
    assert fastindex.build(root, hash=['md5'], dry_run=True, workers=1).digests_reused == 0


ALL = [b'\0' * 16, b'\xff' * 16]
"""Keys of a shard that has all sessions."""


@pytest.mark.parametrize('name', ['datasets.pqt', f'.fastindex/{FINGERPRINTS}'])
def test_an_index_that_is_replaced_while_it_is_read_is_known_no_more(root, name):
    """Or the old digest of a file would be taken for that of its new state."""
    known, again = (KnownIndex.open(Published(root), ['md5']) for _ in range(2))
    generation = str(fastindex.open(root).generation).encode()
    (root / 'copy').write_bytes((root / name).read_bytes().replace(generation, generation[::-1]))
    os.replace(root / 'copy', root / name)
    assert known.for_shard(ALL) is None
    os.truncate(root / name, 100)
    assert again.for_shard(ALL) is None


def test_a_run_that_ended_between_its_renames_is_completed_before_its_index_is_read(root, build, settling):
    grow(root, {'new/2024-01-01/001/a.b.npy': b'new'})
    settling()
    stop_between_the_renames(lambda: build(root, hash=['md5']))
    assert build(root, hash=['md5']).digests_reused == len(TREE) + 1


def test_a_digest_is_that_of_the_dataset_not_only_of_the_same_file(root):
    """Names may change places, and a file system need not note that in the files."""
    rows = KnownRows(KnownIndex.open(Published(root), ['md5']).for_shard(ALL), ['md5'])
    table = read(root, 'datasets')
    infos = [os.stat(root / path) for path in paths_of(root, table)]
    states = (
        array('Q', [info.st_size for info in infos]),
        array('q', [info.st_mtime_ns for info in infos]),
        array('q', [info.st_ctime_ns for info in infos]),
        array('Q', [info.st_ino for info in infos]),
    )
    ids = [row['id'] for row in table]
    expected = ''.join(row['hash'] for row in table)
    assert rows.take_all(''.join(ids).encode(), states) == ({'md5': expected.encode()}, states[1:])
    ids[0], ids[1] = ids[1], ids[0]
    assert rows.take_all(''.join(ids).encode(), states) is None


def paths_of(root, table):
    sessions = {
        row['id']: f'{row["subject"]}/{row["date"]}/{row["number"]:03}' for row in read(root, 'sessions')
    }
    return [f'{sessions[row["eid"]]}/{row["rel_path"]}' for row in table]


@pytest.mark.parametrize('others', [[], [FIRST]])
def test_a_session_that_vanishes_during_a_rerun_is_a_problem(root, build, monkeypatch, others):
    """Also where files of the same shard have changed."""
    for path in others:
        (root / path).write_bytes(b'changed')
    walk = LocalTree.walk

    def walk_late(tree, session_path, tally):
        if session_path.startswith('s2'):
            raise FileNotFoundError(2, 'gone')
        return walk(tree, session_path, tally)

    monkeypatch.setattr(LocalTree, 'walk', walk_late)
    summary = build(root, hash=['md5'])
    assert {problem.path for problem in summary.problems} == {f's2/2024-01-0{day}/001' for day in (1, 2, 3)}
    assert summary.digests_reused == len(TREE) - 12 - len(others)


@pytest.mark.long
@pytest.mark.parametrize('changed', [False, True])
def test_the_last_index_is_digested_once_whatever_it_serves(root, build, monkeypatch, settling, changed):
    """Reuse of digests, and the count of changes."""
    settling()
    build(root, hash=['md5'])
    if changed:
        (root / FIRST).write_bytes(b'changed')
    digested = []
    check = check_module._check_digest
    monkeypatch.setattr(
        check_module, '_check_digest', lambda *args: digested.append(args[1].path.parent) or check(*args)
    )
    summary = build(root, hash=['md5'])
    assert summary.digests_reused
    assert digested.count(root) == 1
    assert len(digested) == 1 + changed  # the new one, where it is compared row by row

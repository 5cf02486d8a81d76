"""The build as a whole: the same bytes however it is run, digests, big files, executors."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import fastindex
from fastindex import EmptyTreeError, InvalidIndexError, Problem, Reason, UsageError
from fastindex.names.problems import Tally
from fastindex.pipeline.big import HashResult, HashTask
from fastindex.pipeline.walk import BIG_BYTES
from fastindex.tables.target import open_target
from fastindex.trees import digests, kernel
from fastindex.trees.disk import LocalTree
from tests.support.tables import read, read_paths, tables_digest
from tests.support.trees import SESSION, Link, Sparse, grow

pytestmark = pytest.mark.usefixtures('fixed_date')

TREE = {
    f'lab{lab}/Subjects/s{subject}/2024-01-{day:02}/00{number}/{name}': bytes([lab]) * (day + number)
    for lab in range(2)
    for subject in range(5)
    for day in range(1, 6)
    for number in (1, 2)
    for name in ('alf/spikes.times.npy', 'alf/#r1#/spikes.times.npy', '_ibl_trials.choice.npy', 'notes.txt')
}

SPIKES = f'{SESSION}/alf/spikes.times.npy'


@pytest.fixture(scope='module')
def tree(tmp_path_factory):
    return grow(tmp_path_factory.mktemp('tree'), TREE)


@pytest.fixture
def bytes_of(tmp_path, tree):
    """The digest of an index made with these options."""

    def bytes_of(**options) -> str:
        out = tmp_path / 'out'
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        fastindex.build(tree, out=out, **options)
        return tables_digest(out)

    return bytes_of


@pytest.mark.long
def test_any_number_of_workers_gives_the_same_bytes(bytes_of):
    for hash in ((), ('xxh128', 'md5')):
        assert len({bytes_of(workers=workers, hash=hash) for workers in (1, 2, 3, 8)}) == 1


def test_any_executor_gives_the_same_bytes(bytes_of):
    with ThreadPoolExecutor(3) as executor:
        assert bytes_of(executor=executor) == bytes_of(workers=1)


@pytest.mark.long
def test_workers_are_started_where_this_process_has_threads_too(bytes_of):
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert bytes_of(workers=2) == bytes_of(workers=1)
    finally:
        done.set()
        thread.join()


def test_any_shard_size_and_row_group_boundary_gives_the_same_bytes(bytes_of, monkeypatch):

    monkeypatch.setattr('fastindex.tables.write.ROW_GROUP_ROWS', 64)
    digests = set()
    for max_sessions in (1, 7, 96):
        monkeypatch.setattr('fastindex.jobs.build.tasks.MAX_SESSIONS', max_sessions)
        digests.add(bytes_of(workers=1))
    assert len(digests) == 1


def test_any_order_of_listing_gives_the_same_bytes(bytes_of, relist):
    expected = bytes_of(workers=1)
    relist(lambda entries: random.sample(entries, len(entries)))
    assert bytes_of(workers=1) == expected


def test_rows_are_sorted_by_eid_and_id(tree, tmp_path):
    fastindex.build(tree, out=tmp_path, workers=2)
    keys = [(row['eid'], row['id']) for row in read(tmp_path, 'datasets')]
    assert keys == sorted(set(keys))
    assert len(keys) == 300
    ids = [row['id'] for row in read(tmp_path, 'sessions')]
    assert ids == sorted(set(ids))
    assert {eid for eid, _ in keys} == set(ids)


def test_both_tables_carry_one_generation_that_follows_the_rows(tree, tmp_path, build):
    first = build(tree, out=tmp_path)
    assert first.generation == fastindex.open(tmp_path).generation
    assert build(tree, out=tmp_path).generation == first.generation
    assert build(tree, out=tmp_path, hash=['md5']).generation != first.generation


@pytest.mark.skipif(shutil.which('xxh128sum') is None, reason='needs xxh128sum (package xxhash)')
def test_digests_are_those_of_xxh128sum_and_md5sum(tree, tmp_path, build):
    build(tree, out=tmp_path, hash=['xxh128', 'md5'])
    eids = {row['id']: row for row in read(tmp_path, 'sessions')}
    for column, command in (('xxh128', 'xxh128sum'), ('hash', 'md5sum')):
        lines = []
        for row in read(tmp_path, 'datasets'):
            session = eids[row['eid']]
            path = f'{session["lab"]}/Subjects/{session["subject"]}/{session["date"]}/{session["number"]:03}'
            lines.append(f'{row[column]}  {path}/{row["rel_path"]}\n')
        assert len(lines) == 300
        subprocess.run([command, '-c', '--quiet'], input=''.join(lines), cwd=tree, check=True, text=True)


@pytest.mark.parametrize('size', [0, 1, 4 * 2**20 - 1, 4 * 2**20, 4 * 2**20 + 1, 9 * 2**20])
def test_a_digest_covers_a_file_of_any_size(make_tree, build, size):
    data = random.Random(0).randbytes(size)
    root = make_tree({f'{SESSION}/a.b.npy': data})
    build(root, hash=['md5'])
    (row,) = read(root, 'datasets')
    assert (row['hash'], row['file_size']) == (hashlib.md5(data).hexdigest(), size)


@pytest.mark.long
@pytest.mark.parametrize('workers', [1, 2])
def test_big_files_are_hashed_apart_and_end_in_their_rows(make_tree, build, workers):
    big = BIG_BYTES
    root = make_tree(
        {
            f'{SESSION}/a.b.npy': Sparse(big),
            f'{SESSION}/c.d.npy': b'small',
            f'{SESSION}/e.f.npy': Sparse(big + 1),
            'lab/Subjects/s2/2024-01-01/001/a.b.npy': Sparse(2 * big),
        }
    )
    summary = build(root, hash=['xxh128', 'md5'], workers=workers)
    assert summary.bytes == 4 * big + 6
    assert {(row['rel_path'], row['file_size'], row['hash']) for row in read(root, 'datasets')} == {
        ('a.b.npy', big, hashlib.md5(bytes(big)).hexdigest()),
        ('c.d.npy', 5, hashlib.md5(b'small').hexdigest()),
        ('e.f.npy', big + 1, hashlib.md5(bytes(big + 1)).hexdigest()),
        ('a.b.npy', 2 * big, hashlib.md5(bytes(2 * big)).hexdigest()),
    }


def test_a_big_file_that_cannot_be_read_is_a_problem_and_no_row(make_tree, build, monkeypatch):
    big = BIG_BYTES
    tree = {f'{SESSION}/{name}.b.npy': Sparse(big) for name in 'acd'}
    root = make_tree({**tree, f'{SESSION}/x.y.npy': b'x'})
    hash_file = HashTask.run

    def hash_after_it_went(task):
        if task.path.endswith('c.b.npy'):
            (root / task.path).unlink()
        return hash_file(task)

    monkeypatch.setattr(HashTask, 'run', hash_after_it_went)
    summary = build(root, hash=['xxh128'])
    assert summary.problems == (Problem(f'{SESSION}/c.b.npy', Reason.VANISHED),)
    assert read_paths(root) == {f'{SESSION}/{name}' for name in ('a.b.npy', 'd.b.npy', 'x.y.npy')}
    assert (summary.datasets, summary.bytes) == (3, 2 * big + 1)


def test_the_last_revision_that_is_left_becomes_the_default(make_tree, build, monkeypatch):
    big = BIG_BYTES
    root = make_tree({f'{SESSION}/#1#/a.b.npy': b'', f'{SESSION}/#2#/a.b.npy': Sparse(big)})
    monkeypatch.setattr(HashTask, 'run', lambda _: HashResult(None, Tally()))
    build(root, hash=['xxh128'])
    assert [(row['rel_path'], row['default_revision']) for row in read(root, 'datasets')] == [
        ('#1#/a.b.npy', True)
    ]


@pytest.mark.long
def test_an_executor_that_stays_reads_a_new_folder_in_the_same_place(tmp_path):
    root = grow(tmp_path / 'root', {f'{SESSION}/a.b.npy': b''})
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context('spawn')) as executor:
        fastindex.build(root, executor=executor)
        root.rename(tmp_path / 'old')
        grow(root, {'s2/2024-01-01/001/c.d.npy': b''})
        fastindex.build(root, executor=executor)
    assert read_paths(root) == {'s2/2024-01-01/001/c.d.npy'}


def test_threads_do_not_share_a_buffer(tmp_path):
    names = {f'lab/Subjects/s{i}/2024-01-01/001/{c}.b.npy': i for i in range(20) for c in 'acde'}
    root = grow(tmp_path / 'root', {name: bytes([i]) * 300_000 for name, i in names.items()})
    with ThreadPoolExecutor(4) as executor:
        parallel = fastindex.build(root, hash=['xxh128', 'md5'], executor=executor)
    assert parallel.generation == fastindex.build(root, hash=['xxh128', 'md5'], workers=1).generation


class ChangingFile:
    """Appends to a file each time that it is read, `times` times."""

    def __init__(self, monkeypatch, path: Path, times: int) -> None:
        self.path, self.times, self.read_into = path, times, digests.read_into
        monkeypatch.setattr(digests, 'read_into', self)
        monkeypatch.setattr(kernel, 'measure', kernel.TWINS['python'].measure)  # the other one calls no `os`

    def __call__(self, fd, buffers):
        count = self.read_into(fd, buffers)
        if self.times and os.path.sameopenfile(fd, os.open(self.path, os.O_RDONLY)):
            self.times -= 1
            with self.path.open('ab') as file:
                file.write(b'more')
        return count


def test_a_file_that_changes_while_it_is_read_is_read_once_more(make_tree, build, monkeypatch):
    root = make_tree({f'{SESSION}/a.b.npy': b'data'})
    ChangingFile(monkeypatch, root / SESSION / 'a.b.npy', times=1)
    summary = build(root, hash=['md5'])
    (row,) = read(root, 'datasets')
    assert (row['file_size'], row['hash']) == (8, hashlib.md5(b'datamore').hexdigest())
    assert summary.problems == ()


def test_a_file_that_goes_on_changing_is_a_problem(make_tree, build, monkeypatch):
    root = make_tree({f'{SESSION}/a.b.npy': b'data', f'{SESSION}/c.d.npy': b''})
    ChangingFile(monkeypatch, root / SESSION / 'a.b.npy', times=99)
    summary = build(root, hash=['md5'])
    assert summary.problems == (Problem(f'{SESSION}/a.b.npy', Reason.CHANGED),)
    assert read_paths(root) == {f'{SESSION}/c.d.npy'}


def test_the_tables_have_page_checksums_and_row_groups_of_bounded_size(make_tree, build, monkeypatch):

    monkeypatch.setattr('fastindex.tables.write.ROW_GROUP_ROWS', 10)
    root = make_tree({f'{SESSION}/a{i}.b.npy': b'' for i in range(25)})
    build(root)
    file = pq.ParquetFile(root / 'datasets.pqt', page_checksum_verification=True)
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [10, 10, 5]
    assert file.read().num_rows == 25
    data = bytearray((root / 'datasets.pqt').read_bytes())
    data[60] ^= 1
    (root / 'datasets.pqt').write_bytes(data)
    with pytest.raises(OSError, match=r'CRC|checksum|corrupt'):
        pq.ParquetFile(root / 'datasets.pqt', page_checksum_verification=True).read()


@pytest.mark.parametrize('options', [{'workers': 0}, {'hash': 'md5'}, {'hash': ['sha1']}])
def test_an_option_that_makes_no_sense_is_a_usage_error(make_tree, build, options):
    root = make_tree({f'{SESSION}/a.b.npy': b''})
    with pytest.raises(UsageError, match=r'expected'):
        build(root, **options)


def test_the_metadata_tells_what_was_built(tree, tmp_path, build):
    import json

    build(tree, out=tmp_path, hash=['xxh128'])
    facts = json.loads(pq.read_metadata(tmp_path / 'datasets.pqt').metadata[b'fastindex'])
    assert facts.pop('generation') == fastindex.open(tmp_path).generation
    assert facts == {
        'version': fastindex.__version__,
        'algorithms': ['xxh128'],
        'sessions': 100,
        'datasets': 300,
        'bytes': sum(len(content) for name, content in TREE.items() if not name.endswith('notes.txt')),
    }


def test_an_empty_tree_is_refused_and_the_index_stays(make_tree, build):
    root = make_tree({SPIKES: b''})
    build(root)
    before = (root / 'datasets.pqt').read_bytes()
    (root / SPIKES).unlink()
    os.removedirs(root / SESSION / 'alf')
    with pytest.raises(EmptyTreeError, match='is the disk mounted'):
        build(root)
    assert (root / 'datasets.pqt').read_bytes() == before


def test_sessions_that_lost_all_datasets_are_refused_where_the_index_has_some(make_tree, build):
    root = make_tree({SPIKES: b''})
    build(root)
    before = (root / 'datasets.pqt').read_bytes()
    (root / SPIKES).unlink()
    with pytest.raises(EmptyTreeError, match='without a dataset'):
        build(root)
    assert (root / 'datasets.pqt').read_bytes() == before
    assert build(root, allow_empty=True).datasets == 0


def test_an_empty_index_has_no_qc_column(make_tree, build):
    root = make_tree({f'{SESSION}/': None})
    build(root)
    assert read(root, 'datasets') == []
    import pyarrow.parquet as pq

    assert 'qc' not in pq.read_schema(root / 'datasets.pqt').names


@pytest.mark.long
def test_all_problems_are_in_the_file_and_the_first_thousand_in_the_summary(make_tree, build):
    links = {f'lab/Subjects/s{i:04}': Link('nowhere') for i in range(1200)}
    root = make_tree({SPIKES: b'', **links, f'{SESSION}/a.b.npy': Link('nowhere')})
    summary = build(root)
    assert (summary.problem_count, len(summary.problems)) == (1201, 1000)
    assert summary.problems_path is not None
    assert len(summary.problems_path.read_text().splitlines()) == 1201


def test_a_disk_that_goes_away_after_its_folders_were_listed_costs_no_index(make_tree, build, monkeypatch):
    root = make_tree({SPIKES: b''})
    build(root)
    before = (root / 'datasets.pqt').read_bytes()
    walk = LocalTree.walk

    def walk_in_nothing(self, session_path, tally):
        (root / 'lab').rename(root / '.gone')
        return walk(self, session_path, tally)

    monkeypatch.setattr(LocalTree, 'walk', walk_in_nothing)
    with pytest.raises(EmptyTreeError, match='all sessions vanished'):
        build(root)
    assert (root / 'datasets.pqt').read_bytes() == before


def test_a_dry_run_writes_nothing(make_tree, build):
    root = make_tree({SPIKES: b'123'})
    summary = build(root, dry_run=True)
    assert (summary.datasets, summary.bytes, summary.datasets_path) == (1, 3, None)
    assert os.listdir(root) == ['lab']


def test_out_leaves_the_root_as_it_is(make_tree, build, tmp_path):
    root = make_tree({SPIKES: b'123'})
    out = tmp_path / 'index'
    out.mkdir()
    build(root, out=out)
    assert os.listdir(root) == ['lab']
    assert read_paths(out) == {SPIKES}


def test_another_folder_in_the_same_place_is_read_afresh_and_nothing_stays_open(make_tree, build, tmp_path):
    root = make_tree({SPIKES: b''})
    build(root)
    for number in range(3):
        root.rename(tmp_path / f'old{number}')
        grow(root, {f'lab/Subjects/new{number}/2024-01-01/001/a.b.npy': b''})
        build(root)
        assert read_paths(root) == {f'lab/Subjects/new{number}/2024-01-01/001/a.b.npy'}
    assert [path for path in iter_open_paths() if path.startswith(str(tmp_path))] == []


def iter_open_paths() -> Iterator[str]:
    """What this process has open, but for tables, which pyarrow closes a little later."""
    for fd in os.listdir('/proc/self/fd'):
        with suppress(FileNotFoundError):
            path = os.readlink(f'/proc/self/fd/{fd}')
            if not path.endswith('.pqt'):
                yield path


SYSTEM = ['@eaDir', '#recycle', '@Recycle', '~snapshot', 'lost+found', '$RECYCLE.BIN', '__MACOSX']
SYSTEM += ['RECYCLER', 'Recycled', 'found.000', 'FOUND.012', 'DfsrPrivate', 'TheFindByContentFolder', '@TMP']


@pytest.mark.parametrize(
    'above', ['', 'lab/', 'lab/Subjects/', 'lab/Subjects/s1/', f'{SESSION}/', f'{SESSION}/alf/']
)
def test_what_a_nas_or_a_system_puts_there_is_never_entered(make_tree, run, above):
    inside = {f'{above}{name}/2024-01-01/001/a.b.npy': b'' for name in SYSTEM}
    root = make_tree({f'{SESSION}/alf/a.b.npy': b'', **inside})
    code, out, _ = run(root, '--json')
    summary = json.loads(out)
    assert (code, summary['datasets'], summary['skipped']) == (0, 1, {'system-folder': len(SYSTEM)})
    assert run('validate', root)[0] == run('verify', root)[0] == 0


@pytest.mark.parametrize(
    'options',
    [
        {'max_removed': 'many'},
        {'only': ['../elsewhere']},
        {'only': [], 'new': True},
        {'new': True, 'quick': True},
        {'qc': 'qc.csv', 'new': True},
        {'qc': '/nonexistent/qc.csv'},
        {'ids_from': '/nonexistent'},
        {'check': True, 'dry_run': True},
        {'exclude': ['#']},
        {'hash': ['crc']},
        {'trust': ['ctime']},
        {'keep': 0},
        {'wait': -1},
        {'default_revision': 'last'},
        {'namespace': 'x'},
        {'ids_from': [], 'uuid_filenames': True, 'workers': 0},
    ],
    ids=str,
)
def test_wrong_usage_is_told_before_another_run_is_waited_for(tmp_path, options):
    root, out = grow(tmp_path / 'data', {f'{SESSION}/a.b.npy': b''}), tmp_path / 'out'
    out.mkdir()
    with open_target(out), pytest.raises((UsageError, InvalidIndexError)):
        fastindex.build(root, out=out, **{'workers': 1, **options})

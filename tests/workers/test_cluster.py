"""A Dask cluster: a real scheduler and real workers, one of many threads, give what one process gives."""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

import fastindex
from fastindex import ClusterError, MissingExtraError, UsageError
from fastindex.names.problems import Tally
from fastindex.trees.digests import ALGORITHMS
from fastindex.trees.disk import LocalTree, _root_fds
from fastindex.trees.exclude import leave_out
from fastindex.trees.fate import list_folders
from fastindex.workers import cluster as cluster_module
from fastindex.workers.cluster import SPARE_TASKS, Cluster, Requirements, find_mismatch
from tests.support.daskcluster import DaskCluster
from tests.support.patience import wait_until
from tests.support.tables import tables_digest
from tests.support.trees import Sparse, grow

pytestmark = [pytest.mark.usefixtures('fixed_date'), pytest.mark.long]

TREE = {
    **{
        f'lab{i % 2}/Subjects/s{i}/2024-01-{day:02}/001/alf/{name}': bytes([i, day]) * day
        for i in range(12)
        for day in range(1, 9)
        for name in ('spikes.times.npy', 'spikes.clusters.npy', '#2024#/spikes.times.npy', 'notes.txt')
    },
    'lab0/Subjects/s0/2024-01-01/001/raw/large.raw.bin': Sparse(20 * 2**20),
    b'lab1/Subjects/s1/2024-01-01/001/alf/bad.\xff.npy': b'',
}


def to_task(function, *arguments):
    """A task that any worker can unpickle."""
    return SimpleNamespace(run=partial(function, *arguments))


@pytest.fixture(scope='module')
def cluster(tmp_path_factory):
    """Two workers: one of a single thread, one of four."""
    with DaskCluster(tmp_path_factory.mktemp('cluster')) as cluster:
        cluster.add_worker('--no-nanny')
        cluster.add_worker('--no-nanny', '--nthreads', '4')
        cluster.connect(workers=2).close()
        yield cluster


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return grow(tmp_path_factory.mktemp('tree'), TREE)


def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ('here', 'there'):
        (tmp_path / name).mkdir()
    return tmp_path / 'here', tmp_path / 'there'


@pytest.mark.parametrize('hash', [(), ALGORITHMS])
def test_a_cluster_gives_the_same_bytes_and_summary_as_one_process(cluster, root, tmp_path, hash):
    here, there = folders(tmp_path)
    skips = [], []
    expected = fastindex.build(root, out=here, workers=1, hash=hash, on_skip=skips[0].append)
    summary = fastindex.build(root, out=there, dask=cluster.file, hash=hash, on_skip=skips[1].append)
    assert tables_digest(there) == tables_digest(here)
    assert summary.problem_count == 1
    assert sorted(skips[1]) == sorted(skips[0])
    own = {'seconds': 0, 'sessions_path': None, 'datasets_path': None, 'problems_path': None}
    assert summary.replace(**own) == expected.replace(**own)


def test_a_rerun_on_a_cluster_reuses_digests(cluster, root, tmp_path, monkeypatch):
    monkeypatch.setattr('fastindex.trees.fingerprints.SETTLED_NS', -(10**9))  # the files are new
    first = fastindex.build(root, out=tmp_path, workers=1, hash=['md5'])
    before = tables_digest(tmp_path)
    again = fastindex.build(root, out=tmp_path, dask=cluster.file, hash=['md5'])
    assert again.digests_reused == first.datasets
    assert tables_digest(tmp_path) == before


def test_a_part_of_a_tree_is_scanned_on_a_cluster_as_a_full_run_scans_it(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv('SOURCE_DATE_EPOCH', '1700000000')
    here, there = folders(tmp_path)
    tree = grow(
        tmp_path / 'tree', {f's{i}/2024-01-0{j}/001/alf/a.b.npy': b'' for i in range(3) for j in (1, 2)}
    )
    fastindex.build(tree, out=there, workers=1, quick=True)
    for number, options in enumerate([{'only': ['s0', 's3']}, {'new': True}, {'quick': True}]):
        grow(tree, {f's3/2024-01-01/{number:03}/a.b.npy': b''})
        summary = fastindex.build(tree, out=there, dask=cluster.file, **options)
        assert summary.sessions_carried >= (0 if 'quick' in options else 4)  # the folders are new
        fastindex.build(tree, out=here, workers=1)
        assert tables_digest(there) == tables_digest(here)


def test_the_command_line_takes_a_scheduler_file_or_an_address(cluster, root, tmp_path, run):
    with cluster.connect() as client:
        address = client.scheduler.address
    for where in (cluster.file, address.removeprefix('tcp://')):
        code, out, err = run(root, '--out', tmp_path, '--dask', where)
        assert (code, err) == (3, '')  # 3: the name that is not UTF-8
        assert '96 sessions' in out


@pytest.mark.parametrize('follow', [True, False])
def test_a_tree_is_validated_and_verified_on_a_cluster_as_in_one_process(cluster, root, tmp_path, follow):
    fastindex.build(root, out=tmp_path, workers=1, hash=['xxh128'], follow_symlinks=follow)
    place = root / 'lab0/Subjects/s0/2024-01-01/001/raw/large.raw.bin'
    found = {
        'verify': partial(fastindex.verify, root, index=tmp_path, hash=True),
        'validate': partial(fastindex.validate, root, deep=True, follow_symlinks=follow),
    }
    before = place.stat().st_size
    try:
        os.truncate(place, before - 1)
        for name, job in found.items():
            expected = list(job(workers=1))
            assert expected, name
            assert list(job(dask=cluster.file)) == expected
    finally:
        os.truncate(place, before)


def release(root, **options):
    return fastindex.release(root, root.parent / 'x.tar.zst', force=True, **options)


@pytest.mark.parametrize('job', [fastindex.build, fastindex.validate, fastindex.verify, release])
def test_each_job_refuses_workers_beside_a_cluster(root, job):
    with pytest.raises(UsageError, match='exclude each other'):
        job(root, dask='127.0.0.1:1', workers=2)
    with pytest.raises(UsageError, match='workers=0: expected a whole number, 1 or more'):
        job(root, workers=0)


def test_each_command_that_walks_a_tree_takes_a_cluster(cluster, root, tmp_path, run):
    assert run(root, '--out', tmp_path, '--quiet')[0] == 3
    for command, *options in (
        ('validate',),
        ('verify', '--index', tmp_path),
        ('report', '--index', tmp_path, '--out', tmp_path / 'r.html', '--json'),
        ('release', '--tables', tmp_path, '--out', tmp_path / 'r.tar.zst', '--json', '--force'),
    ):
        code, out, err = run(command, root, *options, '--dask', cluster.file)
        if command == 'release':  # of a tree without one
            assert 'there is no LICENSE' in err
            err = ''.join(line for line in err.splitlines() if 'there is no LICENSE' not in line)
        assert (code in (0, 1, 3), err, bool(out)) == (True, '', True), command


def test_a_release_by_a_cluster_is_the_same_bytes(cluster, root, tmp_path):
    made = set()
    for name, options in (('here', {'workers': 1}), ('there', {'dask': cluster.file})):
        (tmp_path / name).mkdir()
        out = tmp_path / name / 'x.tar.zst'
        done = fastindex.release(root, out, name='x', index=tmp_path / name, force=True, **options)
        made.add(done.archives[0].sha256)
    assert len(made) == 1


def test_a_client_of_the_caller_stays_open_and_keeps_nothing(cluster, root):
    with cluster.connect() as client:
        assert fastindex.build(root, dask=client, dry_run=True).sessions == 96
        assert client.submit(sum, [1, 2]).result() == 3
        wait_until(lambda: not any(client.has_what().values()))  # the workers are told, and answer


def list_open(root):
    paths = []
    for fd in os.listdir('/proc/self/fd'):
        with suppress(FileNotFoundError):  # another thread has closed it
            paths.append(os.readlink(f'/proc/self/fd/{fd}'))
    return [path for path in paths if path.startswith(root)]


def test_workers_hold_nothing_of_a_run_that_is_over(cluster, root, tmp_path):
    with cluster.connect() as client:
        fastindex.build(root, dask=client, dry_run=True)
        assert list(client.run(list_open, str(root)).values()) == [[], []]
        fastindex.build(root, out=tmp_path, workers=1, follow_symlinks=False)
        list(fastindex.verify(root, index=tmp_path, dask=client))  # which opens the tree a second time
        assert list(client.run(list_open, str(root)).values()) == [[], []]


def test_an_error_of_the_caller_ends_a_run(cluster, root):
    def stop(_):
        raise RuntimeError('stop')

    with pytest.raises(RuntimeError, match='stop'):
        fastindex.build(root, dask=cluster.file, dry_run=True, on_skip=stop)


def test_tasks_that_wait_are_taken_back(cluster, root, tmp_path):
    def count_tasks(dask_scheduler):
        return len(dask_scheduler.tasks)

    pipe = tmp_path / 'pipe'
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)  # as long as it is open, no task that reads the pipe ends
    try:
        with cluster.connect() as client:
            workers = Cluster(client, LocalTree.open(str(root)))
            while workers.has_room():
                workers.submit(None, to_task(Path.read_bytes, pipe), is_long=False)
            wait_until(lambda: client.run_on_scheduler(count_tasks))
            workers.stop(kill=True)
            wait_until(lambda: not client.run_on_scheduler(count_tasks))
    finally:
        pipe.unlink()
        os.close(writer)


def test_a_task_that_fails_is_told_with_what_to_look_at(cluster, root):
    tree = LocalTree.open(str(root))
    with Cluster.open(cluster.file, tree) as workers:
        workers.submit('token', to_task(int, 'no number'), is_long=False)
        with pytest.raises(ClusterError, match=r'ValueError: invalid literal.*same packages'):
            list(workers.collect())


def test_the_scheduler_gets_a_bounded_number_of_tasks(cluster, root):
    with Cluster.open(cluster.file, LocalTree.open(str(root))) as workers:
        sent = 0
        while workers.has_room():
            workers.submit(sent, to_task(time.sleep, 0.01), is_long=False)
            sent += 1
        assert sent == 2 * 5 + SPARE_TASKS  # five threads
        done = []
        while len(done) < sent:
            done += workers.collect()
            assert workers.has_room()
    assert sorted(done) == [(token, None) for token in range(sent)]


def test_a_scheduler_without_workers_is_named_after_a_while(root, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster_module, 'PATIENCE_SECONDS', 0.3)
    with (
        DaskCluster(tmp_path) as empty,
        empty.connect() as client,
        pytest.raises(ClusterError, match=r'has no workers.*dask worker'),
    ):
        Cluster(client, LocalTree.open(str(root)))


def test_nobody_answers(root, tmp_path, run, monkeypatch):
    monkeypatch.setattr(cluster_module, 'CONNECT_SECONDS', 1)
    code, _, err = run(root, '--out', tmp_path, '--dask', '127.0.0.1:9')
    assert code == 2
    assert 'no Dask scheduler answers at 127.0.0.1:9' in err
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('where', 'message'),
    [
        ('127.0.0.1', 'missing port'),
        ('smoke://127.0.0.1:1', 'unknown address scheme'),
        ('nowhere.json', 'cannot be read'),
        (__file__, 'no scheduler file'),
    ],
)
def test_what_is_no_address_is_a_wrong_use(root, where, message):
    with pytest.raises(UsageError, match=message):
        fastindex.build(root, dask=where, dry_run=True)


def test_a_cluster_has_the_workers_that_it_has(root):
    with pytest.raises(UsageError, match='exclude each other'):
        fastindex.build(root, dask='127.0.0.1:9', workers=2)


def test_without_dask_the_message_says_what_to_install(root, monkeypatch):
    monkeypatch.setitem(sys.modules, 'distributed', None)
    with pytest.raises(MissingExtraError, match='pip install distributed'):
        fastindex.build(root, dask='127.0.0.1:9')


@pytest.mark.parametrize('name', ['fastindex', 'Python', 'pyarrow'])
def test_a_worker_of_another_version_is_not_fit(root, name):
    expected = Requirements.here(LocalTree.open(str(root)))
    assert find_mismatch(expected) is None
    versions = {**dict(expected.versions), name: '0.0'}
    mismatch = find_mismatch(expected._replace(versions=tuple(versions.items())))
    assert f'has {name} ' in mismatch
    assert 'not 0.0: install the same' in mismatch


def test_a_folder_that_cannot_be_looked_at_is_no_landmark_and_no_end(tmp_path, monkeypatch):
    grow(tmp_path, {'lab/': None, 'odd/': None})
    lstat = os.lstat

    def fail(path):
        if os.fsdecode(path).endswith('odd'):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return lstat(path)

    monkeypatch.setattr(os, 'lstat', fail)
    monkeypatch.setattr(
        os, 'scandir', lambda path: fail(os.path.join(path, b'odd'))
    )  # a type that is unknown
    names = [name for name, _ in Requirements.here(LocalTree(str(tmp_path))).landmarks]
    assert names == [b'.', b'lab']


@pytest.mark.parametrize('left_out', [(), ('*.tmp',)])
def test_a_worker_that_sees_another_tree_is_not_fit(tmp_path, left_out):
    root, lab = tmp_path / 'root', tmp_path / 'root/lab'
    lab.mkdir(parents=True)
    tree = leave_out(LocalTree.open(str(root)), exclude=left_out, one_file_system=bool(left_out))
    expected = Requirements.here(tree)
    lab.rename(tmp_path / 'elsewhere')
    assert 'does not see' in find_mismatch(expected)
    lab.mkdir()
    assert f'sees another folder as {lab}' in find_mismatch(expected)
    root.rename(tmp_path / 'old')
    assert f'does not see {root} ' in find_mismatch(expected)


def test_new_tables_and_files_do_not_make_a_worker_unfit(tmp_path):
    (tmp_path / 'lab').mkdir()
    (tmp_path / 'sessions.pqt').touch()
    expected = Requirements.here(LocalTree.open(str(tmp_path)))
    (tmp_path / 'new').touch()
    (tmp_path / 'new').replace(tmp_path / 'sessions.pqt')
    (tmp_path / 'another lab').mkdir()
    assert find_mismatch(expected) is None


def test_of_many_threads_one_opens_the_root(tmp_path):
    (tmp_path / 'lab').mkdir()

    def list_root(tree, start):
        start.wait()
        list_folders(tree, '', Tally())

    for _ in range(30):
        tree, start = LocalTree.open(str(tmp_path)), threading.Barrier(8)
        threads = [threading.Thread(target=list_root, args=(tree, start)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (tree.root, tree.run) in _root_fds
        tree.close()
    assert list_open(str(tmp_path)) == []

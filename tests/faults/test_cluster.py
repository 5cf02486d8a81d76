"""P10 on a Dask cluster: workers that are killed, come late, see nothing; a scheduler that goes away."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

import fastindex
from benchmarks.measure import compile_tool
from fastindex.jobs.build.build import build_index
from fastindex.jobs.build.options import Options
from fastindex.trees.disk import LocalTree
from fastindex.workers import cluster as cluster_module
from tests.faults.poison import POISON, PoisonTree
from tests.support.daskcluster import DaskCluster
from tests.support.injectors import TOP, command, digests, environment, need_mounts, need_tools, run
from tests.support.patience import PATIENCE_SECONDS, wait_until
from tests.support.tables import read_paths
from tests.support.trees import grow

pytestmark = pytest.mark.fault

SESSIONS = 300


@pytest.fixture
def root(tmp_path: Path) -> Path:
    tree = {f's{i}/2024-01-01/001/alf/a.b.{j}': b'x' * i for i in range(SESSIONS) for j in range(10)}
    return grow(tmp_path / 'root', tree)


@pytest.fixture
def old_index(root: Path) -> tuple[str | None, ...]:
    """An index of the tree before it got one session more."""
    fastindex.build(root, workers=1)
    grow(root, {'s0/2024-01-02/001/alf/a.b.c': b''})
    return digests(root)


@pytest.fixture
def stuck(root: Path, tmp_path: Path) -> dict[str, str]:
    """The environment of a worker that is at one of the first sessions for an hour: none comes too late."""
    need_tools('cc')
    library = compile_tool('slowcalls.so', tmp_path, '-shared', '-fPIC', '-ldl')
    first = min((f's{i}/2024-01-01/001' for i in range(SESSIONS)), key=fastindex.eid)
    slow = {'SLOWCALLS_ROOT': str(root / first / 'alf'), 'SLOWCALLS_US': str(3600 * 10**6)}
    return {**slow, 'LD_PRELOAD': str(library)}


@pytest.fixture
def cluster(tmp_path: Path):
    (tmp_path / 'dask').mkdir()
    with DaskCluster(tmp_path / 'dask') as cluster:
        yield cluster


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*map(str, arguments)),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def find_worker(client, name: str) -> list[str]:
    """The address of a worker, where it is there."""
    workers = client.scheduler_info(n_workers=-1)['workers']
    return [address for address, worker in workers.items() if worker['name'] == name]


def count_runs(client) -> list[int]:
    """The runs that each worker has had tasks of."""
    return list(client.run(lambda: cluster_module._check_fit.cache_info().currsize).values())


def wait_for_scan(client) -> None:
    """Wait until sessions are being scanned."""
    wait_until(lambda: any('ScanTask' in str(keys) for keys in client.processing().values()))


@pytest.mark.parametrize('comes', ['again', 'late'])
def test_where_all_workers_are_killed_one_that_comes_changes_no_byte(
    root, tmp_path, cluster, stuck, figure, comes
):
    (tmp_path / 'out').mkdir()
    fastindex.build(root, out=tmp_path / 'out', workers=1)
    expected = digests(tmp_path / 'out')
    cluster.add_worker(*(['--no-nanny'] if comes == 'late' else []), env=stuck)  # a nanny starts it again
    cluster.add_worker('--no-nanny', env=stuck)
    with cluster.connect(workers=2) as client:
        victims = client.run(os.getpid)
        (tmp_path / 'new').mkdir()
        with start(root, '--out', tmp_path / 'new', '--dask', cluster.file) as running:
            wait_for_scan(client)
            if comes == 'late':
                cluster.add_worker('--no-nanny', '--name', 'late')
                wait_until(lambda: find_worker(client, 'late'))
            os.unlink(stuck['LD_PRELOAD'])  # one that is started again is not stuck
            for pid in victims.values():
                os.kill(pid, signal.SIGKILL)
            _, stderr = running.communicate(timeout=PATIENCE_SECONDS)
    assert (running.returncode, stderr) == (0, '')
    assert digests(tmp_path / 'new') == expected
    figure('P10', f'on a Dask cluster: all workers killed, one came {comes}: the same bytes')


def test_a_scheduler_that_goes_away_is_named_and_the_old_index_stays(root, cluster, stuck, old_index, figure):
    cluster.add_worker('--no-nanny', env=stuck)
    with cluster.connect(workers=1) as client, start(root, '--dask', cluster.file) as running:
        wait_for_scan(client)
        os.kill(cluster.scheduler.pid, signal.SIGKILL)
        _, stderr = running.communicate(timeout=PATIENCE_SECONDS)
    assert running.returncode == 2
    assert stderr.startswith('fastindex: error: the Dask scheduler tcp://127.0.0.1:')
    assert stderr.endswith('is gone: nothing was changed\n')
    assert digests(root) == old_index
    figure('P10', 'a scheduler that goes away: exit 2, the old index')


def test_a_worker_that_does_not_see_the_tree_is_named_before_anything_is_scanned(
    root, cluster, old_index, figure
):
    need_mounts()
    cluster.add_worker('--no-nanny')
    hide = ['unshare', '-m', 'sh', '-c', f'mount -t tmpfs none {root} && exec "$@"', 'sh']
    cluster.add_worker('--no-nanny', before=hide)
    with cluster.connect(workers=2) as client:
        done = run(root, '--dask', cluster.file)
        assert count_runs(client) == [0, 0]  # none had a task
    assert done.returncode == 2
    assert f'sees another folder as {root}' in done.stderr
    assert digests(root) == old_index
    figure('P10', 'a worker without the disk is named at once')


def test_a_worker_of_another_version_that_comes_late_ends_the_run(
    root, tmp_path, cluster, stuck, old_index, figure
):
    other = tmp_path / 'other'
    shutil.copytree(TOP / 'fastindex', other / 'fastindex')
    version = other / 'fastindex/_version.py'
    version.write_text(version.read_text().replace(fastindex.__version__, '0.0.1'))
    cluster.add_worker('--no-nanny', env=stuck)
    with cluster.connect(workers=1) as client, start(root, '--dask', cluster.file) as running:
        wait_for_scan(client)
        cluster.add_worker('--no-nanny', env={'PYTHONPATH': str(other)})
        _, stderr = running.communicate(timeout=PATIENCE_SECONDS)
    assert running.returncode == 2
    assert f'has fastindex 0.0.1, not {fastindex.__version__}' in stderr
    assert digests(root) == old_index
    figure('P10', 'one of another version, too, also where it comes late')


def test_a_session_that_kills_its_worker_each_time_is_a_problem_on_a_cluster(root, cluster, figure):
    for _ in range(2):
        cluster.add_worker()
    tree = PoisonTree(*LocalTree.open(str(root)))
    cluster.connect(workers=2).close()
    summary = build_index(tree, out=root, options=Options(), dask=cluster.file)
    assert {problem.path for problem in summary.problems} == POISON
    assert len(read_paths(root)) == (SESSIONS - len(POISON)) * 10
    figure('P10', f'{len(POISON)} poison session is a problem')

"""Who runs the tasks of a pool: new interpreters start only for work that is worth it."""

from __future__ import annotations

import os

import pytest

import fastindex
from fastindex.workers import backends
from fastindex.workers.pool import Pool
from tests.support.tasks import calls, double, whoami
from tests.support.trees import SESSION, grow


@pytest.fixture
def threaded(monkeypatch):
    """A process of two CPUs that has threads, as that of a notebook; its workers are forked all the same."""
    monkeypatch.setattr('fastindex.workers.pool.may_fork', lambda: False)
    monkeypatch.setattr('fastindex.workers.child.may_fork', lambda: True)
    for name in ('default_workers', 'count_cpus'):
        monkeypatch.setattr(f'fastindex.workers.pool.{name}', lambda: 2)
    monkeypatch.setattr('fastindex.workers.processes.count_cpus', lambda: 2)


def pids_of(pool: Pool) -> set[int]:
    return {pid for pid, _ in pool.run(calls(whoami, range(16)))}


def test_workers_start_when_the_work_has_taken_as_long_as_they_do(threaded, monkeypatch):
    with Pool(2, is_asked=False) as pool:
        assert pids_of(pool) == {os.getpid()}
        assert pool.workers == 2  # by which the work is cut
        monkeypatch.setattr(backends, 'HERE_SECONDS', -1)
        pids = pids_of(pool)
        assert (len(pids), os.getpid() in pids) == (3, True)
        assert [result for result, _ in pool.run(calls(double, range(50)))] == list(range(0, 100, 2))
        assert os.getpid() not in pids_of(pool)
    with Pool(2) as pool:  # somebody has asked for two
        assert os.getpid() not in pids_of(pool)


JOBS = {
    'build': lambda root: fastindex.build(root, rehash=True).generation,
    'validate': lambda root: list(fastindex.validate(root)),
    'verify': lambda root: list(fastindex.verify(root, hash=True)),
    'release': lambda root: fastindex.release(root, root.parent / 'r.tar.zst', force=True).archives[0].sha256,
    'example': lambda root: fastindex.example(root.parent / 'example', sessions=1).bytes,
}


@pytest.mark.parametrize('job', JOBS)
def test_a_small_tree_starts_no_interpreter(threaded, tmp_path, monkeypatch, job):
    """And what comes of it is the same. Of a release the time of compressing counts too."""
    monkeypatch.setattr(backends, 'HERE_SECONDS', float('inf'))
    for name in ('here', 'there'):
        grow(tmp_path / name / 'root', {f'{SESSION}/alf/a.b.npy': b'1', f'{SESSION}/alf/a c.d.npy': b'2'})
        fastindex.build(tmp_path / name / 'root', workers=1, hash=True)
    there = JOBS[job](tmp_path / 'there' / 'root')
    monkeypatch.setattr('fastindex.workers.processes.start_child', None)
    assert JOBS[job](tmp_path / 'here' / 'root') == there

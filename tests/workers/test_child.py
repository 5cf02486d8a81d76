"""A worker process: by which interpreter it is started."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fastindex import WorkerError
from fastindex.workers.pool import Pool, default_workers

DEFAULT_WORKERS = default_workers
"""Before the fixtures of all tests replace it."""


@pytest.mark.parametrize('host', ['/opt/MATLAB/bin/glnxa64/MATLAB', '/opt/app/app', '', '/not/there/python3'])
def test_the_program_that_python_runs_in_is_never_started_again(monkeypatch, host):
    monkeypatch.setattr(sys, 'executable', host)
    monkeypatch.setattr('fastindex.workers.child.may_fork', lambda: False)
    monkeypatch.setattr(subprocess, 'Popen', None)
    with Pool(2) as pool, pytest.raises(WorkerError, match=r'inside another program.*workers=1'):
        list(pool.run([]))


@pytest.mark.parametrize(
    ('executable', 'is_frozen', 'count'),
    [
        ('/usr/bin/python3.13', False, 7),
        ('/App/Python', False, 7),
        (r'python.exe', False, 7),
        ('/opt/MATLAB', False, 1),
        (None, False, 1),
        ('/opt/app/python', True, 1),
        ('/not/there/python', False, 1),
    ],
)
def test_inside_another_program_one_worker_is_the_default(monkeypatch, executable, is_frozen, count):
    monkeypatch.setattr(sys, 'executable', executable)
    monkeypatch.setattr('os.access', lambda path, how: path != '/not/there/python')
    monkeypatch.setattr(sys, 'frozen', is_frozen, raising=False)
    monkeypatch.setattr('fastindex.workers.pool.count_cpus', lambda: 7)
    assert DEFAULT_WORKERS() == count

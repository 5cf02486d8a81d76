"""Where a process gets no more threads or processes, every command ends with one sentence."""

from __future__ import annotations

import errno
import inspect
import os
import re
import shutil
import subprocess
import sys
import threading

import pyarrow as pa
import pytest

import fastindex
from fastindex import WorkerError
from fastindex.commands import COMMANDS
from fastindex.workers.threads import check_polars, check_threads
from tests.support.patience import PATIENCE_SECONDS
from tests.support.trees import SESSION, grow

FEW = 'may start no more threads or processes'
WORDS = {
    'build': ('ROOT', '--workers', '2'),
    'info': ('info', 'ROOT'),
    'release': ('release', 'ROOT', '--out', 'OUT.zip', '--workers', '2', '--force'),
    'report': ('report', 'ROOT', '--out', 'OUT.html', '--workers', '2'),
    'restore': ('restore', 'ROOT'),
    'search': ('search', 'ROOT'),
    'validate': ('validate', 'ROOT', '--workers', '2'),
    'verify': ('verify', 'ROOT', '--workers', '2'),
}


@pytest.fixture
def words_of(tmp_path):
    root = grow(tmp_path / 'root', {f'{SESSION}/a.b.npy': b''})
    fastindex.build(root, workers=1)
    fastindex.build(root, workers=1)
    paths = {'ROOT': str(root), 'OUT.zip': str(tmp_path / 'x.zip'), 'OUT.html': str(tmp_path / 'x.html')}
    return lambda command: [paths.get(word, word) for word in WORDS[command]]


def test_every_command_that_works_is_tried():
    assert set(COMMANDS) - set(WORDS) == {'completion', 'example', 'help'}


@pytest.mark.parametrize('command', WORDS)
def test_without_threads_a_command_ends_with_a_sentence(words_of, run, monkeypatch, command):
    monkeypatch.setattr(threading.Thread, 'start', fail)
    code, _, err = run(*words_of(command))
    assert (code, err.count('\n')) == (2, 1), err
    assert FEW in err


class Exhausted(os.PathLike):
    """A path of which nobody can be told, as there are no more processes."""

    def __fspath__(self):
        raise BlockingIOError(errno.EAGAIN, 'Resource temporarily unavailable')


def fail(*_, **__):
    raise RuntimeError("can't start new thread")


def takes_path(name):
    value = getattr(fastindex, name)
    first = next(iter(inspect.signature(value).parameters.values())) if inspect.isfunction(value) else None
    return first is not None and 'PathLike' in str(first.annotation)


@pytest.mark.parametrize('name', list(filter(takes_path, fastindex.__all__)))
def test_every_public_function_says_it_by_an_error_of_ours(name):
    function = getattr(fastindex, name)
    parameters = inspect.signature(function).parameters.values()
    paths = [
        Exhausted()
        for one in parameters
        if one.default is one.empty and one.kind == one.POSITIONAL_OR_KEYWORD
    ]
    with pytest.raises(WorkerError, match=FEW):
        list(function(*paths))


@pytest.mark.parametrize(
    ('error', 'said'),
    [
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), 'ulimit -n'),
        (OSError(errno.ENFILE, os.strerror(errno.ENFILE), '/lib/x.so'), 'ulimit -n'),
        (RuntimeError('Os { code: 24, kind: TooManyOpenFiles, message: ""}'), 'ulimit -n'),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), 'ulimit -v'),
        (ImportError('libstdc++.so.6: failed to map segment from shared object'), 'ulimit -v'),
        (MemoryError(), 'ulimit -v'),
        (pa.ArrowMemoryError('malloc of size 512 failed'), 'ulimit -v'),
    ],
)
def test_what_else_runs_short_is_said_too(words_of, run, monkeypatch, error, said):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr('fastindex.jobs.verify.verify.discover', fail)
    code, _, err = run(*words_of('verify'))
    assert (code, err.count('\n')) == (2, 1), err
    assert said in err
    assert 'unexpected' not in err


@pytest.mark.parametrize('job', ['validate', 'verify'])
def test_so_do_the_iterators_that_they_return(words_of, monkeypatch, job):
    monkeypatch.setattr(f'fastindex.jobs.{job}.{job}.discover', fail)
    found = getattr(fastindex, job)(words_of('info')[1], workers=1)
    with pytest.raises(WorkerError, match=FEW):
        next(found)


def test_an_index_is_not_opened_where_polars_would_get_no_threads_and_says_so_later(words_of, monkeypatch):
    root = words_of('info')[1]
    index = fastindex.open(root)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, 'start', fail)
        assert fastindex.open(root).facts == index.facts  # it has them by now
        check_polars.cache_clear()
        with pytest.raises(WorkerError, match=FEW):
            fastindex.open(root)
    for name in ('find_sessions', 'find_datasets'):
        monkeypatch.setattr(f'fastindex.jobs.read.index.{name}', fail)
    for ask in (index.search, index.find_sessions, index.find_datasets):
        with pytest.raises(WorkerError, match=FEW):
            ask()


SEARCH = """
import os, sys, threading
start, checked = threading.Thread.start, []
threading.Thread.start = lambda self: (checked.append(self), start(self))
import fastindex
index = fastindex.open(sys.argv[1])
threading.Thread.start = start
index.find_datasets(subject='s')
print(len(checked), len(os.listdir('/proc/self/task')) - 1)
"""


@pytest.mark.long
@pytest.mark.parametrize('wanted', [1, 5])
def test_polars_starts_no_more_threads_than_were_tried(words_of, wanted):
    command = [sys.executable, '-c', SEARCH, words_of('info')[1]]
    known = {**os.environ, 'POLARS_MAX_THREADS': str(wanted), 'PYTHONPATH': os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=known, capture_output=True, text=True, check=True)
    tried, started = map(int, done.stdout.split())
    assert wanted < started <= tried


@pytest.mark.parametrize('wanted', ['0', '-1', 'many', '\u0663'])
def test_a_number_of_threads_that_is_none_is_said(words_of, run, monkeypatch, wanted):
    monkeypatch.setenv('POLARS_MAX_THREADS', wanted)
    code, _, err = run(*words_of('search'))
    assert (code, 'POLARS_MAX_THREADS=' in err, err.count('\n')) == (2, True, 1)


@pytest.mark.parametrize('place', ['before', 'after'])
@pytest.mark.parametrize('count', [1, 2, 5])
def test_a_signal_while_threads_are_tried_is_what_ends_it(monkeypatch, place, count):
    start, started = threading.Thread.start, []

    def interrupt(thread):
        started.append(thread)
        if place == 'after' or len(started) < count:
            start(thread)
        if len(started) == count:
            raise KeyboardInterrupt

    monkeypatch.setenv('POLARS_MAX_THREADS', '4')
    monkeypatch.setattr(threading.Thread, 'start', interrupt)
    with pytest.raises(KeyboardInterrupt):
        check_threads(polars=True)


@pytest.mark.fault
@pytest.mark.parametrize('few', [1, 2, 4, 8, 10])
@pytest.mark.parametrize('command', WORDS)
def test_where_the_system_gives_no_more_a_command_ends_with_a_sentence(words_of, tmp_path, command, few):
    """Of a user that has no processes yet: the limit counts all of a user's, and none of root's."""
    if os.geteuid() or not shutil.which('setpriv') or not shutil.which('prlimit'):
        pytest.skip('needs root, setpriv and prlimit')
    subprocess.run(['chmod', '-R', 'a+rwX', tmp_path], check=True)
    as_user = ['--reuid=54321', '--regid=54321', '--clear-groups']
    reads_all = [f'--{kind}-caps=+dac_override' for kind in ('inh', 'ambient')]
    done = subprocess.run(
        ['setpriv', *as_user, *reads_all, 'prlimit', f'--nproc={few}', sys.executable, '-m', 'fastindex']
        + words_of(command),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    if done.returncode == 2:
        said = re.sub('<jemalloc>: .*\n', '', done.stderr)  # of a library's own
        assert re.fullmatch('fastindex: error: .*\n', said), done.stderr
    else:  # there were enough
        assert done.returncode in (0, 1), done.stderr
        assert not re.search('Traceback|panicked|terminate called', done.stderr)

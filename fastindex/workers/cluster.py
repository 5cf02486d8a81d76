"""Run tasks on the workers of a Dask cluster: for `pool.Pool` what `processes.Workers` is on one machine.

Gives the scheduler a bounded number of tasks, as many as its workers have threads and a few more; which
worker runs one, what is stolen from whom, and what is tried again when a worker is lost is the scheduler's
business. A task and its result travel as bytes: Dask would look into tuples and lists for tasks of its own.

Each worker is asked before its first task whether it is fit: the same program, and the same tree in the same
place. A worker that sees an empty mount point would find no session, and say so without an error.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import queue
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from stat import S_ISDIR
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from uuid import uuid4

from fastindex._version import __version__
from fastindex.errors import ClusterError, UsageError
from fastindex.extras import require
from fastindex.text import escape
from fastindex.trees import Tree
from fastindex.trees.disk import LocalTree
from fastindex.trees.part import base_of
from fastindex.workers import Task
from fastindex.workers.processes import DEATHS

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ['Cluster', 'Requirements', 'find_mismatch', 'forget', 'run_task']

CONNECT_SECONDS = 10  # to reach the scheduler, or to reach it again
PATIENCE_SECONDS = 60
"""Without any worker, before a run gives up: workers that died are started again in seconds."""

LOOK_SECONDS = 2  # between two looks at which workers there are
SPARE_TASKS = 8  # given to the scheduler beyond two a thread: enough for a cluster of few threads
MAX_LANDMARKS = 9  # with the root
MAX_NAMED = 3  # workers that a message names


class Requirements(NamedTuple):
    """What a worker must find, to give what this machine would."""

    tree: Tree
    landmarks: tuple[tuple[bytes, int], ...]
    """Folders in the root, and the root itself, with their inodes, which are those of the server's disk."""

    versions: tuple[tuple[str, str], ...]
    """Of what decides about a row: names are judged by Python's tables of characters."""

    @classmethod
    def here(cls, tree: Tree) -> Requirements:
        """Look around in this process."""
        return cls(tree, tuple(islice(_iter_landmarks(tree), MAX_LANDMARKS)), _versions())


def _iter_landmarks(tree: Tree) -> Iterator[tuple[bytes, int]]:
    if not isinstance(base_of(tree), LocalTree):
        return
    root = os.fsencode(tree.root)  # the locale of a worker may be another one
    for name in (b'.', *sorted(os.listdir(root))):
        with suppress(OSError):  # what cannot be looked at is a problem of the discovery
            info = os.lstat(os.path.join(root, name))
            if S_ISDIR(info.st_mode) and (name == b'.' or not name.startswith(b'.')):
                yield name, info.st_ino


def _versions() -> tuple[tuple[str, str], ...]:
    try:
        pyarrow = version('pyarrow').partition('.')[0]
    except PackageNotFoundError:
        pyarrow = 'none'
    python = f'{sys.version_info.major}.{sys.version_info.minor}'
    return ('fastindex', __version__), ('Python', python), ('pyarrow', pyarrow)


def find_mismatch(requirements: Requirements) -> str | None:
    """Find out, in a worker, why it must not have a part in this run; None where it may."""
    for (name, there), (_, here) in zip(requirements.versions, _versions(), strict=True):
        if there != here:
            return f'has {name} {here}, not {there}: install the same version on all machines'
    root = requirements.tree.root
    for landmark, inode in requirements.landmarks:
        path = os.path.normpath(os.path.join(root, os.fsdecode(landmark)))
        try:
            found = os.lstat(path).st_ino
        except OSError as error:
            return f'does not see {escape(path)} ({error.strerror}): is {escape(root)} mounted there?'
        if found != inode:
            return f'sees another folder as {escape(path)}: is {escape(root)} the same file system there?'
    return None


@lru_cache(100)
def _check_fit(requirements: Requirements) -> None:
    """Raise ClusterError if this process, a worker, is not fit; it is looked at once for each run."""
    if mismatch := find_mismatch(requirements):
        from distributed import get_worker

        raise ClusterError(f'worker {get_worker().address} {mismatch}')


def run_task(message: bytes) -> bytes:
    """Run a task in a worker: bytes there and back. See `Cluster.submit`.

    Raises ClusterError if the worker is not fit.
    """
    requirements, task = pickle.loads(message)  # noqa: S301 - from the scheduler
    _check_fit(requirements)
    return pickle.dumps(task.run(), pickle.HIGHEST_PROTOCOL)


def forget(requirements: Requirements) -> None:
    """Close, in a worker, what it holds of a run that is over: its disk can be unmounted then."""
    requirements.tree.close()


class _SentTask(NamedTuple):
    token: Any
    task: Task
    is_alone: bool


class Cluster:
    """The workers of a Dask cluster. A context: leaving it takes back what was not done, and hangs up.

    Raises ClusterError if there is no worker, or one that must not have a part in this run.

    client: a connection to the scheduler
    tree: what will be indexed
    is_ours: whether the connection is closed at the end
    """

    task_size = 4  # each task costs the scheduler 2 ms: so all take a fifth less CPU time

    def __init__(self, client: Client, tree: Tree, *, is_ours: bool = False) -> None:
        self._client = client
        self._is_ours = is_ours
        self._address = client.scheduler.address
        self._tasks: dict[Future, _SentTask] = {}
        self._suspects: deque[_SentTask] = deque()
        self._results: queue.SimpleQueue[tuple[Future, bytes | BaseException]] = queue.SimpleQueue()
        self._seen = self._looked = time.monotonic()
        self.threads = 0
        self._requirements = Requirements.here(tree)
        try:
            while not self.threads:
                self._look_at_workers()
                time.sleep(0 if self.threads else 0.2)
            self._refuse_unfit()
        except BaseException:
            self._hang_up()
            raise

    @classmethod
    def open(cls, where: str | os.PathLike[str] | Client, tree: Tree) -> Cluster:
        """Connect to the cluster at an address, or in a scheduler file, or use a client that is connected.

        Raises UsageError if Dask is not installed, or `where` is no address. Raises ClusterError if nobody
        answers, and as above.
        """
        if not isinstance(where, str | os.PathLike):
            return cls(where, tree)
        return cls(_connect(os.fspath(where)), tree, is_ours=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._hang_up()

    def has_room(self) -> bool:
        """Tell whether a task that is submitted now would not wait for long."""
        return not self._suspects and len(self._tasks) < 2 * self.threads + SPARE_TASKS

    def submit(self, token: Any, task: Task, *, is_long: bool) -> None:
        """Give the scheduler a task. See `fastindex.workers.processes.Workers.submit`."""
        self._send(_SentTask(token, task, is_alone=False))

    def _send(self, sent: _SentTask) -> None:
        message = pickle.dumps((self._requirements, sent.task), pickle.HIGHEST_PROTOCOL)
        # Dask takes two tasks of one key for one; and learns how long those of one name take.
        future = self._client.submit(run_task, message, key=f'{type(sent.task).__name__}-{uuid4().hex}')
        self._tasks[future] = sent
        self._client.loop.add_callback(self._follow, future)

    async def _follow(self, future: Future) -> None:
        """Fetch a result as soon as it is there: runs in the thread of the client."""
        result: bytes | BaseException
        try:
            result = await future
        except (Exception, asyncio.CancelledError) as error:
            result = error
        self._results.put((future, result))

    def collect(self) -> Iterator[tuple[Any, Any]]:
        """Wait until there are results; iterate over their tokens and values.

        The value is `DEATHS` for a task that has killed its worker time and again, also when it ran alone:
        the scheduler blames all tasks that a dead worker had. Raises ClusterError if the scheduler is gone,
        or all workers are, or one is not fit.
        """
        if not self._tasks:
            self._send(self._suspects.popleft()._replace(is_alone=True))
        future, result = self._wait()
        while True:
            sent = self._tasks.pop(future)
            if isinstance(result, bytes):
                yield sent.token, pickle.loads(result)  # noqa: S301 - from our own worker
            elif not _is_deadly(result):
                raise self._explain(result) from result
            elif sent.is_alone:
                yield sent.token, DEATHS
            else:
                self._suspects.append(sent)
            try:
                future, result = self._results.get_nowait()
            except queue.Empty:
                return

    def _wait(self) -> tuple[Future, bytes | BaseException]:
        while True:
            if time.monotonic() - self._looked > LOOK_SECONDS:
                self._look_at_workers()
            with suppress(queue.Empty):
                return self._results.get(timeout=LOOK_SECONDS)

    def _look_at_workers(self) -> None:
        """Count the threads of all workers, some of which may have come or gone."""
        try:
            threads = sum(self._client.nthreads().values())
        except OSError as error:
            raise self._explain(error) from error
        self._looked = time.monotonic()
        if threads:
            self.threads, self._seen = threads, self._looked
        elif self._looked - self._seen > PATIENCE_SECONDS:
            raise ClusterError(
                f'the Dask scheduler {self._address} has no workers, for {PATIENCE_SECONDS} s now: '
                f'nothing was changed; start some: dask worker {self._address}'
            )

    def _refuse_unfit(self) -> None:
        """Ask all workers before anything is scanned; those that come later are asked at their first task."""
        try:
            answers = self._client.run(find_mismatch, self._requirements, on_error='return')
        except OSError as error:
            raise self._explain(error) from error
        mismatches = [
            f'worker {address} '
            + (f'cannot run fastindex {__version__}: {answer}' if isinstance(answer, Exception) else answer)
            for address, answer in sorted(answers.items())
            if answer is not None
        ]
        if mismatches:
            more = [f'and {len(mismatches) - MAX_NAMED:,} more'] if len(mismatches) > MAX_NAMED else []
            raise ClusterError(
                '\n  '.join([*mismatches[:MAX_NAMED], *more, 'nothing was scanned or changed'])
            )

    def _explain(self, error: BaseException) -> ClusterError:
        if isinstance(error, ClusterError):
            return ClusterError(f'{error}\n  nothing was changed')
        if isinstance(error, OSError | asyncio.CancelledError | CancelledError):
            return ClusterError(f'the Dask scheduler {self._address} is gone: nothing was changed')
        return ClusterError(
            f'a task failed on the cluster ({type(error).__name__}: {error}): nothing was changed; have '
            f'the scheduler and all workers the same packages as this machine (fastindex {__version__})?'
        )

    def stop(self, *, kill: bool) -> None:
        """Take back what was not started. A task that runs ends by itself; nobody waits for it."""
        futures = list(self._tasks)
        self._tasks.clear()
        if self._client.status == 'running':
            with suppress(Exception):  # the scheduler is gone: so are the tasks
                if futures:
                    self._client.cancel(futures)
                else:
                    self._client.run(forget, self._requirements)

    def _hang_up(self) -> None:
        if self._is_ours:
            self._client.close()


def _is_deadly(error: BaseException) -> bool:
    from distributed import KilledWorker

    return isinstance(error, KilledWorker)


def _connect(where: str) -> Client:
    require('dask', 'a Dask cluster')
    from distributed import Client

    is_file = where.endswith('.json') or os.path.exists(where)
    address = _read_scheduler_file(where) if is_file else where
    try:
        return Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except ValueError as error:
        raise UsageError(
            hint=f'`dask` {escape(where)}: {error}; expected HOST:PORT, or a scheduler file'
        ) from error
    except OSError as error:
        raise ClusterError(
            f'no Dask scheduler answers at {escape(address)} for {CONNECT_SECONDS} s: is it running (dask '
            'scheduler), and is this its address?'
        ) from error


def _read_scheduler_file(path: str) -> str:
    try:
        with open(path, encoding='utf-8') as file:
            address = json.load(file)['address']
    except OSError as error:
        raise UsageError(
            hint=f'`dask` {escape(path)}: the scheduler file cannot be read ({error.strerror})'
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(hint=f'`dask` {escape(path)}: this is no scheduler file of Dask') from error
    return str(address)

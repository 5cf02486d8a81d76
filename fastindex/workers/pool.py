"""Run tasks a bounded number at a time, and yield their results in order.

A `Pool` is what the stages see. It runs tasks in worker processes of our own, in any
`concurrent.futures.Executor` that was passed in, on a cluster or, with one worker, in this process: the same
code, which is the oracle for the parallel runs. Where there is no poll to wait for pipes with (Windows), the
workers are threads: they need no script that can be imported, and wait for the disk side by side.
"""

from __future__ import annotations

import heapq
import itertools
import os
import select
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from numbers import Integral
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from fastindex.errors import UsageError, WorkerError
from fastindex.system import undisturbed
from fastindex.workers import Branches, Rescuable, Task
from fastindex.workers.backends import Backend, Here, HereFirst, There, Threads
from fastindex.workers.child import find_interpreter, may_fork
from fastindex.workers.cpus import count_cpus
from fastindex.workers.processes import DEATHS, MAX_DEATHS, Workers

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from distributed import Client

    from fastindex.trees import Tree
    from fastindex.workers.cluster import Cluster

    Dask: TypeAlias = str | os.PathLike[str] | Client
    """The address of a scheduler, a scheduler file, or a client, which stays the caller's."""

__all__ = ['Pool', 'check_workers', 'default_workers', 'open_pool']

MAX_HELD_BYTES = 64 * 2**20
"""Results that wait for an earlier one; beyond, no new task is started until that one is there."""

MOST_THREADS = 64  # workers that nobody has asked for, where a disk lets them wait
MAX_RENEWED = 8  # worker processes: to start one takes 4 ms of a CPU, to import pyarrow 60


def default_workers() -> int:
    """Count the workers where nobody says how many: one a CPU; inside another program one, which is this."""
    return 1 if find_interpreter() is None else count_cpus()


def check_workers(workers: int | None, executor: Executor | None = None, dask: Dask | None = None) -> None:
    """Raise UsageError if fewer workers than one were asked for, or those of a cluster and others too."""
    if dask is not None and not (workers is None and executor is None):
        raise UsageError(
            hint='`dask` and `workers` exclude each other: the cluster has the workers that it has'
        )
    if workers is not None and not (isinstance(workers, Integral) and workers >= 1):
        raise UsageError(f'workers={workers!r}: expected a whole number, 1 or more')


@contextmanager
def open_pool(
    tree: Tree, workers: int | None = None, executor: Executor | None = None, dask: Dask | None = None
) -> Iterator[Pool]:
    """Open the workers for a job on a tree: processes of our own, an executor's, or those of a Dask cluster.

    Raises UsageError: as `check_workers` does, and if what `dask` names is no cluster. Raises ClusterError if
    the cluster is not there, or has a worker that does not see the tree as this machine does.
    """
    check_workers(workers, executor, dask)
    if dask is None:
        most = max(MOST_THREADS, default_workers()) if workers is None and executor is None else None
        # The standard library's executors know their size, others do not say it.
        count = workers or getattr(executor, '_max_workers', None) or default_workers()
        with Pool(count, executor, most=most, is_asked=workers is not None) as pool:
            yield pool
        return
    from fastindex.workers.cluster import Cluster

    with Cluster.open(dask, tree) as cluster, Pool(cluster.threads, cluster=cluster) as pool:
        yield pool


class _Job:
    """A task that has a turn, its result, and those of the subtasks that this asked for."""

    __slots__ = ('is_sent', 'missing', 'result', 'subresults', 'task')

    def __init__(self, task: Task) -> None:
        self.task = task
        self.is_sent = False
        self.missing = 1  # results: its own, and then those of its subtasks
        self.result: Any = None
        self.subresults: list[Any] = []


class Pool:
    """Workers for the stages of a run. A context: leaving it ends what it started.

    workers: number of tasks that run at once; of the executor, where one is passed
    executor: any `concurrent.futures.Executor`, which stays the caller's: it is not shut down
    cluster: runs the tasks in their place
    most: number of tasks that run at once, at most, where tasks turn out to wait for the disk
    is_asked: whether somebody said how many; if not, new interpreters start only for work that is worth it
    """

    def __init__(
        self,
        workers: int,
        executor: Executor | None = None,
        *,
        cluster: Cluster | None = None,
        most: int | None = None,
        is_asked: bool = True,
    ) -> None:
        self._workers = workers
        self._is_asked = is_asked
        self._most = most or workers
        self.task_size = 1 if cluster is None else cluster.task_size
        """How large a task should be, as a multiple: larger where to send one costs more."""
        self._executor = executor
        self._cluster = cluster
        self._backend: Backend | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._stop(kill=kind is not None)
        except BaseException:  # a signal, as it started
            self._stop(kill=True)
            raise

    def close(self) -> None:
        """End the workers now: what they have inherited is open until then. None may have a task."""
        self._stop(kill=False)

    def _stop(self, *, kill: bool) -> None:
        if self._backend is not None:
            self._workers = self.workers
            self._backend.stop(kill=kill)
            self._backend = None

    @undisturbed()
    def _start(self) -> Backend:
        if self._backend is None:
            if self._cluster is not None:
                self._backend = self._cluster
            elif self._executor is not None:
                self._backend = There(self._executor, self.workers)
            elif self.workers == 1:
                self._backend = Here()
            elif not hasattr(select, 'poll'):
                self._backend = Threads(self.workers)
            elif self._is_asked or may_fork():
                self._backend = Workers(self.workers, self._most)
            else:
                self._backend = HereFirst(partial(Workers, self.workers, self._most))
        return self._backend

    @property
    def workers(self) -> int:
        """Number of tasks that run at once, as far as it is known by now."""
        backend = self._backend.workers if isinstance(self._backend, HereFirst) else self._backend
        if isinstance(backend, Workers):
            self._workers = len(backend)
        return self._workers

    @property
    def is_renewable(self) -> bool:
        """Whether to replace the workers costs less than to let them wait for what they are to inherit."""
        return min(self.workers, count_cpus()) <= MAX_RENEWED

    def renew(self) -> None:
        """Replace the workers, which then inherit what was imported meanwhile, before a thread forbids it."""
        if isinstance(self._backend, Workers) and may_fork():
            self._stop(kill=True)
            self._start()

    def run(
        self, tasks: Iterable[Task], *, on_result: Callable[[Task, Any], object] | None = None
    ) -> Iterator[tuple[Any, list[Any]]]:
        """Start tasks at once; iterate over their results in the order of the tasks.

        Raises WorkerError if workers die of a task time and again, and it cannot be rescued.

        tasks: taken one by one as workers become free; picklable for worker processes. See `Task`,
            `Rescuable`.
        on_result: called with each task and subtask and its result as these come in, long before their turn
            maybe

        Yields results, each with those of the subtasks that it named, in their order. See `Branches`.
        """
        run = _Schedule(self._start(), self.workers, iter(tasks), on_result)
        run.fill()
        return run.iter_results()


class _Schedule:
    """What is to be run when: one call of `Pool.run`."""

    def __init__(
        self,
        backend: Backend,
        workers: int,
        tasks: Iterator[Task],
        on_result: Callable[[Task, Any], object] | None,
    ) -> None:
        self.backend = backend
        self.on_result = on_result
        self.max_long = max(1, workers - 1)
        self.tasks: Iterator[Task] | None = tasks
        self.jobs: deque[_Job] = deque()  # in the order of their turns
        self.unsent = 0  # jobs that came in between
        self.pending: list[tuple[int, int, _Job, int]] = []  # heap of subtasks, largest cost first
        self.order = itertools.count()
        self.held_bytes = 0
        self.long_in_flight = 0

    def fill(self) -> None:
        """Submit tasks while there is room."""
        while self.backend.has_room():
            # Subtasks are the long ones: they start early, but leave a worker to find more of them.
            if self.pending and (self.long_in_flight < self.max_long or self.tasks is None):
                self._submit_subtask()
            elif not self._submit_next():
                if not self.pending:
                    return
                self._submit_subtask()

    def _submit_next(self) -> bool:
        job = next(job for job in self.jobs if not job.is_sent) if self.unsent else None
        if self.held_bytes > MAX_HELD_BYTES and (job is None or job is not self.jobs[0]):
            return False
        if job is not None:
            self.unsent -= 1
        else:
            if self.tasks is None:
                return False
            try:
                job = _Job(next(self.tasks))
            except StopIteration:
                self.tasks = None
                return False
            self.jobs.append(job)
        job.is_sent = True
        self.backend.submit((job, None), job.task, is_long=False)
        return True

    def _submit_subtask(self) -> None:
        _, _, job, position = heapq.heappop(self.pending)
        self.long_in_flight += 1
        self.backend.submit((job, position), job.result.subtasks[position], is_long=True)

    def iter_results(self) -> Iterator[tuple[Any, list[Any]]]:
        while self.jobs:
            for (job, position), result in self.backend.collect():
                if self.on_result is not None and result is not DEATHS:
                    self.on_result(job.task if position is None else job.result.subtasks[position], result)
                if position is None:
                    self._take(job, result)
                else:
                    self._take_subresult(job, position, result)
            self.fill()
            while self.jobs and not self.jobs[0].missing:
                job = self.jobs.popleft()
                self.held_bytes -= _count_bytes(job.result)
                yield job.result, job.subresults
                self.fill()

    def _take_subresult(self, job: _Job, position: int, result: Any) -> None:
        self.long_in_flight -= 1
        job.subresults[position] = _rescue(job.result.subtasks[position]) if result is DEATHS else result
        job.missing -= 1

    def _take(self, job: _Job, result: Any) -> None:
        if result is DEATHS:
            result = _rescue(job.task)
            if isinstance(result, list):
                self._insert(job, result)
                self.jobs.remove(job)
                return
        job.result, job.missing = result, 0
        self.held_bytes += _count_bytes(result)
        if not isinstance(result, Branches):
            return
        self._insert(job, result.continuation)
        job.subresults = [None] * len(result.subtasks)
        job.missing = len(result.subtasks)
        for position, subtask in enumerate(result.subtasks):
            heapq.heappush(self.pending, (-subtask.cost, next(self.order), job, position))

    def _insert(self, job: _Job, tasks: Iterable[Task]) -> None:
        for position, task in enumerate(tasks, self.jobs.index(job) + 1):
            self.jobs.insert(position, _Job(task))
            self.unsent += 1


def _rescue(task: Task) -> Any:
    if isinstance(task, Rescuable):
        return task.rescue()
    raise WorkerError(
        f'{MAX_DEATHS} worker processes died of the same task (killed, or out of memory): '
        'nothing was changed; try again with fewer workers'
    )


def _count_bytes(result: Any) -> int:
    """Count the bytes that a result takes while it waits for its turn, as far as it tells."""
    if isinstance(result, bytes | memoryview):
        return len(result)
    size_bytes: int = getattr(result, 'held_bytes', 0)
    return size_bytes

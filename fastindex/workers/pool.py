"""Run tasks a bounded number at a time, and yield their results in order.

A `Pool` is what the stages see. Behind it stand worker processes of our own, any
`concurrent.futures.Executor` that was passed in, a cluster, or, with one worker, nobody: the same code in
this process, the oracle for the parallel runs.
"""

from __future__ import annotations

import heapq
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, Self, TypeVar, cast

from fastindex.errors import UsageError, WorkerError
from fastindex.workers.processes import DEATHS, MAX_DEATHS, TASKS_PER_WORKER, Workers, may_fork

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

    from fastindex.workers.cluster import Cluster

__all__ = ['FollowUp', 'Pool', 'Successor', 'count_workers', 'default_workers']

T = TypeVar('T')
R = TypeVar('R')

MAX_HELD_BYTES = 64 * 2**20
"""Results that wait for an earlier one; beyond, no new task is started until that one is there."""

MAX_RENEWED = 8
"""Workers: to start one takes 4 ms of a CPU, to import pyarrow 60."""


def default_workers() -> int:
    """Count the CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def count_workers(workers: int | None, executor: Executor | None) -> int:
    """Count the tasks that are to run at once: as many as was asked for, else as the executor or the CPUs do.

    Raises
    ------
    UsageError
        If fewer than one was asked for.
    """
    if workers is not None and workers < 1:
        raise UsageError(f'workers={workers}: expected 1 or more')
    # The standard library's executors know their size, others do not say it.
    return workers or getattr(executor, '_max_workers', None) or default_workers()


class FollowUp(NamedTuple):
    """A further task that a result asks for and waits for; the largest `cost` of all known runs first."""

    function: Callable[[Any], Any]
    task: Any
    cost: int


class Successor(NamedTuple):
    """A further task whose result has its turn right behind that of the task that it comes from."""

    function: Callable[[Any], Any]
    task: Any


class _Job(Generic[T, R]):
    """A task, its result, and what that asked for."""

    __slots__ = ('follow_ups', 'function', 'held_bytes', 'is_done', 'is_sent', 'missing', 'result', 'task')

    def __init__(self, function: Callable[[T], R], task: T) -> None:
        self.function = function
        self.task = task
        self.result: R | None = None
        self.is_sent = False
        self.is_done = False
        self.follow_ups: list[Any] = []
        self.missing = 0
        self.held_bytes = 0


class _Backend(Protocol):
    """Who runs the tasks. See `fastindex.workers.processes.Workers`."""

    def has_room(self) -> bool: ...

    def submit(self, token: Any, function: Callable[[Any], Any], argument: Any, *, is_long: bool) -> None: ...

    def collect(self) -> Iterator[tuple[Any, Any]]: ...

    def stop(self, *, kill: bool) -> None: ...


class _Here:
    """Runs one task after the other in this process."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Any, Callable[[Any], Any], Any]] = deque()

    def has_room(self) -> bool:
        return not self._waiting

    def submit(self, token: Any, function: Callable[[Any], Any], argument: Any, *, is_long: bool) -> None:
        self._waiting.append((token, function, argument))

    def collect(self) -> Iterator[tuple[Any, Any]]:
        token, function, argument = self._waiting.popleft()
        yield token, function(argument)

    def stop(self, *, kill: bool) -> None:
        self._waiting.clear()


class _There:
    """Runs tasks on an executor, which stays the caller's."""

    def __init__(self, executor: Executor, workers: int) -> None:
        self._executor = executor
        self._max_tasks = workers * TASKS_PER_WORKER
        self._futures: dict[Future[Any], Any] = {}

    def has_room(self) -> bool:
        return len(self._futures) < self._max_tasks

    def submit(self, token: Any, function: Callable[[Any], Any], argument: Any, *, is_long: bool) -> None:
        self._futures[self._executor.submit(function, argument)] = token

    def collect(self) -> Iterator[tuple[Any, Any]]:
        from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, wait

        for future in wait(self._futures, return_when=FIRST_COMPLETED).done:
            token = self._futures.pop(future)
            try:
                yield token, future.result()
            except BrokenExecutor as error:
                raise WorkerError(f'the executor broke ({error}): nothing was changed') from error

    def stop(self, *, kill: bool) -> None:
        for future in self._futures:
            future.cancel()


class Pool:
    """Workers for the stages of a run. A context: leaving it ends what it started.

    Parameters
    ----------
    workers
        Number of tasks that run at once; of the executor, where one is passed.
    executor
        Any `concurrent.futures.Executor`, which stays the caller's: it is not shut down.
    cluster
        Runs the tasks in their place.
    task_size
        How large a task should be, as a multiple: larger where to send one costs more.
    """

    def __init__(
        self,
        workers: int,
        executor: Executor | None = None,
        *,
        cluster: Cluster | None = None,
        task_size: int = 1,
    ) -> None:
        self.workers = workers
        self.task_size = task_size
        self._executor = executor
        self._cluster = cluster
        self._backend: _Backend | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop(kill=kind is not None)

    def close(self) -> None:
        """End the workers now: what they have inherited is open until then. None may have a task."""
        self._stop(kill=False)

    def _stop(self, *, kill: bool) -> None:
        if self._backend is not None:
            backend, self._backend = self._backend, None
            backend.stop(kill=kill)

    def _start(self) -> _Backend:
        if self._backend is None:
            if self._cluster is not None:
                self._backend = self._cluster
            elif self._executor is not None:
                self._backend = _There(self._executor, self.workers)
            elif self.workers > 1:
                self._backend = Workers(self.workers)
            else:
                self._backend = _Here()
        return self._backend

    @property
    def is_renewable(self) -> bool:
        """Whether to replace the workers costs less than to let them wait for what they are to inherit."""
        return self.workers <= MAX_RENEWED

    def renew(self) -> None:
        """Replace the workers, which then inherit what was imported meanwhile, before a thread forbids it."""
        if isinstance(self._backend, Workers) and may_fork():
            self._stop(kill=True)
            self._start()

    def run(
        self,
        function: Callable[[T], R],
        tasks: Iterable[T],
        *,
        follow_ups: Callable[[T, R], Iterable[FollowUp]] = lambda _task, _result: (),
        successors: Callable[[R], Iterable[Successor]] = lambda _result: (),
        rescue: Callable[[Callable[[Any], Any], Any], Any] | None = None,
        size_bytes: Callable[[R], int] = lambda _: 0,
    ) -> Iterator[tuple[R, list[Any]]]:
        """Start tasks at once; iterate over their results in the order of the tasks.

        Parameters
        ----------
        function
            What a worker does with a task: both must be picklable for worker processes.
        tasks
            Taken one by one as workers become free.
        follow_ups
            The further tasks that a task's result asks for. Its own turn comes when they are done.
        successors
            The further tasks that come behind a task, before the next one.
        rescue
            Called with the function and the task that killed its worker time and again. Gives the smaller
            tasks to try in its place, a list of `Successor`, or what is to be its result.
        size_bytes
            Memory that a result takes while it waits for its turn.

        Yields
        ------
        result, follow_up_results
            The latter in the order of the follow-ups.

        Raises
        ------
        WorkerError
            If workers die of a task time and again, and there is no `rescue`.
        """
        run = _Run(
            self._start(), self.workers, function, iter(tasks), follow_ups, successors, rescue, size_bytes
        )
        run.fill()
        return run.iter_results()


class _Run(Generic[T, R]):
    """One call of `Pool.run`."""

    def __init__(
        self,
        backend: _Backend,
        workers: int,
        function: Callable[[T], R],
        tasks: Iterator[T],
        follow_ups: Callable[[T, R], Iterable[FollowUp]],
        successors: Callable[[R], Iterable[Successor]],
        rescue: Callable[[Callable[[Any], Any], Any], Any] | None,
        size_bytes: Callable[[R], int],
    ) -> None:
        self.backend = backend
        self.max_long = max(1, workers - 1)
        self.function = function
        self.tasks: Iterator[T] | None = tasks
        self.follow_ups = follow_ups
        self.successors = successors
        self.rescue = rescue
        self.size_bytes = size_bytes
        self.jobs: deque[_Job[T, R]] = deque()  # in the order of their turns
        self.unsent = 0  # jobs that came in between
        self.pending: list[tuple[int, int, _Job[T, R], int, FollowUp]] = []  # heap, largest cost first
        self.pushed = 0
        self.held_bytes = 0
        self.long_in_flight = 0

    def fill(self) -> None:
        """Submit tasks while there is room."""
        while self.backend.has_room():
            # Follow-ups are the long ones: they start early, but leave a worker to find more of them.
            if self.pending and (self.long_in_flight < self.max_long or self.tasks is None):
                self._submit_follow_up()
            elif not self._submit_next():
                if not self.pending:
                    return
                self._submit_follow_up()

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
                job = _Job(self.function, next(self.tasks))
            except StopIteration:
                self.tasks = None
                return False
            self.jobs.append(job)
        job.is_sent = True
        self.backend.submit((job, None), job.function, job.task, is_long=False)
        return True

    def _submit_follow_up(self) -> None:
        _, _, job, place, follow_up = heapq.heappop(self.pending)
        self.long_in_flight += 1
        self.backend.submit((job, place), follow_up.function, follow_up.task, is_long=True)

    def iter_results(self) -> Iterator[tuple[R, list[Any]]]:
        while self.jobs:
            for (job, place), result in self.backend.collect():
                self._take(job, place, result)
            self.fill()
            while self.jobs and self.jobs[0].is_done and not self.jobs[0].missing:
                job = self.jobs.popleft()
                self.held_bytes -= job.held_bytes
                yield cast(R, job.result), [result for _, result in job.follow_ups]
                self.fill()

    def _take(self, job: _Job[T, R], place: int | None, result: Any) -> None:
        if place is not None:
            self.long_in_flight -= 1
            follow_up = job.follow_ups[place][0]
            if result is DEATHS:
                result = self._rescue(follow_up.function, follow_up.task)
            job.follow_ups[place] = follow_up, result
            job.missing -= 1
            return
        if result is DEATHS:
            result = self._rescue(job.function, job.task)
            if isinstance(result, list):
                self._insert(job, result)
                self.jobs.remove(job)
                return
        job.result, job.is_done = result, True
        job.held_bytes = self.size_bytes(result)
        self.held_bytes += job.held_bytes
        self._insert(job, self.successors(result))
        for follow_up in self.follow_ups(job.task, result):
            self.pushed += 1
            heapq.heappush(self.pending, (-follow_up.cost, self.pushed, job, job.missing, follow_up))
            job.follow_ups.append((follow_up, None))
            job.missing += 1

    def _rescue(self, function: Callable[[Any], Any], task: Any) -> Any:
        if self.rescue is None:
            raise WorkerError(
                f'{MAX_DEATHS} worker processes died of the same task (killed, or out of memory): '
                'nothing was changed; try again with fewer workers'
            )
        return self.rescue(function, task)

    def _insert(self, job: _Job[T, R], successors: Iterable[Successor]) -> None:
        for place, successor in enumerate(successors, self.jobs.index(job) + 1):
            self.jobs.insert(place, _Job(*successor))
            self.unsent += 1

"""Run tasks on any `concurrent.futures.Executor`, a bounded number at a time, and yield results in order.

A `Pool` is what the stages see. It wraps an executor that was passed in, or worker processes of its own:
forked where this process has no threads, as a forked worker inherits what is imported; by forkserver where
it has (a notebook). One worker means no process at all: the same code here, the oracle for parallel runs.
"""

from __future__ import annotations

import heapq
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from fastindex.errors import WorkerError

__all__ = ['FollowUp', 'Pool', 'default_workers']

T = TypeVar('T')
R = TypeVar('R')

TASKS_PER_WORKER = 4
"""Tasks in flight for each worker: enough that none waits while this process is busy for 30 ms."""

MAX_HELD_BYTES = 64 * 2**20
"""Results that wait for an earlier one; beyond, no new task is started until that one is there."""


def default_workers() -> int:
    """Count the CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A further task that a result asks for; the largest `cost` of all that are known runs first."""

    function: Callable[[Any], Any]
    task: Any
    cost: int


@dataclass(slots=True)
class _Job(Generic[T, R]):
    """A task, its result, and what that asked for."""

    task: T
    result: R | None = None
    is_done: bool = False
    follow_ups: list[Any] = field(default_factory=list)
    missing: int = 0
    held_bytes: int = 0


class _InlineExecutor(Executor):
    """Runs each task in this process when it is submitted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Pool:
    """Workers for the stages of a run. A context: leaving it ends what it started.

    Parameters
    ----------
    workers
        Number of tasks that run at once; of the executor, where one is passed.
    executor
        Any `concurrent.futures.Executor`, which stays the caller's: it is not shut down.
    """

    def __init__(self, workers: int, executor: Executor | None = None) -> None:
        self.workers = workers
        self._executor = executor
        self._is_own = executor is None
        self._inherits = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop(kill=kind is not None)

    def start(self) -> Executor:
        """Start the workers, if they are not there yet: forked now, before this process has threads."""
        if self._executor is None:
            import multiprocessing

            self._children = frozenset(multiprocessing.active_children())
            self._inherits = self.workers > 1 and may_fork()
            self._executor = _new_executor(self.workers, fork=self._inherits)
            self._executor.submit(os.getpid)
        return self._executor

    def renew(self) -> None:
        """Where workers are forked, let the next ones be new: they inherit what was imported meanwhile."""
        if self._is_own and self._inherits:
            self.stop()

    def stop(self, *, kill: bool = False) -> None:
        """End the workers of this pool; the next task starts new ones.

        Parameters
        ----------
        kill
            Do not wait for what they are doing.
        """
        if not self._is_own or self._executor is None:
            return
        executor, self._executor = self._executor, None
        if kill and not isinstance(executor, _InlineExecutor):
            import multiprocessing

            for child in frozenset(multiprocessing.active_children()) - self._children:
                child.terminate()
        executor.shutdown(wait=True, cancel_futures=True)

    def run(
        self,
        function: Callable[[T], R],
        tasks: Iterable[T],
        *,
        follow_ups: Callable[[T, R], Iterable[FollowUp]] = lambda _task, _result: (),
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
        size_bytes
            Memory that a result takes while it waits for its turn.

        Yields
        ------
        result, follow_up_results
            The latter in the order of the follow-ups.

        Raises
        ------
        WorkerError
            If a worker process died.
        """
        executor = self.start()
        run = _Run(executor, self.workers, function, iter(tasks), follow_ups, size_bytes)
        run.fill()
        return run.iter_results()


class _Run(Generic[T, R]):
    """One call of `Pool.run`."""

    def __init__(
        self,
        executor: Executor,
        workers: int,
        function: Callable[[T], R],
        tasks: Iterator[T],
        follow_ups: Callable[[T, R], Iterable[FollowUp]],
        size_bytes: Callable[[R], int],
    ) -> None:
        self.executor = executor
        self.workers = workers
        self.max_in_flight = 1 if isinstance(executor, _InlineExecutor) else workers * TASKS_PER_WORKER
        self.function = function
        self.tasks: Iterator[T] | None = tasks
        self.follow_ups = follow_ups
        self.size_bytes = size_bytes
        self.jobs: deque[_Job[T, R]] = deque()
        self.futures: dict[Future[Any], tuple[_Job[T, R], int | None]] = {}
        self.pending: list[tuple[int, int, _Job[T, R], int, FollowUp]] = []  # heap, largest cost first
        self.pushed = 0
        self.held_bytes = 0
        self.follow_ups_in_flight = 0

    def fill(self) -> None:
        """Submit tasks until enough are in flight."""
        while len(self.futures) < self.max_in_flight:
            # Follow-ups are the long ones: they start early, but leave a worker to find more of them.
            if self.pending and (self.follow_ups_in_flight < self.workers - 1 or self.tasks is None):
                self._submit_follow_up()
            elif not self._submit_next():
                if not self.pending:
                    return
                self._submit_follow_up()

    def _submit_next(self) -> bool:
        if self.tasks is None or self.held_bytes > MAX_HELD_BYTES:
            return False
        try:
            task = next(self.tasks)
        except StopIteration:
            self.tasks = None
            return False
        job: _Job[T, R] = _Job(task)
        self.jobs.append(job)
        self.futures[self.executor.submit(self.function, task)] = (job, None)
        return True

    def _submit_follow_up(self) -> None:
        _, _, job, place, follow_up = heapq.heappop(self.pending)
        self.follow_ups_in_flight += 1
        self.futures[self.executor.submit(follow_up.function, follow_up.task)] = (job, place)

    def iter_results(self) -> Iterator[tuple[R, list[Any]]]:
        try:
            while self.futures or self.jobs:
                for future in wait(self.futures, return_when=FIRST_COMPLETED).done:
                    self._take(future)
                self.fill()
                while self.jobs and self.jobs[0].is_done and not self.jobs[0].missing:
                    job = self.jobs.popleft()
                    self.held_bytes -= job.held_bytes
                    yield job.result, job.follow_ups  # type: ignore[misc]
                    self.fill()
        except BrokenExecutor as error:
            raise WorkerError(
                'a worker process died (killed, or out of memory): nothing was changed; '
                'try again with fewer workers'
            ) from error
        finally:
            for future in self.futures:
                future.cancel()

    def _take(self, future: Future[Any]) -> None:
        job, place = self.futures.pop(future)
        result = future.result()
        if place is not None:
            self.follow_ups_in_flight -= 1
            job.follow_ups[place] = result
            job.missing -= 1
            return
        job.result, job.is_done = result, True
        job.held_bytes = self.size_bytes(result)
        self.held_bytes += job.held_bytes
        for follow_up in self.follow_ups(job.task, result):
            self.pushed += 1
            heapq.heappush(self.pending, (-follow_up.cost, self.pushed, job, job.missing, follow_up))
            job.follow_ups.append(None)
            job.missing += 1


def _new_executor(workers: int, *, fork: bool) -> Executor:
    if workers == 1:
        return _InlineExecutor()
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    method = 'fork' if fork else 'spawn' if sys.platform == 'win32' else 'forkserver'
    context = multiprocessing.get_context(method)
    if method == 'forkserver':
        context.set_forkserver_preload(['pyarrow', 'fastindex.pipeline.scan'])
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)


def may_fork() -> bool:
    """Tell whether this process can be forked: no thread may hold a lock that a child would wait for.

    jemalloc's own thread, which pyarrow brings, is made for forks (`pthread_atfork`).
    """
    if sys.platform != 'linux' or threading.active_count() > 1:
        return False
    names = []
    for thread in os.listdir('/proc/self/task'):
        with open(f'/proc/self/task/{thread}/comm') as file:
            names.append(file.read().strip())
    return len(names) - names.count('jemalloc_bg_thd') == 1


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and do not outlive it."""
    from multiprocessing import parent_process

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_exit_with, args=(parent,), daemon=True).start()


def _exit_with(parent: Any) -> None:
    parent.join()
    os._exit(1)

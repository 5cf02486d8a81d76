"""Who runs the tasks of a pool: this process, an executor, threads, or first this process and then workers.

Our own worker processes are in `fastindex.workers.processes`, those of Dask in `fastindex.workers.cluster`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from fastindex.errors import WorkerError
from fastindex.system import undisturbed
from fastindex.workers import Task
from fastindex.workers.processes import TASKS_PER_WORKER, Workers

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

__all__ = ['Backend', 'Here', 'HereFirst', 'There', 'Threads']

LOOK_SECONDS = 0.5  # of one wait for an executor: on Windows no signal is noticed before its end
HERE_SECONDS = 0.5  # of work, in place of which new interpreters could have started


class Backend(Protocol):
    """Who runs the tasks. See `fastindex.workers.processes.Workers`."""

    def has_room(self) -> bool: ...

    def submit(self, token: Any, task: Task, *, is_long: bool) -> None: ...

    def collect(self) -> Iterator[tuple[Any, Any]]: ...

    def stop(self, *, kill: bool) -> None: ...


class Here:
    """Runs one task after the other in this process."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Any, Task]] = deque()

    def has_room(self) -> bool:
        return not self._waiting

    def submit(self, token: Any, task: Task, *, is_long: bool) -> None:
        self._waiting.append((token, task))

    def collect(self) -> Iterator[tuple[Any, Any]]:
        token, task = self._waiting.popleft()
        yield token, task.run()

    def stop(self, *, kill: bool) -> None:
        self._waiting.clear()


class HereFirst:
    """Runs tasks in this process until they have taken as long as workers take to start; then in workers.

    So a small tree costs no start of interpreters, and a large one at most twice the time of it.

    start: starts the workers
    """

    def __init__(self, start: Callable[[], Workers]) -> None:
        self.workers: Workers | None = None
        self._start = start
        self._backend: Backend = Here()
        self._seconds = 0.0

    def has_room(self) -> bool:
        return self._backend.has_room()

    def submit(self, token: Any, task: Task, *, is_long: bool) -> None:
        self._backend.submit(token, task, is_long=is_long)

    def collect(self) -> Iterator[tuple[Any, Any]]:
        if self.workers is not None:
            yield from self._backend.collect()
            return
        started = time.monotonic()
        results = list(self._backend.collect())
        self._seconds += time.monotonic() - started
        if self._seconds > HERE_SECONDS:  # no task waits here: there is never more than one
            with undisturbed():
                self._backend = self.workers = self._start()
        yield from results

    def stop(self, *, kill: bool) -> None:
        self._backend.stop(kill=kill)


class There:
    """Runs tasks on an executor, which stays the caller's."""

    def __init__(self, executor: Executor, workers: int) -> None:
        self._executor = executor
        self._max_tasks = workers * TASKS_PER_WORKER
        self._futures: dict[Future[Any], Any] = {}

    def has_room(self) -> bool:
        return len(self._futures) < self._max_tasks

    def submit(self, token: Any, task: Task, *, is_long: bool) -> None:
        self._futures[self._executor.submit(task.run)] = token

    def collect(self) -> Iterator[tuple[Any, Any]]:
        from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, wait

        for future in wait(self._futures, LOOK_SECONDS, FIRST_COMPLETED).done:
            token = self._futures.pop(future)
            try:
                yield token, future.result()
            except BrokenExecutor as error:
                raise WorkerError(f'the executor broke ({error}): nothing was changed') from error

    def stop(self, *, kill: bool) -> None:
        for future in self._futures:
            future.cancel()


class Threads(There):
    """Runs tasks in threads of this process."""

    def __init__(self, workers: int) -> None:
        from concurrent.futures import ThreadPoolExecutor

        super().__init__(ThreadPoolExecutor(workers), workers)

    def stop(self, *, kill: bool) -> None:
        self._executor.shutdown(wait=not kill, cancel_futures=True)

"""Worker processes that nothing can hang: a pipe there and a pipe back for each, and no thread here.

Why not `ProcessPoolExecutor`: its workers share one pipe, so one that is killed while it writes a result
leaves the reader waiting for ever (tried: twice within 150 interrupted runs); all others are thrown away with
it; and its threads forbid a fork. Here the death of a worker is the end of its own pipe. Its tasks run in the
order in which they were sent, so the one that it died of is known. Start-up takes 12 ms less.

There are no more processes than CPUs. Beyond, workers are threads of them: they cost next to nothing, and are
for disks that let us wait, where they hold no lock of the interpreter. A process that dies with several tasks
at work does not say which one it died of: each of them is tried again in a process of its own.
"""

from __future__ import annotations

import os
import select
import signal
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any, NamedTuple

from fastindex.errors import WorkerError
from fastindex.system import undisturbed
from fastindex.text import escape
from fastindex.workers import Task
from fastindex.workers.child import END, enlarge, kill_child, read_message, reap, start_child, to_message
from fastindex.workers.cpus import count_cpus
from fastindex.workers.growth import Growth

__all__ = ['DEATHS', 'MAX_DEATHS', 'Workers']

TASKS_PER_WORKER = 4
"""Tasks that a worker has at once: enough that none waits while this process is busy for 30 ms."""

MAX_DEATHS = 3  # workers that may die of one task
DEATHS = object()
"""What `Workers.collect` gives for a task of which `MAX_DEATHS` workers died, in place of a result."""


class _Sent(NamedTuple):
    token: Any
    task: Task
    is_long: bool
    deaths: int = 0  # of workers that it was the first task of


class _Process(NamedTuple):
    pid: int
    pipes: list[tuple[int, int]]
    """Of each of its threads: where its tasks are written to, and its results are read from."""


class _Worker(NamedTuple):
    """A thread of a process, most often its only one."""

    process: _Process
    task_fd: int
    result_fd: int
    tasks: deque[_Sent]
    unsent: bytearray


class Workers:
    """A fixed number of workers.

    count: how many
    most: how many at most, where tasks turn out to wait for the disk: then as many as keep the CPUs busy
    """

    def __init__(self, count: int, most: int | None = None) -> None:
        self._growth = Growth(most or count)
        self._workers: list[_Worker] = []
        self._poll = select.poll()
        self._retry: deque[_Sent] = deque()
        self._suspects: deque[_Sent] = deque()
        """Tasks of a process that died with several at work: each is tried alone, one after the other."""
        self._cell: _Worker | None = None  # runs the first of the suspects; is not among the others
        try:
            self._add(count, count_cpus())
        except BaseException:
            self.stop(kill=True)
            raise

    def __len__(self) -> int:
        return len(self._workers)

    def has_room(self) -> bool:
        """Tell whether a task that is submitted now would not wait for long."""
        return not self._retry and any(self._room(worker) for worker in self._workers)

    @staticmethod
    def _room(worker: _Worker) -> int:
        if any(task.is_long for task in worker.tasks):
            return 0
        return TASKS_PER_WORKER - len(worker.tasks)

    def submit(self, token: Any, task: Task, *, is_long: bool) -> None:
        """Send a task to the worker that has the fewest.

        token: comes back with the result
        is_long: whether nothing should wait for this task
        """
        self._send(_Sent(token, task, is_long))

    def _send(self, sent: _Sent) -> None:
        self._give(max(self._workers, key=self._room), sent)

    def _give(self, worker: _Worker, sent: _Sent) -> None:
        worker.tasks.append(sent)
        worker.unsent.extend(to_message(sent.task))
        self._send_on(worker)

    def _send_on(self, worker: _Worker) -> None:
        """Send what the pipe takes now. To wait here for a worker that waits for us would be for ever."""
        with suppress(BlockingIOError, BrokenPipeError):  # dead: its end of the other pipe will tell
            while worker.unsent:
                del worker.unsent[: os.write(worker.task_fd, worker.unsent)]
        if worker.unsent:
            self._poll.register(worker.task_fd, select.POLLOUT)
        else:
            with suppress(KeyError):
                self._poll.unregister(worker.task_fd)

    def collect(self) -> Iterator[tuple[Any, Any]]:
        """Wait until there are results; iterate over their tokens and values.

        The value is `DEATHS` for a task that has killed its worker time and again.
        """
        by_fd = {fd: worker for worker in self._all() for fd in (worker.result_fd, worker.task_fd)}
        for fd, _ in self._poll.poll():
            worker = by_fd[fd]
            if not any(worker is one for one in self._all()):
                continue  # its process died, as an event before this one said
            if fd == worker.task_fd:
                self._send_on(worker)
                continue
            try:
                yield self._read(worker)
            except EOFError:
                yield from self._replace(worker.process)
        while self._retry and any(self._room(worker) for worker in self._workers):
            self._send(self._retry.popleft())

    def _all(self) -> list[_Worker]:
        return self._workers if self._cell is None else [*self._workers, self._cell]

    def _read(self, worker: _Worker) -> tuple[Any, Any]:
        """Read a result, with the token of its task; EOFError where the worker is dead."""
        is_error, value, took = read_message(worker.result_fd)
        task = worker.tasks.popleft()
        if more := self._growth.count_more(len(self), *took):
            with suppress(WorkerError):  # so many files or processes are not allowed
                self._add(more, len(self))
        if is_error:
            raise value
        if worker is self._cell:
            self._release()
        return task.token, value

    def _replace(self, process: _Process) -> Iterator[tuple[Any, Any]]:
        """Put a new process in the place of a dead one, each of whose workers was at the first of its tasks.

        Yields as `collect` does: results sent before, and that of a task that is not tried again.
        """
        os.kill(process.pid, signal.SIGKILL)  # it is not reaped yet, so the number is still its own
        workers = [worker for worker in self._all() if worker.process is process]
        for worker in workers:
            with suppress(EOFError):
                while True:
                    yield self._read(worker)
        # An innocent one is tried alone from then on, so it has one death at most.
        died_of = [worker.tasks.popleft() for worker in workers if worker.tasks]
        suspects = [sent._replace(deaths=sent.deaths + 1) for sent in died_of]
        for worker in workers:
            self._retry.extend(worker.tasks)
        is_cell = workers == [self._cell]
        self._remove(process)
        if not is_cell:
            self._add_process(len(workers))
        guilty = [suspect for suspect in suspects if suspect.deaths == MAX_DEATHS]
        rest = [suspect for suspect in suspects if suspect.deaths < MAX_DEATHS]
        if is_cell:
            self._suspects.popleft()
            self._suspects.extendleft(rest)
        elif len(workers) == 1:
            self._retry.extend(rest)
        else:
            self._suspects.extend(rest)
        self._try_next_suspect()
        yield from ((suspect.token, DEATHS) for suspect in guilty)

    def _try_next_suspect(self) -> None:
        if self._suspects and self._cell is None:
            self._add_process(1, is_cell=True)
            assert self._cell is not None  # noqa: S101 - for the type checker
            self._give(self._cell, self._suspects[0])

    def _release(self) -> None:
        """End the cell: the suspect has not killed it."""
        assert self._cell is not None  # noqa: S101 - for the type checker
        self._suspects.popleft()
        self._remove(self._cell.process)
        self._try_next_suspect()

    @undisturbed()
    def stop(self, *, kill: bool) -> None:
        """End the workers: when they are done, or at once. They hold nothing that could be left half done."""
        processes = {worker.process.pid: worker.process for worker in self._all()}
        for process in processes.values():
            if kill:
                kill_child(process.pid)
            else:
                for task_fd, _ in process.pipes:
                    with suppress(BlockingIOError, BrokenPipeError):  # it is dead, or does not read
                        os.write(task_fd, to_message(END))
            _close(process)
        reap(list(processes))
        self._workers.clear()
        self._cell = None

    @undisturbed()
    def _remove(self, process: _Process) -> None:
        for fd in [fd for pipe in process.pipes for fd in pipe]:
            with suppress(KeyError):
                self._poll.unregister(fd)
        _close(process)
        self._workers = [worker for worker in self._workers if worker.process is not process]
        if self._cell is not None and self._cell.process is process:
            self._cell = None
        kill_child(process.pid)  # it may have closed a pipe, and nothing else
        reap([process.pid])

    def _add(self, count: int, processes: int) -> None:
        """Add so many workers, as threads of so many processes, or of one each where they are fewer."""
        for position in range(min(count, processes)):
            self._add_process(len(range(position, count, processes)))

    @undisturbed()
    def _add_process(self, threads: int, *, is_cell: bool = False) -> None:
        """Start a process with so many threads. Raises WorkerError if the system gives no more."""
        try:
            process = self._start_process(threads)
        except OSError as error:
            raise WorkerError(
                f'workers cannot be started ({_explain(error)}): nothing was changed; '
                'try fewer workers, or more open files and processes (ulimit -n, ulimit -u)'
            ) from error
        added = [_Worker(process, *pipe, deque(), bytearray()) for pipe in process.pipes]
        for worker in added:
            self._poll.register(worker.result_fd, select.POLLIN)
        if is_cell:
            self._cell = added[0]
        else:  # the first thread of each process comes before the second of any
            self._workers = sorted([*self._workers, *added], key=_position)

    @staticmethod
    def _start_process(threads: int) -> _Process:
        with ExitStack() as theirs, ExitStack() as failed:
            their_pipes, our_pipes = [], []
            for _ in range(threads):
                task_read, task_write = os.pipe()
                theirs.callback(os.close, task_read)
                failed.callback(os.close, task_write)
                result_read, result_write = os.pipe()
                theirs.callback(os.close, result_write)
                failed.callback(os.close, result_read)
                enlarge(result_write)
                os.set_blocking(task_write, False)
                their_pipes.append((task_read, result_write))
                our_pipes.append((task_write, result_read))
            pid = start_child(their_pipes)
            failed.pop_all()
        return _Process(pid, our_pipes)


def _position(worker: _Worker) -> int:
    """Count the threads of the process before this one."""
    return worker.process.pipes.index((worker.task_fd, worker.result_fd))


def _close(process: _Process) -> None:
    for fd in [fd for pipe in process.pipes for fd in pipe]:
        os.close(fd)


def _explain(error: OSError) -> str:
    where = f'{escape(error.filename)}: ' if isinstance(error.filename, str) else ''
    return f'{where}{error.strerror}'

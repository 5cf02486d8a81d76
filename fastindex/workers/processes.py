"""Worker processes that nothing can hang: a pipe there and a pipe back for each, and no thread here.

Why not `ProcessPoolExecutor`: its workers share one pipe, so one that is killed while it writes a result
leaves the reader waiting for ever (tried: twice within 150 interrupted runs); all others are thrown away with
it; and its threads forbid a fork. Here the death of a worker is the end of its own pipe. Its tasks run in the
order in which they were sent, so the one that it died of is known. Start-up takes 12 ms less.

A worker is forked where this process has no other threads, as it then inherits what is imported. Else (a
notebook; OpenBLAS) it is a new interpreter, which knows nothing of the script that called, so that a script
needs no `if __name__ == '__main__'`.
"""

from __future__ import annotations

import gc
import os
import pickle
import select
import signal
import struct
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any, NamedTuple, NoReturn

from fastindex.errors import WorkerError
from fastindex.workers import Task

__all__ = ['DEATHS', 'MAX_DEATHS', 'Workers', 'may_fork', 'serve']

TASKS_PER_WORKER = 4
"""Tasks that a worker has at once: enough that none waits while this process is busy for 30 ms."""

MAX_DEATHS = 3
"""Workers that may die of one task."""

DEATHS = object()
"""What `Workers.collect` gives for a task of which `MAX_DEATHS` workers died, in place of a result."""

STOP_SECONDS = 2.0
PIPE_BYTES = 2**20  # a result fits, so that a worker need not wait until it is read

_LENGTH = struct.Struct('=Q')


class _Sent:
    __slots__ = ('deaths', 'is_long', 'task', 'token')

    def __init__(self, token: Any, task: Task, is_long: bool) -> None:
        self.token = token
        self.task = task
        self.is_long = is_long
        self.deaths = 0


class _Worker(NamedTuple):
    pid: int
    task_fd: int
    result_fd: int
    tasks: deque[_Sent]
    unsent: bytearray


class Workers:
    """A fixed number of worker processes.

    Parameters
    ----------
    count
        How many.
    """

    def __init__(self, count: int) -> None:
        self._workers: list[_Worker] = []
        self._poll = select.poll()
        self._retry: deque[_Sent] = deque()
        try:
            for _ in range(count):
                self._add_worker()
        except OSError as error:
            self.stop(kill=True)
            raise WorkerError(
                f'{count} worker processes cannot be started ({error.strerror}): nothing was changed; '
                'try fewer workers, or more open files and processes (ulimit -n, ulimit -u)'
            ) from error

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

        Parameters
        ----------
        token
            Comes back with the result.
        is_long
            Whether nothing should wait for this task.
        """
        self._send(_Sent(token, task, is_long))

    def _send(self, sent: _Sent) -> None:
        worker = max(self._workers, key=self._room)
        worker.tasks.append(sent)
        worker.unsent.extend(_to_message(sent.task))
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
        by_fd = {fd: worker for worker in self._workers for fd in (worker.result_fd, worker.task_fd)}
        for fd, _ in self._poll.poll():
            worker = by_fd[fd]
            if worker not in self._workers:
                continue  # it died, as the event before this one said
            if fd == worker.task_fd:
                self._send_on(worker)
                continue
            try:
                is_error, value = _read_message(fd)
            except EOFError:
                if guilty := self._replace(worker):
                    yield guilty.token, DEATHS
                continue
            task = worker.tasks.popleft()
            if is_error:
                raise value
            yield task.token, value
        while self._retry and any(self._room(worker) for worker in self._workers):
            self._send(self._retry.popleft())

    def _replace(self, worker: _Worker) -> _Sent | None:
        """Put a new worker in the place of a dead one, which was at the first of its tasks.

        Returns
        -------
        guilty
            That task, where it is not to be tried again.
        """
        self._remove(worker)
        self._add_worker()
        guilty = None
        if worker.tasks:
            worker.tasks[0].deaths += 1
            if worker.tasks[0].deaths == MAX_DEATHS:
                guilty = worker.tasks.popleft()
        self._retry.extend(worker.tasks)
        return guilty

    def stop(self, *, kill: bool) -> None:
        """End the workers: when they are done, or at once. They hold nothing that could be left half done."""
        for worker in self._workers:
            if kill:
                os.kill(worker.pid, signal.SIGKILL)
            os.close(worker.task_fd)
            os.close(worker.result_fd)
        deadline = time.monotonic() + STOP_SECONDS
        for worker in self._workers:
            while not _is_reaped(worker.pid) and (not kill or time.monotonic() < deadline):
                time.sleep(0.0005)
        self._workers.clear()

    def _remove(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        self._poll.unregister(worker.result_fd)
        with suppress(KeyError):
            self._poll.unregister(worker.task_fd)
        os.close(worker.task_fd)
        os.close(worker.result_fd)
        while not _is_reaped(worker.pid):
            time.sleep(0.0005)

    def _add_worker(self) -> None:
        task_read, task_write = os.pipe()
        with ExitStack() as theirs, ExitStack() as ours:
            theirs.callback(os.close, task_read)
            ours.callback(os.close, task_write)
            result_read, result_write = os.pipe()
            theirs.callback(os.close, result_write)
            ours.callback(os.close, result_read)
            _enlarge(result_write)
            if may_fork():
                # Of the pipes of the others it must hold no end, or their ends would never be seen.
                foreign = [fd for worker in self._workers for fd in (worker.task_fd, worker.result_fd)]
                pid = _fork(task_read, result_write, [task_write, result_read, *foreign])
            else:
                pid = _spawn(task_read, result_write)
            ours.pop_all()
        os.set_blocking(task_write, False)
        self._workers.append(_Worker(pid, task_write, result_read, deque(), bytearray()))
        self._poll.register(result_read, select.POLLIN)


def may_fork() -> bool:
    """Tell whether this process can be forked: no thread may hold a lock that a child would wait for.

    jemalloc's own thread, which pyarrow brings, is made for forks (`pthread_atfork`).
    """
    if sys.platform != 'linux':
        return False
    for _ in range(20):
        if threading.active_count() > 1 or not os.path.isdir('/proc/self/task'):
            return False
        names = list(_iter_thread_names())
        if len(names) - names.count('jemalloc_bg_thd') == 1:
            return True
        time.sleep(0.001)  # a thread that was joined may take a moment to leave the kernel
    return False


def _iter_thread_names() -> Iterator[str]:
    for thread in os.listdir('/proc/self/task'):
        with suppress(FileNotFoundError), open(f'/proc/self/task/{thread}/comm') as file:
            yield file.read().strip()


def _fork(task_fd: int, result_fd: int, close: list[int]) -> int:
    # A signal between the fork and our handlers would run the parent's clean-up in the child.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', DeprecationWarning)  # Python 3.12 counts jemalloc's thread
            pid = os.fork()
        if pid == 0:
            _run_child(task_fd, result_fd, close, mask)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return pid


def _run_child(task_fd: int, result_fd: int, close: list[int], mask: set[Any]) -> NoReturn:
    try:
        for fd in close:
            os.close(fd)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        serve(task_fd, result_fd)
    finally:
        os._exit(0)


def _spawn(task_fd: int, result_fd: int) -> int:
    """Start a new interpreter as worker."""
    import subprocess

    code = f'from fastindex.workers.processes import serve; serve({task_fd}, {result_fd})'
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(path or os.getcwd() for path in sys.path)}
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, '-P', '-c', code],
        pass_fds=(task_fd, result_fd),
        env=environment,
        stdin=subprocess.DEVNULL,
    )
    process.returncode = 0  # we reap it ourselves
    return process.pid


def serve(task_fd: int, result_fd: int) -> None:
    """Run tasks until there are no more: what a worker does. Ends with its parent, even during a task."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    gc.disable()  # a scan makes many objects and no cycles: collections cost it 8 %
    threading.Thread(target=_exit_with_parent, args=(task_fd,), daemon=True).start()
    with suppress(EOFError, BrokenPipeError):
        while True:
            task: Task = _read_message(task_fd)
            try:
                message = (False, task.run())
            except Exception as error:
                message = (True, error)
            _write_message(result_fd, message)


def _exit_with_parent(task_fd: int) -> None:
    poll = select.poll()
    poll.register(task_fd, 0)  # nothing but the end of the pipe, which is the end of the parent
    poll.poll()
    if threading.main_thread().is_alive():
        time.sleep(STOP_SECONDS)  # an orderly end comes first
        os._exit(1)


def _is_reaped(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _enlarge(fd: int) -> None:
    import fcntl

    with suppress(AttributeError, OSError):  # not on this system, or not for this user
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _to_message(message: object) -> bytes:
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(data)) + data


def _write_message(fd: int, message: object) -> None:
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    head = _LENGTH.pack(len(data))
    written = os.writev(fd, (head, data)) - len(head)
    rest = memoryview(data)[written:]
    while rest:
        rest = rest[os.write(fd, rest) :]


def _read_message(fd: int) -> Any:
    """Read a whole message; EOFError where the writer is gone, be it in the middle of the message."""
    length = _LENGTH.unpack(_read_exactly(fd, _LENGTH.size))[0]
    return pickle.loads(_read_exactly(fd, length))  # noqa: S301 - from our own worker


def _read_exactly(fd: int, length: int) -> bytearray:
    data = bytearray(length)
    rest = memoryview(data)
    while rest:
        count = os.readv(fd, [rest])
        if not count:
            raise EOFError
        rest = rest[count:]
    return data

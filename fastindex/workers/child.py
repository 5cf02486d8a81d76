"""A worker process: how it is started, what it does until its end, and the messages there and back.

It is forked where this process has no other threads, as it then inherits what is imported. Else (a notebook;
OpenBLAS) it is a new interpreter, which knows nothing of the script that called, so that a script needs no
`if __name__ == '__main__'`.

It has nothing of its parent but its own pipes, and nothing waits for the end of a pipe alone: who else may
hold an end of it, be it a process that a caller forks, nobody knows. A worker is told to end, and looks
whether its parent still lives; who does not end in time is killed.
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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from stat import S_ISDIR
from typing import Any, NoReturn

from fastindex.errors import WorkerError
from fastindex.text import escape
from fastindex.workers import Task

__all__ = [
    'END',
    'enlarge',
    'environment_of_child',
    'find_interpreter',
    'fork',
    'kill_child',
    'may_fork',
    'read_message',
    'reap',
    'serve',
    'start_child',
    'to_message',
]

STOP_SECONDS = 2.0  # for an orderly end, before another one is made
PIPE_BYTES = 2**20  # a result fits, so that a worker need not wait until it is read
LOOK_SECONDS = 0.5  # how often a worker looks whether its parent still lives
_LENGTH = struct.Struct('=Q')
_QUEUED = '/proc/thread-self/schedstat'  # of Linux: nanoseconds on a CPU and in the queue for one, turns
END = None  # what is sent in place of a task, for a worker to end


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


def start_child(pipes: list[tuple[int, int]]) -> int:
    """Start a process that serves.

    pipes: for each of its threads: where its tasks are read from, and its results are written to
    Returns the number of the process, which the caller is to reap.
    """
    if may_fork():
        return fork(partial(serve, pipes, os.getpid()), {0, 1, 2}.union(*pipes))
    return _spawn(pipes)


def fork(work: Callable[[], object], kept: set[int]) -> int:
    """Fork a process that does some work, and ends. `kept` is what it has open; see `may_fork`."""
    # A signal between the fork and its own handlers would have the child do the parent's clean-up.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', DeprecationWarning)  # Python 3.12 counts jemalloc's thread
            pid = os.fork()
        if pid == 0:
            _run_child(work, kept, mask)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return pid


def _run_child(work: Callable[[], object], kept: set[int], mask: set[Any]) -> NoReturn:
    try:
        _let_go_of_all_but(kept)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        work()
    finally:
        os._exit(0)


def _let_go_of_all_but(kept: set[int]) -> None:
    """Let go of what the parent has open: pipes, locks, tables. Their numbers stay taken by `/dev/null`.

    Folders may be shared: nothing waits for their end, and names are opened relative to them.
    """
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for fd in map(int, os.listdir('/proc/self/fd')):
        with suppress(OSError):  # the listing itself
            if fd not in kept and not S_ISDIR(os.fstat(fd).st_mode):
                os.dup2(null, fd, inheritable=False)


def find_interpreter() -> str | None:
    """Find the interpreter that runs this; None inside another program, which nobody wants to start again.

    Such a program may name an interpreter that is not there, as where Python was made.
    """
    name = os.path.basename(sys.executable or '').lower()
    is_python = name.startswith(('python', 'pypy', 'graalpy')) and not getattr(sys, 'frozen', False)
    return sys.executable if is_python and os.access(sys.executable, os.X_OK) else None


def environment_of_child() -> dict[str, str]:
    """Get the environment in which another interpreter finds the modules that this one does."""
    return {**os.environ, 'PYTHONPATH': os.pathsep.join(path or os.getcwd() for path in sys.path)}


def _spawn(pipes: list[tuple[int, int]]) -> int:
    import subprocess

    interpreter = find_interpreter()
    if interpreter is None:
        raise WorkerError(
            f'Python runs inside another program ({escape(sys.executable or "no name")}), which is not '
            'started again for workers: workers=1 does all in this process; an `executor` has its own'
        )
    code = f'from fastindex.workers.child import serve; serve({pipes}, {os.getpid()})'
    # Until it has its handlers, Ctrl-C would have it print where it stands: blocked here, it is there too.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        process = subprocess.Popen(  # noqa: S603
            [interpreter, '-X', f'utf8={sys.flags.utf8_mode}', '-P', '-c', code],
            pass_fds=[fd for pipe in pipes for fd in pipe],
            env=environment_of_child(),
            stdin=subprocess.DEVNULL,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    process.returncode = 0  # we reap it ourselves
    return process.pid


def serve(pipes: list[tuple[int, int]], parent: int) -> None:
    """Run tasks until there are no more: what a worker process does, with a thread for each pair of pipes.

    Ends with its parent, even during a task.

    parent: the number of the process that started this one
    """
    for signal_number in (signal.SIGINT, signal.SIGHUP):  # of a terminal: the parent's business
        signal.signal(signal_number, signal.SIG_IGN)
    gc.disable()  # a scan makes many objects and no cycles: collections cost it 8 %
    threading.Thread(target=_exit_with_parent, args=(pipes[0][0], parent), daemon=True).start()
    threads = [threading.Thread(target=_serve_or_die, args=pipe, daemon=True) for pipe in pipes[1:]]
    for thread in threads:
        thread.start()
    _serve(*pipes[0])
    for thread in threads:
        thread.join()


def _serve(task_fd: int, result_fd: int) -> None:
    with suppress(EOFError, BrokenPipeError), _open_queued_seconds() as queued_seconds:
        while True:
            task: Task | None = read_message(task_fd)
            if task is END:
                return
            started = time.perf_counter() - queued_seconds(), time.thread_time()
            try:
                message = (False, task.run())
            except Exception as error:
                message = (True, error)
            took = time.perf_counter() - queued_seconds() - started[0], time.thread_time() - started[1]
            _write_message(result_fd, (*message, took))


@contextmanager
def _open_queued_seconds() -> Iterator[Callable[[], float]]:
    """Open what tells how long this thread has waited for a CPU, as others had it: no disk is slow then.

    Where the system does not tell, the function gives 0.
    """
    with ExitStack() as opened:
        try:
            fd = os.open(_QUEUED, os.O_RDONLY | os.O_CLOEXEC)
            opened.callback(os.close, fd)
            int(os.pread(fd, 99, 0).split()[1])
        except (OSError, IndexError, ValueError):
            yield lambda: 0.0
            return
        yield lambda: int(os.pread(fd, 99, 0).split()[1]) / 1e9


def _serve_or_die(task_fd: int, result_fd: int) -> None:
    """Serve in a thread. Its failure is that of the process: the parent would wait for it for ever."""
    try:
        _serve(task_fd, result_fd)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)


def _exit_with_parent(task_fd: int, parent: int) -> None:
    poll = select.poll()
    poll.register(task_fd, 0)  # nothing but the end of the pipe: seen at once, where nobody else holds it
    while not poll.poll(LOOK_SECONDS * 1000) and os.getppid() == parent:
        pass
    if threading.main_thread().is_alive():
        time.sleep(STOP_SECONDS)  # an orderly end comes first
        os._exit(1)


def reap(pids: list[int]) -> None:
    """Wait for the end of children, kill those that do not end in time, and wait no longer for anybody."""
    left = pids
    for is_last in (False, True):
        deadline = time.monotonic() + STOP_SECONDS
        while (left := [pid for pid in left if not _is_reaped(pid)]) and time.monotonic() < deadline:
            time.sleep(0.0005)
        for pid in left if not is_last else ():
            kill_child(pid)


def kill_child(pid: int) -> None:
    """Kill a child that nobody has waited for."""
    with suppress(ProcessLookupError):  # where the caller ignores SIGCHLD
        os.kill(pid, signal.SIGKILL)


def _is_reaped(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def enlarge(fd: int) -> None:
    """Let a pipe hold a whole result."""
    import fcntl

    if hasattr(fcntl, 'F_SETPIPE_SZ'):  # not on macOS
        with suppress(OSError):  # not for this user
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def to_message(message: object) -> bytes:
    """Make the bytes that `read_message` reads."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(data)) + data


def _write_message(fd: int, message: object) -> None:
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    head = _LENGTH.pack(len(data))
    written = os.writev(fd, (head, data)) - len(head)
    rest = memoryview(data)[written:]
    while rest:
        rest = rest[os.write(fd, rest) :]


def read_message(fd: int) -> Any:
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

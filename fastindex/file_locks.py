"""Locks of files that are open: a process that is killed leaves none.

Where the system has flock, an open folder can be locked too. Windows locks bytes, which nobody else can read
then: there it is one far after the end of the file, so that all can read who holds it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

from fastindex.errors import PublishError
from fastindex.text import escape

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
    _msvcrt: Any = import_module('msvcrt')

__all__ = ['hold_lock', 'try_lock', 'wait_for_lock']

_NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP})

_LOCKED_BYTE = 2**40


def _lock(fd: int) -> None:
    if fcntl is not None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        _lock_byte(fd, _msvcrt.LK_NBLCK)


def _unlock(fd: int) -> None:
    if fcntl is not None:
        fcntl.flock(fd, fcntl.LOCK_UN)
    else:
        _lock_byte(fd, _msvcrt.LK_UNLCK)


def _lock_byte(fd: int, how: int) -> None:
    before = os.lseek(fd, 0, os.SEEK_CUR)
    os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
    try:
        _msvcrt.locking(fd, how, 1)
    finally:
        os.lseek(fd, before, os.SEEK_SET)


def try_lock(fd: int) -> bool:
    """Lock what is open until it is closed; False where somebody else has, or where there are no locks."""
    try:
        _lock(fd)
    except OSError:
        return False
    return True


def wait_for_lock(fd: int) -> None:
    """Lock an open folder, as soon as nobody else has; do nothing where a folder has no locks."""
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_EX)


@contextmanager
def hold_lock(fd: int, path: str | os.PathLike[str], *, hint: str = '') -> Iterator[bool]:
    """Lock an open file for the time of a block; gives False where another process has locked it.

    No forked process has a part in it: a worker that outlives a run that was killed leaves no lock behind.
    Raises PublishError if the disk has no locks. A file that says who writes would be none: a run that is
    killed leaves it, and nobody can tell whether a process of another machine still lives.

    path: of the file, and `hint` what to do where its disk has no locks: for the message
    """
    try:
        _lock(fd)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise PublishError(
                f'{escape(path)}: this disk has no locks ({error.strerror}), which keep two runs '
                'from writing one index: have it mounted with them (Lustre: flock; NFS: its lock daemon), ',
                hint=hint,
            ) from error
        if error.errno not in (errno.EAGAIN, errno.EACCES, 0):  # on an SMB share, and on Windows; in Wine
            raise
        yield False
        return
    _locked.add(fd)
    try:
        yield True
    finally:
        _locked.discard(fd)
        _unlock(fd)


_locked: set[int] = set()  # descriptors of this process that hold a lock


def _let_go() -> None:
    """Let go of what holds a lock of the parent, in a forked process; the numbers stay taken."""
    for fd in _locked:
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.dup2(null, fd, inheritable=False)
        os.close(null)
    _locked.clear()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_let_go)

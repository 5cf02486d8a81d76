"""The lock of an index: a file in the state folder, held by the run that writes, and who it is."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from stat import S_ISLNK, S_ISREG
from typing import IO, TypeVar

from fastindex.errors import LockedError, PublishError
from fastindex.file_locks import hold_lock, wait_for_lock
from fastindex.folders import OpenFolder
from fastindex.system import host_name, read_at
from fastindex.text import escape

__all__ = ['LOCK', 'enter_patiently', 'lock_index']

T = TypeVar('T')

LOCK = 'lock'

MAX_PAUSE_S = 2.0  # between two looks at a lock that is waited for

TRIES = 100
"""A lock that is another file each time is somebody's game."""


@contextmanager
def lock_index(state: OpenFolder) -> Iterator[int]:
    """Hold the lock of the index that a state folder is of; gives its descriptor.

    A copy of the folder (`cp -al`, datalad) has made a link of the lock, or a second name of it: that is
    replaced by a file of its own. Nothing is ever written to a file that has another name too. Raises
    LockedError if another run holds it. Raises PublishError if it is neither a file nor a link, or the disk
    has no locks.
    """
    otherwise = 'or let `out` DIR write the index elsewhere'
    for _ in range(TRIES):
        with (
            _open_lock(state) as lock,
            hold_lock(lock.fileno(), state.path / LOCK, hint=otherwise) as is_ours,
        ):
            if not is_ours:
                index, holder = escape(state.path.parent), _read_holder(lock.fileno())
                raise LockedError(f'{index}: {holder} is writing this index: wait for it, or end it')
            if not _is_there(state, lock):  # replaced meanwhile, or removed by the run before
                continue
            if os.fstat(lock.fileno()).st_nlink > 1:
                _replace(state)
                continue
            _write_holder(lock.fileno())
            yield lock.fileno()
            return
    raise PublishError(
        f'{escape(state.path / LOCK)}: another program replaces this file again and again: end that first'
    )


def enter_patiently(stack: ExitStack, hold: Callable[[], AbstractContextManager[T]], wait_s: float) -> T:
    """Enter what holds a lock, as soon as the run that has it ends; LockedError after `wait_s` seconds."""
    end = time.monotonic() + wait_s
    pause_s = 0.05
    while True:
        try:
            return stack.enter_context(hold())
        except LockedError:
            left_s = end - time.monotonic()
            if left_s <= 0:
                raise
        time.sleep(min(pause_s, left_s))
        pause_s = min(2 * pause_s, MAX_PAUSE_S)


def _open_lock(state: OpenFolder) -> IO[bytes]:
    try:
        fd = state.open_fd(LOCK, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        _replace(state)
        fd = state.open_fd(LOCK, os.O_RDWR | os.O_CREAT)
    lock = os.fdopen(fd, 'r+b', buffering=0)
    if S_ISREG(os.fstat(fd).st_mode):
        return lock
    lock.close()
    # A FIFO that a stranger put there, for instance.
    raise PublishError(f'{escape(state.path / LOCK)}: this is no plain file of ours: remove it')


def _replace(state: OpenFolder) -> None:
    """Put a new file in the place of a link, one run at a time: none takes away what another has made."""
    with state.again() as folder:
        wait_for_lock(folder.fd)
        info = state.look(LOCK)
        if info is not None and (S_ISLNK(info.st_mode) or info.st_nlink > 1):
            state.remove(LOCK, is_patient=False)
            state.open_new(LOCK).close()


def _is_there(state: OpenFolder, lock: IO[bytes]) -> bool:
    info, ours = state.look(LOCK), os.fstat(lock.fileno())
    return info is not None and (info.st_dev, info.st_ino) == (ours.st_dev, ours.st_ino)


def _read_holder(fd: int) -> str:
    holder = b''
    with suppress(OSError):  # an SMB share lets nobody else read what is locked
        holder = read_at(fd, 200, 0)
    return escape(holder.decode('utf-8', 'replace').strip()) or 'an unknown process'


def _write_holder(fd: int) -> None:
    os.ftruncate(fd, 0)
    os.lseek(fd, 0, os.SEEK_SET)
    os.write(fd, f'process {os.getpid()} on {host_name()}\n'.encode())

"""In what systems differ as to files: functions that do the same everywhere, as far as it can be done.

Windows lacks most: nothing is opened relative to a folder, no flag keeps an open from following a link, and
neither owner nor mode of a file are what they are elsewhere.
"""

from __future__ import annotations

import errno
import io
import os
import re
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from stat import S_IMODE, S_ISLNK

from fastindex.text import escape, to_octal

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = [
    'OPENS_BY_FOLDER',
    'STOP_SIGNALS',
    'flags',
    'has_unix_tools',
    'host_name',
    'is_link',
    'is_own',
    'is_smb',
    'keep_access',
    'let_interrupt',
    'long_path',
    'quote',
    'read_at',
    'read_into',
    'send_signal',
    'set_access',
    'sync_file',
    'sync_folder',
    'undisturbed',
]

OPENS_BY_FOLDER = os.open in os.supports_dir_fd
"""Whether names are opened relative to an open folder here, by which nothing below it can be exchanged."""

STOP_SIGNALS = [
    number
    for name, number in signal.Signals.__members__.items()
    if name in ('SIGINT', 'SIGTERM', 'SIGHUP', 'SIGBREAK')
]
"""What stops a program. Windows has no SIGHUP, but Ctrl-Break, by which one program ends another there."""

_JUNCTION = 0xA0000003
"""IO_REPARSE_TAG_MOUNT_POINT: what Windows says of a junction, a link to a folder that anybody can make."""


def long_path(path: str) -> str:
    """Get the name of an absolute path that holds beyond 260 characters, and of any file, on Windows."""
    if sys.platform != 'win32' or path.startswith('\\\\?\\'):
        return path
    path = path.replace('/', '\\')
    return f'\\\\?\\UNC{path[1:]}' if path.startswith('\\\\') else f'\\\\?\\{path}'


def is_link(info: os.stat_result) -> bool:
    """Tell whether this is a link, by a look that has followed none; a junction of Windows is one."""
    return S_ISLNK(info.st_mode) or getattr(info, 'st_reparse_tag', 0) == _JUNCTION


_PLAIN = re.compile(r'[\w:/.-]+')


def quote(path: str) -> str:
    """Quote a path, made safe to print, for a shell: Windows has several, and all know double quotes.

    No program takes it for an option.
    """
    path = f'./{path}' if path.startswith('-') else path
    if sys.platform != 'win32':
        return shlex.quote(path) if path.isprintable() else f'"$(printf %b {shlex.quote(to_octal(path))})"'
    path = escape(path)
    return path if _PLAIN.fullmatch(path) else f'"{path}{chr(92) * path.endswith(chr(92))}"'


def has_unix_tools() -> bool:
    """Tell whether `unzip`, `md5sum` and their like are looked for here: Windows has none of them."""
    return sys.platform != 'win32'


_SMB = frozenset({'cifs', 'smb3'})
"""What `mount` calls them."""

_CANNOT_SYNC = frozenset({errno.EBADF, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""What 9p, shared folders of virtual machines and some FUSE file systems answer to fsync of a folder."""


def flags(*names: str) -> int:
    """Get flags to open with, as far as this system has them: Windows has other ones."""
    return sum(getattr(os, name, 0) for name in names)


def _read_into(fd: int, buffers: Sequence[memoryview]) -> int:
    with io.FileIO(fd, closefd=False) as file:
        return sum(map(file.readinto, buffers))


def _read_at(fd: int, count: int, offset: int) -> bytes:
    before = os.lseek(fd, 0, os.SEEK_CUR)
    try:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, count)
    finally:
        os.lseek(fd, before, os.SEEK_SET)


read_into: Callable[[int, Sequence[memoryview]], int] = getattr(os, 'readv', _read_into)
"""Read from an open file into memory: `os.readv`."""

read_at: Callable[[int, int, int], bytes] = getattr(os, 'pread', _read_at)
"""Read a number of bytes at an offset of an open file, which stays where it stands: `os.pread`."""


def is_smb(path: str) -> bool:
    """Tell whether a path is on an SMB share, as far as the system says it."""
    if not hasattr(os, 'major'):  # Windows, where a table that is open is not renamed over anywhere
        return False
    with suppress(OSError, ValueError):
        device = os.stat(path).st_dev
        wanted = f'{os.major(device)}:{os.minor(device)}'
        with open('/proc/self/mountinfo', errors='surrogateescape') as mounts:
            for fields in map(str.split, mounts):
                if fields[2] == wanted:
                    return fields[fields.index('-') + 1] in _SMB
    return False


def host_name() -> str:
    """Get the name of this machine."""
    return os.uname().nodename if hasattr(os, 'uname') else os.environ.get('COMPUTERNAME', 'this machine')


def is_own(info: os.stat_result) -> bool:
    """Tell whether a file is of this user, as far as there is an answer; Windows says who may remove it."""
    return not hasattr(os, 'geteuid') or info.st_uid == os.geteuid()


def set_access(fd: int, mode: int) -> None:
    """Set who may do what with an open file; on Windows it has what its folder gives."""
    if hasattr(os, 'fchmod'):
        os.fchmod(fd, mode)


def keep_access(fd: int, info: os.stat_result) -> None:
    """Give an open file the mode and group of the one that it replaces, and its owner where it may."""
    if not hasattr(os, 'fchown'):
        return
    mode = S_IMODE(info.st_mode) & 0o777
    try:
        os.fchown(fd, info.st_uid, info.st_gid)
    except OSError:
        try:
            os.fchown(fd, -1, info.st_gid)
        except OSError:  # this user is not of the group: no other group gets its rights
            mode = mode & ~0o070 | (mode & 0o007) << 3
    os.fchmod(fd, mode)


def sync_file(fd: int) -> None:
    """Bring an open file to the disk, and not only into its cache: that is another call on macOS."""
    full_sync = getattr(fcntl, 'F_FULLFSYNC', None)
    if fcntl is not None and full_sync is not None:
        with suppress(OSError):  # a file system that has none, as SMB
            fcntl.fcntl(fd, full_sync)
            return
    os.fsync(fd)


def sync_folder(fd: int) -> None:
    """Bring the names in an open folder to the disk, where this is something that can be asked for."""
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def send_signal(number: int) -> None:
    """Send this process a signal from another thread. On Windows to send one is to kill."""
    if hasattr(signal, 'pthread_kill'):
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        signal.raise_signal(number)


def let_interrupt() -> None:
    """Let Ctrl-C end what waits for the system, as Python has it, under a handler that is around Python's."""
    if hasattr(signal, 'siginterrupt'):
        signal.siginterrupt(signal.SIGINT, True)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold back what signals would raise in the middle of a block, until it has ended.

    For what must not be half done, and takes no time: to block the signals would not do, as a thread of
    whoever calls may get them.
    """
    came: list[int] = []
    held = {}
    try:
        if threading.current_thread() is threading.main_thread():  # in others nothing is raised
            for number in STOP_SIGNALS:
                if callable(handler := signal.getsignal(number)):
                    held[number] = signal.signal(number, lambda one, _: came.append(one))
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)
        for one in came:
            signal.raise_signal(one)

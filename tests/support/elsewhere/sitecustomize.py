"""Make Python on Linux look like Python elsewhere, in a process and in its workers: for PYTHONPATH.

`FASTINDEX_ELSEWHERE` in the environment says where: `macos` or `windows`. What differs there and can be
hidden is hidden; what a call does elsewhere, nobody can tell here.
"""

from __future__ import annotations

import builtins
import fcntl
import os
import signal
import struct
import subprocess  # noqa: F401 - it takes a system that has msvcrt for Windows
import sys
from types import ModuleType
from typing import Any

NOT_ON_MACOS = {os: ['O_TMPFILE', 'sched_getaffinity', 'posix_fadvise', 'O_NOATIME', 'O_PATH', 'getrandom']}
ON_WINDOWS_TOO = {'O_RDONLY', 'O_WRONLY', 'O_RDWR', 'O_APPEND', 'O_CREAT', 'O_EXCL', 'O_TRUNC'}
POSIX_CALLS = """
chown chroot confstr copy_file_range ctermid eventfd fchdir fchmod fchown fdatasync fork forkpty
fpathconf fstatvfs fwalk get_blocking getegid geteuid getgid getgrouplist getgroups getloadavg
getpgid getpgrp getpriority getrandom getresgid getresuid getsid getuid getxattr initgroups killpg
lchown listxattr lockf login_tty major makedev memfd_create minor mkfifo mknod nice openpty pathconf
pidfd_open pipe2 posix_fadvise posix_fallocate posix_spawn posix_spawnp pread preadv pwrite pwritev
readv register_at_fork removexattr sched_getaffinity sched_setaffinity sched_yield sendfile
set_blocking setegid seteuid setgid setgroups setpgid setpgrp setpriority setregid setresgid
setresuid setreuid setsid setuid setxattr splice statvfs sync sysconf tcgetpgrp tcsetpgrp ttyname
wait wait3 wait4 waitid writev
"""
"""What a Python 3.11 for Windows does not have of `os`, as it says itself; but `uname`, which numpy asks."""

NOT_ON_WINDOWS = {
    os: [
        *(name for name in dir(os) if name.startswith('O_') and name not in ON_WINDOWS_TOO),
        *POSIX_CALLS.split(),
        'WNOHANG',
    ]
}
"""O_BINARY and the like are not here, and so cannot be tried."""


def forget(names: dict[ModuleType, list[str]]) -> None:
    for module, attributes in names.items():
        for attribute in attributes:
            if hasattr(module, attribute):
                delattr(module, attribute)


if hasattr(os, 'process_cpu_count'):  # from Python 3.13 on; it would look for what is forgotten
    os.process_cpu_count = os.cpu_count


def hide_proc() -> None:
    """Have nothing in /proc of this process: as far as Python itself asks; polars reads what CPU this is."""

    def refuse(function: Any) -> Any:
        def call(path: Any = '.', *arguments: Any, **options: Any) -> Any:
            if isinstance(path, str) and (path + '/').startswith('/proc/self/'):
                raise FileNotFoundError(2, 'No such file or directory', path)
            return function(path, *arguments, **options)

        return call

    for name in ('open', 'stat', 'lstat', 'listdir', 'scandir', 'readlink'):
        plain = getattr(os, name)
        setattr(os, name, refuse(plain))
        for powers in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
            if plain in powers:
                powers.add(getattr(os, name))
    os.path.isdir = lambda path: not str(path).startswith('/proc/self') and _is_dir(path)
    builtins.open = refuse(builtins.open)


_is_dir = os.path.isdir


def be_macos() -> None:
    forget(NOT_ON_MACOS)
    hide_proc()
    for name in ('F_SETPIPE_SZ', 'F_GETPIPE_SZ'):
        delattr(fcntl, name)
    plain = fcntl.fcntl

    def call(fd: int, command: int, argument: Any = 0) -> Any:
        if command != fcntl.F_FULLFSYNC:
            return plain(fd, command, argument)
        return os.fsync(fd)

    fcntl.F_FULLFSYNC = 51  # type: ignore[attr-defined]
    fcntl.fcntl = call


class Msvcrt(ModuleType):
    """Locks of bytes, of an open file as there: what Linux calls locks of an open file description."""

    LK_UNLCK, LK_NBLCK = fcntl.F_UNLCK, fcntl.F_WRLCK
    _fcntl, _set = fcntl.fcntl, fcntl.F_OFD_SETLK

    def locking(self, fd: int, how: int, count: int) -> None:
        start = os.lseek(fd, 0, os.SEEK_CUR)
        try:
            Msvcrt._fcntl(fd, self._set, struct.pack('hhqqi4x', how, os.SEEK_SET, start, count, 0))
        except BlockingIOError as error:
            raise PermissionError(13, 'Permission denied') from error


def keep_read_only(function: Any) -> Any:
    """Let nothing be removed or replaced that may only be read."""

    def call(*paths: Any, **options: Any) -> Any:
        if os.path.lexists(paths[-1]) and not os.lstat(paths[-1]).st_mode & 0o200:
            raise PermissionError(13, 'Permission denied', paths[-1])
        return function(*paths, **options)

    return call


def be_windows() -> None:
    forget(NOT_ON_WINDOWS)
    hide_proc()
    os.supports_dir_fd = set()
    os.supports_fd = set()
    sys.modules['msvcrt'] = Msvcrt('msvcrt')
    for name in ('fcntl', 'pwd', 'grp', 'resource', 'termios'):
        sys.modules[name] = None  # type: ignore[assignment]
    import select

    for name in ('poll', 'POLLIN', 'POLLOUT'):
        delattr(select, name)
    for name in ('unlink', 'replace'):
        setattr(os, name, keep_read_only(getattr(os, name)))
    for name in (
        'SIGKILL',
        'SIGHUP',
        'SIGALRM',
        'pthread_kill',
        'siginterrupt',
        'pthread_sigmask',
        'SIG_BLOCK',
        'SIG_SETMASK',
        'alarm',
    ):
        if hasattr(signal, name):
            delattr(signal, name)


{'macos': be_macos, 'windows': be_windows}.get(os.environ.get('FASTINDEX_ELSEWHERE', ''), lambda: None)()

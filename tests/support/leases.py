"""Hold leases of files, as a Samba server does for its clients."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS = 0.05
"""Until a lease is given back, once the kernel has asked for it."""


@contextmanager
def leased(*paths: Path) -> Iterator[None]:
    """Hold a lease of each of the files, until somebody else opens it."""
    command = [sys.executable, __file__, *map(str, paths)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b'held\n'
        try:
            yield
        finally:
            holder.kill()


def hold(paths: list[str]) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO})
    fds = {os.open(path, os.O_RDONLY): path for path in paths}
    for fd in fds:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    print('held', flush=True)  # noqa: T201 - to the test
    while True:
        signal.sigwait({signal.SIGIO})
        time.sleep(SECONDS)
        for fd in fds:
            if fcntl.fcntl(fd, fcntl.F_GETLEASE) != fcntl.F_WRLCK:  # it is to be given back
                fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)


if __name__ == '__main__':
    hold(sys.argv[1:])

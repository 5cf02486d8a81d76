"""Let two paths change places at once: `renameat2(RENAME_EXCHANGE)`, which Python does not have."""

from __future__ import annotations

import ctypes
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

AT_FDCWD = -100
RENAME_EXCHANGE = 2

_libc = ctypes.CDLL(None, use_errno=True)


def exchange(one: Path, other: Path) -> None:
    if _libc.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE):
        raise OSError(ctypes.get_errno(), 'renameat2')


@contextmanager
def exchanging(one: Path, other: Path) -> Iterator[None]:
    """Let two paths change places all the time, in a process of its own.

    It does so in bursts, and rests between them: so it meets each walk in another moment, and leaves some
    alone, however fast the machine is.
    """
    with subprocess.Popen([sys.executable, __file__, one, other], stdout=subprocess.PIPE) as swapper:
        assert swapper.stdout is not None
        swapper.stdout.readline()
        try:
            yield
        finally:
            assert swapper.poll() is None, 'it must have been swapping to the end'
            swapper.kill()


if __name__ == '__main__':
    paths = Path(sys.argv[1]), Path(sys.argv[2])
    exchange(*paths)
    print('swapping', flush=True)
    while True:
        for _ in range(random.randrange(100)):
            exchange(*paths)
        time.sleep(random.uniform(0, 0.001))

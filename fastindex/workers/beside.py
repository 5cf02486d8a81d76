"""Do a piece of work in a forked process, beside what this one does meanwhile: for a command that starts."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fastindex.workers.child import may_fork

__all__ = ['beside']


@contextmanager
def beside(work: Callable[[], bytes]) -> Iterator[Callable[[], bytes]]:
    """Have work done during a block, which gets a function that waits for its result.

    The result is `b''` where the work failed, or where no process can be forked: the caller does it then.
    """
    if not may_fork():
        yield bytes
        return
    reader, writer = os.pipe()
    with os.fdopen(reader, 'rb') as answer:
        child = os.fork()
        if not child:
            try:
                data = work()
                with os.fdopen(writer, 'wb') as file:
                    file.write(data)
            finally:
                os._exit(0)  # whatever it was: the parent will find it again
        try:
            os.close(writer)
            yield answer.read
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

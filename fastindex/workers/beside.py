"""Do a piece of work in a forked process, beside what this one does meanwhile: for a command that starts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from fastindex.system import undisturbed
from fastindex.workers.child import fork, kill_child, may_fork

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

    def give_answer() -> None:  # if it fails, whatever it was: the parent will find it again
        with os.fdopen(writer, 'wb') as file:
            file.write(work())

    with os.fdopen(reader, 'rb') as answer, ExitStack() as started:
        with undisturbed():
            child = fork(give_answer, {0, 1, 2, writer})
            started.callback(os.waitpid, child, 0)
            started.callback(kill_child, child)
            os.close(writer)
        yield answer.read

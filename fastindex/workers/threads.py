"""Threads that a library will want: whether this process gets them is found out before it asks.

polars ends the process with the panic of another language, and a page on standard error, where it gets none.
Knows nothing of what the threads are for.
"""

from __future__ import annotations

import os
import threading
from functools import cache

from fastindex.errors import SHORTAGE, UsageError, WorkerError
from fastindex.text import escape
from fastindex.workers.cpus import count_cpus

__all__ = ['check_polars', 'check_threads']

POLARS_VARIABLE = 'POLARS_MAX_THREADS'
POOLS = 3  # that polars has, each of so many: for its work, for what is lazy, for files
SPARE = 7  # for what starts beside them: polars' cleaner, jemalloc, Arrow


def check_threads(*, polars: bool) -> None:
    """Raise WorkerError unless a thread can be started, or as many as polars will.

    Raises UsageError if the environment asks polars for a number of threads that is none.
    """
    wanted = os.environ.get(POLARS_VARIABLE) or str(count_cpus())
    if polars and not (wanted.isascii() and wanted.isdigit() and int(wanted)):
        raise UsageError(f'{POLARS_VARIABLE}={escape(wanted)}: expected how many threads, 1 or more')
    count = int(wanted) * POOLS + SPARE if polars else 1
    end = threading.Event()
    started: list[threading.Thread] = []
    try:
        for _ in range(count):
            thread = threading.Thread(target=end.wait, daemon=True)
            thread.start()
            started.append(thread)
    except (RuntimeError, MemoryError) as error:
        raise WorkerError(SHORTAGE) from error
    finally:
        end.set()
        for thread in started:
            thread.join()


@cache
def check_polars() -> None:
    """Check once that polars will get its threads, which it then has for good. See `check_threads`."""
    check_threads(polars=True)

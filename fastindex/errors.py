"""What can go wrong with a run as a whole, and the exit code of each command.

Trouble with a single path is no exception: it is a `Problem` in the summary.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = [
    'EXIT_DIFFERENCES',
    'EXIT_DONE',
    'EXIT_FAILED',
    'EXIT_INTERRUPTED',
    'EXIT_LOCKED',
    'EXIT_PROBLEMS',
    'EXIT_TERMINATED',
    'SHORTAGE',
    'ClusterError',
    'EmptyTreeError',
    'ExampleError',
    'FastindexError',
    'FindingsError',
    'FixError',
    'ForeignTableError',
    'IdClashError',
    'InvalidIndexError',
    'LabConflictError',
    'LockedError',
    'LossError',
    'MissingExtraError',
    'OutputError',
    'PublishError',
    'ReleaseError',
    'ReportError',
    'RootError',
    'StoreError',
    'UnknownSessionError',
    'UsageError',
    'WorkerError',
    'explain_shortage',
    'naming_shortage',
    'noting',
]

EXIT_DONE = 0
EXIT_DIFFERENCES = 1
EXIT_FAILED = 2
EXIT_PROBLEMS = 3
EXIT_LOCKED = 4
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class FastindexError(Exception):
    """Base of all errors of this package; `exit_code` is what the command line ends with.

    Parameters
    ----------
    message
        What is wrong.
    hint
        What to do about it: the end of the message. Options have the names that they have in the library, in
        backticks, as in `` `allow_empty` ``; the command line writes them as its flags.
    """

    exit_code = EXIT_FAILED
    hint = ''

    def __init__(self, message: str = '', *, hint: str = '') -> None:
        super().__init__(message + hint)
        self.hint = hint


class UsageError(FastindexError, ValueError):
    """An option or a combination of options makes no sense."""


class RootError(FastindexError, NotADirectoryError):
    """The root does not exist, is not a folder, or cannot be listed."""


class EmptyTreeError(FastindexError, ValueError):
    """There is nothing to index: the wrong folder, or a disk that is not mounted."""


class LossError(FastindexError, ValueError):
    """Labs, subjects, or a great part of what the index has are not there; it still is as it was."""


class LabConflictError(FastindexError, AssertionError):
    """The tree names another lab than the one that is to fill the column; the client's builder asserts it."""


class IdClashError(FastindexError, ValueError):
    """By the tables that ids are to be kept from, one id stands for two sessions or datasets."""


class LockedError(FastindexError, BlockingIOError):
    """Another run is writing the index in this folder."""

    exit_code = EXIT_LOCKED


class ForeignTableError(FastindexError, FileExistsError):
    """Tables that fastindex did not write are where an index is to go; they still are as they were."""


class PublishError(FastindexError, OSError):
    """The tables could not be staged or put in place; the index that was there still is."""


class WorkerError(FastindexError, RuntimeError):
    """Worker processes die and cannot be replaced."""


class StoreError(FastindexError, RuntimeError):
    """A bucket cannot be listed to the end: not an OSError, as it is no matter of a single path."""


class ClusterError(FastindexError, ConnectionError):
    """The Dask cluster cannot be reached, or has workers that would index something else."""


class InvalidIndexError(FastindexError, ValueError):
    """The tables are not an index that the ONE client could read, or are damaged."""


class UnknownSessionError(FastindexError, LookupError):
    """No session of the index has this eid."""


class FindingsError(FastindexError, ValueError):
    """The names or files of a tree that is to be released have errors, as `validate` finds them."""

    exit_code = EXIT_DIFFERENCES


class FixError(FastindexError, OSError):
    """A name in the tree could not be changed; what was changed before stays, and can be taken back."""


class ReleaseError(FastindexError, OSError):
    """The archive could not be made; the one that was there still is."""


class ExampleError(FastindexError, ValueError):
    """The example cannot be written where it was asked for, or its archive is not to be trusted."""


class OutputError(FastindexError, OSError):
    """A file that was asked for could not be written; what was there still is."""


class MissingExtraError(FastindexError, ModuleNotFoundError):
    """Packages that only a part of this program needs are not installed."""


class ReportError(FastindexError, OSError):
    """The report could not be written; what was there still is."""


SHORTAGE = (
    'this process may start no more threads or processes: expected more by ulimit -u, or in the container '
    '(pids.max), or more memory for them (ulimit -v), or less by POLARS_MAX_THREADS=1; nothing was changed'
)
_FILES = 'this process may open no more files: expected more by ulimit -n'
_MEMORY = 'this process gets no more memory: expected more by ulimit -v, or in the container'
_SIGNS = {
    'Resource temporarily unavailable': SHORTAGE,
    'WouldBlock': SHORTAGE,
    "can't start new thread": SHORTAGE,
    'ThreadPoolBuildError': SHORTAGE,
    'Too many open files': _FILES,
    'TooManyOpenFiles': _FILES,
    'Cannot allocate memory': _MEMORY,
    'failed to map segment': _MEMORY,
}
"""What the messages of whatever library have in them, and the sentence that says what it is."""


def explain_shortage(error: BaseException) -> str:
    """Say of an exception of whatever library that it is for want of threads, files or memory; else ''."""
    if isinstance(error, OSError) and error.errno == errno.EAGAIN and error.filename is None:
        return SHORTAGE
    if isinstance(error, MemoryError):
        return _MEMORY
    return next((said for sign, said in _SIGNS.items() if sign in str(error)), '')


@contextmanager
def naming_shortage() -> Iterator[None]:
    """Raise WorkerError where a library gets no thread, file or memory: in a block, or all of a function."""
    try:
        yield
    except FastindexError:
        raise
    except BaseException as error:  # the panic of polars is no Exception
        if said := explain_shortage(error):
            raise WorkerError(said) from error
        raise


@contextmanager
def noting(done: list[str]) -> Iterator[None]:
    """Note on what ends a block, most often a signal, what was done by then: `done` may grow meanwhile."""
    try:
        yield
    except BaseException as error:
        for note in done:
            error.add_note(note)
        raise

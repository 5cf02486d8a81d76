"""Digests of an open file: XXH3-128 and MD5, several in one read.

Gives the digests and the state of the file that they are of. Leaves opening, and which files, to the tree.

The buffer is one a process and reused: a fresh 1 MiB object for each file costs four times as much as the
digest. A small file is one `readv` and a one-shot digest; a large one goes through the same buffer in steps.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Protocol

import xxhash

from fastindex.errors import UsageError

__all__ = ['ALGORITHMS', 'FileChangedError', 'Hasher', 'Measured', 'parse_algorithms']

ALGORITHMS = ('xxh128', 'md5')
"""The digests that can be asked for: what `xxh128sum` and `md5sum` print."""

BUFFER_BYTES = 4 * 2**20

_XXH128_ALONE = ('xxh128',)


class FileChangedError(Exception):
    """The file was written to while it was read, twice in a row."""


Measured = tuple[int, tuple[bytes, ...]]
"""Size of a file in bytes, and its digests in the order in which they were asked for."""


class _Digest(Protocol):
    def update(self, data: memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


def parse_algorithms(text: str) -> tuple[str, ...]:
    """Parse `xxh128`, `md5` or `xxh128,md5`.

    Raises
    ------
    UsageError
        If there is another name in it, or none.

    Examples
    --------
    >>> parse_algorithms('md5,xxh128')
    ('xxh128', 'md5')
    """
    names = {name.strip().lower() for name in text.split(',')}
    if unknown := names.difference(ALGORITHMS):
        raise UsageError(f'unknown digest {", ".join(sorted(unknown))!r}: expected {" or ".join(ALGORITHMS)}')
    return tuple(name for name in ALGORITHMS if name in names)


def _new_digest(algorithm: str) -> _Digest:
    if algorithm == 'xxh128':
        return xxhash.xxh3_128()
    import hashlib

    return hashlib.md5(usedforsecurity=False)


@lru_cache(maxsize=1)
def _buffer() -> memoryview:
    return memoryview(bytearray(BUFFER_BYTES))


class Hasher:
    """Reads files and computes their digests. Not for two threads at once.

    Parameters
    ----------
    algorithms
        Of `ALGORITHMS`; the digests are given in this order.
    """

    def __init__(self, algorithms: tuple[str, ...]) -> None:
        self.algorithms = algorithms
        self._buffer = _buffer()
        self._buffers = [self._buffer]

    def measure(self, fd: int, before: os.stat_result) -> Measured:
        """Read the whole of an open regular file, whose `fstat` was `before`.

        Raises
        ------
        FileChangedError
            If the file changed while it was read, and again while it was read once more.
        OSError
            If it cannot be read.
        """
        for _ in range(2):
            count = os.readv(fd, self._buffers)
            if count == before.st_size < BUFFER_BYTES:  # no file is longer than it says: this was all
                size_bytes, digests = count, self._digest(self._buffer[:count])
            else:
                size_bytes, digests = self._read_on(fd, count)
            after = os.fstat(fd)
            if (
                size_bytes == after.st_size
                and before.st_mtime_ns == after.st_mtime_ns
                and before.st_ctime_ns == after.st_ctime_ns
            ):
                return size_bytes, digests
            before = after
            os.lseek(fd, 0, os.SEEK_SET)
        raise FileChangedError

    def _digest(self, data: memoryview) -> tuple[bytes, ...]:
        if self.algorithms == _XXH128_ALONE:
            return (xxhash.xxh3_128_digest(data),)
        digests = [_new_digest(name) for name in self.algorithms]
        for digest in digests:
            digest.update(data)
        return tuple(digest.digest() for digest in digests)

    def _read_on(self, fd: int, count: int) -> tuple[int, tuple[bytes, ...]]:
        """Digest a file that does not fit into the buffer, whose first `count` bytes are in it."""
        digests = [_new_digest(name) for name in self.algorithms]
        total = 0
        while count:
            total += count
            for digest in digests:
                digest.update(self._buffer[:count])
            count = os.readv(fd, self._buffers)
        return total, tuple(digest.digest() for digest in digests)

"""Digests of an open file: XXH3-128 and MD5, several in one read.

Gives the digests and the state of the file that they are of. Leaves opening, and which files, to the tree.

The buffer is one a thread and reused: a fresh 1 MiB object for each file costs four times as much as the
digest. A small file is one read and a one-shot digest; a large one goes through the same buffer in steps.
"""

from __future__ import annotations

import mmap
import os
import stat
import sys
import threading
import time
from collections.abc import Collection, Sequence
from functools import cached_property
from itertools import accumulate, pairwise, starmap
from typing import Protocol

import xxhash
from xxhash import xxh3_128_digest

from fastindex.errors import UsageError
from fastindex.system import read_into
from fastindex.trees import fingerprints
from fastindex.trees.fingerprints import NO_FINGERPRINT, Fingerprint, is_settled

__all__ = [
    'ALGORITHMS',
    'Digest',
    'FileChangedError',
    'Hasher',
    'Measured',
    'NotRegularError',
    'check_algorithms',
    'new_digest',
    'open_buffer',
]

ALGORITHMS = ('xxh128', 'md5')  # the digests that can be asked for: what `xxh128sum` and `md5sum` print

BUFFER_BYTES = 4 * 2**20

_TYPE_MASK = stat.S_IFMT(0xFFFF)
_REGULAR = stat.S_IFREG


class FileChangedError(Exception):
    """The file was written to each time that it was read."""


class NotRegularError(Exception):
    """The file is a FIFO, a socket or a device."""


Digests = tuple[bytes, ...]  # in the order of the algorithms

Measured = tuple[int, Digests | None, Fingerprint]
"""Size of a file in bytes, its digests, and by which to know it again."""


class Digest(Protocol):
    """A digest while it is computed."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take more bytes in."""

    def digest(self) -> bytes:
        """Give the digest of all of them."""

    def hexdigest(self) -> str:
        """Give it in hex digits."""


def check_algorithms(names: Collection[str] | bool) -> tuple[str, ...]:
    """Put names of digests in order; True is XXH3-128, False none; UsageError for what is none.

    >>> check_algorithms(['md5', 'xxh128'])
    ('xxh128', 'md5')
    """
    if isinstance(names, bool):
        return ('xxh128',) if names else ()
    if isinstance(names, str):
        known = names if names in ALGORITHMS else ALGORITHMS[0]
        raise UsageError(f'hash={names!r} is a string: expected True, or a collection, such as [{known!r}]')
    if unknown := set(names).difference(ALGORITHMS):
        raise UsageError(f'unknown digest {", ".join(sorted(unknown))!r}: expected {" or ".join(ALGORITHMS)}')
    return tuple(name for name in ALGORITHMS if name in names)


def new_digest(algorithm: str) -> Digest:
    """Make an empty digest: `xxh128`, or one of hashlib's by name."""
    if algorithm == 'xxh128':
        return xxhash.xxh3_128()
    import hashlib

    digest: Digest = getattr(hashlib, algorithm)(usedforsecurity=False)
    return digest


def open_buffer(size_bytes: int) -> memoryview:
    """Make memory to read files into, which begins where a page does.

    An AMD EPYC copies at half its speed to where a `bytearray` of some MB begins, 16 bytes after the start
    of a page, as `malloc` has it: a file of 8 GB takes 1.8 s there, and 0.8 s nearly everywhere else.
    """
    how = {'flags': mmap.MAP_PRIVATE} if hasattr(mmap, 'MAP_PRIVATE') else {}  # a forked process gets its own
    return memoryview(mmap.mmap(-1, size_bytes, **how))


class _Buffer(threading.local):
    """One a thread: it is filled and read while other threads run. Made on first use."""

    @cached_property
    def view(self) -> memoryview:
        return open_buffer(BUFFER_BYTES)


_buffer = _Buffer()


class Hasher:
    """Reads files and computes their digests. Not for two threads at once.

    algorithms: of `ALGORITHMS`; the digests are given in this order
    max_bytes: a file of this size or more gets no digests
    """

    def __init__(self, algorithms: tuple[str, ...], *, max_bytes: int = sys.maxsize) -> None:
        self.algorithms = algorithms
        self.buffer = _buffer.view  # what was read last, from its beginning on: of this thread
        self.whole_bytes = min(max_bytes, BUFFER_BYTES)  # less than this is read as a whole
        self.settled_ns = time.time_ns() - fingerprints.SETTLED_NS  # what changed before is settled
        self.future_ns = self.settled_ns + 2 * fingerprints.SETTLED_NS  # a later mtime was given
        self._is_xxh128_alone = algorithms == ('xxh128',)
        self._buffers = [self.buffer]
        self._max_bytes = max_bytes

    def measure(self, fd: int) -> Measured:
        """Read the whole of an open file, at whose start `fd` stands.

        A file that was last changed well before this object was made did not change while it was read: one
        `fstat` after the read shows that. Any other one is read again between two that must agree. Raises
        FileChangedError if the file changed while it was read, each time. Raises OSError if it cannot be
        read, or is not a regular file.
        """
        try:
            count = read_into(fd, self._buffers)
        except BlockingIOError:  # somebody has taken a lease since it was opened: this waits for its end
            if os.fstat(fd).st_mode & _TYPE_MASK != _REGULAR:
                raise NotRegularError from None
            os.set_blocking(fd, True)
            count = read_into(fd, self._buffers)
        info = os.fstat(fd)
        size_bytes = info.st_size
        is_regular = info.st_mode & _TYPE_MASK == _REGULAR
        is_settled = self._is_settled(info)
        if is_settled and is_regular and count == size_bytes < self.whole_bytes:
            data = self.buffer[:count]  # no file is longer than it says: this is all of it
            digests = (xxh3_128_digest(data),) if self._is_xxh128_alone else self._digest(data)
            return size_bytes, digests, (info.st_mtime_ns, info.st_ctime_ns, info.st_ino)
        if not is_regular:
            raise NotRegularError
        if size_bytes >= self._max_bytes:
            return size_bytes, None, NO_FINGERPRINT
        if not is_settled:  # it may have changed between the read and the look at it
            os.lseek(fd, 0, os.SEEK_SET)
            count = read_into(fd, self._buffers)
        for _ in range(2):
            total_bytes, digests = self._read_on(fd, count, info.st_size)
            before, info = info, os.fstat(fd)
            if total_bytes == info.st_size and _times(before) == _times(info):
                known_by = (*_times(info), info.st_ino) if self._is_settled(info) else NO_FINGERPRINT
                return total_bytes, digests, known_by
            os.lseek(fd, 0, os.SEEK_SET)
            count = read_into(fd, self._buffers)
        raise FileChangedError

    def digest(self, sizes: Sequence[int]) -> list[Digests]:
        """Digest files of these sizes, which are in the buffer one after the other."""
        slices = starmap(slice, pairwise(accumulate(sizes, initial=0)))
        contents = map(self.buffer.__getitem__, slices)
        if self._is_xxh128_alone:
            return list(zip(map(xxh3_128_digest, contents), strict=True))
        return [self._digest(data) for data in contents]

    def _is_settled(self, info: os.stat_result) -> bool:
        return is_settled(info.st_mtime_ns, info.st_ctime_ns, self.settled_ns, self.future_ns)

    def _digest(self, data: memoryview) -> Digests:
        digests = [new_digest(name) for name in self.algorithms]
        for digest in digests:
            digest.update(data)
        return tuple(digest.digest() for digest in digests)

    def _read_on(self, fd: int, count: int, expected_bytes: int) -> tuple[int, Digests]:
        """Digest a file whose first `count` bytes are in the buffer, to its end, but not on and on."""
        digests = [new_digest(name) for name in self.algorithms]
        total = 0
        while count and total <= expected_bytes:
            total += count
            for digest in digests:
                digest.update(self.buffer[:count])
            count = read_into(fd, self._buffers)
        return total, tuple(digest.digest() for digest in digests)


def _times(info: os.stat_result) -> tuple[int, int]:
    return info.st_mtime_ns, info.st_ctime_ns

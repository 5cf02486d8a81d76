"""Cut the sorted sessions into shards: contiguous ranges, one task of a worker each.

Shards shrink towards the end, so that the workers finish together. What is in a session is not known before
it is scanned, but for what an index, a journal or a listing knows of it: a shard ends where that is enough
for a task, and a scan ends a shard early that turns out to hold more. The size of a shard changes no byte of
the result.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

from fastindex.files import find_temporary
from fastindex.names.ids import Identity
from fastindex.system import read_at

if TYPE_CHECKING:
    from fastindex.pipeline.discover import Sessions

__all__ = ['MAX_SESSIONS', 'ROW_BYTES', 'SHARD_BYTES', 'SHARD_ROWS', 'Listed', 'cut', 'iter_shards']

MAX_SESSIONS = 192
"""Of a shard: 2,900 rows of the example, 20 ms of work; with half as many, the whole run takes 5 % longer."""

SHARD_ROWS = 2**14
"""Datasets after which a shard ends: six times those of one of the example, 10 MB in a worker."""

SHARD_BYTES = 2**22
"""What rows and what was left out may take, about, until a shard ends: as much as that many datasets."""

ROW_BYTES = SHARD_BYTES // SHARD_ROWS


def iter_shards(
    keys: Iterable[bytes],
    count: int,
    workers: int,
    *,
    max_sessions: int = MAX_SESSIONS,
    weigh: Callable[[bytes], int] | None = None,
) -> Iterator[list[bytes]]:
    """Cut `keys` into contiguous shards for `workers`, large ones first.

    count: number of the keys, or a little more
    weigh: tells what is known of a session, in datasets; asked for each one once, in order

    Examples
    --------
    >>> [len(shard) for shard in iter_shards([b''] * 20, 20, 2, max_sessions=8)]
    [5, 4, 3, 2, 2, 1, 1, 1, 1]
    """
    rest = iter(keys)
    while shard := _take(rest, min(max_sessions, max(1, -(-count // (2 * workers)))), weigh):
        count -= len(shard)
        yield shard


def _take(keys: Iterator[bytes], most: int, weigh: Callable[[bytes], int] | None) -> list[bytes]:
    if weigh is None:
        return list(islice(keys, most))
    shard: list[bytes] = []
    rows = 0
    while len(shard) < most and rows < SHARD_ROWS and (key := next(keys, None)) is not None:
        shard.append(key)
        rows += weigh(key)
    return shard


def cut(keys: Sequence[bytes], size: int) -> Iterator[Sequence[bytes]]:
    """Cut the rest of a shard whose first `size` sessions were enough into pieces of as many."""
    return (keys[start : start + size] for start in range(size, len(keys), max(size, 1)))


_LENGTH_BYTES = 8


class Listed:
    """What was listed of sessions. To be closed.

    identity: what the keys of the sessions are made with
    """

    def __init__(self, identity: Identity) -> None:
        from tempfile import TemporaryFile

        self._identity = identity
        self._file = TemporaryFile(prefix='fastindex-', dir=find_temporary())  # noqa: SIM115 - open as long as this is
        self._parts: list[tuple[Sessions, int]] = []

    def close(self) -> None:
        """Remove it from the disk."""
        self._file.close()

    def add(self, sessions: Sessions, listed: bytes) -> None:
        """Keep what `Tree.pack_listed` gave of sessions."""
        self._parts.append((sessions, self._file.tell()))
        self._file.write(listed)

    def weigh(self, key: bytes) -> int:
        """Tell how much was listed of a session, as a number of datasets; they are asked for in order."""
        return next((length // ROW_BYTES for known, _, length in self._to_weigh if known == key), 0)

    def for_shard(self, keys: Iterable[bytes]) -> dict[str, bytes]:
        """Take what is known of the sessions of a shard, by their paths.

        keys: of its sessions, after those of all shards before
        """
        found = {}
        for wanted in keys:
            for key, offset, length in self._to_give:
                if key == wanted:
                    listed = read_at(self._file.fileno(), length, offset)
                    found[str(self._identity.session_path(key))] = listed
                    break
        return found

    def _iter_sessions(self) -> Iterator[tuple[bytes, int, int]]:
        """Iterate over the keys, sorted, with the offset and the length of what was listed of each."""
        self._file.flush()
        return heapq.merge(*(self._iter_part(*part) for part in self._parts))

    _to_weigh = cached_property(_iter_sessions)
    _to_give = cached_property(_iter_sessions)

    def _iter_part(self, sessions: Sessions, offset: int) -> Iterator[tuple[bytes, int, int]]:
        for key in sessions.iter_keys():
            length = int.from_bytes(read_at(self._file.fileno(), _LENGTH_BYTES, offset), 'big')
            yield key, offset + _LENGTH_BYTES, length
            offset += _LENGTH_BYTES + length

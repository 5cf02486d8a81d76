"""Cut the sorted sessions into shards: contiguous ranges, one task of a worker each.

Shards shrink towards the end, so that the workers finish together: what is in a session is not known before
it is scanned. Their size changes no byte of the result.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Protocol

from fastindex.files import find_temporary
from fastindex.names.ids import Identity
from fastindex.system import read_at

__all__ = ['MAX_SESSIONS', 'Listed', 'iter_shards']

MAX_SESSIONS = 192
"""Of a shard: 2,900 rows of the example, 20 ms of work; with half as many, the whole run takes 5 % longer."""


def iter_shards(
    keys: Iterable[bytes], count: int, workers: int, *, max_sessions: int = MAX_SESSIONS
) -> Iterator[list[bytes]]:
    """Cut `keys` into contiguous shards for `workers`, large ones first.

    count: number of the keys, or a little more

    Examples
    --------
    >>> [len(shard) for shard in iter_shards([b''] * 20, 20, 2, max_sessions=8)]
    [5, 4, 3, 2, 2, 1, 1, 1, 1]
    """
    rest = iter(keys)
    while shard := list(islice(rest, min(max_sessions, max(1, -(-count // (2 * workers)))))):
        count -= len(shard)
        yield shard


_LENGTH_BYTES = 8


class _Sessions(Protocol):
    """Sessions in the order of their keys."""

    def iter_keys(self) -> Iterator[bytes]: ...


class Listed:
    """What was listed of sessions. To be closed.

    identity: what the keys of the sessions are made with
    """

    def __init__(self, identity: Identity) -> None:
        from tempfile import TemporaryFile

        self._identity = identity
        self._file = TemporaryFile(prefix='fastindex-', dir=find_temporary())  # noqa: SIM115 - open as long as this is
        self._parts: list[tuple[_Sessions, int]] = []
        self._rest: Iterator[tuple[bytes, bytes]] | None = None

    def close(self) -> None:
        """Remove it from the disk."""
        self._file.close()

    def add(self, sessions: _Sessions, listed: bytes) -> None:
        """Keep what `Tree.pack_listed` gave of sessions."""
        self._parts.append((sessions, self._file.tell()))
        self._file.write(listed)

    def for_shard(self, keys: Iterable[bytes]) -> dict[str, bytes]:
        """Take what is known of the sessions of a shard, by their paths.

        keys: of its sessions, after those of all shards before
        """
        if self._rest is None:
            self._file.flush()
            self._rest = heapq.merge(*(self._iter_part(*part) for part in self._parts))
        found = {}
        for wanted in keys:
            for key, data in self._rest:
                if key == wanted:
                    found[str(self._identity.session_path(key))] = data
                    break
        return found

    def _iter_part(self, sessions: _Sessions, offset: int) -> Iterator[tuple[bytes, bytes]]:
        fd = self._file.fileno()
        for key in sessions.iter_keys():
            length = int.from_bytes(read_at(fd, _LENGTH_BYTES, offset), 'big')
            offset += _LENGTH_BYTES
            yield key, read_at(fd, length, offset)
            offset += length

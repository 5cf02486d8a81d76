"""What a tree has listed ahead, on the disk of the collecting process, from discovery to the scan.

It comes subject by subject and is taken shard by shard, which is another order; but within a part both have
the order of the keys, so that each part is read once from its begin to its end, as the sessions are merged.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator
from typing import Protocol

from fastindex.ids import Identity

__all__ = ['Listed']

_LENGTH_BYTES = 8


class _Sessions(Protocol):
    """Sessions in the order of their keys."""

    def iter_keys(self) -> Iterator[bytes]: ...


class Listed:
    """What was listed of sessions. To be closed.

    Parameters
    ----------
    identity
        What the keys of the sessions are made with.
    """

    def __init__(self, identity: Identity) -> None:
        from tempfile import TemporaryFile

        self._identity = identity
        self._file = TemporaryFile(prefix='fastindex-')  # noqa: SIM115 - open as long as this is
        self._parts: list[tuple[_Sessions, int]] = []
        self._rest: Iterator[tuple[bytes, bytes]] | None = None

    def close(self) -> None:
        """Remove it from the disk."""
        self._file.close()

    def add(self, sessions: _Sessions, listed: bytes) -> None:
        """Keep what `Tree.pack_listed` gave of sessions."""
        self._parts.append((sessions, self._file.tell()))
        self._file.write(listed)

    def take(self, keys: Iterable[bytes]) -> dict[str, bytes]:
        """Take what is known of the sessions of a shard, by their paths.

        Parameters
        ----------
        keys
            Of its sessions, behind those of all shards before.
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

    def _iter_part(self, sessions: _Sessions, place: int) -> Iterator[tuple[bytes, bytes]]:
        fd = self._file.fileno()
        for key in sessions.iter_keys():
            length = int.from_bytes(os.pread(fd, _LENGTH_BYTES, place), 'big')
            place += _LENGTH_BYTES
            yield key, os.pread(fd, length, place)
            place += length

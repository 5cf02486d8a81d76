"""Look whether the folders of sessions are as they were when the sessions were scanned.

A folder that was not changed has the names that it had: so a session whose folders are all as they were has
the datasets that it had. What was written into a file that was there before is not seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from xxhash import xxh3_128_hexdigest

from fastindex.names.problems import Tally
from fastindex.trees import Tree
from fastindex.trees.digests import FIELDS, NO_FINGERPRINT, Fingerprint

__all__ = ['LookTask', 'pack_folders']


def pack_folders(states: Mapping[str, Fingerprint], trust: Sequence[str]) -> tuple[bytes, bytes]:
    """Pack by what to know the folders of a session again: their paths, and one digest of all states.

    states: by path, relative to the session
    trust: what of them tells, of `fastindex.trees.digests.FIELDS`
    Returns the paths, and a digest, which is empty if one of them cannot be known again.
    """
    paths = '\0'.join(states).encode()
    if not states or NO_FINGERPRINT in states.values():
        return paths, b''
    kept = [i for i, name in enumerate(FIELDS[1:]) if name in trust]
    trusted = [[state[i] for i in kept] for state in states.values()]
    return paths, xxh3_128_hexdigest(repr(trusted).encode()).encode()


class LookTask(NamedTuple):
    """Sessions that are looked at: the path of each, those of its folders, and their digest."""

    tree: Tree
    sessions: list[tuple[str, str, str]]
    trust: tuple[str, ...]

    def run(self) -> list[str]:
        """Give the paths of those that are not as they were."""
        return [path for path, folders, digest in self.sessions if self._digest(path, folders) != digest]

    def _digest(self, path: str, folders: str) -> str | None:
        """Compute the digest of a session as it is now; None if it is none to be known again."""
        try:
            with self.tree.open_folder(path, Tally()) as session:
                states = {name: session.state(name) for name in folders.split('\0')}
        except OSError:
            return None
        return pack_folders(states, self.trust)[1].decode() or None

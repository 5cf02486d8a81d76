"""Ids that are not computed: those in the names of files (`uuid_filenames`), or of other tables (`ids_from`).

Gives the identities that take them from there, and finds files that cannot both be rows.
What a name must look like is `fastindex.names.uuid_names`'s to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, repeat
from operator import add
from typing import TypeVar
from uuid import UUID

from fastindex.names.alf import SessionParts, SessionPath, parse_session_path
from fastindex.names.ids import Identity, Text, UuidIdentity, cut
from fastindex.names.problems import Reason
from fastindex.names.uuid_names import split_uuids

__all__ = [
    'AdoptedIdentity',
    'FilenameIdentity',
    'PathOrder',
    'SeenIds',
    'choose_identity',
    'find_by_parts',
    'find_twins',
    'uuids_of',
]

T = TypeVar('T')

PIECES = 2**16  # of 2 KB each for ten million UUIDs

ANY_LAB, SOME_LAB = '/', '//'
"""In the place of a lab, which no folder is called: where tables know none, and where the tree knows none."""


class FilenameIdentity(UuidIdentity):
    """As `UuidIdentity`, but the id of a dataset is the UUID in the name of its file."""

    keeps_names: bool = False
    """Whether the rel_paths stay as the files are called, for whom looks for them on the disk."""

    def dataset_keys(self, session_keys: list[bytes], counts: list[int], paths: list[bytes]) -> list[bytes]:
        # With the path after it, so that a name that is listed twice differs from a UUID that is.
        return [uuid + path for uuid, path in zip(uuids_of(paths), paths, strict=True)]

    def dataset_ids(self, keys: list[bytes]) -> Text:
        return super().dataset_ids([key[:16] for key in keys])

    def rel_paths(self, paths: list[bytes]) -> list[bytes]:
        return paths if self.keeps_names else split_uuids(paths)[0]


def choose_identity(namespace: UUID, *, uuid_filenames: bool, keeps_names: bool = False) -> UuidIdentity:
    """Choose what names the rows where no table does: the names of the files, or their paths.

    keeps_names: see `FilenameIdentity`
    """
    return FilenameIdentity(namespace.bytes, keeps_names) if uuid_filenames else UuidIdentity(namespace.bytes)


def uuids_of(paths: list[bytes]) -> list[bytes]:
    """Get the UUIDs in the names of files, 16 bytes each."""
    _, ids = split_uuids(paths)
    return cut(bytes.fromhex(b''.join(ids).replace(b'-', b'').decode()), 16)


def find_twins(paths: list[bytes]) -> list[tuple[int, Reason]]:
    """Find the files of a session that have the UUID or the rel_path of another one.

    paths: relative to the session, with the UUIDs
    Returns positions in `paths`, ascending, and what is wrong: all but the first in the order of the table.
    """
    rel_paths, ids = split_uuids(paths)
    if len(set(ids)) == len(set(rel_paths)) == len(paths):
        return []
    path_of_id: dict[bytes, bytes] = {}
    path_of_rel_path: dict[bytes, bytes] = {}
    twins = []
    for id, path, position in sorted(zip(ids, paths, range(len(paths)), strict=True)):
        if path_of_id.setdefault(id, path) != path:
            twins.append((position, Reason.UUID_TWICE))
        elif path_of_rel_path.setdefault(rel_paths[position], path) != path:
            twins.append((position, Reason.PATH_TWICE))
    return sorted(twins)


class SeenIds:
    """A set of UUIDs, 16 bytes each, in about as much memory: a fifth of what Python's own takes.

    They lie in as many pieces as a hash has values, which nobody can foresee: whatever UUIDs have in common,
    and be it all but one bit, a piece has few.
    """

    def __init__(self) -> None:
        self._pieces: dict[int, bytearray] = {}

    def add(self, id: bytes) -> bool:
        """Add a UUID; tell whether it is new."""
        piece = self._pieces.setdefault(hash(id) % PIECES, bytearray())
        position = piece.find(id)
        while position % 16 > 0:  # found across the ends of two others; -1 is none
            if position == -1:
                break
            position = piece.find(id, position + 1)
        if position >= 0:
            return False
        piece += id
        return True


def find_by_parts(known: Mapping[SessionParts, T], parts: SessionParts) -> T | None:
    """Find a session by what it is of.

    known: by the parts; where one side has no lab, the lab is `ANY_LAB` or `SOME_LAB`
    """
    found = known.get(parts)
    return known.get(parts._replace(lab=ANY_LAB if parts.lab else SOME_LAB)) if found is None else found


class AdoptedIdentity(UuidIdentity):
    """As `UuidIdentity`, but for the sessions and datasets whose ids are given.

    Those of the datasets travel as columns, of which a worker makes a dictionary.
    """

    eids_by_parts: dict[SessionParts, bytes] = {}  # noqa: RUF012 - of sessions; see `find_by_parts`
    ours: frozenset[str] = frozenset()
    """Paths of sessions that get our eids all the same: `1` beside `001`, or of which a lab would tell."""

    owners: tuple[tuple[bytes, int], ...] = ()
    """Sessions whose datasets are given: 16 bytes of the eid, and how many there are."""

    paths: bytes = b''  # the rel_paths of these datasets, in the order of `owners`, with NUL between them
    ids: bytes = b''  # their ids, 16 bytes each. Of two for one dataset the last counts

    def find(self, path: str) -> bytes | None:
        """Find the eid of a session, as far as it is given."""
        return None if path in self.ours else find_by_parts(self.eids_by_parts, parse_session_path(path))

    def session_keys(self, paths: list[str]) -> list[bytes]:
        ours = super().session_keys(paths)
        return [(self.find(path) or key[:16]) + key[16:] for path, key in zip(paths, ours, strict=True)]

    def dataset_keys(self, session_keys: list[bytes], counts: list[int], paths: list[bytes]) -> list[bytes]:
        ours = super().dataset_keys(session_keys, counts, paths)
        if not self.ids:
            return ours
        given = dict(zip(_join(self.owners, self.paths.split(b'\0')), cut(self.ids, 16), strict=True))
        sessions = zip((key[:16] for key in session_keys), counts, strict=True)
        return list(map(given.get, _join(sessions, paths), ours))


def _join(sessions: Iterable[tuple[bytes, int]], rel_paths: list[bytes]) -> Iterator[bytes]:
    """Put the eid of its session before each rel_path."""
    eids = chain.from_iterable(repeat(eid, count) for eid, count in sessions)
    return map(add, eids, rel_paths)


class PathOrder(Identity):
    """Paths as ids, in the order of their characters, as Arrow sorts them. A key is the path."""

    def session_keys(self, paths: list[str]) -> list[bytes]:
        return [path.encode() for path in paths]

    def session_path(self, key: bytes) -> SessionPath:
        return SessionPath(key.decode())

    def eids(self, keys: list[bytes]) -> list[bytes]:
        return keys

    def dataset_keys(self, session_keys: list[bytes], counts: list[int], paths: list[bytes]) -> list[bytes]:
        return paths

    def dataset_ids(self, keys: list[bytes]) -> Text:
        return Text.join(keys)

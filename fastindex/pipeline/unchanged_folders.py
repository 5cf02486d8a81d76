"""Look whether folders are as they were: of sessions when they were scanned, of dates when they were listed.

A folder that was not changed has the names that it had: so a session whose folders are all as they were has
the datasets that it had, and a date the sessions. What was written into a file that was there before is not
seen. Of a date its state is kept, and the names that it had then: what is kept never grows wrong, as a date
in another state is listed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, cast

from xxhash import xxh3_128_hexdigest

from fastindex.names.alf import judge_date
from fastindex.names.ids import Text
from fastindex.names.problems import Tally
from fastindex.tables.schema import folders_schema, make_batch, to_ipc
from fastindex.trees import Folder, Kind, Tree
from fastindex.trees.disk import LocalTree
from fastindex.trees.fingerprints import FIELDS, NO_FINGERPRINT, Fingerprint
from fastindex.trees.part import NotingFolder, TreeOver

__all__ = ['Listings', 'LookTask', 'pack_folders', 'pack_listings', 'take_noted']


def pack_folders(states: Mapping[str, Fingerprint], trust: Sequence[str]) -> tuple[bytes, bytes]:
    """Pack by what to know the folders of a session again: their paths, and one digest of all states.

    states: by path, relative to the session
    trust: what of them tells, of `fastindex.trees.fingerprints.FIELDS`
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


Dates = dict[str, tuple[str, list[str], list[str]]]
"""Of a subject: for each date the digest of its state, and the names of the folders and the files in it."""


class Listings(NamedTuple):
    """What is known of dates: by the paths of their subjects, as JSON of `Dates`."""

    known: Mapping[str, str]
    trust: tuple[str, ...]

    def over(self, tree: Tree, subjects: Sequence[str]) -> Tree:
        """Get a tree that notes how dates are, and lists none of these subjects again that is as it was."""
        if isinstance(tree, TreeOver):
            return tree.replace(tree=self.over(tree.tree, subjects))
        if not isinstance(tree, LocalTree):
            return tree
        known = {path: self.known[path] for path in subjects if path in self.known}
        return _ListedTree(tree, self.trust, known, {})


def take_noted(tree: Tree) -> dict[str, str]:
    """Take what a tree of `Listings.over` has noted, as it is known from then on."""
    while isinstance(tree, TreeOver) and not isinstance(tree, _ListedTree):
        tree = tree.tree
    noted = tree.noted if isinstance(tree, _ListedTree) else {}
    return {path: json.dumps(now) for path, (_, now) in noted.items() if now}


def pack_listings(noted: Mapping[str, str]) -> bytes:
    """Make rows of what is known of dates, as Arrow IPC: before those of the sessions, without an eid."""
    columns = (
        [b''] * len(noted),
        [path.encode() for path in noted],
        [text.encode() for text in noted.values()],
    )
    return to_ipc(make_batch(folders_schema(), map(Text.join, columns)))


class _ListedTree(TreeOver):
    """A tree that lists no date again that is as it was, and notes how dates are: see `Listings`."""

    trust: tuple[str, ...]
    known: dict[str, str]
    noted: dict[str, tuple[Dates, Dates]]  # of each subject the dates as they were, and as they are

    @contextmanager
    def open_folder(self, path: str, tally: Tally) -> Iterator[Folder]:
        subject, _, date = path.rpartition('/')
        if judge_date(date) is not None:
            with self.tree.open_folder(path, tally) as folder:
                yield folder
            return
        if subject not in self.noted:
            self.noted[subject] = (_parse_dates(self.known.get(subject, '{}')), {})
        before, now = self.noted[subject]
        if date in before and before[date][0] == self._digest_of(path):
            now[date] = before[date]
            yield cast('Folder', _ListedFolder(self.tree, path, *before[date][1:]))
            return
        with self.tree.open_folder(path, tally) as folder:
            _, state = pack_folders({'': folder.state()}, self.trust)
            noting = NotingFolder(folder, range(Kind.DEVICE + 1))
            yield cast('Folder', noting)
        folders, files = noting.noted.pop(Kind.FOLDER), noting.noted.pop(Kind.FILE)
        if state and noting.is_whole and not any(noting.noted.values()):
            now[date] = (state.decode(), folders, files)

    def _digest_of(self, path: str) -> str:
        with suppress(OSError):
            return pack_folders({'': cast('LocalTree', self.tree).state(path)}, self.trust)[1].decode()
        return ''


def _parse_dates(text: str) -> Dates:
    """Parse what is known of the dates of a subject; what is not as we write it is nothing."""
    with suppress(ValueError, TypeError, AttributeError, RecursionError):
        return {
            date: (str(state), [*map(str, folders)], [*map(str, files)])
            for date, (state, folders, files) in json.loads(text).items()
            if state
        }
    return {}


class _ListedFolder:
    """A folder whose names are known."""

    def __init__(self, tree: Tree, path: str, folders: list[str], files: list[str]) -> None:
        self.path = path
        self._tree = tree
        self._names = folders + files
        self._kinds = bytes([Kind.FOLDER] * len(folders) + [Kind.FILE] * len(files))

    def iter_names(self) -> Iterator[tuple[Sequence[str], bytes]]:
        yield self._names, self._kinds

    @property
    def device(self) -> int:
        with self._tree.open_folder(self.path, Tally()) as folder:
            return cast('int', cast('Any', folder).device)

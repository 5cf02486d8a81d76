"""Discover the sessions: list folders down to `date/`, stat nothing.

Gives the keys of all sessions, sorted, which is the order of the tables; packed, so that ten million datasets
take no more memory than one. Leaves what is inside a session to the scan: a session in a session is a
collection of the outer one.

Two rounds, both in the workers: the folders in the root (a lab, or a subject of a tree without labs), then
the subjects of the labs. Every folder is listed once.
"""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import groupby
from typing import NamedTuple

from fastindex import limits
from fastindex.errors import RootError
from fastindex.names.alf import SkipReason, judge_date, judge_number
from fastindex.names.ids import Identity
from fastindex.names.problems import Doubt, Reason, Tally
from fastindex.pipeline.shard import Listed
from fastindex.pipeline.unchanged_folders import Listings, take_noted
from fastindex.text import escape
from fastindex.trees import ListsAhead, Tree
from fastindex.trees.fate import list_folders
from fastindex.trees.roots import has_dates, lacks_subjects
from fastindex.workers.pool import Pool

__all__ = ['AGGREGATES', 'Discovery', 'Sessions', 'discover']

TASKS_PER_WORKER = 4

AGGREGATES = 'aggregates'
"""A folder in the root in which ONE keeps files over many sessions, as `aggregates/Subjects/lab/…`."""

BLOCK_SESSIONS = 1024  # sessions that are unpacked at once
MANY = 50  # more folders than this in the root: then they are subjects, not labs, and most of the work


class Sessions(NamedTuple):
    """Sessions in the order of their keys: 8 bytes each, as their paths in blocks that are compressed."""

    identity: Identity
    total: int
    blocks: list[bytes]
    listed: bytes = b''  # what the tree has listed of them ahead; on its way from a worker

    @classmethod
    def pack(cls, identity: Identity, paths: list[str]) -> Sessions:
        """Sort and pack sessions of these paths."""
        keys = sorted(identity.session_keys(paths))
        blocks = [
            zlib.compress('\0'.join(map(identity.session_path, keys[i : i + BLOCK_SESSIONS])).encode(), 1)
            for i in range(0, len(keys), BLOCK_SESSIONS)
        ]
        return cls(identity, len(keys), blocks)

    def iter_keys(self) -> Iterator[bytes]:
        """Iterate over the keys, sorted."""
        for block in self.blocks:
            yield from self.identity.session_keys(zlib.decompress(block).decode().split('\0'))


class Discovery(NamedTuple):
    """What was discovered."""

    sessions: list[Sessions]  # each in order, but not one after the other
    subjects: list[str]  # paths of subjects that are to be looked into yet
    tally: Tally
    listed: Listed | None = None  # what the tree has listed ahead, where it does; to be closed
    noted: dict[str, str] | None = None  # what is then known of dates: see `unchanged_folders.Listings`

    def add(self, other: Discovery) -> None:
        """Add what a worker has found."""
        for part in other.sessions:
            if self.listed is not None:
                self.listed.add(part, part.listed)
            self.sessions.append(part._replace(listed=b''))
        self.subjects.extend(other.subjects)
        self.tally.merge(other.tally)
        if self.noted is not None and other.noted is not None:
            self.noted.update(other.noted)

    def for_shard(self, tree: Tree, keys: Sequence[bytes]) -> Tree:
        """Get the tree of a shard, which knows what was listed ahead; shards come in order, and once."""
        if self.listed is None or not isinstance(tree, ListsAhead):
            return tree
        return tree.with_listed(self.listed.for_shard(keys))

    @property
    def weigh(self) -> Callable[[bytes], int] | None:
        """What tells how much was listed ahead of a session; None where nothing was. See `iter_shards`."""
        return None if self.listed is None else self.listed.weigh

    def renamed(self, identity: Identity, paths: Sequence[str]) -> Discovery:
        """Give the sessions, of these paths, other keys; what was listed ahead was so in another order."""
        return self._replace(listed=None, sessions=[Sessions.pack(identity, list(paths))])

    def close(self) -> None:
        """Forget what was listed ahead."""
        if self.listed is not None:
            self.listed.close()

    def count_sessions(self) -> int:
        """Count the sessions, those twice that a changing folder listed twice."""
        return sum(part.total for part in self.sessions)

    def iter_keys(self) -> Iterator[bytes]:
        """Iterate over the keys of all sessions, sorted, each once."""
        merged = heapq.merge(*(part.iter_keys() for part in self.sessions))
        return (key for key, _ in groupby(merged))


def discover(
    tree: Tree,
    identity: Identity,
    pool: Pool,
    *,
    list_skips: bool = False,
    load: Callable[[], object] | None = None,
    listings: Listings | None = None,
) -> Discovery:
    """Discover all sessions of a tree.

    Raises RootError if the root cannot be listed.

    load: called once: loads what the workers of the next stage are to inherit. While the workers have the
        larger part of the work, where they are few and then replaced; before there are any, where they are
        many.
    listings: what is known of dates, where it is to be noted how they are
    """
    if load is not None and not pool.is_renewable:
        load()
        load = None
    listed = Listed(identity) if isinstance(tree, ListsAhead) else None
    found = Discovery([], [], Tally(list_skips=list_skips), listed, {})

    def look_into(kind: type[FoldersTask], paths: Sequence[str], *, meanwhile: bool) -> None:
        """Look into folders in the workers; add what is there to `found`."""
        # What is listed ahead is held in memory until its task is done: then one folder a task.
        size = 1 if listed is not None else max(1, -(-len(paths) // (pool.workers * TASKS_PER_WORKER)))
        parts = (tuple(paths[start : start + size]) for start in range(0, len(paths), size))
        results = pool.run(
            kind(listings.over(tree, part) if listings else tree, identity, part, list_skips)
            for part in parts
        )
        if load is not None and meanwhile:
            load()
        for part, _ in results:
            found.add(part)

    with ExitStack() as failed:
        failed.callback(found.close)
        try:
            folders = list_folders(tree, '', found.tally)
        except OSError as error:
            raise RootError(f'{escape(tree.root)}: the folder cannot be listed ({error.strerror})') from error
        is_flat = len(folders) > MANY
        look_into(FoldersTask, folders, meanwhile=is_flat)
        look_into(SubjectsTask, list(found.subjects), meanwhile=not is_flat)
        failed.pop_all()
    if load is not None:
        pool.renew()
    return found


class FoldersTask(NamedTuple):
    """Folders of the root: labs, of which the subjects are listed, or subjects of a tree without labs."""

    tree: Tree
    identity: Identity
    paths: tuple[str, ...]
    list_skips: bool = False

    def run(self) -> Discovery:
        """Look into them."""
        found = Discovery([], [], Tally(list_skips=self.list_skips))
        sessions = [session for path in self.paths for session in self._iter_sessions(path, found)]
        found.sessions.append(_pack(self.tree, self.identity, sessions))
        return found._replace(noted=take_noted(self.tree))

    def _iter_sessions(self, path: str, found: Discovery) -> Iterator[str]:
        try:
            names = list_folders(self.tree, path, found.tally)
        except OSError as error:
            found.tally.error(path, error)
            return
        dates = [name for name in names if judge_date(name) is not SkipReason.NOT_DATE]
        if 'Subjects' in names:
            above = f'{path}/Subjects'
            subjects = _list_folders(self.tree, above, found.tally)
            found.subjects.extend(f'{above}/{name}' for name in subjects)
            yield from _iter_sessions(self.tree, path, dates, found.tally)
            for name in sorted(set(names).difference(dates, ['Subjects'])):
                if has_dates(self.tree, f'{path}/{name}'):
                    found.tally.doubt(f'{path}/{name}', Doubt.LEFT_OUT)
                _skip(found.tally, f'{path}/{name}', SkipReason.NOT_LAB_OR_SUBJECT)
        elif dates:
            yield from _iter_sessions(self.tree, path, names, found.tally)
        else:
            _doubt(self.tree, path, names, found.tally)
            _skip(found.tally, path, SkipReason.NOT_LAB_OR_SUBJECT)


class SubjectsTask(FoldersTask):
    """Subjects, whose sessions are listed."""

    __slots__ = ()

    def _iter_sessions(self, path: str, found: Discovery) -> Iterator[str]:
        dates = _list_folders(self.tree, path, found.tally)
        yield from _iter_sessions(self.tree, path, dates, found.tally)


def _pack(tree: Tree, identity: Identity, paths: list[str]) -> Sessions:
    sessions = Sessions.pack(identity, paths)
    if not isinstance(tree, ListsAhead):
        return sessions
    return sessions._replace(listed=tree.pack_listed(map(identity.session_path, sessions.iter_keys())))


def _iter_sessions(tree: Tree, subject: str, dates: Iterable[str], tally: Tally) -> Iterator[str]:
    for date in dates:
        path = f'{subject}/{date}'
        if reason := judge_date(date):
            _skip(tally, path, reason)
            continue
        for number in _list_folders(tree, path, tally):
            session = f'{path}/{number}'
            if reason := judge_number(number):
                _skip(tally, session, reason)
            elif limits.is_too_long(session):  # in a bucket: a disk has no such names
                tally.problem(session, Reason.TOO_LONG)
            else:
                if len(number) < 3:
                    tally.doubt(session, Doubt.NOT_FOUND)
                yield session


def _skip(tally: Tally, path: str, reason: SkipReason) -> None:
    """Skip a folder above the sessions: what is no session among the aggregates is not meant to be one."""
    if path == AGGREGATES or path.startswith(f'{AGGREGATES}/'):
        reason = SkipReason.AGGREGATES
    elif reason is not SkipReason.NOT_LAB_OR_SUBJECT and _is_misnamed(path.rpartition('/')[2], reason):
        tally.doubt(path, Doubt.LEFT_OUT)
    tally.skip(path, reason)


def _is_misnamed(name: str, reason: SkipReason) -> bool:
    """Tell whether a date or number was meant, by whether it is known how to write it."""
    from fastindex.names.diagnose import diagnose_date, diagnose_number

    diagnosis = diagnose_number(name) if reason is SkipReason.NOT_NUMBER else diagnose_date(name)
    return reason is SkipReason.NO_SUCH_DAY or bool(diagnosis and diagnosis.fix)


def _doubt(tree: Tree, path: str, names: Sequence[str], tally: Tally) -> None:
    """Look whether a folder in the root, which is neither lab nor subject, was meant to be one of them."""
    misnamed = [name for name in names if _is_misnamed(name, SkipReason.NOT_DATE)]
    for name in misnamed if path != AGGREGATES else ():
        tally.doubt(f'{path}/{name}', Doubt.LEFT_OUT)
    if not misnamed and lacks_subjects(tree, path, names):
        tally.doubt(path, Doubt.NO_SUBJECTS)


def _list_folders(tree: Tree, path: str, tally: Tally) -> list[str]:
    try:
        return list_folders(tree, path, tally)
    except OSError as error:
        tally.error(path, error)
        return []

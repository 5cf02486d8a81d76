"""Which sessions a run scans, where it does not scan all of them; what becomes of the rest.

Leaves the rows that are carried over to `fastindex.tables.splice`, and the order of the stages to
`fastindex.jobs.build.build`.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from heapq import merge
from itertools import groupby, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from fastindex.errors import InvalidIndexError, UsageError
from fastindex.jobs.build.options import Options
from fastindex.jobs.build.scope import Scope, explain_none
from fastindex.lazy import pa, pc
from fastindex.names.alf import find_session_path
from fastindex.names.given_ids import FilenameIdentity
from fastindex.names.ids import Identity
from fastindex.names.problems import Problem, Reason
from fastindex.pipeline.discover import Discovery, Sessions
from fastindex.pipeline.unchanged_folders import Listings, LookTask
from fastindex.tables.check import Pair, Published
from fastindex.tables.file import GroupTable
from fastindex.tables.merge import iter_rows
from fastindex.tables.publish import PROBLEMS, Stage, iter_problems
from fastindex.tables.recipe import Recipe
from fastindex.tables.reuse import FOLDERS, iter_folders
from fastindex.tables.splice import SCAN_ALL, Splice
from fastindex.text import escape, is_utf8
from fastindex.trees import STATE_FOLDER, Tree
from fastindex.trees.part import is_below
from fastindex.workers.pool import Pool

if TYPE_CHECKING:
    from fastindex.tables.write import PairWriter

__all__ = ['Selection', 'keeps_folders', 'open_listings', 'select']

LOOKS = 64  # sessions that are looked at by one task


class Selection(NamedTuple):
    """The sessions that are scanned, and those that are carried over."""

    found: Discovery  # those that are scanned

    eids: pa.ChunkedArray  # of all sessions of the published index, sorted

    left_out: list[str]  # of those that are not carried over: they are scanned, or gone. Sorted

    scope: Scope
    identity: Identity
    published: Published

    def is_carried(self, path: str) -> bool:
        """Tell whether what is said of a path still holds, as nobody has looked at it again."""
        if self.scope.only is not None and any(is_below(path, one) for one in self.scope.only):
            return False
        key = _session_key(path, self.identity)
        if not key:
            return self.scope.only is not None
        (eid,) = self.identity.eids([key])
        return _has(self.eids, eid.decode()) and not _has(self.left_out, eid.decode())

    def open_splice(self, writer: PairWriter) -> Splice:
        """Open what writes rows between those that are carried over."""
        left_out = self.left_out if self.scope.only is not None else ['', *self.left_out]
        return Splice(
            writer, self.published, left_out, are_unique=isinstance(self.identity, FilenameIdentity)
        )

    def carry_problems(self, stage: Stage, rows: Splice) -> int:
        """Add the problems of what was not looked at to those of this run; return how many they are.

        rows: all that are carried over
        """
        count = 0

        def read_old() -> Iterator[tuple[bytes, Problem]]:
            nonlocal count
            for problem in iter_problems(self.published.folder):
                if self.is_carried(problem.path):
                    if problem.reason is Reason.UUID_TWICE:
                        rows.refuse_heir(problem.path)
                    count += 1
                    yield _session_key(problem.path, self.identity), problem

        new = iter_problems(stage.path, PROBLEMS)
        read_new = ((_session_key(one.path, self.identity), one) for one in new)
        stage.replace_problems(problem for (_, problem), _ in groupby(merge(read_old(), read_new)))
        return count


def select(
    options: Options, tree: Tree, found: Discovery, published: Published | None, pool: Pool
) -> Selection | None:
    """Select the sessions that are scanned; None where all are.

    Raises InvalidIndexError if there is no index, but a part of it is to be scanned. Raises UsageError if it
    was made in another way, or there is no session in a folder that was asked for, and never was. Raises
    EmptyTreeError if the lab or subject of such a folder is not there.

    found: the sessions that were discovered, in the tree as the scope narrows it
    """
    scope, identity = options.scope, options.identity
    if scope is None or published is None or not _can_carry(published, options.recipe, scope):
        return None
    sessions = _read_sessions(published)
    eids = sessions.column('id')
    if scope.only is not None:
        keys = list(found.iter_keys())
        left_out = {eid.decode() for eid in identity.eids(keys)}
        paths = [identity.session_path(key) for key in keys]
        for one in scope.only:
            known = _list_below(sessions, one, identity)
            left_out.update(known)
            if not any(is_below(path, one) for path in paths):
                explain_none(tree, one, is_known=bool(known))
        return Selection(found, eids, sorted(left_out), scope, identity, published)
    new: list[str] = []
    gone: list[str] = []

    def iter_looks() -> Iterator[tuple[str, str, str]]:
        for key, eid, folders in _iter_beside(found.iter_keys(), eids, known_folders):
            if key is None:
                gone.extend(() if eid is None else [eid])
            elif eid is None or (scope.quick and (folders is None or not folders[1] or key in doubtful)):
                new.append(identity.session_path(key))
            elif folders is not None:
                yield identity.session_path(key), *folders

    doubtful: set[bytes] = set()
    known_folders: Iterator[tuple[str, str, str]] = iter(())
    if scope.quick:
        doubtful = {_session_key(problem.path, identity) for problem in iter_problems(published.folder)}
        known_folders = _iter_folders(published)
    looks = iter_looks()
    parts = iter(lambda: list(islice(looks, LOOKS)), [])
    tasks = (LookTask(tree, part, options.recipe.trust) for part in parts)
    for changed, _ in pool.run(tasks):
        new += changed
    packed = found._replace(sessions=[Sessions.pack(identity, new)])
    scanned = (eid.decode() for eid in identity.eids(identity.session_keys(new)))
    return Selection(packed, eids, sorted({*gone, *scanned}), scope, identity, published)


def keeps_folders(options: Options, published: Published | None) -> bool:
    """Tell whether it is noted how the folders of sessions are: from the first run on that asks."""
    if published is None or options.path_ids:
        return False
    is_asked = options.scope is not None and options.scope.quick
    return is_asked or os.path.lexists(published.folder / STATE_FOLDER / FOLDERS)


def open_listings(options: Options, published: Published | None) -> Listings | None:
    """Open what is known of dates, which `quick` does not list again; None where nothing is noted."""
    scope = options.scope
    if published is None or not keeps_folders(options, published) or (scope and scope.only is not None):
        return None  # the rows of a part leave what is known as it is
    known: dict[str, str] = {}
    for eid, path, listing in _iter_folders(published) if scope and scope.quick else ():
        if eid:
            break
        known[path] = listing
    return Listings(known, options.recipe.trust)


def _can_carry(published: Published, recipe: Recipe, scope: Scope) -> bool:
    """Tell whether there is an index whose rows can be carried over."""
    pair = published.pair
    if isinstance(pair, InvalidIndexError) or pair.generation is None:
        if scope.only is None:
            return False  # all sessions are new
        raise InvalidIndexError(
            f'{escape(published.folder)}: there is no index of fastindex that is whole, to take '
            'the other sessions from: ',
            hint=SCAN_ALL,
        )
    before = Recipe.from_json(pair.facts)
    before = replace(before, trust=recipe.trust)  # which says nothing of rows
    other = [
        field.name for field in fields(Recipe) if getattr(before, field.name) != getattr(recipe, field.name)
    ]
    if other:
        names = ', '.join(f'`{"hash" if name == "algorithms" else name}`' for name in other)
        raise UsageError(
            f'{escape(published.folder)}: this index was made in another way, and so are the rows '
            'that would be carried over: ',
            hint=f'give {names} as for the index, or {SCAN_ALL}',
        )
    return True


def _iter_beside(
    keys: Iterator[bytes], eids: pa.ChunkedArray, folders: Iterator[tuple[str, str, str]]
) -> Iterator[tuple[bytes | None, str | None, tuple[str, str] | None]]:
    """Iterate side by side over sorted keys, eids, and what is known of folders; None where one has none."""
    known = (eid for chunk in eids.chunks for eid in chunk.to_pylist())
    sources = (
        ((key[:16].hex(), 0, key) for key in keys),
        ((eid.replace('-', ''), 1, eid) for eid in known),
        ((eid.replace('-', ''), 2, (paths, state)) for eid, paths, state in folders),
    )
    for _, same in groupby(merge(*sources, key=itemgetter(0)), key=itemgetter(0)):
        found: list[Any] = [None, None, None]
        for _, source, value in same:
            found[source] = value
        yield found[0], found[1], found[2]


def _iter_folders(published: Published) -> Iterator[tuple[str, str, str]]:
    """Iterate over what is known of the folders of sessions: eid, paths, and the digest of their states."""
    if isinstance(published.pair, Pair):
        for rows in iter_folders(published.folder, published.pair.generation):
            yield from iter_rows(rows)


def _read_sessions(published: Published) -> pa.Table:
    table = GroupTable(published.folder / 'sessions.pqt', below=published.folder)
    names = ['id', 'lab', 'subject', 'date', 'number']
    groups = [table.read(group, names) for group in range(len(table.group_rows))]
    return pa.concat_tables(groups) if groups else table.schema.empty_table().select(names)


def _list_below(sessions: pa.Table, path: str, identity: Identity) -> list[str]:
    """List the eids of the sessions of an index that are in a folder."""
    if not is_utf8(path):
        return []  # a problem
    names = path.split('/')
    lab = names[0] if names[1:2] == ['Subjects'] else ''
    below = names[2:] if lab else names
    if len(below) == 3:  # a session: its eid tells it from one whose number is written in another way
        (eid,) = identity.eids(identity.session_keys([path]))
        return [eid.decode()] if _has(sessions.column('id'), eid.decode()) else []
    is_there = pc.equal(sessions['lab'], lab)
    for name, value in zip(('subject', 'date'), below, strict=False):
        is_there = pc.and_(is_there, pc.equal(sessions[name].cast(pa.string()), value))
    if len(names) == 1:  # a lab, or a subject of a tree without labs
        is_there = pc.or_(is_there, pc.equal(sessions['lab'], names[0]))
    found: list[str] = sessions['id'].filter(is_there).to_pylist()
    return found


def _session_key(path: str, identity: Identity) -> bytes:
    """Get the key of the session that a path lies in; b'' where it lies in none."""
    session = find_session_path(path)
    return identity.session_keys([session])[0] if session else b''


def _has(eids: pa.ChunkedArray | Sequence[str], eid: str) -> bool:
    """Tell whether sorted eids have one."""
    position = bisect_left(eids, eid, key=str)  # those of a column are values of Arrow
    return position < len(eids) and str(eids[position]) == eid

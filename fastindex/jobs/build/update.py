"""Which sessions a run scans, where it does not scan all of them; what becomes of the rest.

Leaves the rows that are carried over to `fastindex.tables.splice`, and the order of the stages to
`fastindex.jobs.build.build`.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import fields
from datetime import date as Date  # noqa: N812 - `date` is the word for the folder
from heapq import merge
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from fastindex.errors import EmptyTreeError, InvalidIndexError, UsageError
from fastindex.jobs.build.options import Options
from fastindex.names.alf import judge_date, judge_number, parse_session_path
from fastindex.names.identity import FilenameIdentity
from fastindex.names.ids import Identity
from fastindex.names.problems import Problem, Reason, Tally
from fastindex.pipeline.discover import Discovery, Sessions
from fastindex.tables.check import Published
from fastindex.tables.file import open_table
from fastindex.tables.metadata import Recipe
from fastindex.tables.reuse import GroupTable
from fastindex.tables.splice import Splice
from fastindex.tables.stage import PROBLEMS, Stage
from fastindex.text import escape, from_system
from fastindex.trees import STATE_FOLDER, Kind, Tree
from fastindex.trees.part import PartTree, is_below
from fastindex.trees.sift import list_folders

if TYPE_CHECKING:
    import pyarrow as pa

    from fastindex.tables.write import PairWriter

__all__ = ['Scope', 'Selection', 'parse_only', 'select']


class Scope(NamedTuple):
    """Which sessions are scanned: as it is, those that the index does not have.

    Parameters
    ----------
    only
        Those in these folders, relative to the root, whether the index has them or not.
    """

    only: tuple[str, ...] | None = None

    @classmethod
    def parse(
        cls,
        root: str,
        given: str | os.PathLike[str],
        *,
        only: Collection[str | os.PathLike[str]] | None,
        new: bool,
    ) -> Self | None:
        """Parse what was asked for; a folder may begin with the root, also as it was given."""
        if only is not None and new:
            raise UsageError('only and new are two ways to choose sessions: expected one of them')
        if only is not None:
            return cls(parse_only(only, [root, os.path.abspath(given)]))
        return cls() if new else None

    def narrow(self, tree: Tree) -> Tree:
        """Get the tree as the discovery is to see it."""
        return tree if self.only is None else PartTree(tree, self.only)


class Selection(NamedTuple):
    """The sessions that are scanned, and those that are carried over."""

    found: Discovery
    """Those that are scanned."""

    eids: pa.ChunkedArray
    """Of all sessions of the published index, sorted."""

    left_out: list[str]
    """Of those that are not carried over: they are scanned, or gone. Sorted."""

    scope: Scope
    identity: Identity

    def is_carried(self, path: str) -> bool:
        """Tell whether what is said of a path still holds, as nobody has looked at it again."""
        if self.scope.only is not None and any(is_below(path, one) for one in self.scope.only):
            return False
        key = _session_key(path, self.identity)
        if not key:
            return self.scope.only is not None
        (eid,) = self.identity.eids([key])
        return _has(self.eids, eid.decode()) and not _has(self.left_out, eid.decode())

    def open_splice(self, writer: PairWriter, published: Published) -> Splice:
        """Open what writes rows between those that are carried over."""
        return Splice(
            writer, published, self.left_out, are_unique=isinstance(self.identity, FilenameIdentity)
        )

    def carry_problems(self, published: Published, stage: Stage) -> int:
        """Add the problems of what was not looked at to those of this run; return how many they are."""
        count = 0

        def read_old() -> Iterator[tuple[bytes, Problem]]:
            nonlocal count
            for problem in _iter_problems(published.folder / STATE_FOLDER / PROBLEMS, published.folder):
                if self.is_carried(problem.path):
                    count += 1
                    yield _session_key(problem.path, self.identity), problem

        new = _iter_problems(stage.path / PROBLEMS, stage.path)
        read_new = ((_session_key(one.path, self.identity), one) for one in new)
        stage.replace_problems(problem for (_, problem), _ in groupby(merge(read_old(), read_new)))
        return count


def parse_only(paths: Iterable[str | os.PathLike[str]], roots: Sequence[str]) -> tuple[str, ...]:
    """Parse the folders that are asked for, relative to the root or with it.

    Parameters
    ----------
    roots
        The root, in each way in which it may be written.

    Raises
    ------
    UsageError
        If one of them is no lab, subject, date or session by its name.

    Examples
    --------
    >>> parse_only(['/data/lab/Subjects/s1/', 's2/2024-01-01/001'], ['/data'])
    ('lab/Subjects/s1', 's2/2024-01-01/001')
    """
    if isinstance(paths, str | os.PathLike):
        raise UsageError(f'only={os.fspath(paths)!r} is one path: expected a collection, such as [{paths!r}]')
    found: list[str] = []
    for one in paths:
        given = from_system(os.fspath(one))
        path = os.path.normpath(given) if given else ''
        for root in map(from_system, roots) if os.path.isabs(path) else ():
            if is_below(path, root.rstrip('/')):
                path = path[len(root.rstrip('/')) + 1 :] or '.'
                break
        if reason := _judge(path):
            raise UsageError(
                f'{escape(given)!r}: {reason}; expected a lab, a subject, a date or a session below '
                f'{escape(roots[0])}, as lab/Subjects/subject/date/number'
            )
        found.append(path)
    return tuple(dict.fromkeys(found))


def _judge(path: str) -> str:
    """Say what a path is that nobody can ask for; '' where it may be asked for."""
    names = path.split('/')
    if path in ('', '.'):
        return 'this is the root'
    if names[0] in ('..', ''):
        return 'this is not below the root'
    below = names[3:] if names[1:2] == ['Subjects'] else names[1:]
    if below and judge_date(below[0]):
        return f'{escape(below[0])} is no date'
    if len(below) > 1 and judge_number(below[1]):
        return f'{escape(below[1])} is no number of a session'
    return 'this is in a session' if len(below) > 2 else ''


def select(options: Options, tree: Tree, found: Discovery, published: Published) -> Selection | None:
    """Select the sessions that are scanned; None where there is no index to take others from.

    Parameters
    ----------
    found
        The sessions that were discovered, in the tree as the scope narrows it.

    Raises
    ------
    InvalidIndexError
        If there is no index, but a part of it is to be scanned.
    UsageError
        If it was made in another way, or there is no session in a folder that was asked for, and never was.
    EmptyTreeError
        If the lab or subject of such a folder is not there.
    """
    scope, identity = options.scope or Scope(), options.identity
    if not _can_carry(published, options.recipe, scope):
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
                _explain_none(tree, one, is_known=bool(known))
        return Selection(found, eids, sorted(left_out), scope, identity)
    new: list[str] = []
    gone: list[str] = []
    for key, eid in _iter_pairs(found.iter_keys(), eids):
        if eid is None and key is not None:
            new.append(identity.session_path(key))
        elif key is None and eid is not None:
            gone.append(eid)
    packed = found._replace(sessions=[Sessions.pack(identity, new)])
    return Selection(packed, eids, gone, scope, identity)


def _can_carry(published: Published, recipe: Recipe, scope: Scope) -> bool:
    """Tell whether there is an index whose rows can be carried over."""
    pair = published.pair
    if isinstance(pair, InvalidIndexError) or pair.generation is None:
        if scope.only is None:
            return False  # all sessions are new
        raise InvalidIndexError(
            f'{escape(os.fspath(published.folder))}: there is no index of fastindex that is whole, to take '
            'the other sessions from: ',
            hint='leave `only` out once',
        )
    before = Recipe.from_json(pair.facts)
    other = [
        field.name for field in fields(Recipe) if getattr(before, field.name) != getattr(recipe, field.name)
    ]
    if other:
        names = ', '.join(f'`{"hash" if name == "algorithms" else name}`' for name in other)
        raise UsageError(
            f'{escape(os.fspath(published.folder))}: this index was made in another way, and so are the rows '
            'that would be carried over: ',
            hint=f'give {names} as for the index, or have all sessions scanned once',
        )
    return True


def _iter_pairs(keys: Iterator[bytes], eids: pa.ChunkedArray) -> Iterator[tuple[bytes | None, str | None]]:
    """Iterate over sorted keys and eids side by side; None where one has none."""
    known = (eid for chunk in eids.chunks for eid in chunk.to_pylist())
    sources = (
        ((key[:16].hex(), key, None) for key in keys),
        ((eid.replace('-', ''), None, eid) for eid in known),
    )
    for _, pair in groupby(merge(*sources, key=lambda one: one[0]), key=lambda one: one[0]):
        rows = list(pair)
        yield (
            next((key for _, key, _ in rows if key is not None), None),
            next((eid for _, _, eid in rows if eid is not None), None),
        )


def _read_sessions(published: Published) -> pa.Table:
    import pyarrow as pa

    table = GroupTable(published.folder / 'sessions.pqt', below=published.folder)
    names = ['id', 'lab', 'subject', 'date', 'number']
    groups = [table.read(group, names) for group in range(len(table.group_rows))]
    return pa.concat_tables(groups) if groups else table.schema.empty_table().select(names)


def _list_below(sessions: pa.Table, path: str, identity: Identity) -> list[str]:
    """List the eids of the sessions of an index that are in a folder."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = path.split('/')
    lab = names[0] if names[1:2] == ['Subjects'] else ''
    below = names[2:] if lab else names
    if len(below) == 3:  # a session: its eid tells it from one whose number is written in another way
        (eid,) = identity.eids(identity.session_keys([path]))
        return [eid.decode()] if _has(sessions.column('id'), eid.decode()) else []
    is_there = pc.equal(sessions['lab'], lab)
    if below:
        is_there = pc.and_(is_there, pc.equal(sessions['subject'], below[0]))
    if len(below) > 1:
        is_there = pc.and_(is_there, pc.equal(sessions['date'], pa.scalar(Date.fromisoformat(below[1]))))
    if len(names) == 1:  # a lab, or a subject of a tree without labs
        is_there = pc.or_(is_there, pc.equal(sessions['lab'], names[0]))
    found: list[str] = sessions['id'].filter(is_there).to_pylist()
    return found


def _explain_none(tree: Tree, path: str, *, is_known: bool) -> None:
    """Refuse a folder in which no session is, unless it is clear why: they are gone, or there is none yet."""
    tally = Tally()
    names = path.split('/')
    for count in range(1, len(names) + 1):
        above = '/'.join(names[:count])
        try:
            with tree.open_folder('/'.join(names[: count - 1]), tally) as folder:
                kind = folder.kind_of(names[count - 1])
        except FileNotFoundError:
            if count == 1 and len(names) > 1 and is_known:
                raise EmptyTreeError(
                    f'{escape(tree.root)}: there is no {escape(above)}. Is a disk not mounted? The index '
                    'still has what it had'
                ) from None
            if is_known:
                return  # gone
            raise UsageError(
                f'{escape(path)}: there is no {escape(above)} in {escape(tree.root)}, and the index knows no '
                'session there'
            ) from None
        except OSError:
            return  # a problem of the discovery
        if kind != Kind.FOLDER:
            if is_known:
                return
            raise UsageError(
                f'{escape(above)}: this is a file: expected a lab, a subject, a date or a session'
            )
    if len(names) > 1 or is_known:
        return  # none yet
    below = list_folders(tree, path, tally)
    if 'Subjects' not in below and all(judge_date(name) for name in below):
        raise UsageError(
            f'{escape(path)}: this folder has neither Subjects nor a date in it: expected a lab, a '
            'subject, a date or a session'
        )


def _iter_problems(path: Path, below: Path) -> Iterator[Problem]:
    """Iterate over the problems in a file, as far as they are ours."""
    try:
        file = open_table(path, below=below)
    except InvalidIndexError:
        return
    with file:
        for line in file:
            try:
                found = json.loads(line)
                yield Problem(found['path'], Reason(found['reason']), found['errno'])
            except (ValueError, KeyError, TypeError):
                continue


def _session_key(path: str, identity: Identity) -> bytes:
    """Get the key of the session that a path lies in; b'' where it lies in none."""
    names = path.split('/')
    for count in (5, 3):
        session = '/'.join(names[:count])
        try:
            parse_session_path(session)
        except ValueError:
            continue
        return identity.session_keys([session])[0]
    return b''


def _has(eids: pa.ChunkedArray | Sequence[str], eid: str) -> bool:
    """Tell whether sorted eids have one."""

    def get(i: int) -> str:
        value = eids[i]
        return value if isinstance(value, str) else value.as_py()

    position = bisect_left(range(len(eids)), eid, key=get)
    return position < len(eids) and get(position) == eid

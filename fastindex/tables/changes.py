"""What has changed between two indexes: sessions and datasets that were added, removed or changed.

Both are sorted by the same ids, so they are compared in step, by columns: a row becomes an object only where
somebody wants to be told of it. Knows the paths of what has changed, and nothing of why.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import chain, islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from fastindex.lazy import pa, pc
from fastindex.records import Record
from fastindex.tables.check import Tables, open_tables
from fastindex.tables.compare import SortedTable, iter_unequal_tables
from fastindex.tables.file import TableFile
from fastindex.tables.merge import Row, find_session, iter_rows, keep_sessions
from fastindex.tables.moves import MAX_HELD, MAX_HELD_BYTES, Placed, find_moves
from fastindex.tables.paths import SESSION_COLUMNS

if TYPE_CHECKING:
    ToPaths = Callable[[Sequence[Row]], list[str]]
    """Gives the paths of sessions, relative to the root, by the `SESSION_COLUMNS` of their rows."""
    _Place = tuple[str, str | None]  # the path of a session, and the rel_path of a dataset
    _Told = tuple['RangeChanges', Sequence[bool], Sequence[_Place | None]]
    """A part; of its rows that are gone whether they have moved, and of its new ones where they were."""

__all__ = ['Change', 'ChangeKind', 'RangeChanges', 'iter_parts', 'list_columns', 'tell_changes']

T = TypeVar('T')


class ChangeKind(StrEnum):
    """What has become of a row."""

    ADDED = 'added'
    REMOVED = 'removed'
    CHANGED = 'changed'
    MOVED = 'moved'


class Change(Record):
    """A session or a dataset that is not as it was.

    Parameters
    ----------
    kind
        What has become of it.
    path
        Of the session, relative to the root; of the dataset too, where `rel_path` is there.
    rel_path
        Of the dataset, relative to the session; None for a session.
    before, after
        `file_size` in bytes, `xxh128` and `hash`, as far as both indexes have the column, and the two differ;
        `rel_path` where a file was renamed that carries its id in its name. Of what has moved, as its digest
        and size tell, `path` and `rel_path`.
    """

    kind: ChangeKind
    path: str
    rel_path: str | None = None
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None


class OwnedRows(NamedTuple):
    """Rows of one of the two indexes, in the order of the ids, with the sessions that they are of."""

    table: pa.Table
    sessions: pa.Table  # `SESSION_COLUMNS`
    counts: Sequence[int]  # how many rows there are of each of these sessions

    def spread(self, values: Iterable[T]) -> Iterator[T]:
        """Iterate over values of the sessions, each as often as there are rows of it."""
        return chain.from_iterable(map(repeat, values, self.counts))


class RangeChanges(NamedTuple):
    """What is not as it was in a range of the ids: all of it of sessions, or all of it of datasets."""

    of_sessions: bool
    digests: Sequence[str]  # the columns of digests that the datasets of both indexes have
    removed: OwnedRows
    added: OwnedRows
    changed: OwnedRows
    before: pa.Table  # what those that have changed were, row by row


def iter_parts(
    old: Tables, new: Path, *, below: Path, among: Sequence[str] | None = None
) -> Iterator[RangeChanges]:
    """Iterate over what has changed from one index to that in a folder, in the order of the ids.

    old: of ours, with rows that were checked
    new: folder with sessions.pqt and datasets.pqt of ours
    below: a folder from which on no link is followed
    among: sorted eids of the sessions that may have changed; the rows of others are not looked at
    """
    with open_tables(new, below=below) as after:
        both = old, after
        schemas = [tables.datasets.schema for tables in both]
        digests = [
            name
            for name in ('xxh128', 'hash')
            if all(name in schema.names and str(schema.field(name).type) == 'string' for schema in schemas)
        ]
        files = [tables.sessions for tables in both]
        for found in iter_unequal_tables(*(_sort(file, SESSION_COLUMNS, 1, among) for file in files)):
            removed, added = (OwnedRows(one, one, [1] * one.num_rows) for one in (found.removed, found.added))
            nothing = found.after.slice(0, 0)
            yield RangeChanges(True, digests, removed, added, OwnedRows(nothing, nothing, ()), nothing)
        owners = [_Owners(_sort(file, SESSION_COLUMNS, 1, among), file) for file in files]
        files = [tables.datasets for tables in both]
        columns = ['eid', 'id', 'rel_path', 'file_size', *digests]
        for found in iter_unequal_tables(*(_sort(file, columns, 2, among) for file in files)):
            (removed,) = owners[0].of(found.removed)
            added, changed = owners[1].of(found.added, found.after)
            yield RangeChanges(False, digests, removed, added, changed, found.before)


def list_columns(old: Tables, new: Path, *, below: Path, among: Sequence[str] | None = None) -> list[str]:
    """List the columns with something in them that the old index has not, or has otherwise, sorted.

    Digests that are left out are meant to be.

    old, new, below, among: as for `iter_parts`, which has found no change: both have the same rows
    """
    found = set()
    with open_tables(new, below=below) as after:
        for files in zip(old.both, after.both, strict=True):
            was, now = ({field.name: field.type for field in file.schema} for file in files)
            columns = [name for name in now if now[name] == was.get(name)]
            found |= {name for name in now if name not in columns and now[name] != pa.null()}
            sides = [_sort(file, columns, 1, among, nulls=columns) for file in files]
            while all(ahead := [side.peek() for side in sides]):
                count = min(rows.num_rows for rows in ahead if rows is not None)
                first, second = (rows.slice(0, count) for rows in ahead if rows is not None)
                found |= {name for name in columns if not first[name].equals(second[name])}
                for side in sides:
                    side.skip(count)
    return sorted(found)


def tell_changes(
    parts: Iterable[RangeChanges],
    to_paths: ToPaths,
    on_change: Callable[[Change], object] | None = None,
    on_part: Callable[[RangeChanges, Sequence[bool], Sequence[bool]], object] = lambda *_: None,
) -> Counter[tuple[bool, ChangeKind]]:
    """Tell datasets and sessions that are gone here and new there as moved, where they have digests.

    on_part: called with each part, and whether each row that is gone, and each new one, has moved; with two
        empty sequences where none has, or nothing tells
    Returns how many changes there are, of sessions or not, and of which kind.
    """
    counts: Counter[tuple[bool, ChangeKind]] = Counter()
    for part, gone, sources in _find_sources(parts, to_paths):
        on_part(part, gone, [source is not None for source in sources])
        for kind, count in (
            (ChangeKind.REMOVED, part.removed.table.num_rows - sum(gone)),
            (ChangeKind.ADDED, part.added.table.num_rows - len(sources) + sources.count(None)),
            (ChangeKind.MOVED, len(sources) - sources.count(None)),
            (ChangeKind.CHANGED, part.changed.table.num_rows),
        ):
            counts[part.of_sessions, kind] += count
        if on_change is not None:
            for change in _list_changes(part, gone, sources, to_paths):
                on_change(change)
    return counts


def _find_sources(parts: Iterable[RangeChanges], to_paths: ToPaths) -> Iterator[_Told]:
    """Iterate over the parts, with what of them has moved, once all are there; not if they are too many."""
    held: list[RangeChanges] = []
    rows = held_bytes = 0
    rest = iter(parts)
    for part in rest:
        held.append(part)
        for side in (part.removed, part.added):
            rows += side.table.num_rows
            held_bytes += side.table.nbytes
        if rows > MAX_HELD or held_bytes > MAX_HELD_BYTES or not part.digests:
            for one in chain(held, rest):
                yield one, (), ()
            return
    if held:
        yield from _with_moves(held, to_paths)


def _with_moves(parts: Sequence[RangeChanges], to_paths: ToPaths) -> Iterator[_Told]:
    numbers: dict[str, int] = {}  # of sessions, by their paths

    def number(rows: OwnedRows) -> list[int]:
        paths = to_paths(list(iter_rows(rows.sessions)))
        return [numbers.setdefault(path, len(numbers)) for path in paths]

    datasets = [part for part in parts if not part.of_sessions]
    gone = _place([part.removed for part in datasets], parts[0].digests, number)
    new = _place([part.added for part in datasets], parts[0].digests, number)
    new_sessions = frozenset(one for part in parts if part.of_sessions for one in number(part.added))
    paths = list(numbers)
    moves = find_moves(gone, new, paths, new_sessions)
    have_moved = frozenset(moves.datasets)
    passed = frozenset(moves.sessions.values())
    gone_rows, sources = iter(range(len(gone.session))), iter(moves.datasets)
    for part in parts:
        if part.of_sessions:
            sessions = (moves.sessions.get(one) for one in number(part.added))
            places = [None if one is None else (paths[one], None) for one in sessions]
            yield part, [one in passed for one in number(part.removed)], places
            continue
        places = [
            None if of < 0 else (paths[gone.session[of]], gone.name[of].as_py())
            for of in islice(sources, part.added.table.num_rows)
        ]
        yield part, [one in have_moved for one in islice(gone_rows, part.removed.table.num_rows)], places


def _place(
    sides: Sequence[OwnedRows], digests: Sequence[str], number: Callable[[OwnedRows], list[int]]
) -> Placed:
    session = array('q', chain.from_iterable(rows.spread(number(rows)) for rows in sides))
    if not session:
        return Placed(pa.nulls(0, pa.string()), session, pa.nulls(0, pa.string()))
    table = pa.concat_tables([rows.table for rows in sides])
    sizes = table['file_size'].cast(pa.string())
    content = pc.binary_join_element_wise(sizes, *(table[name] for name in digests), ' ')
    return Placed(content.combine_chunks(), session, table['rel_path'].combine_chunks())


def _list_changes(
    part: RangeChanges, gone: Sequence[bool], sources: Sequence[_Place | None], to_paths: ToPaths
) -> list[Change]:
    """List the changes of a part in the order of the ids, as objects."""
    columns = part.before.column_names
    found: list[tuple[Row, Change]] = []

    def iter_places(rows: OwnedRows) -> Iterator[tuple[Row, _Place]]:
        paths = rows.spread(to_paths(list(iter_rows(rows.sessions))))
        for row, path in zip(iter_rows(rows.table), paths, strict=True):
            yield row, (path, None if part.of_sessions else row[2])

    def values(row: Row, shown: Iterable[int]) -> dict[str, Any] | None:
        return None if part.of_sessions else {columns[i]: row[i] for i in shown}

    contents = range(3, len(columns))
    are_gone = gone or repeat(False)
    for (row, place), has_moved in zip(iter_places(part.removed), are_gone, strict=False):
        if not has_moved:
            found.append((row, Change(ChangeKind.REMOVED, *place, values(row, contents), None)))
    for (row, place), source in zip(iter_places(part.added), sources or repeat(None), strict=False):
        if source is None:
            change = Change(ChangeKind.ADDED, *place, None, values(row, contents))
        else:
            was, is_now = (dict(zip(('path', 'rel_path'), one, strict=True)) for one in (source, place))
            change = Change(ChangeKind.MOVED, *place, was, is_now)
        found.append((row, change))
    for (row, place), before in zip(iter_places(part.changed), iter_rows(part.before), strict=True):
        shown = [i for i in range(2, len(columns)) if before[i] != row[i]]
        found.append((row, Change(ChangeKind.CHANGED, *place, values(before, shown), values(row, shown))))
    return [change for _, change in sorted(found, key=lambda one: one[0][:2])]


def _sort(
    file: TableFile,
    columns: Sequence[str],
    keys: int,
    among: Sequence[str] | None,
    nulls: Sequence[str] = (),
) -> SortedTable:
    return SortedTable(_iter_tables(file, columns, among, nulls), keys, file.path)


def _iter_tables(
    file: TableFile, columns: Sequence[str], among: Sequence[str] | None, nulls: Sequence[str]
) -> Iterator[pa.Table]:
    """Iterate over the rows of a table, whose first column is an eid: of all sessions, or of some."""
    groups = None if among is None else _list_groups(file, columns[0], among)
    for _, found in file.iter_batches(columns, nulls=nulls, groups=groups, few=True):
        table = pa.table([found[name] for name in columns], names=list(columns))
        if among is not None:
            table = keep_sessions(table, among)
        yield table


def _list_groups(file: TableFile, column: str, among: Sequence[str]) -> list[int]:
    """List the row groups that may have rows of sessions, by what the footer says."""
    place = file.schema.get_field_index(column)
    found = []
    for group in range(file.footer.num_row_groups):
        bounds = file.footer.row_group(group).column(place).statistics
        start = bisect_left(among, bounds.min)
        if start < len(among) and among[start] <= bounds.max:
            found.append(group)
    return found


class _Owners:
    """The sessions of an index, which must be asked for in the order of their eids."""

    def __init__(self, sessions: SortedTable, file: TableFile) -> None:
        self._rows = sessions
        self._file = file

    def of(self, *tables: pa.Table) -> list[OwnedRows]:
        """Find the sessions of rows, which may be several tables of one range of the ids."""
        eids = pc.unique(
            pa.chunked_array([chunk for one in tables for chunk in one['eid'].chunks], pa.string())
        )
        found = []
        sessions = self._find(eids, max((one['eid'][-1].as_py() for one in tables if one), default=''))
        for table in tables:
            counts = pc.value_counts(table['eid'])
            there = pc.is_in(sessions['id'], value_set=counts.field(0))
            found.append(OwnedRows(table, sessions.filter(there), counts.field(1).to_pylist()))
        return found

    def _find(self, eids: pa.Array, last: str) -> pa.Table:
        """Find sessions, the last of which is known; forget those before it."""
        found = []
        while (rows := self._rows.peek()) is not None:
            found.append(rows.filter(pc.is_in(rows['id'], value_set=eids)))
            if rows['id'][-1].as_py() >= last:
                self._rows.skip(find_session(rows['id'], last))
                break
            self._rows.skip(rows.num_rows)
        if sum(rows.num_rows for rows in found) < len(eids):
            self._file.refuse('there are datasets of sessions that it does not have')
        return pa.concat_tables(found or [self._file.schema.empty_table().select(SESSION_COLUMNS)])

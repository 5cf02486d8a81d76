"""What has changed between two indexes: sessions and datasets that were added, removed or changed.

Both are sorted by the same ids, so they are compared in step. Knows the paths of what has changed, and
nothing of why.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastindex.tables.check import Tables, open_tables
from fastindex.tables.cut import cut_sessions
from fastindex.tables.file import TableFile
from fastindex.tables.merge import CHUNK_ROWS, LAST, Row, SortedRows, iter_rows, iter_unequal
from fastindex.tables.moves import MAX_HELD, Placed, find_moves
from fastindex.tables.paths import SESSION_COLUMNS, list_session_paths

if TYPE_CHECKING:
    from uuid import UUID

    import pyarrow as pa

    _ToPaths = Callable[[list[Row]], list[str]]

from fastindex.records import Record

__all__ = ['Change', 'ChangeKind', 'iter_changes', 'with_moves']


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


def iter_changes(
    old: Tables,
    new: Path,
    *,
    below: Path,
    namespace: UUID,
    root: Path | None = None,
    among: Sequence[str] | None = None,
) -> Iterator[Change]:
    """Iterate over what has changed from one index to that in a folder, in the order of the ids.

    old: of ours, with rows that were checked
    new: folder with sessions.pqt and datasets.pqt of ours
    below: a folder from which on no link is followed
    namespace, root: of the paths that are told. See `fastindex.tables.paths`.
    among: sorted eids of the sessions that may have changed; the rows of others are not looked at
    """
    with open_tables(new, below=below) as after:
        to_paths = partial(list_session_paths, namespace=namespace, root=root)
        yield from _iter_session_changes(old.sessions, after.sessions, to_paths, among)
        yield from _iter_dataset_changes(old, after, to_paths, among)


def _iter_session_changes(
    old: TableFile, new: TableFile, to_paths: _ToPaths, among: Sequence[str] | None
) -> Iterator[Change]:
    for before, after in _iter_pairs(old, new, SESSION_COLUMNS, 1, among):
        if before is None and after is not None:
            yield Change(ChangeKind.ADDED, to_paths([after])[0])
        elif after is None and before is not None:
            yield Change(ChangeKind.REMOVED, to_paths([before])[0])


def _iter_dataset_changes(
    old: Tables, new: Tables, to_paths: _ToPaths, among: Sequence[str] | None
) -> Iterator[Change]:
    schemas = [tables.datasets.schema for tables in (old, new)]
    digests = [
        name
        for name in ('xxh128', 'hash')
        if all(name in schema.names and str(schema.field(name).type) == 'string' for schema in schemas)
    ]
    columns = ['eid', 'id', 'rel_path', 'file_size', *digests]
    paths = [_Paths(tables.sessions, to_paths, among) for tables in (old, new)]
    for before, after in _iter_pairs(old.datasets, new.datasets, columns, 2, among):
        kind, row, shown = ChangeKind.CHANGED, after or before or (), list(range(3, len(columns)))
        if before is None or after is None:
            kind = ChangeKind.ADDED if before is None else ChangeKind.REMOVED
        else:
            shown = [i for i in range(2, len(columns)) if before[i] != after[i]]
        was, is_now = ({columns[i]: one[i] for i in shown} if one else None for one in (before, after))
        yield Change(kind, paths[after is not None].of(row[0]), row[2], was, is_now)


def with_moves(changes: Iterable[Change]) -> Iterator[Change]:
    """Tell datasets and sessions that are gone here and new there as moved, where they have digests."""
    held: list[Change] = []
    rest = iter(changes)
    for change in rest:
        held.append(change)
        if len(held) > MAX_HELD:
            yield from held
            yield from rest
            return
    sides: dict[ChangeKind, list[Placed]] = {ChangeKind.REMOVED: [], ChangeKind.ADDED: []}
    for change in held:
        values = change.before or change.after or {}
        if change.kind in sides and change.rel_path is not None and len(values) > 1:
            sides[change.kind].append(Placed(tuple(values.items()), change.path, change.rel_path))
    gone, new = sides.values()
    added = (one for one in held if one.kind is ChangeKind.ADDED and one.rel_path is None)
    moves = find_moves(gone, new, frozenset(one.path for one in added))
    of: dict[tuple[str, str | None], tuple[str, str | None]] = {
        new[to][1:]: gone[place][1:] for to, place in moves.datasets.items()
    }
    of |= {(to, None): (place, None) for to, place in moves.sessions.items()}
    passed = set(of.values())
    for change in held:
        place = change.path, change.rel_path
        if change.kind is ChangeKind.REMOVED and place in passed:
            continue
        if change.kind is ChangeKind.ADDED and place in of:
            was, is_now = (dict(zip(('path', 'rel_path'), one, strict=True)) for one in (of[place], place))
            yield Change(ChangeKind.MOVED, *place, was, is_now)
        else:
            yield change


def _iter_pairs(
    old: TableFile, new: TableFile, columns: Sequence[str], key_columns: int, among: Sequence[str] | None
) -> Iterator[tuple[Row | None, Row | None]]:
    """Iterate over the rows that are not the same in both, side by side; None where one has no such row."""
    rows = SortedRows(_iter_tables(old, columns, among), lambda row: row[:key_columns], old.path)
    for table in _iter_tables(new, columns, among):
        for start in range(0, table.num_rows, CHUNK_ROWS):
            part = table.slice(start, CHUNK_ROWS)
            (last,) = iter_rows(part.slice(part.num_rows - 1))
            yield from iter_unequal(rows, part, rows.key(last))
    yield from iter_unequal(rows, None, (LAST,))


def _iter_tables(file: TableFile, columns: Sequence[str], among: Sequence[str] | None) -> Iterator[pa.Table]:
    """Iterate over the rows of a table, whose first column is an eid: of all sessions, or of some."""
    import pyarrow as pa

    groups = None if among is None else _list_groups(file, columns[0], among)
    for _, found in file.iter_batches(columns, groups=groups):
        table = pa.table([found[name] for name in columns], names=list(columns))
        yield from [table] if among is None else cut_sessions(table, columns[0], among)[1]


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


class _Paths:
    """The paths of the sessions of an index, which must be asked for in the order of their eids."""

    def __init__(self, sessions: TableFile, to_paths: _ToPaths, among: Sequence[str] | None) -> None:
        rows = _iter_tables(sessions, SESSION_COLUMNS, among)
        self._rows = SortedRows(rows, lambda row: row[:1], sessions.path)
        self._to_paths = to_paths
        self._eid = self._path = ''

    def of(self, eid: str) -> str:
        if eid != self._eid:
            *_, row = self._rows.take_until((eid,))
            self._eid, (self._path,) = eid, self._to_paths([row])
        return self._path

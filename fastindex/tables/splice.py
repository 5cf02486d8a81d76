"""Rows of the published index that a run carries over, between those of the sessions that it has scanned.

The rows stay columns of Arrow, as they are in the published tables: a row group is cut where sessions are
left out or put in, and no row is looked at. What is written is then what a run that scanned all would write,
if nothing has changed in the sessions that are carried over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fastindex.errors import IdClashError, InvalidIndexError, UsageError
from fastindex.lazy import pa
from fastindex.names.given_ids import SeenIds
from fastindex.names.uuid_names import is_uuid
from fastindex.tables.check import Published
from fastindex.tables.columns import sum_bytes
from fastindex.tables.file import TABLES, GroupTable
from fastindex.tables.merge import CHUNK_ROWS, count_runs, drop_sessions, find_session, iter_in_order
from fastindex.tables.reuse import iter_folders, open_fingerprints
from fastindex.tables.schema import fingerprints_schema
from fastindex.tables.sources import DATASET_VALUES, SESSION_VALUES, is_default
from fastindex.text import escape

if TYPE_CHECKING:
    from fastindex.tables.write import PairWriter

__all__ = ['SCAN_ALL', 'Counts', 'Splice']

SCAN_ALL = 'leave `only`, `new` and `quick` out once, so that all sessions are looked at'


class Counts(NamedTuple):
    """How much is carried over."""

    sessions: int = 0
    datasets: int = 0
    bytes: int = 0
    kept: frozenset[str] = frozenset()  # columns with something in them that is in no tree


class Splice:
    """Writes what was scanned as `PairWriter` does, and in its places what is carried over.

    Raises UsageError if the new index has columns that the published one has not.

    published: the index that is there; its digest has been checked
    left_out: the eids of sessions that are not carried over, sorted; with '' what is known of dates is not
    are_unique: whether the ids are to be compared, as they are not made of paths
    """

    def __init__(
        self, writer: PairWriter, published: Published, left_out: Sequence[str], *, are_unique: bool = False
    ) -> None:
        self._writer = writer
        self._seen = SeenIds() if are_unique else None
        folder = published.folder
        tables = [GroupTable(folder / name, below=folder) for name in reversed(TABLES)]
        for table, names in zip(tables, writer.columns, strict=True):
            if table.footer.num_rows and table.schema.names != names:
                new = ', '.join(sorted({*table.schema.names} ^ {*names}))
                raise UsageError(f'{escape(folder)}: the index has no column {new} yet: ', hint=SCAN_ALL)
        sessions, datasets = tables
        self._marks = writer.marks
        fingerprints = open_fingerprints(folder, datasets) if self._marks else None
        self._sessions = _Rows(_iter_groups(sessions), left_out, sessions.path)
        self._datasets = _Rows(_iter_groups(datasets, fingerprints, self._marks), left_out, datasets.path)
        self._folders = _Rows(iter_folders(folder, datasets.generation), left_out, folder)
        pair = published.pair
        known = () if isinstance(pair, InvalidIndexError) else pair.facts.get('kept', ())
        self._kept = {name for name in known if name not in (*SESSION_VALUES, *DATASET_VALUES)}
        self._values = set(known) - self._kept

    def write(self, sessions: pa.Table, datasets: pa.Table, fingerprints: pa.Table | None = None) -> None:
        """Append rows to all tables, those that are carried over and come before them first."""
        for field in fingerprints.schema if fingerprints is not None else ():
            datasets = datasets.append_column(field, fingerprints[field.name])  # type: ignore[index]
        self._write(self._sessions.mix(sessions), self._datasets.mix(datasets))

    def finish(self) -> Counts:
        """Append the rest, and count what was carried over."""
        self._write(self._sessions.take_before(None), self._datasets.take_before(None))
        for rows in self._folders.take_before(None):
            self._writer.write_folders(rows)
        return Counts(
            self._sessions.count, self._datasets.count, self._datasets.total_bytes, frozenset(self._kept)
        )

    def _write(self, sessions: Iterator[pa.Table], datasets: Iterator[pa.Table]) -> None:
        for rows in _join_small(sessions):
            self._note_values(rows)
            self._writer.write(rows)
        for rows in _join_small(datasets):
            self._note_values(rows)
            if self._seen is not None:
                self._refuse_twins(rows.column('id').to_pylist())
            marks = rows.select(self._marks) if self._marks else None
            self._writer.write(None, rows.drop_columns(self._marks), marks)

    def write_folders(self, folders: pa.Table) -> None:
        """Append what tells the folders of sessions from others. See `PairWriter`."""
        for rows in _join_small(self._folders.mix(folders)):
            self._writer.write_folders(rows)

    def _note_values(self, rows: pa.Table) -> None:
        names = self._values.intersection(rows.column_names)
        found = {name for name in names if not is_default(rows[name], name)}
        self._kept |= found
        self._values -= found

    def _refuse_twins(self, ids: list[str]) -> None:
        assert self._seen is not None  # noqa: S101 - for the type checker
        for id in ids:
            if not self._seen.add(bytes.fromhex(id.replace('-', ''))):
                raise IdClashError(
                    f'{id} is in the names of two files, in a session that was looked at and in one that was '
                    'not, so which of them is indexed cannot be told: ',
                    hint=SCAN_ALL,
                )

    def refuse_heir(self, path: str) -> None:
        """Refuse to leave out a file that was not looked at, where no other one has its UUID any more."""
        id = path.rpartition('.')[0][-36:]
        if self._seen is not None and is_uuid(id) and self._seen.add(bytes.fromhex(id.replace('-', ''))):
            raise IdClashError(
                f'{escape(path)}: this file was left out as another one had its UUID, which is gone: ',
                hint=SCAN_ALL,
            )


class _Rows:
    """The rows of a sorted table that are carried over, taken from its start."""

    def __init__(self, groups: Iterator[pa.Table], left_out: Sequence[str], path: Path) -> None:
        self.count = self.total_bytes = 0
        self._parts = (drop_sessions(group, left_out) for group in iter_in_order(groups, path))
        self._next: pa.Table | None = None

    def mix(self, rows: pa.Table) -> Iterator[pa.Table]:
        """Iterate over rows that were scanned, and before each session over those that come before it."""
        start = 0
        for eid, count in count_runs(rows.column(0)):
            end = start + count
            for before in self.take_before(eid):
                if start:
                    yield rows.slice(0, start)
                    rows, start, end = rows.slice(start), 0, end - start
                yield before
            start = end
        if rows.num_rows:
            yield rows

    def take_before(self, eid: str | None) -> Iterator[pa.Table]:
        """Take the rows of the sessions before one; all that are left if None."""
        while (part := self._next or next(self._parts, None)) is not None:
            end = part.num_rows if eid is None else find_session(part.column(0), eid)
            self._next = part.slice(end) if end < part.num_rows else None
            if end:
                yield self._tally(part.slice(0, end))
            if self._next is not None:
                return

    def _tally(self, rows: pa.Table) -> pa.Table:
        self.count += rows.num_rows
        if 'rel_path' in rows.column_names:  # else it is of the sessions, whatever further columns it has
            self.total_bytes += sum_bytes(rows.column('file_size'))
        return rows


def _join_small(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Join tables of few rows, each of which takes as much memory as 50 rows, and as much time as 500."""
    waiting: list[pa.Table] = []
    rows = 0
    for table in tables:
        waiting.append(table)
        rows += table.num_rows
        if rows >= CHUNK_ROWS:
            yield pa.concat_tables(waiting).combine_chunks() if len(waiting) > 1 else table
            waiting, rows = [], 0
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()


def _iter_groups(
    table: GroupTable, fingerprints: GroupTable | None = None, marks: Sequence[str] = ()
) -> Iterator[pa.Table]:
    """Iterate over the row groups of a table, with fingerprints; what has none has the mark."""
    for group, count in enumerate(table.group_rows):
        rows = table.read(group).replace_schema_metadata(None)
        known: Any = None if fingerprints is None else fingerprints.read(group)
        for field in fingerprints_schema() if marks else ():
            column = pa.repeat(pa.scalar(0, field.type), count) if known is None else known[field.name]
            rows = rows.append_column(field, column)
        yield rows

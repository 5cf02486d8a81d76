"""What has changed between two indexes: sessions and datasets that were added, removed or changed.

Reads two pairs of tables in step, as both are sorted by the same ids: a block of rows that is equal in both
costs one comparison. Knows the paths of what has changed, and nothing of why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fastindex.checks import open_tables
from fastindex.errors import InvalidIndexError
from fastindex.ids import eid as eid_of
from fastindex.tablefile import open_table

if TYPE_CHECKING:
    from uuid import UUID

    import pyarrow as pa

__all__ = ['Change', 'Kind', 'iter_changes', 'read_facts']

BLOCK_ROWS = 2**12
"""Rows that are compared at once."""

_DIGESTS = ('xxh128', 'hash')


class Kind(StrEnum):
    """What has become of a row."""

    ADDED = 'added'
    REMOVED = 'removed'
    CHANGED = 'changed'


class Change(NamedTuple):
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
        `file_size` in bytes, `xxh128` and `hash`, as far as both indexes have them and they differ; for a
        dataset that is in one of them only, all that this one has.
    """

    kind: Kind
    path: str
    rel_path: str | None = None
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None


def read_facts(folder: Path) -> dict[str, Any] | None:
    """Read what the index in a folder says of itself; None where there is none of ours that is whole."""
    try:
        with open_tables(folder) as tables:
            return None if tables.generation is None else tables.datasets.facts
    except InvalidIndexError:
        return None


def iter_changes(old: Path, new: Path, *, namespace: UUID) -> Iterator[Change]:
    """Iterate over what has changed from the index in one folder to that in another, in the order of the ids.

    Parameters
    ----------
    old, new
        Folders with sessions.pqt and datasets.pqt of ours.
    namespace
        That of the eids.
    """
    with ExitStack() as files:
        yield from _iter_session_changes(_Side(old, files, namespace), _Side(new, files, namespace))
    with ExitStack() as files:
        yield from _iter_dataset_changes(_Side(old, files, namespace), _Side(new, files, namespace))


class _Side:
    """One of two indexes that are compared."""

    def __init__(self, folder: Path, files: ExitStack, namespace: UUID) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        def open_parquet(name: str) -> Any:
            file = files.enter_context(open_table(folder / name))
            return pq.ParquetFile(pa.PythonFile(file, 'r'), page_checksum_verification=True)

        datasets = open_parquet('datasets.pqt')
        self.digests = [
            name for name in _DIGESTS if name in datasets.schema_arrow.names
            and datasets.schema_arrow.field(name).type == pa.string()
        ]  # fmt: skip
        self.sessions = _Rows(open_parquet('sessions.pqt'), ['id', 'lab', 'subject', 'date', 'number'], 1)
        self.datasets = _Rows(datasets, ['eid', 'id', 'rel_path', 'file_size', *self.digests], 2)
        self._namespace = namespace
        self._path = ('', '')

    def path_of(self, eid: str) -> str:
        """Get the path of a session. Must be asked for in order."""
        if self._path[0] != eid:
            row = self.sessions.seek((eid,))
            self._path = eid, self.session_path(row)
        return self._path[1]

    def session_path(self, row: dict[str, Any]) -> str:
        above = f'{row["lab"]}/Subjects/' if row['lab'] else ''
        paths = [f'{above}{row["subject"]}/{row["date"]}/{row["number"]:0{digits}}' for digits in (3, 2, 1)]
        # The table has the number without its zeros; the eid tells which path it was made of.
        return next(
            (path for path in paths if str(eid_of(path, namespace=self._namespace)) == row['id']), paths[0]
        )


class _Rows:
    """The rows of a table from one place on, which only moves forward."""

    def __init__(self, table: Any, columns: list[str], key_columns: int) -> None:
        self._table = table
        self._columns = columns
        self._key = columns[:key_columns]
        self._groups = iter(range(table.num_row_groups))
        self._rows: pa.Table | None = None

    def peek(self, columns: Sequence[str]) -> pa.Table | None:
        """Get some columns of the next rows, at most `BLOCK_ROWS`; None at the end."""
        while self._rows is None or not self._rows.num_rows:
            group = next(self._groups, None)
            if group is None:
                return None
            rows = self._table.read_row_group(group, columns=self._columns, use_threads=False)
            self._rows = rows.replace_schema_metadata(None)
        return self._rows.slice(0, BLOCK_ROWS).select(columns)

    def pass_by(self, count: int) -> None:
        """Move on by so many rows, of those that were peeked at."""
        if self._rows is not None:
            self._rows = self._rows.slice(count)

    def next_rows(self) -> list[tuple[tuple[str, ...], dict[str, Any]]]:
        """Get the keys and the values of the next rows, at most `BLOCK_ROWS`; none at the end."""
        block = self.peek(self._columns)
        rows = block.to_pylist() if block is not None else []
        return [(tuple(row[name] for name in self._key), row) for row in rows]

    def seek(self, key: tuple[str, ...]) -> dict[str, Any]:
        """Move on to the row of a key."""
        while rows := self.next_rows():
            for place, (found, row) in enumerate(rows):
                if found >= key:
                    self.pass_by(place)
                    return row
            self.pass_by(len(rows))
        raise KeyError(key)


def _iter_pairs(
    old: _Rows, new: _Rows, columns: Sequence[str]
) -> Iterator[tuple[dict[str, Any] | None, dict[str, Any] | None]]:
    """Iterate over the rows that are not the same in both, side by side; None where one has no such row."""
    while True:
        before, after = old.peek(columns), new.peek(columns)
        if before is not None and after is not None:
            rows = min(before.num_rows, after.num_rows)
            if before.slice(0, rows).equals(after.slice(0, rows)):
                old.pass_by(rows)
                new.pass_by(rows)
                continue
        left, right = old.next_rows(), new.next_rows()
        if not (left or right):
            return
        i = j = 0
        while (i < len(left) or not left) and (j < len(right) or not right):
            if not right or (left and left[i][0] < right[j][0]):
                yield left[i][1], None
                i += 1
            elif not left or right[j][0] < left[i][0]:
                yield None, right[j][1]
                j += 1
            else:
                if any(left[i][1][name] != right[j][1][name] for name in columns):
                    yield left[i][1], right[j][1]
                i += 1
                j += 1
        old.pass_by(i)
        new.pass_by(j)


def _iter_session_changes(old: _Side, new: _Side) -> Iterator[Change]:
    for before, after in _iter_pairs(old.sessions, new.sessions, ['id']):
        if before is None and after is not None:
            yield Change(Kind.ADDED, new.session_path(after))
        elif before is not None:
            yield Change(Kind.REMOVED, old.session_path(before))


def _iter_dataset_changes(old: _Side, new: _Side) -> Iterator[Change]:
    columns = ['file_size', *(name for name in old.digests if name in new.digests)]
    for before, after in _iter_pairs(old.datasets, new.datasets, ['id', *columns]):
        if before is None and after is not None:
            values = {name: after[name] for name in ('file_size', *new.digests)}
            yield Change(Kind.ADDED, new.path_of(after['eid']), after['rel_path'], after=values)
        elif before is not None and after is None:
            values = {name: before[name] for name in ('file_size', *old.digests)}
            yield Change(Kind.REMOVED, old.path_of(before['eid']), before['rel_path'], before=values)
        elif before is not None and after is not None:
            names = [name for name in columns if before[name] != after[name]]
            yield Change(
                Kind.CHANGED,
                new.path_of(after['eid']),
                after['rel_path'],
                {name: before[name] for name in names},
                {name: after[name] for name in names},
            )

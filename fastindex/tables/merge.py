"""Compare the rows of an index with the rows of a scan, in step: both are in the same order.

Gives the rows that only one of the two has, or that differ. Leaves what became of a file to
`fastindex.jobs.verify.judge`. Where a shard is as the index says, which is nearly always, its columns are
compared as a whole, by Arrow; only where they differ are they gone through row by row. Memory is that of one
shard and one row group.

That rows are in order is checked as they pass: that a table is as it was written says its digest, and not who
wrote it, and of rows in another order some would be passed over, or waited for without an end.

What is sorted by sessions is also cut here: into the rows of some of them, and all others.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from fastindex.errors import InvalidIndexError
from fastindex.lazy import pa, pc
from fastindex.tables.file import AGAIN
from fastindex.text import escape

__all__ = [
    'CEILING',
    'CHUNK_ROWS',
    'FLOOR',
    'LAST',
    'Row',
    'SortedRows',
    'bring_together',
    'count_runs',
    'drop_sessions',
    'find_session',
    'iter_in_order',
    'iter_rows',
    'iter_unequal',
    'keep_sessions',
    'refuse_order',
]

LAST = '\U0010ffff'  # after every eid, be it a path
FLOOR, CEILING = b'', b'\xff' * 17
"""Before and after every key of a dataset within its session, be it 16 bytes of any kind or a path."""

CHUNK_ROWS = 4096  # rows that are gone through at once
Row = tuple[Any, ...]
"""Of sessions: `id`, and maybe more. Of datasets: `eid`, `rel_path`, `file_size`, and maybe a digest."""


class SortedRows:
    """The rows of a sorted table, which are taken away from its start.

    Its methods raise InvalidIndexError if the rows are not in the order of their keys.

    tables: of the same columns, one after the other
    keys: gives the keys of rows, by which the table is sorted; each begins with the first column. Of many
        rows at once, as some are computed
    path: the table, for messages
    """

    def __init__(
        self, tables: Iterator[pa.Table], keys: Callable[[list[Row]], list[Row]], path: Path
    ) -> None:
        self._tables = iter_in_order(tables, path)
        self._keys = keys
        self._path = path
        self._rest: pa.Table | None = None
        self._last: Row = ()
        self._repeated: list[tuple[Row, int]] = []

    def peek(self, count: int) -> pa.Table | None:
        """Look at the next `count` rows, or as many as there are; None where there is none."""
        while self._rest is None or self._rest.num_rows < count:
            more = next(self._tables, None)
            if more is None:
                break
            self._rest = pa.concat_tables([self._rest, more]) if self._rest else more
        return self._rest.slice(0, count) if self._rest else None

    def take_equal(self, found: pa.Table) -> bool:
        """Take the next rows away if their first columns are those of `found`; tell whether they are."""
        if not found.num_rows:
            return True
        ahead = self.peek(found.num_rows)
        if ahead is None or any(not ahead.column(i).equals(column) for i, column in enumerate(found.columns)):
            return False
        self._skip(found.num_rows)
        self._pass(self.last_key(ahead))
        return True

    def keys_of(self, rows: pa.Table) -> Iterator[tuple[Row, Row]]:
        """Iterate over rows, each after its key."""
        listed = list(iter_rows(rows))
        return zip(self._keys(listed), listed, strict=True)

    def last_key(self, rows: pa.Table) -> Row:
        """Get the key of the last of some rows."""
        ((key, _),) = self.keys_of(rows.slice(rows.num_rows - 1))
        return key

    def take_until(self, end: Row) -> Iterator[tuple[Row, Row]]:
        """Take rows away up to that of the key `end`, itself included; iterate over keys and rows.

        Each key comes once: see `take_repeated`.
        """
        count = 1  # most often not even the next one is to be taken
        while (chunk := self.peek(count)) is not None:
            rows = list(self.keys_of(chunk))
            for i, (key, row) in enumerate(rows):
                if key > end:
                    self._skip(i)
                    return
                if key == self._last:
                    self._repeat(row)
                    continue
                self._pass(key)
                yield key, row
            self._skip(len(rows))
            count = min(2 * count, CHUNK_ROWS)  # at most as many rows are looked at in vain as are taken

    def take_repeated(self) -> list[tuple[Row, int]]:
        """Take away what has had the key of the row before it: one row of each, and how many there are."""
        found, self._repeated = self._repeated, []
        return found

    def _repeat(self, row: Row) -> None:
        count = 1
        if self._repeated and self._repeated[-1][0][:2] == row[:2]:
            _, count = self._repeated.pop()
        self._repeated.append((row, count + 1))

    def _pass(self, key: Row) -> None:
        if key < self._last:
            refuse_order(self._path)
        self._last = key

    def _skip(self, count: int) -> None:
        if self._rest is not None:
            self._rest = self._rest.slice(count)


def iter_in_order(tables: Iterator[pa.Table], path: Path) -> Iterator[pa.Table]:
    """Iterate over tables whose rows are to ascend by their first column, also from one to the next.

    Raises InvalidIndexError if they do not; `path` names the table.
    """
    last = None
    for table in tables:
        if table.num_rows:
            values = table.column(0)
            is_descent = pc.greater(values[:-1], values[1:])
            if (last is not None and values[0].as_py() < last) or pc.any(is_descent, min_count=0).as_py():
                refuse_order(path)
            last = values[-1].as_py()
        yield table


def refuse_order(path: Path) -> NoReturn:
    """Raise: the rows of a table are not sorted."""
    raise InvalidIndexError(f'{escape(path)}: its rows are not in the order of their ids. {AGAIN}')


def iter_rows(table: pa.Table) -> Iterator[Row]:
    """Iterate over the rows of a table as tuples."""
    return zip(*(column.to_pylist() for column in table.columns), strict=True)


def iter_unequal(
    expected: SortedRows, found: pa.Table | None, end: Row
) -> Iterator[tuple[Row | None, Row | None]]:
    """Compare rows up to that of the key `end`, which is no smaller than any in `found`.

    found: the first of the columns that `expected` has, in the same order of rows; None for no row
    Yields rows that differ; None where one of the two has none of that key.
    """
    rows = expected.take_until(end)
    if found is None or expected.take_equal(found):
        yield from ((row, None) for _, row in rows)
        return
    nothing: tuple[Row | None, Row | None] = (None, None)
    row_key, row = next(rows, nothing)
    for key, other in expected.keys_of(found):
        while row_key is not None and row_key < key:
            yield row, None
            row_key, row = next(rows, nothing)
        if row is None or row_key != key:
            yield None, other
            continue
        if row[: len(other)] != other:
            yield row, other
        row_key, row = next(rows, nothing)
    while row is not None:
        yield row, None
        row_key, row = next(rows, nothing)


def keep_sessions(rows: pa.Table, eids: Sequence[str]) -> pa.Table:
    """Keep the rows of the sessions, by their first column, that are among sorted eids."""
    near = _find_near(rows.column(0), eids)
    return rows.filter(pc.is_in(rows.column(0), value_set=near)) if near else rows.slice(0, 0)


def drop_sessions(rows: pa.Table, eids: Sequence[str]) -> pa.Table:
    """Keep the rows of the sessions, by their first column, that are not among sorted eids."""
    near = _find_near(rows.column(0), eids)
    return rows.filter(pc.invert(pc.is_in(rows.column(0), value_set=near))) if near else rows


def _find_near(owners: pa.ChunkedArray, eids: Sequence[str]) -> pa.Array:
    """Find those of sorted eids that may be in a column, which may be many: no slice is made for each."""
    if not len(owners):
        return pa.array([], owners.type)
    first, last = owners[0].as_py(), owners[-1].as_py()
    return pa.array(eids[bisect_left(eids, first) : bisect_right(eids, last)], owners.type)


def find_session(owners: pa.ChunkedArray, eid: str) -> int:
    """Find the first row of a session in a sorted column, or where it would be."""
    return bisect_left(range(len(owners)), eid, key=lambda i: owners[i].as_py())


def count_runs(column: pa.ChunkedArray) -> Iterator[tuple[str, int]]:
    """Iterate over the values of a column, with how many rows in a row have each."""
    runs = pc.run_end_encode(column.cast(pa.string()).combine_chunks())
    counts = (end - start for start, end in pairwise([0, *runs.run_ends.to_pylist()]))
    return zip(runs.values.to_pylist(), counts, strict=True)


def bring_together(rows: pa.Table, column: str) -> tuple[pa.Table, dict[str, tuple[int, int]]]:
    """Bring the rows of each session together; give the position of the first, and how many there are.

    column: of the sessions, as a dictionary; it is dropped. Those of a session stay in their order
    """
    sessions, rows = rows[column].combine_chunks(), rows.drop_columns([column])
    if not len(sessions):
        return rows, {}
    codes = sessions.indices
    if pc.any(pc.greater(codes[:-1], codes[1:])).as_py():
        order = pc.array_sort_indices(codes)  # stable
        rows, codes = rows.take(order).combine_chunks(), codes.take(order)
    counts = pc.value_counts(codes)
    ends = pc.cumulative_sum(counts.field('counts'))
    starts = pc.subtract(ends, counts.field('counts'))
    owners = sessions.dictionary.take(counts.field('values')).to_pylist()
    spans = zip(starts.to_pylist(), counts.field('counts').to_pylist(), strict=True)
    return rows, dict(zip(owners, spans, strict=True))

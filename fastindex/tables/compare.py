"""Compare two tables that are sorted by the same ids, by columns: what only one has, and what differs.

A block of each is held at a time. No row is made an object of Python: where all rows differ, a comparison
takes little longer than where none does. Knows nothing of what the rows mean.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from fastindex.lazy import pa, pc
from fastindex.tables.merge import iter_in_order, iter_rows, refuse_order

__all__ = ['SortedTable', 'Unequal', 'iter_unequal_tables']


class Unequal(NamedTuple):
    """What is not the same in a range of keys; each part in the order of the keys."""

    removed: pa.Table  # rows that only the first table has
    added: pa.Table  # those that only the second one has
    before: pa.Table  # rows of the first table whose values differ from those of
    after: pa.Table  # the second one, row by row


class SortedTable:
    """The rows of a table, which are taken away from its start, a block at a time.

    tables: of the same columns, one after the other
    keys: how many of the first columns the rows are sorted by, and told from each other
    path: the table, for messages
    """

    def __init__(self, tables: Iterator[pa.Table], keys: int, path: Path) -> None:
        self._tables = iter_in_order(tables, path)
        self._keys = keys
        self._path = path
        self._rest: pa.Table | None = None

    def peek(self) -> pa.Table | None:
        """Look at the next rows; None where there is none."""
        while not self._rest:
            self._rest = next(self._tables, None)
            if self._rest is None:
                return None
        return self._rest

    def skip(self, count: int) -> None:
        """Take rows away."""
        if self._rest is not None:
            self._rest = self._rest.slice(count)

    def take_until(self, end: tuple[str, ...]) -> pa.Table:
        """Take the rows away that were looked at, up to that of the key `end`, itself included."""
        rows = self._rest
        assert rows is not None  # noqa: S101 - for the type checker
        count = bisect_right(range(rows.num_rows), end, key=lambda i: self.key(rows, i))
        self.skip(count)
        return rows.slice(0, count)

    def key(self, rows: pa.Table, row: int) -> tuple[str, ...]:
        """Get the key of a row."""
        (key,) = iter_rows(rows.select(range(self._keys)).slice(row, 1))
        return key

    def keys_of(self, rows: pa.Table) -> pa.Array:
        """Get the keys of rows, each as one text. Raises InvalidIndexError if they do not ascend."""
        keys = rows.column(0)
        for i in range(1, self._keys):
            keys = pc.binary_join_element_wise(keys, rows.column(i), '\0')
        keys = keys.combine_chunks()
        if not pc.all(pc.less(keys[:-1], keys[1:]), min_count=0).as_py():
            refuse_order(self._path)
        return keys


def iter_unequal_tables(first: SortedTable, second: SortedTable) -> Iterator[Unequal]:
    """Iterate over what differs, in the order of the keys; the columns of both are the same."""
    sides = first, second
    while True:
        ahead = [side.peek() for side in sides]
        there = [rows for rows in ahead if rows is not None]
        if not there:
            return
        count = min(rows.num_rows for rows in there)
        if len(there) == 2 and there[0].slice(0, count).equals(there[1].slice(0, count)):
            first.skip(count)
            second.skip(count)
            continue
        end = min(first.key(rows, rows.num_rows - 1) for rows in there)
        parts = [
            there[0].slice(0, 0) if rows is None else side.take_until(end)
            for side, rows in zip(sides, ahead, strict=True)
        ]
        yield _compare(parts, [side.keys_of(part) for side, part in zip(sides, parts, strict=True)])


def _compare(parts: Sequence[pa.Table], keys: Sequence[pa.Array]) -> Unequal:
    are_there = [pc.is_in(keys[i], value_set=keys[1 - i]) for i in (0, 1)]
    removed, added = (part.filter(pc.invert(mask)) for part, mask in zip(parts, are_there, strict=True))
    before, after = (part.filter(mask) for part, mask in zip(parts, are_there, strict=True))
    differ = None
    for one, other in zip(before.columns, after.columns, strict=True):
        unequal = pc.or_(
            pc.fill_null(pc.not_equal(one, other), False), pc.xor(pc.is_null(one), pc.is_null(other))
        )
        differ = unequal if differ is None else pc.or_(differ, unequal)
    return Unequal(removed, added, before.filter(differ), after.filter(differ))

"""Cut rows that are sorted by sessions into those of some sessions, and those of all others."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from fastindex.lazy import pa

__all__ = ['cut_sessions', 'find_session']


def cut_sessions(rows: pa.Table, column: str, eids: Sequence[str]) -> tuple[list[pa.Table], list[pa.Table]]:
    """Cut a table into slices: of the sessions that are not among sorted eids, and of those that are."""
    others: list[pa.Table] = []
    found: list[pa.Table] = []
    if not rows.num_rows:
        return others, found
    last = rows.column(column)[-1].as_py()
    start = 0
    for i in range(bisect_left(eids, rows.column(column)[0].as_py()), len(eids)):
        if eids[i] > last:
            break
        end = find_session(rows, column, eids[i], start)
        after = find_session(rows, column, eids[i], end, is_after=True)
        others += [rows.slice(start, end - start)] * (end > start)
        found += [rows.slice(end, after - end)] * (after > end)
        start = after
    others += [rows.slice(start)] * (start < rows.num_rows)
    return others, found


def find_session(rows: pa.Table, column: str, eid: str, start: int = 0, *, is_after: bool = False) -> int:
    """Find the first row of a session, or where it would be; or the first one after it."""
    values = rows.column(column)
    find = bisect_right if is_after else bisect_left
    return find(range(len(values)), eid, lo=start, key=lambda i: values[i].as_py())

"""Cut rows that are sorted by sessions: those of some sessions, or of all others."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from fastindex.lazy import pa, pc

__all__ = ['drop_sessions', 'find_session', 'keep_sessions']


def keep_sessions(rows: pa.Table, column: str, eids: Sequence[str]) -> pa.Table:
    """Keep the rows of the sessions that are among sorted eids."""
    near = _find_near(rows, column, eids)
    return rows.filter(pc.is_in(rows[column], value_set=near)) if near else rows.slice(0, 0)


def drop_sessions(rows: pa.Table, column: str, eids: Sequence[str]) -> pa.Table:
    """Keep the rows of the sessions that are not among sorted eids."""
    near = _find_near(rows, column, eids)
    return rows.filter(pc.invert(pc.is_in(rows[column], value_set=near))) if near else rows


def _find_near(rows: pa.Table, column: str, eids: Sequence[str]) -> pa.Array:
    """Find those of sorted eids that may be in a table, which may be many: no slice is made for each."""
    values = rows[column]
    if not rows.num_rows:
        return pa.array([], values.type)
    first, last = values[0].as_py(), values[-1].as_py()
    return pa.array(eids[bisect_left(eids, first) : bisect_right(eids, last)], values.type)


def find_session(rows: pa.Table, column: str, eid: str) -> int:
    """Find the first row of a session, or where it would be."""
    values = rows.column(column)
    return bisect_left(range(len(values)), eid, key=lambda i: values[i].as_py())

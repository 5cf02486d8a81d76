"""The datasets of a shard as columns, and as rows of the tables.

The columns grow in the order of the listings, session by session, and are sorted once at the end. Leaves
walking and measuring to `fastindex.pipeline.walk`, and what a table looks like to `fastindex.tables.schema`.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from datetime import date as Date  # noqa: N812 - `date` is the word for the folder
from functools import lru_cache
from itertools import accumulate, islice, pairwise
from operator import eq
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from fastindex.lazy import pa
from fastindex.names.alf import list_old_revisions, split_session_path
from fastindex.names.ids import Identity, Text
from fastindex.tables.schema import boolean_column, datasets_schema, make_batch, qc_column, sessions_schema
from fastindex.trees import Measures

if TYPE_CHECKING:
    from fastindex.pipeline.session_info import SessionInfo
    from fastindex.trees.digests import Digests
    from fastindex.trees.fingerprints import Fingerprint

__all__ = [
    'NO_DIGEST',
    'Rows',
    'SessionRows',
    'datasets_rows',
    'sessions_rows',
    'sort_rows',
    'to_hex_digests',
]

NO_DIGEST = bytes(16)
"""In the place of a digest that is to be filled in later, that of a big file; or that there is none, as the
object is archived: then it is null in the table."""
_EPOCH = Date(1970, 1, 1).toordinal()


@lru_cache(10_000)
def _day(date: str) -> int:
    """Count the days from 1970-01-01 to a date folder's."""
    return Date.fromisoformat(date).toordinal() - _EPOCH


class SessionRows(NamedTuple):
    """A session that was scanned, and which of the rows are its own: those after the session's before it."""

    key: bytes
    datasets: int  # how many it has
    problem_end: int  # where its problems end in the tally of the shard
    has_revisions: bool


class Rows:
    """Columns with an element a dataset; those of digests and fingerprints may be empty.

    paths: relative to their sessions, as the file system has them: with the UUID where names carry one
    sizes: in bytes
    """

    __slots__ = ('digests', 'fingerprints', 'paths', 'sizes')

    def __init__(
        self,
        paths: Iterable[bytes] = (),
        sizes: Iterable[int] = (),
        digests: Iterable[Digests | None] = (),
        fingerprints: Iterable[Fingerprint] = (),
    ) -> None:
        self.paths = list(paths)
        self.sizes = list(sizes)
        self.digests = list(digests)
        self.fingerprints = list(fingerprints)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def columns(self) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
        return self.paths, self.sizes, self.digests, self.fingerprints

    def add(self, paths: Sequence[bytes], measures: Measures) -> None:
        """Append what was measured; where something stood in the way of a file, it has no row."""
        if measures.wrong:
            paths = [path for position, path in enumerate(paths) if position not in measures.wrong]
        self.paths += paths
        self.sizes += measures.sizes
        self.digests += measures.digests
        self.fingerprints += measures.fingerprints

    def select(self, order: Iterable[int]) -> Self:
        """Get some rows, in this order."""
        order = list(order)
        return type(self)(*(map(column.__getitem__, order) if column else () for column in self.columns))

    def take(self, first: int) -> Self:
        """Take the rows from `first` on out."""
        taken = type(self)(*(column[first:] for column in self.columns))
        for column in self.columns:
            del column[first:]
        return taken

    def drop(self, row: int) -> None:
        """Drop one row."""
        for column in self.columns:
            if column:
                del column[row]


def sort_rows(keys: list[bytes], counts: Sequence[int]) -> tuple[list[int], list[bytes], Sequence[int]]:
    """Sort the datasets of each session by their keys: get their rows and keys in that order, and the counts.

    Of those of a session that have one key, one is left: a folder that changes may list a name twice.
    """
    order: list[int] = []
    end = 0
    key_of = keys.__getitem__
    for count in counts:
        start, end = end, end + count
        order += sorted(range(start, end), key=key_of)
    in_order = list(map(key_of, order))
    if not any(map(eq, in_order, islice(in_order, 1, None))):
        return order, in_order, counts
    rows = iter(order)
    once: list[list[int]] = []
    for count in counts:
        part = list(islice(rows, count))
        once.append(part[:1] + [row for before, row in pairwise(part) if keys[row] != keys[before]])
    order = [row for part in once for row in part]
    return order, list(map(key_of, order)), [len(part) for part in once]


def sessions_rows(
    identity: Identity, keys: list[bytes], lab: str | None, infos: Mapping[bytes, SessionInfo | None]
) -> pa.RecordBatch:
    """Make rows of sessions.pqt; `lab` instead of what the tree says, if not None.

    infos: what files say of sessions, by their keys, as far as they were read
    """
    parts = [split_session_path(identity.session_path(key)) for key in keys]
    told = [infos.get(key) for key in keys] if infos else [None] * len(keys)
    columns = [
        Text.join(identity.eids(keys)),
        Text.join([(part[0] if lab is None else lab).encode() for part in parts]),
        Text.join([part[1].encode() for part in parts]),
        array('i', [_day(part[2]) for part in parts]),
        array('H', [int(part[3]) for part in parts]),
        Text.join([info.task_protocol.encode() if info else b'' for info in told]),
        Text.join([info.projects.encode() if info else b'' for info in told]),
    ]
    return make_batch(sessions_schema(), columns)


def datasets_rows(
    identity: Identity,
    sessions: Sequence[SessionRows],
    ids: Text,
    rows: Rows,
    hex_digests: dict[str, bytes],
) -> pa.RecordBatch:
    """Make rows of datasets.pqt, in the order of `rows`, which is sorted.

    hex_digests: for each algorithm those of all rows in one piece, 32 hex digits each
    """
    counts = [session.datasets for session in sessions]
    rel_paths = identity.rel_paths(rows.paths)
    columns = [
        Text.repeat(identity.eids([session.key for session in sessions]), counts),
        ids,
        Text.join(rel_paths),
        array('Q', rows.sizes),
        Text.cut(hex_digests['md5'], 32) if 'md5' in hex_digests else pa.nulls(len(rows)),
        boolean_column(len(rows)),
        qc_column(array('b', bytes(len(rows)))),
        boolean_column(len(rows), false=_list_old_revisions(sessions, counts, rel_paths)),
    ]
    if 'xxh128' in hex_digests:
        columns.append(Text.cut(hex_digests['xxh128'], 32))
    return make_batch(datasets_schema(tuple(hex_digests)), columns)


def _list_old_revisions(
    sessions: Sequence[SessionRows], counts: list[int], rel_paths: list[bytes]
) -> list[int]:
    """List the rows that the client does not load where no revision is asked for."""
    if not any(session.has_revisions for session in sessions):
        return []
    old_rows = []
    for session, end in zip(sessions, accumulate(counts), strict=True):
        if session.has_revisions:
            start = end - session.datasets
            paths = [path.decode() for path in rel_paths[start:end]]
            old_rows += [start + old for old in list_old_revisions(paths)]
    return old_rows


def to_hex_digests(digests: Sequence[Digests | None], algorithms: Sequence[str]) -> dict[str, bytes]:
    """Write digests in hex digits: for each algorithm those of all rows in one piece, 32 digits each."""
    return {
        name: b''.join([row[i] if row else NO_DIGEST for row in digests]).hex().encode()
        for i, name in enumerate(algorithms)
    }

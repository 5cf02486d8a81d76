"""Keep the ids of other tables (an Alyx database's, the client's own) for what they know.

Gives an identity that names sessions and datasets as those tables do, and all others as we do. A session is
known by lab, subject, date and number, a dataset by its session and rel_path.
"""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from fastindex.errors import IdClashError
from fastindex.names.alf import SessionParts, parse_session_path
from fastindex.names.identity import AdoptedIdentity
from fastindex.names.ids import eid
from fastindex.pipeline.discover import Discovery
from fastindex.tables.check import check_pair
from fastindex.tables.file import open_table
from fastindex.tables.paths import SESSION_COLUMNS, write_paths
from fastindex.text import escape

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ['AdoptedIds']


class AdoptedIds:
    """The ids of tables, 100 bytes a dataset in memory.

    Parameters
    ----------
    folder
        Where their sessions.pqt and datasets.pqt are.
    namespace
        Of the eids of sessions that are not in them.

    Raises
    ------
    InvalidIndexError
        If they are not fit to be read. See `fastindex.open`.
    IdClashError
        If they have an id twice.
    """

    def __init__(self, folder: Path, namespace: bytes) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        check_pair(folder)
        self._folder = folder
        sessions = self._read('sessions.pqt', SESSION_COLUMNS)
        self.identity = AdoptedIdentity(namespace, _eids_by_parts(sessions, UUID(bytes=namespace)), {})
        datasets = self._read('datasets.pqt', ['eid', 'id', 'rel_path'])
        counts = pc.value_counts(datasets.column('id').combine_chunks())
        twice = counts.filter(pc.greater(counts.field('counts'), pa.scalar(1)))
        if len(twice):
            raise IdClashError(
                f'{escape(os.fspath(folder))}: {len(twice):,} ids stand for more than one dataset, such as '
                f'{twice[0]["values"]} for {twice[0]["counts"]}: expected one each. ',
                hint='Leave `ids_from` out (where these tables are to be replaced, `force` does it): '
                "fastindex makes ids that stay (those of the client's own builder do not)",
            )
        self._datasets = datasets.sort_by('eid')
        self._eids = self._datasets.column('eid').combine_chunks()

    def for_shard(self, keys: Iterable[bytes]) -> AdoptedIdentity:
        """Get the identity for a shard: it knows the datasets of these sessions only."""
        ids: dict[bytes, bytes] = {}
        for key in keys:
            owner = str(UUID(bytes=key[:16]))
            rows = range(len(self._eids))
            start = bisect_left(rows, owner, key=lambda row: self._eids[row].as_py())
            end = bisect_right(rows, owner, lo=start, key=lambda row: self._eids[row].as_py())
            part = self._datasets.slice(start, end - start).select(['id', 'rel_path'])
            for id, rel_path in _iter_rows(part):
                ids[key[:16] + rel_path.encode()] = UUID(id).bytes
        return self.identity._replace(eids_by_parts={}, ids_by_name=ids)

    def settle(self, found: Discovery) -> Discovery:
        """Tell folders of one number apart, `001` and `1`: tables know the number alone.

        The id is kept for the folder that the client looks for, or the one that is most like it. The others
        get ours.

        Raises
        ------
        IdClashError
            If two other sessions have one eid.
        """
        ours: set[str] = set()
        for id, keys in groupby(found.iter_keys(), key=lambda key: key[:16]):
            first, *others = map(self.identity.session_path, keys)  # 001 comes before 01 and 1
            for path in others:
                if parse_session_path(path) != parse_session_path(first):
                    raise IdClashError(
                        f'{escape(first)} and {escape(path)} have the same eid {UUID(bytes=id)} by '
                        f'{escape(os.fspath(self._folder))}: ',
                        hint='rename one of them, or leave `ids_from` out',
                    )
                ours.add(path)
        if not ours:
            return found
        paths = [self.identity.session_path(key) for key in found.iter_keys()]
        self.identity = self.identity._replace(ours=self.identity.ours | ours)
        return self.settle(found.renamed(self.identity, paths))

    def _read(self, name: str, columns: Sequence[str]) -> pa.Table:
        """Read some columns, be they columns or index of a data frame; texts that are not there are ''."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        with open_table(self._folder / name) as file:
            table = pq.ParquetFile(pa.PythonFile(file, 'r'), page_checksum_verification=True)
            there = [column for column in columns if column in table.schema_arrow.names]
            rows = table.read(columns=there, use_threads=False)
        for column in columns:
            if column not in there:
                rows = rows.append_column(column, pa.array([''] * rows.num_rows, pa.string()))
        return rows.select(list(columns))


def _eids_by_parts(sessions: pa.Table, namespace: UUID) -> dict[SessionParts, bytes]:
    """Get the eid to keep of each number: of several, one that is not made of the path of another folder."""
    eids: dict[SessionParts, bytes] = {}
    for row in _iter_rows(sessions):
        parts, id = SessionParts(*row[1:]), UUID(row[0]).bytes
        if parts in eids:
            made = [eid(path, namespace=namespace).bytes for path in write_paths(row)]
            id = min(eids[parts], id, key=lambda one: made.index(one) if one in made else -1)
        eids[parts] = id
    return eids


def _iter_rows(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    return zip(*(column.to_pylist() for column in table.columns), strict=True)

"""Keep the ids of other tables (an Alyx database's, the client's own) for what they know.

Gives an identity that names sessions and datasets as those tables do, and all others as we do. A session is
known by lab, subject, date and number, a dataset by its session and rel_path.
"""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from fastindex.errors import IdClashError
from fastindex.names.alf import SessionParts
from fastindex.tables.check import check_pair
from fastindex.tables.file import open_table
from fastindex.text import escape

if TYPE_CHECKING:
    import pyarrow as pa

from fastindex.names.identity import AdoptedIdentity

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
        sessions = self._read('sessions.pqt', ['id', 'lab', 'subject', 'date', 'number'])
        eids = {SessionParts(*row): UUID(eid).bytes for eid, *row in _iter_rows(sessions)}
        self.identity = AdoptedIdentity(namespace, eids, {})
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
            eid = str(UUID(bytes=key[:16]))
            rows = range(len(self._eids))
            start = bisect_left(rows, eid, key=lambda row: self._eids[row].as_py())
            end = bisect_right(rows, eid, lo=start, key=lambda row: self._eids[row].as_py())
            part = self._datasets.slice(start, end - start).select(['id', 'rel_path'])
            for id, rel_path in _iter_rows(part):
                ids[key[:16] + rel_path.encode()] = UUID(id).bytes
        return self.identity._replace(eids_by_parts={}, ids_by_name=ids)

    def iter_unique(self, keys: Iterable[bytes]) -> Iterator[bytes]:
        """Iterate over the sorted keys of the sessions of a tree.

        Raises
        ------
        IdClashError
            If two sessions have one eid.
        """
        last = b''
        for key in keys:
            if key[:16] == last[:16]:
                paths = ' and '.join(escape(self.identity.session_path(one)) for one in (last, key))
                raise IdClashError(
                    f'{paths} have the same eid {UUID(bytes=key[:16])} by '
                    f'{escape(os.fspath(self._folder))}: ',
                    hint='rename one of them, or leave `ids_from` out',
                )
            last = key
            yield key

    def _read(self, name: str, columns: list[str]) -> pa.Table:
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
        return rows.select(columns)


def _iter_rows(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    return zip(*(column.to_pylist() for column in table.columns), strict=True)

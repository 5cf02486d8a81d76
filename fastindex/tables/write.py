"""Write rows, in order, into a pair of Parquet files, and the fingerprints.

Memory is that of one row group, whatever the size of the tree. Row groups have a fixed number of rows, so
that the bytes do not depend on how the sessions were cut into shards. The *generation*, which both files
carry, is the XXH3-128 of all their row groups: the same rows are the same generation.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from fastindex import limits
from fastindex.errors import InvalidIndexError, PublishError
from fastindex.folders import OpenFolder
from fastindex.lazy import pa, pq
from fastindex.system import read_at
from fastindex.tables.file import UNREAD, TableFile
from fastindex.tables.reuse import FINGERPRINTS, FOLDERS
from fastindex.tables.schema import (
    datasets_schema,
    fingerprints_schema,
    folders_schema,
    one_metadata,
    pandas_metadata,
    sessions_schema,
)

__all__ = ['PairWriter']

ROW_GROUP_ROWS = limits.BATCH_ROWS
"""8 MB of datasets in memory, 1.5 MB in the file: small enough that a reader can skip most of them."""


class PairWriter:
    """Writes sessions.pqt and datasets.pqt.

    folder: where the two files are made; they must not be there yet
    algorithms: the digests in the rows
    origin, date_created: the client's metadata. See `fastindex.tables.schema.one_metadata`.
    with_index: whether `id` and (`eid`, `id`) are the index of the data frames, as the client expects
    further: further columns of sessions.pqt and of datasets.pqt, after those of every index
    keeps_facts: whether the table of fingerprints is there also without digests, to say how the index was
        made when another program has written over it
    """

    def __init__(
        self,
        folder: OpenFolder,
        *,
        algorithms: tuple[str, ...],
        origin: str,
        date_created: str,
        with_index: bool = True,
        further: tuple[Iterable[pa.Field], Iterable[pa.Field]] = ((), ()),
        keeps_facts: bool = False,
        with_folders: bool = False,
    ) -> None:
        metadata = one_metadata(date_created=date_created, origin=origin)
        self._sessions = _TableWriter(
            folder,
            'sessions.pqt',
            pa.schema([*sessions_schema(), *further[0]]),
            metadata,
            ['id'] if with_index else [],
            ['lab', 'subject'],
        )
        self._datasets = _TableWriter(
            folder,
            'datasets.pqt',
            pa.schema([*datasets_schema(algorithms), *further[1]]),
            metadata,
            ['eid', 'id'] if with_index else [],
            ['eid', 'rel_path', 'qc'],  # qc: only a dictionary keeps the categories that no row has
        )
        self._fingerprints = None
        if algorithms or keeps_facts:
            self._fingerprints = _TableWriter(folder, FINGERPRINTS, fingerprints_schema(), None, [], [])
        self._folders = None
        if with_folders:
            self._folders = _TableWriter(folder, FOLDERS, folders_schema(), None, [], ['folders'])
        tables = (self._sessions, self._datasets, self._fingerprints, self._folders)
        self._tables = [table for table in tables if table]
        self._unread = 0  # datasets that have no digest, where all others have
        self.columns = (self._sessions.schema.names, self._datasets.schema.names)
        self.marks = fingerprints_schema().names if algorithms else []
        """The columns of the fingerprints of the rows."""

    def write(
        self,
        sessions: pa.Table | None,
        datasets: pa.Table | None = None,
        fingerprints: pa.Table | None = None,
    ) -> None:
        """Append rows to all tables, but for those that get none."""
        tables = (self._sessions, self._datasets, self._fingerprints)
        for table, rows in zip(tables, (sessions, datasets, fingerprints), strict=True):
            if table is not None and rows is not None:
                table.write(rows)
        if datasets is not None and 'xxh128' in datasets.column_names:
            self._unread += datasets.column('xxh128').null_count

    def write_folders(self, folders: pa.Table) -> None:
        """Append what tells the folders of sessions from others, where that is kept."""
        if self._folders is not None:
            self._folders.write(folders)

    def close(self, facts: Mapping[str, Any]) -> str:
        """Complete the files; `facts` go into their metadata, with the generation, which is returned.

        Raises PublishError if they are beyond what readers take. See `fastindex.limits`.
        """
        from xxhash import xxh3_128

        sessions, datasets, *_ = [table.finish() for table in self._tables]
        generation = xxh3_128(sessions + datasets).hexdigest()
        unread = {UNREAD: self._unread} if self._unread else {}
        metadata = json.dumps({'generation': generation, **facts, **unread})
        for table in self._tables:
            table.close(metadata)
        for table in (self._sessions, self._datasets):
            table.check_limits()
        self.abort()
        return generation

    def abort(self) -> None:
        """Close the files, if they are open yet: those that are not complete are of no use."""
        for table in self._tables:
            table.abort()


class _TableWriter:
    """Writes one Parquet file in row groups of a fixed number of rows."""

    def __init__(
        self,
        folder: OpenFolder,
        name: str,
        schema: pa.Schema,
        metadata: bytes | None,
        index: list[str],
        repeated: list[str],
    ) -> None:
        self._path = folder.path / name
        self.schema = schema
        self._metadata = metadata
        self._index = index
        self._repeated = repeated  # columns that are worth a dictionary
        self._searched = repeated[:2] + index[:1]  # columns by which a reader may skip row groups
        # Not `pa.OSFile`, which takes no path that is not UTF-8.
        self._file = folder.open_new(name, buffering=2**20)
        self._sink = pa.PythonFile(self._file, 'w')
        self._writer: Any = None
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0

    def write(self, table: pa.Table) -> None:
        self._waiting.append(table)
        self._waiting_rows += table.num_rows
        if self._waiting_rows >= ROW_GROUP_ROWS:
            self._write_row_groups(ROW_GROUP_ROWS)

    def _write_row_groups(self, min_rows: int) -> None:
        table = pa.concat_tables(self._waiting)
        start = 0
        while table.num_rows - start >= min_rows:
            part = table.slice(start, ROW_GROUP_ROWS).combine_chunks()
            self._open(self.schema).write_table(part, row_group_size=ROW_GROUP_ROWS)
            start += part.num_rows
        self._waiting = [table.slice(start)]
        self._waiting_rows = table.num_rows - start

    def _open(self, schema: pa.Schema) -> Any:
        if self._writer is None:
            if self._metadata is not None:  # a table for the client
                pandas = pandas_metadata(schema, self._index)
                schema = schema.with_metadata({'one_metadata': self._metadata, 'pandas': pandas})
            self._writer = pq.ParquetWriter(
                self._sink,
                schema,
                compression='zstd',
                compression_level=1,
                use_dictionary=[name for name in self._repeated if name in schema.names],
                write_page_checksum=True,
                write_statistics=self._searched,
            )
        return self._writer

    def finish(self) -> bytes:
        """Write the rows that wait; return a digest of all row groups."""
        from xxhash import xxh3_128

        if self._waiting_rows:
            self._write_row_groups(1)
        schema = self.schema
        if self._writer is None and 'qc' in schema.names:
            # No row at all: the client adds its own column of categories, and fails on an empty one of ours.
            schema = schema.remove(schema.get_field_index('qc'))
        self._open(schema)
        self._file.flush()
        digest = xxh3_128()
        offset = 0
        while data := read_at(self._file.fileno(), 2**20, offset):
            digest.update(data)
            offset += len(data)
        return digest.digest()

    def close(self, metadata: str) -> None:
        self._writer.add_key_value_metadata({'fastindex': metadata})
        self._writer.close()
        self._file.flush()

    def check_limits(self) -> None:
        try:
            TableFile(self._path, self._file)
        except InvalidIndexError as error:
            raise PublishError(
                f'this index would be one that nothing reads ({error}): expected fewer datasets, as of one '
                'lab'
            ) from error

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.is_open = False  # no footer: the file is dropped
        self._file.close()

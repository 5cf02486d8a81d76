"""Collect the record batches of the shards, in order, into a pair of Parquet files, and the fingerprints.

Memory is that of one row group, whatever the size of the tree. Row groups have a fixed number of rows, so
that the bytes do not depend on how the sessions were cut into shards. The *generation*, which both files
carry, is the XXH3-128 of all their row groups: the same rows are the same generation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastindex.alf import list_old_revisions
from fastindex.pipeline.known import FINGERPRINTS
from fastindex.tables import (
    datasets_schema,
    fingerprint_columns,
    fingerprints_schema,
    from_ipc,
    one_metadata,
    pandas_metadata,
    sessions_schema,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from fastindex.hashing import Fingerprint, Measured
    from fastindex.pipeline.scan import HashResult, ScanResult

__all__ = ['PairWriter', 'complete', 'drop_datasets']

ROW_GROUP_ROWS = 2**16
"""8 MB of datasets in memory, 1.5 MB in the file: small enough that a reader can skip most of them."""


class PairWriter:
    """Writes sessions.pqt and datasets.pqt.

    Parameters
    ----------
    folder
        Where the two files are made; they must not be there yet.
    algorithms
        The digests in the rows.
    origin, date_created
        The client's metadata. See `fastindex.tables.one_metadata`.
    with_index
        Whether `id` and (`eid`, `id`) are the index of the data frames, as the client expects.
    """

    def __init__(
        self,
        folder: Path,
        *,
        algorithms: tuple[str, ...],
        origin: str,
        date_created: str,
        with_index: bool = True,
    ) -> None:
        metadata = one_metadata(date_created=date_created, origin=origin)
        self._sessions = _TableWriter(
            folder / 'sessions.pqt',
            sessions_schema(),
            metadata,
            ['id'] if with_index else [],
            ['lab', 'subject'],
        )
        self._datasets = _TableWriter(
            folder / 'datasets.pqt',
            datasets_schema(algorithms),
            metadata,
            ['eid', 'id'] if with_index else [],
            ['eid', 'rel_path', 'qc'],  # qc: only a dictionary keeps the categories that no row has
        )
        self._fingerprints = None
        if algorithms:
            self._fingerprints = _TableWriter(folder / FINGERPRINTS, fingerprints_schema(), None, [], [])
        self._tables = [table for table in (self._sessions, self._datasets, self._fingerprints) if table]

    def write(self, sessions: pa.Table, datasets: pa.Table, fingerprints: pa.Table | None = None) -> None:
        """Append rows to all tables."""
        self._sessions.write(sessions)
        self._datasets.write(datasets)
        if self._fingerprints is not None and fingerprints is not None:
            self._fingerprints.write(fingerprints)

    def close(self, facts: Mapping[str, Any]) -> str:
        """Complete the files; `facts` go into their metadata, with the generation, which is returned."""
        from xxhash import xxh3_128

        sessions, datasets, *_ = [table.finish() for table in self._tables]
        generation = xxh3_128(sessions + datasets).hexdigest()
        metadata = json.dumps({'generation': generation, **facts})
        for table in self._tables:
            table.close(metadata)
        return generation

    def abort(self) -> None:
        """Close the files, if they are open yet: they are of no use."""
        for table in self._tables:
            table.abort()


class _TableWriter:
    """Writes one Parquet file in row groups of a fixed number of rows."""

    def __init__(
        self, path: Path, schema: pa.Schema, metadata: bytes | None, index: list[str], repeated: list[str]
    ) -> None:
        import pyarrow as pa

        self._path = path
        self._schema = schema
        self._metadata = metadata
        self._index = index
        self._repeated = repeated  # columns that are worth a dictionary
        self._searched = repeated[:2] + index[:1]  # columns by which a reader may skip row groups
        # Not `pa.OSFile`, which takes no path that is not UTF-8.
        self._file = path.open('wb', buffering=2**20)
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
        import pyarrow as pa

        table = pa.concat_tables(self._waiting)
        start = 0
        while table.num_rows - start >= min_rows:
            part = table.slice(start, ROW_GROUP_ROWS).combine_chunks()
            self._open(self._schema).write_table(part, row_group_size=ROW_GROUP_ROWS)
            start += part.num_rows
        self._waiting = [table.slice(start)]
        self._waiting_rows = table.num_rows - start

    def _open(self, schema: pa.Schema) -> Any:
        if self._writer is None:
            import pyarrow.parquet as pq

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
        schema = self._schema
        if self._writer is None and 'qc' in schema.names:
            # No row at all: the client adds its own column of categories, and fails on an empty one of ours.
            schema = schema.remove(schema.get_field_index('qc'))
        self._open(schema)
        self._file.flush()
        digest = xxh3_128()
        with self._path.open('rb') as file:
            while data := file.read(2**20):
                digest.update(data)
        return digest.digest()

    def close(self, metadata: str) -> None:
        self._writer.add_key_value_metadata({'fastindex': metadata})
        self._writer.close()
        self._file.close()

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.is_open = False  # no footer: the file is dropped
        self._file.close()


def complete(
    result: ScanResult, hashed: list[HashResult], algorithms: tuple[str, ...]
) -> tuple[pa.Table, pa.Table, pa.Table | None]:
    """Unpack what a shard gave into rows of all tables, with its big files filled in."""
    datasets = from_ipc(result.datasets)
    fingerprints = from_ipc(result.fingerprints) if result.fingerprints is not None else None
    if result.big_files:
        rows = [file.row for file in result.big_files]
        datasets, fingerprints = _fill_in(
            datasets, fingerprints, rows, [big.measured for big in hashed], algorithms
        )
    return from_ipc(result.sessions), datasets, fingerprints


def _fill_in(
    datasets: pa.Table,
    fingerprints: pa.Table,
    rows: list[int],
    measured: list[Measured | None],
    algorithms: tuple[str, ...],
) -> tuple[pa.Table, pa.Table]:
    """Fill in what is known of the `rows` that were hashed apart; drop those that are problems."""
    names = ['hash' if name == 'md5' else name for name in algorithms]
    cells: dict[int, dict[str, Any]] = {}
    found: list[Fingerprint] = []
    for row, values in zip(rows, measured, strict=True):
        if values is not None:
            size_bytes, digests, fingerprint = values
            hexes = [digest.hex() for digest in digests or ()]
            cells[row] = {'file_size': size_bytes, **dict(zip(names, hexes, strict=True))}
            found.append(fingerprint)
    columns = dict(zip(fingerprints.schema.names, fingerprint_columns(found), strict=True))
    marks = {row: {name: columns[name][i] for name in columns} for i, row in enumerate(cells)}
    datasets, fingerprints = _set(datasets, cells), _set(fingerprints, marks)
    lost = [row for row in rows if row not in cells]
    if lost:
        datasets, fingerprints = drop_datasets(datasets, fingerprints, lost)
    return datasets, fingerprints


def drop_datasets(
    datasets: pa.Table, fingerprints: pa.Table | None, rows: list[int]
) -> tuple[pa.Table, pa.Table | None]:
    """Drop rows of whole sessions; mark the default revisions of what is left."""
    rest = None if fingerprints is None else _drop(fingerprints, rows)
    return _mark_revisions(_drop(datasets, rows)), rest


def _set(table: pa.Table, cells: dict[int, dict[str, Any]]) -> pa.Table:
    """Set cells: for each row the values by column."""
    import pyarrow as pa

    for name in {name: None for row in cells.values() for name in row}:
        place = table.schema.get_field_index(name)
        data = table.column(place).to_pylist()
        for row, values in cells.items():
            data[row] = values[name]
        field = table.schema.field(place)
        table = table.set_column(place, field, pa.array(data, field.type))
    return table


def _mark_revisions(datasets: pa.Table) -> pa.Table:
    """Mark the default revisions again, as the one that was it may be lost."""
    import pyarrow as pa

    places: dict[str, list[int]] = {}
    for place, eid in enumerate(datasets.column('eid').to_pylist()):
        places.setdefault(eid, []).append(place)
    paths = datasets.column('rel_path').to_pylist()
    marks = [True] * len(paths)
    for session in places.values():
        for old in list_old_revisions([paths[place] for place in session]):
            marks[session[old]] = False
    column = datasets.schema.get_field_index('default_revision')
    return datasets.set_column(column, 'default_revision', pa.array(marks, pa.bool_()))


def _drop(table: pa.Table, rows: list[int]) -> pa.Table:
    import pyarrow as pa

    bounds = [-1, *rows, table.num_rows]
    return pa.concat_tables([table.slice(a + 1, b - a - 1) for a, b in pairwise(bounds)])

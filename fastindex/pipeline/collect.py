"""Collect the record batches of the shards, in order, into a pair of Parquet files.

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
from fastindex.tables import datasets_schema, from_ipc, one_metadata, pandas_metadata, sessions_schema

if TYPE_CHECKING:
    import pyarrow as pa

    from fastindex.hashing import Measured
    from fastindex.pipeline.scan import HashResult, ScanResult

__all__ = ['PairWriter', 'complete']

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

    def write(self, sessions: pa.Table, datasets: pa.Table) -> None:
        """Append rows to both tables."""
        self._sessions.write(sessions)
        self._datasets.write(datasets)

    def close(self, facts: Mapping[str, Any]) -> str:
        """Complete both files; `facts` go into their metadata, with the generation, which is returned."""
        from xxhash import xxh3_128

        digest = xxh3_128()
        for table in (self._sessions, self._datasets):
            digest.update(table.finish())
        generation = digest.hexdigest()
        metadata = json.dumps({'generation': generation, **facts})
        for table in (self._sessions, self._datasets):
            table.close(metadata)
        return generation

    def abort(self) -> None:
        """Close both files, if they are open yet: they are of no use."""
        for table in (self._sessions, self._datasets):
            table.abort()


class _TableWriter:
    """Writes one Parquet file in row groups of a fixed number of rows."""

    def __init__(
        self, path: Path, schema: pa.Schema, metadata: bytes, index: list[str], repeated: list[str]
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

            pandas = pandas_metadata(schema, self._index)
            self._writer = pq.ParquetWriter(
                self._sink,
                schema.with_metadata({'one_metadata': self._metadata, 'pandas': pandas}),
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
) -> tuple[pa.Table, pa.Table]:
    """Unpack what a shard gave into rows of both tables, with its big files filled in."""
    datasets = from_ipc(result.datasets)
    if result.big_files:
        rows = [file.row for file in result.big_files]
        datasets = _fill_in(datasets, rows, [big.measured for big in hashed], algorithms)
    return from_ipc(result.sessions), datasets


def _fill_in(
    datasets: pa.Table, rows: list[int], measured: list[Measured | None], algorithms: tuple[str, ...]
) -> pa.Table:
    """Fill in size and digests of the `rows` that were hashed apart; drop those that are problems."""
    import pyarrow as pa

    new: dict[str, dict[int, int | str]] = {'file_size': {}}
    columns = ['hash' if name == 'md5' else name for name in algorithms]
    for row, values in zip(rows, measured, strict=True):
        if values is not None:
            new['file_size'][row], digests = values
            for column, digest in zip(columns, digests or (), strict=True):
                new.setdefault(column, {})[row] = digest.hex()
    for column, cells in new.items():
        place = datasets.schema.get_field_index(column)
        data = datasets.column(place).to_pylist()
        for row, value in cells.items():
            data[row] = value
        field = datasets.schema.field(place)
        datasets = datasets.set_column(place, field, pa.array(data, field.type))
    lost = [row for row, values in zip(rows, measured, strict=True) if values is None]
    return _mark_revisions(_drop(datasets, lost)) if lost else datasets


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

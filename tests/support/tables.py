"""Tables of an index: read, compared, and changed as a stranger might."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastindex.folders import OpenFolder
from fastindex.tables.reuse import FINGERPRINTS
from fastindex.trees import STATE_FOLDER

TABLES = ('sessions', 'datasets')


def stopping(replace: Callable[..., None], name: str, error: BaseException) -> Callable[..., None]:
    """Make an `os.replace` that raises before it moves a file of this name."""

    def stop(source: str, *arguments: Any, **options: Any) -> None:
        if source == name:
            raise error
        replace(source, *arguments, **options)

    return stop


def stop_between_the_renames(work: Callable[[], object]) -> None:
    """Do what publishes an index, and leave what a run leaves that ends between its two renames."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, 'replace', stopping(os.replace, 'sessions.pqt', KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            work()


def read(folder: Path, table: str) -> list[dict[str, Any]]:
    """The rows of a published table."""
    return pq.read_table(folder / f'{table}.pqt').to_pylist()


def read_paths(folder: Path) -> set[str]:
    """session_path/rel_path of each dataset in an index, with the lab level where there is one."""
    sessions = {
        row['id']: '/'.join(
            [*([row['lab'], 'Subjects'] if row['lab'] else []), row['subject'], str(row['date'])]
            + [f'{row["number"]:03}']
        )
        for row in read(folder, 'sessions')
    }
    return {f'{sessions[row["eid"]]}/{row["rel_path"]}' for row in read(folder, 'datasets')}


def tables_digest(folder: Path) -> str:
    """One digest of the bytes of both tables in a folder."""
    return hashlib.sha256(
        b''.join((folder / f'{name}.pqt').read_bytes() for name in ('sessions', 'datasets'))
    ).hexdigest()


def rewrite(folder: Path, table: str, change: Callable[[pa.Table], pa.Table], **options: Any) -> None:
    """Change the rows of a table, and leave its metadata."""
    path = folder / f'{table}.pqt'
    metadata = {**pq.read_metadata(path).metadata}
    del metadata[b'ARROW:schema']  # pyarrow writes it anew
    pq.write_table(change(pq.read_table(path)).replace_schema_metadata(metadata), path, **options)


def disown(folder: Path) -> None:
    """Take our own metadata off both tables: another program might have written them."""
    for table in TABLES:
        path = folder / f'{table}.pqt'
        rows = pq.read_table(path)
        assert b'fastindex' not in rows.schema.metadata
        pq.write_table(rows, path)


def put(name: str, value: Any) -> Callable[[pa.Table], pa.Table]:
    """Put one value into the first row of a column."""

    def change(table: pa.Table) -> pa.Table:
        place = table.schema.get_field_index(name)
        field = table.schema.field(place)
        values = [value, *table.column(place).to_pylist()[1:]]
        return table.set_column(place, field, pa.array(values, field.type))

    return change


def forge(folder: Path, table: str, change: Callable[[pa.Table], pa.Table], **said: Any) -> None:
    """Change the rows of a table of ours, and what both say, as a stranger would.

    With our writer, so that all digests agree.
    """
    from fastindex.tables.write import PairWriter

    rows = {name: pq.read_table(folder / f'{name}.pqt') for name in TABLES}
    rows[table] = change(rows[table])
    facts = json.loads(pq.read_metadata(folder / 'sessions.pqt').metadata[b'fastindex'])
    (folder / 'forged').mkdir()
    columns = {'md5': 'hash', 'xxh128': 'xxh128'}
    schema = rows['datasets'].schema
    algorithms = tuple(
        name
        for name, column in columns.items()
        if column in schema.names and schema.field(column).type == pa.string()
    )
    with OpenFolder.open(folder / 'forged') as forged:
        writer = PairWriter(forged, algorithms=algorithms, origin='x', date_created='2024-01-01 00:00')
    fingerprints = folder / STATE_FOLDER / FINGERPRINTS
    known = pq.read_table(fingerprints).replace_schema_metadata() if fingerprints.exists() else None
    writer.write(*(rows[name].replace_schema_metadata() for name in TABLES), known)
    writer.close({key: value for key, value in {**facts, **said}.items() if key != 'generation'})
    for name in TABLES:
        (folder / 'forged' / f'{name}.pqt').replace(folder / f'{name}.pqt')
    if known is not None and algorithms:
        (folder / 'forged' / FINGERPRINTS).replace(fingerprints)
    shutil.rmtree(folder / 'forged')


def reverse(table: pa.Table) -> pa.Table:
    return table.take(list(reversed(range(table.num_rows))))

"""Write the index of a release: the rows of some sessions, and a name in the place of a path.

Gives a pair of tables as a build writes it, with its own generation.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from fastindex.errors import IdClashError, InvalidIndexError
from fastindex.files import open_output, temporary_folder
from fastindex.folders import OpenFolder
from fastindex.jobs.release.plan import Part
from fastindex.jobs.release.preflight import ELSEWHERE
from fastindex.lazy import pa, pc, pq
from fastindex.tables.check import refusing_damage
from fastindex.tables.file import TABLES, GroupTable, TableFile, open_table
from fastindex.tables.foreign import is_of_client
from fastindex.tables.lock import LOCK
from fastindex.tables.reuse import FINGERPRINTS
from fastindex.tables.schema import datasets_schema, one_metadata, sessions_schema
from fastindex.tables.write import PairWriter
from fastindex.trees import STATE_FOLDER, Tree

if TYPE_CHECKING:
    from fastindex.jobs.read.index import Index

__all__ = ['list_client_tables', 'open_index_folder', 'write_client_tables', 'write_tables']


def write_tables(index: Index, part: Part, folder: Path, *, origin: str, date_created: str) -> None:
    """Write sessions.pqt and datasets.pqt of a part into a folder.

    Raises InvalidIndexError if the tables are not those that were opened.

    origin: a name for the data, in the place of the path on a machine
    date_created: to the minute, as the client wants it; not today, or the bytes would be others tomorrow
    """
    eids = pa.array(part.sessions['id'].to_list(), pa.string())
    schemas = sessions_schema(), datasets_schema(index.recipe.algorithms)
    sessions, datasets = (_open(index, name) for name in reversed(TABLES))
    further = [
        [field for field in table.schema if field.name not in schema.names]
        for schema, table in zip(schemas, (sessions, datasets), strict=True)
    ]
    no_sessions, no_datasets = (
        pa.schema([*schema, *fields]).empty_table() for schema, fields in zip(schemas, further, strict=True)
    )
    with OpenFolder.open(folder) as opened:
        writer = PairWriter(
            opened,
            algorithms=index.recipe.algorithms,
            origin=origin,
            date_created=date_created,
            further=(further[0], further[1]),
        )
    try:
        for rows in _iter_rows(sessions, 'id', eids):
            writer.write(rows, no_datasets)
        for rows in _iter_rows(datasets, 'eid', eids):
            writer.write(no_sessions, rows)
        facts = index.recipe.to_facts(
            sessions=part.sessions.height,
            datasets=part.datasets.height,
            size_bytes=part.size_bytes,
            kept=index.facts.get('kept', ()),
        )
        writer.close(facts)
    finally:
        writer.abort()


def _open(index: Index, name: str) -> GroupTable:
    return GroupTable(index.folder / name, below=index.folder, stamp=index.stamps[name])


def _iter_rows(table: GroupTable, column: str, eids: pa.Array) -> Iterator[pa.Table]:
    """Iterate over the rows of a table that are of some sessions, in its order."""
    for group in range(len(table.group_rows)):
        rows = table.read(group).replace_schema_metadata(None)
        yield rows.filter(pc.is_in(rows[column], value_set=eids))


@contextmanager
def open_index_folder(folder: Path, *, is_apart: bool, is_dry: bool) -> Iterator[Path]:
    """Open the folder in which the index of a release is made: that of the tables, if it may be.

    is_apart: whether these are those of another program, which stay as they are
    is_dry: whether nothing is to be written. Then it has a copy of the index.
    """
    if not (is_apart or is_dry):
        yield folder
        return
    with temporary_folder() as scratch:
        if not is_apart:
            _copy_index(folder, scratch)
        try:
            yield scratch
        except IdClashError as error:
            if not is_apart:
                raise
            raise IdClashError(str(error).removesuffix(error.hint), hint=ELSEWHERE) from error


def _copy_index(folder: Path, to: Path) -> None:
    """Copy an index, as far as it is there: a run goes on by it as by the original."""
    for name in (*TABLES, f'{STATE_FOLDER}/{LOCK}', f'{STATE_FOLDER}/{FINGERPRINTS}'):
        with suppress(InvalidIndexError), open_table(folder / name, below=folder) as source:
            (to / name).parent.mkdir(exist_ok=True)
            with open_output(to / name) as copy:
                shutil.copyfileobj(source, copy)


def list_client_tables(folder: Path, tree: Tree) -> list[Path]:
    """List the tables that the client saved beside an index, as insertions.pqt; of links as of the tree's."""
    found = []
    for path in sorted(folder.glob('*.pqt')):
        if path.name not in TABLES:
            with suppress(InvalidIndexError), _open_beside(path, tree) as file:
                found += [path] * is_of_client(path.name, file)
    return found


def _open_beside(path: Path, tree: Tree) -> IO[bytes]:
    return open_table(path, below=None if tree.follow_links else path.parent)


def write_client_tables(
    tables: Iterable[Path], tree: Tree, part: Part, folder: Path, *, origin: str, date_created: str
) -> list[Path]:
    """Write what the tables that the client saved beside an index have of the sessions of a part.

    Those without a column `eid` are of no session, and stay out.

    Returns the paths of the tables that were written, in `folder`.
    """
    eids = pa.array(part.sessions['id'].to_list(), pa.string())
    written = []
    for path in tables:
        with refusing_damage(path), _open_beside(path, tree) as file:
            if 'eid' not in TableFile(path, file).schema.names:
                continue
            rows = pq.ParquetFile(pa.PythonFile(file, 'r'), page_checksum_verification=True).read()
        rows = rows.filter(pc.is_in(rows['eid'].cast(pa.string()), value_set=eids))
        about = one_metadata(date_created=date_created, origin=origin)
        rows = rows.replace_schema_metadata({**(rows.schema.metadata or {}), b'one_metadata': about})
        pq.write_table(rows, folder / path.name, compression='zstd', write_page_checksum=True)
        written.append(folder / path.name)
    return written

"""The path of a session, by its row in sessions.pqt: the table has its number without the zeros.

The eid tells how a number is written, where it is made of the path. Where it is kept from other tables it
tells nothing: then the disk is asked, if it is there, and else the path is the one that the client makes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from fastindex.lazy import pa, pc
from fastindex.names.ids import UuidIdentity
from fastindex.text import to_system

if TYPE_CHECKING:
    from fastindex.tables.file import TableFile

__all__ = ['SESSION_COLUMNS', 'iter_paths', 'join', 'list_session_paths', 'to_file_paths', 'write_paths']

SESSION_COLUMNS = ('id', 'lab', 'subject', 'date', 'number')  # what the path is made of


def list_session_paths(
    sessions: Iterable[tuple[Any, ...]], namespace: UUID, root: Path | None = None
) -> list[str]:
    """List the paths of sessions, relative to the root, by the `SESSION_COLUMNS` of their rows.

    namespace: of the eids that are made of paths
    root: where the tree is, to look for folders whose eids tell nothing; None if it cannot be looked into
    """
    rows = list(sessions)
    paths = [_write_path(row, 3) for row in rows]
    for i, eid in enumerate(_eids_of(paths, namespace)):
        if eid != rows[i][0]:
            paths[i] = _find_path(rows[i], namespace, root)
    return paths


def iter_paths(table: TableFile, namespace: UUID, root: Path | None = None) -> Iterator[tuple[str, str]]:
    """Iterate over the ids and the paths of all sessions in a table. See `list_session_paths`."""
    for _, found in table.iter_batches(SESSION_COLUMNS):
        rows = list(zip(*(found[name].to_pylist() for name in SESSION_COLUMNS), strict=True))
        yield from zip((row[0] for row in rows), list_session_paths(rows, namespace, root), strict=True)


def write_paths(row: tuple[Any, ...]) -> list[str]:
    """Write the paths that a session may have: with three digits, as the client does, or fewer."""
    return [_write_path(row, digits) for digits in (3, 2, 1)]


def to_file_paths(rel_paths: pa.ChunkedArray, ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Put ids into the names of files, as `fastindex.names.uuid_names.add_uuid` does."""
    paths = rel_paths.cast(pa.string())
    stems = pc.replace_substring_regex(paths, r'[^.]*\z', '')
    ends = pc.replace_substring_regex(paths, r'(?s)\A.*\.', '.')
    return pc.binary_join_element_wise(stems, ids.cast(pa.string()), ends, '')


def join(paths: pa.ChunkedArray) -> bytes:
    """Join paths with NUL, which none of them has."""
    return '\0'.join(paths.to_pylist()).encode()  # not by Arrow: to look at '\0', it would import pandas


def _find_path(row: tuple[Any, ...], namespace: UUID, root: Path | None) -> str:
    paths = write_paths(row)
    for path, eid in zip(paths, _eids_of(paths, namespace), strict=True):
        if eid == row[0]:
            return path
    there = [
        path for path in paths if root is not None and os.path.isdir(os.path.join(root, to_system(path)))
    ]
    return (there or paths)[0]


def _write_path(row: tuple[Any, ...], digits: int) -> str:
    _, lab, subject, date, number = row
    return f'{f"{lab}/Subjects/" if lab else ""}{subject}/{date}/{number:0{digits}}'


def _eids_of(paths: list[str], namespace: UUID) -> list[str]:
    identity = UuidIdentity(namespace.bytes)
    return [eid.decode() for eid in identity.eids(identity.session_keys(paths))]

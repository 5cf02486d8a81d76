"""Collect what the shards gave, in order: unpack rows, fill in big files, drop ids that were there before.

Memory is that of a shard. Leaves writing to `fastindex.tables.write`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any
from uuid import UUID

from fastindex.lazy import pa, pc
from fastindex.names.alf import find_session_path, list_old_revisions
from fastindex.names.given_ids import SeenIds
from fastindex.names.ids import eid
from fastindex.names.problems import Reason
from fastindex.names.uuid_names import add_uuid
from fastindex.pipeline.big import HashResult
from fastindex.pipeline.rows import NO_DIGEST
from fastindex.pipeline.scan import ScanResult
from fastindex.tables.columns import sum_bytes
from fastindex.tables.merge import iter_rows
from fastindex.tables.paths import SESSION_COLUMNS, list_session_paths
from fastindex.tables.schema import fingerprint_columns, from_ipc, to_ipc
from fastindex.trees.digests import Measured

__all__ = ['complete', 'drop_datasets', 'iter_unique']


def complete(
    result: ScanResult, hashed: list[HashResult], algorithms: tuple[str, ...]
) -> tuple[pa.Table, pa.Table, pa.Table | None]:
    """Unpack what a shard gave into rows of all tables, with its big files filled in."""
    datasets = from_ipc(result.datasets)
    fingerprints = from_ipc(result.fingerprints) if result.fingerprints is not None else None
    if result.subtasks:
        rows = [task.row for task in result.subtasks]
        datasets, fingerprints = _fill_in(
            datasets, fingerprints, rows, [big.measured for big in hashed], algorithms
        )
    tallies = [result.tally, *(big.tally for big in hashed)]
    if any(problem.reason is Reason.ARCHIVED for tally in tallies for problem in tally.problems):
        datasets = _without_digest(datasets)
    return from_ipc(result.sessions), datasets, fingerprints


def _without_digest(datasets: pa.Table) -> pa.Table:
    """Put null where there is no digest, as the object is archived."""
    position = datasets.schema.get_field_index('xxh128')
    if position < 0:
        return datasets
    digests = datasets.column(position)
    digests = pc.if_else(pc.equal(digests, NO_DIGEST.hex()), pa.scalar(None, pa.string()), digests)
    return datasets.set_column(position, datasets.schema.field(position), digests)


def _fill_in(
    datasets: pa.Table,
    fingerprints: pa.Table,
    rows: list[int],
    measured: list[Measured | None],
    algorithms: tuple[str, ...],
) -> tuple[pa.Table, pa.Table]:
    """Fill in what is known of the `rows` that were hashed apart; drop those that are problems."""
    found = {row: values for row, values in zip(rows, measured, strict=True) if values is not None}
    cells: dict[str, list[Any]] = {'file_size': [size_bytes for size_bytes, _, _ in found.values()]}
    for i, name in enumerate(algorithms):
        column = 'hash' if name == 'md5' else name
        cells[column] = [digests[i].hex() for _, digests, _ in found.values() if digests]
    marks = fingerprint_columns([fingerprint for _, _, fingerprint in found.values()])
    datasets = _set(datasets, found, cells)
    fingerprints = _set(fingerprints, found, dict(zip(fingerprints.schema.names, marks, strict=True)))
    lost = [row for row in rows if row not in found]
    if lost:
        datasets, fingerprints = drop_datasets(datasets, fingerprints, lost)
    return datasets, fingerprints


def drop_datasets(
    datasets: pa.Table, fingerprints: pa.Table | None, rows: list[int]
) -> tuple[pa.Table, pa.Table | None]:
    """Drop rows of whole sessions; mark the default revisions of what is left."""
    rest = None if fingerprints is None else _drop(fingerprints, rows)
    return _mark_revisions(_drop(datasets, rows)), rest


def _set(table: pa.Table, rows: Collection[int], cells: Mapping[str, Sequence[Any]]) -> pa.Table:
    """Set cells of these rows, by column."""
    for name, values in cells.items():
        column = table.schema.get_field_index(name)
        data = table.column(column).to_pylist()
        for row, value in zip(rows, values, strict=True):
            data[row] = value
        field = table.schema.field(column)
        table = table.set_column(column, field, pa.array(data, field.type))
    return table


def _mark_revisions(datasets: pa.Table) -> pa.Table:
    """Mark the default revisions again, as the one that was it may be lost."""
    rows_of_session: dict[str, list[int]] = {}
    for row, session in enumerate(datasets.column('eid').to_pylist()):
        rows_of_session.setdefault(session, []).append(row)
    paths = datasets.column('rel_path').to_pylist()
    marks = [True] * len(paths)
    for rows in rows_of_session.values():
        for old in list_old_revisions([paths[row] for row in rows]):
            marks[rows[old]] = False
    column = datasets.schema.get_field_index('default_revision')
    return datasets.set_column(column, 'default_revision', pa.array(marks, pa.bool_()))


def _drop(table: pa.Table, rows: list[int]) -> pa.Table:
    bounds = [-1, *rows, table.num_rows]
    return pa.concat_tables([table.slice(a + 1, b - a - 1) for a, b in pairwise(bounds)])


def iter_unique(
    scanned: Iterator[tuple[ScanResult, list[HashResult]]], namespace: UUID
) -> Iterator[tuple[ScanResult, list[HashResult]]]:
    """Iterate over what shards gave, without the datasets whose id was there before: these are problems.

    scanned: in the order of the table; the datasets of a session together
    namespace: of the eids
    """
    seen = SeenIds()
    for result, hashed in scanned:
        ids = from_ipc(result.datasets).column('id').combine_chunks()
        text = bytes(memoryview(ids.buffers()[2] or b'')[: 36 * len(ids)]).decode()
        digits = bytes.fromhex(text.replace('-', ''))
        twins = [row for row in range(len(ids)) if not seen.add(digits[16 * row : 16 * row + 16])]
        yield _drop_seen(result, hashed, twins, namespace) if twins else (result, hashed)


def _drop_seen(
    result: ScanResult, hashed: list[HashResult], rows: list[int], namespace: UUID
) -> tuple[ScanResult, list[HashResult]]:
    """Make problems of some of the datasets."""

    datasets = from_ipc(result.datasets)
    lost = datasets.take(rows)
    sessions = list(iter_rows(from_ipc(result.sessions).select(SESSION_COLUMNS)))
    paths = list_session_paths(sessions, namespace)
    path_of = {row[0]: path for row, path in zip(sessions, paths, strict=True)}
    tally = result.tally
    for session, id, rel_path in iter_rows(lost.select(['eid', 'id', 'rel_path'])):
        name = rel_path if f'.{id}.' in rel_path else add_uuid(rel_path, id)
        tally.problem(f'{path_of[session]}/{name}', Reason.UUID_TWICE)
    # As if they had been found in the scan, so that shards of another size give the same list.
    tally.problems.sort(key=lambda one: (eid(find_session_path(one.path) or '', namespace=namespace), one))
    fingerprints = None if result.fingerprints is None else from_ipc(result.fingerprints)
    datasets, fingerprints = drop_datasets(datasets, fingerprints, rows)
    kept = {row: new for new, row in enumerate(sorted(set(range(result.dataset_count)).difference(rows)))}
    big = [(task, done) for task, done in zip(result.subtasks, hashed, strict=True) if task.row in kept]
    return result._replace(
        datasets=to_ipc(datasets),
        fingerprints=None if fingerprints is None else to_ipc(fingerprints),
        dataset_count=len(kept),
        total_bytes=result.total_bytes - sum_bytes(lost['file_size']),
        reused=min(result.reused, len(kept)),
        subtasks=[task._replace(row=kept[task.row]) for task, _ in big],
    ), [done for _, done in big]

"""Let no id stand for two datasets, where ids are given and not computed: `--uuid-filenames`.

Stands between the scan and what collects it. Of files of one UUID in several sessions the first in the order
of the table stays a dataset; the others become problems. That takes 20 bytes of memory a dataset, which the
other stages do not: nothing else in a run remembers all that there was.
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from fastindex.alf import parse_session_path
from fastindex.ids import eid
from fastindex.pipeline.changes import SESSION_COLUMNS, to_session_path
from fastindex.pipeline.collect import drop_datasets
from fastindex.pipeline.compare import iter_rows
from fastindex.pipeline.filenames import SeenIds
from fastindex.pipeline.scan import HashResult, ScanResult
from fastindex.problems import Problem, Reason
from fastindex.tables import from_ipc, to_ipc
from fastindex.uuidnames import add_uuid

__all__ = ['iter_unique']


def iter_unique(
    scanned: Iterator[tuple[ScanResult, list[HashResult]]], namespace: UUID
) -> Iterator[tuple[ScanResult, list[HashResult]]]:
    """Iterate over what shards gave, without the datasets whose id was there before: these are problems.

    Parameters
    ----------
    scanned
        In the order of the table; the datasets of a session together.
    namespace
        Of the eids.
    """
    seen = SeenIds()
    for result, hashed in scanned:
        ids = from_ipc(result.datasets).column('id').combine_chunks()
        text = bytes(memoryview(ids.buffers()[2] or b'')[: 36 * len(ids)]).decode()
        digits = bytes.fromhex(text.replace('-', ''))
        twins = [row for row in range(len(ids)) if not seen.add(digits[16 * row : 16 * row + 16])]
        yield _drop(result, hashed, twins, namespace) if twins else (result, hashed)


def _drop(
    result: ScanResult, hashed: list[HashResult], rows: list[int], namespace: UUID
) -> tuple[ScanResult, list[HashResult]]:
    """Make problems of some of the datasets."""
    import pyarrow.compute as pc

    datasets = from_ipc(result.datasets)
    lost = datasets.take(rows)
    sessions = from_ipc(result.sessions).select(SESSION_COLUMNS)
    path_of = {row[0]: to_session_path(row, namespace) for row in iter_rows(sessions)}
    tally = result.tally
    for session, id, rel_path in iter_rows(lost.select(['eid', 'id', 'rel_path'])):
        name = rel_path if f'.{id}.' in rel_path else add_uuid(rel_path, id)
        tally.problem(f'{path_of[session]}/{name}', Reason.UUID_TWICE)
    # As if they had been found in the scan, so that shards of another size give the same list.
    tally.problems.sort(key=lambda problem: (_eid_of(problem, namespace), problem))
    fingerprints = None if result.fingerprints is None else from_ipc(result.fingerprints)
    datasets, fingerprints = drop_datasets(datasets, fingerprints, rows)
    kept = {row: place for place, row in enumerate(sorted(set(range(result.dataset_count)).difference(rows)))}
    big = [(file, done) for file, done in zip(result.big_files, hashed, strict=True) if file.row in kept]
    return result._replace(
        datasets=to_ipc(datasets),
        fingerprints=None if fingerprints is None else to_ipc(fingerprints),
        dataset_count=len(kept),
        total_bytes=result.total_bytes - (pc.sum(lost['file_size']).as_py() or 0),
        reused=min(result.reused, len(kept)),
        big_files=[file._replace(row=kept[file.row]) for file, _ in big],
    ), [done for _, done in big]


def _eid_of(problem: Problem, namespace: UUID) -> bytes:
    """Get the eid of the session that a problem lies in."""
    names = problem.path.split('/')
    for count in (5, 3):
        path = '/'.join(names[:count])
        try:
            parse_session_path(path)
        except ValueError:
            continue
        return eid(path, namespace=namespace).bytes
    raise AssertionError(f'{problem.path!r} lies in no session, but a scan of one met it')

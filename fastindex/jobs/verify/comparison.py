"""Compare what a scan gives with what the index says, a shard after the other: gives the differences.

Both come in the order of the index. Leaves what became of a path that the scan did not give to
`fastindex.jobs.verify.judge`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from fastindex.errors import InvalidIndexError
from fastindex.jobs.verify.expected import Expected
from fastindex.jobs.verify.held import HeldDifferences
from fastindex.jobs.verify.judge import Difference, Judge, Kind
from fastindex.lazy import pa, pc
from fastindex.names.problems import Problem
from fastindex.pipeline.big import HashResult
from fastindex.pipeline.collect import complete
from fastindex.pipeline.scan import ScanResult
from fastindex.progress import open_bar
from fastindex.tables.file import TableFile
from fastindex.tables.merge import CEILING, CHUNK_ROWS, FLOOR, LAST, Row, iter_rows, iter_unequal
from fastindex.tables.paths import SESSION_COLUMNS
from fastindex.text import escape

if TYPE_CHECKING:
    from fastindex.jobs.verify.verify import Verification

    Scanned = Iterator[tuple[ScanResult, list[HashResult]]]

__all__ = ['Comparison', 'choose_algorithm']

_DATASET_COLUMNS = ['eid', 'rel_path', 'file_size']
_DIGEST_COLUMNS = {'xxh128': 'xxh128', 'md5': 'hash'}  # those first that are computed faster


def choose_algorithm(datasets: TableFile) -> str:
    """Choose the digest to compare, of those in the index."""
    for algorithm, column in _DIGEST_COLUMNS.items():
        i = datasets.schema.get_field_index(column)
        if i < 0 or datasets.schema.field(i).type == pa.null():
            continue
        if not datasets.footer.num_rows or _has_text(datasets, column):
            return algorithm
    raise InvalidIndexError(
        f'{escape(datasets.path)}: the index has no digests to compare with: ',
        hint='a build with `hash` makes it with them',
    )


def _has_text(table: TableFile, column: str) -> bool:
    """Tell whether a column of text has any: the client's own builder writes '' for no digest."""
    return any(
        pc.any(pc.greater(pc.binary_length(found[column]), 0)).as_py()
        for _, found in table.iter_batches([column], nulls=[column])
    )


class Comparison:
    """Compares what a scan gives, and counts it.

    Datasets of a session may turn out to be missing only when the next shard is there. So what is known of
    sessions and problems is kept for two shards.
    """

    def __init__(self, expected: Expected, judge: Judge, counts: Verification, *, progress: bool) -> None:
        self.counts = counts
        self.progress = progress
        self.expected = expected
        self.judge = judge
        self.digests = [_DIGEST_COLUMNS[name] for name in judge.algorithms]
        self.sessions, self.datasets = expected.read(*self.digests)
        self.paths = _SessionPaths(expected)
        self._content: str | None = None  # size and digest of the difference that is given next

    def iter_counts(self, scanned: Scanned) -> Iterator[Difference]:
        """Compare no more than the totals."""
        for _, _, problems in self._iter_found(scanned):
            self.counts.add_problems(problems)
        self.counts.add_problems(self.judge.close())
        for measure, expected in self.expected.total()._asdict().items():
            found = getattr(self.counts, measure)
            if expected is not None and expected != found:
                kind = Kind.MISSING if expected > found else Kind.UNEXPECTED
                yield Difference(Kind.RESIZED if measure == 'bytes' else kind, '', measure, expected, found)

    def iter_differences(self, scanned: Scanned) -> Iterator[Difference]:
        """Compare row by row; tell what has moved last, where contents are read."""
        found = self._iter_differences(scanned)
        if not self.digests:
            yield from found
            return
        held = HeldDifferences(progress=self.progress)
        for difference in found:
            content, self._content = self._content, None
            if difference.kind in (Kind.MISSING, Kind.UNEXPECTED) and not held.is_full:
                held.add(difference, content)
            else:
                yield difference
        yield from held.iter_told()

    def _iter_differences(self, scanned: Scanned) -> Iterator[Difference]:
        for sessions, datasets, problems in self._iter_found(scanned):
            last: Row = ('', FLOOR)
            if datasets.num_rows:
                last = self.datasets.last_key(datasets)
            if sessions.num_rows:
                ids = sessions['id']
                yield from self._iter_until(ids[0].as_py())
                self._turn(sessions)
                last = max(last, (ids[-1].as_py(), FLOOR))
            self.judge.add_problems(problems)
            if sessions.num_rows:
                yield from self._compare_sessions(sessions, last[0])
            yield from self._compare_datasets(datasets, last)
        yield from self._iter_until(LAST)
        yield from self._compare_datasets(None, (LAST, CEILING))
        self.counts.add_problems(self.judge.close())

    def _iter_found(self, scanned: Scanned) -> Iterator[tuple[pa.Table, pa.Table, list[Problem]]]:
        """Count what shards gave; iterate over their sessions, datasets and problems.

        The rows have the columns that the index is read with.
        """
        hashes = bool(self.digests)
        totals = self.expected.total() if self.progress else None
        bar = open_bar(
            total=totals and (totals.bytes if hashes else totals.datasets),
            unit='B' if hashes else 'dataset',
            description='verifying',
            enabled=self.progress,
        )
        with closing(bar):
            for result, hashed in scanned:
                sessions, datasets, _ = complete(result, hashed, self.judge.algorithms)
                before = self.counts.bytes
                self.counts.add(sessions, datasets)
                tallies = [result.tally, *(big.tally for big in hashed)]
                problems = [problem for tally in tallies for problem in tally.problems]
                bar.update(self.counts.bytes - before if hashes else datasets.num_rows)
                columns = [*_DATASET_COLUMNS, *self.digests]
                yield sessions.select(SESSION_COLUMNS), datasets.select(columns), problems

    def _turn(self, sessions: pa.Table) -> None:
        self.counts.add_problems(self.judge.forget())
        self.paths.turn(sessions)

    def _iter_until(self, end: str) -> Iterator[Difference]:
        """Deal with sessions before `end` that the scan did not give, a bounded number at a time."""
        while (chunk := self.sessions.peek(CHUNK_ROWS)) is not None:
            last = chunk['id'][-1].as_py()
            if last >= end:
                return
            self._turn(chunk)
            yield from self._compare_sessions(None, last)
            yield from self._compare_datasets(None, (last, CEILING))

    def _compare_sessions(self, found: pa.Table | None, end: str) -> Iterator[Difference]:
        if found is not None:
            found = found.select(self.expected.session_columns)
        for row, other in iter_unequal(self.sessions, found, (end,)):
            if other is not None:
                yield Difference(Kind.UNEXPECTED, self.paths.find(other[0]), 'type', None, 'folder')
            if row is None:
                continue
            if other is not None:  # in a forged index, with the id of another session
                (path,) = self.expected.session_paths([row])
            else:
                self.paths.add(row)
                path = self.paths.find(row[0])
            if difference := self.judge.judge_session(path):
                yield difference
        for row, count in self.sessions.take_repeated():
            yield Difference(Kind.MISSING, self.paths.find(row[0]), 'rows', count, 1)

    def _compare_datasets(self, found: pa.Table | None, end: Row) -> Iterator[Difference]:
        for row, other in iter_unequal(self.datasets, found, end):
            difference = None
            if row is not None and other is not None and row[1] == other[1]:
                difference = self.judge.compare(self._path_of(row), row, other)
            elif row is not None:  # in a forged index, with the id of another path
                difference = self.judge.judge_dataset(self._path_of(row), row)
            if difference:
                if difference.kind is Kind.MISSING and row is not None and row[2] is not None:
                    self._note(row)
                yield difference
            if other is not None and (row is None or row[1] != other[1]):
                self._note(other)
                yield Difference(Kind.UNEXPECTED, self._path_of(other), 'size_bytes', None, other[2])
            yield from self._iter_repeated()
        yield from self._iter_repeated()

    def _iter_repeated(self) -> Iterator[Difference]:
        for row, count in self.datasets.take_repeated():
            yield Difference(Kind.MISSING, self._path_of(row), 'rows', count, 1)

    def _note(self, row: Row) -> None:
        """Note the size and the digest of what may have moved."""
        if self.digests and row[3]:
            self._content = ' '.join(map(str, row[2:]))

    def _path_of(self, row: Row) -> str:
        return f'{self.paths.find(row[0])}/{row[1]}'


class _SessionPaths:
    """The paths of sessions by eid, of the last two shards, and of those between them that are missing."""

    def __init__(self, expected: Expected) -> None:
        self._expected = expected
        self._tables: list[pa.Table] = []  # whose paths nobody has asked for, as is most often
        self._paths: list[dict[str, str]] = [{}, {}]

    def turn(self, sessions: pa.Table) -> None:
        """Take the sessions of a new shard; forget those of the one before the last."""
        self._tables = [*self._tables[-1:], sessions]
        self._paths = [self._paths[1], {}]

    def add(self, row: Row) -> None:
        """Take a session that is not in the shard."""
        (self._paths[1][row[0]],) = self._expected.session_paths([row])

    def find(self, eid: str) -> str:
        """Find the path of a session; of one that nobody knows, its eid."""
        for table, paths in zip(reversed(self._tables), reversed(self._paths), strict=False):
            rows = list(iter_rows(table))
            known = zip((row[0] for row in rows), self._expected.session_paths(rows), strict=True)
            paths.update({**dict(known), **paths})
        self._tables = []
        return self._paths[1].get(eid) or self._paths[0].get(eid) or eid

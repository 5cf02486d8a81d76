"""Verify an index: is the data what it says? A build's own stages, with rows compared where it writes them.

    discover the sessions -> cut them into shards -> scan each in a worker -> compare with the index, in order

So a name is judged, a file measured and read by the code that made the index, and as fast.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from fastindex.errors import InvalidIndexError, UsageError
from fastindex.jobs.verify.differences import Difference, Judge, Kind
from fastindex.jobs.verify.expected import Expected, Share, expect
from fastindex.names.identity import FilenameIdentity
from fastindex.names.ids import UuidIdentity
from fastindex.names.problems import Problem
from fastindex.pipeline.collect import complete, iter_unique
from fastindex.pipeline.discover import discover
from fastindex.pipeline.scan import HashResult, ScanResult, ScanTask, scan
from fastindex.pipeline.shard import iter_shards
from fastindex.progress import open_bar
from fastindex.tables.check import Tables, open_tables
from fastindex.tables.file import TableFile
from fastindex.tables.merge import CEILING, CHUNK_ROWS, FLOOR, LAST, Row, iter_rows, iter_unequal
from fastindex.tables.metadata import Recipe
from fastindex.text import escape
from fastindex.trees import ListsAhead, Tree, is_url, open_tree
from fastindex.workers.pool import check_workers, open_pool

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import pyarrow as pa

    from fastindex.trees.s3 import Location
    from fastindex.workers.pool import Dask

    Scanned = Iterator[tuple[ScanResult, list[HashResult]]]

__all__ = ['Verification', 'verify']

MAX_PROBLEMS = 1000
"""Problems that are kept; all are counted."""

MAX_PARTS = 2**16

SESSION_COLUMNS = ['id', 'lab', 'subject', 'date', 'number']
DATASET_COLUMNS = ['eid', 'rel_path', 'file_size']

COLUMNS = {'xxh128': 'xxh128', 'md5': 'hash'}
"""Where the digests are, those first that are computed faster."""


def verify(
    root: str | os.PathLike[str],
    *,
    index: str | os.PathLike[str] | None = None,
    fast: bool = False,
    hash: bool = False,
    part: tuple[int, int] = (1, 1),
    workers: int | None = None,
    executor: Executor | None = None,
    dask: Dask | None = None,
    progress: bool = False,
    follow_symlinks: bool | None = None,
    uuid_filenames: bool | None = None,
    endpoint: str | None = None,
    anonymous: bool = False,
) -> Verification:
    """Compare the tree below `root` with its index: every dataset is there, of its size, and nothing new.

    Parameters
    ----------
    root
        The folder that was indexed, or `s3://bucket/prefix`.
    index
        Folder of the tables, or where they are in a bucket; the root if None.
    fast
        Whether to compare only the numbers of sessions, datasets and bytes.
    hash
        Whether to read all files and compare their digests: XXH3-128 where the index has it, else MD5.
    part
        `(3, 10)`: the third of ten parts of the sessions. A session is in one of the ten, and stays in it
        whatever is added or taken away; the ten are about equal.
    workers, executor, dask, endpoint, anonymous
        As in `fastindex.build`.
    progress
        Whether to show a progress bar if standard error is a terminal.
    follow_symlinks, uuid_filenames
        Whether links to folders and files are followed; whether the names of the files carry the ids of the
        datasets. If None, as the index says that it was built.

    Returns
    -------
    verification
        Iterate over it for the differences, in the order of the index. The work is done meanwhile, and ends
        with the last step, or with `close`. Nothing is written anywhere.

    Raises
    ------
    UsageError, RootError, InvalidIndexError, WorkerError, ClusterError
        The last three from the iterator, as from anything that reads the index.

    Examples
    --------
    >>> for difference in fastindex.verify('/data', hash=True):  # doctest: +SKIP
    ...     print(difference.kind, difference)
    missing NYU-01/2019-08-16/001/alf/a.b.npy: expected 120 bytes, found nothing
    """
    number, count = part
    if not 1 <= number <= count <= MAX_PARTS:
        raise UsageError(f'part {number}/{count}: expected 1/{count} to {count}/{count}, as in 3/10')
    if fast and (hash or count > 1):
        raise UsageError('the fast level counts the whole tree: expected neither hash nor a part of it')
    check_workers(workers, executor, dask)
    return Verification(
        _VerifyTask(
            open_tree(
                root, follow_links=follow_symlinks is not False, endpoint=endpoint, anonymous=anonymous
            ),
            _locate(root if index is None else index, endpoint, anonymous),
            is_fast=fast,
            hashes=hash,
            part=Share(number, count),
            workers=(workers, executor, dask),
            progress=progress,
            follows_recipe=follow_symlinks is None,
            uuid_filenames=uuid_filenames,
        )
    )


class _VerifyTask(NamedTuple):
    """What is to be done. See `verify`."""

    tree: Tree
    folder: Path | Location
    is_fast: bool
    hashes: bool
    part: Share
    workers: tuple[int | None, Executor | None, Dask | None]
    progress: bool
    follows_recipe: bool
    """Whether links are followed as the index says."""
    uuid_filenames: bool | None


def _locate(folder: str | os.PathLike[str], endpoint: str | None, anonymous: bool) -> Path | Location:
    if not is_url(folder):
        return Path(os.path.realpath(folder))
    from fastindex.trees.s3 import Location

    return Location.parse(os.fspath(folder), endpoint=endpoint, anonymous=anonymous)


def _fetch(location: Location, stack: ExitStack) -> Path:
    """Copy an index out of a bucket, for as long as `stack` is open."""
    from tempfile import TemporaryDirectory

    from fastindex.tables.bucket import fetch_tables

    copy = Path(stack.enter_context(TemporaryDirectory(prefix='fastindex-')))
    fetch_tables(location, copy)
    return copy


class Verification(Iterator[Difference]):
    """The differences between a tree and its index, and counts of them. Made by `fastindex.verify`.

    Attributes
    ----------
    sessions, datasets, bytes
        What was found so far.
    differences
        For each kind the number of differences so far.
    problems
        The first thousand paths that could not be looked into where the index has nothing.
    problem_count
        Number of all of them.
    seconds
        Wall time up to the last difference, or the end.
    """

    def __init__(self, task: _VerifyTask) -> None:
        self.sessions = self.datasets = self.bytes = 0
        self.differences: Counter[Kind] = Counter()
        self.problems: list[Problem] = []
        self.problem_count = 0
        self.seconds = 0.0
        self._steps = _iter_differences(task, self)
        self._started: float | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Difference:
        self._started = self._started or time.monotonic()
        try:
            difference = next(self._steps)
        finally:
            self.seconds = time.monotonic() - self._started
        self.differences[difference.kind] += 1
        return difference

    def close(self) -> None:
        """End the work before its end."""
        self._steps.close()

    def add(self, sessions: pa.Table, datasets: pa.Table) -> None:
        """Count rows that a shard gave."""
        import pyarrow.compute as pc

        self.sessions += sessions.num_rows
        self.datasets += datasets.num_rows
        self.bytes += pc.sum(datasets['file_size']).as_py() or 0

    def add_problems(self, problems: Iterable[Problem]) -> None:
        """Count what could not be looked into."""
        for problem in problems:
            self.problem_count += 1
            if len(self.problems) < MAX_PROBLEMS:
                self.problems.append(problem)


def _iter_differences(task: _VerifyTask, counts: Verification) -> Generator[Difference, None, None]:
    with ExitStack() as stack:
        tree = stack.enter_context(closing(task.tree))
        pool = stack.enter_context(open_pool(tree, *task.workers))
        opened: list[Tables] = []

        def open_index() -> None:  # starts no thread, so that workers can be forked after it
            folder = task.folder if isinstance(task.folder, Path) else _fetch(task.folder, stack)
            opened.append(stack.enter_context(open_tables(folder)))

        discovery = discover(tree, UuidIdentity(), pool, load=open_index)
        stack.callback(discovery.close)
        (tables,) = opened
        recipe = Recipe.from_json(tables.datasets.facts)
        follows = isinstance(tree, ListsAhead) or recipe.follow_symlinks  # a bucket has no links
        if task.follows_recipe and follows != tree.follow_links:
            pool.close()
            tree = stack.enter_context(closing(open_tree(tree.root, follow_links=follows)))
            pool = stack.enter_context(open_pool(tree, *task.workers))
            discovery = discover(tree, UuidIdentity(), pool)
        algorithm = _choose_algorithm(tables.datasets) if task.hashes else None
        algorithms = (algorithm,) if algorithm else ()
        has_uuids = recipe.uuid_filenames if task.uuid_filenames is None else task.uuid_filenames
        expected = expect(tables, discovery, task.part, uuid_filenames=has_uuids)
        total = discovery.count_sessions() // task.part.total
        tasks = (
            ScanTask(
                expected.discovery.for_shard(tree, keys),
                expected.identity,
                keys,
                algorithms,
                uuid_filenames=has_uuids,
            )
            for keys in iter_shards(expected.iter_keys(), total, pool.workers)
        )
        scanned = scan(pool, tasks)  # the workers start here
        if isinstance(expected.identity, FilenameIdentity):
            scanned = iter_unique(scanned, recipe.namespace)
        run = _Comparison(task, counts, expected, Judge(tree, algorithm, discovery.tally.problems), algorithm)
        yield from run.iter_counts(scanned) if task.is_fast else run.iter_differences(scanned)


def _choose_algorithm(datasets: TableFile) -> str:
    """Choose the digest to compare, of those in the index."""
    import pyarrow as pa

    for algorithm, column in COLUMNS.items():
        i = datasets.schema.get_field_index(column)
        if i >= 0 and datasets.schema.field(i).type != pa.null() and _has_text(datasets, column):
            return algorithm
    raise InvalidIndexError(
        f'{escape(os.fspath(datasets.path))}: the index has no digests to compare with: ',
        hint='a build with `hash` makes it with them',
    )


def _has_text(table: TableFile, column: str) -> bool:
    """Tell whether a column of text has any: the client's own builder writes '' for no digest."""
    import pyarrow.compute as pc

    return any(
        pc.any(pc.greater(pc.binary_length(found[column]), 0)).as_py()
        for _, found in table.iter_batches([column], nulls=True)
    )


class _Found(NamedTuple):
    """What a shard gave."""

    sessions: pa.Table
    datasets: pa.Table
    problems: list[Problem]


class _Comparison:
    """One run, once the workers scan.

    Datasets of a session may turn out to be missing only when the next shard is there. So what is known of
    sessions and problems is kept for two shards.
    """

    def __init__(
        self, task: _VerifyTask, counts: Verification, expected: Expected, judge: Judge, algorithm: str | None
    ) -> None:
        self.task = task
        self.counts = counts
        self.expected = expected
        self.judge = judge
        self.algorithms = (algorithm,) if algorithm else ()
        self.digests = [COLUMNS[name] for name in self.algorithms]
        self.sessions, self.datasets = expected.read(*self.digests)
        self.paths = _SessionPaths(expected)

    def iter_counts(self, scanned: Scanned) -> Iterator[Difference]:
        """Compare no more than the totals."""
        for shard in self._iter_found(scanned):
            self.counts.add_problems(shard.problems)
        self.counts.add_problems(self.judge.close())
        for measure, expected in self.expected.total()._asdict().items():
            found = getattr(self.counts, measure)
            if expected != found:
                kind = Kind.MISSING if expected > found else Kind.UNEXPECTED
                yield Difference(Kind.RESIZED if measure == 'bytes' else kind, '', measure, expected, found)

    def iter_differences(self, scanned: Scanned) -> Iterator[Difference]:
        """Compare row by row."""
        for sessions, datasets, problems in self._iter_found(scanned):
            last: Row = ('', FLOOR)
            if datasets.num_rows:
                last = self.datasets.key(next(iter_rows(datasets.slice(datasets.num_rows - 1))))
            if sessions.num_rows:
                ids = sessions['id']
                yield from self._iter_until(ids[0].as_py())
                self._turn(sessions)
                last = max(last, (ids[-1].as_py(), FLOOR))
            self.judge.add_problems(problems)
            if sessions.num_rows:
                yield from self._compare_sessions(sessions.select(['id']), last[0])
            yield from self._compare_datasets(datasets, last)
        yield from self._iter_until(LAST)
        yield from self._compare_datasets(None, (LAST, CEILING))
        self.counts.add_problems(self.judge.close())

    def _iter_found(self, scanned: Scanned) -> Iterator[_Found]:
        """Count what shards gave; iterate over their rows, with the columns that the index is read with."""
        hashes = self.task.hashes
        wanted = self.task.progress
        totals = self.expected.total() if wanted else None
        bar = open_bar(
            total=totals and (totals.bytes if hashes else totals.datasets),
            unit='B' if hashes else 'dataset',
            description='verifying',
            enabled=wanted,
            bytes=hashes,
        )
        with closing(bar):
            for result, hashed in scanned:
                sessions, datasets, _ = complete(result, hashed, self.algorithms)
                before = self.counts.bytes
                self.counts.add(sessions, datasets)
                tallies = [result.tally, *(big.tally for big in hashed)]
                problems = [problem for tally in tallies for problem in tally.problems]
                bar.update(self.counts.bytes - before if hashes else datasets.num_rows)
                yield _Found(
                    sessions.select(SESSION_COLUMNS),
                    datasets.select([*DATASET_COLUMNS, *self.digests]),
                    problems,
                )

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
        for row, other in iter_unequal(self.sessions, found, (end,)):
            if row is None and other is not None:
                path = self.paths.find(other[0])
                yield Difference(Kind.UNEXPECTED, path, 'type', None, 'folder')
            elif row is not None:
                self.paths.add(row)
                if difference := self.judge.judge_session(self.paths.find(row[0])):
                    yield difference

    def _compare_datasets(self, found: pa.Table | None, end: Row) -> Iterator[Difference]:
        for row, other in iter_unequal(self.datasets, found, end):
            difference = None
            if row is not None and other is not None and row[1] == other[1]:
                difference = self.judge.compare(self._path_of(row), row, other)
            elif row is not None:  # in a forged index, with the id of another path
                difference = self.judge.judge_dataset(self._path_of(row), row)
            if difference:
                yield difference
            if other is not None and (row is None or row[1] != other[1]):
                yield Difference(Kind.UNEXPECTED, self._path_of(other), 'size_bytes', None, other[2])

    def _path_of(self, row: Row) -> str:
        return f'{self.paths.find(row[0])}/{row[1]}'


class _SessionPaths:
    """The paths of sessions by eid, of the last two shards, and of those between them that are missing."""

    def __init__(self, expected: Expected) -> None:
        self._expected = expected
        self._tables: list[pa.Table | None] = [None, None]
        self._added: list[dict[str, Row]] = [{}, {}]
        self._rows: dict[str, Row] = {}

    def turn(self, sessions: pa.Table) -> None:
        """Take the sessions of a new shard; forget those of the one before the last."""
        self._tables = [self._tables[1], sessions]
        self._added = [self._added[1], {}]
        self._rows = {}

    def add(self, row: Row) -> None:
        """Take a session that is not in the shard."""
        self._added[1][row[0]] = row
        self._rows = {}

    def find(self, eid: str) -> str:
        """Find the path of a session; of one that nobody knows, its eid."""
        if not self._rows:  # most often nobody asks
            tables = [iter_rows(table) for table in self._tables if table is not None]
            self._rows = {
                row[0]: row for rows in (*tables, *(a.values() for a in self._added)) for row in rows
            }
        row = self._rows.get(eid)
        return eid if row is None else self._expected.session_path(row)

"""Verify an index: is the data what it says? A build's own stages, with rows compared where it writes them.

    discover the sessions -> cut them into shards -> scan each in a worker -> compare with the index, in order

So a name is judged, a file measured and read by the code that made the index, and as fast.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fastindex.errors import UsageError, naming_shortage
from fastindex.jobs.verify.comparison import Comparison, choose_algorithm
from fastindex.jobs.verify.expected import Share, expect
from fastindex.jobs.verify.judge import Difference, Judge, Kind
from fastindex.lazy import pa
from fastindex.names.given_ids import FilenameIdentity
from fastindex.names.ids import UuidIdentity
from fastindex.names.problems import Problem
from fastindex.pipeline.collect import iter_unique
from fastindex.pipeline.discover import discover
from fastindex.pipeline.scan import ScanTask, scan
from fastindex.pipeline.shard import iter_shards
from fastindex.progress import announce
from fastindex.tables.check import Tables, open_tables
from fastindex.tables.columns import sum_bytes
from fastindex.tables.foreign import read_recipes
from fastindex.tables.recipe import Recipe
from fastindex.text import escape, to_text
from fastindex.trees import Access, ListsAhead, Tree, is_url, open_tree
from fastindex.trees.exclude import leave_out
from fastindex.workers.pool import check_workers, open_pool

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from fastindex.trees.store import Location
    from fastindex.workers.pool import Dask

__all__ = ['Verification', 'verify']

MAX_PROBLEMS = 1000  # problems that are kept; all are counted
MAX_PARTS = 2**16


@naming_shortage()
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
    requester_pays: bool = False,
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
    workers, executor, dask, endpoint, anonymous, requester_pays
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
        raise UsageError(hint='`fast` counts the whole tree: expected neither `hash` nor `part`')
    check_workers(workers, executor, dask)
    access = Access(endpoint, anonymous, requester_pays)
    folder = _locate(root if index is None else index, access)
    recipe = _find_recipe(folder)
    follows = is_url(root) or recipe.follow_symlinks if follow_symlinks is None else follow_symlinks
    return Verification(
        _VerifyTask(
            leave_out(open_tree(root, follow_links=follows, access=access), **recipe.leave_out),
            folder,
            recipe,
            is_fast=fast,
            hashes=hash,
            part=Share(number, count),
            workers=(workers, executor, dask),
            progress=progress,
            follow_symlinks=follow_symlinks,
            uuid_filenames=uuid_filenames,
        )
    )


class _VerifyTask(NamedTuple):
    """What is to be done. See `verify`."""

    tree: Tree
    folder: Path | Location
    recipe: Recipe  # by which the tree was opened
    is_fast: bool
    hashes: bool
    part: Share
    workers: tuple[int | None, Executor | None, Dask | None]
    progress: bool
    follow_symlinks: bool | None
    uuid_filenames: bool | None


def _locate(folder: str | os.PathLike[str], access: Access) -> Path | Location:
    if not is_url(folder):
        return Path(os.path.realpath(folder))
    from fastindex.trees.store import Location

    return Location.parse(os.fspath(folder), access)


def _find_recipe(folder: Path | Location) -> Recipe:
    """Find how an index was made, before it is opened; as without options where that is not known yet."""
    recipes = read_recipes(folder) if isinstance(folder, Path) else set()
    return recipes.pop() if len(recipes) == 1 else Recipe()


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
        self._root = to_text(task.tree.root)
        self._steps = _iter_differences(task, self)
        self._started: float | None = None

    @naming_shortage()
    def __next__(self) -> Difference:
        self._started = self._started or time.monotonic()
        try:
            difference = next(self._steps)
        finally:
            self.seconds = time.monotonic() - self._started
        self.differences[difference.kind] += 1
        return difference

    def __repr__(self) -> str:
        return f'<Verification of {escape(self._root)}: `list` or a loop gets the differences, one by one>'

    def close(self) -> None:
        """End the work before its end."""
        self._steps.close()

    def add(self, sessions: pa.Table, datasets: pa.Table) -> None:
        """Count rows that a shard gave."""
        self.sessions += sessions.num_rows
        self.datasets += datasets.num_rows
        self.bytes += sum_bytes(datasets['file_size'])

    def add_problems(self, problems: list[Problem]) -> None:
        """Count what could not be looked into."""
        self.problem_count += len(problems)
        self.problems += problems[: MAX_PROBLEMS - len(self.problems)]


def _iter_differences(task: _VerifyTask, counts: Verification) -> Generator[Difference, None, None]:
    with ExitStack() as stack:
        tree = stack.enter_context(closing(task.tree))
        pool = stack.enter_context(open_pool(tree, *task.workers))
        opened: list[Tables] = []

        def open_index() -> None:  # starts no thread, so that workers can be forked after it
            folder = task.folder
            if not isinstance(folder, Path):
                from fastindex.tables.publish_bucket import open_copy

                folder = stack.enter_context(open_copy(folder))
            opened.append(stack.enter_context(open_tables(folder)))

        with announce('looking for sessions', enabled=task.progress):
            discovery = discover(tree, UuidIdentity(), pool, load=open_index)
        stack.callback(discovery.close)
        (tables,) = opened
        recipe = tables.recipe
        has_links = not isinstance(tree, ListsAhead)
        asks = has_links and task.follow_symlinks is None
        follows = recipe.follow_symlinks if asks else tree.follow_links
        if follows != tree.follow_links or recipe.leave_out != task.recipe.leave_out:
            pool.close()  # in a bucket, or exchanged since: it is only known now
            if has_links:
                tree = stack.enter_context(closing(open_tree(tree.root, follow_links=follows)))
            tree = leave_out(tree, **recipe.leave_out)
            pool = stack.enter_context(open_pool(tree, *task.workers))
            discovery = discover(tree, UuidIdentity(), pool)
            stack.callback(discovery.close)
        algorithms = (choose_algorithm(tables.datasets),) if task.hashes else ()
        has_uuids = recipe.uuid_filenames if task.uuid_filenames is None else task.uuid_filenames
        expected = expect(tables, discovery, task.part, uuid_filenames=has_uuids)
        total = discovery.count_sessions() // task.part.total
        tasks = (
            ScanTask(
                expected.discovery.for_shard(tree, keys),
                expected.identity,
                keys,
                Recipe(algorithms=algorithms, uuid_filenames=has_uuids),
            )
            for keys in iter_shards(expected.iter_keys(), total, pool.workers, weigh=expected.discovery.weigh)
        )
        scanned = scan(pool, tasks)  # the workers start here
        if isinstance(expected.identity, FilenameIdentity):
            scanned = iter_unique(scanned, recipe.namespace)
        judge = Judge(tree, algorithms, discovery.tally.problems)
        comparison = Comparison(expected, judge, counts, progress=task.progress)
        yield from (comparison.iter_counts(scanned) if task.is_fast else comparison.iter_differences(scanned))

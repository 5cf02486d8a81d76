"""Validate the names in a tree: discover, survey, shard, check. The other place that knows the stages.

Reads what a build reads, judges every name, and measures, opens and writes nothing.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Collection, Generator, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from fastindex.errors import UsageError, naming_shortage
from fastindex.jobs.validate.layout import NotingTree, survey
from fastindex.jobs.validate.sessions import CheckResult, CheckTask
from fastindex.names.given_ids import SeenIds, uuids_of
from fastindex.names.ids import PathIdentity
from fastindex.names.rules import RULES, Finding, Severity, find_rule
from fastindex.pipeline.discover import discover
from fastindex.pipeline.shard import iter_shards
from fastindex.progress import announce, open_bar
from fastindex.text import escape, to_text
from fastindex.trees import is_url, open_tree
from fastindex.trees.exclude import check_patterns, leave_out
from fastindex.workers.pool import check_workers, open_pool

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from fastindex.workers.pool import Dask

__all__ = ['Findings', 'validate']


@naming_shortage()
def validate(
    root: str | os.PathLike[str],
    *,
    workers: int | None = None,
    executor: Executor | None = None,
    dask: Dask | None = None,
    follow_symlinks: bool = True,
    exclude: Collection[str] = (),
    one_file_system: bool = False,
    deep: bool = False,
    ignore: Collection[str] = (),
    min_severity: str = Severity.INFO,
    uuid_filenames: bool = False,
    progress: bool = False,
) -> Findings:
    """Judge the names of all folders and files below `root` against ALF.

    Parameters
    ----------
    root
        The folder that has the labs or the subjects in it.
    workers
        Processes that check; the CPUs that this process may use if None; 1 checks in this process.
    executor, dask
        Check in their place, as in `fastindex.build`.
    exclude, one_file_system
        What is left out, as for the index; patterns of `.fastindexignore` in the root count anyway.
    follow_symlinks
        Whether links to folders and files are followed. Where not, nothing outside the root is read.
    deep
        Whether to open arrays and tables too: they are whole, and those of an object have one length. And
        what `session_info` of a build reads.
    ignore
        Codes of rules, see `fastindex.RULES`, that are not to be looked at.
    min_severity
        `info` for all findings, `warning`, or `error`.
    uuid_filenames
        Whether the names of the files are to carry the UUIDs of the datasets, `name.<uuid>.ext`, as for a
        build; takes 20 bytes of memory a dataset.
    progress
        Whether to show a progress bar if standard error is a terminal.

    Returns
    -------
    findings
        An iterator, sorted by path whatever the number of workers; they are found while it is read.

    Raises
    ------
    UsageError
        If an option makes no sense.
    RootError
        If the root is no folder that can be listed.

    Examples
    --------
    >>> for finding in validate('/data', min_severity='error'):  # doctest: +SKIP
    ...     print(finding.code, finding.path, finding.fix)
    ALF117 lab/Subjects/s1/2024-05-06/1 lab/Subjects/s1/2024-05-06/001
    """
    check_workers(workers, executor, dask)
    if is_url(root):
        raise UsageError(f'{escape(root)}: validate looks at folders on a disk, not into a bucket')
    codes = _choose_codes(ignore, min_severity)
    tree = open_tree(root, follow_links=follow_symlinks)
    tree = leave_out(tree, exclude=check_patterns(exclude), one_file_system=one_file_system)
    task = CheckTask(tree, [], codes, deep, uuid_filenames)
    return Findings(task, (workers, executor, dask), progress=progress)


def _choose_codes(ignore: Collection[str], min_severity: str) -> frozenset[str]:
    if isinstance(ignore, str):
        raise UsageError(f'ignore={ignore!r} is a string: expected a collection, such as [{ignore!r}]')
    ignored = {find_rule(code).code for code in ignore}
    severities = list(Severity)
    if min_severity not in severities:
        raise UsageError(f'unknown severity {min_severity!r}: expected one of {", ".join(severities)}')
    wanted = severities[: severities.index(Severity(min_severity)) + 1]
    return frozenset(code for code, rule in RULES.items() if rule.severity in wanted and code not in ignored)


class Findings(Iterator[Finding]):
    """The findings of `validate`, sorted by path; found while they are read. May be closed before its end.

    Attributes
    ----------
    sessions, folders, files
        How many were looked at so far; folders and files are those in sessions.
    """

    def __init__(
        self, task: CheckTask, workers: tuple[int | None, Executor | None, Dask | None], *, progress: bool
    ) -> None:
        self.sessions = self.folders = self.files = 0
        self.task = task
        self._workers = workers
        self._progress = progress
        self._findings = self._find()

    @naming_shortage()
    def __next__(self) -> Finding:
        return next(self._findings)

    def __repr__(self) -> str:
        return f'<Findings of {escape(to_text(self.task.tree.root))}: `list` or a loop gets them, one by one>'

    def close(self) -> None:
        """End the workers; there are no more findings."""
        self._findings.close()

    def again(self) -> Findings:
        """Get findings of the same tree by the same options, of which none was read yet."""
        return Findings(self.task, self._workers, progress=self._progress)

    def _find(self) -> Generator[Finding, None, None]:
        identity, tree = PathIdentity(), self.task.tree
        with closing(tree), open_pool(tree, *self._workers) as pool:
            with announce('looking for sessions', enabled=self._progress):
                found = discover(NotingTree(tree), identity, pool, list_skips=True)
            sessions = sorted(map(identity.session_path, found.iter_keys()))
            shards = iter_shards((path.encode() for path in sessions), len(sessions), pool.workers)
            results = pool.run(self.task._replace(paths=shard) for shard in shards)  # the workers start here
            above = [f for f in survey(tree, sessions, found.tally) if f.code in self.task.codes]
            below = self._iter_below(results, len(sessions))
            # Both are sorted by path, and so is what comes out.
            yield from heapq.merge(above, below, key=lambda finding: (finding.path, finding))

    def _iter_below(self, results: Iterator[tuple[CheckResult, object]], total: int) -> Iterator[Finding]:
        bar = open_bar(total=total, unit='session', description='checking', enabled=self._progress)
        seen = SeenIds()
        with closing(bar):
            for result, _ in results:
                self.sessions += result.sessions
                self.folders += result.folders
                self.files += result.files
                bar.update(result.sessions)
                uuids = uuids_of([path.encode() for path in result.uuid_paths])
                is_new = [seen.add(uuid) for uuid in uuids]
                twins = [path for path, new in zip(result.uuid_paths, is_new, strict=True) if not new]
                below = (result.findings, self._iter_twins(twins))
                yield from heapq.merge(*below, key=lambda finding: (finding.path, finding))

    def _iter_twins(self, paths: list[str]) -> Iterator[Finding]:
        message = 'a file before it has this UUID: to the client they would be one dataset'
        for path in paths if 'ALF313' in self.task.codes else ():
            yield Finding.make('ALF313', path, message)

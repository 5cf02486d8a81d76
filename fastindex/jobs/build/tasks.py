"""The tasks of a build: shards of sessions, each with what is known of its own.

What is known is read in step with the shards, which are cut by it: none has more than a task may hold.
"""

from __future__ import annotations

from collections.abc import Iterator

from fastindex.jobs.build.summary import Report
from fastindex.pipeline.discover import Discovery
from fastindex.pipeline.scan import ScanTask
from fastindex.pipeline.shard import MAX_SESSIONS, iter_shards
from fastindex.tables.journal import KnownDigests
from fastindex.trees import Tree
from fastindex.workers.pool import Pool

__all__ = ['iter_tasks']


def iter_tasks(
    tree: Tree, found: Discovery, known: KnownDigests | None, report: Report, pool: Pool
) -> Iterator[ScanTask]:
    """Cut the sessions into shards, and make a task of each."""
    options, adopted = report.options, report.options.adopted
    sources = [source.weigh for source in (found, known, adopted) if source is not None]
    weighs = [weigh for weigh in sources if weigh is not None]
    weigh = (lambda key: sum(weigh(key) for weigh in weighs)) if weighs else None
    count, most = found.count_sessions(), MAX_SESSIONS * pool.task_size
    for keys in iter_shards(found.iter_keys(), count, pool.workers, max_sessions=most, weigh=weigh):
        yield ScanTask(
            found.for_shard(tree, keys),
            options.identity_of(keys),
            keys,
            options.recipe,
            options.lab,
            options.on_skip is not None,
            known.for_shard(keys) if known else None,
            report.with_folders,
        )

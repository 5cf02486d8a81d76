"""Build an index: the one place that knows the order of the stages."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from fastindex.errors import EmptyTreeError, naming_shortage
from fastindex.jobs.build.carry_on import Wish, carry_on, follows_links
from fastindex.jobs.build.guard import has_all, refuse_to_lose
from fastindex.jobs.build.options import (
    Options,
    adopt,
    check_lab,
    check_questions,
    check_values,
    choose_target,
    choose_trust,
    list_tables,
    open_outcomes,
)
from fastindex.jobs.build.scope import Scope
from fastindex.jobs.build.summary import Report, Summary
from fastindex.jobs.build.tasks import iter_tasks
from fastindex.jobs.build.update import keeps_folders, open_listings, select
from fastindex.jobs.build.write import write_stage
from fastindex.names.ids import UuidIdentity
from fastindex.names.problems import Skip
from fastindex.pipeline.discover import Discovery, discover
from fastindex.pipeline.scan import scan
from fastindex.progress import announce
from fastindex.tables.check import Published
from fastindex.tables.journal import KnownDigests, Recorder
from fastindex.tables.losses import Limit
from fastindex.tables.publish import Stage
from fastindex.tables.recipe import Recipe
from fastindex.tables.schema import date_created_now
from fastindex.tables.target import open_draft, open_target, recover
from fastindex.trees import Access, ListsAhead, Tree, is_url, open_tree
from fastindex.trees.digests import check_algorithms
from fastindex.trees.exclude import check_patterns, leave_out
from fastindex.trees.roots import explain_empty
from fastindex.workers.pool import Pool, check_workers, open_pool

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from fastindex.tables.changes import Change
    from fastindex.workers.pool import Dask

__all__ = ['build', 'build_index', 'recover', 'run_stages']


@naming_shortage()
def build(
    root: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    hash: Collection[str] | bool | None = None,
    executor: Executor | None = None,
    dask: Dask | None = None,
    progress: bool = False,
    follow_symlinks: bool | None = None,
    namespace: UUID | None = None,
    ids_from: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Literal[False] | None = None,
    default_revision: str | None = None,
    uuid_filenames: bool | None = None,
    qc: str | os.PathLike[str] | None = None,
    fresh: bool = False,
    only: Collection[str | os.PathLike[str]] | None = None,
    new: bool = False,
    exclude: Collection[str] | None = None,
    one_file_system: bool | None = None,
    session_info: bool | None = None,
    trust: Collection[str] | None = None,
    wait: float = 0,
    quick: bool = False,
    rehash: bool = False,
    allow_empty: bool = False,
    allow_removal: bool = False,
    max_removed: int | str | None = None,
    keep: int | None = None,
    force: bool = False,
    dry_run: bool = False,
    check: bool = False,
    on_skip: Callable[[Skip], None] | None = None,
    on_change: Callable[[Change], None] | None = None,
    endpoint: str | None = None,
    anonymous: bool = False,
    requester_pays: bool = False,
) -> Summary:
    """Index the tree below `root`: write sessions.pqt and datasets.pqt, which the ONE client opens.

    An index that is there is brought up to date as it was made: what is None of `hash`, `follow_symlinks`,
    `namespace`, `ids_from` and `uuid_filenames` is as it was, and `Summary.as_before` says so.

    Parameters
    ----------
    root
        The folder that has the labs or the subjects in it, or `s3://bucket/prefix`.
    out
        Folder for the tables, which must exist, or `s3://bucket/prefix`; the root if None. The root itself
        may then be read-only.
    workers
        Tasks at once, in as many processes as there are CPUs, and in threads of these. If None, one a CPU
        that this process may use, and up to 64 where the disk lets them wait; 1 scans in this process.
    hash
        Digests to compute, of `xxh128` (column `xxh128`) and `md5` (column `hash`, which the client checks);
        True is `xxh128`; False or `()` computes none, as a first run does unless told.
    executor
        Runs the shards instead of processes of our own: any `concurrent.futures.Executor`.
    dask
        Runs the shards, too: the address of a Dask scheduler, a scheduler file, or a client, which stays the
        caller's. All workers must see the root in the same place.
    progress
        Whether to show a progress bar if standard error is a terminal.
    follow_symlinks
        Whether links to folders and files are followed, as in a first run. Where not, nothing outside the
        root is read.
    namespace
        Of the eids, for trees without labs that are to be merged; `NAMESPACE` in a first run.
    ids_from
        Tables (an Alyx database's, the client's own), by their folder or one of their files, or several of
        these: ids, task_protocol, projects, qc and columns that other indexes have not are kept, for the
        sessions and datasets that they know; later tables fill the gaps of earlier ones. The next runs keep
        what the index then has, unless tables are named again; False makes our ids, and keeps the rest. If
        it is the folder for the tables, those are replaced.
    default_revision
        Which revision of a dataset the client loads where none is named: the `newest`, as in a first run, or
        the one `known` as such by the tables whose ids are kept and the index before, while it is there.
    exclude, one_file_system
        Patterns, as of gitignore, of what is left out; whether that is too what is mounted below the root.
    session_info
        Whether `projects` and `task_protocol` are what the sessions' own files say, as the IBL's rigs write
        them, where neither people nor the tables of `ids_from` say something else.
    trust
        By what a file is known again that need not be read, and a folder by `quick`: `size` and `mtime`, and
        with these `ctime`, `inode`, or both as in a first run, where the disk keeps them.
    wait
        Seconds that another run on the same index may yet take, before it is a LockedError.
    uuid_filenames
        Whether the names of the files carry the UUIDs of the datasets, `name.<uuid>.ext`: these are the ids,
        and not in the rel_paths. Takes 20 bytes of memory a dataset. Not in a first run.
    qc
        CSV file of outcomes for the column qc, which later runs carry on: in each line the path or eid of a
        session, the rel_path or id of a dataset, and NOT_SET, PASS, WARNING, FAIL or CRITICAL.
    fresh
        Whether it makes no difference how the index there was made: what is None is as in a first run.
    only, new, quick
        Which sessions are scanned, where not all are; the rows of the others are those of the index. Those in
        these folders (of labs, subjects, dates, sessions); those that it does not have; besides those, the
        ones in which names have come or gone, but not what was written into a file (the first run scans all).
    rehash
        Whether all files are read again. Where not, a digest of the published index is reused if the file's
        size, mtime, ctime and inode are as they were, and both times were older than that scan by a minute.
    allow_empty, allow_removal
        Whether an empty index may be written, also over one that has rows; whether much of what the index
        has may go as it is not there any more.
    max_removed
        How much may go unasked: sessions, or a part of the sessions or datasets as in '5%'; if None, 10 %, or
        less than ten sessions. Empty labs, and empty subjects that had more than three sessions, are asked
        about in any case.
    keep
        How many of the indexes that were replaced are kept, to be put back by `fastindex.restore`; as many as
        there are if None, but one at least.
    force
        Whether tables may be replaced that another program wrote, or that are links; what a link leads to is
        left alone.
    dry_run, check
        Whether to write nothing; the latter finds out what has changed since the index was made.
    on_skip, on_change
        Called with each name that does not belong in the index; with each change since the last one.
    endpoint, anonymous, requester_pays
        For `s3://bucket/prefix`: URL of the store, if not as the environment and the profile say; whether no
        credentials are used; whether who asks pays, which such a bucket wants to hear.

    Raises
    ------
    ForeignTableError
        If another program wrote the tables that are there, and nobody said what to do with them.
    LossError, UsageError, RootError, EmptyTreeError, IdClashError, LockedError, PublishError, StoreError,
    WorkerError, ClusterError
        See `fastindex.errors`. The index that was there still is.

    Examples
    --------
    >>> build('/data', workers=16, hash=True).datasets  # doctest: +SKIP
    73995
    """
    check_values(namespace, default_revision, keep, wait)
    check_workers(workers, executor, dask)
    check_questions(check=check, dry_run=dry_run, is_part=new or quick or only is not None)
    target = choose_target(root, out, dry_run=dry_run)
    tables = list_tables(ids_from)
    wish = Wish(
        namespace=namespace,
        ids_from=None if ids_from is None else bool(tables),
        follow_symlinks=follow_symlinks,
        uuid_filenames=uuid_filenames,
        algorithms=None if hash is None else check_algorithms(hash),
        default_revision=default_revision,
        exclude=None if exclude is None else check_patterns(exclude),
        one_file_system=one_file_system,
        session_info=session_info,
        trust=choose_trust(trust, root),
    )
    overwrite = force or os.path.realpath(target) in map(os.path.realpath, tables)
    with ExitStack() as stack:
        access = Access(endpoint, anonymous, requester_pays)
        tree = open_tree(root, follow_links=follows_links(target, wish, fresh=fresh), access=access)
        stack.callback(lambda: tree.close())
        scope = Scope.parse(tree.root, only=only, new=new, quick=quick)  # what is wrong is told before a wait
        outcomes = open_outcomes(qc, is_part=scope is not None)
        limit = None if allow_removal else Limit.parse(max_removed)
        mirror = stage = None
        if is_url(target):
            from fastindex.tables.publish_bucket import open_bucket

            target, mirror = open_bucket(stack, str(target), access, dry_run=dry_run, wait_s=wait)
        folder = Path(os.path.realpath(target))
        if not (check or dry_run):
            url = mirror and mirror.location.url
            place = open_target(folder, force=force, overwrite=overwrite, url=url, wait_s=wait)
            stage = stack.enter_context(place)
        recipe, as_before = carry_on(folder, wish, replaces=stage is not None, fresh=fresh, force=force)
        tree = _open_again(tree, root, recipe)
        adopted = adopt(tables, recipe, folder, progress=progress)
        options = Options(
            recipe=recipe,
            as_before=as_before,
            scope=scope,
            adopted=adopted,
            carries=True,
            forgets=fresh or force,
            offers_info=session_info is None,
            outcomes=outcomes,
            reuse=not rehash,
            allow_empty=allow_empty,
            max_removed=limit,
            keep=keep,
            progress=progress,
            on_skip=on_skip,
            on_change=on_change,
        )
        summary = run_stages(tree, None if dry_run else folder, stage, options, (workers, executor, dask))
        if mirror is not None and not check:
            mirror.publish()
            return summary.at(mirror.location.url)
        return summary


def _open_again(tree: Tree, root: str | os.PathLike[str], recipe: Recipe) -> Tree:
    """Open a tree as a recipe says: with links or without, and without what is left out."""
    if recipe.follow_symlinks != tree.follow_links and not isinstance(tree, ListsAhead):
        tree.close()
        tree = open_tree(root, follow_links=recipe.follow_symlinks)
    return leave_out(tree, **recipe.leave_out)


def build_index(
    tree: Tree,
    *,
    out: Path,
    options: Options,
    overwrite: bool = False,
    workers: int | None = None,
    executor: Executor | None = None,
    dask: Dask | None = None,
) -> Summary:
    """Index a tree as the options say, however the index that is there was made. See `build`."""
    with open_target(out, overwrite=overwrite) as stage:
        return run_stages(tree, out, stage, options, (workers, executor, dask))


def run_stages(
    tree: Tree,
    out: Path | None,
    stage: Stage | None,
    options: Options,
    workers: tuple[int | None, Executor | None, Dask | None],
) -> Summary:
    """Index a tree: discover, shard, scan, collect, publish.

    out: folder of the tables that are compared with what is found; None where nothing is to be written at all
    stage: that of this folder, from `fastindex.tables.target.open_target`; None publishes nothing
    workers: how many, or whose, as `fastindex.workers.pool.open_pool` takes them
    """
    started = time.monotonic()
    date_created = date_created_now()
    with closing(tree), ExitStack() as stack:
        pool = stack.enter_context(open_pool(tree, *workers))
        published = None if out is None else Published(out)
        with announce('looking for sessions', enabled=options.progress):
            found, known = _discover(tree, published, options, pool, stack)
        selection = select(options, tree, found, published, pool)
        found = selection.found if selection else found
        carrier = None
        if options.carries and (options.adopted or options.outcomes or (published and published.is_there)):
            from fastindex.jobs.build.adopt import open_carrier

            carrier = open_carrier(published, options)
        report = Report(tree, options, found, carrier, with_folders=keeps_folders(options, published))
        recorder = None
        if stage is not None and options.journaled:
            recorder = Recorder(stage.state, options.journaled, is_new=not options.reuse)
        scanned = scan(pool, iter_tasks(tree, found, known, report, pool), recorder)  # starts the workers
        if options.recipe.uuid_filenames:
            from fastindex.pipeline.collect import iter_unique

            scanned = iter_unique(scanned, options.recipe.namespace)
        stack.enter_context(report)
        if published is None:
            for result, hashed in scanned:
                report.add(result, hashed)
                if carrier is not None:  # it counts
                    report.complete(result, hashed)
            return report.summary(started)
        with open_draft() if stage is None else stage.open() as staged:
            generation = write_stage(scanned, staged, report, date_created, selection, found.noted)
            pool.close()  # whatever the workers have inherited: nothing is open when it is replaced
            refuse_to_lose(published.folder, report)
            report.compare(published, staged, generation)
            if stage is not None:
                keep = published.to_keep(options.keep, generation, is_part=selection is not None)
                stage.publish(keep=keep, covers=has_all(report))
                if recorder is not None and options.scope is None:
                    recorder.drop()
    return report.summary(started, out=None if stage is None else out, generation=generation)


def _discover(
    tree: Tree, published: Published | None, options: Options, pool: Pool, files: ExitStack
) -> tuple[Discovery, KnownDigests | None]:
    """Discover all sessions; load pyarrow, for the workers to inherit, and what is known."""
    known = None

    def load() -> None:
        nonlocal known
        import pyarrow  # noqa: F401

        if options.recipe.algorithms and options.reuse and published is not None:
            known = KnownDigests.open(
                published,
                options.recipe,
                options.identity_of,
                root=Path(tree.root),
                is_sparse=bool(options.scope),
                is_renamed=options.adopted is not None and options.adopted.is_of_others(published.folder),
            )

    part = tree if options.scope is None else options.scope.narrow(tree)
    listings, list_skips = open_listings(options, published), options.on_skip is not None
    identity = options.identity
    if options.adopted is not None and not isinstance(part, ListsAhead):
        identity = UuidIdentity(options.recipe.namespace.bytes)  # no worker need have all that is known
    found = discover(part, identity, pool, list_skips=list_skips, load=load, listings=listings)
    files.callback(found.close)
    if options.adopted is not None:
        if identity is not options.identity:
            found = found.renamed(options.identity, list(map(identity.session_path, found.iter_keys())))
        found = options.adopted.settle(found)
    may_be_empty = options.allow_empty or (options.scope is not None and options.scope.only is not None)
    if not (found.count_sessions() or may_be_empty):
        raise EmptyTreeError(
            explain_empty(tree, found.tally.problems), hint='`allow_empty` writes an empty one.'
        )
    if options.lab is not None:
        check_lab(found, options.identity, options.lab)
    return found, known

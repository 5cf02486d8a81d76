"""Release a tree: validate, index, plan, pack, put in place. The one way through it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, NamedTuple
from uuid import UUID

from fastindex.errors import FastindexError, ReleaseError, naming_shortage
from fastindex.files import open_outputs, temporary_folder
from fastindex.folders import ask_about
from fastindex.jobs.build.build import build, recover
from fastindex.jobs.build.summary import Summary
from fastindex.jobs.read.index import Index, open_unlinked
from fastindex.jobs.read.search import Query
from fastindex.jobs.release.archive import Source, seal, write_archive
from fastindex.jobs.release.pack import MANIFESTS, Packing
from fastindex.jobs.release.plan import SPLITS, Part, check_beside, iter_warnings, select_rows, split_rows
from fastindex.jobs.release.preflight import (
    ArchiveFormat,
    check_choice,
    check_place,
    choose_making,
    count_findings,
    find_aggregates,
    find_descriptions,
    name_parts,
    parse_out,
    replacing_parts,
)
from fastindex.jobs.release.summary import Archive, Release
from fastindex.jobs.release.tables import (
    list_client_tables,
    open_index_folder,
    write_client_tables,
    write_tables,
)
from fastindex.progress import Bar, open_bar
from fastindex.tables.file import TABLES
from fastindex.text import escape, from_system, to_count, to_text
from fastindex.trees import Tree, open_tree
from fastindex.trees.exclude import leave_out
from fastindex.workers.pool import Pool, check_workers, default_workers

if TYPE_CHECKING:
    from fastindex.workers.pool import Dask

__all__ = ['release']

FIRST_YEAR, LAST_YEAR = 1980, 2107
"""What ZIP can write."""

TABLE_BYTES = 100_000
"""Most that the tables of a part have beside their rows, and the manifest and the archive beside theirs."""


@naming_shortage()
def release(
    root: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    name: str | None = None,
    select: Query | None = None,
    manifest: str = 'md5',
    split_bytes: int | None = None,
    split_by: str = 'lab',
    index: str | os.PathLike[str] | None = None,
    namespace: UUID | None = None,
    ids_from: str | os.PathLike[str] | None = None,
    follow_symlinks: bool | None = None,
    workers: int | None = None,
    dask: Dask | None = None,
    force: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: bool = False,
) -> Release:
    """Validate and index the tree below `root`, and write index and datasets into one archive.

    Unpacked into an empty folder it is a tree that the ONE client opens. The same tree gives the same bytes,
    on every machine and day, with any number of workers.

    Parameters
    ----------
    root
        The folder that has the labs or the subjects in it. Its index is made or brought up to date.
    out
        The archive, `….zip` or `….tar.zst`, outside of the root.
    name
        What the tables call their origin; the name of the root's folder if None.
    select
        Only the sessions that answer this query, with an index of them.
    manifest
        Digest of each file in `manifest-….txt`: `md5`, `xxh128` or `sha256`.
    split_bytes
        Size that no archive exceeds: then there are several, `….part1.zip` and so on, each with an index.
    split_by
        What stays together: `lab` or `subject`.
    index
        Where the index of the tree is, if not in the root.
    namespace, ids_from
        As for `fastindex.build`. An index that is there is brought up to date as it was made: in its
        namespace, by the UUIDs in the names of files, with or without links. One that has the ids of other
        tables keeps those that it has, unless `ids_from` names the tables again. Tables that another program
        wrote stay as they are: what they know is in the tables of the release.
    follow_symlinks
        Whether what links lead to is released as if it were there, or links are left out. If None, they are
        left out where the index that is there was made so; else a link below a session is an error: what is
        published should be meant to be.
    workers
        Tasks at once that validate, scan and compress. If None, as for `fastindex.build`.
    dask
        The cluster that validates and scans, as for `fastindex.build`: what goes into the archive, which is
        one file, is read and compressed by processes here.
    force
        Whether errors of `validate`, and paths that cannot be indexed, do not matter: what has no row in the
        index is not released.
    overwrite
        Whether an archive that is there is replaced, once the new one is complete.
    dry_run
        Whether to write nothing, the index included.
    progress
        Whether to show a progress bar if standard error is a terminal.

    Raises
    ------
    FindingsError
        If `validate` finds errors.
    ForeignTableError
        If something is in the place of the tables that is none.
    ReleaseError
        If the archive cannot be made: a file that cannot be read, or changes; a disk that is full.
    UsageError
        If an option makes no sense, or the index that is there would get other ids.
    MissingExtraError
        If the archive is a zip file, and the package deflate is not installed.
    RootError, EmptyTreeError, IdClashError, LockedError, PublishError, WorkerError, ClusterError
        As for `fastindex.build`.

    Examples
    --------
    >>> done = release('/data', 'my-data.zip', select=Query(lab='zador'))  # doctest: +SKIP
    >>> done.sessions, done.archives[0].sha256  # doctest: +SKIP
    (565, '1f0c...')
    """
    started = time.monotonic()
    check_choice('manifest', manifest, MANIFESTS)
    check_choice('split_by', split_by, SPLITS)
    check_workers(workers, None, dask)
    pool = Pool(workers or default_workers(), is_asked=workers is not None)
    with closing(open_tree(root, follow_links=follow_symlinks is True)) as tree, pool:
        path, kind = parse_out(out)
        check_place(path, tree.root, overwrite=overwrite or split_bytes is not None)
        target = Path(tree.root if index is None else index)
        if not dry_run:
            recover(target)  # before it is asked how it was made
        recipe, kept, is_apart = choose_making(target, namespace, ids_from, follow_symlinks)
        tree = leave_out(tree, **recipe.leave_out)
        findings = count_findings(
            tree, follow_symlinks, recipe, force=force, workers=workers, dask=dask, progress=progress
        )
        with open_index_folder(target, is_apart=is_apart, is_dry=dry_run) as folder:
            built = build(
                root,
                out=folder,
                workers=workers,
                dask=dask,
                hash=() if dry_run else recipe.algorithms,
                progress=progress,
                follow_symlinks=recipe.follow_symlinks,
                namespace=recipe.namespace,
                ids_from=kept or None,
                default_revision=recipe.default_revision,
                uuid_filenames=recipe.uuid_filenames,
                **recipe.leave_out,
            )
            _refuse_problems(built, force=force)
            if not dry_run:
                pool.run(())  # forks the workers, before polars starts threads
            rows = select_rows(opened := open_unlinked(folder, root=Path(root)), select)
            plan = _Plan.make(tree, opened, rows, kind, name=name, manifest=manifest, beside=target)
            plan = plan if select is None else plan._replace(aggregates=())
            parts = plan.split(path, rows, split_bytes, split_by) if split_bytes is not None else {path: rows}
            for part_path in parts:
                check_place(part_path, tree.root, overwrite=overwrite)
            archives = [_describe(*part) for part in parts.items()]
            if not dry_run:
                archives = plan.write(path, parts, pool, overwrite=overwrite, progress=progress)
    return Release(
        root=to_text(from_system(tree.root)),
        name=plan.name,
        archives=tuple(archives),
        sessions=rows.sessions.height,
        datasets=rows.datasets.height,
        bytes=rows.size_bytes,
        labs=len({*rows.sessions['lab']} - {''}),
        subjects=rows.sessions.select('lab', 'subject').n_unique(),
        first_date=rows.dates[0],
        last_date=rows.dates[1],
        manifest=manifest,
        findings=MappingProxyType(findings),
        warnings=(*built.warnings, *iter_warnings(rows, [source.name for source in plan.beside_datasets])),
        seconds=time.monotonic() - started,
    )


def _refuse_problems(built: Summary, *, force: bool) -> None:
    if force or not built.problem_count:
        return
    lines = [f'{escape(built.root)}: {to_count(built.problem_count, "path")} could not be indexed:']
    lines += [f'  {problem}' for problem in built.problems[:3]]
    raise ReleaseError('\n'.join([*lines, '']), hint='`force` releases the rest')


def _choose_moment(rows: Part) -> datetime:
    """Choose the time of all that is released: the day of the last session, if not told otherwise."""
    epoch = os.environ.get('SOURCE_DATE_EPOCH')
    if epoch:  # the build has judged it
        last_moment = datetime.fromtimestamp(int(epoch), UTC).replace(tzinfo=None)
    else:
        last_moment = datetime.combine(rows.dates[1], datetime.min.time())
    return min(max(last_moment, datetime(FIRST_YEAR, 1, 1)), datetime(LAST_YEAR, 12, 31))


def _describe(path: Path, part: Part) -> Archive:
    return Archive(path, None, None, part.sessions.height, part.datasets.height, part.size_bytes, part.groups)


class _Plan(NamedTuple):
    """What all archives of a release have in common."""

    packing: Packing
    opened: Index
    name: str
    moment: datetime
    sources: tuple[Source, ...]
    aggregates: tuple[Source, ...]
    """Files over many sessions: in the first archive."""
    client_tables: tuple[Path, ...]
    """Other tables of the client, as insertions.pqt."""

    @property
    def beside_datasets(self) -> tuple[Source, ...]:
        """The files of the tree that no index has."""
        return (*self.sources, *self.aggregates)

    @classmethod
    def make(
        cls,
        tree: Tree,
        index: Index,
        rows: Part,
        kind: ArchiveFormat,
        *,
        name: str | None,
        manifest: str,
        beside: Path,
    ) -> _Plan:
        """Choose what is the same whatever goes into which archive."""
        moment = _choose_moment(rows)
        sources = tuple(find_descriptions(tree))
        name = to_text(from_system(os.path.basename(tree.root) if name is None else name))
        aggregates = tuple(find_aggregates(tree))
        tables = tuple(list_client_tables(beside, tree))
        check_beside(rows, {*TABLES, *(path.name for path in tables), f'manifest-{manifest}.txt'})
        packing = Packing(tree, kind(moment), manifest)
        return cls(packing, index, name, moment, sources, aggregates, tables)

    def split(self, path: Path, rows: Part, max_bytes: int, by: str) -> dict[Path, Part]:
        """Cut a release into parts, and name them."""
        others = sum(2 * path.stat().st_size for path in self.client_tables)
        extra_bytes = TABLE_BYTES + others + sum(source.size_bytes for source in self.beside_datasets)
        member_bytes = self.packing.format.member_bytes
        parts = split_rows(rows, by, max_bytes=max_bytes, member_bytes=member_bytes, extra_bytes=extra_bytes)
        return dict(zip(name_parts(path, len(parts)), parts, strict=True))

    def write(
        self, out: Path, parts: Mapping[Path, Part], pool: Pool, *, overwrite: bool, progress: bool
    ) -> list[Archive]:
        """Write all archives, those of `out`; put them in place when the last is complete."""
        total = sum(part.size_bytes for part in parts.values())
        bar = open_bar(total=total, unit='B', description='releasing', enabled=progress)
        made: list[tuple[int, int]] = []
        archives = []
        first, *_ = parts
        try:
            with (
                closing(bar),
                replacing_parts(out if overwrite and out not in parts else None, made) as put_aside,
                open_outputs(error=ReleaseError, overwrite=overwrite, then=put_aside) as open_next,
            ):
                for path, part in parts.items():
                    file = open_next(path)
                    sources = [*self.sources, *(self.aggregates if path == first else ())]
                    self._write_part(file, path.parent, part, sources, pool, bar)
                    digest = seal(file)
                    info = os.fstat(file.fileno())
                    made.append((info.st_dev, info.st_ino))
                    archives.append(_describe(path, part).replace(bytes=info.st_size, sha256=digest))
        except FastindexError:
            raise
        except OSError as error:
            raise ReleaseError(
                f'{escape(first)}: the archive could not be written ({error.strerror or error}); '
                f'what was there still is. {ask_about(error)}'.rstrip()
            ) from error
        return archives

    def _write_part(
        self, file: IO[bytes], folder: Path, part: Part, sources: list[Source], pool: Pool, bar: Bar
    ) -> None:
        with temporary_folder() as scratch:
            date_created = self.moment.isoformat(sep=' ', timespec='minutes')
            about = {'origin': self.name, 'date_created': date_created}
            write_tables(self.opened, part, scratch, **about)
            paths = [scratch / name for name in reversed(TABLES)]
            paths += write_client_tables(self.client_tables, self.packing.tree, part, scratch, **about)
            sources = [*sources, *(Source(path.name, path.stat().st_size, path) for path in paths)]
            write_archive(part, file, self.packing, folder=folder, sources=sources, pool=pool, bar=bar)

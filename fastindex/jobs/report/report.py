"""Show an index as one HTML file that opens offline.

`contents` counts, `charts` specifies, `page` renders; here the file is written.
"""

from __future__ import annotations

import os
import time
from contextlib import closing
from typing import TYPE_CHECKING

from fastindex.errors import ReportError, RootError, UsageError, naming_shortage
from fastindex.extras import require
from fastindex.files import find_target, open_output
from fastindex.jobs.read.index import open as open_index
from fastindex.jobs.report.contents import FindingGroup, gather, group_findings
from fastindex.jobs.report.page import bundling, render
from fastindex.lazy import load
from fastindex.progress import announce
from fastindex.records import Record
from fastindex.text import escape, to_count, to_size, to_text

if TYPE_CHECKING:
    from fastindex.jobs.read.index import Index
    from fastindex.workers.pool import Dask

__all__ = ['ReportSummary', 'report']

_NOT_ASKED = 'The names in the tree were not judged.'
_NOT_THERE = 'The names in the tree were not judged: it is not where the index was opened.'


class ReportSummary(Record):
    """What a report has.

    Parameters
    ----------
    path
        Of the file.
    size_bytes
        Of the file.
    sessions, datasets
        In the index.
    table
        What a row of its table is: `session` or `subject`.
    findings
        How many there are; None where the names were not judged.
    seconds
        Wall time.
    """

    path: str
    size_bytes: int
    sessions: int
    datasets: int
    table: str
    findings: int | None
    seconds: float

    def __str__(self) -> str:
        found = '' if self.findings is None else f', {to_count(self.findings, "finding")}'
        return (
            f'wrote {escape(self.path)} ({to_size(self.size_bytes)}) in {self.seconds:.1f} s: '
            f'{to_count(self.sessions, "session")}, {to_count(self.datasets, "dataset")}{found}'
        )

    def __repr__(self) -> str:
        return f'<ReportSummary: {self}>'


@naming_shortage()
def report(
    root: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    index: str | os.PathLike[str] | None = None,
    title: str | None = None,
    validate: bool = True,
    workers: int | None = None,
    dask: Dask | None = None,
    follow_symlinks: bool | None = None,
    progress: bool = False,
) -> ReportSummary:
    """Write a report on the index of a tree: one HTML file, which was not there or is replaced as a whole.

    The same index gives the same bytes, as long as the names in the tree are the same.

    Parameters
    ----------
    root
        The folder that was indexed.
    index
        Where the tables are, if not there.
    out
        The file: its name ends in .html, as a report never takes the place of other data; its folder exists.
        What is no file (`-`, a FIFO) is written through, as in `fastindex.files`.
    title
        Heading of the page; the name of the root if None.
    validate
        Whether to judge the names in the tree as `fastindex.validate` does, with UUIDs if the index says so.
        Where only the index is there, the page says so.
    workers, dask, progress
        Of `fastindex.validate`.
    follow_symlinks
        Whether links to folders and files are followed. If None, as the index says that it was built.

    Raises
    ------
    MissingExtraError
        If the packages of the extra `report` are not installed.
    UsageError
        If the file does not end in .html, or an option makes no sense.
    ReportError
        If it cannot be written; what was there still is.
    InvalidIndexError
        If the tables are not the ones that were checked: open the index again.
    """
    began = time.monotonic()
    opened = open_index(root if index is None else index, root=root)
    require('report', 'a report')
    target = find_target(out, error=ReportError)
    if not (target.is_stream or target.path.lower().endswith(('.html', '.htm'))):
        raise UsageError(f'{escape(out)}: expected a name that ends in .html')
    load('polars')  # what is slow to stop is done before another process draws
    with open_output(out, error=ReportError) as file, bundling() as bundle:
        with announce('reading the index', enabled=progress):
            contents = gather(opened)
        groups, note = None, _NOT_ASKED
        if validate:
            groups = _judge_names(
                opened,
                contents.info.sessions,
                workers=workers,
                dask=dask,
                follow_symlinks=follow_symlinks,
                progress=progress,
            )
            note = _NOT_THERE
        if title is None:
            title = os.path.basename(os.path.realpath(root)) or '/'
        with announce('drawing the page', enabled=progress):
            page = render(contents, groups, note, title, bundle()).encode()
        file.write(page)
    return ReportSummary(
        path=to_text(out),
        size_bytes=len(page),
        sessions=contents.info.sessions,
        datasets=contents.info.datasets,
        table=contents.table.of,
        findings=None if groups is None else sum(group.count for group in groups),
        seconds=round(time.monotonic() - began, 3),
    )


def _judge_names(
    index: Index,
    sessions: int,
    *,
    workers: int | None,
    dask: Dask | None,
    follow_symlinks: bool | None,
    progress: bool,
) -> tuple[FindingGroup, ...] | None:
    """Group the findings of `validate`; None where all its sessions are gone."""
    from fastindex.jobs.validate.validate import validate

    recipe = index.recipe
    try:
        findings = validate(
            index.root,
            workers=workers,
            dask=dask,
            follow_symlinks=recipe.follow_symlinks if follow_symlinks is None else follow_symlinks,
            uuid_filenames=recipe.uuid_filenames,
            **recipe.leave_out,
            progress=progress,
        )
    except RootError:
        return None
    with closing(findings):
        groups = group_findings(findings)
    return groups if findings.sessions or not sessions else None

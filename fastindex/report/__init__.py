"""Show an index as one HTML file that opens offline.

`contents` counts, `charts` specifies, `page` renders; here the file is written.
"""

from __future__ import annotations

import os
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastindex.errors import ReportError, RootError, UsageError
from fastindex.problems import escape, to_text
from fastindex.report.contents import FindingGroup, gather, group_findings
from fastindex.report.page import check_extra, render

if TYPE_CHECKING:
    from fastindex.index import Index

__all__ = ['ReportSummary', 'check_target', 'write_report']

_NOT_ASKED = 'The names in the tree were not judged.'
_NOT_THERE = 'The names in the tree were not judged: it is not where the index was opened.'


@dataclass(frozen=True, slots=True)
class ReportSummary:
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
    """

    path: str
    size_bytes: int
    sessions: int
    datasets: int
    table: str
    findings: int | None


def write_report(
    index: Index,
    out: str | os.PathLike[str],
    *,
    title: str | None = None,
    validate: bool = True,
    workers: int | None = None,
    follow_symlinks: bool = True,
    progress: bool = False,
) -> ReportSummary:
    """Write a report on an index: one HTML file, which was not there or is replaced as a whole.

    The same index gives the same bytes, as long as the names in the tree are the same.

    Parameters
    ----------
    index
        As `fastindex.open` gives it.
    out
        The file: its name ends in .html, its folder exists.
    title
        Heading of the page; the name of the root if None.
    validate
        Whether to judge the names in the tree as `fastindex.validate` does. Where only the index is there,
        the page says so.
    workers, follow_symlinks, progress
        Of `fastindex.validate`.

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

    Examples
    --------
    >>> fastindex.report.write_report(fastindex.open('/data'), 'report.html').size_bytes  # doctest: +SKIP
    2402358
    """
    check_extra()
    target = check_target(out)
    contents = gather(index)
    groups, note = None, _NOT_ASKED
    if validate:
        groups = _judge_names(
            index, contents.info.sessions, workers=workers, follow_symlinks=follow_symlinks, progress=progress
        )
        note = _NOT_THERE
    if title is None:
        title = os.path.basename(os.path.realpath(index.root)) or '/'
    page = render(contents, groups, note, title).encode()
    _write(target, page)
    return ReportSummary(
        path=to_text(os.fspath(out)),
        size_bytes=len(page),
        sessions=contents.info.sessions,
        datasets=contents.info.datasets,
        table=contents.table.of,
        findings=None if groups is None else sum(group.count for group in groups),
    )


def _judge_names(
    index: Index, sessions: int, *, workers: int | None, follow_symlinks: bool, progress: bool
) -> tuple[FindingGroup, ...] | None:
    """Group the findings of `validate`; None where all its sessions are gone."""
    from fastindex.pipeline.validate import validate

    try:
        findings = validate(index.root, workers=workers, follow_symlinks=follow_symlinks, progress=progress)
    except RootError:
        return None
    with closing(findings):
        groups = group_findings(findings)
    return groups if findings.sessions or not sessions else None


def check_target(out: str | os.PathLike[str]) -> str:
    """Check that a report can be put there, before there is one; give the path behind all links.

    Raises
    ------
    UsageError
        If the file does not end in .html: a report never takes the place of other data.
    ReportError
        If its folder does not exist, or something else than a file is there.
    """
    target = os.path.realpath(out)
    shown = escape(os.fspath(out))
    if not target.lower().endswith(('.html', '.htm')):
        raise UsageError(f'{shown}: expected a name that ends in .html')
    if not os.path.isdir(os.path.dirname(target)):
        raise ReportError(f'{shown}: its folder does not exist: make it first, or choose another')
    if os.path.lexists(target) and not os.path.isfile(target):
        raise ReportError(f'{shown}: this is no file that a report could replace: choose another name')
    return target


def _write(target: str, page: bytes) -> None:
    folder, name = os.path.split(target)
    partial = os.path.join(folder, f'.{name}.partial-{os.getpid()}')
    try:
        try:
            with open(partial, 'wb') as file:
                file.write(page)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, target)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(partial)  # nothing is there any more if all went well
    except OSError as error:
        raise ReportError(
            f'{escape(target)}: cannot be written ({error.strerror}): choose another place'
        ) from error

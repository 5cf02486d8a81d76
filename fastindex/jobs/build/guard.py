"""Refuse what looks like a disk that is not mounted, or like the wrong tree, before it replaces an index.

Each function looks at one thing, and raises where nobody has said that it may be so.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fastindex.errors import EmptyTreeError, InvalidIndexError, LossError
from fastindex.names.alf import SessionParts
from fastindex.tables.check import Tables
from fastindex.tables.file import TableFile, open_table
from fastindex.tables.foreign import find_foreign
from fastindex.tables.losses import Losses
from fastindex.tables.paths import SESSION_COLUMNS
from fastindex.tables.previous import iter_kept
from fastindex.tables.sources import KnownTables
from fastindex.text import escape, to_count

if TYPE_CHECKING:
    from fastindex.jobs.build.summary import Report
    from fastindex.tables.publish import Stage

__all__ = ['has_all', 'refuse_in_doubt', 'refuse_losses', 'refuse_to_lose']

MAX_MISSING = 10  # labs and subjects that are named where much would go


def refuse_to_lose(out: Path, report: Report) -> None:
    """Refuse to publish what a disk leaves that goes away: no session, or no dataset where some were."""
    if report.datasets or report.options.allow_empty:
        return
    if not report.sessions:
        raise EmptyTreeError(f'{escape(report.tree.root)}: all sessions vanished. Was the disk unmounted?')
    path = out / 'datasets.pqt'
    rows = 0
    # What nobody can read is nothing to lose.
    with suppress(InvalidIndexError), open_table(path, below=out) as file:
        rows = TableFile(path, file).footer.num_rows
    if rows:
        raise EmptyTreeError(
            f'{escape(report.tree.root)}: {to_count(report.sessions, "session")} without a dataset. Is a '
            f'disk not mounted? The index in {escape(out)} has datasets and still is there; ',
            hint='`allow_empty` replaces it',
        )


def refuse_in_doubt(out: Path, stage: Stage, report: Report) -> None:
    """Refuse to publish it where the index before cannot be compared, but its sessions can be told.

    They are those that it has, if only its other table is damaged, or those of an index that it replaced.
    """
    known = report.carrier.own if report.carrier else None
    if known is None and find_foreign(out) is None:
        replaced = (Path(kept.path) for kept in iter_kept(out) if kept.generation is not None)
        for path in (out / 'sessions.pqt', *replaced):
            with suppress(InvalidIndexError):
                known = KnownTables(path, with_ids=False, below=out)
                break
    if known is not None:
        path = stage.path / 'sessions.pqt'
        found: list[SessionParts] = []
        with open_table(path, below=stage.out.path) as file:
            for _, columns in TableFile(path, file).iter_batches(SESSION_COLUMNS):
                rows = (columns[name].to_pylist() for name in SESSION_COLUMNS[1:])
                found += map(SessionParts._make, zip(*rows, strict=True))
        refuse_losses(Losses.of_known(known, found), known, report, out)


def refuse_losses(losses: Losses, before: Tables | KnownTables, report: Report, out: Path) -> None:
    """Refuse to publish what a disk leaves that goes away in part. See `fastindex.tables.losses`."""
    limit = report.options.max_removed
    if limit is None or not report.datasets:  # the latter is asked about by another option
        return
    if isinstance(before, KnownTables):
        sessions, datasets = before.sessions.num_rows, before.datasets.num_rows
    else:
        sessions, datasets = (table.footer.num_rows for table in before.both)
    missing = losses.find_missing(before)
    if not (missing or losses.exceed(limit, sessions, datasets)):
        return
    lost = f'{losses.sessions:,} of {to_count(sessions, "session")}'
    lost += f' and {losses.datasets:,} of {to_count(datasets, "dataset")}' if datasets else ''
    lines = [f'{escape(report.tree.root)}: {lost} would go. Is a disk not mounted, or a folder renamed?']
    for one in missing[:MAX_MISSING]:
        has = f'all {to_count(one.datasets, "dataset")}' if one.has_sessions else 'all'
        lines.append(f'missing: {escape(one.path)}, {has} of {to_count(one.sessions, "session")}')
    if len(missing) > MAX_MISSING:
        lines.append(f'and {len(missing) - MAX_MISSING:,} more labs and subjects')
    lines += [f'problem: {problem}' for problem in report.problems[:3]]
    raise LossError(
        '\n  '.join([*lines, f'The index in {escape(out)} is as it was; ']),
        hint='`allow_removal` goes on without them; with `check` and `changes` FILE too, it only lists them',
    )


def has_all(report: Report) -> bool:
    """Tell whether the new index has all rows of the one before, as far as the two were compared."""
    changes = report.changes
    return changes is not None and not (
        changes.sessions_removed + changes.datasets_removed + changes.sessions_moved + changes.datasets_moved
    )

"""Whether all is well with an index, in a few lines: what a report says first.

Gives the lines, and the sessions that lack a dataset which most others have. Leaves the findings themselves
to `fastindex.jobs.validate`, and how it looks to the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastindex.jobs.report.coverage import pair_kinds, to_name
from fastindex.lazy import pl
from fastindex.names.rules import Severity
from fastindex.text import escape, to_count

if TYPE_CHECKING:
    from fastindex.jobs.read.index import Index
    from fastindex.jobs.read.info import Info
    from fastindex.jobs.report.contents import Contents, FindingGroup

__all__ = ['HealthLine', 'Incomplete', 'check_health', 'find_incomplete']

MAX_ROWS = 5000  # incomplete sessions that are listed

USUAL = 2  # a dataset is usual where one of so many sessions has it


@dataclass(frozen=True, slots=True)
class HealthLine:
    """One thing that was looked at, and what was found."""

    level: str  # `good`, `info`, `warning` or `error`
    text: str
    anchor: str = ''  # id of the section that has more of it


@dataclass(frozen=True, slots=True)
class Incomplete:
    """Sessions that lack a dataset which most sessions have."""

    usual: tuple[str, ...]  # `object.attribute` of what most have
    rows: tuple[tuple[str, ...], ...]  # lab, subject, date, number, what is missing, path
    count: int  # of all such sessions, also those that have no row


def find_incomplete(index: Index, sessions: pl.DataFrame) -> Incomplete:
    """Find the sessions that have some datasets, but not all that at least half of the sessions have."""
    pairs = pair_kinds(index.datasets).filter(pl.col('kind') != '').unique()
    counts = pairs.group_by('kind').len().collect(engine='streaming')
    usual = sorted(counts.filter(pl.col('len') * USUAL >= sessions.height)['kind'].to_list())
    having = (
        pairs.filter(pl.col('kind').is_in(pl.Series(usual, dtype=pl.String).implode()))
        .group_by('id')
        .agg(pl.col('kind'))
        .collect(engine='streaming')
    )
    rows = sessions.join(having, on='id', how='left').filter(
        (pl.col('datasets') > 0) & (pl.col('kind').list.len().fill_null(0) < len(usual))
    )
    first = rows.head(MAX_ROWS)
    return Incomplete(
        usual=tuple(map(escape, usual)),
        rows=tuple(
            (
                to_name(lab),
                escape(subject),
                str(date),
                f'{number:03}',
                escape(', '.join(sorted({*usual} - {*(there or ())}))),
                escape(path),
            )
            for (lab, subject, date, number, there), path in zip(
                first.select('lab', 'subject', 'date', 'number', 'kind').iter_rows(),
                index.session_paths(first).to_list(),
                strict=True,
            )
        ),
        count=rows.height,
    )


def check_health(
    contents: Contents, findings: Sequence[FindingGroup] | None, note: str
) -> tuple[HealthLine, ...]:
    """Say what is well and what is not: the worst first."""
    order = ('error', 'warning', 'info', 'good')
    lines = [
        *_judge_names(findings, note),
        *_judge_index(contents.info, contents.problems),
        *_judge_sessions(contents.info, contents.incomplete),
    ]
    return tuple(sorted(lines, key=lambda line: order.index(line.level)))


def _judge_names(findings: Sequence[FindingGroup] | None, note: str) -> Iterator[HealthLine]:
    if findings is None:
        yield HealthLine('warning', note)
        return
    for severity, cost in (
        (Severity.ERROR, 'that the client does not find, does not load, or confuses'),
        (Severity.WARNING, 'left out of the index, or read in another way than was meant'),
        (Severity.INFO, 'left out of the index, as it should be'),
    ):
        groups = [group for group in findings if group.rule.severity is severity]
        count = sum(group.count for group in groups)
        if count:
            what = ', '.join(f'{group.rule.title} ({group.count:,})' for group in groups)
            yield HealthLine(str(severity), f'{to_count(count, "path")} {cost}: {what}.', 'names')
    if not any(group.rule.severity is not Severity.INFO for group in findings):
        yield HealthLine('good', 'All names are valid.')


def _judge_index(info: Info, problems: Sequence[str]) -> Iterator[HealthLine]:
    if problems:
        yield HealthLine('error', f'{to_count(len(problems), "path")} could not be indexed.', 'problems')
    if info.missing:
        yield HealthLine('error', f'{to_count(info.missing, "dataset")} of the index not on disk.')
    if info.digests:
        names = ' and '.join(info.digests)
        text = f'Contents can be verified by {names}; an index does not record when that was done last.'
    else:
        text = 'There are no digests, so nobody can tell whether contents have changed.'
    yield HealthLine('info', text, 'open')


def _judge_sessions(info: Info, incomplete: Incomplete) -> Iterator[HealthLine]:
    if info.sessions_without_datasets:
        yield HealthLine(
            'warning', f'{to_count(info.sessions_without_datasets, "session")} without a dataset.'
        )
    if incomplete.count:
        text = f'{to_count(incomplete.count, "session")} without a dataset that most sessions have.'
        yield HealthLine('warning', text, 'incomplete')
    elif info.sessions and incomplete.usual:
        yield HealthLine('good', f'All sessions have the {to_count(len(incomplete.usual), "usual dataset")}.')

"""What a report shows, counted: over time, by subject and dataset, by session.

Gives the numbers as values, cut to what a page can show. Leaves what `info` counts to `fastindex.info`, how
it looks to `fastindex.jobs.report.page`. All names are escaped here, once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date as Date  # noqa: N812 - `date` is the word for the folder
from typing import TYPE_CHECKING

from fastindex.jobs.read.info import Info, sum_sizes, summarize
from fastindex.jobs.read.search import select_sessions
from fastindex.lazy import pl
from fastindex.names.rules import RULES, Finding, Rule
from fastindex.tables.publish import iter_problems
from fastindex.text import MAX_FINDINGS, escape, to_size

if TYPE_CHECKING:
    from fastindex.jobs.read.index import Index

from fastindex.jobs.report.coverage import Coverage, cover, to_name
from fastindex.jobs.report.health import Incomplete, find_incomplete
from fastindex.jobs.report.storage import ChartBar, count_values, find_last, measure_storage

__all__ = [
    'MAX_TABLE_ROWS',
    'Contents',
    'FindingGroup',
    'Table',
    'TimeBin',
    'gather',
    'group_findings',
]

MAX_TABLE_ROWS = 10_000  # rows of the table: of more sessions it has the subjects; 10,000 take 1 MB

MAX_LABS = 10  # labs that have a colour; if there are more, one less, and the others share one
MAX_BINS = 30  # of a histogram with steps of one width
_LAST_DAY = Date.max


@dataclass(frozen=True, slots=True)
class TimeBin:
    """The sessions of a lab from one day to another, which is not part of it."""

    first: Date
    end: Date
    lab: str
    sessions: int


@dataclass(frozen=True, slots=True)
class Table:
    """Sessions, or subjects where there are too many sessions."""

    of: str  # what a row is: `session` or `subject`
    columns: tuple[str, ...]  # their titles
    rows: tuple[tuple[str | int, ...], ...]  # text and whole numbers
    cut_rows: int  # how many were left out


@dataclass(frozen=True, slots=True)
class FindingGroup:
    """The findings of one rule: how many, and the first of them."""

    rule: Rule
    count: int
    first: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Contents:
    """All that a report shows of an index. Of many fields: the page has a part for each of them."""

    info: Info  # the counts of `fastindex.info`
    labs: tuple[str, ...]  # names that `timeline` has, the one with most sessions first
    timeline: tuple[TimeBin, ...]  # sessions over time
    step: str  # width of its bins: `day`, `week`, `month` or `year`
    bars: Mapping[str, tuple[ChartBar, ...]]  # of the other charts, by the ids of their elements
    # coverage, table: who has what; all that there is, row by row
    coverage: Coverage
    table: Table
    # what is incomplete; the last session of each lab; what people have filled in
    incomplete: Incomplete
    lab_last: tuple[tuple[str, str, int], ...]
    values: tuple[tuple[str, str], ...]
    # what could not be indexed, and where the index says it is
    problems: tuple[str, ...]
    origin: str


def gather(index: Index) -> Contents:
    """Count what a report shows.

    Raises InvalidIndexError if the tables are not the ones that were checked: open the index again.
    """
    info = summarize(index)
    sessions = _count_sessions(index)
    step, timeline = _count_over_time(sessions, info)
    labs = tuple(dict.fromkeys(bin_.lab for bin_ in timeline))
    return Contents(
        info=info,
        labs=labs,
        timeline=timeline,
        step=step,
        bars={
            **measure_storage(index, sessions, info),
            'session-datasets': _count_by_value(sessions['datasets'], str),
            'session-bytes': _count_by_value(sessions['bytes'], to_size),
        },
        coverage=cover(index.datasets, sessions),
        table=(_list_sessions if sessions.height <= MAX_TABLE_ROWS else _list_subjects)(sessions),
        incomplete=find_incomplete(index, sessions),
        lab_last=find_last(sessions),
        values=tuple(count_values(index, sessions)),
        problems=tuple(
            escape(f'{problem.path}: {problem.reason}') for problem in iter_problems(index.folder)
        ),
        origin=escape(str(index.facts.get('origin') or index.url or index.root)),
    )


def group_findings(findings: Iterable[Finding]) -> tuple[FindingGroup, ...]:
    """Group findings by their code, and keep the first of each, in the order in which they came."""
    counts: Counter[str] = Counter()
    first: dict[str, list[Finding]] = {}
    for finding in findings:
        counts[finding.code] += 1
        kept = first.setdefault(finding.code, [])
        if len(kept) < MAX_FINDINGS:
            kept.append(finding)
    return tuple(FindingGroup(RULES[code], counts[code], tuple(first[code])) for code in sorted(counts))


def _count_sessions(index: Index) -> pl.DataFrame:
    """Read the sessions, by lab, subject, date and number, with the `datasets` and `bytes` of each."""
    counts = index.datasets.group_by(pl.col('eid').cast(pl.String).alias('id')).agg(
        pl.len().cast(pl.Int64).alias('datasets'), sum_sizes().alias('bytes')
    )
    sessions = select_sessions(index.sessions).lazy()
    rows = sessions.join(counts, on='id', how='left').collect(engine='streaming')
    return rows.with_columns(pl.col('datasets', 'bytes').fill_null(0)).sort(
        'lab', 'subject', 'date', 'number', 'id'
    )


def _count_over_time(sessions: pl.DataFrame, info: Info) -> tuple[str, tuple[TimeBin, ...]]:
    """Count sessions by day, week, month or year: 20 to 200 bins; the lab with most of them first."""
    if info.first_date is None or info.last_date is None:
        return 'day', ()
    days = (info.last_date - info.first_date).days
    step = 'day' if days < 100 else 'week' if days < 1200 else 'month' if days < 6000 else 'year'
    every = {'day': '1d', 'week': '1w', 'month': '1mo', 'year': '1y'}[step]
    order = sessions['lab'].value_counts().sort(['count', 'lab'], descending=[True, False])['lab'].to_list()
    names = {lab: to_name(lab) for lab in order}
    if len(order) > MAX_LABS:
        cut = order[MAX_LABS - 1 :]
        names.update(dict.fromkeys(cut, f'{len(cut):,} other labs'))
    first = pl.col('date').dt.truncate(every)
    bins = (
        sessions.select('lab', first.alias('first'))
        .with_columns(pl.min_horizontal(pl.col('first').dt.offset_by(every), pl.lit(_LAST_DAY)).alias('end'))
        .group_by('lab', 'first', 'end')
        .len()
    )
    counts: Counter[tuple[str, Date, Date]] = Counter()
    for lab, start, end, count in bins.iter_rows():
        counts[names[lab], start, end] += count
    positions = {name: position for position, name in enumerate(dict.fromkeys(names.values()))}
    ordered = sorted(counts.items(), key=lambda item: (positions[item[0][0]], item[0]))
    return step, tuple(TimeBin(start, end, lab, count) for (lab, start, end), count in ordered)


def _count_by_value(values: pl.Series, to_label: Callable[[int], str]) -> tuple[ChartBar, ...]:
    """Count sessions by a number: a bar for each number, or for all from one step to the next."""
    counts = dict(values.value_counts().iter_rows())
    if not counts:
        return ()
    edges = _choose_steps(min(counts), max(counts))
    totals = [0] * len(edges)
    for value, count in counts.items():
        totals[bisect_right(edges, value) - 1] += count
    return tuple(
        ChartBar(to_label(edge), total, f'{total:,}') for edge, total in zip(edges, totals, strict=True)
    )


def _choose_steps(low: int, high: int) -> list[int]:
    """Choose the lower ends of the bins of a histogram: round numbers, even steps or growing ones.

    >>> _choose_steps(3, 6), _choose_steps(310, 590), _choose_steps(0, 2000)
    ([3, 4, 5, 6], [300, 400, 500], [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000])
    """
    if high > 1000 and high > 50 * low:
        round_numbers = [digit * 10**power for power in range(len(str(high))) for digit in (1, 2, 5)]
        edges = [0, *round_numbers]
        return edges[bisect_right(edges, low) - 1 : bisect_right(edges, high)]
    step = next(
        digit * 10**power
        for power in range(len(str(high)))
        for digit in (1, 2, 5)
        if high // (digit * 10**power) - low // (digit * 10**power) < MAX_BINS
    )
    return list(range(low // step * step, high + 1, step))


def _list_sessions(sessions: pl.DataFrame) -> Table:
    columns = ('lab', 'subject', 'date', 'number', 'datasets', 'bytes', 'eid')
    rows = tuple(
        (to_name(lab), escape(subject), str(date), f'{number:03}', datasets, size, escape(eid))
        for lab, subject, date, number, datasets, size, eid in sessions.select(
            'lab', 'subject', 'date', 'number', 'datasets', 'bytes', 'id'
        ).iter_rows()
    )
    return Table('session', columns, rows, 0)


def _list_subjects(sessions: pl.DataFrame) -> Table:
    columns = ('lab', 'subject', 'first', 'last', 'sessions', 'datasets', 'bytes')
    counts = (
        sessions.group_by('lab', 'subject')
        .agg(
            pl.col('date').min().alias('first'),
            pl.col('date').max().alias('last'),
            pl.len().alias('sessions'),
            pl.col('datasets').sum(),
            sum_sizes('bytes'),
        )
        .sort(['sessions', 'lab', 'subject'], descending=[True, False, False])
    )
    kept = counts.head(MAX_TABLE_ROWS).sort('lab', 'subject')
    rows = tuple(
        (to_name(lab), escape(subject), str(first), str(last), *numbers)
        for lab, subject, first, last, *numbers in kept.iter_rows()
    )
    return Table('subject', columns, rows, counts.height - len(rows))

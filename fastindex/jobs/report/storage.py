"""What takes the space: bytes by month, extension and collection, and by whom something came last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastindex.jobs.read.info import Info, sum_sizes
from fastindex.jobs.report.coverage import to_name
from fastindex.lazy import pl
from fastindex.text import escape, to_size

if TYPE_CHECKING:
    from fastindex.jobs.read.index import Index

__all__ = ['ChartBar', 'count_values', 'find_last', 'measure_storage']

MAX_BARS = 20  # of a bar chart; the others are added up
MAX_MONTHS = 240  # that a chart shows with those in which nothing came
MAX_VALUES = 12  # values of projects and the like that are named


@dataclass(frozen=True, slots=True)
class ChartBar:
    """One bar: its label, its length, and the length in words; or all bars together that were left out."""

    label: str
    value: int
    text: str
    is_rest: bool = False


def measure_storage(index: Index, sessions: pl.DataFrame, info: Info) -> dict[str, tuple[ChartBar, ...]]:
    """Measure what takes the space: bars of bytes, by the ids of their charts.

    sessions: with the `bytes` of each
    """
    path = pl.col('rel_path').cast(pl.String)
    collection = (
        path.str.replace(r'(^|/)#[^/#]+#/([^/]*)$', '$1$2').str.extract(r'^(.*)/[^/]*$').fill_null('')
    )
    size = sum_sizes().alias('bytes')
    extensions, collections = pl.collect_all(
        [
            index.datasets.group_by(path.str.extract(r'(\.[^./]*)$').fill_null('').alias('name')).agg(size),
            index.datasets.group_by(collection.alias('name')).agg(size),
        ],
        engine='streaming',
    )
    months = sessions.group_by(pl.col('date').dt.strftime('%Y-%m').alias('name')).agg(sum_sizes('bytes'))
    growth = _fill_gaps(dict(months.sort('name').select('name', 'bytes').iter_rows()))
    return {
        'growth': tuple(ChartBar(month, size, to_size(size)) for month, size in growth.items()),
        'lab-bytes': _to_bars((count.lab, count.bytes) for count in info.by_lab) if info.labs else (),
        'object-bytes': _to_bars((count.object or '', count.bytes) for count in info.by_object),
        'extension-bytes': _to_bars(extensions.sort('name').select('name', 'bytes').iter_rows()),
        'collection-bytes': _to_bars(collections.sort('name').select('name', 'bytes').iter_rows()),
    }


def _fill_gaps(months: dict[str, int]) -> dict[str, int]:
    """Put in the months in which nothing came: a gap is seen as one, unless it is of many years."""
    if not months:
        return months
    numbers = [12 * int(name[:-3]) + int(name[-2:]) - 1 for name in months]
    if numbers[-1] - numbers[0] > MAX_MONTHS:
        return months
    names = (f'{number // 12:04}-{number % 12 + 1:02}' for number in range(numbers[0], numbers[-1] + 1))
    return {name: months.get(name, 0) for name in names}


def _to_bars(counts: Iterable[tuple[str, int]]) -> tuple[ChartBar, ...]:
    """Make bars of names and their bytes, the longest first; those that are too many are added up."""
    ordered = sorted(counts, key=lambda bar: -bar[1])
    bars = tuple(ChartBar(to_name(name), size, to_size(size)) for name, size in ordered)
    if len(bars) <= MAX_BARS:
        return bars
    kept, cut = bars[: MAX_BARS - 1], bars[MAX_BARS - 1 :]
    rest = sum(bar.value for bar in cut)
    return (*kept, ChartBar(f'{len(cut):,} others', rest, to_size(rest), is_rest=True))


def find_last(sessions: pl.DataFrame) -> tuple[tuple[str, str, int], ...]:
    """Find the day of the last session of each lab, and how many days that is before the last of all."""
    if sessions.is_empty():
        return ()
    last = sessions['date'].max()
    rows = sessions.group_by('lab').agg(pl.col('date').max()).sort(['date', 'lab'])
    days = (pl.lit(last) - pl.col('date')).dt.total_days()
    return tuple(
        (to_name(lab), str(date), silent)
        for lab, date, silent in rows.select('lab', 'date', days.alias('days')).iter_rows()
    )


def count_values(index: Index, sessions: pl.DataFrame) -> list[tuple[str, str]]:
    """Count the values of columns that people fill: only those that say something."""
    found = []
    for column in ('projects', 'task_protocol'):
        counts = Counter(
            part.strip()
            for text in sessions[column].to_list()
            for part in (text or '').split(',')
            if part.strip()
        )
        if counts:
            found.append((column.replace('_', ' '), _say(counts)))
    if 'qc' in index.datasets.collect_schema():
        rows = index.datasets.group_by(pl.col('qc').cast(pl.String)).len().collect(engine='streaming')
        counts = Counter({str(value): count for value, count in rows.iter_rows()})
        if set(counts) - {'NOT_SET'}:
            found.append(('quality of datasets', _say(counts)))
    return found


def _say(counts: Counter[str]) -> str:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = [f'{escape(value)} ({count:,})' for value, count in ranked[:MAX_VALUES]]
    more = f' and {len(ranked) - MAX_VALUES:,} more' if len(ranked) > MAX_VALUES else ''
    return ', '.join(shown) + more

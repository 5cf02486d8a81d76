"""What takes the space: bytes by month, extension and collection, and by whom something came last."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastindex.jobs.read.info import sum_sizes
from fastindex.jobs.report.coverage import to_name
from fastindex.lazy import pl
from fastindex.text import escape

if TYPE_CHECKING:
    from fastindex.jobs.read.index import Index

__all__ = ['Storage', 'measure_storage']

MAX_MONTHS = 240  # that a chart shows with those in which nothing came
MAX_VALUES = 12  # values of projects and the like that are named


@dataclass(frozen=True, slots=True)
class Storage:
    """Bytes by what they are of, largest first but for months, and values of columns with their counts."""

    months: tuple[tuple[str, int], ...]  # `2024-05`, and the bytes of its sessions
    extensions: tuple[tuple[str, int], ...]
    collections: tuple[tuple[str, int], ...]
    lab_last: tuple[tuple[str, str, int], ...]  # lab, day of its last session, days before the last of all
    values: tuple[tuple[str, str], ...]  # `projects`, and 'a (12), b (3)'


def measure_storage(index: Index, sessions: pl.DataFrame) -> Storage:
    """Measure what a report shows of space and of time.

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
    return Storage(
        months=_fill_gaps(dict(months.sort('name').select('name', 'bytes').iter_rows())),
        extensions=_rank(extensions),
        collections=_rank(collections),
        lab_last=_find_last(sessions),
        values=tuple(_count_values(index, sessions)),
    )


def _fill_gaps(months: dict[str, int]) -> tuple[tuple[str, int], ...]:
    """Put in the months in which nothing came: a gap is seen as one, unless it is of many years."""
    if not months:
        return ()
    numbers = [12 * int(name[:-3]) + int(name[-2:]) - 1 for name in months]
    if numbers[-1] - numbers[0] > MAX_MONTHS:
        return tuple(months.items())
    names = (f'{number // 12:04}-{number % 12 + 1:02}' for number in range(numbers[0], numbers[-1] + 1))
    return tuple((name, months.get(name, 0)) for name in names)


def _rank(frame: pl.DataFrame) -> tuple[tuple[str, int], ...]:
    ranked = frame.sort(['bytes', 'name'], descending=[True, False])
    return tuple((to_name(name), size) for name, size in ranked.select('name', 'bytes').iter_rows())


def _find_last(sessions: pl.DataFrame) -> tuple[tuple[str, str, int], ...]:
    if sessions.is_empty():
        return ()
    last = sessions['date'].max()
    rows = sessions.group_by('lab').agg(pl.col('date').max()).sort(['date', 'lab'])
    days = (pl.lit(last) - pl.col('date')).dt.total_days()
    return tuple(
        (to_name(lab), str(date), silent)
        for lab, date, silent in rows.select('lab', 'date', days.alias('days')).iter_rows()
    )


def _count_values(index: Index, sessions: pl.DataFrame) -> list[tuple[str, str]]:
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

"""What is in an index in lines: what `fastindex info` prints, and `print(info)` does; and rows as a table.

Names of a tree can hold anything that a file system accepts: all is escaped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from fastindex.lazy import pl
from fastindex.text import escape, to_count, to_size, to_some, to_subjects

if TYPE_CHECKING:
    from fastindex.jobs.read.info import Info

__all__ = ['escape_columns', 'iter_lines', 'to_sizes', 'to_table']

GAP = '  '
MIN_WIDTH = 8  # characters of a name that a narrow terminal leaves

MAX_ROWS = 20
MAX_NAMES = 5  # what a summary names of each kind


def iter_lines(info: Info, *, number: str = ', number', more: str = '') -> Iterator[str]:
    """Iterate over the lines of a page that says what is in an index.

    number: what stands before the number of an index that can be restored, where it is not the first
    more: where the rows are that are not shown
    """
    made = f'made {escape(str(info.date_created))} ({_to_age(info.age_seconds)})' if info.date_created else ''
    by = f'fastindex {escape(str(info.version))}' if info.generation else 'another program'
    yield f'{escape(info.path)}: index by {by}{made and ", "}{made}'
    if info.generation:
        yield f'generation {info.generation}'
    for kept in info.previous:
        had = f'{to_count(kept.sessions, "session")}, {to_count(kept.datasets, "dataset")}'
        which = f'{number} {kept.number}' if kept.number > 1 else ''
        yield f'before it: {had}, made {escape(str(kept.date_created))} (fastindex restore{which})'
    yield ''
    days = f', {info.first_date} to {info.last_date}' if info.sessions else ''
    yield f'{to_count(info.sessions, "session")} of {to_subjects(info.subjects, info.labs)}{days}'
    yield f'{to_count(info.datasets, "dataset")}, {to_size(info.bytes)}; {_to_digests(info)}'
    if info.sessions_without_datasets:
        yield f'sessions without a dataset: {info.sessions_without_datasets:,}'
    if info.missing:
        yield f'datasets that are not on disk: {info.missing:,}'
    if info.revised:
        names = [f'{escape(name)} ({count:,})' for name, count in info.revisions.items()]
        yield f'datasets in a revision: {info.revised:,}, of {to_some(names, MAX_NAMES)}'
    if info.superseded:
        yield f'datasets that have a later revision: {info.superseded:,}'
    for title, counts in (('lab', info.by_lab), ('object', info.by_object)):
        if counts:
            yield ''
            frame = pl.DataFrame([asdict(count) for count in counts[:MAX_ROWS]])
            name = pl.col(title).fill_null('(not ALF)').replace('', '(none)')
            frame = frame.with_columns(name, to_sizes(frame['bytes']))
            yield to_table(frame.drop('bytes'))
            if len(counts) > MAX_ROWS:
                yield f'... and {len(counts) - MAX_ROWS:,} more{more}'
    if info.biggest:
        yield ''
        yield 'biggest'
        yield from (f'{to_size(found.bytes):>9}  {escape(found.path)}' for found in info.biggest)


def _to_age(seconds: int | None) -> str:
    minutes = (seconds or 0) // 60
    for size, unit in ((1440, 'day'), (60, 'hour'), (1, 'minute')):
        if minutes >= size:
            count = minutes // size
            return f'{to_count(count, unit)} ago'
    return 'just now'


def _to_digests(info: Info) -> str:
    names = [
        name if count == info.datasets else f'{name} of {count:,}' for name, count in info.digests.items()
    ]
    return f'digests: {", ".join(names) or "none"}'


def to_table(frame: pl.DataFrame, *, width: int | None = None, cut: Sequence[str] = ()) -> str:
    """Write rows below a header, numbers to the right.

    frame: rows; the columns are named as the header is to be
    width: characters of the terminal; None for as many as it takes
    cut: columns that may lose their end where a line would be wider: the widest first
    """
    right = [name for name, kind in frame.schema.items() if kind.is_numeric()]
    frame = escape_columns(frame.select(pl.all().cast(pl.String).fill_null('')))
    widths = {
        name: max(len(name), int(str(frame[name].str.len_chars().max() or 0))) for name in frame.columns
    }
    if width is not None:
        _shrink(widths, width, cut)
    cells = []
    for name, size in widths.items():
        text = pl.col(name)
        text = pl.when(text.str.len_chars() > size).then(text.str.head(size - 1) + '…').otherwise(text)
        cells.append(text.str.pad_start(size) if name in right else text.str.pad_end(size))
    lines = frame.select(pl.concat_str(cells, separator=GAP).str.strip_chars_end(' ').alias('line'))
    head = [name.rjust(size) if name in right else name.ljust(size) for name, size in widths.items()]
    return '\n'.join([GAP.join(head).rstrip(), *lines['line'].to_list()])


def _shrink(widths: dict[str, int], width: int, cut: Sequence[str]) -> None:
    """Make columns narrower until a line fits, or none of them can be."""
    while sum(widths.values()) + len(GAP) * (len(widths) - 1) > width:
        name = max(cut, key=lambda name: widths.get(name, 0), default='')
        if widths.get(name, 0) <= MIN_WIDTH:
            return
        widths[name] -= 1


def to_sizes(sizes_bytes: pl.Series) -> pl.Series:
    """Write sizes with units, to the right."""
    texts = {count: to_size(count) for count in sizes_bytes.unique().to_list()}
    sizes = pl.Series('size', [texts[count] for count in sizes_bytes.to_list()], pl.String)
    return sizes.str.pad_start(int(str(sizes.str.len_chars().max() or 0)))


def escape_columns(frame: pl.DataFrame) -> pl.DataFrame:
    """Escape the columns of text that have a character beyond printable ASCII: few, and the slow way."""
    texts = [name for name, kind in frame.schema.items() if kind == pl.String]
    escaped = [
        pl.Series(name, [None if text is None else escape(text) for text in frame[name].to_list()], pl.String)
        for name in texts
        if frame[name].str.contains(r'[^ -~]').any()
    ]
    return frame.with_columns(escaped)

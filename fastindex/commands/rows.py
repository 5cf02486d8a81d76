"""Rows of an answer as text: a table for people, JSON and CSV for programs, paths for both.

Gives strings. Leaves printing them to the command line. Names of a tree can hold anything that a file system
accepts: what is meant for people, CSV included, is escaped; `iter_json` and `to_path_bytes` are exact.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from io import BytesIO
from typing import TYPE_CHECKING

from fastindex.lazy import pl
from fastindex.text import escape

if TYPE_CHECKING:
    from fastindex.jobs.read.info import Info

from fastindex.text import to_count, to_size, to_subjects

__all__ = [
    'iter_csv',
    'iter_json',
    'to_dataset_table',
    'to_path_bytes',
    'to_paths',
    'to_session_table',
    'to_summary',
]

GAP = '  '
MIN_WIDTH = 8  # characters of a name that a narrow terminal leaves

MAX_ROWS = 20
MAX_NAMES = 5  # what a summary names of each kind

SLICE_ROWS = 2**14  # that are written at once: 7 MB of JSON

_NOT_PLAIN = re.compile(r'[^\n -~]')


def to_session_table(frame: pl.DataFrame, *, width: int | None = None) -> str:
    """Write sessions as a table; task and projects where any has them."""
    optional = [name for name in ('task_protocol', 'projects') if (frame[name] != '').any()]
    rows = frame.select('date', pl.col('number').alias('no.'), 'subject', 'lab', *optional, 'eid')
    return to_table(rows, width=width, cut=['subject', 'lab', *optional])


def to_dataset_table(frame: pl.DataFrame, *, width: int | None = None) -> str:
    """Write datasets as a table; their quality where any has one."""
    optional = ['qc'] if 'qc' in frame.columns and (frame['qc'].cast(pl.String) != 'NOT_SET').any() else []
    rows = frame.select(
        'date', pl.col('number').alias('no.'), 'subject', pl.col('rel_path').alias('dataset'), *optional
    )
    return to_table(rows.with_columns(_sizes(frame['file_size'])), width=width, cut=['subject', 'dataset'])


def _sizes(sizes_bytes: pl.Series) -> pl.Series:
    texts = {count: to_size(count) for count in sizes_bytes.unique().to_list()}
    sizes = pl.Series('size', [texts[count] for count in sizes_bytes.to_list()], pl.String)
    return sizes.str.pad_start(int(str(sizes.str.len_chars().max() or 0)))


def to_summary(info: Info) -> str:
    """Write what is in an index as a page of text."""
    return '\n'.join(_iter_summary(info))


def _iter_summary(info: Info) -> Iterator[str]:
    made = f'made {escape(str(info.date_created))} ({_to_age(info.age_seconds)})' if info.date_created else ''
    by = f'fastindex {escape(str(info.version))}' if info.generation else 'another program'
    yield f'{escape(info.path)}: index by {by}{made and ", "}{made}'
    if info.generation:
        yield f'generation {info.generation}'
    for kept in info.previous:
        had = f'{to_count(kept.sessions, "session")}, {to_count(kept.datasets, "dataset")}'
        number = f' --number {kept.number}' if kept.number > 1 else ''
        yield f'before it: {had}, made {escape(str(kept.date_created))} (fastindex restore{number})'
    yield ''
    days = f', {info.first_date} to {info.last_date}' if info.sessions else ''
    yield f'{to_count(info.sessions, "session")} of {to_subjects(info.subjects, info.labs)}{days}'
    yield f'{to_count(info.datasets, "dataset")}, {to_size(info.bytes)}; {_to_digests(info)}'
    if info.sessions_without_datasets:
        yield f'sessions without a dataset: {info.sessions_without_datasets:,}'
    if info.missing:
        yield f'datasets that are not on disk: {info.missing:,}'
    if info.revised:
        names = _name_some([f'{escape(name)} ({count:,})' for name, count in info.revisions.items()])
        yield f'datasets in a revision: {info.revised:,}, of {names}'
    if info.superseded:
        yield f'datasets that have a later revision: {info.superseded:,}'
    for title, counts in (('lab', info.by_lab), ('object', info.by_object)):
        if counts:
            yield ''
            frame = pl.DataFrame([asdict(count) for count in counts[:MAX_ROWS]])
            name = pl.col(title).fill_null('(not ALF)').replace('', '(none)')
            frame = frame.with_columns(name, _sizes(frame['bytes']))
            yield to_table(frame.drop('bytes'))
            if len(counts) > MAX_ROWS:
                yield f'... and {len(counts) - MAX_ROWS:,} more (--json has all)'
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


def _name_some(names: list[str]) -> str:
    rest = f' and {len(names) - MAX_NAMES:,} more' if len(names) > MAX_NAMES else ''
    return ', '.join(names[:MAX_NAMES]) + rest


def to_table(frame: pl.DataFrame, *, width: int | None = None, cut: Sequence[str] = ()) -> str:
    """Write rows below a header, numbers to the right.

    frame: rows; the columns are named as the header is to be
    width: characters of the terminal; None for as many as it takes
    cut: columns that may lose their end where a line would be wider: the widest first
    """
    right = [name for name, kind in frame.schema.items() if kind.is_numeric()]
    frame = _escape_columns(frame.select(pl.all().cast(pl.String).fill_null('')))
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


def iter_csv(frame: pl.DataFrame) -> Iterator[str]:
    """Write rows as CSV with a header, escaped as a table is; piece by piece."""
    frame = _to_text(frame, nested=True)
    yield frame.head(0).write_csv()
    for rows in frame.iter_slices(SLICE_ROWS):
        yield _escape_columns(rows).write_csv(include_header=False)


def iter_json(frame: pl.DataFrame, *, lines: bool = False) -> Iterator[bytes]:
    """Write rows as a JSON array, an object a line, in ASCII; piece by piece; or as the lines alone."""
    frame = _to_text(frame, nested=False)
    before = b'' if lines else b'['
    for rows in frame.iter_slices(SLICE_ROWS):
        written = BytesIO()
        rows.write_ndjson(written)
        text = _to_plain(written.getvalue())
        yield text if lines else before + text[:-1].replace(b'\n', b',\n')
        before = b',\n'
    if not lines:
        yield b']\n' if frame.height else b'[]\n'


def _to_text(frame: pl.DataFrame, *, nested: bool) -> pl.DataFrame:
    """Write values as JSON that Polars cannot write: times that pass, bytes, and where asked for lists.

    None of our columns has such; the further ones of other tables may have anything.
    """

    def has_text(kind: pl.DataType) -> bool:
        if kind.is_nested():
            return not nested and 'Binary' not in str(kind) and 'Duration' not in str(kind)
        return kind not in (pl.Binary, pl.Duration)

    def to_json(value: object) -> str | None:
        return None if value is None else json.dumps(value, default=_describe, ensure_ascii=False)

    texts = [name for name, kind in frame.schema.items() if not has_text(kind)]
    return frame.with_columns(
        [pl.Series(name, map(to_json, frame[name].to_list()), pl.String) for name in texts]
    )


def _describe(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _to_plain(text: bytes) -> bytes:
    """Escape what JSON lets stand and a terminal obeys: DEL, and what turns the direction of text."""
    if text.isascii() and b'\x7f' not in text:
        return text
    return _NOT_PLAIN.sub(lambda match: _to_ascii(match[0]), text.decode()).encode()


def _to_ascii(character: str) -> str:
    return '\\u007f' if character == '\x7f' else json.dumps(character)[1:-1]


def to_paths(frame: pl.DataFrame) -> list[str]:
    """Write the path of each row, a session or a dataset, relative to the root, as this system writes it."""
    parts = [name for name in ('session_path', 'rel_path') if name in frame.columns]
    paths: list[str] = frame.select(pl.concat_str(parts, separator='/').alias('path'))['path'].to_list()
    return paths if os.sep == '/' else [path.replace('/', os.sep) for path in paths]


def to_path_bytes(root: str, paths: Sequence[str]) -> bytes:
    """Write paths below a root as they are on disk, each with a NUL after it."""
    head = os.fsencode(os.path.join(root, ''))
    return b''.join([head + path.encode() + b'\0' for path in paths])


def _escape_columns(frame: pl.DataFrame) -> pl.DataFrame:
    """Escape the columns of text that have a character beyond printable ASCII: few, and the slow way."""
    texts = [name for name, kind in frame.schema.items() if kind == pl.String]
    escaped = [
        pl.Series(name, [None if text is None else escape(text) for text in frame[name].to_list()], pl.String)
        for name in texts
        if frame[name].str.contains(r'[^ -~]').any()
    ]
    return frame.with_columns(escaped)

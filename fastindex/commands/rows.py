"""Rows of an answer as text: a table for people, JSON and CSV for programs, paths for both.

Gives strings. Leaves printing them to the command line. Names of a tree can hold anything that a file system
accepts: what is meant for people, CSV included, is escaped; `iter_json` and `to_path_bytes` are exact.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from io import BytesIO

from fastindex.jobs.read.words import escape_columns, to_sizes, to_table
from fastindex.lazy import pl

__all__ = [
    'iter_csv',
    'iter_json',
    'to_dataset_table',
    'to_path_bytes',
    'to_paths',
    'to_session_table',
]

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
    return to_table(rows.with_columns(to_sizes(frame['file_size'])), width=width, cut=['subject', 'dataset'])


def iter_csv(frame: pl.DataFrame) -> Iterator[str]:
    """Write rows as CSV with a header, escaped as a table is; piece by piece."""
    frame = _to_text(frame, nested=True)
    yield frame.head(0).write_csv()
    for rows in frame.iter_slices(SLICE_ROWS):
        yield escape_columns(rows).write_csv(include_header=False)


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

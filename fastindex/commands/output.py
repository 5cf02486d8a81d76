"""How the commands print: answers and JSON to standard output, complaints to standard error."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout, suppress
from typing import TextIO

from fastindex.errors import OutputError
from fastindex.files import is_stdout
from fastindex.records import Record
from fastindex.text import escape

__all__ = [
    'JsonItems',
    'after_work',
    'as_typed',
    'beside',
    'complain',
    'give',
    'paint',
    'print_json',
    'show',
    'tell',
    'to_json',
    'with_flags',
]


def as_typed(text: str) -> str:
    """Write commands in the words that were typed; the library says `python -m fastindex`."""
    folder, name = os.path.split(sys.argv[0])
    is_module = name == '__main__.py' and os.path.basename(folder) == 'fastindex'
    return text if is_module else text.replace('python -m fastindex', 'fastindex')


_COLOURS = {'error': 31, 'warning': 33, 'info': 34}


def paint(word: str, stream: TextIO) -> str:
    """Colour a severity where a terminal shows it, unless NO_COLOR is set (https://no-color.org)."""
    if word not in _COLOURS or os.environ.get('NO_COLOR') or not stream.isatty():
        return word
    return f'\x1b[{_COLOURS[word]}m{word}\x1b[0m'


def complain(message: str) -> None:
    """Print to standard error."""
    text = '\n'.join(map(escape, as_typed(message).split('\n')))
    severity, colon, rest = text.partition(':')
    with suppress(OSError):
        print(f'fastindex: {paint(severity, sys.stderr)}{colon}{rest}', file=sys.stderr, flush=True)


def show(text: str) -> None:
    """Print what was asked for, to people. See `give`."""
    give((as_typed(text), '\n'))


def give(pieces: Iterable[str | bytes]) -> None:
    """Print pieces of an answer; bytes are names as they are on disk.

    A reader that has enough is no error. A disk that is full raises OutputError: half an answer looks like a
    whole one. Where the work is done, and the answer is no more than its summary, see `after_work`.
    """
    try:
        for piece in pieces:
            if isinstance(piece, bytes):
                sys.stdout.buffer.write(piece)
            else:
                sys.stdout.write(piece)
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise OutputError(f'the answer could not be written whole ({error.strerror})') from error


@contextmanager
def after_work() -> Iterator[None]:
    """Print a summary of work that is done: that it cannot be written is a warning, and does not undo it."""
    try:
        yield
    except OutputError as error:
        complain(f'warning: {error}')


_FLAGS = {'split_bytes': 'split'}  # options that have another name on the command line


def with_flags(text: str) -> str:
    """Write a text of the library with the flags of the options that it names in backticks.

    >>> with_flags('`allow_empty`, `follow_symlinks=False` or `hash=md5` does it')
    '--allow-empty, --no-follow-symlinks or --hash=md5 does it'
    """
    return re.sub(r'`(\w+)(?:=([\w,-]+))?`', _to_flag, text)


def _to_flag(option: re.Match[str]) -> str:
    name, value = option.groups()
    flag = _FLAGS.get(name, name).replace('_', '-')
    if value == 'False':
        return f'--no-{flag}'
    return f'--{flag}={value}' if value not in (None, 'True') else f'--{flag}'


def beside(out: str | None) -> AbstractContextManager[object]:
    """Show the summary on standard error, where standard output is what got the output itself."""
    return redirect_stdout(sys.stderr) if out is not None and is_stdout(out) else nullcontext()


_NOT_UTF8 = re.compile(r'(?<!\\)((?:\\\\)*)(?<!\\ud[89ab][0-9a-f]{2})\\udc([89a-f][0-9a-f])')
"""In ASCII JSON, half of a character: a byte of a name that is not UTF-8."""


def to_json(value: object) -> str:
    r"""Write JSON that any parser takes: bytes of names that are not UTF-8 become `\xNN`, as in all text.

    >>> print(to_json({'path': 'caf\udce9', 'other': '\U0001f42d'}))
    {"path": "caf\\xe9", "other": "\ud83d\udc2d"}
    """
    import json

    text = json.dumps(value, default=_to_plain)
    return _NOT_UTF8.sub(r'\1\\\\x\2', text) if '\\udc' in text else text


def _to_plain(value: object) -> object:
    """Write what JSON does not know: results by their fields, and all else that is no mapping as text."""
    if isinstance(value, Record):
        return value.to_dict()
    return dict(value) if isinstance(value, Mapping) else str(value)


def print_json(value: object) -> None:
    """Print one JSON object in a line."""
    give((to_json(value), '\n'))


def tell(options: argparse.Namespace, summary: object, lines: Iterable[str]) -> None:
    """Print a summary in the way that was asked for: as JSON, in lines, or not at all."""
    if options.json:
        print_json(summary)
    elif not options.quiet:
        show('\n'.join(lines))


class JsonItems:
    """Many objects and a summary, printed as they come: one JSON document, or lines with the summary last.

    name: of the array in the document
    lines: whether to write lines
    """

    def __init__(self, name: str, *, lines: bool) -> None:
        self._before = '' if lines else f'{{"{name}": ['
        self._after = '' if lines else ',\n'
        self._lines = lines

    def add(self, item: object) -> None:
        """Write an object."""
        give((self._before, to_json(item), '\n' if self._lines else ''))
        self._before = self._after

    def close(self, summary: object) -> None:
        """Write the summary: the end."""
        if self._lines:
            print_json({'summary': summary})
        else:
            start = self._before if self._before != self._after else ''
            give((f'{start}], "summary": {to_json(summary)}}}\n',))

"""How the commands print: answers and JSON to standard output, complaints to standard error."""

from __future__ import annotations

import os
import re
import sys
from contextlib import AbstractContextManager, nullcontext, redirect_stdout, suppress

from fastindex.files import is_stdout
from fastindex.text import escape

__all__ = [
    'MAX_PROBLEMS',
    'as_typed',
    'beside',
    'complain',
    'megabytes',
    'print_json',
    'quote',
    'show',
    'with_flags',
]

MAX_PROBLEMS = 10
"""Problems that the summary names."""


def as_typed(text: str) -> str:
    """Write commands in the words that were typed; the library says `python -m fastindex`."""
    folder, name = os.path.split(sys.argv[0])
    is_module = name == '__main__.py' and os.path.basename(folder) == 'fastindex'
    return text if is_module else text.replace('python -m fastindex', 'fastindex')


def complain(message: str) -> None:
    """Print to standard error."""
    text = '\n'.join(map(escape, as_typed(message).split('\n')))
    with suppress(OSError):
        print(f'fastindex: {text}', file=sys.stderr, flush=True)


def show(text: str) -> None:
    """Print what was asked for. The work is done: that nobody takes the text does not undo it."""
    try:
        print(as_typed(text), flush=True)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            complain(f'warning: the summary could not be written ({error.strerror})')
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


_FLAGS = {'split_bytes': 'split'}
"""Options that have another name on the command line."""


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


def print_json(value: object) -> None:
    """Print one JSON object in a line."""
    import json

    show(json.dumps(value, default=str))


def quote(path: str) -> str:
    """Quote a path for a shell, and for a terminal."""
    import shlex

    return shlex.quote(escape(path))


def megabytes(count: int) -> str:
    """Write a number of bytes for people."""
    return f'{count / 1e6:,.1f} MB' if count < 1e9 else f'{count / 1e9:,.1f} GB'

"""How the commands print: answers and JSON to standard output, complaints to standard error."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, nullcontext, redirect_stdout, suppress

from fastindex.files import is_stdout
from fastindex.text import escape

__all__ = ['MAX_PROBLEMS', 'beside', 'complain', 'megabytes', 'print_json', 'quote', 'show']

MAX_PROBLEMS = 10
"""Problems that the summary names."""


def complain(message: str) -> None:
    """Print to standard error."""
    with suppress(OSError):
        print('fastindex: ' + '\n'.join(map(escape, message.split('\n'))), file=sys.stderr, flush=True)


def show(text: str) -> None:
    """Print what was asked for. The work is done: that nobody takes the text does not undo it."""
    try:
        print(text, flush=True)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            complain(f'warning: the summary could not be written ({error.strerror})')
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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

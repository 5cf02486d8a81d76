"""What the commands share: the parser, types of arguments, ways to print."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import AbstractContextManager, nullcontext, redirect_stdout, suppress
from typing import NoReturn

from fastindex.errors import UsageError
from fastindex.files import is_stdout
from fastindex.text import escape

__all__ = [
    'MAX_PROBLEMS',
    'Parser',
    'add_store_options',
    'beside',
    'complain',
    'leave_out_what_pyarrow_can_do_without',
    'megabytes',
    'positive',
    'print_json',
    'quote',
    'show',
]

MAX_PROBLEMS = 10
"""Problems that the summary names."""


class Parser(argparse.ArgumentParser):
    """Raises where argparse would exit."""

    def error(self, message: str) -> NoReturn:
        if message.startswith('unrecognized arguments') and '--hash' in self._option_string_actions:
            message += ' (only one folder is expected; a digest is named with =, as in --hash=md5)'
        elif message == 'the following arguments are required: ROOT' and self.prog.endswith('search'):
            message += ' (ROOT comes before the options, some of which take many words)'
        raise UsageError(f'{message}. See {self.prog} --help')


def add_store_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of what may be in a bucket."""
    add = parser.add_argument
    add(
        '--endpoint', metavar='URL', help='of s3://bucket/prefix: where it is, if not as the environment says'
    )
    add('--anonymous', action='store_true', help='of a public bucket: use no credentials')


def positive(text: str) -> int:
    """Parse a whole number, 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r}: expected a whole number, 1 or more')
    return int(text)


def leave_out_what_pyarrow_can_do_without() -> None:
    """Let pyarrow be imported without numpy and without the file systems of the clouds.

    Where numpy is installed this saves 80 ms, a fifth of the whole run on the example; and OpenBLAS's
    threads, with which this process could not be forked. The file systems take 5 ms. Only the command line
    does it: its process does nothing else.
    """
    clouds = (f'pyarrow._{name}fs' for name in ('s3', 'azure', 'gcs'))
    for name in ('numpy', *clouds, 'pyarrow._hdfs'):
        if name not in sys.modules:
            sys.modules[name] = None  # type: ignore[assignment]


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

"""`fastindex help [COMMAND]`: the help page of a command, or all of them as a man page."""

from __future__ import annotations

import argparse
import re

from fastindex._version import __version__
from fastindex.commands import COMMANDS
from fastindex.commands import make_parser as make_parser_of
from fastindex.commands.options import Parser
from fastindex.commands.output import give, show
from fastindex.errors import EXIT_DONE, UsageError

__all__ = ['make_man_page', 'make_parser']

_MAN_START = """\
.TH FASTINDEX 1 "" "fastindex {version}"
.SH NAME
fastindex \\- make, check, search and release the index of an ONE folder tree
.SH SYNOPSIS
.nf
fastindex ROOT [options]
fastindex COMMAND [arguments]
.fi
"""


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of `fastindex help`."""
    parser = Parser('help', '[COMMAND | --man]', 'Explain a command; without one, list all of them.')
    parser.add_argument('command', metavar='COMMAND', nargs='?', choices=list(COMMANDS))
    parser.add_argument('--man', action='store_true', help='print all help pages as one man page')
    parser.set_defaults(run=_run)
    return parser


def _run(options: argparse.Namespace) -> int:
    if options.man:
        if options.command:
            raise UsageError('--man is about all commands: leave COMMAND out')
        give((make_man_page(),))
        return EXIT_DONE
    show(make_parser_of(options.command or 'build').format_help().rstrip())
    return EXIT_DONE


def make_man_page() -> str:
    """Make the man page, which has the help page of each command as it is."""
    page = [_MAN_START.format(version=__version__)]
    for command in COMMANDS:
        text = make_parser_of(command).format_help().rstrip().replace('python -m fastindex', 'fastindex')
        page.append(f'.SH {command.upper()}\n.nf\n{_to_roff(text)}\n.fi\n')
    return ''.join(page)


def _to_roff(text: str) -> str:
    r"""Write text for troff, where some characters mean something, a point at the start of a line among them.

    >>> print(_to_roff(r".a -b 'c\d"))
    \&.a \-b \(aqc\ed
    """
    text = text.replace('\\', r'\e').replace('-', r'\-').replace("'", r'\(aq').replace('…', '...')
    return re.sub(r'^(?=\.)', r'\\&', text, flags=re.MULTILINE)

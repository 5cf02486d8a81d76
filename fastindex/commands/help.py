"""`fastindex help [COMMAND]`: the help page of a command."""

from __future__ import annotations

import argparse

from fastindex.commands import COMMANDS
from fastindex.commands import make_parser as make_parser_of
from fastindex.commands.options import Parser
from fastindex.commands.output import show
from fastindex.errors import EXIT_DONE

__all__ = ['make_parser']


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of `fastindex help`."""
    parser = Parser('help', '[COMMAND]', 'Explain a command; without one, list all of them.')
    parser.add_argument('command', metavar='COMMAND', nargs='?', default='build', choices=list(COMMANDS))
    parser.set_defaults(run=_run)
    return parser


def _run(options: argparse.Namespace) -> int:
    show(make_parser_of(options.command).format_help().rstrip())
    return EXIT_DONE

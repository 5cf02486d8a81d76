"""`fastindex completion SHELL`: what makes a shell complete commands, options and file names."""

from __future__ import annotations

import argparse

from fastindex.commands import COMMANDS
from fastindex.commands import make_parser as make_parser_of
from fastindex.commands.options import Parser
from fastindex.commands.output import show
from fastindex.errors import EXIT_DONE
from fastindex.extras import require

__all__ = ['make_parser', 'make_parser_of_all']

COMPLETED = {'ROOT': 'DIRECTORY', 'DIR': 'DIRECTORY', 'FILE': 'FILE', 'FILE_OR_URL': 'FILE'}
"""What is completed, by the word that stands for it in the help."""

EPILOG = """\
examples:
  python -m fastindex completion bash > ~/.local/share/bash-completion/completions/fastindex
  python -m fastindex completion zsh > ~/.zfunc/_fastindex       a folder in $fpath
  python -m fastindex completion fish > ~/.config/fish/completions/fastindex.fish
"""


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of `fastindex completion`."""
    parser = Parser(
        'completion',
        'SHELL',
        'Print what makes a shell complete the commands and options of fastindex.',
        EPILOG,
    )
    parser.add_argument('shell', metavar='SHELL', choices=['bash', 'zsh', 'fish'], help='bash, zsh or fish')
    parser.set_defaults(run=_run)
    return parser


def _run(options: argparse.Namespace) -> int:
    require('completion', 'completion')
    import shtab

    show(shtab.complete(make_parser_of_all(), shell=options.shell))
    return EXIT_DONE


def make_parser_of_all() -> argparse.ArgumentParser:
    """Make one parser that has each command as a subcommand: for programs that read parsers."""
    import shtab

    parser = argparse.ArgumentParser('fastindex', description='Index a tree of ONE sessions.')
    commands = parser.add_subparsers(metavar='COMMAND')
    for name, text in COMMANDS.items():
        parent = make_parser_of(name)
        command = commands.add_parser(
            name, parents=[parent], add_help=False, help=text, description=text, usage=parent.usage
        )
        for action in command._actions:  # noqa: SLF001 - argparse has no other list of them
            if action.metavar in COMPLETED:
                action.complete = getattr(shtab, COMPLETED[action.metavar])  # type: ignore[attr-defined]
    return parser

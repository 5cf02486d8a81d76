"""The commands, one a module: arguments in, text or JSON out. Only the one that is asked for is loaded."""

from __future__ import annotations

import argparse
from importlib import import_module

__all__ = ['COMMANDS', 'make_parser']

COMMANDS = {
    'build': 'make or update the index; this is done too if no command is named',
    'validate': 'judge the names of all folders and files, with reasons and fixes',
    'verify': 'compare a tree with its index: sizes, or contents',
    'search': 'find sessions and datasets',
    'info': 'tell what is in an index',
    'restore': 'put back the index that a run has replaced',
    'report': 'show an index as one HTML file',
    'release': 'write index and datasets into one archive',
    'example': 'write an example tree of 74,000 files',
    'help': 'explain a command',
    'completion': 'print what makes a shell complete commands and options',
}
"""Each command, and what it does."""


def make_parser(command: str) -> argparse.ArgumentParser:
    """Make the parser of a command; `run` of what it parses does the work, and gives the exit code."""
    parser: argparse.ArgumentParser = import_module(f'fastindex.commands.{command}').make_parser()
    return parser

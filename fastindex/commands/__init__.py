"""The commands, one a module: arguments in, text or JSON out. Only the one that is asked for is loaded."""

from __future__ import annotations

import argparse
from importlib import import_module

__all__ = ['COMMANDS', 'make_parser']

COMMANDS = ('build', 'validate', 'verify', 'search', 'info', 'report', 'release', 'example')


def make_parser(command: str) -> argparse.ArgumentParser:
    """Make the parser of a command; `run` of what it parses does the work, and gives the exit code."""
    parser: argparse.ArgumentParser = import_module(f'fastindex.commands.{command}').make_parser()
    return parser

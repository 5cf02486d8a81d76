"""Is this the right root? Names the right one where it is not.

A session path is parsed from the root down, as the client parses it: with the root one level too high or
too low, nothing is found or the lab is lost.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from fastindex.alf import judge_date, judge_number
from fastindex.problems import Tally, escape
from fastindex.trees import Tree

__all__ = ['explain_empty_root', 'iter_root_warnings']

MAX_FOLDERS = 500
"""Folders that are listed at most in search of the right root below."""

_SESSION = re.compile(r'/[\w.-]+/\d{4}-\d{2}-\d{2}/\d{1,3}(?=/|$)')


def iter_root_warnings(tree: Tree) -> Iterator[str]:
    """Say what will go wrong with an index in this root, though sessions were found below it."""
    name = os.path.basename(tree.root)
    if match := _SESSION.search(tree.root):
        above = tree.root[: match.start()] or '/'
        yield (
            f'the root lies inside a session folder ({escape(match.group()[1:])}): the client will read that '
            f'subject and date out of every path. Move the tree out of it, or index {escape(above)}'
        )
    elif name == 'Subjects':
        above = os.path.dirname(os.path.dirname(tree.root))
        yield (
            'the root is the Subjects folder of a lab, so the lab is not in the index: '
            f'index {escape(above)} to keep it'
        )


def explain_empty_root(tree: Tree) -> str:
    """Say why no session was found below the root, and where to look instead."""
    tally = Tally()  # for nobody: what matters was told already
    names = _list(tree, '', tally)
    up = os.path.dirname(tree.root)
    if 'Subjects' in names:
        return f'this is the folder of one lab: index the one above it, {escape(up)}'
    if any(judge_date(name) is None for name in names):
        if os.path.basename(up) == 'Subjects':
            up = os.path.dirname(os.path.dirname(up))
        return f'this is the folder of one subject: index {escape(up)}'
    if judge_date(os.path.basename(tree.root)) is None and any(judge_number(name) is None for name in names):
        return 'this is a date folder of one subject: index the folder that has the labs or the subjects'
    if match := _SESSION.search(tree.root):
        return (
            f'this lies inside a session folder: index {escape(tree.root[: match.start()] or "/")} or above'
        )
    if below := _find_below(tree, names, tally):
        return f'sessions lie deeper: index {escape(os.path.join(tree.root, below))}'
    if not names:
        return 'the folder has no folders in it: is the disk mounted?'
    return 'expected lab/Subjects/subject/date/number or subject/date/number below it'


def _find_below(tree: Tree, names: list[str], tally: Tally) -> str | None:
    """Find the folder below the root that should be the root: breadth first, within bounds."""
    queue = list(names)
    for listed, path in enumerate(queue):
        if listed == MAX_FOLDERS:
            return None
        below = _list(tree, path, tally)
        if 'Subjects' in below:
            return os.path.dirname(path)
        if any(judge_date(name) is None for name in below):
            return os.path.dirname(path)
        queue += [f'{path}/{name}' for name in below]
    return None


def _list(tree: Tree, path: str, tally: Tally) -> list[str]:
    try:
        return tree.list_folders(path, tally)
    except OSError:
        return []

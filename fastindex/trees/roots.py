"""Is this the right root? Names the right one where it is not.

A session path is parsed from the root down, as the client parses it: with the root one level too high or
too low, nothing is found or the lab is lost.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from fastindex.names.alf import judge_date, judge_number
from fastindex.names.problems import Problem
from fastindex.text import escape
from fastindex.trees import Tree, is_url
from fastindex.trees.fate import find_folders

__all__ = [
    'WrongRoot',
    'explain_empty',
    'explain_empty_root',
    'find_right_root',
    'has_dates',
    'judge_root',
    'lacks_subjects',
]

MAX_SUBJECTS = 20  # folders that are listed at most to tell whether one is a lab
MAX_FOLDERS = 500  # folders that are listed at most in search of the right root below
_SESSION = re.compile(r'/[\w.-]+/\d{4}-\d{2}-\d{2}/\d{1,3}(?=/|$)')


class WrongRoot(NamedTuple):
    """What is wrong with a root, and the right one, absolute."""

    message: str  # what it is instead of a root
    right: str
    advice: str  # what is to be done about it
    is_too_high: bool = False


def _find_session(root: str) -> re.Match[str] | None:
    """Find the session folder that a root is in or is, in its path, whatever parts that on this system."""
    return _SESSION.search(root.replace(os.sep, '/'))


def judge_root(tree: Tree) -> WrongRoot | None:
    """Judge the place of a root, though sessions were found below it."""
    if match := _find_session(tree.root):
        above = tree.root[: match.start()] or '/'
        return WrongRoot(
            f'the root lies inside a session folder ({escape(match.group()[1:])})',
            above,
            'the client will read that subject and date out of every path. '
            f'Move the tree out of it, or index {escape(above)}',
        )
    if os.path.basename(tree.root) == 'Subjects':
        above = os.path.dirname(os.path.dirname(tree.root))
        return WrongRoot(
            'the root is the Subjects folder of a lab, so the lab is not in the index',
            above,
            f'index {escape(above)} to keep it',
        )
    return None


def explain_empty(tree: Tree, problems: Sequence[Problem]) -> str:
    """Say that no session was found below the root, why, and what stood in the way."""
    why = explain_empty_root(tree)
    lines = [f'{escape(tree.root)}: no session found; {why}' + '.' * (not why.endswith('?'))]
    lines += [f'problem: {problem}' for problem in problems[:3]]
    lines += ['The index that was there, if any, still is; ']
    return '\n  '.join(lines)


def explain_empty_root(tree: Tree) -> str:
    """Say why no session was found below the root, and where to look instead."""
    if wrong := find_right_root(tree):
        return f'{wrong.message}: {wrong.advice}'
    folders = find_folders(tree, '')
    if labs := _find_labs(tree, folders):
        names = ', '.join(map(escape, labs[:3])) + ', …' * (len(labs) > 3)
        return f'Subjects is missing in {names}: put a folder Subjects between each lab and its subjects'
    if folders:
        return 'expected lab/Subjects/subject/date/number or subject/date/number below it'
    if is_url(tree.root):
        return 'no key in the bucket begins like this and has a folder after it: is the prefix right?'
    return 'the folder has no folders in it: is the disk mounted?'


def find_right_root(tree: Tree) -> WrongRoot | None:
    """Find the root that was meant, where no session was found below this one."""
    if is_url(tree.root) and tree.root.count('/') == 2:
        return None  # a whole bucket: there is none above it, and much may be below
    names = find_folders(tree, '')
    up = os.path.dirname(tree.root)
    if 'Subjects' in names:
        return WrongRoot('this is the folder of one lab', up, f'index the one above it, {escape(up)}')
    if any(judge_date(name) is None for name in names):
        up = _above_subject(tree.root)
        return WrongRoot('this is the folder of one subject', up, f'index {escape(up)}')
    if judge_date(os.path.basename(tree.root)) is None and any(judge_number(name) is None for name in names):
        up = _above_subject(up)
        return WrongRoot('this is a date folder of one subject', up, f'index {escape(up)}')
    if match := _find_session(tree.root):
        up = _above_subject(os.path.dirname(os.path.dirname(tree.root[: match.end()])))
        return WrongRoot('this lies inside a session folder', up, f'index {escape(up)}')
    if len(_find_labs(tree, names)) > 1:
        return None  # a root of labs
    below = _find_below(tree, names)
    if not below:
        return None
    right = f'{tree.root}/{below}' if is_url(tree.root) else os.path.join(tree.root, *below.split('/'))
    return WrongRoot('sessions lie deeper', right, f'index {escape(right)}', is_too_high=True)


def _find_labs(tree: Tree, names: list[str]) -> list[str]:
    """Find the folders of a root that are labs, but for Subjects, where there are several."""
    labs = [name for name in names[:MAX_FOLDERS] if lacks_subjects(tree, name, find_folders(tree, name))]
    return labs if len(labs) > 1 else []


def lacks_subjects(tree: Tree, path: str, names: Sequence[str]) -> bool:
    """Tell whether a folder in the root is a lab whose subjects are not in Subjects, by some of them.

    names: the folders in it
    """
    if 'Subjects' in names or is_url(tree.root):  # a bucket is asked by requests
        return False
    return any(
        name.lower() == 'subjects' or has_dates(tree, f'{path}/{name}') for name in names[:MAX_SUBJECTS]
    )


def has_dates(tree: Tree, path: str) -> bool:
    """Tell whether a folder has dates in it, as a subject."""
    return not is_url(tree.root) and any(judge_date(name) is None for name in find_folders(tree, path))


def _above_subject(subject: str) -> str:
    """Get the root that has a subject's folder in it, or its lab's."""
    up = os.path.dirname(subject)
    return os.path.dirname(os.path.dirname(up)) if os.path.basename(up) == 'Subjects' else up


def _find_below(tree: Tree, names: list[str]) -> str | None:
    """Find the folder below the root that should be the root: breadth first, within bounds."""
    queue = list(names)
    for listed, path in enumerate(queue):
        if listed == MAX_FOLDERS:
            return None
        below = find_folders(tree, path)
        if 'Subjects' in below or any(judge_date(name) is None for name in below):
            return os.path.dirname(path)
        queue += [f'{path}/{name}' for name in below]
    return None

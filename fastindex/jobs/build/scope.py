"""Which sessions are asked for: the folders that a caller names, parsed and explained."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import NamedTuple, Self

from fastindex.errors import EmptyTreeError, UsageError
from fastindex.names.alf import judge_date, judge_number
from fastindex.names.diagnose import fold
from fastindex.names.problems import Tally
from fastindex.system import long_path
from fastindex.text import escape, from_system, to_system
from fastindex.trees import Kind, Tree
from fastindex.trees.exclude import ExcludingTree
from fastindex.trees.fate import list_folders
from fastindex.trees.part import PartTree

__all__ = ['Scope', 'explain_none', 'parse_only']


class Scope(NamedTuple):
    """Which sessions are scanned: as it is, those that the index does not have."""

    # those in these folders, relative to the root, whether the index has them or not
    only: tuple[str, ...] | None = None
    quick: bool = False  # also those in which a folder is not as it was

    @classmethod
    def parse(
        cls, root: str, *, only: Collection[str | os.PathLike[str]] | None, new: bool, quick: bool
    ) -> Self | None:
        """Parse what was asked for below a root."""
        if (only is not None) + new + quick > 1:
            raise UsageError(hint='`only`, `new` and `quick` choose sessions: expected one of them')
        if only is not None:
            return cls(parse_only(only, root))
        return cls(quick=quick) if new or quick else None

    def narrow(self, tree: Tree) -> Tree:
        """Get the tree as the discovery is to see it."""
        if self.only is None:
            return tree
        return tree.narrow(self.only) if isinstance(tree, ExcludingTree) else PartTree(tree, self.only)


def parse_only(paths: Iterable[str | os.PathLike[str]], root: str) -> tuple[str, ...]:
    """Parse the folders that are asked for: relative to the root, or as the system finds them.

    Raises UsageError if one of them is no lab, subject, date or session by its name.

    Examples
    --------
    >>> parse_only(['/data/lab/Subjects/s1/', 's2/2024-01-01/001'], '/data')
    ('lab/Subjects/s1', 's2/2024-01-01/001')
    """
    if isinstance(paths, str | os.PathLike):
        raise UsageError(f'only={os.fspath(paths)!r} is one path: expected a collection, such as [{paths!r}]')
    found: list[str] = []
    for one in paths:
        given = from_system(os.fspath(one))
        path = _spell(os.path.normpath(given.removeprefix(f'{root}/')).replace(os.sep, '/'), root)
        reason = _judge(path)
        if reason and given and (below := _find_below(given, root)):
            path = _spell(below, root)
            reason = _judge(path)
        if reason:
            raise UsageError(
                f'{escape(given)!r}: {reason}; expected a lab, a subject, a date or a session below '
                f'{escape(root)}, as lab/Subjects/subject/date/number'
            )
        found.append(path)
    return tuple(dict.fromkeys(found))


def _find_below(given: str, root: str) -> str:
    """Find a path from the working directory, or through links, below the root; '' if it is not there."""
    names = os.path.abspath(given).split(os.sep)
    for count in range(1, len(names)):
        with suppress(OSError):
            if os.path.samefile(to_system(os.sep.join(names[:count]) + os.sep), to_system(root)):
                return '/'.join(names[count:])
    return ''


def _spell(path: str, root: str) -> str:
    """Spell a path as its disk does: there names may be one that differ in case or Unicode form alone."""
    above, spelt = long_path(to_system(root)), ''
    for name in path.split('/'):
        others = {name.swapcase(), *(unicodedata.normalize(form, name) for form in ('NFC', 'NFD'))} - {name}
        if any(os.path.lexists(os.path.join(above, to_system(one))) for one in others):
            with suppress(OSError):
                names = list(map(from_system, os.listdir(above)))
                if name not in names:
                    name = next((one for one in names if fold(one) == fold(name)), name)
        above = os.path.join(above, to_system(name))
        spelt += f'/{name}'
    return spelt[1:]


def _judge(path: str) -> str:
    """Say what a path is that nobody can ask for; '' where it may be asked for."""
    names = path.split('/')
    if os.path.splitdrive(path)[0]:  # on Windows
        return 'this is not below the root'
    if '\0' in path:
        return 'no path has a NUL'
    if path in ('', '.'):
        return 'this is the root'
    if names[0] in ('..', ''):
        return 'this is not below the root'
    below = names[3:] if names[1:2] == ['Subjects'] else names[1:]
    if below and judge_date(below[0]):
        return f'{escape(below[0])} is no date'
    if len(below) > 1 and judge_number(below[1]):
        return f'{escape(below[1])} is no number of a session'
    return 'this is in a session' if len(below) > 2 else ''


def explain_none(tree: Tree, path: str, *, is_known: bool) -> None:
    """Refuse a folder in which no session is, unless it is clear why: they are gone, or there is none yet."""
    tally = Tally()
    names = path.split('/')
    for count in range(1, len(names) + 1):
        above = '/'.join(names[:count])
        try:
            with tree.open_folder('/'.join(names[: count - 1]), tally) as folder:
                kind = folder.kind_of(names[count - 1])
        except FileNotFoundError:
            if count == 1 and len(names) > 1 and is_known:
                raise EmptyTreeError(
                    f'{escape(tree.root)}: there is no {escape(above)}. Is a disk not mounted? The index '
                    'still has what it had'
                ) from None
            if is_known:
                return  # gone
            raise UsageError(
                f'{escape(path)}: there is no {escape(above)} in {escape(tree.root)}, and the index knows no '
                'session there'
            ) from None
        except OSError:
            return  # a problem of the discovery
        if kind != Kind.FOLDER:
            if is_known:
                return
            raise UsageError(
                f'{escape(above)}: this is a file: expected a lab, a subject, a date or a session'
            )
    if len(names) > 1 or is_known:
        return  # none yet
    below = list_folders(tree, path, tally)
    if 'Subjects' not in below and all(judge_date(name) for name in below):
        raise UsageError(
            f'{escape(path)}: this folder has neither Subjects nor a date in it: expected a lab, a '
            'subject, a date or a session'
        )

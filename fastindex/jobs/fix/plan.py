"""Plan which names change, and in which order: what is below first, nothing over another, all of it foreseen.

A folder whose name is wrong is not looked into by `validate`. So what is found is planned, and the tree is
looked at as it will be then, until nothing comes any more. Nothing is written.

Each path of the plan is the one that it has by then. No name is used again that has become free: so whatever
part of it was done, from its start, can be told and undone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from fastindex.jobs.validate.validate import Findings
from fastindex.names.diagnose import fold
from fastindex.names.problems import Tally
from fastindex.names.rules import Finding
from fastindex.records import Record
from fastindex.text import escape, to_count, to_text
from fastindex.trees import Folder, Kind, Tree
from fastindex.trees.part import PartTree, TreeOver, base_of, is_below
from fastindex.trees.renamed import Node, RenamedTree

if TYPE_CHECKING:
    from fastindex.trees.disk import LocalFolder, LocalTree

__all__ = ['Fixes', 'Refused', 'Step', 'plan_fixes']

MAX_NAME_BYTES = 255  # of a name, in every file system that there is
MAX_ROUNDS = 20
ASIDE = '.renaming'  # the end of a name in between: `Probe00` and `probe00` are one on some disks


class Step(NamedTuple):
    """One thing to do. Paths are relative to the root, as the disk has them."""

    path: str  # '' where a folder is to be made
    new_path: str


class Refused(NamedTuple):
    """A fix that is not made, and why, in words."""

    path: str
    fix: str
    why: str

    def __str__(self) -> str:
        return f'{escape(self.path)} is not renamed to {escape(self.fix)}: {self.why}'


class Fixes(Record):
    """What is to be renamed in a tree, and what is not. Made by `fastindex.plan_fixes`; nothing is done yet.

    Parameters
    ----------
    root
        Of the tree.
    renames
        Each with the `path` that it has when its turn comes, and its `new_path`, relative to the root.
    refused
        Fixes that are not made: `path`, `fix`, and in words `why`.
    steps
        What is done, in this order: the renames, folders that are made, and names in between.
    """

    root: str
    renames: tuple[Step, ...]
    refused: tuple[Refused, ...]
    steps: tuple[Step, ...]

    def write_script(self, path: str | os.PathLike[str]) -> Path:
        """Write the renames as a script for `sh`, and beside it one that undoes them, whose path is given.

        Raises
        ------
        OutputError, UsageError
            If they cannot be written; if the script that undoes is there already, as it may be needed.
        """
        from fastindex.jobs.fix.fix import write_scripts

        return Path(write_scripts(self, os.fspath(path)))

    def apply(self) -> Path | None:
        """Rename; give the path of the script that undoes it, None if there is nothing to rename.

        Nothing is overwritten. Meanwhile no build can write the index in the root.

        Raises
        ------
        LockedError
            If a build does.
        FixError
            If something is in the way, or not there any more: what was renamed before stays, and the script
            that the message names undoes it.
        """
        from fastindex.jobs.fix.fix import apply_fixes, hold_root

        if not self.steps:
            return None
        with hold_root(self.root) as stage:
            return Path(apply_fixes(self, stage))

    def iter_lines(self) -> Iterator[str]:
        """Iterate over the renames as lines: with the new name, or where the folder changes the new path."""
        for path, new_path in self.renames:
            is_beside = path.rpartition('/')[0] == new_path.rpartition('/')[0]
            yield f'{escape(path)} -> {escape(new_path.rpartition("/")[2] if is_beside else new_path)}'

    def __str__(self) -> str:
        return '\n'.join([*self.iter_lines(), *map(str, self.refused)]) or 'nothing to rename'

    def __repr__(self) -> str:
        refused = f', {len(self.refused):,} not made' if self.refused else ''
        return f'<Fixes of {escape(self.root)}: {to_count(len(self.renames), "rename")}{refused}>'


class _CannotFixError(Exception):
    """A fix cannot be made."""


def plan_fixes(findings: Findings) -> Fixes:
    """Plan how names in a tree are to change: to the fixes of findings, and of what comes to light by them.

    Nothing is renamed yet: `Fixes.apply` does it, `Fixes.write_script` writes it as a script.

    Parameters
    ----------
    findings
        Of `fastindex.validate`, by whose options they are chosen; the tree is looked at again.

    Examples
    --------
    >>> fixes = plan_fixes(fastindex.validate('/data', min_severity='error'))  # doctest: +SKIP
    >>> print(fixes)  # doctest: +SKIP
    lab/Subjects/s1/2024-05-06/1 -> 001
    >>> fixes.apply()  # doctest: +SKIP
    PosixPath('/data/.fastindex/undo-20240507T120000-1f0c.sh')
    """
    findings = findings.again()
    task = findings.task
    planner = _Planner(task.tree)
    for _ in range(MAX_ROUNDS):
        with closing(findings):
            moved = planner.add(findings)
        if not moved:
            break
        part = PartTree(planner.tree, tuple(moved))
        findings = Findings(
            task._replace(tree=_put_under(task.tree, part), deep=False), (1, None, None), progress=False
        )
    steps, renames = tuple(planner.steps), tuple(planner.renames)
    return Fixes(task.tree.root, renames, tuple(sorted(planner.refused)), steps)


def _put_under(tree: Tree, base: Tree) -> Tree:
    """Put another tree in the place of the one on the disk."""
    return tree.replace(tree=_put_under(tree.tree, base)) if isinstance(tree, TreeOver) else base


class _Planner:
    """The steps so far, and the tree as it is after them."""

    def __init__(self, tree: Tree) -> None:
        base = cast('LocalTree', base_of(tree))
        self.tree = RenamedTree(base, Node(''))
        self.steps: list[Step] = []
        self.renames: list[Step] = []
        self.refused: set[Refused] = set()
        self._bare = RenamedTree(base._replace(follow_links=False), self.tree.top)  # leads through no link
        self._left: set[str] = set()  # paths that were given up
        self._listed: tuple[str, dict[str, set[str]]] | None = None
        """The folder that was listed last, and the names in it by now, by what they are folded to."""

    def add(self, findings: Iterable[Finding]) -> list[str]:
        """Plan the fixes of findings; give the paths of the folders that have moved and may tell more."""
        fixes = {finding.path: finding.fix for finding in findings if finding.fix and finding.path != '.'}
        moved = []
        for path, fix in sorted(fixes.items(), key=lambda item: (-item[0].count('/'), item)):
            try:
                kind, new_path = self._plan(path, fix)
            except _CannotFixError as error:
                self.refused.add(Refused(path, fix, str(error)))
            except OSError as error:
                self.refused.add(Refused(path, fix, error.strerror or 'it is not there any more'))
            else:
                if kind == Kind.FOLDER:
                    moved.append(new_path)
        return list(filter(self._is_there, moved))

    def _is_there(self, path: str) -> bool:
        with suppress(_CannotFixError):  # a link has come on the way meanwhile
            return self._look(path) is not None
        return False

    def _plan(self, shown: str, fix: str) -> tuple[int, str]:
        path = old_path = self._find(shown)
        kind = self._look(path)
        if kind is None:
            raise _CannotFixError('it is not there any more')
        if max(len(name.encode()) for name in fix.split('/')) > MAX_NAME_BYTES:
            raise _CannotFixError(f'the name would have more than {MAX_NAME_BYTES:,} bytes')
        above, _, name = fix.rpartition('/')
        self._refuse_other_disks(path, kind, above)
        if above == path.rpartition('/')[0] and fold(name) == fold(to_text(path.rpartition('/')[2])):
            self._refuse_taken(f'{fix}{ASIDE}')
            self._refuse_taken(fix, but=path)
            self._move(path, f'{fix}{ASIDE}', kind)
            path = f'{fix}{ASIDE}'
        else:
            self._refuse_taken(fix)
        self._move(path, fix, kind)
        self.renames.append(Step(old_path, fix))
        return kind, fix

    def _move(self, path: str, new_path: str, kind: int) -> None:
        made = self.tree.move(path, new_path, kind)
        self.steps += [Step('', one) for one in made]
        self.steps.append(Step(path, new_path))
        self._left.add(path)
        if self._listed is None:
            return
        listed, names = self._listed
        if is_below(listed, path):  # it has another path by now
            self._listed = None
        for one in (path, *made, new_path):
            above, _, name = one.rpartition('/')
            if above == listed:
                same = names.setdefault(fold(name), set())
                (same.discard if one == path else same.add)(name)

    def _find(self, shown: str) -> str:
        r"""Find the path that a finding is of, which shows what is not UTF-8 as `\xNN`."""
        above, _, last = shown.rpartition('/')
        if '\\x' not in last:
            return shown
        with self._open(above) as folder:
            names = [name for block, _ in folder.iter_names() for name in block if to_text(name) == last]
        if len(names) != 1:
            raise _CannotFixError('two names are shown alike' if names else 'it is not there any more')
        return f'{above}/{names[0]}'.lstrip('/')

    def _refuse_taken(self, path: str, *, but: str = '') -> None:
        """Refuse a path that something has, or has had, or has but for case on some disks."""
        above, _, name = path.rpartition('/')
        if path in self._left:
            raise _CannotFixError('another one has had this name')
        if self._list(above).get(fold(name), set()) - {but.rpartition('/')[2]}:
            raise _CannotFixError('there is something of that name')

    def _list(self, path: str) -> dict[str, set[str]]:
        """List the names in a folder by what they are folded to: once, as what is fixed lies together."""
        if self._listed is None or self._listed[0] != path:
            names: dict[str, set[str]] = {}
            with suppress(FileNotFoundError), self._open(path) as folder:
                for block, _ in folder.iter_names():
                    for name in block:
                        names.setdefault(fold(name), set()).add(name)
            self._listed = path, names
        return self._listed[1]

    def _refuse_other_disks(self, path: str, kind: int, above: str) -> None:
        while self._look(above) is None:
            above = above.rpartition('/')[0]
        if self._look(above) != Kind.FOLDER:
            raise _CannotFixError('no folder is there to take it')
        devices = {self._device(path.rpartition('/')[0]), self._device(above)}
        if kind == Kind.FOLDER:
            devices.add(self._device(path))
        if len(devices) > 1:
            raise _CannotFixError('another file system is mounted there')

    def _device(self, path: str) -> int:
        with self._open(path) as folder:
            return cast('LocalFolder[int]', folder).device

    def _look(self, path: str) -> int | None:
        """Tell what is at a path, None where nothing is; it is no matter of what is behind links."""
        above, _, name = path.rpartition('/')
        if not path:
            return Kind.FOLDER
        try:
            with self._open(above) as folder:
                return folder.kind_of(name, follow=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _CannotFixError(
                f'a link or a file is on the way ({os.strerror(error.errno or 0)})'
            ) from error

    def _open(self, path: str) -> AbstractContextManager[Folder]:
        return self._bare.open_folder(path, Tally())

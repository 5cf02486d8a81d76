"""Judge what became of a path that is not as the index says: gives the differences, as records.

A dataset that the scan did not give is missing, retyped or unreadable. What the scan met on its way there
says it; where it met nothing, the path itself is looked at.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from contextlib import ExitStack
from enum import StrEnum

from fastindex.names.problems import Problem, Reason, Tally
from fastindex.pipeline.big import HashTask
from fastindex.records import Record
from fastindex.tables.merge import Row
from fastindex.text import escape, to_count
from fastindex.trees import Kind as EntryKind
from fastindex.trees import Tree

__all__ = ['Difference', 'Judge', 'Kind']


class Kind(StrEnum):
    """How a path differs from what the index says."""

    MISSING = 'missing'
    UNEXPECTED = 'unexpected'
    RESIZED = 'resized'
    ALTERED = 'altered'
    RETYPED = 'retyped'
    UNREADABLE = 'unreadable'
    MOVED = 'moved'


class Difference(Record):
    """One thing that is not as the index says.

    Parameters
    ----------
    kind
        Missing: there is no such file or session. Unexpected: it is not in the index. Resized: of another
        size. Altered: of the same size and another content. Retyped: no file but a folder, a FIFO, a link
        that leads nowhere. Unreadable: it, or a folder above it, cannot be read. Moved: what is missing at
        one path is at another one, where contents are read: they and the size tell.
    path
        Relative to the root; `''` for a count of the whole tree.
    measure
        What was compared: `size_bytes`, `xxh128`, `md5`, `type`, `path`; `rows` of what the index has more
        than once; of a whole tree `sessions`, `datasets`, `bytes`.
    expected, found
        Its value in the index and on the disk; None where there is nothing.
    """

    kind: Kind
    path: str
    measure: str
    expected: int | str | None
    found: int | str | None

    def __str__(self) -> str:
        where = f'{escape(self.path)}: ' if self.path else ''
        return f'{where}expected {self._say(self.expected)}, found {self._say(self.found)}'

    def _say(self, value: int | str | None) -> str:
        if value is None:
            return 'nothing'
        if isinstance(value, int):
            return to_count(value, self.measure.removeprefix('size_').removesuffix('s'))
        return escape(value)


_TYPES = {
    EntryKind.FILE: 'file',
    EntryKind.FOLDER: 'folder',
    EntryKind.FIFO: 'FIFO',
    EntryKind.SOCKET: 'socket',
    EntryKind.DEVICE: 'device',
}

_UNSAFE = re.compile(r'(?:\A|/)\.{0,2}(?:/|\Z)|\0')  # no path below the root: an index may be a stranger's
_GONE = frozenset(
    {Reason.VANISHED, Reason.DANGLING_LINK, Reason.NOT_GOT, Reason.NOT_REGULAR, Reason.LINK_LOOP}
)
"""Of a folder above: then there is nothing below. Of the path itself: its type tells more."""


class Judge:
    """Tells what became of paths. Remembers what the scan met where it still may be asked about.

    tree: to look at a path again
    algorithms: the digest that is compared, if one is
    problems: what was met above the sessions
    """

    def __init__(self, tree: Tree, algorithms: tuple[str, ...], problems: Iterable[Problem]) -> None:
        self._tree = tree
        self.algorithms = algorithms
        self._problems: list[dict[str, Problem]] = [{problem.path: problem for problem in problems}, {}, {}]
        self._explained: set[str] = set()
        self._gone: set[str] = set()  # folders that were not there, lately: nothing is in them

    def add_problems(self, problems: Iterable[Problem]) -> None:
        """Take note of what a scan met."""
        self._problems[-1].update((problem.path, problem) for problem in problems)

    def forget(self) -> list[Problem]:
        """Forget what was noted before the last call; get what of it explained no difference."""
        self._gone.clear()
        return self._drop(1)

    def close(self) -> list[Problem]:
        """Forget all; get what explained no difference."""
        return [problem for _ in range(3) for problem in self._drop(0)]

    def _drop(self, position: int) -> list[Problem]:
        dropped = self._problems.pop(position)
        self._problems.append({})
        rest = [problem for path, problem in dropped.items() if path not in self._explained]
        self._explained.difference_update(dropped)
        return rest

    def judge_session(self, path: str) -> Difference | None:
        """Judge a session that the scan did not give; None where it is there."""
        return self._explain(path, 'type', 'folder') or self._look(path, 'type', 'folder', 'folder')

    def judge_dataset(self, path: str, row: Row) -> Difference | None:
        """Judge a dataset that the scan did not give; None where it is as its row says."""
        measure, expected = ('type', 'file') if row[2] is None else ('size_bytes', row[2])
        difference = self._explain(path, measure, expected) or self._look(path, measure, expected, 'file')
        if difference is not None:
            return difference
        # There is a file: it came meanwhile, or has a name that only another program indexes.
        measured, tally = HashTask(self._tree, path, self.algorithms).run()
        if measured is None:
            self.add_problems(tally.problems)
            return self._explain(path, measure, expected)
        digests = [digest.hex() * any(digest) for digest in measured[1] or ()]  # '' of what is archived
        return self.compare(path, row, (*row[:2], measured[0], *digests))

    def compare(self, path: str, expected: Row, found: Row) -> Difference | None:
        """Compare the row of a dataset with what was found; None where nothing differs."""
        if expected[2] is not None and expected[2] != found[2]:  # else nobody knows: an Alyx database may not
            return Difference(Kind.RESIZED, path, 'size_bytes', expected[2], found[2])
        for algorithm, digest, there in zip(self.algorithms, expected[3:], found[3:], strict=True):
            if digest and not there:
                return self._explain(path, algorithm, digest)
            if digest and digest != there:  # '': nobody knows
                return Difference(Kind.ALTERED, path, algorithm, digest, there)
        return None

    def _explain(self, path: str, measure: str, expected: int | str) -> Difference | None:
        """Judge by what the scan met at this path, or at a folder above it."""
        above = path
        while above:
            problem = next((met[above] for met in self._problems if above in met), None)
            if problem is not None:
                break
            above = above.rpartition('/')[0]
        else:
            return None
        self._explained.add(above)
        if problem.reason not in _GONE:
            return Difference(Kind.UNREADABLE, path, measure, expected, str(problem.reason))
        if above != path:
            return Difference(Kind.MISSING, path, measure, expected, None)
        return None

    def _look(self, path: str, measure: str, expected: int | str, wanted: str) -> Difference | None:
        """Judge by what is at this path; None where it is of the type that is wanted."""
        try:
            found = None if _UNSAFE.search(path) else self._type_of(path)
        except (FileNotFoundError, NotADirectoryError):
            found = None
        except OSError as error:
            tally = Tally()
            tally.error(path, error)
            return Difference(Kind.UNREADABLE, path, measure, expected, str(tally.problems[0].reason))
        if found is None:
            return Difference(Kind.MISSING, path, measure, expected, None)
        if found != wanted:
            return Difference(Kind.RETYPED, path, 'type', wanted, found)
        return None

    def _type_of(self, path: str) -> str:
        above, _, name = path.rpartition('/')
        if above in self._gone:
            raise FileNotFoundError(above)
        with ExitStack() as stack:
            try:
                folder = stack.enter_context(self._tree.open_folder(above, Tally()))
            except FileNotFoundError:
                self._gone.add(above)
                raise
            kind = folder.kind_of(name, follow=False)
            if kind is not EntryKind.LINK:
                return _TYPES[kind]
            if not self._tree.follow_links:
                return 'link'
            try:
                return _TYPES[folder.kind_of(name)]
            except OSError as error:
                return 'looping link' if error.errno == errno.ELOOP else 'dangling link'

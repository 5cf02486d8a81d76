"""A tree without what somebody leaves out of the index, by patterns as those of gitignore.

What matches is left out of the listings, above the sessions and in them, and counted as a skip of its own
reason: folders are not entered. A tree without patterns is not wrapped at all, and pays nothing for them.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from stat import S_ISREG
from typing import TYPE_CHECKING, cast

from fastindex.errors import UsageError
from fastindex.folders import open_file
from fastindex.names.alf import SkipReason
from fastindex.names.problems import Tally
from fastindex.system import flags as system_flags
from fastindex.text import as_utf8, escape, to_size
from fastindex.trees import Folder, Kind, ListsAhead, Tree
from fastindex.trees.fingerprints import NO_FINGERPRINT, Fingerprint
from fastindex.trees.part import FolderOver, PartTree, TreeOver

if TYPE_CHECKING:
    from fastindex.trees.disk import LocalFolder

__all__ = [
    'IGNORE_FILE',
    'ExcludingTree',
    'OneDeviceTree',
    'check_patterns',
    'exclude_patterns',
    'leave_out',
    'read_ignore_file',
]

IGNORE_FILE = '.fastindexignore'  # in the root
MAX_IGNORE_BYTES = 2**20
_CLASS = re.compile(r'\[:\w+:\]')


class ExcludingTree(TreeOver):
    """A tree without what matches patterns."""

    patterns: tuple[str, ...]

    def walk(self, session_path: str, tally: Tally) -> Iterator[Folder]:
        for folder in self.tree.walk(session_path, tally):
            above = f'{session_path}/{folder.path}/' if folder.path else f'{session_path}/'
            yield cast('Folder', _ExcludingFolder(folder, above, self, tally))

    @contextmanager
    def open_folder(self, path: str, tally: Tally) -> Iterator[Folder]:
        with self.tree.open_folder(path, tally) as folder:
            above = f'{path}/' if path else ''
            yield cast('Folder', _ExcludingFolder(folder, above, self, tally))

    def narrow(self, paths: tuple[str, ...]) -> Tree:
        """Get a part of it, from which the same is left out."""
        return ExcludingTree(PartTree(self.tree, paths), self.patterns)


class _AheadTree(ExcludingTree):
    """The same, over one that lists all below a subject at once. See `ListsAhead`."""

    def pack_listed(self, session_paths: Iterable[str]) -> bytes:
        return cast('ListsAhead', self.tree).pack_listed(session_paths)

    def with_listed(self, listed: dict[str, bytes]) -> Tree:
        return self.replace(tree=cast('ListsAhead', self.tree).with_listed(listed))


class _ExcludingFolder(FolderOver):
    """A folder without the names that match."""

    def __init__(self, folder: Folder, above: str, tree: ExcludingTree, tally: Tally) -> None:
        super().__init__(folder)
        self._above = above
        self._tree = tree
        self._tally = tally

    def iter_names(self) -> Iterator[tuple[Sequence[str], bytes]]:
        patterns = _parse(self._tree.patterns)
        for names, kinds in self._folder.iter_names():
            kept: list[str] = []
            kinds_kept = bytearray()
            for name, kind in zip(names, kinds, strict=True):
                path = self._above + name
                is_folder = kind == Kind.FOLDER or self._leads_to_folder(name, kind)
                if _is_match(patterns, f'{path}/' if is_folder else path):
                    self._tally.skip(path, SkipReason.EXCLUDED)
                else:
                    kept.append(name)
                    kinds_kept.append(kind)
            yield kept, bytes(kinds_kept)

    def _leads_to_folder(self, name: str, kind: int) -> bool:
        if kind != Kind.LINK or not self._tree.follow_links:
            return False
        with suppress(OSError):
            return self._folder.kind_of(name) == Kind.FOLDER
        return False


class OneDeviceTree(TreeOver):
    """A tree on a disk, without what is mounted below its root, or what links lead to on other disks."""

    device: int

    def walk(self, session_path: str, tally: Tally) -> Iterator[Folder]:
        for folder in self.tree.walk(session_path, tally):
            if self._is_here(folder):
                yield folder
            else:  # as nobody sees it, nothing in it is entered
                path = f'{session_path}/{folder.path}' if folder.path else session_path
                tally.skip(path, SkipReason.OTHER_FILE_SYSTEM)

    @contextmanager
    def open_folder(self, path: str, tally: Tally) -> Iterator[Folder]:
        with self.tree.open_folder(path, tally) as folder:
            if not self._is_here(folder):
                tally.skip(path, SkipReason.OTHER_FILE_SYSTEM)
                folder = cast('Folder', _ClosedFolder(folder))
            yield folder

    def _is_here(self, folder: Folder) -> bool:
        return cast('LocalFolder[int]', folder).device == self.device


class _ClosedFolder(FolderOver):
    """A folder that is not to be looked into."""

    def iter_names(self) -> Iterator[tuple[Sequence[str], bytes]]:
        return iter(())

    def kind_of(self, name: str, *, follow: bool = True) -> int:
        raise FileNotFoundError(name)

    def state(self, path: str = '') -> Fingerprint:
        return NO_FINGERPRINT


def stay_on_device(tree: Tree) -> Tree:
    """Get a tree without other file systems; UsageError if it is no tree on a disk."""
    if isinstance(tree, ExcludingTree):
        return ExcludingTree(stay_on_device(tree.tree), tree.patterns)
    with tree.open_folder('', Tally()) as folder:
        device = getattr(folder, 'device', None)
    if device is None:
        raise UsageError(f'{escape(tree.root)}: one_file_system is for folders on a disk')
    return OneDeviceTree(tree, device)


@lru_cache(maxsize=8)
def _parse(patterns: tuple[str, ...]) -> list[tuple[re.Pattern[str], bool]]:
    """Parse patterns, the last first: each as a regular expression, and whether it leaves out or takes in."""
    from pathspec import GitIgnoreSpec

    for one in patterns:
        if _CLASS.search(one):  # pathspec takes it for something else
            raise UsageError(f'{escape(one)}: expected the characters themselves, as in [0-9a-f]')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', FutureWarning)  # of what may be in a set
            found = GitIgnoreSpec.from_lines(patterns).patterns
        known = [(one.regex, one.include) for one in reversed(list(found))]
        return [(regex, include) for regex, include in known if regex is not None and include is not None]
    except (ValueError, re.error) as error:  # the latter of '[z-a]'
        raise UsageError(f'{escape(str(error))}: expected patterns as in a .gitignore') from error


def _is_match(patterns: Sequence[tuple[re.Pattern[str], bool]], path: str) -> bool:
    """Tell whether a path is left out, a folder's with a slash at its end: the last pattern decides.

    The expressions of pathspec match what is in a folder too, which `ps_d` tells: but here nothing is asked
    about that is in a folder which is left out. So only a match of the whole path counts, as for git.
    """
    for pattern, leaves_out in patterns:
        for match in pattern.finditer(path):
            if match.groupdict().get('ps_d') is None or match.end() == len(path):
                return leaves_out
    return False


def exclude_patterns(tree: Tree, patterns: Sequence[str]) -> Tree:
    """Get a tree without what matches patterns, besides what is left out of it already.

    Raises UsageError if one is no pattern.
    """
    if not patterns:
        return tree
    _parse(tuple(patterns))
    if isinstance(tree, ExcludingTree):
        return tree.replace(patterns=(*tree.patterns, *patterns))
    kind = _AheadTree if isinstance(tree, ListsAhead) else ExcludingTree
    return kind(tree, tuple(patterns))


def check_patterns(patterns: Collection[str]) -> tuple[str, ...]:
    """Check that each of several patterns says something. Raises UsageError if not."""
    if isinstance(patterns, str):
        raise UsageError(
            f'exclude={patterns!r} is one pattern: expected a collection, such as [{patterns!r}]'
        )
    for one in patterns:
        if not one.strip() or one.startswith('#'):
            raise UsageError(hint=f'`exclude` {one!r} is no pattern: expected one as in a .gitignore')
    return tuple(patterns)


def leave_out(tree: Tree, *, exclude: Sequence[str], one_file_system: bool) -> Tree:
    """Get a tree as an index sees it that is made so."""
    tree = exclude_patterns(tree, exclude)
    return stay_on_device(tree) if one_file_system else tree


def read_ignore_file(root: str, *, follow_links: bool) -> tuple[str, ...]:
    """Read the patterns in the root, a line each as git takes them; none where there is no such file.

    Raises UsageError if it cannot be read, or is no text: who wrote it wants something to be left out.
    """
    path = os.path.join(root, IGNORE_FILE)
    try:
        flags = os.O_RDONLY | (0 if follow_links else system_flags('O_NOFOLLOW'))
        fd = open_file(path, flags)
        try:
            if not S_ISREG(os.fstat(fd).st_mode):
                raise UsageError(f'{escape(path)}: expected a file with patterns')
            with open(fd, 'rb', closefd=False) as file:
                data = file.read(MAX_IGNORE_BYTES + 1)
        finally:
            os.close(fd)
    except OSError as error:
        is_link = os.path.islink(path)
        if isinstance(error, FileNotFoundError) and not is_link:
            return ()
        why = 'a link, and links are not followed' if is_link and not follow_links else error.strerror
        raise UsageError(f'{escape(path)}: this file cannot be read ({why})') from error
    if len(data) > MAX_IGNORE_BYTES:
        raise UsageError(f'{escape(path)}: expected {to_size(MAX_IGNORE_BYTES)} of patterns at most')
    data = as_utf8(data)
    if b'\0' in data:
        raise UsageError(f'{escape(path)}: expected text in UTF-8')
    lines = data.decode('utf-8', 'surrogateescape').split('\n')
    return tuple(line.removesuffix('\r') for line in lines)

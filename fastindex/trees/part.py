"""Trees that stand for another one: a part of it, or one that notes by what to know its folders again.

Of a part, nothing is listed above the folders that are asked for, nor looked at beside them. Discovery and
scan see such a tree as any other, so that what becomes of a folder does not depend on what else is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, cast

from fastindex.names.problems import Tally
from fastindex.records import Record
from fastindex.trees import Folder, Kind, Tree
from fastindex.trees.fingerprints import NO_FINGERPRINT, Fingerprint

__all__ = ['FolderOver', 'NotedTree', 'NotingFolder', 'PartTree', 'TreeOver', 'base_of', 'is_below']


def is_below(path: str, folder: str) -> bool:
    """Tell whether a path is that of a folder, or of something in it.

    >>> is_below('lab/Subjects/s1', 'lab'), is_below('lab2/Subjects/s1', 'lab')
    (True, False)
    """
    return path == folder or path.startswith(f'{folder}/')


class FolderOver:
    """Base of a folder that stands for another one in all that it does not say itself: see `Folder`."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._folder, name)


class _PartFolder(FolderOver):
    """A folder of which some names are wanted; those that are not there are not given."""

    def __init__(self, folder: Folder, wanted: Iterable[str]) -> None:
        super().__init__(folder)
        self._wanted = dict.fromkeys(wanted)

    def iter_names(self) -> Iterator[tuple[Sequence[str], bytes]]:
        found: dict[str, int] = {}
        for name in self._wanted:
            try:
                found[name] = self._folder.kind_of(name, follow=False)
            except FileNotFoundError:
                continue
            except OSError:
                found[name] = Kind.UNKNOWN
        yield list(found), bytes(found.values())


class TreeOver(Record):
    """Base of a tree that stands for another one in all but what it says of a folder: see `Tree`."""

    tree: Tree

    @property
    def root(self) -> str:
        return self.tree.root

    @property
    def follow_links(self) -> bool:
        return self.tree.follow_links

    def close(self) -> None:
        self.tree.close()

    def walk(self, session_path: str, tally: Tally) -> Iterator[Folder]:
        return self.tree.walk(session_path, tally)


def base_of(tree: Tree) -> Tree:
    """Get the tree that all others stand for."""
    while isinstance(tree, TreeOver):
        tree = tree.tree
    return tree


class PartTree(TreeOver):
    """A tree of which only some folders are discovered."""

    paths: tuple[str, ...]  # of these folders, relative to the root

    @contextmanager
    def open_folder(self, path: str, tally: Tally) -> Iterator[Folder]:
        above = f'{path}/' if path else ''
        with self.tree.open_folder(path, tally) as folder:
            if any(is_below(path, wanted) for wanted in self.paths):
                yield folder
            else:
                names = (one[len(above) :].partition('/')[0] for one in self.paths if one.startswith(above))
                yield cast('Folder', _PartFolder(folder, names))


class NotedTree(TreeOver):
    """A tree whose walks note by what to know each folder again."""

    noted: dict[str, Fingerprint]  # of the session that is walked, by the paths of its folders

    def walk(self, session_path: str, tally: Tally) -> Iterator[Folder]:
        self.noted.clear()
        for folder in self.tree.walk(session_path, tally):
            self.noted[folder.path] = folder.state()
            noting = NotingFolder(folder, [Kind.LINK])
            yield cast('Folder', noting)
            if not set(noting.noted[Kind.LINK]).issubset(folder.entered):
                # No folder tells what becomes of what they lead to.
                self.noted[folder.path] = NO_FINGERPRINT

    def open_folder(self, path: str, tally: Tally) -> AbstractContextManager[Folder]:
        return self.tree.open_folder(path, tally)


class NotingFolder(FolderOver):
    """A folder that notes its names of some kinds, and whether it was listed to its end."""

    def __init__(self, folder: Folder, kinds: Iterable[int]) -> None:
        super().__init__(folder)
        self.noted: dict[int, list[str]] = {kind: [] for kind in kinds}
        self.is_whole = False

    def iter_names(self) -> Iterator[tuple[Sequence[str], bytes]]:
        for names, kinds in self._folder.iter_names():
            for kind, noted in self.noted.items():
                if kind in kinds:
                    noted.extend(name for name, one in zip(names, kinds, strict=True) if one == kind)
            yield names, kinds
        self.is_whole = True

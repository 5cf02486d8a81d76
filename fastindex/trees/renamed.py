"""A tree as it will be: some names in it have changed, and nothing on the disk has.

So one sees what is to be said about names that are not looked into as long as a folder above them is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, cast

from fastindex.names.problems import Tally
from fastindex.trees import Folder, Kind, Tree
from fastindex.trees.part import FolderOver, TreeOver

__all__ = ['Node', 'RenamedTree']


class Node:
    """A path that a tree has by now, and where it is on the disk.

    real: its path on the disk; None for a folder that is yet to be made
    kind: what it is, a `Kind`
    below: what in it is not as on the disk; None is a name that is gone
    """

    __slots__ = ('below', 'kind', 'real')

    def __init__(self, real: str | None, kind: int = Kind.FOLDER) -> None:
        self.real = real
        self.kind = kind
        self.below: dict[str, Node | None] = {}


class _Whereabouts(NamedTuple):
    real: str | None
    node: Node | None  # None where all below it is as on the disk


class RenamedTree(TreeOver):
    """A tree in which names are changed by `move`, in memory alone. For one process.

    What links to folders lead to is not walked in a session in which a name has changed.
    """

    top: Node

    def move(self, path: str, new_path: str, kind: int) -> list[str]:
        """Change a path, of an entry that is there, to one that is free; give the folders to be made for it.

        Raises FileNotFoundError if it is not there.
        """
        found = self._find(path)
        node = found.node or Node(found.real, kind)
        made: list[str] = []
        above, _, name = path.rpartition('/')
        self._open(above, made).below[name] = None
        above, _, name = new_path.rpartition('/')
        self._open(above, made).below[name] = node
        return made

    def _open(self, path: str, made: list[str]) -> Node:
        """Get the node of a folder; note the folders that are not there yet."""
        node = self.top
        names = path.split('/') if path else []
        for count, name in enumerate(names, start=1):
            below = node.below.get(name)
            if below is None:
                here = '/'.join(names[:count])
                real = None if node.real is None or name in node.below else f'{node.real}/{name}'.lstrip('/')
                if real is None or not self._is_there(node.real, name):
                    real = None
                    made.append(here)
                below = node.below[name] = Node(real)
            node = below
        return node

    def _is_there(self, real: str | None, name: str) -> bool:
        try:
            with self.tree.open_folder(real or '', Tally()) as folder:
                folder.kind_of(name)
        except FileNotFoundError:
            return False
        return True

    def _find(self, path: str) -> _Whereabouts:
        node: Node | None = self.top
        real: str | None = ''
        for name in path.split('/') if path else ():
            if node is not None and name in node.below:
                node = node.below[name]
                if node is None:
                    raise FileNotFoundError(path)
                real = node.real
            elif real is None:
                raise FileNotFoundError(path)
            else:
                node, real = None, f'{real}/{name}'.lstrip('/')
        return _Whereabouts(real, node)

    def walk(self, session_path: str, tally: Tally) -> Iterator[Folder]:
        found = self._find(session_path)
        if found.real is not None and (found.node is None or not found.node.below):
            return self.tree.walk(found.real, tally)
        return self._walk(session_path, '', tally)

    def _walk(self, session_path: str, path: str, tally: Tally) -> Iterator[Folder]:
        with self._enter(f'{session_path}/{path}'.rstrip('/'), path, tally) as folder:
            yield cast('Folder', folder)
            folders = [name for name in folder.entered if folder.kind_of(name, follow=False) == Kind.FOLDER]
        for name in folders:
            try:
                yield from self._walk(session_path, f'{path}/{name}'.lstrip('/'), tally)
            except OSError as error:
                tally.error(f'{session_path}/{path}/{name}', error)

    @contextmanager
    def open_folder(self, path: str, tally: Tally) -> Iterator[Folder]:
        with self._enter(path, '', tally) as folder:
            yield cast('Folder', folder)

    @contextmanager
    def _enter(self, whole: str, path: str, tally: Tally) -> Iterator[_RenamedFolder]:
        found = self._find(whole)
        with self.tree.open_folder(found.real or '', tally) as folder:
            yield _RenamedFolder(folder, path, found, self.tree)


class _RenamedFolder(FolderOver):
    """A folder in which some names are others by now."""

    def __init__(self, folder: Folder, path: str, found: _Whereabouts, tree: Tree) -> None:
        super().__init__(folder)
        self.path = path
        self.entered: dict[str, None] = {}
        self._is_new = found.real is None
        self._below = found.node.below if found.node else {}
        self._tree = tree

    def iter_names(self) -> Iterator[tuple[Sequence[str], bytes]]:
        for names, kinds in () if self._is_new else self._folder.iter_names():
            kept = [(n, kind) for n, kind in zip(names, kinds, strict=True) if n not in self._below]
            yield [name for name, _ in kept], bytes(kind for _, kind in kept)
        come = {name: node.kind for name, node in self._below.items() if node}
        yield list(come), bytes(come.values())

    def kind_of(self, name: str, *, follow: bool = True) -> int:
        node = self._below.get(name)
        if node is not None:
            if node.kind != Kind.LINK or not follow:
                return node.kind
            above, _, real_name = (node.real or '').rpartition('/')
            with self._tree.open_folder(above, Tally()) as folder:
                return folder.kind_of(real_name)
        if self._is_new or name in self._below:
            raise FileNotFoundError(name)
        return self._folder.kind_of(name, follow=follow)

    def enter(self, name: str) -> None:
        self.entered[name] = None

"""Folders and files of this machine, by path: for Windows, which opens nothing relative to an open folder.

What is there when a name is looked at is what counts. Who exchanges a folder for a link meanwhile leads the
walk elsewhere: that no byte outside of the root is read, `fastindex.trees.disk` alone promises. A junction
is a link. What is done for each file is in `fastindex.trees.kernel`, in Python; paths beyond 260 characters
are paths as others.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import NamedTuple

from fastindex.names.problems import Tally
from fastindex.system import is_link, long_path
from fastindex.text import from_system, to_system
from fastindex.trees import SIZES, Folder, Measures, Wanted, kernel
from fastindex.trees.disk import LocalFolder, Walk, find_root
from fastindex.trees.fingerprints import Fingerprint, to_state

__all__ = ['PathTree']


class _PathFolder(LocalFolder[str]):
    """A folder, by its whole path."""

    __slots__ = ()

    def __exit__(self, *failed: object) -> None:
        """Nothing is held."""

    def _path_of(self, name: str) -> str:
        return _join(self._where, name)

    def iter_names(self) -> Iterator[tuple[Sequence[str], bytes]]:
        return kernel.list_in_python(to_system(self._where))

    def kind_of(self, name: str, *, follow: bool = True) -> int:
        return kernel.kind_of(None, self._path_of(name), follow=follow)

    def link_text(self, name: str) -> str:
        try:
            return os.readlink(to_system(self._path_of(name))).replace(os.sep, '/')
        except OSError:
            return ''

    def measure(self, names: Sequence[str], wanted: Wanted = SIZES) -> Measures:
        paths = list(map(self._path_of, names))
        return kernel.measure_in_python(None, paths, wanted, follow_links=self._follow_links)

    @contextmanager
    def open(self, name: str) -> Iterator[int]:
        path = to_system(self._path_of(name))
        if not self._follow_links and os.path.islink(path):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        fd = kernel.open_to_read(None, path, follow_links=self._follow_links)
        try:
            yield fd
        finally:
            os.close(fd)

    @property
    def device(self) -> int:
        return os.stat(to_system(self._where)).st_dev

    def state(self, path: str = '') -> Fingerprint:
        where = to_system(self._path_of(path) if path else self._where)
        return to_state(os.stat(where, follow_symlinks=self._follow_links or not path))


class PathTree(NamedTuple):
    """A tree on a disk, by path. See `fastindex.trees.Tree`."""

    root: str
    follow_links: bool = True

    @classmethod
    def open(cls, root: str, *, follow_links: bool = True) -> PathTree:
        """Open the tree below `root`; RootError where that is no folder that can be listed."""
        return cls(find_root(root), follow_links)

    def close(self) -> None:
        """Nothing is held. See `fastindex.trees.Tree`."""

    def _path_of(self, path: str) -> str:
        return _join(from_system(long_path(self.root)), path)

    def walk(self, session_path: str, tally: Tally) -> Iterator[Folder]:
        where = self._find_folder(session_path)
        return self._walk(Walk(session_path, tally, {}), where, '', [])

    def _walk(self, walk: Walk, where: str, path: str, above: list[str]) -> Iterator[Folder]:
        """Walk a folder; `above` are those above it, up to the session."""
        folder = _PathFolder(path, where, self.follow_links)
        yield folder
        above = [*above, where]
        for name in folder.entered:
            below = f'{path}/{name}' if path else name
            try:
                self._check_subfolder(walk, _join(where, name), above)
            except OSError as error:
                walk.tally.error(f'{walk.session_path}/{below}', error)
            else:
                yield from self._walk(walk, _join(where, name), below, above)

    def _check_subfolder(self, walk: Walk, where: str, above: list[str]) -> None:
        """Check that a folder can be entered; through a link only where links are, and not in a circle."""
        if not is_link(os.lstat(to_system(where))):
            return
        parts = walk.session_path.split('/')
        ancestors = []
        for one in (*above, *(self._path_of('/'.join(parts[:count])) for count in range(len(parts)))):
            with suppress(OSError):
                ancestors.append(os.stat(to_system(one)))
        if not self.follow_links or walk.is_loop(os.stat(to_system(where)), ancestors):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))

    def _find_folder(self, path: str) -> str:
        """Find a folder, through a link only where links are followed; OSError where it is not there."""
        names = path.split('/') if path else []
        for count in range(1, len(names)) if not self.follow_links else ():
            self._look('/'.join(names[:count]))
        self._look(path)
        return self._path_of(path)

    def _look(self, path: str) -> None:
        where = to_system(self._path_of(path))
        if path and not self.follow_links and is_link(os.lstat(where)):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), where)
        os.scandir(where).close()

    def open_folder(self, path: str, tally: Tally) -> AbstractContextManager[Folder]:
        return _PathFolder(path, self._find_folder(path), self.follow_links)


def _join(where: str, path: str) -> str:
    return os.path.join(where, path.replace('/', os.sep)) if path else where

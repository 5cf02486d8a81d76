"""Folders and files of this machine, by file descriptor.

Names are opened relative to the descriptor of the folder above (`openat`): that saves the look-up of the
path for each file, and a folder that is replaced by a link under the walk leads nowhere, as each step says
`O_NOFOLLOW` unless a link is to be followed. Nothing is opened that the listing calls a FIFO, socket or
device, and what has become one since then does not block.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import NamedTuple

from fastindex.errors import RootError
from fastindex.names.alf import SkipReason
from fastindex.names.problems import Reason, Tally
from fastindex.text import escape, is_utf8
from fastindex.trees import Folder
from fastindex.trees.digests import Hasher

__all__ = ['LocalTree']

STATE_FOLDER = '.fastindex'
"""Our own folder in the root: the one dot folder that is not counted as skipped."""

MAX_DEPTH = 64
"""Folders below a session that are open at once; deeper than the client could name (PATH_MAX)."""

MAX_LINKS = 16
"""Times that one folder is entered through links in one session: links to links double at each step."""

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO must not block
_PLAIN_FILE_FLAGS = _FILE_FLAGS | os.O_NOFOLLOW


_root_fds: dict[tuple[str, str], int] = {}
"""Of the trees in use. Names are opened relative to them, so a forked worker may share them."""

_root_lock = threading.Lock()
"""So that of many threads one opens the root."""

MAX_ROOTS = 32
"""Trees in use in one process at most; a worker that serves many runs closes the oldest."""


class _Walk(NamedTuple):
    """The walk of one session."""

    session_path: str
    tally: Tally
    linked: dict[tuple[int, int], int]
    """For each folder that was reached through a link, how often."""


class _NamedEntry:
    """What `os.DirEntry` is, of a file whose name is known already."""

    __slots__ = ('_fd', '_info', 'name')

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self._info: os.stat_result | None = None
        self.name = name

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        if follow_symlinks and self.is_symlink():
            return os.stat(self.name, dir_fd=self._fd)
        if self._info is None:
            self._info = os.stat(self.name, dir_fd=self._fd, follow_symlinks=False)
        return self._info

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return S_ISREG(self.stat(follow_symlinks=follow_symlinks).st_mode)

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return S_ISDIR(self.stat(follow_symlinks=follow_symlinks).st_mode)

    def is_symlink(self) -> bool:
        return S_ISLNK(self.stat(follow_symlinks=False).st_mode)


class LocalTree(NamedTuple):
    """A tree on a disk or a mounted file system. See `fastindex.trees.Tree`."""

    root: str
    follow_links: bool = True
    run: str = ''
    """Tells this tree from an earlier one in the same place, which may have been another disk."""

    @classmethod
    def open(cls, root: str, *, follow_links: bool = True) -> LocalTree:
        """Open the tree below `root`; RootError where that is no folder that can be listed."""
        resolved = os.path.realpath(root)
        try:
            os.close(os.open(resolved, _FOLDER_FLAGS))
        except FileNotFoundError:
            message = 'there is no such folder: is the disk mounted, the path complete?'
        except NotADirectoryError:
            message = 'this is a file: expected the folder that has the labs or the subjects in it'
        except OSError as error:
            message = f'the folder cannot be listed ({error.strerror}): may this user read it?'
        else:
            return cls(resolved, follow_links, os.urandom(8).hex())
        raise RootError(f'{escape(root)}: {message}')

    def close(self) -> None:
        """Close the root in this process. See `fastindex.trees.Tree`."""
        with suppress(KeyError):
            os.close(_root_fds.pop((self.root, self.run)))

    def _root_fd(self) -> int:
        fd = _root_fds.get((self.root, self.run))
        return self._open_root() if fd is None else fd

    def _open_root(self) -> int:
        with _root_lock:
            fd = _root_fds.get((self.root, self.run))
            if fd is None:
                if len(_root_fds) >= MAX_ROOTS:
                    os.close(_root_fds.pop(next(iter(_root_fds))))
                fd = _root_fds[self.root, self.run] = os.open(self.root, _FOLDER_FLAGS)
        return fd

    def list_folders(self, path: str, tally: Tally) -> list[str]:
        """List the names of the folders in `path`. See `fastindex.trees.Tree`."""
        above = f'{path}/' if path else ''
        fd = self._open_folder(path)
        names = []
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    name = entry.name
                    if not (
                        entry.is_dir(follow_symlinks=False)
                        or (entry.is_symlink() and self._leads_to_folder(name, fd, above + name, tally))
                    ):
                        continue
                    if name.startswith('.'):
                        if path or name != STATE_FOLDER:
                            tally.skip(above + name, SkipReason.DOT_FOLDER)
                    elif is_utf8(name):
                        names.append(name)
                    else:
                        tally.problem(above + name, Reason.NOT_UTF8)
        finally:
            os.close(fd)
        return names

    def _leads_to_folder(self, name: str, fd: int, path: str, tally: Tally) -> bool:
        if not self.follow_links:
            tally.skip(path, SkipReason.LINK)
            return False
        try:
            return S_ISDIR(os.stat(name, dir_fd=fd).st_mode)
        except OSError as error:
            if name.startswith('.'):
                pass  # an editor's lock, most often: what it leads to would not be entered anyway
            elif isinstance(error, FileNotFoundError):
                tally.problem(path, Reason.DANGLING_LINK, error.errno or 0)
            else:
                tally.error(path, error)
        return False

    def walk(self, session_path: str, tally: Tally) -> Iterator[Folder]:
        """Walk the folders of a session. See `fastindex.trees.Tree`."""
        walk = _Walk(session_path, tally, {})
        return self._walk(walk, self._open_folder(session_path), '', [])

    def _walk(self, walk: _Walk, fd: int, path: str, above: list[int]) -> Iterator[Folder]:
        """Walk an open folder, which is closed at the end; `above` are those above it, up to the session."""
        session_path, tally = walk.session_path, walk.tally
        try:
            try:
                listing = os.scandir(fd)
            except OSError as error:
                tally.error(f'{session_path}/{path}' if path else session_path, error)
                return
            with listing as entries:
                folder = Folder(path, entries, fd, [])
                yield folder
            if not folder.enter:
                return
            above = [*above, fd]
            for name, is_link in folder.enter:
                below = f'{path}/{name}' if path else name
                try:
                    below_fd = self._open_subfolder(walk, name, is_link, above)
                except OSError as error:
                    if error.errno == errno.EMLINK:
                        tally.problem(f'{session_path}/{below}', Reason.TOO_DEEP)
                    else:
                        tally.error(f'{session_path}/{below}', error)
                else:
                    yield from self._walk(walk, below_fd, below, above)
        finally:
            os.close(fd)

    def _open_subfolder(self, walk: _Walk, name: str, is_link: bool, above: list[int]) -> int:
        if len(above) == MAX_DEPTH:
            raise OSError(errno.EMLINK, 'too many folders in one another')
        fd = os.open(name, _FOLDER_FLAGS | (0 if is_link else os.O_NOFOLLOW), dir_fd=above[-1])
        if is_link and self._is_loop(walk, fd, above):
            os.close(fd)
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return fd

    def _is_loop(self, walk: _Walk, fd: int, above: list[int]) -> bool:
        """Tell whether a link leads to where the walk stands, or was too often."""
        root_fd = self._root_fd()
        ancestors = [os.fstat(root_fd), *map(os.fstat, above)]
        parts = walk.session_path.split('/')
        for count in range(1, len(parts)):
            with suppress(OSError):
                ancestors.append(os.stat('/'.join(parts[:count]), dir_fd=root_fd))
        info = os.fstat(fd)
        target = info.st_dev, info.st_ino
        walk.linked[target] = walk.linked.get(target, 0) + 1
        return walk.linked[target] > MAX_LINKS or any(
            (info.st_dev, info.st_ino) == target for info in ancestors
        )

    def _open_folder(self, path: str) -> int:
        root_fd = self._root_fd()
        if self.follow_links or not path:
            return os.open(path or '.', _FOLDER_FLAGS, dir_fd=root_fd)
        fd = os.dup(root_fd)
        for name in path.split('/'):
            try:
                below = os.open(name, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=fd)
            finally:
                os.close(fd)
            fd = below
        return fd

    @contextmanager
    def revisit(self, session_path: str, path: str, names: Iterable[str]) -> Iterator[Folder]:
        """Open a folder of a session again. See `fastindex.trees.Tree`."""
        fd = self._open_folder(f'{session_path}/{path}' if path else session_path)
        try:
            yield Folder(path, (_NamedEntry(fd, name) for name in names), fd, [])
        finally:
            os.close(fd)

    def open_file(self, path: str) -> int:
        """Open a file. See `fastindex.trees.Tree`."""
        above, _, name = path.rpartition('/')
        folder_fd = self._open_folder(above)
        try:
            flags = _FILE_FLAGS if self.follow_links else _PLAIN_FILE_FLAGS
            return os.open(name, flags, dir_fd=folder_fd)
        finally:
            os.close(folder_fd)

    @property
    def close_file(self) -> Callable[[int], None]:
        return os.close

    def open_hasher(self, algorithms: tuple[str, ...], *, max_bytes: int = sys.maxsize) -> Hasher:
        """Make what reads the files. See `fastindex.trees.Tree`."""
        return Hasher(algorithms, max_bytes=max_bytes)

    def open_entry(self, folder: Folder, name: str, is_link: bool) -> int:
        """Open an entry of an open folder. See `fastindex.trees.Tree`."""
        return os.open(name, _FILE_FLAGS if is_link else _PLAIN_FILE_FLAGS, dir_fd=folder.fd)

"""Folders and files of this machine, by file descriptor.

Names are opened relative to the descriptor of the folder above (`openat`): that saves the look-up of the
path for each file, and a folder that is replaced by a link under the walk leads nowhere, as each step says
`O_NOFOLLOW` unless a link is to be followed. Nothing is opened that the listing calls a FIFO, socket or
device, and what has become one since then does not block. What is done for each file is in
`fastindex.trees.kernel`.
"""

from __future__ import annotations

import errno
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from stat import S_ISREG
from typing import Any, Generic, NamedTuple, Self, TypeVar

from fastindex.errors import RootError
from fastindex.names.problems import Tally
from fastindex.system import flags
from fastindex.text import escape, to_system
from fastindex.trees import SIZES, Folder, Measures, Wanted, kernel
from fastindex.trees.fingerprints import Fingerprint, to_state

__all__ = ['LocalFolder', 'LocalTree', 'Walk', 'find_root']

T = TypeVar('T', int, str)

MAX_LINKS = 16
"""Times that one folder is entered through links in one session: links to links double at each step."""

_FOLDER_FLAGS = flags('O_DIRECTORY', 'O_CLOEXEC')
_MAX_CHARACTERS = 1023
"""Of a path that is opened as a whole, 4 bytes each: the system takes 4,095 (PATH_MAX)."""

_root_fds: dict[tuple[str, str], int] = {}
"""Of the trees in use. Names are opened relative to them, so a forked worker may share them."""

_root_lock = threading.Lock()
"""So that of many threads one opens the root."""

MAX_ROOTS = 32
"""Trees in use in one process at most; a worker that serves many runs closes the oldest."""


def find_root(root: str) -> str:
    """Find where a root is, through all links; RootError where that is no folder that can be listed."""
    resolved = os.path.realpath(root)
    try:
        os.scandir(resolved).close()
    except FileNotFoundError:
        message = 'there is no such folder: is the disk mounted, the path complete?'
    except NotADirectoryError:
        message = 'this is a file: expected the folder that has the labs or the subjects in it'
    except OSError as error:
        message = f'the folder cannot be listed ({error.strerror}): may this user read it?'
    else:
        return resolved
    raise RootError(f'{escape(root)}: {message}')


class Walk(NamedTuple):
    """The walk of one session."""

    session_path: str
    tally: Tally
    linked: dict[tuple[int, int], int]
    """For each folder that was reached through a link, how often."""

    def is_loop(self, info: os.stat_result, above: Iterable[os.stat_result]) -> bool:
        """Tell whether a link leads to where the walk stands, or was too often."""
        target = info.st_dev, info.st_ino
        self.linked[target] = self.linked.get(target, 0) + 1
        return self.linked[target] > MAX_LINKS or any((one.st_dev, one.st_ino) == target for one in above)


class LocalFolder(ABC, Generic[T]):
    """What folders of this machine have in common. See `fastindex.trees.Folder`.

    where: its descriptor, or its whole path
    """

    __slots__ = ('_follow_links', '_where', 'entered', 'path')

    def __init__(self, path: str, where: T, follow_links: bool) -> None:
        self.path = path
        self.entered: dict[str, None] = {}  # each once, whatever a listing says
        self._where: T = where
        self._follow_links = follow_links

    def __enter__(self) -> Self:
        return self

    @property
    @abstractmethod
    def device(self) -> int:
        """Of the file system that the folder is on."""

    @abstractmethod
    def open(self, name: str) -> AbstractContextManager[int]:
        """See `fastindex.trees.Folder`."""

    def read(self, name: str, max_bytes: int) -> bytes:
        with self.open(name) as fd:
            if not S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), name)
            with open(fd, 'rb', closefd=False) as file:
                return file.read(max_bytes)

    def enter(self, name: str) -> None:
        self.entered[name] = None


class _DiskFolder(LocalFolder[int]):
    """An open folder."""

    __slots__ = ()

    def __exit__(self, *failed: object) -> None:
        os.close(self._where)

    def iter_names(self) -> Iterator[tuple[Sequence[str], bytes]]:
        return kernel.list_folder(self._where)

    def kind_of(self, name: str, *, follow: bool = True) -> int:
        return kernel.kind_of(self._where, name, follow=follow)

    def link_text(self, name: str) -> str:
        try:
            return os.fsdecode(os.readlink(to_system(name), dir_fd=self._where))
        except OSError:
            return ''

    def measure(self, names: Sequence[str], wanted: Wanted = SIZES) -> Measures:
        return kernel.measure(self._where, names, wanted, follow_links=self._follow_links)

    @contextmanager
    def open(self, name: str) -> Iterator[int]:
        fd = kernel.open_to_read(self._where, name, follow_links=self._follow_links)
        try:
            yield fd
        finally:
            os.close(fd)

    @property
    def device(self) -> int:
        return os.fstat(self._where).st_dev

    def state(self, path: str = '') -> Fingerprint:
        if path:
            info = os.stat(to_system(path), dir_fd=self._where, follow_symlinks=self._follow_links)
            return to_state(info)
        return to_state(os.fstat(self._where))


class LocalTree(NamedTuple):
    """A tree on a disk or a mounted file system. See `fastindex.trees.Tree`."""

    root: str
    follow_links: bool = True
    run: str = ''
    """Tells this tree from an earlier one in the same place, which may have been another disk."""

    @classmethod
    def open(cls, root: str, *, follow_links: bool = True) -> LocalTree:
        """Open the tree below `root`; RootError where that is no folder that can be listed."""
        return cls(find_root(root), follow_links, os.urandom(8).hex())

    def __reduce__(self) -> tuple[Any, ...]:
        """Go to another process as bytes: its locale may decode the names of files in another way."""
        return _unpickle, (type(self), os.fsencode(self.root), self.follow_links, self.run)

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

    def walk(self, session_path: str, tally: Tally) -> Iterator[Folder]:
        walk = Walk(session_path, tally, {})
        return self._walk(walk, self._open_folder(session_path), '', [])

    def _walk(self, walk: Walk, fd: int, path: str, above: list[int]) -> Iterator[Folder]:
        """Walk an open folder, which is closed at the end; `above` are those above it, up to the session."""
        with _DiskFolder(path, fd, self.follow_links) as folder:
            yield folder
            if not folder.entered:
                return
            above = [*above, fd]
            for name in folder.entered:
                below = f'{path}/{name}' if path else name
                try:
                    below_fd = self._open_subfolder(walk, name, above)
                except OSError as error:
                    walk.tally.error(f'{walk.session_path}/{below}', error)
                else:
                    yield from self._walk(walk, below_fd, below, above)

    def _open_subfolder(self, walk: Walk, name: str, above: list[int]) -> int:
        """Open a subfolder; through a link only where links are followed, and not in a circle."""
        try:
            return os.open(to_system(name), _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=above[-1])
        except OSError as error:
            if not self.follow_links or error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
        fd = os.open(to_system(name), _FOLDER_FLAGS, dir_fd=above[-1])
        if self._is_loop(walk, fd, above):
            os.close(fd)
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return fd

    def _is_loop(self, walk: Walk, fd: int, above: list[int]) -> bool:
        """Tell whether a link leads to where the walk stands, or was too often."""
        root_fd = self._root_fd()
        ancestors = [os.fstat(root_fd), *map(os.fstat, above)]
        parts = to_system(walk.session_path).split('/')
        for count in range(1, len(parts)):
            with suppress(OSError):
                ancestors.append(os.stat('/'.join(parts[:count]), dir_fd=root_fd))
        return walk.is_loop(os.fstat(fd), ancestors)

    def _open_folder(self, path: str) -> int:
        root_fd, path = self._root_fd(), to_system(path)
        if (self.follow_links and len(path) <= _MAX_CHARACTERS) or not path:
            return os.open(path or '.', _FOLDER_FLAGS, dir_fd=root_fd)
        flags = _FOLDER_FLAGS | (0 if self.follow_links else os.O_NOFOLLOW)
        fd = os.dup(root_fd)
        for name in path.split('/'):
            try:
                below = os.open(name, flags, dir_fd=fd)
            finally:
                os.close(fd)
            fd = below
        return fd

    def open_folder(self, path: str, tally: Tally) -> AbstractContextManager[Folder]:
        return _DiskFolder(path, self._open_folder(path), self.follow_links)

    def state(self, path: str) -> Fingerprint:
        """Get by what to know a folder again, as `Folder.state`; where links are followed, by one call."""
        if self.follow_links and len(path) <= _MAX_CHARACTERS:
            return to_state(os.stat(to_system(path), dir_fd=self._root_fd()))
        with self.open_folder(path, Tally()) as folder:
            return folder.state()


def _unpickle(kind: type[LocalTree], root: bytes, follow_links: bool, run: str) -> LocalTree:
    return kind(os.fsdecode(root), follow_links, run)

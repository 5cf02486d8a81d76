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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK
from typing import NamedTuple

from fastindex.errors import RootError
from fastindex.names.problems import Reason, Tally
from fastindex.text import escape
from fastindex.trees import BLOCK_NAMES, Folder, Kind, Measures
from fastindex.trees.digests import Digests, FileChangedError, Fingerprint, Hasher, NotRegularError

__all__ = ['LocalTree']

MAX_LINKS = 16
"""Times that one folder is entered through links in one session: links to links double at each step."""

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_MAX_CHARACTERS = 1023
"""Of a path that is opened as a whole, 4 bytes each: the system takes 4,095 (PATH_MAX)."""

_FILE_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO must not block

_TYPE_MASK = S_IFMT(0xFFFF)

_KIND_OF_TYPE = {
    S_IFREG: Kind.FILE,
    S_IFDIR: Kind.FOLDER,
    S_IFLNK: Kind.LINK,
    S_IFIFO: Kind.FIFO,
    S_IFSOCK: Kind.SOCKET,
    S_IFCHR: Kind.DEVICE,
    S_IFBLK: Kind.DEVICE,
}

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


class _DiskFolder:
    """An open folder. See `fastindex.trees.Folder`."""

    __slots__ = ('_entries', '_fd', '_follow_links', 'entered', 'path')

    def __init__(self, path: str, fd: int, follow_links: bool) -> None:
        self.path = path
        self.entered: dict[str, bool] = {}
        """Names of the subfolders to be walked next, and whether each is a link."""
        self._fd = fd
        self._follow_links = follow_links
        self._entries: dict[str, os.DirEntry[str]] = {}

    def iter_names(self) -> Iterator[tuple[Sequence[str], bytes]]:
        with os.scandir(self._fd) as entries:
            failed = None
            while failed is None:
                block: list[os.DirEntry[str]] = []
                try:
                    block.extend(islice(entries, BLOCK_NAMES))
                except OSError as error:  # what the listing gave before is in the block
                    failed = error
                if not block:
                    break
                names = [entry.name for entry in block]
                self._entries = dict(zip(names, block, strict=True))
                yield names, _kinds_of(block)
                if len(block) < BLOCK_NAMES:
                    break
            if failed is not None:
                raise failed

    def kind_of(self, name: str, *, follow: bool = True) -> Kind:
        info = os.stat(name, dir_fd=self._fd, follow_symlinks=follow)
        return _KIND_OF_TYPE[S_IFMT(info.st_mode)]

    def measure(
        self,
        names: Sequence[str],
        algorithms: tuple[str, ...] = (),
        *,
        max_bytes: int = sys.maxsize,
        with_fingerprints: bool = False,
    ) -> Measures:
        """Measure files: the hot loop. See `fastindex.trees.Folder`.

        A file that has become something else since the listing is found out here: what is measured is
        regular, and a link is followed only where the tree follows links.
        """
        if algorithms:
            return self._read(names, Hasher(algorithms, max_bytes=max_bytes))
        sizes: list[int] = []
        fingerprints: list[Fingerprint] = []
        wrong: dict[int, OSError | Reason] = {}
        fd, entry_of = self._fd, self._entries.get
        for position, name in enumerate(names):
            try:
                entry = entry_of(name)
                if entry is None:
                    info = os.stat(name, dir_fd=fd, follow_symlinks=False)
                else:
                    info = entry.stat(follow_symlinks=False)
                if info.st_mode & _TYPE_MASK != S_IFREG:
                    if info.st_mode & _TYPE_MASK == S_IFLNK and self._follow_links:
                        info = os.stat(name, dir_fd=fd)
                    if info.st_mode & _TYPE_MASK != S_IFREG:
                        wrong[position] = self._explain(name, Reason.NOT_REGULAR)
                        continue
                sizes.append(info.st_size)
                if with_fingerprints:
                    fingerprints.append((info.st_mtime_ns, info.st_ctime_ns, info.st_ino))
            except OSError as error:
                wrong[position] = error
        return Measures(sizes, [], fingerprints, wrong)

    def _read(self, names: Sequence[str], hasher: Hasher) -> Measures:
        sizes: list[int] = []
        digests: list[Digests | None] = []
        fingerprints: list[Fingerprint] = []
        wrong: dict[int, OSError | Reason] = {}
        flags, folder_fd = self._file_flags, self._fd
        for position, name in enumerate(names):
            try:
                fd = os.open(name, flags, dir_fd=folder_fd)
                try:
                    size_bytes, found, fingerprint = hasher.measure(fd)
                finally:
                    os.close(fd)
            except OSError as error:
                wrong[position] = self._explain(name, error)
            except FileChangedError:
                wrong[position] = Reason.CHANGED
            except NotRegularError:
                wrong[position] = Reason.NOT_REGULAR
            else:
                sizes.append(size_bytes)
                digests.append(found)
                fingerprints.append(fingerprint)
        return Measures(sizes, digests, fingerprints, wrong)

    def _explain(self, name: str, wrong: OSError | Reason) -> OSError | Reason:
        """Say of what has become something else since it was listed that it has."""
        with suppress(OSError):
            kind = self.kind_of(name, follow=False)
            if kind is Kind.FOLDER:
                return Reason.CHANGED
            if kind not in (Kind.FILE, Kind.LINK):
                return Reason.NOT_REGULAR
        return wrong

    @property
    def _file_flags(self) -> int:
        return _FILE_FLAGS if self._follow_links else _FILE_FLAGS | os.O_NOFOLLOW

    @contextmanager
    def open(self, name: str) -> Iterator[int]:
        fd = os.open(name, self._file_flags, dir_fd=self._fd)
        try:
            yield fd
        finally:
            os.close(fd)

    def enter(self, name: str) -> None:
        self.entered[name] = self._entries[name].is_symlink()


def _kinds_of(block: list[os.DirEntry[str]]) -> bytes:
    file = Kind.FILE
    try:
        return bytes([file if entry.is_file(follow_symlinks=False) else _kind_of(entry) for entry in block])
    except OSError:  # the file system tells no types, and a look at one of them failed
        return bytes(map(_kind_or_unknown, block))


def _kind_of(entry: os.DirEntry[str]) -> Kind:
    if entry.is_dir(follow_symlinks=False):
        return Kind.FOLDER
    return Kind.LINK if entry.is_symlink() else Kind.OTHER


def _kind_or_unknown(entry: os.DirEntry[str]) -> Kind:
    try:
        return Kind.FILE if entry.is_file(follow_symlinks=False) else _kind_of(entry)
    except OSError:
        return Kind.UNKNOWN


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

    def walk(self, session_path: str, tally: Tally) -> Iterator[Folder]:
        """Walk the folders of a session. See `fastindex.trees.Tree`."""
        walk = _Walk(session_path, tally, {})
        return self._walk(walk, self._open_folder(session_path), '', [])

    def _walk(self, walk: _Walk, fd: int, path: str, above: list[int]) -> Iterator[Folder]:
        """Walk an open folder, which is closed at the end; `above` are those above it, up to the session."""
        session_path, tally = walk.session_path, walk.tally
        try:
            folder = _DiskFolder(path, fd, self.follow_links)
            yield folder
            if not folder.entered:
                return
            above = [*above, fd]
            for name, is_link in folder.entered.items():
                below = f'{path}/{name}' if path else name
                try:
                    below_fd = self._open_subfolder(walk, name, is_link, above)
                except OSError as error:
                    tally.error(f'{session_path}/{below}', error)
                else:
                    yield from self._walk(walk, below_fd, below, above)
        finally:
            os.close(fd)

    def _open_subfolder(self, walk: _Walk, name: str, is_link: bool, above: list[int]) -> int:
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

    @contextmanager
    def open_folder(self, path: str, tally: Tally) -> Iterator[Folder]:
        """Open one folder. See `fastindex.trees.Tree`."""
        fd = self._open_folder(path)
        try:
            yield _DiskFolder(path, fd, self.follow_links)
        finally:
            os.close(fd)

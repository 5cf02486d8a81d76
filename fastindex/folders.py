"""Act in a folder of this disk by its descriptor: what was opened stays what is acted upon.

Whoever may write there can exchange any name with a link at any moment, also between a look at it and what
is done to it. So a name is looked at, opened, renamed and removed relative to the folder that is held open,
and no link is followed below that. What is opened never waits for somebody else, be it a FIFO by now.

On an SMB share a file that anybody has open is neither replaced nor removed: that is tried again for a while.

Windows opens nothing relative to a folder, and has no flag by which a link is not followed: there all of this
is done by path, and what is a link is looked for before.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from stat import S_IMODE, S_ISDIR, S_ISGID, S_ISREG, S_IWRITE
from typing import IO, Self

from fastindex.system import OPENS_BY_FOLDER, flags, is_link, is_smb, long_path, sync_file, sync_folder

__all__ = [
    'HELD',
    'NO_LINKS',
    'OpenFolder',
    'ask_about',
    'look_again',
    'open_below',
    'open_file',
    'open_without_waiting',
    'patiently',
    'share',
]

HELD_SECONDS = 5.0
"""Until a file that cannot be replaced is an error: readers of an index take less, and an SMB client keeps a
file open for a second after it was closed. Who may really not write there learns it after this time."""

_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 0.01, 0.5

HELD = frozenset({errno.EACCES, errno.EPERM, errno.EBUSY})
"""What says that a file is open somewhere, be it that this user may not replace it at all."""

LEASE_SECONDS = 60.0
"""Until a file is an error that somebody holds a lease of: the kernel takes it away after 45 s."""

RENAME_NOREPLACE = 1  # of Linux; Python has no name for it

NO_LINKS = frozenset({errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EXDEV, errno.EACCES, errno.ENOSYS})
"""What says that no hard link can be made, be it of a file of somebody else."""

_FOLDER_FLAGS = flags('O_DIRECTORY', 'O_NOFOLLOW', 'O_CLOEXEC')
_FILE_FLAGS = flags('O_NONBLOCK', 'O_CLOEXEC', 'O_BINARY')
_NO_LINK = flags('O_NOFOLLOW')

_NO_FD = -1  # of a folder, where they are not


def _open_folder(name: str | Path, *, dir_fd: int | None = None) -> int:
    if OPENS_BY_FOLDER:
        return os.open(name, _FOLDER_FLAGS, dir_fd=dir_fd)
    info = os.lstat(name)
    if not S_ISDIR(info.st_mode) or is_link(info):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fspath(name))
    return _NO_FD


class OpenFolder:
    """A folder that is held open. A context: leaving it closes the folder.

    Each method takes a name in it, and raises OSError with the whole path.

    path: its name, for messages
    fd: its descriptor, which is its own from now on; none where `OPENS_BY_FOLDER` says so
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd
        self._dir_fd = fd if OPENS_BY_FOLDER else None

    def _at(self, name: str) -> str:
        """Name an entry in a way that is right together with `_dir_fd`."""
        return name if OPENS_BY_FOLDER else long_path(os.fspath(self.path / name))

    def again(self) -> OpenFolder:
        """Open it once more."""
        return OpenFolder(self.path, _open_folder(self._at('.'), dir_fd=self._dir_fd))

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the folder that a path leads to, through links if there are any on the way."""
        resolved = Path(os.path.realpath(path))
        return cls(resolved, _open_folder(resolved))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it."""
        if OPENS_BY_FOLDER:
            os.close(self.fd)

    def enter(self, name: str) -> OpenFolder:
        """Open a folder in it; NotADirectoryError where a link is, or anything else."""
        with self._naming(name):
            return OpenFolder(self.path / name, _open_folder(self._at(name), dir_fd=self._dir_fd))

    def open_fd(self, name: str, flags: int = os.O_RDONLY) -> int:
        """Open a file in it, never through a link; whether it is a regular file, the caller must look."""
        with self._naming(name):
            if not _NO_LINK and os.path.islink(self._at(name)):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            return open_file(self._at(name), flags | _NO_LINK, dir_fd=self._dir_fd)

    def open_new(self, name: str, *, buffering: int = -1) -> IO[bytes]:
        """Make a file in it, where nothing is, to be written and read."""
        return os.fdopen(self.open_fd(name, os.O_RDWR | os.O_CREAT | os.O_EXCL), 'w+b', buffering)

    def open_nameless(self, name: str) -> int | None:
        """Make a file in it that has no name yet; None where the disk has none, or cannot give it one later.

        NFS and macOS have no such files. Others have, and no links: that is tried here with an empty file, as
        what is known only when all is written comes too late.
        """
        if not hasattr(os, 'O_TMPFILE') or not os.path.isdir('/proc/self/fd'):
            return None
        how = os.O_RDWR | os.O_CLOEXEC | os.O_TMPFILE
        try:
            probe = os.open('.', how, 0o666, dir_fd=self.fd)
        except OSError:
            return None
        try:
            self.give_name(probe, name)
            self.remove(name, is_patient=False)
        except OSError as error:
            if error.errno not in {*NO_LINKS, errno.ENOENT, errno.EINVAL}:
                raise
            return None
        finally:
            os.close(probe)
        with self._naming(name):
            return os.open('.', how, 0o666, dir_fd=self.fd)

    def give_name(self, fd: int, name: str) -> None:
        """Give a name to a file that has none."""
        with self._naming(name):
            # Only where a folder is given does Python follow the link (CPython issue 81793).
            os.link(f'/proc/self/fd/{fd}', name, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def look(self, name: str) -> os.stat_result | None:
        """Look at an entry, not through a link; None where nothing is."""
        try:
            with self._naming(name):
                return os.stat(self._at(name), dir_fd=self._dir_fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def read_link(self, name: str) -> str:
        """Read where a link leads."""
        with self._naming(name):
            return os.readlink(self._at(name), dir_fd=self._dir_fd)

    def names(self) -> list[str]:
        """List the names in it, sorted."""
        with self._naming(), self.again() as folder:  # btrfs lists in an open one what was there then
            return sorted(os.listdir(folder.fd if OPENS_BY_FOLDER else self._at('.')))

    def make(self, name: str) -> None:
        """Make a folder in it, where nothing is."""
        with self._naming(name):
            os.mkdir(self._at(name), dir_fd=self._dir_fd)

    def remove_folder(self, name: str) -> None:
        """Remove an empty folder in it."""
        with self._naming(name):
            os.rmdir(self._at(name), dir_fd=self._dir_fd)

    def remove_tree(self, name: str) -> None:
        """Remove a folder in it, and all that is in that, as far as it can be."""
        import shutil  # imports three compressors: 10 ms at each start

        shutil.rmtree(self._at(name), ignore_errors=True, dir_fd=self._dir_fd)

    def _free(self, name: str) -> None:
        """Let a file be replaced or removed that may only be read: but on Windows, it may be anyway."""
        info = None if OPENS_BY_FOLDER else self.look(name)
        if info is not None and S_ISREG(info.st_mode) and not info.st_mode & S_IWRITE:
            os.chmod(self._at(name), S_IWRITE)

    def remove(self, name: str, *, is_patient: bool = True) -> None:
        """Remove a file in it; FileNotFoundError where there is none."""
        with self._naming(name):
            self._free(name)
            patiently(lambda: os.unlink(self._at(name), dir_fd=self._dir_fd), is_patient=is_patient)

    def replace(self, name: str, target: OpenFolder, new_name: str, *, is_patient: bool = True) -> None:
        """Rename a file in it over one in another folder, or a folder to where nothing is.

        Linux removes a file of an SMB share that anybody has open before it finds that nothing can be renamed
        over it. So the old one is moved aside there, and back if the new one does not take its place.
        """
        aside = f'{new_name}.old'
        with target._naming(new_name):
            target._free(new_name)
            if not is_smb(os.fspath(target.path)) or not self.look(name) or not target.look(new_name):
                patiently(lambda: self._rename(name, target, new_name), is_patient=is_patient)
                return
            patiently(lambda: target._rename(new_name, self, aside), is_patient=is_patient)
            try:
                patiently(lambda: self._rename(name, target, new_name), is_patient=is_patient)
            except BaseException:
                self._rename(aside, target, new_name)
                raise
            with suppress(OSError):
                os.unlink(self._at(aside), dir_fd=self._dir_fd)

    def _rename(self, name: str, target: OpenFolder, new_name: str) -> None:
        os.replace(self._at(name), target._at(new_name), src_dir_fd=self._dir_fd, dst_dir_fd=target._dir_fd)

    def move(self, name: str, target: OpenFolder, new_name: str) -> None:
        """Rename an entry of it to where nothing is; FileExistsError where something is, which stays.

        On NFS, and some FUSE file systems, no call promises that: there a file gets its new name before it
        loses the old one, and the place of a folder, over which no rename goes unless it is empty, is looked
        at before.
        """
        with target._naming(new_name):
            if not OPENS_BY_FOLDER:
                os.rename(self._at(name), target._at(new_name))  # which goes over nothing there
                return
            if _rename_new(self.fd, name, target.fd, new_name):
                return
            if not S_ISDIR(os.stat(name, dir_fd=self.fd, follow_symlinks=False).st_mode):
                self.link(name, target, new_name)
                os.unlink(name, dir_fd=self.fd)
            elif target.look(new_name) is None:
                os.rename(name, new_name, src_dir_fd=self.fd, dst_dir_fd=target.fd)
            else:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    def link(self, name: str, target: OpenFolder, new_name: str) -> None:
        """Give a file in it a second name in another folder, where nothing is."""
        with target._naming(new_name):
            if not OPENS_BY_FOLDER:
                os.link(self._at(name), target._at(new_name))
                return
            os.link(name, new_name, src_dir_fd=self.fd, dst_dir_fd=target.fd, follow_symlinks=False)

    def sync(self) -> None:
        """Bring the names in it to the disk."""
        if OPENS_BY_FOLDER:  # NTFS keeps a journal of its folders; there is no such call
            with self._naming():
                sync_folder(self.fd)

    def sync_file(self, name: str) -> None:
        """Bring a file in it to the disk."""
        fd = self.open_fd(name, os.O_RDONLY if OPENS_BY_FOLDER else os.O_RDWR)
        try:
            with self._naming(name):
                sync_file(fd)
        finally:
            os.close(fd)

    @contextmanager
    def _naming(self, name: str = '') -> Iterator[None]:
        try:
            yield
        except OSError as error:
            error.filename, error.filename2 = os.fspath(self.path / name), None
            raise


def open_file(name: str | os.PathLike[str], flags: int, *, dir_fd: int | None = None) -> int:
    """Open what should be a regular file: it waits for no reader or writer of a FIFO.

    It does wait for who holds a lease of the file, as Samba and NFS servers do for their clients: they give
    it back when they are asked, or the kernel takes it. A read of a regular file waits for that too, where
    the lease was taken after the file was opened. Raises OSError if it cannot be opened.
    """
    fd = open_without_waiting(name, flags, dir_fd=dir_fd)
    if hasattr(os, 'O_NONBLOCK') and S_ISREG(os.fstat(fd).st_mode):
        os.set_blocking(fd, True)
    return fd


def open_without_waiting(name: str | os.PathLike[str], flags: int, *, dir_fd: int | None = None) -> int:
    """Open as `open_file` does; but a read may give EAGAIN, of a regular file too."""
    deadline = time.monotonic() + LEASE_SECONDS
    while True:
        try:
            return os.open(name, flags | _FILE_FLAGS, 0o666, dir_fd=dir_fd)
        except BlockingIOError:  # the holder has been asked now
            if time.monotonic() >= deadline:
                raise
            time.sleep(_PAUSE_SECONDS)


def ask_about(error: OSError) -> str:
    """Ask what may be behind the words of the system, where there is something to look at; else ''.

    >>> ask_about(OSError(errno.ENOSPC, ''))
    'Is there space? '
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return 'Is there space? '
    if error.errno == errno.EROFS:
        return 'Is it mounted to be read only? '
    return 'May this user write there, does a program have it open? ' if error.errno in HELD else ''


def share(above: OpenFolder, fd: int) -> None:
    """Let the group of a folder that is meant to be shared (setgid) write to what is made below it."""
    if not OPENS_BY_FOLDER:
        return
    folder, info = os.fstat(above.fd), os.fstat(fd)
    wanted = S_IMODE(info.st_mode) | (0o2070 if S_ISDIR(info.st_mode) else 0o060)
    if folder.st_mode & S_ISGID and (info.st_gid, S_IMODE(info.st_mode)) != (folder.st_gid, wanted):
        with suppress(OSError):  # it is of somebody else, who may have done it
            os.fchown(fd, -1, folder.st_gid)
            os.fchmod(fd, wanted)


def _rename_new(fd: int, name: str, target_fd: int, new_name: str) -> bool:
    """Rename to where nothing is, in one call; False where the system or the file system has none."""
    import ctypes  # 8 ms

    call = getattr(ctypes.CDLL(None, use_errno=True), 'renameat2', None)
    if call is None:  # macOS
        return False
    if call(fd, os.fsencode(name), target_fd, os.fsencode(new_name), RENAME_NOREPLACE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number))


def look_again(folder: Path) -> None:
    """Look what is in a folder now: NFS, on another machine, else opens what was there up to a minute ago."""
    if OPENS_BY_FOLDER:
        with suppress(OSError):
            os.close(os.open(folder, flags('O_DIRECTORY', 'O_CLOEXEC')))


def open_below(folder: Path, path: Path) -> int:
    """Open a file below a folder for reading, and follow no link from there on.

    Raises OSError if it cannot be opened; ELOOP or ENOTDIR where a link is on the way.
    """
    if not OPENS_BY_FOLDER:
        return open_file(path, os.O_RDONLY)
    *folders, name = path.relative_to(folder).parts
    with ExitStack() as stack:
        opened = stack.enter_context(OpenFolder.open(folder))
        for part in folders:
            opened = stack.enter_context(opened.enter(part))
        return opened.open_fd(name)


def patiently(act: Callable[[], object], *, is_patient: bool = True) -> None:
    """Rename or remove a file; where it is held, and this is to be patient, try again for `HELD_SECONDS`.

    Raises OSError if it could not be done: all is as it was.
    """
    deadline = time.monotonic() + HELD_SECONDS * is_patient
    pause = _PAUSE_SECONDS
    while True:
        try:
            act()
        except OSError as error:
            if error.errno not in HELD or time.monotonic() >= deadline:
                raise
            time.sleep(pause)
            pause = min(2 * pause, _MAX_PAUSE_SECONDS)
        else:
            return

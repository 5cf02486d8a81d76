"""Write what was asked for as a whole or not at all: the one way to a file or a folder that an option names.

What there is decides:

    nothing, a regular file     a new file grows beside it, without a name where the system has such files,
                                and takes its place when it is complete; until then what was there still is
    a link                      is followed: the file that it leads to is replaced, the link stays
    -, /dev/stdout, /dev/fd/N   what is open there is written through
    a FIFO, a terminal …        is written through
    a folder, a socket, a disk  is refused

What grows has a random name, never one that was there before. A run that was killed may leave it: the next
one to the same name removes what nobody holds. Knows nothing of what is written.

On an SMB share and on Windows a file that anybody has open is neither replaced nor removed
(`fastindex.folders.patiently`); on Windows not even by who has opened it.
"""

from __future__ import annotations

import errno
import io
import os
import re
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from stat import S_IMODE, S_ISCHR, S_ISDIR, S_ISFIFO, S_ISREG
from typing import IO, Any, NamedTuple

from fastindex.errors import FastindexError, OutputError
from fastindex.file_locks import try_lock
from fastindex.folders import OpenFolder, ask_about
from fastindex.system import OPENS_BY_FOLDER, flags, is_own, set_access, sync_file, undisturbed
from fastindex.text import escape

__all__ = [
    'Target',
    'find_target',
    'find_temporary',
    'is_stdout',
    'new_folder',
    'open_output',
    'open_outputs',
    'temporary_folder',
]

READER_SECONDS = 10  # time that the reader of a FIFO has to open it
_BUFFER_BYTES = 2**20


class Target(NamedTuple):
    """What the path of an output leads to."""

    path: str  # after all links
    mode: int | None = None  # `st_mode` of what is there; None where nothing is
    fd: int | None = None  # the descriptor of this process that the path names

    @property
    def is_stream(self) -> bool:
        """Whether it is written through."""
        return self.fd is not None or not (self.mode is None or S_ISREG(self.mode))


class _Refusal(NamedTuple):
    """Says why an output cannot be written."""

    shown: str
    error: type[FastindexError]

    def __call__(self, why: str) -> FastindexError:
        return self.error(f'{self.shown}: {why}')

    @contextmanager
    def of_the_system(self) -> Iterator[None]:
        try:
            yield
        except FastindexError:
            raise
        except OSError as error:
            raise self(
                f'cannot be written ({error.strerror or error}); what was there still is. {ask_about(error)}'
                'Else choose another name'
            ) from error


def find_target(path: str | os.PathLike[str], *, error: type[FastindexError] = OutputError) -> Target:
    """Find out what an output would be written to; raise `error` if that cannot be."""
    path = os.fspath(path)
    refusal = _Refusal(escape(path), error)
    fd = _find_fd(path)
    if fd is not None:
        return Target(path, fd=fd)
    mode = None
    with refusal.of_the_system(), suppress(FileNotFoundError):
        mode = os.stat(path).st_mode  # a link that a stranger made in /tmp, the kernel may refuse
    target = Target(os.path.realpath(path), mode)
    if not os.path.basename(path) or S_ISDIR(mode or 0):
        raise refusal('this is a folder: expected the name of a file')
    if target.is_stream and not (S_ISFIFO(mode or 0) or S_ISCHR(mode or 0)):
        raise refusal('this is neither a file nor a FIFO nor a terminal: choose another name')
    if not os.path.isdir(os.path.dirname(target.path)):
        raise refusal('its folder does not exist: make it first, or choose another')
    return target


def find_temporary() -> str:
    """Find the folder for temporary files; OutputError if there is none (a container)."""
    import tempfile

    try:
        return tempfile.gettempdir()
    except FileNotFoundError as error:
        raise OutputError(
            'there is no folder for temporary files: expected TMPDIR to name one that can be written to'
        ) from error


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder for temporary files, which is gone when the block has ended."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix='fastindex-', dir=find_temporary(), ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def is_stdout(path: str) -> bool:
    """Tell whether a path is one of the names of standard output."""
    return _find_fd(path) == 1


def _find_fd(path: str) -> int | None:
    """Find the descriptor of this process that a path names, as /dev/stdout does; - is standard output."""
    if path == '-':
        return 1
    for _ in range(40):  # links to links, as many as Linux follows
        folder, name = os.path.split(path)
        folder = os.path.realpath(folder)
        if folder in ('/dev/fd', os.path.realpath('/proc/self/fd')):
            return int(name) if re.fullmatch('[0-9]{1,9}', name) else None
        path = os.path.join(folder, name)
        if not os.path.islink(path):
            break
        path = os.path.join(folder, os.readlink(path))
    return None


@contextmanager
def open_output(
    path: str | os.PathLike[str], *, error: type[FastindexError] = OutputError, overwrite: bool = True
) -> Iterator[IO[bytes]]:
    """Open a file that is there, as a whole, when the block has ended; if the block raises, it never was.

    error: what is raised if it cannot be written; what was there still is
    overwrite: whether it may take the place of another file
    """
    target = find_target(path, error=error)
    if not target.is_stream:
        with open_outputs(error=error, overwrite=overwrite) as open_next:
            yield open_next(path)
        return
    refusal = _Refusal(escape(path), error)
    with refusal.of_the_system():
        fd = _open_through(target, refusal)
    raw = _Raw(fd, 'w', refusal)
    with io.BufferedWriter(raw, _BUFFER_BYTES) as stream:
        try:
            yield stream
        except BaseException:
            raw.close()  # to flush it would wait again for a reader that reads no more, or is told half of it
            raise


@contextmanager
def open_outputs(
    *, error: type[FastindexError] = OutputError, overwrite: bool = True, then: Callable[[], object] = bool
) -> Iterator[Callable[[str | os.PathLike[str]], IO[bytes]]]:
    """Open several files, there when the block has ended: all on the disk, `then` the last ones first."""
    with ExitStack() as stack:
        grown: list[_Growing] = []

        def open_next(path: str | os.PathLike[str]) -> IO[bytes]:
            grown.append(_Growing(path, error, stack, overwrite=overwrite))
            return grown[-1].file

        yield open_next
        for one in grown:
            one.settle()
        with undisturbed():  # no signal leaves one without the others
            then()
            for one in reversed(grown):
                one.move()


class _Growing:
    """A file that grows beside its place; what has not taken it is gone when `stack` ends."""

    def __init__(
        self, path: str | os.PathLike[str], error: type[FastindexError], stack: ExitStack, *, overwrite: bool
    ) -> None:
        target = find_target(path, error=error)
        above, self._name = os.path.split(target.path)
        self._refusal = _Refusal(escape(path), error)
        self._overwrite = overwrite
        with self._refusal.of_the_system():
            self._folder = stack.enter_context(OpenFolder.open(Path(above)))
            self._sibling = choose_sibling(self._name, self._folder)
            fd = self._folder.open_nameless(self._sibling)
            self._has_name = fd is None
            if fd is None:
                fd = self._folder.open_fd(self._sibling, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            self._fd = fd
            self.file: IO[bytes] = io.BufferedRandom(_Raw(self._fd, 'r+', self._refusal), _BUFFER_BYTES)
            stack.callback(_give_up, self.file, self._sibling, self._folder)
            try_lock(self._fd)  # so that others see that this is being written
            if target.mode is not None:
                set_access(self._fd, S_IMODE(target.mode) & 0o777)

    def settle(self) -> None:
        """Bring it to the disk, under a name of its own."""
        with self._refusal.of_the_system():
            self.file.flush()
            sync_file(self._fd)
            if not self._has_name:
                self._folder.give_name(self._fd, self._sibling)

    def move(self) -> None:
        """Put it in its place."""
        with self._refusal.of_the_system():
            there = self._folder.look(self._name)
            if there is not None and not (S_ISREG(there.st_mode) and self._overwrite):
                raise self._refusal('something has come there meanwhile: choose another name')
            if not OPENS_BY_FOLDER:
                self.file.close()
            self._folder.replace(self._sibling, self._folder, self._name)
            self._folder.sync()


def _give_up(file: IO[bytes], sibling: str, folder: OpenFolder) -> None:
    """Close a file, and remove what has not taken its place."""
    with suppress(OSError, FastindexError):  # that the disk is full was said already
        file.close()
    with suppress(OSError):
        folder.remove(sibling, is_patient=False)


class _Raw(io.FileIO):
    """A file that says of itself what could not be written."""

    def __init__(self, fd: int, mode: str, refusal: _Refusal) -> None:
        super().__init__(fd, mode)
        self._refusal = refusal

    def write(self, data: Any, /) -> int:
        with self._refusal.of_the_system(), suppress(BrokenPipeError):
            while (count := super().write(data)) is None:  # whoever has it too said that it must not block
                select.select([], [self], [])
            return count
        return len(data)  # a reader that has enough is no error


def _open_through(target: Target, refusal: _Refusal) -> int:
    """Open what is written through; the reader of a FIFO is waited for, but not for ever."""
    if target.fd is not None:
        sys.stdout.flush()  # what was printed comes first
        return os.dup(target.fd)
    end = time.monotonic() + READER_SECONDS
    how = os.O_WRONLY | flags('O_NONBLOCK', 'O_NOFOLLOW', 'O_NOCTTY', 'O_CLOEXEC', 'O_BINARY')
    while True:
        try:
            fd = os.open(target.path, how)
            break
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            if time.monotonic() > end:
                raise refusal('nobody reads this FIFO: start first what reads it') from error
            time.sleep(0.02)
    if S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise refusal('a file has come there meanwhile: try again')
    if flags('O_NONBLOCK'):
        os.set_blocking(fd, True)
    return fd


@contextmanager
def new_folder(path: str, *, error: type[FastindexError] = OutputError) -> Iterator[str]:
    """Make a folder that has its name when the block has ended; if the block raises, it never was.

    path: where nothing is, or an empty folder; missing folders above it are made
    error: what is raised if it cannot be written
    """
    above, name = os.path.split(path)
    with _Refusal(escape(path), error).of_the_system(), ExitStack() as stack:
        os.makedirs(above, exist_ok=True)
        folder = stack.enter_context(OpenFolder.open(Path(above)))
        sibling = choose_sibling(name, folder)
        folder.make(sibling)
        stack.callback(folder.remove_tree, sibling)
        try_lock(stack.enter_context(folder.enter(sibling)).fd)
        yield os.path.join(above, sibling)
        if not OPENS_BY_FOLDER:  # there an empty folder is in the way
            with suppress(FileNotFoundError):
                folder.remove_folder(name)
        folder.replace(sibling, folder, name)  # it fails if anything but an empty folder has come there


def choose_sibling(name: str, folder: OpenFolder) -> str:
    """Choose a name for what grows; remove what killed runs of this user have left of the same output."""
    prefix = f'.{name[:40]}.partial-'  # a name may have 255 bytes
    pattern = re.compile(re.escape(prefix) + '[0-9a-f]{16}')
    with suppress(OSError):
        for left in filter(pattern.fullmatch, folder.names()):
            with suppress(OSError):
                _remove_if_dead(left, folder)
    return f'{prefix}{os.urandom(8).hex()}'


def _remove_if_dead(name: str, folder: OpenFolder) -> None:
    info = folder.look(name)
    if info is None or not is_own(info):
        return
    is_folder = S_ISDIR(info.st_mode)
    if OPENS_BY_FOLDER:
        fd = folder.open_fd(name, os.O_RDONLY if is_folder else os.O_RDWR)  # on NFS a lock takes the latter
        try:
            if try_lock(fd):
                (folder.remove_tree if is_folder else folder.remove)(name)
        finally:
            os.close(fd)
    elif not is_folder:  # what somebody holds, Windows does not remove; of a folder it would remove the rest
        folder.remove(name, is_patient=False)

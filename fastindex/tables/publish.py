"""Put a new pair in place so that at every instant the index is the old one or the new one.

    .fastindex/lock      held by the run that writes (flock: a killed holder leaves no lock)
    .fastindex/stage/    the new pair while it grows; the seal in it, `ready`, says that the pair is complete
    .fastindex/problems.jsonl, .fastindex/fingerprints.parquet

Nothing of the index is open when it is replaced (P22): an SMB share and Windows refuse that. Where somebody
else has it open, the rename is tried again for some seconds.

Order: write and fsync both tables; write and fsync the seal, which has a digest of each file, and fsync their
folder; rename datasets, rename sessions; fsync the folder; drop the stage. A run that died before the seal
left rubbish, which the next one removes. One that died after it left a complete pair, which the next one
moves into place (rolls forward), once the digests say that it is whole. Nothing in the tables' own folder
ever ends in `.pqt` but the two: the client opens every such file.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from stat import S_ISREG
from tempfile import TemporaryDirectory
from typing import IO, Self

from xxhash import xxh3_128

from fastindex.errors import FastindexError, LockedError, PublishError
from fastindex.files import HELD, hold_lock, remove_file, replace_file
from fastindex.names.problems import Problem
from fastindex.tables.check import TABLES
from fastindex.tables.foreign import refuse_foreign
from fastindex.tables.reuse import FINGERPRINTS
from fastindex.text import escape
from fastindex.trees import STATE_FOLDER

__all__ = ['PROBLEMS', 'TABLES', 'Stage', 'open_draft', 'open_stage', 'open_target', 'recover']

PROBLEMS = 'problems.jsonl'

EXTRAS = (PROBLEMS, FINGERPRINTS)
"""In the state folder; a run that has none of one removes that of the run before."""

SEAL = 'ready'

MAX_SEAL_BYTES = 4096
"""A seal has three lines' worth of digests; what is longer is none of ours."""


class Stage:
    """The place where a new pair grows, and from where it is put in place. Made by `open_target`.

    Parameters
    ----------
    out
        The folder of the published tables.
    force
        Whether a table that is a link is replaced.
    overwrite
        Whether tables that another program wrote are replaced.
    """

    def __init__(self, out: Path, *, force: bool = False, overwrite: bool = False) -> None:
        self.out = out
        self.state = out / STATE_FOLDER
        self.folder = self.state / 'stage'
        self.is_sealed = False
        """Whether the pair in the stage is complete: from then on it is put in place, not dropped."""
        self.was_opened = False
        self._force = force
        self._overwrite = overwrite
        self._places = {
            **{name: out / name for name in TABLES},
            **{name: self.state / name for name in EXTRAS},
        }

    def check_places(self) -> None:
        """Refuse to replace what is no file of an index.

        Raises
        ------
        PublishError
            If a folder is in the way, or a table is a link: to replace it would leave what it leads to as
            it is, to write through it would change a file that may be anybody's.
        """
        for name, path in self._places.items():
            is_link = os.path.islink(path)
            if is_link and name in TABLES and not self._force:
                raise PublishError(
                    f'{escape(os.fspath(path))}: this is a link to {escape(os.readlink(path))}, expected a '
                    'file: ',
                    hint='remove it, or let `force` put a file in the place of the link; `out` DIR writes '
                    'the index elsewhere',
                )
            if os.path.isdir(path) and not is_link:
                raise PublishError(f'{escape(os.fspath(path))}: a folder is in the way of a file: move it')

    def check_owner(self, *, url: str | None = None) -> None:
        """Refuse to replace what another program wrote, once an earlier run was recovered.

        Parameters
        ----------
        url
            Of the bucket that the folder has a copy of.

        Raises
        ------
        ForeignTableError
            If a table is not ours.
        """
        if not self._overwrite:
            refuse_foreign(self.out, url=url)

    def recover(self, *, is_patient: bool = True) -> None:
        """Finish or remove what an earlier run left."""
        _check_no_link(self.folder)
        sealed = self._read_seal()
        self.is_sealed = sealed is not None
        if sealed is not None:
            self._move(sealed, is_patient=is_patient)
        self.drop()

    def drop(self) -> None:
        """Remove the stage and what is in it."""
        _check_no_link(self.folder)
        with suppress(FileNotFoundError):
            for path in self.folder.iterdir():
                path.unlink()
            self.folder.rmdir()
        self.is_sealed = False

    def write_problems(self, problems: Sequence[Problem]) -> None:
        """Append problems to `problems.jsonl`, one JSON object a line."""
        if not problems:
            return
        with (self.folder / PROBLEMS).open('a', encoding='utf-8') as file:
            for problem in problems:
                record = {'path': problem.path, 'reason': problem.reason, 'errno': problem.errno}
                file.write(json.dumps(record) + '\n')

    @contextmanager
    def open(self) -> Iterator[Self]:
        """Make an empty stage; leaving it without `publish` drops what was staged.

        Raises
        ------
        PublishError
            If it cannot be made, or what is in it cannot be put in place.
        """
        with self.explaining():
            try:
                self.folder.mkdir()
                self.was_opened = True
                yield self
            except BaseException as error:
                if self.is_sealed and not isinstance(error, Exception):
                    with suppress(OSError):  # held: the next run goes on
                        self.recover(is_patient=False)  # a signal: it is in place within milliseconds
                raise
            finally:
                if not self.is_sealed:  # else something stopped us at the renames: the next run goes on
                    self.drop()

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Make a PublishError of what the system says, with what has become of the index."""
        try:
            yield
        except FastindexError:
            raise
        except OSError as error:
            where = next(
                (name for name in (error.filename2, error.filename) if isinstance(name, str)), self.out
            )
            was = (
                'the new one is complete, and the next run puts it in place'
                if self.is_sealed
                else 'the one that was there still is'
            )
            is_there = 'Does a program have it open' if error.errno in HELD else 'Is there space'
            raise PublishError(
                f'{escape(os.fspath(where))}: the index could not be written ({error.strerror or error}); '
                f'{was}. {is_there}, may this user write there? ',
                hint='`out` DIR writes it elsewhere',
            ) from error

    def publish(self) -> None:
        """Put the pair in place; it must be complete."""
        self.check_places()  # again: the scan took its time
        self.check_owner()
        for path in self.folder.iterdir():
            _fsync(path)
        sealed = self._seal()
        self._move(sealed)
        with suppress(OSError):  # the index is in place: what is left here, the next run removes
            self.drop()

    def _seal(self) -> dict[str, str]:
        """Say that the stage is complete, and how to tell that it still is."""
        sealed = {path.name: _digest(path) for path in sorted(self.folder.iterdir())}
        with (self.folder / SEAL).open('x', encoding='ascii') as file:
            json.dump(sealed, file)
            file.flush()
            os.fsync(file.fileno())
        _fsync(self.folder)
        self.is_sealed = True
        return sealed

    def _read_seal(self) -> dict[str, str] | None:
        """Read the seal; None where there is none, or a file is not as it says, here or in its place."""
        try:
            with _open_plain(self.folder / SEAL) as file:
                sealed = json.loads(file.read(MAX_SEAL_BYTES))
            if not isinstance(sealed, dict) or not set(TABLES) <= set(sealed) <= set(self._places):
                return None
            for name, digest in sealed.items():
                staged = self.folder / name
                path = staged if os.path.lexists(staged) else self._places[name]
                if _digest(path) != digest:
                    return None
        except (FileNotFoundError, ValueError, RecursionError):  # never sealed, or damaged
            return None
        return sealed

    def _move(self, sealed: dict[str, str], *, is_patient: bool = True) -> None:
        """Put in place what is not there yet."""
        for name in TABLES:
            with suppress(FileNotFoundError):
                replace_file(self.folder / name, self._places[name], is_patient=is_patient)
        _fsync(self.out)
        for name in EXTRAS:
            if name in sealed:
                with suppress(FileNotFoundError):
                    replace_file(self.folder / name, self._places[name], is_patient=is_patient)
            else:
                remove_file(self._places[name], is_patient=is_patient)
        _fsync(self.state)


def recover(out: Path, *, force: bool = False) -> None:
    """Finish or remove what an earlier run left in a folder, before anything of its index is read.

    What that run was allowed to replace is replaced; nothing else is.

    Parameters
    ----------
    force
        See `open_target`, which says what is raised.
    """
    if os.path.lexists(Stage(out).folder):
        with open_target(out, force=force, overwrite=True):
            pass


@contextmanager
def open_target(out: Path, *, force: bool = False, overwrite: bool = False) -> Iterator[Stage]:
    """Open the place of an index for a run that will replace it, before anything is discovered.

    Takes the lock, deals with what an earlier run left, and tries whether the folder can be written to: what
    stands in the way of a run of hours is told at its start.

    Parameters
    ----------
    force
        Whether a table that is a link may be replaced by a file. What it leads to is left alone.
    overwrite
        Whether tables that another program wrote may be replaced.

    Returns
    -------
    stage
        To be opened, when there is something to write. See `Stage.open`.

    Raises
    ------
    LockedError
        If another run writes the same index.
    ForeignTableError
        If another program wrote the tables that are there.
    PublishError
        If the folder cannot be written to, or has something else in the place of a table.
    """
    stage = Stage(out, force=force, overwrite=overwrite)
    with ExitStack() as held:
        with stage.explaining():
            held.enter_context(_hold(stage))
            stage.check_places()
            stage.recover()
            stage.check_owner()
        yield stage


@contextmanager
def open_stage(out: Path, *, force: bool = False, overwrite: bool = False) -> Iterator[Stage]:
    """Open the place of an index, and the stage in it at once. See `open_target` and `Stage.open`."""
    with open_target(out, force=force, overwrite=overwrite) as stage, stage.open():
        yield stage


@contextmanager
def open_draft() -> Iterator[Stage]:
    """Open a stage that is never published, away from every index."""
    with TemporaryDirectory(prefix='fastindex-') as folder, open_stage(Path(folder)) as stage:
        yield stage


@contextmanager
def _hold(stage: Stage) -> Iterator[None]:
    """Hold the lock of an index; a new state folder is removed again where nothing was staged."""
    _check_no_link(stage.state)
    if stage.state.is_file():
        raise PublishError(f'{escape(os.fspath(stage.state))}: this is a file, expected a folder: remove it')
    is_new = not stage.state.is_dir()
    stage.state.mkdir(exist_ok=True)
    path = stage.state / 'lock'
    with _open_lock(path) as lock, hold_lock(lock.fileno()) as is_ours:
        if not is_ours:
            holder = _read_holder(lock.fileno())
            raise LockedError(
                f'{escape(os.fspath(stage.out))}: {holder} is writing this index: wait for it, or end it'
            )
        _write_holder(lock.fileno())
        try:
            yield
        finally:
            if is_new and not stage.was_opened:
                with suppress(OSError):
                    path.unlink()
                    stage.state.rmdir()


def _check_no_link(path: Path) -> None:
    """Refuse a link in the place of a folder of ours: what it leads to is not ours to change."""
    if path.is_symlink():
        raise PublishError(f'{escape(os.fspath(path))}: this is a link, expected a folder: remove it')


def _open_plain(path: Path) -> IO[bytes]:
    """Open a regular file for reading; ValueError where a link, a FIFO or the like is in its place."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link; a socket
            raise ValueError(f'{path} is no regular file') from error
        raise
    file = os.fdopen(fd, 'rb')
    if S_ISREG(os.fstat(fd).st_mode):
        return file
    file.close()
    raise ValueError(f'{path} is no regular file')


def _digest(path: Path) -> str:
    digest = xxh3_128()
    with _open_plain(path) as file:
        while data := file.read(2**20):
            digest.update(data)
    return digest.hexdigest()


def _open_lock(path: Path) -> IO[bytes]:
    # A link, be it a hard one, or a FIFO that a stranger put there: nothing is written to it.
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    lock = os.fdopen(fd, 'r+b', buffering=0)
    info = os.fstat(fd)
    if not S_ISREG(info.st_mode) or info.st_nlink != 1:
        lock.close()
        raise PublishError(f'{escape(os.fspath(path))}: this is no plain file of ours: remove it')
    return lock


def _read_holder(fd: int) -> str:
    holder = b''
    with suppress(OSError):  # an SMB share lets nobody else read what is locked
        holder = os.pread(fd, 200, 0)
    return escape(holder.decode('utf-8', 'replace').strip()) or 'an unknown process'


def _write_holder(fd: int) -> None:
    os.ftruncate(fd, 0)
    os.pwrite(fd, f'process {os.getpid()} on {os.uname().nodename}\n'.encode(), 0)


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

"""Put a new pair in place so that at every instant the index is the old one or the new one.

    .fastindex/lock      held by the run that writes (flock: a killed holder leaves no lock)
    .fastindex/stage/    the new pair while it grows; `ready` in it says that the pair is complete
    .fastindex/problems.jsonl

Order: write and fsync both tables and their folder; write `ready`; rename datasets, rename sessions; fsync
the folder; drop the stage. A run that died before `ready` left rubbish, which the next one removes. One that
died after it left a complete pair, which the next one moves into place (rolls forward). Nothing in the
tables' own folder ever ends in `.pqt` but the two: the client opens every such file.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG
from typing import IO

from fastindex.errors import FastindexError, LockedError, PublishError
from fastindex.problems import Problem, escape
from fastindex.trees.local import STATE_FOLDER

__all__ = ['PROBLEMS', 'TABLES', 'Stage', 'open_stage']

TABLES = ('datasets.pqt', 'sessions.pqt')
"""In the order in which they are put in place."""

PROBLEMS = 'problems.jsonl'


class Stage:
    """The place where a new pair grows. Made by `open_stage`.

    Parameters
    ----------
    out
        The folder of the published tables.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.state = out / STATE_FOLDER
        self.folder = self.state / 'stage'
        self._problems = self.folder / PROBLEMS

    def recover(self) -> None:
        """Finish or remove what an earlier run left."""
        if self.is_ready():
            self._move()
        self.drop()

    def is_ready(self) -> bool:
        """Tell whether the pair in the stage is complete: from then on it is put in place, not dropped."""
        return (self.folder / 'ready').exists()

    def drop(self) -> None:
        """Remove the stage and what is in it."""
        _check_no_link(self.folder)
        with suppress(FileNotFoundError):
            for path in self.folder.iterdir():
                path.unlink()
            self.folder.rmdir()

    def write_problems(self, problems: Sequence[Problem]) -> None:
        """Append problems to `problems.jsonl`, one JSON object a line."""
        if not problems:
            return
        with self._problems.open('a', encoding='utf-8') as file:
            for problem in problems:
                record = {'path': problem.path, 'reason': problem.reason, 'errno': problem.errno}
                file.write(json.dumps(record) + '\n')

    def publish(self) -> None:
        """Put the pair in place; it must be complete."""
        for path in self.folder.iterdir():
            _fsync(path)
        _fsync(self.folder)
        (self.folder / 'ready').touch()
        _fsync(self.folder)
        self._move()
        self.drop()

    def _move(self) -> None:
        for name in TABLES:
            if (self.folder / name).exists():
                (self.folder / name).replace(self.out / name)
        _fsync(self.out)
        if self._problems.exists():
            self._problems.replace(self.state / PROBLEMS)
        else:
            (self.state / PROBLEMS).unlink(missing_ok=True)
        _fsync(self.state)


@contextmanager
def open_stage(out: Path) -> Iterator[Stage]:
    """Open the stage of an index: lock it, deal with what an earlier run left, make an empty one.

    Leaving it without `Stage.publish` drops what was staged.

    Raises
    ------
    LockedError
        If another run writes the same index.
    PublishError
        If the folder cannot be written to.
    """
    stage = Stage(out)
    try:
        _check_no_link(stage.state)
        stage.state.mkdir(exist_ok=True)
        for path in (*(out / name for name in TABLES), stage.state / PROBLEMS):
            if path.is_dir():
                raise PublishError(f'{escape(os.fspath(path))}: a folder is in the way of a file: move it')
        with _open_lock(stage.state / 'lock') as lock:
            _hold(lock.fileno(), out)
            stage.recover()
            stage.folder.mkdir()
            try:
                yield stage
            finally:
                if (
                    not stage.is_ready()
                ):  # else something stopped us between the renames: the next run goes on
                    stage.drop()
    except FastindexError:
        raise
    except OSError as error:
        where = error.filename if isinstance(error.filename, str) else os.fspath(out)
        was = (
            'the new one is staged, the next run goes on'
            if stage.is_ready()
            else 'the one that was there still is'
        )
        raise PublishError(
            f'{escape(where)}: the index could not be written ({error.strerror or error}); {was}. '
            'Is there space, may this user write there? --out DIR writes it elsewhere'
        ) from error


def _check_no_link(path: Path) -> None:
    """Refuse a link in the place of a folder of ours: what is behind it is not ours to change."""
    if path.is_symlink():
        raise PublishError(f'{escape(os.fspath(path))}: this is a link, expected a folder: remove it')


def _open_lock(path: Path) -> IO[bytes]:
    # A link, be it a hard one, or a FIFO that a stranger put there: nothing is written to it.
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    lock = os.fdopen(fd, 'r+b', buffering=0)
    info = os.fstat(fd)
    if not S_ISREG(info.st_mode) or info.st_nlink != 1:
        lock.close()
        raise PublishError(f'{escape(os.fspath(path))}: this is no plain file of ours: remove it')
    return lock


def _hold(fd: int, out: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(fd, 200, 0).decode('utf-8', 'replace').strip() or 'an unknown process'
        raise LockedError(
            f'{escape(os.fspath(out))}: {escape(holder)} is writing this index: wait for it, or end it'
        ) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f'process {os.getpid()} on {os.uname().nodename}\n'.encode(), 0)


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

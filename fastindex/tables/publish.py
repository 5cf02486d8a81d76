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
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import IO, Self

from xxhash import xxh3_128

from fastindex.errors import FastindexError, InvalidIndexError, PublishError
from fastindex.folders import OpenFolder, ask_about, share
from fastindex.names.problems import Problem, Reason
from fastindex.system import keep_access, sync_file
from fastindex.tables.file import TABLES, open_table
from fastindex.tables.foreign import refuse_foreign
from fastindex.tables.lock import LOCK, lock_index
from fastindex.tables.previous import COVERED, count_kept, link_files, put_by
from fastindex.tables.reuse import FINGERPRINTS, FOLDERS
from fastindex.text import escape, to_text
from fastindex.trees import STATE_FOLDER

__all__ = ['PROBLEMS', 'STAGE', 'Stage', 'iter_problems']

PROBLEMS = 'problems.jsonl'

EXTRAS = (PROBLEMS, FINGERPRINTS, FOLDERS)
"""In the state folder; a run that has none of one removes that of the run before."""

STAGE = 'stage'

SEAL = 'ready'

MAX_LINE_BYTES = 2**17  # of a problem: its path has 9 KB at most, and JSON may take six for one

MAX_SEAL_BYTES = 4096  # a seal has three lines' worth of digests; what is longer is none of ours


class Stage:
    """The place where a new pair grows, and from where it is put in place. Made by `open_target`.

    All of it is done in folders that are held open, and no link is followed: what stands in the place of a
    folder or a file of ours may be exchanged at any moment by whoever else writes into the tree.

    out: the folder of the published tables
    force: whether a table that is a link is replaced
    overwrite: whether tables that another program wrote are replaced
    """

    def __init__(self, out: OpenFolder, *, force: bool = False, overwrite: bool = False) -> None:
        self.out = out
        self.path = out.path / STATE_FOLDER / STAGE
        self.is_sealed = False
        """Whether the pair in the stage is complete: from then on it is put in place, not dropped."""
        self.was_opened = False
        self._force = force
        self._overwrite = overwrite
        self.state: OpenFolder  # the state folder, while its lock is held
        self.folder: OpenFolder  # the folder in which the pair grows, while the stage is open
        self._is_held = False

    def _target_of(self, name: str) -> OpenFolder:
        """Tell in which folder a file is published."""
        return self.out if name in TABLES else self.state

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the lock of the index; a new state folder is removed again where nothing was staged."""
        is_new = self.out.look(STATE_FOLDER) is None
        if is_new:
            with suppress(FileExistsError):
                self.out.make(STATE_FOLDER)
        with _enter(self.out, STATE_FOLDER) as self.state:
            share(self.out, self.state.fd)
            with lock_index(self.state) as lock:
                share(self.out, lock)
                self._is_held = True
                try:
                    yield
                finally:
                    if is_new and not self.was_opened:
                        with suppress(OSError):
                            self.state.remove(LOCK)
                            self.out.remove_folder(STATE_FOLDER)

    def check_places(self) -> None:
        """Refuse to replace what is no file of an index.

        Raises PublishError if a folder is in the way, or a table is a link: to replace it would leave what it
        leads to as it is, to write through it would change a file that may be anybody's.
        """
        for name in (*TABLES, *(EXTRAS if self._is_held else ())):
            target = self._target_of(name)
            info = target.look(name)
            if info is None:
                continue
            path = escape(target.path / name)
            if S_ISLNK(info.st_mode) and name in TABLES and not self._force:
                raise PublishError(
                    f'{path}: this is a link to {escape(target.read_link(name))}, expected a file: ',
                    hint='remove it, or let `force` put a file in the place of the link (with `ids_from` and '
                    'this folder the index keeps what it knows); `out` DIR writes the index elsewhere',
                )
            if S_ISDIR(info.st_mode):
                raise PublishError(f'{path}: a folder is in the way of a file: move it')

    def check_owner(self, *, url: str | None = None) -> None:
        """Refuse to replace what another program wrote, once an earlier run was recovered.

        Raises ForeignTableError if a table is not ours.

        url: of the bucket that the folder has a copy of
        """
        if not self._overwrite:
            refuse_foreign(self.out.path, url=url)

    def recover(self, *, is_patient: bool = True) -> None:
        """Finish or remove what an earlier run left."""
        if self.state.look(STAGE) is None:
            return
        with _enter(self.state, STAGE) as self.folder:
            sealed = self._read_seal()
            self.is_sealed = sealed is not None
            if sealed is not None:
                self._move(sealed, is_patient=is_patient)
        self.drop()

    def drop(self) -> None:
        """Remove the stage and what is in it, if it is there."""
        if self.state.look(STAGE) is not None:
            _drop_folder(self.state, STAGE)
        self.is_sealed = False

    def write_problems(self, problems: Sequence[Problem]) -> None:
        """Append problems to `problems.jsonl`, one JSON object a line."""
        if not problems:
            return
        fd = self.folder.open_fd(PROBLEMS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        with os.fdopen(fd, 'a', encoding='utf-8') as file:
            file.writelines(f'{problem.to_json()}\n' for problem in problems)

    def replace_problems(self, problems: Iterable[Problem]) -> None:
        """Write problems in the place of those that were written."""
        with self.folder.open_new(f'{PROBLEMS}.all') as file:
            file.writelines(f'{problem.to_json()}\n'.encode() for problem in problems)
            is_empty = not file.tell()
        if is_empty:
            self.folder.remove(f'{PROBLEMS}.all')
        else:
            self.folder.replace(f'{PROBLEMS}.all', self.folder, PROBLEMS)

    @contextmanager
    def open(self) -> Iterator[Self]:
        """Make an empty stage; leaving it without `publish` drops what was staged.

        Raises PublishError if it cannot be made, or what is in it cannot be put in place.
        """
        with self.explaining(), ExitStack() as opened:
            try:
                self.state.make(STAGE)
                self.was_opened = True
                self.folder = opened.enter_context(_enter(self.state, STAGE))
                share(self.out, self.folder.fd)
                yield self
            except BaseException as error:
                if self.is_sealed and not isinstance(error, Exception):
                    with suppress(OSError):  # held: the next run goes on
                        self.recover(is_patient=False)  # a signal: it is in place within milliseconds
                        error.add_note('the new index is in place')
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
            where = error.filename if isinstance(error.filename, str) else self.out.path
            was = (
                'the new one is complete, and the next run puts it in place'
                if self.is_sealed
                else 'the one that was there still is'
            )
            raise PublishError(
                f'{escape(where)}: the index could not be written ({error.strerror or error}); '
                f'{was}. {ask_about(error)}',
                hint='`out` DIR writes it elsewhere',
            ) from error

    def publish(self, *, keep: int | None = 0, swap: int | None = None, covers: bool = False) -> None:
        """Put the pair in place; it must be complete.

        keep: how many of the pairs that were replaced are kept, with the one that is replaced now; None is as
            many as there are, but one at least. 0 keeps those that there are, and not this one.
        swap: the number of a kept pair whose place the one that is replaced takes. See
            `fastindex.tables.previous`.
        covers: whether it has all rows of the one that it replaces
        """
        self.check_places()  # again: the scan took its time
        self.check_owner()
        names = self.folder.names()
        for name in names:
            self._keep_access(name)
            self.folder.sync_file(name)
        if swap is not None:
            self._put_aside(f'swap-{swap}')
        elif keep != 0:
            self._put_aside(f'keep-{keep or max(1, count_kept(self.state))}', is_covered=covers)
        sealed = self._seal(names)
        self._move(sealed)
        with suppress(OSError):  # the index is in place: what is left here, the next run removes
            self.drop()

    def _put_aside(self, name: str, *, is_covered: bool = False) -> None:
        """Link the published pair into a folder of the stage. See `fastindex.tables.previous`."""
        self.folder.make(name)
        with _enter(self.folder, name) as aside:
            share(self.out, aside.fd)
            link_files(TABLES, self.out, aside)
            link_files(EXTRAS, self.state, aside)
            if is_covered:
                aside.open_new(COVERED).close()
            aside.sync()

    def _keep_access(self, name: str) -> None:
        """Give a staged file the mode and group of the one that it replaces, and its owner where it may."""
        info = self._target_of(name).look(name)
        if name not in (*TABLES, *EXTRAS) or (info is not None and not S_ISREG(info.st_mode)):
            return
        fd = self.folder.open_fd(name)
        try:
            if info is not None:
                keep_access(fd, info)
            elif name in EXTRAS:
                share(self.out, fd)
        finally:
            os.close(fd)

    def _seal(self, names: Sequence[str]) -> dict[str, str]:
        """Say that the stage is complete, and how to tell that it still is."""
        try:
            sealed = {name: _digest(self.folder, name) for name in names}
        except ValueError as error:
            raise PublishError(
                f'{escape(self.path)}: {error}: somebody else changes what is in it; the index '
                'that was there still is: build again'
            ) from error
        with self.folder.open_new(SEAL) as file:
            file.write(json.dumps(sealed).encode('ascii'))
            file.flush()
            sync_file(file.fileno())
        self.folder.sync()
        self.is_sealed = True
        return sealed

    def _read_seal(self) -> dict[str, str] | None:
        """Read the seal; None where there is none, or a file is not as it says, here or in its place."""
        try:
            with _open_plain(self.folder, SEAL) as file:
                sealed = json.loads(file.read(MAX_SEAL_BYTES))
            if not isinstance(sealed, dict) or not set(TABLES) <= set(sealed) <= {*TABLES, *EXTRAS}:
                return None
            for name, digest in sealed.items():
                is_staged = self.folder.look(name) is not None
                if _digest(self.folder if is_staged else self._target_of(name), name) != digest:
                    return None
        except (FileNotFoundError, ValueError, RecursionError):  # never sealed, or damaged
            return None
        return sealed

    def _move(self, sealed: dict[str, str], *, is_patient: bool = True) -> None:
        """Put in place what is not there yet."""
        for name in TABLES:
            with suppress(FileNotFoundError):
                self.folder.replace(name, self.out, name, is_patient=is_patient)
        self.out.sync()
        for name in EXTRAS:
            with suppress(FileNotFoundError):
                if name in sealed:
                    self.folder.replace(name, self.state, name, is_patient=is_patient)
                else:
                    self.state.remove(name, is_patient=is_patient)
        self.state.sync()
        put_by(self.folder, self.state, is_patient=is_patient)


def iter_problems(folder: Path, name: str = f'{STATE_FOLDER}/{PROBLEMS}') -> Iterator[Problem]:
    """Iterate over the problems in a file of a folder, as far as they are ours, whatever stands there.

    folder: of published tables; no link is followed from there on
    """
    try:
        file = open_table(folder / name, below=folder)
    except InvalidIndexError:  # there is none, or a FIFO
        return
    with file:
        for line in iter(partial(file.readline, MAX_LINE_BYTES), b''):
            with suppress(ValueError, LookupError, TypeError, AttributeError, RecursionError):
                found = json.loads(line)
                link = to_text(found.get('link', ''))
                yield Problem(to_text(found['path']), Reason(found['reason']), int(found['errno']), link)


def _drop_folder(above: OpenFolder, name: str) -> None:
    """Remove a folder of ours and what is in it."""
    with _enter(above, name) as folder:
        for entry in folder.names():
            info = folder.look(entry)
            if info is not None and S_ISDIR(info.st_mode):
                _drop_folder(folder, entry)
            else:
                folder.remove(entry, is_patient=False)
    above.remove_folder(name)


def _enter(folder: OpenFolder, name: str) -> OpenFolder:
    """Open a folder of ours; what is behind a link in its place is not ours to change."""
    try:
        return folder.enter(name)
    except OSError as error:
        info = folder.look(name)
        if info is None or S_ISDIR(info.st_mode):
            raise
        what = 'a link' if S_ISLNK(info.st_mode) else 'a file'
        raise PublishError(
            f'{escape(folder.path / name)}: this is {what}, expected a folder: remove it'
        ) from error


def _open_plain(folder: OpenFolder, name: str) -> IO[bytes]:
    """Open a regular file for reading; ValueError where a link, a FIFO or the like is in its place."""
    try:
        file = os.fdopen(folder.open_fd(name), 'rb')
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):  # a link; a socket; a folder
            raise ValueError(f'{name} is no regular file') from error
        raise
    if S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise ValueError(f'{name} is no regular file')


def _digest(folder: OpenFolder, name: str) -> str:
    digest = xxh3_128()
    with _open_plain(folder, name) as file:
        while data := file.read(2**20):
            digest.update(data)
    return digest.hexdigest()

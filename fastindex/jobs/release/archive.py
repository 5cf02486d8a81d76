"""Write one archive: workers read and compress, this process puts what they give one after the other.

The order is that of the plan, whatever the number of workers: what describes the data, the index, the
datasets by path, the manifest. A big file is read here, as its digests need it from start to end, and its
pieces go to the workers; one that is stored as it is does not even leave this process. So memory is that of
the tasks in flight, a few MB a worker; what is written at the end (the manifest, the directory of a zip file)
waits in files without a name.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, NamedTuple

from fastindex.jobs.release.formats import Writer
from fastindex.jobs.release.member_rules import is_stored_kind
from fastindex.jobs.release.pack import (
    BIG_BYTES,
    PIECE_BYTES,
    FileTask,
    Packing,
    PackResult,
    PackTask,
    PieceTask,
    SteadyFile,
    TurnTask,
    manifest_line,
    raise_unreadable,
)
from fastindex.jobs.release.plan import Part
from fastindex.names.problems import Tally
from fastindex.progress import Bar
from fastindex.system import sync_file
from fastindex.trees.digests import open_buffer
from fastindex.workers.pool import Pool

__all__ = ['Source', 'seal', 'write_archive']

TASK_BYTES = 2 * 2**20
TASK_FILES = 512  # what a worker gets at once, at most; tar is compressed in such portions


class Source(NamedTuple):
    """A file that is no dataset: what it is called in the archive, and where it is."""

    name: str
    size_bytes: int
    # in a folder of our own; None where it is in the root of the tree, under its name
    path: Path | None = None


def write_archive(
    part: Part,
    file: IO[bytes],
    packing: Packing,
    *,
    folder: Path,
    sources: Iterable[Source],
    pool: Pool,
    bar: Bar,
) -> None:
    """Write the archive of a part.

    Raises ReleaseError if a file cannot be read, or is not what the index says. Raises OSError if the archive
    cannot be written.

    folder: where what is written at the end waits, in files without a name
    sources: what comes before the datasets
    """
    with TemporaryFile(dir=folder) as directory, TemporaryFile(dir=folder) as lines:
        writer = packing.format.open_writer(file, directory)
        run = _Run(packing, writer, lines, bar)
        for source in sources:
            run.add_source(source)
        for path in part.list_empty_sessions():
            writer.add_folder(path)
        run.add_datasets(part.iter_files(), pool)
        lines.seek(0)
        run.add_open_file(lines.fileno(), f'manifest-{packing.manifest}.txt')
        writer.close()


class _Run:
    """Packs one archive: one call of `write_archive`."""

    def __init__(self, packing: Packing, writer: Writer, lines: IO[bytes], bar: Bar) -> None:
        self._packing = packing
        self._writer = writer
        self._lines = lines
        self._bar = bar
        self._buffer = open_buffer(PIECE_BYTES)
        self._takers: deque[Callable[[Any], None]] = deque()
        """What is to be done with the result of each task that was sent."""

    def add_source(self, source: Source) -> None:
        """Append a file that is no dataset."""
        with self._open(source.name) if source.path is None else _open_ours(source.path) as fd:
            self._list(self.add_open_file(fd, source.name), source.name)

    def add_open_file(self, fd: int, name: str, expected: FileTask | None = None) -> SteadyFile:
        """Append an open file, all in this process."""
        file = SteadyFile(fd, name, self._packing.manifest, expected)
        self._writer.begin_file(name, file.size_bytes)
        for data, is_last in file.iter_pieces(self._buffer):
            self._writer.write(self._packing.format.compress(name, data, is_last=is_last))
            if expected is not None:
                self._bar.update(len(data))
        self._writer.end_file(file.crc)
        return file

    def _list(self, file: SteadyFile, name: str) -> None:
        self._lines.write(manifest_line(file.hex_digest, name))

    def add_datasets(self, files: Iterable[tuple[str, FileTask]], pool: Pool) -> None:
        """Append datasets, each a folder and the file in it."""
        for result, _ in pool.run(self._iter_tasks(files)):
            self._takers.popleft()(result)

    def _iter_tasks(self, files: Iterable[tuple[str, FileTask]]) -> Iterator[PackTask | PieceTask | TurnTask]:
        for batch in _iter_batches(files):
            [(folder, file), *_] = batch
            if file.size_bytes < BIG_BYTES:
                size_bytes = sum(file.size_bytes for _, file in batch)
                self._takers.append(partial(self._take_packed, size_bytes))
                folders = [
                    (path, [file for _, file in found]) for path, found in groupby(batch, itemgetter(0))
                ]
                yield PackTask(self._packing, folders)
            elif is_stored_kind(file.name):
                self._takers.append(partial(self._take_turn, f'{folder}/{file.name}', file))
                yield TurnTask()
            else:
                yield from self._iter_pieces(f'{folder}/{file.name}', file)

    def _iter_pieces(self, path: str, expected: FileTask) -> Iterator[PieceTask]:
        with self._open(path) as fd:
            file = SteadyFile(fd, path, self._packing.manifest, expected)
            is_first = True
            for data, is_last in file.iter_pieces(self._buffer):
                self._takers.append(partial(self._take_piece, file, path, len(data), is_first, is_last))
                yield PieceTask(self._packing.format, path, bytes(data), is_last)
                is_first = False

    @contextmanager
    def _open(self, path: str) -> Iterator[int]:
        above, _, name = path.rpartition('/')
        with ExitStack() as stack:
            try:
                folder = stack.enter_context(self._packing.tree.open_folder(above, Tally()))
                fd = stack.enter_context(folder.open(name))
            except OSError as error:
                raise_unreadable(path, error)
            yield fd

    def _take_packed(self, size_bytes: int, result: PackResult) -> None:
        self._writer.add_packed(result.packed)
        self._lines.write(result.lines)
        self._bar.update(size_bytes)

    def _take_turn(self, path: str, expected: FileTask, _: None) -> None:
        with self._open(path) as fd:
            self._list(self.add_open_file(fd, path, expected), path)

    def _take_piece(
        self, file: SteadyFile, path: str, size_bytes: int, is_first: bool, is_last: bool, data: bytes
    ) -> None:
        if is_first:
            self._writer.begin_file(path, file.size_bytes)
        self._writer.write(data)
        self._bar.update(size_bytes)
        if is_last:  # so it was read to its end, and its digests are known
            self._writer.end_file(file.crc)
            self._list(file, path)


@contextmanager
def _open_ours(path: Path) -> Iterator[int]:
    with path.open('rb') as file:
        yield file.fileno()


def _iter_batches(files: Iterable[tuple[str, FileTask]]) -> Iterator[list[tuple[str, FileTask]]]:
    """Cut files into tasks, in their order: a big file is one by itself."""
    batch: list[tuple[str, FileTask]] = []
    room = TASK_BYTES
    for folder, file in files:
        if batch and (file.size_bytes > room or len(batch) == TASK_FILES):
            yield batch
            batch, room = [], TASK_BYTES
        batch.append((folder, file))
        room -= file.size_bytes
    if batch:
        yield batch


def seal(file: IO[bytes]) -> str:
    """Have all of an archive on the disk; give its SHA-256."""
    file.flush()
    sync_file(file.fileno())
    file.seek(0)
    return hashlib.file_digest(file, 'sha256').hexdigest()  # type: ignore[arg-type]  # it has readinto

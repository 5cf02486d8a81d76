"""The digests that a run has computed so far: kept beside the index, for the next run if this one dies.

    .fastindex/digests.journal    one record after the other, as the results of the workers come in

A record is what one task gave: rows with digests, sizes and fingerprints, as bytes of columns, and the paths
of the files, after a head with their number and a digest of all. It has no ids: the next run may give others.
Records are of any order and may overlap; a later one counts, and the index where that is newer. What is torn
off at the end, or damaged, is not used. A record is dropped when an index with its digests is published;
without a run that ends the journal grows up to a limit. Which digests still hold is for
`fastindex.tables.reuse` to say.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from stat import S_ISREG
from typing import IO, NamedTuple, Self

from xxhash import xxh3_128_digest

from fastindex.folders import OpenFolder, share
from fastindex.lazy import pa
from fastindex.limits import BATCH_ROWS
from fastindex.names.alf import find_session_path
from fastindex.names.ids import Text
from fastindex.tables.check import Published
from fastindex.tables.file import open_table
from fastindex.tables.merge import count_runs
from fastindex.tables.paths import join, to_file_paths
from fastindex.tables.recipe import Recipe
from fastindex.tables.rekeyed import IdentityOf, Part, RekeyedRows, iter_indexed
from fastindex.tables.reuse import COLUMN_OF_ALGORITHM, STATE_CODES, KnownIndex, numbers_of, text_of
from fastindex.tables.schema import from_ipc, make_batch, to_ipc
from fastindex.trees import STATE_FOLDER
from fastindex.trees.digests import ALGORITHMS, Measured

__all__ = ['JOURNAL', 'KnownDigests', 'Recorder']

JOURNAL = 'digests.journal'

MAX_BYTES = 2**30  # of the journal: ten million rows

MAX_RECORDS = 2**18  # more have no run of ours written

_HEAD = struct.Struct('<4sBxxxQQ16s')
"""What it is, algorithms, rows, bytes of the paths, and the digest of all that and of the rows."""

_MAGIC = b'fxj2'


class Recorder:
    """Writes the journal of a run.

    What cannot be written is not kept: a journal is no reason for a run to fail. It is open only while a
    record is written: nothing of an index is open when that is replaced.

    state: the state folder, whose lock is held
    algorithms: the digests in the rows
    is_new: whether what is in the journal is forgotten
    """

    def __init__(self, state: OpenFolder, algorithms: Sequence[str], *, is_new: bool) -> None:
        self._state = state
        self._algorithms = algorithms
        self._is_new = is_new
        self._end: int | None = None
        self._has_failed = False

    def add_rows(
        self, datasets: bytes, fingerprints: bytes, path_of: Mapping[str, str], *, uuid_filenames: bool
    ) -> None:
        """Keep rows of a task: those of datasets.pqt and of the fingerprints, as Arrow IPC streams.

        path_of: the paths of their sessions, by the eids
        """
        rows, states = from_ipc(datasets), from_ipc(fingerprints)
        if not rows.num_rows:
            return
        for name in states.schema.names:
            rows = rows.append_column(name, states.column(name))
        columns = [text_of(rows, COLUMN_OF_ALGORITHM[name], 32) for name in self._algorithms]
        columns += [numbers_of(rows, name) for name in STATE_CODES]
        owners = (f'{path_of[eid]}\0{count}' for eid, count in count_runs(rows['eid']))
        paths = to_file_paths(rows['rel_path'], rows['id']) if uuid_filenames else rows['rel_path']
        self._write(rows.num_rows, '\0'.join(owners).encode(), join(paths), columns)

    def add_file(self, path: str, measured: Measured) -> None:
        """Keep one dataset, which was hashed by itself; the path is relative to the root."""
        size_bytes, digests, fingerprint = measured
        columns = [digest.hex().encode() for digest in digests or ()]
        states = zip(STATE_CODES.values(), (size_bytes, *fingerprint), strict=True)
        session = find_session_path(path) or ''
        owner = b'\0'.join((session.encode(), b'1'))
        with suppress(OverflowError):  # a time that no column holds
            columns += [array(code, [value]).tobytes() for code, value in states]
            self._write(1, owner, path[len(session) + 1 :].encode(), columns)

    def drop(self) -> None:
        """Forget what is in an index now; records that have other digests too stay."""
        end = 0
        with suppress(OSError), self._open() as file:
            for record in list(_iter_records(file)):
                if not {*record.algorithms} <= {*self._algorithms}:
                    file.seek(record.start)
                    data = file.read(record.end - record.start)
                    file.seek(end)
                    end += file.write(data)
            file.truncate(end)
        with suppress(OSError):
            if not end:
                self._state.remove(JOURNAL, is_patient=False)

    def _write(self, rows: int, owners: bytes, paths: bytes, columns: list[bytes]) -> None:
        """Write a record. Of the sessions there is the path, and how many rows each has; NUL between all."""
        if self._has_failed:
            return
        text = b'\0\0'.join((owners, paths))
        data = b''.join([*columns, text])
        bits = sum(1 << i for i, name in enumerate(ALGORITHMS) if name in self._algorithms)
        head = _HEAD.pack(_MAGIC, bits, rows, len(text), bytes(16))
        try:
            with self._open() as file:
                end = file.seek(0, os.SEEK_END) + len(head) + len(data)
                if end > MAX_BYTES:
                    self._has_failed = True
                    return
                file.write(head[:-16] + xxh3_128_digest(head + data) + data)
                self._end = end
        except OSError:
            self._has_failed = True

    def _open(self) -> IO[bytes]:
        """Open the journal, cut to whole records; what has another name too is replaced at first."""
        info = self._state.look(JOURNAL)
        is_ours = info is not None and S_ISREG(info.st_mode) and info.st_nlink == 1
        if self._end is not None:
            if info is None or not is_ours or info.st_size != self._end:
                raise FileExistsError(f'somebody else changes {JOURNAL}')
            return os.fdopen(self._state.open_fd(JOURNAL, os.O_RDWR), 'r+b')
        if info is not None and (self._is_new or not is_ours):
            self._state.remove(JOURNAL)
        file = os.fdopen(self._state.open_fd(JOURNAL, os.O_RDWR | os.O_CREAT), 'r+b')
        share(self._state, file.fileno())
        file.truncate(max((record.end for record in _iter_records(file)), default=0))
        return file


class _Record(NamedTuple):
    """Where a record of the journal is."""

    start: int
    algorithms: tuple[str, ...]
    rows: int
    text_bytes: int

    @property
    def end(self) -> int:
        row_bytes = 32 * len(self.algorithms) + 8 * len(STATE_CODES)
        return self.start + _HEAD.size + self.rows * row_bytes + self.text_bytes


def _iter_records(file: IO[bytes]) -> Iterator[_Record]:
    """Iterate over the records that are there to their ends; what is in them was not looked at."""
    size_bytes = os.fstat(file.fileno()).st_size
    start = 0
    for _ in range(MAX_RECORDS):
        file.seek(start)
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return
        magic, bits, rows, text_bytes, _ = _HEAD.unpack(head)
        algorithms = tuple(name for i, name in enumerate(ALGORITHMS) if bits >> i & 1)
        record = _Record(start, algorithms, rows, text_bytes)
        if magic != _MAGIC or record.end > size_bytes or not rows:
            return
        yield record
        start = record.end


def _iter_recorded(folder: Path, algorithms: Sequence[str]) -> Iterator[Part]:
    """Iterate over the rows of the records that have these digests, as far as they are whole."""
    sessions: list[tuple[str, int]] = []
    tables: list[pa.Table] = []
    rows = 0
    # ValueError: it cannot be opened, or has something else in it than we write.
    with suppress(OSError, ValueError), open_table(folder / STATE_FOLDER / JOURNAL, below=folder) as file:
        for record in _iter_records(file):
            found = _read(file, record, algorithms) if {*algorithms} <= {*record.algorithms} else None
            if found is not None:
                sessions += found[0]
                tables.append(found[1])
                rows += record.rows
            if rows >= BATCH_ROWS:
                yield sessions, pa.concat_tables(tables).combine_chunks()
                sessions, tables, rows = [], [], 0
    if tables:
        yield sessions, pa.concat_tables(tables).combine_chunks()


def _read(
    file: IO[bytes], record: _Record, algorithms: Sequence[str]
) -> tuple[list[tuple[str, int]], pa.Table] | None:
    """Read one record: the paths of the sessions with their numbers of rows, and these; None if damaged."""
    file.seek(record.start)
    data = file.read(record.end - record.start)
    head, rows = data[: _HEAD.size], record.rows
    if xxh3_128_digest(head[:-16] + bytes(16) + data[_HEAD.size :]) != head[-16:]:
        return None
    take = BytesIO(data[_HEAD.size :]).read
    digests = [Text.cut(take(32 * rows), 32) for _ in record.algorithms]
    states = [array(code, take(8 * rows)) for code in STATE_CODES.values()]
    owners, _, paths = take().decode().partition('\0\0')
    names = owners.split('\0')
    sessions = list(zip(names[::2], map(int, names[1::2]), strict=True))
    kinds = {'q': pa.int64(), 'Q': pa.uint64()}
    schema = pa.schema(
        [
            *((COLUMN_OF_ALGORITHM[name], pa.string()) for name in record.algorithms),
            *((name, kinds[code]) for name, code in STATE_CODES.items()),
            ('path', pa.string()),
        ]
    )
    batch = make_batch(schema, [*digests, *states, pa.array(paths.split('\0'), pa.string())])
    wanted = [*map(COLUMN_OF_ALGORITHM.__getitem__, algorithms), *STATE_CODES, 'path']
    table = pa.Table.from_batches([batch]).select(wanted)
    return (sessions, table) if sum(count for _, count in sessions) == table.num_rows == rows else None


class KnownDigests(NamedTuple):
    """What is known of digests: by the published index, and by the runs after it that have not ended."""

    published: KnownIndex | RekeyedRows | None
    journal: RekeyedRows | None

    @classmethod
    def open(
        cls,
        published: Published,
        recipe: Recipe,
        identity_of: IdentityOf,
        *,
        root: Path,
        is_sparse: bool = False,
        is_renamed: bool = False,
    ) -> Self | None:
        """Open both; None where nothing is known. See `KnownIndex.open` and `RekeyedRows`.

        root: where the tree is
        is_renamed: whether the ids are others than those of the index, though the recipe says nothing of it
        """
        index: KnownIndex | RekeyedRows | None
        index = KnownIndex.open(published, recipe.algorithms, recipe.trust, is_sparse=is_sparse)
        rekey = partial(RekeyedRows, identity_of=identity_of, uuid_filenames=recipe.uuid_filenames)
        if index is not None and (is_renamed or index.recipe.ids != recipe.ids):
            index = rekey(iter_indexed(index, published, root))
        journal = None
        if os.path.lexists(published.folder / STATE_FOLDER / JOURNAL):
            journal = rekey(_iter_recorded(published.folder, recipe.algorithms))
        known = cls(index, journal)
        return known if any(known) else None

    def weigh(self, key: bytes) -> int:
        """Count the rows that are known of a session, which are asked for in the order of their keys."""
        return sum(known.weigh(key) for known in self if known is not None)

    def for_shard(self, keys: Sequence[bytes]) -> bytes | None:
        """Take the rows of a shard as `KnownIndex.for_shard` does; of two of one id, that which holds."""
        found = [data for known in self if known is not None and (data := known.for_shard(keys)) is not None]
        if len(found) < 2:
            return found[0] if found else None
        published, journal = map(from_ipc, found)
        published = published.select(journal.schema.names).cast(journal.schema)
        return to_ipc(pa.concat_tables([published, journal]).combine_chunks())

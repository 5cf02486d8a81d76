"""The digests that a run has computed so far: kept beside the index, for the next run if this one dies.

    .fastindex/digests.journal    one record after the other, as the results of the workers come in

A record is what one task gave: rows with ids, sizes, digests and fingerprints, as bytes of columns, after a
head with their number and a digest of all. Records are of any order and may overlap; a later one counts. What
is torn off at the end, or damaged, is not used. A record is dropped when an index with its digests is
published; without a run that ends the journal grows up to a limit. Which digests still hold is for
`fastindex.tables.reuse` to say.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from typing import IO, TYPE_CHECKING, NamedTuple, Self

from xxhash import xxh3_128_digest

from fastindex.folders import OpenFolder, open_below, share
from fastindex.lazy import pa
from fastindex.names.ids import Text, UuidIdentity
from fastindex.tables.check import Published
from fastindex.tables.recipe import Recipe
from fastindex.tables.rekeyed import IdentityOf, RekeyedIndex
from fastindex.tables.reuse import COLUMN_OF_ALGORITHM, STATE_CODES, KnownIndex, numbers_of, text_of
from fastindex.tables.schema import from_ipc, to_ipc
from fastindex.trees import STATE_FOLDER
from fastindex.trees.digests import ALGORITHMS, Measured

if TYPE_CHECKING:
    from fastindex.tables.publish import Stage

__all__ = ['JOURNAL', 'Journal', 'KnownDigests', 'Recorder', 'open_recorder']

JOURNAL = 'digests.journal'

MAX_BYTES = 2**30  # of the journal: ten million rows

MAX_RECORDS = 2**18  # more have no run of ours written

_HEAD = struct.Struct('<4sBxxxQ36s36s16s')
"""What it is, algorithms, rows, first and last eid, and the digest of all that and of the rows."""

_MAGIC = b'fxj1'


class Recorder:
    """Writes the journal of a run. Made by `open_recorder`.

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

    def add_rows(self, datasets: bytes, fingerprints: bytes) -> None:
        """Keep rows of a task: those of datasets.pqt and of the fingerprints, as Arrow IPC streams."""
        rows, states = from_ipc(datasets), from_ipc(fingerprints)
        if not rows.num_rows:
            return
        for name in states.schema.names:
            rows = rows.append_column(name, states.column(name))
        columns = [text_of(rows, 'id', 36)]
        columns += [text_of(rows, COLUMN_OF_ALGORITHM[name], 32) for name in self._algorithms]
        columns += [numbers_of(rows, name) for name in STATE_CODES]
        eids = rows.column('eid')
        self._write(rows.num_rows, eids[0].as_py().encode(), eids[-1].as_py().encode(), b''.join(columns))

    def add_file(self, eid: bytes, id: bytes, measured: Measured) -> None:
        """Keep one dataset, which was hashed by itself."""
        size_bytes, digests, fingerprint = measured
        columns = [id, *(digest.hex().encode() for digest in digests or ())]
        states = zip(STATE_CODES.values(), (size_bytes, *fingerprint), strict=True)
        with suppress(OverflowError):  # a time that no column holds
            columns += [array(code, [value]).tobytes() for code, value in states]
            self._write(1, eid, eid, b''.join(columns))

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

    def _write(self, rows: int, first: bytes, last: bytes, data: bytes) -> None:
        if self._has_failed:
            return
        bits = sum(1 << i for i, name in enumerate(ALGORITHMS) if name in self._algorithms)
        head = _HEAD.pack(_MAGIC, bits, rows, first, last, bytes(16))
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


def open_recorder(stage: Stage | None, algorithms: Sequence[str], is_new: bool) -> Recorder | None:
    """Make what writes the journal of a run, where it writes an index with digests. See `Recorder`."""
    return Recorder(stage.state, algorithms, is_new=is_new) if stage is not None and algorithms else None


class _Record(NamedTuple):
    """Where a record of the journal is."""

    first: str
    start: int
    last: str
    algorithms: tuple[str, ...]
    rows: int

    @property
    def end(self) -> int:
        row_bytes = 36 + 32 * len(self.algorithms) + 8 * len(STATE_CODES)
        return self.start + _HEAD.size + self.rows * row_bytes


def _iter_records(file: IO[bytes]) -> Iterator[_Record]:
    """Iterate over the records that are there to their ends; what is in them was not looked at."""
    size_bytes = os.fstat(file.fileno()).st_size
    start = 0
    for _ in range(MAX_RECORDS):
        file.seek(start)
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return
        magic, bits, rows, first, last, _ = _HEAD.unpack(head)
        algorithms = tuple(name for i, name in enumerate(ALGORITHMS) if bits >> i & 1)
        if magic != _MAGIC or not (first + last).isascii():
            return
        record = _Record(first.decode(), start, last.decode(), algorithms, rows)
        if record.end > size_bytes or not rows:
            return
        yield record
        start = record.end


class Journal:
    """The journal of runs that have not ended, read in step with the shards. Made by `Journal.open`.

    folder: of the tables
    records: those that have the digests that are wanted
    algorithms: these
    """

    def __init__(self, folder: Path, records: list[_Record], algorithms: Sequence[str]) -> None:
        self._folder = folder
        self._rest = sorted(records, reverse=True)  # the last one comes next
        self._near: list[_Record] = []
        self._unweighed = [*self._rest]
        self._algorithms = algorithms

    @classmethod
    def open(cls, folder: Path, algorithms: Sequence[str]) -> Self | None:
        """Open the journal beside tables; None where there is none that is of use."""
        try:
            with _open_plain(folder) as file:
                records = [one for one in _iter_records(file) if {*algorithms} <= {*one.algorithms}]
        except (OSError, ValueError):
            return None
        return cls(folder, records, algorithms) if records else None

    def weigh(self, key: bytes) -> int:
        """Count the rows of the records that begin with a session or before it, and were not counted yet."""
        eid = UuidIdentity().eids([key])[0].decode()
        rows = 0
        while self._unweighed and self._unweighed[-1].first <= eid:
            rows += self._unweighed.pop().rows
        return rows

    def for_shard(self, keys: Sequence[bytes]) -> pa.Table | None:
        """Get the rows of the sessions of a shard, and maybe others; shards come in order."""
        first, last = (eid.decode() for eid in UuidIdentity().eids([keys[0], keys[-1]]))
        while self._rest and self._rest[-1].first <= last:
            self._near.append(self._rest.pop())
        self._near = [one for one in self._near if one.last >= first]
        found = sorted(self._near, key=lambda one: one.start)
        tables: list[pa.Table] = []
        with suppress(OSError, ValueError), _open_plain(self._folder) as file:
            tables += filter(None, (self._read(file, one) for one in found))
        return pa.concat_tables(tables) if tables else None

    def _read(self, file: IO[bytes], record: _Record) -> pa.Table | None:
        """Read one record; None where it is damaged."""
        file.seek(record.start)
        data = file.read(record.end - record.start)
        head, rows = data[: _HEAD.size], record.rows
        if xxh3_128_digest(head[:-16] + bytes(16) + data[_HEAD.size :]) != head[-16:]:
            return None
        columns: dict[str, pa.Array] = {}
        offset = _HEAD.size

        def take(width: int) -> bytes:
            nonlocal offset
            offset += width * rows
            return data[offset - width * rows : offset]

        def to_strings(width: int) -> pa.StringArray:
            text = Text.cut(take(width), width)
            return pa.StringArray.from_buffers(rows, pa.py_buffer(text.offsets), pa.py_buffer(text.data))

        columns['id'] = to_strings(36)
        for name in record.algorithms:
            columns[COLUMN_OF_ALGORITHM[name]] = to_strings(32)
        kinds = {'q': pa.int64(), 'Q': pa.uint64()}
        for name, code in STATE_CODES.items():
            columns[name] = pa.Array.from_buffers(kinds[code], rows, [None, pa.py_buffer(take(8))])
        wanted = ['id', 'file_size', *map(COLUMN_OF_ALGORITHM.__getitem__, self._algorithms)]
        return pa.table({name: columns[name] for name in (*wanted, 'mtime_ns', 'ctime_ns', 'inode')})


def _open_plain(folder: Path) -> IO[bytes]:
    """Open the journal for reading; ValueError where no regular file is in its place."""
    file = os.fdopen(open_below(folder, folder / STATE_FOLDER / JOURNAL), 'rb')
    if S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise ValueError(f'{JOURNAL} is no regular file')


class KnownDigests(NamedTuple):
    """What is known of digests: by the published index, and by the runs after it that have not ended."""

    published: KnownIndex | RekeyedIndex | None
    journal: Journal | None

    @classmethod
    def open(
        cls,
        published: Published,
        recipe: Recipe,
        identity_of: IdentityOf,
        *,
        is_sparse: bool = False,
        is_renamed: bool = False,
    ) -> Self | None:
        """Open both; None where nothing is known. See `KnownIndex.open` and `RekeyedIndex`.

        is_renamed: whether the ids are others than those of the index, though the recipe says nothing of it
        """
        index: KnownIndex | RekeyedIndex | None
        index = KnownIndex.open(published, recipe.algorithms, recipe.trust, is_sparse=is_sparse)
        if index is not None and (is_renamed or index.recipe.ids != recipe.ids):
            index = RekeyedIndex(index, published, recipe, identity_of)
        known = cls(index, Journal.open(published.folder, recipe.algorithms))
        return known if any(known) else None

    def weigh(self, key: bytes) -> int:
        """Count the rows that are known of a session, which are asked for in the order of their keys."""
        return sum(known.weigh(key) for known in self if known is not None)

    def for_shard(self, keys: Sequence[bytes]) -> bytes | None:
        """Take the rows of a shard as `KnownIndex.for_shard` does; of two of one id the last one counts."""
        data = self.published.for_shard(keys) if self.published is not None else None
        rows = self.journal.for_shard(keys) if self.journal is not None else None
        if rows is None:
            return data
        if data is not None:
            known = from_ipc(data)
            rows = pa.concat_tables([known.select(rows.schema.names).cast(rows.schema), rows])
        return to_ipc(rows.combine_chunks())

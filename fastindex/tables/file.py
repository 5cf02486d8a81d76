"""Open one table of an index defensively: within limits, and never a row of it more than asked for.

Gives batches of rows, and what the footer says. Leaves whether they are those of an index to
`fastindex.tables.check`; the limits are those of `fastindex.limits`. Nothing that a footer says makes this
hold more than one row group of limited size; a page whose own header belies the footer can ask for as much as
Parquet has room for, 2 GiB, while it is read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from stat import S_ISREG
from typing import IO, Any, NamedTuple, NoReturn, Self

from fastindex import limits
from fastindex.errors import InvalidIndexError
from fastindex.folders import look_again, open_below, open_file
from fastindex.lazy import pa, pc, pq
from fastindex.text import escape, to_count

__all__ = [
    'AGAIN',
    'DAMAGES',
    'TABLES',
    'UNREAD',
    'GroupTable',
    'Stamp',
    'TableFile',
    'explain_damage',
    'find_footer',
    'open_table',
    'to_object',
]

TABLES = ('datasets.pqt', 'sessions.pqt')  # in the order in which they are put in place
AGAIN = 'python -m fastindex ROOT makes the index again'  # what to do about a table that is refused
UNREAD = 'unread'  # the fact of how many datasets have no xxh128, as they are archived: else each has
DAMAGES = (ArithmeticError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError)
"""What pyarrow raises where a file is not what it should be, and what Python does with what it gives."""


class Stamp(NamedTuple):
    """Tells a file from another one in its place, and from itself when it was changed.

    On an SMB share the time of a file that was just written may become another one by itself, as the server
    tells it later: so the bytes are compared where anything but the size differs.
    """

    device: int
    inode: int
    mtime_ns: int
    size_bytes: int
    start: int
    digest: str  # of all bytes from `start` on, XXH3-128 in hex

    @classmethod
    def of(cls, file: IO[bytes], start: int = 0, digest: str | None = None) -> Self:
        """Look at an open file, and digest it where that was not done."""
        info = os.fstat(file.fileno())
        if digest is None:
            digest = _digest(file, start, info.st_size).hexdigest()
        return cls(info.st_dev, info.st_ino, info.st_mtime_ns, info.st_size, start, digest)

    def is_of(self, file: IO[bytes]) -> bool:
        """Tell whether an open file is this one; its bytes are read only where anything else differs."""
        now = self.of(file, self.start, self.digest)
        return now == self or (
            now.size_bytes == self.size_bytes and self.of(file, self.start).digest == self.digest
        )


def _digest(file: IO[bytes], start: int, end: int, digest: Any = None) -> Any:
    """Digest the bytes of an open file from `start` to `end`, or on from a digest."""
    from xxhash import xxh3_128

    digest = xxh3_128() if digest is None else digest
    file.seek(start)
    while data := file.read(min(end - start, 2**20)):
        digest.update(data)
        start += len(data)
    file.seek(0)
    return digest


def open_table(path: Path, *, below: Path | None = None) -> IO[bytes]:
    """Open the file of a table; what is no regular file is not read, and never waited for.

    Raises InvalidIndexError if it cannot be opened, or is not a regular file.

    below: a folder from which on no link is followed. If None, one is: who reads an index may have it
        elsewhere.
    """
    try:
        if below is None:
            look_again(path.parent)
            fd = open_file(path, os.O_RDONLY)
        else:
            fd = open_below(below, path)
        file = os.fdopen(fd, 'rb')
        try:
            is_regular = S_ISREG(os.fstat(fd).st_mode)
        except OSError:  # NFS: it was replaced, by another machine
            file.close()
            raise
    except FileNotFoundError:
        folder = os.path.dirname(path) or '.'
        if not os.path.isdir(folder):
            raise InvalidIndexError(f'{escape(folder)}: there is no such folder') from None
        raise InvalidIndexError(
            f'{escape(path)}: there is no such table: python -m fastindex {escape(folder)} makes it'
        ) from None
    except OSError as error:
        raise InvalidIndexError(f'{escape(path)}: the table cannot be opened ({error.strerror})') from error
    if is_regular:
        return file
    file.close()
    raise InvalidIndexError(f'{escape(path)}: this is no file, expected a table')


def explain_damage(error: Exception) -> str:
    """Say why a table cannot be used: its disk may fail, or it is damaged."""
    if isinstance(error, OSError) and error.strerror:
        return f'it cannot be read ({error.strerror})'
    return f'damaged ({error})'


def find_footer(file: IO[bytes], size_bytes: int) -> int | None:
    """Find where the row groups end and the footer begins; None where there is no footer."""
    file.seek(max(0, size_bytes - 8))
    end = file.read(8)
    start = size_bytes - 8 - int.from_bytes(end[:4], 'little')
    return start if end[4:] == b'PAR1' and start >= 4 else None


def to_object(data: bytes | str | None) -> dict[str, Any] | None:
    """Parse a JSON object that anybody may have written; None where there is none."""
    try:
        found = json.loads(data or b'')
    except (ValueError, RecursionError):  # the latter: arrays in arrays, 10,000 deep
        return None
    return found if isinstance(found, dict) else None


class TableFile:
    """One Parquet file, whose footer has passed the limits.

    Raises InvalidIndexError if it is no Parquet file, or beyond the limits.

    path: its name, for messages
    file: as `open_table` opened it; it stays the caller's to close
    """

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path = path
        self.file = file
        try:
            self._opened = Stamp.of(file, digest='')
            self.size_bytes = self._opened.size_bytes
            self.content_bytes = self._find_footer()
            parquet = pq.ParquetFile(
                pa.PythonFile(file, 'r'),
                thrift_string_size_limit=limits.MAX_FOOTER_BYTES,
                thrift_container_size_limit=limits.MAX_FOOTER_BYTES // 16,
            )
            self.footer = parquet.metadata
            self.schema: pa.Schema = parquet.schema_arrow
        except InvalidIndexError:
            raise
        except DAMAGES as error:
            self.refuse(explain_damage(error).replace('damaged', 'not Parquet, or damaged'))
        self._check_limits()
        self.metadata: dict[bytes, bytes] = self.footer.metadata or {}
        self.facts = self._read_facts()
        self.is_ours = self.facts.get('generation') is not None

    def refuse(self, what: str) -> NoReturn:
        """Raise: this is no table of an index that can be used."""
        raise InvalidIndexError(f'{escape(self.path)}: {escape(what)}. {AGAIN}')

    @cached_property
    def digests(self) -> tuple[bytes, str]:
        """The digest of the row groups, and in hex that of all bytes, of one reading."""
        digest = _digest(self.file, 0, self.content_bytes)
        rows = digest.digest()
        return rows, _digest(self.file, self.content_bytes, self.size_bytes, digest).hexdigest()

    @property
    def stamp(self) -> Stamp:
        """What tells the file, as it was when it was opened, from others."""
        return self._opened._replace(digest=self.digests[1])

    def _find_footer(self) -> int:
        """Find where the row groups end and the footer begins."""
        start = find_footer(self.file, self.size_bytes)
        if start is None:
            self.refuse('not Parquet, or damaged: it has no footer')
        footer_bytes = self.size_bytes - 8 - start
        if footer_bytes > limits.MAX_FOOTER_BYTES:
            self.refuse(f'a footer of {footer_bytes:,} bytes: expected {limits.MAX_FOOTER_BYTES:,} at most')
        return start

    def _check_limits(self) -> None:
        rows, groups = self.footer.num_rows, self._groups()
        if not 0 <= rows <= self.size_bytes * limits.MAX_ROWS_PER_BYTE:
            self.refuse(f'{to_count(rows, "row")} in {self.size_bytes:,} bytes: no index has so many')
        if (
            rows != sum(group.num_rows for group in groups)
            or min((g.num_rows for g in groups), default=0) < 0
        ):
            self.refuse('damaged: the numbers of rows in its footer do not agree')
        if self.footer.num_columns > limits.MAX_COLUMNS:
            self.refuse(f'{self.footer.num_columns} columns: expected {limits.MAX_COLUMNS} at most')
        for group in groups:
            limit_bytes = min(limits.MAX_ROW_GROUP_BYTES, 2**20 + group.num_rows * limits.MAX_ROW_BYTES)
            if not 0 <= group.total_byte_size <= limit_bytes:
                size = f'{group.total_byte_size:,} bytes in {to_count(group.num_rows, "row")}'
                self.refuse(f'{size}: no index has so many')

    def _groups(self) -> list[Any]:
        return [self.footer.row_group(i) for i in range(self.footer.num_row_groups)]

    def _read_facts(self) -> dict[str, Any]:
        facts = to_object(self.metadata.get(b'fastindex', b'{}'))
        if facts is None:
            self.refuse('damaged: its fastindex metadata is no JSON object')
        return facts

    def read_one_metadata(self) -> dict[str, Any]:
        """Read date_created and origin; {} where the table does not have them in this form."""
        return to_object(self.metadata.get(b'one_metadata')) or {}

    def check_layout(self) -> None:
        """Check that the footer of a table of ours accounts for each byte: one column after the other."""
        offset = 4
        for group in self._groups():
            for i in range(group.num_columns):
                chunk = group.column(i)
                start = chunk.data_page_offset
                if chunk.has_dictionary_page:
                    start = chunk.dictionary_page_offset
                is_repeated = self.footer.schema.column(i).max_repetition_level > 0  # lists, of any length
                if start != offset or not (is_repeated or chunk.num_values == group.num_rows):
                    self.refuse('damaged: the footer is wrong about where the columns are')
                offset += chunk.total_compressed_size
        if offset != self.content_bytes:
            self.refuse('damaged: the footer is wrong about where the columns end')

    def iter_batches(
        self,
        columns: Sequence[str],
        *,
        nulls: Collection[str] = (),
        groups: Collection[int] | None = None,
        few: bool = False,
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Iterate over batches of rows: the number of the row group, and the columns.

        nulls: columns of which a null is given as it is, not refused
        groups: the row groups that are read; all if None
        few: whether the batches are small, for whom holds several at once
        """
        free = {*nulls, 'xxh128'} if self.facts.get(UNREAD) else nulls
        # A value that is stored once and meant a million times stays one until its length is known.
        text = [name for name in columns if self._is_text(name)]
        parquet = _open_parquet(self.file, self.footer, text)
        try:
            for i in range(self.footer.num_row_groups) if groups is None else sorted(groups):
                rows = 0
                for batch in parquet.iter_batches(
                    limits.FEW_ROWS if few else limits.BATCH_ROWS,
                    row_groups=[i],
                    columns=columns,
                    use_threads=False,
                ):
                    if not batch.num_rows:
                        continue
                    rows += batch.num_rows
                    found = dict(zip(batch.schema.names, batch.columns, strict=True))
                    for name, column in found.items():
                        if column.null_count and column.type != pa.null() and name not in free:
                            self.refuse(f'column {name} has nulls')
                    for name in text:
                        found[name] = self._to_text(name, found[name])
                    yield i, found
                if rows != self.footer.row_group(i).num_rows:
                    self.refuse('damaged: rows are missing')
        except InvalidIndexError:
            raise
        except DAMAGES as error:
            self.refuse(explain_damage(error))

    def _is_text(self, name: str) -> bool:
        found = self.schema.field(name).type
        if pa.types.is_dictionary(found):
            found = found.value_type
        return name != 'qc' and found in (pa.string(), pa.large_string(), pa.string_view())

    def _to_text(self, name: str, column: Any) -> pa.StringArray:
        if pa.types.is_dictionary(column.type):
            lengths = pc.binary_length(column.dictionary)
            if (pc.max(lengths).as_py() or 0) > limits.MAX_TEXT_BYTES:
                self.refuse(f'column {name} has more than {limits.MAX_TEXT_BYTES:,} bytes in a row')
        return column.cast(pa.string())

    def check_match(self, name: str, column: Any, pattern: str, expected: str, *, match: bool = True) -> None:
        """Check that each value of a column matches a pattern, or that none does."""
        matches = pc.match_substring_regex(column, pattern)
        wrong = pc.invert(matches) if match else matches
        if pc.any(wrong).as_py():
            [value, *_] = column.filter(wrong).slice(0, 1).to_pylist()
            self.refuse(f'column {name} has {value[:200]!r}: expected {expected}')


def _open_parquet(file: IO[bytes], footer: Any, repeated: Sequence[str]) -> Any:
    """Open a Parquet file to read rows of it; columns of `repeated` values take a tenth of the memory."""
    return pq.ParquetFile(
        pa.PythonFile(file, 'r'),
        metadata=footer,
        read_dictionary=repeated,
        page_checksum_verification=True,
        pre_buffer=False,  # as use_threads: else a thread is started, and no worker can be forked
    )


class GroupTable:
    """A Parquet file that is open only while it is read.

    A process that is forked meanwhile, be it by the executor of a caller, then has nothing open of an index
    that is to be replaced (P22).

    Raises InvalidIndexError where the file is not the one that was opened.

    stamp: what it must be from the start; the one that is there, if None
    """

    def __init__(
        self, path: Path, *, below: Path, repeated: Sequence[str] = (), stamp: Stamp | None = None
    ) -> None:
        self.path = path
        self._below = below
        self._repeated = repeated
        self._stamp = stamp
        with self._open() as file:
            table = _open_parquet(file, None, self._repeated)
        self.footer = table.metadata
        self.schema: pa.Schema = table.schema_arrow
        self.facts = to_object((self.footer.metadata or {}).get(b'fastindex')) or {}
        self.generation: str | None = self.facts.get('generation')
        self.group_rows = [self.footer.row_group(i).num_rows for i in range(self.footer.num_row_groups)]

    def _open(self) -> IO[bytes]:
        file = open_table(self.path, below=self._below)
        if self._stamp is None:  # that of its footer, which has the generation: so it stands for the rows
            size_bytes = os.fstat(file.fileno()).st_size
            start = max(find_footer(file, size_bytes) or 0, size_bytes - limits.MAX_FOOTER_BYTES)
            self._stamp = Stamp.of(file, start)
        elif not self._stamp.is_of(file):
            file.close()
            raise InvalidIndexError(
                f'{escape(self.path)}: this table was replaced while it was read: try again'
            )
        self._stamp = Stamp.of(file, self._stamp.start, self._stamp.digest)
        return file

    def ends_before(self, group: int, eid: str) -> bool:
        """Tell whether a row group, of rows that are sorted by it, ends before an eid, as the footer says."""
        statistics = self.footer.row_group(group).column(self.schema.get_field_index('eid')).statistics
        return statistics is not None and statistics.has_min_max and str(statistics.max) < eid

    def read_rows(self, start: int, count: int) -> pa.Table:
        """Read some rows, in whatever row groups they are."""
        parts = []
        for group, end in enumerate(accumulate(self.group_rows)):
            first = max(start, end - self.group_rows[group])
            if first < min(start + count, end):
                rows = self.read(group)
                parts.append(rows.slice(first - end + rows.num_rows, min(start + count, end) - first))
        return pa.concat_tables(parts) if parts else self.schema.empty_table()

    def read(self, group: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a row group."""
        with self._open() as file:
            parquet = _open_parquet(file, self.footer, self._repeated)
            return parquet.read_row_group(group, columns=columns, use_threads=False)

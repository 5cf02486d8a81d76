"""Refuse tables that are no index, or damaged, before a row of them is used.

Gives the state of a pair of tables that is fit to be read. Leaves reading them to `fastindex.index`.

A table of ours is known to the bit: both row data are hashed into the generation, and what the footers say
(schema, layout, statistics, metadata) is compared with what it must be, and with the other table's. The
table of another program (the client's own builder) is held to what the client needs: columns, types, ids,
paths that stay in their session, and page checksums where it has them; damage that leaves it well-formed is
not noticed. Nothing in a table makes this read more than one row group of limited size at a time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from stat import S_ISREG
from typing import IO, TYPE_CHECKING, Any, NamedTuple, NoReturn

from fastindex.alf import judge_file, judge_folder
from fastindex.errors import InvalidIndexError
from fastindex.problems import escape
from fastindex.tables import QC_CATEGORIES, datasets_schema, pandas_metadata, sessions_schema
from fastindex.trees.local import STATE_FOLDER

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ['Pair', 'Stamp', 'check_pair', 'open_table', 'stamp_of']

MAX_FOOTER_BYTES = 2**23
"""The footer of 700 million rows of ours; 64 KiB for each million that the client's builder writes."""

MAX_ROWS_PER_BYTE = 4
"""Of a file: ids do not compress, so ours have 1 row in 22 bytes; the client's builder has 1 in 4."""

MAX_ROW_GROUP_BYTES = 2**30
"""Uncompressed. Ours have 16 MB, those of the client's builder (a million rows) 0.2 GB."""

MAX_ROW_BYTES = 2**14
"""Uncompressed, on average over a row group, beyond a first megabyte: a row of ours has at most 5 KB."""

MAX_COLUMNS = 100

MAX_PATH_BYTES = 4096
"""PATH_MAX: no file has a longer rel_path."""

BATCH_ROWS = 2**16
"""Rows in memory at once, as many as a row group of ours has."""

_UUID = r'\A[0-9a-f]{8}-[0-9a-f]{4}-[34][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\z'
_DIGEST = r'\A[0-9a-f]{32}\z'
_NAME = r'\A[^/\x00]+\z'
_UNSAFE = r'[\x00-\x1f\x7f\\]|(?:\A|/)\.{0,2}(?:/|\z)'  # not POSIX, not relative, or not below its session
# What `judge_folder` and `judge_file` let pass, as far as it is ASCII: most of it, 20 times as fast.
_ASCII_REL_PATH = (
    r'\A(?:[\w-][\w.-]*/)*(?:#[\w.-]+#/)?'
    r'\w+\.(?:_[a-z]+_)?[a-zA-Z0-9]+(?:_\w+)?(?:\.[.\w-]+)?\.\w+\z'
)
_DAYS = (-719162, 2932896)  # since 1970: the first day of year 1, the last of year 9999
_AGAIN = 'python -m fastindex ROOT makes the index again'


class Stamp(NamedTuple):
    """Tells a file from another one in its place."""

    device: int
    inode: int
    size_bytes: int
    mtime_ns: int


class Pair(NamedTuple):
    """A pair of tables that was checked."""

    generation: str | None
    """Token that both carry; None where another program wrote them."""

    stamps: dict[str, Stamp]
    """Of the files that were checked, by name."""

    facts: dict[str, Any]
    """What the tables say of themselves; nothing where another program wrote them."""


def check_pair(folder: Path, *, rows: bool = True) -> Pair:
    """Check sessions.pqt and datasets.pqt in a folder.

    Parameters
    ----------
    rows
        Whether to look at each row. Tables of ours are known to the bit without.

    Raises
    ------
    InvalidIndexError
        If a table is missing, no table of an index, or damaged, or the two are not of one generation.
    """
    try:
        with ExitStack() as stack:
            sessions, datasets = (
                _Table(folder / name, stack.enter_context(open_table(folder / name)))
                for name in ('sessions.pqt', 'datasets.pqt')
            )
            return _check(folder, sessions, datasets, rows=rows)
    except InvalidIndexError:
        raise
    except _DAMAGES as error:  # there is no end to what a footer can claim
        raise InvalidIndexError(
            f'{escape(os.fspath(folder))}: the tables are damaged ({escape(str(error))}). {_AGAIN}'
        ) from error


def _check(folder: Path, sessions: _Table, datasets: _Table, *, rows: bool) -> Pair:
    generation = _check_generations(folder, sessions, datasets)
    if generation is not None:
        _check_footers(sessions, datasets)
        _check_digest(generation, sessions, datasets)
    else:
        sessions.check_columns(_SESSIONS_OF_OTHERS)
        datasets.check_columns(_DATASETS_OF_OTHERS)
    if rows:
        _check_datasets(datasets, _check_sessions(sessions))
    stamps = {table.path.name: table.stamp for table in (sessions, datasets)}
    return Pair(generation, stamps, sessions.facts)


def open_table(path: Path) -> IO[bytes]:
    """Open the file of a table; what is no regular file is not read, and never waited for.

    Raises
    ------
    InvalidIndexError
        If it cannot be opened, or is not a regular file.
    """
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), 'rb')
    except FileNotFoundError:
        raise InvalidIndexError(
            f'{escape(os.fspath(path))}: there is no such table: python -m fastindex makes it'
        ) from None
    except OSError as error:
        raise InvalidIndexError(
            f'{escape(os.fspath(path))}: the table cannot be opened ({error.strerror})'
        ) from error
    if S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise InvalidIndexError(f'{escape(os.fspath(path))}: expected a file')


def stamp_of(file: IO[bytes]) -> Stamp:
    """Get what tells an open file from another one, or from itself when it was changed."""
    info = os.fstat(file.fileno())
    return Stamp(info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns)


class _Table:
    """One Parquet file, whose footer has passed the limits."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.path = path
        self.file = file
        self.stamp = stamp_of(file)
        self.content_bytes = self._find_footer()
        try:
            parquet = pq.ParquetFile(
                pa.PythonFile(file, 'r'),
                thrift_string_size_limit=MAX_FOOTER_BYTES,
                thrift_container_size_limit=MAX_FOOTER_BYTES // 16,
            )
            self.footer = parquet.metadata
            self.schema: pa.Schema = parquet.schema_arrow
        except _DAMAGES as error:
            self.refuse(f'not Parquet, or damaged ({error})')
        self._check_limits()
        self.metadata: dict[bytes, bytes] = self.footer.metadata or {}
        self.facts = self._read_facts()
        self.is_ours = self.facts.get('generation') is not None

    def refuse(self, what: str) -> NoReturn:
        """Raise: this is no table of an index that can be used."""
        raise InvalidIndexError(f'{escape(os.fspath(self.path))}: {escape(what)}. {_AGAIN}')

    def _find_footer(self) -> int:
        """Find where the row groups end and the footer begins."""
        self.file.seek(max(0, self.stamp.size_bytes - 8))
        end = self.file.read(8)
        footer_bytes = int.from_bytes(end[:4], 'little')
        start = self.stamp.size_bytes - 8 - footer_bytes
        if end[4:] != b'PAR1' or start < 4:
            self.refuse('not Parquet, or damaged: it has no footer')
        if footer_bytes > MAX_FOOTER_BYTES:
            self.refuse(f'a footer of {footer_bytes} bytes: expected {MAX_FOOTER_BYTES} at most')
        return start

    def _check_limits(self) -> None:
        rows, groups = self.footer.num_rows, self._groups()
        if not 0 <= rows <= self.stamp.size_bytes * MAX_ROWS_PER_BYTE:
            self.refuse(f'{rows} rows in {self.stamp.size_bytes} bytes: no index has so many')
        if (
            rows != sum(group.num_rows for group in groups)
            or min((g.num_rows for g in groups), default=0) < 0
        ):
            self.refuse('damaged: the numbers of rows in its footer do not agree')
        if self.footer.num_columns > MAX_COLUMNS:
            self.refuse(f'{self.footer.num_columns} columns: expected {MAX_COLUMNS} at most')
        for group in groups:
            limit_bytes = min(MAX_ROW_GROUP_BYTES, 2**20 + group.num_rows * MAX_ROW_BYTES)
            if not 0 <= group.total_byte_size <= limit_bytes:
                self.refuse(f'{group.total_byte_size} bytes in {group.num_rows} rows: no index has so many')

    def _groups(self) -> list[Any]:
        return [self.footer.row_group(i) for i in range(self.footer.num_row_groups)]

    def _read_facts(self) -> dict[str, Any]:
        try:
            facts = json.loads(self.metadata.get(b'fastindex', b'{}'))
        except ValueError:
            facts = None
        if not isinstance(facts, dict):
            self.refuse('damaged: its fastindex metadata is no JSON object')
        return facts

    def check_columns(self, expected: dict[str, str]) -> None:
        """Check the columns that the client needs, in a table of another program."""
        import pyarrow as pa

        for name, kind in expected.items():
            places = self.schema.get_all_field_indices(name)
            if len(places) != 1:
                self.refuse(f'{len(places)} columns named {name}: expected one')
            found = self.schema.field(places[0]).type
            if pa.types.is_dictionary(found):
                found = found.value_type
            if kind not in str(found) and self.footer.num_rows:  # pandas knows no type where no row is
                self.refuse(f'column {name} is of type {found}: expected {kind}')

    def check_layout(self) -> None:
        """Check that the footer of a table of ours accounts for each byte: one column after the other."""
        place = 4
        for group in self._groups():
            for i in range(group.num_columns):
                chunk = group.column(i)
                start = chunk.data_page_offset
                if chunk.has_dictionary_page:
                    start = chunk.dictionary_page_offset
                if start != place or chunk.num_values != group.num_rows:
                    self.refuse('damaged: the footer is wrong about where the columns are')
                place += chunk.total_compressed_size
        if place != self.content_bytes:
            self.refuse('damaged: the footer is wrong about where the columns end')

    def iter_batches(self, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Iterate over batches of rows: the number of the row group, and the columns, none with a null."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        # A value that is stored once and meant a million times stays one until its length is known.
        text = [name for name in columns if self._is_text(name)]
        parquet = pq.ParquetFile(
            pa.PythonFile(self.file, 'r'),
            metadata=self.footer,
            read_dictionary=text,
            page_checksum_verification=True,
        )
        try:
            for i in range(self.footer.num_row_groups):
                rows = 0
                for batch in parquet.iter_batches(BATCH_ROWS, row_groups=[i], columns=columns):
                    if not batch.num_rows:
                        continue
                    rows += batch.num_rows
                    found = dict(zip(batch.schema.names, batch.columns, strict=True))
                    for name, column in found.items():
                        if column.null_count and column.type != pa.null():
                            self.refuse(f'column {name} has nulls')
                    for name in text:
                        found[name] = self._to_text(name, found[name])
                    yield i, found
                if rows != self.footer.row_group(i).num_rows:
                    self.refuse('damaged: rows are missing')
        except _DAMAGES as error:
            self.refuse(f'damaged ({error})')

    def _is_text(self, name: str) -> bool:
        import pyarrow as pa

        found = self.schema.field(name).type
        if pa.types.is_dictionary(found):
            found = found.value_type
        return name != 'qc' and found in (pa.string(), pa.large_string(), pa.string_view())

    def _to_text(self, name: str, column: Any) -> pa.StringArray:
        import pyarrow as pa
        import pyarrow.compute as pc

        if pa.types.is_dictionary(column.type):
            lengths = pc.binary_length(column.dictionary)
            if (pc.max(lengths).as_py() or 0) > MAX_PATH_BYTES:
                self.refuse(f'column {name} has more than {MAX_PATH_BYTES} bytes in a row')
        return column.cast(pa.string())

    def check_match(self, name: str, column: Any, pattern: str, expected: str, *, match: bool = True) -> None:
        """Check that each value of a column matches a pattern, or that none does."""
        import pyarrow.compute as pc

        matches = pc.match_substring_regex(column, pattern)
        wrong = pc.invert(matches) if match else matches
        if pc.any(wrong).as_py():
            [value, *_] = column.filter(wrong).slice(0, 1).to_pylist()
            self.refuse(f'column {name} has {value[:200]!r}: expected {expected}')


_DAMAGES = (ArithmeticError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError)
"""What pyarrow raises where a file is not what it should be, and what Python does with what it gives."""

_SESSIONS_OF_OTHERS = {'id': 'string', 'subject': 'string', 'date': 'date32', 'number': 'int'}
_DATASETS_OF_OTHERS = {'eid': 'string', 'id': 'string', 'rel_path': 'string', 'file_size': 'int'}


def _check_generations(folder: Path, sessions: _Table, datasets: _Table) -> str | None:
    """Check that the tables are of one generation, and return it; None where neither has one."""
    generations = [table.facts.get('generation') for table in (sessions, datasets)]
    if generations == [None, None]:
        return None
    if generations[0] != generations[1]:
        staged = ' (a run was stopped, and the rest of the new one is staged)'
        raise InvalidIndexError(
            f'{escape(os.fspath(folder))}: sessions.pqt and datasets.pqt are of different generations'
            f'{staged if (folder / STATE_FOLDER / "stage").is_dir() else ""}: run python -m fastindex on it '
            'again'
        )
    return str(generations[0])


def _check_footers(sessions: _Table, datasets: _Table) -> None:
    """Check all that the footers of our tables say: a footer has no checksum, but both say the same."""
    for key in (b'fastindex', b'one_metadata'):
        if sessions.metadata.get(key) != datasets.metadata.get(key) or key not in sessions.metadata:
            sessions.refuse(f'damaged: {key.decode()} is not what datasets.pqt says')
    algorithms = sessions.facts.get('algorithms')
    if not isinstance(algorithms, list):
        sessions.refuse('damaged: it does not say which digests there are')
    schema = datasets_schema(algorithms)
    if not datasets.footer.num_rows:
        schema = schema.remove(schema.get_field_index('qc'))  # see fastindex.pipeline.collect
    for table, expected, index in (
        (sessions, sessions_schema(), ['id']),
        (datasets, schema, ['eid', 'id']),
    ):
        if not table.schema.remove_metadata().equals(expected):
            table.refuse(f'its columns are {_name_types(table.schema)}: expected {_name_types(expected)}')
        if table.metadata.get(b'pandas') != pandas_metadata(expected, index):
            table.refuse('damaged: its pandas metadata is not as it was written')
        table.check_layout()


def _name_types(schema: pa.Schema) -> str:
    return ', '.join(f'{field.name} {field.type}' for field in schema)


def _check_digest(generation: str, sessions: _Table, datasets: _Table) -> None:
    """Check the row groups of our tables: the generation is the digest of all of them."""
    from xxhash import xxh3_128

    total = xxh3_128()
    for table in (sessions, datasets):
        digest = xxh3_128()
        left = table.content_bytes
        table.file.seek(0)
        while data := table.file.read(min(left, 2**20)):
            digest.update(data)
            left -= len(data)
        total.update(digest.digest())
    if total.hexdigest() != generation:
        raise InvalidIndexError(
            f'{escape(os.fspath(sessions.path))} or datasets.pqt beside it is damaged: the rows have another '
            f'digest than when they were written. {_AGAIN}'
        )


def _check_sessions(table: _Table) -> pa.Array:
    """Check the rows of sessions.pqt; return the eids."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = [name for name in ('id', 'lab', 'subject', 'date', 'number') if name in table.schema.names]
    ids = [pa.nulls(0, pa.string())]  # `pa.array` of a list imports pandas, where it is installed: 0.3 s
    bounds = _Bounds(table)
    for group, found in table.iter_batches(columns):
        table.check_match('id', found['id'], _UUID, 'a UUID of version 3 or 4')
        table.check_match('subject', found['subject'], _NAME, "a folder's name")
        for name in {'lab', 'subject'}.intersection(found):
            table.check_match(name, found[name], r'/|\x00|\A\.{1,2}\z', "a folder's name", match=False)
        days = pc.min_max(found['date'].cast(pa.int32())).as_py()
        if not _DAYS[0] <= days['min'] <= days['max'] <= _DAYS[1]:
            table.refuse('column date has a day that is in no calendar: expected years 1 to 9999')
        numbers = pc.min_max(found['number']).as_py()
        if not 0 <= numbers['min'] <= numbers['max'] < 1000:
            table.refuse('column number has a number that no session has: expected 0 to 999')
        bounds.add(group, found)
        ids.append(found['id'])
    eids = pa.concat_arrays(ids)
    if table.is_ours:
        bounds.check()
        if not _all(pc.less(eids[:-1], eids[1:])):
            table.refuse('its rows are not in the order of their ids')
    elif pc.count_distinct(eids).as_py() != len(eids):
        table.refuse('it has an id twice')
    return eids


def _check_datasets(table: _Table, eids: pa.Array) -> None:
    """Check the rows of datasets.pqt; `eids` are those of the sessions."""
    import pyarrow.compute as pc

    columns = ['eid', 'id', 'rel_path', 'file_size']
    if table.is_ours:
        columns = table.schema.names
    bounds = _Bounds(table)
    last: tuple[str, str] = ('', '')
    for group, found in table.iter_batches(columns):
        ids, paths, owners = found['id'], pc.unique(found['rel_path']), pc.unique(found['eid'])
        table.check_match('id', ids, _UUID, 'a UUID of version 3 or 4')
        table.check_match('eid', owners, _UUID, 'a UUID of version 3 or 4')
        table.check_match('rel_path', paths, _UNSAFE, 'a path below its session', match=False)
        if table.is_ours:
            _check_rel_paths(table, paths)
            if not _all(pc.is_in(owners, value_set=eids)):
                table.refuse('it has datasets of sessions that are not in sessions.pqt')
            last = _check_order(table, last, found['eid'], ids)
            _check_values(table, found)
        bounds.add(group, found)
    if table.is_ours:
        bounds.check()


def _check_rel_paths(table: _Table, paths: pa.Array) -> None:
    """Check distinct paths against the grammar."""
    import pyarrow.compute as pc

    rest = paths.filter(pc.invert(pc.match_substring_regex(paths, _ASCII_REL_PATH)))
    for path in rest.to_pylist():
        folder, _, name = path.rpartition('/')
        if judge_folder(folder) or judge_file(name):
            table.refuse(f'column rel_path has {path!r}: expected (collection/)(#revision#/)name in ALF')


def _check_order(table: _Table, last: tuple[str, str], eids: pa.Array, ids: pa.Array) -> tuple[str, str]:
    """Check that rows ascend by (eid, id), which also means that none is there twice."""
    import pyarrow.compute as pc

    ascends = pc.or_(
        pc.less(eids[:-1], eids[1:]),
        pc.and_(pc.equal(eids[:-1], eids[1:]), pc.less(ids[:-1], ids[1:])),
    )
    if not (last < (eids[0].as_py(), ids[0].as_py()) and _all(ascends)):
        table.refuse('its rows are not in the order of eid and id, or one is there twice')
    return eids[-1].as_py(), ids[-1].as_py()


def _all(values: pa.Array) -> bool:
    import pyarrow.compute as pc

    return bool(pc.all(values, min_count=0).as_py())


def _check_values(table: _Table, found: dict[str, Any]) -> None:
    import pyarrow as pa

    for name in ('hash', 'xxh128'):
        if name in found and found[name].type != pa.null():
            table.check_match(name, found[name], _DIGEST, '32 hexadecimal digits')
    if 'qc' in found and found['qc'].dictionary.to_pylist() != list(QC_CATEGORIES):
        table.refuse(f'the categories of column qc are not {", ".join(QC_CATEGORIES)}')


class _Bounds:
    """Smallest and largest value of each row group, to be compared with the footer: readers trust that."""

    def __init__(self, table: _Table) -> None:
        self._table = table
        self._found: dict[tuple[int, str], tuple[str, str]] = {}

    def add(self, group: int, columns: dict[str, Any]) -> None:
        import pyarrow.compute as pc

        for name in {'id', 'lab', 'subject', 'eid', 'rel_path'}.intersection(columns):
            low, high = pc.min_max(columns[name]).as_py().values()
            before = self._found.get((group, name), (low, high))
            self._found[group, name] = min(low, before[0]), max(high, before[1])

    def check(self) -> None:
        footer = self._table.footer
        for i in range(footer.num_row_groups):
            for j in range(footer.num_columns):
                chunk = footer.row_group(i).column(j)
                statistics = chunk.statistics
                if statistics is None:
                    continue
                if statistics.null_count and chunk.path_in_schema != 'hash':
                    self._table.refuse('damaged: the footer tells of nulls')
                found = self._found.get((i, chunk.path_in_schema))
                if statistics.has_min_max and found != (statistics.min, statistics.max):
                    self._table.refuse('damaged: the footer is wrong about what is in the columns')

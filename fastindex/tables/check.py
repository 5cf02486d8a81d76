"""Refuse tables that are no index, or damaged, before a row of them is used.

Gives the state of a pair of tables that is fit to be read. Leaves reading them to
`fastindex.jobs.read.index`.

A table of ours is known to the bit: the row groups of both are hashed into the generation, and what the
footers say (schema, layout, statistics, metadata) is compared with what it must be, and with the other
table's. The table of another program (the client's own builder) is held to what the client needs: columns,
types, ids, paths that stay in their session, and in these columns page checksums where it has them; damage
that leaves it well-formed is not noticed.
"""

from __future__ import annotations

import os
from bisect import bisect
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from fastindex.errors import InvalidIndexError
from fastindex.lazy import pa, pc
from fastindex.names.alf import judge_file, judge_folder
from fastindex.tables.columns import check_columns
from fastindex.tables.file import AGAIN, DAMAGES, TABLES, Stamp, TableFile, explain_damage, open_table
from fastindex.tables.recipe import Recipe
from fastindex.tables.schema import QC_CATEGORIES, datasets_schema, pandas_metadata, sessions_schema
from fastindex.text import escape
from fastindex.trees import STATE_FOLDER
from fastindex.trees.digests import ALGORITHMS

__all__ = [
    'DIGEST',
    'NAME',
    'UNSAFE',
    'UUID',
    'Pair',
    'Published',
    'Tables',
    'check_datasets',
    'check_pair',
    'check_sessions',
    'open_tables',
    'refusing_damage',
]

UUID = r'\A[0-9a-f]{8}-[0-9a-f]{4}-[34][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\z'
DIGEST = r'\A[0-9a-f]{32}\z'
NAME = r'\A[^/\x00]+\z'
UNSAFE = r'[\x00-\x1f\x7f\\]|(?:\A|/)\.{0,2}(?:/|\z)'  # not POSIX, not relative, or not below its session
# What `judge_folder` and `judge_file` let pass, as far as it is ASCII: most of it, 20 times as fast.
_ASCII_REL_PATH = (
    r'\A(?:[\w-][\w.-]*/)*(?:#[\w.-]+#/)?'
    r'\w+\.(?:_[a-z]+_)?[a-zA-Z0-9]+(?:_\w+)?(?:\.[.\w-]+)?\.\w+\z'
)
_DAYS = (-719162, 2932896)  # since 1970: the first day of year 1, the last of year 9999


class Pair(NamedTuple):
    """A pair of tables that was checked."""

    generation: str | None  # token that both carry; None where another program wrote them
    stamps: dict[str, Stamp]  # of the files that were checked, by name
    facts: dict[str, Any]  # what datasets.pqt says of itself: `date_created`, `origin`, and what we write


def check_pair(folder: Path, *, below: Path | None = None) -> Pair:
    """Check sessions.pqt and datasets.pqt in a folder.

    Raises InvalidIndexError if a table is missing, no table of an index, or damaged, or the two are not of
    one generation.

    below: a folder from which on no link is followed. See `open_table`.
    """
    with open_tables(folder, below=below) as tables:
        stamps = tables.stamps  # before: what is written in between is not what was checked
        tables.check_rows()
        said = tables.datasets.facts or tables.recipe.to_json()
        return Pair(tables.generation, stamps, {**tables.datasets.read_one_metadata(), **said})


class Tables(NamedTuple):
    """Both tables of an index, open; nothing was said about their rows yet."""

    folder: Path
    sessions: TableFile
    datasets: TableFile
    generation: str | None  # token that both carry; None where another program wrote them

    @property
    def both(self) -> tuple[TableFile, TableFile]:
        """The tables."""
        return self.sessions, self.datasets

    @property
    def stamps(self) -> dict[str, Stamp]:
        """What tells the files from others in their places, by name."""
        return {table.path.name: table.stamp for table in self.both}

    @property
    def recipe(self) -> Recipe:
        """How the index was made; where the client has written over one of ours, how that was."""
        if self.generation is not None:
            return Recipe.from_json(self.datasets.facts)
        from fastindex.tables.foreign import read_edited

        return read_edited(self.folder) or Recipe()

    def check_rows(self) -> None:
        """Check each row of both. Raises InvalidIndexError if there is one that no index has."""
        with refusing_damage(self.folder):
            check_datasets(self.datasets, check_sessions(self.sessions))

    def check_order(self) -> None:
        """Check that the rows ascend by their ids, as ours do, whatever program wrote them.

        Raises InvalidIndexError if they do not.
        """
        for table, names in ((self.sessions, ('id', 'id')), (self.datasets, ('eid', 'id'))):
            last = ('', '')
            for _, found in table.iter_batches(sorted(set(names))):
                last = _check_order(table, last, *(found[name] for name in names))


class Published:
    """The index in a folder as a run finds it: opened and checked to the bit once, and closed again.

    The tables may not be there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.is_there = any(os.path.lexists(folder / name) for name in TABLES)

    @cached_property
    def pair(self) -> Pair | InvalidIndexError:
        """What the tables say of themselves; or why they cannot be read."""
        try:
            with open_tables(self.folder, below=self.folder) as tables:
                return Pair(tables.generation, tables.stamps, tables.datasets.facts)
        except InvalidIndexError as error:
            return error

    @cached_property
    def damage(self) -> InvalidIndexError | None:
        """What is wrong with the rows, whoever wrote them; None where nothing is."""
        try:
            with self.open() as tables:
                tables.check_rows()
        except InvalidIndexError as error:
            return error
        return None

    def to_keep(self, keep: int | None, generation: str, *, is_part: bool) -> int | None:
        """Tell how many tables that were replaced are kept where a generation replaces these.

        That is `keep`, as in `fastindex.tables.publish.Stage.publish`; 0 where these have the same rows, or
        could not be put back as they cannot be read.

        is_part: whether rows of these were carried over, which then are no worse than those of the generation
        """
        is_another = keep != 0 and isinstance(self.pair, Pair) and self.pair.generation != generation
        return keep if is_another and (is_part or self.damage is None) else 0

    def open(self) -> AbstractContextManager[Tables]:
        """Open the tables again, whose bytes are only digested if they are not those that were checked.

        Raises InvalidIndexError if they are not fit to be read.
        """
        if isinstance(self.pair, InvalidIndexError):
            raise self.pair
        return open_tables(self.folder, below=self.folder, checked=self.pair.stamps)


@contextmanager
def open_tables(
    folder: Path, *, below: Path | None = None, checked: Mapping[str, Stamp] | None = None
) -> Iterator[Tables]:
    """Open sessions.pqt and datasets.pqt; check all but their rows.

    Those of ours are checked to the bit: what is not checked is whether their rows were ever true. Those of
    another program have the columns that the client needs. Raises InvalidIndexError if a table is missing, no
    table of an index, or damaged, or the two are not of one generation.

    below: a folder from which on no link is followed. See `open_table`.
    checked: stamps of files, by name, whose bytes this run has digested already
    """
    with ExitStack() as stack:
        with refusing_damage(folder):
            sessions, datasets = (
                TableFile(folder / name, stack.enter_context(open_table(folder / name, below=below)))
                for name in reversed(TABLES)
            )
            generation = _check_generations(folder, sessions, datasets)
            if generation is not None:
                _check_footers(sessions, datasets)
                both = (sessions, datasets)
                if checked is None or not all(checked[one.path.name].is_of(one.file) for one in both):
                    _check_digest(generation, sessions, datasets)
            else:
                for table in (sessions, datasets):
                    check_columns(table, table.path.name)
        yield Tables(folder, sessions, datasets, generation)


@contextmanager
def refusing_damage(folder: Path) -> Iterator[None]:
    """Make an InvalidIndexError of whatever a damaged table makes its readers raise."""
    try:
        yield
    except InvalidIndexError:
        raise
    except DAMAGES as error:  # there is no end to what a footer can claim
        raise InvalidIndexError(
            f'{escape(folder)}: the tables: {escape(explain_damage(error))}. {AGAIN}'
        ) from error


def _check_generations(folder: Path, sessions: TableFile, datasets: TableFile) -> str | None:
    """Check that the tables are of one generation, and return it; None where neither has one."""
    generations = [table.facts.get('generation') for table in (sessions, datasets)]
    if generations == [None, None]:
        return None
    if generations[0] != generations[1]:
        staged = ' (a run was stopped, and the rest of the new one is staged)'
        raise InvalidIndexError(
            f'{escape(folder)}: sessions.pqt and datasets.pqt are of different generations'
            f'{staged if (folder / STATE_FOLDER / "stage").is_dir() else ""}: run python -m fastindex on it '
            'again'
        )
    return str(generations[0])


def _check_footers(sessions: TableFile, datasets: TableFile) -> None:
    """Check all that the footers of our tables say: a footer has no checksum, but both say the same."""
    for key in (b'fastindex', b'one_metadata'):
        if sessions.metadata.get(key) != datasets.metadata.get(key) or key not in sessions.metadata:
            sessions.refuse(f'damaged: {key.decode()} is not what datasets.pqt says')
    algorithms = sessions.facts.get('algorithms')
    if not isinstance(algorithms, list) or not all(name in ALGORITHMS for name in algorithms):
        sessions.refuse('damaged: it does not say which digests there are')
    schema = datasets_schema(algorithms)
    if not datasets.footer.num_rows:
        schema = schema.remove(schema.get_field_index('qc'))  # see fastindex.tables.write
    for table, expected, index in (
        (sessions, sessions_schema(), ['id']),
        (datasets, schema, ['eid', 'id']),
    ):
        further = list(table.schema)[len(expected) :]
        if not pa.schema(list(table.schema)[: len(expected)]).equals(expected):
            table.refuse(f'its columns are {_name_types(table.schema)}: expected {_name_types(expected)}')
        if table.metadata.get(b'pandas') != pandas_metadata(pa.schema([*expected, *further]), index):
            table.refuse('damaged: its pandas metadata is not as it was written')
        table.check_layout()


def _name_types(schema: pa.Schema) -> str:
    return ', '.join(f'{field.name} {field.type}' for field in schema)


def _check_digest(generation: str, sessions: TableFile, datasets: TableFile) -> None:
    """Check the row groups of our tables: the generation is the digest of all of them."""
    from xxhash import xxh3_128

    total = xxh3_128(sessions.digests[0] + datasets.digests[0])
    if total.hexdigest() != generation:
        raise InvalidIndexError(
            f'{escape(sessions.path)} or datasets.pqt beside it is damaged: the rows have another '
            f'digest than when they were written. {AGAIN}'
        )


def check_sessions(table: TableFile) -> pa.Array:
    """Check the rows of sessions.pqt; return the eids."""
    columns = ['id', 'subject', 'date', 'number']
    if 'lab' in table.schema.names and not pa.types.is_null(table.schema.field('lab').type):
        columns.insert(1, 'lab')
    ids = [pa.nulls(0, pa.string())]  # `pa.array` of a list imports pandas, where it is installed: 0.3 s
    bounds = _Bounds(table)
    for group, found in table.iter_batches(columns):
        table.check_match('id', found['id'], UUID, 'a UUID of version 3 or 4')
        table.check_match('subject', found['subject'], NAME, "a folder's name")
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


def check_datasets(table: TableFile, eids: pa.Array) -> None:
    """Check the rows of datasets.pqt; `eids` are those of the sessions."""
    columns = ['eid', 'id', 'rel_path', 'file_size']
    nulls = ['file_size']  # as in an Alyx database
    if table.is_ours:
        columns = table.schema.names
        nulls = columns[len(datasets_schema(table.facts['algorithms'])) :]  # further ones
    bounds = _Bounds(table)
    last: tuple[str, str] = ('', '')
    for group, found in table.iter_batches(columns, nulls=nulls):
        ids, paths, owners = found['id'], pc.unique(found['rel_path']), pc.unique(found['eid'])
        table.check_match('id', ids, UUID, 'a UUID of version 3 or 4')
        table.check_match('eid', owners, UUID, 'a UUID of version 3 or 4')
        table.check_match('rel_path', paths, UNSAFE, 'a path below its session', match=False)
        if table.is_ours:
            _check_rel_paths(table, paths)
            if not _all(pc.is_in(owners, value_set=_near(eids, owners))):
                table.refuse('it has datasets of sessions that are not in sessions.pqt')
            last = _check_order(table, last, found['eid'], ids)
            _check_values(table, found)
        elif pc.any(pc.less(found['file_size'], 0)).as_py():
            table.refuse('column file_size has a negative number: expected bytes')
        bounds.add(group, found)
    if table.is_ours:
        bounds.check()


def _near(eids: pa.Array, owners: pa.Array) -> pa.Array:
    """Cut those of the sorted `eids` out that `owners` may be of: to look into all takes time for all."""
    low, high = pc.min_max(owners).as_py().values()
    start, end = (bisect(eids, one, key=lambda eid: eid.as_py()) for one in (low, high))
    return eids[max(0, start - 1) : end]


def _check_rel_paths(table: TableFile, paths: pa.Array) -> None:
    """Check distinct paths against the grammar."""
    rest = paths.filter(pc.invert(pc.match_substring_regex(paths, _ASCII_REL_PATH)))
    for path in rest.to_pylist():
        folder, _, name = path.rpartition('/')
        if judge_folder(folder) or judge_file(name):
            table.refuse(f'column rel_path has {path!r}: expected (collection/)(#revision#/)name in ALF')


def _check_order(table: TableFile, last: tuple[str, str], eids: pa.Array, ids: pa.Array) -> tuple[str, str]:
    """Check that rows ascend by (eid, id), which also means that none is there twice."""
    ascends = pc.or_(
        pc.less(eids[:-1], eids[1:]),
        pc.and_(pc.equal(eids[:-1], eids[1:]), pc.less(ids[:-1], ids[1:])),
    )
    if not (last < (eids[0].as_py(), ids[0].as_py()) and _all(ascends)):
        table.refuse('its rows are not in the order of eid and id, or one is there twice')
    return eids[-1].as_py(), ids[-1].as_py()


def _all(values: pa.Array) -> bool:
    return bool(pc.all(values, min_count=0).as_py())


def _check_values(table: TableFile, found: dict[str, Any]) -> None:
    for name in ('hash', 'xxh128'):
        if name in found and found[name].type != pa.null():
            table.check_match(name, found[name], DIGEST, '32 hexadecimal digits')
    if 'qc' in found and found['qc'].dictionary.to_pylist() != list(QC_CATEGORIES):
        table.refuse(f'the categories of column qc are not {", ".join(QC_CATEGORIES)}')


class _Bounds:
    """Smallest and largest value of each row group, to be compared with the footer: readers trust that."""

    def __init__(self, table: TableFile) -> None:
        self._table = table
        self._found: dict[tuple[int, str], tuple[str, str]] = {}

    def add(self, group: int, columns: dict[str, Any]) -> None:
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

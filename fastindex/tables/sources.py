"""What tables know of sessions and datasets that no tree tells: ids, projects, tasks, qc, further columns.

Reads a pair of tables, whoever wrote it, and finds their rows by what they are of. The rows stay columns of
Arrow: no dataset is ever an object of Python. Leaves to `fastindex.tables.carry` what becomes of them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from uuid import UUID

from fastindex.errors import IdClashError
from fastindex.lazy import pa, pc
from fastindex.names.alf import SessionParts
from fastindex.names.given_ids import ANY_LAB, SOME_LAB, find_by_parts
from fastindex.names.ids import NAMESPACE, eid
from fastindex.tables.check import check_datasets, check_sessions, open_tables, refusing_damage
from fastindex.tables.columns import check_columns
from fastindex.tables.file import TableFile, open_table
from fastindex.tables.foreign import read_edited
from fastindex.tables.merge import bring_together
from fastindex.tables.paths import SESSION_COLUMNS, to_file_paths, write_paths
from fastindex.tables.recipe import Recipe
from fastindex.tables.schema import QC_CATEGORIES, datasets_schema, sessions_schema
from fastindex.text import escape, to_count

__all__ = ['DATASET_VALUES', 'SESSION_VALUES', 'KnownTables', 'count_empty', 'is_default', 'list_further']

SESSION_VALUES = ('task_protocol', 'projects')
DATASET_VALUES = ('qc',)  # what people put into the columns that every index has
_PANDAS_INDEX = re.compile(r'__index_level_\d+__')


def list_further(table: TableFile) -> list[str]:
    """List the columns of a table that are not those of every index."""
    names = table.schema.names
    ours = datasets_schema(('xxh128',)).names if 'rel_path' in names else sessions_schema().names
    return [
        name
        for name in names
        if name not in ours and names.count(name) == 1 and not _PANDAS_INDEX.fullmatch(name)
    ]


def is_default(column: pa.ChunkedArray | pa.Array, name: str) -> bool:
    """Tell whether a column of values says nothing: it is null, '', or NOT_SET for qc."""
    if name == 'qc' and not pa.types.is_nested(column.type):  # of the sessions it may be anything
        return not pc.any(pc.not_equal(column.cast(pa.string()), QC_CATEGORIES[0])).as_py()
    if column.type == pa.string():
        return not pc.any(pc.not_equal(column, '')).as_py()
    return bool(column.null_count == len(column))


def count_empty(sessions: pa.Table) -> int:
    """Count the sessions without projects or without a task."""
    return pc.sum(pc.or_(*(pc.equal(sessions[name], '') for name in SESSION_VALUES))).as_py() or 0


class KnownTables:
    """What one pair of tables knows, 20 bytes a dataset in memory, and 40 for its id.

    Raises InvalidIndexError if they are not fit to be read. See `fastindex.open`; a null `file_size` does not
    matter. Raises IdClashError if ids are to be kept, and one stands for two datasets.

    path: the folder of sessions.pqt and datasets.pqt, or one of two such files, whatever it is called. A
        table of sessions alone knows no dataset, one of datasets needs sessions.pqt in its folder.
    with_ids: whether its ids are kept, not only its values
    namespace: of the eids that are made of paths
    below: a folder from which on no link is followed. See `fastindex.tables.file.open_table`.
    uuid_filenames: whether the run takes the ids out of the names of files. Where only these tables do, a
        dataset of theirs is known by the name of its file, as the run has that in its rel_paths
    recipe: how they were made, where they do not say so
    is_kept: whether they are an index that was replaced, and is kept
    """

    def __init__(
        self,
        path: Path,
        *,
        with_ids: bool = True,
        namespace: UUID = NAMESPACE,
        below: Path | None = None,
        uuid_filenames: bool = False,
        recipe: Recipe | None = None,
        is_kept: bool = False,
    ) -> None:
        self.path = path
        self.is_kept = is_kept
        self.with_ids = with_ids
        with ExitStack() as stack, refusing_damage(path):
            sessions, datasets, made = _open(path, stack, below)
            self.recipe = made or recipe or Recipe()
            self.sessions = _read_sessions(sessions)
            self.row_of = {eid: row for row, eid in enumerate(self.sessions['id'].to_pylist())}
            self.eids = _find_eids(self.sessions, namespace)
            by_files = self.recipe.uuid_filenames and not uuid_filenames
            self.datasets = _read_datasets(datasets, with_ids=with_ids or by_files)
            if by_files:
                paths = to_file_paths(self.datasets['rel_path'], self.datasets['id'])
                names = ['rel_path'] if with_ids else ['rel_path', 'id']
                self.datasets = self.datasets.drop_columns(names).append_column('rel_path', paths)
        if with_ids:
            _refuse_twins(path, self.datasets)
        self.datasets, self.spans = bring_together(self.datasets, 'eid')
        _give_back()

    def drop(self, names: Collection[str]) -> None:
        """Forget what is in columns of the sessions."""
        self.sessions = self.sessions.drop_columns(
            [name for name in self.sessions.column_names if name in names]
        )

    def find(self, parts: SessionParts) -> str | None:
        """Find the eid of a session; where one side knows no lab, by subject, date and number."""
        return find_by_parts(self.eids, parts)

    def drop_known(self, other: KnownTables) -> None:
        """Forget what other tables know, by names or ids, and columns that have another type there."""
        names = (pa.array(self._name_sessions(), pa.string()), pa.array(other._name_sessions(), pa.string()))
        is_left = _none_of(names, (self.sessions['id'], other.sessions['id']))
        sessions = _without_others(self.sessions.filter(is_left), other.sessions, sessions_schema())
        if self.spans:
            pairs = [(self._name_datasets(), other._name_datasets())]
            if self.with_ids and other.with_ids:
                pairs.append((self.datasets['id'], other.datasets['id']))
            owners = self._spread(list(self.spans)).dictionary_encode()
            rows = self.datasets.append_column('eid', owners).filter(_none_of(*pairs))
            rows = _without_others(rows, other.datasets, datasets_schema())
            self.datasets, self.spans = bring_together(rows, 'eid')
        self.eids = {
            parts: eid
            for parts, eid in self.eids.items()
            if eid not in other.row_of or other.eids.get(parts) == eid
        }
        self.sessions = sessions
        self.row_of = {eid: row for row, eid in enumerate(self.sessions['id'].to_pylist())}

    def _name_sessions(self) -> list[str]:
        columns = (self.sessions[name].to_pylist() for name in ('subject', 'date', 'number'))
        return [f'{subject}/{date}/{number:03}' for subject, date, number in zip(*columns, strict=True)]

    def _name_datasets(self) -> pa.Array:
        """Name the datasets; null is of no session."""
        names = self._name_sessions()
        each = self._spread([names[self.row_of[eid]] if eid in self.row_of else None for eid in self.spans])
        rel_paths = self.datasets['rel_path'].combine_chunks().cast(pa.string())
        return pc.binary_join_element_wise(each, rel_paths, '/')

    def _spread(self, values: Sequence[str | None]) -> pa.Array:
        """Spread values of the sessions with datasets over these."""
        ends = pa.array([start + count for start, count in self.spans.values()], pa.int32())
        return pc.run_end_decode(pa.RunEndEncodedArray.from_arrays(ends, pa.array(values, pa.string())))

    def iter_named(self) -> Iterator[tuple[pa.Array, pa.Array]]:
        """Iterate over the ids and the names of all sessions, then of all datasets; null is no session's."""
        yield self.sessions['id'].combine_chunks(), pa.array(self._name_sessions(), pa.string())
        if self.spans:
            yield self.datasets['id'].combine_chunks(), self._name_datasets()

    def slice(self, eid: str) -> pa.Table | None:
        """Get the datasets of a session: `rel_path`, `default_revision`, maybe `id`, and values."""
        span = self.spans.get(eid)
        return None if span is None else self.datasets.slice(*span)


def _open(
    path: Path, stack: ExitStack, below: Path | None
) -> tuple[TableFile, TableFile | None, Recipe | None]:
    """Open the tables, and check all rows that are read; tell how they were made, if they do."""
    if not path.is_file():
        tables = stack.enter_context(open_tables(path, below=below))
        tables.check_rows()
        recipe = tables.recipe if tables.generation is not None else read_edited(path)
        return tables.sessions, tables.datasets, recipe
    table = TableFile(path, stack.enter_context(open_table(path, below=below)))
    if 'rel_path' not in table.schema.names:
        check_columns(table, 'sessions.pqt')
        check_sessions(table)
        return table, None, None
    check_columns(table, 'datasets.pqt')
    sessions_path = path.parent / 'sessions.pqt'
    sessions = TableFile(sessions_path, stack.enter_context(open_table(sessions_path)))
    check_columns(sessions, 'sessions.pqt')
    check_datasets(table, check_sessions(sessions))
    return sessions, table, Recipe.from_json(table.facts)


def _none_of(*pairs: tuple[pa.Array, pa.Array]) -> pa.Array:
    """Tell of rows whether none of their values is among those of the others."""
    found = [pc.is_in(values, value_set=others) for values, others in pairs]
    return pc.invert(pc.or_(found[0], found[-1]))


def _without_others(rows: pa.Table, other: pa.Table, ours: pa.Schema) -> pa.Table:
    """Drop the columns that are of another type in another table, but for those of every index."""
    types = {field.name: field.type for field in other.schema if field.name not in ours.names}
    return rows.select([one.name for one in rows.schema if types.get(one.name, one.type) == one.type])


def _read(table: TableFile, columns: Sequence[str], repeated: Sequence[str] = ()) -> pa.Table:
    """Read columns, those of text as strings; the `repeated` ones as a dictionary."""
    there = [name for name in columns if name in table.schema.names]
    parts = []
    empty = {name: pa.nulls(0, table.schema.field(name).type) for name in there}
    for found in chain([empty], (found for _, found in table.iter_batches(there, nulls=there))):
        arrays = [_plain(found[name]) for name in there]
        arrays = [
            array.dictionary_encode() if name in repeated else array
            for name, array in zip(there, arrays, strict=True)
        ]
        parts.append(pa.table(arrays, names=there))
    _give_back()
    return pa.concat_tables(parts).combine_chunks()


def _give_back() -> None:
    """Give memory back that Arrow took to read and to sort: some 300 bytes a row, which workers inherit."""
    pa.default_memory_pool().release_unused()


def _plain(array: pa.Array) -> pa.Array:
    """Make plain values of those that stand in a dictionary, and strings of large ones."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if kind in (pa.large_string(), pa.string_view()):
        kind = pa.string()
    return array.cast(kind)


def _read_sessions(table: TableFile) -> pa.Table:
    names = [*SESSION_COLUMNS, *SESSION_VALUES, *list_further(table)]
    rows = _read(table, names)
    if 'lab' not in rows.column_names:
        rows = rows.append_column('lab', pa.array([''] * rows.num_rows, pa.string()))
    return _drop_empty(rows, (*SESSION_VALUES, *list_further(table)))


def _drop_empty(rows: pa.Table, names: Sequence[str]) -> pa.Table:
    """Drop the columns of values that say nothing."""
    return rows.drop_columns(
        [name for name in names if name in rows.column_names and is_default(rows[name], name)]
    )


def _find_eids(sessions: pa.Table, namespace: UUID) -> dict[SessionParts, str]:
    """Find the eid to keep of each session, and what stands for those that one side knows without a lab."""
    eids: dict[SessionParts, str] = {}
    labs: dict[SessionParts, list[str]] = {}
    for row in zip(*(sessions[name].to_pylist() for name in SESSION_COLUMNS), strict=True):
        id, parts = row[0], SessionParts(*row[1:])
        if parts in eids:  # 1 beside 001: the one that is not made of the path of another folder
            made = [str(eid(path, namespace=namespace)) for path in write_paths(row)]
            id = min(eids[parts], id, key=lambda one: made.index(one) if one in made else -1)
        else:
            labs.setdefault(parts._replace(lab=''), []).append(parts.lab)
        eids[parts] = id
    for parts, [lab, *others] in labs.items():
        if not others:
            eids[parts._replace(lab=SOME_LAB if lab else ANY_LAB)] = eids[parts._replace(lab=lab)]
    return eids


def _read_datasets(table: TableFile | None, *, with_ids: bool) -> pa.Table:
    if table is None:
        return datasets_schema().empty_table().select(['eid', 'rel_path', 'id'])
    values = [*DATASET_VALUES, *list_further(table)]
    names = ['eid', 'rel_path', *(['id'] if with_ids else []), 'default_revision', *values]
    return _drop_empty(_read(table, names, repeated=('eid', 'rel_path', 'qc')), values)


def _refuse_twins(path: Path, datasets: pa.Table) -> None:
    ids = datasets['id'].combine_chunks()
    ids = ids.take(pc.array_sort_indices(ids))  # a table of values takes twice the memory
    if not pc.any(pc.equal(ids[1:], ids[:-1])).as_py():
        return
    counts = pc.value_counts(ids)
    twice = counts.filter(pc.greater(counts.field('counts'), 1))
    raise IdClashError(
        f'{escape(path)}: {to_count(len(twice), "id")} of more than one dataset, such as '
        f'{twice[0]["values"]} of {to_count(twice[0]["counts"].as_py(), "dataset")}: expected an id for '
        "each, so these cannot be kept (the client's own builder makes such). ",
        hint='Leave `ids_from` out; to replace these tables, give `force` in its place',
    )

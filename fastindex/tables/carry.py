"""Carry what is known of sessions and datasets over into the rows of a scan.

Takes the rows of a shard as a build has them, and fills in what tables know: projects, tasks, qc, further
columns, the default revisions. All of it as columns: a shard is joined with the rows of its own sessions.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from operator import add

from fastindex.errors import UsageError
from fastindex.lazy import pa, pc
from fastindex.names.alf import SessionParts
from fastindex.records import Record
from fastindex.tables.paths import SESSION_COLUMNS, list_session_paths, to_file_paths
from fastindex.tables.qc_file import Outcomes
from fastindex.tables.recipe import Recipe
from fastindex.tables.schema import QC_CATEGORIES, qc_column
from fastindex.tables.sources import DATASET_VALUES, SESSION_VALUES, KnownTables
from fastindex.text import escape

__all__ = ['Carrier', 'KeptIds']

_REVISION = r'#[^/#]+#/([^/]*)\z'
"""The revision of a rel_path, which is its last folder."""


class KeptIds(Record):
    """How many of the ids of some tables are those of the new index."""

    tables: str  # where they are
    sessions: int
    sessions_known: int
    datasets: int
    datasets_known: int


class Carrier:
    """Fills rows with what tables know of them.

    Of many fields: what it counts by the way is told in the summary.

    Raises UsageError if two of them have a further column of different types.

    sources: tables; where two know a value, that of the first counts, and that of the rows themselves last
    recipe: how the rows are made. Where they have the ids out of the names of files, a source that has not
        knows a dataset by the name of its file
    outcomes: what is to be in the column qc, whatever the tables say
    own: the one of the sources that is the published index
    """

    def __init__(
        self,
        sources: Sequence[KnownTables],
        recipe: Recipe,
        *,
        outcomes: Outcomes | None,
        own: KnownTables | None,
    ) -> None:
        self._recipe = recipe
        self.sources = sources
        self.own = own
        self._used: Counter[str] = Counter()  # values of it that are in the new rows, by their columns
        self.outcomes = outcomes
        self._paths: dict[str, str] = {}  # of the last sessions, by their eids
        self.overruled = 0  # sessions whose own files say other projects or tasks than the sources
        self.newer = 0
        """Datasets that were the default revision by tables whose ids are kept, and are it no longer."""
        self._counts = {source: [0, 0] for source in sources}  # sessions and datasets with its ids
        self.columns: set[str] = set()  # that have something of the sources in them; further ones always
        self._owners: dict[str, list[str]] = {}  # of the last sessions: what the sources call them
        self.fields = (
            _list_fields(sources, 'sessions', (*SESSION_COLUMNS, *SESSION_VALUES)),
            _list_fields(sources, 'datasets', ('rel_path', 'id', 'default_revision', *DATASET_VALUES)),
        )
        """The further columns of sessions.pqt, and those of datasets.pqt."""
        self.known_again: Counter[str] = Counter()
        """Values of indexes that were replaced, of what the published one does not have, by their columns."""
        self.replaced: Counter[str] = Counter()
        """Values of the published index in whose place are those of another source, by their columns."""

    def iter_kept(self, carried: tuple[int, int] = (0, 0)) -> Iterator[KeptIds]:
        """Iterate over what was kept of the ids of each of the sources.

        carried: sessions and datasets of the published index that nobody has looked at
        """
        for source, counts in self._counts.items():
            if source.with_ids and not source.is_kept:
                sessions, datasets = map(add, counts, carried if source is self.own else (0, 0))
                known = source.sessions.num_rows, source.datasets.num_rows
                yield KeptIds(os.fspath(source.path), sessions, known[0], datasets, known[1])

    def count_lost(self, among: Iterable[str] | None) -> dict[str, int]:
        """Count the values of the published index that are of nothing that is there now, by their columns.

        among: the eids of its sessions that were looked at; None is all
        """
        if self.own is None:
            return {}
        sessions, parts = self.own.sessions, [self.own.datasets]
        if among is not None:
            eids = [eid for eid in among if eid in self.own.row_of]
            sessions = sessions.take(pa.array([self.own.row_of[eid] for eid in eids], pa.int64()))
            parts = [rows for eid in eids if (rows := self.own.slice(eid)) is not None]
        known = self._count_values(sessions, 0)
        for rows in parts:
            known += self._count_values(rows, 1)
        return dict(sorted((known - self._used).items()))

    def _iter_values(self, rows: pa.Table, kind: int) -> Iterator[tuple[str, pa.ChunkedArray]]:
        """Iterate over the columns of what rows say; `kind` is 0 of sessions, 1 of datasets."""
        for name in (SESSION_VALUES, DATASET_VALUES)[kind]:
            if name in rows.column_names:
                yield name, _as_gaps(rows[name], name)
        for field in self.fields[kind]:
            if field.name in rows.column_names:
                yield field.name, rows[field.name]

    def _count_values(self, rows: pa.Table, kind: int) -> Counter[str]:
        """Count what rows of a source say, by its columns."""
        values = self._iter_values(rows, kind)
        return Counter({name: len(column) - column.null_count for name, column in values})

    def _note(self, own: pa.Table, filled: pa.Table, kind: int) -> None:
        """Note which values of the published index rows have, and which others stand in their place."""
        self._used += self._count_values(own, kind)
        now = dict(self._iter_values(filled, kind))
        for name, was in self._iter_values(own, kind):
            if not pa.types.is_nested(was.type):
                self.replaced[name] += pc.sum(pc.not_equal(was, now[name])).as_py() or 0

    def fill(self, sessions: pa.Table, datasets: pa.Table) -> tuple[pa.Table, pa.Table]:
        """Fill the rows of a shard, whose datasets are of its sessions, or of the last one before."""
        rows = list(zip(*(sessions[name].to_pylist() for name in SESSION_COLUMNS), strict=True))
        if rows:
            self._owners = {eid: self._find(eid, SessionParts(*parts)) for eid, *parts in rows}
            if self.outcomes is not None:
                paths = list_session_paths(rows, self._recipe.namespace)
                self._paths = {row[0]: path for row, path in zip(rows, paths, strict=True)}
        datasets = self._fill_datasets(datasets)
        return self._fill_sessions(sessions), self._judge(datasets)

    def _find(self, eid: str, parts: SessionParts) -> list[str]:
        """Find what the sources call a session; '' where they do not know it."""
        return [eid if eid in source.row_of else source.find(parts) or '' for source in self.sources]

    def _fill_sessions(self, sessions: pa.Table) -> pa.Table:
        found: list[tuple[KnownTables, pa.Table]] = []
        for number, source in enumerate(self.sources):
            owners = [self._owners[eid][number] for eid in sessions['id'].to_pylist()]
            rows = pa.array([source.row_of.get(owner) for owner in owners], pa.int64())
            found.append((source, source.sessions.take(rows)))
        filled = self._set(sessions, found, 0)
        differs = [
            pc.and_(pc.not_equal(sessions[name], ''), pc.not_equal(sessions[name], filled[name]))
            for name in SESSION_VALUES
        ]
        self.overruled += pc.sum(pc.or_(*differs)).as_py() or 0
        return filled

    def _fill_datasets(self, datasets: pa.Table) -> pa.Table:
        found: list[tuple[KnownTables, pa.Table]] = []
        eids = pc.unique(datasets['eid']).to_pylist()
        for number, source in enumerate(self.sources):
            known = _gather((eid, source.slice(self._owners[eid][number])) for eid in eids)
            if known is None:
                continue
            paths = datasets['rel_path']
            if self._recipe.uuid_filenames and not source.recipe.uuid_filenames:
                paths = to_file_paths(paths, datasets['id'])
            keys = _join(datasets['eid'], paths)
            rows = pc.index_in(keys, value_set=_join(known['eid'], known['rel_path']).combine_chunks())
            found.append((source, known.drop_columns(['eid', 'rel_path']).take(rows)))
        filled = self._set(datasets, found, 1)
        return self._mark_revisions(filled, _list_columns(found, 'default_revision'))

    def _judge(self, datasets: pa.Table) -> pa.Table:
        """Put the outcomes of quality control in."""
        position = datasets.schema.get_field_index('qc')
        if self.outcomes is None or position < 0:
            return datasets
        eids = pc.unique(datasets['eid']).to_pylist()
        known = _gather((eid, self.outcomes.find(name)) for eid in eids for name in (eid, self._paths[eid]))
        if known is None:
            return datasets
        keys = _join(known['eid'], known['dataset']).combine_chunks()
        found = [
            pc.index_in(_join(datasets['eid'], datasets[name]), value_set=keys) for name in ('id', 'rel_path')
        ]
        for rows in found:
            self.outcomes.use(known['line'].take(rows.drop_null()).to_pylist())
        outcomes = known['outcome'].take(pc.coalesce(*found))
        if outcomes.null_count < len(outcomes):
            self.columns.add('qc')
        column = _to_qc(pc.coalesce(outcomes, datasets['qc'].cast(pa.string())))
        return datasets.set_column(position, datasets.schema.field(position), column)

    def _mark_revisions(self, datasets: pa.Table, marks: list[pa.ChunkedArray]) -> pa.Table:
        """Mark the default revisions as they are known, or count those that are no longer one."""
        was = pc.fill_null(pc.coalesce(*marks), False) if marks else None
        if was is None or not pc.any(lost := pc.and_not(was, datasets['default_revision'])).as_py():
            return datasets
        if self._recipe.default_revision != 'known':
            self.newer += pc.sum(lost).as_py()
            return datasets
        position = datasets.schema.get_field_index('default_revision')
        return datasets.set_column(position, datasets.schema.field(position), _keep_revisions(datasets, was))

    def _set(self, table: pa.Table, found: Sequence[tuple[KnownTables, pa.Table]], kind: int) -> pa.Table:
        """Set the columns of values that some source has, and append the further ones.

        found: for each source what it says of the rows of the table
        """
        for name in (SESSION_VALUES, DATASET_VALUES)[kind]:
            values = [_as_gaps(column, name) for column in _list_columns(found, name)]
            position = table.schema.get_field_index(name)
            if not values or position < 0:
                continue
            own = _as_gaps(table[name], name)
            column = pc.coalesce(*values, own)
            if column.equals(own):
                continue
            self.columns.add(name)
            field = table.schema.field(position)
            column = _to_qc(column) if name == 'qc' else pc.fill_null(column, '')
            table = table.set_column(position, field, column)
        for field in self.fields[kind]:
            self.columns.add(field.name)
            empty = pa.nulls(table.num_rows, field.type)
            table = table.append_column(field, pc.coalesce(*_list_columns(found, field.name), empty))
        for source, rows in found:
            if source.with_ids:
                self._counts[source][kind] += pc.sum(pc.equal(rows['id'], table['id'])).as_py() or 0
            if source.is_kept:
                self.known_again += self._count_values(rows, kind)
            if source is self.own:
                self._note(rows, table, kind)
        return table


def _list_fields(sources: Sequence[KnownTables], kind: str, others: Sequence[str]) -> list[pa.Field]:
    """List the further columns of the tables of some kind."""
    fields: dict[str, tuple[pa.Field, KnownTables]] = {}
    for source in sources:
        table = getattr(source, kind)
        for field in table.schema:
            if field.name in others:
                continue
            first, owner = fields.setdefault(field.name, (field, source))
            if first.type != field.type:
                raise UsageError(
                    f'column {escape(field.name)} is {first.type} in {escape(owner.path)}, and '
                    f'{field.type} in {escape(source.path)}: expected one type'
                )
    return [field for field, _ in fields.values()]


def _list_columns(found: Sequence[tuple[KnownTables, pa.Table]], name: str) -> list[pa.ChunkedArray]:
    """List a column of each table that has it."""
    return [rows[name] for _, rows in found if name in rows.column_names]


def _gather(parts: Iterable[tuple[str, pa.Table | None]]) -> pa.Table | None:
    """Gather what is known of sessions, with an `eid` of what we call the session."""
    there = [(eid, rows) for eid, rows in parts if rows is not None]
    if not there:
        return None
    eids = pa.chunked_array([pa.repeat(pa.scalar(eid), rows.num_rows) for eid, rows in there])
    return pa.concat_tables([rows for _, rows in there]).combine_chunks().append_column('eid', eids)


def _join(eids: pa.ChunkedArray, names: pa.ChunkedArray) -> pa.ChunkedArray:
    """Join what tells a dataset."""
    return pc.binary_join_element_wise(eids, names.cast(pa.string()), '/')


def _as_gaps(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Make null what says nothing, so that another table may fill it."""
    column = column.cast(pa.string())
    empty = QC_CATEGORIES[0] if name == 'qc' else ''
    return pc.if_else(pc.equal(column, empty), pa.scalar(None, pa.string()), column)


def _to_qc(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """Make the client's categories of their names; what is none of these is NOT_SET."""
    codes = pc.index_in(column, value_set=pa.array(QC_CATEGORIES, pa.string()))
    codes = pc.fill_null(codes, 0).cast(pa.int8())
    return qc_column(codes.combine_chunks() if isinstance(codes, pa.ChunkedArray) else codes)


def _keep_revisions(datasets: pa.Table, was: pa.ChunkedArray) -> pa.ChunkedArray:
    """Mark those revisions that were the default ones; the newest where none was, or more than one."""
    bases = pc.replace_substring_regex(datasets['rel_path'], _REVISION, r'\1')
    groups = pc.binary_join_element_wise(datasets['eid'], bases, '/')
    counts = pc.value_counts(groups.filter(was))
    once = counts.field('values').filter(pc.equal(counts.field('counts'), 1))
    return pc.if_else(pc.is_in(groups, value_set=once), was, datasets['default_revision'])

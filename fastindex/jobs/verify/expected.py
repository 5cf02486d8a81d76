"""What an index says, in the order in which a scan gives what is there.

An index of ours has the ids of a scan, and their order: its rows are read as they are, a row group at a time.
Those of any other program have ids that nobody can compute, in any order: they get their paths as ids, as the
scan then does too, are read as a whole, and sorted.

Where the names of the files carry the ids, a rel_path is here the path of the file, with the UUID.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, repeat
from operator import itemgetter
from typing import NamedTuple
from uuid import UUID

from fastindex.lazy import pa, pc
from fastindex.names.alf import SessionParts, SessionPath, parse_session_path
from fastindex.names.given_ids import PathOrder, choose_identity
from fastindex.names.ids import NAMESPACE, Identity, UuidIdentity, eid, uuid3s
from fastindex.pipeline.discover import Discovery
from fastindex.tables import check
from fastindex.tables.check import Tables
from fastindex.tables.columns import sum_bytes
from fastindex.tables.file import TableFile
from fastindex.tables.merge import LAST, Row, SortedRows
from fastindex.tables.paths import SESSION_COLUMNS, list_session_paths, to_file_paths
from fastindex.tables.recipe import Recipe

__all__ = ['Expected', 'Share', 'Totals', 'expect']


class Share(NamedTuple):
    """The sessions of a range of eids, by their first 32 bits: the same ones whatever else there is."""

    number: int = 1
    total: int = 1

    def has(self, eid: bytes) -> bool:
        """Tell whether an eid of 16 bytes is in this part."""
        return (int.from_bytes(eid[:4], 'big') * self.total) >> 32 == self.number - 1

    def bounds(self) -> tuple[str, str]:
        """Get the range as characters: from the first, to before the second."""
        first, end = (-(-(number << 32) // self.total) for number in (self.number - 1, self.number))
        return f'{first:08x}', f'{end:08x}' if self.number < self.total else LAST


class Totals(NamedTuple):
    """What an index says in all."""

    sessions: int
    datasets: int
    bytes: int | None  # None where not all sizes are known


def expect(tables: Tables, discovery: Discovery, part: Share, *, uuid_filenames: bool = False) -> Expected:
    """Prepare to read an index in the order of a scan.

    discovery: with ids in the published namespace
    uuid_filenames: whether the names of the files carry the ids of the datasets
    """
    recipe = tables.recipe
    is_ours = tables.generation is not None and not recipe.ids_from
    is_as_named = recipe.uuid_filenames == uuid_filenames
    if is_ours and is_as_named and _has_our_ids(tables.sessions, recipe.namespace):
        return _InOrder(tables, discovery, part, recipe)
    return _ByPath(tables, discovery, part, recipe.namespace, uuid_filenames)


def _has_our_ids(sessions: TableFile, namespace: UUID) -> bool:
    """Tell whether the ids of an index are those that we compute: by the first one."""
    for _, found in sessions.iter_batches(SESSION_COLUMNS):
        (row,) = zip(*(found[name].slice(0, 1).to_pylist() for name in SESSION_COLUMNS), strict=True)
        (path,) = list_session_paths([row], namespace)
        return bool(str(eid(path, namespace=namespace)) == row[0])
    return True


def _session_keys(rows: list[Row]) -> list[Row]:
    return [row[:1] for row in rows]


def _path_keys(rows: list[Row]) -> list[Row]:
    return [(row[0], row[1].encode()) for row in rows]


class _InOrder:
    """An index with our ids: its rows in the order of a scan with `identity`."""

    session_columns: Sequence[str] = SESSION_COLUMNS  # those that `read` gives of sessions

    def __init__(self, tables: Tables, discovery: Discovery, part: Share, recipe: Recipe) -> None:
        namespace = recipe.namespace
        self.identity: Identity = choose_identity(
            namespace, uuid_filenames=recipe.uuid_filenames, keeps_names=True
        )
        self.discovery = discovery
        if namespace != NAMESPACE:
            paths = list(map(self.identity.session_path, discovery.iter_keys()))
            self.discovery = discovery.renamed(self.identity, paths)
        self._namespace = namespace
        self._has_uuids = recipe.uuid_filenames
        self._tables = tables
        self._part = part

    def iter_keys(self) -> Iterator[bytes]:
        """Iterate over the keys of what was discovered, of this part alone."""
        return (key for key in self.discovery.iter_keys() if self._part.has(key[:16]))

    def read(self, digest: str | None = None) -> tuple[SortedRows, SortedRows]:
        """Read sessions: `id`, and whatever else tells their paths; and datasets.

        Rows of these have `eid`, `rel_path`, `file_size`, and the digest if its column is named. Their keys
        are the eid, and bytes.
        """
        columns = ['eid', 'rel_path', 'file_size', *([digest] if digest else [])]
        sessions, datasets = self._tables.both
        return (
            SortedRows(self._iter_tables(sessions, self.session_columns), _session_keys, sessions.path),
            SortedRows(self._iter_tables(datasets, columns), self._keys, datasets.path),
        )

    def _keys(self, rows: list[Row]) -> list[Row]:
        found: list[Row] = []
        for session, same in groupby(rows, key=itemgetter(0)):
            paths = [row[1].encode() for row in same]
            if self._has_uuids:
                keys = self.identity.dataset_keys([], [], paths)
            else:  # the ids again: to read that column, which cannot be compressed, takes longer than all
                keys = uuid3s([bytes.fromhex(session.replace('-', ''))], [len(paths)], paths)
            found += zip(repeat(session), keys)
        return found

    def _iter_tables(self, table: TableFile, columns: Sequence[str]) -> Iterator[pa.Table]:
        for _, found in table.iter_batches([*columns, 'id'] if self._has_uuids else columns):
            # That the rows are ours says their digest; not that we made them.
            table.check_match(
                columns[0], pc.unique(found[columns[0]]), check.UUID, 'a UUID of version 3 or 4'
            )
            if 'rel_path' in columns and self._has_uuids:
                table.check_match('id', found['id'], check.UUID, 'a UUID of version 3 or 4')
                found['rel_path'] = to_file_paths(found['rel_path'], found['id'])
            yield self._cut(pa.table([found[name] for name in columns], names=list(columns)))

    def _cut(self, rows: pa.Table) -> pa.Table:
        """Cut out the rows of this part; their first column is the eid."""
        if self._part.total == 1:
            return rows
        first, end = self._part.bounds()
        eids = rows.column(0)
        return rows.filter(pc.and_(pc.greater_equal(eids, first), pc.less(eids, end)))

    def session_paths(self, rows: Iterable[Row]) -> list[str]:
        """Get the paths of sessions from their rows."""
        return list_session_paths(rows, self._namespace)

    def total(self) -> Totals:
        """Count sessions, datasets and bytes."""
        sessions = datasets = size_bytes = 0
        for _, found in self._tables.sessions.iter_batches(['id']):
            sessions += self._cut(pa.table(found)).num_rows
        columns = ['eid', 'file_size'] if self._part.total > 1 else ['file_size']
        for _, found in self._tables.datasets.iter_batches(columns):
            rows = self._cut(pa.table([found[name] for name in columns], names=columns))
            datasets += rows.num_rows
            size_bytes += sum_bytes(rows['file_size'])
        return Totals(sessions, datasets, size_bytes)


class _ByPath:
    """An index with ids of another program: gives what `_InOrder` does, with paths as ids."""

    session_columns: Sequence[str] = ['id']

    def __init__(
        self, tables: Tables, discovery: Discovery, part: Share, namespace: UUID, has_uuids: bool
    ) -> None:
        paths: list[SessionPath] = [UuidIdentity().session_path(key) for key in discovery.iter_keys()]
        self.identity: Identity = PathOrder()
        self.discovery = discovery.renamed(self.identity, paths)
        self._tables = tables
        self._part = part
        self._namespace = namespace
        self._has_uuids = has_uuids
        self._paths: dict[SessionParts, list[str]] = {}
        for path in sorted(paths, reverse=True):
            self._paths.setdefault(parse_session_path(path), []).append(path)
        self._totals = Totals(0, 0, 0)

    def iter_keys(self) -> Iterator[bytes]:
        return (key for key in self.discovery.iter_keys() if self._has(key.decode()))

    def _has(self, path: str) -> bool:
        return self._part.total == 1 or self._part.has(eid(path).bytes)

    def read(self, digest: str | None = None) -> tuple[SortedRows, SortedRows]:
        self._tables.check_rows()
        path_of = dict(self._iter_sessions())
        kept = sorted(filter(self._has, path_of.values()))
        sessions = pa.table({'id': pa.array(kept, pa.string())})
        datasets = pa.concat_tables(self._iter_datasets(path_of, digest))
        datasets = datasets.filter(pc.is_in(datasets['eid'], sessions['id'].combine_chunks()))
        datasets = datasets.sort_by([('eid', 'ascending'), ('rel_path', 'ascending')])
        sizes = datasets['file_size']
        size_bytes = None if sizes.null_count else sum_bytes(sizes)
        self._totals = Totals(sessions.num_rows, datasets.num_rows, size_bytes)
        paths = [table.path for table in self._tables.both]
        return (
            SortedRows(iter([sessions]), _session_keys, paths[0]),
            SortedRows(iter([datasets]), _path_keys, paths[1]),
        )

    def _iter_sessions(self) -> Iterator[tuple[str, str]]:
        """Iterate over the id of each session, and its path as its folder is called."""
        table = self._tables.sessions
        columns = [name for name in SESSION_COLUMNS if name in table.schema.names]  # there may be no lab
        for _, found in table.iter_batches(columns):
            cells = [found[name].to_pylist() if name in found else repeat('') for name in SESSION_COLUMNS]
            for row in zip(*cells):  # noqa: B905 - one may be endless
                id, parts = row[0], SessionParts(*row[1:])
                there = self._paths.get(parts) or self._paths.get(parts._replace(lab=''))
                yield id, self._choose_path(id, there) if there else list_session_paths([row], NAMESPACE)[0]

    def _choose_path(self, id: str, there: list[str]) -> str:
        """Choose of the folders of one number, `001` and `1`: an id may be made of the path of one."""
        made_of = (path for path in there if str(eid(path, namespace=self._namespace)) == id)
        path = next(made_of, there[-1])
        there.remove(path)
        return path

    def _iter_datasets(self, path_of: dict[str, str], digest: str | None) -> Iterator[pa.Table]:
        """Iterate over the rows of datasets, with paths as ids; those of no session are at no path."""
        text = pa.string()
        types = {'eid': text, 'rel_path': text, 'file_size': pa.uint64()}
        if digest:
            types[digest] = text
        yield pa.schema(types).empty_table()
        ids, paths = pa.array(path_of.keys(), text), pa.array(path_of.values(), text)
        columns = [*types, 'id'] if self._has_uuids else list(types)
        for _, found in self._tables.datasets.iter_batches(columns, nulls=columns):
            if self._has_uuids:
                found['rel_path'] = to_file_paths(found['rel_path'], found['id'])
            found['eid'] = paths.take(pc.index_in(found['eid'], ids))
            yield pa.table([found[name].cast(kind) for name, kind in types.items()], names=list(types))

    def session_paths(self, rows: Iterable[Row]) -> list[str]:
        return [str(row[0]) for row in rows]

    def total(self) -> Totals:
        return self._totals


Expected = _InOrder | _ByPath

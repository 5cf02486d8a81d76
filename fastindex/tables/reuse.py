"""Reuse the digests of the published index, of files that are as they were and need not be read again.

Gives each shard the rows that the index has of its sessions, and tells which digests still hold: those of
files whose size, mtime, ctime and inode are as they were recorded with the digest, or those of them that the
recipe trusts; what is recorded stays that of the file when it was read. They were recorded only
where mtime and ctime were older than that scan by a minute, so a later change shows (git calls the others
racy); the others have a mark, which equals nothing. The fingerprints stand row for row beside the
datasets.pqt of their generation, so they need no key of their own.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Literal

from fastindex.errors import InvalidIndexError
from fastindex.lazy import pa, pc
from fastindex.names.ids import UuidIdentity, cut
from fastindex.tables.check import Published
from fastindex.tables.file import DAMAGES, GroupTable
from fastindex.tables.merge import LAST, find_session
from fastindex.tables.recipe import Recipe
from fastindex.tables.schema import fingerprints_schema, folders_schema, from_ipc, to_ipc
from fastindex.trees import STATE_FOLDER
from fastindex.trees.digests import Digests
from fastindex.trees.fingerprints import FIELDS, NO_FINGERPRINT, Fingerprint

__all__ = [
    'FINGERPRINTS',
    'FOLDERS',
    'RECENT',
    'KnownIndex',
    'KnownRows',
    'iter_folders',
    'open_fingerprints',
]

FINGERPRINTS = 'fingerprints.parquet'  # in the state folder. Not `.pqt`: what ends so is the client's

FOLDERS = 'folders.parquet'
"""Beside them: by what to know the folders of a session again. There from the first run on that wants it."""

State = tuple[int, int, int, int]
"""Size in bytes, mtime and ctime in nanoseconds, inode: what must be as it was for a digest to hold."""

COLUMN_OF_ALGORITHM = {'xxh128': 'xxh128', 'md5': 'hash'}
RECENT = 'recent'  # why a file is read again that has the mark
STATE_CODES: dict[str, Literal['q', 'Q']] = {
    'file_size': 'Q',
    'mtime_ns': 'q',
    'ctime_ns': 'q',
    'inode': 'Q',
}


class KnownIndex:
    """The published index, read in step with the shards: a row group at a time. Made by `KnownIndex.open`."""

    def __init__(
        self, datasets: GroupTable, fingerprints: GroupTable, algorithms: Sequence[str], *, is_sparse: bool
    ) -> None:
        self.recipe = Recipe.from_json(fingerprints.facts)
        """How the index was made."""
        self._datasets = datasets
        self._is_sparse = is_sparse
        self._fingerprints = fingerprints
        self._columns = ['eid', 'id', 'file_size', *map(COLUMN_OF_ALGORITHM.__getitem__, algorithms)]
        self._groups = iter(range(datasets.footer.num_row_groups))
        self._rows: pa.Table | None = None  # those that were read, and not passed yet
        self._counts = self._iter_counts()
        self._counted = next(self._counts)

    @classmethod
    def open(
        cls,
        published: Published,
        algorithms: Sequence[str],
        trust: Sequence[str] = FIELDS,
        *,
        is_sparse: bool = False,
    ) -> KnownIndex | None:
        """Open the index that is there; None where it has not all these digests, or is not to be trusted.

        trust: by what files are known again, of `fastindex.trees.fingerprints.FIELDS`
        is_sparse: whether the index has sessions between those of a shard, which are not scanned
        """
        pair, folder = published.pair, published.folder
        if isinstance(pair, InvalidIndexError):
            return None
        with suppress(*DAMAGES):
            datasets = GroupTable(folder / 'datasets.pqt', below=folder, repeated=['eid'])
            is_edited = pair.generation is None
            if is_edited and 'inode' not in trust:
                return None  # nothing else tells a fingerprint of another file
            fingerprints = open_fingerprints(folder, datasets, is_edited=is_edited)
            if fingerprints is not None and datasets.generation == pair.generation:
                known = cls(datasets, fingerprints, algorithms, is_sparse=is_sparse)
                return known if set(algorithms) <= set(known.recipe.algorithms) else None
        return None

    def iter_rows(self) -> Iterator[pa.Table]:
        """Iterate over all rows, with their rel_paths, as far as they are whole."""
        with suppress(*DAMAGES):
            for group in self._groups:
                yield self._read_group(group, 'rel_path')

    def weigh(self, key: bytes) -> int:
        """Count the rows of a session, which are asked for in the order of their keys."""
        eid = UuidIdentity().eids([key])[0].decode()
        rows = 0
        while self._counted[0] <= eid:
            rows += self._counted[1] if self._counted[0] == eid else 0
            self._counted = next(self._counts)
        return rows

    def _iter_counts(self) -> Iterator[tuple[str, int]]:
        """Iterate over the sessions and their numbers of rows: in two pieces where a row group ends."""
        yield '', 0
        with suppress(*DAMAGES):
            for group in range(self._datasets.footer.num_row_groups):
                counts = pc.value_counts(self._datasets.read(group, ['eid']).column(0).combine_chunks())
                owners, numbers = (counts.field(i).to_pylist() for i in (0, 1))
                yield from ((eid, rows) for eid, rows in zip(owners, numbers, strict=True) if eid is not None)
        yield LAST, 0

    def for_shard(self, keys: Sequence[bytes]) -> bytes | None:
        """Take the rows of a shard as an Arrow IPC stream; None where there is none.

        keys: of its sessions, after those of all shards before
        """
        try:
            return self._take(keys)
        except DAMAGES:  # rows that no index has, be they only damaged now: nothing is known from here on
            self._groups, self._rows = iter(()), None
            return None

    def _take(self, keys: Sequence[bytes]) -> bytes | None:
        asked = list(keys) if self._is_sparse else [keys[0], keys[-1]]
        eids = [eid.decode() for eid in UuidIdentity().eids(asked)]
        runs = zip(eids, eids, strict=True) if self._is_sparse else [(eids[0], eids[-1])]
        parts = [part for run in runs for part in self._take_run(*run)]
        return to_ipc(pa.concat_tables(parts).combine_chunks().drop_columns(['eid'])) if parts else None

    def _take_run(self, first: str, last: str) -> Iterator[pa.Table]:
        """Take the rows of the sessions from one to another."""
        while (rows := self._peek(first)) is not None:
            eids = rows.column('eid')
            start = find_session(eids, first)
            end = bisect_right(range(len(eids)), last, key=lambda i: eids[i].as_py())
            self._rows = rows.slice(end)
            if start < end:
                yield rows.slice(start, end - start)
            if end < rows.num_rows:
                return

    def _peek(self, first: str) -> pa.Table | None:
        """Look at the next rows that were not passed; no row group is read that ends before a session."""
        while not self._rows:
            group = next(self._groups, None)
            if group is None:
                return None
            if not self._datasets.ends_before(group, first):
                self._rows = self._read_group(group)
        return self._rows

    def _read_group(self, group: int, *further: str) -> pa.Table:
        rows = self._datasets.read(group, [*self._columns, *further])
        for i, field in enumerate(rows.schema):  # as pandas writes it
            if field.type == pa.large_string():
                rows = rows.set_column(i, field.name, rows.column(i).cast(pa.string()))
        start = sum(self._datasets.group_rows[:group])
        fingerprints = self._fingerprints.read_rows(start, rows.num_rows)
        for name in fingerprints.schema.names:
            rows = rows.append_column(name, fingerprints.column(name))
        for name in self._columns[1:]:  # without a digest, as that of what is archived, it is not known
            if rows.column(name).null_count:
                rows = rows.filter(rows.column(name).is_valid())
        return rows.replace_schema_metadata(None)


def iter_folders(folder: Path, generation: str | None) -> Iterator[pa.Table]:
    """Iterate over what is known of the folders of an index, as far as it is whole. See `folders_schema`."""
    with suppress(*DAMAGES):
        table = GroupTable(folder / STATE_FOLDER / FOLDERS, below=folder)
        if table.generation == generation and table.schema.remove_metadata().equals(folders_schema()):
            for group in range(len(table.group_rows)):
                yield table.read(group).replace_schema_metadata(None)


def open_fingerprints(folder: Path, datasets: GroupTable, *, is_edited: bool = False) -> GroupTable | None:
    """Open the fingerprints of a published table; None where they are not those of its rows.

    is_edited: whether another program wrote the table, as the client does with ours when it saves. Then a row
        and its fingerprint may be of different files: but where they are, no file has that size and that
        inode.
    """
    with suppress(*DAMAGES):
        found = GroupTable(folder / STATE_FOLDER / FINGERPRINTS, below=folder)
        is_of_these = found.generation == datasets.generation and found.group_rows == datasets.group_rows
        if is_edited:
            is_of_these = sum(found.group_rows) == sum(datasets.group_rows)
        if is_of_these and found.schema.remove_metadata().equals(fingerprints_schema()):
            return found
    return None


class KnownRows:
    """What the index has of the sessions of a shard, in the order of the table.

    Raises ValueError if they are not what a scan writes: that they are as they were written says their
    generation, not who wrote them.

    data: of `KnownIndex.for_shard`
    algorithms: the digests that are wanted
    trust: by what files are known again, of `fastindex.trees.fingerprints.FIELDS`
    """

    def __init__(self, data: bytes, algorithms: Sequence[str], trust: Sequence[str] = FIELDS) -> None:
        self._trust = trust
        self._table = from_ipc(data).combine_chunks()
        self._ids = text_of(self._table, 'id', 36)
        self._hex_digests = {name: text_of(self._table, COLUMN_OF_ALGORITHM[name], 32) for name in algorithms}
        if any(digits.translate(None, b'0123456789abcdef') for digits in self._hex_digests.values()):
            raise ValueError('there are digests that are not hexadecimal')

    def take_all(
        self, ids: bytes, states: Sequence[array[int]]
    ) -> tuple[dict[str, bytes], tuple[array[int], array[int], array[int]]] | None:
        """Take all rows of a shard over at once; None if any is not as it was, or has the mark.

        ids: of the datasets, 36 characters each
        states: their sizes, mtimes, ctimes and inodes
        Returns for each algorithm the digests of all rows in one piece, 32 hex digits each, and the columns
        of the fingerprints that were recorded with these.
        """
        known = {name: numbers_of(self._table, name) for name in STATE_CODES}
        is_same = (
            self._ids == ids
            and all(
                column == values.tobytes()
                for name, column, values in zip(FIELDS, known.values(), states, strict=True)
                if name in self._trust
            )
            # Else a row, or what was found now, may have the mark: `take` tells which.
            and bytes(8) not in known['ctime_ns'] + states[2].tobytes()
        )
        if not is_same:
            return None
        _, mtimes_ns, ctimes_ns, inodes = (array(code, known[name]) for name, code in STATE_CODES.items())
        return self._hex_digests, (mtimes_ns, ctimes_ns, inodes)

    @cached_property
    def _by_id(self) -> tuple[dict[bytes, tuple[State, Digests]], ...]:
        """The state and the digests of the datasets by their ids, 36 characters.

        A journal and an index may both know a file, and either be the older: what comes later, then what
        comes first.
        """
        states = zip(
            *(memoryview(numbers_of(self._table, name)).cast(code) for name, code in STATE_CODES.items()),
            strict=True,
        )
        columns = [bytes.fromhex(digits.decode()) for digits in self._hex_digests.values()]
        digests = zip(*(cut(column, 16) for column in columns), strict=True)
        rows = list(zip(cut(self._ids, 36), zip(states, digests, strict=True), strict=True))
        last = dict(rows)
        return (last,) if len(last) == len(rows) else (last, dict(reversed(rows)))

    def take(self, id: bytes, state: State) -> tuple[Digests, Fingerprint] | str:
        """Take over the digests of one file, with the fingerprint that was recorded with them.

        Where it is to be read: the first field in which it is not as it was known, `recent` for the mark, ''
        where nothing is known of it.
        """
        found: tuple[Digests, Fingerprint] | str = ''
        for rows in self._by_id:
            found = self._match(rows[id], state) if id in rows else ''
            if not isinstance(found, str):
                break
        return found

    def _match(self, row: tuple[State, Digests], state: State) -> tuple[Digests, Fingerprint] | str:
        known, digests = row
        if known[1:] == NO_FINGERPRINT:
            return RECENT
        for name, now, before in zip(FIELDS, state, known, strict=True):
            if now != before and name in self._trust:
                return name
        return digests, known[1:]

    def select(self, ids: Sequence[bytes]) -> bytes | None:
        """Select the rows of these datasets, where there are any, as `KnownIndex.for_shard` gives them."""
        rows = {known: row for row, known in enumerate(cut(self._ids, 36))}
        found = sorted(rows[one] for one in ids if one in rows)
        return to_ipc(self._table.take(found)) if found else None


def text_of(table: pa.Table, column: str, width: int) -> bytes:
    """Get the characters of a column of strings; ValueError unless each has `width` of them."""
    parts = []
    for chunk in table.column(column).chunks:
        _, offsets, text = chunk.buffers()
        ends = array('i', range(0, width * len(chunk) + 1, width))
        if bytes(memoryview(offsets)[: 4 * len(ends)]) != ends.tobytes():
            raise ValueError(f'column {column} has strings of other lengths')
        parts.append(bytes(memoryview(text)[: ends[-1]]))
    return b''.join(parts)


def numbers_of(table: pa.Table, column: str) -> bytes:
    """Get the bytes of a column of numbers, 8 each."""
    chunks = table.column(column).chunks
    return b''.join(bytes(memoryview(chunk.buffers()[1])[: 8 * len(chunk)]) for chunk in chunks)

"""Find digests of the last index by path, where a run may give other ids to the same files.

An index is in the order of its own eids, the run in that of others, and a journal in none. So the rows are
written once, as they are, into a temporary file that is mapped into memory; a shard gets those of its
sessions with the ids that this run gives them, as if they had had these. Takes memory for each session, and
for no dataset. Leaves to `fastindex.tables.reuse` which digests still hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, repeat
from mmap import ACCESS_READ, mmap
from pathlib import Path

from fastindex.files import find_temporary
from fastindex.lazy import pa
from fastindex.names.ids import Identity, UuidIdentity, cut
from fastindex.names.uuid_names import has_uuid
from fastindex.tables.check import Published
from fastindex.tables.file import DAMAGES
from fastindex.tables.merge import count_runs
from fastindex.tables.paths import iter_paths, to_file_paths
from fastindex.tables.reuse import KnownIndex
from fastindex.tables.schema import to_ipc

__all__ = ['IdentityOf', 'Part', 'RekeyedRows', 'iter_indexed']

IdentityOf = Callable[[Sequence[bytes]], Identity]
"""What names the rows of a shard, by the keys of its sessions."""

Part = tuple[Iterable[tuple[str | None, int]], 'pa.Table']
"""The sessions by their paths, with their numbers of rows; and these, with the `path` of each file in it."""


class RekeyedRows:
    """Rows that were found by path, with the ids of a run.

    parts: of which a later one counts, where both know a file
    identity_of: called when a shard is asked for
    uuid_filenames: whether files have their ids in their names; those that have none are no rows of the run
    """

    def __init__(self, parts: Iterator[Part], identity_of: IdentityOf, *, uuid_filenames: bool) -> None:
        self._identity_of = identity_of
        self._uuid_filenames = uuid_filenames
        self._spans: dict[str | None, list[tuple[int, int]]] = {}  # of sessions by their paths, in the rows
        self._rows = _map(self._note(parts))

    def _note(self, parts: Iterator[Part]) -> Iterator[pa.Table]:
        """Iterate over the rows, and note whose they are."""
        start = 0
        for sessions, rows in parts:
            for session, count in sessions:
                self._spans.setdefault(session, []).append((start, count))
                start += count
            yield rows

    def weigh(self, key: bytes) -> int:
        """Count the rows of a session."""
        return sum(count for _, count in self._spans.get(UuidIdentity().session_path(key), ()))

    def for_shard(self, keys: Sequence[bytes]) -> bytes | None:
        """Take the rows of a shard. See `fastindex.tables.reuse.KnownIndex.for_shard`."""
        identity = self._identity_of(keys)
        spans = [self._spans.get(identity.session_path(key), []) for key in keys]
        parts = [self._rows.slice(*span) for found in spans for span in found]
        if not parts:
            return None
        rows = pa.concat_tables(parts)
        owners = chain.from_iterable(repeat(i, count) for i, found in enumerate(spans) for _, count in found)
        row_of = {
            (owner, path.encode()): row
            for row, (owner, path) in enumerate(zip(owners, rows['path'].to_pylist(), strict=True))
            if not self._uuid_filenames or has_uuid(path)
        }
        counts = Counter(owner for owner, _ in row_of)
        paths = [path for _, path in row_of]
        sort_keys = identity.dataset_keys(list(keys), [counts[i] for i in range(len(keys))], paths)
        named = sorted(zip((owner for owner, _ in row_of), sort_keys, row_of.values(), strict=True))
        ids = cut(identity.dataset_ids([sort_key for _, sort_key, _ in named]).data, 36)
        times = Counter(ids)  # one that is in several names is of none of these files for sure
        once = [i for i, id in enumerate(ids) if times[id] == 1]
        if not once:
            return None
        rows = rows.take([named[i][2] for i in once]).drop_columns(['path'])
        rows = rows.append_column('id', pa.array([ids[i].decode() for i in once], pa.string()))
        return to_ipc(rows.combine_chunks())


def iter_indexed(index: KnownIndex, published: Published, root: Path) -> Iterator[Part]:
    """Iterate over the rows of the published index of a tree, of which none was taken yet."""
    path_of: dict[str, str] = {}
    with suppress(*DAMAGES), published.open() as tables:
        path_of.update(iter_paths(tables.sessions, index.recipe.namespace, root))
    for rows in index.iter_rows():
        paths = rows['rel_path'].cast(pa.string())
        if index.recipe.uuid_filenames:
            paths = to_file_paths(paths, rows['id'])
        sessions = ((path_of.get(eid), count) for eid, count in count_runs(rows['eid']))
        yield sessions, rows.drop_columns(['eid', 'id', 'rel_path']).append_column('path', paths)


def _map(parts: Iterator[pa.Table]) -> pa.Table:
    """Write rows into a file that nobody sees, and map it."""
    from tempfile import TemporaryFile

    with TemporaryFile(prefix='fastindex-', dir=find_temporary()) as file:
        first = next(parts, None)
        if first is None:
            return pa.table({})
        with pa.ipc.new_file(pa.PythonFile(file, 'w'), first.schema) as writer:
            for rows in chain([first], parts):
                writer.write(rows)
        file.flush()
        return pa.ipc.open_file(pa.py_buffer(mmap(file.fileno(), 0, access=ACCESS_READ))).read_all()

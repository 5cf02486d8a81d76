"""What the published index knows, for a run that gives other ids to the same files: they are found by path.

The index is in the order of its own eids, the run in that of others. So its rows are written once, as they
are, into a temporary file that is mapped into memory; a shard gets those of its sessions with the ids that
this run gives them, as if the index had these. Takes memory for each session, and for no dataset. Leaves to
`fastindex.tables.reuse` which digests still hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, repeat
from mmap import ACCESS_READ, mmap

from fastindex.files import find_temporary
from fastindex.lazy import pa, pc
from fastindex.names.ids import Identity, UuidIdentity, cut_ids
from fastindex.names.uuid_names import IN_NAME
from fastindex.tables.check import Published
from fastindex.tables.file import DAMAGES
from fastindex.tables.paths import SESSION_COLUMNS, list_session_paths, to_file_paths
from fastindex.tables.recipe import Recipe
from fastindex.tables.reuse import KnownIndex
from fastindex.tables.schema import to_ipc

__all__ = ['IdentityOf', 'RekeyedIndex']

IdentityOf = Callable[[Sequence[bytes]], Identity]
"""What names the rows of a shard, by the keys of its sessions."""


class RekeyedIndex:
    """The published index with the ids of a run.

    index: of which no row was taken yet
    recipe: that of the run
    identity_of: called when a shard is asked for
    """

    def __init__(
        self, index: KnownIndex, published: Published, recipe: Recipe, identity_of: IdentityOf
    ) -> None:
        self._identity_of = identity_of
        self._spans: dict[str, list[tuple[int, int]]] = {}  # of sessions by their paths, in the rows
        self._rows = _map(self._iter_rows(index, _read_paths(published, index.recipe), recipe))

    def _iter_rows(self, index: KnownIndex, path_of: dict[str, str], recipe: Recipe) -> Iterator[pa.Table]:
        """Iterate over the rows, with the paths of the files in their sessions; note whose they are."""
        start = 0
        for rows in index.iter_rows():
            with_uuids = index.recipe.uuid_filenames
            paths = to_file_paths(rows) if with_uuids else rows['rel_path'].cast(pa.string())
            rows = rows.append_column('path', paths)
            if recipe.uuid_filenames:  # the others are no rows of this run
                rows = rows.filter(pc.match_substring_regex(rows['path'], IN_NAME))
            runs = pc.run_end_encode(rows['eid'].cast(pa.string()).combine_chunks())
            first = 0
            for eid, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
                if eid in path_of:
                    self._spans.setdefault(path_of[eid], []).append((start + first, end - first))
                first = end
            start += first
            yield rows.drop_columns(['eid', 'rel_path'])

    def weigh(self, key: bytes) -> int:
        """Count the rows of a session."""
        return sum(count for _, count in self._spans.get(UuidIdentity().session_path(key), ()))

    def for_shard(self, keys: Sequence[bytes]) -> bytes | None:
        """Take the rows of a shard. See `fastindex.tables.reuse.KnownIndex.for_shard`."""
        identity = self._identity_of(keys)
        spans = [self._spans.get(identity.session_path(key), []) for key in keys]
        counts = [sum(count for _, count in found) for found in spans]
        if not any(counts):
            return None
        rows = pa.concat_tables([self._rows.slice(*span) for found in spans for span in found])
        paths = [path.encode() for path in rows['path'].to_pylist()]
        sort_keys = identity.dataset_keys(list(keys), counts, paths)
        owners = chain.from_iterable(map(repeat, range(len(keys)), counts))
        order = sorted(range(len(paths)), key=list(zip(owners, sort_keys, strict=True)).__getitem__)
        ids = cut_ids(identity.dataset_ids([sort_keys[row] for row in order]))
        times = Counter(ids)  # one that is in several names is of none of these files for sure
        once = [i for i, id in enumerate(ids) if times[id] == 1]
        if not once:
            return None
        rows = rows.take([order[i] for i in once]).drop_columns(['id', 'path'])
        rows = rows.append_column('id', pa.array([ids[i].decode() for i in once], pa.string()))
        return to_ipc(rows.combine_chunks())


def _read_paths(published: Published, recipe: Recipe) -> dict[str, str]:
    """Read the paths of the sessions of an index, by their eids."""
    paths: dict[str, str] = {}
    with suppress(*DAMAGES), published.open() as tables:
        for _, found in tables.sessions.iter_batches(SESSION_COLUMNS):
            rows = list(zip(*(found[name].to_pylist() for name in SESSION_COLUMNS), strict=True))
            session_paths = list_session_paths(rows, recipe.namespace)
            paths.update(zip((row[0] for row in rows), session_paths, strict=True))
    return paths


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

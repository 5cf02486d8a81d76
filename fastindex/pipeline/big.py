"""Hash a big file by itself, in a task of its own, so that no shard waits for it."""

from __future__ import annotations

from typing import NamedTuple

from fastindex.names.problems import Reason, Tally
from fastindex.pipeline.rows import Rows
from fastindex.pipeline.walk import measure_datasets
from fastindex.trees import Tree, Wanted
from fastindex.trees.digests import Measured

__all__ = ['HashResult', 'HashTask']


class HashTask(NamedTuple):
    """A file that is hashed by itself, a big one most often."""

    tree: Tree
    path: str
    algorithms: tuple[str, ...]
    row: int = 0  # in the rows of its shard
    cost: int = 0  # its size in bytes

    def run(self) -> HashResult:
        """Measure it. Never raises for what is on the disk."""
        rows, tally = Rows(), Tally()
        above, _, name = self.path.rpartition('/')
        wanted = Wanted(self.algorithms, with_fingerprints=True)
        try:
            with self.tree.open_folder(above, tally) as folder:
                measure_datasets(folder, above, [name], [b''], wanted, rows, tally)
        except OSError as error:
            tally.error(self.path, error)
        if not rows.sizes:
            return HashResult(None, tally)
        digests = rows.digests[0] if rows.digests else None
        return HashResult((rows.sizes[0], digests, rows.fingerprints[0]), tally)

    def rescue(self) -> HashResult:
        """Make a problem of it."""
        tally = Tally()
        tally.problem(self.path, Reason.WORKER_DIED)
        return HashResult(None, tally)


class HashResult(NamedTuple):
    """The state of a file; `measured` is None where it is a problem."""

    measured: Measured | None
    tally: Tally

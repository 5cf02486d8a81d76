"""Hash a big file by itself, in a task of its own, so that no shard waits for it."""

from __future__ import annotations

from typing import NamedTuple

from fastindex.names.problems import Reason, Tally
from fastindex.pipeline.walk import measure_archived, tell_wrong
from fastindex.trees import Tree, Wanted
from fastindex.trees.digests import Measured

__all__ = ['HashResult', 'HashTask', 'hash_file']


class HashTask(NamedTuple):
    """A big file to be hashed by itself."""

    tree: Tree
    path: str
    algorithms: tuple[str, ...]
    row: int = 0  # in the rows of its shard
    cost: int = 0  # its size in bytes

    def run(self) -> HashResult:
        """Hash it. Never raises for what is on the disk."""
        return hash_file(self.tree, self.path, self.algorithms)

    def rescue(self) -> HashResult:
        """Make a problem of it."""
        tally = Tally()
        tally.problem(self.path, Reason.WORKER_DIED)
        return HashResult(None, tally)


class HashResult(NamedTuple):
    """The state of a file; `measured` is None where it is a problem."""

    measured: Measured | None
    tally: Tally


def hash_file(tree: Tree, path: str, algorithms: tuple[str, ...]) -> HashResult:
    """Measure one file by its path. Never raises for what is on the disk."""
    tally = Tally()
    above, _, name = path.rpartition('/')
    try:
        with tree.open_folder(above, tally) as folder:
            wanted = Wanted(algorithms, with_fingerprints=True)
            sizes, digests, fingerprints, wrong = folder.measure([name], wanted)
    except OSError as error:
        wrong = {0: error}
    if wrong:
        tell_wrong(tally, path, wrong[0])
        if wrong[0] is Reason.ARCHIVED and algorithms == ('xxh128',):
            return HashResult(measure_archived(tree, above, name), tally)
        return HashResult(None, tally)
    return HashResult((sizes[0], digests[0] if digests else None, fingerprints[0]), tally)

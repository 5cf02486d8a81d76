"""How an index is built: what the stages are told, beyond what `fastindex.build` takes from its callers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from fastindex.names.ids import Identity, PathIdentity
from fastindex.names.problems import Skip
from fastindex.tables.metadata import Recipe

if TYPE_CHECKING:
    from fastindex.jobs.build.adopt import AdoptedIds
    from fastindex.tables.changes import Change

__all__ = ['Options']


class Options(NamedTuple):
    """How an index is built, beyond what `fastindex.build` offers; see there.

    One field for each thing that a caller may wish.

    Parameters
    ----------
    recipe
        How the index is made; the tables say so.
    as_before
        Those of its options that the published index has decided, in backticks.
    adopted
        The ids of other tables, where these are kept.
    carries
        Whether the new rows get what the published index knows of them, and no tree tells: qc, projects.
    path_ids
        Whether paths are the ids, whatever the recipe says. The tables then have no index for the client's
        data frames.
    lab
        Fills the lab column; what the tree says if None.
    reuse
        Whether digests of the published index are reused where they still hold; not where paths are ids.
    """

    recipe: Recipe = Recipe()
    as_before: tuple[str, ...] = ()
    adopted: AdoptedIds | None = None
    carries: bool = False
    path_ids: bool = False
    lab: str | None = None
    reuse: bool = False
    allow_empty: bool = False
    progress: bool = False
    on_skip: Callable[[Skip], None] | None = None
    on_change: Callable[[Change], None] | None = None

    @property
    def identity(self) -> Identity:
        """What names and orders the rows."""
        if self.path_ids:
            return PathIdentity()
        return self.recipe.identity(self.adopted.identity if self.adopted else None)

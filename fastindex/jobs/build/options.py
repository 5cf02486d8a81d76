"""How an index is built: what the stages are told, beyond what `fastindex.build` takes from its callers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from fastindex.names.ids import Identity
from fastindex.names.problems import Skip
from fastindex.tables.metadata import Facts

if TYPE_CHECKING:
    from fastindex.jobs.build.adopt import AdoptedIds
    from fastindex.tables.changes import Change

__all__ = ['Options']


class Options(NamedTuple):
    """How an index is built, beyond what `fastindex.build` offers; see there.

    Parameters
    ----------
    identity
        Names and orders the rows.
    with_index
        Whether `id` and (`eid`, `id`) become the index of the client's data frames.
    lab
        Fills the lab column; what the tree says if None.
    adopted
        Ids of other tables, of which `identity` is made.
    facts
        What the tables say of how they were made; of the same options as `identity`.
    reuse
        Whether digests of the published index are reused where they still hold; for `UuidIdentity` only.
    overwrite
        Whether tables that another program wrote are replaced.
    """

    identity: Identity
    algorithms: tuple[str, ...] = ()
    with_index: bool = True
    adopted: AdoptedIds | None = None
    facts: Facts = Facts()
    lab: str | None = None
    reuse: bool = False
    allow_empty: bool = False
    force: bool = False
    overwrite: bool = False
    check: bool = False
    progress: bool = False
    on_skip: Callable[[Skip], None] | None = None
    on_change: Callable[[Change], None] | None = None

"""How an index is built: what the stages are told, beyond what `fastindex.build` takes from its callers."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple
from uuid import UUID

from fastindex import limits
from fastindex.errors import InvalidIndexError, LabConflictError, UsageError
from fastindex.names.alf import parse_session_path
from fastindex.names.given_ids import choose_identity
from fastindex.names.ids import Identity, PathIdentity
from fastindex.names.problems import Skip
from fastindex.pipeline.discover import Discovery
from fastindex.progress import announce
from fastindex.tables.recipe import REVISIONS, Recipe
from fastindex.text import escape, is_utf8
from fastindex.trees import is_url
from fastindex.trees.fingerprints import FIELDS, check_trust

if TYPE_CHECKING:
    from fastindex.jobs.build.adopt import AdoptedIds
    from fastindex.jobs.build.scope import Scope
    from fastindex.tables.changes import Change
    from fastindex.tables.losses import Limit
    from fastindex.tables.qc_file import Outcomes

__all__ = [
    'Options',
    'adopt',
    'check_lab',
    'check_questions',
    'check_values',
    'choose_target',
    'choose_trust',
    'list_tables',
    'open_outcomes',
]


class Options(NamedTuple):
    """How an index is built, beyond what `fastindex.build` offers; see there.

    Of many fields: each is a thing that a caller may wish.
    """

    recipe: Recipe = Recipe()  # how the index is made; the tables say so
    as_before: tuple[str, ...] = ()  # those of its options that the published index has decided, in backticks
    adopted: AdoptedIds | None = None  # the ids of other tables, where these are kept
    # whether the new rows get what the published index knows of them, and no tree tells: qc, projects
    carries: bool = False
    forgets: bool = False  # whether it does not matter that what the published index knows cannot be read
    offers_info: bool = False  # whether it is counted what the sessions' own files would tell
    outcomes: Outcomes | None = None  # what is to be in the column qc, whatever is known
    # which sessions are scanned, and the rows of the others carried over; None scans all
    scope: Scope | None = None
    # whether paths are the ids, whatever the recipe says. The tables then have no index for the client's data
    # frames
    path_ids: bool = False
    lab: str | None = None  # fills the lab column; what the tree says if None
    # whether digests of the published index are reused where they still hold; not where paths are ids
    reuse: bool = False
    allow_empty: bool = False
    max_removed: Limit | None = None  # how much the index may lose; None allows all
    # how many indexes that were replaced are kept; None is as many as there are, but one at least. 0 keeps
    # those that there are, and not this one
    keep: int | None = None
    progress: bool = False
    on_skip: Callable[[Skip], None] | None = None
    on_change: Callable[[Change], None] | None = None

    @property
    def identity(self) -> Identity:
        """What names and orders the rows."""
        if self.path_ids:
            return PathIdentity()
        if self.adopted is not None:
            return self.adopted.identity
        return choose_identity(self.recipe.namespace, uuid_filenames=self.recipe.uuid_filenames)

    def identity_of(self, keys: Sequence[bytes]) -> Identity:
        """Get what names and orders the rows of a shard."""
        return self.adopted.for_shard(keys) if self.adopted is not None else self.identity

    @property
    def journaled(self) -> tuple[str, ...]:
        """The digests of which a journal is kept: of none where paths are the ids, and nothing is reused."""
        return () if self.path_ids else self.recipe.algorithms


def open_outcomes(path: str | os.PathLike[str] | None, *, is_part: bool) -> Outcomes | None:
    """Read the outcomes of quality control; None where there is no file of them."""
    if path is None:
        return None
    if is_part:
        raise UsageError(
            hint='the file of `qc` is about all sessions: expected neither `only` nor `new` with it'
        )
    from fastindex.tables.qc_file import Outcomes

    return Outcomes(path)


def choose_trust(trust: Collection[str] | None, root: str | os.PathLike[str]) -> tuple[str, ...] | None:
    """Choose by what files are known again; None is as before. In a bucket it is always the ETag too."""
    if not is_url(root):
        return None if trust is None else check_trust(trust)
    if trust is not None:
        raise UsageError(
            f'{escape(root)}: trust is for a tree on a disk; in a bucket, ETag and time tell '
            'whether an object is as it was'
        )
    return FIELDS


def list_tables(
    ids_from: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Literal[False] | None,
) -> list[Path]:
    """List the folders or files of tables whose ids are to be kept. InvalidIndexError if one is not there."""
    paths = [ids_from] if isinstance(ids_from, str | os.PathLike) else ids_from or ()
    tables = list(map(Path, paths))
    for path in tables:
        if not path.exists():
            raise InvalidIndexError(f'{escape(path)}: there is no such folder')
    return tables


def adopt(tables: Sequence[Path], recipe: Recipe, folder: Path, *, progress: bool) -> AdoptedIds | None:
    """Take the ids of tables, by their folders or files; else those that the index in a folder has kept."""
    if not recipe.ids_from:
        return None
    from fastindex.jobs.build.adopt import AdoptedIds, remembering

    with announce('reading the tables whose ids are kept', enabled=progress):
        if tables:
            return AdoptedIds.open(tables, recipe.namespace)
        with remembering():
            return AdoptedIds.open_own(folder, recipe.namespace)


def check_lab(found: Discovery, identity: Identity, lab: str) -> None:
    """Refuse the name of a lab that no folder has, or another one than the tree has."""
    if '/' in lab or '\0' in lab or lab in ('.', '..') or not is_utf8(lab) or limits.is_too_long(lab):
        raise UsageError(f"lab={lab[:200]!r}: expected a folder's name")
    labs = {parse_session_path(identity.session_path(key)).lab for key in found.iter_keys()}
    if other := labs - {'', lab}:
        raise LabConflictError(f'lab name conflict: {lab!r} was asked for, the tree has {sorted(other)}')


def check_values(namespace: UUID | None, default_revision: str | None, keep: int | None, wait: float) -> None:
    """Refuse values that have no meaning."""
    if not isinstance(namespace, UUID | None):
        raise UsageError(f'namespace={namespace!r}: expected a uuid.UUID')
    if default_revision not in (None, *REVISIONS):
        raise UsageError(f'default_revision={default_revision!r}: expected one of {", ".join(REVISIONS)}')
    if keep is not None and keep < 1:
        raise UsageError(f'keep={keep}: expected 1 or more')
    if not (isinstance(wait, int | float) and wait >= 0):
        raise UsageError(f'wait={wait!r}: expected seconds, 0 or more')


def check_questions(*, check: bool, dry_run: bool, is_part: bool) -> None:
    """Refuse questions that exclude each other or have no answer."""
    if check and dry_run:
        raise UsageError(hint='`check` and `dry_run` are two questions: expected one of them')
    if dry_run and is_part:
        raise UsageError(
            hint='`dry_run` looks at no index: expected `check`, which tells what `only`, `new` and `quick` '
            'would change'
        )


def choose_target(
    root: str | os.PathLike[str], out: str | os.PathLike[str] | None, *, dry_run: bool
) -> str | os.PathLike[str]:
    """Choose where the tables go: into a bucket only if it was named for them."""
    if out is not None and not os.fspath(out):
        raise UsageError("the folder for the tables is '': expected a name ('.' is the current folder)")
    if out is None and is_url(root) and not dry_run:
        raise UsageError(
            f'{escape(root)}: a bucket is only read, unless it is said: ',
            hint='expected `out` DIR for the tables, or `out` s3://bucket/prefix',
        )
    return root if out is None else out

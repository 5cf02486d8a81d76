"""The place of an index, opened for a run that replaces it: locked, and free of what a killed run left.

How a new pair is put in place there says `fastindex.tables.publish`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fastindex.errors import PublishError
from fastindex.files import temporary_folder
from fastindex.folders import OpenFolder
from fastindex.tables.lock import enter_patiently
from fastindex.tables.publish import STAGE, Stage
from fastindex.text import escape
from fastindex.trees import STATE_FOLDER

__all__ = ['open_draft', 'open_stage', 'open_target', 'recover']


def recover(out: Path) -> None:
    """Finish or remove what an earlier run left in a folder, before anything of its index is read.

    What that run was allowed to replace is replaced; nothing else is. See `open_target`, which says what is
    raised.
    """
    if os.path.lexists(out / STATE_FOLDER / STAGE):
        with open_target(out, overwrite=True):
            pass


@contextmanager
def open_target(
    out: Path,
    *,
    force: bool = False,
    overwrite: bool = False,
    url: str | None = None,
    wait_s: float = 0,
) -> Iterator[Stage]:
    """Open the place of an index for a run that will replace it, before anything is discovered.

    Takes the lock, deals with what an earlier run left, and tries whether the folder can be written to: what
    stands in the way of a run of hours is told at its start. Raises LockedError if another run writes the
    same index. Raises ForeignTableError if another program wrote the tables that are there. Raises
    PublishError if the folder cannot be written to, or has something else in the place of a table.

    force: whether a table that is a link may be replaced by a file. What it leads to is left alone.
    overwrite: whether tables that another program wrote may be replaced
    url: of the bucket that the folder has a copy of
    wait_s: how many seconds another run may yet take
    Returns the stage, to be opened when there is something to write. See `Stage.open`.
    """
    with _open_out(out) as folder, ExitStack() as held:
        stage = Stage(folder, force=force, overwrite=overwrite)
        with stage.explaining():
            if not os.path.lexists(stage.path):  # nor a lock of ours, by which a folder is known as ours
                stage.check_places()
                stage.check_owner(url=url)
            enter_patiently(held, stage.hold, wait_s)
            stage.check_places()
            stage.recover()
            stage.check_owner(url=url)
        yield stage


@contextmanager
def open_stage(out: Path, *, force: bool = False, overwrite: bool = False) -> Iterator[Stage]:
    """Open the place of an index, and the stage in it at once. See `open_target` and `Stage.open`."""
    with open_target(out, force=force, overwrite=overwrite) as stage, stage.open():
        yield stage


@contextmanager
def open_draft() -> Iterator[Stage]:
    """Open a stage that is never published, away from every index."""
    with temporary_folder() as folder, open_stage(folder) as stage:
        yield stage


def _open_out(out: Path) -> OpenFolder:
    try:
        return OpenFolder.open(out)
    except OSError as error:
        raise PublishError(
            f'{escape(out)}: the folder for the tables cannot be opened ({error.strerror}): make it first, '
            'or name another one'
        ) from error

"""Put an index back that a run has replaced: the one that is there is kept in its place."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

from fastindex.errors import InvalidIndexError, UsageError, naming_shortage, noting
from fastindex.records import Record
from fastindex.tables.check import check_pair
from fastindex.tables.file import TABLES
from fastindex.tables.previous import (
    KeptIndex,
    count_kept,
    iter_kept,
    link_files,
    look_at_index,
    path_of_kept,
)
from fastindex.tables.publish import EXTRAS, Stage
from fastindex.tables.target import open_target
from fastindex.text import escape, to_count, to_text
from fastindex.trees import Access, is_url

__all__ = ['Restored', 'restore']


class Restored(Record):
    """What was put back.

    Parameters
    ----------
    folder
        Of the tables, or the URL of a bucket.
    generation, sessions, datasets
        Of the index that is published now; the first is None where another program made it.
    kept
        The indexes that can be put back now, the one that was replaced last first.
    """

    folder: str
    generation: str | None
    sessions: int
    datasets: int
    kept: tuple[KeptIndex, ...]

    def __str__(self) -> str:
        return (
            f'{escape(self.folder)}: the index of {to_count(self.sessions, "session")} and '
            f'{to_count(self.datasets, "dataset")} is published again; the other one is kept'
        )

    def __repr__(self) -> str:
        return f'<Restored: {self}>'


@naming_shortage()
def restore(
    root: str | os.PathLike[str],
    *,
    index: str | os.PathLike[str] | None = None,
    number: int = 1,
    endpoint: str | None = None,
    anonymous: bool = False,
    requester_pays: bool = False,
) -> Restored:
    """Put an index back that a build has replaced, with its fingerprints. Twice is as before.

    Parameters
    ----------
    root
        The folder that was indexed.
    index
        Where the tables are, if not there; of `s3://bucket/prefix` that is put back which this user on this
        machine has replaced. If that fails midway, doing it again finishes it.
    number
        1 is the one that was replaced last, 2 the one before it.
    endpoint, anonymous, requester_pays
        As for a build.

    Raises
    ------
    InvalidIndexError
        If none of this number is kept, or it is damaged: what is published stays.
    LockedError, PublishError, UsageError
        As for a build.
    """
    if number < 1:
        raise UsageError(f'number={number}: expected 1 or more')
    target = root if index is None else index
    done: list[str] = []
    with noting(done), ExitStack() as stack:
        mirror, is_done = None, False
        if is_url(target):
            from fastindex.tables.publish_bucket import open_mirror

            access = Access(endpoint, anonymous, requester_pays)
            mirror = stack.enter_context(open_mirror(os.fspath(target), access))
            is_done, target = mirror.update(), mirror.folder
        folder = Path(os.path.realpath(target))
        stage = stack.enter_context(open_target(folder, overwrite=True))  # what is there is kept
        if not is_done:
            _swap(stage, folder, number)
            if mirror is not None:
                mirror.publish(is_restored=True)
        done.append('the index was put back: once more is as before')
        found = look_at_index(folder, 0, below=folder)
        return Restored(
            mirror.location.url if mirror else to_text(folder),
            found.generation,
            found.sessions,
            found.datasets,
            tuple(iter_kept(folder)),
        )


def _swap(stage: Stage, folder: Path, number: int) -> None:
    """Let the index that is there and one that is kept change places."""
    source = path_of_kept(folder, number)
    if not source.is_dir():
        there = count_kept(stage.state)
        which = f'the numbers are 1 to {there}' if there > 1 else 'only number 1 is' if there else 'none is'
        raise InvalidIndexError(f'{escape(folder)}: no replaced index of number {number} is kept: {which}')
    for table in TABLES:
        if not os.path.lexists(source / table):
            raise InvalidIndexError(f'{escape(source / table)}: this table of the kept index is gone')
    check_pair(source, below=folder)
    with stage.open():
        with stage.state.enter(source.name) as kept:
            link_files((*TABLES, *EXTRAS), kept, stage.folder)
        stage.publish(swap=number)

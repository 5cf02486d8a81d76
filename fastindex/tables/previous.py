"""The indexes that a publish has replaced: kept in the state folder, to be put back.

    .fastindex/previous/      the pair that was replaced last, with its fingerprints and problems
    .fastindex/previous-2/    the one before it, where more than one is kept; and so on

A pair is put by with the new one: its files are linked into a folder of the stage before that is sealed,
which costs no copy, and the folder takes its place after the new pair has taken its own. A run that dies in
between leaves that to the next one, as all that follows the seal. So at any time a pair is published, kept,
or both.

The folder in the stage says by its name what becomes of it: `keep-3` is to be the first of three, `swap-2` to
take the place of the second.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from fastindex.errors import InvalidIndexError
from fastindex.folders import NO_LINKS, OpenFolder
from fastindex.system import sync_file
from fastindex.tables.file import TABLES, TableFile, open_table
from fastindex.text import to_text
from fastindex.trees import STATE_FOLDER

__all__ = [
    'COVERED',
    'KeptIndex',
    'count_kept',
    'iter_kept',
    'link_files',
    'look_at_index',
    'path_of_kept',
    'put_by',
]

COVERED = 'covered'
"""A file in the folder of one: the index that took its place has all of its rows."""

_STAGED = re.compile(r'(keep|swap)-([1-9][0-9]{0,3})', re.ASCII)


@dataclass(frozen=True, slots=True)
class KeptIndex:
    """An index that was replaced, as far as its tables say; None where they do not.

    number: 1 is the one that was replaced last
    path: the folder of its tables
    """

    number: int
    path: str
    generation: str | None
    date_created: str | None
    sessions: int
    datasets: int


def _name_of(number: int) -> str:
    return 'previous' if number == 1 else f'previous-{number}'


def path_of_kept(out: Path, number: int) -> Path:
    """Get the folder of an index that was replaced in a folder."""
    return out / STATE_FOLDER / _name_of(number)


def count_kept(state: OpenFolder) -> int:
    """Count the indexes that are kept, up to the first that is not there."""
    number = 0
    while (info := state.look(_name_of(number + 1))) is not None and S_ISDIR(info.st_mode):
        number += 1
    return number


def iter_kept(out: Path) -> Iterator[KeptIndex]:
    """Iterate over the indexes that are kept in a folder of tables, the last one first."""
    number = 1
    while (folder := path_of_kept(out, number)).is_dir():
        with suppress(InvalidIndexError):
            yield look_at_index(folder, number, below=out)
        number += 1


def look_at_index(folder: Path, number: int, *, below: Path) -> KeptIndex:
    """Look at the footers of an index. Raises InvalidIndexError if it has none."""
    tables = []
    for name in reversed(TABLES):
        with open_table(folder / name, below=below) as file:
            tables.append(TableFile(folder / name, file))
    date = tables[1].read_one_metadata().get('date_created')
    generation = tables[1].facts.get('generation')
    return KeptIndex(
        number,
        to_text(folder),
        None if generation is None else str(generation),
        None if date is None else str(date),
        *(table.footer.num_rows for table in tables),
    )


def link_files(names: Sequence[str], source: OpenFolder, target: OpenFolder) -> None:
    """Link files into another folder, as far as they are there; copy them where they cannot be linked."""
    for name in names:
        info = source.look(name)
        if info is None or not S_ISREG(info.st_mode):
            continue
        try:
            source.link(name, target, name)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            with os.fdopen(source.open_fd(name), 'rb') as old, target.open_new(name) as new:
                while data := old.read(2**20):
                    new.write(data)
                new.flush()
                sync_file(new.fileno())


def put_by(stage: OpenFolder, state: OpenFolder, *, is_patient: bool = True) -> None:
    """Give what was linked into the stage its place in the state folder; as often as it takes.

    What is not kept any more goes to the stage, and with it.
    """
    for name in stage.names():
        match = _STAGED.fullmatch(name)
        if match is None:
            continue
        number = int(match[2])
        if match[1] == 'swap':
            _give_up(state, number, stage, is_patient=is_patient)
        else:
            kept = count_kept(state)
            for old in range(kept, number - 1, -1):
                _give_up(state, old, stage, is_patient=is_patient)
            for old in range(min(kept, number - 1), 0, -1):
                state.replace(_name_of(old), state, _name_of(old + 1), is_patient=is_patient)
            number = 1
        stage.replace(name, state, _name_of(number), is_patient=is_patient)
        state.sync()


def _give_up(state: OpenFolder, number: int, stage: OpenFolder, *, is_patient: bool) -> None:
    with suppress(FileNotFoundError):
        state.replace(_name_of(number), stage, f'dropped-{number}', is_patient=is_patient)

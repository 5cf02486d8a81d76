"""Tables that fastindex did not write, of each kind: what tests put where an index is to go."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

import one.alf.cache
import pandas as pd
from iblutil.io import parquet

import fastindex

TABLES = ('sessions.pqt', 'datasets.pqt')


def by_the_builder(root: Path, folder: Path) -> None:
    one.alf.cache.make_parquet_db(root, out_dir=folder)


def saved_by_the_client(root: Path, folder: Path) -> None:
    """Our own tables, as the client's `save_cache` writes them, where a run of ours left its state."""
    fastindex.build(root, out=folder, workers=1)
    for name in TABLES:
        parquet.save(folder / name, *parquet.load(folder / name))


def of_a_database(root: Path, folder: Path) -> None:
    """Ids of version 4, projects and qc, as in the tables of an Alyx database."""
    saved_by_the_client(root, folder)
    shutil.rmtree(folder / '.fastindex')
    (sessions, about), (datasets, _) = (parquet.load(folder / name) for name in TABLES)
    eids = {eid: str(uuid.uuid4()) for eid in sessions.index}
    sessions.index = sessions.index.map(eids)
    datasets.index = pd.MultiIndex.from_tuples(
        [(eids[eid], str(uuid.uuid4())) for eid, _ in datasets.index], names=['eid', 'id']
    )
    datasets['qc'] = pd.Categorical(['PASS'] * len(datasets), datasets['qc'].cat.categories, ordered=True)
    parquet.save(folder / 'sessions.pqt', sessions.assign(projects='brainwide'), about)
    parquet.save(folder / 'datasets.pqt', datasets, about)


def by_pandas(root: Path, folder: Path) -> None:
    """No metadata of the client."""
    for name in TABLES:
        pd.DataFrame({'id': ['x'], 'rel_path': ['y']}).to_parquet(folder / name)


def one_alone(root: Path, folder: Path) -> None:
    by_the_builder(root, folder)
    (folder / 'sessions.pqt').unlink()


def beside_ours(root: Path, folder: Path) -> None:
    of_a_database(root, folder)
    shutil.copy(folder / 'sessions.pqt', folder / 'theirs')
    fastindex.build(root, out=folder, workers=1, force=True)
    (folder / 'theirs').replace(folder / 'sessions.pqt')


def no_table(root: Path, folder: Path) -> None:
    (folder / 'sessions.pqt').write_text('a list of our sessions: s1, s2')


def empty_file(root: Path, folder: Path) -> None:
    (folder / 'datasets.pqt').touch()


def links(root: Path, folder: Path) -> None:
    (folder / 'alyx').mkdir()
    by_the_builder(root, folder / 'alyx')
    for name in TABLES:
        (folder / name).symlink_to(f'alyx/{name}')


def pipe(root: Path, folder: Path) -> None:
    os.mkfifo(folder / 'sessions.pqt')


STRANGERS: dict[str, Callable[[Path, Path], None]] = {
    make.__name__: make
    for make in (
        *(by_the_builder, of_a_database, by_pandas),
        *(one_alone, beside_ours, no_table, empty_file, links, pipe),
    )
}
"""By name: put tables of this kind into a folder, for a tree."""

SERVED = ('of_a_database',)
"""Those that are an index with ids that can be kept."""

COMMANDS = [
    ['{root}', '--out', '{folder}'],
    ['{root}', '--out', '{folder}', '--hash'],
    ['{root}', '--out', '{folder}', '--ids-from', '{other}'],
]
"""All that would write tables into a folder: without asking, or with what is no permission to."""

RELEASES = [
    ['release', '{root}', '--tables', '{folder}', '--out', '{tmp}/x.zip'],
    [
        *('release', '{root}', '--tables', '{folder}', '--out', '{tmp}/x.zip', '--overwrite'),
        *('--force', '--ids-from', '{folder}', '--select', '--subject', 's1'),
    ],
]
"""What makes its index apart from such tables."""


def look_at(folder: Path) -> dict[str, tuple[int, str, bytes]]:
    """All that is in a folder and below: the inode, what a link leads to, and the bytes of a file."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_ino,
            os.readlink(path) if path.is_symlink() else '',
            path.read_bytes() if path.is_file() else b'',
        )
        for path in folder.rglob('*')
    }

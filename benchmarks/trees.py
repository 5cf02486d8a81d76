"""Trees to measure on: files by the million written fast, and sessions that are invented and touch no disk.

    python -m benchmarks.trees 100k 1m --data bench-data

A folder that is there already is taken for the tree: it gets its name when it is complete. The names are ALF,
the contents are noise of 200 to 3000 bytes; real trials are the business of `fastindex example`.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple

from fastindex.jobs.example.example import iter_session_paths, write_example
from fastindex.names.problems import Tally
from fastindex.trees import SIZES, Folder, Kind, Measures, Wanted

DATASETS_A_SESSION = 15
SESSION_PATH = 'lab/Subjects/subject/2024-01-01/001'
BIG_FILE_BYTES = 8 * 10**9
SMALL_FILES = 1500
"""Beside the big file."""

NAMES = [
    f'_ibl_trials.{attribute}.npy'
    for attribute in (
        *('choice', 'contrastLeft', 'contrastRight', 'feedbackType', 'feedback_times'),
        *('goCueTrigger_times', 'goCue_times', 'included', 'intervals', 'probabilityLeft'),
        *('repNum', 'response_times', 'rewardVolume', 'stimOnTrigger_times', 'stimOn_times'),
    )
]
"""Of the datasets of a session, as in the example."""

_NOISE = random.Random(0).randbytes(3000)


def make_tree(name: str, data: Path) -> Path:
    """Make one of the `TREES` in the folder of all trees, unless it is there; give its root."""
    root = data.resolve() / name
    if not root.exists():
        growing = root.with_name(f'.{name}.partial')
        shutil.rmtree(growing, ignore_errors=True)
        growing.mkdir(parents=True)
        TREES[name](growing)
        growing.rename(root)
    return root


def write_spread(root: Path, files: int) -> None:
    """Write sessions of the same shape as the example: date, number and `alf`, with 15 files."""
    paths = list(iter_session_paths(files // DATASETS_A_SESSION))
    with ProcessPoolExecutor() as executor:
        list(executor.map(partial(_write_session, root), paths, chunksize=200))


def _write_session(root: Path, session_path: str) -> None:
    folder = root / session_path / 'alf'
    folder.mkdir(parents=True)
    _write_files(folder, NAMES, seed=session_path)


def write_one_folder(root: Path, files: int) -> None:
    """Write all files to one folder of one session, each with a name of its own."""
    folder = root / SESSION_PATH / 'alf'
    folder.mkdir(parents=True)
    _write_files(folder, (f'spikes.part{i:07}.npy' for i in range(files)), seed=SESSION_PATH)


def write_big(root: Path) -> None:
    """Write one file of 8 GB, which takes its space on the disk, among 1,500 small ones."""
    write_spread(root, SMALL_FILES)
    folder = root / SESSION_PATH / 'raw_ephys_data'
    folder.mkdir(parents=True)
    block = random.Random(0).randbytes(10**7)
    with (folder / '_spikeglx_ephysData.raw.bin').open('wb') as file:
        for _ in range(BIG_FILE_BYTES // len(block)):
            file.write(block)


def _write_files(folder: Path, names: Iterator[str] | list[str], *, seed: str) -> None:
    draw = random.Random(seed).randrange
    folder_fd = os.open(folder, os.O_RDONLY)
    for name in names:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=folder_fd)
        os.write(fd, _NOISE[: draw(200, len(_NOISE))])
        os.close(fd)
    os.close(folder_fd)


def _write_example(root: Path) -> None:
    root.rmdir()  # it wants to make its folder itself
    write_example(root)


TREES: dict[str, Callable[[Path], None]] = {
    'example': _write_example,
    'session': partial(write_spread, files=DATASETS_A_SESSION),
    '100k': partial(write_spread, files=100_000),
    '1m': partial(write_spread, files=1_000_000),
    '1m-one-folder': partial(write_one_folder, files=1_000_000),
    'big': write_big,
}


class InventedFolder:
    """A folder of files that nobody wrote. See `fastindex.trees.Folder`."""

    def __init__(self, path: str, names: Sequence[str], kind: int) -> None:
        self.path = path
        self.entered: list[str] = []
        self._names = names
        self._kinds = bytes([kind]) * len(names)

    def iter_names(self) -> Iterator[tuple[Sequence[str], bytes]]:
        yield self._names, self._kinds

    def kind_of(self, name: str, *, follow: bool = True) -> int:
        return self._kinds[self._names.index(name)]

    def link_text(self, name: str) -> str:
        return ''

    def measure(self, names: Sequence[str], wanted: Wanted = SIZES) -> Measures:
        return Measures(list(range(len(names))), [], [], {})

    def open(self, name: str) -> AbstractContextManager[int]:
        raise FileNotFoundError(name)

    def read(self, name: str, max_bytes: int) -> bytes:
        raise FileNotFoundError(name)

    def state(self, path: str = '') -> tuple[int, int, int]:
        return 1, 1, 1

    def enter(self, name: str) -> None:
        self.entered.append(name)


class InventedTree(NamedTuple):
    """10 labs of many subjects with 50 sessions of 15 datasets each. See `fastindex.trees.Tree`.

    >>> InventedTree(subjects_per_lab=134).datasets
    1005000
    """

    subjects_per_lab: int
    root: str = '/invented'
    follow_links: bool = True

    @property
    def datasets(self) -> int:
        """How many there are in all."""
        return 10 * self.subjects_per_lab * 50 * DATASETS_A_SESSION

    def close(self) -> None:
        pass

    @contextmanager
    def open_folder(self, path: str, tally: Tally) -> Iterator[Folder]:
        parts = path.split('/') if path else []
        below: list[Callable[[], list[str]]] = [
            lambda: [f'lab{i}' for i in range(10)],
            lambda: ['Subjects'],
            lambda: [f'subject{i:05}' for i in range(self.subjects_per_lab)],
            lambda: [str(date(2024, 1, 1) + timedelta(days=i)) for i in range(50)],
            lambda: ['001'],
        ]
        yield InventedFolder('', below[len(parts)](), Kind.FOLDER)

    def walk(self, session_path: str, tally: Tally) -> Iterator[Folder]:
        yield InventedFolder('', ['alf'], Kind.FOLDER)
        yield InventedFolder('alf', NAMES, Kind.FILE)


def main() -> None:
    """Make the trees that the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('trees', nargs='+', choices=TREES)
    parser.add_argument('--data', type=Path, default=Path('bench-data'), help='folder of the trees')
    options = parser.parse_args()
    for name in options.trees:
        make_tree(name, options.data)


if __name__ == '__main__':
    main()

"""Index a tree that is on no disk, and print the peak memory of this process: SESSIONS FILES KIND OUT."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EIO
from pathlib import Path
from typing import Any

from fastindex.jobs.build import tasks
from fastindex.jobs.build.build import build_index
from fastindex.jobs.build.options import Options
from fastindex.names.problems import Tally
from fastindex.trees import SIZES, Kind, Measures, Wanted
from fastindex.trees.disk import LocalTree
from fastindex.workers import pool


class SyntheticFolder:
    """A folder of files, or of folders, that are on no disk."""

    def __init__(self, names: list[str], kind: Kind) -> None:
        self.path = ''
        self.entered = ()
        self.names = names
        self.kind = kind

    def iter_names(self) -> Iterator[tuple[list[str], bytes]]:
        yield self.names, bytes([self.kind]) * len(self.names)

    def measure(self, names: list[str], wanted: Wanted = SIZES) -> Measures:
        if 'bad' in names[0]:
            return Measures([], [], [], {i: OSError(EIO, 'no') for i in range(len(names))})
        return Measures([1] * len(names), [], [], {})


class SyntheticTree(LocalTree):
    """Sessions of the same files: their number and kind is in the root's name."""

    __slots__ = ()

    @contextmanager
    def open_folder(self, path: str, tally: Tally) -> Iterator[Any]:
        sessions = int(self.root.split()[0])
        names = [f's{i}' for i in range(sessions)], ['2024-01-01'], ['001']
        yield SyntheticFolder(names[path.count('/') + 1 if path else 0], Kind.FOLDER)

    def walk(self, session_path: str, tally: Tally) -> Iterator[Any]:
        _, files, kind = self.root.split()
        name = {'datasets': 'a{}.b.npy', 'problems': 'bad{}.b.npy', 'skips': 'notes{}.txt'}[kind]
        yield SyntheticFolder([name.format(i) for i in range(int(files))], Kind.FILE)


def main() -> None:
    # Results that wait for one of a worker that had no CPU: bounded too, but how many there are is luck.
    tasks.MAX_SESSIONS, pool.MAX_HELD_BYTES = 8, 2**20
    tree = SyntheticTree(' '.join(sys.argv[1:4]))
    skips = Counter[str]()
    options = Options(allow_empty=True, on_skip=lambda skip: skips.update([skip.reason]))
    summary = build_index(tree, out=Path(sys.argv[4]), options=options, workers=2)
    # Not `ru_maxrss`, which begins with that of the process that started this one.
    [peak] = re.findall(r'VmHWM:\s+(\d+) kB', Path('/proc/self/status').read_text())
    total = summary.datasets + summary.problem_count + skips.total()
    print(json.dumps({'peak_mb': int(peak) / 1024, 'files': total}))


if __name__ == '__main__':
    main()

"""Write down what the processes of a run hold open of an index, each time that it renames a file.

For a process of its own, the first of its group: `watch` cannot be taken back.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.patience import PATIENCE_SECONDS

TOP = Path(__file__).parent.parent.parent

COMMAND = 'import sys\nfrom fastindex.cli import main\nsys.exit(main(sys.argv[1:]))'
EXECUTOR = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
import fastindex
with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context('fork')) as executor:
    fastindex.build(sys.argv[1], hash=['xxh128'], executor=executor)
"""


class Move(NamedTuple):
    """A file that was renamed."""

    target: str
    processes: int
    held: list[str]
    """What processes of the run had open of what was there and of the index, but for the lock: `pid path`."""


def run_watched(log: Path, index: Path, code: str, *arguments: object) -> tuple[int, list[Move]]:
    """Run code in a new interpreter and watch it; give its exit code, and what it moved in order."""
    done = subprocess.run(
        [
            sys.executable,
            '-c',
            f'from tests.support import renames\nrenames.watch()\n{code}',
            log,
            index,
            *map(str, arguments),
        ],
        env={**os.environ, 'PYTHONPATH': str(TOP)},
        start_new_session=True,
        timeout=PATIENCE_SECONDS,
    )
    return done.returncode, [Move(*json.loads(line)) for line in log.read_text().splitlines()]


def watch() -> None:
    """Log the moves of this process from now on; takes LOG and INDEX from its arguments."""
    log, index = sys.argv[1], os.path.realpath(sys.argv[2])
    del sys.argv[1:3]
    state = os.path.join(index, '.fastindex')
    lock = os.path.join(state, 'lock')
    is_busy = False

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal is_busy
        if event != 'os.rename' or is_busy:
            return
        is_busy = True
        _, name, _, folder_fd = arguments
        folder = '' if folder_fd == -1 else os.readlink(f'/proc/self/fd/{folder_fd}')
        target = os.path.realpath(os.path.join(folder, os.fsdecode(name)))
        processes = list(_iter_processes(os.getpgrp()))
        held = [
            f'{process} {path}'
            for process in processes
            for path in _iter_open_files(process)
            if path == target or (os.path.dirname(path) in (index, state) and path != lock)
        ]
        with open(log, 'a', encoding='utf-8') as file:
            print(json.dumps([target, len(processes), held]), file=file)
        is_busy = False

    Path(log).touch()
    sys.addaudithook(look)


def _iter_processes(group: int) -> Iterator[str]:
    for name in filter(str.isdigit, os.listdir('/proc')):
        try:
            stat = Path('/proc', name, 'stat').read_text()
        except OSError:
            continue
        if int(stat.rpartition(')')[2].split()[2]) == group:
            yield name


def _iter_open_files(process: str) -> Iterator[str]:
    with suppress(FileNotFoundError, ProcessLookupError):  # a process that is gone has nothing open
        for fd in Path('/proc', process, 'fd').iterdir():
            with suppress(FileNotFoundError):  # the one that lists these
                path = os.readlink(fd).removesuffix(' (deleted)')
                if fd.is_file():
                    yield path
        for line in Path('/proc', process, 'maps').read_text(errors='replace').splitlines():
            yield ''.join(line.split(maxsplit=5)[5:]).removesuffix(' (deleted)')

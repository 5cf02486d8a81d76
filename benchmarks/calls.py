"""Count the system calls of a run for the paths below the root, which are the same on every machine.

    python -m benchmarks.calls --data bench-data

One listing a folder, one stat a file, no file opened without `--hash`. Needs strace.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from benchmarks.measure import Measurement, scratch_folder, write_results
from benchmarks.peers import FASTINDEX
from benchmarks.trees import make_tree

# For instance `openat(3</data>, "lab", O_RDONLY|O_DIRECTORY) = 4</data/lab>`.
_NAMED = re.compile(r'(openat|newfstatat|statx)\((?:AT_FDCWD|\d+)(?:<([^>]*)>)?, "([^"]+)"(.*)')
_END_OF_LISTING = re.compile(r'getdents64\(\d+<([^>]*)>.* = 0')


class Calls(NamedTuple):
    """For the path of each folder or file below a root, how often it was listed, looked at or opened."""

    listings: Counter[str]
    stats: Counter[str]
    opened_files: Counter[str]


def count_calls(root: Path, *options: str) -> Calls:
    """Run fastindex under strace; count the calls for what is in `root`, those of the workers too."""
    calls = Calls(Counter(), Counter(), Counter())
    with scratch_folder() as scratch:
        # One log a process (-ff), so that no call is cut in two by another; paths of descriptors (-y).
        trace = ['strace', '-ff', '-y', '-qq', '-s', '4096', '-o', str(scratch / 'log')]
        trace += ['-e', 'trace=openat,newfstatat,statx,getdents64']
        index = [sys.executable, '-m', 'fastindex', str(root), '--out', str(scratch), '--quiet', *options]
        subprocess.run([*trace, *index], check=True)
        for log in scratch.glob('log.*'):
            for line in log.read_text(errors='surrogateescape').splitlines():
                _count(calls, line, f'{root}/')
    return calls


def _count(calls: Calls, line: str, below: str) -> None:
    if listing := _END_OF_LISTING.match(line):
        path, counter = listing[1], calls.listings
    elif named := _NAMED.match(line):
        call, folder, name, rest = named.groups()
        path = os.path.normpath(os.path.join(folder, name))
        if 'O_DIRECTORY' in rest:
            return
        counter = calls.opened_files if call == 'openat' else calls.stats
    else:
        return
    if f'{path}/'.startswith(below):
        counter[path] += 1


def measure_calls(root: Path) -> list[Measurement]:
    """Count the calls of a plain run with two workers, for each folder and file."""
    if shutil.which('strace') is None:
        return [Measurement('system calls', 'all', None, '== 1', 'a path', note='missing: strace')]
    calls = count_calls(root, '--workers', '2')
    folders = files = 0
    for _, _, names in os.walk(root):
        folders += 1
        files += sum(name.endswith('.npy') for name in names)
    stats, opened = (
        Counter({path: count for path, count in counter.items() if path.endswith('.npy')})
        for counter in (calls.stats, calls.opened_files)
    )
    rows = (
        ('listings', 'a folder', calls.listings, folders, '== 1'),
        ('stats', 'a file', stats, files, '== 1'),
        ('opened', 'a file', opened, files, '== 0'),
    )
    return [
        Measurement('system calls', name, counter.total() / count, goal, unit, commands=[FASTINDEX.template])
        for name, unit, counter, count, goal in rows
    ]


def main() -> None:
    """Count and keep the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--data', type=Path, default=Path('bench-data'), help='folder of the trees')
    options = parser.parse_args()
    write_results('calls', measure_calls(make_tree('example', options.data)), options.data)


if __name__ == '__main__':
    main()

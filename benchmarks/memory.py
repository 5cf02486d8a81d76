"""Measure peak memory: of the process that collects, and of all processes of a run together.

    python -m benchmarks.memory --data bench-data

At 1 M files on a disk, and for 1 M and 10 M datasets that are invented and touch none: what a run needs must
not grow with the number of datasets. Pages that processes share are counted for each of them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Measurement, make_words, scratch_folder, write_results
from benchmarks.peers import FASTINDEX, FASTINDEX_HASH
from benchmarks.trees import InventedTree, make_tree

SAMPLE_SECONDS = 0.005
SUBJECTS_PER_LAB = {'1 M': 134, '10 M': 1340}
INVENTED = '{python} -m benchmarks.memory --invented {subjects_per_lab} --out {out}'


def measure_peaks(line: str) -> tuple[float, float]:
    """Run a command; measure the peak of its own process, and of the sum over all, in MB."""
    own = total = 0
    with subprocess.Popen(f'exec {line}', shell=True) as process:
        while process.poll() is None:
            sizes = [_read_status(pid) for pid in _iter_family(process.pid)]
            if sizes:
                own = max(own, sizes[0].get('VmHWM', 0))
                total = max(total, sum(size.get('VmRSS', 0) for size in sizes))
            time.sleep(SAMPLE_SECONDS)
    if process.returncode:
        raise SystemExit(f'failed with {process.returncode}: {line}')
    return own / 1e6, total / 1e6


def _iter_family(pid: int) -> Iterator[int]:
    """Yield a process and all below it."""
    yield pid
    try:
        children = Path(f'/proc/{pid}/task/{pid}/children').read_text().split()
    except OSError:  # it has ended meanwhile
        return
    for child in children:
        yield from _iter_family(int(child))


def _read_status(pid: int) -> dict[str, int]:
    """Read the sizes of a process, in bytes; none where it has ended."""
    try:
        lines = Path(f'/proc/{pid}/status').read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split(':') for line in lines if line.endswith('kB'))
    return {name: int(size.split()[0]) * 1024 for name, size in pairs}


def measure_tree(data: Path) -> list[Measurement]:
    """Measure 1 M files on a disk, plain and hashed."""
    rows = []
    for command in (FASTINDEX, FASTINDEX_HASH):
        with scratch_folder() as scratch:
            words = make_words(scratch, root=make_tree('1m', data), out=scratch)
            own, total = measure_peaks(command.template.format(**words))
        title = '1 M files, `--hash`' if command is FASTINDEX_HASH else '1 M files'
        for name, peak, goal in (('collecting process', own, '<= 150'), ('all processes', total, '<= 350')):
            rows.append(
                Measurement(
                    title, f'peak memory, {name}', round(peak, 1), goal, 'MB', commands=[command.template]
                )
            )
    return rows


def measure_invented() -> list[Measurement]:
    """Compare the peaks of 10 M and 1 M invented datasets."""
    peaks = {}
    for name, subjects in SUBJECTS_PER_LAB.items():
        with scratch_folder() as scratch:
            words = make_words(scratch, subjects_per_lab=str(subjects), out=scratch)
            line = INVENTED.format(**words)
            peaks[name] = measure_peaks(line)
        print(
            f'{name} invented datasets: {peaks[name][0]:.0f} MB, {peaks[name][1]:.0f} MB in all', flush=True
        )
    few, many = peaks['1 M'], peaks['10 M']
    return [
        Measurement(
            'invented datasets, no disk',
            f'peak memory, {name}, 10 M / 1 M',
            many[i] / few[i],
            '<= 1.1',
            ours=[round(many[i], 1)],
            theirs=[round(few[i], 1)],
            measured_in='MB',
            commands=[INVENTED],
        )
        for i, name in enumerate(('collecting process', 'all processes'))
    ]


def index_invented(subjects_per_lab: int, out: Path) -> None:
    """Build the index of an invented tree, in this process and two workers."""
    # As the command line does: without numpy there are no threads of OpenBLAS, and workers can be forked.
    sys.modules['numpy'] = None  # type: ignore[assignment]  # None is how a module is kept out
    from fastindex.jobs.build.build import build_index
    from fastindex.jobs.build.options import Options

    tree = InventedTree(subjects_per_lab)
    summary = build_index(tree, out=out, options=Options(), workers=2)
    if summary.datasets != tree.datasets:
        raise SystemExit(f'indexed {summary.datasets} datasets, expected {tree.datasets}')


def main() -> None:
    """Measure; or be what is measured, with --invented."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--data', type=Path, default=Path('bench-data'), help='folder of the trees')
    parser.add_argument('--invented', type=int, metavar='SUBJECTS', help='index that many subjects a lab')
    parser.add_argument('--out', type=Path, help='where to, with --invented')
    options = parser.parse_args()
    if options.invented:
        index_invented(options.invented, options.out)
    else:
        write_results('memory', [*measure_tree(options.data), *measure_invented()], options.data)


if __name__ == '__main__':
    main()

"""Measure how the time, the memory and the bytes of an index grow, up to 100 M datasets that touch no disk.

    python -m benchmarks.scale 1 10 100 --data bench-data

The sessions are invented, so a worker does all of its work but ask a disk, and the collecting process all of
its own. Then the index is read: checked by `fastindex.open`, filtered by polars, opened by the client. CPU
seconds are given, as they depend least on what else runs. Makes the table in docs/explanation/scale.md; 100 M
take six minutes of two quiet cores, and 3 GB in the folder for temporary files.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.measure import HERE, Measurement, make_words, replace_between, scratch_folder, write_results
from benchmarks.memory import INVENTED
from benchmarks.trees import InventedTree

DOCS = HERE.parent / 'docs/explanation/scale.md'
SUBJECTS_PER_LAB = {1: 134, 10: 1340, 100: 13400}
READ_MILLIONS = 10
"""Up to this many datasets the index is read: the client takes gigabytes, and minutes."""

READS = {
    '`fastindex.open`, which checks all': 'import fastindex; fastindex.open({out!r})',
    'polars, a filter over all rows': (
        'import polars; print(polars.scan_parquet({out!r} + "/datasets.pqt")'
        '.filter(polars.col("rel_path") == "alf/_ibl_trials.choice.npy").select(polars.len()).collect())'
    ),
    'the ONE client, `One(cache_dir=...)`': 'from one.api import One; One(cache_dir={out!r}, mode="local")',
}


class Usage(NamedTuple):
    """What a command took."""

    seconds: float
    own_cpu_seconds: float
    below_cpu_seconds: float
    """Of the processes that it started."""

    peak_mb: float

    @property
    def cpu_seconds(self) -> float:
        """Of all its processes."""
        return self.own_cpu_seconds + self.below_cpu_seconds


def use_of(line: list[str]) -> Usage:
    """Run a command, which must succeed; measure what it takes."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    own = peak = 0.0
    with subprocess.Popen(line, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            own, peak = _look_at(process.pid) or (own, peak)
            time.sleep(0.02)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise SystemExit(f'failed with {process.returncode}: {line}')
    total = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Usage(seconds, own, total - own, peak)


def _look_at(pid: int) -> tuple[float, float] | None:
    """Read the CPU seconds of a process itself, and its peak in MB; None where it has ended."""
    try:
        fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
        status = Path(f'/proc/{pid}/status').read_text()
    except OSError:
        return None
    if 'VmHWM' not in status:
        return None
    ticks = int(fields[11]) + int(fields[12])
    peak_kb = int(status.partition('VmHWM:')[2].split()[0])
    return ticks / os.sysconf('SC_CLK_TCK'), peak_kb / 1000


def measure(millions: int) -> list[Measurement]:
    """Index invented datasets, and read the index."""
    tree = InventedTree(SUBJECTS_PER_LAB[millions])
    rows = tree.datasets
    with scratch_folder() as out:
        words = make_words(out, subjects_per_lab=str(tree.subjects_per_lab), out=out)
        line = INVENTED.format(**words)
        build = use_of(line.split())
        size = sum((out / name).stat().st_size for name in ('datasets.pqt', 'sessions.pqt'))
        reads = {
            name: use_of([sys.executable, '-c', code.format(out=str(out))])
            for name, code in READS.items()
            if millions <= READ_MILLIONS
        }
    values = {
        'rows a CPU second of the collecting process': (rows / build.own_cpu_seconds, 'rows/s'),
        'rows a CPU second of a worker, without a disk': (rows / build.below_cpu_seconds, 'rows/s'),
        'peak memory of the collecting process': (build.peak_mb, 'MB'),
        'both tables': (size / 1e6, 'MB'),
        **{f'{name}: CPU time': (use.cpu_seconds, 's') for name, use in reads.items()},
        **{f'{name}: peak memory': (use.peak_mb, 'MB') for name, use in reads.items()},
    }
    tree_name = f'{millions} M'
    return [Measurement(tree_name, name, value, unit=unit) for name, (value, unit) in values.items()]


def make_table(measurements: Sequence[Measurement]) -> str:
    """Make the table, a column for each size."""
    cells = {(row.tree, row.name): f'{row.value:,.3g} {row.unit}' for row in measurements if row.value}
    for key, cell in cells.items():
        if 'e+' in cell:  # large numbers as people write them
            number, _, unit = cell.partition(' ')
            cells[key] = f'{float(number):,.0f} {unit}'
    trees = list(dict.fromkeys(row.tree for row in measurements))
    names = dict.fromkeys(row.name for row in measurements)
    lines = [['datasets', *trees], ['---'] * (len(trees) + 1)]
    lines += [[name, *(cells.get((tree, name), 'not measured') for tree in trees)] for name in names]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def main() -> None:
    """Measure, keep the result, write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('millions', nargs='+', type=int, choices=SUBJECTS_PER_LAB, help='of datasets')
    parser.add_argument('--data', type=Path, default=Path('bench-data'), help='folder of the trees')
    options = parser.parse_args()
    measurements = [row for millions in options.millions for row in measure(millions)]
    write_results('scale', measurements, options.data)
    DOCS.write_text(replace_between(DOCS.read_text(), 'scale', make_table(measurements)))


if __name__ == '__main__':
    main()

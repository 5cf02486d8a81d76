"""Measure how long it takes to look into an index: `search`, `info`, `report`, and a search in Python.

    python -m benchmarks.look --data bench-data

The commands are timed whole, interpreter start included. In Python the index is open, and so is the client's:
the same question is asked of both, and must have the same answer.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import fastindex
from benchmarks.measure import Command, Measurement, make_words, race, ratio_of, scratch_folder, write_results
from benchmarks.trees import make_tree

QUERIES = {
    '`search`, by subject': '--subject NYU-01',
    '`search`, by dataset': '--dataset trials.goCue_times.npy trials.feedback_times.npy',
    '`search`, rows of datasets': '--datasets --object trials --attribute goCue_times',
    '`search`, all datasets as JSON (31 MB)': '--datasets --json',
}
REPORT = '{python} -m fastindex report {root} --index {indexed}'
REPORT_NEEDS = ('vl_convert', 'itables', 'jinja2')
COMMANDS = {
    **{
        Command(name, '{python} -m fastindex search {indexed} ' + options): '<= 0.35'
        for name, options in QUERIES.items()
    },
    Command('`info`', '{python} -m fastindex info {indexed}'): '',
    Command('`report`', REPORT + ' --out {out}/report.html', REPORT_NEEDS): '',
}
"""With their goals in seconds."""

DATASETS = ['trials.goCue_times.npy', 'trials.feedback_times.npy']


def measure_commands(root: Path, indexed: Path, scratch: Path, *, rounds: int) -> list[Measurement]:
    """Time the commands, in turn."""
    words = make_words(scratch, root=root.resolve(), indexed=indexed)
    seconds = race(list(COMMANDS), words, scratch, rounds=rounds)
    return [
        Measurement(
            'example',
            command.name,
            median(seconds[command.name]) if seconds[command.name] else None,
            goal,
            's',
            ours=seconds[command.name],
            commands=[command.template],
            note='' if seconds[command.name] else 'missing',
        )
        for command, goal in COMMANDS.items()
    ]


def measure_python(root: Path, indexed: Path, *, rounds: int) -> Measurement:
    """Ask our index and the client's which sessions have two datasets."""
    tree, name, goal = 'example, `search(datasets=…)` in Python', "the ONE client's `search`", '<= 0.005'
    if find_spec('one') is None:
        return Measurement(tree, name, None, goal, note='missing: ONE-api')
    from one.api import One

    index = fastindex.open(indexed)
    one = One(cache_dir=root, tables_dir=indexed, mode='local')
    ours, theirs = [], []
    for _ in range(rounds + 1):
        found, seconds = _time(lambda: index.search(datasets=DATASETS))
        expected, client_seconds = _time(lambda: one.search(datasets=DATASETS))
        if [str(eid) for eid in found] != [str(eid) for eid in expected]:
            raise SystemExit(f'fastindex found {len(found)} sessions, the client {len(expected)}, or others')
        ours.append(seconds)
        theirs.append(client_seconds)
    ours, theirs = ours[1:], theirs[1:]  # the first loads modules, on both sides
    commands = [f'index.search(datasets={DATASETS})', f'one.search(datasets={DATASETS})']
    return Measurement(tree, name, ratio_of(ours, theirs), goal, ours=ours, theirs=theirs, commands=commands)


def _time(ask: Callable[[], Iterable[Any]]) -> tuple[list[Any], float]:
    started = time.perf_counter()
    answer = list(ask())
    return answer, round(time.perf_counter() - started, 5)


def measure_report_size(root: Path, indexed: Path, scratch: Path) -> Measurement:
    """Look how large the report is."""
    tree, name, goal = 'example', 'size of the report', '<= 5'
    if not all(map(find_spec, REPORT_NEEDS)):
        return Measurement(tree, name, None, goal, note='missing: what a report needs')

    summary = fastindex.report(root, scratch / 'report.html', index=indexed)
    size_mb = round(summary.size_bytes / 1e6, 3)
    return Measurement(tree, name, size_mb, goal, 'MB', ours=[size_mb], measured_in='MB')


def main() -> None:
    """Measure and keep the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--data', type=Path, default=Path('bench-data'), help='folder of the trees')
    parser.add_argument('--rounds', type=int, default=7)
    options = parser.parse_args()
    root = make_tree('example', options.data)
    with scratch_folder() as scratch:
        indexed = scratch / 'indexed'
        indexed.mkdir()
        fastindex.build(root, out=indexed, hash=['xxh128'], workers=2)
        measurements = [
            *measure_commands(root, indexed, scratch, rounds=options.rounds),
            measure_python(root, indexed, rounds=options.rounds),
            measure_report_size(root, indexed, scratch),
        ]
    write_results('look', measurements, options.data)


if __name__ == '__main__':
    main()

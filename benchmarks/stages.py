"""Show where the time of a run goes: the stages that its own process and its workers are seen in.

    python -m benchmarks.stages example 1m --data bench-data --write

py-spy looks at all processes 200 times a second, also where they wait; a stage is told by the modules on the
stack, so this knows no function of fastindex. With --write the tables go into benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import (
    HERE,
    Command,
    cost_of,
    describe_machine,
    is_missing,
    make_words,
    name_machine,
    race,
    replace_between,
    scratch_folder,
)
from benchmarks.peers import BARE, FASTINDEX, FIND, FLOOR
from benchmarks.trees import TREES, make_tree

RATE = 200
RUNS = 5
README = HERE / 'README.md'

# For the stage the pattern of a stack that is in it; the first that is found counts.
Rules = Sequence[tuple[str, str]]
OWN_STAGES: Rules = (
    ('imports', 'importlib'),
    ('discovery: waiting for the workers', r'pipeline/discover\.py'),
    ('Parquet', r'pipeline/collect\.py|pyarrow'),
    ('publish', r'tables/publish\.py'),
    ('scan: waiting for the workers, transport', r'fastindex/workers/|pipeline/scan\.py'),
    ('the rest', ''),
)
WORKER_STAGES: Rules = (
    ('imports', 'importlib'),
    ('discovery', r'pipeline/discover\.py'),
    ('Arrow: batches and their bytes', r'tables/schema\.py'),
    ('ids', r'names/ids\.py'),
    ('digests', r'trees/digests\.py'),
    ('judging names', r'names/(verdicts|alf)\.py'),
    ('listing and stat', r'trees/kernel\.py'),
    ('opening folders', r'trees/disk\.py'),
    ('sorting and the rest of the scan', r'pipeline/(scan|walk|rows)\.py'),
    ('transport, waiting for tasks', ''),
)


def count_samples(words: dict[str, str], scratch: Path) -> tuple[Counter[str], Counter[str]]:
    """Run fastindex below py-spy; count its samples by stage, of its own process and of its workers."""
    own: Counter[str] = Counter()
    workers: Counter[str] = Counter()
    raw = scratch / 'stacks'
    watch = f'py-spy record --idle --subprocesses --format raw --rate {RATE} --output {raw} -- '
    line = watch + FASTINDEX.template.format(**words)
    subprocess.run(line, shell=True, check=True, capture_output=True)
    for sample in raw.read_text().splitlines():
        stack, _, count = sample.rpartition(' ')
        if 'threading.py' in stack:
            continue  # a worker's second thread, which only waits for the end
        if len(re.findall(r'(?:^|;)process \d+:', stack)) == 1:
            own[_stage_of(stack, OWN_STAGES)] += int(count)
        else:
            # A forked worker still has the frames of its parent: what it does itself comes after these.
            workers[_stage_of(stack.rpartition('workers/child.py')[2], WORKER_STAGES)] += int(count)
    return own, workers


def _stage_of(stack: str, rules: Rules) -> str:
    return next(stage for stage, pattern in rules if re.search(pattern, stack))


def measure_cpu(words: dict[str, str], scratch: Path) -> str:
    """Make a table of the CPU seconds that commands take in all their processes."""
    lines = [
        '| CPU seconds, the least of the runs | of the program | of the kernel | together |',
        '| --- ' * 4 + '|',
    ]
    for command in (FASTINDEX, BARE, FIND, FLOOR):
        if is_missing(command, words):
            lines.append(f'| {command.name} | missing | | |')
            continue
        least = min((cost_of(command, words, scratch) for _ in range(RUNS)), key=lambda cost: cost.cpu)
        lines.append(f'| {command.name} | {least.user:.2f} | {least.kernel:.2f} | {least.cpu:.2f} |')
    return '\n'.join(lines)


def make_tables(tree: str, data: Path) -> str:
    """Run fastindex on a tree several times; make a table of its own time and one of the workers'."""
    own: Counter[str] = Counter()
    workers: Counter[str] = Counter()
    with scratch_folder() as scratch:
        words = make_words(scratch, root=make_tree(tree, data), out=scratch)
        interpreter = Command('interpreter', '{python} -c pass')
        seconds = race([FASTINDEX, interpreter], words, scratch, rounds=RUNS)
        cpu = measure_cpu(words, scratch)
        for _ in range(RUNS):
            for total, counted in zip((own, workers), count_samples(words, scratch), strict=True):
                total.update(counted)
    median_seconds = {name: sorted(values)[RUNS // 2] for name, values in seconds.items()}
    title = f'`{tree}` on {name_machine(describe_machine(data))}'
    wall, bare = median_seconds['fastindex'], median_seconds['interpreter']
    lines = [
        f'{title}: {wall:.2f} s, of these the bare interpreter {bare:.3f} s; medians without py-spy.',
        '',
        cpu,
    ]
    for process, rules, counts in (
        ('the own process', OWN_STAGES, own),
        ('the workers', WORKER_STAGES, workers),
    ):
        lines += ['', f'| `{tree}`: {process} | share | s a run |', '| --- ' * 3 + '|']
        lines += [
            f'| {stage} | {counts[stage] / counts.total():.0%} | {counts[stage] / RATE / RUNS:.2f} |'
            for stage, _ in rules
            if counts[stage]
        ]
    return '\n'.join(lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('trees', nargs='+', choices=TREES)
    parser.add_argument('--data', type=Path, default=Path('bench-data'), help='folder of the trees')
    parser.add_argument('--write', action='store_true', help='put the tables into benchmarks/README.md')
    options = parser.parse_args()
    if shutil.which('py-spy') is None:
        sys.exit('missing: py-spy (pip install --group bench)')
    tables = '\n\n'.join(make_tables(tree, options.data) for tree in options.trees)
    print(tables)
    if options.write:
        README.write_text(replace_between(README.read_text(), 'stages', tables))


if __name__ == '__main__':
    main()

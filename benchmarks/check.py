"""Refuse a build that has become slow: compare its ratios to two yardsticks with those of the baseline.

    python benchmarks/check.py             # exits 1 where more than 15 % slower than the baseline
    python benchmarks/check.py --update    # makes what is measured now the baseline

fastindex, `find` or `xxh128sum`, and the kernel's floor run in turn on the same tree: the speed of the
machine cancels out of their ratios. What makes one yardstick slow or fast for a while is not our doing: a
change counts only as far as the ratios to both show it, and only if a second measurement shows it again.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from measure import (
    HERE,
    Command,
    describe_machine,
    is_missing,
    make_words,
    race,
    ratio_of,
    scratch_folder,
)
from peers import FASTINDEX, FASTINDEX_HASH, FIND, FLOOR, FLOOR_HASH, XXHSUM
from trees import TREES, make_tree

BASELINE = HERE / 'baseline.json'
MAX_GROWTH = 1.15
YARDSTICKS = {'plain': (FIND, FLOOR), 'hash': (XXHSUM, FLOOR_HASH)}
OURS = {'plain': FASTINDEX, 'hash': FASTINDEX_HASH}

Ratios = dict[str, float]
"""For the name of each yardstick, fastindex / yardstick."""


def measure_ratios(job: str, template: str, root: Path, *, rounds: int) -> Ratios:
    """Race a command of ours, given by its template, with the yardsticks of a job that are there."""
    ours = Command('fastindex', template)
    with scratch_folder() as scratch:
        words = make_words(scratch, root=root)
        there = [peer for peer in YARDSTICKS[job] if not is_missing(peer, words)]
        seconds = race([ours, *there], words, scratch, rounds=rounds)
    ratios = {peer.name: ratio_of(seconds['fastindex'], seconds[peer.name]) for peer in there}
    for peer in YARDSTICKS[job]:
        if peer not in there:
            print(f'missing: {peer.name}', file=sys.stderr)
    return {name: ratio for name, ratio in ratios.items() if ratio is not None}


def growth_of(ratios: Ratios, baseline: Ratios) -> float:
    """Compute how many times slower fastindex is than at the baseline, as far as all yardsticks agree.

    >>> growth_of({'find': 1.5, 'floor': 3.0}, {'find': 1.0, 'floor': 2.5})
    1.2
    """
    both = ratios.keys() & baseline.keys()
    if not both:
        raise SystemExit(f'no yardstick of the baseline is installed: {sorted(baseline)}')
    return min(ratios[name] / baseline[name] for name in both)


def check(baseline: dict[str, Ratios], ours: dict[str, str], root: Path, *, rounds: int) -> bool:
    """Tell whether all jobs are as fast as the baseline, nearly. Measures twice before it says no."""
    is_fast = True
    for job, template in ours.items():
        growth = 0.0
        for _ in range(2):
            ratios = measure_ratios(job, template, root, rounds=rounds)
            growth = growth_of(ratios, baseline[job])
            shown = ', '.join(
                f'{ratio:.2f} x {name} (baseline {baseline[job].get(name, 0):.2f})'
                for name, ratio in ratios.items()
            )
            print(f'{job}: {growth:.2f} of the baseline: {shown}', flush=True)
            if growth <= MAX_GROWTH:
                break
        is_fast &= growth <= MAX_GROWTH
    return is_fast


def main() -> int:
    """Check, or write the baseline."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    add = parser.add_argument
    add('--data', type=Path, default=Path('bench-data'), help='folder of the trees')
    add('--tree', choices=TREES, default='example')
    add('--rounds', type=int, default=9)
    add('--jobs', nargs='+', choices=YARDSTICKS, default=list(YARDSTICKS))
    add('--command', help='what to measure for all jobs, instead of fastindex: {python}, {root}, {out}')
    add('--baseline', type=Path, default=BASELINE)
    add('--update', action='store_true', help='write the baseline')
    options = parser.parse_args()
    root = make_tree(options.tree, options.data)
    ours = {job: options.command or OURS[job].template for job in options.jobs}
    if not options.update:
        baseline = json.loads(options.baseline.read_text())['ratios']
        return 0 if check(baseline, ours, root, rounds=options.rounds) else 1
    ratios = {
        job: measure_ratios(job, template, root, rounds=options.rounds) for job, template in ours.items()
    }
    content = {'machine': describe_machine(options.data), 'tree': options.tree, 'ratios': ratios}
    options.baseline.write_text(json.dumps(content, indent=1) + '\n')
    print(json.dumps(ratios, indent=1))
    return 0


if __name__ == '__main__':
    sys.exit(main())

"""Measure how much more workers help where each call waits 1 ms, as on a network file system.

    python -m benchmarks.waiting --data bench-data --rounds 3

`slowcalls.c` does the waiting, in front of the C library. One worker takes minutes, and nothing is warmed
up: it waits more than it works.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.measure import (
    Command,
    Measurement,
    MissingError,
    compile_tool,
    make_words,
    race,
    ratio_of,
    scratch_folder,
    write_results,
)
from benchmarks.trees import make_tree

SLOW = (
    'SLOWCALLS_ROOT={root} SLOWCALLS_US=1000 LD_PRELOAD={slowcalls} '
    '{python} -m fastindex {root} --out {out} --quiet --workers '
)
GOALS = {16: '>= 15', 64: '>= 50'}


def measure_waiting(tree: str, data: Path, *, rounds: int) -> list[Measurement]:
    """Compare 16 and 64 workers with one."""
    commands = [Command(str(workers), f'{SLOW}{workers}', ('slowcalls',)) for workers in (1, *GOALS)]
    note = ''
    with scratch_folder() as scratch:
        words = make_words(scratch, root=make_tree(tree, data))
        try:
            words['slowcalls'] = str(compile_tool('slowcalls.so', scratch, '-shared', '-fPIC', '-ldl'))
        except MissingError as error:
            note = f'missing: {error}'
        seconds = race(commands, words, scratch, rounds=rounds, warm_up=False)
    return [
        Measurement(
            '1 ms per call',
            f'{workers} workers: times the speed of 1',
            ratio_of(seconds['1'], seconds[str(workers)]),
            goal,
            ours=seconds[str(workers)],
            theirs=seconds['1'],
            commands=[f'{SLOW}{workers}', f'{SLOW}1'],
            note=note,
        )
        for workers, goal in GOALS.items()
    ]


def main() -> None:
    """Measure and keep the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--data', type=Path, default=Path('bench-data'), help='folder of the trees')
    parser.add_argument('--tree', default='100k')
    parser.add_argument('--rounds', type=int, default=3)
    options = parser.parse_args()
    measurements = measure_waiting(options.tree, options.data, rounds=options.rounds)
    write_results('waiting', measurements, options.data)


if __name__ == '__main__':
    main()

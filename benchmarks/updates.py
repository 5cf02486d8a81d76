"""Measure runs that look at a part of a tree, `--only`, `--new` and `--quick`, against a run over all of it.

    python -m benchmarks.updates --data bench-data --rounds 3

On a tree of 1 M files; on the example where each call waits 1 ms, as on a network file system; and one
session in an index of 1 M datasets that touch no disk, beside a program that reads and writes its tables.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.measure import (
    Command,
    Measurement,
    MissingError,
    compile_tool,
    cost_of,
    make_words,
    race,
    ratio_of,
    scratch_folder,
    write_results,
)
from benchmarks.trees import NAMES, InventedTree, make_tree
from fastindex.jobs.build.build import build_index
from fastindex.jobs.build.options import Options

RUN = '{python} -m fastindex {root} --out {indexed} --quiet'
SLOW = 'SLOWCALLS_ROOT={root} SLOWCALLS_US=1000 LD_PRELOAD={slowcalls} ' + RUN
ONE = 'lab0/Subjects/subject00000/2024-01-01/001'  # of an `InventedTree`
COPY = (
    'import pyarrow.parquet as pq\n'
    'for name in ("sessions.pqt", "datasets.pqt"):\n'
    '    table = pq.read_table({indexed!r} + "/" + name, page_checksum_verification=True)\n'
    '    names = [one for one in ("eid", "rel_path", "qc", "lab", "subject") if one in table.schema.names]\n'
    '    pq.write_table(table, {copied!r} + "/" + name, compression="zstd", compression_level=1,\n'
    '                   use_dictionary=names, write_page_checksum=True)\n'
)
"""What reads and writes the tables of an index as they are, and does nothing else."""


def race_modes(
    title: str, root: Path, run: str, modes: Sequence[tuple[str, str]], scratch: Path, *, rounds: int
) -> list[Measurement]:
    """Compare runs over a part of a tree with one over all of it; each mode with its goal."""
    indexed = scratch / 'indexed'
    indexed.mkdir()
    note = ''
    made = make_words(scratch, root=root, indexed=indexed, one=_first_session(root))
    try:
        made['slowcalls'] = str(compile_tool('slowcalls.so', scratch, '-shared', '-fPIC', '-ldl'))
    except MissingError as error:
        note = f'missing: {error}' if 'slowcalls' in run else ''
    for _ in range(2):  # the second one takes over what the first one notes
        cost_of(Command('first', f'{RUN} --quick'), made, scratch)
    needs = ('slowcalls',) if 'slowcalls' in run else ()
    commands = [Command(mode, f'{run} {mode}', needs) for mode, _ in (('', ''), *modes)]
    seconds = race(commands, made, scratch, rounds=rounds, warm_up=not needs)
    return [
        Measurement(
            title,
            f'{mode.split()[0]}: times the speed of a full run',
            ratio_of(seconds[''], seconds[mode]),
            goal,
            ours=seconds[mode],
            theirs=seconds[''],
            commands=[f'{run} {mode}', run],
            note=note,
        )
        for mode, goal in modes
    ]


def _first_session(root: Path) -> str:
    return str(next(root.glob('*/Subjects/*/*/*')).relative_to(root))


def measure_one_session(scratch: Path, *, subjects_per_lab: int, rounds: int) -> Measurement:
    """Compare a run over one session with what reading and writing the tables takes."""
    tree = InventedTree(subjects_per_lab)
    words = {name: scratch / name for name in ('root', 'indexed', 'copied')}
    for folder in words.values():
        folder.mkdir()
    build_index(tree, out=words['indexed'], options=Options())
    session = words['root'] / ONE / 'alf'
    session.mkdir(parents=True)
    for size, name in enumerate(NAMES):
        (session / name).write_bytes(bytes(size))
    copy = COPY.format(**{name: str(folder) for name, folder in words.items()})
    commands = [
        Command('only', f'{RUN} --only {ONE}'),
        Command('copy', '{python} -c {copy}'),
    ]
    seconds = race(commands, make_words(scratch, copy=copy, **words), scratch, rounds=rounds)
    more = [ours - theirs for ours, theirs in zip(seconds['only'], seconds['copy'], strict=True)]
    return Measurement(
        f'{tree.datasets:,} datasets, of one session',
        '--only: more than to read and write both tables',
        median(more),
        '<= 1.0',
        unit='s',
        ours=seconds['only'],
        theirs=seconds['copy'],
        commands=[command.template for command in commands],
    )


def main() -> None:
    """Measure and keep the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--data', type=Path, default=Path('bench-data'), help='folder of the trees')
    parser.add_argument('--tree', default='1m')
    parser.add_argument(
        '--subjects', type=int, default=134, help='of each invented lab: 134 are 1 M datasets'
    )
    parser.add_argument('--rounds', type=int, default=3)
    options = parser.parse_args()
    rounds = options.rounds
    found: list[Measurement] = []
    with scratch_folder() as scratch:
        found.append(measure_one_session(scratch, subjects_per_lab=options.subjects, rounds=rounds))
    modes = [('--only {one}', ''), ('--new', ''), ('--quick', '')]
    with scratch_folder() as scratch:
        title = f'{options.tree}, a part of it'
        found += race_modes(title, make_tree(options.tree, options.data), RUN, modes, scratch, rounds=rounds)
    with scratch_folder() as scratch:
        slow, root = f'{SLOW} --workers 1', make_tree('example', options.data)
        quick = [('--new', ''), ('--quick', '>= 5')]
        found += race_modes('example, 1 ms per call, 1 worker', root, slow, quick, scratch, rounds=rounds)
    write_results('updates', found, options.data)


if __name__ == '__main__':
    main()

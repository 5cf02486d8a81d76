"""Refuse code that has become slow: race it with itself, as it was at the commit that `baseline.json` names.

    python -m benchmarks.check            # exits 1 where it is more than 15 % slower than that commit
    python -m benchmarks.check --renew    # names the commit that is checked out from now on

Both run as commands, in turn, on the same tree, by the same interpreter with the same packages: how fast a
machine runs Python cancels out of their ratio.

Where the commit is not at hand nothing is compared, and the last line says so. A shallow clone whose history
ends before it passes, as nothing is known against the code. Outside of a clone, or where a complete history
does not have the commit, the gate cannot do its work: exit 2.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.measure import HERE, Command, Cost, cost_of, race_costs, scratch_folder
from benchmarks.peers import FASTINDEX, FASTINDEX_HASH
from benchmarks.trees import TREES, make_tree

TOP = HERE.resolve().parent
BASELINE = HERE / 'baseline.json'
MAX_GROWTH = 1.15
_IN_PYTHON = 'FASTINDEX_KERNEL=python '
JOBS = {
    'plain': FASTINDEX.template,
    'hash': FASTINDEX_HASH.template,
    'plain-in-python': _IN_PYTHON + FASTINDEX.template,
    'hash-in-python': _IN_PYTHON + FASTINDEX_HASH.template,
}
SIDES = ('now', 'baseline')

# Each side loads its own modules, whatever the environment has, and their bytecode from its first run on; its
# kernel is compiled where there is a compiler.
_INSIDE = 'cd {{{side}}} && export PYTHONPATH={{{side}}} && unset PYTHONDONTWRITEBYTECODE && '
_LOADS_ITS_OWN = (
    'if [ -e hatch_build.py ]; then {python} hatch_build.py; fi; '
    '{python} -c "import fastindex as f, os; assert f.__file__.startswith(os.getcwd() + os.sep), f"'
)


class Growth(NamedTuple):
    """How many times the cost of the runs that they are paired with our runs have.

    Parameters
    ----------
    cpu, wall
        Medians of the pairs.
    most
        What three of four pairs show, in wall seconds.
    """

    cpu: float
    wall: float
    most: float

    @property
    def judged(self) -> float:
        """What counts: the wall seconds in the median of pairs, as far as a steadier figure bears them out.

        Wall seconds depend on who else wants the cores. CPU seconds hardly do, but to wait, or to keep one
        core busy where it were two, costs none: most pairs show that.
        """
        return min(self.wall, max(self.cpu, self.most))


def growth_of(ours: Sequence[Cost], theirs: Sequence[Cost]) -> Growth:
    """Compare the runs of two sides, pair by pair."""
    pairs = list(zip(ours, theirs, strict=True))
    walls = sorted(our.wall / their.wall for our, their in pairs)
    return Growth(median(our.cpu / their.cpu for our, their in pairs), median(walls), walls[len(walls) // 4])


def is_fast(job: str, words: Mapping[str, str], scratch: Path, *, rounds: int) -> bool:
    """Tell whether a job takes about as long as at the baseline. Measures again before it says no."""
    sides = [Command(side, _INSIDE.format(side=side) + JOBS[job]) for side in SIDES]
    for side in sides:
        cost_of(side, words, scratch)
    for _ in range(2):
        costs = race_costs(sides, words, scratch, rounds=rounds, warm_up=False)
        growth = growth_of(costs['now'], costs['baseline'])
        shown = f'CPU {growth.cpu:.2f}, wall {growth.wall:.2f}, in three of four pairs {growth.most:.2f}'
        print(f'{job}: {growth.judged:.2f} of the baseline ({shown})', flush=True)
        if growth.judged <= MAX_GROWTH:
            return True
    return False


def check(commit: str, jobs: Sequence[str], root: Path, *, rounds: int) -> bool:
    """Tell whether all jobs are about as fast as at a commit of our history."""
    with scratch_folder() as scratch:
        packed, unpacked = scratch / 'baseline.zip', scratch / 'baseline'
        _ask_git('archive', '--output', str(packed), commit)
        shutil.unpack_archive(packed, unpacked)
        paths = {'python': sys.executable, 'root': root, 'now': TOP, 'baseline': unpacked}
        words = {name: shlex.quote(str(path)) for name, path in paths.items()}
        for side in SIDES:
            cost_of(Command(side, _INSIDE.format(side=side) + _LOADS_ITS_OWN), words, scratch)
        slow = [job for job in jobs if not is_fast(job, words, scratch, rounds=rounds)]
    return not slow


def renew() -> int:
    """Name the commit that is checked out as the baseline."""
    if changed := _ask_git('status', '--porcelain'):
        print(f'not renewed: this is no commit yet, but changed:\n{changed}', file=sys.stderr)
        return 2
    commit = _ask_git('rev-parse', 'HEAD')
    BASELINE.write_text(json.dumps({'commit': commit}, indent=1) + '\n')
    print(f'the baseline is {commit}')
    return 0


def _ask_git(*words: str) -> str:
    """Give what git says about this clone, whoever owns it; nothing where it fails: it prints why."""
    command = ['git', '-c', 'safe.directory=*', '-C', str(TOP), *words]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout.strip()


def main() -> int:
    """Check, or renew the baseline."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    add = parser.add_argument
    add('--data', type=Path, default=Path('bench-data'), help='folder of the trees')
    add('--tree', choices=TREES, default='example')
    add('--rounds', type=int, default=11)
    add('--jobs', nargs='+', choices=JOBS, default=list(JOBS))
    add('--renew', action='store_true', help='name the commit that is checked out as the baseline')
    options = parser.parse_args()
    if shutil.which('git') is None or _ask_git('rev-parse', '--show-toplevel') != str(TOP):
        print(f'not compared: {TOP} is no clone of the history, or git cannot read it', file=sys.stderr)
        return 2
    if options.renew:
        return renew()
    commit = json.loads(BASELINE.read_text())['commit']
    if _ask_git('merge-base', commit, 'HEAD') != commit:
        is_shallow = _ask_git('rev-parse', '--is-shallow-repository') == 'true'
        advice = 'git fetch --unshallow' if is_shallow else 'a rebase may have renamed it: check.py --renew'
        print(f'not compared: the history of HEAD has no commit {commit}: {advice}', file=sys.stderr)
        return 0 if is_shallow else 2
    root = make_tree(options.tree, options.data)
    return 0 if check(commit, options.jobs, root, rounds=options.rounds) else 1


if __name__ == '__main__':
    sys.exit(main())

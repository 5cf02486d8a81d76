"""The tutorial "Releasing data with ONE", from start to end: a folder becomes a file that anyone can open.

python examples/release_walkthrough.py walkthrough

makes the folder `walkthrough`, of 1 GB, and prints what it does there; the commands are what one would type.
What it says is checked: where something is not so, it ends with 1. It needs the packages numpy, ONE-api,
deflate and matplotlib.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
from first_look import DATASETS, compute_reaction_seconds, look
from matplotlib.figure import Figure

import fastindex

FAMOUS = 'zadorlab/Subjects/CSH_ZAD_003/2019-08-11/001'


def main(folder: Path) -> None:
    """Take each step of the tutorial in a new folder."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        sys.exit(f'{folder} is there already: expected a name for a new folder')
    os.chdir(folder)

    say('1. The data: behavior of 96 mice in 9 labs, a folder a session, a file for each measure')
    run('python -m fastindex example data')
    files = sorted(Path('data', FAMOUS, 'alf').iterdir())
    print(f'data/{FAMOUS}/alf has, among {len(files)} files:')
    for path in files[:4]:
        print(f'    {path.name:38}{path.stat().st_size:6,} bytes')
    check(len(files) == 15, 'a session has 15 files')

    say('2. Are all names such that others will find the data by them?')
    run('python -m fastindex validate data')

    say('3. Index it: from now on it can be searched')
    run('python -m fastindex data --hash')

    say('4. Which sessions of the mouse NYU-01 have what a reaction time takes?')
    run(f'python -m fastindex search data --subject NYU-01 --dataset {" ".join(DATASETS)} --count')
    found = fastindex.open('data').search(subject='NYU-01', datasets=DATASETS)
    check(len(found) == 98, '98 sessions of NYU-01 have both')

    say('5. Open it with the ONE client, as those will who get the data')
    eids, trials = look('data')
    check(eids == found, 'the client finds the same sessions')

    say('6. How fast is the mouse?')
    plot_reaction_times(trials, Path('reaction-times.png'))
    print(f'see {folder / "reaction-times.png"}')

    say('7. Release it: one file that has the data, its index, and a list of checksums')
    run('python -m fastindex release data --out my-data.zip --name my-data')

    say('8. Elsewhere, somebody unpacks the file: nothing but the ONE client is needed there')
    run('python -m zipfile -e my-data.zip elsewhere')
    eids_elsewhere, trials_elsewhere = look('elsewhere')
    check(eids_elsewhere == eids, 'the client finds the same sessions there')
    check(
        trials_elsewhere.keys() == trials.keys()
        and all(np.array_equal(trials_elsewhere[name], trials[name], equal_nan=True) for name in trials),
        f'the {len(trials)} arrays of these trials are the same',
    )
    run('python -m fastindex verify elsewhere --hash')


def say(text: str) -> None:
    """Print the heading of a step."""
    print(f'\n{text}\n', flush=True)


def run(command: str) -> None:
    """Show a command, and run it as it would be run in a shell; stop where it fails."""
    print(f'$ {command}', flush=True)
    _, *words = shlex.split(command)
    done = subprocess.run([sys.executable, *words], check=False)  # noqa: S603 - our own words
    if done.returncode:
        sys.exit(f'this ended with {done.returncode}: {command}')


def check(is_so: bool, text: str) -> None:
    """Stop where something is not as the tutorial says."""
    if not is_so:
        sys.exit(f'this is not so: {text}')
    print(f'checked: {text}', flush=True)


def plot_reaction_times(trials: dict[str, np.ndarray], path: Path) -> None:
    """Plot the reaction time of each trial against its number, and write the picture."""
    reaction_seconds = compute_reaction_seconds(trials)
    figure = Figure(figsize=(8, 4), layout='constrained')
    axes = figure.subplots()
    numbers = np.arange(1, len(reaction_seconds) + 1)
    moved = trials['choice'] != 0
    axes.semilogy(numbers[moved], reaction_seconds[moved], '.', alpha=0.6, label='the mouse turns the wheel')
    axes.semilogy(numbers[~moved], reaction_seconds[~moved], 'x', label='it lets the time pass')
    axes.axhline(np.median(reaction_seconds), color='tab:green', label='median of all')
    axes.set(xlabel='trial', ylabel='reaction time (s)', title='NYU-01: from the go cue to the feedback')
    axes.yaxis.set_major_formatter('{x:g}')
    axes.legend(loc='center left')
    figure.savefig(path, dpi=150)


if __name__ == '__main__':
    main(Path(sys.argv[1]))

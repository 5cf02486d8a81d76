"""Open an index of the example with the ONE client: search sessions, load trials, look at reaction times.

python examples/first_look.py example-data
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from one.api import One

DATASETS = ['_ibl_trials.goCue_times.npy', '_ibl_trials.feedback_times.npy']


def look(folder: str) -> tuple[list[Any], dict[str, np.ndarray]]:
    """Look at the sessions of a mouse, as anyone would who has the folder and the client.

    Returns
    -------
    eids
        Of the sessions that have what a reaction time takes.
    trials
        Of the first of them: the arrays by attribute.
    """
    started = time.perf_counter()
    one = One(cache_dir=folder, mode='local')
    print(f'opened by the ONE client in {time.perf_counter() - started:.2f} s')

    started = time.perf_counter()
    eids = one.search(subject='NYU-01', datasets=DATASETS)
    print(f'{len(eids)} sessions of NYU-01 (search: {time.perf_counter() - started:.2f} s)')

    started = time.perf_counter()
    trials = one.load_object(eids[0], 'trials')
    seconds = time.perf_counter() - started
    reaction_seconds = compute_reaction_seconds(trials)
    path = one.eid2path(eids[0]).session_path_short()
    print(f'{path}: {len(reaction_seconds)} trials (load: {seconds:.2f} s)')
    print('reaction times: ' + ', '.join(f'{t:.2f}' for t in reaction_seconds[:8]) + ' ... s')
    print(f'median {np.median(reaction_seconds):.2f} s')
    return eids, trials


def compute_reaction_seconds(trials: dict[str, np.ndarray]) -> np.ndarray:
    """For each trial the time from the go cue to the feedback, in seconds."""
    return trials['feedback_times'] - trials['goCue_times']


if __name__ == '__main__':
    look(sys.argv[1])

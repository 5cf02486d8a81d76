"""Open an index of the example with the ONE client: search sessions, load trials, look at reaction times.

python examples/first_look.py example-data
"""

import sys
import time

import numpy as np
from one.api import One

started = time.perf_counter()
one = One(cache_dir=sys.argv[1], mode='local')
print(f'opened by the ONE client in {time.perf_counter() - started:.2f} s')

started = time.perf_counter()
eids = one.search(subject='NYU-01')
print(f'{len(eids)} sessions of NYU-01 (search: {time.perf_counter() - started:.2f} s)')

started = time.perf_counter()
trials = one.load_object(eids[0], 'trials')
seconds = time.perf_counter() - started
reaction_seconds = trials['response_times'] - trials['goCue_times']
print(f'{one.eid2path(eids[0]).session_path_short()}: {len(reaction_seconds)} trials (load: {seconds:.2f} s)')
print('reaction times: ' + ', '.join(f'{t:.2f}' for t in reaction_seconds[:8]) + ' ... s')
print(f'median {np.nanmedian(reaction_seconds):.2f} s')

"""Measure how long the ONE client takes to load an object by our index, the second time.

    python -m benchmarks.client --data bench-data

The first call loads more than the object: the client's modules for the arrays. Where a table has a digest in
`hash`, the client computes the MD5 of each file at each load: 0.2 s a file, whatever its size.
"""

from __future__ import annotations

import argparse
import time
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import fastindex
from benchmarks.measure import Measurement, scratch_folder, write_results
from benchmarks.trees import make_tree

SESSIONS = 20


def measure_loading(root: Path) -> Measurement:
    """Load the trials of some sessions twice, and time the second time."""
    title, name = "the ONE client's `load_object`", 'second call, 15 files'
    if find_spec('one') is None:
        return Measurement(title, name, None, '<= 0.05', note='missing: ONE-api')
    from one.api import One

    with scratch_folder() as tables:
        fastindex.build(root, out=tables, hash=['xxh128'], workers=2)
        one = One(cache_dir=root, tables_dir=tables, mode='local')
        seconds = []
        for eid in one.search()[:SESSIONS]:
            one.load_object(eid, 'trials')
            started = time.perf_counter()
            one.load_object(eid, 'trials')
            seconds.append(round(time.perf_counter() - started, 4))
    return Measurement(
        title,
        name,
        median(seconds),
        '<= 0.05',
        's',
        ours=seconds,
        commands=["one.load_object(eid, 'trials')"],
    )


def main() -> None:
    """Measure and keep the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--data', type=Path, default=Path('bench-data'), help='folder of the trees')
    options = parser.parse_args()
    write_results('client', [measure_loading(make_tree('example', options.data))], options.data)


if __name__ == '__main__':
    main()

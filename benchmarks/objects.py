"""Measure how much more workers help where each page of a listing takes 50 ms longer, as far from a bucket.

    python -m benchmarks.objects --data bench-data --rounds 3

100,000 objects, served by rclone from a folder. The waiting is done by a proxy, which also remembers the
pages of the warm-up: else the server, on the same cores, would be what is measured. Proxy and workers share
them still.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from benchmarks.measure import Command as Line
from benchmarks.measure import Measurement, make_words, race, ratio_of, scratch_folder, write_results
from benchmarks.servers import KEY, SECRET, Proxy, rclone
from benchmarks.trees import make_tree

PAGE_SECONDS = 0.05
WORKERS = (1, 2, 4, 8, 16)
INDEX = '{python} -m fastindex s3://recordings --endpoint {url} --out {out} --quiet --workers '


def measure_listing(tree: str, data: Path, *, rounds: int) -> list[Measurement]:
    """Compare more workers with one."""
    commands = [Line(str(workers), f'{INDEX}{workers}') for workers in WORKERS]
    os.environ.update(AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=SECRET)
    with scratch_folder() as scratch:
        served = scratch / 'served'
        served.mkdir()
        (served / 'recordings').symlink_to(make_tree(tree, data).resolve())
        with rclone(served, has_etags=False) as url, Proxy(url) as proxy:
            proxy.seconds_a_page, proxy.remembers = PAGE_SECONDS, True
            words = make_words(scratch, url=proxy.url)
            seconds = race(commands, words, scratch, rounds=rounds)
    return [
        Measurement(
            'a bucket of 100k objects, 50 ms a page',
            f'{workers} workers: times the speed of 1',
            ratio_of(seconds['1'], seconds[str(workers)]),
            ours=seconds[str(workers)],
            theirs=seconds['1'],
            commands=[f'{INDEX}{workers}', f'{INDEX}1'],
        )
        for workers in WORKERS[1:]
    ]


def main() -> None:
    """Measure and keep the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--data', type=Path, default=Path('bench-data'), help='folder of the trees')
    parser.add_argument('--tree', default='100k')
    parser.add_argument('--rounds', type=int, default=3)
    options = parser.parse_args()
    measurements = measure_listing(options.tree, options.data, rounds=options.rounds)
    write_results('objects', measurements, options.data)


if __name__ == '__main__':
    main()

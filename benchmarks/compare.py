"""Time whole commands against others on the same warm tree, in pairs (A B A B), and print the ratios.

    python benchmarks/compare.py example-data --pairs 9

Machines differ and are noisy; the ratio of two runs next to each other is what can be compared. Every command
is run as a user types it, interpreter start included. What is not installed is said to be missing.
"""

import argparse
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HASH_ALL = 'find {root} -type f -print0 | xargs -0 -P2 xxh128sum'
# What fastindex is compared with: options of fastindex, name, needed program, shell command, pairs at most.
PEERS = (
    ('', "find -printf '%s %p'", 'find', "find {root} -type f -printf '%s %p\\n'", 99),
    ('', 'bfs -printf', 'bfs', "bfs {root} -type f -printf '%s %p\\n'", 99),
    ('', 'fdfind with sizes', 'fdfind', 'fdfind -u -t f --size +0b . {root}', 99),
    ('--hash', 'xargs -P2 xxh128sum', 'xxh128sum', HASH_ALL, 99),
    ('', "ONE's make_parquet_db", sys.executable, '{python} -c {builder} {root} {out}', 1),
)
BUILDER = 'import sys; from one.alf.cache import make_parquet_db; make_parquet_db(sys.argv[1], sys.argv[2])'


def seconds_of(command: str) -> float:
    """Wall time of a shell command that must succeed."""
    started = time.perf_counter()
    subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def compare(ours: str, theirs: str, pairs: int) -> tuple[float, float, float]:
    """Median seconds of both commands, and the median of the ratios of the pairs, after one warm-up."""
    if pairs > 1:
        seconds_of(theirs)
    seconds_of(ours)
    runs = [(seconds_of(ours), seconds_of(theirs)) for _ in range(pairs)]
    return (
        statistics.median(a for a, _ in runs),
        statistics.median(b for _, b in runs),
        statistics.median(a / b for a, b in runs),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('root', help='the tree, for instance the one of `make run`')
    parser.add_argument('--pairs', type=int, default=9)
    options = parser.parse_args()
    print(f'{os.cpu_count()} CPUs, Python {sys.version.split()[0]}, medians of {options.pairs} pairs')
    print('| fastindex | other | seconds | other, seconds | ratio |\n| --- | --- | --- | --- | --- |')
    with tempfile.TemporaryDirectory() as out:
        words = {'root': options.root, 'out': out, 'python': sys.executable, 'builder': BUILDER}
        quoted = {name: shlex.quote(word) for name, word in words.items()}
        for ours, name, program, theirs, most in PEERS:
            if shutil.which(program) is None:
                print(f'| {ours or "plain"} | {name} | | missing | |')
                continue
            command = '{python} -m fastindex {root} --out {out} --workers 2 --quiet '.format(**quoted) + ours
            a, b, ratio = compare(command, theirs.format(**quoted), min(options.pairs, most))
            print(f'| {ours or "plain"} | {name} | {a:.2f} | {b:.2f} | {ratio:.2f} |', flush=True)


if __name__ == '__main__':
    main()

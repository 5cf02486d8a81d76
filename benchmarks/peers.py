"""The commands that are compared, on which tree, and the goals: by how much fastindex should be ahead.

    python -m benchmarks.peers scandir-rs ROOT
    python -m benchmarks.peers make_parquet_db ROOT OUT

run those that are Python libraries, as commands of their own. Timing is the business of `speed.py`.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

from benchmarks.measure import Command

FASTINDEX = Command('fastindex', '{python} -m fastindex {root} --out {out} --workers 2 --quiet')
FASTINDEX_HASH = Command('fastindex --hash', FASTINDEX.template + ' --hash')

FLOOR = Command('floor.c, 2 threads', '{floor} -t 2 {root}', ('floor',))
FIND = Command("find -printf '%s %p'", "find {root} -type f -printf '%s %p\\n'", ('find',))
BFS = Command("bfs -printf '%s %p'", "bfs {root} -type f -printf '%s %p\\n'", ('bfs',))
FD = Command('fdfind with sizes', 'fdfind -u -t f --size +0b . {root}', ('fdfind',))
SCANDIR = Command('scandir-rs, Ext', '{python} -m benchmarks.peers scandir-rs {root}', ('scandir_rs',))
BUILDER = Command(
    "ONE's make_parquet_db", '{python} -m benchmarks.peers make_parquet_db {root} {out}', ('one',)
)

BARE = Command('bare.py: Python, list and stat', '{python} {bare} {root}')
BARE_HASH = Command('bare.py: Python, list and hash', '{python} {bare} {root} --hash')

FLOOR_HASH = Command('floor.c -x, 2 threads', '{floor} -t 2 -x {root}', ('floor',))
XXHSUM = Command(
    'xargs -P2 xxh128sum', 'find {root} -type f -print0 | xargs -0 -P2 xxh128sum', ('xxh128sum', 'xargs')
)
XXHSUM_BIG = Command(
    'xxh128sum of the 8 GB file', 'find {root} -name "*.raw.bin" -exec xxh128sum {{}} +', ('xxh128sum',)
)
SPREAD = Command('the same number over sessions', FASTINDEX.template.replace('{root}', '{spread}'))
PLAIN_RERUN = Command(
    'rerun without hashes', '{python} -m fastindex {root} --out {indexed_plain} --workers 2 --quiet'
)
HASH_RERUN = Command(
    'fastindex --hash, rerun', '{python} -m fastindex {root} --out {indexed} --workers 2 --quiet --hash'
)
VERIFY = Command(
    'fastindex verify', '{python} -m fastindex verify {root} --index {indexed} --workers 2 --quiet'
)
VERIFY_HASH = Command('fastindex verify --hash', VERIFY.template + ' --hash')
BUILD = Command('a build', FASTINDEX.template)
PARQUET = Command("python -c 'import pyarrow.parquet'", "{python} -c 'import pyarrow.parquet'")
BUILD_HASH = Command('a build with `--hash`', FASTINDEX_HASH.template)


class Scenario(NamedTuple):
    """What is raced.

    Parameters
    ----------
    title
        As it stands in the table.
    tree
        One of `trees.TREES`.
    peers
        What our command is compared with, each with its goal for ours / theirs.
    before
        What runs once, untimed: an index that is to be there.
    is_cpu
        Whether the CPU seconds of all processes are compared, in place of those on the clock.
    """

    title: str
    tree: str
    ours: Command
    peers: tuple[tuple[Command, str], ...]
    note: str = ''
    before: Command | None = None
    is_cpu: bool = False


SCENARIOS = {
    'example': Scenario(
        'example, 74k files',
        'example',
        FASTINDEX,
        (
            *((FIND, '<= 1.0'), (FLOOR, ''), (BARE, ''), (BFS, ''), (FD, ''), (SCANDIR, '')),
            (BUILDER, '<= 0.02'),
        ),
    ),
    'example-hash': Scenario(
        'example, `--hash`',
        'example',
        FASTINDEX_HASH,
        ((XXHSUM, '<= 0.8'), (FLOOR_HASH, '<= 2.0'), (BARE_HASH, '')),
    ),
    'example-rerun': Scenario(
        'example, `--hash`, nothing changed',
        'example',
        HASH_RERUN,
        ((PLAIN_RERUN, '<= 1.1'),),
    ),
    'session': Scenario(
        'one session, the fixed cost', 'session', FASTINDEX, ((PARQUET, '<= 1.2'),), is_cpu=True
    ),
    '1m': Scenario(
        '1 M files',
        '1m',
        FASTINDEX,
        (
            *((FIND, '<= 0.65'), (FLOOR, '<= 1.7'), (BARE, '')),
            *((BFS, '<= 0.7'), (FD, '<= 0.7'), (SCANDIR, '<= 0.7')),
        ),
    ),
    '1m-hash': Scenario(
        '1 M files, `--hash`', '1m', FASTINDEX_HASH, ((FLOOR_HASH, '<= 1.4'), (BARE_HASH, ''), (XXHSUM, ''))
    ),
    '1m-one-folder': Scenario(
        '1 M files in one folder', '1m-one-folder', FASTINDEX, ((SPREAD, '<= 1.15'), (FLOOR, ''))
    ),
    'example-verify': Scenario(
        'example, `verify`', 'example', VERIFY, ((BUILD, '<= 1.1'),), before=HASH_RERUN
    ),
    'example-verify-hash': Scenario(
        'example, `verify --hash`',
        'example',
        VERIFY_HASH,
        ((FLOOR_HASH, '<= 1.3'), (BUILD_HASH, '')),
        before=HASH_RERUN,
    ),
    'big-verify-hash': Scenario(
        'one 8 GB file among small ones, `verify --hash`',
        'big',
        VERIFY_HASH,
        ((FLOOR_HASH, '<= 1.3'),),
        before=HASH_RERUN,
    ),
    'big': Scenario(
        'one 8 GB file among small ones, `--hash`', 'big', FASTINDEX_HASH, ((XXHSUM_BIG, '<= 0.75'),)
    ),
}


def _run_scandir_rs(root: str) -> None:
    from scandir_rs import ReturnType, Scandir

    Scandir(root, return_type=ReturnType.Ext).collect()


def _run_make_parquet_db(root: str, out: str) -> None:
    from one.alf.cache import make_parquet_db

    make_parquet_db(root, out)


if __name__ == '__main__':
    if sys.argv[1] == 'scandir-rs':
        _run_scandir_rs(*sys.argv[2:])
    else:
        _run_make_parquet_db(*sys.argv[2:])

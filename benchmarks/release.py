"""Race `fastindex release` against `zip -rq` of the same tree, which neither checks, indexes nor syncs.

    python -m benchmarks.release --data bench-data

Ours is the whole job: validate, index with digests, compress, manifest, digest of the archive, fsync.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.measure import Command, Measurement, make_words, race, ratio_of, scratch_folder, write_results
from benchmarks.trees import make_tree

RELEASE = '{python} -m fastindex release {root} --workers 2 --quiet'
OURS = {
    Command('to zip, no index yet', RELEASE + ' --out {out}/x.zip --tables {out}'): '<= 0.7',
    Command('to zip, index up to date', RELEASE + ' --out {out}/x.zip --tables {indexed}'): '',
    Command('to tar.zst, index up to date', RELEASE + ' --out {out}/x.tar.zst --tables {indexed}'): '',
}
"""With their goals."""

ZIP = Command('zip -rq', 'cd {root} && zip -rq {out}/x.zip .', ('zip',))


def measure_release(root: Path, *, rounds: int) -> list[Measurement]:
    """Race all ways to release a tree, and zip."""
    with scratch_folder() as scratch:
        indexed = scratch / 'indexed'
        indexed.mkdir()
        words = make_words(scratch, root=root.resolve(), indexed=indexed)
        seconds = race([*OURS, ZIP], words, scratch, rounds=rounds)
    theirs = seconds[ZIP.name]
    return [
        Measurement(
            f'example, `release` {ours.name}',
            ZIP.name,
            ratio_of(seconds[ours.name], theirs),
            goal,
            ours=seconds[ours.name],
            theirs=theirs,
            commands=[ours.template, ZIP.template],
            note='' if theirs else 'missing',
        )
        for ours, goal in OURS.items()
    ]


def main() -> None:
    """Measure and keep the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--data', type=Path, default=Path('bench-data'), help='folder of the trees')
    parser.add_argument('--rounds', type=int, default=5)
    options = parser.parse_args()
    measurements = measure_release(make_tree('example', options.data), rounds=options.rounds)
    write_results('release', measurements, options.data)


if __name__ == '__main__':
    main()

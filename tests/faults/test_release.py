"""P1 for an archive: on disks of all sizes the old one is there, or the new one, and nothing else."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import fastindex
from tests.support.injectors import mounted, need_mounts, scaled
from tests.support.trees import grow

pytestmark = pytest.mark.fault

FULL = """
mount -t tmpfs -o "$4" x "$1"
echo old > "$1/x.zip"
"$3" -m fastindex release "$2" --out "$1/x.zip" --overwrite --tables "$5" --workers 2 --quiet \
    2> "$6/stderr" || echo $? > "$6/code"
cp "$1/x.zip" "$6"
ls -A "$1" > "$6/left"
"""


def test_a_full_disk_leaves_the_old_archive_or_the_new(tmp_path, figure):
    need_mounts()
    noise = np.random.default_rng(0).bytes
    tree = {f's{i}/2024-01-01/001/a.b.npy': noise(20_000) for i in range(20)}
    root = grow(tmp_path / 'root', tree | {'s/2024-01-01/001/c.d.mp4': noise(5_000_000)})
    for name in ('tables', 'mount'):
        (tmp_path / name).mkdir()
    fastindex.release(root, tmp_path / 'new.zip', index=tmp_path / 'tables', workers=1)
    new = (tmp_path / 'new.zip').read_bytes()
    options = [f'size={kib}k' for kib in range(8, 2 * len(new) // 1024, scaled(1200, 200))]
    options += [f'size=64m,nr_inodes={count}' for count in range(2, 8)]
    full = 0
    for option in options:
        case = tmp_path / option
        case.mkdir()
        words = root, sys.executable, option, tmp_path / 'tables', case
        done = mounted(FULL, tmp_path / 'mount', *words)
        assert done.returncode == 0, done.stderr
        assert (case / 'left').read_text() == 'x.zip\n'
        if (case / 'code').exists():
            assert (case / 'code').read_text() == '2\n'
            assert 'No space left on device' in (case / 'stderr').read_text()
            assert (case / 'x.zip').read_bytes() == b'old\n'
            full += 1
        else:
            assert (case / 'x.zip').read_bytes() == new
    assert 2 < full < len(options)
    figure(
        'P1', f'{len(options)} of {len(options)} small disks have the old archive or the new ({full} full)'
    )

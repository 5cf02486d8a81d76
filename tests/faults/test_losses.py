"""P20: a great loss is asked about, and what was replaced can be put back."""

from __future__ import annotations

import os
import shutil
import sys

import pytest

import fastindex
from fastindex import LossError
from tests.support.injectors import digests, mounted, need_mounts
from tests.support.trees import grow

pytestmark = pytest.mark.fault

TREE = {
    f'{lab}/Subjects/s{i % 3}/2024-01-{1 + i // 3:02}/001/a.b{j}.npy': b'x'
    for lab in ('big', 'small')
    for i in range(12)
    for j in range(2)
}
EMPTY_MOUNT = """
mount -t tmpfs none "$1/$2"
shift 2
exec "$@"
"""
MOUNTS = [('small',), ('small/Subjects', '--check'), ('big/Subjects/s1', '--hash')]


@pytest.fixture
def root(tmp_path):
    root = grow(tmp_path / 'root', TREE)
    fastindex.build(root, workers=1)
    return root


def command(root, *words):
    return [sys.executable, '-m', 'fastindex', str(root), '--workers', '2', *words]


def test_an_empty_mount_replaces_no_index_until_that_is_allowed_and_restore_brings_it_back(root, figure):
    need_mounts()
    old, asked = digests(root), 0
    for place, *more in MOUNTS:
        done = mounted(EMPTY_MOUNT, root, place, *command(root, *more))
        assert (done.returncode, digests(root)) == (2, old), done
        assert f'missing: {place.removesuffix("/Subjects")}, all' in done.stderr
        asked += 1
    done = mounted(EMPTY_MOUNT, root, 'small', *command(root, '--allow-removal'))
    assert (done.returncode, digests(root) == old) == (0, False), done
    new = digests(root)
    for expected in (old, new, old):
        fastindex.restore(root)
        assert digests(root) == expected
    figure('P20', f'{asked} of {asked} runs over an empty mount left the index; restore there and back')


def test_folders_that_may_not_be_read_are_no_loss_unasked(open_folder, figure):
    grow(open_folder, TREE)
    fastindex.build(open_folder, workers=1)
    old = digests(open_folder)
    places = ['small', 'small/Subjects', 'big/Subjects/s1', 'big/Subjects']
    for place in places:
        os.chmod(open_folder / place, 0)
        with pytest.raises(LossError, match=f'missing: {place.removesuffix("/Subjects")}, all') as refused:
            fastindex.build(open_folder, workers=1)
        os.chmod(open_folder / place, 0o777)
        assert f'problem: {place}: ' in str(refused.value)
        assert digests(open_folder) == old
    figure('P20', f'{len(places)} of {len(places)} folders of mode 000 left the index')


def test_labs_that_are_renamed_or_gone_are_asked_about(root, figure):
    old = digests(root)
    changes = {
        'renamed': lambda: (root / 'small').rename(root / 'Small'),
        'renamed back': lambda: (root / 'Small').rename(root / 'small'),
        'gone': lambda: shutil.rmtree(root / 'big'),
    }
    for name, change in changes.items():
        change()
        if name == 'renamed back':
            fastindex.build(root, workers=1)
        else:
            with pytest.raises(LossError):
                fastindex.build(root, workers=1)
        assert digests(root) == old
    fastindex.build(root, workers=1, allow_removal=True)
    fastindex.restore(root)
    assert digests(root) == old
    figure('P20', 'labs that were renamed or removed left the index')

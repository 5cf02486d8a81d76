"""The lock of an index: a file of its own, whatever a copy of the tree has made of it."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

import fastindex
from fastindex import LockedError, PublishError
from fastindex.tables.target import open_target
from tests.support.trees import SESSION

OURS = f'process {os.getpid()} on '


@pytest.fixture
def root(make_tree, build):
    root = make_tree({f'{SESSION}/a.b.npy': b'1'})
    build(root)
    return root


def test_a_copy_by_hard_links_and_the_tree_itself_are_locked_apart(root, build, tmp_path):
    subprocess.run(['cp', '-al', root, tmp_path / 'copy'], check=True)
    lock, copied = (folder / '.fastindex/lock' for folder in (root, tmp_path / 'copy'))
    assert os.path.samefile(lock, copied)
    before = copied.read_bytes()
    with open_target(root), open_target(tmp_path / 'copy'):
        assert not os.path.samefile(lock, copied)
        for folder in (root, tmp_path / 'copy'):
            with pytest.raises(LockedError, match=OURS):
                build(folder)
    assert (lock.stat().st_nlink, copied.stat().st_nlink) == (1, 1)
    assert before.startswith(OURS.encode())


def test_a_lock_with_two_names_that_is_held_is_held(root, build, tmp_path):
    """By a run on the tree that was copied meanwhile, or on this one: nobody can tell."""
    with open_target(root):
        subprocess.run(['cp', '-al', root, tmp_path / 'copy'], check=True)
        with pytest.raises(LockedError):
            build(root)
        with pytest.raises(LockedError):
            build(tmp_path / 'copy')
    build(root)
    build(tmp_path / 'copy')


def test_what_a_link_leads_to_is_left_alone(root, build, tmp_path):
    lock = root / '.fastindex/lock'
    for target in (tmp_path / 'mine', tmp_path / 'nothing'):
        lock.unlink()
        (tmp_path / 'mine').write_text('of somebody')
        lock.symlink_to(target)
        build(root)
        assert (lock.is_symlink(), (tmp_path / 'mine').read_text()) == (False, 'of somebody')
        assert not (tmp_path / 'nothing').exists()
    (tmp_path / 'mine').chmod(0o600)
    lock.unlink()
    os.link(tmp_path / 'mine', lock)
    build(root)
    assert (tmp_path / 'mine').read_text() == 'of somebody'


def test_what_is_no_file_is_refused(root, build):
    lock = root / '.fastindex/lock'
    lock.unlink()
    os.mkfifo(lock)
    with pytest.raises(PublishError, match='this is no plain file of ours'):
        build(root)


def test_a_lock_that_is_replaced_after_it_was_opened_is_not_the_lock(root, monkeypatch):
    from fastindex.tables import lock as module

    opened = module._open_lock
    times = []

    def open_late(state):
        lock = opened(state)
        if not times:
            times.append(1)
            shutil.move(root / '.fastindex/lock', root / '.fastindex/other')
            (root / '.fastindex/lock').touch()
        return lock

    monkeypatch.setattr(module, '_open_lock', open_late)
    with open_target(root):
        assert (root / '.fastindex/lock').read_text().startswith(OURS)
        with pytest.raises(LockedError):
            fastindex.build(root, workers=1)

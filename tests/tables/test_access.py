"""Who may read and write what a run puts in place."""

from __future__ import annotations

import os
from contextlib import contextmanager

import pytest

from fastindex.trees import fingerprints
from tests.support.trees import SESSION, grow

FILES = ('sessions.pqt', 'datasets.pqt', '.fastindex/fingerprints.parquet')


@pytest.fixture
def root(make_tree, monkeypatch):
    monkeypatch.setattr(fingerprints, 'SETTLED_NS', -(10**12))
    return make_tree({f'{SESSION}/a.b.npy': b'1'})


def modes(root, *names):
    return [oct((root / name).stat().st_mode & 0o7777) for name in names]


@pytest.mark.long
@pytest.mark.parametrize('mode', [0o600, 0o640, 0o664, 0o444])
def test_a_table_that_is_replaced_keeps_its_mode(root, build, mode):
    build(root, hash=['xxh128'])
    for name in FILES:
        (root / name).chmod(mode)
    for number in range(2):
        grow(root, {f'{SESSION}/new{number}.b.npy': b''})
        build(root)
        assert modes(root, *FILES) == [oct(mode)] * 3


def test_a_first_table_has_the_mode_that_the_user_wants(root, build):
    before = os.umask(0o027)
    try:
        build(root)
    finally:
        os.umask(before)
    assert modes(root, 'sessions.pqt', 'datasets.pqt') == ['0o640'] * 2


def test_a_table_that_is_replaced_keeps_its_owner_and_group(root, build):
    build(root, hash=['xxh128'])
    ours = os.geteuid(), os.getegid()
    wanted = (1234, 4321) if not ours[0] else ours
    for name in FILES:
        os.chown(root / name, *wanted)
    grow(root, {f'{SESSION}/new.b.npy': b''})
    build(root)
    for name in FILES:
        info = (root / name).stat()
        assert (info.st_uid, info.st_gid) == wanted


def test_a_group_that_cannot_be_kept_leaves_no_rights_to_another(root, build, monkeypatch):
    build(root)
    (root / 'sessions.pqt').chmod(0o664)
    (root / 'datasets.pqt').chmod(0o660)

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, 'fchown', refuse)
    grow(root, {f'{SESSION}/new.b.npy': b''})
    build(root)
    assert modes(root, 'sessions.pqt', 'datasets.pqt') == ['0o644', '0o600']


def test_state_in_a_folder_that_is_shared_is_shared(root, build):
    root.chmod(0o2775)
    build(root, hash=['xxh128'])
    grow(root, {f'{SESSION}/new.b.npy': b''})
    build(root)
    state = root / '.fastindex'
    assert modes(state, '.', 'previous') == ['0o2775'] * 2
    assert modes(state, 'lock', 'fingerprints.parquet') == ['0o664'] * 2
    assert {path.stat().st_gid for path in state.rglob('*')} == {root.stat().st_gid}


def test_state_of_an_older_run_is_shared_by_the_next_one_of_its_user(root, build):
    build(root)
    root.chmod(0o2775)
    build(root)
    assert modes(root, '.fastindex', '.fastindex/lock') == ['0o2775', '0o664']


def test_a_folder_that_is_not_shared_stays_so(root, build):
    before = os.umask(0o022)
    try:
        build(root)
    finally:
        os.umask(before)
    assert modes(root, '.fastindex', '.fastindex/lock') == ['0o755', '0o644']


@contextmanager
def acting_as(user, group):
    """Be another user with a group of its own, and of the shared one (root alone can)."""
    if os.geteuid():
        yield
        return
    groups, before = os.getgroups(), os.umask(0o022)
    os.setgroups([group])
    os.setegid(user)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
        os.umask(before)


def test_two_colleagues_take_turns(open_folder, build, monkeypatch):
    monkeypatch.setattr(fingerprints, 'SETTLED_NS', -(10**12))
    os.seteuid(os.getuid())
    group = 0 if os.geteuid() else 4321
    if group:
        os.chown(open_folder, -1, group)
    open_folder.chmod(0o2775)
    root = grow(open_folder, {f'{SESSION}/a.b.npy': b'1'})
    for number, user in enumerate((1001, 1002, 1001, 1002)):
        grow(root, {f'{SESSION}/new{number}.b.npy': b'new'})
        with acting_as(user, group):
            assert build(root, hash=['xxh128']).datasets == number + 2
    assert (root / '.fastindex/previous').is_dir()

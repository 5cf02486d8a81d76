"""What has moved is told as moved, by its size and digest, and nothing else is."""

from __future__ import annotations

import json

import pytest

import fastindex
from fastindex.tables.moves import Placed, find_moves

NAMES = ('alf/a.b.npy', 'alf/c.d.npy', 'e.f.npy')
SESSIONS = [f's{i}/2024-01-0{day}/001' for i in (1, 2) for day in (1, 2)]


@pytest.fixture
def root(make_tree, build):
    """All contents are different, but those of e.f.npy, which are everywhere the same."""
    tree = {f'{path}/{name}': f'{path}{name}'.encode() for path in SESSIONS for name in NAMES[:2]}
    root = make_tree({**tree, **{f'{path}/e.f.npy': b'' for path in SESSIONS}})
    build(root, hash=['xxh128'])
    return root


def changes(root, run, tmp_path, *words):
    _, out, _ = run(root, '--changes', tmp_path / 'changes', '--allow-removal', '--workers', 1, *words)
    lines = map(json.loads, (tmp_path / 'changes').read_text().splitlines())
    return {
        (one['kind'], one['path'], one['rel_path'], (one['before'] or {}).get('path')) for one in lines
    }, out


def differences(root):
    found = fastindex.verify(root, hash=True, workers=1)
    return {(str(one.kind), one.path, one.expected if one.kind == 'moved' else None) for one in found}


def test_a_renamed_subject_is_moved_with_all_its_sessions(root, run, tmp_path):
    (root / 's1').rename(root / 's9')
    pairs = [(path.replace('s1', 's9'), path) for path in SESSIONS[:2]]
    expected = {('moved', to, name, of) for to, of in pairs for name in (None, *NAMES)}
    assert differences(root) == {
        ('moved', f'{to}/{name}'.removesuffix('/'), f'{of}/{name}'.removesuffix('/'))
        for to, of in pairs
        for name in ('', *NAMES)
    }
    found, out = changes(root, run, tmp_path)
    assert found == expected
    assert 'since the last index: sessions moved: 2, datasets moved: 6' in out


def test_a_renamed_file_is_moved_and_what_has_changed_too_is_not(root, run, tmp_path):
    session = root / SESSIONS[0]
    (session / 'alf/a.b.npy').rename(session / 'alf/new.b.npy')
    (session / 'alf/c.d.npy').rename(session / 'x.y.npy')
    (session / 'x.y.npy').write_bytes(b'other')
    (session / 'e.f.npy').rename(session / 'g.h.npy')
    assert differences(root) == {
        ('moved', f'{SESSIONS[0]}/alf/new.b.npy', f'{SESSIONS[0]}/alf/a.b.npy'),
        ('moved', f'{SESSIONS[0]}/g.h.npy', f'{SESSIONS[0]}/e.f.npy'),
        ('missing', f'{SESSIONS[0]}/alf/c.d.npy', None),
        ('unexpected', f'{SESSIONS[0]}/x.y.npy', None),
    }
    found, _ = changes(root, run, tmp_path)
    assert found == {
        ('moved', SESSIONS[0], 'alf/new.b.npy', SESSIONS[0]),
        ('moved', SESSIONS[0], 'g.h.npy', SESSIONS[0]),
        ('removed', SESSIONS[0], 'alf/c.d.npy', None),
        ('added', SESSIONS[0], 'x.y.npy', None),
    }


def test_without_digests_nothing_is_told_as_moved(root, build, run, tmp_path):
    build(root, hash=())
    (root / 's1').rename(root / 's9')
    found, _ = changes(root, run, tmp_path)
    assert {kind for kind, *_ in found} == {'added', 'removed'}
    assert len(found) == 16


def test_what_may_have_moved_to_several_places_is_not_guessed():
    gone = [Placed('x', 's1/2024-01-01/001', 'a.b.npy'), Placed('x', 's2/2024-01-01/001', 'a.b.npy')]
    new = [Placed('x', 's3/2024-01-01/001', 'a.b.npy'), Placed('x', 's4/2024-01-01/001', 'a.b.npy')]
    assert find_moves(gone, new, frozenset()) == ({}, {})
    assert find_moves(gone[:1], new[:1], frozenset()) == ({0: 0}, {})
    assert find_moves(gone[:1], new[:1], frozenset({new[0].session})).sessions == {
        's3/2024-01-01/001': 's1/2024-01-01/001'
    }

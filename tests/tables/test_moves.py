"""What has moved is told as moved, by its size and digest, and nothing else is."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter, defaultdict

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastindex
from fastindex.jobs.verify.held import HeldDifferences
from fastindex.jobs.verify.judge import Difference, Kind
from fastindex.tables.moves import Placed, find_moves
from tests.support.cases import cases

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
    found = list(fastindex.verify(root, hash=True, workers=1))
    with (
        pytest.MonkeyPatch.context() as patch
    ):  # the same, held in more pieces, or too many to be told as moved
        patch.setattr('fastindex.jobs.verify.held.CHUNK_ROWS', 2)
        assert list(fastindex.verify(root, hash=True, workers=1)) == found
        patch.setattr('fastindex.jobs.verify.held.MAX_HELD', 2)
        kinds = {one.kind for one in fastindex.verify(root, hash=True, workers=1)}
        assert len(found) < 3 or kinds == {'missing', 'unexpected'}
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


def test_files_of_one_content_that_keep_their_names_are_moved(root, build, run, tmp_path):
    session = root / SESSIONS[0]
    for name in NAMES[:2]:
        (session / name).write_bytes(b'the same')
    build(root, hash=['xxh128'])
    (session / 'alf').rename(session / 'raw')
    (session / 'e.f.npy').rename(session / 'raw/e.f.npy')
    found, _ = changes(root, run, tmp_path)
    assert found == {
        ('moved', SESSIONS[0], f'raw/{name}', SESSIONS[0]) for name in ('a.b.npy', 'c.d.npy', 'e.f.npy')
    }


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


@pytest.mark.long
def test_what_is_held_until_all_is_there_takes_a_fifth_of_what_its_objects_take():
    count = 20_000
    held = HeldDifferences(progress=False)
    tracemalloc.start()
    before = pa.total_allocated_bytes()
    for i in range(count):
        path = f'lab/Subjects/s{i // 1000}/2024-01-01/001/alf/probe00/spikes.times.{i}.npy'
        held.add(Difference(Kind.MISSING, path, 'size_bytes', i, None), f'{i} {i:032x}')
    held_bytes = tracemalloc.get_traced_memory()[0] + pa.total_allocated_bytes() - before
    tracemalloc.stop()
    assert held_bytes < 220 * count
    assert [one.expected for one in held.iter_told()] == list(range(count))


PLACES = ['s1/2024-01-01/001', 's2/2024-01-01/001', 's3/2024-01-01/001', 's4/2024-01-01/001']


def place(rows):
    """Make columns of rows."""
    contents, sessions, names = zip(*rows, strict=True) if rows else ((), (), ())
    return Placed(pa.array(contents, pa.string()), sessions, pa.array(names, pa.string()))


def test_what_may_have_moved_to_several_places_is_not_guessed():
    def find(gone, new, new_sessions=()):
        sides = (place([('x', number, 'a.b.npy') for number in side]) for side in (gone, new))
        datasets, sessions = find_moves(*sides, PLACES, frozenset(new_sessions))
        return list(datasets), sessions

    assert find([0, 1], [2, 3]) == ([-1, -1], {})
    assert find([0], [2]) == ([0], {})
    assert find([0], [2], [2]) == ([0], {2: 0})


def find_one_by_one(gone, new):
    """Do what `find_moves` does, a dataset after the other."""
    found = {}

    def pair(key, key_of_new=None):
        sides = [defaultdict(list), defaultdict(list)]
        paired = set(found.values())
        for i, one in enumerate(gone):
            sides[0][key(one)] += [] if i in paired else [i]
        for i, one in enumerate(new):
            sides[1][(key_of_new or key)(one)] += [] if i in found else [i]
        for value, rows in sides[0].items():
            if len(rows) == len(sides[1][value]) == 1:
                found[sides[1][value][0]] = rows[0]

    pair(lambda one: one[0])
    votes = defaultdict(Counter)
    for of, to in sorted((of, to) for to, of in found.items()):
        votes[gone[of][1]][new[to][1]] += 1
    goal = {session: counts.most_common(1)[0][0] for session, counts in votes.items()}
    pair(lambda one: (one[0], goal.get(one[1], one[1]), one[2]), lambda one: one)
    pair(lambda one: one[:2])
    pair(lambda one: (one[0], *PLACES[one[1]].split('/')[-2:], one[2]))
    return [found.get(i, -1) for i in range(len(new))]


placed = st.lists(st.tuples(*map(st.sampled_from, ('abcdef', range(4), ('x.y', 'v.w', 'a.b')))), max_size=12)


@settings(max_examples=cases(100))
@given(placed, placed)
def test_columns_are_paired_as_rows_are(gone, new):
    found = find_moves(place(gone), place(new), PLACES, frozenset())
    assert list(found.datasets) == find_one_by_one(gone, new)

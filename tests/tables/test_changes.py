"""What has changed since the last index: told, written, and asked for by --check."""

from __future__ import annotations

import json
import os
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastindex
from fastindex import Changes, UsageError, limits
from fastindex.tables import changes as changes_module
from tests.support.cases import cases
from tests.support.tables import read_paths
from tests.support.trees import digest_of, grow

TREE = {
    f'{lab}s{subject}/2024-01-0{day}/{number}/{name}': b'12345'
    for lab in ('', 'lab/Subjects/')
    for subject in range(3)
    for day in (1, 2)
    for number in ('001', '2')
    for name in ('alf/a.b.npy', 'c.d.npy')
}
FIRST = 'lab/Subjects/s1/2024-01-02/2/c.d.npy'


@pytest.fixture
def root(make_tree, build):
    root = make_tree(TREE)
    assert build(root).changes is None
    return root


@pytest.fixture
def changes_of(build):
    """Build, and give (kind, path) of each change."""

    def changes_of(root, **options):
        found = []
        summary = build(root, on_change=found.append, **{'allow_removal': True, **options})
        paths = [f'{one.path}/{one.rel_path}' if one.rel_path else one.path for one in found]
        return (
            tuple(summary.changes.to_dict().values())[:5],
            {(str(one.kind), path) for one, path in zip(found, paths, strict=True)},
            found,
        )

    return changes_of


def test_nothing_has_changed_where_nothing_has(root, changes_of):
    assert changes_of(root)[:2] == ((0, 0, 0, 0, 0), set())


def test_each_change_has_its_kind_and_path(root, changes_of):
    (root / FIRST).write_bytes(b'1')
    (root / 'lab/Subjects/s0/2024-01-01/001/c.d.npy').unlink()
    (root / 's2/2024-01-01/2').rename(root / 's2/2024-01-01/003')
    grow(root, {'new/2024-01-01/001/x.y.npy': b'', 's0/2024-01-01/001/new.b.npy': b'123'})
    counts, kinds, found = changes_of(root)
    assert kinds == {
        ('changed', FIRST),
        ('removed', 'lab/Subjects/s0/2024-01-01/001/c.d.npy'),
        *((kind, f's2/2024-01-01/{number}') for kind, number in (('removed', 2), ('added', '003'))),
        *(('removed', f's2/2024-01-01/2/{name}') for name in ('alf/a.b.npy', 'c.d.npy')),
        *(('added', f's2/2024-01-01/003/{name}') for name in ('alf/a.b.npy', 'c.d.npy')),
        ('added', 'new/2024-01-01/001'),
        ('added', 'new/2024-01-01/001/x.y.npy'),
        ('added', 's0/2024-01-01/001/new.b.npy'),
    }
    assert counts == (2, 1, 4, 3, 1)
    (changed,) = (one for one in found if one.kind == 'changed')
    assert (changed.before, changed.after) == ({'file_size': 5}, {'file_size': 1})


def test_a_change_of_the_content_shows_where_both_have_digests(root, build, changes_of):
    (root / FIRST).write_bytes(b'54321')
    assert changes_of(root)[0] == (0, 0, 0, 0, 0)
    assert build(root, hash=['md5']).changes == Changes(0, 0, 0, 0, 0, columns=('hash',))
    (root / FIRST).write_bytes(b'12345')
    counts, kinds, found = changes_of(root, hash=['md5', 'xxh128'])
    assert (counts, kinds) == ((0, 0, 0, 0, 1), {('changed', FIRST)})
    assert found[0].before.keys() == found[0].after.keys() == {'hash'}
    assert found[0].after['hash'] == '827ccb0eea8a706c4c34a16891f84e7b'


def test_an_index_of_others_or_a_damaged_one_is_not_compared(root, build):
    (root / 'sessions.pqt').write_bytes((root / 'sessions.pqt').read_bytes()[:-9])
    assert build(root).changes is None
    assert build(root).changes == Changes(0, 0, 0, 0, 0)


@pytest.mark.long
def test_digests_that_are_lost_are_a_warning(root, build):
    def warnings(**options):
        return [one for one in build(root, **options).warnings if 'found by' not in one]

    assert warnings(hash=['md5', 'xxh128']) == []
    assert '=md5` ' in warnings(hash=['xxh128'])[0]
    assert warnings() == []
    assert warnings(hash=()) == []  # that is what was asked for


sized_trees = st.dictionaries(
    st.builds('s{}/2024-01-0{}/001/{}.b.npy'.format, *map(st.integers, (0, 1, 0), (3, 3, 4))),
    st.integers(0, 2),
    min_size=1,
    max_size=25,
)


@pytest.mark.long
@settings(max_examples=cases(50))
@given(old=sized_trees, new=sized_trees, block=st.sampled_from([1, 2, 5, 64]))
def test_any_two_indexes_differ_as_their_trees_do(tmp_path_factory, old, new, block):
    """The oracle is set arithmetic over what was put on the disk."""
    folder = tmp_path_factory.mktemp('two')
    (folder / 'out').mkdir()
    before, limits.FEW_ROWS = limits.FEW_ROWS, block
    found = []
    try:
        for name, tree in (('old', old), ('new', new)):
            grow(folder / name, {path: bytes(size) for path, size in tree.items()})
            found.clear()
            options = {'workers': 1, 'on_change': found.append, 'allow_removal': True}
            fastindex.build(folder / name, out=folder / 'out', **options)
    finally:
        limits.FEW_ROWS = before
    datasets = {(one.kind, f'{one.path}/{one.rel_path}') for one in found if one.rel_path}
    assert datasets == {
        *(('added', path) for path in new.keys() - old.keys()),
        *(('removed', path) for path in old.keys() - new.keys()),
        *(('changed', path) for path in new.keys() & old.keys() if new[path] != old[path]),
    }
    sessions = [{path.rpartition('/')[0] for path in tree} for tree in (old, new)]
    assert {(one.kind, one.path) for one in found if not one.rel_path} == {
        *(('added', path) for path in sessions[1] - sessions[0]),
        *(('removed', path) for path in sessions[0] - sessions[1]),
    }
    assert len(found) == len(set(map(str, found)))


@pytest.mark.long
def test_check_tells_what_is_stale_and_writes_nothing(root, run):
    (root / FIRST).write_bytes(b'1')
    before = digest_of(root)
    code, out, _ = run(root, '--check', '--workers', 1)
    assert (code, 'stale: datasets changed: 1' in out) == (1, True)
    assert 'would index' in out
    assert digest_of(root) == before
    assert run(root, '--workers', 1)[0] == 0
    code, out, _ = run(root, '--check', '--workers', 1)
    assert (code, 'up to date' in out) == (0, True)


def test_check_reuses_digests_to_find_a_change_of_content(root, run, monkeypatch):
    from fastindex.trees import fingerprints

    monkeypatch.setattr(fingerprints, 'SETTLED_NS', -(10**12))
    assert run(root, '--hash', '--workers', 1)[0] == 0
    code, out, _ = run(root, '--check', '--hash', '--workers', 1)
    assert (code, f'0 computed, {len(TREE)} reused' in out) == (0, True)
    info = os.stat(root / FIRST)
    (root / FIRST).write_bytes(b'54321')
    os.utime(root / FIRST, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert run(root, '--check', '--no-hash', '--workers', 1)[0] == 0
    code, out, _ = run(root, '--check', '--workers', 1)
    assert (code, '1 computed' in out, 'datasets changed: 1' in out) == (1, True, True)


@pytest.mark.long
def test_an_index_without_what_is_asked_for_is_stale(root, run, tmp_path):
    session, _, name = FIRST.rpartition('/')
    (tmp_path / 'qc').write_text(f'{session},{name},FAIL\n')
    for words, columns in ((['--hash=md5,xxh128'], 'hash xxh128'), (['--qc', tmp_path / 'qc'], 'qc')):
        code, out, _ = run(root, '--check', *words)
        assert (code, f'stale: columns: {columns}\n' in out) == (1, True)
        assert f'since the last index: columns: {columns}\n' in run(root, *words)[1]
        for more in ([], ['--no-hash']):
            code, out, _ = run(root, '--check', *more)
            assert (code, 'up to date' in out) == (0, True)


def test_check_without_an_index_says_so(make_tree, run):
    root = make_tree(TREE)
    code, out, _ = run(root, '--check', '--workers', 1)
    assert (code, 'there is no index' in out) == (1, True)
    assert not (root / '.fastindex').exists()


def test_check_leaves_no_draft_behind(root, run, tmp_path, monkeypatch):
    (tmp_path / 'temporary').mkdir()
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path / 'temporary'))
    assert run(root, '--check', '--workers', 1)[0] == 0
    assert list((tmp_path / 'temporary').iterdir()) == []


def test_problems_are_exit_3_also_of_a_check(root, run):
    os.mkfifo(root / 's1/2024-01-01/001/pipe.b.npy')
    assert run(root, '--workers', 1)[0] == 3
    assert run(root, '--check', '--workers', 1)[0] == 3


def test_changes_are_written_as_json_lines(root, run, tmp_path):
    (root / FIRST).write_bytes(b'1')
    (root / 's0/2024-01-01/001/c.d.npy').unlink()
    assert run(root, '--changes', tmp_path / 'changes', '--workers', 1)[0] == 0
    lines = [json.loads(line) for line in (tmp_path / 'changes').read_text().splitlines()]
    assert sorted(lines, key=str) == [
        {
            'kind': 'changed',
            'path': FIRST.removesuffix('/c.d.npy'),
            'rel_path': 'c.d.npy',
            'before': {'file_size': 5},
            'after': {'file_size': 1},
        },
        {
            'kind': 'removed',
            'path': 's0/2024-01-01/001',
            'rel_path': 'c.d.npy',
            'before': {'file_size': 5},
            'after': None,
        },
    ]


def test_a_file_for_changes_that_cannot_be_written_is_said_before_anything_is_done(root, run, tmp_path):
    (root / FIRST).write_bytes(b'1')
    before = digest_of(root)
    code, _, err = run(root, '--changes', tmp_path / 'no' / 'such', '--workers', 1)
    assert (code, 'its folder does not exist' in err) == (2, True)
    assert digest_of(root) == before


def test_a_run_that_fails_leaves_the_older_file_of_changes(root, run, tmp_path):
    (tmp_path / 'changes').write_text('older')
    assert run(root / 'nowhere', '--changes', tmp_path / 'changes')[0] == 2
    assert (tmp_path / 'changes').read_text() == 'older'
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith('changes')] == ['changes']


def test_json_has_the_counts(root, run):
    (root / FIRST).write_bytes(b'1')
    _, out, _ = run(root, '--json', '--workers', 1)
    assert json.loads(out)['changes'] == {
        'sessions_added': 0,
        'sessions_removed': 0,
        'datasets_added': 0,
        'datasets_removed': 0,
        'datasets_changed': 1,
        'sessions_moved': 0,
        'datasets_moved': 0,
        'columns': [],
    }


def test_two_questions_at_once_are_a_usage_error(root):
    with pytest.raises(UsageError, match='expected one of them'):
        fastindex.build(root, check=True, dry_run=True)


def test_many_changes_over_many_row_groups(make_tree, build, changes_of, monkeypatch):
    monkeypatch.setattr('fastindex.tables.write.ROW_GROUP_ROWS', 7)
    monkeypatch.setattr(limits, 'FEW_ROWS', 5)
    root = make_tree(TREE)
    build(root)
    before = read_paths(root)
    random.seed(1)
    gone = random.sample(sorted(TREE), 15)
    for path in gone:
        (root / path).unlink()
    counts, kinds, _ = changes_of(root)
    assert kinds == {('removed', path) for path in gone}
    assert len(before) == len(TREE)
    assert counts == (0, 0, 0, 15, 0)


@pytest.mark.long
def test_rows_of_an_index_of_another_tree_become_no_objects(make_tree, build, monkeypatch):
    """Those of sessions do, where paths tell what has moved; never those of the datasets."""
    made = Counter()
    iter_rows = changes_module.iter_rows

    def counting(table):
        made[table.column_names[0]] += table.num_rows
        return iter_rows(table)

    monkeypatch.setattr(changes_module, 'iter_rows', counting)
    names = [f'x.y.part{i}.npy' for i in range(20)]
    root = make_tree({f'a/2024-01-01/{number:03}/{name}': b'' for number in range(1, 30) for name in names})
    build(root)
    (root / 'a').rename(root / 'b')
    assert build(root, allow_removal=True).changes == Changes(29, 29, 580, 580, 0)
    assert not made
    build(root, hash=['xxh128'])
    (root / 'b').rename(root / 'c')
    changes = build(root, allow_removal=True).changes
    assert (changes.sessions_moved, changes.datasets_moved, made['eid']) == (29, 580, 0)
    assert 0 < made['id'] <= 4 * 2 * 29

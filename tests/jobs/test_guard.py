"""A great loss is asked about: what looks like a disk that is not mounted does not replace an index."""

from __future__ import annotations

import json
import os
import shutil
from uuid import UUID

import pytest

import fastindex
from fastindex import LossError
from tests.support.strangers import of_a_database
from tests.support.tables import tables_digest
from tests.support.trees import grow

OTHER = UUID('c1d61b47-7a9d-4b8e-9b8e-6f6a3f0a2d11')


def sessions(subject, count, *, names=('a.b.npy', 'c.d.npy')):
    return {f'{subject}/2024-01-{day:02}/001/{name}': b'x' for day in range(1, count + 1) for name in names}


LABS = {
    **sessions('big/Subjects/s1', 20),
    **sessions('big/Subjects/s2', 12),
    **sessions('big/Subjects/few', 3),
    **sessions('small/Subjects/s1', 1),
}
FLAT = {**sessions('s1', 31), **sessions('s2', 4), **sessions('s3', 3)}


def remove(*paths):
    return lambda root: [shutil.rmtree(root / path) for path in paths]


def empty(path):
    def change(root):
        shutil.rmtree(root / path)
        (root / path).mkdir()

    return change


def remove_days(subject, days):
    return remove(*(f'{subject}/2024-01-{day:02}' for day in days))


def remove_files(root, subject='*'):
    for path in root.rglob(f'{subject}/2024-*/001/*.npy'):
        path.unlink()


ASKED = {
    'a lab is empty': (LABS, empty('small'), 'missing: small, all of 1 session\n'),
    'a lab is gone': (LABS, remove('big'), 'missing: big, all of 35 sessions\n'),
    'a lab has another name': (
        LABS,
        lambda root: (root / 'small').rename(root / 'Small'),
        'missing: small, all of 1 session\n',
    ),
    'a lab has no datasets': (
        LABS,
        lambda root: remove_files(root / 'small'),
        'missing: small, all 2 datasets of 1 session\n',
    ),
    'a subject is empty': (
        LABS,
        empty('big/Subjects/s2'),
        'missing: big/Subjects/s2, all of 12 sessions\n',
    ),
    'a subject without a lab is empty': (FLAT, empty('s2'), 'missing: s2, all of 4 sessions\n'),
    'more than a tenth of the sessions': (LABS, remove_days('big/Subjects/s1', range(1, 11)), ' 10 of 36 s'),
    'more than a tenth of the datasets, in ten sessions': (
        LABS,
        lambda root: [
            (root / f'big/Subjects/s1/2024-01-{day:02}/001/a.b.npy').unlink() for day in range(1, 11)
        ],
        ' 0 of 36 sessions and 10 of 72 datasets would go',
    ),
}
NOT_ASKED = {
    'a subject with a few sessions': (LABS, remove('big/Subjects/few')),
    'less than ten sessions': (LABS, remove_days('big/Subjects/s1', range(1, 10))),
    'less than a tenth of many': (
        {**sessions('s1', 31), **sessions('s2', 31), **sessions('s3', 31), **sessions('s4', 31)},
        remove_days('s1', range(1, 11)),
    ),
    'sessions that get other names': (
        FLAT,
        lambda root: [(day / '001').rename(day / '002') for day in sorted(root.glob('s1/*'))[:20]],
    ),
}


@pytest.mark.long
@pytest.mark.parametrize('kind', ASKED)
def test_a_great_loss_is_asked_about_and_allowed(make_tree, build, run, tmp_path, kind):
    tree, change, says = ASKED[kind]
    root = make_tree(tree)
    build(root)
    before = tables_digest(root)
    change(root)
    for more in (
        [],
        ['--check'],
        ['--max-removed', '100%'] if 'missing' in says else ['--max-removed', '5%'],
    ):
        code, out, err = run(root, '--workers', 1, *more)
        assert (code, out, tables_digest(root)) == (2, '', before), more
        assert says in err
        assert ' would go. Is a disk not mounted, or a folder renamed?' in err
        assert '--allow-removal goes on without them' in err
    with pytest.raises(LossError):
        build(root)
    changes = tmp_path / 'changes'
    assert run(root, '--workers', 1, '--check', '--allow-removal', '--changes', changes)[0] == 1
    assert any(json.loads(line)['kind'] == 'removed' for line in changes.read_text().splitlines())
    assert run(root, '--workers', 1, '--allow-removal')[0] == 0
    assert fastindex.open(root).sessions.collect().height == build(root).sessions
    assert tables_digest(root) != before


@pytest.mark.long
@pytest.mark.parametrize('kind', NOT_ASKED)
def test_what_goes_every_day_is_not_asked_about(make_tree, build, kind):
    tree, change = NOT_ASKED[kind]
    root = make_tree(tree)
    build(root)
    change(root)
    build(root)
    assert build(root).changes.sessions_removed == 0


def test_a_folder_that_may_not_be_read_is_named_with_the_reason(open_folder, run):
    grow(open_folder, LABS)
    assert run(open_folder, '--workers', 1)[0] == 0
    before = tables_digest(open_folder)
    os.chmod(open_folder / 'big/Subjects/s1', 0)
    code, _, err = run(open_folder, '--workers', 1)
    os.chmod(open_folder / 'big/Subjects/s1', 0o755)
    assert (code, tables_digest(open_folder)) == (2, before)
    assert 'missing: big/Subjects/s1, all of 20 sessions\n' in err
    assert 'problem: big/Subjects/s1: ' in err


@pytest.mark.long
@pytest.mark.parametrize(
    ('value', 'gone', 'code'),
    [('2', 2, 0), ('2', 3, 2), ('0', 1, 2), ('10%', 3, 0), ('10%', 4, 2), ('0%', 1, 2)],
)
def test_how_much_may_go_can_be_said(make_tree, build, run, value, gone, code):
    root = make_tree(FLAT)
    build(root)
    remove_days('s1', range(1, gone + 1))(root)
    assert run(root, '--workers', 1, '--max-removed', value)[0] == code


def rename(path, to):
    return lambda root: (root / path).rename(root / to)


UNLIKE = {path: path.encode() for path in LABS}
"""As `LABS`, but no two files are the same."""
MOVED = {
    'a lab': (rename('small', 'Small'), (1, 2)),
    'a lab of many': (rename('big', 'bigger'), (35, 70)),
    'a subject': (rename('big/Subjects/s2', 'big/Subjects/S2'), (12, 24)),
    'a subject to another lab': (rename('big/Subjects/s1', 'small/Subjects/s2'), (20, 40)),
}


@pytest.mark.long
@pytest.mark.parametrize('kind', MOVED)
def test_what_has_moved_as_its_digests_tell_is_no_loss(make_tree, build, kind):
    root = make_tree(UNLIKE)
    build(root, hash=True)
    change, moved = MOVED[kind]
    change(root)
    changes = build(root).changes
    assert (changes.sessions_moved, changes.datasets_moved) == moved
    assert changes.sessions_removed == changes.datasets_removed == 0


def test_what_goes_besides_what_has_moved_is_asked_about(make_tree, build, run):
    root = make_tree(UNLIKE)
    build(root, hash=True)
    (root / 'big').rename(root / 'bigger')
    shutil.rmtree(root / 'bigger/Subjects/s1')
    code, _, err = run(root)
    assert (code, ' 20 of 36 sessions and 40 of 72 datasets would go' in err) == (2, True)
    assert 'missing: big/Subjects/s1, all of 20 sessions\n' in err
    assert err.count('missing: ') == 1


@pytest.mark.long
@pytest.mark.parametrize('own', ['qc', 'ids', 'nothing'])
def test_a_move_is_asked_about_where_ids_or_what_people_said_would_go(make_tree, build, tmp_path, own):
    root = make_tree(UNLIKE)
    options = {'hash': True}
    if own == 'qc':
        (tmp_path / 'qc').write_text('small/Subjects/s1/2024-01-01/001,a.b.npy,FAIL\n')
        options['qc'] = tmp_path / 'qc'
    elif own == 'ids':
        (tmp_path / 'alyx').mkdir()
        of_a_database(root, tmp_path / 'alyx')
        options['ids_from'] = tmp_path / 'alyx'
    build(root, **options)
    (root / 'small').rename(root / 'Small')
    if own == 'nothing':
        assert build(root).changes.sessions_moved == 1
        return
    with pytest.raises(LossError, match='missing: small, all of 1 session'):
        build(root)


def test_without_digests_nobody_can_tell_a_move(make_tree, build):
    root = make_tree(UNLIKE)
    build(root)
    (root / 'small').rename(root / 'Small')
    for options in ({}, {'hash': True}):
        with pytest.raises(LossError, match='missing: small'):
            build(root, **options)


def test_other_ids_are_no_loss(make_tree, build):
    root = make_tree(LABS)
    build(root)
    assert build(root, namespace=OTHER).changes.sessions_removed == 36
    shutil.rmtree(root / 'small')
    with pytest.raises(LossError, match='missing: small'):
        build(root, namespace=fastindex.NAMESPACE)


def test_the_drop_in_asks_nothing(make_tree, build):
    root = make_tree(LABS)
    build(root)
    shutil.rmtree(root / 'big')
    fastindex.make_parquet_db(root)
    assert fastindex.open(root).sessions.collect().height == 1


def test_a_release_asks_too(make_tree, build, run, tmp_path):
    root = make_tree(LABS)
    build(root)
    before = tables_digest(root)
    shutil.rmtree(root / 'big')
    code, _, err = run('release', root, '--out', tmp_path / 'x.tar.zst', '--workers', 1)
    assert (code, 'missing: big, ' in err, tables_digest(root)) == (2, True, before)

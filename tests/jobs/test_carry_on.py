"""What a run goes on with: an index is made again as it was made, until an option says otherwise."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields
from uuid import UUID

import pytest

import fastindex
from fastindex import UsageError
from fastindex.jobs.build.carry_on import Wish
from fastindex.tables.foreign import read_recipes
from fastindex.tables.recipe import Recipe
from tests.support.strangers import of_a_database
from tests.support.tables import read, stop_between_the_renames, tables_digest
from tests.support.trees import Link, grow

OTHER = UUID('c1d61b47-7a9d-4b8e-9b8e-6f6a3f0a2d11')
NAMES = ('6cdb7b06-3fd2-4e1c-9d6e-2e4a8a4f1c11', '0b5e7a3e-3a52-4c43-8a0e-0f5f5e8f2b1d')
TREE = {
    **{f's{i}/2024-01-01/001/a.b.{uuid}.npy': b'x' * i for i, uuid in enumerate(NAMES)},
    's1/2024-01-01/001/c.d.10e1e3d6-2f6b-4a4a-8c0a-3f1c6f5f2c11.npy': Link(f'a.b.{NAMES[1]}.npy'),
}
OPTIONS: dict[str, tuple[list[str], str, str, dict[str, object]]] = {
    'algorithms': (['--hash'], '--hash', '--no-hash', {'hash': ['xxh128']}),
    'namespace': (
        ['--namespace', str(OTHER)],
        f'--namespace={OTHER}',
        '--no-namespace',
        {'namespace': OTHER},
    ),
    'ids_from': (['--ids-from', 'alyx'], '--ids-from', '--no-ids-from', {'ids_from': 'alyx'}),
    'uuid_filenames': (
        ['--uuid-filenames'],
        '--uuid-filenames',
        '--no-uuid-filenames',
        {'uuid_filenames': True},
    ),
    'follow_symlinks': (
        ['--no-follow-symlinks'],
        '--no-follow-symlinks',
        '--follow-symlinks',
        {'follow_symlinks': False},
    ),
    'default_revision': (
        ['--default-revision', 'known'],
        '--default-revision=known',
        '--default-revision=newest',
        {'default_revision': 'known'},
    ),
    'exclude': (['--exclude', 'no-such-name'], '--exclude', '--no-exclude', {'exclude': ['no-such-name']}),
    'one_file_system': (
        ['--one-file-system'],
        '--one-file-system',
        '--no-one-file-system',
        {'one_file_system': True},
    ),
    'session_info': (
        ['--session-info'],
        '--session-info',
        '--no-session-info',
        {'session_info': True},
    ),
    'trust': (
        ['--trust', 'mtime,size'],
        '--trust=size,mtime',
        '--trust=size,mtime,ctime,inode',
        {'trust': ['size', 'mtime']},
    ),
}
"""For each field of the recipe: how it is said, how a run goes on with it, the opposite, and as Python."""
TOGETHER = [
    ['algorithms', 'namespace', 'uuid_filenames', 'follow_symlinks'],
    ['algorithms', 'namespace', 'ids_from', 'follow_symlinks', 'default_revision'],
]


def look_at(folder):
    rows = [read(folder, name) for name in ('sessions', 'datasets')]
    return rows, fastindex.open(folder).recipe


@pytest.fixture(scope='module')
def alyx(tmp_path_factory):
    """A folder `alyx` with ids of another program for the tree."""
    folder = tmp_path_factory.mktemp('tables') / 'alyx'
    folder.mkdir()
    of_a_database(grow(folder.parent / 'tree', TREE), folder)
    return folder


@pytest.fixture
def root(make_tree, alyx, monkeypatch):
    monkeypatch.chdir(alyx.parent)
    return make_tree(TREE)


def ids(folder):
    return [row['id'] for name in ('sessions', 'datasets') for row in read(folder, name)]


def test_every_field_of_the_recipe_is_one_that_can_be_carried_on():
    assert set(OPTIONS) == {field.name for field in fields(Recipe)} == set(Wish._fields)


@pytest.mark.long
@pytest.mark.parametrize('names', [*([name] for name in OPTIONS), *TOGETHER], ids='+'.join)
def test_a_plain_run_goes_on_with_what_the_index_was_made_with_and_says_so(root, run, build, names):
    words = [word for name in names for word in OPTIONS[name][0]]
    assert run(root, '--workers', 1, *words)[0] == 0
    before = look_at(root)
    assert before[1] != Recipe()
    code, out, err = run(root, '--workers', 1)
    assert (code, err, look_at(root)) == (0, '', before)
    assert ' nothing has changed' in out
    [said] = [line for line in out.splitlines() if line.startswith('as before: ')]
    assert sorted(said.split()[2:]) == sorted(OPTIONS[name][1] for name in names)
    for more in ([], ['--check'], ['--dry-run']):
        code, out, err = run(root, '--workers', 1, '--json', *more)
        assert (code, err, sorted(json.loads(out)['as_before'])) == (0, '', sorted(said.split()[2:]))
    assert look_at(root) == before
    grow(root, {f's2/2024-01-01/001/a.b.{OTHER}.npy': b'xxx'})
    summary = build(root)
    assert (summary.recipe, summary.datasets) == (before[1], len(before[0][1]) + 1)
    [now, _] = look_at(root)
    assert [row for row in now[1] if row['file_size'] != 3] == before[0][1]


@pytest.mark.long
@pytest.mark.parametrize('name', OPTIONS)
def test_what_is_asked_for_is_not_said_to_be_as_before(root, build, name):
    words = OPTIONS[name][3]
    build(root, **words)
    assert build(root, **words).as_before == ()


@pytest.mark.long
@pytest.mark.parametrize('name', OPTIONS)
@pytest.mark.parametrize('way', ['its opposite', '--fresh'])
def test_each_option_has_its_opposite(root, run, tmp_path, name, way):
    (tmp_path / 'plain').mkdir()
    assert run(root, '--out', tmp_path / 'plain', '--workers', 1)[0] == 0
    assert run(root, '--workers', 1, *OPTIONS[name][0])[0] == 0
    for _ in range(2):
        code, out, err = run(root, '--workers', 1, OPTIONS[name][2] if way == 'its opposite' else way)
        assert (code, err, 'as before' in out) == (0, '', False)
        assert (ids(root), look_at(root)[1]) == (ids(tmp_path / 'plain'), Recipe())


def test_what_else_is_given_counts_from_the_defaults_where_the_run_is_fresh(root, build):
    build(root, namespace=OTHER, hash=['md5'])
    summary = build(root, fresh=True, follow_symlinks=False)
    assert (summary.recipe, summary.as_before) == (Recipe(follow_symlinks=False), ())


def test_the_drop_in_does_what_its_arguments_say(root, build):
    build(root, namespace=OTHER, hash=['xxh128'], follow_symlinks=False)
    fastindex.make_parquet_db(root)
    assert fastindex.open(root).recipe == Recipe()


def test_an_index_elsewhere_is_its_own(root, build, tmp_path):
    (tmp_path / 'out').mkdir()
    build(root, hash=['xxh128'])
    assert build(root, out=tmp_path / 'out', hash=['md5']).as_before == ()
    assert build(root, out=tmp_path / 'out').as_before == ('`hash=md5`',)
    assert build(root).as_before == ('`hash`',)


def test_ids_that_were_kept_are_those_of_the_index_though_their_source_is_gone(root, build, alyx, tmp_path):
    shutil.copytree(alyx, tmp_path / 'gone')
    build(root, ids_from=tmp_path / 'gone')
    before = look_at(root)
    shutil.rmtree(tmp_path / 'gone')
    build(root)
    assert look_at(root) == before


@pytest.mark.parametrize(
    ('first', 'then', 'says'),
    [
        ('--ids-from alyx', '--uuid-filenames', 'until --no-ids-from says otherwise'),
        ('--uuid-filenames', '--ids-from alyx', 'until --no-uuid-filenames says otherwise'),
    ],
)
def test_ids_that_would_come_from_two_places_are_refused(root, run, first, then, says):
    assert run(root, '--workers', 1, *first.split())[0] == 0
    before = tables_digest(root)
    code, _, err = run(root, '--workers', 1, *then.split())
    assert (code, says in err, tables_digest(root)) == (2, True, before)
    assert run(root, '--workers', 1, *then.split(), says.split()[1])[0] == 0


def test_what_a_stopped_run_has_completed_is_gone_on_with(root, build):
    build(root)
    stop_between_the_renames(lambda: build(root, namespace=OTHER))
    assert build(root).recipe == Recipe(namespace=OTHER)


def test_where_nobody_can_tell_how_an_index_was_made_it_is_left_as_it_is(root, build, run):
    build(root, namespace=OTHER)
    (root / 'sessions.pqt').write_bytes(b'damaged')
    assert build(root).recipe.namespace == OTHER  # the other table tells
    for name in ('sessions', 'datasets'):
        (root / f'{name}.pqt').write_bytes(b'damaged')
    for more in ([], ['--check'], ['--dry-run'], ['--hash']):
        code, _, err = run(root, '--workers', 1, *more)
        assert (code, 'how this index was made cannot be told' in err, '--fresh' in err) == (2, True, True)
        assert (root / 'sessions.pqt').read_bytes() == b'damaged'
    assert build(root, fresh=True).recipe == Recipe()


KNOWING = {
    'outcomes': ['--qc', 'qc.csv'],
    'ids': ['--ids-from', 'alyx'],
    'revisions': ['--default-revision', 'known'],
}
DAMAGES = {
    'bit': lambda path: path.write_bytes(path.read_bytes().replace(b'NOT_SET', b'NOT-SET')),
    'footer': lambda path: path.write_bytes(path.read_bytes()[:-9]),
    'gone': lambda path: path.unlink(),
}


@pytest.mark.long
@pytest.mark.parametrize('damage', DAMAGES)
@pytest.mark.parametrize('known', KNOWING)
def test_an_index_that_alone_knows_something_is_not_replaced_where_it_cannot_be_read(
    root, run, alyx, known, damage
):
    file = f'a.b.{NAMES[0]}.npy'
    (alyx.parent / 'qc.csv').write_text(f's0/2024-01-01/001,{file},FAIL\n')
    assert run(root, '--workers', 1, *KNOWING[known])[0] == 0
    assert run(root, '--workers', 1)[0] == 0
    DAMAGES[damage](root / 'datasets.pqt')
    before = {path.name: path.read_bytes() for path in root.glob('*.pqt')}
    for more in ([], ['--check'], ['--hash']):
        code, out, err = run(root, '--workers', 1, *more)
        assert (code, out) == (2, '')
        assert ' what only this index knows' in err
        assert ' --fresh goes on without' in err
        assert {path.name: path.read_bytes() for path in root.glob('*.pqt')} == before
    assert run(root, '--workers', 1, '--fresh')[0] == 0


def test_tables_that_say_different_things_decide_what_they_agree_on(root, build, tmp_path):
    build(root, namespace=OTHER, hash=['md5'])
    (tmp_path / 'out').mkdir()
    build(root, out=tmp_path / 'out', hash=['md5'])
    (tmp_path / 'out/sessions.pqt').replace(root / 'sessions.pqt')
    assert len(read_recipes(root)) == 2
    with pytest.raises(UsageError, match='cannot be told'):
        build(root)
    summary = build(root, namespace=OTHER)
    assert (summary.recipe.algorithms, summary.as_before) == (('md5',), ('`hash=md5`',))

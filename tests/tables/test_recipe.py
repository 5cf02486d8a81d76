"""The recipe: what an index says of how it was made, and that every command goes by it."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from dataclasses import asdict, fields
from pathlib import Path
from uuid import UUID, uuid4

import pyarrow.parquet as pq
import pytest

import fastindex
from fastindex import FindingsError, PublishError, UsageError
from fastindex.tables.recipe import Recipe
from tests.support.strangers import of_a_database
from tests.support.tables import read, stopping, tables_digest
from tests.support.trees import Link, grow

OTHER = UUID('c1d61b47-7a9d-4b8e-9b8e-6f6a3f0a2d11')
TREE = {f's{i}/2024-01-01/{number}/a.b.npy': b'x' * i for i in range(1, 9) for number in ('001', '02')}


NAMES = [field.name for field in fields(Recipe)]


def facts_of(folder):
    """What both tables say, of the digests aside."""
    said = [
        json.loads(pq.read_metadata(folder / f'{name}.pqt').metadata[b'fastindex'])
        for name in ('sessions', 'datasets')
    ]
    assert said[0] == said[1]
    return {name: value for name, value in said[0].items() if name in NAMES and name != 'algorithms'}


def test_what_is_as_it_is_without_options_is_not_said(make_tree, build):
    root = make_tree(TREE)
    build(root)
    assert facts_of(root) == {}
    build(root, namespace=OTHER, follow_symlinks=False)
    assert facts_of(root) == {'namespace': str(OTHER), 'follow_symlinks': False}


@pytest.mark.parametrize('part', [(1, 1), (2, 3)])
def test_verify_takes_the_namespace_from_the_index(make_tree, build, monkeypatch, part):
    root = make_tree(TREE)
    build(root, namespace=OTHER)
    monkeypatch.setattr('fastindex.jobs.verify.expected._ByPath', None)  # the slow way is not needed
    verification = fastindex.verify(root, workers=1, part=part)
    assert list(verification) == []
    assert verification.datasets
    (root / 's3/2024-01-01/02/a.b.npy').write_bytes(b'')
    changed = [d.path for n in range(part[1]) for d in fastindex.verify(root, part=(n + 1, part[1]))]
    assert changed == ['s3/2024-01-01/02/a.b.npy']


def test_verify_follows_links_where_the_build_did_unless_told_otherwise(make_tree, build, run):
    root = make_tree({**TREE, 's1/2024-01-01/001/c.d.npy': Link('../02/a.b.npy'), 's9': Link('s1')})
    build(root, follow_symlinks=False)
    assert list(fastindex.verify(root, workers=1)) == []
    assert run('verify', root, '--quiet')[0] == 0
    found = {difference.path for difference in fastindex.verify(root, workers=1, follow_symlinks=True)}
    assert {'s1/2024-01-01/001/c.d.npy', 's9/2024-01-01/001'} <= found
    build(root, follow_symlinks=True)
    assert list(fastindex.verify(root, workers=1)) == []
    assert list(fastindex.verify(root, workers=1, follow_symlinks=False))


def test_an_index_with_kept_ids_is_verified_by_path_though_its_eids_are_ours(make_tree, build, tmp_path):
    names = ('a.b.npy', 'c.d.npy', 'e.f.npy', 'g.h.npy')
    root = make_tree({f's{i}/2024-01-01/001/{name}': b'x' for i in range(8) for name in names})
    (tmp_path / 'alyx').mkdir()
    build(root, out=tmp_path / 'alyx')
    datasets = pq.read_table(tmp_path / 'alyx/datasets.pqt')
    ids = [str(uuid4()) for _ in range(datasets.num_rows)]
    place = datasets.schema.get_field_index('id')
    sessions = pq.read_table(tmp_path / 'alyx/sessions.pqt')
    for name, table in (('sessions', sessions), ('datasets', datasets.set_column(place, 'id', [ids]))):
        metadata = {key: value for key, value in table.schema.metadata.items() if key != b'fastindex'}
        pq.write_table(table.replace_schema_metadata(metadata), tmp_path / f'alyx/{name}.pqt')
    build(root, ids_from=tmp_path / 'alyx')
    assert {row['id'] for row in read(root, 'datasets')} == set(ids)
    assert facts_of(root) == {'ids_from': True}
    assert list(fastindex.verify(root, workers=1)) == []


@pytest.mark.parametrize('value', [None, True, False, 1, '', 'x', str(OTHER), [], {}, [True]], ids=repr)
def test_whatever_a_stranger_wrote_gives_a_recipe_of_the_right_types(value):
    recipe = Recipe.from_json(dict.fromkeys([*NAMES, 'other'], value))
    assert list(map(type, asdict(recipe).values())) == list(map(type, asdict(Recipe()).values()))
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_folders_with_few_digits_are_found_in_any_namespace(make_tree, build, capsys):
    from fastindex.cli import main

    root = make_tree({f's/2024-01-0{day}/{number}/x.y.npy': b'' for day, number in ((1, '1'), (2, '02'))})
    build(root, namespace=uuid4())
    index = fastindex.open(root)
    assert [os.path.relpath(index.path(eid), root) for eid in index.search()] == [
        's/2024-01-02/02',
        's/2024-01-01/1',
    ]
    assert main(['search', str(root), '--paths']) == 0
    assert capsys.readouterr().out.split() == [f'{root}/s/2024-01-02/02', f'{root}/s/2024-01-01/1']
    assert main(['search', str(root), '--datasets', '--paths']) == 0
    assert all(os.path.exists(path) for path in capsys.readouterr().out.split())
    assert main(['info', str(root), '--json']) == 0
    assert {one['path'] for one in json.loads(capsys.readouterr().out)['biggest']} == {
        's/2024-01-02/02/x.y.npy',
        's/2024-01-01/1/x.y.npy',
    }


NAMED = {
    f's{i}/2024-01-01/001/a.b.{uuid}.npy': b'x' * i
    for i, uuid in enumerate(('6cdb7b06-3fd2-4e1c-9d6e-2e4a8a4f1c11', '0b5e7a3e-3a52-4c43-8a0e-0f5f5e8f2b1d'))
}


def unpack(archive):
    folder = archive.with_name('unpacked')
    folder.mkdir()
    subprocess.run(['tar', '--zstd', '-xf', archive, '-C', folder], check=True)
    return folder


@pytest.mark.long
@pytest.mark.parametrize(
    ('tree', 'options'),
    [
        (TREE, {}),
        (TREE, {'namespace': OTHER}),
        (TREE, {'follow_symlinks': False}),
        (NAMED, {'uuid_filenames': True, 'namespace': OTHER}),
    ],
)
@pytest.mark.parametrize('force', [False, True])
def test_a_release_makes_the_index_as_it_was_made_and_so_is_the_released_one(
    make_tree, build, tmp_path, tree, options, force
):
    root = make_tree({path: data for path, data in tree.items() if force or '/02/' not in path})
    build(root, **options, hash=['xxh128'])
    before, facts = [read(root, name) for name in ('sessions', 'datasets')], facts_of(root)
    fastindex.release(root, tmp_path / 'x.tar.zst', workers=1, force=force)
    assert ([read(root, name) for name in ('sessions', 'datasets')], facts_of(root)) == (before, facts)
    unpacked = unpack(tmp_path / 'x.tar.zst')
    assert ([read(unpacked, name) for name in ('sessions', 'datasets')], facts_of(unpacked)) == (
        before,
        facts,
    )
    assert list(fastindex.verify(unpacked, hash=True, workers=1)) == []
    files = {str(path.relative_to(unpacked)) for path in unpacked.rglob('*.npy')}
    assert files == {str(path.relative_to(root)) for path in root.rglob('*.npy')}


@pytest.mark.long
@pytest.mark.parametrize(
    ('options', 'words', 'said'),
    [
        ({}, ['--ids-from', 'alyx'], 'it has our own ids: expected no --ids-from'),
        ({}, ['--namespace', str(OTHER)], 'its eids are of the namespace 4a3ea44e'),
        (
            {'namespace': OTHER},
            ['--namespace', str(fastindex.NAMESPACE)],
            f'its eids are of the namespace {OTHER}',
        ),
        ({}, ['--no-follow-symlinks'], 'links were followed: expected --follow-symlinks'),
        ({'follow_symlinks': False}, ['--follow-symlinks'], 'links were not followed: expected --no-follow'),
    ],
)
def test_a_release_that_would_make_another_index_is_refused(
    make_tree, build, tmp_path, run, monkeypatch, options, words, said
):
    root = make_tree(NAMED)
    monkeypatch.chdir(tmp_path)
    os.mkdir('alyx')
    of_a_database(root, tmp_path / 'alyx')
    build(root, **options)
    before = tables_digest(root)
    code, _, err = run('release', root, '--out', 'x.tar.zst', '--workers', 1, *words)
    assert (code, tables_digest(root), os.path.exists('x.tar.zst')) == (2, before, False)
    assert f'{root}: the index there was made otherwise than this release asks for: {said}' in err
    os.mkdir('tables')  # as is advised
    assert run('release', root, '--out', 'x.tar.zst', '--tables', 'tables', '--workers', 1, *words)[0] == 0
    assert tables_digest(root) == before


def test_a_release_by_the_uuids_in_names_misses_none(make_tree, build, tmp_path):
    root = make_tree(NAMED)
    build(root, uuid_filenames=True)
    grow(root, {'s1/2024-01-01/001/c.d.npy': b'x'})
    with pytest.raises(FindingsError, match=r'ALF311 s1/2024-01-01/001/c\.d\.npy'):
        fastindex.release(root, tmp_path / 'x.tar.zst', workers=1)


@pytest.mark.long
@pytest.mark.parametrize('ids_from', ['alyx', 'root', None])
def test_a_release_keeps_the_ids_of_other_tables_told_or_not(make_tree, build, tmp_path, ids_from):
    root = make_tree(NAMED)
    (tmp_path / 'alyx').mkdir()
    of_a_database(root, tmp_path / 'alyx')
    build(root, ids_from=tmp_path / 'alyx')
    before = [read(root, name) for name in ('sessions', 'datasets')]
    grow(root, {'s1/2024-01-01/001/new.b.npy': b'new'})
    ids_from = ids_from and tmp_path / ids_from
    fastindex.release(root, tmp_path / 'x.tar.zst', ids_from=ids_from, workers=1)
    [eid] = fastindex.open(root).search(subject='s1')
    new = fastindex.dataset_id(eid, 'new.b.npy')
    for folder in (root, unpack(tmp_path / 'x.tar.zst')):
        rows = [read(folder, name) for name in ('sessions', 'datasets')]
        known = [[row['id'] for row in table if row['id'] != str(new)] for table in rows]
        assert known == [[row['id'] for row in table] for table in before]
        assert len(rows[1]) == len(before[1]) + 1
        assert facts_of(folder) == {'ids_from': True}


def test_kept_ids_that_cannot_be_read_any_more_are_not_replaced_by_a_release(make_tree, build, tmp_path, run):
    root = make_tree(NAMED)
    (tmp_path / 'alyx').mkdir()
    of_a_database(root, tmp_path / 'alyx')
    build(root, ids_from=tmp_path / 'alyx')
    (root / 'sessions.pqt').write_bytes(b'damaged')
    before = tables_digest(root)
    code, _, err = run('release', root, '--out', tmp_path / 'x.tar.zst', '--workers', 1)
    assert (code, tables_digest(root), f'{root}/sessions.pqt' in err) == (2, before, True)
    code, _, _ = run(
        *('release', root, '--out', tmp_path / 'x.tar.zst', '--workers', 1, '--ids-from', tmp_path / 'alyx')
    )
    assert (code, facts_of(root)) == (0, {'ids_from': True})


def test_how_a_damaged_index_was_made_is_read_from_the_table_that_is_whole(make_tree, build, tmp_path):
    root = make_tree(NAMED)
    build(root, namespace=OTHER)
    before = [row['id'] for row in read(root, 'sessions')]
    (root / 'sessions.pqt').write_bytes(b'damaged')
    fastindex.release(root, tmp_path / 'x.tar.zst', workers=1)
    assert [row['id'] for row in read(root, 'sessions')] == before
    for name in ('sessions', 'datasets'):
        (root / f'{name}.pqt').write_bytes(b'damaged')
    with pytest.raises(UsageError, match='how this index was made cannot be told'):
        fastindex.release(root, tmp_path / 'y.tar.zst', workers=1)
    assert (root / 'sessions.pqt').read_bytes() == b'damaged'


@pytest.mark.long
@pytest.mark.parametrize('killed_at', ['datasets.pqt', 'sessions.pqt'])
def test_an_index_that_a_stopped_run_has_completed_is_the_one_that_counts(
    make_tree, build, tmp_path, killed_at
):
    root = make_tree(NAMED)
    build(root)
    failure = OSError(errno.EIO, 'a disk that fails')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, 'replace', stopping(os.replace, killed_at, failure))
        with pytest.raises(PublishError, match='the next run puts it in place'):
            build(root, namespace=OTHER)
    fastindex.release(root, tmp_path / 'x.tar.zst', workers=1)
    assert facts_of(root) == facts_of(unpack(tmp_path / 'x.tar.zst')) == {'namespace': str(OTHER)}


LINKED = {
    **NAMED,
    's1/2024-01-01/001/c.d.10e1e3d6-2f6b-4a4a-8c0a-3f1c6f5f2c11.npy': Link(
        '../../../s0/2024-01-01/001/a.b.6cdb7b06-3fd2-4e1c-9d6e-2e4a8a4f1c11.npy'
    ),
}
RECIPES = {
    'plain': (NAMED, []),
    'a namespace': (NAMED, ['--namespace', OTHER]),
    'no links': (LINKED, ['--no-follow-symlinks']),
    'UUIDs': (NAMED, ['--uuid-filenames']),
    'kept ids': (NAMED, ['--ids-from', 'alyx']),
    'digests': (NAMED, ['--hash=md5']),
    'all but kept ids': (
        LINKED,
        ['--uuid-filenames', '--namespace', OTHER, '--no-follow-symlinks', '--hash'],
    ),
    'all but UUIDs': (
        LINKED,
        ['--ids-from', 'alyx', '--namespace', OTHER, '--no-follow-symlinks', '--hash'],
    ),
}
READERS = {
    ('verify',): '--index',
    ('search', '--datasets', '--paths'): '--out',
    ('info', '--json'): '--out',
    ('report', '--json', '--out', 'r.html', '--workers', 1): '--index',
}
"""The commands that read an index, with the option that says where it is."""


def look_at(folder):
    """The rows of both tables, without digests, which a release adds, and how they were made."""
    rows = [
        {name: value for name, value in row.items() if name not in ('xxh128', 'hash')}
        for name in ('sessions', 'datasets')
        for row in read(folder, name)
    ]
    return rows, facts_of(folder)


@pytest.fixture(params=RECIPES)
def made(request, make_tree, tmp_path, monkeypatch):
    """A tree, and the options that an index of it is made with; `alyx` has ids of another program."""
    tree, words = RECIPES[request.param]
    root = make_tree(tree)
    (tmp_path / 'alyx').mkdir()
    of_a_database(root, tmp_path / 'alyx')
    monkeypatch.chdir(tmp_path)
    return root, words


@pytest.fixture(params=['in the root', 'elsewhere'])
def folder(request, make_tree, tmp_path):
    """Where the index is."""
    if request.param == 'elsewhere':
        (tmp_path / 'tables').mkdir()
        return tmp_path / 'tables'
    return make_tree({})


@pytest.mark.long
def test_every_command_that_reads_an_index_goes_by_how_it_was_made(made, folder, run):
    root, words = made
    code, _, err = run(root, '--out', folder, '--workers', 1, *words)
    assert code == 0, err
    before, indexed = tables_digest(folder), {path for path in root.rglob('*.npy') if not path.is_symlink()}
    said = {}
    for (command, *more), option in READERS.items():
        code, said[command], err = run(command, root, option, folder, *more)
        assert (code, tables_digest(folder)) == (0, before), (command, err)
    assert run('verify', '--index-only', folder)[0] == 0
    assert set(map(Path, said['search'].split())) == indexed
    assert {root / big['path'] for big in json.loads(said['info'])['biggest']} == indexed
    rules = {
        'follow_symlinks': '--no-follow-symlinks' not in words,
        'uuid_filenames': '--uuid-filenames' in words,
    }
    findings = list(fastindex.validate(root, workers=1, **rules))
    assert json.loads(said['report'])['findings'] == len(findings)


@pytest.mark.long
@pytest.mark.parametrize(
    ('folder', 'wish'),
    [('in the root', []), ('elsewhere', ['--force', '--select', '--subject', 's'])],
    indirect=['folder'],
)
def test_every_command_that_writes_an_index_makes_it_as_it_was_made(made, folder, run, tmp_path, wish):
    root, words = made
    assert run(root, '--out', folder, '--workers', 1, *words)[0] == 0
    before, digests = look_at(folder), fastindex.open(folder).recipe.algorithms
    assert run(root, '--out', folder, '--workers', 1, *words)[0] == 0
    assert (look_at(folder), fastindex.open(folder).recipe.algorithms) == (before, digests)
    assert run(root, '--out', folder, '--workers', 1, '--check', *words)[0] == 0
    release = 'release', root, '--out', 'x.tar.zst', '--tables', folder, '--workers', 1
    for more in (['--dry-run'], []):
        code, _, err = run(*release, *more, *wish)
        assert code == 0, err
        assert look_at(folder) == before
    assert set(fastindex.open(folder).recipe.algorithms) == {'xxh128', *digests}
    unpacked = unpack(tmp_path / 'x.tar.zst')
    assert look_at(unpacked) == before
    assert fastindex.open(unpacked).recipe == fastindex.open(folder).recipe
    assert list(fastindex.verify(unpacked, hash=True, workers=1)) == []
    code, out, err = run(unpacked, '--check', '--workers', 1, *words)
    assert (code, 'up to date' in out) == (0, True), err
    files = {str(path.relative_to(unpacked)) for path in unpacked.rglob('*.npy')}
    assert files == {str(path.relative_to(root)) for path in root.rglob('*.npy') if not path.is_symlink()}


@pytest.mark.long
def test_a_release_in_a_namespace_of_its_own_says_so(make_tree, tmp_path, run):
    root = make_tree({**TREE, 's9/2024-01-01/7/a.b.npy': b'x'})
    words = 'release', root, '--out', tmp_path / 'x.tar.zst', '--workers', 1
    assert run(*words, '--namespace', OTHER)[0] == 1  # numbers without zeros
    assert run(*words, '--namespace', OTHER, '--force')[0] == 0
    unpacked = unpack(tmp_path / 'x.tar.zst')
    assert facts_of(unpacked) == facts_of(root) == {'namespace': str(OTHER)}
    assert {row['id'] for row in read(unpacked, 'sessions')} == {
        str(fastindex.eid(path, namespace=OTHER))
        for path in {*(path.rpartition('/')[0] for path in TREE), 's9/2024-01-01/7'}
    }
    assert run(unpacked, '--check', '--namespace', OTHER, '--workers', 1)[0] == 0


@pytest.mark.long
def test_a_report_and_a_release_judge_names_by_the_rules_of_the_index(make_tree, build, tmp_path, run):
    root = make_tree({**LINKED, 's1/2024-01-01/001/e.f.npy': b'x'})
    summary = build(root, uuid_filenames=True, follow_symlinks=False)
    assert (summary.datasets, [problem.reason for problem in summary.problems]) == (2, ['no-uuid-in-name'])
    codes = {finding.code for finding in fastindex.validate(root, uuid_filenames=True, follow_symlinks=False)}
    assert {'ALF311', 'ALF409'} <= codes
    assert run('report', root, '--out', tmp_path / 'r.html', '--workers', 1)[0] == 0
    page = (tmp_path / 'r.html').read_text()
    assert all(code in page for code in codes)
    assert run('report', root, '--out', tmp_path / 'r.html', '--workers', 1, '--follow-symlinks')[0] == 0
    assert 'ALF409' not in (tmp_path / 'r.html').read_text()
    code, _, err = run('release', root, '--out', tmp_path / 'x.tar.zst', '--workers', 1)
    assert (code, 'ALF311' in err) == (1, True)


def test_links_are_left_out_of_a_release_unasked_only_where_the_index_was_made_so(make_tree, run, tmp_path):
    root = make_tree(LINKED)
    words = 'release', root, '--out', tmp_path / 'x.tar.zst', '--workers', 1
    assert run(root, '--workers', 1)[0] == 0
    assert run(*words)[0] == 1
    assert run(root, '--workers', 1, '--no-follow-symlinks')[0] == 0
    assert run(*words)[0] == 0
    assert facts_of(unpack(tmp_path / 'x.tar.zst')) == {'follow_symlinks': False}

"""Tables of another program are never replaced unasked, whatever command would write an index."""

from __future__ import annotations

import os
from pathlib import Path

import one.alf.cache
import pytest

import fastindex
from fastindex import Changes, ForeignTableError, PublishError
from fastindex.tables.foreign import find_foreign
from fastindex.tables.publish import Stage
from tests.support.strangers import (
    COMMANDS,
    RELEASES,
    SERVED,
    STRANGERS,
    TABLES,
    by_the_builder,
    look_at,
    no_table,
    of_a_database,
)
from tests.support.tables import read, read_paths, stop_between_the_renames
from tests.support.trees import grow

TREE = {
    f'{subject}/2024-01-0{day}/001/alf/{name}': b'x' * day
    for subject in ('s1', 'lab/Subjects/s2')
    for day in (1, 2)
    for name in ('spikes.times.npy', 'spikes.amps.npy')
}


@pytest.fixture
def root(make_tree) -> Path:
    return make_tree(TREE)


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / 'tables'
    path.mkdir()
    return path


def ids(folder: Path) -> set[str]:
    return {row['id'] for name in ('sessions', 'datasets') for row in read(folder, name)}


@pytest.mark.long
@pytest.mark.parametrize('stranger', STRANGERS)
def test_no_command_replaces_them_unasked(root, folder, run, tmp_path, monkeypatch, stranger):
    STRANGERS[stranger](root, folder)
    (tmp_path / 'other').mkdir()
    fastindex.build(root, out=tmp_path / 'other', workers=1)
    before = look_at(folder)
    monkeypatch.setattr('fastindex.jobs.build.build.discover', None)  # it is said before that
    places = {'root': root, 'folder': folder, 'other': tmp_path / 'other', 'tmp': tmp_path}
    for command in COMMANDS:
        code, out, err = run(*(word.format(**places) for word in command))
        assert (code, out) == (2, ''), command
        assert f'{folder}/' in err
        assert 'unexpected' not in err
        assert look_at(folder) == before


@pytest.mark.long
@pytest.mark.parametrize('stranger', STRANGERS)
def test_a_release_is_made_of_those_that_are_an_index_and_leaves_all_as_they_are(
    root, folder, run, tmp_path, stranger
):
    STRANGERS[stranger](root, folder)
    before = look_at(folder)
    for command in RELEASES:
        code, _, err = run(*(word.format(root=root, folder=folder, tmp=tmp_path) for word in command))
        assert code == (0 if stranger in SERVED else 2), err
        assert 'unexpected' not in err
        assert look_at(folder) == before
    assert (tmp_path / 'x.zip').exists() == (stranger in SERVED)


@pytest.mark.long
@pytest.mark.parametrize('stranger', STRANGERS)
def test_what_is_in_the_root_is_not_replaced_either(root, run, stranger):
    STRANGERS[stranger](root, root)
    before = look_at(root)
    for words in ([root], [root, '--hash']):
        assert run(*words)[0] == 2
        assert look_at(root) == before


def test_the_ways_on_are_named_as_far_as_they_lead_somewhere(root, folder, build):
    of_a_database(root, folder)
    with pytest.raises(ForeignTableError) as error:
        build(root, out=folder)
    assert str(error.value) == (
        f'{folder}/sessions.pqt: a table of the ONE client or an Alyx database, not of fastindex. '
        'It was left as it is. To go on:\n'
        f'  `ids_from` {folder} replaces the tables and keeps what they know: ids, projects, tasks, qc\n'
        '  `out` DIR writes the index elsewhere\n'
        "  `force` replaces the tables, and keeps nothing of them: right for those of the client's own "
        'builder, whose ids do not last'
    )
    no_table(root, folder)
    (folder / 'datasets.pqt').unlink()
    with pytest.raises(ForeignTableError) as error:
        build(root, out=folder)
    assert str(error.value) == (
        f'{folder}/sessions.pqt: no table, as far as can be told. It was left as it is. To go on:\n'
        '  `out` DIR writes the index elsewhere\n'
        '  `force` replaces the tables'
    )


def test_their_ids_are_kept_where_they_are_named_themselves(root, build):
    of_a_database(root, root)
    before = ids(root)
    assert before.isdisjoint(map(str, map(fastindex.eid, ('s1/2024-01-01/001', 's1/2024-01-02/001'))))
    (root.parent / 'link').symlink_to(root)
    build(root, ids_from=root.parent / 'link')
    assert ids(root) == before
    assert fastindex.open(root).facts['ids_from'] is True
    build(root, ids_from=root)  # from then on they are ours
    assert ids(root) == before


def test_an_index_elsewhere_leaves_them_alone(root, folder, build):
    of_a_database(root, root)
    before = {name: (root / name).read_bytes() for name in TABLES}
    build(root, out=folder)
    assert len(read_paths(folder)) == len(TREE)
    assert {name: (root / name).read_bytes() for name in TABLES} == before


@pytest.mark.long
@pytest.mark.parametrize('stranger', STRANGERS)
def test_force_replaces_them(root, folder, build, stranger):
    STRANGERS[stranger](root, folder)
    build(root, out=folder, force=True)
    assert len(read_paths(folder)) == len(TREE)
    assert build(root, out=folder).changes == Changes(0, 0, 0, 0, 0)


@pytest.mark.long
@pytest.mark.parametrize('stranger', STRANGERS)
def test_what_writes_nothing_looks_at_them(root, folder, build, run, stranger):
    STRANGERS[stranger](root, folder)
    before = look_at(folder)
    assert build(root, out=folder, dry_run=True).datasets == len(TREE)
    changes = root.parent / 'changes'
    assert run(root, '--out', folder, '--check', '--changes', changes)[0] == 1
    assert (look_at(folder), changes.read_bytes()) == (before, b'')


@pytest.mark.parametrize('stranger', ['by_the_builder', 'no_table', 'empty_file'])
def test_the_drop_in_replaces_them_as_the_original_does(root, folder, stranger):
    STRANGERS[stranger](root, folder)
    fastindex.make_parquet_db(root, folder)
    assert len(read_paths(folder)) == len(TREE)


def damages(path: Path) -> None:
    """Make it a file of which nobody can tell what it was."""
    path.write_bytes(b'\0' * path.stat().st_size)


@pytest.mark.long
@pytest.mark.parametrize(
    'damage', [damages, lambda path: os.truncate(path, 0), lambda path: os.truncate(path, 99)]
)
@pytest.mark.parametrize('tables', [TABLES, TABLES[:1], TABLES[1:]])
def test_damaged_tables_of_ours_are_replaced(root, build, damage, tables):
    build(root)
    for name in tables:
        damage(root / name)
    build(root, fresh=tables == TABLES)  # else nobody can tell how the index was made
    assert len(read_paths(root)) == len(TREE)


def test_damaged_tables_are_ours_only_where_something_tells_so(root, folder, build):
    build(root)
    for name in TABLES:
        (root / name).replace(folder / name)
    assert find_foreign(folder) is None
    damages(folder / 'datasets.pqt')
    assert find_foreign(folder) is None  # the other table is whole
    damages(folder / 'sessions.pqt')
    found = find_foreign(folder)
    assert found is not None
    assert not found.is_table


def test_tables_that_another_program_puts_there_during_a_run_stay(root, build, monkeypatch):
    build(root)
    publish = Stage.publish

    def publish_late(self, **options):
        one.alf.cache.make_parquet_db(root)
        seen.update(look_at(root))
        publish(self, **options)

    seen: dict[str, object] = {}
    monkeypatch.setattr(Stage, 'publish', publish_late)
    with pytest.raises(ForeignTableError):
        build(root)
    assert all(look_at(root)[name] == seen[name] for name in TABLES)


def test_a_run_that_was_allowed_to_and_was_stopped_is_finished_by_the_next(root, folder, build):
    by_the_builder(root, folder)
    stop_between_the_renames(lambda: build(root, out=folder, force=True))
    found = find_foreign(folder)
    assert found is not None
    assert found.path == folder / 'sessions.pqt'
    build(root, out=folder)
    assert len(read_paths(folder)) == len(TREE)


def test_rubbish_of_a_stopped_run_beside_them_changes_nothing(root, folder, build, run):
    of_a_database(root, folder)
    before = {name: (folder / name).read_bytes() for name in TABLES}
    grow(folder, {'.fastindex/stage/datasets.pqt': b'half'})
    assert run('release', root, '--tables', folder, '--out', root.parent / 'x.tar.zst')[0] == 0
    assert {name: (folder / name).read_bytes() for name in TABLES} == before
    grow(folder, {'.fastindex/stage/datasets.pqt': b'half'})
    with pytest.raises(ForeignTableError):
        build(root, out=folder)
    assert {name: (folder / name).read_bytes() for name in TABLES} == before
    grow(folder, {'.fastindex/stage/datasets.pqt': b'half'})
    build(root, out=folder, force=True)
    assert len(read_paths(folder)) == len(TREE)


def test_to_keep_their_ids_is_no_leave_to_replace_a_link(root, folder, build, monkeypatch):
    of_a_database(root, folder)
    for name in TABLES:
        (root / name).symlink_to(folder / name)
    monkeypatch.setattr('fastindex.jobs.build.build.discover', None)
    with pytest.raises(PublishError, match='this is a link to'):
        build(root, ids_from=root)
    assert not (root / '.fastindex').exists()

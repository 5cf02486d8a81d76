"""What the sessions' own files say: projects and tasks, as an Alyx database would have them."""

from __future__ import annotations

import json
import os
import sys
from uuid import uuid4
from zipfile import ZipFile

import pytest
import yaml

import fastindex
from fastindex.names.problems import Problem, Reason
from fastindex.pipeline import session_info
from fastindex.trees import kernel
from tests.support.tables import read, tables_digest
from tests.support.trees import Fifo, Link, grow

S1, S2, S3, S4 = (f'lab/Subjects/s{i}/2024-01-01/001' for i in range(1, 5))
DESCRIPTION, SETTINGS = session_info.DESCRIPTION, session_info.SETTINGS


def describe(projects, *tasks):
    """A description as iblrig writes it, by the library that it is written with."""
    found = {
        'devices': {'cameras': {'left': {'collection': 'raw_video_data', 'sync_label': 'audio'}}},
        'procedures': ['Behavior training/tasks'],
        'projects': projects,
        'sync': {'nidq': {'acquisition_software': 'spikeglx', 'collection': 'raw_ephys_data'}},
        'tasks': [{task: {'collection': f'raw_task_data_{i:02}'}} for i, task in enumerate(tasks)],
        'version': '1.0.0',
    }
    return yaml.safe_dump(found).encode()


def set_up(protocol, version, name='IBLRIG_VERSION'):
    return json.dumps({'PYBPOD_PROTOCOL': protocol, name: version, 'SUBJECT_NAME': 's1'}).encode()


TREE = {
    f'{S1}/{DESCRIPTION}': describe(['brainwide', 'psychedelics'], 'ephysChoiceWorld', 'passiveChoiceWorld'),
    f'{S1}/raw_task_data_01/{SETTINGS}': set_up('_iblrig_tasks_passive', '8.12.4'),
    f'{S1}/raw_task_data_00/{SETTINGS}': set_up('_iblrig_tasks_ephys', '8.12.4'),
    f'{S1}/raw_task_data_00/_iblrig_taskData.raw.jsonable': b'{}',
    f'{S2}/raw_behavior_data/{SETTINGS}': set_up('_iblrig_tasks_training', '6.5.3', 'IBLRIG_VERSION_TAG'),
    f'{S3}/{DESCRIPTION}': describe(['brainwide'], 'one', 'two'),
    f'{S3}/alf/{SETTINGS}': set_up('elsewhere', '1'),
    f'{S3}/alf/{DESCRIPTION}': describe(['elsewhere']),
    f'{S4}/alf/a.b.npy': b'x',
}
SAID = {
    's1': ('brainwide,psychedelics', '_iblrig_tasks_ephys8.12.4/_iblrig_tasks_passive8.12.4'),
    's2': ('', '_iblrig_tasks_training6.5.3'),
    's3': ('brainwide', 'one/two'),
    's4': ('', ''),
}
NOTHING = dict.fromkeys(SAID, ('', ''))


def said(folder):
    return {row['subject']: (row['projects'], row['task_protocol']) for row in read(folder, 'sessions')}


@pytest.fixture
def root(make_tree):
    return make_tree(TREE)


@pytest.fixture
def opened(monkeypatch):
    """Files that are opened for reading by their descriptors' folders."""
    names = []
    plain = os.open

    def open(path, flags, *args, **options):
        if options.get('dir_fd') is not None and not flags & os.O_DIRECTORY and isinstance(path, str):
            names.append(path)
        return plain(path, flags, *args, **options)

    monkeypatch.setattr(os, 'open', open)
    return names


def test_projects_and_tasks_are_those_of_the_files_and_each_is_opened_once(root, build, opened):
    build(root, session_info=True, out=root.parent)
    wanted = [
        name.rpartition('/')[2]
        for name in TREE
        if name.startswith((f'{S1}', f'{S2}')) or name == f'{S3}/{DESCRIPTION}'
    ]
    files = [name for name in opened if name.startswith('_ibl')]
    assert sorted(files) == sorted(name for name in wanted if name in (DESCRIPTION, SETTINGS))
    assert said(root.parent) == SAID


def test_without_the_option_none_is_opened_and_a_line_says_what_it_would_fill(root, run, opened):
    code, out, err = run(root)
    assert (code, err, [name for name in opened if name.startswith('_ibl')]) == (0, '', [])
    assert 'files of 3 sessions say their projects or tasks: --session-info fills them in\n' in out
    assert said(root) == NOTHING
    assert 'session-info' not in run(root, '--no-session-info')[1]
    assert 'fills them in' not in run(root, '--session-info')[1]
    assert 'as before: --session-info\n' in run(root)[1]
    assert said(root) == SAID
    run(root, '--no-session-info')
    assert said(root) == NOTHING


def test_the_library_for_yaml_is_loaded_where_a_description_is_read(root, build, monkeypatch):
    monkeypatch.setitem(sys.modules, 'yaml', None)
    build(root)
    with pytest.raises(ModuleNotFoundError):
        build(root, session_info=True)


@pytest.mark.parametrize('options', [{'workers': 2}, {'hash': True}, {'exclude': ['no-such']}])
def test_the_rows_are_the_same_however_they_are_made(root, build, tmp_path, options):
    (tmp_path / 'other').mkdir()
    build(root, session_info=True, out=tmp_path)
    build(root, session_info=True, out=tmp_path / 'other', **options)
    assert read(tmp_path / 'other', 'sessions') == read(tmp_path, 'sessions')


@pytest.mark.parametrize('how', ['only', 'new', 'quick'])
def test_a_run_over_a_part_gives_the_bytes_of_a_run_over_all(root, build, tmp_path, how, monkeypatch):
    monkeypatch.setenv('SOURCE_DATE_EPOCH', '1700000000')
    monkeypatch.setattr('fastindex.trees.fingerprints.SETTLED_NS', 0)
    build(root, session_info=True, quick=how == 'quick')
    grow(
        root,
        {f'{S4}/{DESCRIPTION}': describe(['late'], 'task'), 'lab/Subjects/s5/2024-01-01/001/a.b.npy': b'x'},
    )
    changed = {'only': {'only': [S4, 'lab/Subjects/s5']}, 'new': {'new': True}, 'quick': {'quick': True}}[how]
    summary = build(root, **changed)
    assert (summary.as_before, summary.sessions_carried) == (('`session_info`',), 4 if how == 'new' else 3)
    (tmp_path / 'whole').mkdir()
    build(root, session_info=True, out=tmp_path / 'whole')
    if how == 'new':
        assert said(root)['s4'] == ('', '')
    else:
        assert tables_digest(root) == tables_digest(tmp_path / 'whole')
        assert said(root)['s4'] == ('late', 'task')


def test_a_file_that_was_changed_is_followed_and_makes_the_index_stale(root, run):
    run(root, '--session-info')
    grow(root, {f'{S3}/{DESCRIPTION}': describe(['brainwidX'], 'one', 'two')})  # of the same size
    code, out, _ = run(root, '--check')
    assert (code, 'stale: columns: projects\n' in out, 'up to date' in out) == (1, True, False)
    assert run(root)[0] == 0
    assert said(root)['s3'] == ('brainwidX', 'one/two')
    assert run(root, '--check')[0] == 0


DAMAGED = {
    'description': [
        b'',
        b'- a list',
        b'projects: [a',
        b'\xff\xfe\x00',
        b'projects: {a: b}',
        b'projects: ["a\\x1b"]',
        b'tasks: [[a]]',
        b'projects: [' + b'x' * 5000 + b']',
        b'[' * 2**17,
        b'- ' * 2**17,
        b'&a [*a]',
        b'#' * (2**18 + 1),
    ],
    'settings': [
        b'',
        b'[]',
        b'{',
        b'[' * 2**17,
        b'{"PYBPOD_PROTOCOL": 1}',
        b'{"PYBPOD_PROTOCOL": "\\ud800"}',
        b'\xff',
        b'{"PYBPOD_PROTOCOL": "a\\n"}',
        b' ' * (2**22 + 1),
    ],
}


def test_a_damaged_file_is_a_problem_and_all_else_is_indexed(root, build):
    paths = {'description': DESCRIPTION, 'settings': f'raw_task_data_00/{SETTINGS}'}
    tree = {
        f'damaged/2024-01-01/{i:03}/{paths[name]}': content
        for i, (name, content) in enumerate((name, one) for name, all in DAMAGED.items() for one in all)
    }
    grow(root, tree)
    summary = build(root, session_info=True)
    assert set(summary.problems) == {Problem(path, Reason.BAD_INFO) for path in tree}
    assert (summary.problem_count, summary.datasets) == (len(tree), len(TREE) + len(tree))
    assert said(root) == {**SAID, 'damaged': ('', '')}
    found = {one.path for one in fastindex.validate(root, workers=1, deep=True) if one.code == 'ALF503'}
    assert found == tree.keys()
    assert 'ALF503' not in {one.code for one in fastindex.validate(root, workers=1)}


def test_of_a_session_with_a_damaged_file_the_others_count(root, build):
    grow(root, {f'{S1}/raw_task_data_00/{SETTINGS}': b'{', f'{S3}/{DESCRIPTION}': b'['})
    assert build(root, session_info=True).problem_count == 2
    assert said(root) == {**SAID, 's1': (SAID['s1'][0], '_iblrig_tasks_passive8.12.4'), 's3': ('', '')}


def test_what_stands_for_projects_may_be_one_or_none(make_tree, build):
    values = {'none': None, 'empty': '', 'list': [], 'one': 'one', 'twice': ['one', 'one'], 'year': [2021]}
    root = make_tree({f'{s}/2024-01-01/001/{DESCRIPTION}': describe(value) for s, value in values.items()})
    assert build(root, session_info=True).problem_count == 0
    assert {name: projects for name, (projects, _) in said(root).items()} == {
        'none': '',
        'empty': '',
        'list': '',
        'one': 'one',
        'twice': 'one',
        'year': '2021',
    }


def test_tasks_of_an_old_description_are_a_mapping(make_tree, build):
    root = make_tree({f'{S1}/{DESCRIPTION}': b'projects: a\ntasks:\n  x: {collection: c}\n  y: {}\n'})
    build(root, session_info=True)
    assert said(root)['s1'] == ('a', 'x/y')


def test_no_link_is_followed_where_none_is_to_be_and_nothing_waits(make_tree, build, tmp_path):
    (tmp_path / 'outside').write_bytes(describe(['outside']))
    root = make_tree({f'{S1}/{DESCRIPTION}': Link(tmp_path / 'outside'), f'{S2}/{DESCRIPTION}': Fifo()})
    build(root, session_info=True, follow_symlinks=False)
    assert set(said(root).values()) == {('', '')}
    build(root, follow_symlinks=True)
    assert said(root)['s1'] == ('outside', '')


def test_a_file_that_cannot_be_read_is_one_problem(open_folder, build):
    root = grow(open_folder / 'root', {f'{S1}/{DESCRIPTION}': b'x', f'{S2}/a.b.c': b'x'})
    (root / S1 / DESCRIPTION).chmod(0)
    for options in ({}, {'hash': True}, {}):
        summary = build(root, session_info=True, out=open_folder, **options)
        assert summary.problems == (Problem(f'{S1}/{DESCRIPTION}', Reason.PERMISSION),)


def test_names_with_uuids_are_found(make_tree, build):
    tree = {}
    for path, content in TREE.items():
        stem, _, extension = path.rpartition('.')
        tree[f'{stem}.{uuid4()}.{extension}'] = content
    root = make_tree(tree)
    build(root, session_info=True, uuid_filenames=True)
    assert said(root) == SAID


def test_a_folder_with_more_names_than_a_block_has_its_file_read_too(root, build, monkeypatch):
    grow(root, {f'{S1}/x.y{i}.npy': b'' for i in range(5)})
    plain = kernel.list_folder

    def list_one_by_one(fd):
        for names, kinds in plain(fd):
            for i in sorted(range(len(names)), key=lambda i: names[i] == DESCRIPTION):
                yield names[i : i + 1], kinds[i : i + 1]

    monkeypatch.setattr(kernel, 'list_folder', list_one_by_one)
    build(root, session_info=True)
    assert (said(root), len(read(root, 'datasets'))) == (SAID, len(TREE) + 5)


@pytest.fixture
def edit(root):
    """Have somebody set projects through the client."""
    from iblutil.io import parquet

    def edit(subject, value):
        table, about = parquet.load(root / 'sessions.pqt')
        table.loc[table['subject'] == subject, 'projects'] = value
        parquet.save(root / 'sessions.pqt', table, about)
        table, about = parquet.load(root / 'datasets.pqt')
        parquet.save(root / 'datasets.pqt', table, about)

    return edit


def test_what_somebody_has_set_is_kept_and_its_difference_told(root, run, edit):
    run(root, '--session-info')
    edit('s3', 'by hand')
    for _ in range(2):
        code, out, _ = run(root)
        assert (code, said(root)) == (0, {**SAID, 's3': ('by hand', 'one/two')})
        assert (
            'projects or tasks of 1 session are kept as they are known, though their files say other ones\n'
            in out
        )


def test_files_are_followed_after_the_client_has_saved_what_they_say(root, run, edit):
    run(root, '--session-info')
    edit('s3', 'brainwide')  # as it was
    run(root)
    grow(root, {f'{S3}/{DESCRIPTION}': describe(['later'], 'one', 'two')})
    run(root)
    assert said(root) == {**SAID, 's3': ('later', 'one/two')}


def test_other_tables_come_before_the_files_and_these_fill_the_gaps(root, build, tmp_path):
    from tests.support.strangers import of_a_database

    (tmp_path / 'alyx').mkdir()
    of_a_database(root, tmp_path / 'alyx')
    for _ in range(2):
        summary = build(root, **({} if _ else {'ids_from': tmp_path / 'alyx', 'session_info': True}))
        assert said(root) == {name: ('brainwide', tasks) for name, (_, tasks) in SAID.items()}
        assert summary.info_overruled == 1
    assert build(root, fresh=True, ids_from=False).info_offered == 3


def test_a_release_has_them(root, build, tmp_path):
    build(root, session_info=True)
    fastindex.release(root, tmp_path / 'data.zip', workers=1, force=True)
    with ZipFile(tmp_path / 'data.zip') as file:
        [name] = [name for name in file.namelist() if name.endswith('sessions.pqt')]
        file.extract(name, tmp_path)
    assert said((tmp_path / name).parent) == SAID

"""Ids of other tables are kept for what they know."""

from __future__ import annotations

import json
import pickle
import shutil
import uuid
from datetime import date, datetime
from zipfile import ZipFile

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from iblutil.io import parquet
from one.alf.cache import make_parquet_db
from one.api import One

import fastindex
from fastindex import Changes, ForeignTableError, IdClashError, InvalidIndexError, UsageError
from fastindex.tables.carry import KeptIds
from fastindex.trees import fingerprints
from fastindex.workers.pool import Pool
from tests.support.strangers import of_a_database
from tests.support.tables import read, stop_between_the_renames, tables_digest
from tests.support.trees import Link, grow

pytestmark = pytest.mark.usefixtures('fixed_date')

TREE = {
    f'{subject}/2024-01-0{day}/001/{name}': b'x' * day
    for subject in ('s1', 'my-lab/Subjects/s2')
    for day in (1, 2, 3)
    for name in ('alf/a.b.npy', 'c.d.npy')
}


@pytest.fixture
def root(make_tree):
    return make_tree(TREE)


@pytest.fixture
def alyx(root, build, tmp_path):
    """Tables with random ids, as those of a database, with the index that pandas writes."""
    folder = tmp_path / 'alyx'
    folder.mkdir()
    build(root, out=folder)
    sessions, datasets = (pd.read_parquet(folder / f'{name}.pqt') for name in ('sessions', 'datasets'))
    eids = {eid: str(uuid.uuid4()) for eid in sessions.index}
    sessions.index = sessions.index.map(eids)
    datasets = datasets.reset_index()
    datasets['eid'] = datasets['eid'].map(eids)
    datasets['id'] = [str(uuid.uuid4()) for _ in range(len(datasets))]
    sessions.to_parquet(folder / 'sessions.pqt')
    datasets.sample(frac=1, random_state=0).set_index(['eid', 'id']).to_parquet(folder / 'datasets.pqt')
    return folder


def ids_by_path(folder):
    """The eids and the ids of an index, by what they are of."""
    sessions = {row['id']: (row['lab'], row['subject'], row['date']) for row in read(folder, 'sessions')}
    datasets = {(*sessions[row['eid']], row['rel_path']): row['id'] for row in read(folder, 'datasets')}
    return {**{path: eid for eid, path in sessions.items()}, **datasets}


def test_known_sessions_and_datasets_keep_their_ids_and_new_ones_get_ours(root, build, alyx):
    new = {'s1/2024-01-01/001/new.b.npy': b'', 's3/2024-01-01/001/a.b.npy': b''}
    grow(root, new)
    (root / 's1/2024-01-02/001/c.d.npy').unlink()
    build(root, ids_from=alyx)
    expected, found = ids_by_path(alyx), ids_by_path(root)
    (gone,) = expected.keys() - found.keys()
    assert gone[-1] == 'c.d.npy'
    del expected[gone]
    assert {path: found[path] for path in expected} == expected
    ours = fastindex.eid('s3/2024-01-01/001')
    kept = expected['', 's1', date(2024, 1, 1)]
    assert {path: found[path] for path in found.keys() - expected.keys()} == {
        ('', 's3', date(2024, 1, 1)): str(ours),
        ('', 's3', date(2024, 1, 1), 'a.b.npy'): str(fastindex.dataset_id(ours, 'a.b.npy')),
        ('', 's1', date(2024, 1, 1), 'new.b.npy'): str(uuid.uuid3(uuid.UUID(kept), 'new.b.npy')),
    }


@pytest.mark.filterwarnings('ignore:The copy keyword is deprecated:DeprecationWarning:one.api')
def test_the_client_opens_it_and_loads_by_the_old_eid(root, build, alyx):
    build(root, ids_from=alyx)
    one = One(cache_dir=root, mode='local')
    eid = ids_by_path(alyx)['', 's1', date(2024, 1, 2)]
    assert str(one.search(subject='s1', date_range='2024-01-02')[0]) == eid
    assert sorted(one.list_datasets(eid)) == ['alf/a.b.npy', 'c.d.npy']


def test_no_task_is_sent_what_is_known_of_other_sessions(root, build, alyx, monkeypatch):
    known = [uuid.UUID(row['id']).bytes for row in read(alyx, 'sessions')]
    sent = []
    plain = Pool.run

    def run(self, tasks, **options):
        def look(task):
            sent.append(pickle.dumps(task))
            return task

        return plain(self, map(look, tasks), **options)

    monkeypatch.setattr(Pool, 'run', run)
    monkeypatch.setattr('fastindex.jobs.build.tasks.MAX_SESSIONS', 1)
    build(root, ids_from=alyx)
    assert ids_by_path(root) == ids_by_path(alyx)
    assert len(sent) > len(known)
    assert {sum(eid in one for eid in known) for one in sent} == {0, 1}


@pytest.mark.long
def test_tables_stay_sorted_and_the_same_for_any_number_of_workers(root, build, alyx):
    made = set()
    for workers in (1, 2, 4):
        build(root, ids_from=alyx, workers=workers, hash=['md5'])
        made.add(tables_digest(root))
        fastindex.open(root)  # checks the order
    assert len(made) == 1


def test_digests_are_reused_and_changes_told_by_the_kept_ids(root, build, alyx, monkeypatch):
    monkeypatch.setattr(fingerprints, 'SETTLED_NS', -(10**12))
    build(root, ids_from=alyx, hash=['md5'])
    summary = build(root, ids_from=alyx, hash=['md5'])
    assert (summary.digests_reused, summary.changes) == (len(TREE), Changes(0, 0, 0, 0, 0))
    (root / 's1/2024-01-02/001/c.d.npy').write_bytes(b'changed')
    found = []
    assert build(root, ids_from=alyx, hash=['md5'], on_change=found.append).changes == Changes(0, 0, 0, 0, 1)
    assert (found[0].path, found[0].rel_path) == ('s1/2024-01-02/001', 'c.d.npy')


def test_the_ids_of_the_clients_builder_are_refused_as_one_stands_for_many(root, build, tmp_path):
    (tmp_path / 'theirs').mkdir()
    make_parquet_db(root, tmp_path / 'theirs', hash_ids=True)
    with pytest.raises(IdClashError, match=r'2 ids of more than one .* of 6 datasets: .*cannot be kept'):
        build(root, ids_from=tmp_path / 'theirs')
    assert not (root / 'sessions.pqt').exists()


def keep_eid(alyx, old, new):
    """Give a session of other tables another eid."""
    for name, column in (('sessions', 'id'), ('datasets', 'eid')):
        frame = pd.read_parquet(alyx / f'{name}.pqt').reset_index()
        frame[column] = frame[column].replace(str(old), str(new))
        frame.to_parquet(alyx / f'{name}.pqt', index=False)


def test_two_sessions_of_one_eid_are_an_error_that_names_both(root, build, alyx):
    grow(root, {'s3/2024-01-02/002/a.b.npy': b''})
    keep_eid(alyx, ids_by_path(alyx)['', 's1', date(2024, 1, 2)], fastindex.eid('s3/2024-01-02/002'))
    with pytest.raises(IdClashError, match=r's1/2024-01-02/001 and s3/2024-01-02/002 have the same eid'):
        build(root, ids_from=alyx)
    assert not (root / 'sessions.pqt').exists()


def eids_by_folder(root):
    """The eids of an index, by the folder that its readers look for."""
    index = fastindex.open(root)
    eids = [row['id'] for row in read(root, 'sessions')]
    return {index.path(eid).relative_to(root).as_posix(): eid for eid in eids}


@pytest.mark.long
@pytest.mark.parametrize('twins', [('001', '1'), ('001', '01', '1'), ('01', '1'), ('1',), ('01',)])
def test_of_folders_of_one_number_the_one_of_the_client_keeps_the_id(root, build, alyx, run, twins):
    kept = ids_by_path(alyx)['', 's1', date(2024, 1, 2)]
    day = root / 's1/2024-01-02'
    (day / '001').rename(day / twins[0])
    grow(day, {f'{twin}/new.b.npy': b'abc' for twin in twins[1:]})
    wanted = {f's1/2024-01-02/{twin}': str(fastindex.eid(f's1/2024-01-02/{twin}')) for twin in twins}
    wanted[f's1/2024-01-02/{twins[0]}'] = kept
    tables = alyx
    for _ in range(3):  # then of the index itself
        build(root, ids_from=tables)
        found = eids_by_folder(root)
        assert {path: eid for path, eid in found.items() if path in wanted} == wanted
        assert all((root / path).is_dir() for path in found)
        assert list(fastindex.verify(root)) == []
        tables = root
    status, out, _ = run('search', root, '--paths')
    assert (status, sorted(out.split())) == (0, sorted(str(root / path) for path in found))


@pytest.mark.parametrize('only', ['001', '01', '1', '01 1'])
def test_of_folders_of_one_number_each_keeps_its_id_whichever_is_looked_at(root, build, alyx, only):
    day = root / 's1/2024-01-02'
    grow(day, {'01/new.b.npy': b'abc', '1/new.b.npy': b'abcd'})
    build(root, ids_from=alyx)
    before = tables_digest(root)
    build(root, only=[day / number for number in only.split()])
    assert tables_digest(root) == before
    build(root)
    assert tables_digest(root) == before


@pytest.mark.parametrize('twins', [('001', '1'), ('1',)])
def test_a_folder_that_no_id_tells_of_is_released_with_its_files(root, build, alyx, tmp_path, twins):
    day = root / 's1/2024-01-02'
    (day / '001').rename(day / twins[0])
    grow(day, {f'{twin}/new.b.npy': b'abc' for twin in twins[1:]})
    build(root, ids_from=alyx)
    fastindex.release(root, tmp_path / 'x.zip', force=True)
    with ZipFile(tmp_path / 'x.zip') as archive:
        names = archive.namelist()
    files = [path.relative_to(root).as_posix() for path in root.rglob('*.npy')]
    assert [name for name in sorted(files) if not any(n.endswith(name) for n in names)] == []


def test_the_own_index_is_completed_before_its_ids_are_kept(root, build, alyx):
    build(root, ids_from=alyx)
    kept = ids_by_path(root)
    grow(root, {'s1/2024-01-01/001/new.b.npy': b'new'})
    stop_between_the_renames(lambda: build(root, ids_from=root))
    build(root, ids_from=root)
    assert ids_by_path(root).items() >= kept.items()


def test_tables_that_are_none_are_refused(root, build, tmp_path):
    with pytest.raises(InvalidIndexError, match='no such table'):
        build(root, ids_from=tmp_path)


def test_the_command_line_keeps_ids_too(root, run, alyx):
    assert run(root, '--ids-from', alyx, '--workers', 2)[0] == 0
    assert ids_by_path(root) == ids_by_path(alyx)
    code, _, err = run(root, '--ids-from', root / 'nowhere')
    assert (code, 'there is no such folder' in err) == (2, True)


def edit(folder, table, **columns):
    """Set columns of a table of pandas: a value for all rows, or one a row."""
    frame = pd.read_parquet(folder / f'{table}.pqt')
    frame.assign(**columns).to_parquet(folder / f'{table}.pqt')


def qc(*values):
    return pd.Categorical(values, ['NOT_SET', 'PASS', 'WARNING', 'FAIL', 'CRITICAL'], ordered=True)


@pytest.fixture
def labelled(alyx):
    """The same, with what people put there: the first session has a project, the second dataset is bad."""
    edit(
        alyx, 'sessions', projects=['projA,projB', *[''] * 5], task_protocol='habituation/6.0', cost=[1.5] * 6
    )
    edit(alyx, 'datasets', qc=qc('PASS', 'CRITICAL', *['NOT_SET'] * 10), comment=['', 'noisy', *[None] * 10])
    return alyx


def values(folder):
    """What is known of each session and each dataset, by its id."""
    known = {}
    for table, names in (
        ('sessions', ('projects', 'task_protocol', 'cost')),
        ('datasets', ('qc', 'comment')),
    ):
        for row in read(folder, table):
            known[row['id']] = tuple(row.get(name) or None for name in names)
    return known


@pytest.mark.long
def test_known_rows_keep_what_people_put_there_and_plain_runs_carry_it_on(root, build, labelled):
    expected = values(labelled)
    assert ('PASS', None) in expected.values()
    build(root, ids_from=labelled)
    assert values(root) == expected
    grow(root, {'s1/2024-01-01/001/new.b.npy': b'', 's3/2024-01-01/001/a.b.npy': b''})
    for options in ({'ids_from': labelled}, {'ids_from': root}, {'ids_from': root, 'hash': ['xxh128']}):
        build(root, **options)
        assert values(root).items() >= expected.items()
        assert {row[0] for row in values(root).values()} >= {'projA,projB', 'NOT_SET'}
        fastindex.open(root)
    build(root)  # our ids: what is known is found by what it is of
    assert sorted(map(str, values(root).values())) == sorted(
        [*map(str, expected.values()), *['(None, None, None)', "('NOT_SET', None)", "('NOT_SET', None)"]]
    )


@pytest.mark.long
def test_tables_with_further_columns_are_the_same_bytes_for_any_shards(root, build, labelled):
    made = set()
    for workers in (1, 2, 4):
        build(root, ids_from=labelled, workers=workers)
        made.add(tables_digest(root))
    build(root, ids_from=root)
    assert made == {tables_digest(root)}


@pytest.mark.filterwarnings('ignore:The copy keyword is deprecated:DeprecationWarning:one.api')
def test_the_client_finds_by_project_and_leaves_out_by_qc(root, build, labelled):
    build(root, ids_from=labelled)
    one = One(cache_dir=root, mode='local')
    (eid,) = one.search(project='projA')
    assert str(eid) == next(row['id'] for row in read(labelled, 'sessions') if row['projects'])
    assert len(one.search(task_protocol='habituation')) == 6
    assert one._cache.datasets['qc'].value_counts()['CRITICAL'] == 1
    assert one._cache.sessions['cost'].tolist() == [1.5] * 6


FURTHER = {
    'lists': lambda i: ['a'] * (i % 4),
    'vectors': lambda i: [1.5] * (i % 3),
    'structs': lambda i: {'x': [i] * (i % 3), 'y': str(i)},
    'moments': lambda i: datetime(2024, 1, i + 1),
    'missing': lambda i: None if i % 2 else i,
    **dict.fromkeys(('key', 'line', 'row', 'path', 'position', 'session_path'), str),
}
OF_THE_OTHER = {
    'sessions': ('file_size', 'hash', 'exists', 'qc', 'default_revision', 'xxh128'),
    'datasets': ('lab', 'subject', 'date', 'number', 'task_protocol', 'projects'),
}


@pytest.mark.long
def test_further_columns_may_be_of_any_type_and_be_called_as_those_of_the_other_table(
    root, build, alyx, run, tmp_path
):
    for table, others in OF_THE_OTHER.items():
        rows = pq.read_table(alyx / f'{table}.pqt')
        for name, value in {**FURTHER, **dict.fromkeys(others, str)}.items():
            rows = rows.append_column(name, pa.array(map(value, range(rows.num_rows))))
        pq.write_table(rows, alyx / f'{table}.pqt')

    def further(folder):
        return {
            row['id']: [row[name] for name in (*FURTHER, *others)]
            for table, others in OF_THE_OTHER.items()
            for row in read(folder, table)
        }

    expected = further(alyx)
    build(root, ids_from=alyx)
    assert further(root) == expected
    assert build(root).changes == Changes(0, 0, 0, 0, 0)
    grow(root, {'s1/2024-01-01/001/new.b.npy': b''})
    for words in (
        ['build', '--only', 's1'],
        ['build', '--new'],
        ['build', '--hash'],
        ['search', '--datasets', '--paths'],
        ['search', '--datasets', '--json'],
        ['verify', '--workers', 1],
        ['info'],
        ['release', '--out', tmp_path / 'x.tar.zst', '--workers', 1],
    ):
        code, _, err = run(words[0], root, *words[1:])
        assert code == 0, (words, err)
        assert further(root).items() >= expected.items()


def test_tables_with_a_null_size_or_without_labs_are_kept_too(root, build, labelled):
    expected = values(labelled)
    datasets = pd.read_parquet(labelled / 'datasets.pqt')
    sizes = datasets['file_size'].astype('UInt64').mask(datasets['qc'] == 'PASS')
    edit(labelled, 'datasets', file_size=sizes)
    build(root, ids_from=labelled)
    assert values(root) == expected
    pd.read_parquet(labelled / 'sessions.pqt').drop(columns='lab').to_parquet(labelled / 'sessions.pqt')
    summary = build(root, ids_from=labelled)
    assert values(root) == expected
    assert summary.ids_kept == (KeptIds(str(labelled), 6, 6, 12, 12),)


def test_a_tree_without_labs_keeps_the_ids_of_tables_with_labs(root, build, labelled, run):
    edit(labelled, 'sessions', lab='cortexlab')
    assert run(root, '--ids-from', labelled)[1].count('ids kept: 3 of 6 sessions, 6 of 12 datasets') == 1
    (root / 'my-lab/Subjects/s2').rename(root / 's2')
    assert build(root, ids_from=labelled, allow_removal=True).ids_kept == (
        KeptIds(str(labelled), 6, 6, 12, 12),
    )


def test_what_only_a_lab_tells_apart_is_not_guessed(root, build, labelled):
    (root / 'my-lab/Subjects/s2').rename(root / 'my-lab/Subjects/s1')
    edit(labelled, 'sessions', lab='')
    known = build(root, ids_from=labelled).ids_kept[0]
    assert (known.sessions, known.sessions_known) == (3, 6)  # s1 without a lab is meant to be that
    sessions = pd.read_parquet(labelled / 'sessions.pqt')
    sessions[sessions['subject'] == 's1'].drop(columns='lab').to_parquet(labelled / 'sessions.pqt')
    shutil.move(root / 's1', root / 'other/Subjects/s1')
    found = build(root, ids_from=labelled)
    assert (found.ids_kept[0].sessions, found.ids_kept[0].sessions_known) == (0, 3)
    assert f'{labelled}: no session of these tables is in this tree, so no id is kept' in found.warnings


def test_several_tables_fill_each_others_gaps(root, build, labelled, tmp_path):
    expected = values(labelled)
    for name, wanted in (('one', 's1'), ('two', 's2')):
        shutil.copytree(labelled, tmp_path / name)
        sessions = pd.read_parquet(labelled / 'sessions.pqt')
        sessions[sessions['subject'] == wanted].to_parquet(tmp_path / name / 'sessions.pqt')
    edit(tmp_path / 'one', 'datasets', qc='NOT_SET')
    parts = [tmp_path / 'one' / 'sessions.pqt', tmp_path / 'two']
    summary = build(root, ids_from=parts)
    counts = [tuple(kept.to_dict().values())[1:] for kept in summary.ids_kept]
    assert counts == [(3, 3, 0, 0), (3, 3, 6, 12)]
    build(root, ids_from=[tmp_path / 'one' / 'datasets.pqt', tmp_path / 'two', labelled])
    assert values(root) == expected


def test_a_clash_of_two_tables_names_both(root, build, alyx, tmp_path):
    other = tmp_path / 'other'
    shutil.copytree(alyx, other)
    edit(other, 'sessions', subject='s9')
    with pytest.raises(IdClashError, match=f's[12]/.* in {alyx}, and s9/.* in {other}'):
        build(root, ids_from=[alyx, other])
    edit(other, 'sessions', subject=pd.read_parquet(alyx / 'sessions.pqt')['subject'])
    edit(other, 'datasets', rel_path='x.y.npy')
    with pytest.raises(IdClashError, match=f'/(alf/a.b|c.d).npy in {alyx}, and .*/x.y.npy in {other}'):
        build(root, ids_from=[alyx, other])
    edit(alyx, 'sessions', cost=1.5)
    edit(other, 'sessions', cost='much')
    edit(other, 'datasets', rel_path=pd.read_parquet(alyx / 'datasets.pqt')['rel_path'])
    with pytest.raises(UsageError, match=f'column cost is double in {alyx}, and string in {other}'):
        build(root, ids_from=[alyx, other])


def test_the_default_revision_is_the_newest_or_the_one_that_is_known(make_tree, build, tmp_path, run):
    names = ('a.b.npy', '#2024-01-01#/a.b.npy', '#2024-02-02#/a.b.npy', 'c.d.npy')
    root = make_tree({f's1/2024-01-01/001/{name}': b'' for name in names})
    build(root)
    shutil.copytree(root, tmp_path / 'alyx', ignore=lambda *_: ['s1', '.fastindex'])
    frame = pd.read_parquet(root / 'datasets.pqt')
    known = frame['rel_path'].isin(['#2024-01-01#/a.b.npy', 'c.d.npy'])
    edit(tmp_path / 'alyx', 'datasets', default_revision=known)
    edit(tmp_path / 'alyx', 'sessions')

    def marked():
        return {row['rel_path'] for row in read(root, 'datasets') if row['default_revision']}

    code, _, err = run(root, '--ids-from', tmp_path / 'alyx')
    assert (code, marked()) == (0, {'#2024-02-02#/a.b.npy', 'c.d.npy'})
    assert 'a newer revision of 1 dataset than by the tables' in err
    assert '--default-revision' in err
    for words in (['--ids-from', tmp_path / 'alyx'], []):
        code, _, err = run(root, *words, '--default-revision', 'known')
        assert (code, err, marked()) == (0, '', {'#2024-01-01#/a.b.npy', 'c.d.npy'})
    (root / 's1/2024-01-01/001/#2024-01-01#/a.b.npy').unlink()
    run(root, '--default-revision', 'known')
    assert marked() == {'#2024-02-02#/a.b.npy', 'c.d.npy'}


def test_values_are_kept_in_a_session_that_is_cut_into_parts(make_tree, build, alyx, monkeypatch):
    names = [f'a.b{i}.npy' for i in range(40)]
    root = make_tree({f's1/2024-01-0{day}/001/{name}': b'x' for day in (1, 2) for name in names})
    monkeypatch.setattr('fastindex.pipeline.scan.PART_ROWS', 7)
    monkeypatch.setattr('fastindex.pipeline.walk.PART_ROWS', 7, raising=False)
    build(root, hash=['xxh128'])
    edit(root, 'sessions')
    edit(root, 'datasets', comment=pd.read_parquet(root / 'datasets.pqt')['rel_path'])
    build(root, ids_from=root, hash=['xxh128'])
    assert {row['comment'] == row['rel_path'] for row in read(root, 'datasets')} == {True}


@pytest.fixture
def database(make_tree):
    """Tables as those of a database, in the root: an older revision is the default, sizes are unknown."""
    names = ('alf/spikes.times.npy', 'alf/#2024-02-01#/spikes.times.npy', 'trials.goCue_times.npy')
    paths = [f'{subject}/2024-01-0{day}/001' for subject in ('s1', 'lab/Subjects/s2') for day in (1, 2)]
    root = make_tree({f'{path}/{name}': b'x' for path in paths for name in names})
    of_a_database(root, root)
    frame, about = parquet.load(root / 'datasets.pqt')
    is_trials = frame['rel_path'] == names[2]
    frame['default_revision'] = frame['rel_path'] != names[1]
    frame['qc'] = frame['qc'].where(~is_trials, 'CRITICAL')
    frame['file_size'] = frame['file_size'].astype('UInt64').mask(is_trials)
    parquet.save(root / 'datasets.pqt', frame.assign(comment='mine'), about)
    return root


@pytest.mark.long
def test_tables_of_a_database_are_served_as_they_are(database, run, tmp_path):
    before = {name: (database / f'{name}.pqt').read_bytes() for name in ('sessions', 'datasets')}
    eids = {row['id'] for row in read(database, 'sessions')}
    code, out, _ = run('search', database, '--project', 'brainwide', '--json')
    assert (code, {row['eid'] for row in json.loads(out)}) == (0, eids)
    for name, found in (('trials.goCue_times.npy', 0), ('spikes.times.npy', 4)):
        words = ('--dataset', name, '--dataset-qc-lte', 'FAIL', '--json')
        assert len(json.loads(run('search', database, *words)[1] or '[]')) == found
    assert run('search', database, '--datasets')[0] == 0
    for words in ([], ['--fast'], ['--part', '1/2']):
        assert run('verify', database, '--workers', 1, *words)[0] == 0
    assert run('report', database, '--out', tmp_path / 'report.html')[0] == 0
    assert list(database.glob('.*')) == []
    assert {name: (database / f'{name}.pqt').read_bytes() for name in before} == before
    (database / 's1/2024-01-01/001/trials.goCue_times.npy').unlink()
    code, out, _ = run('verify', database, '--workers', 1)
    assert (code, 's1/2024-01-01/001/trials.goCue_times.npy: expected file, found nothing' in out) == (
        1,
        True,
    )


@pytest.mark.long
def test_tables_that_are_replaced_are_asked_about_where_a_lab_of_theirs_is_empty(database, run):
    before = {name: read(database, name) for name in ('sessions', 'datasets')}
    shutil.rmtree(database / 'lab/Subjects')
    for more in ([], ['--check'], ['--hash']):
        code, _, err = run(database, '--workers', 1, '--ids-from', database, *more)
        assert (code, 'missing: lab, all of 2 sessions\n' in err) == (2, True)
        assert {name: read(database, name) for name in before} == before
    assert run(database, '--workers', 1, '--ids-from', database, '--allow-removal')[0] == 0
    for words in (['--new'], ['--only', 's1/2024-01-01']):
        code, out, err = run(database, '--workers', 1, *words)
        assert (code, err) == (0, '')
        assert f'ids kept: 2 of 2 sessions, 6 of 6 datasets of {database}\n' in out


@pytest.mark.filterwarnings('ignore:The copy keyword is deprecated:DeprecationWarning:one.api')
def test_a_release_has_what_the_tables_of_a_database_know(database, run, tmp_path):
    before = {name: read(database, name) for name in ('sessions', 'datasets')}
    code, _, err = run('release', database, '--out', tmp_path / 'x.zip')
    assert (code, 'there is no LICENSE' in err, err.count('\n')) == (0, True, 1)
    with ZipFile(tmp_path / 'x.zip') as archive:
        archive.extractall(tmp_path / 'x')
    one = One(cache_dir=tmp_path / 'x', mode='local')
    assert {str(eid) for eid in one.search(project='brainwide')} == {row['id'] for row in before['sessions']}
    columns = ('id', 'eid', 'rel_path', 'qc', 'default_revision', 'comment')
    found, expected = (
        {row['id']: [row[name] for name in columns] for row in rows}
        for rows in (read(tmp_path / 'x', 'datasets'), before['datasets'])
    )
    assert found == expected
    assert list(fastindex.verify(tmp_path / 'x')) == []
    assert list(database.glob('.*')) == []
    assert {name: read(database, name) for name in before} == before


def save(root, project, bad):
    """Let the client write over the index: a project and a column for all sessions, and one bad dataset."""
    one = One(cache_dir=root, mode='local')
    one._cache['sessions'] = one._cache.sessions.assign(projects=project, cost=1.5)
    datasets = one._cache.datasets
    one._cache['datasets'] = datasets.assign(qc=datasets['qc'].where(datasets['rel_path'] != bad, 'CRITICAL'))
    one.save_cache(clobber=True)


RECIPES = {
    'plain': [],
    'digests': ['--hash=xxh128,md5'],
    'namespace': ['--namespace', str(uuid.uuid4())],
    'names': ['--uuid-filenames'],
    'links': ['--no-follow-symlinks'],
    'kept ids': ['--ids-from'],
    'left out': ['--exclude', 'private.*'],
}


@pytest.mark.long
@pytest.mark.filterwarnings('ignore:The copy keyword is deprecated:DeprecationWarning:one.api')
@pytest.mark.parametrize('recipe', RECIPES)
def test_an_index_that_the_client_saved_is_gone_on_with_by_plain_runs(
    make_tree, run, tmp_path, monkeypatch, recipe
):
    monkeypatch.setattr(fingerprints, 'SETTLED_NS', -(10**12))
    names = ('a.b.npy', 'alf/c.d.npy')
    if recipe == 'names':
        names = tuple(name.replace('.npy', f'.{uuid.uuid4()}.npy') for name in names)
    root = make_tree({f's1/2024-01-01/001/{name}': b'x' for name in names})
    if recipe == 'left out':
        grow(root, {'s1/2024-01-01/001/private.d.npy': b'x'})
    if recipe == 'links':
        grow(root, {'s1/2024-01-01/001/a.link.npy': Link('a.b.npy')})
    words = RECIPES[recipe]
    if recipe == 'kept ids':
        (tmp_path / 'alyx').mkdir()
        of_a_database(root, tmp_path / 'alyx')
        words = [*words, tmp_path / 'alyx']
    assert run(root, *words)[0] == 0
    facts = fastindex.open(root).recipe
    before = {name: {row['id'] for row in read(root, name)} for name in ('sessions', 'datasets')}
    save(root, 'projA', 'a.b.npy')
    assert fastindex.open(root).generation is None
    assert fastindex.open(root).recipe == facts  # for all who read it, too
    assert list(fastindex.verify(root, workers=1)) == []
    fastindex.release(
        root, tmp_path / 'x.zip', workers=1, dry_run=True, select=fastindex.Query(projects='projA')
    )
    fastindex.release(root, tmp_path / 'x.zip', workers=1)
    with ZipFile(tmp_path / 'x.zip') as archive:
        archive.extractall(tmp_path / 'x')
    assert {name: {row['id'] for row in read(tmp_path / 'x', name)} for name in before} == before
    facts = fastindex.open(root).recipe  # a release has digests
    save(root, 'projA', 'a.b.npy')
    for new in (None, f's1/2024-01-01/002/e.f.{uuid.uuid4()}.npy'):
        if new is not None:
            grow(root, {new: b'x'})
        code, out, err = run(root)
        assert (code, err) == (0, '')
        assert 'since the last index: ' in out
        assert ('sessions added: 1' in out) == (new is not None)
        if recipe == 'digests':
            assert f'digests: {0 if new is None else 1} computed, 2 reused' in out
        assert fastindex.open(root).recipe == facts
        rows = {name: {row['id']: row for row in read(root, name)} for name in before}
        assert all(rows[name].keys() >= before[name] for name in before)
        assert {rows['sessions'][eid]['projects'] for eid in before['sessions']} == {'projA'}
        assert {rows['sessions'][eid]['cost'] for eid in before['sessions']} == {1.5}
        assert [row['rel_path'] for row in rows['datasets'].values() if row['qc'] == 'CRITICAL'] == [
            'a.b.npy'
        ]
    one = One(cache_dir=root, mode='local')
    assert {str(eid) for eid in one.search(project='projA')} == before['sessions']


def test_tables_of_the_builder_over_an_index_of_ours_are_not_taken_for_it(root, build):
    build(root)
    make_parquet_db(root)
    with pytest.raises(ForeignTableError):
        build(root)

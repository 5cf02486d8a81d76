"""What an index knows comes along, whatever a lab types: ids, values, digests."""

from __future__ import annotations

import shutil
from uuid import UUID

import pytest
from iblutil.io import parquet
from one.api import One

import fastindex
from fastindex.tables import sources
from fastindex.trees import fingerprints
from tests.support.strangers import of_a_database
from tests.support.tables import read
from tests.support.trees import grow

pytestmark = [
    pytest.mark.usefixtures('fixed_date'),
    pytest.mark.filterwarnings('ignore:The copy keyword is deprecated:DeprecationWarning:one.api'),
]

SESSIONS = [f'lab/Subjects/s{i}/2024-01-0{day}/001' for i in range(2) for day in (1, 2)]
NAMES = ('alf/a.b', 'c.d')
TREE = {
    f'{session}/{name}.{UUID(int=9 * i + j, version=4)}.npy': f'{i}{j}'.encode()
    for i, session in enumerate(SESSIONS)
    for j, name in enumerate(NAMES)
}


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    monkeypatch.setattr(fingerprints, 'SETTLED_NS', -(10**12))


@pytest.fixture
def root(make_tree):
    return make_tree(TREE)


@pytest.fixture
def alyx(root, tmp_path):
    """Tables of a database: other ids, the project `brainwide`, and PASS for all datasets."""
    folder = tmp_path / 'alyx'
    folder.mkdir()
    of_a_database(root, folder)
    return folder


def edit(root, change):
    """Let the client save the tables, as `change` leaves the frames of sessions and datasets."""
    one = One(cache_dir=root, mode='local')
    one._cache['sessions'], one._cache['datasets'] = change(one._cache.sessions, one._cache.datasets)
    one.save_cache(clobber=True)


def judge(outcome, name='c.d'):
    """Set qc of the datasets of a name."""

    def change(sessions, datasets):
        others = ~datasets['rel_path'].str.startswith(name)
        return sessions, datasets.assign(qc=datasets['qc'].where(others, outcome))

    return change


def ids(folder):
    return {row['id'] for name in ('sessions', 'datasets') for row in read(folder, name)}


def qc_of(root, name='c.d'):
    return {row['qc'] for row in read(root, 'datasets') if row['rel_path'].startswith(name)}


@pytest.mark.long
@pytest.mark.parametrize('where', ['root', 'file', 'copy', 'saved', 'saved copy'])
def test_ids_out_of_names_can_be_kept_where_the_names_are_to_have_none(root, run, tmp_path, where):
    assert run(root, '--workers', 1, '--uuid-filenames', '--hash')[0] == 0
    before = ids(root)
    if 'saved' in where:
        edit(root, judge('FAIL'))
    tables = root / 'datasets.pqt' if where == 'file' else root
    if 'copy' in where:
        tables = tmp_path / 'copy'
        shutil.copytree(root, tables, ignore=shutil.ignore_patterns('lab'))
    words = ('--no-uuid-filenames', '--ids-from', tables)
    code, out, err = run(root, '--workers', 1, *words)
    assert (code, err, ids(root)) == (0, '', before)
    assert 'ids kept: 4 of 4 sessions, 8 of 8 datasets' in out
    assert 'digests: 0 computed, 8 reused' in out
    assert {row['rel_path'].count('.') for row in read(root, 'datasets')} == {3}
    assert (run(root, '--workers', 1)[0], ids(root)) == (0, before)
    assert qc_of(root) == {'FAIL' if 'saved' in where else 'NOT_SET'}


@pytest.mark.long
def test_what_other_tables_say_in_the_place_of_people_is_told(root, run, alyx):
    assert run(root, '--workers', 1)[0] == 0
    edit(root, judge('FAIL'))
    edit(root, lambda sessions, datasets: (sessions.assign(projects='ours', cost=1.0), datasets))
    (sessions, about) = parquet.load(alyx / 'sessions.pqt')
    parquet.save(alyx / 'sessions.pqt', sessions.assign(cost=2.0), about)
    before = {name: read(root, name) for name in ('sessions', 'datasets')}
    code, _, err = run(root, '--workers', 1, '--ids-from', alyx)
    assert (code, qc_of(root)) == (0, {'PASS'})
    assert err == (
        'fastindex: warning: the tables of --ids-from say other things than the index before: cost of 4, '
        'projects of 4, qc of 4; theirs count, and fastindex restore ROOT puts the others back\n'
    )
    for words in ([], ['--ids-from', alyx], ['--ids-from', root, '--ids-from', alyx]):
        assert run(root, '--workers', 1, *words)[::2] == (0, '')
    assert run('restore', root)[0] == 0
    assert {name: read(root, name) for name in before} == before


@pytest.mark.long
def test_no_file_is_read_again_as_its_session_has_a_number_of_one_digit(root, run, alyx):
    for session in SESSIONS:
        (root / session).rename(root / session.replace('001', '1'))
    assert run(root, '--workers', 1, '--hash')[0] == 0
    for words in (['--ids-from', alyx], [], ['--ids-from', alyx], ['--no-ids-from']):
        code, out, _ = run(root, '--workers', 1, *words)
        assert (code, 'digests: 0 computed, 8 reused' in out) == (0, True), words
    assert fastindex.open(root).recipe.ids_from is False


NEW = f'lab/Subjects/s9/2024-01-01/001/n.n.{UUID(int=99, version=4)}.npy'
WAYS = {
    'plain': [],
    'names': ['--uuid-filenames'],
    'digests and known revisions': ['--hash', '--default-revision', 'known'],
    'another namespace': ['--namespace', 'c1d61b47-7a9d-4b8e-9b8e-6f6a3f0a2d11'],
    'ids of others': ['--ids-from'],
}


def rows_of(root):
    return {name: {row['id']: row for row in read(root, name)} for name in ('sessions', 'datasets')}


GONE = [SESSIONS[0], 'lab/Subjects/s1', next(iter(TREE))]


@pytest.mark.long
@pytest.mark.parametrize(
    ('way', 'gone', 'is_saved'),
    [(way, gone, (i + j) % 2 == 0) for i, way in enumerate(WAYS) for j, gone in enumerate(GONE)],
)
def test_what_was_not_there_for_a_run_is_known_again_when_it_is_back(
    root, run, alyx, tmp_path, way, gone, is_saved
):
    words = [*WAYS[way], *([alyx] if 'ids' in way else [])]
    assert run(root, '--workers', 1, *words)[0] == 0
    edit(root, judge('FAIL', ''))
    edit(root, lambda sessions, datasets: (sessions.assign(projects='ours', cost=1.0), datasets))
    if not is_saved:  # the run after is the first one that finds what people have said
        assert run(root, '--workers', 1)[0] == 0
    before = rows_of(root)
    (root / gone).rename(tmp_path / 'elsewhere')
    code, _, err = run(root, '--workers', 1)
    assert (code, 'the index before knew what this one does not: ' in err) == (0, True)
    for more in ([], ['--check'], ['--new'], ['--quick']):  # which change no row, and so nothing that is kept
        assert run(root, '--workers', 1, *more)[0] in (0, 1)
    (tmp_path / 'elsewhere').rename(root / gone)
    grow(root, {NEW: b'new'})
    code, out, err = run(root, '--workers', 1)
    assert (code, err, 'known again, of what was not there at the last run: ' in out) == (0, '', True)
    after = rows_of(root)
    for name in before:
        for id, row in before[name].items():
            same = {key for key in row if key not in ('hash', 'xxh128') or row[key] is not None}
            assert {key: after[name][id][key] for key in same} == {key: row[key] for key in same}
    code, out, err = run(root, '--workers', 1)
    assert (code, err, 'known again' in out, rows_of(root)) == (0, '', False, after)


@pytest.mark.long
def test_what_people_took_back_is_not_known_again(root, run):
    assert run(root, '--workers', 1)[0] == 0
    edit(root, judge('FAIL'))
    grow(root, {NEW: b'new'})
    assert run(root, '--workers', 1)[0] == 0
    edit(root, judge('NOT_SET'))
    (root / NEW).unlink()
    for _ in range(2):
        assert run(root, '--workers', 1)[0] == 0
        assert qc_of(root) == {'NOT_SET'}
        grow(root, {NEW: b'new'})


@pytest.mark.long
def test_what_is_back_is_known_again_where_names_lose_their_ids_and_columns_have_other_types(root, run):
    assert run(root, '--workers', 1, '--uuid-filenames')[0] == 0
    edit(root, judge('FAIL', ''))
    edit(root, lambda sessions, datasets: (sessions.assign(cost=1.0), datasets))
    assert run(root, '--workers', 1)[0] == 0
    (root / SESSIONS[0]).rename(root.parent / 'elsewhere')
    assert run(root, '--workers', 1)[0] == 0
    (root.parent / 'elsewhere').rename(root / SESSIONS[0])
    edit(root, lambda sessions, datasets: (sessions.assign(cost='much'), datasets))
    assert run(root, '--workers', 1, '--no-uuid-filenames')[::2] == (0, '')
    assert qc_of(root, '') == {'FAIL'}
    assert {row['cost'] for row in read(root, 'sessions')} == {'much', None}


def test_tables_of_others_that_were_replaced_know_nothing_again(root, run, alyx):
    for name in ('sessions.pqt', 'datasets.pqt'):
        shutil.copy(alyx / name, root / name)
    (root / SESSIONS[0]).rename(root.parent / 'elsewhere')
    assert run(root, '--workers', 1, '--force')[0] == 0
    (root.parent / 'elsewhere').rename(root / SESSIONS[0])
    assert run(root, '--workers', 1)[::2] == (0, '')
    assert (qc_of(root), {row['projects'] for row in read(root, 'sessions')}) == ({'NOT_SET'}, {''})


@pytest.mark.long
@pytest.mark.parametrize('damaged', ['datasets.pqt', 'sessions.pqt'])
def test_a_great_loss_is_asked_about_beside_a_damaged_index(root, run, damaged):
    assert run(root, '--workers', 1)[0] == 0
    grow(root, {NEW: b'new', NEW.replace('lab', 'small', 1): b'new'})
    assert run(root, '--workers', 1)[0] == 0
    data = (root / damaged).read_bytes()[:-100]
    (root / damaged).write_bytes(data)
    for path in root.glob('lab/*/*'):
        shutil.rmtree(path)
    for more in ([], ['--check'], ['--hash']):
        code, _, err = run(root, '--workers', 1, *more)
        sessions = 5 if damaged == 'datasets.pqt' else 4  # of the one that it replaced
        assert (code, f'missing: lab, all of {sessions} sessions\n' in err) == (2, True), err
        assert (root / damaged).read_bytes() == data
    assert run(root, '--workers', 1, '--allow-removal')[0] == 0
    assert len(read(root, 'sessions')) == 1


@pytest.mark.long
def test_an_index_that_is_kept_is_not_read_where_the_next_one_has_all_its_rows(root, run, alyx, monkeypatch):
    assert run(root, '--workers', 1, '--ids-from', alyx)[0] == 0
    grow(root, {NEW: b'new'})
    assert run(root, '--workers', 1)[0] == 0
    plain = sources.KnownTables.__init__

    def look(self, path, **options):
        looked.append(path.name)
        plain(self, path, **options)

    monkeypatch.setattr(sources.KnownTables, '__init__', look)
    looked: list[str] = []
    assert run(root, '--workers', 1)[0] == 0
    assert looked == ['root']
    (root / NEW).unlink()
    for _ in range(2):
        assert run(root, '--workers', 1)[0] == 0
    assert looked == ['root', 'root', 'root', 'previous']

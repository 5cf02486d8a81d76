"""What an index knows comes along, whatever a lab types: ids, values, digests."""

from __future__ import annotations

import shutil
from uuid import UUID

import pytest
from iblutil.io import parquet
from one.api import One

import fastindex
from fastindex.trees import fingerprints
from tests.support.strangers import of_a_database
from tests.support.tables import read

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


def test_no_file_is_read_again_as_its_session_has_a_number_of_one_digit(root, run, alyx):
    for session in SESSIONS:
        (root / session).rename(root / session.replace('001', '1'))
    assert run(root, '--workers', 1, '--hash')[0] == 0
    for words in (['--ids-from', alyx], [], ['--ids-from', alyx], ['--no-ids-from']):
        code, out, _ = run(root, '--workers', 1, *words)
        assert (code, 'digests: 0 computed, 8 reused' in out) == (0, True), words
    assert fastindex.open(root).recipe.ids_from is False

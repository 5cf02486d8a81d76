"""Outcomes of quality control in a file: what is in it is in the index, and stays there."""

from __future__ import annotations

import pytest
from one.api import One

import fastindex
from fastindex import UsageError
from tests.support.tables import read

PATHS = ('lab/Subjects/s1/2024-01-01/001', 's2/2024-01-02/001', 's2/2024-01-02/002')
NAMES = ('alf/a.b.npy', 'c.d.npy')


@pytest.fixture
def root(make_tree):
    return make_tree({f'{path}/{name}': b'x' for path in PATHS for name in NAMES})


def outcomes(root):
    """All outcomes but NOT_SET, by eid and rel_path."""
    rows = read(root, 'datasets')
    return {(row['eid'], row['rel_path']): row['qc'] for row in rows if row['qc'] != 'NOT_SET'}


@pytest.mark.long
@pytest.mark.filterwarnings('ignore:The copy keyword is deprecated:DeprecationWarning:one.api')
def test_sessions_and_datasets_are_named_by_path_or_by_id_and_reruns_keep_the_outcome(root, tmp_path, run):
    eids = [fastindex.eid(path) for path in PATHS]
    ids = [str(fastindex.dataset_id(eids[1], name)) for name in NAMES]
    (tmp_path / 'qc.csv').write_text(
        'session,dataset,qc\n'
        f'{PATHS[0]},alf/a.b.npy,FAIL\n'
        f'/{PATHS[0]}/,alf/a.b.npy,Critical\n'
        f'{eids[0]},"c.d.npy", pass\n'
        f'{PATHS[1]},{ids[0]},WARNING\n'
        f'{eids[1]},{ids[1]},PASS\n'
        's9/2024-01-01/001,a.b.npy,PASS\n'
    )
    expected = {
        (str(eids[0]), NAMES[0]): 'CRITICAL',
        (str(eids[0]), NAMES[1]): 'PASS',
        (str(eids[1]), NAMES[0]): 'WARNING',
        (str(eids[1]), NAMES[1]): 'PASS',
    }
    code, _, err = run(root, '--qc', tmp_path / 'qc.csv')
    assert (code, outcomes(root)) == (0, expected)
    assert 'qc.csv: 2 lines of no dataset of this tree, or of one that a later line is of too' in err
    assert 'the first is line 2' in err
    for words in ([], ['--hash'], ['--workers', 2]):
        assert run(root, *words)[0::2] == (0, '')
        assert outcomes(root) == expected
    one = One(cache_dir=root, mode='local')
    assert one._cache.datasets['qc'].value_counts()['CRITICAL'] == 1
    (tmp_path / 'qc.csv').write_text(f'{PATHS[0]},alf/a.b.npy,NOT_SET\n')
    assert run(root, '--qc', tmp_path / 'qc.csv')[0] == 0
    assert outcomes(root) == {key: value for key, value in expected.items() if value != 'CRITICAL'}


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
def test_the_file_may_be_text_as_windows_saves_it(root, tmp_path, run, encoding):
    line = f'session,dataset,outcome\r\n{PATHS[0]},c.d.npy,PASS\r\n'
    (tmp_path / 'qc.csv').write_bytes(line.encode(encoding))
    assert run(root, '--qc', tmp_path / 'qc.csv')[0::2] == (0, '')
    assert list(outcomes(root).values()) == ['PASS']


@pytest.mark.long
def test_what_is_known_of_files_that_are_gone_or_renamed_goes_with_a_word(root, tmp_path, run):
    (tmp_path / 'qc.csv').write_text(f'{PATHS[0]},c.d.npy,FAIL\n{PATHS[2]},c.d.npy,FAIL\n')
    assert run(root, '--qc', tmp_path / 'qc.csv')[0::2] == (0, '')
    (root / PATHS[1] / 'c.d.npy').unlink()  # of which nothing is known
    (root / PATHS[0] / 'c.d.npy').rename(root / PATHS[0] / 'e.f.npy')
    for words, says in (
        (['--check'], 1),
        (['--only', 's2'], 0),
        (['--new'], 0),
        (['--only', 'lab'], 1),
        ([], 0),
    ):
        err = run(root, *words)[2]
        assert err.count('the index before knew what this one does not: qc of 1; ') == says
        assert err.count('\n') == says


@pytest.mark.parametrize(
    ('content', 'what'),
    [
        (b'a,b\n', 'expected lines of session, dataset, outcome'),
        (b'a,b,PASS\nc,d,good\n', "line 2: the outcome is 'good': expected one of NOT_SET, PASS"),
        (b'a/2024-01-01/001,d,30\n', "line 1: the outcome is '30': expected one of NOT_SET, PASS"),
        (b'6cdb7b06-3fd2-4e1c-9d6e-2e4a8a4f1c11,d,FIAL\n', "line 1: the outcome is 'FIAL'"),
        (b'', 'expected lines of'),
        (b'a,\xff,PASS\n', 'expected lines of'),
    ],
)
def test_a_file_that_is_none_of_outcomes_is_refused_before_anything_is_scanned(
    root, build, tmp_path, monkeypatch, content, what
):
    (tmp_path / 'qc.csv').write_bytes(content)
    monkeypatch.setattr('fastindex.jobs.build.build.discover', None)
    with pytest.raises(UsageError, match=what):
        build(root, qc=tmp_path / 'qc.csv')
    with pytest.raises(UsageError, match='cannot be read'):
        build(root, qc=tmp_path / 'nowhere.csv')
    with pytest.raises(UsageError, match='expected neither'):
        build(root, qc=tmp_path / 'qc.csv', only=['s2'])
    assert not (root / 'sessions.pqt').exists()

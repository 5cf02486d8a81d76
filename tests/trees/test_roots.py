"""The root: a wrong one is refused or warned of, and the right one is named."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

import fastindex
from fastindex import EmptyTreeError, RootError
from fastindex.trees.roots import judge_root
from tests.support.tables import read_paths
from tests.support.trees import SESSION, grow

SPIKES = f'{SESSION}/alf/spikes.times.npy'


@pytest.mark.parametrize(
    ('below', 'says'),
    [
        ('lab', 'folder of one lab'),
        ('lab/Subjects/s1', 'folder of one subject'),
        ('lab/Subjects/s1/2024-01-01', 'date folder'),
        (SESSION, 'inside a session folder'),
        ('..', 'sessions lie deeper: index .*/root'),
    ],
)
def test_a_wrong_root_is_refused_and_the_right_one_named(make_tree, build, below, says):
    root = make_tree({SPIKES: b''})
    with pytest.raises(EmptyTreeError, match=says):
        build(root / below)


def test_a_subjects_folder_as_root_is_indexed_with_a_warning(make_tree, build):
    root = make_tree({SPIKES: b''})
    summary = build(root / 'lab/Subjects')
    assert read_paths(root / 'lab/Subjects') == {'s1/2024-01-01/001/alf/spikes.times.npy'}
    assert str(root) in summary.warnings[0]


def test_a_root_inside_a_session_is_parsed_from_the_root_down_with_a_warning(make_tree, build):
    inner = f'{SESSION}/export'
    root = make_tree({f'{inner}/s9/2020-01-01/001/spikes.times.npy': b''})
    summary = build(root / inner)
    assert read_paths(root / inner) == {'s9/2020-01-01/001/spikes.times.npy'}
    assert 'inside a session folder' in summary.warnings[0]


def test_a_root_inside_a_session_is_known_where_paths_have_backslashes(monkeypatch):
    monkeypatch.setattr('os.sep', '\\')
    found = judge_root(SimpleNamespace(root=r'C:\data\s1\2024-01-01\001\export'))
    assert (found.right, 's1/2024-01-01/001' in found.message) == (r'C:\data', True)


@pytest.mark.parametrize('root', ['missing', 'file'])
def test_a_root_that_is_no_folder_is_an_error(tmp_path: Path, build, root):
    (tmp_path / 'file').write_text('')
    with pytest.raises(RootError, match=root):
        build(tmp_path / root)


def test_labs_without_subjects_are_named_and_no_lab_is_advised_as_the_root(make_tree, build):
    labs = {f'{lab}/s{i}/2024-01-0{i}/001/a.b.npy': b'' for lab in ('UCL', 'NYU') for i in (1, 2)}
    root = make_tree({**labs, 'docs/old/': None})
    with pytest.raises(
        EmptyTreeError, match='Subjects is missing in NYU, UCL: put a folder Subjects'
    ) as error:
        build(root)
    assert 'index ' not in str(error.value).partition('no session found')[2].partition('The index')[0]
    grow(root, {SPIKES: b''})
    (warning,) = build(root).warnings
    assert warning.startswith('Subjects is missing in NYU, UCL: what is below is not in the index')
    assert {(one.code, one.path) for one in fastindex.validate(root) if one.severity == 'error'} == {
        ('ALF105', f'{lab}/s{i}') for lab in ('UCL', 'NYU') for i in (1, 2)
    }


def test_what_looks_like_a_session_and_is_none_is_a_warning_of_its_own(make_tree, build, run):
    names = (
        '2024-5-7/001',
        '2024-01-01/1',
        '2024-01-01/0002',
        '2024-02-30/001',
        'notes/001',
        '2024-01-01/002',
    )
    root = make_tree({f's1/{name}/a.b.npy': b'' for name in names})
    grow(root, {'s2/20240507/001/a.b.npy': b'', 'aggregates/Subjects/lab/2024-5-7/': None})
    (warning,) = build(root).warnings
    assert warning == (
        '4 folders look like misnamed sessions and are left out: s1/2024-01-01/0002, s1/2024-02-30, '
        's1/2024-5-7, …; 1 folder is indexed, but not found by the client: s1/2024-01-01/1. '
        f'See python -m fastindex validate {root}'
    )
    assert 'warning: 4 folders look like misnamed sessions' in run(root, '--workers', 2)[2]

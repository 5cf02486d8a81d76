"""The root: a wrong one is refused or warned of, and the right one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastindex import EmptyTreeError, RootError
from tests.support.tables import read_paths
from tests.support.trees import SESSION

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


@pytest.mark.parametrize('root', ['missing', 'file'])
def test_a_root_that_is_no_folder_is_an_error(tmp_path: Path, build, root):
    (tmp_path / 'file').write_text('')
    with pytest.raises(RootError, match=root):
        build(tmp_path / root)

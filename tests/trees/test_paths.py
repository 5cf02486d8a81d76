"""A tree by path, as Windows has it, does here what every tree does."""

from __future__ import annotations

import pytest

from fastindex.names.alf import SkipReason
from fastindex.trees import Tree, kernel
from fastindex.trees.paths import PathTree
from tests.support.trees import SESSION, Link, grow
from tests.trees.contract import Make, TreeContract


class TestPathTree(TreeContract):
    @pytest.fixture
    def make(self, make_tree) -> Make:
        def make(files: dict[str, bytes]) -> Tree:
            return PathTree.open(str(make_tree(files)))

        return make


LINKED = {
    f'{SESSION}/alf/a.b.npy': b'1',
    f'{SESSION}/alf/linked.b.npy': Link('a.b.npy'),
    f'{SESSION}/alf/gone.b.npy': Link('nowhere'),
    f'{SESSION}/up': Link('..'),
    f'{SESSION}/here': Link('.'),
    f'{SESSION}/other': Link('../../../s2/2024-01-01/001/alf'),
    f'{SESSION}/raw.npy/x.y.npy': b'in a folder that has the name of a file',
    'lab/Subjects/s2/2024-01-01/001/alf/c.d.npy': b'22',
    'lab/Subjects/s3': Link('s2'),
    f'{SESSION}/{"/".join("d" * 200 for _ in range(12))}/e.f.npy': b'deep',
}


@pytest.mark.parametrize('follow', [True, False])
def test_the_same_becomes_of_links_loops_and_long_paths_as_by_descriptor(
    make_tree, build, monkeypatch, follow
):
    root = make_tree(LINKED)
    found = []
    for by_folder in (True, False):
        monkeypatch.setattr('fastindex.trees.OPENS_BY_FOLDER', by_folder)
        monkeypatch.setattr('fastindex.trees.fingerprints.SETTLED_NS', 0)
        one = build(root, follow_symlinks=follow, hash=['xxh128'])
        found.append((one.generation, one.datasets, one.skipped, one.problems))
    assert found[0] == found[1]
    assert found[0][1] > 2


def test_a_junction_is_a_link(tmp_path, build, monkeypatch):
    """Windows lists it as a folder, with a state that says what it is: here that is played."""
    root = grow(tmp_path / 'root', {f'{SESSION}/alf/a.b.npy': b'', f'{SESSION}/junction/c.d.npy': b''})
    inode = (root / SESSION / 'junction').stat().st_ino
    monkeypatch.setattr('fastindex.trees.OPENS_BY_FOLDER', False)
    monkeypatch.setattr(kernel, 'LISTS_JUNCTIONS', True)
    monkeypatch.setattr(kernel, 'is_link', lambda info: info.st_ino == inode)
    assert build(root).datasets == 2
    summary = build(root, follow_symlinks=False)
    assert (summary.datasets, summary.skipped[SkipReason.LINK]) == (1, 1)

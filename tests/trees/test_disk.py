"""A tree on a disk does what every tree does."""

from __future__ import annotations

import pickle

import pytest

from fastindex.trees import Tree, open_tree
from fastindex.trees.disk import LocalTree
from tests.trees.contract import Make, TreeContract


@pytest.mark.usefixtures('twin')
class TestLocalTree(TreeContract):
    @pytest.fixture
    def make(self, make_tree) -> Make:
        def make(files: dict[str, bytes]) -> Tree:
            return open_tree(make_tree(files))

        return make


class OtherTree(LocalTree):
    """A kind of its own."""

    __slots__ = ()


def test_a_tree_is_of_its_kind_in_another_process_too():
    tree = OtherTree('/caf\udce9', False, 'run')
    found = pickle.loads(pickle.dumps(tree))
    assert (type(found), found) == (OtherTree, tree)

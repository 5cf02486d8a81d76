"""A tree by path, as Windows has it, does here what every tree does."""

from __future__ import annotations

import pytest

from fastindex.trees import Tree
from fastindex.trees.paths import PathTree
from tests.trees.contract import Make, TreeContract


class TestPathTree(TreeContract):
    @pytest.fixture
    def make(self, make_tree) -> Make:
        def make(files: dict[str, bytes]) -> Tree:
            return PathTree.open(str(make_tree(files)))

        return make

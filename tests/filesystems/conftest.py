"""The end of the run says which disks were tried, and which could not be mounted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

_said: list[str] = []


@pytest.fixture
def say() -> Callable[[str], None]:
    """Say what came of a disk; call it last."""
    return _said.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _said:
        terminalreporter.section('disks')
        for line in _said:
            terminalreporter.write_line(line)

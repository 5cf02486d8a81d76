"""Each promise has a figure: fault tests say what they counted, and the end of the run prints it.

A plugin of pytest, as the process that prints need not be one that has run the tests.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable

import pytest

PROMISES = {
    'P1': 'atomic',
    'P2': 'durable',
    'P3': 'paired',
    'P4': 'complete or named',
    'P5': 'no hang',
    'P6': 'bounded memory',
    'P7': 'deterministic',
    'P8': 'read-only',
    'P9': 'confined',
    'P10': 'survives workers',
    'P11': 'any name',
    'P12': 'any size and date',
    'P13': 'rerun = rebuild',
    'P14': 'verify is exact',
    'P15': 'damage is noticed',
    'P16': 'hostile input',
    'P17': 'one writer',
    'P18': 'clean stop',
    'P19': 'what is known is carried on',
    'P20': 'a great loss is asked about',
    'P21': 'digests survive',
    'P22': 'nothing of the index is open at a rename',
}
NOT_BUILT_YET: dict[str, str] = {}

_figures: dict[str, list[str]] = defaultdict(list)
_disks: list[str] = []


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Say what was counted for a promise; call it last, when all has held."""

    def figure(promise: str, text: str) -> None:
        assert promise in PROMISES
        request.node.user_properties.append(('figure', (promise, text)))

    return figure


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Say what came of a disk, or that it could not be tried; call it last."""
    return lambda text: request.node.user_properties.append(('disk', ('', text)))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Take the figures of a test that has passed, in whichever process it ran."""
    if report.when == 'call' and report.passed:
        for name, value in report.user_properties:
            if name in ('figure', 'disk'):
                promise, text = value  # type: ignore[misc]
                (_figures[promise] if promise else _disks).append(text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a line a promise, and one a disk."""
    if _disks:
        terminalreporter.section('disks')
        for text in _disks:
            terminalreporter.write_line(text)
    if not (_figures or _must_have_all()):
        return
    terminalreporter.section('promises')
    for promise, name in PROMISES.items():
        figures = _figures.get(promise) or [NOT_BUILT_YET.get(promise, 'NO FIGURE')]
        if promise in _figures or _must_have_all():
            terminalreporter.write_line(f'{promise} {name}: {"; ".join(figures)}')


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run where a promise has no figure: its proof failed, or was not run."""
    if hasattr(session.config, 'workerinput'):  # one of several processes: the first of them judges
        return
    missing = set(PROMISES) - set(_figures) - set(NOT_BUILT_YET)
    if _must_have_all() and missing and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _must_have_all() -> bool:
    return bool(os.environ.get('FASTINDEX_ALL_PROMISES'))

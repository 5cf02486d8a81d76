"""Fixtures of all tests, and what holds while each of them runs."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from tqdm import tqdm

import fastindex
from fastindex import Summary, cli, twins
from fastindex.names import ids
from fastindex.trees import kernel
from tests.support.cases import cases
from tests.support.trees import Entry, Tree, grow

pytest_plugins = ['tests.support.promises']

tqdm.monitor_interval = 0  # else the first bar of the client's builder leaves a thread

# Who starts the tests in the background has SIGINT ignored, which all that they start would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile(
    'fastindex',
    max_examples=cases(100),  # of tests that name no number
    deadline=None,  # how long one case takes depends on the machine, and so does the health check
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile('fastindex')


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Where nothing may skip (CI), a skipped test has failed."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    is_skip = report.skipped and not hasattr(report, 'wasxfail')
    if is_skip and os.environ.get('FASTINDEX_NO_SKIP'):
        report.outcome = 'failed'
        report.longrepr = f'skipped, where no test may skip: {report.longrepr}'


@pytest.fixture(autouse=True)
def _fork_beside_idle_threads() -> Iterator[None]:
    """Let workers be forked, as those of the program are.

    The threads of polars, pyarrow, OpenBLAS and pytest-xdist in this process would have each worker be a new
    interpreter: half a second each, a third of the time of all tests. They are idle while a test starts
    workers. A test that wants new interpreters starts a thread of its own; one that wants workers at all says
    how many.
    """
    before = threading.active_count()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('fastindex.workers.child.may_fork', lambda: threading.active_count() <= before)
        patch.setattr('fastindex.workers.pool.default_workers', lambda: 1)
        yield


@pytest.fixture(scope='session', autouse=True)
def _sync_nothing() -> Iterator[None]:
    """No test cuts the power: that a disk has all is waited for by processes alone that a test starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, 'fsync', os.fstat)  # which refuses what is no file, too
        yield


@pytest.fixture
def fixed_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables that are built twice are the same to the byte."""
    monkeypatch.setenv('SOURCE_DATE_EPOCH', '1700000000')


@pytest.fixture(params=twins.TWINS)
def twin(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> kernel.Twin:
    """Run a test with each twin of the kernel, in workers and commands too."""
    if request.param == 'compiled' and not twins.HAS_COMPILED:
        pytest.skip('the kernel is not compiled: python hatch_build.py')
    twin = kernel.TWINS[request.param]
    for module in (kernel, ids):
        for name, value in module.TWINS[request.param]._asdict().items():
            monkeypatch.setattr(module, name, value)
    monkeypatch.setenv(twins.KERNEL_VARIABLE, request.param)
    return twin


@pytest.fixture
def relist(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[list[Entry]], list[Entry]]], None]:
    """Have all folders listed in another way: call it with what makes new entries of those of a block."""
    plain = kernel.list_folder

    def relist(change: Callable[[list[Entry]], list[Entry]]) -> None:
        def list_folder(fd: int) -> Iterator[tuple[list[str], bytes]]:
            for names, kinds in plain(fd):
                entries = change(list(zip(names, kinds, strict=True)))
                yield [name for name, _ in entries], bytes(kind for _, kind in entries)

        monkeypatch.setattr(kernel, 'list_folder', list_folder)

    return relist


@pytest.fixture
def make_tree(tmp_path: Path) -> Iterator[Callable[[Tree], Path]]:
    """Make a tree of a dict; give its root."""
    yield lambda tree: grow(tmp_path / 'root', tree)
    for folder, names, _ in os.walk(tmp_path):  # what a test locked
        for name in names:
            if not os.path.islink(os.path.join(folder, name)):
                os.chmod(os.path.join(folder, name), 0o755)


@pytest.fixture(scope='session')
def example_tree(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """An example of 60 sessions and its summary, to be read only."""
    from fastindex.jobs.example.example import write_example

    root = tmp_path_factory.mktemp('example') / 'tree'
    return root, write_example(root, sessions=60, workers=1)


@pytest.fixture
def build() -> Callable[..., Summary]:
    """`fastindex.build` in this process, unless told otherwise."""

    def build(root: Path, **options: Any) -> Summary:
        return fastindex.build(root, **{'workers': 1, **options})

    return build


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user may write to, as a user who may not read everything (root may)."""
    import pyarrow.compute  # noqa: F401 - what is loaded at first use, this user may not be able to read

    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        user = os.geteuid()
        os.seteuid(user or 65534)
        yield Path(folder)
        os.seteuid(user)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line here: exit code, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as error:  # --help, --version
            code = int(error.code or 0)
        return code, *capsys.readouterr()

    return run

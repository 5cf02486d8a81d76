"""Trees as dicts, and builds of them."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, settings
from tqdm import tqdm

import fastindex
from fastindex import Summary, cli

SESSION = 'lab/Subjects/s1/2024-01-01/001'

tqdm.monitor_interval = 0  # else the first bar of the client's builder leaves a thread


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True)
class Mode:
    """A folder of this mode."""

    mode: int


@dataclass(frozen=True)
class Sparse:
    """A file of this many bytes that takes no space."""

    size_bytes: int


class Fifo:
    """A named pipe."""


class Socket:
    """A socket in the file system."""


Tree = Mapping[str | bytes, Any]


def cases(count: int) -> int:
    """Cut the number of random cases of a test to a quarter where somebody waits for it; CI tries all."""
    return count if os.environ.get('FASTINDEX_ALL_CASES') else count // 4


settings.register_profile(
    'fastindex',
    max_examples=cases(100),  # of tests that name no number
    deadline=None,  # how long one case takes depends on the machine, and so does the health check
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile('fastindex')


def to_id(value: object) -> str:
    """Name a case of a test the same in each process: the order of a set is not."""
    return str(sorted(value) if isinstance(value, set) else value)


def grow(root: Path, tree: Tree) -> Path:
    """Make the files and folders of a dict: a name that ends in / is a folder."""
    for name, content in tree.items():
        path = os.path.join(os.fsencode(root), os.fsencode(name))
        is_folder = path.endswith(b'/')
        os.makedirs(path if is_folder else os.path.dirname(path), exist_ok=True)
        if isinstance(content, Link):
            os.symlink(content.target, path)
        elif isinstance(content, Fifo):
            os.mkfifo(path)
        elif isinstance(content, Socket):
            with socket.socket(socket.AF_UNIX) as server:
                folder = os.open(os.path.dirname(path), os.O_PATH)  # an address may have 107 bytes
                server.bind(b'/proc/self/fd/%d/%s' % (folder, os.path.basename(path)))
                os.close(folder)
        elif isinstance(content, Mode):
            os.chmod(path, content.mode)
        elif isinstance(content, Sparse):
            with open(path, 'wb') as file:
                file.truncate(content.size_bytes)
        elif not is_folder:
            with open(path, 'wb') as file:
                file.write(content)
    return root


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
def _keep_signals() -> Iterator[None]:
    """Take back what the command line does with signals: after the first it ignores all others."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)


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
        patch.setattr('fastindex.workers.processes.may_fork', lambda: threading.active_count() <= before)
        patch.setattr('fastindex.workers.pool.default_workers', lambda: 1)
        yield


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


def stop_between_the_renames(work: Callable[[], object]) -> None:
    """Do what publishes an index, and leave what a run leaves that ends between its two renames."""
    replace = Path.replace

    def stop(self: Path, target: Path) -> Path:
        if self.name == 'sessions.pqt':
            raise KeyboardInterrupt
        return replace(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, 'replace', stop)
        with pytest.raises(KeyboardInterrupt):
            work()


def read(folder: Path, table: str) -> list[dict[str, Any]]:
    """The rows of a published table."""
    return pq.read_table(folder / f'{table}.pqt').to_pylist()


def read_paths(folder: Path) -> set[str]:
    """session_path/rel_path of each dataset in an index, with the lab level where there is one."""
    sessions = {
        row['id']: '/'.join(
            [*([row['lab'], 'Subjects'] if row['lab'] else []), row['subject'], str(row['date'])]
            + [f'{row["number"]:03}']
        )
        for row in read(folder, 'sessions')
    }
    return {f'{sessions[row["eid"]]}/{row["rel_path"]}' for row in read(folder, 'datasets')}


def tables_digest(folder: Path) -> str:
    """One digest of the bytes of both tables in a folder."""
    return hashlib.sha256(
        b''.join((folder / f'{name}.pqt').read_bytes() for name in ('sessions', 'datasets'))
    ).hexdigest()


def digest_of(root: Path) -> str:
    """One digest of all folders, file names and bytes below `root`."""
    total = hashlib.sha256()
    for path in sorted(Path(root).rglob('*')):
        content = path.read_bytes() if path.is_file() else b''
        total.update(f'{path.relative_to(root)} {path.is_dir()} {len(content)}\n'.encode() + content)
    return total.hexdigest()

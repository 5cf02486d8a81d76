"""P8, P9: whatever file or folder a command touches, it may be exchanged with a link meanwhile."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fastindex
import fastindex.tables.target
from tests.faults.exchange import exchange
from tests.support.tables import stopping
from tests.support.trees import SESSION, Link, grow

pytestmark = pytest.mark.fault

DESCRIPTION = f'{SESSION}/_ibl_experiment.description.yaml'
SETTINGS = f'{SESSION}/raw_behavior_data/_iblrig_taskSettings.raw.json'
AGGREGATE = 'aggregates/Subjects/all.trials.pqt'
MISNAMED = 'lab/Subjects/s2/2024-01-01/1'
TREE = {
    **dict.fromkeys(['README.txt', 'LICENSE', AGGREGATE, f'{SESSION}/a.b.npy', f'{MISNAMED}/a.b.npy'], b'x'),
    '.fastindexignore': b'no-such-name\n',
    DESCRIPTION: b'projects: [x]',
    SETTINGS: b'{}',
    f'{SESSION}/caf\udce9.b.npy': b'a problem',
}
PROBLEMS = '.fastindex/problems.jsonl'
PREVIOUS = [
    '.fastindex/previous',
    '.fastindex/previous/datasets.pqt',
    '.fastindex/previous/fingerprints.parquet',
]
PATHS = [
    '.fastindex',
    '.fastindex/stage',
    *(f'.fastindex/stage/{name}' for name in ('datasets.pqt', 'sessions.pqt', 'ready', 'problems.jsonl')),
    *('.fastindex/lock', '.fastindex/fingerprints.parquet', PROBLEMS, '.fastindex/digests.journal'),
    *('.fastindex/previous', 'datasets.pqt', 'sessions.pqt'),
    *('.fastindexignore', 'README.txt', 'LICENSE', 'lab', f'{SESSION}/a.b.npy'),
]
"""Everything in a root that a command opens, makes, renames or removes."""

CALLS = (
    'open',
    'mkdir',
    'rename',
    'replace',
    'unlink',
    'rmdir',
    'stat',
    'lstat',
    'readlink',
    'listdir',
    'scandir',
)


class Exchanger:
    """Exchanges a path with a link to something outside before the n-th call that concerns its name."""

    def __init__(self, path: Path, outside: Path, at: int) -> None:
        self.path, self.outside, self.at = path, outside, at
        self.calls = 0

    def step(self, arguments: tuple[Any, ...]) -> None:
        names = [Path(os.fsdecode(word)).parts for word in arguments if isinstance(word, str | bytes | Path)]
        if not any(self.path.name in parts for parts in names):
            return
        self.calls += 1
        if self.calls == self.at:
            link = self.outside / 'link'
            with suppress(FileNotFoundError):  # at this moment it is not there
                os.symlink(self.outside / ('folder' if self.path.is_dir() else 'file'), link)
                exchange(self.path, link)

    @contextmanager
    def watching(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for module, name in [*((os, name) for name in CALLS), (io, 'open')]:
                patch.setattr(module, name, self.stepping(getattr(module, name)))
            yield

    def stepping(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.step(arguments)
            return real(*arguments, **options)

        return call


def build(root: Path, out: Path) -> None:
    fastindex.build(root, workers=1)


def build_quick(root: Path, out: Path) -> None:
    fastindex.build(root, workers=1, quick=True)


def build_part(root: Path, out: Path) -> None:
    fastindex.build(root, workers=1, only=[SESSION])


def report(root: Path, out: Path) -> None:
    fastindex.report(root, out / 'x.html', workers=1)


def restore(root: Path, out: Path) -> None:
    fastindex.restore(root)


def fix(root: Path, out: Path) -> None:
    fastindex.plan_fixes(fastindex.validate(root, workers=1, follow_symlinks=False)).apply()


def finish(root: Path, out: Path) -> None:
    """Put in place what a run has left that was stopped."""
    fastindex.tables.target.recover(root)


def sweep(root: Path, out: Path) -> None:
    """Remove what a run has left that was stopped before its pair was complete."""
    fastindex.tables.target.recover(root)


def release(root: Path, out: Path) -> None:
    fastindex.release(root, out / 'x.tar.zst', workers=1, follow_symlinks=False, force=True)


def verify(root: Path, out: Path) -> None:
    list(fastindex.verify(root, workers=1, hash=True, follow_symlinks=False))


def validate(root: Path, out: Path) -> None:
    list(fastindex.validate(root, workers=1, follow_symlinks=False, deep=True))


def prepare(template: Path, is_stopped: bool) -> None:
    grow(template, TREE)
    fastindex.build(template, workers=1, follow_symlinks=False, session_info=True, quick=True)
    about = {'one_metadata': '{"date_created": "2024-01-01 00:00"}'}
    beside = pa.table({'eid': [str(fastindex.eid(SESSION))]}).replace_schema_metadata(about)
    pq.write_table(beside, template / 'insertions.pqt')
    outcomes = template.with_name('qc.csv')  # which the next runs carry on
    outcomes.write_text(f'session,rel_path,outcome\n{SESSION},a.b.npy,FAIL\n')
    fastindex.build(template, workers=1, hash=['xxh128'], qc=outcomes)
    if is_stopped:
        grow(template, {f'{SESSION}/e.f.npy': b'z', f'{SESSION}/g.h.npy': Link('nowhere')})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, 'replace', stopping(os.replace, 'datasets.pqt', KeyboardInterrupt()))
            with pytest.raises(KeyboardInterrupt):
                fastindex.build(template, workers=1, hash=['xxh128'])
    grow(template, {f'{SESSION}/c.d.npy': b'y'})


COMMANDS: dict[Callable[[Path, Path], None], list[str]] = {
    **dict.fromkeys([finish, sweep, verify, validate], PATHS),
    build: [*PATHS, DESCRIPTION, SETTINGS, f'{SESSION}/raw_behavior_data'],
    release: ['.fastindex', *PATHS[-6:], 'insertions.pqt', 'aggregates', AGGREGATE],
    build_quick: ['.fastindex/folders.parquet', PROBLEMS, MISNAMED],
    build_part: [PROBLEMS, 'datasets.pqt'],
    restore: ['.fastindex', *PREVIOUS],
    fix: ['.fastindex', 'lab', MISNAMED],
    report: [PROBLEMS],
}
"""What opens, makes, renames or removes them: those that are as others do it, are tried once."""


@pytest.mark.parametrize('command', COMMANDS)
def test_nothing_outside_is_changed_or_read_whatever_becomes_a_link_at_whatever_moment(
    tmp_path, figure, command
):
    template, secret = tmp_path / 'template', b'an outside secret'
    prepare(template, is_stopped=command in (finish, sweep))
    if command is sweep:
        (template / '.fastindex/stage/ready').unlink()
    (tmp_path / 'undisturbed').mkdir()
    root = shutil.copytree(template, tmp_path / 'undisturbed/root', symlinks=True)
    command(root, root.parent)  # as nobody learns from a command that refuses all
    runs = 0
    for path in COMMANDS[command]:
        if command is verify and path in ('datasets.pqt', 'sessions.pqt'):
            continue  # who reads an index may have it elsewhere
        for at in count(1):
            case = tmp_path / f'{runs}'
            root = Path(shutil.copytree(template, case / 'root', symlinks=True))
            outside = grow(case / 'outside', {'file': secret, 'folder/precious': secret})
            files = [outside / 'file', outside / 'folder/precious']
            for file in files:
                os.utime(file, (0, 10**9))  # older than it was written: any read shows
            exchanger = Exchanger(root / path, outside, at)
            with exchanger.watching(), suppress(fastindex.FastindexError):
                command(root, case)
            runs += 1
            assert [file.stat().st_atime for file in files] == [0, 0], (path, at)
            assert [file.read_bytes() for file in files] == [secret, secret], (path, at)
            assert os.listdir(outside / 'folder') == ['precious'], (path, at)
            shutil.rmtree(case)
            if exchanger.calls < at:
                break
    figure('P8', f'{command.__name__}: nothing outside changed or read, {runs} moments')

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

import pytest

import fastindex
import fastindex.tables.target
from tests.faults.exchange import exchange
from tests.support.tables import stopping
from tests.support.trees import SESSION, Link, grow

pytestmark = pytest.mark.fault

INFO = {
    f'{SESSION}/_ibl_experiment.description.yaml': b'projects: [one]',
    f'{SESSION}/raw_behavior_data/_iblrig_taskSettings.raw.json': b'{}',
}
TREE = {'README.txt': b'about', 'LICENSE': b'CC0', f'{SESSION}/a.b.npy': b'x', **INFO}
PATHS = [
    '.fastindex',
    '.fastindex/stage',
    *(f'.fastindex/stage/{name}' for name in ('datasets.pqt', 'sessions.pqt', 'ready', 'problems.jsonl')),
    *(f'.fastindex/{name}' for name in ('lock', 'fingerprints.parquet', 'problems.jsonl')),
    *('.fastindex/previous', '.fastindex/digests.journal'),
    'datasets.pqt',
    'sessions.pqt',
    'README.txt',
    'LICENSE',
    'lab',
    f'{SESSION}/a.b.npy',
    *INFO,
    f'{SESSION}/raw_behavior_data',
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
    fastindex.build(root, workers=1, hash=['xxh128'], follow_symlinks=False, session_info=True)


def finish(root: Path, out: Path) -> None:
    """Put in place what a run has left that was stopped."""
    fastindex.tables.target.recover(root)


def sweep(root: Path, out: Path) -> None:
    """Remove what a run has left that was stopped before its pair was complete."""
    fastindex.tables.target.recover(root)


def release(root: Path, out: Path) -> None:
    fastindex.release(root, out / 'x.tar.zst', workers=1, follow_symlinks=False)


def verify(root: Path, out: Path) -> None:
    list(fastindex.verify(root, workers=1, hash=True, follow_symlinks=False))


def validate(root: Path, out: Path) -> None:
    list(fastindex.validate(root, workers=1, follow_symlinks=False, deep=True))


def prepare(template: Path, is_stopped: bool) -> None:
    grow(template, TREE)
    fastindex.build(template, workers=1)
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


@pytest.mark.parametrize('command', [build, finish, sweep, release, verify, validate])
def test_nothing_outside_is_changed_or_read_whatever_becomes_a_link_at_whatever_moment(
    tmp_path, figure, command
):
    template, secret = tmp_path / 'template', b'an outside secret'
    prepare(template, is_stopped=command in (finish, sweep))
    if command is sweep:
        (template / '.fastindex/stage/ready').unlink()
    runs = 0
    for path in PATHS:
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

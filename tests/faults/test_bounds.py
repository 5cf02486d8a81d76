"""P6 bounded memory, P7 deterministic, P13 rerun = rebuild."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from mmap import mmap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

import fastindex
from fastindex.jobs.build.build import build_index
from fastindex.jobs.build.options import Options
from fastindex.names.problems import Tally
from fastindex.tables.recipe import Recipe
from fastindex.trees import Folder, fingerprints
from fastindex.trees import digests as digesting
from fastindex.trees.disk import LocalTree
from tests.support.injectors import digests, environment, scaled
from tests.support.strategies import awkward_trees
from tests.support.trees import grow, grow_what_fits

pytestmark = pytest.mark.fault


def peaks(sessions: int, files: int, out: Path, kind: str = 'datasets') -> tuple[float, int]:
    """Peak memory in MB of the process that collects, for a tree of so many files, and their number."""
    out.mkdir()
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name('synthetic.py'), str(sessions), str(files), kind, out],
        capture_output=True, text=True, env=environment(), timeout=1500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    return report['peak_mb'], report['files']


def test_the_memory_of_the_collecting_process_does_not_grow_with_the_number_of_datasets(tmp_path, figure):
    sessions = scaled(4_000, 20_000)
    small, small_count = peaks(sessions, scaled(50, 50), tmp_path / 'small')
    large, large_count = peaks(sessions, scaled(250, 500), tmp_path / 'large')
    assert (small_count, large_count) == (sessions * scaled(50, 50), sessions * scaled(250, 500))
    assert large < 1.1 * small
    figure('P6', f'{small:.0f} MB for {small_count:,} datasets, {large:.0f} MB for {large_count:,}')


@pytest.mark.parametrize('kind', ['datasets', 'problems', 'skips'])
def test_the_memory_of_the_collecting_process_does_not_grow_with_the_size_of_the_sessions(
    tmp_path, figure, kind
):
    small, count = peaks(scaled(2_000, 20_000), 50, tmp_path / 'small', kind)
    large, same_count = peaks(scaled(10, 100), 10_000, tmp_path / 'large', kind)
    assert count == same_count
    assert large < 1.3 * small
    figure('P6', f'{large:.0f} MB for {count:,} {kind} in sessions of 10,000, {small:.0f} MB in those of 50')


class ShuffledFolder:
    """A folder whose listing comes in any order."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._folder, name)

    def iter_names(self) -> Iterator[tuple[list[str], bytes]]:
        for names, kinds in self._folder.iter_names():
            pairs = list(zip(names, kinds, strict=True))
            random.shuffle(pairs)
            yield [name for name, _ in pairs], bytes(kind for _, kind in pairs)


class ShuffledTree(LocalTree):
    """A tree whose listings come in any order."""

    __slots__ = ()

    def walk(self, session_path: str, tally: Tally) -> Iterator[Folder]:
        return map(ShuffledFolder, super().walk(session_path, tally))

    @contextmanager
    def open_folder(self, path: str, tally: Tally) -> Iterator[Folder]:
        with super().open_folder(path, tally) as folder:
            yield ShuffledFolder(folder)


def make_varied_tree(root: Path) -> Path:
    tree: dict[str | bytes, Any] = {}
    for i in range(60):
        session = f'{"lab/Subjects/" if i % 3 else ""}s{i % 7}/2024-01-{1 + i % 28:02}/{1 + i // 28:03}'
        for name in (
            'a.b.c',
            'alf/a.b.c',
            'alf/#1#/a.b.c',
            'alf/#2#/a.b.c',
            'notes.txt',
            'my alf/a.b.c',
            '.x/a.b.c',
        ):
            tree[f'{session}/{name}'] = name.encode() * i
        tree[f'{session}/gone.b.{i}'] = b''
    grow(root, tree)
    for path in root.rglob('gone.b.*'):
        path.unlink()
        path.symlink_to('nowhere')
    return root


def test_workers_shards_executors_and_listing_order_change_no_byte(tmp_path, figure, monkeypatch):
    root = make_varied_tree(tmp_path / 'root')
    seen: dict[str, set[Any]] = {'tables': set(), 'problems': set()}
    combinations = 0

    def build(tree: LocalTree, **options: Any) -> None:
        nonlocal combinations
        summary = build_index(
            tree,
            out=tmp_path,
            options=Options(recipe=Recipe(algorithms=('xxh128', 'md5'))),
            **options,
        )
        assert summary.problems_path
        seen['tables'].add(digests(tmp_path))
        seen['problems'].add(summary.problems_path.read_bytes())
        combinations += 1

    plain = LocalTree.open(str(root))
    for max_sessions in (1, 7, 192):
        monkeypatch.setattr('fastindex.jobs.build.tasks.MAX_SESSIONS', max_sessions)
        for workers in (1, 2):
            build(ShuffledTree(*plain), workers=workers)
        with ThreadPoolExecutor(3) as threads:
            build(ShuffledTree(*plain), executor=threads)
    build(plain, workers=5)
    with ProcessPoolExecutor(2) as processes:
        build(plain, executor=processes)
    for seed in range(scaled(20, 200)):
        random.seed(seed)
        build(ShuffledTree(*plain), workers=1)
    assert len(seen['tables']) == len(seen['problems']) == 1
    figure('P7', f'1 SHA-256 over {combinations} runs of other workers, shards, executors and orders')


@settings(max_examples=scaled(60, 1000))
@given(awkward_trees, st.sampled_from([1, 2, 192]), st.integers(1, 4))
def check_orders(tree, max_sessions, threads):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        root = grow_what_fits(Path(folder, 'root'), tree)
        plain = LocalTree.open(str(root))
        options = Options(allow_empty=True)
        first = build_index(plain, out=Path(folder), options=options, workers=1)
        expected = digests(Path(folder))
        patch.setattr('fastindex.jobs.build.tasks.MAX_SESSIONS', max_sessions)
        with ThreadPoolExecutor(threads) as executor:
            other = build_index(ShuffledTree(*plain), out=Path(folder), options=options, executor=executor)
        assert digests(Path(folder)) == expected
        assert other.skipped == first.skipped


def test_any_tree_gives_the_same_bytes_however_it_is_cut_and_listed(figure):
    check_orders()
    figure('P7', f'{scaled(60, 1000)} random trees, cut and listed otherwise')


SECONDS = {
    year: (datetime(year, 12, 31) - datetime(1970, 1, 1)).days * 86400
    for year in (1, 1600, 1676, 1678, 1901, 1969, 1970, 2000, 2038, 2106, 2261, 2263, 2400, 2446, 9999)
}
"""Dates of all centuries, also such as no column of nanoseconds holds. ext4 takes those of 1901 to 2446, and
makes the others the nearest of these; tmpfs takes all."""


class Clock:
    """Time that passes when it is told to: of what has changed since then, nothing is settled."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / 'clock'
        self._ns = 0
        self.pass_minute()

    def pass_minute(self) -> None:
        """Wait for the next tick of the clock of the file system."""
        first = self._touch()
        while (now := self._touch()) == first:
            time.sleep(0.001)
        self._ns = now

    def _touch(self) -> int:
        self._file.touch()
        return self._file.stat().st_mtime_ns

    def time_ns(self) -> int:
        """Stands for the one of the module `time`."""
        return self._ns + fingerprints.SETTLED_NS


def notes_what_is_mapped(folder: Path) -> bool:
    """Tell whether writes through a memory map show, once the ones before are on the disk: not on tmpfs."""
    with (folder / 'mapped').open('wb+') as file:
        file.write(b'xx')
        file.flush()
        clock, times = Clock(folder), []
        with mmap(file.fileno(), 2) as mapped:
            for byte in b'yz':
                mapped[0] = byte
                mapped.flush()
                times.append(os.fstat(file.fileno()).st_mtime_ns)
                clock.pass_minute()
    return times[0] != times[1]


class Rerun(RuleBasedStateMachine):
    """Any history of changes, with runs in between, and minutes that pass."""

    paths = st.builds(
        '{}/001/{}{}'.format,
        st.sampled_from(['s1/2024-01-01', 'lab/Subjects/s2/2024-01-02']),
        st.sampled_from(['', 'alf/#1#/', 'alf/#2#/', 'my alf/']),
        st.sampled_from(['a.b.c', 'a.b.c', 'd.e.f', 'notes.txt']),
    )
    hashes = st.sampled_from([(), *[('xxh128',)] * 6, ('md5', 'xxh128')])
    picks = st.integers(0, 30)
    folder: Path
    clock: Clock
    may_stay_mapped: bool

    @initialize()
    def start(self) -> None:
        self.mapped: dict[Path, mmap] = {}
        shutil.rmtree(self.folder, ignore_errors=True)
        first = {f's1/2024-01-01/001/{name}': name.encode() for name in ('a.b.c', 'd.e.f', 'alf/#1#/a.b.c')}
        self.root = grow(self.folder / 'root', first)
        self.clock.pass_minute()
        fastindex.build(self.root, workers=1, hash=['xxh128'])
        self.run(('xxh128',))  # reuses all

    @rule(path=paths, data=st.binary(max_size=2))
    def write(self, path: str, data: bytes) -> None:
        """Create or modify; of the same size, in one tick of the clock, as it happens."""
        grow(self.root, {path: data})

    def pick(self, number: int) -> Path | None:
        """Pick a file that is there."""
        files = sorted(path for path in self.root.rglob('*.*.*') if path.is_file())
        return files[number % len(files)] if files else None

    @rule(number=picks, byte=st.integers(0, 255), is_anew=st.booleans(), is_flushed=st.booleans())
    def write_mapped(self, number: int, byte: int, is_anew: bool, is_flushed: bool) -> None:
        """Write through a memory map that may be open since long, of a file that may be elsewhere by now."""
        if is_anew or not self.mapped:
            path = self.pick(number)
            if path is None or not path.stat().st_size:
                return
            with path.open('rb+') as file:
                self.mapped[path] = mmap(file.fileno(), 0)
        else:
            path = sorted(self.mapped)[number % len(self.mapped)]
        mapped = self.mapped[path]
        if mapped.size():  # else it was cut: the write would be the end of this process
            mapped[0] = byte
            mapped_writes.append(path)
            if is_flushed:
                mapped.flush()
        if not self.may_stay_mapped:
            self.mapped.pop(path).close()

    def pass_minute(self) -> None:
        for mapped in self.mapped.values():
            mapped.flush()  # as the kernel does after half a minute
        self.clock.pass_minute()

    @rule(number=picks, data=st.binary(min_size=1, max_size=1))
    def rewrite_and_hide_it(self, number: int, data: bytes) -> None:
        if path := self.pick(number):
            info = path.stat()
            path.write_bytes(data * info.st_size)
            os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))

    @rule(path=paths)
    def delete(self, path: str) -> None:
        (self.root / path).unlink(missing_ok=True)

    @rule(path=paths, to=paths)
    def rename(self, path: str, to: str) -> None:
        if (self.root / path).exists() and (self.root / to).parent.is_dir():
            (self.root / path).replace(self.root / to)

    @rule(number=picks, seconds=st.integers(0, 2**32) | st.sampled_from(list(SECONDS.values())))
    def touch(self, number: int, seconds: int) -> None:
        if path := self.pick(number):
            os.utime(path, (seconds, seconds))

    @rule(hash=hashes)
    def run_later(self, hash: tuple[str, ...]) -> None:
        self.pass_minute()
        self.run(hash)

    @rule(hash=hashes)
    def run(self, hash: tuple[str, ...]) -> None:
        """What has changed since the last minute passed may change again in the same tick of the clock."""
        rerun = fastindex.build(self.root, workers=1, hash=hash, allow_empty=True, allow_removal=True)
        fresh = self.folder / 'fresh'
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        rebuilt = fastindex.build(self.root, workers=1, hash=hash, allow_empty=True, out=fresh)
        assert digests(self.root) == digests(fresh)
        assert rebuilt.digests_reused == 0
        reruns.append(rerun.digests_reused)

    def teardown(self) -> None:
        self.run_later(('xxh128',))
        for mapped in self.mapped.values():
            mapped.close()


reruns: list[int] = []
"""For each how many digests were reused."""

mapped_writes: list[Path] = []
"""The paths that were written to through a memory map."""


@pytest.mark.parametrize('disk', [None, '/dev/shm'], ids=['disk', 'memory'])
def test_a_rerun_writes_what_a_first_run_would_write(tmp_path, figure, monkeypatch, disk):
    reruns.clear()
    mapped_writes.clear()
    count = scaled(25, 300)
    with tempfile.TemporaryDirectory(dir=disk or tmp_path) as folder:
        Rerun.folder = Path(folder, 'machine')
        Rerun.clock = Clock(Path(folder))
        Rerun.may_stay_mapped = notes_what_is_mapped(Path(folder))
        monkeypatch.setattr(digesting, 'time', Rerun.clock)
        run_state_machine_as_test(Rerun, settings=settings(max_examples=count, stateful_step_count=30))
    assert len(reruns) >= count
    assert sum(reruns) >= 3 * count
    runs = len(reruns)
    figure(
        'P13',
        f'{runs} of {runs} reruns in {count} histories {"in memory" if disk else "on disk"}, with dates of '
        f'{min(SECONDS)} to {max(SECONDS)} and {len(mapped_writes)} writes to memory maps, '
        f'{sum(reruns)} digests reused',
    )

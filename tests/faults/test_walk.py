"""P4 complete or named, P5 no hang: a disk that fails, a tree that changes, files that wait."""

from __future__ import annotations

import json
import os
import random
import re
import stat
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

import fastindex
from tests.faults.exchange import exchanging
from tests.support.injectors import need_root, run, scaled
from tests.support.patience import turns
from tests.support.tables import read_paths
from tests.support.trees import SESSION, Fifo, Socket, grow

pytestmark = [pytest.mark.fault, pytest.mark.usefixtures('twin')]  # of the kernel


def make_large_tree(root: Path, files: int) -> set[str]:
    """Make a tree of sessions of 20 files each, some in collections; return all paths."""
    names = [f'{folder}a.b.x{i}' for folder in ('', 'alf/', 'alf/probe00/', 'raw/#1#/') for i in range(4)]
    names += [f'{folder}notes.txt' for folder in ('', 'alf/', 'alf/probe00/', 'raw/#1#/')]
    paths = {f'lab/Subjects/s{i:04}/2024-01-01/001/{name}' for i in range(files // 20) for name in names}
    grow(root, dict.fromkeys(paths, b'x'))
    return paths


def ancestors(path: str) -> list[str]:
    parts = path.split('/')
    return ['/'.join(parts[:count]) for count in range(1, len(parts))]


@pytest.mark.parametrize('hashing', [False, True], ids=['plain', 'hashed'])
def test_each_file_of_a_failing_disk_is_a_dataset_or_a_problem_with_its_errno(
    tmp_path, failcalls, figure, hashing
):
    root = tmp_path / 'root'
    files = make_large_tree(root, 10_000)
    runs = failures = 0
    for seed in range(scaled(3, 20)):
        out, log = tmp_path / f'out{seed}', tmp_path / f'log{seed}'
        out.mkdir()
        done = run(
            root, '--out', out, '--workers', '2', '--quiet', '-v', *(['--hash'] if hashing else []),
            env={
                'LD_PRELOAD': str(failcalls),
                'FAILCALLS_PREFIX': f'{root}/lab/Subjects/s',
                'FAILCALLS_RATE': '10000',
                'FAILCALLS_SEED': str(seed),
                'FAILCALLS_LOG': str(log),
            },
        )  # fmt: skip
        assert done.returncode == 3, done.stderr
        failed = failures_of(log, root)
        problems = problems_of(out)
        assert set(problems) <= failed, 'a problem that the disk did not have'
        named = Counter(path for path, _ in problems)
        skipped = Counter(re.findall(r'^skipped (.*): not-a-dataset-name$', done.stderr, re.MULTILINE))
        datasets = read_paths(out)
        assert len(fastindex.open(out).datasets.collect()) == len(datasets)
        for path in files:
            times = (path in datasets) + skipped[path] + named[path]
            # In a folder that is named, nothing is; or, where its listing broke off, what came before.
            assert times == 1 or (times == 0 and any(above in named for above in ancestors(path))), path
        assert datasets | set(skipped) <= files
        assert not any(path.endswith('.txt') for path in datasets)
        runs += 1
        failures += len(failed)
    assert failures > 50 * runs
    figure('P4', f'{runs} of {runs} runs on {len(files):,} files with {failures:,} failed calls exact')


def failures_of(log: Path, root: Path) -> set[tuple[str, int]]:
    """What failed: path, errno."""
    found = set()
    for line in log.read_bytes().split(b'\0')[:-1]:
        _, number, path = line.decode().split(' ', 2)
        found.add((os.path.relpath(path, root), int(number)))
    return found


def problems_of(out: Path) -> list[tuple[str, int]]:
    lines = (out / '.fastindex/problems.jsonl').read_text().splitlines()
    return [(record['path'], record['errno']) for record in map(json.loads, lines)]


@pytest.mark.parametrize('hashing', [False, True], ids=['plain', 'hashed'])
def test_what_stays_is_indexed_while_all_around_it_changes(tmp_path, figure, hashing):
    """Files vanish, grow, are renamed, and become folders, pipes and links, and back."""
    root = tmp_path / 'root'
    steady = {
        f's{i}/2024-01-01/001/{folder}a.b.{j}' for i in range(40) for folder in ('', 'alf/') for j in range(5)
    }
    moving = [
        f's{i}/2024-01-01/001/{folder}m.n.{j}' for i in range(40) for folder in ('', 'alf/') for j in range(3)
    ]
    grow(root, dict.fromkeys(steady, b'steady') | dict.fromkeys(moving, b''))
    stop = threading.Event()
    changes = Counter[str]()

    def change() -> None:
        chance = random.Random(0)
        while not stop.is_set():
            path = str(root / chance.choice(moving))
            kind = chance.choice(['vanish', 'grow', 'rename', 'folder', 'pipe', 'link'])
            changes[kind] += 1
            remove(path)
            if kind == 'grow':
                Path(path).write_bytes(bytes(chance.randrange(100_000)))
            elif kind == 'rename':
                Path(path).touch()
                os.replace(path, path[:-1] + 'r')
            elif kind == 'folder':
                os.mkdir(path)
                Path(path, 'in.it.npy').touch()
            elif kind == 'pipe':
                os.mkfifo(path)
            elif kind == 'link':
                os.symlink(chance.choice(['gone', '.', 'a.b.0', path]), path)

    changer = threading.Thread(target=change)
    changer.start()
    at_least = scaled(25, 250)
    try:
        for runs in turns(at_least):
            hash = ['xxh128'] if hashing else []
            summary = fastindex.build(root, workers=1, hash=hash, allow_removal=True)  # of what changes
            found = read_paths(root)
            assert steady <= found
            problems = {problem.path for problem in summary.problems}
            assert len(problems) == summary.problem_count
            assert not problems & found
            assert fastindex.open(root).datasets.collect().height == summary.datasets == len(found)
            if runs >= at_least and len(changes) == 6 and min(changes.values()) > runs:
                break
    finally:
        stop.set()
        changer.join()
    figure('P4', f'{runs} of {runs} runs complete amid {sum(changes.values()):,} changes')


def remove(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        for name in os.listdir(path):
            os.unlink(os.path.join(path, name))
        os.rmdir(path)
    else:
        os.unlink(path)


def test_what_would_wait_for_ever_is_a_problem(tmp_path, figure):
    need_root()
    here = f'{SESSION}/'
    root = grow(
        tmp_path, {f'{here}a.b.c': b'x', f'{here}pipe.b.npy': Fifo(), f'{here}socket.b.npy': Socket()}
    )
    os.mknod(root / here / 'zero.b.npy', stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero: never ends
    os.mknod(root / here / 'disk.b.npy', stat.S_IFBLK | 0o666, os.makedev(7, 200))
    (root / here / 'link.b.npy').symlink_to('pipe.b.npy')
    slowest = 0.0
    for options in ([], ['--hash'], ['--hash=xxh128,md5', '--workers', '2'], ['--no-follow-symlinks']):
        started = time.monotonic()
        done = run(root, '--json', *options)
        slowest = max(slowest, time.monotonic() - started)
        assert done.returncode == 3
        problems = {problem['path'].rpartition('/')[2] for problem in json.loads(done.stdout)['problems']}
        link = set() if '--no-follow-symlinks' in options else {'link.b.npy'}
        assert problems == {'pipe.b.npy', 'socket.b.npy', 'zero.b.npy', 'disk.b.npy'} | link
        assert read_paths(root) == {f'{here}a.b.c'}
    figure('P5', f'pipe, socket, 2 devices and a link to a pipe passed over, {slowest:.1f} s at most')


def test_a_pipe_that_takes_the_place_of_a_file_after_it_was_listed_is_not_waited_for(tmp_path, figure):
    """A pipe and a file change places: what was listed as the one is opened as the other."""
    root = grow(tmp_path / 'root', {f'{SESSION}/a.b.{i}': b'x' for i in range(50)})
    os.mkfifo(tmp_path / 'pipe')
    at_least, problems = scaled(200, 2000), 0
    with exchanging(root / SESSION / 'a.b.25', tmp_path / 'pipe'):
        for runs in turns(at_least):
            summary = fastindex.build(root, workers=1, hash=['xxh128'])
            assert summary.datasets + summary.problem_count == 50
            problems += summary.problem_count
            if runs >= at_least and 0 < problems < runs:
                break
    figure('P5', f'{runs} of {runs} runs ended while a pipe and a file changed places')


def test_a_disk_that_goes_away_costs_no_index(tmp_path, failcalls, figure):
    root = tmp_path / 'root'
    make_large_tree(root, 200)
    fastindex.build(root, workers=1)
    before = (root / 'datasets.pqt').read_bytes()
    for path in ('', '/lab', '/lab/Subjects'):
        env = {'LD_PRELOAD': str(failcalls), 'FAILCALLS_PREFIX': f'{root}{path}', 'FAILCALLS_RATE': '1000000'}
        env |= {'FAILCALLS_SEED': '1', 'FAILCALLS_LOG': str(tmp_path / 'log')}
        done = run(root, '--workers', '1', env=env)
        assert done.returncode == 2, done
        assert (root / 'datasets.pqt').read_bytes() == before
    figure('P4', '3 of 3 disks that failed altogether left the index alone')

"""P10 survives workers: killed at random, out of memory, or by the same session each time."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import fastindex
from fastindex.jobs.build.build import build_index
from fastindex.jobs.build.options import Options
from fastindex.names.problems import Tally
from fastindex.trees import Folder
from fastindex.trees.disk import LocalTree
from tests.support.injectors import command, digests, environment, scaled
from tests.support.patience import PATIENCE_SECONDS, turns, wait_until
from tests.support.tables import read_paths
from tests.support.trees import grow

pytestmark = pytest.mark.fault

SESSIONS = 300


@pytest.fixture
def root(tmp_path: Path) -> Path:
    tree = {f's{i}/2024-01-01/001/alf/a.b.{j}': b'x' * i for i in range(SESSIONS) for j in range(10)}
    return grow(tmp_path / 'root', tree)


def children_of(pid: int) -> list[int]:
    try:
        text = Path(f'/proc/{pid}/task/{pid}/children').read_text()
    except FileNotFoundError:
        return []
    return [int(child) for child in text.split()]


def test_workers_that_are_killed_at_random_change_no_byte(root, figure):
    fastindex.build(root, workers=1, hash=['xxh128'])
    undisturbed = digests(root)
    chance = random.Random(0)
    at_least, kills = scaled(15, 100), 0
    for rounds in turns(at_least):
        (root / 'datasets.pqt').unlink()
        with subprocess.Popen(
            command(root, '--workers', '2', '--hash', '--quiet'), env=environment(), stderr=subprocess.PIPE
        ) as running:
            for _ in range(2):  # each task may cost three workers
                wait_until(lambda: children_of(running.pid) or running.poll() is not None)
                time.sleep(chance.uniform(0, 0.1))
                for child in children_of(running.pid)[:1]:
                    with suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)
                        kills += 1
            _, stderr = running.communicate(timeout=PATIENCE_SECONDS)
        assert running.returncode == 0, stderr
        assert digests(root) == undisturbed
        if rounds >= at_least and kills > rounds // 2:
            break
    figure('P10', f'{rounds} of {rounds} runs with {kills} killed workers gave the same bytes')


class PoisonTree(LocalTree):
    """A tree in which the walk of some sessions kills its process."""

    __slots__ = ()

    def walk(self, session_path: str, tally: Tally) -> Iterator[Folder]:
        if session_path in POISON:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().walk(session_path, tally)


POISON = {'s7/2024-01-01/001', 's200/2024-01-01/001'}


def test_a_session_that_kills_its_worker_each_time_is_a_problem_and_all_else_is_indexed(root, figure):
    tree = PoisonTree(*LocalTree.open(str(root)))
    summary = build_index(tree, out=root, options=Options(), workers=2)
    assert {problem.path for problem in summary.problems} == POISON
    assert read_paths(root) == {
        f's{i}/2024-01-01/001/alf/a.b.{j}'
        for i in range(SESSIONS)
        for j in range(10)
        if f's{i}/2024-01-01/001' not in POISON
    }
    assert fastindex.open(root).datasets.collect().height == (SESSIONS - len(POISON)) * 10
    figure('P10', f'{len(POISON)} poison sessions are problems, {SESSIONS - len(POISON)} others indexed')


GREEDY = """
import sys
from pathlib import Path
from fastindex.jobs.build.build import build_index
from fastindex.jobs.build.options import Options
from fastindex.trees.disk import LocalTree

class GreedyTree(LocalTree):
    __slots__ = ()
    def walk(self, session_path, tally):
        if session_path.startswith('s7/'):
            bytearray(2**40)
        return super().walk(session_path, tally)

tree = GreedyTree(*LocalTree.open(sys.argv[1]))
summary = build_index(tree, out=Path(sys.argv[1]), options=Options(), workers=2)
print(summary.sessions, [problem.path for problem in summary.problems])
"""


def test_a_session_for_which_memory_does_not_suffice_costs_no_index(root, figure):
    """Here the allocation fails; that the kernel kills the worker for it is the test above."""
    fastindex.build(root, workers=1)
    before = digests(root)
    done = subprocess.run(
        [sys.executable, '-c', GREEDY, root],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode != 0 or "['s7/2024-01-01/001']" in done.stdout
    assert done.returncode == 0 or digests(root) == before
    figure('P10', 'a session that takes all memory costs no index')

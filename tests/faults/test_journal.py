"""P21: what a run has hashed that was killed is used by the next one, and only where it still holds."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import fastindex
from fastindex.workers.processes import TASKS_PER_WORKER
from tests.support.injectors import digests, environment, scaled
from tests.support.patience import PATIENCE_SECONDS, turns, wait_until
from tests.support.trees import grow

pytestmark = pytest.mark.fault

DIGESTS = ['xxh128', 'md5']
WORKERS, SHARD_SESSIONS, FILES = 2, 1, 8
SESSIONS = 120
BIG_BYTES = 4096
TREE = {
    f's{i % 12}/2024-01-{1 + i // 12:02}/001/alf/a.b{j}.npy': bytes([i, j]) * (9 if j or i % 8 else BIG_BYTES)
    for i in range(SESSIONS)
    for j in range(FILES)
}
"""With a big file in some of the sessions."""
IN_FLIGHT = WORKERS * (TASKS_PER_WORKER + 1) * SHARD_SESSIONS * FILES
"""Files of the tasks that the workers may have begun or done, and whose results nobody has taken yet."""

COUNTING = f"""
import sys, time
from fastindex import cli
from fastindex.jobs.build import tasks
from fastindex.pipeline import walk
from fastindex.trees import digests, fingerprints

measure = digests.Hasher.measure

def counting(self, *words):
    found = measure(self, *words)
    if found[1] is not None:
        with open(sys.argv[1], 'ab', buffering=0) as log:  # a worker has nothing of its parent open
            log.write(b'.')
        time.sleep(0.0002)  # so that there is a time to be killed at
    return found

digests.Hasher.measure = counting
fingerprints.SETTLED_NS = -(10**12)  # all files are old enough
walk.BIG_BYTES = {BIG_BYTES}
tasks.MAX_SESSIONS = {SHARD_SESSIONS}
sys.exit(cli.main(sys.argv[2:]))
"""


def count(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def test_a_killed_run_has_hashed_for_the_next_one(tmp_path, figure, monkeypatch):
    monkeypatch.setattr('fastindex.trees.fingerprints.SETTLED_NS', -(10**12))
    monkeypatch.setattr('fastindex.pipeline.walk.BIG_BYTES', BIG_BYTES)
    root, undisturbed = grow(tmp_path / 'root', TREE), tmp_path / 'undisturbed'
    undisturbed.mkdir()
    fastindex.build(root, out=undisturbed, hash=DIGESTS, workers=1)
    wanted = digests(undisturbed)
    chance = random.Random(21)
    at_least, killed, saved, most_again = scaled(20, 100), 0, 0, 0
    for rounds in turns(at_least):
        out, log = tmp_path / f'out{rounds}', tmp_path / f'log{rounds}'
        out.mkdir()
        words = ['--out', out, f'--hash={",".join(DIGESTS)}', '--workers', WORKERS, '--quiet']
        with subprocess.Popen(
            [sys.executable, '-c', COUNTING, *map(str, (log, root, *words))],
            env=environment(FASTINDEX_KERNEL='python'),  # whose reads can be counted
            start_new_session=True,
        ) as running:
            when = chance.randrange(len(TREE))
            wait_until(lambda: count(log) >= when or running.poll() is not None)  # noqa: B023 - now
            with suppress(ProcessLookupError):  # it has ended
                os.killpg(running.pid, signal.SIGKILL)
            running.wait(PATIENCE_SECONDS)
        was_killed = running.returncode < 0
        assert was_killed or running.returncode == 0
        hashed = count(log)
        summary = fastindex.build(root, out=out, hash=DIGESTS, workers=1)
        again = hashed - summary.digests_reused
        assert digests(out) == wanted
        assert again <= IN_FLIGHT, (rounds, hashed, summary)
        assert not (out / '.fastindex/digests.journal').exists()
        if was_killed and hashed < len(TREE):
            killed, saved = killed + 1, saved + summary.digests_reused
        most_again = max(most_again, again)
        if rounds >= at_least and saved:
            break
    figure(
        'P21',
        f'{rounds} of {rounds} random times: {killed} killed while they hashed, of which the next runs used '
        f'{saved:,} digests; at most {most_again} of {IN_FLIGHT} files that may be in work were read again; '
        'the same tables',
    )

"""P17 one writer, P18 clean stop."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

import fastindex
from fastindex import LockedError
from fastindex.commands import COMMANDS
from fastindex.tables.target import open_stage
from tests.support.injectors import TOP, command, digests, environment, processes_of, run, scaled
from tests.support.patience import PATIENCE_SECONDS, turns, wait_until
from tests.support.trees import SESSION, grow

pytestmark = pytest.mark.fault


@pytest.fixture
def root(tmp_path: Path) -> Path:
    tree = {f's{i}/2024-01-01/001/alf/a.b.{j}': b'x' for i in range(400) for j in range(10)}
    return grow(tmp_path / 'root', tree)


def test_of_many_runs_at_once_one_writes_and_the_others_name_it(root, figure):
    at_least, locked, done = scaled(5, 50), 0, 0
    for rounds in turns(at_least):
        runs = [
            subprocess.Popen(
                command(root, '--workers', '1'),
                env=environment(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(4)
        ]
        outcomes = [
            (running.pid, *running.communicate(timeout=PATIENCE_SECONDS), running.returncode)
            for running in runs
        ]
        pids = {pid for pid, *_ in outcomes}
        for _, _, stderr, code in outcomes:
            assert code in (0, 4), stderr
            locked += code == 4
            done += code == 0
            if code == 4:
                # Between the lock and the name in it, the holder is unknown.
                named = re.search(
                    rf'(process (\d+) on {os.uname().nodename}|an unknown process) is writing', stderr
                )
                assert named, stderr
                assert named[2] is None or int(named[2]) in pids
        assert fastindex.open(root).generation
        assert os.listdir(root / '.fastindex') == ['lock']
        assert done >= rounds
        if rounds >= at_least and locked:
            break
    figure('P17', f'{rounds * 4} runs, 4 at once: {done} wrote, {locked} ended with 4 and named the holder')


HOLDER = """
import pathlib, sys, time
from fastindex.tables.target import open_stage
with open_stage(pathlib.Path(sys.argv[1])):
    print(1, flush=True)
    time.sleep(3600)
"""


def test_a_holder_that_is_killed_leaves_no_lock_and_a_stopped_one_keeps_it(tmp_path, figure):
    root = grow(tmp_path, {f'{SESSION}/a.b.c': b''})
    rounds = scaled(5, 100)
    for _ in range(rounds):
        with subprocess.Popen(
            [sys.executable, '-c', HOLDER, root], stdout=subprocess.PIPE, env=environment()
        ) as holder:
            assert holder.stdout is not None
            holder.stdout.readline()
            holder.send_signal(signal.SIGSTOP)
            with pytest.raises(LockedError, match=f'process {holder.pid} on '):
                fastindex.build(root, workers=1)
            holder.kill()
        with open_stage(root):
            pass
    figure('P17', f'{rounds} of {rounds} killed holders left no lock')


# Sent before our handler is there, a signal is answered by Python, or by the kernel.
EARLY = {signal.SIGINT: (-signal.SIGINT, 1, 130), signal.SIGTERM: (-signal.SIGTERM, 143)}


def test_a_signal_at_any_time_stops_the_run_and_leaves_nothing_behind(root, figure):
    fastindex.build(root, workers=1)
    old = digests(root)
    started = time.monotonic()
    assert run(root, '--hash', '--workers', '2').returncode == 0
    seconds = time.monotonic() - started
    new = digests(root)
    chance = random.Random(0)
    at_least, stopped = scaled(24, 100), 0
    took = []
    for rounds in turns(at_least):
        if digests(root) != old:
            fastindex.build(root, workers=1)
        number = (signal.SIGINT, signal.SIGTERM)[rounds % 2]
        with subprocess.Popen(
            command(root, '--hash', '--workers', '2'),
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as running:
            time.sleep(chance.uniform(0, 1.1 * seconds))
            sent = time.monotonic()
            if rounds % 4 < 2:
                os.killpg(running.pid, number)  # what a terminal does: to the children too
            else:
                running.send_signal(number)
            _, stderr = running.communicate(timeout=PATIENCE_SECONDS)
            wait_until(lambda: not processes_of(running.pid))
            took.append(time.monotonic() - sent)
        assert running.returncode in (0, *EARLY[number]), stderr
        if running.returncode in (130, 143):
            stopped += 1
            assert 'Traceback' not in stderr
        assert not (root / '.fastindex/stage').exists() or digests(root) not in (old, new)
        if digests(root) not in (old, new):  # between the renames: the next run goes on
            with open_stage(root):
                pass
        assert digests(root) in (old, new)
        if rounds >= at_least and stopped > rounds // 4:
            break
    # Where the machine is busy, nothing is done in two seconds: a whole run is not, either.
    assert statistics.median(took) < max(2, 2 * seconds)
    figure(
        'P18',
        f'{rounds} of {rounds} random times: {stopped} stopped (130, 143), all gone in {max(took):.1f} s',
    )


WORDS = {
    'build': 'ROOT --hash --rehash --changes OUT/x --workers 2',
    'completion': 'completion bash',
    'example': 'example OUT/x --sessions 60 --workers 2',
    'help': 'help --man',
    'info': 'info ROOT',
    'release': 'release ROOT --force --out OUT/x.zip --workers 2',
    'report': 'report ROOT --out OUT/x.html --workers 2',
    'restore': 'restore ROOT',
    'search': 'search ROOT --datasets --json',
    'validate': 'validate ROOT --fix --yes --jsonl --workers 2',
    'verify': 'verify ROOT --hash --json --workers 2',
}
ORDERS = [(2,), (15,), (1,), (2, 2), (2, 15), (15, 2), (1, 1, 15)]
"""Of signals, a call from one to the next."""


def test_every_command_is_stopped():
    assert set(WORDS) == set(COMMANDS)


@pytest.mark.parametrize('name', WORDS)
def test_a_signal_at_any_point_ends_any_command_with_one_line_and_leaves_nothing(tmp_path, name, figure):
    tree = {f's{i}/2024-01-01/001/a.b.{j}': b'x' for i in range(3) for j in 'cde'}
    root, out = grow(tmp_path / 'root', tree | {'s0/2024-01-01/001/my mouse.c.d': b''}), tmp_path / 'out'
    fastindex.build(root, workers=1, hash=True)
    (root / 's0/2024-01-01/001/f.g.h').touch()
    fastindex.build(root, workers=1)
    root.rename(tmp_path / 'kept')

    def stop(at: int, numbers: Sequence[int]) -> tuple[int, list[str]]:
        for folder in (root, out):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / 'kept', root)
        out.mkdir()
        words = WORDS[name].replace('ROOT', str(root)).replace('OUT', str(out)).split()
        with subprocess.Popen(
            [sys.executable, '-m', 'tests.support.interrupt', str(at), ','.join(map(str, numbers)), *words],
            env=environment(TMPDIR=str(out), PYTHONPATH=str(TOP)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as running:
            _, stderr = running.communicate(timeout=PATIENCE_SECONDS)
        wait_until(lambda: not processes_of(running.pid))
        return running.returncode, stderr.splitlines()

    calls = int(stop(0, ())[1][-1])
    chance = random.Random(0)
    at_least, stopped = scaled(4, 60), 0
    for rounds in turns(at_least):
        numbers = ORDERS[rounds % len(ORDERS)]
        code, said = stop(chance.randrange(1, calls), numbers)
        if code in (0, 1):  # it was shorter than before, as it had less to wait for
            continue
        stopped += 1
        if -code in numbers:  # before it began, or at its last word
            assert len(said) <= 1, said
        else:
            assert (code, len(said)) == (130 if numbers[0] == signal.SIGINT else 143, 1), said
        assert fastindex.open(root).generation
        assert set(os.listdir(out)) <= {'x', 'x.html', 'x.zip'}  # which are whole: it was as good as done
        if rounds >= at_least and stopped > rounds // 2:
            break
    figure('P18', f'{name}: {stopped} of {rounds} stopped at random calls, each with one line')

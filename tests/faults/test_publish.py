"""P1 atomic, P2 durable, P3 paired: a run that is killed or fails at any point of the publish step.

P22: what it replaces, no process of it has open.
"""

from __future__ import annotations

import errno
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import one.alf.cache
import pyarrow.parquet as pq
import pytest

import fastindex
from fastindex import InvalidIndexError
from fastindex.tables.target import open_stage
from tests.support.injectors import (
    TABLES,
    command,
    digests,
    environment,
    mounted,
    need_mounts,
    need_tools,
    processes_of,
    run,
    scaled,
)
from tests.support.patience import PATIENCE_SECONDS, wait_until
from tests.support.renames import COMMAND, EXECUTOR, run_watched
from tests.support.tables import stop_between_the_renames
from tests.support.trees import SESSION, Link, grow

pytestmark = pytest.mark.fault

OLD = {f'{SESSION}/a.b.npy': b'x'}
NEW = {f'{SESSION}/c.d.npy': b'xy', f'{SESSION}/e.f.npy': Link('nowhere')}


def prepare(tmp_path: Path, before: str) -> tuple[Path, Path]:
    """Make a tree, and the folder of its tables as they were before a run that finds more."""
    root, template = grow(tmp_path / 'root', OLD), tmp_path / 'template'
    template.mkdir()
    if before == 'theirs':
        one.alf.cache.make_parquet_db(root, out_dir=template)
    elif before != 'nothing':
        fastindex.build(root, workers=1, out=template)
    if before == 'links':
        for name in TABLES:
            (template / name).rename(template / f'.{name}.target')
            (template / name).symlink_to(f'.{name}.target')
    grow(root, NEW)
    return root, template


STOPS = {'killed': 0, 'EIO': errno.EIO, 'ENOSPC': errno.ENOSPC, 'EACCES': errno.EACCES}


@pytest.mark.parametrize(
    ('before', 'number'),
    [
        pytest.param(before, number, id=f'{before}-{name}')
        for before in ('nothing', 'ours', 'theirs', 'links')
        for name, number in STOPS.items()
        if before == 'ours' or name in ('killed', 'EIO') or scaled(0, 1)  # the others in `make faults-long`
    ],
)
def test_a_publish_that_stops_at_any_call_leaves_the_old_index_or_the_new(
    tmp_path, failcalls, figure, before, number
):
    root, template = prepare(tmp_path, before)
    old = digests(template)
    targets = {name: (template / name).read_bytes() for name in TABLES if before == 'links'}
    (tmp_path / 'undisturbed').mkdir()
    fastindex.build(root, workers=1, out=tmp_path / 'undisturbed')
    new = digests(tmp_path / 'undisturbed')
    force = 'force' if before in ('links', 'theirs') else ''
    driver = [sys.executable, str(Path(__file__).with_name('publish_points.py')), str(failcalls), str(root)]
    done = subprocess.run(
        [*driver, str(template), str(tmp_path / 'cases'), str(number), force],
        env=environment(LD_PRELOAD=str(failcalls)),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    *points, end = map(json.loads, done.stdout.splitlines())
    assert end['code'] == 100
    assert len(points) > 25
    mixed = 0
    for point in points:
        out = tmp_path / 'cases' / str(point['n'])
        found = digests(out)
        if number == 0:
            assert point['code'] == -signal.SIGKILL, point
        elif point['code'] == 2:
            assert os.strerror(number) in point['message'], point
            assert 'next run' in point['message'] or ('still is' in point['message'] and found == old), point
        else:
            # After the end, when nothing but the sweeping is left; or a rename was tried again.
            assert point['code'] == 0, point
            assert found == new, point
        assert found in (old, new, (new[0], old[1])), point
        if found not in (old, new):
            mixed += 1
            with pytest.raises(InvalidIndexError, match=r'different generations|no such table'):
                fastindex.open(out)
            with open_stage(out, force=before == 'links'):  # what the next command does first
                assert digests(out) == new, point
        elif found != (None, None):
            assert fastindex.open(out).sessions.collect().height == 1
            assert pq.read_table(out / 'datasets.pqt').num_rows in (1, 2)
        if number == 0:
            fastindex.build(root, workers=1, out=out, force=bool(force))
            assert digests(out) == new
            assert {*os.listdir(out / '.fastindex')} - {'previous'} == {'lock', 'problems.jsonl'}
            assert before not in ('ours', 'theirs') or digests(out / '.fastindex/previous') == old, point
        elif point['code']:
            with open_stage(out, force=bool(force), overwrite=bool(force)):
                assert digests(out) in (old, new)
            assert 'stage' not in os.listdir(out / '.fastindex')
        if before == 'links':
            assert all((out / f'.{name}.target').read_bytes() == data for name, data in targets.items())
    assert mixed <= 2
    word = errno.errorcode.get(number, 'kill')
    figure('P1', f'{len(points)} of {len(points)} {word} points old-or-new over {before}')
    if number == 0:
        figure('P3', f'{mixed} of {mixed} mixed pairs over {before} noticed and rolled forward')


CHANGING = 'rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,fsync,ftruncate,pwrite64'


def test_the_kernel_sees_no_call_that_changes_something_but_those_that_are_enumerated(tmp_path, figure):
    need_tools('strace')
    root, template = prepare(tmp_path, 'ours')
    old = digests(template)
    calls = trace(root, template, tmp_path)
    new = digests(template)
    assert old != new
    kills = 0
    seen: dict[str, int] = {}
    for call in calls:
        seen[call] = seen.get(call, 0) + 1
        out = tmp_path / f'out-{kills}'
        shutil.copytree(tmp_path / 'copy', out)
        inject = f'--inject={call}:signal=SIGKILL:when={seen[call]}'
        done = run(root, '--out', out, '--workers', '1', before=['strace', '-f', '-o', '/dev/null', inject])
        assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), (call, done)
        found = digests(out)
        assert found in (old, new, (new[0], old[1])), call
        with open_stage(out):
            assert digests(out) in (old, new)
        assert fastindex.open(out).generation
        kills += 1
    figure('P1', f'{kills} of {kills} kills by the kernel (strace) old-or-new')


def trace(root: Path, template: Path, tmp_path: Path) -> list[str]:
    """The names of the calls of a whole run that change a file, in order."""
    shutil.copytree(template, tmp_path / 'copy')
    log = tmp_path / 'log'
    done = run(
        root, '--out', template, '--workers', '1',
        before=['strace', '-f', '-y', '-o', str(log), f'--trace={CHANGING}'],
    )  # fmt: skip
    assert done.returncode == 3, done.stderr  # e.f.npy is a problem
    return re.findall(rf'^\d+ +({CHANGING.replace(",", "|")})\(', log.read_text(), re.MULTILINE)


@pytest.mark.parametrize('before', ['nothing', 'ours'])
def test_what_is_renamed_was_synced_before_and_its_folder_is_after(tmp_path, figure, before):
    need_tools('strace')
    root, out = prepare(tmp_path, before)
    log = tmp_path / 'log'
    run(
        root, '--out', out, '--workers', '1',
        before=['strace', '-f', '-y', '-o', str(log), '--trace=/^(f|fdata)sync$|^rename|^write$'],
    )  # fmt: skip
    events = []
    for line in log.read_text().splitlines():
        if sync := re.search(r'f(?:data)?sync\(\d+<(.*?)>\) += 0', line):
            events.append(('sync', sync[1], ''))
        elif rename := re.search(r'renameat2?\(\d+<(.*?)>, "(.*?)", \d+<(.*?)>, "(.*?)"(, 0)?\) += 0', line):
            events.append(('rename', f'{rename[1]}/{rename[2]}', f'{rename[3]}/{rename[4]}'))
        elif write := re.search(r'write\(\d+<(.*?)>', line):
            events.append(('write', write[1], ''))
    renames = [(place, event) for place, event in enumerate(events) if event[0] == 'rename']
    kept = [] if before == 'nothing' else ['previous']
    names = [os.path.basename(target) for _, (_, _, target) in renames]
    assert names == [*TABLES, 'problems.jsonl', *kept]
    renames = renames[: len(names) - len(kept)]
    stage = str(out / '.fastindex/stage')
    for place, (_, source, target) in renames:
        earlier, later = events[:place], events[place:]
        last_write = max(i for i, event in enumerate(earlier) if event[:2] == ('write', source))
        assert ('sync', source, '') in earlier[last_write:]
        assert ('sync', f'{stage}/ready', '') in earlier
        assert ('sync', stage, '') in earlier[earlier.index(('sync', f'{stage}/ready', '')) :]
        assert ('sync', os.path.dirname(target), '') in later
    figure('P2', f'{len(renames)} of {len(renames)} renames between the fsyncs they need, over {before}')


def test_a_run_that_is_killed_at_any_time_leaves_the_old_index_or_the_new_and_no_child(tmp_path, figure):
    root = grow(
        tmp_path / 'root', {f's{i}/2024-01-01/001/a.b.{j}': b'x' for i in range(300) for j in range(5)}
    )
    fastindex.build(root, workers=1, hash=())
    old = digests(root)
    started = time.monotonic()
    assert run(root, '--hash', '--workers', '2').returncode == 0
    seconds = time.monotonic() - started
    new = digests(root)
    fastindex.build(root, workers=1, hash=())
    rounds, published = scaled(20, 200), 0
    chance = random.Random(1)
    for _ in range(rounds):
        with subprocess.Popen(
            command(root, '--hash', '--workers', '2', '--quiet'), start_new_session=True, env=environment()
        ) as running:
            time.sleep(chance.uniform(0, seconds))
            running.kill()
        wait_until(lambda: not processes_of(running.pid))
        if digests(root) not in (old, new):
            with pytest.raises(InvalidIndexError, match='different generations'):
                fastindex.open(root)
        with open_stage(root):
            found = digests(root)
            assert found in (old, new)
        fastindex.open(root)
        published += found == new
        fastindex.build(root, workers=1, hash=())
        assert digests(root) == old
    figure('P1', f'{rounds} of {rounds} runs killed at random times old-or-new ({published} new)')
    figure('P10', f'no child outlived {rounds} killed parents')


LOSE_A_WORKER = """
import os, signal, sys
from fastindex.trees.disk import LocalTree
walk, first = LocalTree.walk, os.getpid()
def kill_once(tree, session_path, tally):
    if not os.path.exists(sys.argv[-1]) and os.getpid() != first:
        open(sys.argv[-1], 'x').close()
        os.kill(os.getpid(), signal.SIGKILL)
    return walk(tree, session_path, tally)
LocalTree.walk = kill_once
import fastindex
fastindex.build(sys.argv[1], hash=['xxh128'], workers=2)
"""
RUNS: dict[str, tuple[str, list[str]]] = {
    'build': (COMMAND, ['{root}', '--workers', '2', '--quiet']),
    'digests': (COMMAND, ['{root}', '--workers', '2', '--quiet', '--hash']),
    'here': (COMMAND, ['{root}', '--workers', '1', '--quiet', '--hash=md5,xxh128']),
    'changes': (COMMAND, ['{root}', '--workers', '2', '--quiet', '--hash', '--changes', '{tmp}/changes']),
    'own ids': (COMMAND, ['{root}', '--workers', '2', '--quiet', '--hash', '--ids-from', '{root}']),
    'no dataset': (COMMAND, ['{empty}', '--workers', '2', '--quiet', '--hash']),
    'release': (COMMAND, ['release', '{root}', '--out', '{tmp}/x.zip', '--workers', '2', '--overwrite']),
    'executor': (EXECUTOR, ['{root}']),
    'lost worker': (LOSE_A_WORKER, ['{root}', '{tmp}/lost']),
}


@pytest.mark.parametrize('is_left_over', [False, True], ids=['', 'after a stop'])
@pytest.mark.parametrize('kind', RUNS)
def test_no_process_has_a_file_of_the_index_open_when_it_is_replaced(tmp_path, figure, kind, is_left_over):
    root = grow(tmp_path / 'root', {f's{i}/2024-01-01/001/a.b.c': b'x' for i in range(20)})
    empty = grow(tmp_path / 'empty', {'s1/2024-01-01/001/': b''})
    code, options = RUNS[kind]
    options = [option.format(root=root, empty=empty, tmp=tmp_path) for option in options]
    index = empty if str(empty) in options else root
    (tmp_path / 'x.zip').touch()
    (tmp_path / 'changes').touch()
    fastindex.build(index, hash=['xxh128'], workers=1)
    grow(index, {'s1/2024-01-02/001/': b''})
    if is_left_over:
        stop_between_the_renames(lambda: fastindex.build(index, hash=['xxh128'], workers=1))
        grow(index, {'s1/2024-01-03/001/': b''})
    exit_code, moves = run_watched(tmp_path / 'log', index, code, *options)
    assert exit_code == 0
    assert not [move for move in moves if move.held]
    names = [os.path.basename(move.target) for move in moves]
    assert names.count('sessions.pqt') == 1 + is_left_over
    assert len(names) >= 2 * (1 + is_left_over)
    assert kind != 'lost worker' or (tmp_path / 'lost').exists()
    figure('P22', f'{len(moves)} of {len(moves)} renames of {kind}{" after a stop" * is_left_over}')


def test_a_table_that_is_held_is_replaced_later_or_by_the_next_run(tmp_path, figure):
    """As on an SMB share, where a rename is denied as long as somebody reads the old table."""
    need_tools('strace')
    root = grow(tmp_path / 'root', OLD)
    fastindex.build(root, workers=1, hash=['xxh128'])
    grow(root, {f'{SESSION}/c.d.npy': b'xy'})
    old = digests(root)
    inject = '--inject=rename,renameat,renameat2:error={}:when={}'
    before = ['strace', '-f', '-o', '/dev/null']
    for_good = run(root, '--workers', '1', before=[*before, inject.format('EACCES', '1+')])
    assert for_good.returncode == 2
    assert f'{root}/datasets.pqt: the index could not be written (Permission denied)' in for_good.stderr
    assert 'the next run puts it in place' in for_good.stderr
    assert digests(root) == old
    with open_stage(root):
        new = digests(root)
    assert new != old
    figure('P22', 'a table that is held for good is one message, and the old index until the next run')
    for name in ('EACCES', 'EPERM', 'EBUSY'):
        grow(root, {f'{SESSION}/e.{name}.npy': b''})
        for_a_while = run(root, '--workers', '1', before=[*before, inject.format(name, '1..5')])
        assert for_a_while.returncode == 0, for_a_while.stderr
        assert digests(root) != new
        assert fastindex.open(root).generation
        new = digests(root)
    figure('P22', '3 of 3 tables that are held for a while are replaced')


def test_a_lock_that_is_denied_is_one_that_another_run_holds(tmp_path, figure):
    need_tools('strace')
    root = grow(tmp_path / 'root', OLD)
    for number in ('EACCES', 'EAGAIN'):
        inject = f'--inject=flock:error={number}'
        done = run(root, '--workers', '1', before=['strace', '-f', '-o', '/dev/null', inject])
        assert (done.returncode, 'is writing this index: wait for it' in done.stderr) == (4, True), done
    figure('P17', 'a lock that answers EACCES or EAGAIN ends with 4')


FULL = """
mount -t tmpfs -o "$4" x "$1"
cp "$2"/*.pqt "$1"
"$3" -m fastindex "$5" --out "$1" --workers 1 2> "$6/stderr" || echo $? > "$6/code"
cp "$1"/*.pqt "$6"
ls -A "$1/.fastindex" > "$6/left" || true
"""


def test_a_full_disk_leaves_the_old_index_or_the_new(tmp_path, figure):
    need_mounts()
    root = grow(
        tmp_path / 'root', {f's{i}/2024-01-01/001/a.b.{j}': b'' for i in range(100) for j in range(9)}
    )
    old, mount = tmp_path / 'old', tmp_path / 'mount'
    for folder in (old, mount):
        folder.mkdir()
    fastindex.build(root, workers=1, out=old)
    grow(root, {f's{i}/2024-01-01/001/c.d.{j}': b'' for i in range(100) for j in range(9)})
    (tmp_path / 'new').mkdir()
    fastindex.build(root, workers=1, out=tmp_path / 'new')
    index_bytes = sum((tmp_path / 'new' / name).stat().st_size for name in TABLES)
    options = [f'size={kib}k' for kib in range(44, scaled(160, 320), scaled(8, 4))]
    options += [f'size=1m,nr_inodes={count}' for count in range(4, 12)]
    full = 0
    for option in options:
        case = tmp_path / option
        case.mkdir()
        done = mounted(FULL, mount, old, sys.executable, option, root, case)
        assert done.returncode == 0, done.stderr
        if (case / 'code').exists():
            assert (case / 'code').read_text() == '2\n'
            assert 'No space left on device' in (case / 'stderr').read_text()
            assert digests(case) == digests(old)
            assert (case / 'left').read_text() in ('', 'lock\n')
            full += 1
        else:
            assert digests(case) == digests(tmp_path / 'new')
    assert 2 < full < len(options), index_bytes
    figure('P1', f'{len(options)} of {len(options)} small disks old-or-new ({full} full)')

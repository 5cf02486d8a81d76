"""P8 read-only, P9 confined: nothing is written into the tree, nothing read outside of it."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from xxhash import xxh3_128_hexdigest

from fastindex.names.ids import UuidIdentity
from fastindex.pipeline.scan import ScanResult, ScanTask
from fastindex.tables.recipe import Recipe
from fastindex.tables.schema import from_ipc
from fastindex.trees import Tree, open_tree
from tests.faults.exchange import exchanging
from tests.support.injectors import mounted, need_mounts, need_tools, run, scaled
from tests.support.patience import turns
from tests.support.tables import read_paths
from tests.support.trees import SESSION, Link, digest_of, grow

pytestmark = [pytest.mark.fault, pytest.mark.usefixtures('twin')]  # of the kernel

READ_ONLY = """
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
! touch "$1/x" 2>/dev/null
"$2" -m fastindex "$1" --out "$3" --workers 2 --hash
"""


def state_of(root: Path) -> dict[str, tuple[int, ...]]:
    """All that a write would change, of each path: mode, links, size, times but that of access."""
    return {
        str(path): (info.st_mode, info.st_nlink, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
        for path in [root, *root.rglob('*')]
        for info in [path.lstat()]
    }


def test_with_out_the_tree_may_be_mounted_read_only(tmp_path, figure):
    need_mounts()
    root = grow(tmp_path / 'root', {f'lab/Subjects/s{i}/2024-01-01/001/a.b.c': b'x' for i in range(50)})
    (tmp_path / 'out').mkdir()
    done = mounted(READ_ONLY, root, sys.executable, tmp_path / 'out')
    assert done.returncode == 0, done.stderr
    assert len(read_paths(tmp_path / 'out')) == 50
    figure('P8', 'indexed a read-only mount')


CHANGING = (
    '/^(open(at2?)?|creat|mkdir(at)?|rmdir|unlink(at)?|rename(at2?)?|link(at)?|symlink(at)?|mknod(at)?|'
    'f?truncate|f?ch(mod|own)(at)?|lchown|utime(s|nsat)?|f?(set|remove)xattr|fallocate)$'
)


@pytest.mark.parametrize('inside', [True, False], ids=['in the root', 'with --out'])
def test_no_call_that_changes_something_concerns_the_tree(tmp_path, figure, inside):
    need_tools('strace')
    root = grow(tmp_path / 'root', {f'lab/Subjects/s{i}/2024-01-01/001/a.b.c': b'x' for i in range(20)})
    grow(root, {f'{SESSION}/link.b.c': Link('a.b.c'), f'{SESSION}/gone.b.c': Link('nowhere')})
    out, log = tmp_path / 'out', tmp_path / 'log'
    out.mkdir()
    before, content = state_of(root), digest_of(root)
    options = [] if inside else ['--out', out]
    strace = ['strace', '-f', '-y', '-o', str(log), f'--trace={CHANGING}']
    assert run(root, '--hash', '--workers', '2', *options, before=strace).returncode == 3
    changing = 0
    for line in log.read_text().splitlines():
        if line.startswith('+++') or '(' not in line:
            continue
        call = re.sub(r'\d+<([^>]*)>, "([^"/][^"]*)"', r'"\1/\2"', line.split(maxsplit=1)[1])
        if call.startswith('open') and not re.search(r'O_(WRONLY|RDWR|CREAT|TRUNC|TMPFILE)', call):
            continue
        if str(root) in call:
            changing += 1
            assert inside, call
            ours = re.escape(str(root)) + r'/(\.fastindex(/[^"<>]*)?|sessions\.pqt|datasets\.pqt)'
            assert all(
                re.fullmatch(ours, path) for path in re.findall(rf'{re.escape(str(root))}/[^"<>]+', call)
            ), call
    assert bool(changing) == inside
    if inside:
        for name in ('sessions.pqt', 'datasets.pqt', '.fastindex'):
            subprocess.run(['rm', '-r', str(root / name)], check=True)
        after = state_of(root)
        after[str(root)] = before[str(root)]  # the tables came and went
        assert after == before
    else:
        assert state_of(root) == before
    assert digest_of(root) == content
    where = f'{changing} changing calls, all to the tables and .fastindex' if inside else '0 with --out'
    figure('P8', where)


DESCRIPTION, SETTINGS = '_ibl_experiment.description.yaml', '_iblrig_taskSettings.raw.json'
ITS_OWN = {('', ''), ('in', ''), ('', 'in')}
"""What the files of a session say of its projects and tasks; those outside say `secret`."""


def walk(tree: Tree, keys: list[bytes]) -> tuple[list[dict[str, Any]], ScanResult]:
    """Scan a session, reading its files, and those that say what it is of; give its datasets."""
    result = ScanTask(tree, UuidIdentity(), keys, Recipe(algorithms=('xxh128',), session_info=True)).run()
    for row in from_ipc(result.sessions).to_pylist():
        assert (row['projects'], row['task_protocol']) in ITS_OWN
    return from_ipc(result.datasets).to_pylist(), result


def test_nothing_outside_is_read_while_folders_and_links_change_places(tmp_path, figure):
    """A folder below the root and a link to one outside change places all the time."""
    settings = f'raw_behavior_data/{SETTINGS}'
    names = {settings, *(f'raw_behavior_data/a.b.{i}' for i in range(10))}
    says = {'in': b'{"PYBPOD_PROTOCOL": "in"}', 'out': b'{"PYBPOD_PROTOCOL": "secret"}'}
    root = grow(tmp_path / 'root', {f'{SESSION}/{name}': says['in'] for name in names})
    outside = grow(
        tmp_path / 'outside', dict.fromkeys((SETTINGS, *(f's.b.{i}' for i in range(10))), says['out'])
    )
    (tmp_path / 'link').symlink_to(outside)
    tree = open_tree(root, follow_links=False)
    keys = UuidIdentity().session_keys([SESSION])
    at_least = scaled(4_000, 20_000)
    links = amid = 0
    with closing(tree), exchanging(root / SESSION / 'raw_behavior_data', tmp_path / 'link'):
        for walks in turns(at_least):
            datasets, result = walk(tree, keys)
            assert {row['rel_path'] for row in datasets} in (names, set())
            left_out = result.tally.skipped.total() + len(result.tally.problems)
            assert bool(datasets) != bool(left_out)
            links += result.tally.skipped.total()
            amid += len(result.tally.problems)
            if walks >= at_least and links > walks // 20 and amid:
                break
    figure('P9', f'0 outside names in {walks:,} walks (the link was listed {links:,} times, opened {amid:,})')


def test_nothing_outside_is_read_where_the_session_itself_becomes_a_link(tmp_path, figure):
    names = {DESCRIPTION, *(f'a.b.{i}' for i in range(10))}
    root = grow(tmp_path / 'root', {f'{SESSION}/{name}': b'projects: in' for name in names})
    outside = grow(
        tmp_path / 'outside',
        {f'001/{name}': b'projects: secret' for name in (DESCRIPTION, *(f's.b.{i}' for i in range(10)))},
    )
    (tmp_path / 'link').symlink_to(outside)
    tree = open_tree(root, follow_links=False)
    keys = UuidIdentity().session_keys([SESSION])
    at_least = scaled(4_000, 20_000)
    seen = 0
    with closing(tree), exchanging((root / SESSION).parent, tmp_path / 'link'):
        for walks in turns(at_least):
            datasets, _ = walk(tree, keys)
            assert {row['rel_path'] for row in datasets} in (names, set())
            seen += not datasets
            if walks >= at_least and seen > walks // 20:
                break
    figure('P9', f'0 outside names in {walks:,} walks of a folder above that becomes a link')


def test_files_and_links_that_change_places_give_no_byte_from_outside(tmp_path, figure):
    content = b'projects: in'
    names = {DESCRIPTION, *(f'a.b.{i}' for i in range(9))}
    root = grow(tmp_path / 'root', {f'{SESSION}/{name}': content for name in names})
    (tmp_path / 'outside').write_bytes(b'projects: secret')
    (tmp_path / 'link').symlink_to(tmp_path / 'outside')
    tree = open_tree(root, follow_links=False)
    keys = UuidIdentity().session_keys([SESSION])
    at_least = scaled(4_000, 20_000)
    seen = 0
    with closing(tree), exchanging(root / SESSION / DESCRIPTION, tmp_path / 'link'):
        for walks in turns(at_least):
            datasets, result = walk(tree, keys)
            found = {(row['file_size'], row['xxh128']) for row in datasets}
            assert found == {(len(content), xxh3_128_hexdigest(content))}
            rows = {row['rel_path'] for row in datasets}
            problems = [problem for problem in result.tally.problems if DESCRIPTION not in rows]
            assert len(datasets) + result.tally.skipped.total() + len(problems) == 10
            seen += len(datasets) < 10
            if walks >= at_least and seen > walks // 20:
                break
    figure('P9', f'0 outside bytes in {walks:,} walks over a file that becomes a link')


def test_following_no_links_opens_none_by_the_system_call_log(tmp_path, figure):
    need_tools('strace')
    outside = grow(tmp_path / 'outside', {'a.b.c': b'', 'alf/a.b.c': b'', 'x/2024-01-01/001/a.b.c': b''})
    root = grow(
        tmp_path / 'root',
        {
            f'{SESSION}/a.b.c': b'',
            f'{SESSION}/l.b.c': Link(str(outside / 'a.b.c')),
            f'{SESSION}/alf': Link(str(outside / 'alf')),
            's2': Link(str(outside / 'x')),
            'lab/Subjects/s3': Link(str(outside / 'x')),
            'lab2': Link(str(outside)),
        },
    )
    (tmp_path / 'out').mkdir()
    log = tmp_path / 'log'
    strace = ['strace', '-f', '-y', '-o', str(log), '--trace=file']
    arguments = [root, '--no-follow-symlinks', '--hash', '--workers', '1', '--out', tmp_path / 'out']
    assert run(*arguments, before=strace).returncode == 0
    assert str(outside) not in log.read_text()
    assert len(read_paths(tmp_path / 'out')) == 1
    arguments[1] = '--follow-symlinks'
    assert run(*arguments, before=strace).returncode == 0
    assert str(outside) in log.read_text()  # the log would tell
    figure('P9', 'no call below 5 links that lead outside')

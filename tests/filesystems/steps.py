"""Run on a disk what users do, and print what came of it as JSON: a program of its own, in a namespace.

unshare -m python -m tests.filesystems.steps NAME FOLDER EXAMPLE
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import fastindex
from fastindex.errors import LockedError, PublishError, UsageError
from fastindex.tables.target import open_stage
from fastindex.trees import fingerprints
from tests.filesystems.disks import DISKS, NFS, SERVED, START, STOP

SETTLED_SECONDS = 0.2  # in place of a minute


def sh(script: str, folder: Path, disk: str = 'disk') -> None:
    environment = {**os.environ, 'W': str(folder / 'work'), 'M': str(folder / disk)}
    done = subprocess.run(['sh', '-eu', '-c', script], env=environment, capture_output=True, text=True)
    if done.returncode:
        print(json.dumps({'not mounted': (done.stderr.strip().splitlines() or ['it says nothing'])[0]}))
        sys.exit(0)


def run_steps(name: str, folder: Path, example: Path) -> dict[str, Any]:
    disk = (DISKS | SERVED)[name]
    for one in ('work', 'disk'):
        (folder / one).mkdir()
    sh(disk.make, folder)
    sh(disk.mount, folder)
    root = folder / 'disk' / 'tree'
    shutil.copytree(example, root, copy_function=shutil.copyfile)
    fingerprints.SETTLED_NS = int(SETTLED_SECONDS * 1e9)
    time.sleep(2 * SETTLED_SECONDS)

    def build(**options: Any) -> fastindex.Summary:
        return fastindex.build(root, hash=['xxh128'], workers=1, **options)

    found: dict[str, Any] = {}
    first = build()
    found['datasets'] = first.datasets
    found['problems'] = first.problem_count
    elsewhere = fastindex.build(example, out=folder, hash=['xxh128'], workers=1)
    found['same rows'] = first.generation == elsewhere.generation
    again = build()
    found['reused'] = again.digests_reused
    sh('umount $M', folder)
    sh(disk.mount, folder)
    found['reused by trust'] = {
        trust: build(trust=trust.split(','), check=True).digests_reused
        for trust in ('size,mtime,ctime', 'size,mtime')
    }
    last = build()
    found['reused after a mount'] = last.digests_reused
    found['read again'] = dict(last.read_again)
    found['warnings'] = list(last.warnings)
    found['is locked'] = False
    with open_stage(root):
        try:
            build()
        except LockedError:
            found['is locked'] = True
    found['differences'] = len(list(fastindex.verify(root, hash=True, workers=1)))
    build()
    session_path = next(root.rglob('*.npy')).relative_to(root).parents[1].as_posix()
    in_other_case = session_path.swapcase().replace('sUBJECTS', 'Subjects')
    found['sessions of another case'] = 0
    with suppress(UsageError):  # on most disks there is no such folder
        found['sessions of another case'] = build(only=[in_other_case]).sessions - first.sessions
    path = next(root.rglob('*.npy'))
    info = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    with path.open('r+b') as file:
        file.write(content)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
    changes = build().changes
    found['rewrite'] = changes.datasets_changed if changes else None
    build(rehash=True)
    archive = folder / 'disk' / 'data.tar.zst'
    found['released'] = fastindex.release(root, archive, workers=1, force=True).datasets
    found['left'] = sorted(os.listdir(root / '.fastindex'))
    if name in SERVED:
        found |= run_long_steps(root, folder)
    if name in NFS:
        found |= run_nfs_steps(name, root, folder)
    sh(
        'umount $M', folder
    )  # else the process of a FUSE disk would stay, which keeps the mounts that it is in
    return found


HOLD = """
import fcntl, os, sys, time
file = open(sys.argv[1], 'r+b')
if sys.argv[2] == 'lock':
    fcntl.flock(file, fcntl.LOCK_EX)
print(flush=True)
while not os.path.exists(sys.argv[2]):
    time.sleep(0.1)
time.sleep(1)
"""


@contextmanager
def hold(path: Path, how: str | Path) -> Iterator[None]:
    """Hold a file open in another process, locked ('lock'), or until a path is there and a second longer."""
    command = [sys.executable, '-c', HOLD, path, how]
    with subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        try:
            yield
        finally:
            holder.kill()


def kill_at(pattern: str, folder: Path, *arguments: str | Path) -> bool:
    """Kill a command, and its workers, as soon as there is such a file; False where it was faster."""
    command = [sys.executable, '-m', 'fastindex', *map(str, arguments), '--quiet']
    with subprocess.Popen(command, start_new_session=True) as running:
        while running.poll() is None and not any(folder.glob(pattern)):
            pass
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
    return running.returncode == -signal.SIGKILL


def run_long_steps(root: Path, folder: Path) -> dict[str, Any]:
    """What takes processes of its own: locks and readers elsewhere, kills, and an archive from end to end."""
    found: dict[str, Any] = {}
    state, table, share = root / '.fastindex', root / 'datasets.pqt', root.parent

    def build() -> fastindex.Summary:
        return fastindex.build(root, hash=['xxh128'])

    def change() -> str:
        """Change a dataset; gives the token of the index, which is of before."""
        path = next(root.rglob('*.npy'))
        path.write_bytes(path.read_bytes() + b'x')
        return read_generation()

    def read_generation() -> str:
        return str(fastindex.open(root).generation)

    def say(step: str) -> None:
        print(f'{time.monotonic():.0f} s: {step}', file=sys.stderr, flush=True)

    def is_whole() -> bool:
        return not list(fastindex.verify(root, hash=True)) and not (state / 'stage').exists()

    say('a lock that another process holds')
    with hold(state / 'lock', 'lock'), pytest.raises(LockedError):
        build()
    build()  # the holder was killed

    say('a reader that lets go')
    before = change()
    with hold(table, state / 'stage' / 'ready'):
        assert build().generation == read_generation() != before
    say('a reader that does not')
    before = change()
    with hold(table, folder / 'never'):
        try:
            build()
            found['what a reader holds is replaced'] = True
        except PublishError as error:
            found['what a reader holds is replaced'] = False
            found['refusal'] = str(error)
            assert read_generation() == before
    build()
    assert read_generation() != before
    assert is_whole()

    found['killed at'] = []
    for pattern in ('stage', 'stage/*.pqt', 'stage/ready'):
        say(f'a run that is killed at {pattern}')
        before = change()
        with hold(table, folder / 'never'):
            found['killed at'] += [pattern] * kill_at(pattern, state, root, '--hash')
        read_generation()
        assert build().generation == read_generation() != before
        assert is_whole()

    say('a release that is killed')
    archive = share / 'data.zip'
    found['release was killed'] = kill_at('.data.zip*', share, 'release', root, '--out', archive, '--force')
    found['a killed release leaves'] = [name for name in os.listdir(share) if name.startswith('.')]
    fastindex.release(root, archive, force=True, overwrite=True)
    assert sorted(os.listdir(share)) == ['data.tar.zst', 'data.zip', 'tree']
    say('unzip')
    unzipped = folder / 'unzipped'
    subprocess.run(['unzip', '-q', archive, '-d', unzipped], check=True)
    top = next(unzipped.rglob('datasets.pqt')).parent
    files = [*top.rglob('*.npy')]
    assert files
    assert all(path.read_bytes() == (root / path.relative_to(top)).read_bytes() for path in files)
    return found


def run_nfs_steps(name: str, root: Path, folder: Path) -> dict[str, Any]:
    """What is done from another machine, for nobody, and without the server. The other one gives up early."""
    found: dict[str, Any] = {}
    share, served = NFS[name], folder / 'work' / 'share' / root.name
    (folder / 'other').mkdir()
    sh(share.mount(',soft,timeo=10,retrans=1'), folder, 'other')
    there = folder / 'other' / root.name

    def change() -> str:
        path = next(root.rglob('*.npy'))
        path.write_bytes(path.read_bytes() + b'x')
        return fastindex.build(root, hash=['xxh128']).generation

    def export(squash: str) -> None:
        sh(f'{share.export(squash)}; umount $M; sleep 1; {share.mount()}', folder)  # else it knows as before

    with hold(there / '.fastindex' / 'lock', 'lock'), pytest.raises(LockedError):
        fastindex.build(root, hash=['xxh128'])
    fastindex.open(there)
    after = change()
    if name == 'NFS 3':  # to a server of 4.2 both are one client, which knows of what it has changed itself
        assert fastindex.open(there).generation == after

    export('root_squash')
    with pytest.raises(PublishError, match='Permission denied'):
        fastindex.build(root)
    assert fastindex.build(root, out=folder, hash=['xxh128'], workers=1).generation == after
    export('no_root_squash')

    found['exit codes without the server'] = []
    for pattern in ('lock', 'stage', 'stage/ready'):
        change()
        path = next(served.rglob('*.npy'))
        path.write_bytes(path.read_bytes() + b'x')
        command = [sys.executable, '-m', 'fastindex', there, '--hash', '--quiet']
        with subprocess.Popen(list(map(str, command))) as running:
            while running.poll() is None and not any((served / '.fastindex').glob(pattern)):
                time.sleep(0.01)
            sh(STOP, folder)
        found['exit codes without the server'].append(running.returncode)
        sh(START, folder)
        fastindex.open(root)
        fastindex.build(there, hash=['xxh128'])
        assert not list(fastindex.verify(root, hash=True))
    assert {0, 2, 3}.issuperset(found['exit codes without the server'])
    sh('umount $M', folder, 'other')
    return found


if __name__ == '__main__':
    print(json.dumps(run_steps(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))))

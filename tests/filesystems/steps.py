"""Run on a disk what users do, and print what came of it as JSON: a program of its own, in a namespace.

unshare -m python -m tests.filesystems.steps NAME FOLDER EXAMPLE
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fastindex
from fastindex.errors import LockedError
from fastindex.tables.publish import open_stage
from fastindex.trees import digests
from tests.filesystems.disks import DISKS

SETTLED_SECONDS = 0.2  # in place of a minute


def sh(script: str, folder: Path) -> None:
    environment = {**os.environ, 'W': str(folder / 'work'), 'M': str(folder / 'disk')}
    done = subprocess.run(['sh', '-eu', '-c', script], env=environment, capture_output=True, text=True)
    if done.returncode:
        print(json.dumps({'not mounted': (done.stderr.strip().splitlines() or ['it says nothing'])[0]}))
        sys.exit(0)


def run_steps(name: str, folder: Path, example: Path) -> dict[str, Any]:
    disk = DISKS[name]
    for one in ('work', 'disk'):
        (folder / one).mkdir()
    sh(disk.make, folder)
    sh(disk.mount, folder)
    root = folder / 'disk' / 'tree'
    shutil.copytree(example, root, copy_function=shutil.copyfile)
    digests.SETTLED_NS = int(SETTLED_SECONDS * 1e9)
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
    sh(
        'umount $M', folder
    )  # else the process of a FUSE disk would stay, which keeps the mounts that it is in
    return found


if __name__ == '__main__':
    print(json.dumps(run_steps(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))))

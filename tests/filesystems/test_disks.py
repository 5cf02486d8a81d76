"""What users do, on each disk that can be mounted here: what came of it is what the guide says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fastindex.jobs.example.example import write_example
from tests.filesystems.disks import DISKS, SERVED
from tests.filesystems.guide import HERE, THERE, check, read_guide
from tests.support.injectors import environment, need_mounts, need_root, need_tools
from tests.support.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.fault

TOP = Path(__file__).parent.parent.parent


@pytest.fixture(scope='module')
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('example') / 'tree'
    write_example(root, sessions=8, workers=1)
    return root


@pytest.mark.parametrize('name', DISKS)
def test_each_disk_does_what_the_guide_says(name, example, tmp_path, say):
    disk = DISKS[name]
    need_mounts()
    need_root()
    if disk.is_in_every_ci:
        need_tools(*disk.tools)
    command = [sys.executable, '-m', 'tests.filesystems.steps', name, tmp_path, example]
    done = subprocess.run(
        ['unshare', '-m', *map(str, command)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        cwd=TOP,
        env=environment(PYTHONPATH=str(TOP)),
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    if 'not mounted' in found:
        has_devices = all(map(os.path.exists, ('/dev/loop-control', '/dev/fuse')))
        if disk.is_in_every_ci and has_devices:
            pytest.skip(f'cannot be mounted: {found["not mounted"]}')
        say(f'{name}: NOT TRIED, as it cannot be mounted here')
        return
    check(name, found, HERE)
    say(f'{name}: works')


def test_the_guide_has_each_disk_that_is_tried_here_and_no_other():
    rows = read_guide()
    assert {name for name in rows if rows[name][-1] == HERE} == {
        name for name, disk in DISKS.items() if disk.is_in_every_ci
    }
    assert {name for name in rows if rows[name][-1] == THERE} == set(SERVED)
    assert set(DISKS) <= set(rows)

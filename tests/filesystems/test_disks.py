"""What users do, on each disk that can be mounted here: what came of it is what the guide says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fastindex.jobs.example.example import write_example
from tests.filesystems.disks import DISKS
from tests.support.injectors import environment, need_mounts, need_root, need_tools
from tests.support.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.fault

TOP = Path(__file__).parent.parent.parent
GUIDE = TOP / 'docs' / 'guides' / 'file-systems.md'

HERE = 'by the tests'
"""How the rows of the guide were tried that are tried here."""


def read_guide() -> dict[str, list[str]]:
    """The rows of the table in the guide, by the name of the disk."""
    rows = re.findall(r'^\| (.+?) +\|(.+)\|$', GUIDE.read_text('utf-8'), re.MULTILINE)
    return {disk: [cell.strip() for cell in rest.split('|')] for disk, rest in rows}


@pytest.fixture(scope='module')
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('example') / 'tree'
    write_example(root, sessions=8, workers=1)
    return root


def tell(part: int, whole: int) -> str:
    return 'all' if part == whole else 'few or none' if part * 2 <= whole else f'{part} of {whole}'


def find_trust(reused: dict[str, int], datasets: int) -> str:
    return next((f'`{trust}`' for trust, count in reused.items() if count == datasets), 'none')


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
    datasets = found['datasets']
    has_lasting_inodes = found['reused after a mount'] == datasets
    assert datasets == found['released'] == 8 * 15
    assert (found['problems'], found['differences']) == (0, 0)
    assert found['same rows']
    assert found['is locked']
    assert 'stage' not in found['left']
    if name != 'fuse-overlayfs':  # which gives other times
        has_warning = any('other inodes' in warning for warning in found['warnings'])
        assert has_warning == (not has_lasting_inodes)
    assert any('time of change' in warning for warning in found['warnings']) == (found['rewrite'] == 0)
    row = [
        tell(found['reused'], datasets),
        tell(found['reused after a mount'], datasets),
        '' if has_lasting_inodes else find_trust(found['reused by trust'], datasets),
        'yes' if found['rewrite'] else 'no',
        HERE,
    ]
    assert read_guide()[name] == row
    say(f'{name}: works')


def test_the_guide_has_each_disk_that_is_tried_here_and_no_other():
    rows = {name for name, row in read_guide().items() if row[-1] == HERE}
    assert rows == {name for name, disk in DISKS.items() if disk.is_in_every_ci}
    assert set(DISKS) <= set(read_guide())

"""What fault tests share: the command line under injectors, trees, the state of an index."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.patience import PATIENCE_SECONDS

TOP = Path(__file__).parent.parent.parent
TABLES = ('datasets.pqt', 'sessions.pqt')


def scaled(short: int, long: int) -> int:
    """A count for `make faults`, and one for `make faults-long`."""
    return long if os.environ.get('FASTINDEX_FAULTS') == 'long' else short


def need_tools(*tools: str) -> None:
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f'{tool} is not installed')


def need_mounts() -> None:
    """Skip where this user cannot mount in a namespace of its own."""
    need_tools('unshare', 'mount')
    done = subprocess.run(['unshare', '-m', 'mount', '-t', 'tmpfs', 'x', '/mnt'], capture_output=True)
    if done.returncode:
        pytest.skip(f'cannot mount: {done.stderr.decode().strip()}')


def need_root() -> None:
    if os.geteuid():
        pytest.skip('must be root')


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, '-m', 'fastindex', *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, 'PYTHONPATH': str(TOP), 'PYTHONDONTWRITEBYTECODE': '1', **more}


def run(
    *arguments: str | Path,
    before: list[str] | None = None,
    env: Mapping[str, str] | None = None,
    **options: Any,
) -> subprocess.CompletedProcess[str]:
    """Run the command line, behind `before` (strace, setpriv ...)."""
    return subprocess.run(
        [*(before or []), *command(*arguments)],
        capture_output=True,
        text=True,
        errors='backslashreplace',
        timeout=PATIENCE_SECONDS,
        env=environment(**(env or {})),
        **options,
    )


def mounted(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a shell script where it may mount: nobody else sees it, and its end unmounts all."""
    return subprocess.run(
        ['unshare', '-m', 'sh', '-eu', '-c', script, 'sh', *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        env=environment(),
    )


def digests(folder: Path) -> tuple[str | None, ...]:
    """SHA-256 of both tables; None for one that is not there."""
    return tuple(
        hashlib.sha256((folder / name).read_bytes()).hexdigest() if (folder / name).exists() else None
        for name in TABLES
    )


def processes_of(group: int) -> list[str]:
    """The processes of a group that are alive."""
    alive = []
    for stat in Path('/proc').glob('[0-9]*/stat'):
        try:
            state, _, pgrp = stat.read_text().rpartition(')')[2].split()[:3]
        except OSError:
            continue
        if int(pgrp) == group and state != 'Z':
            alive.append(stat.parent.name)
    return alive

"""Wait for what a test asserts, count what it needs: none may depend on how fast or busy a machine is."""

from __future__ import annotations

import os
import pty
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

PATIENCE_SECONDS = 200
"""What nothing exceeds but a hang; a test has three times as long (pyproject.toml)."""


def wait_until(condition: Callable[[], Any]) -> None:
    """Wait until something holds; fail where it does not for too long."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, 'waited for too long'
        time.sleep(0.01)


def turns(at_least: int = 1) -> Iterator[int]:
    """Count turns of what needs luck, from 1; the caller leaves when there were so many and it has happened.

    After those, turns go on for as long as patience lasts.
    """
    deadline = 0.0
    for turn in count(1):
        yield turn
        if turn <= at_least:
            deadline = time.monotonic() + PATIENCE_SECONDS
        assert time.monotonic() < deadline, f'in {turn} turns what is waited for has not happened'


def run_on_terminal(command: list[Any], *, shows: str, columns: int = 80, **options: Any) -> str:
    """Run a command of which `shows`, stdout or stderr, is a terminal, to its end; give all that it shows."""
    primary, secondary = pty.openpty()
    termios.tcsetwinsize(secondary, (24, columns))
    shown = b''
    with (
        open(primary, 'rb', buffering=0) as screen,
        subprocess.Popen(command, **{**options, shows: secondary}) as process,
    ):
        os.close(secondary)
        try:
            while data := screen.read(65536):  # while it runs: a terminal that nobody reads is full at 4 KiB
                shown += data
        except OSError:  # EIO: nobody has the other side any more
            pass
        assert process.wait() == 0
    return shown.decode()

"""A real Dask cluster: a scheduler and its workers, a process each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from distributed import Client

from tests.support.patience import PATIENCE_SECONDS, wait_until

TOP = Path(__file__).parent.parent.parent
SETTINGS = {
    'DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES': '0',  # one dead worker is enough
    'DASK_DISTRIBUTED__WORKER__MEMORY__TERMINATE': 'false',
}


class DaskCluster:
    """A scheduler on this machine. A context: leaving it ends all that it started.

    Parameters
    ----------
    folder
        For the scheduler file, and what the workers spill.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / 'scheduler.json'
        self._processes: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start('scheduler', '--port', '0', '--host', '127.0.0.1', '--no-dashboard')

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def add_worker(
        self, *options: str, before: Sequence[str] = (), env: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a worker of one thread, behind `before` (unshare ...)."""
        local = ('--local-directory', str(self.folder), '--no-dashboard')
        return self._start('worker', *local, '--nthreads', '1', *options, before=before, env=env)

    def connect(self, workers: int = 0) -> Client:
        """Connect a client, when there are this many workers."""
        wait_until(self.file.exists)
        client = Client(scheduler_file=str(self.file), set_as_default=False)
        if workers:
            client.wait_for_workers(workers, timeout=PATIENCE_SECONDS)
        return client

    def _start(
        self, command: str, *options: str, before: Sequence[str] = (), env: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [*before, sys.executable, '-m', 'dask', command, '--scheduler-file', str(self.file), *options],
            env={**os.environ, 'PYTHONPATH': str(TOP), **SETTINGS, **(env or {})},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            start_new_session=True,
        )
        self._processes.append(process)
        return process

"""When there are to be more workers: where those that there are mostly wait for the disk."""

from __future__ import annotations

import math

__all__ = ['Growth']

MEASURED_SECONDS = 0.02  # of each worker, before it is judged whether it waits for the disk
MOSTLY = 3  # seconds for one of a CPU: fewer are those of a machine that has other work too


class Growth:
    """Says once how many workers are to be added: threads of one process always wait.

    most: how many there are to be at most
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._seconds = 0.0
        self._cpu_seconds = 0.0

    def count_more(self, workers: int, seconds: float, cpu_seconds: float) -> int:
        """Count the workers to add, after another task: as many as keep the CPUs busy.

        workers: how many there are
        seconds, cpu_seconds: what the task took, but for a wait for a CPU, and what of it a CPU took
        """
        self._seconds += seconds
        self._cpu_seconds += cpu_seconds
        enough = max(MEASURED_SECONDS * workers, MOSTLY * self._cpu_seconds)
        if workers >= self._most or self._seconds < enough:
            return 0
        most, self._most = self._most, 0
        busy_seconds = max(self._cpu_seconds, 1e-6)  # where a clock is coarse, it says none
        return min(most, math.ceil(workers * self._seconds / busy_seconds)) - workers

"""How many CPUs there are for this process: as its containers, its affinity and its user say.

A container that may use two CPUs of a machine of 64 sees all of them; what it gets is a quota of its control
group. To start a worker for each of 64 would have them stand still for nine tenths of the time.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from itertools import product

__all__ = ['CPUS_VARIABLE', 'count_cpus']

CPUS_VARIABLE = 'PYTHON_CPU_COUNT'
"""Of the environment: how many CPUs there are. Python itself reads it from 3.13 on."""

_GROUPS = '/proc/self/cgroup'
_MOUNTED = '/sys/fs/cgroup'


def count_cpus() -> int:
    """Count the CPUs that this process may use: as the environment says, else by affinity and quota."""
    with suppress(ValueError):
        if (wanted := int(os.environ.get(CPUS_VARIABLE, ''))) > 0:
            return wanted
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    return max(1, min(cpus, _find_quota(_GROUPS, _MOUNTED)))


@cache
def _find_quota(groups: str, mounted: str) -> int:
    return math.ceil(min(_iter_quotas(groups, mounted), default=sys.maxsize))


def _iter_quotas(groups: str, mounted: str) -> Iterator[float]:
    """Iterate over the CPUs that control groups allow: this one and all above it, of versions 1 and 2."""
    try:
        lines = _read(groups).splitlines()
    except OSError:  # another system
        return
    for line in lines:
        _, controllers, path = line.split(':', 2)
        if not controllers:
            places, files = ['', '/unified'], ['cpu.max']
        elif 'cpu' in controllers.split(','):
            places, files = ['/cpu', f'/{controllers}'], ['cpu.cfs_quota_us', 'cpu.cfs_period_us']
        else:
            continue
        # In a container the path may be that of the host, of which only the last folder is mounted here.
        parts = path.strip('/').split('/')
        groups_above = ['/'.join(['', *parts[:count]]) for count in range(len(parts) + 1)]
        for place, above in product(places, groups_above):
            with suppress(OSError, ValueError):  # not there; 'max'
                words = ' '.join(_read(f'{mounted}{place}{above}/{file}') for file in files).split()
                quota, period = map(int, words)
                if quota > 0 and period > 0:  # -1 is none
                    yield quota / period


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()

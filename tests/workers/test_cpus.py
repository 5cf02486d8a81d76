"""How many CPUs there are for this process."""

from __future__ import annotations

import os

import pytest

from fastindex.workers import cpus
from fastindex.workers.cpus import CPUS_VARIABLE, count_cpus

V1 = '11:memory:/a/b\n4:cpu,cpuacct:/a/b\n1:name=systemd:/\n'
V2 = '0::/a/b\n'
HYBRID = '4:cpu:/\n0::/a/b\n'


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of 64 CPUs; call it with what is in /proc/self/cgroup, and files below /sys/fs/cgroup."""
    monkeypatch.delenv(CPUS_VARIABLE, raising=False)
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: range(64), raising=False)

    def machine(groups: str, files: dict[str, str]) -> None:
        (tmp_path / 'cgroup').write_text(groups)
        for name, text in files.items():
            path = tmp_path / 'mounted' / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        monkeypatch.setattr(cpus, '_GROUPS', str(tmp_path / 'cgroup'))
        monkeypatch.setattr(cpus, '_MOUNTED', str(tmp_path / 'mounted'))

    return machine


def version_1(folder: str, quota: int, period: int = 100000) -> dict[str, str]:
    return {f'{folder}/cpu.cfs_quota_us': f'{quota}\n', f'{folder}/cpu.cfs_period_us': f'{period}\n'}


QUOTAS = {
    'version 2': (V2, {'a/b/cpu.max': '200000 100000\n'}, 2),
    'one and a half': (V2, {'a/b/cpu.max': '150000 100000\n'}, 2),
    'a hundredth': (V2, {'a/b/cpu.max': '1000 100000\n'}, 1),
    'none': (V2, {'a/b/cpu.max': 'max 100000\n'}, 64),
    'of the group above': (V2, {'a/cpu.max': '300000 100000', 'a/b/cpu.max': 'max 100000'}, 3),
    'mounted in a container': (V2, {'cpu.max': '400000 100000'}, 4),
    'both versions': (HYBRID, {'unified/a/b/cpu.max': '500000 100000'}, 5),
    'version 1': (V1, version_1('cpu/a/b', 200000), 2),
    'version 1, two controllers': (V1, version_1('cpu,cpuacct', 70000, 10000), 7),
    'version 1, none': (V1, version_1('cpu/a/b', -1), 64),
    'unknown': (V2, {'a/b/cpu.max': 'what is this'}, 64),
    'more than there are': (V2, {'a/b/cpu.max': '9900000 100000'}, 64),
}


@pytest.mark.parametrize(('groups', 'files', 'count'), QUOTAS.values(), ids=QUOTAS)
def test_the_quota_of_a_container_counts(machine, groups, files, count):
    machine(groups, files)
    assert count_cpus() == count


def test_without_control_groups_or_affinity_the_machine_counts(monkeypatch, tmp_path):
    monkeypatch.setattr(cpus, '_GROUPS', str(tmp_path / 'none'))
    monkeypatch.delattr(os, 'sched_getaffinity', raising=False)
    monkeypatch.setattr(os, 'cpu_count', lambda: 6)
    assert count_cpus() == 6


@pytest.mark.parametrize(('value', 'count'), [('3', 3), ('100', 100), ('default', 2), ('0', 2), ('', 2)])
def test_what_the_environment_says_goes_before_all(machine, monkeypatch, value, count):
    machine(V2, {'a/b/cpu.max': '200000 100000'})
    monkeypatch.setenv(CPUS_VARIABLE, value)
    assert count_cpus() == count

"""A file that another process holds a lease of is waited for, whatever it is read for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import fastindex
from fastindex import folders
from fastindex.folders import OpenFolder, open_file
from tests.support.leases import leased
from tests.support.trees import SESSION, Fifo, grow, npy

TREE = {
    'README.md': b'about',
    f'{SESSION}/alf/spikes.times.npy': npy(1, 2),
    f'{SESSION}/alf/spikes.amps.npy': npy(3, 4),
    f'{SESSION}/alf/large.raw.bin': bytes(9_000_000),
}


def release(root: Path) -> None:
    fastindex.release(root, root.parent / 'x.tar.zst', workers=1, overwrite=True)


def build(root: Path) -> None:
    summary = fastindex.build(root, workers=1, hash=['xxh128', 'md5'], rehash=True)
    assert (summary.datasets, summary.problem_count, summary.warnings) == (3, 0, ())


JOBS: dict[str, Callable[[Path], object]] = {
    'build': build,
    'verify': lambda root: list(fastindex.verify(root, hash=True, workers=1)),
    'deep': lambda root: [one for one in fastindex.validate(root, deep=True, workers=1) if one.path != '.'],
    'release': release,
    'search': lambda root: fastindex.open(root).search(subject='s1'),
}


@pytest.mark.long
@pytest.mark.parametrize('job', JOBS)
def test_a_file_of_which_somebody_holds_a_lease_is_read_by_every_job(make_tree, twin, job):
    root = make_tree(TREE)
    fastindex.build(root, workers=1, hash=['xxh128', 'md5'])
    undisturbed = JOBS[job](root)
    files = [path for path in root.rglob('*') if path.is_file() and path.name != 'lock']
    with leased(*files):
        assert JOBS[job](root) == undisturbed


def test_reads_of_a_regular_file_wait_and_those_of_a_fifo_do_not(tmp_path):
    grow(tmp_path, {'file': b'', 'fifo': Fifo()})
    for name in ('file', 'fifo'):
        fd = open_file(tmp_path / name, 0)
        assert os.get_blocking(fd) == (name == 'file')
        os.close(fd)


def test_a_lease_that_is_not_given_back_is_an_error_in_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, 'LEASE_SECONDS', 0)
    grow(tmp_path, {'file': b''})
    with leased(tmp_path / 'file'), OpenFolder.open(tmp_path) as folder:
        with pytest.raises(BlockingIOError):
            folder.open_fd('file')
        with pytest.raises(BlockingIOError):
            open_file(tmp_path / 'file', 0)

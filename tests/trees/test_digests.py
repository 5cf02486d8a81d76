"""Digests of an open file."""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import random
import time
from pathlib import Path

import pytest
import xxhash

from fastindex import UsageError
from fastindex.trees import digests, fingerprints
from fastindex.trees.digests import (
    BUFFER_BYTES,
    FileChangedError,
    Hasher,
    NotRegularError,
    check_algorithms,
    open_buffer,
)
from fastindex.trees.fingerprints import NO_FINGERPRINT, SETTLED_NS

LATER_NS = 2 * SETTLED_NS + 3600 * 10**9  # a test takes less


@pytest.fixture(params=['settled', 'young'])
def hasher(request, monkeypatch):
    """One that takes every file for settled, or for young."""
    now = time.time_ns()
    monkeypatch.setattr(
        time, 'time_ns', lambda: now + (LATER_NS if request.param == 'settled' else -LATER_NS)
    )
    return Hasher(('xxh128', 'md5'))


def measure(hasher: Hasher, path: Path):
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return hasher.measure(fd)[:2]
    finally:
        os.close(fd)


@pytest.mark.long
@pytest.mark.parametrize(
    'size', [0, 1, 1000, BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1, 3 * BUFFER_BYTES]
)
def test_digests_are_those_of_the_whole_file(tmp_path, hasher, size):
    data = random.Random(size).randbytes(size)
    (tmp_path / 'x').write_bytes(data)
    expected = (xxhash.xxh3_128_digest(data), hashlib.md5(data).digest())
    assert measure(hasher, tmp_path / 'x') == (size, expected)


def test_a_settled_small_file_costs_one_read_and_one_fstat(tmp_path, monkeypatch):
    (tmp_path / 'x').write_bytes(b'data')
    now = time.time_ns()
    monkeypatch.setattr(time, 'time_ns', lambda: now + LATER_NS)
    calls = []
    for module, name in ((digests, 'read_into'), (os, 'fstat'), (os, 'lseek')):
        call = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, n=name, c=call: (calls.append(n), c(*a))[1])
    measure(Hasher(('xxh128',)), tmp_path / 'x')
    assert calls == ['read_into', 'fstat']


def test_a_file_that_was_just_written_is_read_between_two_looks(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprints, 'SETTLED_NS', 3600 * 10**9)  # on a slow machine too
    path = tmp_path / 'x'
    path.write_bytes(b'old!')
    readv = digests.read_into

    def write_once(fd, buffers):
        count = readv(fd, buffers)
        monkeypatch.setattr(digests, 'read_into', readv)
        path.write_bytes(b'new!')  # same size, while it is read
        return count

    monkeypatch.setattr(digests, 'read_into', write_once)
    assert measure(Hasher(('md5',)), path) == (4, (hashlib.md5(b'new!').digest(),))


@pytest.mark.parametrize('size', [10, 2 * BUFFER_BYTES])
def test_a_file_that_grows_at_each_read_is_given_up(tmp_path, monkeypatch, size):
    path = tmp_path / 'x'
    path.write_bytes(bytes(size))
    readv = digests.read_into

    def grow(fd, buffers):
        with path.open('ab') as file:
            file.write(b'more')
        return readv(fd, buffers)

    monkeypatch.setattr(digests, 'read_into', grow)
    with pytest.raises(FileChangedError):
        measure(Hasher(('md5',)), path)


def test_a_file_above_the_limit_gets_no_digests(tmp_path):
    (tmp_path / 'x').write_bytes(bytes(100))
    assert measure(Hasher(('md5',), max_bytes=100), tmp_path / 'x') == (100, None)


def test_a_fifo_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / 'x')
    with pytest.raises(NotRegularError):
        measure(Hasher(('md5',)), tmp_path / 'x')


@pytest.mark.parametrize('names', [['sha1'], ['md5', ''], [''], ['md5 xxh128']])
def test_an_unknown_algorithm_is_a_usage_error(names):
    with pytest.raises(UsageError, match='expected xxh128 or md5'):
        check_algorithms(names)


@pytest.mark.parametrize('mtime_seconds', [-(10**8), 0, 10**8], ids=['older', 'same', 'newer'])
def test_a_fingerprint_is_of_a_file_whose_times_are_older_than_a_minute(tmp_path, monkeypatch, mtime_seconds):
    """That of its last change cannot be set, and on some disks it is not what it should be."""
    path = tmp_path / 'x'
    path.write_bytes(b'x')
    seconds = path.stat().st_ctime + mtime_seconds
    os.utime(path, (seconds, seconds))
    info = path.stat()
    fingerprint = info.st_mtime_ns, info.st_ctime_ns, info.st_ino
    for seconds, expected in ((59, NO_FINGERPRINT), (61, fingerprint)):
        now_ns = max(fingerprint[:2]) + seconds * 10**9
        monkeypatch.setattr(time, 'time_ns', lambda now_ns=now_ns: now_ns)
        with path.open('rb') as file:
            assert Hasher(('md5',)).measure(file.fileno())[2] == expected


def test_the_buffer_begins_where_a_page_does_and_is_not_shared_with_a_forked_process():
    buffer = open_buffer(2**22)
    assert ctypes.addressof(ctypes.c_char.from_buffer(buffer)) % mmap.PAGESIZE == 0

    buffer[:6] = b'parent'
    if (pid := os.fork()) == 0:
        buffer[:6] = b'child!'
        os._exit(0)
    os.waitpid(pid, 0)
    assert bytes(buffer[:6]) == b'parent'

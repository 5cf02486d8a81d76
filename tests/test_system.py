"""What systems do differently: the ways of Windows, as far as they can be gone here."""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from stat import S_IFDIR, S_IFREG
from types import SimpleNamespace

import pytest

from fastindex import system


def test_without_the_calls_of_posix_a_file_is_read_all_the_same(tmp_path):
    (tmp_path / 'x').write_bytes(bytes(range(100)))
    fd = os.open(tmp_path / 'x', os.O_RDONLY)
    buffer = memoryview(bytearray(60))
    assert [system._read_into(fd, [buffer]), bytes(buffer[:2])] == [60, b'\0\1']
    assert system._read_at(fd, 3, 10) == os.pread(fd, 3, 10)
    assert system._read_into(fd, [buffer]) == 40  # on from where it stood
    assert system._read_into(fd, [buffer]) == 0
    os.close(fd)


@pytest.mark.parametrize(
    ('path', 'long'),
    [
        ('C:\\data\\lab', '\\\\?\\C:\\data\\lab'),
        ('C:\\data/lab', '\\\\?\\C:\\data\\lab'),
        ('\\\\server\\share\\lab', '\\\\?\\UNC\\server\\share\\lab'),
        ('\\\\?\\C:\\data', '\\\\?\\C:\\data'),
    ],
)
def test_a_path_is_named_so_that_windows_takes_it_whatever_its_length(monkeypatch, path, long):
    monkeypatch.setattr(sys, 'platform', 'win32')
    assert system.long_path(path) == long
    monkeypatch.undo()
    assert system.long_path(path) == path


@pytest.mark.parametrize(
    ('path', 'posix', 'windows'),
    [
        ('data', 'data', 'data'),
        ('D:/R/d', 'D:/R/d', 'D:/R/d'),
        ('C:\\d', "'C:\\d'", '"C:\\d"'),
        ('C:\\R&D\\', "'C:\\R&D\\'", '"C:\\R&D\\\\"'),
        ('my data', "'my data'", '"my data"'),
        ('-rf', './-rf', './-rf'),
        ('a\nb\\', '"$(printf %b \'a\\0012b\\\\\')"', '"a\\nb\\\\"'),
    ],
)
def test_a_path_is_quoted_for_the_shells_that_there_are(monkeypatch, path, posix, windows):
    assert system.quote(path) == posix
    monkeypatch.setattr(sys, 'platform', 'win32')
    assert system.quote(path) == windows


def test_a_junction_is_a_link_and_a_folder_or_a_file_in_the_cloud_is_none():
    junction, cloud = 0xA0000003, 0x9000001A
    kinds = ((S_IFDIR, junction), (S_IFDIR, 0), (S_IFREG, cloud))
    assert [system.is_link(SimpleNamespace(st_mode=m, st_reparse_tag=t)) for m, t in kinds] == [
        True,
        False,
        False,
    ]


def test_what_is_not_to_be_disturbed_is_done_before_a_signal_counts():
    done = []

    @system.undisturbed()
    def work(*, inner: bool) -> None:
        signal.raise_signal(signal.SIGINT)
        if inner:
            work(inner=False)
        done.append(inner)

    with pytest.raises(KeyboardInterrupt):
        work(inner=True)
    assert done == [False, True]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_in_another_thread_there_is_nothing_to_hold_back():
    def work() -> bool:
        with system.undisturbed():
            return signal.getsignal(signal.SIGINT) is signal.default_int_handler

    with ThreadPoolExecutor(1) as other:
        assert other.submit(work).result()

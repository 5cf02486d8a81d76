"""One table: what its disk answers while it is read."""

from __future__ import annotations

import errno
import io
import os
import re

import pytest

import fastindex
from fastindex import InvalidIndexError
from fastindex.tables.file import TableFile, open_table
from tests.support.trees import SESSION


class Failing(io.FileIO):
    """A file that can be read a number of times."""

    left = 0

    def readinto(self, buffer):
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return super().readinto(buffer)

    def read(self, count=-1):
        data = bytearray(os.fstat(self.fileno()).st_size if count < 0 else count)
        return bytes(data[: self.readinto(data)])


@pytest.fixture
def index(make_tree, build):
    root = make_tree({f'{SESSION}/alf/a.b.npy': b'x'})
    build(root)
    return root


def test_a_table_that_its_disk_does_not_give_is_not_called_damaged(index):
    path = index / 'datasets.pqt'
    said = []
    for left in range(50):
        with Failing(path) as file:
            file.left = left
            try:
                batches = list(TableFile(path, file).iter_batches(['id', 'rel_path']))
            except InvalidIndexError as error:
                said.append(str(error))
            else:
                break
    assert len(batches) == 1
    assert len(said) > 3
    assert {re.sub(r'.*: (.*)\. .*', r'\1', one) for one in said} == {'it cannot be read (Stale file handle)'}


def test_a_table_of_which_its_disk_tells_nothing_is_refused(index, monkeypatch):
    plain = os.fstat
    looks = []

    def fail(fd):
        if os.readlink(f'/proc/self/fd/{fd}').endswith('datasets.pqt'):
            looks.append(fd)
            if len(looks) > 1:  # as NFS, which has looked at it when it was opened
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return plain(fd)

    monkeypatch.setattr(os, 'fstat', fail)
    with pytest.raises(InvalidIndexError, match=r'cannot be opened \(Stale file handle\)'):
        open_table(index / 'datasets.pqt')
    looks.clear()
    with pytest.raises(InvalidIndexError, match='Stale file handle'):
        fastindex.open(index)

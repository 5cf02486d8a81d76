"""Replacing, removing and locking files where a reader is in the way, as on an SMB share or on Windows."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from itertools import count
from types import SimpleNamespace

import pytest

from fastindex import folders
from fastindex.files import hold_lock, open_output
from fastindex.folders import HELD, OpenFolder


@pytest.fixture
def held(monkeypatch):
    """Have renames and removals fail some times, as those of a file that is open; count the tries."""
    real = {name: getattr(os, name) for name in ('replace', 'unlink')}
    state = {'tries': 0, 'failures': 0, 'errno': errno.EACCES}

    def make(name):
        def fail_first(*arguments, **options):
            state['tries'] += 1
            if state['tries'] <= state['failures']:
                raise OSError(state['errno'], os.strerror(state['errno']))
            return real[name](*arguments, **options)

        return fail_first

    for name in real:
        monkeypatch.setattr(os, name, make(name))
    return state


@pytest.fixture
def folder(tmp_path):
    with OpenFolder.open(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize('number', sorted(HELD), ids=errno.errorcode.get)
def test_a_file_that_is_held_for_a_while_is_replaced_and_removed(tmp_path, folder, held, number):
    (tmp_path / 'old').write_text('old')
    (tmp_path / 'new').write_text('new')
    held.update(errno=number, failures=3)
    folder.replace('new', folder, 'old')
    assert held['tries'] == 4
    assert (tmp_path / 'old').read_text() == 'new'
    held.update(tries=0)
    folder.remove('old')
    assert held['tries'] == 4
    assert os.listdir(tmp_path) == []


def test_an_output_that_is_held_for_a_while_is_replaced(tmp_path, monkeypatch):
    tries, replace = [], os.replace

    def fail_first(*arguments, **options):
        tries.append(arguments)
        if len(tries) <= 3:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return replace(*arguments, **options)

    (tmp_path / 'output').write_text('old')
    monkeypatch.setattr(os, 'replace', fail_first)
    with open_output(tmp_path / 'output') as file:
        file.write(b'new')
    assert len(tries) == 4
    assert (tmp_path / 'output').read_text() == 'new'


def test_a_file_that_is_held_for_good_stays(tmp_path, folder, held, monkeypatch):
    passing = SimpleNamespace(monotonic=count().__next__, sleep=lambda _: None)  # a second a look at it
    monkeypatch.setattr(folders, 'time', passing)
    (tmp_path / 'file').touch()
    held.update(failures=10**9)
    with pytest.raises(PermissionError):
        folder.replace('file', folder, 'other')
    assert held['tries'] == folders.HELD_SECONDS
    assert os.listdir(tmp_path) == ['file']


@pytest.mark.parametrize(('number', 'is_patient'), [(errno.EIO, True), (errno.EACCES, False)])
def test_what_is_no_matter_of_patience_is_tried_once(folder, held, number, is_patient):
    held.update(errno=number, failures=1)
    with pytest.raises(OSError, match=os.strerror(number)):
        folder.replace('file', folder, 'other', is_patient=is_patient)
    with pytest.raises(FileNotFoundError):
        folder.replace('file', folder, 'other')
    assert held['tries'] == 2


def test_a_lock_is_held_once_and_by_no_process_that_was_forked_meanwhile(tmp_path):
    with (tmp_path / 'lock').open('ab') as one, (tmp_path / 'lock').open('ab') as other:
        with hold_lock(one.fileno()) as is_ours:
            assert is_ours
            with hold_lock(other.fileno()) as is_theirs:
                assert not is_theirs
            child = os.fork()
            if not child:
                signal.pause()
        try:
            with hold_lock(other.fileno()) as is_theirs:
                assert is_theirs
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


@pytest.mark.parametrize('number', [errno.EAGAIN, errno.EACCES, errno.ENOLCK])
def test_a_lock_that_another_holds_is_told_from_one_that_fails(tmp_path, monkeypatch, number):
    def fail(fd, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, 'flock', fail)
    with (tmp_path / 'lock').open('ab') as file:
        if number == errno.ENOLCK:
            with pytest.raises(OSError, match='No locks available'), hold_lock(file.fileno()):
                pass
        else:
            with hold_lock(file.fileno()) as is_ours:
                assert not is_ours

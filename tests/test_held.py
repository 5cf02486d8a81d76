"""Replacing, removing and locking files where a reader is in the way, as on an SMB share or on Windows."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from stat import S_ISDIR
from types import SimpleNamespace

import pytest

import fastindex
from fastindex import folders
from fastindex.errors import OutputError
from fastindex.file_locks import hold_lock
from fastindex.files import open_output
from fastindex.folders import HELD, OpenFolder
from tests.support.trees import SESSION, grow


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


@pytest.mark.long
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


@pytest.mark.parametrize('is_denied', [False, True])
def test_on_an_smb_share_nothing_is_renamed_over_a_file_that_may_be_held(
    tmp_path, folder, monkeypatch, is_denied
):
    """Linux removes that file, and then says that it is held."""
    rename = os.replace

    def rename_as_there(source, target, *, src_dir_fd, dst_dir_fd):
        if is_denied and source == 'new':
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        with suppress(FileNotFoundError):
            os.unlink(target, dir_fd=dst_dir_fd)
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(folders, 'is_smb', str(tmp_path).__eq__)
    monkeypatch.setattr(os, 'replace', rename_as_there)
    (tmp_path / 'old').write_text('old')
    (tmp_path / 'new').write_text('new')
    if is_denied:
        with pytest.raises(OSError, match='Input/output'):
            folder.replace('new', folder, 'old')
    else:
        folder.replace('new', folder, 'old')
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == (
        {'old': 'old', 'new': 'new'} if is_denied else {'old': 'new'}
    )


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
        with hold_lock(one.fileno(), 'lock') as is_ours:
            assert is_ours
            with hold_lock(other.fileno(), 'lock') as is_theirs:
                assert not is_theirs
            child = os.fork()
            if not child:
                signal.pause()
        try:
            with hold_lock(other.fileno(), 'lock') as is_theirs:
                assert is_theirs
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


@pytest.mark.parametrize(
    'number', [errno.EAGAIN, errno.EACCES, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EIO]
)
def test_a_lock_that_another_holds_is_told_from_one_that_fails(tmp_path, monkeypatch, number):
    def fail(fd, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, 'flock', fail)
    with (tmp_path / 'lock').open('ab') as file:
        if number not in (errno.EAGAIN, errno.EACCES):
            said = (
                os.strerror(number) if number == errno.EIO else r'lock: this disk has no locks.* or elsewhere'
            )
            with pytest.raises(OSError, match=said), hold_lock(file.fileno(), 'lock', hint='or elsewhere'):
                pass
        else:
            with hold_lock(file.fileno(), 'lock') as is_ours:
                assert not is_ours


NO_LINKS = [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.ENOENT]


@pytest.mark.parametrize('number', [*NO_LINKS, errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
def test_a_disk_that_gives_no_name_later_is_known_before_the_work(tmp_path, monkeypatch, number):
    """It has files without names (O_TMPFILE), and no links to them: or it fails, which is said at once."""
    begun = False

    def fail(*_, **__):
        assert not begun
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, 'link', fail)
    with suppress(OutputError), open_output(tmp_path / 'x') as file:
        begun = True
        file.write(b'all of it')
    assert begun == (number in NO_LINKS)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == (
        {'x': b'all of it'} if begun else {}
    )


@pytest.mark.parametrize(
    'number', [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.ENOMEM]
)
def test_of_space_is_asked_only_where_there_is_none(tmp_path, monkeypatch, number):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(OutputError) as found, open_output(tmp_path / 'x') as file:
        file.write(b'x')
    assert str(found.value).startswith(f'{tmp_path}/x: cannot be written ({os.strerror(number)})')
    assert ('Is there space?' in str(found.value)) == (number in (errno.ENOSPC, errno.EDQUOT))


CANNOT = [errno.EBADF, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP]


@pytest.mark.long
@pytest.mark.parametrize('number', [*CANNOT, errno.EIO], ids=errno.errorcode.get)
def test_a_disk_that_cannot_sync_folders_is_written_to_and_one_that_fails_is_not(
    tmp_path, monkeypatch, number
):
    """So are 9p and the shared folders of virtual machines; a file can be synced anywhere."""
    fsync, synced = os.fsync, []

    def fail_of_folders(fd):
        if S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(number, os.strerror(number))
        synced.append(fd)
        fsync(fd)

    def is_written(write):
        before = len(synced)
        with suppress(OSError):
            write()
            assert len(synced) > before
            return True
        return False

    root = grow(tmp_path / 'root', {f'{SESSION}/a.b.npy': b''})
    monkeypatch.setattr(os, 'fsync', fail_of_folders)
    release = partial(fastindex.release, root, tmp_path / 'x.tar.zst', workers=1, force=True)
    for write in (partial(fastindex.build, root, workers=1), release, partial(write_output, tmp_path / 'x')):
        assert is_written(write) == (number in CANNOT)


def write_output(path):
    with open_output(path) as file:
        file.write(b'x')


def test_where_the_system_has_a_call_that_empties_the_cache_of_a_drive_files_are_synced_by_it(
    tmp_path, monkeypatch
):
    calls = []
    monkeypatch.setattr(fcntl, 'F_FULLFSYNC', 51, raising=False)
    monkeypatch.setattr(fcntl, 'fcntl', lambda fd, call: calls.append(call))
    write_output(tmp_path / 'x')
    assert calls == [51]


def test_nothing_is_synced_but_where_it_is_known_which_disks_cannot():
    package = Path(fastindex.__file__).parent
    assert [path.name for path in package.rglob('*.py') if 'os.fsync(' in path.read_text()] == ['system.py']

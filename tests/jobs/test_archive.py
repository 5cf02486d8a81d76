"""Unpacking a stranger's archive."""

from __future__ import annotations

import bz2
import http.server
import os
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import warnings
import zipfile
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from fastindex.errors import ExampleError
from fastindex.jobs.example.archive import unpack_archive
from tests.support.cases import cases
from tests.support.trees import digest_of

FAMOUS = 'zadorlab/Subjects/CSH_ZAD_003/2019-08-11/001'
NYU = 'angelakilab/Subjects/NYU-01'
IMPORTABLE = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
DATASET = f'{FAMOUS}/alf/_ibl_trials.choice.npy'


def write_zip(path, members, method=zipfile.ZIP_DEFLATED):
    """A zip of {name or ZipInfo: content}, or of pairs of them."""
    with zipfile.ZipFile(path, 'w', method) as file, warnings.catch_warnings(action='ignore'):
        for member, content in members.items() if isinstance(members, dict) else members:
            file.writestr(member, content)
    return path


def member_of_kind(kind):
    info = zipfile.ZipInfo('ONE/odd')
    info.external_attr = (kind | 0o777) << 16
    return info


def patch_directory(path, offset, value):
    """Overwrite bytes of the first member's record in the central directory."""
    data = bytearray(path.read_bytes())
    start = data.index(b'PK\x01\x02') + offset
    data[start : start + len(value)] = value
    path.write_bytes(data)


@pytest.mark.long
def test_unpacked_archive_is_the_tree_without_its_top_folder(example_tree, tmp_path):
    root, summary = example_tree
    with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as file:
        for name in ('ONE/one_example.py', '__MACOSX/ONE/._x', 'ONE/.DS_Store', f'ONE/{NYU}/.DS_Store'):
            file.writestr(name, b'junk')
        file.mkdir('ONE/empty')
        for path in root.rglob('*'):
            file.write(path, Path('ONE', path.relative_to(root)))
    unpacked = unpack_archive(tmp_path / 'a.zip', tmp_path / 'x', progress=True)
    assert (unpacked.sessions, unpacked.datasets, unpacked.bytes) == (60, 900, summary.bytes)
    (tmp_path / 'x' / 'empty').rmdir()
    assert digest_of(tmp_path / 'x') == digest_of(root)
    assert sorted(os.listdir(tmp_path)) == ['a.zip', 'x']


@pytest.mark.long
@pytest.mark.skipif(not shutil.which('zip'), reason='no zip command')
def test_archive_of_the_zip_command_is_unpacked(example_tree, tmp_path):
    subprocess.run(['zip', '-qr', tmp_path / 'a.zip', FAMOUS], cwd=example_tree[0], check=True)
    unpack_archive(tmp_path / 'a.zip', tmp_path / 'x')
    assert digest_of(tmp_path / 'x' / FAMOUS) == digest_of(example_tree[0] / FAMOUS)


def test_a_lab_at_the_top_is_not_taken_for_a_wrapper(tmp_path):
    write_zip(tmp_path / 'a.zip', {DATASET: b'x'})
    assert unpack_archive(tmp_path / 'a.zip', tmp_path / 'x').sessions == 1
    assert (tmp_path / 'x' / DATASET).read_bytes() == b'x'


def test_names_that_differ_in_case_are_two_files(tmp_path):
    write_zip(tmp_path / 'a.zip', {'ONE/a.npy': b'1', 'ONE/A.npy': b'2'})
    unpack_archive(tmp_path / 'a.zip', tmp_path / 'x')
    assert sorted(os.listdir(tmp_path / 'x')) == ['A.npy', 'a.npy']


@pytest.mark.parametrize(
    ('member', 'reason'),
    [
        ('/etc/passwd', 'absolute'),
        ('C:/x', 'absolute'),
        ('../x', "'..'"),
        ('ONE/../../x', "'..'"),
        ('ONE/./x', "'.'"),
        ('ONE//x', 'nothing as a folder'),
        ('__MACOSX/../../x', "'..'"),
        ('ONE\\..\\x', 'backslash'),
        ('ONE/a\nb', 'control character'),
        ('ONE/a\x7fb', 'control character'),
        (member_of_kind(stat.S_IFLNK), 'link'),
        (member_of_kind(stat.S_IFIFO), 'device'),
        (member_of_kind(stat.S_IFCHR), 'device'),
        ('ONE/a.npy', 'twice'),
        ('ONE/a.npy/', 'twice'),
        ('ONE/a.npy/b', 'below another member'),
    ],
)
def test_a_suspicious_member_is_named_and_nothing_is_unpacked(tmp_path, member, reason):
    write_zip(tmp_path / 'a.zip', [('ONE/a.npy', b'x'), (member, b'target')])
    name = getattr(member, 'filename', member)
    with pytest.raises(ExampleError, match='nothing unpacked') as caught:
        unpack_archive(tmp_path / 'a.zip', tmp_path / 'x')
    assert repr(name) in str(caught.value)
    assert reason in str(caught.value)
    assert os.listdir(tmp_path) == ['a.zip']


def test_a_name_with_a_nul_is_refused_not_cut(tmp_path):
    path = write_zip(tmp_path / 'a.zip', {'ONE/a.npy@x': b'x'})
    path.write_bytes(path.read_bytes().replace(b'a.npy@x', b'a.npy\0x'))
    with pytest.raises(ExampleError, match='control character'):
        unpack_archive(path, tmp_path / 'x')


def test_an_encrypted_member_is_refused(tmp_path):
    path = write_zip(tmp_path / 'a.zip', {'ONE/a.npy': b'x'})
    patch_directory(path, 8, b'\x01')
    with pytest.raises(ExampleError, match=r"'ONE/a\.npy' is encrypted"):
        unpack_archive(path, tmp_path / 'x')


def test_a_bomb_is_refused(tmp_path):
    write_zip(tmp_path / 'a.zip', {'ONE/a.npy': bytes(3 * 2**20)})
    with pytest.raises(ExampleError, match=r"'ONE/a\.npy' would become more than 250 times larger"):
        unpack_archive(tmp_path / 'a.zip', tmp_path / 'x')


def test_a_method_that_unpacks_without_bounds_is_refused(tmp_path):
    assert bz2.compress(b'')  # else zipfile could not write it either
    write_zip(tmp_path / 'a.zip', {'ONE/a.npy': b'x'}, zipfile.ZIP_BZIP2)
    with pytest.raises(ExampleError, match='is not stored or deflated'):
        unpack_archive(tmp_path / 'a.zip', tmp_path / 'x')


def test_more_than_the_limit_is_refused(tmp_path):
    write_zip(tmp_path / 'a.zip', {'ONE/a.npy': bytes(10), 'ONE/b.npy': bytes(91)})
    with pytest.raises(
        ExampleError, match=r"unpack to 101 B, most of it in 'ONE/b.npy': no example has more than 100 B"
    ):
        unpack_archive(tmp_path / 'a.zip', tmp_path / 'x', max_bytes=100)
    assert unpack_archive(tmp_path / 'a.zip', tmp_path / 'x', max_bytes=101).written


def test_a_header_that_lies_about_the_size_is_an_error_that_leaves_nothing(tmp_path):
    path = write_zip(tmp_path / 'a.zip', {'ONE/a.npy': os.urandom(5000)})
    patch_directory(path, 24, struct.pack('<L', 10))
    with pytest.raises(ExampleError, match='not a whole zip'):
        unpack_archive(path, tmp_path / 'x', max_bytes=100)
    assert os.listdir(tmp_path) == ['a.zip']


def test_bad_crc_is_an_error_that_leaves_nothing(tmp_path):
    path = write_zip(tmp_path / 'a.zip', {'ONE/a.npy': b'spikes'}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b'spikes', b'spoken'))
    with pytest.raises(ExampleError, match='CRC'):
        unpack_archive(path, tmp_path / 'x')
    assert os.listdir(tmp_path) == ['a.zip']


@pytest.mark.parametrize(
    'patches',
    [
        {6: b'\xff'},  # NotImplementedError: needs version 25.5
        {9: b'\x08', 46: b'\xff'},  # UnicodeDecodeError: a name that is not UTF-8
        {10: b'\0', 20: b'\xff\xff\0\0', 24: b'\xff\xff\0\0'},  # EOFError or BadZipFile: beyond the end
        {42: b'\xff\xff\xff\x7f'},  # starts beyond the end
    ],
)
def test_damage_that_zipfile_does_not_expect_is_an_error_that_leaves_nothing(tmp_path, patches):
    path = write_zip(tmp_path / 'a.zip', {'ONE/a.npy': b'x'}, zipfile.ZIP_STORED)
    for offset, value in patches.items():
        patch_directory(path, offset, value)
    with pytest.raises(ExampleError, match='not a whole zip file'):
        unpack_archive(path, tmp_path / 'x')
    assert os.listdir(tmp_path) == ['a.zip']


@pytest.mark.parametrize('content', [b'', b'no zip at all', b'PK\x05\x06' + bytes(18)])
def test_what_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / 'a.zip').write_bytes(content)
    with pytest.raises(ExampleError, match=r'not a whole zip file|holds no file'):
        unpack_archive(tmp_path / 'a.zip', tmp_path / 'x')
    assert os.listdir(tmp_path) == ['a.zip']


def test_a_missing_archive_is_told(tmp_path):
    with pytest.raises(ExampleError, match='no such file'):
        unpack_archive(tmp_path / 'a.zip', tmp_path / 'x')


@hypothesis.settings(max_examples=cases(80))
@hypothesis.given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_archive_is_unpacked_whole_or_not_at_all(changes):
    with tempfile.TemporaryDirectory() as folder:
        path = write_zip(Path(folder, 'a.zip'), {'ONE/a.npy': b'x' * 50, f'ONE/{DATASET}': b'spikes'})
        data = bytearray(path.read_bytes())
        for place, value in changes:
            data[place % len(data)] = value
        path.write_bytes(data[: len(data) - changes[0][1] // 64])
        try:
            unpack_archive(path, Path(folder, 'x'))
        except ExampleError:
            assert os.listdir(folder) == ['a.zip']
        else:
            assert sorted(os.listdir(folder)) == ['a.zip', 'x']


@contextmanager
def serve(content, length=None):
    """The address of a web server that has one file, and may break the connection."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == '/a.zip' else 404)
            self.send_header('Content-Length', length or len(content))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01})
        thread.start()
        try:
            yield f'http://127.0.0.1:{server.server_port}'
        finally:
            server.shutdown()
            thread.join()


def test_an_address_is_downloaded_and_unpacked(tmp_path, monkeypatch):
    monkeypatch.setenv('no_proxy', '*')
    path = write_zip(tmp_path / 'a.zip', {f'ONE/{DATASET}': b'x'})
    with serve(path.read_bytes()) as address:
        assert unpack_archive(f'{address}/a.zip', tmp_path / 'new' / 'x').datasets == 1
    assert os.listdir(tmp_path / 'new') == ['x']


def test_a_download_writes_through_no_link_that_was_planted(tmp_path, monkeypatch):
    monkeypatch.setenv('no_proxy', '*')
    path = write_zip(tmp_path / 'a.zip', {f'ONE/{DATASET}': b'x'})
    (tmp_path / f'.x.download-{os.getpid()}').symlink_to('victim')
    with serve(path.read_bytes()) as address:
        unpack_archive(f'{address}/a.zip', tmp_path / 'x')
    assert not (tmp_path / 'victim').exists()


@pytest.mark.parametrize(
    ('name', 'length', 'max_bytes', 'reason'),
    [
        ('b.zip', None, 1000, '404'),
        ('a.zip', 5000, 1000, 'broke after'),
        ('a.zip', None, 99, 'more than 99 B, which no example has'),
    ],
)
def test_a_download_that_fails_leaves_nothing(tmp_path, monkeypatch, name, length, max_bytes, reason):
    monkeypatch.setenv('no_proxy', '*')
    with serve(bytes(100), length) as address, pytest.raises(ExampleError, match=reason):
        unpack_archive(f'{address}/{name}', tmp_path / 'x', max_bytes=max_bytes)
    assert os.listdir(tmp_path) == []

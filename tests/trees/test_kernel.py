"""Both twins of the kernel do the same, in any folder. The oracles are os.listdir, os.stat and hashlib."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import xxhash

from fastindex import UsageError, twins
from fastindex.names.problems import Reason
from fastindex.trees import Kind, Measures, Wanted, fingerprints, kernel
from fastindex.trees.digests import BUFFER_BYTES
from fastindex.trees.fingerprints import NO_FINGERPRINT
from hatch_build import NAME, compile_kernel
from tests.support.trees import Fifo, Link, Socket, Sparse, grow

TOP = Path(__file__).parent.parent.parent
BIG_BYTES = 16 * 2**20
AWKWARD = {
    'plain.npy': b'data',
    'empty.npy': b'',
    'x' * 255: b'longest',
    b'latin \xe9\xff.npy': b'no UTF-8',
    'gr\u00fc\u00df \U0001f9e0.npy': b'more than ASCII',
    '\u0001\n\x1b[31m -rf': b'control',
    '-leading': b'',
    '..hidden': b'',
    '...': b'',
    'folder/inside.npy': b'',
    'fifo.npy': Fifo(),
    'socket.npy': Socket(),
    'link.npy': Link('plain.npy'),
    'link to a folder': Link('folder'),
    'link to a fifo': Link('fifo.npy'),
    'link to nothing': Link('gone'),
    'link to itself': Link('link to itself'),
    'sparse.bin': Sparse(2**40),
    'large.bin': Sparse(BIG_BYTES),
    **{f'near a limit {size}': bytes(size % 251 for _ in range(size)) for size in (65535, 65536, 65537)},
    **{f'many {i:02}': bytes([i]) * 700_000 for i in range(9)},
    **{f'buffer {size}': Sparse(size) for size in (BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1)},
    'dated.npy': b'2400',
}
KIND_OF_TYPE = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.FOLDER, stat.S_IFLNK: Kind.LINK}


@contextmanager
def opened(folder: Path) -> Iterator[int]:
    fd = os.open(folder, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def list_all(twin: kernel.Twin, fd: int) -> dict[str, int]:
    found = {}
    for names, kinds in twin.list_folder(fd):
        assert len(names) == len(kinds)
        found.update(zip(names, kinds, strict=True))
    return found


def comparable(measures: Measures) -> tuple[Any, ...]:
    """Errors as their classes and numbers."""
    wrong = {
        position: (type(one), one.errno) if isinstance(one, OSError) else one
        for position, one in measures.wrong.items()
    }
    return *measures[:3], wrong


@pytest.fixture(scope='module')
def awkward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = grow(tmp_path_factory.mktemp('awkward') / 'folder', AWKWARD)
    os.utime(folder / 'dated.npy', (13_569_465_600, 13_569_465_600))  # in the year 2400
    if not os.geteuid():
        os.mknod(folder / 'zero', stat.S_IFCHR | 0o666, os.makedev(1, 5))
    return folder


@pytest.fixture(params=['settled', 'young'])
def age(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All files were changed long ago, or of late."""
    monkeypatch.setattr(fingerprints, 'SETTLED_NS', 3600 * 10**9 * (1 if request.param == 'young' else -1))


def test_a_listing_has_each_name_and_what_it_is(twin, awkward):
    with opened(awkward) as fd:
        for _ in range(2):  # from its beginning each time
            found = list_all(twin, fd)
            assert sorted(found) == sorted(os.listdir(awkward))
            assert found == {
                name: KIND_OF_TYPE.get(stat.S_IFMT(os.lstat(awkward / name).st_mode), Kind.OTHER)
                for name in os.listdir(awkward)
            }


def test_a_listing_is_of_the_folder_that_is_open(twin, tmp_path):
    (tmp_path / 'a').mkdir()
    with opened(tmp_path / 'a') as fd:
        (tmp_path / 'a').rmdir()
        assert list(twin.list_folder(fd)) == []
    (tmp_path / 'file').touch()
    with opened(tmp_path / 'file') as fd, pytest.raises(NotADirectoryError):
        list(twin.list_folder(fd))
    with pytest.raises(OSError, match='Bad file descriptor'):
        list(twin.list_folder(fd))


@pytest.mark.parametrize('follow_links', [True, False])
def test_regular_files_are_measured_and_no_link_is_followed_unless_it_may_be(twin, awkward, follow_links):
    names = sorted(os.listdir(awkward))
    with opened(awkward) as fd:
        wanted = Wanted(with_fingerprints=True)
        sizes, none, fingerprints, wrong = twin.measure(fd, names, wanted, follow_links=follow_links)
        assert twin.measure(fd, names, follow_links=follow_links)[:3] == (sizes, [], [])
    infos = {}
    for name in names:
        try:
            infos[name] = os.stat(awkward / name, follow_symlinks=follow_links)
        except OSError:
            infos[name] = os.lstat(awkward / name)
    regular = [info for info in infos.values() if stat.S_ISREG(info.st_mode)]
    assert len(regular) == 27 + follow_links
    assert none == []
    assert sizes == [info.st_size for info in regular]
    assert fingerprints == [(info.st_mtime_ns, info.st_ctime_ns, info.st_ino) for info in regular]
    assert {names[position]: getattr(one, 'errno', one) for position, one in wrong.items()} == {
        'fifo.npy': Reason.NOT_REGULAR,
        'socket.npy': Reason.NOT_REGULAR,
        'folder': Reason.CHANGED,
        'link to a folder': Reason.NOT_REGULAR,
        'link to a fifo': Reason.NOT_REGULAR,
        'link to nothing': errno.ENOENT if follow_links else Reason.NOT_REGULAR,
        'link to itself': errno.ELOOP if follow_links else Reason.NOT_REGULAR,
        **({} if follow_links else {'link.npy': Reason.NOT_REGULAR}),
        **({'zero': Reason.NOT_REGULAR} if 'zero' in names else {}),
    }


@pytest.mark.long
@pytest.mark.parametrize('algorithms', [('xxh128',), ('md5',), ('xxh128', 'md5')])
def test_digests_are_of_the_whole_files_in_the_order_of_their_names(twin, awkward, age, algorithms):
    names = sorted(set(os.listdir(awkward)) - {'sparse.bin', 'large.bin'}, reverse=True)
    with opened(awkward) as fd:
        measures = twin.measure(fd, names, Wanted(algorithms), follow_links=True)
        assert not os.listdir('/proc/self/fd').count('gone')
    files = [name for name in names if (awkward / name).is_file()]
    oracles = {'xxh128': xxhash.xxh3_128_digest, 'md5': lambda data: hashlib.md5(data).digest()}
    contents = [(awkward / name).read_bytes() for name in files]
    assert measures.sizes == [len(content) for content in contents]
    assert measures.digests == [
        tuple(oracles[algorithm](content) for algorithm in algorithms) for content in contents
    ]
    assert len(measures.wrong) == len(names) - len(files)


@pytest.mark.long
@pytest.mark.parametrize('follow_links', [True, False])
@pytest.mark.parametrize('algorithms', [(), ('xxh128',)])
@pytest.mark.parametrize('max_bytes', [3, 65536, 700_000, BIG_BYTES])
def test_both_twins_measure_alike(awkward, age, follow_links, algorithms, max_bytes):
    if not twins.HAS_COMPILED:
        pytest.skip('the kernel is not compiled')
    names = [*sorted(os.listdir(awkward)), 'gone', 'y' * 256, 'folder/inside.npy', 'plain.npy/x', '']
    found = []
    with opened(awkward) as fd:
        for twin in kernel.TWINS.values():
            wanted = Wanted(algorithms, max_bytes, with_fingerprints=True)
            found.append(comparable(twin.measure(fd, names, wanted, follow_links=follow_links)))
    assert found[0] == found[1]
    assert {errno.ENOENT, errno.ENAMETOOLONG, errno.ENOTDIR} <= {
        wrong[1] for wrong in found[0][3].values() if isinstance(wrong, tuple)
    }


def test_a_file_that_may_change_in_this_tick_of_the_clock_has_no_fingerprint(twin, tmp_path):
    folder = grow(tmp_path, {'young': b'x', 'old': b'y'})
    settled = (time.time_ns() - fingerprints.SETTLED_NS) // 10**9
    os.utime(folder / 'old', (settled - 100, settled - 100))  # but not its ctime
    with opened(folder) as fd:
        assert twin.measure(fd, ['young', 'old'], Wanted(('md5',)), follow_links=True).fingerprints == [
            NO_FINGERPRINT,
            NO_FINGERPRINT,
        ]


HASH_TWO = """
import os, sys
from fastindex.trees import Wanted, fingerprints, kernel
fingerprints.SETTLED_NS = int(sys.argv[2])
fd, wanted = os.open(sys.argv[1], os.O_RDONLY), Wanted(('md5',))
measures = kernel.measure(fd, ['a.npy', 'b.npy'], wanted, follow_links=True)
assert measures.sizes == [1, 100_000]
"""


@pytest.mark.long
@pytest.mark.usefixtures('twin')
@pytest.mark.parametrize('settled_ns', [3600 * 10**9, -3600 * 10**9], ids=['young', 'settled'])
def test_nobody_has_looked_at_what_is_hashed(tmp_path, settled_ns):
    folder = grow(tmp_path, {'a.npy': b'x', 'b.npy': bytes(100_000)})
    for name in ('a.npy', 'b.npy'):
        os.utime(folder / name, (1, 2))  # older than mtime: where only the first look counts, this is it
    # A process of its own, as one remembers that somebody else's file refused it.
    subprocess.run([sys.executable, '-c', HASH_TWO, folder, str(settled_ns)], check=True)
    assert [(folder / name).stat().st_atime for name in ('a.npy', 'b.npy')] == [1, 1]


@pytest.mark.long
def test_what_vanishes_after_it_was_listed_stands_in_the_way_of_nothing_else(twin, tmp_path, age):
    names = [f'{i:03}' for i in range(300)]
    folder = grow(tmp_path, {name: name.encode() for name in names})
    for name in names[::3]:
        (folder / name).unlink()
    (folder / names[1]).unlink()
    (folder / names[1]).mkdir()
    (folder / names[2]).unlink()
    os.mkfifo(folder / names[2])
    rest = [name for i, name in enumerate(names) if i % 3 and i > 2]
    with opened(folder) as fd:
        for algorithms in ((), ('xxh128',)):
            measures = twin.measure(fd, names, Wanted(algorithms), follow_links=False)
            assert measures.sizes == [3] * len(rest)
            assert measures.digests == [
                (xxhash.xxh3_128_digest(name.encode()),) for name in rest if algorithms
            ]
            gone = dict.fromkeys(range(0, 300, 3), errno.ENOENT)
            assert {i: getattr(one, 'errno', one) for i, one in measures.wrong.items()} == {
                **gone,
                1: Reason.CHANGED,
                2: Reason.NOT_REGULAR,
            }


def test_a_name_that_no_system_call_takes_is_refused(twin, tmp_path):
    (tmp_path / 'a').touch()
    with opened(tmp_path) as fd, pytest.raises(ValueError, match='null'):
        twin.measure(fd, ['a\0b'], follow_links=True)


@pytest.fixture(scope='module')
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of 70,000 files."""
    folder = tmp_path_factory.mktemp('many')
    with opened(folder) as fd:
        for i in range(70_000):
            os.close(os.open(f'a.{i:05}.npy', os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.long
def test_a_folder_of_70_000_entries_is_listed_in_blocks(twin, many):
    with opened(many) as fd:
        blocks = list(twin.list_folder(fd))
        assert all(0 < len(names) <= 2**15 for names, _ in blocks)
        names = [name for names, _ in blocks for name in names]
        assert sorted(names) == [f'a.{i:05}.npy' for i in range(70_000)]
        assert twin.measure(fd, names, follow_links=True) == ([0] * 70_000, [], [], {})
        assert twin.measure(fd, names[:1000], Wanted(('xxh128',)), follow_links=True).sizes == [0] * 1000


@pytest.mark.long
def test_nothing_of_a_folder_is_kept(twin, tmp_path):
    names = [f'a.{i:03}.n\u00fcpy' for i in range(999)]
    folder = grow(tmp_path, dict.fromkeys(names, b'x'))
    kept = []
    with opened(folder) as fd:
        for _ in range(80):
            assert len(list_all(twin, fd)) == 999
            measures = twin.measure(fd, names, Wanted(with_fingerprints=True), follow_links=True)
            assert len(measures.fingerprints) == 999
            assert twin.measure(fd, names[:10], Wanted(('xxh128',)), follow_links=True).sizes == [1] * 10
            kept.append(int(Path('/proc/self/statm').read_text().split()[1]) * os.sysconf('SC_PAGESIZE'))
    assert kept[-1] - kept[20] < 2**20  # 60 listings are 2.4 MB


@pytest.mark.skipif(not twins.HAS_COMPILED, reason='the kernel is not compiled')
def test_no_byte_is_written_behind_the_buffer_and_what_has_no_room_comes_in_the_next_call(tmp_path):
    from fastindex import _kernel

    folder = grow(tmp_path, {name: name.encode() * 100_000 for name in 'abc'})
    memory = bytearray(400_000)
    later = ((2**40, 0), (2**40, 0))
    with opened(folder) as fd, memoryview(memory) as view:
        with view[:250_000] as buffer:
            assert _kernel.read_files(fd, 'abc', 0, True, buffer, 2**20, *later)[:2] == (
                2,
                [100_000] * 2,
            )
            assert memory == b'a' * 100_000 + b'b' * 100_000 + memory[200_000:250_000] + bytes(150_000)
            assert _kernel.read_files(fd, 'abc', 2, True, buffer, 2**20, *later)[:2] == (3, [100_000])
            assert memory[:100_000] == b'c' * 100_000
        with view[:90_000] as buffer:  # it has room in no call
            assert _kernel.read_files(fd, 'abc', 0, True, buffer, 2**20, *later) == (
                3, [], [], [(0, 0), (1, 0), (2, 0)]
            )  # fmt: skip


@pytest.mark.long
def test_the_environment_says_which_twin_runs():
    automatic = 'compiled' if twins.HAS_COMPILED else 'python'
    for wanted, runs in ({'': automatic, 'python': 'python', automatic: automatic}).items():
        done = subprocess.run(
            [sys.executable, '-m', 'fastindex', '--version'],
            env={**os.environ, 'FASTINDEX_KERNEL': wanted, 'PYTHONPATH': str(TOP)},
            capture_output=True,
            text=True,
        )
        assert done.stdout.endswith(f' (kernel: {runs})\n')
        assert done.stderr == ''


@pytest.mark.long
def test_an_environment_that_asks_for_a_twin_that_is_not_there_is_a_usage_error(tmp_path):
    shutil.copytree(TOP / 'fastindex', tmp_path / 'fastindex', ignore=shutil.ignore_patterns('*.so', '*.pyc'))
    for wanted in ('compiled', 'cython'):
        done = subprocess.run(
            [sys.executable, '-m', 'fastindex', tmp_path],
            cwd=tmp_path,
            env={**os.environ, 'FASTINDEX_KERNEL': wanted, 'PYTHONPATH': str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == UsageError.exit_code
        assert done.stderr.startswith(f"fastindex: error: FASTINDEX_KERNEL is '{wanted}'")


def test_without_a_compiler_nothing_is_built_and_nobody_is_warned(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv('CC', str(tmp_path / 'no compiler'))
    monkeypatch.delenv('FASTINDEX_KERNEL', raising=False)
    assert compile_kernel(tmp_path) is None
    monkeypatch.setenv('CC', 'false')
    assert compile_kernel(tmp_path) is None
    monkeypatch.setenv('FASTINDEX_KERNEL', 'compiled')
    with pytest.raises(RuntimeError, match='cannot be compiled'):
        compile_kernel(tmp_path)
    monkeypatch.delenv('CC')
    monkeypatch.setenv('FASTINDEX_KERNEL', 'python')
    assert compile_kernel(tmp_path) is None
    assert os.listdir(tmp_path) == []
    assert capfd.readouterr() == ('', '')


# ---- calls of an odd file system ----


@pytest.fixture(scope='session')
def oddcalls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that makes calls odd, compiled."""
    if shutil.which('cc') is None:
        pytest.skip('cc is not installed')
    library = tmp_path_factory.mktemp('oddcalls') / 'oddcalls.so'
    source = Path(__file__).with_name('oddcalls.c')
    subprocess.run(
        ['cc', '-shared', '-fPIC', '-O1', '-Wall', '-Werror', '-o', library, source, '-ldl'], check=True
    )
    return library


@pytest.fixture
def run_odd(twin, oddcalls):
    """Run Python where calls are odd, with `fd`, `list_folder` and `measure`; give the lines it prints."""

    def run_odd(folder: Path, modes: str, lines: str) -> list[str]:
        start = (
            'import os, signal, threading\n'
            'from fastindex.trees import Wanted, fingerprints\n'
            'from fastindex.trees.kernel import *\n'
            'signals = []\n'
            'signal.signal(signal.SIGUSR1, lambda *_: signals.append(1))\n'
            f'fd = os.open({str(folder)!r}, os.O_RDONLY)\n'
            f'os.environ["ODDCALLS"] = {modes!r}\n'
        )
        before = os.environ.get('LD_PRELOAD', '')  # that of the sanitizers
        done = subprocess.run(
            [sys.executable, '-c', start + lines],
            env={
                **os.environ,
                'PYTHONPATH': os.pathsep.join(sys.path),
                'LD_PRELOAD': f'{before} {oddcalls}'.strip(),
                'ODDCALLS_FILE': str(folder / 'go'),
            },
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()

    return run_odd


@pytest.mark.long
def test_where_a_listing_tells_no_types_each_entry_is_looked_at(run_odd, tmp_path):
    folder = grow(
        tmp_path,
        {'file': b'', 'folder/': None, 'link': Link('file'), 'fifo': Fifo(), 'eio.npy': b'', 'gone': b''},
    )
    lines = 'for names, kinds in list_folder(fd): print(sorted(zip(names, kinds)))'
    kinds = {'eio.npy': 0, 'fifo': 4, 'file': 1, 'folder': 2, 'gone': 1, 'link': 3}
    assert run_odd(folder, 't', lines) == [str(sorted(kinds.items()))]


@pytest.mark.long
def test_a_listing_that_breaks_off_gives_what_came_before_and_then_raises(run_odd, tmp_path):
    folder = grow(tmp_path, {f'{"x" * 200}{i:04}': b'' for i in range(300)})
    lines = (
        'try:\n'
        '    for names, kinds in list_folder(fd): print(len(names) == len(set(names)) == len(kinds) > 5)\n'
        'except OSError as error:\n'
        '    print(error.errno)\n'
    )
    assert run_odd(folder, 'b', lines) == ['True', str(errno.EIO)]


def test_a_read_that_would_have_to_wait_for_the_lease_of_another_waits(run_odd, tmp_path):
    folder = grow(tmp_path, {'a.npy': b'123', 'b.npy': bytes(100_000), 'fifo.npy': Fifo()})
    lines = (
        'writer = os.open("fifo.npy", os.O_RDWR | os.O_NONBLOCK, dir_fd=fd)\n'  # so that a read is EAGAIN
        'found = measure(fd, ["a.npy", "b.npy", "fifo.npy"], Wanted(("md5",)), follow_links=False)\n'
        'print(found.sizes, [one[0].hex()[:6] for one in found.digests], found.wrong)\n'
    )
    expected = ([3, 100_000], ['202cb9', '0019d2'], {2: Reason.NOT_REGULAR})
    assert run_odd(folder, 'e', lines) == [' '.join(map(str, expected))]


def test_a_call_that_a_signal_interrupts_is_done_again(run_odd, twin, tmp_path):
    folder = grow(tmp_path, {f'{i}.npy': bytes(100_000) for i in range(5)})
    lines = (
        'fingerprints.SETTLED_NS = -10**13\n'
        'found = [name for names, _ in list_folder(fd) for name in names]\n'
        'print(len(found), measure(fd, found, follow_links=True)[::3])\n'
        'print(measure(fd, found, Wanted(("xxh128",)), follow_links=True)[::3])\n'
        'print(len(signals) >= 10)\n'
    )
    expected = str(([100_000] * 5, {}))
    modes = 'tis' if twin is kernel.TWINS['compiled'] else 'i'  # Python does not look again
    assert run_odd(folder, modes, lines) == [f'5 {expected}', expected, 'True']


def test_a_young_file_that_grows_between_two_reads_has_the_digest_of_the_whole(run_odd, twin, tmp_path):
    folder = grow(tmp_path, {'a.npy': b'data', 'b.npy': b''})
    lines = (
        'found = measure(fd, ["a.npy", "b.npy"], Wanted(("md5",)), follow_links=True)\n'
        'digests = [digest.hex() for (digest,) in found.digests]\n'
        'print(*found.sizes, *digests, found.fingerprints, found.wrong)\n'
    )
    [line] = run_odd(folder, 'c', lines)
    contents = [(folder / name).read_bytes() for name in ('a.npy', 'b.npy')]
    assert contents == ([b'datax', b'x'] if twin is kernel.TWINS['compiled'] else [b'data', b''])
    digests = [hashlib.md5(content).hexdigest() for content in contents]
    assert line == ' '.join(map(str, [*map(len, contents), *digests, [NO_FINGERPRINT] * 2, {}]))


@pytest.mark.long
def test_only_the_first_file_of_somebody_else_is_asked_to_keep_its_atime(run_odd, tmp_path):
    folder = grow(tmp_path, {f'{i}.npy': b'x' for i in range(200)})
    lines = (
        'import ctypes\n'
        'names = [name for names, _ in list_folder(fd) for name in names]\n'
        'for _ in range(2):\n'
        '    found = measure(fd, names, Wanted(("xxh128",)), follow_links=True)\n'
        '    print(len(found.digests), found.wrong, ctypes.CDLL(None).oddcalls_refused())\n'
    )
    assert run_odd(folder, 'n', lines) == ['200 {} 1'] * 2


@pytest.mark.long
@pytest.mark.parametrize(
    'call',
    [
        'list(list_folder(fd))',
        'measure(fd, names, follow_links=True)',
        'measure(fd, names, Wanted(("md5",)), follow_links=True)',
    ],
)
def test_a_handler_of_a_signal_that_raises_ends_a_call(run_odd, tmp_path, call):
    folder = grow(tmp_path, {f'{i}.npy': b'x' for i in range(300)})
    lines = (
        'names = os.listdir(fd)\n'
        'def handle(*_): raise KeyboardInterrupt\n'
        'signal.signal(signal.SIGUSR1, handle)\n'
        'os.environ["ODDCALLS"] = "tis"\n'
        'try:\n'
        f'    {call}\n'
        'except KeyboardInterrupt:\n'
        '    print("interrupted")\n'
    )
    assert run_odd(folder, '', lines) == ['interrupted']


@pytest.mark.long
def test_other_threads_run_while_a_file_system_is_waited_for(run_odd, tmp_path):
    folder = grow(tmp_path, {'waits.npy': b'1234', 'a.npy': b''})
    lines = (
        f'go = lambda: open({str(folder / "go")!r}, "x").close()\n'
        'threading.Timer(0.05, go).start()\n'
        'print(measure(fd, ["a.npy", "waits.npy"], follow_links=True).sizes)\n'
    )
    assert run_odd(folder, '', lines) == ['[0, 4]']


@pytest.mark.long
def test_a_signal_that_interrupts_no_call_is_noticed_long_before_the_last_of_many_files(run_odd, tmp_path):
    folder = grow(tmp_path, {'a': b''})
    lines = (
        'import ctypes\n'
        'def handle(*_): raise KeyboardInterrupt\n'
        'signal.signal(signal.SIGUSR1, handle)\n'
        'try:\n'
        '    measure(fd, ["a"] * 10_000, follow_links=True)\n'
        'except KeyboardInterrupt:\n'
        '    print(ctypes.CDLL(None).oddcalls_looks() < 1000)\n'
    )
    assert run_odd(folder, 'r', lines) == ['True']


# ---- sanitizers ----


@pytest.mark.fault
def test_sanitizers_find_nothing_wrong_in_the_compiled_twin(tmp_path, monkeypatch):
    shutil.copytree(TOP / 'fastindex', tmp_path / 'fastindex', ignore=shutil.ignore_patterns('*.so', '*.pyc'))
    monkeypatch.setenv('FASTINDEX_KERNEL', 'compiled')
    flags = ['-g', '-fsanitize=address,undefined', '-fno-sanitize-recover=all']
    built = compile_kernel(tmp_path / 'fastindex', *flags)
    assert built == tmp_path / 'fastindex' / NAME
    compiler = os.environ.get('CC', 'cc')
    runtime = subprocess.run(
        [compiler, '-print-file-name=libasan.so'], capture_output=True, text=True, check=True
    ).stdout.strip()
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '-k', 'compiled or alike']
        + [
            '-o',
            f'pythonpath={tmp_path} . examples',
            *(f'tests/{x}.py' for x in ('trees/test_kernel', 'trees/test_disk', 'names/test_ids')),
        ],
        cwd=TOP,
        env={
            **{key: value for key, value in os.environ.items() if key != 'FASTINDEX_ALL_PROMISES'},
            'PYTHONPATH': f'{tmp_path}',
            'PYTHONMALLOC': 'malloc',  # so that what is beyond the end of an object is nobody's
            'LD_PRELOAD': runtime,
            'ASAN_OPTIONS': 'detect_leaks=0:quarantine_size_mb=1',  # the interpreter leaks
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]

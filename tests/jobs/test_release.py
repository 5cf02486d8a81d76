"""Releases: what other programs unpack, check and open; that nothing is lost, added or left half done."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
import zipfile
import zlib
from contextlib import nullcontext, suppress
from datetime import datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import deflate
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from one.api import One

import fastindex
from fastindex import FindingsError, Query, ReleaseError
from fastindex.errors import ForeignTableError, MissingExtraError
from fastindex.jobs.release.archive import Source, _Run
from fastindex.jobs.release.pack import BIG_BYTES, FileTask, Packing, PackTask, SteadyFile
from fastindex.jobs.release.plan import select_rows, split_rows
from fastindex.jobs.release.preflight import find_aggregates
from fastindex.jobs.release.tables import list_client_tables
from fastindex.jobs.release.tars import TarZstFormat
from fastindex.jobs.release.zips import ZipFormat
from fastindex.trees import open_tree
from fastindex.trees.exclude import leave_out
from tests.support.cases import cases
from tests.support.patience import turns
from tests.support.tables import read, read_paths, stop_between_the_renames
from tests.support.trees import SESSION, Fifo, Link, Mode, digest_of, grow

pytestmark = [
    # What one.api and one.alf.cache do, pandas 3 deprecates.
    pytest.mark.filterwarnings('ignore:The copy keyword is deprecated:DeprecationWarning:one.api'),
    pytest.mark.filterwarnings('ignore:The inplace keyword in DataFrame.\\w+:DeprecationWarning'),
]

NOISE = np.random.default_rng(0).bytes(BIG_BYTES + 500_000)  # three pieces
MOMENT = datetime(2024, 2, 1)

TREE = {
    'README.md': b'about the data',
    'LICENSE': b'CC0',
    'README.md~': b'what an editor left',
    'notes.txt': b'not for everybody',
    f'{SESSION}/alf/spikes.times.npy': b'12' * 9000,
    f'{SESSION}/alf/spikes.amps.npy': b'',
    f'{SESSION}/alf/notes.txt': b'not ALF',
    f'{SESSION}/alf/#2024-05-06#/spikes.times.npy': b'3' * 5000,
    f'{SESSION}/raw_video_data/_iblrig_leftCamera.raw.mp4': NOISE,
    f'{SESSION}/raw_ephys_data/ephys.raw.bin': NOISE[:5000] * 1000,
    'lab/Subjects/s1/2024-01-02/001/': None,
    'lab/Subjects/é 100%/2024-02-01/001/alf/wheel.position.npy': NOISE[:2000],
    'lab_2/Subjects/s2/2023-01-01/001/_ibl_trials.choice.npy': NOISE[:300_000],
}
"""All kinds of members: empty, compressible, not, stored as it is, in pieces; a session without datasets."""


@pytest.fixture(scope='module')
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree in `root`, released with two workers as `data.zip` and `data.tar.zst`; to be read only."""
    folder = tmp_path_factory.mktemp('released')
    grow(folder / 'root', TREE)
    for name in ('data.zip', 'data.tar.zst'):
        fastindex.release(folder / 'root', folder / name, workers=2)
    return folder


def unpack(archive: Path) -> Path:
    """Unpack an archive by the usual program, into a new folder beside it."""
    target = archive.with_name(f'{archive.name}-unpacked')
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    command = ['unzip', '-q'] if archive.suffix == '.zip' else ['tar', '--zstd', '-xf']
    subprocess.run([*command, archive, '-d' if archive.suffix == '.zip' else '-C', target], check=True)
    return target


def list_files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob('*') if path.is_file()}


@pytest.mark.long
@pytest.mark.parametrize('name', ['data.zip', 'data.tar.zst'])
def test_unpacked_files_are_those_of_the_index_and_what_describes_them(released, name):
    unpacked = unpack(released / name)
    expected = {path for path in TREE if path.endswith(('.npy', '.mp4', '.bin'))} | {'README.md', 'LICENSE'}
    made = {'sessions.pqt', 'datasets.pqt', 'manifest-md5.txt'}
    assert list_files(unpacked) == expected | made
    assert all((unpacked / path).read_bytes() == TREE[path] for path in expected)
    assert read_paths(unpacked) == {path for path in expected if '/' in path}
    assert [
        str(d) for d in fastindex.verify(unpacked, hash=True, workers=1)
    ] == []  # also sees the empty session
    assert {path.stat().st_mode & 0o777 for path in unpacked.rglob('*') if path.is_file()} == {0o644}


@pytest.mark.long
def test_archives_pass_the_tests_of_the_programs_that_unpack_them(released):
    subprocess.run(['unzip', '-tq', released / 'data.zip'], check=True)
    subprocess.run(['zip', '-Tq', released / 'data.zip'], check=True)
    subprocess.run(['zstd', '-tq', released / 'data.tar.zst'], check=True)
    with zipfile.ZipFile(released / 'data.zip') as archive:
        assert archive.testzip() is None
        assert len(set(archive.namelist())) == len(archive.namelist())


@pytest.mark.long
def test_what_is_compressed_already_is_stored_and_all_else_deflated(released):
    with zipfile.ZipFile(released / 'data.zip') as archive:
        kinds = {Path(info.filename).suffix: info.compress_type for info in archive.infolist()}
        packed = {
            Path(info.filename).name: info.compress_size / (info.file_size or 1)
            for info in archive.infolist()
        }
    assert kinds['.mp4'] == kinds['.pqt'] == zipfile.ZIP_STORED
    assert kinds['.bin'] == kinds['.md'] == zipfile.ZIP_DEFLATED
    assert packed['ephys.raw.bin'] < 0.1
    assert packed['wheel.position.npy'] == 1  # noise: smaller as it is


@pytest.mark.long
@pytest.mark.parametrize(
    ('manifest', 'program'), [('md5', 'md5sum'), ('xxh128', 'xxh128sum'), ('sha256', 'sha256sum')]
)
def test_manifest_is_checked_by_the_program_of_its_digest(make_tree, tmp_path, manifest, program):
    fastindex.release(make_tree(TREE), tmp_path / 'data.zip', manifest=manifest, workers=1)
    unpacked = unpack(tmp_path / 'data.zip')
    lines = (unpacked / f'manifest-{manifest}.txt').read_text().splitlines()
    assert {line.split('  ', 1)[1] for line in lines} == list_files(unpacked) - {f'manifest-{manifest}.txt'}
    check = [program, '-c', '--quiet', f'manifest-{manifest}.txt']
    subprocess.run(check, cwd=unpacked, check=True)
    (unpacked / 'LICENSE').write_bytes(b'CC1')
    assert subprocess.run(check, cwd=unpacked, capture_output=True, check=False).returncode


def test_a_manifest_has_each_path_as_it_is_whatever_characters_it_has(make_tree, tmp_path):
    subjects = [
        'mouse_50%',
        '50%25',
        ' a',
        'b ',
        '*c',
        '-d',
        "e'",
        'f"',
        '$(g)',
        'é 100%',
        'h  i',
        '#j',
        '~k',
    ]
    tree = {f'{subject}/2024-01-01/001/a.b.c': b'1' for subject in subjects}
    fastindex.release(make_tree(tree), tmp_path / 'x.zip', workers=1, force=True)
    check = ['md5sum', '-c', '--strict', 'manifest-md5.txt']
    done = subprocess.run(check, cwd=unpack(tmp_path / 'x.zip'), capture_output=True, text=True, check=True)
    assert {line.removesuffix(': OK') for line in done.stdout.splitlines()} >= set(tree)


@pytest.mark.long
def test_client_loads_every_dataset_of_a_release_of_the_example(example_tree, tmp_path):
    root, example = example_tree
    (tmp_path / 'tables').mkdir()
    done = fastindex.release(root, tmp_path / 'data.zip', index=tmp_path / 'tables', workers=1)
    assert (done.sessions, done.datasets, done.bytes) == (example.sessions, example.datasets, example.bytes)
    unpacked = unpack(tmp_path / 'data.zip')
    one = One(cache_dir=unpacked, mode='local')
    loaded = 0
    for eid in one.search(subject='NYU')[:4]:
        path = one.eid2path(eid).relative_to(unpacked)
        for rel_path in one.list_datasets(eid):
            np.testing.assert_array_equal(one.load_dataset(eid, rel_path), np.load(root / path / rel_path))
            loaded += 1
    assert loaded == 4 * 15
    assert [str(d) for d in fastindex.verify(unpacked, hash=True, workers=1)] == []  # and all else is there


@pytest.mark.long
def test_same_tree_gives_the_same_bytes_whatever_the_workers_and_the_times_of_files(released, tmp_path):
    root = tmp_path / 'root'
    shutil.copytree(released / 'root', root, ignore=shutil.ignore_patterns('*.pqt', '.fastindex'))
    for path in root.rglob('*'):
        os.utime(path, (1e9, 1e9))
    for name, workers in (('data.zip', 1), ('data.zip', 3), ('data.tar.zst', 1)):
        fastindex.release(root, tmp_path / name, workers=workers, overwrite=True)
        assert (tmp_path / name).read_bytes() == (released / name).read_bytes()  # of two workers


@pytest.mark.long
def test_a_release_is_of_the_last_session_s_day_and_of_no_machine(released, tmp_path, monkeypatch):
    with zipfile.ZipFile(released / 'data.zip') as archive:
        assert {info.date_time for info in archive.infolist()} == {(2024, 2, 1, 0, 0, 0)}
        tables = [archive.read(name) for name in ('sessions.pqt', 'datasets.pqt')]
    facts = fastindex.open(unpack(released / 'data.zip')).facts
    assert (facts['date_created'], facts['origin']) == ('2024-02-01 00:00', 'root')
    assert not any(str(released).encode() in table for table in tables)
    monkeypatch.setenv('SOURCE_DATE_EPOCH', '1700000000')
    fastindex.release(released / 'root', tmp_path / 'x.zip', name='my data', index=tmp_path, workers=1)
    with zipfile.ZipFile(tmp_path / 'x.zip') as archive:
        assert {info.date_time for info in archive.infolist()} == {(2023, 11, 14, 22, 13, 20)}
    facts = fastindex.open(unpack(tmp_path / 'x.zip')).facts
    assert (facts['date_created'], facts['origin']) == ('2023-11-14 22:13', 'my data')


@pytest.mark.long
def test_ids_are_those_of_the_tree(released):
    unpacked, root = unpack(released / 'data.zip'), released / 'root'
    for table in ('sessions', 'datasets'):
        assert read(unpacked, table) == read(root, table)


@pytest.mark.long
def test_selected_sessions_alone_are_released_with_an_index_of_them(make_tree, tmp_path):
    root = make_tree(TREE)
    done = fastindex.release(
        root, tmp_path / 'x.zip', select=Query(subject='s1', date_range='2024-01-01'), workers=1
    )
    unpacked = unpack(tmp_path / 'x.zip')
    assert done.sessions == len(One(cache_dir=unpacked, mode='local').search()) == 1
    assert {path for path in list_files(unpacked) if '/' in path} == {
        path for path in TREE if path.startswith(SESSION) and not path.endswith('.txt')
    }
    assert [str(d) for d in fastindex.verify(unpacked, hash=True, workers=1)] == []
    with pytest.raises(ReleaseError, match='no session'):
        fastindex.release(root, tmp_path / 'y.zip', select=Query(subject='nobody'), workers=1)


@pytest.mark.long
@pytest.mark.parametrize(
    ('by', 'groups'), [('lab', {'lab', 'lab_2'}), ('subject', {'lab/s1', 'lab/é 100%', 'lab_2/s2'})]
)
def test_each_part_is_within_the_limit_and_opens_by_itself(released, tmp_path, by, groups):
    limit = sum(len(content or b'') for path, content in TREE.items() if path.startswith('lab/')) + 250_000
    done = fastindex.release(
        released / 'root', tmp_path / 'x.zip', split_bytes=limit, split_by=by, index=tmp_path, workers=1
    )
    assert [archive.path.name for archive in done.archives] == ['x.part1.zip', 'x.part2.zip']
    found = []
    for archive in done.archives:
        assert archive.path.stat().st_size == archive.bytes < limit
        unpacked = unpack(archive.path)
        assert [str(d) for d in fastindex.verify(unpacked, hash=True, workers=1)] == []
        assert len(One(cache_dir=unpacked, mode='local').search()) == archive.sessions
        found += [path for path in list_files(unpacked) if '/' in path]
    assert sorted(found) == sorted(read_paths(tmp_path))
    assert {group for archive in done.archives for group in archive.groups} == groups


def test_a_lab_larger_than_a_part_is_an_error(make_tree, tmp_path):
    root = make_tree(TREE)
    with pytest.raises(ReleaseError, match=r'lab lab: .* more than `split_bytes` 1.0 MB.*`split_by=subject`'):
        fastindex.release(root, tmp_path / 'x.zip', split_bytes=10**6, workers=1)


@pytest.mark.long
def test_no_part_of_small_files_exceeds_its_limit(make_tree, tmp_path):
    root = make_tree(
        {
            f's{i}/2024-01-01/001/alf/{"x" * 99}.{j:04}.npy': NOISE[i : i + j]
            for i in range(4)
            for j in range(400)
        }
    )
    for name in ('x.zip', 'x.tar.zst'):
        done = fastindex.release(root, tmp_path / name, split_bytes=2_000_000, split_by='subject', workers=1)
        assert len(done.archives) > 1
        assert all(archive.bytes is not None and archive.bytes <= 2_000_000 for archive in done.archives)


def test_a_dataset_with_other_contents_than_indexed_fails_the_release_with_its_name(make_tree):
    root = make_tree(TREE)
    for file in (FileTask('spikes.times.npy', 18_000, '0' * 32), FileTask('spikes.times.npy', 17_999, '')):
        task = PackTask(Packing(open_tree(root), ZipFormat(MOMENT), 'md5'), [(f'{SESSION}/alf', [file])])
        with pytest.raises(ReleaseError, match=r'alf/spikes\.times\.npy: the file has changed'):
            task.run()


@pytest.mark.parametrize('change', ['append', 'truncate', 'touch'])
def test_a_file_that_changes_while_it_is_read_fails_the_release_with_its_name(tmp_path, change):
    path = tmp_path / 'big'
    path.write_bytes(NOISE)
    with path.open('rb') as file:
        steady = SteadyFile(file.fileno(), 'lab/big', 'md5')
        pieces = steady.iter_pieces(memoryview(bytearray(2**20)))
        assert next(pieces) == (NOISE[: 2**20], False)
        if change == 'append':
            path.write_bytes(NOISE + b'x')
        elif change == 'truncate':
            os.truncate(path, 2**20)
        else:
            os.utime(path)
        with pytest.raises(ReleaseError, match='lab/big: the file has changed'):
            list(pieces)


def test_a_file_that_grows_during_the_release_is_named_and_nothing_is_released(
    make_tree, tmp_path, monkeypatch
):
    root = make_tree(TREE)
    read = SteadyFile.read

    def grow_and_read(steady: SteadyFile, buffer: Any) -> Any:
        with (root / SESSION / 'alf/spikes.times.npy').open('ab') as file:
            file.write(b'x')
        return read(steady, buffer)

    monkeypatch.setattr(SteadyFile, 'read', grow_and_read)
    with pytest.raises(ReleaseError, match=r'alf/spikes\.times\.npy'):
        fastindex.release(root, tmp_path / 'x.zip', workers=1)
    assert not list(tmp_path.glob('*x.zip*'))


@pytest.mark.long
@pytest.mark.parametrize(('number', 'code'), [(signal.SIGKILL, -9), (signal.SIGTERM, 143)])
def test_a_run_that_is_killed_leaves_the_old_archive_and_nothing_else(make_tree, tmp_path, number, code):
    root = make_tree({f's/2024-01-01/00{i}/a.b.bin': NOISE for i in range(9)})
    folder = tmp_path / 'out'
    folder.mkdir()
    command = ['release', root, '--out', folder / 'x.zip', '--overwrite', '--workers', '2']
    for _ in turns():  # where this process has to wait for a CPU, the run may be over before it is killed
        (folder / 'x.zip').write_bytes(b'old')
        process = subprocess.Popen([sys.executable, '-m', 'fastindex', *command], stderr=subprocess.DEVNULL)
        try:
            while process.poll() is None and not _has_written(process.pid, folder):
                time.sleep(0.001)
            process.send_signal(number)
            is_old = process.wait() == code and (folder / 'x.zip').read_bytes() == b'old'
        finally:
            process.kill()
            process.wait()
        assert process.returncode in (0, code)
        assert os.listdir(folder) == ['x.zip']
        if is_old:
            break
        with zipfile.ZipFile(folder / 'x.zip') as archive:
            assert archive.testzip() is None


def _has_written(pid: int, folder: Path) -> bool:
    """Whether a process holds a file in a folder, be it without a name, and has written to it."""
    with suppress(OSError):  # closed meanwhile, or the process has ended
        for fd in Path(f'/proc/{pid}/fd').iterdir():
            if os.readlink(fd).startswith(str(folder)) and fd.stat().st_size > 2**20:
                return True
    return False


@pytest.mark.long
def test_a_full_disk_is_said_and_leaves_nothing(make_tree, tmp_path):
    root = make_tree({'s/2024-01-01/001/a.b.bin': NOISE})
    fastindex.build(root, workers=1, hash=['xxh128'])
    (tmp_path / 'out').mkdir()
    command = ['release', root, '--out', tmp_path / 'out/x.zip', '--workers', '1']
    limited = ['prlimit', f'--fsize={2**20}', sys.executable, '-m', 'fastindex', *command]
    done = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert re.search(r'x\.zip: cannot be written \(File too large\)', done.stderr)
    assert list((tmp_path / 'out').iterdir()) == []


def test_errors_of_validate_stop_a_release_unless_it_is_forced(make_tree, tmp_path, run):
    root = make_tree({**TREE, f'{SESSION}/alf 2/spikes.times.npy': b'1'})
    code, _, err = run('release', root, '--out', tmp_path / 'x.zip', '--workers', 1)
    assert code == 1
    assert 'ALF201 ' in err
    assert f'fastindex validate {root} --min-severity error --all --no-follow-symlinks\n' in err
    assert not list(tmp_path.glob('*.zip'))
    done = fastindex.release(root, tmp_path / 'x.zip', workers=1, force=True)
    assert done.findings['error'] == 1
    assert f'{SESSION}/alf 2/spikes.times.npy' not in list_files(unpack(tmp_path / 'x.zip'))


def test_a_path_that_cannot_be_indexed_stops_a_release_unless_it_is_forced(make_tree, tmp_path):
    root = make_tree({**TREE, f'{SESSION}/alf/spikes.depths.npy': Fifo()})
    with pytest.raises(FindingsError, match=r'spikes\.depths\.npy'):
        fastindex.release(root, tmp_path / 'x.zip', workers=1)
    fastindex.release(root, tmp_path / 'x.zip', workers=1, force=True)
    assert f'{SESSION}/alf/spikes.depths.npy' not in list_files(unpack(tmp_path / 'x.zip'))


def test_an_unreadable_file_stops_a_release_with_its_name(released, open_folder):  # all is imported
    root = grow(open_folder / 'root', {f'{SESSION}/a.b.c': b'1', f'{SESSION}/a.b.d': b'2'})
    (root / SESSION / 'a.b.d').chmod(0)  # validate opens nothing: it does not see that
    with pytest.raises(ReleaseError, match=r'1 path could not be indexed:\n.*a\.b\.d: .*ermission'):
        fastindex.release(root, open_folder / 'x.zip', workers=1)
    assert not (open_folder / 'x.zip').exists()


def test_links_are_errors_until_it_is_said_what_to_do_about_them(make_tree, tmp_path):
    (tmp_path / 'secret').mkdir()
    (tmp_path / 'secret/spikes.amps.npy').write_bytes(b'secret')
    root = make_tree(
        {
            f'{SESSION}/alf/spikes.times.npy': b'1',
            f'{SESSION}/alf/spikes.amps.npy': Link(str(tmp_path / 'secret/spikes.amps.npy')),
            f'{SESSION}/probe00': Link(str(tmp_path / 'secret')),
            'README': Link(str(tmp_path / 'secret/spikes.amps.npy')),
        }
    )
    with pytest.raises(FindingsError, match=r'3 links.*\n`follow_symlinks` releases.*`index` DIR'):
        fastindex.release(root, tmp_path / 'x.zip', workers=1)
    inside = {f'{SESSION}/alf/spikes.times.npy', 'sessions.pqt', 'datasets.pqt', 'manifest-md5.txt'}
    linked = {f'{SESSION}/alf/spikes.amps.npy', f'{SESSION}/probe00/spikes.amps.npy', 'README'}
    for name, follow, expected in (('x', False, inside), ('y', True, inside | linked)):
        tables = tmp_path / f'tables-{name}'
        tables.mkdir()
        fastindex.release(root, tmp_path / f'{name}.zip', index=tables, workers=1, follow_symlinks=follow)
        unpacked = unpack(tmp_path / f'{name}.zip')
        assert list_files(unpacked) == expected
        assert not any(path.is_symlink() for path in unpacked.rglob('*'))


def test_a_file_that_has_become_a_link_is_not_read(make_tree):
    root = make_tree({f'{SESSION}/a.b.c': b'1', 'lab/Subjects/s1/2024-01-01/002': Link('001')})
    (root / SESSION / 'a.b.d').symlink_to(root / SESSION / 'a.b.c')
    tree = open_tree(root, follow_links=False)
    for folder, name in ((SESSION, 'a.b.d'), ('lab/Subjects/s1/2024-01-01/002', 'a.b.c')):
        task = PackTask(Packing(tree, ZipFormat(MOMENT), 'md5'), [(folder, [FileTask(name, 1, '')])])
        with pytest.raises(ReleaseError, match='a link leads there'):
            task.run()


@pytest.mark.parametrize('name', ['README', 'LICENSE.txt'])
def test_a_file_beside_the_datasets_that_has_become_a_link_is_not_read(make_tree, tmp_path, name):
    root = make_tree({name: b'mine', f'{SESSION}/a.b.c': b'1', '../secret': b'secret'})
    add_source = _Run.add_source

    def exchange_before(self: _Run, source: Source) -> None:
        """It was found to be a file, and is not open yet."""
        (root / name).unlink(missing_ok=True)
        (root / name).symlink_to('../secret')
        add_source(self, source)

    release = partial(fastindex.release, root, workers=1, follow_symlinks=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Run, 'add_source', exchange_before)
        with pytest.raises(ReleaseError, match=f'{name}: a link leads there'):
            release(tmp_path / 'x.zip')
    release(tmp_path / 'y.zip')  # now it was a link from the beginning
    assert name not in list_files(unpack(tmp_path / 'y.zip'))


BAD_NAMES = [
    *('README\\..\\..\\evil.txt', 'README\n', 'README\x1b[1m', 'README\udcff', 'README\u202e', '..', '.'),
    *('/etc/passwd', '../x', 'a/../../x', 'a//b', 'a/', '', 'a/./b', 'C:/a', 'c:a'),
]


@pytest.mark.parametrize('name', BAD_NAMES)
@pytest.mark.parametrize('kind', [ZipFormat, TarZstFormat])
def test_no_member_of_any_kind_has_a_name_that_leads_elsewhere(kind, name):
    format, file = kind(MOMENT), io.BytesIO()
    writer = format.open_writer(file, io.BytesIO())
    ways = [
        lambda: format.pack([(name, memoryview(b'1'), 0)]),
        lambda: writer.begin_file(name, 1),
        lambda: writer.add_folder(name),
    ]
    for way in ways:
        with pytest.raises(ReleaseError) as error:
            way()
        assert str(error.value).isprintable()
    assert not file.getvalue()


@pytest.mark.parametrize('name', [name for name in BAD_NAMES if name.startswith('README')])
def test_names_beside_the_datasets_are_judged_before_anything_is_packed(make_tree, tmp_path, name):
    root = make_tree({name: b'mine', f'{SESSION}/a.b.c': b'1'})
    with pytest.raises(ReleaseError, match='does not unpack everywhere') as error:
        fastindex.release(root, tmp_path / 'x.zip', workers=1, force=True, dry_run=True)
    assert str(error.value).isprintable()


@pytest.mark.parametrize('name', ['a\nb', 'a\\b', 'a\x1bb', 'a\u202eb'])
def test_names_that_do_not_unpack_everywhere_are_refused(make_tree, tmp_path, name):
    root = make_tree({f'{name}/2024-01-01/001/a.b.c': b'1'})
    with pytest.raises(ReleaseError, match='does not unpack everywhere') as error:
        fastindex.release(root, tmp_path / 'x.zip', workers=1, force=True)
    assert str(error.value).isprintable()


@pytest.mark.parametrize('index', [None, 'apart'])
@pytest.mark.parametrize('name', ['manifest-md5.txt', 'datasets.pqt', 'sessions.pqt', 'C:'])
def test_no_folder_is_in_the_place_of_a_file_of_the_archive_or_of_a_drive(make_tree, tmp_path, name, index):
    root = make_tree({f'{subject}/2024-01-01/001/a.b.c': b'1' for subject in ('s', name)})
    if index is not None:
        (index := tmp_path / index).mkdir()
    with pytest.raises((ReleaseError, ForeignTableError), match=re.escape(name)):
        fastindex.release(root, tmp_path / 'x.zip', workers=1, index=index, dry_run=True)


def test_accents_that_bsdtar_joins_with_their_letters_are_a_warning(make_tree, tmp_path):
    root = make_tree({f'{name}/2024-01-01/001/a.b.c': b'1' for name in ('e\u0301', 'è')})
    done = fastindex.release(root, tmp_path / 'x.zip', workers=1)
    assert [warning[:15] for warning in done.warnings] == ['1 path with acc', 'in the root the']


@pytest.mark.parametrize(
    ('count', 'said'), [(0, []), (1, ['1 dataset has no bytes']), (2, ['2 datasets have no bytes'])]
)
def test_datasets_without_a_byte_are_a_warning(make_tree, tmp_path, count, said):
    empty = {f's2/2024-01-0{i}/001/alf/a.b.npy': b'' for i in range(1, count + 1)}
    root = make_tree({**empty, 's1/2024-01-01/001/a.b.c': b'1', 'LICENSE': b'x', 'README': b'x'})
    done = fastindex.release(root, tmp_path / 'x.zip', workers=1)
    first = ', the first s2/2024-01-01/001/alf/a.b.npy: is it so meant?'
    assert list(done.warnings) == [one + first for one in said]


def test_paths_that_differ_only_in_case_are_a_warning(make_tree, tmp_path):
    root = make_tree({f'{name}/2024-01-01/001/a.b.c': b'1' for name in ('s1', 'S1', 'É', 'e\u0301', 't')})
    done = fastindex.release(root, tmp_path / 'x.zip', workers=1, force=True)  # validate calls it an error
    # there is no README, and one has an accent of its own
    assert [warning[:7] for warning in done.warnings] == ['4 paths', '1 path ', 'in the ']


def test_paths_that_windows_cannot_hold_are_a_warning(make_tree, tmp_path):
    names = ('a.b.c', 'aux.b.c', 'nul/a.b.c', 'nul/d.e.f', 'alf./a.b.c', f'{"x" * 100}/{"y" * 150}.b.c')
    root = make_tree({f's1/2024-01-01/001/{name}': b'1' for name in names})
    done = fastindex.release(root, tmp_path / 'x.zip', workers=1)
    lacks = 'in the root there is no LICENSE:'
    assert [warning[:32] for warning in done.warnings] == ['5 paths that Windows cannot hold', lacks]


@pytest.mark.long
def test_a_plan_holds_no_path_of_a_dataset_and_gives_all_in_order(make_tree):
    root = make_tree(
        {
            f'{subject}/2024-01-01/{number}/{name}.npy': b'1'
            for subject in ('s1', 's1-a', 'lab/Subjects/s1', 'lab-1/Subjects/s1', 'x' * 200)
            for number in ('1', '10', '001', '011')
            for name in ('a.b', 'a.b-c', 'a/a.b', 'a-b/a.b', 'a/#1#/a.b')
        }
    )
    fastindex.build(root, workers=1, hash=True)
    index = fastindex.open(root)
    paths = sorted(index.find_datasets()['path'])
    part = select_rows(index, None)
    assert [f'{folder}/{file.name}' for folder, file in part.iter_files()] == paths
    assert part.datasets.estimated_size() < 90 * len(paths)
    parts = split_rows(part, 'subject', max_bytes=60_000, member_bytes=100, extra_bytes=0)
    assert len(parts) > 1
    assert sorted(f'{folder}/{file.name}' for part in parts for folder, file in part.iter_files()) == paths


@pytest.mark.parametrize(
    ('names', 'said'),
    [
        (('aggregates/A.pqt', 'aggregates/a.pqt', 'LICENSE', 'license'), ['4 paths that differ only in']),
        (('aggregates/\u00e8.pqt', 'aggregates/e\u0300.pqt'), ['2 paths that', '1 path with accents']),
        (('aggregates/aux.pqt', 'aggregates/x./y.pqt', 'README. '), ['3 paths that Windows cannot hold']),
    ],
)
def test_of_what_is_released_beside_the_datasets_is_warned_too(make_tree, tmp_path, names, said):
    root = make_tree(dict.fromkeys(['s1/2024-01-01/001/a.b.c', *names], b'1'))
    warnings = fastindex.release(root, tmp_path / 'x.zip', workers=1).warnings
    assert [warning[: len(one)] for warning, one in zip(warnings, said, strict=False)] == said


@pytest.mark.long
@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (['--out', '{tmp}/x.tgz'], r'expected a name that ends in \.zip or \.tar\.zst'),
        (['--out', '{tmp}/.zip'], r'expected a name that ends in'),
        (['--out', '{tmp}/nowhere/x.zip'], r'its folder does not exist'),
        (['--out', '{tmp}/root/x.zip'], r'inside the tree'),
        (['--out', '{tmp}/root/lab/../x.zip'], r'inside the tree'),
        (['--out', '{tmp}/link/x.zip'], r'inside the tree'),
        (['--out', '{tmp}/old.zip'], r'something already.*--overwrite'),
        (['--out', '{tmp}/folder.zip', '--overwrite'], r'this is a folder'),
        (['--out', '{tmp}/x.zip', '--manifest', 'crc'], r'expected one of md5, xxh128, sha256'),
        (['--out', '{tmp}/x.zip', '--split-by', 'day'], r'expected one of lab, subject'),
        (['--out', '{tmp}/x.zip', '--split', 'half'], r'expected a size'),
        (['--out', '{tmp}/x.zip', '--select'], r'expected options of search after it'),
        (['--out', '{tmp}/x.zip', '--select', '--lab', 'a', '--force'], r'--force.*all others come before'),
        (['--out', '{tmp}/x.zip', '--select', '--lab', '('], r'no regular expression'),
        ([], r'required: --out'),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_is_done(
    make_tree, tmp_path, run, options, said
):
    root = make_tree(TREE)
    (tmp_path / 'old.zip').write_bytes(b'old')
    (tmp_path / 'folder.zip').mkdir()
    (tmp_path / 'link').symlink_to(root)
    before = digest_of(tmp_path)
    code, out, err = run('release', root, *(option.format(tmp=tmp_path) for option in options))
    assert (code, out) == (2, '')
    assert re.search(said, err)
    assert digest_of(tmp_path) == before


def test_a_dry_run_tells_what_would_be_released_and_writes_nothing(make_tree, tmp_path, run):
    root = make_tree(TREE)
    before = digest_of(tmp_path)
    code, out, _ = run('release', root, '--out', tmp_path / 'x.zip', '--dry-run', '--workers', 1)
    assert code == 0
    assert '4 sessions of 3 subjects in 2 labs, 2023-01-01 to 2024-02-01; 7 datasets' in out
    assert digest_of(tmp_path) == before


@pytest.mark.long
@pytest.mark.parametrize(
    ('platform', 'tools'),
    [
        ('linux', ['unzip -q', 'cd', 'mkdir', 'cd']),
        ('win32', ['python -m zipfile', 'python -m fastindex', 'mkdir', 'tar -xf', 'python -m fastindex']),
    ],
)
def test_the_commands_of_the_summary_work_where_the_archive_lies(
    make_tree, tmp_path, monkeypatch, platform, tools
):
    root = make_tree({path: content for path, content in TREE.items() if '%' not in path})
    assert root.parent == tmp_path
    found = []
    for name in ('my data.zip', f'{root.name}.tar.zst'):  # it is not unpacked over the data
        release = fastindex.release(root, tmp_path / name, workers=1)
        monkeypatch.setattr(sys, 'platform', platform)
        out = str(release)
        monkeypatch.undo()
        commands = re.findall(r'^  ((?:unzip|mkdir|python|tar|cd) .*)$', out, re.MULTILINE)
        found += re.findall(r'^  (python -m \w+|unzip -q|tar -xf|mkdir|cd)', out, re.MULTILINE)
        for command in commands:
            command = re.sub(r'^python', f'{sys.executable} -W ignore', command)
            done = subprocess.run(
                ['sh', '-ec', command], cwd=tmp_path, capture_output=True, text=True, check=True
            )
            if 'one.api' in command:
                assert done.stdout.count('UUID') == 3
        sums = subprocess.run(['sha256sum', tmp_path / name], capture_output=True, text=True, check=True)
        assert f'sha256 {sums.stdout.split()[0]}' in out
    assert found == tools


@pytest.mark.long
@pytest.mark.parametrize(
    'name', ['-rf %s.zip', '-C.tar.zst', 'a\nb.tar.zst', 'a\t"b$x`\'.zip', '*.zip', 'a[1].zip']
)
def test_the_commands_work_whatever_the_archive_is_called(make_tree, tmp_path, name):
    root = make_tree({f'{SESSION}/a.b.npy': b'1'})
    (tmp_path / 'other.zip').write_bytes(b'no archive, which a pattern would find')
    out = str(fastindex.release(root, tmp_path / name, workers=1))
    assert out.replace('\n', '').isprintable()
    for command in re.findall(r'^  ((?:unzip|mkdir|python|tar|cd) .*)$', out, re.MULTILINE):
        command = re.sub(r'^python', f'{sys.executable} -W ignore', command)
        done = subprocess.run(['sh', '-ec', command], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, (command, done.stderr)
        if 'one.api' in command:
            assert done.stdout.count('UUID') == 1


def test_json_has_the_summary(make_tree, tmp_path, run):
    code, out, _ = run('release', make_tree(TREE), '--out', tmp_path / 'x.zip', '--json', '--workers', 1)
    found: dict[str, Any] = json.loads(out)
    assert code == 0
    assert (found['sessions'], found['datasets'], found['subjects']) == (4, 7, 3)
    [archive] = found['archives']
    assert archive['path'] == str(tmp_path / 'x.zip')
    assert archive['bytes'] == (tmp_path / 'x.zip').stat().st_size


def test_select_on_the_command_line_is_search(make_tree, tmp_path, run):
    root = make_tree(TREE)
    code, out, _ = run(
        'release',
        root,
        '--out',
        tmp_path / 'x.zip',
        '--json',
        '--select',
        '--subject',
        's2',
        's9',
        '--lab',
        'b_2',
    )
    assert code == 0
    assert json.loads(out)['sessions'] == 1


@pytest.mark.long
def test_an_index_that_has_md5_keeps_it(make_tree, tmp_path):
    root = make_tree(TREE)
    fastindex.build(root, hash=['md5'], workers=1)
    fastindex.release(root, tmp_path / 'x.zip', workers=1)
    for folder in (root, unpack(tmp_path / 'x.zip')):
        assert all(row['hash'] and row['xxh128'] for row in read(folder, 'datasets'))


def test_an_index_that_was_half_in_place_keeps_its_digests(make_tree, tmp_path):
    root = make_tree(TREE)
    fastindex.build(root, workers=1)
    stop_between_the_renames(lambda: fastindex.build(root, hash=['md5'], workers=1))
    fastindex.release(root, tmp_path / 'x.zip', workers=1)
    assert all(row['hash'] for row in read(root, 'datasets'))


def test_without_the_extra_a_zip_is_refused_before_any_work_and_a_tar_is_not(tmp_path, monkeypatch):
    root = tmp_path / 'root'
    grow(root, TREE)
    monkeypatch.setitem(sys.modules, 'deflate', None)
    with pytest.raises(MissingExtraError, match='pip install deflate'):
        fastindex.release(root, tmp_path / 'x.zip', workers=1)
    assert not (root / 'sessions.pqt').exists()
    fastindex.release(root, tmp_path / 'x.tar.zst', workers=1)


class _Holes:
    """A file to which only small pieces are written; large ones leave a hole."""

    def __init__(self, path: Path) -> None:
        self._file = path.open('w+b')
        self.seek, self.close = self._file.seek, self._file.close

    def write(self, data: bytes) -> int:
        if len(data) < 2**20:
            return self._file.write(data)
        self._file.seek(len(data), os.SEEK_CUR)
        return len(data)


@pytest.mark.long
def test_zip_members_and_offsets_beyond_4_gib_have_their_64_bits(tmp_path):
    zeros, count = bytes(2**28), 17
    crc = 0
    for _ in range(count):
        crc = deflate.crc32(zeros, crc)  # a tenth of the time of zlib's
    file = _Holes(tmp_path / 'x.zip')
    with (tmp_path / 'directory').open('w+b') as directory:
        writer = ZipFormat(MOMENT).open_writer(file, directory)  # type: ignore[arg-type]  # enough of a file
        writer.begin_file('big.mp4', count * len(zeros))
        for _ in range(count):
            writer.write(zeros)
        writer.end_file(crc)
        writer.add_packed(ZipFormat(MOMENT).pack([('small', memoryview(b'content'), zlib.crc32(b'content'))]))
        writer.close()
    file.close()
    with zipfile.ZipFile(tmp_path / 'x.zip') as archive:
        big, small = archive.infolist()
        assert (big.file_size, big.compress_size, big.CRC) == (17 * 2**28, 17 * 2**28, crc)
        assert small.header_offset > 2**32
        assert archive.read('small') == b'content'
    listed = subprocess.run(['unzip', '-p', tmp_path / 'x.zip', 'small'], capture_output=True, check=True)
    assert listed.stdout == b'content'


@pytest.mark.long
def test_zip_may_have_more_than_65535_members(tmp_path):
    packed = ZipFormat(MOMENT).pack((str(i), memoryview(b''), 0) for i in range(70_000))
    with (tmp_path / 'x.zip').open('w+b') as file, (tmp_path / 'directory').open('w+b') as directory:
        writer = ZipFormat(MOMENT).open_writer(file, directory)
        writer.add_packed(packed)
        writer.close()
    subprocess.run(['unzip', '-tq', tmp_path / 'x.zip'], check=True, stdout=subprocess.DEVNULL)
    with zipfile.ZipFile(tmp_path / 'x.zip') as archive:
        assert archive.namelist() == [str(i) for i in range(70_000)]


_NAMES = st.text(
    st.characters(exclude_categories=['C', 'Z'], exclude_characters='/\\'), min_size=1, max_size=150
).filter(lambda name: name not in ('.', '..'))


@settings(max_examples=cases(60))
@given(
    st.dictionaries(_NAMES, st.binary(max_size=300), max_size=8), st.sampled_from([ZipFormat, TarZstFormat])
)
def test_the_standard_library_reads_what_is_written(files, kind):
    import io
    import tarfile

    import pyarrow as pa

    format = kind(MOMENT)
    file, directory = io.BytesIO(), io.BytesIO()
    writer = format.open_writer(file, directory)
    for name, data in files.items():
        writer.begin_file(f'big/{name}', 2 * len(data))
        for is_last in (False, True):
            writer.write(format.compress(name, memoryview(data), is_last=is_last))
        writer.end_file(zlib.crc32(data + data))
        writer.add_folder(f'folder/{name}')
    small = ((f'small/{name}', memoryview(data), zlib.crc32(data)) for name, data in files.items())
    writer.add_packed(format.pack(small))
    writer.close()
    file.seek(0)
    if kind is ZipFormat:
        with zipfile.ZipFile(file) as archive:
            assert archive.testzip() is None
            found = {name: archive.read(name) for name in archive.namelist() if not name.endswith('/')}
            folders = {name.rstrip('/') for name in archive.namelist() if name.endswith('/')}
    else:
        stream = pa.CompressedInputStream(pa.BufferReader(_one_stream(file.getvalue())), 'zstd')
        with tarfile.open(fileobj=io.BytesIO(stream.read())) as tar:
            found = {info.name: tar.extractfile(info).read() for info in tar if info.isfile()}  # type: ignore[union-attr]
            folders = {info.name for info in tar if info.isdir()}
    assert found == {
        **{f'small/{name}': data for name, data in files.items()},
        **{f'big/{name}': data + data for name, data in files.items()},
    }
    assert folders == {f'folder/{name}' for name in files}


def _one_stream(data: bytes) -> bytes:
    """Unpack and pack again by the program, as frames in a row are one stream to it."""
    plain = subprocess.run(['zstd', '-dqc'], input=data, capture_output=True, check=True).stdout
    return subprocess.run(['zstd', '-qc'], input=plain, capture_output=True, check=True).stdout


AGGREGATE = 'aggregates/Subjects/lab/s1/_ibl_subjectTrials.table.pqt'


@pytest.fixture
def served(make_tree):
    """A tree with what ONE has beside the sessions: insertions, as the client saves them, and aggregates."""
    names = ('lab/Subjects/s1/2024-01-01/001', 'lab/Subjects/s2/2024-01-02/001')
    root = make_tree({**{f'{name}/alf/a.b.npy': b'x' for name in names}, AGGREGATE: b'over all'})
    fastindex.build(root, workers=1)
    one = One(cache_dir=root, mode='local')
    eids = [str(fastindex.eid(name)) for name in names]
    rows = {'eid': eids, 'id': [str(uuid.uuid4()) for _ in eids], 'name': ['probe00', 'probe01']}
    one._cache['insertions'] = pd.DataFrame(rows).set_index(['eid', 'id'])
    one._cache['_meta']['raw']['insertions'] = {'date_created': '2024-01-01 00:00', 'origin': str(root)}
    one.save_cache(clobber=True)
    assert (root / 'insertions.pqt').exists()
    return root


def probes(folder):
    return pd.read_parquet(folder / 'insertions.pqt')['name'].tolist()


def test_what_one_has_beside_the_sessions_is_no_finding(served):
    assert list(fastindex.validate(served)) == []
    assert fastindex.build(served, workers=1).skipped == {'aggregates': 1}
    assert list(fastindex.verify_index(served)) == []
    shutil.rmtree(served / 'lab/Subjects/s2')
    fastindex.build(served, workers=1, allow_removal=True)
    (fault,) = fastindex.verify_index(served)
    assert (fault.code, fault.table) == ('unknown-session', 'insertions.pqt')
    grow(served, {'trials.pqt': b'', 'aggregates/Subjects/lab/2024-1-1/': None})
    (finding,) = fastindex.validate(served)
    assert (finding.code, finding.path) == ('ALF104', 'trials.pqt')


@pytest.mark.long
def test_what_one_has_beside_the_sessions_is_released_with_them(served, tmp_path):
    fastindex.release(served, tmp_path / 'x.tar.zst')
    found = unpack(tmp_path / 'x.tar.zst')
    assert (found / AGGREGATE).read_bytes() == b'over all'
    assert {'insertions.pqt', AGGREGATE} <= set((found / 'manifest-md5.txt').read_text().split())
    one = One(cache_dir=found, mode='local')
    assert probes(found) == probes(served) == ['probe00', 'probe01']
    assert str(served) not in str(one._cache['_meta'])
    assert one._cache.insertions.loc[one.search(subject='s2'), 'name'].tolist() == ['probe01']
    fastindex.release(served, tmp_path / 'y.tar.zst', select=Query(subject='s1'))
    found = unpack(tmp_path / 'y.tar.zst')
    assert not (found / 'aggregates').exists()
    assert probes(found) == ['probe00']
    limit = 102_000 + 2 * (served / 'insertions.pqt').stat().st_size
    fastindex.release(served, tmp_path / 'z.zip', split_bytes=limit, split_by='subject')
    parts = [unpack(tmp_path / f'z.part{part}.zip') for part in (1, 2)]
    assert [(part / AGGREGATE).exists() for part in parts] == [True, False]
    assert list(map(probes, parts)) == [['probe00'], ['probe01']]


@pytest.mark.parametrize('follow_links', [True, False])
def test_what_is_beside_the_sessions_is_whole_or_no_release(served, tmp_path, follow_links):
    """What links lead to only where these are followed; a loop, or what cannot be looked into, is said."""
    assert find_aggregates(open_tree(served, follow_links=follow_links)) == [Source(AGGREGATE, 8)]
    tree = leave_out(open_tree(served), exclude=['aggregates/Subjects/lab/'], one_file_system=False)
    assert find_aggregates(tree) == []
    (served / 'insertions.pqt').rename(tmp_path / 'outside.pqt')
    (served / 'insertions.pqt').symlink_to(tmp_path / 'outside.pqt')
    tree = open_tree(served, follow_links=follow_links)
    assert bool(list_client_tables(served, tree)) == follow_links
    grow(served, {'aggregates/a': Link('.'), 'aggregates/b': Link('.')})
    with pytest.raises(ReleaseError, match=r'aggregates/[ab]: link-loop') if follow_links else nullcontext():
        assert find_aggregates(tree) == [Source(AGGREGATE, 8)]


def test_aggregates_that_cannot_be_looked_into_are_said(open_folder):
    grow(open_folder, {AGGREGATE: b'', 'aggregates/Subjects/shut/': Mode(0)})
    with pytest.raises(ReleaseError, match='aggregates/Subjects/shut: permission-denied'):
        find_aggregates(open_tree(open_folder))
    (open_folder / 'aggregates').chmod(0)
    with pytest.raises(ReleaseError, match='aggregates: it cannot be read'):
        find_aggregates(open_tree(open_folder))
    (open_folder / 'aggregates').chmod(0o755)


def test_what_is_left_out_of_an_index_is_left_out_of_its_release(served, tmp_path):
    fastindex.build(served, workers=1, exclude=['aggregates/'])
    fastindex.release(served, tmp_path / 'x.zip', workers=1)
    with zipfile.ZipFile(tmp_path / 'x.zip') as archive:
        assert AGGREGATE not in archive.namelist()


LABS = {f'lab{i}/Subjects/s1/2024-01-01/001/a.b.npy': NOISE[:300_000] for i in range(3)}


def test_small_labs_are_packed_into_one_part(make_tree, tmp_path):
    done = fastindex.release(
        make_tree(LABS), tmp_path / 'x.zip', workers=1, split_bytes=50_000_000, force=True
    )
    assert [one.groups for one in done.archives] == [('lab0', 'lab1', 'lab2')]


@pytest.mark.long
@pytest.mark.parametrize('suffix', ['.zip', '.tar.zst'])
def test_fewer_parts_leave_none_of_the_release_before_and_nothing_else_is_removed(
    make_tree, tmp_path, suffix
):
    root = make_tree(LABS)
    release = partial(fastindex.release, root, tmp_path / f'x{suffix}', workers=1, force=True, overwrite=True)
    others = [
        f'y.part9{suffix}',
        f'x.party{suffix}',
        f'x.part9{suffix}.md5',
        f'xx.part3{suffix}',
        f'x{suffix}',
    ]
    grow(tmp_path, dict.fromkeys(others, b'mine'))
    grow(tmp_path, {f'x.part7{suffix}': Link('nowhere')})
    assert len(release(split_bytes=500_000).archives) == 3
    assert len(release(split_bytes=900_000).archives) == 2
    archives = {path.name for path in tmp_path.iterdir()} - {'root'}
    assert archives == {*others, f'x.part1{suffix}', f'x.part2{suffix}', f'x.part7{suffix}'}


@pytest.mark.long
@pytest.mark.parametrize('call', ['fsync', 'link'])
@pytest.mark.parametrize('at', range(1, 4))
def test_parts_of_two_releases_are_never_side_by_side(make_tree, tmp_path, monkeypatch, call, at):
    root = make_tree(LABS)
    release = partial(fastindex.release, root, tmp_path / 'x.zip', workers=1, force=True, overwrite=True)
    release(split_bytes=500_000, index=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.glob('x.part*')}
    grow(root, {f'lab{i}/Subjects/s1/2024-01-01/001/c.d.npy': b'new' for i in range(3)})
    real, calls = getattr(os, call), []

    def fail(*arguments: Any, **options: Any) -> Any:
        if call == 'link' or os.readlink(f'/proc/self/fd/{arguments[0]}').startswith(f'{tmp_path}/#'):
            calls.append(arguments)
            if len(calls) == at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments, **options)

    (tmp_path / 'tables').mkdir()
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(ReleaseError, match='No space left'):
        release(split_bytes=500_000, index=tmp_path / 'tables')
    assert {path.name: path.read_bytes() for path in tmp_path.glob('x.part*')} == before


@pytest.mark.long
@pytest.mark.parametrize('sizes', [(500_000, 900_000), (900_000, 500_000), (500_000, 500_000)])
def test_whenever_a_release_in_parts_ends_what_is_there_is_one_or_lacks_its_first_part(
    make_tree, tmp_path, monkeypatch, sizes
):
    """What is there before each call that changes a name is what a kill at that time leaves."""
    root = make_tree(LABS)
    release = partial(fastindex.release, root, tmp_path / 'x.zip', workers=1, force=True, overwrite=True)
    release(split_bytes=sizes[0])
    grow(root, {f'lab{i}/Subjects/s1/2024-01-01/001/c.d.npy': b'new' for i in range(3)})
    states: list[dict[str, bytes]] = []
    fails_at = 0

    def look() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in tmp_path.glob('x.part*')}

    def note(real: Any, source: str, *arguments: Any, **options: Any) -> None:
        if 'x.part' in source:
            states.append(look())
            if len(states) == fails_at:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(source, *arguments, **options)

    before = look()
    for call in ('replace', 'unlink'):
        monkeypatch.setattr(os, call, partial(note, getattr(os, call)))
    for fails_at in count(1):  # noqa: B007 - `note` looks at it
        states.clear()
        with suppress(ReleaseError):
            release(split_bytes=sizes[1])
            break
        assert look() == before
    assert fails_at > len(before)
    after = look()
    assert states[0] == before != after
    for state in states:
        is_old, is_new = (state.items() <= one.items() for one in (before, after))
        assert is_old or is_new
        assert state in (before, after) or 'x.part1.zip' not in state
    release(split_bytes=sizes[1])
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith('.x')]


@pytest.mark.parametrize(
    ('beside', 'lacking'),
    [
        ([], ['LICENSE', 'README']),
        (['LICENCE.txt'], ['README']),
        (['readme'], ['LICENSE']),
        (['README', 'license'], []),
    ],
)
def test_a_release_says_what_describes_no_data(make_tree, tmp_path, beside, lacking):
    root = make_tree({f'{SESSION}/a.b.npy': b'', **dict.fromkeys(beside, b'about')})
    warnings = fastindex.release(root, tmp_path / 'x.tar.zst', workers=1).warnings
    said = [name for name in ('LICENSE', 'README') if any(f'no {name}:' in one for one in warnings)]
    assert said == lacking

"""What an index may hold: nothing is written that is not opened, and what is too long is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import fastindex
from fastindex import PublishError, UsageError, limits
from fastindex.jobs.build.compat import make_parquet_db
from fastindex.names import verdicts
from fastindex.names.problems import Problem, Reason
from fastindex.pipeline.walk import BIG_BYTES
from fastindex.tables.file import TableFile, open_table
from fastindex.trees import fingerprints
from tests.support.tables import read, tables_digest
from tests.support.trees import SESSION, grow

NAME = 'a.b.npy'
UUID = '6cdb7b06-3fd2-4e1c-9d6e-2e4a8a4f1c11'
TREE = {f'{SESSION}/alf/{NAME}': b'x', f'{SESSION}/alf/probe00/{NAME}': b'', f's2/2024-01-01/001/{NAME}': b''}

# For each limit a value that this tree is beyond, and whether an index of it can be written all the same.
LOWERED = {
    'BATCH_ROWS': (1, True),
    'FEW_ROWS': (1, True),
    'MAX_COLUMNS': (5, False),
    'MAX_FOOTER_BYTES': (None, False),  # that of the index before: the new one has longer names
    'MAX_ROWS_PER_BYTE': (0, False),
    'MAX_ROW_BYTES': (-(2**20), False),
    'MAX_ROW_GROUP_BYTES': (10, False),
    'MAX_TEXT_BYTES': (36, True),  # an id has as many
}


def footer_bytes_of(path: Path) -> int:
    return int.from_bytes(path.read_bytes()[-8:-4], 'little')


def test_each_limit_is_tried_here():
    assert set(LOWERED) == {name for name in limits.__all__ if name.isupper()}


@pytest.mark.long
@pytest.mark.parametrize(('limit', 'value', 'is_written'), [(name, *how) for name, how in LOWERED.items()])
@pytest.mark.parametrize('hash', [(), ('xxh128', 'md5')], ids=str)
def test_whatever_the_limit_what_is_written_is_opened(
    make_tree, build, monkeypatch, limit, value, is_written, hash
):
    root = make_tree({f's1/2024-01-01/001/{NAME}': b'before'})
    build(root)
    before = tables_digest(root)
    if value is None:
        value = max(footer_bytes_of(root / f'{table}.pqt') for table in ('sessions', 'datasets'))
    grow(root, {**TREE, f'{SESSION}/{"a" * 40}/{NAME}': b'', f'{SESSION}/{"a" * 30}.b.npy': b''})
    with monkeypatch.context() as patch:
        patch.setattr(limits, limit, value)
        patch.setattr(verdicts, '_verdicts_by_folder', {})  # what was thought of names with the other limit
        if is_written:
            build(root, hash=hash)
            assert fastindex.open(root).datasets.collect().height >= 4
            assert list(fastindex.verify_index(root)) == []
            return
        with pytest.raises(PublishError, match='one that nothing reads'):
            build(root, hash=hash)
    assert tables_digest(root) == before
    assert not (root / '.fastindex/stage').exists()


def grow_deep(session: Path, folders: list[str], names: list[str]) -> None:
    """Make files in folders in one another: by no path, as that may be too long for the system."""
    session.mkdir(parents=True, exist_ok=True)
    fd = os.open(session, os.O_RDONLY)
    for folder in folders:
        os.mkdir(folder, dir_fd=fd)
        above, fd = fd, os.open(folder, os.O_RDONLY, dir_fd=fd)
        os.close(above)
    for name in names:
        with open(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=fd), 'wb') as file:
            file.write(name.encode())
    os.close(fd)


def folders_of(total: int, letter: str) -> list[str]:
    """Names of folders whose path has so many bytes."""
    most = 250 // len(letter.encode())
    folders = [letter * most] * (total // 251)
    rest = total - len('/'.join(folders).encode()) - 1
    return [*folders, 'x' * rest] if rest > 0 else folders


@pytest.fixture
def deep(tmp_path: Path):
    """A tree with a file whose rel_path is as long as may be, and one that is a letter longer."""

    def deep(letter: str = 'a', uuid: str = '') -> tuple[Path, str, str, str]:
        folders = folders_of(limits.MAX_TEXT_BYTES - len(f'/{NAME}'), letter)
        above = '/'.join(folders)
        fits, too_long = (f'{stem}.b{uuid and "."}{uuid}.npy' for stem in ('a', 'aa'))
        grow_deep(tmp_path / 'tree' / SESSION, folders, [fits, too_long.replace(UUID, UUID[:-1] + '2')])
        assert len(f'{above}/{NAME}'.encode()) == limits.MAX_TEXT_BYTES
        return tmp_path / 'tree', above, fits, too_long.replace(UUID, UUID[:-1] + '2')

    return deep


@pytest.mark.long
@pytest.mark.parametrize('letter', ['a', 'é', '\U00010400'])
@pytest.mark.parametrize('uuid', ['', UUID])
@pytest.mark.parametrize(
    'options', [{}, {'hash': ['xxh128']}, {'follow_symlinks': False}, {'workers': 2}], ids=str
)
def test_the_longest_path_is_indexed_and_a_longer_one_is_a_problem(build, deep, letter, uuid, options):
    root, above, _, too_long = deep(letter, uuid)
    summary = build(root, uuid_filenames=bool(uuid), **options)
    assert [row['rel_path'] for row in read(root, 'datasets')] == [f'{above}/{NAME}']
    assert summary.problems == (Problem(f'{SESSION}/{above}/{too_long}', Reason.TOO_LONG),)
    assert fastindex.open(root).datasets.collect().height == 1
    found = list(fastindex.validate(root, uuid_filenames=bool(uuid)))
    assert [(one.code, one.path) for one in found if one.code == 'ALF411'] == [
        ('ALF411', f'{SESSION}/{above}/{too_long}')
    ]
    assert list(fastindex.verify(root, hash='hash' in options, workers=1)) == []


def test_a_folder_that_is_too_deep_down_is_one_problem_and_is_not_entered(build, tmp_path):
    grow_deep(tmp_path / SESSION, ['a' * 250] * 20, [f'a{i}.b.npy' for i in range(9)])
    (tmp_path / SESSION / NAME).touch()
    summary = build(tmp_path)
    folder = '/'.join([SESSION, *['a' * 250] * 17])
    assert (summary.datasets, summary.problems) == (1, (Problem(folder, Reason.TOO_LONG),))
    found = [(one.code, one.path) for one in fastindex.validate(tmp_path)]
    assert found == [('ALF411', folder)]


@pytest.mark.parametrize('big_bytes', [1, BIG_BYTES])
@pytest.mark.parametrize('follow_symlinks', [True, False])
def test_what_has_changed_at_the_end_of_a_long_path_is_read_again(
    build, deep, monkeypatch, big_bytes, follow_symlinks
):
    """The path below the root is then one that the system does not take as a whole."""
    monkeypatch.setattr(fingerprints, 'SETTLED_NS', -(10**12))
    monkeypatch.setattr('fastindex.pipeline.walk.BIG_BYTES', big_bytes)
    root, above, fits, too_long = deep()
    options = {'hash': ['xxh128'], 'follow_symlinks': follow_symlinks}
    before = build(root, **options)
    (root / SESSION / NAME).touch()
    fd = os.open(root / SESSION, os.O_RDONLY)
    for name in above.split('/'):
        fd = os.open(name, os.O_RDONLY, dir_fd=fd)
    os.rename(fits, 'old.npy', src_dir_fd=fd, dst_dir_fd=fd)
    with open(os.open(fits, os.O_CREAT | os.O_WRONLY, dir_fd=fd), 'wb') as file:
        file.write(b'another')
    after = build(root, **options)
    assert (after.datasets, after.changes.datasets_changed) == (2, 1)
    assert after.problems == before.problems == (Problem(f'{SESSION}/{above}/{too_long}', Reason.TOO_LONG),)


@pytest.mark.parametrize(
    'lab', ['a/b', '..', '.', 'a\0b', 'x' * 4097, '\udcff'], ids=lambda lab: repr(lab[:9])
)
def test_a_lab_that_no_reader_takes_is_refused(make_tree, lab):
    root = make_tree({f's1/2024-01-01/001/{NAME}': b''})
    with pytest.raises(UsageError, match="expected a folder's name"):
        make_parquet_db(root, lab=lab)
    assert not (root / 'sessions.pqt').exists()


def test_the_limits_of_the_readers_are_those_of_the_table(make_tree, build, monkeypatch):
    """A footer as long as may be is read, and one of a byte more is not."""
    root = make_tree(TREE)
    build(root)
    path = root / 'datasets.pqt'
    footer_bytes = footer_bytes_of(path)
    for limit, is_read in ((footer_bytes, True), (footer_bytes - 1, False)):
        monkeypatch.setattr(limits, 'MAX_FOOTER_BYTES', limit)
        with open_table(path) as file:
            if is_read:
                assert json.dumps(TableFile(path, file).facts)
            else:
                with pytest.raises(fastindex.InvalidIndexError, match='a footer of'):
                    TableFile(path, file)

"""What a run has hashed that did not end is used by the next one, and only where it still holds."""

from __future__ import annotations

import errno
import os
import time

import pytest

import fastindex
from fastindex.pipeline import walk
from fastindex.tables import journal as module
from fastindex.tables.journal import JOURNAL
from fastindex.tables.publish import Stage
from fastindex.trees import digests, fingerprints
from tests.support.tables import tables_digest
from tests.support.trees import grow

BIG = 's1/2024-01-02/001/raw.big.bin'
TREE = {
    **{
        f's{subject}/2024-01-0{day}/001/{name}': f'{subject}{day}{name}'.encode() * subject
        for subject in range(4)
        for day in range(1, 4)
        for name in ('alf/spikes.times.npy', 'alf/#r1#/spikes.times.npy', 'a.b.npy', 'c.d.npy')
    },
    BIG: b'x' * 5000,
}
FIRST = 's1/2024-01-02/001/a.b.npy'


class StoppedError(Exception):
    pass


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    monkeypatch.setenv('SOURCE_DATE_EPOCH', '1700000000')
    monkeypatch.setattr(fingerprints, 'SETTLED_NS', 20_000_000)
    monkeypatch.setattr(walk, 'BIG_BYTES', 4096)


@pytest.fixture
def root(make_tree):
    root = make_tree(TREE)
    time.sleep(0.05)
    return root


@pytest.fixture
def stop(build, monkeypatch):
    """Build, and fail when all is hashed."""

    def stop(root, **options):
        def fail(*_, **__):
            raise StoppedError

        with monkeypatch.context() as patch:
            patch.setattr(Stage, 'publish', fail)
            with pytest.raises(StoppedError):
                build(root, **{'hash': ['xxh128', 'md5'], **options})
        assert (root / '.fastindex' / JOURNAL).exists()

    return stop


@pytest.fixture
def expected(build, tmp_path):
    """The tables of an undisturbed run."""

    def expected(root, hash=('xxh128', 'md5')):
        out = tmp_path / 'undisturbed'
        out.mkdir(exist_ok=True)
        build(root, out=out, rehash=True, hash=list(hash))
        return tables_digest(out)

    return expected


def never(*_):
    raise AssertionError('a file was read')


@pytest.mark.long
@pytest.mark.parametrize('workers', [1, 2, 5])
@pytest.mark.parametrize('hash', [['xxh128', 'md5'], ['md5']])
def test_what_a_run_has_hashed_is_used_by_the_next_one(
    root, build, stop, expected, monkeypatch, workers, hash
):
    wanted = expected(root, hash)
    stop(root, workers=workers)
    with monkeypatch.context() as patch:
        patch.setattr(digests.Hasher, 'measure', never)
        summary = build(root, hash=hash, workers=3)
    assert summary.digests_reused == summary.datasets == len(TREE)
    assert tables_digest(root) == wanted
    assert (root / '.fastindex' / JOURNAL).exists() == (hash == ['md5'])  # it has other digests too
    assert build(root).digests_reused == len(TREE)


@pytest.mark.long
def test_several_runs_that_did_not_end_add_up_with_the_index(root, build, stop, expected, monkeypatch):
    build(root, hash=['xxh128', 'md5'])
    for number in range(3):
        grow(
            root,
            {f's{number}/2024-01-01/001/new.n{number}.npy': b'new' * number, BIG: b'y' * (5000 + number)},
        )
        time.sleep(0.05)
        stop(root)
    wanted = expected(root)
    monkeypatch.setattr(digests.Hasher, 'measure', never)
    assert build(root).digests_reused == len(TREE) + 3
    assert tables_digest(root) == wanted


CHANGES = {
    'rewritten': lambda path: path.write_bytes(b'#' * path.stat().st_size),
    'grown': lambda path: path.write_bytes(b'longer than before' * 9),
    'touched': lambda path: os.utime(path),
    'replaced': lambda path: [
        (path.parent / 'y').write_bytes(b'#' * 99),
        os.replace(path.parent / 'y', path),
    ],
}


@pytest.mark.long
@pytest.mark.parametrize('change', CHANGES)
@pytest.mark.parametrize('name', [FIRST, BIG])
def test_a_file_that_may_have_changed_since_is_read_again(root, build, stop, expected, change, name):
    stop(root)
    CHANGES[change](root / name)
    time.sleep(0.05)
    wanted = expected(root)
    summary = build(root, hash=['xxh128', 'md5'])
    assert summary.digests_reused == len(TREE) - 1
    assert tables_digest(root) == wanted


def test_a_file_that_was_too_young_when_it_was_hashed_is_read_again(root, build, stop, expected, monkeypatch):
    monkeypatch.setattr(fingerprints, 'SETTLED_NS', 10**12)
    stop(root)
    assert build(root, hash=['md5']).digests_reused == 0


@pytest.mark.long
def test_no_damage_of_the_journal_makes_a_digest_wrong(root, build, stop, expected):
    wanted = expected(root)
    stop(root, workers=5)
    path = root / '.fastindex' / JOURNAL
    whole = path.read_bytes()
    changes = [whole[:count] for count in (0, 3, 60, len(whole) // 2, len(whole) - 1)]
    places = range(0, len(whole), len(whole) // 12)
    changes += [whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :] for at in places]
    changes += [b'x' * 500, whole + b'half of a record', whole * 2, whole[: len(whole) // 2] + whole]
    for data in changes:
        path.write_bytes(data)
        build(root, hash=['xxh128', 'md5'])
        assert tables_digest(root) == wanted
        for name in ('sessions.pqt', 'datasets.pqt', '.fastindex/fingerprints.parquet'):
            (root / name).unlink()


def test_what_is_torn_off_is_cut_off_before_more_is_written(root, build, stop, monkeypatch):
    stop(root, workers=5)
    path = root / '.fastindex' / JOURNAL
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:50])
    grow(root, {'s9/2024-01-01/001/a.b.npy': b'new'})
    time.sleep(0.05)
    stop(root)
    assert path.read_bytes().startswith(whole)
    monkeypatch.setattr(digests.Hasher, 'measure', never)
    assert build(root, hash=['md5']).digests_reused == len(TREE) + 1


@pytest.mark.long
def test_digests_that_are_not_in_it_are_computed_and_those_that_are_wait_for_an_index_that_has_them(
    root, build, stop, monkeypatch
):
    stop(root, hash=['md5'])
    assert build(root, hash=['xxh128']).digests_reused == 0
    stop(root, hash=['xxh128', 'md5'], rehash=False)
    monkeypatch.setattr(digests.Hasher, 'measure', never)
    for algorithms in (['xxh128'], ['md5'], ['xxh128', 'md5']):
        assert build(root, hash=algorithms).digests_reused == len(TREE)
        assert (root / '.fastindex' / JOURNAL).exists() == (len(algorithms) == 1)


def test_an_index_without_digests_leaves_the_journal_to_the_next_one_that_has_some(root, build, stop):
    stop(root)
    build(root)
    assert build(root, hash=['xxh128']).digests_reused == len(TREE)


@pytest.mark.long
def test_an_index_of_some_sessions_leaves_the_journal_to_the_others(root, build, stop):
    build(root, hash=['xxh128', 'md5'])
    grow(root, {path: data + b'changed' for path, data in TREE.items()})
    time.sleep(0.05)
    stop(root)
    build(root, only=['s1'])
    assert build(root).digests_reused == len(TREE)


def test_all_is_read_again_where_that_is_asked_for(root, build, stop):
    stop(root)
    assert build(root, hash=['md5'], rehash=True).digests_reused == 0
    assert not (root / '.fastindex' / JOURNAL).exists()


def test_a_check_uses_it_and_writes_none(root, build, stop):
    build(root, hash=['md5'])
    grow(root, {FIRST: b'another'})
    time.sleep(0.05)
    assert build(root, check=True).digests_reused == len(TREE) - 1
    assert not (root / '.fastindex' / JOURNAL).exists()
    stop(root, hash=['md5'])
    before = (root / '.fastindex' / JOURNAL).read_bytes()
    assert build(root, check=True).digests_reused == len(TREE)
    assert (root / '.fastindex' / JOURNAL).read_bytes() == before


def test_a_plain_run_writes_none(root, build, monkeypatch):
    def fail(*_, **__):
        raise StoppedError

    monkeypatch.setattr(Stage, 'publish', fail)
    with pytest.raises(StoppedError):
        build(root)
    assert os.listdir(root / '.fastindex') == ['lock']


def test_what_cannot_be_written_is_not_kept_and_no_reason_to_fail(root, build, stop, expected, monkeypatch):
    wanted = expected(root)

    def refuse(self):
        raise OSError(errno.ENOSPC, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(module.Recorder, '_open', refuse)
        build(root, hash=['xxh128', 'md5'])
    assert tables_digest(root) == wanted


@pytest.mark.long
def test_it_does_not_grow_without_an_end(root, stop, monkeypatch):
    monkeypatch.setattr(module, 'MAX_BYTES', 2000)
    for number in range(4):
        grow(root, {path: bytes([number]) * len(data) for path, data in TREE.items()})
        time.sleep(0.05)
        stop(root, workers=5)
    assert (root / '.fastindex' / JOURNAL).stat().st_size < 2500


@pytest.mark.long
@pytest.mark.parametrize('kind', ['link', 'hard link', 'pipe', 'folder'])
def test_what_stands_in_its_place_is_left_alone(root, build, expected, tmp_path, kind):
    wanted = expected(root)
    (root / '.fastindex').mkdir(exist_ok=True)
    path, victim = root / '.fastindex' / JOURNAL, tmp_path / 'victim'
    victim.write_text('of somebody')
    make = {
        'link': lambda: path.symlink_to(victim),
        'hard link': lambda: os.link(victim, path),
        'pipe': lambda: os.mkfifo(path),
        'folder': path.mkdir,
    }
    make[kind]()
    build(root, hash=['xxh128', 'md5'])
    assert (tables_digest(root), victim.read_text()) == (wanted, 'of somebody')


def test_the_ids_of_other_tables_are_found_in_it(root, build, stop, tmp_path, monkeypatch):
    from tests.support.strangers import of_a_database

    (tmp_path / 'alyx').mkdir()
    of_a_database(root, tmp_path / 'alyx')
    stop(root, ids_from=tmp_path / 'alyx')
    monkeypatch.setattr(digests.Hasher, 'measure', never)
    summary = build(root, ids_from=tmp_path / 'alyx', hash=['md5'])
    assert summary.digests_reused == len(TREE)
    assert list(fastindex.verify_index(root)) == []


def test_a_journal_that_is_older_than_the_index_makes_no_file_read_again(root, build, stop):
    stop(root)
    build(root, hash=['md5'])  # which leaves it, as it has other digests too
    grow(root, {FIRST: b'another'})
    time.sleep(0.05)
    assert build(root).digests_reused == len(TREE) - 1
    summary = build(root)
    assert (summary.digests_reused, dict(summary.read_again)) == (len(TREE), {})

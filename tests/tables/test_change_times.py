"""What a run says of disks whose inodes do not last, or whose ctime is no time of change."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fastindex.tables import change_times
from fastindex.trees import kernel
from fastindex.trees.fingerprints import Fingerprint
from tests.support.trees import SESSION

DAY_NS = 24 * 3600 * 10**9
NEW = 'they have other inodes'
MISSING = 'ctime is no time of change'


@pytest.fixture
def disk(monkeypatch):
    """A disk on which fingerprints are what a function makes of the number in the name of a file."""
    measure = kernel.measure

    def disk(fingerprint: Callable[[int], Fingerprint]) -> None:
        def measured(fd, names, *arguments, **options):
            found = measure(fd, names, *arguments, **options)
            return found._replace(fingerprints=[fingerprint(int(name[1])) for name in names])

        monkeypatch.setattr(kernel, 'measure', measured)

    return disk


@pytest.fixture
def root(make_tree):
    return make_tree({f'{SESSION}/alf/a{i}.b.npy': b'x' * i for i in range(1, 5)})


def warnings_of(summary):
    return [said for said in (NEW, MISSING) if any(said in warning for warning in summary.warnings)]


def plain(i: int) -> Fingerprint:
    return DAY_NS + i, 2 * DAY_NS + i, 1000 + i


def test_inodes_that_are_all_new_are_said(root, build, disk):
    disk(plain)
    assert warnings_of(build(root, hash=['xxh128'])) == []
    disk(lambda i: (*plain(i)[:2], 2000 + i))
    again = build(root, hash=['xxh128'])
    assert (warnings_of(again), again.digests_reused) == ([NEW], 0)
    assert (warnings_of(build(root, hash=['xxh128'])), again.datasets) == ([], 4)


@pytest.mark.parametrize(
    'changed',
    [
        pytest.param(lambda i: plain(i), id='nothing'),
        pytest.param(lambda i: (*plain(i)[:2], 2000 + i if i > 3 else 1000 + i), id='a few inodes'),
        pytest.param(lambda i: (plain(i)[0], plain(i)[1] + 1, 2000 + i), id='ctimes too'),
        pytest.param(lambda i: (plain(i)[0] + 1, plain(i)[1], 2000 + i), id='mtimes too'),
        pytest.param(lambda i: (0, 0, 0), id='nothing is known'),
    ],
)
def test_of_anything_else_nothing_is_said(root, build, disk, changed):
    disk(plain)
    build(root, hash=['xxh128'])
    disk(changed)
    assert warnings_of(build(root, hash=['xxh128'])) == []


def test_other_inodes_of_other_files_are_no_matter_of_the_disk(root, build, disk):
    disk(plain)
    build(root, hash=['xxh128'])
    (root / SESSION / 'alf' / 'a5.b.npy').touch()
    disk(lambda i: (*plain(i)[:2], 2000 + i))
    assert warnings_of(build(root, hash=['xxh128'])) == []


@pytest.mark.parametrize(
    ('fingerprint', 'said'),
    [
        pytest.param(lambda i: (DAY_NS + i * 10**9,) * 2 + (i,), [MISSING], id='all alike and round'),
        pytest.param(lambda i: (DAY_NS,) * 2 + (i,) if i > 1 else (0, 0, 0), [MISSING], id='but for one'),
        pytest.param(lambda i: (DAY_NS + 1,) * 2 + (i,), [], id='alike but fine: just written'),
        pytest.param(lambda i: (DAY_NS, DAY_NS + (i == 3) * 10**9, i), [], id='one is not alike'),
        pytest.param(lambda i: (0, 0, 0), [], id='nothing is known'),
    ],
)  # fmt: skip
def test_a_disk_without_a_time_of_change_is_told_by_its_files(root, build, disk, fingerprint, said):
    disk(fingerprint)
    assert warnings_of(build(root, hash=['xxh128'])) == said


def test_on_an_smb_share_ctime_is_none_where_it_is_mtime_in_all_files(root, build, disk, monkeypatch):
    """Samba gives mtime for it, in units of 100 ns."""
    monkeypatch.setattr(change_times, 'is_smb', str(root).__eq__)
    disk(lambda i: (DAY_NS + i * 100,) * 2 + (i,))
    assert warnings_of(build(root, hash=['xxh128'])) == [MISSING]
    disk(lambda i: (DAY_NS + i * 100, DAY_NS + i * 100 + (i == 3) * 100, i))
    assert warnings_of(build(root, hash=['xxh128'])) == []


def test_without_digests_nothing_is_said_of_times(root, build, disk):
    disk(lambda i: (DAY_NS, DAY_NS, i))
    assert warnings_of(build(root)) == []

"""By what a file is known again is a part of the recipe: a digest is that of the fields that are trusted."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import fastindex
from fastindex import Summary, UsageError
from fastindex.tables.publish import Stage
from fastindex.tables.recipe import Recipe
from fastindex.trees import Measures, Wanted, fingerprints, kernel
from fastindex.trees.digests import Hasher
from fastindex.trees.fingerprints import FIELDS, NO_FINGERPRINT, check_trust
from tests.support.cases import cases
from tests.support.tables import disown, read, tables_digest
from tests.support.trees import SESSION, grow

pytestmark = pytest.mark.usefixtures('fixed_date')

DAY_NS = 24 * 3600 * 10**9
ALWAYS = ('size', 'mtime')
CHOICES = [ALWAYS, (*ALWAYS, 'ctime'), (*ALWAYS, 'inode'), FIELDS]
NAMES = [f'{SESSION}/a{i}.b.npy' for i in range(2)]


class Disk:
    """Files of which a test says times and inodes, and a clock that ticks at each change."""

    def __init__(self, patch: pytest.MonkeyPatch, root: Path) -> None:
        self.root = root
        self.now = 0
        self.states: dict[str, tuple[int, int, int]] = {}
        self.seen: dict[str, list[tuple[str, tuple[int, ...]]]] = {}  # digests, and how the file was then
        self.are_young = False
        self._measure = kernel.measure
        patch.setattr(kernel, 'measure', self.measure)

    def measure(self, fd: int, names: Sequence[str], wanted: Wanted, **options: Any) -> Measures:
        found = self._measure(fd, names, wanted, **options)
        states = [self.states[name] for name in names]
        if wanted.algorithms and self.are_young:
            states = [NO_FINGERPRINT] * len(names)
        return found._replace(fingerprints=states)

    def change(self, path: str, content: bytes, *, mtime: bool, inode: bool) -> None:
        """Write to a file; whether its mtime and its inode are other ones then."""
        name = path.rpartition('/')[2]
        self.now += 1
        before = self.states.get(name, (0, 0, 0))
        now = DAY_NS + self.now
        self.states[name] = (
            now if mtime or not before[0] else before[0],
            now,
            self.now if inode or not before[2] else before[2],
        )
        grow(self.root, {path: content})
        self.look(path)

    def look(self, path: str) -> None:
        content = (self.root / path).read_bytes()
        state = (len(content), *self.states[path.rpartition('/')[2]])
        self.seen.setdefault(path, []).append((hashlib.md5(content).hexdigest(), state))

    def mount(self) -> None:
        """Give all files other ctimes and inodes."""
        for path in NAMES:
            name = path.rpartition('/')[2]
            self.now += 1
            self.states[name] = (self.states[name][0], DAY_NS + self.now, self.now)
            self.look(path)


contents = st.sampled_from([b'1', b'2', b'3', b'44'])
trusts = st.sampled_from([None, ALWAYS, FIELDS, *CHOICES])
happenings = st.one_of(
    st.tuples(st.just('change'), st.sampled_from(NAMES), contents, st.booleans(), st.booleans()),
    st.tuples(st.just('change'), st.just(NAMES[0]), contents, st.just(False), st.booleans()),
    st.tuples(st.sampled_from(['run', 'killed', 'part']), trusts),
    st.tuples(st.just('young'), trusts, contents),
    st.just(('mount',)),
)


@pytest.mark.long
@settings(max_examples=cases(24), phases=[Phase.generate])
@given(history=st.lists(happenings, min_size=4, max_size=12))
def test_a_digest_is_right_unless_all_that_is_trusted_says_that_nothing_has_changed(
    history: list[tuple[Any, ...]],
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        root = Path(folder)
        disk = Disk(patch, root)
        for path in NAMES:
            disk.change(path, b'0', mtime=True, inode=True)
        fastindex.build(root, workers=1, hash=['md5'])
        for kind, *how in [*history, ('run', None)]:
            if kind == 'change':
                disk.change(how[0], how[1], mtime=how[2], inode=how[3])
            elif kind == 'mount':
                disk.mount()
            else:
                disk.are_young = kind == 'young'
                if disk.are_young:
                    disk.change(NAMES[0], b'9', mtime=True, inode=False)
                with patch.context() as killer:
                    if kind == 'killed':
                        killer.setattr(Stage, 'publish', lambda *_, **__: 1 / 0)
                    try:
                        only = [SESSION] if kind == 'part' else None
                        summary = fastindex.build(root, workers=1, hash=['md5'], trust=how[0], only=only)
                    except ZeroDivisionError:
                        continue
                check(disk, summary)
                if kind == 'young':  # in the same tick of the clock
                    grow(root, {NAMES[0]: how[1][:1]})
                    disk.seen[NAMES[0]].clear()
                    disk.look(NAMES[0])


def check(disk: Disk, summary: Summary) -> None:
    trust = summary.recipe.trust
    assert summary.digests_reused + sum(summary.read_again.values()) == len(NAMES)
    for row in read(disk.root, 'datasets'):
        path = f'{SESSION}/{row["rel_path"]}'
        digest, state = disk.seen[path][-1]
        if row['hash'] != digest:
            alike = [
                before
                for digest, before in disk.seen[path]
                if digest == row['hash']
                and all(a == b for name, a, b in zip(FIELDS, before, state, strict=True) if name in trust)
            ]
            assert alike
            assert 'ctime' not in trust


@pytest.fixture
def root(make_tree: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(fingerprints, 'SETTLED_NS', -(10**15))  # no file is young
    root = make_tree({**dict.fromkeys(NAMES, b'x'), 's2/2024-01-01/001/a.b.npy': b'1'})
    for path in (root, *root.rglob('*')):
        os.utime(path, (1, 1))
    return root


def move(root: Path) -> None:
    """Put a copy in the place of a tree, as from a backup: with other ctimes and inodes."""
    shutil.copytree(root, root.with_name('copy'), symlinks=True)
    root.rename(root.with_name('old'))
    root.with_name('copy').rename(root)


def rewrite(path: Path, content: bytes) -> None:
    info = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def test_a_tree_from_a_backup_is_not_read_again_where_size_and_mtime_are_trusted(
    root: Path, build: Callable[..., Summary]
) -> None:
    build(root, hash=['md5'], quick=True)
    move(root)
    assert build(root, quick=True, check=True).sessions_carried == 0
    plain = build(root, check=True)
    assert (plain.digests_reused, plain.read_again) == (0, {'ctime': 3})
    assert 'digests: 3 computed, 0 reused\n3 read again: 3 ctime\n' in str(plain)
    trusting = build(root, trust=ALWAYS)
    assert (trusting.digests_reused, trusting.read_again) == (3, {})
    assert trusting.changes == plain.changes


def test_folders_are_known_again_by_what_is_trusted(root: Path, build: Callable[..., Summary]) -> None:
    build(root, trust=ALWAYS, quick=True)
    move(root)
    assert build(root, quick=True).sessions_carried == 2
    assert build(root, quick=True, trust=FIELDS).sessions_carried == 0
    assert build(root, quick=True).sessions_carried == 2
    grow(root, {f'{SESSION}/n.e.npy': b''})
    assert build(root, quick=True).sessions_carried == 1


def test_what_was_not_seen_is_seen_once_more_is_trusted(root: Path, build: Callable[..., Summary]) -> None:
    """A digest keeps the fingerprint of the file that was read, not that of the file that was like it."""
    build(root, hash=['md5'], trust=ALWAYS)
    rewrite(root / NAMES[0], b'y')
    grow(root, {NAMES[1]: b'longer'})
    before = build(root)
    assert (before.digests_reused, before.read_again) == (2, {'size': 1})
    assert build(root).digests_reused == 3
    for _ in range(2):  # carried over by the first
        last = build(root, trust=FIELDS, only=['s2'])
    assert last.recipe == Recipe(algorithms=('md5',))
    assert build(root).read_again == {'ctime': 1}
    assert {row['hash'] for row in read(root, 'datasets') if row['rel_path'] == 'a0.b.npy'} == {
        hashlib.md5(b'y').hexdigest()
    }


@pytest.mark.long
def test_rows_need_no_inode_to_be_those_of_their_files(root: Path, build: Callable[..., Summary]) -> None:
    """But those that another program has written over do, as theirs may be the fingerprints of others."""
    for trust in (ALWAYS, FIELDS):
        build(root, hash=['md5'], trust=trust)
        disown(root)
        assert build(root, hash=['md5'], trust=trust).digests_reused == (3 if trust == FIELDS else 0)


@pytest.mark.parametrize(
    'trust', [['size'], [], ['mtime', 'inode'], [*FIELDS, 'atime'], 'size', 'size mtime']
)
def test_too_little_or_unknown_fields_are_refused(
    root: Path, build: Callable[..., Summary], trust: object
) -> None:
    with pytest.raises(UsageError, match='expected size,mtime, and with these'):
        build(root, trust=trust)


def test_the_command_and_the_tables_say_what_is_trusted(
    root: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    assert check_trust('inode,mtime,size') == (*ALWAYS, 'inode')
    assert run(root, '--hash=md5', '--trust', 'size,mtime')[0] == 0
    rewrite(root / NAMES[0], b'y')
    code, out, _ = run(root, '--json', '--trust=size,mtime,ctime,inode')
    assert (code, json.loads(out)['read_again']) == (0, {'ctime': 1})
    assert run(root, '--trust', 'size')[0] == 2
    code, _, err = run('s3://bucket/x', '--out', root, '--trust', 'size,mtime')
    assert (code, 'trust is for a tree on a disk' in err) == (2, True)


@pytest.mark.parametrize(
    ('mtime', 'ctime', 'is_settled'),
    [
        (-61, -61, True),
        (-59, -61, False),
        (-61, -59, False),
        (59, -61, False),
        (61, -61, True),
        (61, 61, False),
    ],
)
def test_an_mtime_in_the_future_was_given_to_a_file(
    twin: kernel.Twin,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mtime: int,
    ctime: int,
    is_settled: bool,
) -> None:
    grow(tmp_path, {'x': b'x'})
    now_ns = (tmp_path / 'x').stat().st_ctime_ns - ctime * 10**9
    monkeypatch.setattr(time, 'time_ns', lambda: now_ns)
    times = (now_ns + mtime * 10**9,) * 2
    os.utime(tmp_path / 'x', ns=times)
    changed = (tmp_path / 'x').stat().st_ctime_ns - ctime * 10**9
    monkeypatch.setattr(time, 'time_ns', lambda: changed)
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        [fingerprint] = twin.measure(fd, ['x'], Wanted(('md5',)), follow_links=True).fingerprints
    finally:
        os.close(fd)
    assert (fingerprint != NO_FINGERPRINT) == is_settled
    assert Hasher(('md5',)).future_ns - changed == fingerprints.SETTLED_NS


def test_trust_changes_no_row(root: Path, build: Callable[..., Summary], tmp_path: Path) -> None:
    (tmp_path / 'out').mkdir()
    one = build(root, hash=['xxh128'])
    other = build(root, out=tmp_path / 'out', hash=['xxh128'], trust=ALWAYS)
    assert one.generation == other.generation
    assert tables_digest(root) != tables_digest(tmp_path / 'out')  # they say how they were made

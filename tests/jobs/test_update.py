"""A run that looks at a part of the tree writes what a run over all of it would write, byte for byte."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import fastindex
from fastindex import EmptyTreeError, InvalidIndexError, LockedError, LossError, Summary, UsageError
from fastindex.jobs.build.scope import parse_only
from fastindex.pipeline.unchanged_folders import LookTask
from fastindex.tables.file import GroupTable
from fastindex.tables.target import open_target
from fastindex.tables.write import PairWriter
from fastindex.trees import Measures, fingerprints, kernel, open_tree
from fastindex.trees.exclude import OneDeviceTree
from tests.support.cases import cases
from tests.support.tables import read_paths, tables_digest
from tests.support.trees import SESSION, Link, grow

pytestmark = pytest.mark.usefixtures('fixed_date')

REMOVING = {'allow_empty': True, 'allow_removal': True}

OTHER = 'lab/Subjects/s2/2024-01-01/001'

TREE = {
    f'{SESSION}/alf/a.b.npy': b'1',
    f'{SESSION}/a.b.npy': b'22',
    'lab/Subjects/s1/2024-01-01/002/a.b.npy': b'333',
    'lab/Subjects/s1/2024-01-02/001/a.b.npy': b'4444',
    f'{OTHER}/a.b.npy': b'55555',
    'lab2/Subjects/s1/2024-01-01/001/a.b.npy': b'666666',
    's3/2024-01-01/1/a.b.npy': b'7777777',
    's3/2024-01-01/001/a.b.npy': b'88888888',
}

SESSIONS = [
    f'{above}{date}/{number}'
    for above in ('lab/Subjects/s1/', 'lab/Subjects/s2/', 'lab2/Subjects/s1/', 's3/')
    for date in ('2024-01-01', '2024-01-02')
    for number in ('001', '1', '002')
]
FILES = ['a.b.npy', 'c.d.npy', 'alf/a.b.npy', '#v1#/a.b.npy', '#v2#/a.b.npy', 'no', 'alf/probe00/x.y.csv']


def read_index(folder: Path) -> tuple[bytes, ...]:
    """All that a run writes of what is in the tree."""
    problems = folder / '.fastindex' / 'problems.jsonl'
    tables = (folder / name for name in ('sessions.pqt', 'datasets.pqt'))
    return *(path.read_bytes() for path in tables), problems.read_bytes() if problems.exists() else b''


def build_all(root: Path, **options: Any) -> tuple[bytes, ...]:
    """What a run over the whole tree writes where no index is."""
    with tempfile.TemporaryDirectory() as out:
        fastindex.build(root, out=out, workers=1, allow_empty=True, **options)
        return read_index(Path(out))


def change(root: Path, session: str, name: str, kind: str, size: int) -> None:
    """Change something in a session, in the way that was drawn."""
    path = root / session / name
    if kind == 'drop':
        shutil.rmtree(root / session, ignore_errors=True)
    elif kind == 'remove':
        path.unlink(missing_ok=True)
    elif kind == 'link':
        path.unlink(missing_ok=True)
        grow(root, {f'{session}/{name}': Link('nowhere')})
    else:
        path.unlink(missing_ok=True)
        grow(root, {f'{session}/{name}': b'x' * size})


def ancestors(session: str) -> list[str]:
    """The folders by which a session may be asked for."""
    names = session.split('/')
    return ['/'.join(names[:count]) for count in range(1, len(names) + 1)]


changes = st.tuples(
    st.sampled_from(SESSIONS),
    st.sampled_from(FILES),
    st.sampled_from(['write', 'write', 'remove', 'link', 'drop']),
    st.integers(0, 9),
)


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[list[tuple[str, str, str, int]], list[str]]]:
    """Changes of a tree, and folders in which all of them are."""
    found = []
    for done in draw(st.lists(st.lists(changes, min_size=1, max_size=3), min_size=1, max_size=3)):
        only = [draw(st.sampled_from(ancestors(session))) for session, *_ in done]
        found.append((done, only))
    return found


@pytest.mark.long
@settings(max_examples=cases(24), phases=[Phase.generate])  # to shrink takes minutes
@given(tree=st.lists(changes, max_size=12), history=steps(), hash=st.sampled_from([(), ('xxh128',)]))
def test_a_part_is_what_a_full_run_writes(
    tree: list[tuple[str, str, str, int]],
    history: list[tuple[list[tuple[str, str, str, int]], list[str]]],
    hash: tuple[str, ...],
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr('fastindex.tables.write.ROW_GROUP_ROWS', 3)
        root = grow(Path(folder), dict.fromkeys([f'{one}/f.g.npy' for one in SESSIONS[::5]], b''))
        for one in tree:
            change(root, *one)
        fastindex.build(root, workers=1, hash=hash)
        for done, only in history:
            for one in done:
                change(root, *one)
            try:
                fastindex.build(root, workers=1, hash=hash, only=only, **REMOVING)
            except UsageError:  # neither there nor known
                assert not all((root / one).exists() for one in only)
                fastindex.build(root, workers=1, hash=hash, **REMOVING)
            assert read_index(root) == build_all(root, hash=hash)
        summary = fastindex.build(root, workers=1, hash=hash)
        assert summary.changes is not None
        assert not any(summary.changes.to_dict().values())


comings_and_goings = st.lists(  # no session goes and comes in one step: it is known
    st.dictionaries(st.sampled_from(SESSIONS), st.sampled_from(FILES), min_size=1, max_size=4), max_size=3
)


@pytest.mark.long
@settings(max_examples=cases(24), phases=[Phase.generate])
@given(history=comings_and_goings, hash=st.sampled_from([(), ('md5',)]))
def test_new_sessions_are_what_a_full_run_writes(
    history: list[dict[str, str]], hash: tuple[str, ...]
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr('fastindex.tables.write.ROW_GROUP_ROWS', 3)
        root = grow(Path(folder), dict.fromkeys([f'{one}/f.g.npy' for one in SESSIONS[::5]], b''))
        fastindex.build(root, workers=1, hash=hash, new=True)  # no index: all are new
        for step in history:
            for session, name in step.items():
                if (root / session).exists():
                    shutil.rmtree(root / session)
                else:
                    grow(root, {f'{session}/{name}': b'x' * len(step), f'{session}/l.m.npy': Link('nowhere')})
            try:
                fastindex.build(root, workers=1, hash=hash, new=True, allow_removal=True)
            except EmptyTreeError:
                assert not any((root / session).exists() for session in SESSIONS)
                continue
            assert read_index(root) == build_all(root, hash=hash)


def test_new_lists_no_more_than_dates_and_looks_at_nothing(
    root: Path, build: Callable[..., Summary], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(root / 's3/2024-01-01/1')
    grow(root, {'s3/2024-01-03/001/alf/a.b.npy': b''})
    listed, looked = spy(monkeypatch)
    summary = build(root, new=True)
    assert (summary.sessions_carried, summary.sessions) == (6, 7)
    inside = {'s3/2024-01-03/001', 's3/2024-01-03/001/alf'}
    folders = [str(path.relative_to(root)) for path in listed]
    assert len(set(folders)) == len(folders)
    known = [path for path in folders if path not in inside]
    assert all(path.count('/') <= 3 for path in known)
    assert not any(path.endswith(('/001', '/002', '/1')) for path in known)
    assert looked == {root / 's3/2024-01-03/001/alf/a.b.npy'}


@pytest.fixture
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('fastindex.trees.fingerprints.SETTLED_NS', -(10**15))  # nothing is young


def age(root: Path) -> Path:
    """Make all folders old, so that each change of one shows, however short the tick of the clock."""
    for path in [root, *root.rglob('*')]:
        if path.is_dir():
            os.utime(path, (1, 1))
    return root


@pytest.mark.long
@settings(max_examples=cases(48), phases=[Phase.generate])
@given(
    tree=st.lists(changes, max_size=12),
    step=st.lists(changes, max_size=4),
    hash=st.sampled_from([(), ('md5',)]),
)
def test_names_are_what_a_full_run_writes_where_folders_were_looked_at(
    tree: list[tuple[str, str, str, int]], step: list[tuple[str, str, str, int]], hash: tuple[str, ...]
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr('fastindex.tables.write.ROW_GROUP_ROWS', 3)
        patch.setattr('fastindex.trees.fingerprints.SETTLED_NS', -(10**15))
        root = grow(Path(folder), {f'{one}/alf/probe00/': None for one in SESSIONS[::5]})
        for one in tree:
            change(root, *one)
        fastindex.build(age(root), workers=1, hash=hash, quick=True)
        for one in step:
            change(root, *one)
        summary = fastindex.build(root, workers=1, hash=hash, quick=True, **REMOVING)
        assert read_index(root) == build_all(root, hash=hash)
        touched = {session for session, *_ in step} | {Path(one.path).parent for one in summary.problems}
        assert summary.sessions_carried >= len([one for one in SESSIONS if (root / one).exists()]) - 2 * len(
            touched
        )


@pytest.mark.long
@pytest.mark.usefixtures('_settled')
def test_quick_looks_at_folders_and_lists_none_that_is_as_it_was(
    root: Path, build: Callable[..., Summary], monkeypatch: pytest.MonkeyPatch
) -> None:
    build(age(root), quick=True)
    assert build(root, quick=True).sessions_carried == 7
    (root / OTHER / 'a.b.npy').write_bytes(b'in place')
    listed, looked = spy(monkeypatch)
    assert build(root, quick=True).sessions_carried == 7
    assert sorted(map(str, listed)) == sorted(map(str, list_above_dates(root)))
    assert looked == set()
    grow(root, {f'{OTHER}/raw/': None})
    assert build(root, quick=True).sessions_carried == 6
    for each in (build(age(root)), build(root, only=[OTHER])):  # all runs note it from then on
        assert each.changes is not None
    assert build(root, new=True).sessions_carried == 7
    assert build(root, quick=True).sessions_carried == 7


def list_above_dates(root: Path) -> list[Path]:
    return [
        root,
        *(root / name for name in ('lab', 'lab2', 's3', 'lab/Subjects', 'lab2/Subjects')),
        *(root / name for name in ('lab/Subjects/s1', 'lab/Subjects/s2', 'lab2/Subjects/s1')),
    ]


def link(path: Path, target: Path) -> None:
    path.rename(target)
    path.symlink_to(target)


DATE = SESSION[:-4]
CHANGES_OF_A_DATE: dict[str, Callable[[Path], object]] = {
    'a session comes': lambda root: grow(root, {f'{DATE}/003/a.b.npy': b''}),
    'a session goes': lambda root: shutil.rmtree(root / DATE / '002'),
    'both': lambda root: (root / DATE / '002').rename(root / DATE / '004'),
    'a session becomes a file': lambda root: [shutil.rmtree(root / SESSION), (root / SESSION).touch()],
    'a session becomes a link': lambda root: link(root / SESSION, root.parent / 'elsewhere'),
    'a folder that is none comes': lambda root: grow(root, {f'{DATE}/notes/': None}),
    'a file comes': lambda root: grow(root, {f'{DATE}/.DS_Store': b''}),
    'the date goes': lambda root: shutil.rmtree(root / DATE),
    'the date becomes a link': lambda root: link(root / DATE, root.parent / 'elsewhere'),
    'the date becomes a file': lambda root: [shutil.rmtree(root / DATE), (root / DATE).touch()],
    'the date is another day': lambda root: (root / DATE).rename(root / f'{DATE[:-1]}9'),
    'the date is exchanged': lambda root: [
        (root / DATE).rename(root / 'x'),
        (root / DATE).with_name('2024-01-02').rename(root / DATE),
        (root / 'x').rename((root / DATE).with_name('2024-01-02')),
    ],
    'nothing': lambda root: None,
}


@pytest.mark.long
@pytest.mark.usefixtures('_settled')
@pytest.mark.parametrize('kind', CHANGES_OF_A_DATE)
def test_what_becomes_of_a_date_is_seen(root: Path, build: Callable[..., Summary], kind: str) -> None:
    grow(root, {f'{DATE}/notes.txt': b'', 's3/2024-01-01/notes/': None})
    build(age(root), quick=True)
    CHANGES_OF_A_DATE[kind](root)
    quick = build(root, quick=True, allow_removal=True)
    assert read_index(root) == build_all(root)
    full = build(root, dry_run=True)
    assert (quick.skipped, quick.warnings) == (full.skipped, full.warnings)


@pytest.mark.usefixtures('_settled')
def test_sessions_that_links_lead_to_come_and_go_unseen_by_their_date(
    root: Path, build: Callable[..., Summary], tmp_path: Path
) -> None:
    grow(tmp_path, {'elsewhere/a.b.npy': b''})
    (root / DATE / '005').symlink_to(tmp_path / 'elsewhere')
    build(age(root), quick=True)
    (tmp_path / 'elsewhere').rename(tmp_path / 'gone')
    assert build(root, quick=True).sessions == 7
    assert read_index(root) == build_all(root)


@pytest.mark.usefixtures('_settled')
@pytest.mark.parametrize(
    'options', [{'follow_symlinks': False}, {'exclude': ['s3/']}, {'one_file_system': True}]
)
def test_trees_of_all_kinds_list_no_date_twice(
    root: Path, build: Callable[..., Summary], monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    build(age(root), **options)
    build(root, quick=True)
    build(root, only=[SESSION])  # leaves what is known of dates
    listed, _ = spy(monkeypatch)
    build(root, quick=True)
    expected = [path for path in list_above_dates(root) if 'exclude' not in options or path.name != 's3']
    assert sorted(listed) == sorted(expected)


def test_a_session_on_another_disk_is_looked_into_each_time(root: Path) -> None:
    tree = OneDeviceTree(open_tree(root), -1)
    assert LookTask(tree, [(SESSION, '', 'x')], fingerprints.FIELDS).run() == [SESSION]


@pytest.mark.long
@pytest.mark.usefixtures('_settled')
@pytest.mark.parametrize(
    'said',
    ['', 'x', '7', '[]', '{"2024-01-01": 7}', '{"2024-01-01": ["x", [], 7]}', '[' * 100_000, None],
    ids=range(8),
)
def test_what_is_not_known_of_dates_is_listed(
    root: Path, build: Callable[..., Summary], said: str | None
) -> None:
    build(age(root), quick=True)
    path = root / '.fastindex' / 'folders.parquet'
    if said is None:
        data = bytearray(path.read_bytes())
        data[50] ^= 1
        path.write_bytes(data)
    else:
        rows = pq.read_table(path)
        is_date = [eid == '' for eid in rows['eid'].to_pylist()]
        assert sum(is_date) == 4
        states = [said if one else old for one, old in zip(is_date, rows['state'].to_pylist(), strict=True)]
        rows = rows.set_column(2, 'state', pa.array(states))
        metadata = {b'fastindex': pq.read_metadata(path).metadata[b'fastindex']}
        pq.write_table(rows.replace_schema_metadata(metadata), path)
    assert build(root, quick=True).sessions_carried == (0 if said is None else 7)
    assert read_index(root) == build_all(root)
    assert build(root, quick=True).sessions_carried == 7


@pytest.mark.usefixtures('_settled')
def test_a_session_with_a_problem_is_looked_into_each_time(
    root: Path, build: Callable[..., Summary], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = kernel.measure

    def measure(fd: int, names: list[str], *arguments: Any, **options: Any) -> Measures:
        if os.readlink(f'/proc/self/fd/{fd}') == str(root / OTHER):
            return Measures([], [], [], {0: OSError(errno.EIO, os.strerror(errno.EIO))})
        return plain(fd, names, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(kernel, 'measure', measure)
        assert build(age(root), quick=True).problem_count == 1
    assert build(root, quick=True).sessions_carried == 6
    assert read_index(root) == build_all(root)


def test_a_folder_that_was_changed_of_late_is_looked_into_again(
    root: Path, build: Callable[..., Summary], monkeypatch: pytest.MonkeyPatch
) -> None:
    build(root, quick=True)
    listed, _ = spy(monkeypatch)
    assert build(root, quick=True).sessions_carried == 0
    assert root / DATE in listed


@pytest.mark.long
@pytest.mark.usefixtures('_settled')
def test_what_a_link_leads_to_is_looked_at_each_time(
    root: Path, build: Callable[..., Summary], tmp_path: Path
) -> None:
    grow(tmp_path, {'elsewhere/n.e.npy': b'1', 'folder/n.e.npy': b'2'})
    grow(root, {f'{SESSION}/n.e.npy': Link(str(tmp_path / 'elsewhere/n.e.npy'))})
    grow(root, {f'{OTHER}/raw': Link(str(tmp_path / 'folder'))})
    build(age(root), quick=True)
    assert build(root, quick=True).sessions_carried == 6
    (tmp_path / 'elsewhere/n.e.npy').unlink()
    (tmp_path / 'folder/n.e.npy').unlink()
    assert build(root, quick=True).sessions_carried == 5
    assert read_index(root) == build_all(root)
    grow(tmp_path, {'elsewhere/n.e.npy': b'1'})
    build(root, quick=True)  # what was a problem is looked at too
    assert read_index(root) == build_all(root)


def test_new_sees_nothing_inside_a_session_that_is_known(root: Path, build: Callable[..., Summary]) -> None:
    grow(root, {f'{SESSION}/n.e.npy': b''})
    assert build(root, new=True).datasets_carried == len(TREE)
    with pytest.raises(UsageError, match='expected one'):
        build(root, new=True, only=[SESSION])


@pytest.fixture
def root(make_tree: Callable[..., Path], build: Callable[..., Summary]) -> Path:
    root = make_tree(TREE)
    build(root)
    return root


@pytest.mark.long
@pytest.mark.parametrize(
    'gone', ['lab', 'lab/Subjects/s1', 'lab/Subjects/s1/2024-01-01', SESSION, 's3/2024-01-01/1']
)
def test_what_is_gone_leaves_the_index(root: Path, build: Callable[..., Summary], gone: str) -> None:
    shutil.rmtree(root / gone)
    summary = build(root, only=[gone], allow_removal=True)
    assert summary.changes is not None
    assert summary.changes.sessions_removed == len(list_sessions(gone))
    assert read_index(root) == build_all(root)


def list_sessions(folder: str) -> set[str]:
    """The sessions of TREE in a folder."""
    names = [name.split('/') for name in TREE if name.startswith(f'{folder}/')]
    return {'/'.join(name[: 5 if name[1] == 'Subjects' else 3]) for name in names}


def test_nothing_else_is_listed_or_looked_at(
    root: Path, build: Callable[..., Summary], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, looked = spy(monkeypatch)
    build(root, only=['lab/Subjects/s1/2024-01-02/001'])
    session = root / 'lab/Subjects/s1/2024-01-02/001'
    above = set(session.parents) - {root, *root.parents}
    assert (listed, looked) == ([session], {*above, session, session / 'a.b.npy'})


def spy(monkeypatch: pytest.MonkeyPatch) -> tuple[list[Path], set[Path]]:
    """Note the folders that are listed, and the entries that are looked at."""
    twin = kernel.TWINS['python']
    listed: list[Path] = []
    looked: set[Path] = set()

    def name_of(fd: int) -> Path:
        return Path(os.readlink(f'/proc/self/fd/{fd}'))

    def list_folder(fd: int) -> Iterator[tuple[Any, bytes]]:
        listed.append(name_of(fd))
        return twin.list_folder(fd)

    def measure(fd: int, names: list[str], *arguments: Any, **options: Any) -> Any:
        looked.update(name_of(fd) / name for name in names)
        return twin.measure(fd, names, *arguments, **options)

    plain = kernel.kind_of

    def kind_of(fd: int, name: str, *, follow: bool = True) -> int:
        looked.add(name_of(fd) / name)
        return plain(fd, name, follow=follow)

    monkeypatch.setattr(kernel, 'list_folder', list_folder)
    monkeypatch.setattr(kernel, 'measure', measure)
    monkeypatch.setattr(kernel, 'kind_of', kind_of)
    return listed, looked


@pytest.mark.long
@pytest.mark.parametrize(
    ('path', 'why'),
    [
        ('', 'this is the root'),
        ('.', 'this is the root'),
        ('../lab', 'not below the root'),
        ('/elsewhere/lab', 'not below the root'),
        (f'{SESSION}/alf', 'in a session'),
        (f'{SESSION}/a.b.npy', 'in a session'),
        ('lab/s1', 's1 is no date'),
        ('lab\0lab2', 'NUL'),
        ('lab/Subjects/s1/2024-13-01', '2024-13-01 is no date'),
        ('lab/Subjects/s1/2024-01-01/0001', '0001 is no number'),
        ('lab/Subjects/s9', 'there is no lab/Subjects/s9'),
        ('README.txt', 'this is a file'),
        ('code', 'neither Subjects nor a date'),
    ],
)
def test_a_path_that_cannot_be_asked_for_says_what_it_is(
    root: Path, build: Callable[..., Summary], path: str, why: str
) -> None:
    grow(root, {'README.txt': b'', 'code/x/': None})
    before = tables_digest(root)
    with pytest.raises(UsageError, match=why):
        build(root, only=[path])
    assert tables_digest(root) == before


def test_a_path_may_be_written_in_many_ways(
    root: Path, build: Callable[..., Summary], monkeypatch: pytest.MonkeyPatch
) -> None:
    (root.parent / 'mount').symlink_to(root)
    monkeypatch.chdir(root.parent)
    for path in (
        f'{SESSION}/',
        f'./{SESSION}',
        f'{root}/{SESSION}',
        root / SESSION,
        f'lab//Subjects/../{SESSION[4:]}',
        f'root/{SESSION}',
        f'{root.parent}/mount//{SESSION}',
        f'root/s3/../{SESSION}',
    ):
        assert parse_only([path], str(root)) == (SESSION,)
    monkeypatch.chdir(root / SESSION)
    for path, of in (('.', SESSION), ('..', SESSION[:-4]), ('../../../s2', 'lab/Subjects/s2')):
        assert parse_only([path], str(root)) == (of,)
    assert parse_only(['s3://data/tree/s3/2024-01-01'], 's3://data/tree') == ('s3/2024-01-01',)
    for path in ('', '../002/alf', '../../../../..', root):
        with pytest.raises(UsageError, match='expected a lab'):
            parse_only([path], str(root))
    with pytest.raises(UsageError, match='one path'):
        build(root, only=SESSION)


def test_a_folder_that_no_table_can_name_is_a_problem_of_who_asks_for_it(
    make_tree: Callable[..., Path], build: Callable[..., Summary]
) -> None:
    root = make_tree({**TREE, b'lab/Subjects/caf\xe9/2024-01-01/001/a.b.npy': b''})
    odd = root / os.fsdecode(b'lab/Subjects/caf\xe9')
    assert build(root).problem_count == 1
    for path in (odd, odd / '2024-01-01', odd / '2024-01-01/001'):
        assert build(root, only=[path]).sessions == 7
        assert read_index(root) == build_all(root)


@pytest.mark.parametrize('wait', [-1, float('nan'), '10m', None])
def test_what_is_no_time_is_not_waited(root: Path, build: Callable[..., Summary], wait: Any) -> None:
    with pytest.raises(UsageError, match='0 or more'):
        build(root, wait=wait)


@pytest.mark.parametrize('part', [{'only': [SESSION]}, {'new': True}, {'quick': True}])
def test_a_dry_run_has_no_index_to_take_sessions_from(
    root: Path, build: Callable[..., Summary], part: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match='`check`'):
        build(root, dry_run=True, **part)


def test_there_must_be_an_index_to_carry_over(
    make_tree: Callable[..., Path], build: Callable[..., Summary]
) -> None:
    root = make_tree(TREE)
    with pytest.raises(InvalidIndexError, match='no index of fastindex'):
        build(root, only=[SESSION])
    build(root)
    with pytest.raises(UsageError, match='`hash`'):
        build(root, only=[SESSION], hash=['xxh128'])
    path = root / 'datasets.pqt'
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    with pytest.raises(InvalidIndexError):
        build(root, only=[SESSION])
    assert path.read_bytes() == data


def test_locks_and_guards_are_those_of_a_full_run(root: Path, build: Callable[..., Summary]) -> None:
    with open_target(root), pytest.raises(LockedError):
        build(root, only=[SESSION])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('fastindex.trees.kernel.list_folder', lambda fd: iter(()))
        with pytest.raises(LossError, match='all of 4'):
            build(root, only=['lab'])
    out = root.parent / 'out'
    out.mkdir()
    build(root, out=out)
    before = tables_digest(out)
    for lab in ('lab', 'lab2', 's3'):
        shutil.rmtree(root / lab)
    with pytest.raises(EmptyTreeError, match='no lab'):
        build(root, out=out, only=[SESSION])
    with pytest.raises(EmptyTreeError, match='all sessions vanished'):
        build(root, out=out, only=['lab', 'lab2', 's3'])
    assert tables_digest(out) == before


def test_a_run_that_waits_goes_on_when_the_other_one_has_ended(
    root: Path,
    build: Callable[..., Summary],
    run: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = ExitStack()
    held.enter_context(open_target(root))
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            held.close()

    monkeypatch.setattr('fastindex.tables.lock.time.sleep', nap)
    assert build(root, only=[SESSION], wait=600).sessions == 7
    assert len(naps) == 3
    assert naps[0] < naps[2]
    with open_target(root):
        assert run(root, '--only', SESSION, '--quiet')[0] == 4
        assert run(root, '--wait', '0s', '--quiet')[0] == 4
    assert run(root, '--wait', 'soon')[0] == 2


def test_problems_of_other_sessions_stay_known(root: Path, build: Callable[..., Summary]) -> None:
    grow(root, {f'{SESSION}/c.d.npy': Link('nowhere'), f'{OTHER}/c.d.npy': Link('nowhere')})
    assert build(root).problem_count == 2
    (root / SESSION / 'c.d.npy').unlink()
    summary = build(root, only=[SESSION])
    assert (summary.problem_count, summary.problems_path is not None) == (0, True)
    assert read_index(root) == build_all(root)
    (root / OTHER / 'c.d.npy').unlink()
    assert build(root, only=[OTHER]).problems_path is None
    assert read_index(root) == build_all(root)


@pytest.mark.long
def test_digests_of_what_is_carried_over_are_kept_and_reused(
    root: Path, build: Callable[..., Summary], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('fastindex.trees.fingerprints.SETTLED_NS', -(10**15))  # no file is young
    monkeypatch.setattr('fastindex.tables.write.ROW_GROUP_ROWS', 3)
    options: dict[str, Any] = {'hash': ['xxh128', 'md5']}
    assert build(root, **options).digests_reused == 0
    part = build(root, only=[SESSION, 's3'], **options)
    assert (part.digests_reused, part.datasets_carried) == (4, 4)
    assert build(root, **options).digests_reused == 8
    (root / '.fastindex' / 'fingerprints.parquet').unlink()
    assert build(root, only=[SESSION], **options).digests_reused == 0
    assert read_index(root) == build_all(root, **options)
    assert build(root, **options).digests_reused == 2  # the others have the mark


def test_ids_in_names_stay_unique(make_tree: Callable[..., Path], build: Callable[..., Summary]) -> None:
    name = 'a.b.5d8b1b4f-3b0c-4a57-9a4b-9b1f3a6c2d11.npy'
    root = make_tree({f'{SESSION}/{name}': b'1', 'lab/Subjects/s2/2024-01-01/001/': None})
    build(root, uuid_filenames=True)
    before = tables_digest(root)
    grow(root, {f'{OTHER}/{name}': b'2'})
    with pytest.raises(
        fastindex.IdClashError, match='cannot be told: leave `only`, `new` and `quick` out once'
    ):
        build(root, uuid_filenames=True, only=[OTHER])
    assert tables_digest(root) == before


@pytest.mark.parametrize('part', [{'only': ['lab/Subjects/s1']}, {'new': True}, {'quick': True}])
def test_a_file_whose_twin_is_gone_is_looked_at_or_missed(
    make_tree: Callable[..., Path], build: Callable[..., Summary], part: dict[str, Any]
) -> None:
    name = 'a.b.5d8b1b4f-3b0c-4a57-9a4b-9b1f3a6c2d11.npy'
    third = 'lab/Subjects/s3/2024-01-01/001/'
    root = make_tree({f'{SESSION}/{name}': b'1', f'{OTHER}/{name}': b'2', third: None})
    build(root, uuid_filenames=True)
    before = tables_digest(root)
    shutil.rmtree(root / SESSION)
    if 'quick' in part:
        build(root, **part)
        assert read_index(root) == build_all(root, uuid_filenames=True)
        return
    with pytest.raises(fastindex.IdClashError, match='leave `only`, `new` and `quick` out once'):
        build(root, **part)
    assert tables_digest(root) == before


def test_the_command_takes_paths_and_files_of_them(
    root: Path, run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    grow(root, {f'{SESSION}/n.e.npy': b'', f'{OTHER}/n.e.npy': b'', 's3/2024-01-01/1/n.e.npy': b''})
    (tmp_path / 'paths').write_text(f'{OTHER}\n\n{root}/{SESSION}\n')
    code, out, _ = run(root, '--only-from', tmp_path / 'paths')
    assert code == 0
    assert 'looked at 2 sessions; 5 are as in the index before' in out
    assert not any('s3' in path and 'n.e' in path for path in read_paths(root))
    code, _, _ = run(root, '--quiet', '--only', SESSION, 's3')
    assert code == 0
    assert read_index(root) == build_all(root)
    assert run(root, '--only-from', tmp_path / 'none')[0] == 2


@pytest.fixture
def handled(make_tree, monkeypatch):
    """A tree of 120 sessions; what is read of its index, and written, by the rows that each table has."""
    root = make_tree({f'{"ab"[i % 2]}/2024-01-01/{i:03}/a.b.npy': b'1' for i in range(120)})
    monkeypatch.setattr('fastindex.tables.write.ROW_GROUP_ROWS', 10)
    fastindex.build(root, workers=1)
    seen: list[tuple[str, int]] = []
    read, write = GroupTable.read, PairWriter.write

    def noting_read(table: GroupTable, *arguments: Any) -> pa.Table:
        rows = read(table, *arguments)
        seen.extend([('read', rows.num_rows)] * (table.path.name == 'datasets.pqt'))
        return rows

    def noting_write(writer: PairWriter, sessions: Any, datasets: Any = None, *others: Any) -> None:
        write(writer, sessions, datasets, *others)
        seen.extend([] if datasets is None else [('written', datasets.num_rows)])

    monkeypatch.setattr(GroupTable, 'read', noting_read)
    monkeypatch.setattr(PairWriter, 'write', noting_write)
    return root, seen


@pytest.mark.long
def test_what_is_carried_over_is_not_held_until_a_session_comes_after_it(handled, monkeypatch):
    root, seen = handled
    monkeypatch.setattr('fastindex.tables.splice.CHUNK_ROWS', 1)
    rows = pq.read_table(root / 'sessions.pqt').to_pylist()
    last = max(rows, key=lambda row: row['id'])
    fastindex.build(root, workers=1, only=[f'{last["subject"]}/2024-01-01/{last["number"]:03}'])
    held = [sum(rows if what == 'read' else -rows for what, rows in seen[:end]) for end in range(len(seen))]
    assert max(held) <= 20
    assert sum(what == 'read' for what, _ in seen) == 12


def test_sessions_that_are_scanned_between_others_are_not_written_one_by_one(handled):
    """A table takes as much memory as 50 rows, and all wait until a row group is full."""
    root, seen = handled
    fastindex.build(root, workers=1, only=['a'])
    written = [rows for what, rows in seen if what == 'written']
    assert sum(written) == 120
    assert len(written) < 20

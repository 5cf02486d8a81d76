"""Two oracles: the client's own builder on ordinary trees, and a plain walk on awkward ones."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import one.alf.cache
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from one.alf import spec
from one.api import One

import fastindex
from fastindex import EmptyTreeError, Problem, Reason, Skip
from fastindex.names.alf import SkipReason
from fastindex.names.leftovers import is_left_over
from tests.support.cases import cases
from tests.support.strategies import awkward_trees
from tests.support.tables import read, read_paths
from tests.support.trees import SESSION, Fifo, Link, grow, grow_what_fits

X = f'{SESSION}/spikes.times.npy'


@pytest.fixture(autouse=True, scope='module')
def _small_buffer() -> Iterator[None]:
    """The client's builder takes 256 MiB for each MD5 that it computes: 0.2 s."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('iblutil.io.hashfile.BUF_SIZE', 2**16)
        yield


def build_theirs(root: Path, **options: Any) -> Path:
    """Index a tree with the client's own builder, in a folder beside the root."""
    out = root.parent / 'theirs'
    out.mkdir(exist_ok=True)
    one.alf.cache.make_parquet_db(root, out_dir=out, **options)
    return out


# Ordinary trees: the client's builder is right

words = st.text('abcXYZ019', min_size=1, max_size=3)


@st.composite
def dataset_names(draw: st.DrawFn) -> str:
    namespace = draw(st.sampled_from(['', '', '_ibl_', '_phy2_', '_ns']))
    attribute = draw(st.sampled_from(['', '', '_phy_'])) + draw(words)
    times = draw(st.sampled_from(['', '', '_times', '_intervals']))
    timescale = draw(st.sampled_from(['', '', '_bpod', '_ephys_clock']))
    extra = draw(st.lists(st.sampled_from(['raw', 'v1-2', 'a_b']), max_size=2))
    return '.'.join([namespace + draw(words), attribute + times + timescale, *extra, draw(words)])


# With two dots and yet no dataset, a name makes the index of the client's builder unreadable: see below.
near_misses = st.sampled_from(
    ['README', 'notes.txt', '.DS_Store', 'spikes_times.npy', 'a b.npy', 'spikes', '-', '#a#', 'é.txt', '.npy']
)
file_names = st.integers(0, 9).flatmap(lambda die: near_misses if die < 3 else dataset_names())

collections = st.sampled_from(['', 'alf/', 'alf/probe00/', 'raw_ephys_data/', 'a.b/c-d/'])
revisions = st.sampled_from(['', '', '', '#2024-05-06#/', '#v1.0#/', '#a_b-c#/'])
session_paths = st.builds(
    '{}{}/{}/{}/'.format,
    st.sampled_from(['', 'lab/Subjects/', 'lab_2/Subjects/', 'Lab3/Subjects/']),
    st.sampled_from(['s1', 'KS_004', 'a.b-c', '0']),
    st.dates(date(1970, 1, 1), date(2100, 1, 1)).map(str),
    st.sampled_from(['001', '002', '010', '999', '000']),
)
files = st.dictionaries(
    st.builds('{}{}{}'.format, collections, revisions, file_names), st.binary(max_size=3), max_size=4
)
# A session without datasets makes the client's builder raise: each has one here.
sessions = files.map(lambda tree: {**tree, 'alf/spikes.times.npy': b'x'})
ordinary_trees = st.dictionaries(session_paths, sessions, min_size=1, max_size=4).map(
    lambda tree: {path + name: data for path, session in tree.items() for name, data in session.items()}
)


def rows_of(folder: Path) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """The rows of both tables, each with its session spelled out in place of the eid."""
    session_of = {
        row['id']: (row['lab'], row['subject'], row['date'], row['number'], row['task_protocol'])
        for row in read(folder, 'sessions')
    }
    datasets = [
        (
            session_of[row['eid']],
            row['rel_path'],
            row['file_size'],
            row['hash'] or None,
            row['exists'],
            row['qc'],
        )
        for row in read(folder, 'datasets')
    ]
    return sorted(session_of.values()), sorted(datasets, key=repr)


@pytest.mark.long
@given(ordinary_trees, st.booleans())
@settings(max_examples=cases(40))
def test_rows_are_those_of_the_clients_builder(tree, hash_files):
    with tempfile.TemporaryDirectory() as folder:
        root = grow(Path(folder, 'root'), tree)
        sessions, datasets = rows_of(build_theirs(root, hash_files=hash_files))
        datasets = [row for row in datasets if not is_left_over(row[1].rpartition('/')[2])]  # a decision
        fastindex.build(root, workers=1, hash=['md5'] if hash_files else [])
        assert rows_of(root) == (sessions, datasets)


# Other trees: a plain walk of our own, after the contract

REL_PATH = spec.regex(spec.REL_PATH_SPEC)
NOT_REPRESENTABLE = (SkipReason.COLLECTION, SkipReason.REVISION, SkipReason.REVISION_NOT_LAST)


def is_day(name: str) -> bool:
    try:
        return len(name) == 10 and str(date.fromisoformat(name)) == name
    except ValueError:
        return False


def looks_like_day(name: str) -> bool:
    return re.fullmatch(r'\d{4}-\d{2}-\d{2}', name, re.ASCII) is not None


def subfolders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())


class Reference:
    """What the contract says about a tree of folders and regular files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.datasets: set[str] = set()
        self.sessions: set[str] = set()
        self.skips: Counter[str] = Counter()
        self.files = 0
        for name in self.enter('', subfolders(root)):
            below = subfolders(root / name)
            if 'Subjects' in below:
                subjects = subfolders(root / name / 'Subjects')
                for subject in self.enter(f'{name}/Subjects', subjects):
                    self.subject(f'{name}/Subjects/{subject}')
                self.enter(name, [folder for folder in below if folder.startswith('.')])
            elif any(looks_like_day(folder) for folder in below):
                self.subject(name)
            else:
                self.skips['not-a-lab-or-subject'] += 1
                self.enter(name, below)

    def enter(self, path: str, names: list[str]) -> list[str]:
        """Leave out what begins with a dot."""
        self.skips['dot-folder'] += sum(name.startswith('.') for name in names)
        return [name for name in names if not name.startswith('.')]

    def subject(self, subject: str) -> None:
        for day in self.enter(subject, subfolders(self.root / subject)):
            if not is_day(day):
                self.skips['no-such-day' if looks_like_day(day) else 'not-a-date'] += 1
                continue
            for number in self.enter(f'{subject}/{day}', subfolders(self.root / subject / day)):
                if re.fullmatch(r'[0-9]{1,3}', number):
                    self.session(f'{subject}/{day}/{number}')
                else:
                    self.skips['not-a-session-number'] += 1

    def session(self, session: str) -> None:
        self.sessions.add(session)
        for folder, names, files in os.walk(self.root / session):
            self.skips['opaque-folder'] += sum(
                name.lower().endswith(('.zarr', '.n5')) for name in names if not name.startswith('.')
            )
            names[:] = [name for name in self.enter('', names) if not name.lower().endswith(('.zarr', '.n5'))]
            for name in files:
                rel_path = os.path.relpath(os.path.join(folder, name), self.root / session)
                self.files += 1
                if not spec.is_valid(name):
                    self.skips['dot-file' if name.startswith('.') else 'not-a-dataset-name'] += 1
                elif not REL_PATH.fullmatch(rel_path):
                    self.skips['not-representable'] += 1
                else:
                    self.datasets.add(f'{session}/{rel_path}')


def paths_in(folder: Path, root: Path) -> set[str]:
    """session_path/rel_path of each row: eids are resolved by what is on the disk, not by our columns."""
    path_of = {
        str(fastindex.eid(path.relative_to(root).as_posix())): path.relative_to(root).as_posix()
        for path in [*root.glob('*/*/*'), *root.glob('*/Subjects/*/*/*')]
    }
    return {f'{path_of[row["eid"]]}/{row["rel_path"]}' for row in read(folder, 'datasets')}


@pytest.mark.long
@given(awkward_trees)
@settings(max_examples=cases(150))
def test_every_file_of_a_session_is_a_dataset_or_a_counted_skip(tree):
    with tempfile.TemporaryDirectory() as folder:
        root = grow_what_fits(Path(folder, 'root'), tree)
        expected = Reference(root)
        skips: list[Skip] = []
        summary = fastindex.build(root, workers=1, allow_empty=True, on_skip=skips.append)
        skipped = Counter(summary.skipped)
        skipped['not-representable'] = sum(skipped.pop(reason, 0) for reason in NOT_REPRESENTABLE)
        assert paths_in(root, root) == expected.datasets
        assert (summary.sessions, summary.datasets) == (len(expected.sessions), len(expected.datasets))
        assert +skipped == +expected.skips
        assert Counter(skip.reason for skip in skips) == Counter(summary.skipped)
        assert len(set(skips)) == len(skips)
        assert not summary.problems


# Where the client's builder is wrong: what it does, and what fastindex does


@pytest.mark.filterwarnings('ignore:The copy keyword is deprecated:DeprecationWarning:one.api')
@pytest.mark.parametrize('name', ['.x.swp.y', '._x.a.b', 'my file.v1.txt', 'a-b.c.d'])
def test_file_with_two_dots_that_is_no_dataset_does_not_make_the_index_unreadable(make_tree, build, name):
    root = make_tree({X: b'x', f'{SESSION}/{name}': b'x'})
    with pytest.raises((TypeError, AttributeError, ValueError)):
        One(cache_dir=root, tables_dir=build_theirs(root), mode='local').list_datasets()
    summary = build(root)
    assert sum(summary.skipped.values()) == 1
    assert One(cache_dir=root, mode='local').list_datasets() == ['spikes.times.npy']


@pytest.mark.parametrize(
    ('path', 'theirs'),
    [
        ('lab/Subjects/my mouse/2024-01-01/001', ('', 'mouse')),
        ('my-lab/Subjects/s1/2024-01-01/001', ('lab', 's1')),
    ],
)
def test_lab_and_subject_are_not_cut_short(make_tree, build, path, theirs):
    root = make_tree({f'{path}/spikes.times.npy': b'x'})
    [row] = read(build_theirs(root), 'sessions')
    assert (row['lab'], row['subject']) == theirs
    build(root)
    assert read_paths(root) == {f'{path}/spikes.times.npy'}


@pytest.mark.parametrize(
    ('folder', 'reason'),
    [
        ('my probe', SkipReason.COLLECTION),
        ('#my revision#', SkipReason.REVISION),
        ('#a#/alf', SkipReason.REVISION_NOT_LAST),
    ],
)
def test_folder_that_the_client_cannot_name_is_left_out_not_dropped_from_the_path(
    make_tree, build, folder, reason
):
    root = make_tree({X: b'x', f'{SESSION}/{folder}/spikes.amps.npy': b'x'})
    assert 'spikes.amps.npy' in {row['rel_path'] for row in read(build_theirs(root), 'datasets')}
    summary = build(root)
    assert summary.skipped == {reason: 1}
    assert read_paths(root) == {X}


@pytest.mark.parametrize(
    ('day', 'reason'), [('2021-02-30', SkipReason.NO_SUCH_DAY), ('٢٠٢١-٠١-٠١', SkipReason.NOT_DATE)]
)
def test_date_that_is_none_is_left_out_not_a_crash(make_tree, build, day, reason):
    root = make_tree({X: b'x', f'lab/Subjects/s1/{day}/001/spikes.times.npy': b'x'})
    with pytest.raises(Exception):  # noqa: B017, PT011 - what is raised differs
        build_theirs(root)
    assert build(root).skipped == {reason: 1}
    assert read_paths(root) == {X}


def test_date_that_is_none_is_left_out_in_a_tree_without_labs_too(make_tree, build):
    root = make_tree(
        {
            's1/2024-01-01/001/spikes.times.npy': b'x',
            's1/٢٠٢٤-٠١-٠٢/001/spikes.times.npy': b'x',
            's1/20240102/001/spikes.times.npy': b'x',
        }
    )
    assert build(root).skipped == {SkipReason.NOT_DATE: 2}


@pytest.mark.parametrize(('target', 'reason'), [('gone', Reason.DANGLING_LINK), ('a.b.c', Reason.LINK_LOOP)])
def test_dangling_or_looping_link_is_a_problem_not_a_crash(make_tree, build, target, reason):
    root = make_tree({X: b'x', f'{SESSION}/a.b.c': Link(target)})
    with pytest.raises((OSError, RuntimeError)):
        build_theirs(root)
    assert build(root).problems == (Problem(f'{SESSION}/a.b.c', reason),)
    assert read_paths(root) == {X}


def test_linked_session_is_followed_by_both(make_tree, build, tmp_path):
    grow(tmp_path / 'else', {'alf/spikes.times.npy': b'x'})
    root = make_tree({SESSION: Link(str(tmp_path / 'else'))})
    build(root)
    assert read_paths(root) == read_paths(build_theirs(root)) == {f'{SESSION}/alf/spikes.times.npy'}


def test_session_without_datasets_has_its_row(make_tree, build):
    root = make_tree({X: b'x', 'lab/Subjects/s2/2024-01-01/001/': b''})
    with pytest.raises(AssertionError):
        build_theirs(root)
    assert build(root).sessions == 2


def test_name_that_is_not_utf8_is_a_problem_not_a_crash(make_tree, build):
    root = make_tree({X: b'x', f'{SESSION}/'.encode() + b'caf\xe9.times.npy': b'x'})
    with pytest.raises(Exception):  # noqa: B017, PT011 - what is raised differs
        One(cache_dir=root, tables_dir=build_theirs(root), mode='local')
    assert build(root).problems == (Problem(f'{SESSION}/caf\\xe9.times.npy', Reason.NOT_UTF8),)
    assert read_paths(root) == {X}


def test_session_in_a_session_is_a_collection_of_the_outer_one(make_tree, build):
    root = make_tree({X: b'x', f'{SESSION}/s2/2024-01-01/001/spikes.amps.npy': b'x'})
    with pytest.raises(ValueError, match='Length of values'):  # one session twice
        build_theirs(root)
    build(root)
    assert read_paths(root) == {X, f'{SESSION}/s2/2024-01-01/001/spikes.amps.npy'}


@pytest.mark.parametrize('folder', ['.snapshot', '.Trash-0/files'])
def test_copies_in_dot_folders_are_no_rows(make_tree, build, folder):
    root = make_tree({X: b'x', f'{folder}/{X}': b'x'})
    with pytest.raises(ValueError, match='Length of values'):
        build_theirs(root)
    assert build(root).skipped == {SkipReason.DOT_FOLDER: 1}
    assert read_paths(root) == {X}


def test_one_digit_number_is_indexed_by_both(make_tree, build):
    root = make_tree({'lab/Subjects/s1/2024-01-01/1/spikes.times.npy': b'x'})
    build(root)
    assert rows_of(root) == rows_of(build_theirs(root))


def test_number_twice_is_two_rows_in_both(make_tree, build):
    root = make_tree({X: b'x', X.replace('/001/', '/1/'): b'x'})
    build(root)
    numbers = [[row['number'] for row in read(folder, 'sessions')] for folder in (root, build_theirs(root))]
    assert numbers == [[1, 1], [1, 1]]


@pytest.mark.parametrize('number', ['0001', '1000'])
def test_number_of_four_digits_is_counted(make_tree, build, number):
    root = make_tree({X: b'x', X.replace('/001/', f'/{number}/'): b'x'})
    assert read_paths(build_theirs(root)) == {X}
    assert build(root).skipped == {SkipReason.NOT_NUMBER: 1}
    assert read_paths(root) == {X}


def test_chunks_of_a_zarr_folder_are_no_datasets(make_tree, build):
    root = make_tree({X: b'x', f'{SESSION}/a.zarr/0.0.0': b'x', f'{SESSION}/a.zarr/0.0.1': b'x'})
    assert len(read(build_theirs(root), 'datasets')) == 3
    assert build(root).skipped == {SkipReason.OPAQUE_FOLDER: 1}
    assert read_paths(root) == {X}


def test_session_path_is_read_from_the_root_down(tmp_path, build):
    root = grow(tmp_path / 'mouse/2020-01-01/003/root', {X: b'x'})
    [row] = read(build_theirs(root), 'sessions')
    assert row['subject'] == 'mouse'
    summary = build(root)
    assert read_paths(root) == {X}
    assert 'inside a session folder' in summary.warnings[0]


def test_folder_of_a_lab_as_root_is_refused_with_the_right_one(make_tree, build):
    root = make_tree({X: b'x'})
    assert [row['lab'] for row in read(build_theirs(root / 'lab'), 'sessions')] == ['lab']
    with pytest.raises(EmptyTreeError, match=re.escape(f'index the one above it, {root}')):
        build(root / 'lab')


def test_folder_of_subjects_as_root_has_no_lab_and_says_so(make_tree, build, tmp_path):
    root = make_tree({X: b'x'}) / 'lab/Subjects'
    (tmp_path / 'out').mkdir()
    summary = build(root, out=tmp_path / 'out')
    assert read_paths(tmp_path / 'out') == {'s1/2024-01-01/001/spikes.times.npy'}
    assert 'Subjects folder' in summary.warnings[0]


@pytest.mark.parametrize('hash', [(), ('md5',)], ids=str)
def test_pipe_named_like_a_dataset_is_a_problem_and_never_opened(make_tree, build, hash):
    root = make_tree({X: b'x', f'{SESSION}/spikes.amps.npy': Fifo()})
    assert len(read(build_theirs(root), 'datasets')) == 2  # with hash_files=True it hangs
    assert build(root, hash=hash).problems == (Problem(f'{SESSION}/spikes.amps.npy', Reason.NOT_REGULAR),)


def test_empty_tree_does_not_overwrite_a_good_index(make_tree, build, tmp_path):
    root = make_tree({X: b'x'})
    build(root)
    theirs = build_theirs(root)
    os.rename(root / 'lab', tmp_path / 'unmounted')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', RuntimeWarning)
        build_theirs(root)
    assert pq.read_metadata(theirs / 'sessions.pqt').num_rows == 0
    with pytest.raises(EmptyTreeError):
        build(root)
    assert pq.read_metadata(root / 'sessions.pqt').num_rows == 1


def test_ids_are_the_same_at_every_rebuild_and_one_a_dataset(make_tree, build):
    root = make_tree({X: b'x', X.replace('/001/', '/002/'): b'x'})
    theirs, ours = [], []
    for _ in range(2):
        build(root)
        ours.append({row['id'] for row in read(root, 'datasets')})
        theirs.append({row['id'] for row in read(build_theirs(root), 'datasets')})
    assert theirs[0] != theirs[1]
    assert ours[0] == ours[1]
    assert (len(theirs[0]), len(ours[0])) == (1, 2)


def test_md5_is_that_of_hashlib(make_tree, build):
    contents = [b'', b'x', bytes(range(256)) * 999]
    root = make_tree({f'{SESSION}/a.b.{i}': content for i, content in enumerate(contents)})
    build(root, hash=['md5'])
    hashes = {row['rel_path']: row['hash'] for row in read(root, 'datasets')}
    assert hashes == {f'a.b.{i}': hashlib.md5(content).hexdigest() for i, content in enumerate(contents)}

"""What ends as row, skip or problem: the awkward trees of the contract, one by one."""

from __future__ import annotations

import os

import pytest

from fastindex import Problem, Reason, Skip
from fastindex.trees import kernel
from tests.support.tables import read, read_paths
from tests.support.trees import SESSION, Fifo, Link, Mode, Socket, Sparse, grow

SPIKES = f'{SESSION}/alf/spikes.times.npy'


def test_files_of_a_session_become_rows_with_their_size(make_tree, build):
    root = make_tree({SPIKES: b'1234', f'{SESSION}/_ibl_trials.intervals.npy': b'1'})
    summary = build(root)
    assert {(row['rel_path'], row['file_size']) for row in read(root, 'datasets')} == {
        ('alf/spikes.times.npy', 4),
        ('_ibl_trials.intervals.npy', 1),
    }
    assert (summary.sessions, summary.datasets, summary.bytes) == (1, 2, 5)
    assert summary.problems == ()
    assert summary.skipped == {}


def test_trees_with_and_without_labs_mix(make_tree, build):
    root = make_tree({SPIKES: b'', 's2/2024-01-01/001/spikes.times.npy': b''})
    build(root)
    assert {(row['lab'], row['subject']) for row in read(root, 'sessions')} == {('', 's2'), ('lab', 's1')}


@pytest.mark.parametrize(
    ('name', 'reason'),
    [
        ('.spikes.times.npy.swp', 'left-over'),
        ('._spikes.times.npy', 'dot-file'),
        ('my file.v1.txt', 'not-a-dataset-name'),
        ('notes.txt', 'not-a-dataset-name'),
        ('spikes.times.', 'not-a-dataset-name'),
    ],
)
def test_a_file_whose_name_is_not_alf_is_a_counted_skip(make_tree, build, name, reason):
    root = make_tree({SPIKES: b'', f'{SESSION}/alf/{name}': b''})
    summary = build(root)
    assert summary.skipped == {reason: 1}
    assert read_paths(root) == {SPIKES}


@pytest.mark.parametrize(
    ('folder', 'reason'),
    [
        ('alf/probe 00', 'collection-not-representable'),
        ('alf/#my revision#', 'revision-not-representable'),
        ('alf/#2024-01-01', 'revision-not-representable'),
        ('alf/#2024-01-01#/more', 'revision-not-last-folder'),
        ('a b/#2024-01-01#', 'collection-not-representable'),
    ],
)
def test_a_file_in_a_folder_that_the_client_cannot_name_is_a_counted_skip(make_tree, build, folder, reason):
    root = make_tree({SPIKES: b'', f'{SESSION}/{folder}/spikes.times.npy': b''})
    summary = build(root)
    assert summary.skipped == {reason: 1}
    assert read_paths(root) == {SPIKES}


@pytest.mark.parametrize('name', ['probe_00', 'probe.00', '-x', 'プローブ', 'v1.0.0'])
def test_a_collection_of_word_characters_dots_and_hyphens_is_indexed(make_tree, build, name):
    root = make_tree({f'{SESSION}/alf/{name}/spikes.times.npy': b''})
    build(root)
    assert read_paths(root) == {f'{SESSION}/alf/{name}/spikes.times.npy'}


def test_exactly_the_last_revision_is_the_default(make_tree, build):
    spikes = [f'alf/{folder}spikes.times.npy' for folder in ('', '#a#/', '#b#/')]
    names = [*spikes, 'alf/#a#/x.y.npy']
    root = make_tree({f'{SESSION}/{name}': b'' for name in names})
    build(root)
    default = {row['rel_path'] for row in read(root, 'datasets') if row['default_revision']}
    assert default == {'alf/#b#/spikes.times.npy', 'alf/#a#/x.y.npy'}


@pytest.mark.long
@pytest.mark.parametrize('subject', ['my mouse', '-s1', 'maus-ü', 's;1', 'Subjects2'])
def test_a_subject_of_any_name_keeps_it(make_tree, build, subject):
    root = make_tree({f'my-lab/Subjects/{subject}/2024-01-01/001/spikes.times.npy': b''})
    build(root)
    (session,) = read(root, 'sessions')
    assert (session['lab'], session['subject']) == ('my-lab', subject)


@pytest.mark.long
@pytest.mark.parametrize(
    ('folder', 'reason'),
    [
        ('lab/Subjects/s1/2021-02-30/001', 'no-such-day'),
        ('lab/Subjects/s1/0000-01-01/001', 'no-such-day'),
        ('lab/Subjects/s1/٢٠٢١-٠١-٠١/001', 'not-a-date'),
        ('lab/Subjects/s1/histology/001', 'not-a-date'),
        ('lab/Subjects/s1/2024-01-02/٠٠١', 'not-a-session-number'),
        ('lab/Subjects/s1/2024-01-02/0001', 'not-a-session-number'),
        ('lab/Subjects/s1/2024-01-02/1000', 'not-a-session-number'),
        ('lab/Subjects/s1/2024-01-02/1a', 'not-a-session-number'),
        ('docs/s1/2024-01-02/001', 'not-a-lab-or-subject'),
        ('lab/s2/2024-01-02/001', 'not-a-lab-or-subject'),
        ('lab/2024-01-32/001', 'no-such-day'),
        ('.snapshot/lab/Subjects/s1/2024-01-02/001', 'dot-folder'),
        ('lab/Subjects/.Trash-0/2024-01-02/001', 'dot-folder'),
    ],
)
def test_a_folder_that_is_no_session_is_a_counted_skip(make_tree, build, folder, reason):
    root = make_tree({SPIKES: b'', f'{folder}/spikes.times.npy': b''})
    summary = build(root)
    assert summary.skipped == {reason: 1}
    assert read_paths(root) == {SPIKES}


@pytest.mark.parametrize('numbers', [['1', '001'], ['01'], ['1', '01', '001']])
def test_unpadded_session_numbers_are_rows_of_their_own(make_tree, build, numbers):
    root = make_tree({f'lab/Subjects/s1/2024-01-01/{number}/spikes.times.npy': b'' for number in numbers})
    build(root)
    sessions = read(root, 'sessions')
    assert [session['number'] for session in sessions] == [1] * len(numbers)
    assert len({session['id'] for session in sessions}) == len(numbers)


def test_a_session_inside_a_session_belongs_to_the_outer_one(make_tree, build):
    root = make_tree({f'{SESSION}/copy/s2/2024-01-02/001/spikes.times.npy': b''})
    build(root)
    assert [row['subject'] for row in read(root, 'sessions')] == ['s1']
    assert [row['rel_path'] for row in read(root, 'datasets')] == ['copy/s2/2024-01-02/001/spikes.times.npy']


@pytest.mark.long
@pytest.mark.parametrize('name', ['ephys.raw.zarr', 'x.ZARR', 'x.n5'])
def test_a_folder_that_is_one_object_is_not_entered(make_tree, build, name):
    root = make_tree({SPIKES: b'', f'{SESSION}/{name}/0.0.0': b'', f'{SESSION}/{name}/0.1.0': b''})
    summary = build(root)
    assert summary.skipped == {'opaque-folder': 1}
    assert read_paths(root) == {SPIKES}


def test_a_folder_named_like_a_dataset_is_a_collection(make_tree, build):
    root = make_tree({f'{SESSION}/a.b.c/spikes.times.npy': b''})
    build(root)
    assert read_paths(root) == {f'{SESSION}/a.b.c/spikes.times.npy'}


def test_dot_folders_in_a_session_are_skipped_and_counted(make_tree, build):
    root = make_tree({SPIKES: b'', f'{SESSION}/.git/a.b.c': b'', f'{SESSION}/alf/.cache/a.b.c': b''})
    summary = build(root)
    assert summary.skipped == {'dot-folder': 2}


def test_a_session_without_datasets_keeps_its_row(make_tree, build):
    root = make_tree({SPIKES: b'', 'lab/Subjects/s1/2024-01-01/002/': None})
    build(root)
    assert sorted(row['number'] for row in read(root, 'sessions')) == [1, 2]


def test_links_to_files_and_folders_are_followed(make_tree, build, tmp_path):
    elsewhere = grow(tmp_path / 'elsewhere', {'001/spikes.times.npy': b'123', 'a.b.npy': b'4567'})
    root = make_tree(
        {
            'lab/Subjects/s1/2024-01-01/001': Link(str(elsewhere / '001')),
            f'{SESSION[:-3]}002/x.y.npy': Link(str(elsewhere / 'a.b.npy')),
            f'{SESSION[:-3]}002/alf': Link(str(elsewhere / '001')),
            'lab/Subjects/s2': Link('s1'),
            'lab2': Link('lab'),
        }
    )
    build(root)
    files = {'001/spikes.times.npy', '002/x.y.npy', '002/alf/spikes.times.npy'}
    assert read_paths(root) == {
        f'{lab}/Subjects/{subject}/2024-01-01/{file}'
        for lab in ('lab', 'lab2')
        for subject in ('s1', 's2')
        for file in files
    }
    assert {row['file_size'] for row in read(root, 'datasets')} == {3, 4}


def test_links_are_counted_skips_where_they_are_not_followed(make_tree, build, tmp_path):
    elsewhere = grow(tmp_path / 'elsewhere', {'001/spikes.times.npy': b'123', 'a.b.npy': b'4567'})
    root = make_tree(
        {
            SPIKES: b'',
            f'{SESSION}/x.y.npy': Link(str(elsewhere / 'a.b.npy')),
            f'{SESSION}/more': Link(str(elsewhere / '001')),
            'lab/Subjects/s1/2024-01-01/002': Link(str(elsewhere / '001')),
            'lab/Subjects/s2': Link('s1'),
        }
    )
    summary = build(root, follow_symlinks=False)
    assert read_paths(root) == {SPIKES}
    assert summary.skipped == {'link-not-followed': 4}


def test_a_dangling_link_is_a_problem(make_tree, build):
    root = make_tree({SPIKES: b'', f'{SESSION}/a.b.npy': Link('nowhere'), f'{SESSION}/more': Link('nowhere')})
    summary = build(root)
    assert summary.problems == (
        Problem(f'{SESSION}/a.b.npy', Reason.DANGLING_LINK),
        Problem(f'{SESSION}/more', Reason.DANGLING_LINK),
    )
    assert read_paths(root) == {SPIKES}


def test_a_dangling_link_of_git_annex_says_how_its_content_is_got(make_tree, build):
    link = Link('../../.git/annex/objects/1J/k0/MD5E-s1--x.npy/MD5E-s1--x.npy')
    summary = build(make_tree({SPIKES: b'', f'{SESSION}/a.b.npy': link}))
    (problem,) = summary.problems
    assert problem == Problem(f'{SESSION}/a.b.npy', Reason.NOT_GOT)
    assert str(problem).endswith(': content-is-not-in-the-annex (git annex get fetches it)')


def test_a_dangling_link_with_a_dot_name_is_no_problem(make_tree, build):
    lock = Link('user@host.123')  # as Emacs makes beside each file that is being edited
    root = make_tree({SPIKES: b'', f'{SESSION}/alf/.#a.b.npy': lock, 'lab/.x': lock, '.y': lock})
    summary = build(root)
    assert (summary.problems, summary.skipped) == ((), {'dot-file': 1})


def test_a_dangling_link_above_the_sessions_is_a_problem(make_tree, build):
    root = make_tree({SPIKES: b'', 'lab/Subjects/s2': Link('nowhere'), 'lab2': Link('lab2')})
    summary = build(root)
    assert summary.problems == (
        Problem('lab/Subjects/s2', Reason.DANGLING_LINK),
        Problem('lab2', Reason.LINK_LOOP),
    )


@pytest.mark.long
@pytest.mark.parametrize('target', ['.', '..', '../../..', '../../../../..'])
def test_a_link_to_a_folder_above_is_a_problem_not_a_loop(make_tree, build, target):
    root = make_tree({SPIKES: b'', f'{SESSION}/alf/up': Link(target)})
    summary = build(root)
    assert summary.problems == (Problem(f'{SESSION}/alf/up', Reason.LINK_LOOP),)
    assert read_paths(root) == {SPIKES}


@pytest.mark.long
def test_links_that_double_the_folders_at_each_step_end(make_tree, build):
    links = {f'{SESSION}/d{i}/{name}': Link(f'../d{i + 1}') for i in range(24) for name in 'ab'}
    summary = build(make_tree({**links, f'{SESSION}/d24/a.b.npy': b''}))
    assert 0 < summary.datasets < 1000
    assert {problem.reason for problem in summary.problems} == {Reason.LINK_LOOP}


def test_links_that_lead_to_each_other_end(make_tree, build):
    root = make_tree({f'{SESSION}/a/to': Link('../b'), f'{SESSION}/b/to': Link('../a')})
    summary = build(root)
    assert [problem.reason for problem in summary.problems] == [Reason.LINK_LOOP] * 2


@pytest.mark.long
@pytest.mark.parametrize('hash', [(), ('xxh128',)])
@pytest.mark.parametrize('kind', [Fifo, Socket])
def test_a_special_file_named_like_a_dataset_is_a_problem_and_never_opened(make_tree, build, kind, hash):
    root = make_tree({SPIKES: b'', f'{SESSION}/s.t.npy': kind(), f'{SESSION}/l.m.npy': Link('s.t.npy')})
    summary = build(root, hash=hash)
    assert summary.problems == (
        Problem(f'{SESSION}/l.m.npy', Reason.NOT_REGULAR),
        Problem(f'{SESSION}/s.t.npy', Reason.NOT_REGULAR),
    )
    assert read_paths(root) == {SPIKES}


def test_a_name_that_is_not_utf8_is_a_problem_with_the_name_escaped(make_tree, build):
    latin = SESSION.encode()
    root = make_tree({SPIKES: b'', latin + b'/caf\xe9.times.npy': b'', latin + b'/caf\xe9/a.b.npy': b''})
    summary = build(root)
    assert summary.problems == (
        Problem(f'{SESSION}/caf\\xe9', Reason.NOT_UTF8),
        Problem(f'{SESSION}/caf\\xe9.times.npy', Reason.NOT_UTF8),
    )


def test_a_subject_that_is_not_utf8_is_a_problem(make_tree, build):
    root = make_tree({SPIKES: b'', b'lab/Subjects/caf\xe9/2024-01-01/001/a.b.npy': b''})
    assert build(root).problems == (Problem('lab/Subjects/caf\\xe9', Reason.NOT_UTF8),)


def test_folders_nested_deeper_than_the_client_could_name_are_a_problem(make_tree, build):
    root = make_tree({SPIKES: b'', f'{SESSION}/{"d/" * 100}a.b.npy': b''})
    summary = build(root)
    assert [problem.reason for problem in summary.problems] == [Reason.TOO_DEEP]
    assert read_paths(root) == {SPIKES}


def test_a_file_of_any_size_is_indexed(make_tree, build):
    root = make_tree({f'{SESSION}/a.b.npy': Sparse(2**43), f'{SESSION}/c.d.npy': b''})
    summary = build(root)
    assert summary.bytes == 2**43
    assert {row['file_size'] for row in read(root, 'datasets')} == {2**43, 0}


@pytest.mark.parametrize('hash', [(), ('xxh128',)])
def test_what_may_not_be_read_is_a_problem_not_a_crash(open_folder, build, hash):
    root = grow(
        open_folder,
        {
            SPIKES: b'x',
            'lab/Subjects/s1/2024-01-01/002/': Mode(0),
            f'{SESSION}/raw/': Mode(0),
            'lab/Subjects/s2/2024-01-01/': Mode(0),
            'lab2/': Mode(0),
        },
    )
    summary = build(root, hash=hash)
    assert summary.problems == tuple(
        Problem(path, Reason.PERMISSION)
        for path in (
            'lab/Subjects/s2/2024-01-01',
            'lab2',
            f'{SESSION}/raw',
            'lab/Subjects/s1/2024-01-01/002',
        )
    )
    assert {problem.errno for problem in summary.problems} == {13}
    assert read_paths(root) == {SPIKES}


def test_a_file_that_may_not_be_read_is_a_problem_only_where_it_is_to_be_hashed(open_folder, build):
    root = grow(open_folder, {SPIKES: b'x', f'{SESSION}/a.b.npy': b''})
    os.chmod(root / SESSION / 'a.b.npy', 0)
    assert build(root).problems == ()
    assert build(root, hash=['xxh128']).problems == (Problem(f'{SESSION}/a.b.npy', Reason.PERMISSION),)


def test_skips_are_told_to_the_hook_with_their_path(make_tree, build):
    skips: list[Skip] = []
    root = make_tree({SPIKES: b'', f'{SESSION}/alf/notes.txt': b'', 'docs/': None})
    build(root, on_skip=skips.append)
    assert sorted((skip.path, str(skip.reason)) for skip in skips) == [
        ('docs', 'not-a-lab-or-subject'),
        (f'{SESSION}/alf/notes.txt', 'not-a-dataset-name'),
    ]


def test_a_name_that_a_listing_gives_twice_is_one_row(make_tree, build, relist):
    root = make_tree({f'{SESSION}/{name}.b.npy': b'' for name in 'acdefg'})
    relist(lambda entries: entries * 2)
    assert build(root).sessions == 1
    assert len(read(root, 'datasets')) == 6
    assert read_paths(root) == {f'{SESSION}/{name}.b.npy' for name in 'acdefg'}


def test_a_folder_that_cannot_be_listed_is_a_problem_and_its_siblings_are_indexed(
    make_tree, build, monkeypatch
):
    root = make_tree({f'{SESSION}/{name}/a.b.npy': b'' for name in 'abc'})
    bad = os.stat(root / SESSION / 'b').st_ino
    list_folder = kernel.list_folder

    def fail(fd):
        if os.fstat(fd).st_ino == bad:
            raise OSError(24, 'Too many open files')
        return list_folder(fd)

    monkeypatch.setattr(kernel, 'list_folder', fail)
    assert build(root).problems == (Problem(f'{SESSION}/b', Reason.IO),)
    assert read_paths(root) == {f'{SESSION}/a/a.b.npy', f'{SESSION}/c/a.b.npy'}


def test_our_own_folder_in_the_root_is_not_counted_as_skipped(make_tree, build):
    root = make_tree({SPIKES: b''})
    build(root)
    assert build(root).skipped == {}

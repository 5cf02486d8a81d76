"""The example: what is in it, that it is always the same, and that nothing is ever lost for its sake."""

from __future__ import annotations

import doctest
import itertools
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress

import numpy as np
import pytest
from one.alf import spec

from fastindex.errors import ExampleError, MissingExtraError, UsageError
from fastindex.jobs.example import example
from fastindex.jobs.example.example import iter_session_paths, write_example
from fastindex.workers import child
from tests.support.patience import turns
from tests.support.trees import digest_of

FAMOUS = 'zadorlab/Subjects/CSH_ZAD_003/2019-08-11/001'
NYU = 'angelakilab/Subjects/NYU-01'
IMPORTABLE = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
DATASET = f'{FAMOUS}/alf/_ibl_trials.choice.npy'


def load_trials(session_folder):
    """Every array of a session by attribute."""
    return {path.name.split('.')[1]: np.load(path) for path in (session_folder / 'alf').iterdir()}


@pytest.fixture(scope='module')
def sessions(example_tree):
    """The trials of all sessions by session path, in the order of `iter_session_paths`."""
    return {path: load_trials(example_tree[0] / path) for path in iter_session_paths(60)}


# What is in it


def test_default_has_the_sessions_labs_and_mice_of_the_published_example():
    paths = list(iter_session_paths())
    labs, _, subjects, dates, numbers = zip(*(path.split('/') for path in paths), strict=True)
    assert len(set(paths)) == len(paths) == 4933
    assert sorted(set(labs)) == [
        'angelakilab', 'churchlandlab', 'cortexlab', 'danlab', 'hoferlab',
        'mainenlab', 'mrsicflogellab', 'wittenlab', 'zadorlab',
    ]  # fmt: skip
    assert 90 <= len(set(subjects)) <= 110
    assert {'CSHL_003', 'KS005', 'SWC_013', 'ibl_witten_04', 'ZM_1092', 'DY_001'} <= set(subjects)
    assert min(dates) >= '2018-01-01'
    assert max(dates) <= '2019-12-15'
    assert set(numbers) == {'001'}
    assert subjects.count('NYU-01') == 98
    assert FAMOUS in paths


def test_default_size_is_that_of_the_published_example():
    paths = list(iter_session_paths())[::25]
    size = 0
    for path in paths:
        rng = np.random.default_rng(example._hash(path))
        trials = example._draw_trials(rng, skill=0.75)
        size += sum(128 + array.nbytes for array in trials.values())
    assert size / len(paths) * 4933 == pytest.approx(218e6, rel=0.1)


@pytest.mark.parametrize('count', [1, 2, 5, 98, 99, 500])
def test_a_smaller_example_is_the_beginning_of_a_larger_one(count):
    paths = list(iter_session_paths(count))
    assert paths == list(iter_session_paths(600))[:count]
    assert sum(path.startswith(NYU) for path in paths) == min(98, max(1, count - 1))
    assert (FAMOUS in paths) == (count >= 2)


@pytest.mark.long
def test_a_million_files_have_more_mice_not_more_days():
    paths = list(iter_session_paths(66_667))
    subjects = Counter(path.rsplit('/', 2)[0] for path in paths)
    assert len(set(paths)) == 66_667
    assert len({subject.rpartition('/')[2] for subject in subjects}) == len(subjects)
    assert max(subjects.values()) == 98
    assert {path.split('/')[3][:4] for path in paths} == {'2018', '2019'}


def test_sessions_are_there_with_fifteen_datasets_each_and_a_readme(example_tree):
    root, summary = example_tree
    files = [path.relative_to(root).as_posix() for path in root.rglob('*') if path.is_file()]
    datasets = sorted(path for path in files if path != 'README.txt')
    assert Counter(path.split('/alf/')[0] for path in datasets) == dict.fromkeys(iter_session_paths(60), 15)
    assert summary.root == os.path.realpath(root)
    assert summary.written
    assert (summary.sessions, summary.datasets) == (60, len(datasets))
    assert summary.bytes == sum((root / path).stat().st_size for path in datasets)
    readme = (root / 'README.txt').read_text()
    assert 'synthetic' in readme
    assert 'fastindex example FOLDER --sessions 60 --seed 0\n' in readme


def test_every_name_is_an_alf_name(example_tree):
    for path in example_tree[0].rglob('*.npy'):
        assert spec.is_valid(path.name)
        assert spec.is_session_path(path.parents[1].relative_to(example_tree[0]))


def test_all_arrays_of_a_session_have_one_length(sessions):
    for trials in sessions.values():
        lengths = {len(array) for array in trials.values()}
        assert len(trials) == 15
        assert len(lengths) == 1
        assert 200 <= lengths.pop() <= 700
        assert trials['intervals'].shape[1:] == (2,)


def test_answers_and_rewards_fit_the_stimulus(sessions):
    for trials in sessions.values():
        left = ~np.isnan(trials['contrastLeft'])
        contrast = np.where(left, trials['contrastLeft'], trials['contrastRight'])
        assert (np.isnan(trials['contrastRight']) == left).all()
        assert np.isin(contrast, [0, 0.0625, 0.125, 0.25, 1]).all()
        assert np.isin(trials['choice'], [-1, 0, 1]).all()
        assert ((trials['choice'] == np.where(left, 1, -1)) == (trials['feedbackType'] == 1)).all()
        assert (np.abs(trials['feedbackType']) == 1).all()
        assert ((trials['rewardVolume'] > 0) == (trials['feedbackType'] == 1)).all()
        assert trials['rewardVolume'].max() <= 3
        same = (contrast[1:] == contrast[:-1]) & (left[1:] == left[:-1])
        assert ((trials['repNum'][1:] > 1) == same).all()
        assert trials['included'].dtype == bool


def test_blocks_begin_even_and_then_alternate(sessions):
    for trials in sessions.values():
        blocks = [value for value, _ in itertools.groupby(trials['probabilityLeft'])]
        assert blocks[0] == 0.5
        assert set(blocks[1:]) == {0.2, 0.8}
        assert (trials['probabilityLeft'][:90] == 0.5).all()


def test_times_of_a_trial_are_in_order(sessions):
    order = ['stimOnTrigger_times', 'stimOn_times', 'goCueTrigger_times', 'goCue_times', 'response_times']
    for trials in sessions.values():
        start, end = trials['intervals'].T
        times = np.stack([start, *(trials[name] for name in order), trials['feedback_times'], end])
        assert (np.diff(times, axis=0) > 0).all()
        assert (start[1:] > end[:-1]).all()
        assert (np.abs(trials['goCue_times'] - trials['stimOn_times']) < 0.01).all()


def test_mice_react_in_tenths_of_a_second_and_learn(sessions):
    mouse = [trials for path, trials in sessions.items() if path.startswith(NYU)]
    medians, accuracies = [], []
    for trials in mouse:
        reaction = trials['response_times'] - trials['goCue_times']
        contrast = np.fmax(trials['contrastLeft'], trials['contrastRight'])
        assert np.median(reaction[contrast < 0.1]) > np.median(reaction[contrast == 1])
        medians.append(np.median(reaction))
        accuracies.append(np.mean(trials['feedbackType'] == 1))
    assert 0.1 < min(medians) < max(medians) < 1.0
    assert np.mean(medians[-20:]) < np.mean(medians[:20])
    assert np.mean(accuracies[-20:]) > np.mean(accuracies[:20]) + 0.1


# It is always the same


@pytest.mark.long
def test_number_of_workers_does_not_change_a_byte(example_tree, tmp_path):
    write_example(tmp_path / 'parallel', sessions=60, workers=2, progress=True)
    assert digest_of(tmp_path / 'parallel') == digest_of(example_tree[0])


def test_a_session_is_the_same_in_a_smaller_example(example_tree, tmp_path):
    write_example(tmp_path / 'small', sessions=2, workers=1)
    assert digest_of(tmp_path / 'small' / FAMOUS) == digest_of(example_tree[0] / FAMOUS)


def test_another_seed_gives_other_trials_in_the_same_sessions(example_tree, tmp_path):
    write_example(tmp_path / 'other', sessions=2, seed=1)
    assert (tmp_path / 'other' / FAMOUS).is_dir()
    assert digest_of(tmp_path / 'other' / FAMOUS) != digest_of(example_tree[0] / FAMOUS)


@pytest.mark.long
@pytest.mark.parametrize(
    'before', ['', 'import threading; threading.Thread(target=input, daemon=True).start()']
)
def test_a_script_writes_in_parallel_with_or_without_threads(example_tree, tmp_path, before):
    code = (
        f'{before}\nfrom fastindex.jobs.example.example import *; write_example("x", sessions=60, workers=2)'
    )
    subprocess.run(
        [sys.executable, '-c', code], cwd=tmp_path, check=True, env=IMPORTABLE, stdin=subprocess.PIPE
    )
    assert digest_of(tmp_path / 'x') == digest_of(example_tree[0])


@pytest.mark.long
def test_a_script_without_main_guard_may_call_it(tmp_path):
    (tmp_path / 'script.py').write_text(
        'from fastindex.jobs.example.example import *; write_example("x", sessions=60)'
    )
    subprocess.run([sys.executable, 'script.py'], cwd=tmp_path, check=True, env=IMPORTABLE)
    assert (tmp_path / 'x' / DATASET).is_file()


# It takes nothing away


def test_the_same_example_is_left_as_it_is(tmp_path):
    first = write_example(tmp_path / 'x', sessions=2)
    (tmp_path / 'x' / 'sessions.pqt').write_bytes(b'index')
    before = (tmp_path / 'x' / 'README.txt').stat().st_mtime_ns, digest_of(tmp_path)
    again = write_example(tmp_path / 'x', sessions=2)
    assert not again.written
    assert (again.root, again.sessions, again.datasets, again.bytes) == (first.root, 2, 30, first.bytes)
    assert before == ((tmp_path / 'x' / 'README.txt').stat().st_mtime_ns, digest_of(tmp_path))


@pytest.mark.parametrize('options', [{'sessions': 3}, {'sessions': 2, 'seed': 1}])
def test_another_example_is_not_written_over(tmp_path, options):
    write_example(tmp_path / 'x', sessions=2)
    before = digest_of(tmp_path)
    with pytest.raises(ExampleError, match=r'found an example of format 1, 2 sessions, seed 0.*remove'):
        write_example(tmp_path / 'x', **options)
    assert digest_of(tmp_path) == before


@pytest.mark.parametrize(
    'readme',
    [
        'My data',
        'My data. Example of fastindex, format 1: 2 sessions, seed 0, 9 bytes of datasets\n',
        'Example of fastindex, format 1: 2 sessions, seed 0, 9 bytes of datasets, with my notes\n',
    ],
)
def test_other_files_are_not_written_over(tmp_path, readme):
    target = tmp_path / 'x'
    target.mkdir()
    (target / 'README.txt').write_text(readme)
    with pytest.raises(ExampleError, match=r'not empty \(has README.txt\).*choose another folder'):
        write_example(target, sessions=2)
    assert os.listdir(tmp_path) == ['x']
    assert (target / 'README.txt').read_text() == readme
    (target / 'README.txt').unlink()
    os.mkfifo(target / 'README.txt')  # nobody waits for who writes it
    with pytest.raises(ExampleError, match='not empty'):
        write_example(target, sessions=1)


def test_a_file_in_the_way_is_not_written_over(tmp_path):
    (tmp_path / 'x').write_text('mine')
    with pytest.raises(ExampleError, match='Not a directory, expected an empty folder or none'):
        write_example(tmp_path / 'x', sessions=1)
    assert (tmp_path / 'x').read_text() == 'mine'


def test_files_that_come_meanwhile_are_not_written_over(tmp_path, monkeypatch):
    def come_meanwhile(*arguments):
        (tmp_path / 'x' / 'mine').mkdir(parents=True)
        return write_sessions(*arguments)

    write_sessions = example._write_sessions
    monkeypatch.setattr(example, '_write_sessions', come_meanwhile)
    with pytest.raises(ExampleError, match='cannot be written'):
        write_example(tmp_path / 'x', sessions=2, workers=1)
    assert [path.name for path in tmp_path.rglob('*')] == ['x', 'mine']


def test_an_empty_folder_is_filled_even_behind_a_link(tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'link').symlink_to('empty')
    summary = write_example(tmp_path / 'link', sessions=2)
    assert summary.root == os.path.realpath(tmp_path / 'empty')
    assert (tmp_path / 'link').is_symlink()
    assert (tmp_path / 'empty' / DATASET).is_file()


def test_missing_folders_above_are_made(tmp_path):
    write_example(tmp_path / 'a' / 'b' / 'x', sessions=2)
    assert (tmp_path / 'a' / 'b' / 'x' / DATASET).is_file()


def test_the_current_folder_is_not_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ExampleError, match='current folder'):
        write_example('.', sessions=1)


# Runs that end early


def start_long_run(folder):
    """A process group that writes an example for seconds; returns once it is writing."""
    code = (
        # Who started us may have had the signal ignored.
        'import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n'
        'from fastindex.jobs.example.example import *; write_example(sys.argv[1], sessions=5000, workers=2)'
    )
    process = subprocess.Popen(
        [sys.executable, '-c', code, str(folder / 'x')],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=IMPORTABLE, start_new_session=True,
    )  # fmt: skip
    while not list(folder.glob('.x.partial-*/*/*/*/*')):
        assert process.poll() is None
        time.sleep(0.01)
    return process


@pytest.mark.long
def test_ctrl_c_leaves_nothing(tmp_path):
    with start_long_run(tmp_path) as process:
        os.killpg(process.pid, signal.SIGINT)
        output = process.stdout.read()
    assert output.endswith(b'KeyboardInterrupt\n')
    assert process.returncode == -signal.SIGINT
    assert os.listdir(tmp_path) == []


@pytest.mark.long
def test_a_killed_run_leaves_nothing_under_the_final_name_its_workers_end_and_the_next_run_clears_up(
    tmp_path,
):
    with start_long_run(tmp_path) as process:
        process.kill()
        process.stdout.read()  # ends when the last worker has closed it
    (left,) = os.listdir(tmp_path)
    assert left.startswith('.x.partial-')
    write_example(tmp_path / 'x', sessions=1, workers=1)
    assert os.listdir(tmp_path) == ['x']


@pytest.mark.long
def test_a_killed_worker_changes_no_byte(example_tree, tmp_path, monkeypatch):
    pids = []
    spawn = child._spawn

    def remember(*fds):
        pids.append(spawn(*fds))
        return pids[-1]

    def kill_worker(target):
        while not list(tmp_path.glob(f'.{target.name}.partial-*/*')) and not target.exists():
            time.sleep(0.001)
        with suppress(ProcessLookupError):  # it was done before
            os.kill(pids[0], signal.SIGKILL)

    monkeypatch.setattr(child, 'may_fork', lambda: False)
    monkeypatch.setattr(child, '_spawn', remember)
    for turn in turns():
        pids.clear()
        target = tmp_path / f'x{turn}'
        killer = threading.Thread(target=kill_worker, args=[target])
        killer.start()
        write_example(target, sessions=60, workers=2)
        killer.join()
        assert digest_of(target) == digest_of(example_tree[0])
        if len(pids) == 3:
            break


def test_a_file_that_cannot_be_written_whole_is_an_error_that_leaves_nothing(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(ExampleError, match='No space left'):
            write_example(tmp_path / 'x', sessions=1, workers=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []


def test_missing_numpy_is_told_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'numpy', None)
    with pytest.raises(MissingExtraError, match='pip install numpy'):
        write_example(tmp_path / 'x', sessions=1)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize('options', [{'sessions': 0}, {'sessions': 1, 'workers': 0}])
def test_numbers_below_one_are_refused(tmp_path, options):
    with pytest.raises(UsageError, match='is 0, expected 1 or more'):
        write_example(tmp_path / 'x', **options)


def test_exported_names_are_sorted_and_there():
    assert example.__all__ == sorted(example.__all__)
    assert all(hasattr(example, name) for name in example.__all__)


def test_docstrings_tell_the_truth():
    assert doctest.testmod(example) == (0, 1)

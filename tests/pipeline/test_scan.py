"""What is too much for one task: a session that is shared among the workers, and what kills a worker."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest

import fastindex
from fastindex import Changes, Problem, Reason
from fastindex.jobs.build.build import build_index
from fastindex.jobs.build.options import Options
from fastindex.jobs.validate.sessions import CheckTask
from fastindex.names.ids import UuidIdentity
from fastindex.names.rules import RULES
from fastindex.pipeline import scan as scan_module
from fastindex.pipeline.shard import ROW_BYTES, iter_shards
from fastindex.tables.recipe import Recipe
from fastindex.tables.schema import from_ipc
from fastindex.trees import open_tree
from fastindex.workers.pool import Pool
from tests.support.tables import read_paths, tables_digest
from tests.support.trees import SESSION, Fifo, Link

pytestmark = pytest.mark.usefixtures('fixed_date')


@pytest.fixture
def inheriting(monkeypatch):
    """Workers that inherit what a test has changed in this process."""
    monkeypatch.setattr('fastindex.workers.child.may_fork', lambda: True)


def record_calls(monkeypatch, module, name):
    """The arguments of each call of a function in this process."""
    calls = []
    function = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *args: calls.append(args) or function(*args))
    return calls


LARGE = {
    **{f'{SESSION}/alf/frame.n{i}.npy': b'x' * i for i in range(40)},
    **{f'{SESSION}/alf/more/frame.n{i}.npy': b'y' * i for i in range(20)},
    **{f'{SESSION}/alf/{name}': b'' for name in ('notes.txt', '.x.npy', 'bad.a\udcff.npy', 'ü.a.npy')},
    f'{SESSION}/alf/pipe.a.npy': Fifo(),
    f'{SESSION}/alf/linked.a.npy': Link('frame.n7.npy'),
    f'{SESSION}/alf/gone.a.npy': Link('nowhere'),
    **{f's{i}/2024-01-0{n}/001/spikes.times.npy': bytes([i]) for i in range(3) for n in range(1, 5)},
}


@pytest.mark.long
@pytest.mark.parametrize('hash', [(), ('xxh128', 'md5')])
@pytest.mark.parametrize('workers', [1, 2])
@pytest.mark.parametrize('revisions', [{}, {f'{SESSION}/alf/#r#/frame.n{i}.npy': b'' for i in range(9)}])
def test_a_session_that_is_too_large_for_one_task_is_shared_and_gives_the_same_index(
    make_tree, build, monkeypatch, inheriting, hash, workers, revisions
):
    root = make_tree({**LARGE, **revisions})
    whole = build(root, hash=hash)
    expected = tables_digest(root)
    parts = record_calls(monkeypatch, scan_module.PartTask, 'run') if workers == 1 else None
    monkeypatch.setattr('fastindex.trees.kernel.BLOCK_NAMES', 5)
    monkeypatch.setattr(scan_module, 'PART_ROWS', 4)
    shared = build(root, hash=hash, workers=workers)
    assert tables_digest(root) == expected
    assert sorted(shared.problems) == sorted(whole.problems)
    assert shared.changes == Changes(0, 0, 0, 0, 0)
    rest = {'problems': (), 'seconds': 0, 'changes': None, 'read_again': {}}
    assert shared.replace(**rest) == whole.replace(**rest)
    if parts is not None:
        assert (len(parts) > 10) == (not revisions)


SIZES = (1, 3, 20, 47, 5, 90, 2, 2, 16)
UNEVEN = {
    **{
        f's{i}/2024-01-01/001/alf/frame.n{n}.npy': b'x' * n
        for i, size in enumerate(SIZES)
        for n in range(size)
    },
    **{f'folders/2024-01-01/001/f{i // 3}/frame.n{i}.npy': b'' for i in range(90)},
    **{f'bad/2024-01-0{i}/001/gone.n{n}.npy': Link('nowhere') for i in range(1, 7) for n in range(9)},
    **{f'skips/2024-01-0{i}/001/notes{n}.txt': b'' for i in range(1, 7) for n in range(9)},
}


@pytest.fixture
def small_shards(monkeypatch):
    """Limits of a few datasets in place of thousands."""
    monkeypatch.setattr('fastindex.pipeline.shard.SHARD_ROWS', 16)
    monkeypatch.setattr('fastindex.pipeline.shard.SHARD_BYTES', 16 * ROW_BYTES)
    monkeypatch.setattr('fastindex.trees.kernel.BLOCK_NAMES', 8)
    monkeypatch.setattr(scan_module, 'PART_ROWS', 8)
    monkeypatch.setattr('fastindex.trees.fingerprints.SETTLED_NS', -(10**12))


def record_results(monkeypatch, task):
    """What a kind of tasks gives in this process, each with its task."""
    found = []
    run = task.run

    def run_and_note(task):
        found.append((task, run(task)))
        return found[-1][1]

    monkeypatch.setattr(task, 'run', run_and_note)
    return found


@pytest.mark.long
def test_no_task_holds_more_than_its_limit_whatever_the_sessions_are(make_tree, build, monkeypatch, request):
    """P6: of datasets, of what is known of them, of problems and of skips; and the index is the same."""
    root = make_tree(UNEVEN)
    skips: list[object] = []
    whole = build(root, hash=('xxh128',), on_skip=skips.append)
    expected, expected_skips = tables_digest(root), skips[:]
    request.getfixturevalue('small_shards')
    found = record_results(monkeypatch, scan_module.ScanTask)
    parts = record_results(monkeypatch, scan_module.PartTask)
    for run, reuse in enumerate((False, True)):
        skips.clear()
        for results in (found, parts):
            results.clear()
        summary = build(root, hash=('xxh128',), on_skip=skips.append, rehash=not reuse)
        assert tables_digest(root) == expected
        assert (summary.problems, skips) == (whole.problems, expected_skips)
        assert summary.digests_reused == (summary.datasets if reuse else 0)
        assert len(found) > len(SIZES)
        for _, result in found + parts:
            assert result.dataset_count < 2 * 16
            assert len(result.tally.problems) + len(result.tally.skips) < 2 * 16
        for task, _ in found:
            known = 0 if task.known is None else from_ipc(task.known).num_rows
            assert known < 16 + max(SIZES)
        assert max(len(result.continuation) for _, result in found) > (0 if run else 1)


KINDS = {
    'datasets': ('a.b.n{}', b''),
    'problems': ('gone.b.n{}', Link('nowhere')),
    'skips': ('notes{}.txt', b''),
}


@pytest.mark.parametrize('kind', KINDS)
def test_a_scan_ends_with_the_session_by_which_it_holds_enough(make_tree, small_shards, kind):
    name, content = KINDS[kind]
    paths = [f's/2024-01-01/{i:03}' for i in range(1, 31)]
    root = make_tree({f'{path}/{name.format(n)}': content for path in paths for n in range(7)})
    keys = sorted(UuidIdentity().session_keys(paths))
    tasks, seen = [scan_module.ScanTask(open_tree(root), UuidIdentity(), keys, list_skips=True)], 0
    while tasks:
        result = tasks.pop(0).run()
        assert result.shard_sessions <= 3  # of seven each, where sixteen datasets or eleven others are enough
        seen += result.shard_sessions
        tasks = result.continuation + tasks
    assert seen == len(paths)


def test_a_result_counts_all_that_it_holds(make_tree, build, monkeypatch):
    results = record_results(monkeypatch, scan_module.ScanTask)
    build(make_tree(UNEVEN), on_skip=print, check=True)
    for _, result in results:
        left_out = len(result.tally.problems) + len(result.tally.skips)
        assert result.held_bytes >= len(result.datasets) + left_out * scan_module.LEFT_OUT_BYTES


def test_what_validate_finds_is_held_for_a_few_sessions_only(make_tree, monkeypatch):
    root = make_tree(UNEVEN)
    expected = list(fastindex.validate(root, workers=1))
    monkeypatch.setattr('fastindex.jobs.validate.sessions.SHARD_BYTES', 5000)
    results = record_results(monkeypatch, CheckTask)
    assert list(fastindex.validate(root, workers=1)) == expected
    assert len(results) > 10
    assert all(len(result.findings) < 10 + max(SIZES) for _, result in results)


def test_shards_end_where_enough_is_known_of_their_sessions():
    keys = [bytes([number]) for number in range(10)]
    sizes = dict(zip(keys, [1, 2**14, 5, 2**13, 2**13, 0, 0, 2**16, 1, 1], strict=True))
    shards = list(iter_shards(keys, 10, 1, max_sessions=4, weigh=sizes.pop))
    assert [[key[0] for key in shard] for shard in shards] == [[0, 1], [2, 3, 4], [5, 6, 7], [8], [9]]
    assert not sizes  # each was asked for once


@pytest.mark.parametrize('hash', [(), ('xxh128',)])
def test_files_that_change_before_their_part_is_measured_are_problems(make_tree, build, monkeypatch, hash):
    root = make_tree({f'{SESSION}/alf/frame.n{i}.npy': b'x' for i in range(20)})
    lost = {}

    def swap_and_scan(task):
        gone, folder, fifo = (f'{SESSION}/{os.fsdecode(path)}' for path in task.paths.split(b'\0')[:3])
        for path in (gone, folder, fifo):
            (root / path).unlink()
        (root / folder).mkdir()
        os.mkfifo(root / fifo)
        lost.update({gone: 'vanished', folder: 'changed-while-read', fifo: 'not-a-regular-file'})
        return run(task)

    run = scan_module.PartTask.run
    monkeypatch.setattr(scan_module.PartTask, 'run', swap_and_scan)
    monkeypatch.setattr('fastindex.trees.kernel.BLOCK_NAMES', 5)
    summary = build(root, hash=hash)
    assert {problem.path: problem.reason for problem in summary.problems} == lost
    assert len(read_paths(root)) == 17
    assert not read_paths(root) & lost.keys()


def test_all_files_of_a_folder_that_vanishes_before_its_part_is_measured_are_problems(
    make_tree, build, monkeypatch
):
    root = make_tree({f'{SESSION}/alf/frame.n{i}.npy': b'x' for i in range(20)})

    def move_and_scan(task):
        (root / SESSION / 'alf').rename(root / 'gone')
        return run(task)

    run = scan_module.PartTask.run
    monkeypatch.setattr(scan_module.PartTask, 'run', move_and_scan)
    monkeypatch.setattr('fastindex.trees.kernel.BLOCK_NAMES', 5)
    summary = build(root)
    assert summary.datasets == len(read_paths(root)) == 5
    assert {problem.reason for problem in summary.problems} == {Reason.VANISHED}
    assert len({problem.path for problem in summary.problems} | read_paths(root)) == 20


class Poison(NamedTuple):
    """A tree of which one session kills the process that walks it; or the file that is opened."""

    inner: Any
    poison: str

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def walk(self, session_path, tally):
        if session_path == self.poison:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.inner.walk(session_path, tally)

    @contextmanager
    def open_folder(self, path, tally):
        with self.inner.open_folder(path, tally) as folder:
            yield PoisonFolder(folder, f'{path}/', self.poison)


class PoisonFolder(NamedTuple):
    inner: Any
    above: str
    poison: str

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def measure(self, names, *args, **options):
        if self.poison in [self.above + name for name in names]:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.inner.measure(names, *args, **options)


@pytest.mark.long
@pytest.mark.parametrize('poison', ['s1/2024-01-02/001', 's2/2024-01-03/001/spikes.times.npy'])
def test_what_kills_its_worker_each_time_is_a_problem_and_all_else_is_indexed(
    make_tree, tmp_path, monkeypatch, inheriting, poison
):
    monkeypatch.setattr('fastindex.pipeline.walk.BIG_BYTES', 1)
    root = make_tree(LARGE)
    (tmp_path / 'out').mkdir()
    options = Options(Recipe(algorithms=('xxh128',)))
    whole = build_index(open_tree(root), out=tmp_path / 'out', options=options, workers=1)
    expected = read_paths(tmp_path / 'out')
    lost = build_index(Poison(open_tree(root), poison), out=tmp_path / 'out', options=options, workers=2)
    assert set(lost.problems) - set(whole.problems) == {Problem(poison, Reason.WORKER_DIED)}
    assert expected - read_paths(tmp_path / 'out') == {path for path in expected if path.startswith(poison)}
    assert read_paths(tmp_path / 'out') < expected


@pytest.mark.long
def test_validate_names_a_session_that_kills_its_worker_each_time(make_tree, inheriting):
    root = make_tree({f's{i}/2024-01-01/001/alf/x.npy': b'' for i in range(6)})
    tree = Poison(open_tree(root), 's3/2024-01-01/001')
    paths = [f's{i}/2024-01-01/001'.encode() for i in range(6)]
    with Pool(2) as pool:
        tasks = [CheckTask(tree, paths, frozenset(RULES), deep=False)]
        results = [result for result, _ in pool.run(tasks)]
    assert {finding.path: finding.code for result in results for finding in result.findings} == {
        **{f's{i}/2024-01-01/001/alf/x.npy': 'ALF301' for i in (0, 1, 2, 4, 5)},
        **{f's{i}/2024-01-01/001': 'ALF124' for i in (0, 1, 2, 4, 5)},
        's3/2024-01-01/001': 'ALF410',
    }
    assert sum(result.sessions for result in results) == 6

"""Worker processes: results in order, deaths, ends."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

import fastindex
from fastindex import WorkerError
from fastindex.workers import child, processes
from fastindex.workers.child import may_fork
from fastindex.workers.pool import Pool
from fastindex.workers.processes import MAX_DEATHS, Workers
from tests.support.patience import PATIENCE_SECONDS, wait_until
from tests.support.tasks import (
    AskForContinuation,
    AskForSubtasks,
    Branched,
    Call,
    calls,
    double,
    echo,
    fail,
    large,
    whoami,
)
from tests.support.trees import SESSION, grow


def die_once(marker: str) -> str:
    """Kill the worker in the middle of its work, the first time."""
    if not os.path.exists(marker):
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 'alive'


def die(_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DieOf7(NamedTuple):
    deaths: Path
    numbers: list[int]

    def run(self) -> list[int]:
        if 7 in self.numbers:
            with self.deaths.open('a') as file:
                file.write('x')
            os.kill(os.getpid(), signal.SIGKILL)
        return self.numbers

    def rescue(self) -> object:
        if len(self.numbers) > 1:
            return [DieOf7(self.deaths, [number]) for number in self.numbers]
        return f'{self.numbers} given up'


KINDS = ['forked', 'spawned', 'threads', 'spawned threads', 'executor', 'here']


@contextmanager
def started(kind):
    """Start workers of a kind, and wait until there are some."""
    with ThreadPoolExecutor(2) as executor, pytest.MonkeyPatch.context() as patch:
        patch.setattr('fastindex.workers.child.may_fork', lambda: 'spawned' not in kind)
        set_cpus(patch, 1 if 'threads' in kind else 2)
        with Pool(1 if kind == 'here' else 2, executor if kind == 'executor' else None) as pool:
            list(pool.run(calls(double, [1])))
            yield pool


@pytest.fixture(scope='module', params=KINDS)
def pool(request):
    """Workers of each kind, which run one test after the other."""
    with started(request.param) as pool:
        yield pool


def set_cpus(monkeypatch, count):
    for module in ('pool', 'processes'):
        monkeypatch.setattr(f'fastindex.workers.{module}.count_cpus', lambda: count)


@pytest.fixture(params=['processes', 'threads', 'threads of two'])
def workers(request, monkeypatch):
    """Two processes of one thread, one of two, and two of three."""
    monkeypatch.setattr('fastindex.workers.child.may_fork', lambda: True)
    set_cpus(monkeypatch, 1 if request.param == 'threads' else 2)
    with Pool(6 if request.param == 'threads of two' else 2) as pool:
        yield pool


@pytest.fixture
def two_workers(monkeypatch):
    monkeypatch.setattr('fastindex.workers.child.may_fork', lambda: True)
    set_cpus(monkeypatch, 2)
    with Pool(2) as pool:
        yield pool


def test_results_come_in_the_order_of_the_tasks(pool):
    assert [result for result, _ in pool.run(calls(double, range(50)))] == [
        2 * number for number in range(50)
    ]


def test_a_pool_runs_one_stage_after_the_other(pool):
    for _ in range(2):
        assert [result for result, _ in pool.run(calls(double, range(5)))] == [0, 2, 4, 6, 8]


def test_a_result_waits_for_its_subtasks(pool):
    results = [(result.value, more) for result, more in pool.run(map(AskForSubtasks, range(20)))]
    assert results == [(2 * i, [2 * (2 * i + j) for j in range(i % 3)]) for i in range(20)]


def test_a_continuation_has_its_turn_right_after_the_task_that_it_comes_from(pool):
    results = [result.value for result, _ in pool.run(map(AskForContinuation, [1, 30, 4]))]
    assert results == [2, *(2 * 21, 2 * 22), 60, 8, *(2 * 81, 2 * 82)]


def test_a_continuation_is_started_before_the_tasks_after_it():
    """Else the results of all those would have to be held meanwhile."""
    started = []

    class Note(NamedTuple):
        number: int

        def run(self) -> Branched:
            started.append(self.number)
            return Branched(self.number, continuation=[Note(11)] if self.number == 1 else [])

    with Pool(1) as pool:
        list(pool.run([Note(1), Note(2)]))
    assert started == [1, 11, 2]


@pytest.mark.parametrize('kind', KINDS)
def test_an_error_in_a_task_is_raised_here(kind):
    with started(kind) as pool, pytest.raises(ValueError, match=r'no [34]'):
        list(pool.run(calls(fail, [3, 4])))


def test_work_is_shared(two_workers):
    pids = {pid for pid, _ in two_workers.run(calls(whoami, range(16)))}
    assert len(pids) == 2
    assert os.getpid() not in pids


def test_a_result_larger_than_a_pipe_comes_whole(pool):
    sizes = [2**24, 0, 2**20, 1, 2**23] * 2
    assert [len(result) for result, _ in pool.run(calls(large, sizes))] == sizes


def test_large_tasks_and_large_results_at_once_do_not_wait_for_each_other(pool):
    tasks = [bytes([i]) * 3_000_000 for i in range(12)]
    assert [result for result, _ in pool.run(calls(echo, tasks))] == tasks


def test_workers_that_cannot_be_started_are_an_error_and_none_stays():
    code = (
        'import resource, os\n'
        'from fastindex.workers.processes import Workers\n'
        'from fastindex import WorkerError\n'
        'resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))\n'
        'before = len(os.listdir("/proc/self/fd"))\n'
        'try: Workers(8)\n'
        'except WorkerError as error: print(error)\n'
        'assert len(os.listdir("/proc/self/fd")) == before\n'
        'try: os.waitpid(-1, os.WNOHANG)\n'
        'except ChildProcessError: print("alone")\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert 'more open files' in done.stdout
    assert done.stdout.endswith('alone\n')


def test_a_worker_that_cannot_be_replaced_is_an_error_of_ours(two_workers, monkeypatch):
    def fail(pipes):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    list(two_workers.run(calls(double, [1])))
    monkeypatch.setattr('fastindex.workers.processes.start_child', fail)
    with pytest.raises(WorkerError, match=r'workers cannot be started \(Resource temporarily unavailable'):
        list(two_workers.run(calls(die, [1])))


def test_a_new_interpreter_imports_nothing_from_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / 'pickle.py').write_text(f'open({str(tmp_path / "ran")!r}, "w")')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('fastindex.workers.child.may_fork', lambda: False)
    with Pool(2) as pool:
        assert [result for result, _ in pool.run(calls(double, [1]))] == [2]
    assert not (tmp_path / 'ran').exists()


@pytest.mark.long
def test_a_killed_worker_costs_a_retry(workers, tmp_path):
    markers = [str(tmp_path / str(i)) for i in range(10)]
    assert [result for result, _ in workers.run(calls(die_once, markers))] == ['alive'] * 10


@pytest.mark.long
def test_workers_killed_at_random_change_no_result(workers):
    chance = random.Random(0)
    results, kills = [], 0
    for result, _ in workers.run(calls(double, range(500))):
        results.append(result)
        if chance.random() < 0.02:  # wherever the worker is by then in the tasks that it has
            worker = chance.choice(workers._backend._workers)
            if max((task.deaths for task in worker.tasks), default=0) < MAX_DEATHS - 1:  # else given up
                os.kill(worker.process.pid, signal.SIGKILL)
                kills += 1
    assert kills > 5
    assert results == [2 * number for number in range(500)]


@pytest.mark.long
def test_a_task_that_kills_its_worker_each_time_is_an_error(workers):
    with pytest.raises(WorkerError, match='3 worker processes died'):
        list(workers.run(calls(die, [1])))


@pytest.mark.long
def test_a_task_that_kills_its_worker_is_tried_in_parts_and_only_the_guilty_one_given_up(workers, tmp_path):
    deaths = tmp_path / 'deaths'
    tasks = [DieOf7(deaths, numbers) for numbers in ([1, 2], [3], [6, 7, 8], [9])]
    results = [result for result, _ in workers.run(tasks)]
    assert results == [[1, 2], [3], [6], '[7] given up', [8], [9]]
    list(workers.run(calls(double, range(20))))
    assert len(deaths.read_text()) == 2 * MAX_DEATHS


class DieLater(DieOf7):
    def run(self) -> list[int]:
        time.sleep(0.2)  # so that the other one is at work by then
        return super().run()


def slow(number: int) -> int:
    time.sleep(1)
    return number


@pytest.mark.long
def test_a_task_that_dies_with_a_guilty_one_each_time_is_tried_alone(monkeypatch, tmp_path):
    set_cpus(monkeypatch, 1)
    monkeypatch.setattr('fastindex.workers.child.may_fork', lambda: True)
    with Pool(2) as pool:
        tasks = [DieLater(tmp_path / 'deaths', [7]), Call(slow, 5)]
        assert [result for result, _ in pool.run(tasks)] == ['[7] given up', 5]


def test_a_stopped_worker_is_gone(workers):
    pids = {pid for pid, _ in workers.run(calls(whoami, range(16)))}
    workers._stop(kill=False)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_busy_worker_is_gone_at_once_where_it_is_killed(monkeypatch):
    monkeypatch.setattr('fastindex.workers.child.may_fork', lambda: True)
    monkeypatch.setattr(child, 'STOP_SECONDS', 3600)  # neither for the end of its task nor for this
    workers = Workers(1)
    [worker] = workers._workers
    workers.submit(None, Call(time.sleep, 3600), is_long=True)
    workers.stop(kill=True)
    assert not is_alive(worker.process.pid)


def test_no_worker_outlives_a_killed_parent():
    code = (
        'import sys, time\n'
        'from fastindex.workers import child\n'
        'from fastindex.workers.pool import Pool\n'
        'child.STOP_SECONDS = 0.2\n'
        'class Sleep:\n'
        '    def run(self): time.sleep(3600)\n'
        'pool = Pool(2)\n'
        'results = pool.run([Sleep(), Sleep()])\n'
        'print(*[worker.process.pid for worker in pool._backend._workers], flush=True)\n'
        'next(results)'
    )
    with subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
    wait_until(lambda: not any(map(is_alive, pids)))


def is_alive(pid: int) -> bool:
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def test_a_process_with_threads_is_not_forked():
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert not may_fork()
    finally:
        done.set()
        thread.join()
    code = 'from fastindex.workers.child import may_fork; assert may_fork()'
    subprocess.run([sys.executable, '-c', code], check=True)


FORKS = """
import os, sys
from fastindex.cli import main
from fastindex.workers import child, processes
root, *runs = sys.argv[1:]
child._spawn = lambda pipes: os._exit(7)
for run in runs:
    if not (pid := os.fork()):
        os._exit(main([root, '--quiet', '--workers', '2', *run.split()]))
    if code := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        sys.exit(f'{run}: {code}')
"""


@pytest.mark.long
def test_workers_of_each_kind_of_run_are_forked_as_nothing_has_started_a_thread_before(make_tree):
    root = make_tree({f'{SESSION}/a.b.npy': b'', 'lab/Subjects/s2/2024-01-01/001/a.b.npy': b''})
    ids = [f'--ids-from {root}', '', '--quick']
    runs = ['--hash', '', '--quick', '--quick', '--new', f'--only {SESSION}', '--rehash', '--check', *ids]
    done = subprocess.run([sys.executable, '-c', FORKS, root, *runs], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b'')


@pytest.mark.long
def test_few_workers_are_replaced_by_some_that_inherit_pyarrow_and_many_are_not(
    make_tree, build, monkeypatch
):
    starts = []
    add_process = Workers._add_process

    def counting(self, threads):
        starts.append('pyarrow' in sys.modules)
        add_process(self, threads)

    monkeypatch.setattr(Workers, '_add_process', counting)
    set_cpus(monkeypatch, 9)
    for module in ('child', 'pool'):
        monkeypatch.setattr(f'fastindex.workers.{module}.may_fork', lambda: True)
    root = make_tree({f's/2024-01-01/{number:03}/x.y.npy': b'' for number in range(1, 30)})
    few = build(root, workers=2).generation
    assert len(starts) == 4
    starts.clear()
    assert build(root, workers=9).generation == few
    assert starts == [True] * 9


def nap(_: object) -> int:
    time.sleep(0.05)
    return threading.active_count()


@pytest.mark.long
def test_workers_that_nobody_counted_become_more_where_they_wait(monkeypatch):
    set_cpus(monkeypatch, 2)
    for module in ('child', 'pool'):
        monkeypatch.setattr(f'fastindex.workers.{module}.may_fork', lambda: True)
    with Pool(2, most=10) as pool:
        results = [result for result, _ in pool.run(calls(nap, range(40)))]
        assert pool.workers == 10
        assert min(results) < 3 <= max(results)  # its own thread, and the one that waits for the parent's end
        pool.renew()
        assert pool.workers == 10
        processes = {worker.process.pid for worker in pool._backend._workers}
        assert len(processes) == 2


def test_workers_that_compute_or_were_counted_stay_as_many(monkeypatch):
    set_cpus(monkeypatch, 2)
    monkeypatch.setattr('fastindex.workers.child.may_fork', lambda: True)
    with Pool(2) as pool:
        list(pool.run(calls(nap, range(10))))
        assert pool.workers == 2


def compute(_: object) -> None:
    end = time.thread_time() + 0.01
    while time.thread_time() < end:
        pass


@pytest.mark.long
@pytest.mark.skipif(not os.path.exists(child._QUEUED), reason='only Linux tells who waits for a CPU')
def test_workers_that_wait_for_a_cpu_that_others_have_stay_as_many(monkeypatch):
    set_cpus(monkeypatch, 2)
    for module in ('child', 'pool'):
        monkeypatch.setattr(f'fastindex.workers.{module}.may_fork', lambda: True)
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})  # one for all: they and those that they start
    others = [subprocess.Popen([sys.executable, '-c', 'while True: pass']) for _ in range(8)]
    try:
        with Pool(2, most=16) as pool:
            started = time.monotonic()
            list(pool.run(calls(compute, range(20))))
            assert time.monotonic() - started > 3 * 20 * 0.01  # they have waited
            assert pool.workers == 2
    finally:
        os.sched_setaffinity(0, cpus)
        for other in others:
            other.kill()
            other.wait()


def open_files_of(pid: int) -> list[str]:
    """What a process has open, but for folders: where each descriptor leads."""
    fds = Path('/proc', str(pid), 'fd')
    return sorted(os.readlink(fd) for fd in fds.iterdir() if not fd.is_dir())


def test_a_worker_has_nothing_of_its_parent_open_but_its_own_pipes(tmp_path):
    ours = {os.readlink(f'/proc/self/fd/{fd}') for fd in (0, 1, 2)} | {os.devnull}
    read, write = os.pipe()
    with (tmp_path / 'table').open('wb'), Pool(2) as one, Pool(2) as other:
        seen: list[str] = []
        for pool in (one, other):  # the second is forked where the first has its pipes
            pids = {pid for pid, _ in pool.run(calls(whoami, range(20)))}
            for pid in pids:
                fds = [path for path in open_files_of(pid) if path not in ours]
                pipes = [path for path in fds if path != f'/proc/{pid}/task/{pid}/schedstat']  # of itself
                assert len(pipes) == 2, pipes
                seen += pipes
        assert len(seen) == len(set(seen))
    os.close(read)
    os.close(write)


@pytest.mark.long
@pytest.mark.parametrize('kill', [False, True])
def test_pools_of_one_process_end_in_any_order(kill):
    one, other = Workers(2), Workers(2)
    one.stop(kill=kill)
    third = Workers(2)
    third.stop(kill=kill)
    other.stop(kill=kill)


TWO_AT_ONCE = """
import sys
import fastindex
a, b, job = sys.argv[1:]
ends = zip if job[0] == '<' else lambda one, other: zip(other, one)
work = getattr(fastindex, job[1:])
print(sum(1 for _ in ends(work(a, workers=2), work(b, workers=2))))
"""


@pytest.mark.long
@pytest.mark.parametrize('job', ['<validate', '>verify'])
def test_two_runs_in_step_end_whichever_ends_first(tmp_path, job):
    names = {'a': 1, 'b': 60}
    for name, sessions in names.items():
        root = grow(tmp_path / name, {f's{i}/2024-01-01/001/a.b.npy': b'' for i in range(sessions)})
        fastindex.build(root, workers=1)
        grow(root, {f's{i}/2024-01-01/001/bad name.npy': b'' for i in range(sessions)})
        grow(root, {f's{i}/2024-01-01/001/c.d.npy': b'' for i in range(sessions)})
    command = [sys.executable, '-c', TWO_AT_ONCE, tmp_path / 'a', tmp_path / 'b', job]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True)
    assert int(done.stdout) > 0


def block_everything(_: object) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
    time.sleep(3600)


def test_a_worker_that_does_not_end_is_killed(monkeypatch):
    monkeypatch.setattr(child, 'STOP_SECONDS', 0.05)
    workers = Workers(2)
    pids = {worker.process.pid for worker in workers._workers}
    workers.submit('', Call(block_everything, None), is_long=True)
    workers.stop(kill=False)
    wait_until(lambda: not any(map(is_alive, pids)))


ORPHANS = """
import os, signal, sys
from fastindex.workers.processes import Workers
workers = Workers(2)
stranger = os.fork()  # as a caller may: it has an end of each of our pipes
if not stranger:
    signal.pause()
print(stranger, *{worker.process.pid for worker in workers._workers}, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.long
def test_workers_end_with_their_parent_whoever_holds_the_ends_of_their_pipes():
    with subprocess.Popen([sys.executable, '-c', ORPHANS], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        stranger, *pids = map(int, parent.stdout.readline().split())  # the stranger has its end too
    try:
        wait_until(lambda: not any(is_running(pid) for pid in pids))
    finally:
        os.kill(stranger, signal.SIGKILL)


def is_running(pid: int) -> bool:
    try:
        stat = Path('/proc', str(pid), 'stat').read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(')')[2].split()[0] != 'Z'  # nobody may be there who reaps orphans


@pytest.mark.parametrize('start', ['forked', 'spawned'])
def test_a_worker_leaves_the_signals_of_a_terminal_to_its_parent_from_its_first_moment(monkeypatch, start):
    monkeypatch.setattr('fastindex.workers.child.may_fork', lambda: start == 'forked')
    workers = Workers(1)
    (pid,) = {worker.process.pid for worker in workers._workers}
    status = Path('/proc', str(pid), 'status').read_text()
    masks = dict(line.split(':\t') for line in status.splitlines() if line.startswith(('SigBlk', 'SigIgn')))
    workers.stop(kill=True)
    for number in (signal.SIGINT, signal.SIGHUP):
        assert any(int(mask, 16) & (1 << (number - 1)) for mask in masks.values())


@pytest.mark.parametrize('start', ['forked', 'spawned'])
@pytest.mark.parametrize(
    ('name', 'turn'), [('start_child', 1), ('start_child', 2), ('kill_child', 1), ('_close', 2), ('reap', 1)]
)
def test_ctrl_c_while_workers_are_started_or_ended_leaves_none(monkeypatch, start, name, turn):
    """As at the prompt, where nothing ends this process."""
    plain, turns = getattr(processes, name), iter(range(1, turn + 1))
    started = []

    def call(argument):
        result = plain(argument)
        if name == 'start_child':
            started.append(result)
        if next(turns, None) == turn:
            signal.raise_signal(signal.SIGINT)
        return result

    def run() -> None:
        with Pool(2) as pool:
            results = pool.run([Call(double, 1), Call(double, 2)])
            started.extend(worker.process.pid for worker in pool._backend._workers)
            list(results)
            raise RuntimeError  # so that they are killed

    monkeypatch.setattr('fastindex.workers.child.may_fork', lambda: start == 'forked')
    files = set(os.listdir('/proc/self/fd'))
    monkeypatch.setattr(processes, name, call)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert started
    for pid in started:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, 0)
    assert set(os.listdir('/proc/self/fd')) <= files  # what another thread closes meanwhile is its own

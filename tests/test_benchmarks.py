"""The benchmarks: what they count is right, what is missing is named, and the gate stops a slow build."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from functools import reduce
from operator import xor
from pathlib import Path

import pytest
import xxhash

from benchmarks import measure, memory, updates
from benchmarks.calls import count_calls
from benchmarks.check import Growth, growth_of
from benchmarks.measure import (
    RESULTS,
    Command,
    Cost,
    Measurement,
    compile_tool,
    cost_of,
    describe_machine,
    is_missing,
    name_machine,
    race,
    ratio_of,
    replace_between,
)
from benchmarks.table import ELSEWHERE, TITLES, make_table
from benchmarks.trees import InventedTree, write_one_folder, write_spread
from fastindex import cli
from fastindex.jobs.build.build import build_index
from fastindex.jobs.build.options import Options
from tests.support.injectors import scaled
from tests.support.tables import read
from tests.support.trees import SESSION, grow

WORDS = {'python': shlex.quote(sys.executable)}
BENCHMARKS = Path(__file__).parent.parent / 'benchmarks'
NO_GIT = {name: value for name, value in os.environ.items() if not name.startswith('GIT_')}
NO_GIT['GIT_CONFIG_GLOBAL'] = os.devnull  # no settings of whoever runs the tests
needs_compiler = pytest.mark.skipif(shutil.which('cc') is None, reason='needs a C compiler')
needs_xxhash = pytest.mark.skipif(not Path('/usr/include/xxhash.h').exists(), reason='needs libxxhash-dev')
needs_git = pytest.mark.skipif(shutil.which('git') is None, reason='needs git')
needs_strace = pytest.mark.skipif(shutil.which('strace') is None, reason='needs strace')


def run(program: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, BENCHMARKS / program, *words], capture_output=True, text=True, check=False
    )


@pytest.fixture
def spread_tree(tmp_path):
    root = tmp_path / 'data' / '100k'  # where the programs look for it, and take it as it is
    root.mkdir(parents=True)
    write_spread(root, 1500)
    return root


def test_the_tables_of_the_pages_are_what_the_results_say():
    done = run('table.py', '--check')
    assert (done.returncode, done.stderr) == (0, '')


def test_the_table_has_a_row_for_what_is_missing_and_for_what_was_not_measured(tmp_path):
    missing = Measurement('1 M files', 'bfs', None, '<= 1.0', note='missing')
    content = {'date': '', 'machine': describe_machine(tmp_path), 'measurements': [missing.to_json()]}
    (tmp_path / 'speed-1m.json').write_text(json.dumps(content))
    lines = make_table(tmp_path).splitlines()
    machine = name_machine(describe_machine(tmp_path))
    assert f'| 1 M files | bfs |  |  | missing | ≤ 1.0 |  | {machine} |' in lines
    assert sum('not measured yet' in line for line in lines) == len(TITLES) - 1


def test_every_result_is_in_the_table_and_names_no_path_of_its_machine():
    assert {path.stem for path in RESULTS.glob('*.json')} <= TITLES.keys() | ELSEWHERE
    for path in RESULTS.glob('*.json'):
        assert os.sep + 'tmp' not in path.read_text()
        assert sys.prefix not in path.read_text()


@pytest.mark.parametrize(
    ('value', 'goal', 'is_met'),
    [
        (0.7, '<= 0.7', True),
        (0.71, '<= 0.7', False),
        (13, '>= 13', True),
        (12.9, '>= 13', False),
        (1.5, '== 1', False),
        (None, '<= 1', None),
        (1, '', None),
    ],
)
def test_a_goal_is_met_or_not(value, goal, is_met):
    assert Measurement('tree', 'name', value, goal).is_met is is_met


def test_commands_run_in_turn_after_a_warm_up_and_what_is_missing_has_no_times(tmp_path):
    commands = [Command(name, f'echo {name} >> {{log}}') for name in 'abc']
    missing = Command('nobody', 'nobody {root}', ('no-such-program',))
    words = {'log': str(tmp_path / 'log')}
    seconds = race([*commands, missing], words, tmp_path, rounds=2)
    # Of a short command each run is warmed up.
    assert (tmp_path / 'log').read_text().split() == [*'abc', *'aabbcc', *'bbccaa']
    assert [len(seconds[name]) for name in 'abc'] == [2, 2, 2]
    assert seconds['nobody'] == []
    assert is_missing(missing, words)
    assert race([missing], words, tmp_path, rounds=2) == {'nobody': []}


def test_a_command_that_fails_is_not_timed(tmp_path):
    with pytest.raises(SystemExit, match='failed with 3'):
        race([Command('failing', 'exit 3')], {}, tmp_path, rounds=1)


def test_the_ratio_is_the_median_of_the_pairs():
    assert ratio_of([1, 2, 9], [2, 2, 3]) == 1  # that of the medians is 1 too, that of the means is not
    assert ratio_of([1, 10, 10], [1, 1, 20]) == 1  # that of the medians is 10
    assert ratio_of([1], []) is None


@pytest.mark.long
@pytest.mark.parametrize('program', ['waiting', 'calls'])
def test_a_program_without_its_tools_says_what_is_missing(spread_tree, tmp_path, program):
    (tmp_path / 'bin').mkdir()
    shutil.copytree(BENCHMARKS, tmp_path / 'benchmarks')  # that keeps its results elsewhere
    results = RESULTS / f'{program}.json'
    before = results.read_bytes()
    (spread_tree.parent / 'example').symlink_to(spread_tree)
    done = subprocess.run(
        [sys.executable, '-m', f'benchmarks.{program}', '--data', spread_tree.parent],
        cwd=tmp_path,
        env={**os.environ, 'PATH': str(tmp_path / 'bin'), 'PYTHONPATH': f'{tmp_path}:{BENCHMARKS.parent}'},
        capture_output=True,
        text=True,
        check=True,
    )
    assert 'missing: ' in done.stdout
    assert 'met' not in done.stdout
    assert 'missing' in (tmp_path / 'benchmarks/results' / results.name).read_text()
    assert results.read_bytes() == before


@pytest.mark.long
def test_runs_over_a_part_are_measured_against_one_over_all(tmp_path, monkeypatch):
    root = tmp_path / 'data/tiny'
    grow(root, {f'{SESSION}/alf/a.b.npy': b'', 'lab/Subjects/s2/2024-01-01/001/alf/a.b.npy': b''})
    (root.parent / 'example').symlink_to(root)
    ran = []

    def run_here(command, words, scratch):
        line = command.template.format(**words)
        _, _, ours = line.partition(' -m fastindex ')
        if ours:
            assert cli.main(shlex.split(ours)) == 0
        else:
            exec(shlex.split(line)[2], {})
        ran.append(command.name)
        return Cost(measure.SHORT_SECONDS, 0, 0)

    for module in (measure, updates):
        monkeypatch.setattr(module, 'cost_of', run_here)
        monkeypatch.setattr(module, 'compile_tool', lambda *_: tmp_path / 'tool')
    monkeypatch.setattr(measure, 'RESULTS', tmp_path / 'results')
    options = ('--tree', 'tiny', '--subjects', '1', '--rounds', '1')
    monkeypatch.setattr(sys, 'argv', ['updates', '--data', str(root.parent), *options])
    updates.main()
    found = json.loads((tmp_path / 'results/updates.json').read_text())['measurements']
    assert [one['value'] for one in found] == [0, 1, 1, 1, 1, 1]
    assert {one['goal']: one['met'] for one in found} == {'<= 1.0': True, '': None, '>= 5': False}
    modes = ['--only {one}', '--new', '--quick']
    assert ran.count('first') == 4
    assert {*ran} == {'only', 'copy', 'first', '', *modes}


def test_text_between_markers_is_replaced():
    text = 'a\n<!-- x -->\nold\n<!-- end of x -->\nb'
    assert replace_between(text, 'x', 'new') == 'a\n<!-- x -->\nnew\n<!-- end of x -->\nb'
    with pytest.raises(SystemExit, match='expected the lines'):
        replace_between(text, 'y', 'new')


@pytest.mark.long
def test_the_cost_of_a_command_is_that_of_all_its_processes(tmp_path):
    spin = 'import time\nwhile time.process_time() < 0.3: pass'
    wait = 'import time; time.sleep(0.3)'
    costs = {
        name: cost_of(Command(name, f'{{python}} -c {shlex.quote(code)} & wait'), WORDS, tmp_path)
        for name, code in (('spin', spin), ('wait', wait))
    }
    assert costs['spin'].cpu >= 0.3
    assert costs['wait'].wall >= 0.3
    assert costs['wait'].cpu < costs['spin'].cpu


@pytest.mark.parametrize(
    ('growth', 'judged'),
    [
        (Growth(cpu=1.4, wall=1.4, most=1.3), 1.4),  # computes more
        (Growth(cpu=1.0, wall=1.4, most=1.3), 1.3),  # waits
        (Growth(cpu=1.0, wall=1.4, most=1.0), 1.0),  # others had the cores
        (Growth(cpu=1.4, wall=0.7, most=0.6), 0.7),  # keeps more cores busy, and is faster
    ],
)
def test_a_slow_down_counts_as_far_as_cpu_seconds_or_most_pairs_show_it_too(growth, judged):
    assert growth.judged == judged


def test_the_growth_is_that_of_pairs():
    ours = [Cost(1, 1, 1), Cost(9, 2, 0), Cost(4, 2, 2), Cost(6, 1, 1), Cost(4, 1, 1)]
    theirs = [Cost(1, 1, 0), Cost(3, 1, 1), Cost(8, 1, 1), Cost(3, 1, 1), Cost(1, 1, 1)]
    assert growth_of(ours, theirs) == (1, 2, 1)  # of CPU 2, 1, 2, 1, 1; of wall 1, 3, 0.5, 2, 4


@pytest.fixture
def clone(tmp_path):
    """A repository of this code, whose baseline is its first commit."""
    top = tmp_path / 'clone'
    for folder in ('benchmarks', 'fastindex'):
        shutil.copytree(
            BENCHMARKS.parent / folder, top / folder, ignore=shutil.ignore_patterns('__pycache__')
        )
    (top / '.gitignore').write_text('__pycache__/\n')
    git(top, 'init', '--quiet')
    commit(top)
    assert gate(top, '--renew').returncode == 0
    commit(top)
    return top


def git(top: Path, *words: str | Path) -> str:
    settings = ('-c', 'user.name=a', '-c', 'user.email=a@b', '-c', 'protocol.file.allow=always')
    return subprocess.run(
        ['git', *settings, '-C', top, *words], env=NO_GIT, capture_output=True, text=True, check=True
    ).stdout.strip()


def commit(top: Path) -> None:
    git(top, 'add', '--all')
    git(top, 'commit', '--quiet', '--message', 'x')


def gate(top: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the gate of a clone that another user has made."""
    env = {'PYTHONPATH': str(BENCHMARKS.parent), 'PYTHONDONTWRITEBYTECODE': '1'}
    return subprocess.run(
        [sys.executable, '-m', 'benchmarks.check', *words],
        cwd=top,
        env={**NO_GIT, **env, 'GIT_TEST_ASSUME_DIFFERENT_OWNER': '1'},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.long
@needs_git
def test_the_gate_says_where_it_has_no_history_and_fails_outside_of_a_clone(clone, tmp_path):
    git(clone, 'commit', '--quiet', '--allow-empty', '--message', 'a later one')
    shallow, tarball = tmp_path / 'shallow', tmp_path / 'tarball'
    git(tmp_path, 'clone', '--quiet', '--depth', '1', clone.as_uri(), shallow)
    shutil.copytree(clone, tarball, ignore=shutil.ignore_patterns('.git'))
    inside = shutil.copytree(tarball, clone / 'unpacked')  # below a clone, of which it is no part
    for top, returncode, message in (
        (shallow, 0, 'git fetch --unshallow'),
        (tarball, 2, 'is no clone'),
        (inside, 2, 'is no clone'),
    ):
        done = gate(top)
        assert (done.returncode, done.stdout) == (returncode, ''), top
        assert 'not compared: ' in done.stderr
        assert message in done.stderr


@pytest.mark.long
@needs_git
def test_the_baseline_is_a_commit_of_the_history_and_is_renewed_by_naming_one(clone):
    named = clone / 'benchmarks' / 'baseline.json'
    assert json.loads(named.read_text()) == {'commit': git(clone, 'rev-parse', 'HEAD~1')}
    (clone / 'fastindex' / 'new.py').touch()
    done = gate(clone, '--renew')
    assert (done.returncode, done.stdout) == (2, '')
    assert 'fastindex/new.py' in done.stderr
    commit(clone)
    assert gate(clone, '--renew').returncode == 0
    assert json.loads(named.read_text()) == {'commit': git(clone, 'rev-parse', 'HEAD')}
    git(clone, 'commit', '--quiet', '--amend', '--message', 'as a rebase does it')
    done = gate(clone)
    assert (done.returncode, done.stdout) == (2, '')
    assert 'not compared: ' in done.stderr


@pytest.mark.long
@needs_git
def test_the_gate_notices_that_a_side_runs_other_code_than_its_own(clone, spread_tree):
    (clone / 'elsewhere').mkdir()
    git(clone, 'mv', 'fastindex', 'elsewhere/fastindex')
    commit(clone)
    done = gate(clone, '--data', spread_tree.parent, '--tree', '100k')
    assert done.returncode == 1
    assert 'failed with 1: ' in done.stderr


@pytest.fixture
def busy_core():
    with subprocess.Popen([sys.executable, '-c', 'while True: pass']) as process:
        yield
        process.kill()


def race_with_baseline(clone: Path, tree: Path, *, rounds: int) -> subprocess.CompletedProcess[str]:
    return gate(clone, '--data', tree.parent, '--tree', tree.name, '--rounds', str(rounds), '--jobs', 'plain')


@needs_git
@pytest.mark.fault
@pytest.mark.parametrize('load', ['quiet', 'busy_core'])
def test_the_gate_lets_code_pass_that_is_as_fast_as_the_baseline(clone, spread_tree, load, request):
    if load == 'busy_core':
        request.getfixturevalue(load)
    for _ in range(scaled(1, 10)):
        done = race_with_baseline(clone, spread_tree, rounds=7)
        assert done.returncode == 0, done.stdout
    assert list(clone.glob('fastindex/__pycache__/*.pyc'))  # none of the runs compiled its modules anew


@needs_git
@pytest.mark.fault
@pytest.mark.parametrize(
    'slow_down',
    ['end = time.process_time() + used\nwhile time.process_time() < end: pass', 'time.sleep(3 * wall)'],
)
def test_the_gate_stops_code_that_computes_or_waits_for_longer(clone, spread_tree, slow_down):
    (clone / 'fastindex' / '__main__.py').write_text(
        'import os, resource, time\nstarted = time.perf_counter()\n'
        'from fastindex.cli import main\ncode = main()\n'
        'workers = resource.getrusage(resource.RUSAGE_CHILDREN)\n'
        'used = time.process_time() + workers.ru_utime + workers.ru_stime\n'
        f'wall = time.perf_counter() - started\n{slow_down}\nos._exit(code)\n'
    )
    commit(clone)
    done = race_with_baseline(clone, spread_tree, rounds=5)
    assert done.returncode == 1, done.stdout
    assert done.stdout.count('plain: ') == 2  # it measured again before it said so


@pytest.mark.long
@needs_compiler
@needs_xxhash
def test_the_floor_sees_every_file_and_every_byte(spread_tree, tmp_path):
    (spread_tree / 'large').write_bytes(os.urandom(3 * 2**20 + 1))
    (spread_tree / 'empty').touch()
    floor = compile_tool('floor', tmp_path, '-lxxhash', '-lpthread')
    folders = [Path(folder) for folder, _, _ in os.walk(spread_tree)]
    files = [path for folder in folders for path in folder.iterdir() if path.is_file()]
    contents = [path.read_bytes() for path in files]
    digests = reduce(xor, (xxhash.xxh3_128_intdigest(content) & (2**64 - 1) for content in contents))
    for threads in ('1', '2', '5'):
        command = [floor, '-t', threads, '-x', spread_tree]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == (
            f'{len(files)} files, {len(folders)} folders, {sum(map(len, contents))} bytes, 0 errors, '
            f'digests {digests:016x}\n'
        )


CALLS = [
    'os.stat(root)',
    'os.lstat(root + "/x")',
    'os.stat("x", dir_fd=fd)',
    'os.open("x", os.O_RDONLY, dir_fd=fd)',
    'os.open(root + "/x", os.O_RDONLY)',
    'os.scandir(fd)',
    'os.scandir(root)',
]


MEASURE = '''
def measure(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start

def shortest(call):
    """Where the machine is busy, a call takes longer: the shortest of some tells how often it waits."""
    taken = measure(call)
    for _ in range(30):
        if taken < bound:
            break
        taken = min(taken, measure(call))
    return taken
'''


@pytest.mark.long
@needs_compiler
def test_each_call_below_the_root_waits_once_and_none_beside_it(tmp_path):
    shim = compile_tool('slowcalls.so', tmp_path, '-shared', '-fPIC', '-ldl')
    slow = {'LD_PRELOAD': str(shim), 'SLOWCALLS_ROOT': str(tmp_path / 'slow'), 'SLOWCALLS_US': '200000'}
    seconds = {}
    for name, bound in (('slow', 0.4), ('slower', 0.2)):  # the latter only begins like the root
        root = tmp_path / name
        root.mkdir()
        (root / 'x').touch()
        code = f'import os, time; root = {str(root)!r}; fd = os.open(root, os.O_RDONLY); bound = {bound}\n'
        code += MEASURE + ''.join(f'print(shortest(lambda: {call}))\n' for call in CALLS)
        done = subprocess.run(
            [sys.executable, '-c', code], env={**os.environ, **slow}, capture_output=True, check=True
        )
        seconds[name] = dict(zip(CALLS, map(float, done.stdout.split()), strict=True))
    assert {call: taken for call, taken in seconds['slow'].items() if not 0.2 <= taken < 0.4} == {}
    assert {call: taken for call, taken in seconds['slower'].items() if taken >= 0.2} == {}


@pytest.mark.fault
@needs_strace
@pytest.mark.parametrize('workers', ['1', '2'])
def test_each_folder_is_listed_once_each_file_looked_at_once_and_none_opened(spread_tree, workers):
    calls = count_calls(spread_tree, '--workers', workers)
    folders = [folder for folder, _, _ in os.walk(spread_tree)]
    files = [os.path.join(folder, name) for folder, _, names in os.walk(spread_tree) for name in names]
    assert calls.listings == dict.fromkeys(folders, 1)
    assert {path: calls.stats[path] for path in files} == dict.fromkeys(files, 1)
    assert calls.opened_files == {str(spread_tree / '.fastindexignore'): 1}  # which is not there


@pytest.mark.fault
@needs_strace
def test_with_hash_each_file_is_opened_once_and_not_looked_at_by_name(spread_tree):
    calls = count_calls(spread_tree, '--workers', '2', '--hash')
    files = [os.path.join(folder, name) for folder, _, names in os.walk(spread_tree) for name in names]
    assert calls.opened_files == dict.fromkeys([*files, str(spread_tree / '.fastindexignore')], 1)
    assert not calls.stats.keys() & set(files)


def test_trees_to_measure_on_have_datasets_only(tmp_path, build):
    for write, name in ((write_spread, 'spread'), (write_one_folder, 'one-folder')):
        root = tmp_path / name
        root.mkdir()
        write(root, 45)
        summary = build(root)
        assert (summary.datasets, summary.skipped, summary.problems) == (45, {}, ())
        assert summary.bytes > 45 * 200


@pytest.mark.parametrize('workers', [1, 2])
def test_an_invented_tree_is_indexed_like_one_on_a_disk(tmp_path, workers):
    tree = InventedTree(subjects_per_lab=1)
    summary = build_index(tree, out=tmp_path, options=Options(), workers=workers)
    assert (summary.sessions, summary.datasets, summary.problems) == (500, tree.datasets, ())
    assert {row['file_size'] for row in read(tmp_path, 'datasets')} == set(range(15))


def test_the_peak_of_memory_is_that_of_the_process_and_of_all(tmp_path, monkeypatch):
    ready, seen = tmp_path / 'ready', tmp_path / 'seen'
    child = (
        'import pathlib, sys, time; x = b"x" * 200_000_000; ready, seen = map(pathlib.Path, sys.argv[1:])\n'
    )
    child += 'ready.touch()\nwhile not seen.exists(): time.sleep(0.01)'
    code = 'import subprocess, sys; x = b"x" * 100_000_000; del x; '
    code += f'subprocess.run([sys.executable, "-c", {child!r}, *sys.argv[1:]])'

    def look(pid):
        was_ready = ready.exists()
        yield from iter_family(pid)
        if was_ready:
            seen.touch()

    iter_family = memory._iter_family
    monkeypatch.setattr(memory, '_iter_family', look)
    own, total = memory.measure_peaks(shlex.join([sys.executable, '-c', code, str(ready), str(seen)]))
    assert 100 < own < 130
    assert 200 < total < 260

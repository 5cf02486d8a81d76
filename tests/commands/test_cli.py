"""The command line as a user types it."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import fastindex
from fastindex import OutputError, cli
from fastindex.twins import KERNEL
from tests.support.patience import run_on_terminal
from tests.support.tables import read
from tests.support.trees import SESSION, Link

SPIKES = f'{SESSION}/alf/spikes.times.npy'
IMPORTABLE = {**os.environ, 'PYTHONPATH': str(Path(fastindex.__file__).parent.parent)}


def test_a_folder_is_all_that_is_needed(make_tree, run):
    root = make_tree({SPIKES: b'1234'})
    code, out, err = run(root, '--workers', 1)
    assert (code, err) == (0, '')
    assert re.match(rf'indexed {root}: 1 session, 1 dataset, 4 B in [\d.]+ s', out)
    assert f'wrote sessions.pqt and datasets.pqt in {root}' in out


def test_build_is_the_same_command(make_tree, run):
    root = make_tree({SPIKES: b'1234'})
    assert run('build', root, '--workers', 1)[0] == 0
    assert len(read(root, 'datasets')) == 1


@pytest.mark.parametrize(
    ('words', 'columns'),
    [
        (['--hash', 'ROOT'], {'xxh128'}),
        (['ROOT', '--hash'], {'xxh128'}),
        (['ROOT', '--hash=md5'], {'hash'}),
        (['ROOT', '--hash=md5,xxh128'], {'hash', 'xxh128'}),
        (['--hash=xxh128', '--', 'ROOT'], {'xxh128'}),
        (['ROOT'], set()),
    ],
)
def test_hash_is_asked_for_before_or_after_the_root(make_tree, run, words, columns):
    root = make_tree({SPIKES: b'1234'})
    assert run('--workers=1', *(root if word == 'ROOT' else word for word in words))[0] == 0
    (row,) = read(root, 'datasets')
    assert {name for name in ('hash', 'xxh128') if row.get(name)} == columns


def test_json_is_one_object_with_the_summary(make_tree, run):
    root = make_tree({SPIKES: b'1234', f'{SESSION}/notes.txt': b'', f'{SESSION}/a.b.npy': Link('nowhere')})
    code, out, err = run(root, '--json', '--workers', 1)
    summary = json.loads(out)
    assert summary.pop('seconds') > 0
    assert summary == {
        'root': str(root),
        'as_before': [],
        'sessions': 1,
        'datasets': 1,
        'bytes': 4,
        'skipped': {'not-a-dataset-name': 1},
        'problem_count': 1,
        'problems': [
            {'path': f'{SESSION}/a.b.npy', 'reason': 'dangling-link', 'errno': 2, 'link': 'nowhere'}
        ],
        'warnings': [],
        'sessions_carried': 0,
        'datasets_carried': 0,
        'digests_reused': 0,
        'read_again': {},
        'changes': None,
        'generation': fastindex.open(root).generation,
        'kernel': KERNEL,
        'ids_kept': [],
        'info_offered': 0,
        'info_overruled': 0,
        'known_again': {},
        'sessions_path': f'{root}/sessions.pqt',
        'datasets_path': f'{root}/datasets.pqt',
        'problems_path': f'{root}/.fastindex/problems.jsonl',
    }
    assert (code, err) == (3, '')


def test_problems_exit_3_and_the_first_ten_are_named(make_tree, run):
    root = make_tree({SPIKES: b''} | {f'{SESSION}/a{i:02}.b.npy': Link('nowhere') for i in range(12)})
    code, out, _ = run(root, '--workers', 1)
    assert code == 3
    assert '12 problems' in out
    assert len(re.findall(r'a\d\d\.b\.npy: dangling-link', out)) == 10
    assert f'{root}/.fastindex/problems.jsonl' in out


def test_skips_are_counted_by_reason_and_listed_by_the_command_that_is_named(make_tree, run):
    root = make_tree({SPIKES: b'', f'{SESSION}/notes.txt': b'', f'{SESSION}/.x.swp': b''})
    _, out, err = run(root, '--workers', 1)
    assert re.search(r'1  not-a-dataset-name: expected _namespace_object.attribute.extension', out)
    assert f'fastindex {root} --dry-run -v' in out
    assert err == ''
    _, _, err = run(root, '--dry-run', '-v', '--workers', 1)
    assert sorted(err.splitlines()) == [
        f'skipped {SESSION}/.x.swp: dot-file',
        f'skipped {SESSION}/notes.txt: not-a-dataset-name',
    ]


def test_a_name_cannot_control_the_terminal(make_tree, run):
    names = {f'{SESSION}/\x1b[31m\u202e\n.txt': b'', f'{SESSION}/\x9b.b': Link('nowhere')}
    root = make_tree({SPIKES: b'', **names})
    _, out, err = run(root, '-v', '--workers', 1)
    assert not re.search('[\x1b\u202e\x9b]', out + err)
    assert r'\x1b[31m\u202e\n.txt' in err


def test_quiet_prints_nothing(make_tree, run):
    root = make_tree({SPIKES: b''})
    assert run(root, '--quiet', '--workers', 1) == (0, '', '')


def test_dry_run_says_what_it_would_do_and_does_nothing(make_tree, run):
    root = make_tree({SPIKES: b''})
    _, out, _ = run(root, '--dry-run', '--workers', 1)
    assert out.startswith('would index')
    assert 'wrote' not in out
    assert os.listdir(root) == ['lab']


def test_a_warning_about_the_root_goes_to_stderr(make_tree, run):
    root = make_tree({SPIKES: b''})
    code, _, err = run(root / 'lab/Subjects', '--workers', 1)
    assert code == 0
    assert err.startswith('fastindex: warning: the root is the Subjects folder of a lab')


@pytest.mark.parametrize(
    ('words', 'says'),
    [
        ([], 'verify      compare a tree with its index'),
        (['--json'], 'required: ROOT'),
        (['serach', 'x'], "no command and no folder 'serach': did you mean search?"),
        (['nope'], "no command and no folder 'nope'"),
        (['ROOT', '--hsh'], 'did you mean --hash?'),
        (['help', 'serach'], 'did you mean search?'),
        (['verify', 'ROOT', '--part', '3'], 'expected which of how many, as in 3/10'),
        (['verify', 'ROOT', '--hash=md5'], "--hash takes no 'md5'"),
        (['search', 'ROOT', '--limit', '-1'], "'-1': expected a whole number, 1 or more"),
        (['search', 'ROOT', '--sbject', 'a'], 'did you mean --subject?'),
        (['search', 'ROOT', '--date-range', '2020-01-02', '2020-01-01'], 'before it begins on 2020-01-02'),
        (['search', 'ROOT', '--date-range', 'Aug', '2019'], "'Aug': no such date; expected yyyy-mm-dd"),
        (['info', '/nowhere/at/all'], '/nowhere/at/all: there is no such folder'),
        (['help', 'serach'], "invalid choice: 'serach'"),
        (['/nowhere'], 'no such folder'),
        (['ROOT', '--workers', '0'], 'expected a whole number'),
        (['ROOT', '--workers', 'many'], 'expected a whole number'),
        (['ROOT', '--hash=sha1'], "unknown digest 'sha1': expected xxh128 or md5"),
        (['--hash', 'md5', 'ROOT'], 'named with =, as in --hash=md5'),
        (['ROOT', '--namespace', 'mine'], "'mine': expected a UUID, as in 6f1d"),
        (['ROOT', '--out', '/nowhere'], 'cannot be opened (No such file or directory): make it first'),
        (['ROOT', '--out', ''], 'expected a name'),
        ([''], 'expected a folder'),
        (['ROOT', '--hash='], 'expected xxh128 or md5'),
        (['ROOT', '--unknown'], '--unknown'),
        (['example'], 'required: DIR'),
        (['example', 'x', '--zip', 'y', '--seed', '1'], 'leave --sessions and --seed out'),
        (['verify', 'ROOT', '--json', '--jsonl'], 'expected one of the two'),
        (['validate', 'ROOT', '--json', '--jsonl'], 'expected one of the two'),
        (['validate', 'ROOT', '--yes'], '--yes is about --fix'),
        (['help', '--man', 'search'], 'leave COMMAND out'),
        (['release', 'ROOT', '--out', 'x.zip', '--select', '--json'], 'unrecognized arguments: --json. See'),
        (['ROOT', '--new', '--quick'], '--only, --new and --quick choose sessions'),
        (['ROOT', '--trust', 'size'], "--trust 'size': expected size,mtime"),
        (['ROOT', '--exclude', ''], "--exclude '' is no pattern"),
        (['verify', 'ROOT', '--fast', '--part', '1/2'], '--fast counts the whole tree'),
        (['search', 'ROOT', '--dataset-qc-lte', 'GOOD'], "--dataset-qc-lte 'GOOD': expected one of NOT_SET"),
        (['release', 'ROOT', '--out', 'x.zip', '--manifest', 'crc'], "--manifest 'crc': expected one of md5"),
        (['release', 'ROOT', '--out', 'x.zip', '--split-by', 'day'], "--split-by 'day': expected one of lab"),
    ],
)
def test_wrong_usage_exits_2_and_says_what_was_expected(make_tree, run, words, says):
    root = make_tree({SPIKES: b''})
    code, out, err = run(*(root if word == 'ROOT' else word for word in words))
    assert (code, out) == (2, '')
    assert err.startswith('fastindex: error: ')
    assert says in err


def test_a_date_that_is_none_is_wrong_usage(make_tree, run, monkeypatch):
    monkeypatch.setenv('SOURCE_DATE_EPOCH', 'yesterday')
    code, _, err = run(make_tree({SPIKES: b''}), '--workers', 1)
    assert (code, err) == (
        2,
        "fastindex: error: SOURCE_DATE_EPOCH='yesterday': expected seconds since 1970\n",
    )


def in_shell(root: Path, words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        f'{sys.executable} -m fastindex {words}',
        shell=True,
        cwd=root,
        env=IMPORTABLE,
        capture_output=True,
        text=True,
    )


@pytest.mark.long
@pytest.mark.parametrize(
    ('words', 'code'),
    [
        ('. >&-', 0),
        ('. 2>&-', 0),
        ('. <&- >&- 2>&-', 0),
        ('. > /dev/full', 0),
        ('. | head -c0', 0),
        ('nope 2>/dev/full', 2),
        ('nope 2>&-', 2),
    ],
)
def test_the_exit_code_is_that_of_the_work_and_not_of_the_output(make_tree, words, code):
    root = make_tree({SPIKES: b''})
    done = in_shell(root, words)
    assert done.returncode == code
    assert 'error' not in done.stdout
    assert 'Traceback' not in done.stderr
    if not code:
        assert fastindex.open(root).generation


def test_a_root_of_any_name_is_indexed(make_tree, tmp_path):
    root = make_tree({SPIKES: b''})
    os.rename(root, os.fsencode(tmp_path) + b'/caf\xe9 \xd0\xbc')
    done = subprocess.run(
        [sys.executable.encode(), b'-m', b'fastindex', os.fsencode(tmp_path) + b'/caf\xe9 \xd0\xbc'],
        capture_output=True,
        env={**IMPORTABLE, 'PYTHONIOENCODING': 'ascii'},
    )
    assert (done.returncode, done.stderr) == (0, b'')


@pytest.mark.long
def test_memory_that_runs_out_is_an_error_in_a_sentence(make_tree):
    root = make_tree({SPIKES: b''})
    done = in_shell(root, '. --workers 1 --hash')
    assert done.returncode == 0
    command = f'ulimit -v 130000; exec {sys.executable} -m fastindex . --workers 1'
    done = subprocess.run(command, shell=True, cwd=root, env=IMPORTABLE, capture_output=True, text=True)
    assert done.returncode == 2
    assert 'Traceback' not in done.stderr
    assert fastindex.open(root).generation


@pytest.mark.long
@pytest.mark.parametrize(('flag', 'is_shown'), [('-B', False), ('-Wdefault', True)])
def test_warnings_of_python_are_shown_to_who_asks_for_them(make_tree, flag, is_shown):
    root = make_tree({SPIKES: b''})
    fastindex.build(root, workers=1)
    words = [
        sys.executable,
        flag,
        '-m',
        'fastindex',
        'search',
        str(root),
        '--subject',
        '[[:alpha:]]',
        '--count',
    ]
    done = subprocess.run(words, env=IMPORTABLE, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, '0\n')
    assert ('Warning' in done.stderr) == is_shown


def test_a_locked_index_exits_4(make_tree, run):
    from fastindex.tables.target import open_stage

    root = make_tree({SPIKES: b''})
    with open_stage(root):
        code, _, err = run(root, '--workers', 1)
    assert code == 4
    assert f'process {os.getpid()}' in err


def test_an_empty_tree_exits_2(tmp_path, run):
    code, _, err = run(tmp_path)
    assert code == 2
    assert 'is the disk mounted' in err
    assert run(tmp_path, '--allow-empty', '--workers', 1)[0] == 0


def test_another_namespace_gives_other_ids(make_tree, run):
    root = make_tree({SPIKES: b''})
    run(root, '--workers', 1)
    first = read(root, 'sessions')[0]['id']
    run(root, '--workers', 1, '--namespace', '12345678-1234-5678-1234-567812345678')
    assert read(root, 'sessions')[0]['id'] != first


def test_help_shows_every_option_and_examples(run):
    code, out, _ = run('--help')
    assert code == 0
    for word in ('--workers', '--hash', '--out', '--dry-run', 'examples:', 'exit codes:', 'example  '):
        assert word in out
    assert run('example', '--help')[0] == 0
    assert run('--version')[1] == f'fastindex {fastindex.__version__} (kernel: {KERNEL})\n'


def test_example_writes_a_tree_that_can_be_indexed(tmp_path, run):
    code, out, _ = run('example', tmp_path / 'example', '--sessions', 3, '--workers', 1)
    assert code == 0
    assert '3 sessions, 45 datasets' in out
    code, out, _ = run(tmp_path / 'example', '--json', '--workers', 1)
    assert (code, json.loads(out)['datasets'], json.loads(out)['skipped']) == (0, 45, {})
    assert 'there already' in run('example', tmp_path / 'example', '--sessions', 3)[1]


@pytest.mark.long
def test_progress_is_shown_on_a_terminal_only(make_tree):
    root = make_tree({f'lab/Subjects/s{i}/2024-01-01/001/a.b.npy': b'' for i in range(300)})
    command = [sys.executable, '-m', 'fastindex', root, '--workers', '1']
    assert subprocess.run(command, capture_output=True, check=True).stderr == b''
    shown = run_on_terminal(command, shows='stderr', stdout=subprocess.DEVNULL)
    assert 'indexing' in shown
    assert '/300' in shown


@pytest.mark.long
def test_progress_of_a_verification_is_shown_in_bytes(make_tree):
    root = make_tree({f'lab/Subjects/s{i}/2024-01-01/001/a.b.npy': bytes(5000) for i in range(300)})
    command = [sys.executable, '-m', 'fastindex']
    subprocess.run([*command, root, '--hash', '--quiet'], check=True)
    verify = [*command, 'verify', root, '--hash', '--workers', '1']
    shown = run_on_terminal(verify, shows='stderr', stdout=subprocess.DEVNULL)
    assert 'verifying' in shown
    assert '/1.50M' in shown


def loaded_by(*arguments: str, cwd: Path | None = None) -> set[str]:
    """The top modules that a command imports, in its own process."""
    code = (
        'import sys\nfrom fastindex.cli import main\n'
        'try: main(sys.argv[1:])\nexcept SystemExit: pass\n'
        'print(*{name.partition(".")[0] for name, module in sys.modules.items() if module}, file=sys.stderr)'
    )
    run = subprocess.run([sys.executable, '-c', code, *arguments], capture_output=True, check=True, text=True)
    return set(run.stderr.split())


@pytest.mark.long
def test_a_build_from_python_does_not_load_pandas(make_tree):
    """It takes 0.3 s, in each worker: pyarrow imports it to look at a list."""
    code = (
        'import sys, fastindex\nfastindex.build(sys.argv[1], workers=1, hash=["xxh128", "md5"])\n'
        'print({"pyarrow", "numpy", "pandas"} & set(sys.modules))'
    )
    command = [sys.executable, '-c', code, str(make_tree({SPIKES: b''}))]
    run = subprocess.run(command, capture_output=True, check=True, text=True)
    assert "'pyarrow'" in run.stdout
    assert 'pandas' not in run.stdout


def test_an_error_says_what_to_do_as_the_library_names_it_and_on_the_command_line_as_a_flag(tmp_path, run):
    with pytest.raises(fastindex.EmptyTreeError) as caught:
        fastindex.build(tmp_path, workers=1)
    assert str(caught.value).endswith('still is; `allow_empty` writes an empty one.')
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.hint) == (str(caught.value), '`allow_empty` writes an empty one.')
    assert run(tmp_path, '--workers', 1)[2].endswith('still is; --allow-empty writes an empty one.\n')


def test_a_path_is_never_taken_for_an_option(tmp_path, run):
    root = tmp_path / '`force`'
    root.mkdir()
    assert f'{root}: no session' in run(root, '--workers', 1)[2]


def test_help_loads_nothing_heavy():
    assert not loaded_by('--help') & {'pyarrow', 'polars', 'tqdm', 'numpy', 'pandas', 'multiprocessing'}


@pytest.mark.long
def test_a_build_loads_neither_polars_nor_tqdm(make_tree):
    root = make_tree({SPIKES: b''})
    loaded = loaded_by(str(root))
    assert 'pyarrow' in loaded
    assert not loaded & {'polars', 'tqdm', 'pandas', 'numpy', 'pyarrow._s3fs'}


@pytest.fixture
def indexed(make_tree, run) -> Path:
    root = make_tree({SPIKES: b'1234', f'{SESSION}/alf/a.b.npy': b'56'})
    assert run(root, '--hash', '--workers', 1)[0] == 0
    return root


def test_verify_says_that_nothing_differs(indexed, run):
    code, out, err = run('verify', indexed, '--hash', '--workers', 1)
    assert (code, err) == (0, '')
    assert out.startswith(f'verified {indexed} (contents read): 1 session, 2 datasets, 6 B in ')
    assert out.endswith(': no differences\n')


def test_verify_groups_differences_and_exits_1(indexed, run):
    (indexed / SPIKES).write_bytes(b'12345')
    code, out, _ = run('verify', indexed, '--workers', 1)
    assert code == 1
    assert out.startswith(f'resized 1\n  {SPIKES}: expected 4 bytes, found 5 bytes\nverified ')
    assert out.endswith(': 1 difference\n')
    assert run('verify', indexed, '--fast', '--workers', 1)[0] == 1
    assert run('verify', indexed, '--quiet', '--workers', 1) == (1, '', '')


def test_verify_names_the_first_of_many_or_all(indexed, run):
    for i in range(12):
        (indexed / SESSION / f'new.file.x{i}').write_bytes(b'')
    out = run('verify', indexed, '--workers', 1)[1]
    assert 'unexpected 12\n' in out
    assert out.count('new.file') == 10
    assert '--all' in out
    assert run('verify', indexed, '--workers', 1, '--all')[1].count('new.file') == 12


def test_verify_names_paths_in_the_order_of_paths(make_tree, run):
    root = make_tree({f's{i:02}/2024-01-01/001/a.b.c': b'x' for i in range(40)})
    assert run(root, '--workers', 1)[0] == 0
    paths = sorted(path.relative_to(root) for path in root.rglob('a.b.c'))
    for path in paths:
        (root / path).write_bytes(b'other')
    for more, count in ([], 10), (['--all'], 40):
        out = run('verify', root, '--workers', 1, *more)[1]
        assert re.findall(r'^  (\S+):', out, re.MULTILINE) == [str(path) for path in paths[:count]]


def test_verify_prints_a_json_object_a_line(indexed, run):
    (indexed / SPIKES).write_bytes(b'4321')
    code, out, _ = run('verify', indexed, '--hash', '--jsonl', '--workers', 1)
    difference, summary = map(json.loads, out.splitlines())
    assert code == 1
    assert (difference['kind'], difference['path'], difference['measure']) == ('altered', SPIKES, 'xxh128')
    assert len(difference['expected']) == len(difference['found']) == 32
    assert difference['expected'] != difference['found']
    assert summary['summary']['differences'] == {'altered': 1}
    assert summary['summary']['datasets'] == 2


def test_verify_of_what_cannot_be_looked_into_exits_3(indexed, run):
    os.mkfifo(indexed / SESSION / 'new.file.npy')
    code, out, _ = run('verify', indexed, '--workers', 1)
    assert code == 3
    assert '1 problem: a path that could not be looked into' in out
    assert 'new.file.npy: not-a-regular-file' in out


def test_verify_takes_tables_from_elsewhere(make_tree, tmp_path, run):
    root = make_tree({SPIKES: b'1234'})
    (tmp_path / 'tables').mkdir()
    run(root, '--out', tmp_path / 'tables', '--workers', 1)
    assert run('verify', root, '--workers', 1)[0] == 2
    assert run('verify', root, '--index', tmp_path / 'tables', '--workers', 1)[0] == 0


def test_verify_of_a_part_says_which(indexed, run):
    outs = [run('verify', indexed, '--hash', '--part', f'{i}/2', '--workers', 1)[1] for i in (1, 2)]
    assert sorted(re.findall(r'([\d]) sessions?\b', ''.join(outs))) == ['0', '1']
    assert 'part 1/2' in outs[0]


@pytest.mark.parametrize(
    'words',
    [
        ('verify',),
        ('verify', 'ROOT', '--index-only', 'ROOT'),
        ('verify', 'ROOT', '--part', '3'),
        ('verify', 'ROOT', '--part', '0/3'),
        ('verify', 'ROOT', '--part', '4/3'),
        ('verify', 'ROOT', '--fast', '--hash'),
        ('verify', 'ROOT', '--hash=md5'),
        ('verify', '--index-only', 'ROOT', '--hash'),
        ('verify', 'ROOT/nowhere'),
        ('verify', '--index-only', 'ROOT/nowhere'),
    ],
    ids=' '.join,
)
def test_verify_that_cannot_be_done_exits_2(indexed, run, words):
    code, out, err = run(*(word.replace('ROOT', str(indexed)) for word in words))
    assert (code, out) == (2, '')
    assert err.startswith('fastindex: error: ')


def test_verify_of_an_index_alone_names_its_faults(indexed, run):
    assert run('verify', '--index-only', indexed) == (0, f'verified the index in {indexed}: no faults\n', '')
    shutil.copy(indexed / 'sessions.pqt', indexed / 'old.pqt')
    code, out, _ = run('verify', '--index-only', indexed)
    assert code == 1
    assert 'foreign-table: old.pqt: ' in out
    assert out.endswith(': 1 fault\n')
    code, out, _ = run('verify', '--index-only', indexed, '--json')
    [fault] = json.loads(out)['faults']
    assert fault['code'] == 'foreign-table'
    assert fault['remedy']


@pytest.mark.long
def test_verify_loads_neither_polars_nor_tqdm_nor_numpy(indexed):
    loaded = loaded_by('verify', str(indexed), '--hash', '--workers', '2')
    assert 'pyarrow' in loaded
    assert not loaded & {'polars', 'tqdm', 'pandas', 'numpy'}


HANG_UP = """
import argparse, os, signal, sys
from fastindex import cli
signal.signal(signal.SIGHUP, signal.SIG_IGN if sys.argv[1] == 'nohup' else signal.SIG_DFL)
cli._parse = lambda _: argparse.Namespace(run=lambda _: os.kill(os.getpid(), signal.SIGHUP) or 0)
sys.exit(cli.main([]))
"""


@pytest.mark.parametrize(('start', 'code'), [('', 143), ('nohup', 0)])
def test_a_terminal_that_is_gone_ends_a_command_in_order_unless_it_was_told_to_go_on(start, code):
    done = subprocess.run([sys.executable, '-c', HANG_UP, start], capture_output=True, text=True)
    assert (done.returncode, 'terminated; what was there is whole' in done.stderr) == (code, not start)


def fail_while_stopped(number, error):
    try:
        os.kill(os.getpid(), number)
    finally:
        raise error


@pytest.mark.parametrize('error', [RuntimeError('no such'), OutputError('no room'), SystemExit(1)], ids=repr)
@pytest.mark.parametrize(('number', 'code'), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_command_whatever_its_clean_up_runs_into(number, code, error, monkeypatch, run):
    stopped = argparse.Namespace(run=lambda _: fail_while_stopped(number, error))
    monkeypatch.setattr(cli, '_parse', lambda _: stopped)
    ended, _, err = run('info')
    assert (ended, err.count('\n'), 'what was there is whole' in err) == (code, 1, True), err

"""How commands end that are stopped, or cannot write their answer."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pkgutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import fastindex
from fastindex import cli
from fastindex.commands import COMMANDS
from tests.support.patience import wait_until
from tests.support.trees import SESSION, grow

ANSWERS = [
    'build ROOT --check --json',
    'build ROOT --changes -',
    'build ROOT --dry-run',
    'build --version',
    'completion zsh',
    'help --man',
    'help search',
    'info ROOT',
    'info ROOT --json',
    'report ROOT --no-validate --out -',
    'release ROOT --dry-run --force --out OUT/x.zip',
    'search --help',
    'search ROOT',
    'search ROOT --csv',
    'search ROOT --datasets --paths -0',
    'search ROOT --eids',
    'search ROOT --json',
    'validate --explain ALF117',
    'validate ROOT',
    'validate ROOT --json',
    'validate ROOT --jsonl',
    'verify --index-only ROOT --jsonl',
    'verify ROOT',
    'verify ROOT --json',
]
"""What is asked for is what is printed."""

WORK = [
    'build ROOT',
    'build ROOT --json',
    'example OUT/x --sessions 1 --json',
    'release ROOT --force --out OUT/x.zip --json',
    'report ROOT --no-validate --out OUT/x.html',
    'restore ROOT --json',
]
"""What is printed says what was done."""

REDIRECTIONS = ['closed', 'full', 'gone']


@pytest.fixture
def words_of(tmp_path: Path) -> Callable[[str], list[str]]:
    names = ('a.b.npy', 'c.d.npy', 'my mouse.b.npy')
    tree = {'LICENSE': b''} | {f'{SESSION}/{name}': b'' for name in names}
    root, out = grow(tmp_path / 'root', tree), tmp_path / 'out'
    out.mkdir()
    fastindex.build(root, workers=1)
    (root / SESSION / 'c.d.npy').unlink()
    fastindex.build(root, workers=1)
    (root / SESSION / 'e.f.npy').touch()
    return lambda line: line.replace('ROOT', str(root)).replace('OUT', str(out)).split()


@contextmanager
def redirected(fd: int, how: str) -> Iterator[None]:
    """Have a standard stream as a shell gives it to a command that starts."""
    name = ('stdin', 'stdout', 'stderr')[fd]
    stream, kept = getattr(sys, name), fcntl.fcntl(fd, fcntl.F_DUPFD, 100)  # not the number of a closed one
    if how == 'closed':
        os.close(fd)
    elif how == 'full':
        with open('/dev/full', 'wb') as full:
            os.dup2(full.fileno(), fd)
    else:
        reader, writer = os.pipe()
        os.dup2(writer, fd)
        os.close(writer)
        os.close(reader)
    setattr(sys, name, None if how == 'closed' else open(fd, 'w', closefd=False))  # noqa: SIM115
    try:
        yield
    finally:
        if getattr(sys, name) is not None:
            with suppress(OSError):
                getattr(sys, name).close()
        setattr(sys, name, stream)
        os.dup2(kept, fd)
        os.close(kept)


def test_every_command_is_tried():
    assert {line.split()[0] for line in ANSWERS + WORK} == set(COMMANDS)


@pytest.mark.long
@pytest.mark.parametrize('how', REDIRECTIONS)
@pytest.mark.parametrize('line', ANSWERS)
def test_an_answer_that_was_not_written_whole_is_no_success(words_of, run, how, line):
    words = words_of(line)
    with redirected(1, how):
        code, _, err = run(*words)
    if how == 'gone':  # a reader that has enough
        assert (code in (0, 1), 'error' in err) == (True, False), err
    else:
        *warnings, err = err.splitlines()
        assert code == 2
        assert all(warning.startswith('fastindex: warning: ') for warning in warnings), warnings
        assert err.startswith('fastindex: error: '), err
        assert ('Bad file descriptor' if how == 'closed' else 'No space left on device') in err


@pytest.mark.long
@pytest.mark.parametrize('how', REDIRECTIONS)
@pytest.mark.parametrize('line', WORK)
def test_work_that_is_done_is_a_success_whatever_becomes_of_its_summary(words_of, run, how, line):
    words = words_of(line)
    before = fastindex.open(words[1]).generation if 'ROOT' in line else ''
    with redirected(1, how):
        code, _, err = run(*words)
    assert (code, 'error' in err) == (0, False), err
    assert ('warning: the answer could not be written whole' in err) == (how != 'gone'), err
    if line.startswith(('build', 'restore')):
        assert fastindex.open(words[1]).generation != before
    else:
        [made] = os.listdir(Path(words_of('OUT')[0]))
        assert made.startswith('x')


@pytest.mark.parametrize('how', REDIRECTIONS)
@pytest.mark.parametrize('line', ['nope', 'info /nowhere', 'validate ROOT --fix', 'build ROOT --only-from -'])
def test_an_error_that_nobody_can_read_is_one_all_the_same(words_of, run, how, line):
    words = words_of(line)
    with redirected(0, 'closed'), redirected(2, how):
        assert run(*words)[0] == 2


@pytest.mark.parametrize('line', ['validate ROOT --fix', 'build ROOT --only-from -'])
def test_a_closed_standard_input_is_said(words_of, run, line):
    with redirected(0, 'closed'):
        code, _, err = run(*words_of(line))
    assert (code, err.count('\n'), 'unexpected' in err) == (2, 1, False), err


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch, run) -> Callable[[Callable[[], object]], tuple[int, str]]:
    """Run what a command does in the place of one: exit code, standard error."""

    def stopped(work: Callable[[], object]) -> tuple[int, str]:
        command = argparse.Namespace(run=lambda _: work() and 0)
        monkeypatch.setattr(cli, '_parse', lambda _: command)
        code, _, err = run('info')
        return code, err

    return stopped


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def test_signals_that_come_at_the_same_time_are_one(stopped):
    numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}

    def come_together() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
        for number in numbers:
            signal.pthread_kill(threading.get_ident(), number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)

    code, err = stopped(come_together)
    assert code in (130, 143)
    assert err.count('\n') == 1


def test_a_signal_that_is_dropped_where_an_object_goes_comes_again(stopped):
    class Going:
        def __del__(self) -> None:
            interrupt()

    def go() -> None:
        going = Going()
        del going
        wait_until(lambda: False)

    assert stopped(go) == (130, 'fastindex: interrupted; what was there is whole\n')


@pytest.mark.parametrize('error', [TypeError('not a type'), fastindex.UsageError('expected a type')], ids=str)
def test_a_signal_that_a_library_has_lost_is_behind_the_error_that_it_left(stopped, error):
    def lose() -> None:
        with suppress(KeyboardInterrupt):
            interrupt()
        raise error

    assert stopped(lose) == (130, 'fastindex: interrupted; what was there is whole\n')


def test_what_else_is_dropped_where_an_object_goes_is_shown_as_ever(stopped, monkeypatch):
    class Going:
        def __del__(self) -> None:
            raise RuntimeError('no such')

    shown = []
    monkeypatch.setattr(sys, '__unraisablehook__', shown.append)

    def go() -> None:
        going = Going()
        del going

    assert stopped(go) == (None, '')
    assert [str(one.exc_value) for one in shown] == ['no such']


def test_the_next_signal_stops_what_has_swallowed_one(stopped):
    def swallow() -> None:
        with suppress(KeyboardInterrupt):
            interrupt()
        interrupt()

    assert stopped(swallow)[0] == 130


def test_a_further_signal_does_not_disturb_the_clean_up(stopped):
    done = []

    def clean_up() -> None:
        try:
            interrupt()
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.raise_signal(number)
            done.append(True)

    assert (stopped(clean_up)[0], done) == (130, [True])


def test_handlers_are_as_before_when_a_command_has_ended(stopped):
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    stopped(lambda: None)
    stopped(interrupt)
    assert [signal.getsignal(number) for number in numbers] == before


@pytest.fixture
def interrupt_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have Ctrl-C come when a function has returned for the first time."""

    def interrupt_after(name: str) -> None:
        plain, turns = pkgutil.resolve_name(name), iter([interrupt])

        def call(*arguments: object, **options: object) -> object:
            result = plain(*arguments, **options)
            next(turns, bool)()
            return result

        monkeypatch.setattr(name, call)

    return interrupt_after


def test_fixes_that_are_interrupted_say_how_to_take_them_back(words_of, run, interrupt_after):
    words = words_of('validate ROOT --fix --yes')
    names = sorted(os.listdir(Path(words[1]) / SESSION))
    interrupt_after('fastindex.jobs.fix.fix._do')
    code, _, err = run(*words)
    assert sorted(os.listdir(Path(words[1]) / SESSION)) != names
    assert code == 130
    assert os.system(err.rpartition('To take it back: ')[2]) == 0
    assert sorted(os.listdir(Path(words[1]) / SESSION)) == names


@pytest.mark.parametrize(
    ('name', 'says'),
    [
        ('fastindex.tables.publish.put_by', 'the new index is in place'),
        ('fastindex.jobs.restore.restore.look_at_index', 'the index was put back: once more is as before'),
    ],
)
def test_a_restore_that_is_interrupted_when_it_is_done_says_so(words_of, run, interrupt_after, name, says):
    words = words_of('restore ROOT')
    before = fastindex.open(words[1]).generation
    interrupt_after(name)
    code, _, err = run(*words)
    assert (code, err) == (130, f'fastindex: interrupted; {says}\n')
    assert fastindex.open(words[1]).generation != before


def test_of_two_scripts_none_is_there_alone(words_of, run, interrupt_after):
    words = words_of('validate ROOT --rename-script OUT/x.sh')
    interrupt_after('fastindex.files._Growing.move')
    assert run(*words)[0] == 130
    assert sorted(os.listdir(Path(words[-1]).parent)) in ([], ['x-undo.sh', 'x.sh'])


def test_a_report_that_was_to_be_shown_and_is_interrupted_leaves_no_folder(
    words_of, run, monkeypatch, interrupt_after
):
    words = words_of('report ROOT --open --no-validate')
    monkeypatch.setenv('TMPDIR', str(Path(words[1]).parent / 'out'))
    monkeypatch.setattr('tempfile.tempdir', None)
    interrupt_after('fastindex.jobs.report.report.gather')
    assert run(*words)[0] == 130
    assert os.listdir(os.environ['TMPDIR']) == []


def test_fixes_are_counted_also_where_the_answer_is_json(words_of, run):
    """What the tests above rely on: there is something to rename."""
    assert json.loads(run(*words_of('validate ROOT --fix --yes --json'))[1])['summary']['renamed'] == 1

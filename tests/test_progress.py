"""Progress where there is no terminal: a line a minute, for runs that take longer."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

import fastindex
from fastindex import progress
from fastindex.progress import open_bar
from tests.support.injectors import environment


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(progress.time, 'monotonic', lambda: now[0])
    return now


def test_a_short_run_writes_nothing(clock, capsys):
    bar = open_bar(total=100, unit='session', description='indexing', enabled=True)
    for _ in range(100):
        clock[0] += 0.5
        bar.update()
    bar.close()
    assert capsys.readouterr().err == ''


def test_a_long_run_writes_a_line_a_minute(clock, capsys):
    bar = open_bar(total=1000, unit='session', description='indexing', enabled=True)
    for _ in range(1000):
        clock[0] += 0.5
        bar.update()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 8
    assert lines[0] == 'fastindex: indexing: 120 of 1,000 sessions (12 %)'


def test_bytes_have_units_and_what_has_no_end_no_percent(clock, capsys):
    bar = open_bar(total=None, unit='B', description='verifying', enabled=True)
    clock[0] += 61
    bar.update(1_500_000)
    assert capsys.readouterr().err == 'fastindex: verifying: 1.5 MB\n'


def test_nothing_is_shown_where_nobody_asked(clock, capsys):
    bar = open_bar(total=10, unit='session', description='indexing', enabled=False)
    clock[0] += 100
    bar.update()
    assert capsys.readouterr() == ('', '')


def test_a_notebook_has_a_bar(monkeypatch):
    class ZMQInteractiveShell:
        pass

    class IPython:
        get_ipython = ZMQInteractiveShell

    monkeypatch.setitem(sys.modules, 'IPython', IPython)
    bar = open_bar(total=10, unit='session', description='indexing', enabled=True)
    assert type(bar).__module__.startswith('tqdm')
    bar.close()


def test_a_report_says_on_a_terminal_what_it_is_at(make_tree, build, monkeypatch, tmp_path, capsys):
    root = make_tree({'s1/2024-01-01/001/a.b.npy': b''})
    build(root)
    monkeypatch.setattr('fastindex.jobs.report.report.render', lambda *_: '')
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: True, raising=False)
    fastindex.report(root, tmp_path / 'r.html', progress=True, validate=False)
    said = capsys.readouterr().err
    assert said.index('reading the index ...') < said.index('drawing the page ...')


@pytest.mark.long
@pytest.mark.parametrize('words', [['info'], ['search'], ['search', '--datasets', '--json'], ['--ids-from']])
def test_what_reads_a_large_table_says_on_a_terminal_what_it_is_at(make_tree, build, words):
    """From the first second on, and nothing of it stays: the line is empty when the answer comes."""
    root = make_tree({'s1/2024-01-01/001/a.b.npy': b''})
    build(root)
    command = [sys.executable, '-m', 'fastindex']
    command += [root, *words, root] if words == ['--ids-from'] else [words[0], root, *words[1:]]
    ours, theirs = pty.openpty()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, env=environment(), timeout=100)
    os.close(theirs)
    said = os.read(ours, 100_000).decode()
    os.close(ours)
    assert done.returncode == 0, said
    first = {'info': 'reading the index', 'search': 'searching'}
    shown = f'{first.get(words[0], "reading the tables whose ids are kept")} ...\r\x1b[K'
    assert said.startswith(shown)
    assert ('writing ...\r\x1b[K' in said) == (words[0] == 'search')

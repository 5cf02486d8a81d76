"""The main job and the light tests, in one process of a Python for Windows: to start one takes Wine seconds.

Arguments: a tree, an empty folder, the clone. What was found goes into the folder, as `found.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from one.api import One

import fastindex
from fastindex import cli
from fastindex.cli import main
from fastindex.tables.target import open_target

START = time.perf_counter()

LIGHT = ['trees/test_paths.py::TestPathTree', 'names/test_windows.py']


def run(*words: object) -> int:
    print('$ fastindex', *words, flush=True)
    return main([str(word) for word in words])


def run_over_read_only(root: Path, how: str) -> int:
    for path in root.glob('*.pqt'):
        path.chmod(stat.S_IREAD)
    return run(root, how)


def run_only(root: Path, path: str) -> list[int]:
    os.chdir(root)
    code = run(root, '--only', path)
    os.chdir('/')
    return [code, fastindex.open(root).sessions.collect().height]


def write_outcomes(root: Path, folder: Path) -> Path:
    """Write a table as Windows does: its own paths, in UTF-16."""
    path = next(root.rglob('deep.times.npy')).relative_to(root)
    session, dataset = Path(*path.parts[:5]), Path(*path.parts[5:])
    table = folder.parent / 'qc.csv'
    table.write_text(f'{session},{dataset},PASS\n', 'utf-16')
    return table


def list_outcomes(root: Path) -> list[str]:
    return sorted(set(fastindex.open(root).datasets.collect()['qc'].to_list()))


def run_and_break() -> int:
    """Run a command that ends as who is told to by another program."""
    plain = cli._parse
    told = argparse.Namespace(run=lambda _: signal.raise_signal(signal.SIGBREAK) or 0)  # type: ignore[attr-defined]
    cli._parse = lambda _: told
    try:
        return cli.main([])
    finally:
        cli._parse = plain


def iter_jobs(root: Path, folder: Path) -> Iterator[tuple[str, Any]]:
    """Do each job; gives what it is called, and an exit code or what else came of it."""
    yield 'build', run(root)
    summaries = [fastindex.build(root, hash=['xxh128'], workers=workers) for workers in (1, 3)]
    yield 'generations', [one.generation for one in summaries]
    yield 'digests reused', summaries[1].digests_reused
    with (root / 'sessions.pqt').open('rb'):  # a reader that holds a table
        yield 'while a table is held', run(root, '--no-hash')
    yield 'and then', run(root, '--hash')
    yield (
        'over tables that may only be read',
        [run_over_read_only(root, how) for how in ('--no-hash', '--hash')],
    )
    yield (
        'a folder in other words',
        [run_only(root, path) for path in ('LAB/Subjects/S1', 'C:lab/Subjects/s1')],
    )
    yield 'outcomes of qc', [run(root, '--qc', write_outcomes(root, folder)), list_outcomes(root)]
    yield 'Ctrl-Break', run_and_break()
    with open_target(root):
        code = f'import sys; from fastindex.cli import main; sys.exit(main([{os.fspath(root)!r}]))'
        yield 'while another run writes', subprocess.run([sys.executable, '-c', code], check=False).returncode
    yield 'verify', run('verify', root, '--hash')
    yield 'findings', sorted(one.code for one in fastindex.validate(root, deep=True))
    yield 'search', run('search', root, '--subject', 'NYU-01', '--count')
    yield 'info', run('info', root)
    yield 'release zip', run('release', root, '--out', folder / 'x.zip', '--force', '--workers', 2)
    yield 'release tar.zst', run('release', root, '--out', folder / 'x.tar.zst', '--force')
    yield 'report', run('report', root, '--out', folder / 'x.html')
    yield 'left', sorted(os.listdir(folder))
    zipfile.main(['-e', os.fspath(folder / 'x.zip'), os.fspath(folder / 'x')])  # as `release` says
    yield 'verify unpacked', run('verify', folder / 'x', '--hash')
    client = One(cache_dir=root, mode='local')
    eids = client.search(subject='NYU-01')
    yield 'sessions of the client', len(eids)
    yield 'trials of the client', sorted(client.load_object(eids[0], 'trials'))


if __name__ == '__main__':
    root, folder, clone = map(Path, sys.argv[1:])
    found = {}
    for name, value in iter_jobs(root, folder):
        found[name] = value
        print(f'{time.perf_counter() - START:5.1f} s  {name}', flush=True)
    os.chdir(clone)
    words = ['-q', '-p', 'no:cacheprovider', '-W', 'ignore', '--basetemp', str(folder / 'tests')]
    found['light tests'] = pytest.main([*words, *(f'tests/{name}' for name in LIGHT)])
    (folder / 'found.json').write_text(json.dumps(found))

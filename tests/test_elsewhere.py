"""Other systems, as far as they can be played here: what they lack is hidden, in all processes."""

from __future__ import annotations

import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastindex
from tests.support.patience import PATIENCE_SECONDS
from tests.support.trees import SESSION, Link, grow

TOP = Path(__file__).parent.parent
TREE = {
    **{f'lab/Subjects/s{i}/2024-01-01/001/alf/a.b.npy': bytes(i) for i in range(30)},
    f'{SESSION}/alf/größe.b.npy': b'x',
    f'{SESSION}/linked': Link('alf'),
}


def run_elsewhere(where: str, *words: object) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(map(str, (TOP / 'tests' / 'support' / 'elsewhere', TOP)))
    return subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        env={**os.environ, 'PYTHONPATH': path, 'FASTINDEX_ELSEWHERE': where, 'FASTINDEX_KERNEL': 'python'},
    )


JOBS = """
import json, os, sys
from pathlib import Path
import fastindex
from fastindex.errors import LockedError
from fastindex.tables.target import open_stage
from fastindex.workers.child import may_fork
assert not may_fork() and not hasattr(os, 'O_TMPFILE')
root, folder = sys.argv[1:]
done = [fastindex.build(root, hash=['xxh128'], workers=2) for _ in range(2)]
try:
    with open_stage(Path(root)):
        fastindex.build(root, workers=1)
except LockedError as error:
    locked = str(error)
print(json.dumps({
    'generations': [one.generation for one in done],
    'problems': done[0].problem_count,
    'locked': locked,
    'differences': len(list(fastindex.verify(root, hash=True, workers=2))),
    'errors': [one.code for one in fastindex.validate(root, workers=2) if one.rule.severity == 'error'],
    'released': fastindex.release(root, f'{folder}/x.zip', workers=2, follow_symlinks=True).datasets,
    'sessions': fastindex.open(root).sessions.collect().height,
    'left': sorted(os.listdir(folder)),
}))
"""


@pytest.mark.long
@pytest.mark.parametrize('where', ['macos', 'windows'])
def test_each_job_is_done_with_what_there_is(tmp_path, where):
    root = grow(tmp_path / 'root', TREE)
    here = fastindex.build(root, out=tmp_path, hash=['xxh128'], workers=1)
    (tmp_path / 'out').mkdir()
    done = run_elsewhere(where, '-c', JOBS, root, tmp_path / 'out')
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert 'is writing this index' in found.pop('locked')
    assert found == {
        'generations': [here.generation] * 2,
        'problems': 0,
        'differences': 0,
        'errors': [],
        'released': here.datasets,
        'sessions': 30,
        'left': ['x.zip'],
    }


@pytest.mark.long
def test_all_modules_are_imported_without_what_windows_lacks():
    code = f'import {", ".join(all_modules())}'
    assert run_elsewhere('windows', '-c', code).stderr == ''


def all_modules() -> list[str]:
    """All but what needs asyncio, which here needs what is hidden."""
    found = [one.name for one in pkgutil.walk_packages(fastindex.__path__, 'fastindex.')]
    return [name for name in found if not name.endswith(('.__main__', '._kernel', '.cluster'))]


@pytest.mark.parametrize('where', ['macos', 'windows'])
def test_what_is_hidden_is_hidden(where):
    code = 'import os; print(hasattr(os, "sched_getaffinity"), os.path.isdir("/proc/self/fd"))'
    assert run_elsewhere(where, '-c', code).stdout == 'False False\n'

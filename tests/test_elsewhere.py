"""Other systems, as far as they can be played here: what they lack is hidden, in all processes."""

from __future__ import annotations

import ast
import functools
import json
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import mypy
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

def build(hash):  # over tables that may only be read
    for path in Path(root).glob('*.pqt'):
        path.chmod(0o444)
    return fastindex.build(root, hash=hash, workers=2)

done = [build(hash) for hash in (['xxh128'], [], [], ['xxh128'])]
try:
    with open_stage(Path(root)):
        fastindex.build(root, workers=1)
except LockedError as error:
    locked = str(error)
print(json.dumps({
    'generations': [one.generation for one in done[::3]],
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


MODULES = ('os', 'fcntl', 'select', 'signal', 'socket', 'time')
ASKS = ('flags', 'getattr', 'hasattr', 'system_flags')
STUBS = Path(mypy.__file__).parent / 'typeshed' / 'stdlib'


def iter_stub(body: list[ast.stmt], platform: str) -> Iterator[str]:
    """Iterate over what the lines of a stub define on a platform; the stubs are those of mypy."""
    sys_there = SimpleNamespace(platform=platform, version_info=sys.version_info)
    for line in body:
        if isinstance(line, ast.If):
            is_so = eval(ast.unparse(line.test), {'sys': sys_there})
            yield from iter_stub(line.body if is_so else line.orelse, platform)
        elif isinstance(line, ast.FunctionDef | ast.ClassDef):
            yield line.name
        elif isinstance(line, ast.AnnAssign | ast.Assign):
            yield ast.unparse(line.target if isinstance(line, ast.AnnAssign) else line.targets[0])


def names_there(module: str, platform: str) -> set[str]:
    """What a module has on a platform, as typeshed says."""
    path = next(one for one in (STUBS / f'{module}.pyi', STUBS / module / '__init__.pyi') if one.exists())
    return set(iter_stub(ast.parse(path.read_text('utf-8')).body, platform))


def names_used(module: str) -> set[str]:
    """What fastindex uses of a module, or asks for."""
    found = set()
    for node in nodes():
        if isinstance(node, ast.Attribute) and getattr(node.value, 'id', '') == module:
            found.add(node.attr)
        elif isinstance(node, ast.Call) and getattr(node.func, 'id', '') in ASKS:
            found |= {ast.literal_eval(one) for one in node.args if isinstance(one, ast.Constant)}
    return found


@functools.cache
def nodes() -> list[ast.AST]:
    paths = Path(fastindex.__file__).parent.rglob('*.py')
    return [node for path in paths for node in ast.walk(ast.parse(path.read_text('utf-8')))]


@pytest.mark.long
@pytest.mark.parametrize(('where', 'platform'), [('macos', 'darwin'), ('windows', 'win32')])
def test_what_is_used_and_not_to_be_had_there_is_hidden(where, platform):
    lacking = {
        module: names_used(module) & names_there(module, 'linux') - names_there(module, platform)
        for module in MODULES
    }
    assert sum(map(len, lacking.values())) > 3
    lacking['os'].discard('uname')  # numpy would miss it
    code = f"""
import importlib
for module, names in {lacking}.items():
    try:
        loaded = importlib.import_module(module)
    except ImportError:
        continue
    print(*(f'{{module}}.{{name}}' for name in names if hasattr(loaded, name)), end='')
"""
    assert run_elsewhere(where, '-c', code).stdout == ''

"""The house itself: imports point one way, exported names are sorted, tests mirror the folders."""

from __future__ import annotations

import ast
import functools
import importlib
import pkgutil
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

import fastindex
from fastindex.commands import COMMANDS, make_parser

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / 'fastindex'

GROUND = [
    'errors',
    'extras',
    'lazy',
    'limits',
    'text',
    'system',
    'file_locks',
    'folders',
    'files',
    'progress',
    'records',
    'twins',
    '_version',
]
LAYERS = ['names', 'trees', 'tables', 'workers', 'pipeline', 'jobs', 'commands', 'cli']
"""The folders of the package, and `cli`: each imports the ground, itself and those before it."""

APART = {'tables', 'workers'}
"""On one floor: neither knows the other."""

MODULES = [
    module.name[10:]
    for module in pkgutil.walk_packages([str(PACKAGE)], 'fastindex.')
    if not module.name.endswith('._kernel')  # compiled: it has no imports, and no names for others
]

TESTS = ROOT / 'tests'

OTHER_ROOMS = {'faults', 'filesystems', 'support', 'windows'}
"""Of the tests, those that are of no layer: what crosses them all, and what tests share."""

NO_MODULE = {
    'tables/test_access.py': 'who may read and write what a run puts in place',
    'jobs/test_builder.py': "the client's own builder, which a build is compared with",
    'jobs/test_client.py': 'the client, which opens what a build has written',
    'jobs/test_old_index.py': 'an index that is there, and whatever may be wrong with it',
    'jobs/test_known.py': 'what an index knows, whatever is done to it',
    'commands/test_cli.py': 'all commands, through `fastindex.cli`',
    'commands/test_ends.py': 'all commands, where they are stopped or cannot write their answer',
}
"""Test files that have the name of no module, with the reason."""


def path_of(module: str) -> Path:
    path = PACKAGE / Path(*module.split('.'))
    return path / '__init__.py' if path.is_dir() else path.with_suffix('.py')


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text('utf-8'))


@functools.cache
def imports_of(module: str) -> set[str]:
    """The modules of this package that a module imports anywhere, but for type checkers."""
    found = set()

    class Visitor(ast.NodeVisitor):
        def visit_If(self, node: ast.If) -> None:
            if ast.unparse(node.test) != 'TYPE_CHECKING':
                self.generic_visit(node)

        def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
            if node.module and node.module.partition('.')[0] == 'fastindex':
                below = node.module.partition('.')[2]
                names = [alias.name if alias.name in MODULES else '__init__' for alias in node.names]
                found.update([below] if below else names)

    Visitor().visit(tree_of(path_of(module)))
    return found


def test_the_folders_of_the_package_are_its_layers():
    there = {
        path.stem for path in PACKAGE.iterdir() if path.suffix == '.py' or (path / '__init__.py').exists()
    }
    assert there == {*GROUND, *LAYERS, '__init__', '__main__'}


@pytest.mark.long
def test_imports_point_down():
    wrong = []
    for module in MODULES:
        here = module.partition('.')[0]
        allowed = {*GROUND}
        if here in LAYERS:
            below = LAYERS[: LAYERS.index(here)]
            allowed |= {here, *below} - (APART - {here} if here in APART else set())
        found = {name for name in imports_of(module) if name.partition('.')[0] not in allowed}
        wrong += [(module, found)] if found and module != '__main__' else []
    assert wrong == []


def test_no_two_jobs_need_each_other():
    needs: dict[str, set[str]] = {}
    for module in MODULES:
        if module.startswith('jobs.'):
            others = {
                '.'.join(name.split('.')[:2]) for name in imports_of(module) if name.startswith('jobs.')
            }
            needs.setdefault('.'.join(module.split('.')[:2]), set()).update(others)
    assert [(job, other) for job in needs for other in needs[job] - {job} if job in needs[other]] == []


def test_exported_names_are_sorted_and_exist():
    for module in MODULES:
        loaded = importlib.import_module(f'fastindex.{module}')
        names = getattr(loaded, '__all__', [])
        ordered = sorted(names, key=lambda name: (not name.isupper(), name[0].islower(), name))
        assert list(names) == ordered, module
        assert [name for name in names if not hasattr(loaded, name)] == [], module


def test_every_public_name_is_loaded_on_first_use_and_documented():
    for name in fastindex.__all__:
        value = getattr(fastindex, name)
        assert name == 'NAMESPACE' or value.__doc__
    assert set(fastindex.__all__) <= set(dir(fastindex))
    with pytest.raises(AttributeError, match='no attribute'):
        fastindex.nothing  # noqa: B018


@pytest.mark.long
def test_the_library_names_no_flag_in_what_it_says():
    apart = {
        'jobs.report.charts': 'var(--',  # of a style sheet
        'jobs.fix.script': '#!/bin/sh',
        'jobs.release.summary': '--',  # of tar and md5sum
        'jobs.example.example': 'Made by: fastindex example',  # the README of an example
    }
    for module in MODULES:
        if module.split('.')[0] in ('cli', 'commands'):
            continue
        for node in ast.walk(tree_of(path_of(module))):
            text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ''
            if module not in apart or apart[module] not in text:
                assert not re.search(r'(?<![\w-])--[a-z]', text), (module, text)


@pytest.mark.long
def test_a_number_before_a_word_agrees_with_it_and_has_commas():
    nouns = 'session dataset file folder subject lab row link path id line rename fix error problem finding'
    wrong = []
    for module in MODULES:
        texts = [node for node in ast.walk(tree_of(path_of(module))) if isinstance(node, ast.JoinedStr)]
        for before, after in (pair for text in texts for pair in pairwise(text.values)):
            if isinstance(before, ast.FormattedValue) and isinstance(after, ast.Constant):
                is_by_hand = re.match(rf' (?:{nouns.replace(" ", "|")})(?:s|es)\b(?!/)', after.value)
                is_bare = after.value.startswith(' bytes') and before.format_spec is None
                if is_by_hand or is_bare:
                    wrong.append((module, before.lineno))
    assert wrong == []


@pytest.mark.long
def test_each_option_that_a_hint_names_is_one_of_the_command_line():
    from fastindex.commands.output import with_flags

    options = {option for command in COMMANDS for option in make_parser(command)._option_string_actions}
    named = set()
    for module in MODULES:
        hints = [
            node.value
            for node in ast.walk(tree_of(path_of(module)))
            if isinstance(node, ast.keyword) and node.arg == 'hint'
        ]
        for hint in hints:
            named |= set(re.findall(r'--[a-z-]+', with_flags(ast.unparse(hint))))
    assert len(named) > 10
    assert named <= options


def test_the_rooms_of_the_tests_are_the_layers():
    rooms = {path.parent.name for path in TESTS.glob('*/__init__.py')}
    assert rooms - OTHER_ROOMS <= {*LAYERS}


@pytest.mark.parametrize('layer', LAYERS)
def test_each_test_file_has_the_name_of_a_module_of_its_layer(layer):
    modules = {module.rpartition('.')[2] for module in MODULES if module.startswith(f'{layer}.')}
    files = {path.stem.removeprefix('test_'): path for path in (TESTS / layer).rglob('test_*.py')}
    others = {files[name].relative_to(TESTS).as_posix() for name in files.keys() - modules}
    assert others == {name for name in NO_MODULE if name.startswith(f'{layer}/')}


def test_no_test_file_imports_from_another():
    from_another = re.compile(r'^ *(?:from|import) .*\b(?:conftest|test_\w+)', re.MULTILINE)
    assert [path for path in TESTS.rglob('*.py') if from_another.search(path.read_text('utf-8'))] == []


@pytest.mark.long
def test_each_temporary_file_says_where_so_that_a_container_without_such_a_folder_gets_a_sentence():
    makers = {'TemporaryDirectory', 'TemporaryFile', 'NamedTemporaryFile', 'SpooledTemporaryFile', 'mkdtemp'}
    makers.add('mkstemp')
    for path in PACKAGE.rglob('*.py'):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition('.')[2] in makers:
                assert 'dir' in {keyword.arg for keyword in node.keywords}, (path, node.lineno)


def test_no_function_imports_for_itself_what_is_loaded_when_it_is_first_used():
    """But where it is loaded ahead of its use."""
    lines = [line for path in PACKAGE.rglob('*.py') for line in path.read_text('utf-8').splitlines()]
    imports = [line for line in lines if re.match(r'\s+import (polars|pyarrow\b(?!.*noqa))', line)]
    assert len(imports) == 4, 'take them from fastindex.lazy, which alone imports them'


def test_a_free_threaded_python_is_told_how_to_go_on():
    code = 'import sys; sys._is_gil_enabled = lambda: False; import fastindex'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert 'PYTHON_GIL=1' in done.stderr


def count_fields(of: ast.ClassDef) -> int:
    """The fields that a class names, or gives to `self`."""
    named = {one.target.id for one in of.body if isinstance(one, ast.AnnAssign)}
    given = {
        one.attr
        for one in ast.walk(of)
        if isinstance(one, ast.Attribute)
        and isinstance(one.ctx, ast.Store)
        and ast.unparse(one.value) == 'self'
    }
    return len(named | given)


@pytest.mark.long
def test_nothing_is_too_long_to_be_read_at_once():
    """Modules of 400 lines, functions of 60 below their docstring, classes of 12 fields, or with a reason."""
    too_long = []
    for module in MODULES:
        path = path_of(module)
        too_long += [module] if len(path.read_text('utf-8').splitlines()) > 400 else []
        for one in ast.walk(tree_of(path)):
            if isinstance(one, ast.FunctionDef):
                body = one.body[1:] if ast.get_docstring(one) else one.body
                if body and body[-1].end_lineno - body[0].lineno >= 60:
                    too_long.append(f'{module}.{one.name}')
            elif isinstance(one, ast.ClassDef) and count_fields(one) > 12:
                reason = re.search(r'\bOf many fields: \w[^.]{10,}\.', ast.get_docstring(one) or '')
                too_long += [] if reason else [f'{module}.{one.name}']
    assert too_long == [], 'divide it; of a class say in its docstring why: Of many fields: …'


@pytest.mark.long
def test_a_name_of_a_class_stands_for_one_thing():
    """But for `Kind`, which is public for differences, and for entries the word of `fastindex.trees`."""
    names = [
        node.name
        for path in PACKAGE.rglob('*.py')
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ClassDef)
    ]
    assert {name for name in names if names.count(name) > 1} == {'Kind'}


PLATFORM = re.compile(
    r'sys\.platform|os\.name\b|/proc/|\bimport (fcntl|grp|platform|pwd|resource|select|termios)\b'
    r'|(has|get)attr\((os|signal|sys|fcntl|socket), |supports_(dir_fd|fd)|os\.(fork|register_at_fork)\b'
    r'|\bos\.(readv|pread|pwrite|uname|fchmod|fchown|get(e)?[ug]id|mkfifo|O_(?!RD|WR|CREAT|EXCL|TRUNC|APPEND)\w+)\b'
    r'|\bos\.open\((?!os\.devnull)|\bdir_fd\b'
)
"""Also what Windows has not, or has otherwise: there a file that `os.open` opens is text."""

ROOMS = ('trees/', 'workers/', 'system.py', 'file_locks.py', 'files.py', 'folders.py', 'commands/output.py')


def test_no_other_room_asks_for_a_platform():
    asking = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob('*.py')
        if PLATFORM.search(path.read_text('utf-8'))
    }
    assert {name for name in asking if not name.startswith(ROOMS)} == {'__init__.py'}  # its lock of threads

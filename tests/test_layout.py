"""The house itself: imports point one way, exported names are sorted, the README tells the truth."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastindex
from fastindex.commands import COMMANDS, make_parser

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / 'fastindex'

# Each module may import those above it, and none below. `pipeline.build`, `.validate` and `.verify` alone
# know the stages.
ORDER = [
    *('errors', 'alf', 'problems', 'uuidnames', 'rules', 'groups', 'diagnose', 'npy'),
    *('files', 'progress', 'ids', 'facts', 'hashing', 'tables'),
    *(
        'trees.url',
        'trees',
        'trees.local',
        'trees.store',
        'trees.objects',
        'roots',
        'tablefile',
        'checks',
        'foreign',
    ),
    'remote',
    *(
        'pipeline',
        'pipeline.workers',
        'pipeline.cluster',
        'pipeline.executors',
        'pipeline.listed',
        'pipeline.discover',
        'pipeline.shard',
    ),
    *(
        'pipeline.verdicts',
        'pipeline.filenames',
        'pipeline.known',
        'pipeline.compare',
        'pipeline.changes',
        'pipeline.adopt',
        'pipeline.scan',
        'pipeline.collect',
        'pipeline.unique',
        'pipeline.publish',
        'pipeline.options',
        'pipeline.summary',
        'pipeline.mirror',
        'pipeline.build',
    ),
    *('pipeline.check', 'pipeline.survey', 'pipeline.validate'),
    *('pipeline.expect', 'pipeline.judge', 'pipeline.verify'),
    *('compat', 'faults', 'search', 'index', 'info', 'rows'),
    *('report.contents', 'report.charts', 'report.page', 'report'),
    *('releasing', 'releasing.formats', 'releasing.zips', 'releasing.tars', 'releasing.preflight'),
    *('releasing.pack', 'releasing.plan', 'releasing.tables', 'releasing.archive', 'releasing.release'),
    *('example', 'archive'),
    *('commands', 'commands.common', 'commands.build', 'commands.validate', 'commands.verify'),
    *('commands.search', 'commands.info', 'commands.report', 'commands.release', 'commands.example'),
    *('cli', '__main__'),
]
STAGES = {'discover', 'shard', 'scan', 'collect', 'publish', 'check', 'survey'}
MODULES = [module.name[10:] for module in pkgutil.walk_packages([str(PACKAGE)], 'fastindex.')]


def imports_of(module: str) -> set[str]:
    """The modules of this package that a module imports anywhere, but for type checkers."""
    path = PACKAGE / Path(*module.split('.'))
    source = (path / '__init__.py' if path.is_dir() else path.with_suffix('.py')).read_text()
    found = set()

    class Visitor(ast.NodeVisitor):
        def visit_If(self, node: ast.If) -> None:
            if ast.unparse(node.test) != 'TYPE_CHECKING':
                self.generic_visit(node)

        def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
            if node.module and node.module.startswith('fastindex.'):
                found.add(node.module.removeprefix('fastindex.'))

    Visitor().visit(ast.parse(source))
    return found


def test_every_module_has_its_place():
    assert sorted(MODULES) == sorted(ORDER)


@pytest.mark.parametrize('module', MODULES)
def test_imports_point_down(module):
    allowed = set(ORDER[: ORDER.index(module)])
    if module == 'trees':
        allowed |= {'trees.local', 'trees.objects'}  # open_tree chooses among them
    assert imports_of(module) <= allowed


@pytest.mark.parametrize('module', ORDER[ORDER.index('compat') :])
def test_only_what_is_in_the_pipeline_knows_the_stages(module):
    stages = {f'pipeline.{stage}' for stage in STAGES}
    if module == 'releasing.tables':
        stages.remove('pipeline.collect')  # a released index is written by what writes every index
    assert not imports_of(module) & stages


@pytest.mark.parametrize('module', MODULES)
def test_exported_names_are_sorted_and_exist(module):
    loaded = importlib.import_module(f'fastindex.{module}')
    names = getattr(loaded, '__all__', [])
    assert list(names) == sorted(names, key=lambda name: (not name.isupper(), name[0].islower(), name))
    assert all(hasattr(loaded, name) for name in names)


def test_every_public_name_is_loaded_on_first_use_and_documented():
    for name in fastindex.__all__:
        value = getattr(fastindex, name)
        assert name == 'NAMESPACE' or value.__doc__
    assert set(fastindex.__all__) <= set(dir(fastindex))
    with pytest.raises(AttributeError, match='no attribute'):
        fastindex.nothing  # noqa: B018


def test_every_option_of_every_command_is_in_the_readme():
    readme = (ROOT / 'README.md').read_text()
    for command in COMMANDS:
        parser = make_parser(command)
        for option in re.findall(r'--[a-z-]+', parser.format_usage() + parser.format_help()):
            assert option in readme, option


def test_every_exit_code_is_in_the_readme():
    from fastindex import errors

    readme = (ROOT / 'README.md').read_text()
    for name in errors.__all__:
        if name.startswith('EXIT_'):
            assert re.search(rf'^\| {getattr(errors, name)}\b', readme, re.MULTILINE), name


def test_every_rule_of_an_index_is_in_the_readme():
    from fastindex.faults import RULES

    readme = (ROOT / 'README.md').read_text().replace('`', '')
    for code, rule in RULES.items():
        assert f'| {code} | {rule.consequence} | {rule.remedy} |' in readme


def test_each_name_that_the_readme_calls_is_there_after_import_fastindex():
    readme = (ROOT / 'README.md').read_text()
    names = sorted(set(re.findall(r'\bfastindex\.[A-Za-z_]+(?:\.[A-Za-z_]+)*(?=\()', readme)))
    assert len(names) > 5
    for name in names:  # each alone: one loads what another needs
        subprocess.run([sys.executable, '-c', f'import fastindex; {name}'], check=True)

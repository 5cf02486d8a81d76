"""What is installed, and what the package says of itself to those who install it."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

from fastindex import MissingExtraError, __version__
from fastindex.extras import EXTRAS, require

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())


def names_of(requirements: list[str]) -> list[str]:
    return [re.match(r'[\w-]+', requirement)[0] for requirement in requirements]


def test_the_extras_are_what_the_messages_name():
    extras = dict(PROJECT['project']['optional-dependencies'])
    everything = extras.pop('all')
    assert {extra: names_of(packages) for extra, packages in extras.items()} == {
        extra: list(packages) for extra, packages in EXTRAS.items()
    }
    assert everything == [f'one-fastindex[{",".join(sorted(extras))}]']


def test_nothing_keeps_a_fresh_environment_from_the_newest_versions():
    """So `make test` tries them in CI, which starts with none. A reason stands beside an upper bound."""
    project = PROJECT['project']
    groups = [*project['optional-dependencies'].values(), *PROJECT['dependency-groups'].values()]
    named = [one for group in (project['dependencies'], *groups) for one in group if isinstance(one, str)]
    assert [one for one in named if re.search('<|==|~=', one)] == ['itables>=2.9,<3']


@pytest.mark.parametrize('extra', EXTRAS)
def test_a_package_that_is_missing_is_named_as_pip_takes_it(extra, monkeypatch):
    require(extra, 'this')
    for package, module in EXTRAS[extra].items():
        with monkeypatch.context() as patch:
            patch.setitem(__import__('sys').modules, module, None)
            with pytest.raises(MissingExtraError, match=f'^this needs {package}, .*pip install {package}$'):
                require(extra, 'this')


@pytest.mark.long
def test_no_message_tells_to_install_a_package_of_another_project():
    """On PyPI, `fastindex` is somebody else's."""
    for path in (ROOT / 'fastindex').rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not re.search(r'install \S*fastindex', node.value), path
                assert 'fastindex[' not in node.value, path


def test_the_address_of_the_project_stands_in_one_place():
    address = PROJECT['project']['urls']['Source'].removeprefix('https://')
    others = [
        path.relative_to(ROOT).as_posix()
        for pattern in ('*.md', '*.cff', '*.yml', 'docs/**/*.md', 'fastindex/**/*.py')
        for path in ROOT.glob(pattern)
        if address in path.read_text()
    ]
    assert others == []
    substitutions = PROJECT['tool']['hatch']['metadata']['hooks']['fancy-pypi-readme']['substitutions']
    assert [address in each['replacement'] for each in substitutions] == [True, True]
    readme = (ROOT / 'README.md').read_text()
    for each in substitutions:
        readme = re.sub(each['pattern'], each['replacement'], readme)
    links = re.findall(r'(!?)\[[^\]]*\]\(([^)]*)\)', readme)
    assert {link.startswith('https:') for _, link in links} == {True}
    assert {address + '/raw/' in link for is_picture, link in links if is_picture} == {True}


def test_the_citation_is_of_this_version():
    assert f'version: {__version__}\n' in (ROOT / 'CITATION.cff').read_text()

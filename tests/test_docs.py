"""The pages about the code tell the truth: what they name exists, and no module is left out."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import pytest

import fastindex

ROOT = Path(__file__).parent.parent
PAGES = ('architecture.md', 'decisions.md')

MODULES = [
    module.name.removeprefix('fastindex.')
    for module in pkgutil.walk_packages(fastindex.__path__, 'fastindex.')
    if not module.ispkg and module.name not in ('fastindex.__main__', 'fastindex._kernel')
]
PARTS = {module.name for module in pkgutil.iter_modules(fastindex.__path__)}
"""The layers and the ground: a quoted name that begins with one of them is a name of the package."""


def read(page: str) -> str:
    return (ROOT / 'docs' / page).read_text()


def quoted_names(text: str) -> list[str]:
    """The names of the package that are written in code style, without `fastindex.` before them."""
    quotes = re.findall(r'`(\w+(?:\.\w+)*)`', text)
    return [quote for quote in quotes if quote.partition('.')[0] in PARTS]


def is_there(name: str) -> bool:
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


@pytest.mark.parametrize('page', PAGES)
def test_every_path_of_the_package_exists(page):
    paths = set(re.findall(r'(?<![\w./])fastindex/[\w./]*', read(page)))
    assert paths
    assert [path for path in sorted(paths) if not (ROOT / path.rstrip('.')).exists()] == []


@pytest.mark.parametrize('page', PAGES)
def test_every_name_of_the_package_exists(page):
    names = set(re.findall(r'(?<![\w./])fastindex(?:\.\w+)+', read(page)))
    names.update(f'fastindex.{name}' for name in quoted_names(read(page)))
    assert len(names) > 20
    assert [name for name in sorted(names) if not is_there(name)] == []


def test_every_module_has_one_line_in_the_architecture():
    first_cells = re.findall(r'^\|([^|]*)\|', read('architecture.md'), re.MULTILINE)
    assert sorted(quoted_names(' '.join(first_cells))) == sorted(MODULES)

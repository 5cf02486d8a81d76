"""The pages tell the truth: what they name exists, what they show is printed, and no module is left out."""

from __future__ import annotations

import io
import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

import fastindex
from fastindex import cli, errors
from fastindex.commands import COMMANDS, make_parser
from fastindex.tables.schema import datasets_schema, sessions_schema

ROOT = Path(__file__).parent.parent
ABOUT_CODE = ('architecture.md', 'decisions.md')

MODULES = [
    module.name.removeprefix('fastindex.')
    for module in pkgutil.walk_packages(fastindex.__path__, 'fastindex.')
    if not module.ispkg and module.name not in ('fastindex.__main__', 'fastindex._kernel')
]
PARTS = {module.name for module in pkgutil.iter_modules(fastindex.__path__)}
"""The layers and the ground: a quoted name that begins with one of them is a name of the package."""

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (*ROOT.glob('*.md'), *ROOT.glob('docs/**/*.md'), *ROOT.glob('docs/**/*.ipynb'))
}

CONSOLES = {page: re.findall(r'^```console\n(.*?)^```$', text, re.M | re.S) for page, text in PAGES.items()}
"""What a page shows, and is run: `$ command`, then what it prints. `...` stands for any text."""


def read(page: str) -> str:
    return PAGES[f'docs/explanation/{page}']


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


@pytest.mark.parametrize('page', ABOUT_CODE)
def test_every_path_of_the_package_exists(page):
    paths = set(re.findall(r'(?<![\w./])fastindex/[\w./]*', read(page)))
    assert paths
    assert [path for path in sorted(paths) if not (ROOT / path.rstrip('.')).exists()] == []


@pytest.mark.parametrize('page', ABOUT_CODE)
def test_every_name_of_the_package_exists(page):
    names = set(re.findall(r'(?<![\w./])fastindex(?:\.\w+)+', read(page)))
    names.update(f'fastindex.{name}' for name in quoted_names(read(page)))
    assert len(names) > 20
    assert [name for name in sorted(names) if not is_there(name)] == []


def test_every_module_has_one_line_in_the_architecture():
    first_cells = re.findall(r'^\|([^|]*)\|', read('architecture.md'), re.MULTILINE)
    assert sorted(quoted_names(' '.join(first_cells))) == sorted(MODULES)


@pytest.mark.long
def test_each_name_that_a_page_calls_is_there_after_import_fastindex():
    names = {
        name for text in PAGES.values() for name in re.findall(r'\bfastindex(?:\.[a-zA-Z_]+)+(?=\()', text)
    }
    public = sorted(name for name in names if name.split('.')[1] not in PARTS)
    assert len(public) > 5
    for name in public:  # each alone: one loads what another needs
        subprocess.run([sys.executable, '-c', f'import fastindex; {name}'], check=True)


def test_each_exit_code_and_each_column_is_in_the_reference():
    codes = PAGES['docs/reference/exit-codes.md']
    for name in errors.__all__:
        if name.startswith('EXIT_'):
            assert re.search(rf'^\| {getattr(errors, name)}\b', codes, re.MULTILINE), name
    tables = PAGES['docs/reference/tables.md']
    for schema in (sessions_schema(), datasets_schema(['xxh128'])):
        for name in schema.names:
            assert f'\n| `{name}` | ' in tables


@pytest.mark.parametrize('page', sorted(page for page in PAGES if '](#' in PAGES[page]))
def test_each_link_within_a_page_leads_somewhere(page):
    headings = re.findall(r'^#+ (.*)$', PAGES[page], re.MULTILINE)
    slugs = {re.sub(r'[^\w\s-]', '', heading).strip().lower().replace(' ', '-') for heading in headings}
    assert set(re.findall(r'\]\(#([^)]*)\)', PAGES[page])) <= slugs


def test_the_readme_is_read_in_one_go():
    assert len(PAGES['README.md'].splitlines()) <= 180


def commands_in(text: str) -> list[list[str]]:
    """The commands that a page tells, in blocks or in a line; an ellipsis is left to the reader."""
    blocks = ''.join(re.findall(r'^```(?:console|sh|text)\n(.*?)^```$', text, re.M | re.S))
    lines = re.findall(r'^(?:\$ )?(fastindex .*)$', blocks, re.MULTILINE)
    lines += re.findall(r'`(fastindex [^`\n]*)`', text)
    found = []
    for line in lines:
        command = re.split(r' \| | && | > |  +', line)[0].removesuffix('.')
        if not re.search(r'…|\.\.\.|fastindex: ', command):
            found.append(shlex.split(command)[1:])
    return found


@pytest.mark.parametrize('page', sorted(page for page in PAGES if commands_in(PAGES[page])))
def test_each_command_that_a_page_tells_is_one(page):
    for words in commands_in(PAGES[page]):
        if words[-1] not in ('--help', '--version'):
            command, rest = (words[0], words[1:]) if words[0] in COMMANDS else ('build', words)
            rest = ['--hash=xxh128' if word == '--hash' and command == 'build' else word for word in rest]
            make_parser(command).parse_args(rest)


@pytest.fixture(scope='session')
def small_example(tmp_path_factory):
    """The tree that the guides show: 100 sessions with an index."""
    from fastindex.jobs.example.example import write_example

    root = tmp_path_factory.mktemp('guides') / 'example-data'
    write_example(root, sessions=100, workers=1)
    fastindex.build(root, hash=['xxh128'], workers=1)
    return root


def run_line(line: str) -> str:
    """Run a line of a page; give what a terminal would show."""
    screen = io.TextIOWrapper(io.BytesIO(), encoding='utf-8', write_through=True)
    command, _, rest = line.partition(' && ')
    words = shlex.split(command)
    if words[0] != 'fastindex':
        return subprocess.run(line, shell=True, check=True, capture_output=True, text=True).stdout
    with redirect_stdout(screen), redirect_stderr(screen):
        code = cli.main(words[1:])
    text = screen.buffer.getvalue().decode()
    return text + run_line(rest) if rest and code == 0 else text


def normalize(text: str) -> str:
    """Take out of a text what another day or machine changes."""
    text = text.replace(os.path.realpath('.'), '/home/me')
    for pattern, word in (
        (r'\b[\d,]+\.\d+ s\b', 'N s'),
        (r'\([\d,]+ files/s\)', '(N files/s)'),
        (r'generation [0-9a-f]+', 'generation X'),
        (r'made \d{4}-\d\d-\d\d \d\d:\d\d \(.*?\)', 'made NOW'),
    ):
        text = re.sub(pattern, word, text)
    return '\n'.join(line.rstrip() for line in text.strip().split('\n'))


@pytest.mark.long
@pytest.mark.parametrize('page', [page for page, blocks in CONSOLES.items() if blocks])
def test_what_a_page_shows_is_what_is_printed(page, small_example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if page != 'README.md':
        shutil.copytree(small_example, 'example-data')
    for line, shown in re.findall(r'^\$ (.*)\n((?:(?!\$ ).*\n)*)', ''.join(CONSOLES[page]), re.MULTILINE):
        printed = normalize(run_line(line))
        pattern = re.escape(normalize(shown)).replace(re.escape('...'), '.*')
        assert re.fullmatch(pattern, printed, re.DOTALL), f'{line}\n{printed}\n\nis shown as\n\n{shown}'


def test_the_pages_that_are_made_of_code_are_made(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'docs')
    import make_pages

    pages = make_pages.make_pages()
    assert {f'reference/commands/{command}.md' for command in COMMANDS} <= pages.keys()
    assert all(f'::: fastindex.{name}\n' in pages['reference/python.md'] for name in fastindex.__all__)
    nav = (ROOT / 'mkdocs.yml').read_text()
    assert [page for page in pages if f' {page}\n' not in nav] == []

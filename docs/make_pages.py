"""A hook of MkDocs: makes pages of code, and sees to it that no page fetches anything when it is read."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).parent.parent

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

__all__ = ['make_pages', 'on_files', 'on_post_build', 'on_post_page']


def make_pages() -> dict[str, str]:
    """Make each page that is made of code, by its path below docs/."""
    from fastindex.commands import COMMANDS

    return {
        **{f'reference/commands/{command}.md': _command_page(command) for command in COMMANDS},
        'reference/python.md': _python_page(),
        'reference/rules.md': _rules_page(),
        'reference/table-faults.md': _table_faults_page(),
        'changelog.md': (ROOT / 'CHANGELOG.md').read_text(),
    }


def _command_page(command: str) -> str:
    from fastindex.commands import make_parser

    os.environ['COLUMNS'] = '80'
    words = 'fastindex' if command == 'build' else f'fastindex {command}'
    return f'# {words}\n\n```text\n{make_parser(command).format_help().rstrip()}\n```\n'


def _python_page() -> str:
    import fastindex

    values = {name: getattr(fastindex, name) for name in fastindex.__all__}
    errors = [name for name in values if name.endswith('Error')]
    classes = [name for name, value in values.items() if isinstance(value, type) and name not in errors]
    others = [name for name in values if name not in errors + classes]
    lines = ['# Python', '', 'All of it is loaded on first use, so `import fastindex` takes no time.', '']
    for title, names in (('Functions', others), ('Classes', classes), ('Errors', errors)):
        lines += [f'## {title}', '']
        for name in names:
            lines += [f'::: fastindex.{name}', '']
    return '\n'.join(lines)


def _rules_page() -> str:
    from fastindex.commands.output import with_flags
    from fastindex.names.rules import RULES

    lines = [
        '# Rules',
        '',
        'What [`validate`](commands/validate.md) finds, by code. The first digit says what a rule is about:',
        '1 the root, labs, subjects and sessions, 2 folders in a session, 3 files, 4 what the file system',
        'says, 5 contents (`--deep`).',
        '',
        '| code | severity | | such as | fix |',
        '| --- | --- | --- | --- | --- |',
    ]
    for rule in RULES.values():
        fix = f'`{_shorten(rule.fix)}`' if rule.fix else ''
        link = f'[{rule.code}](#{rule.code.lower()})'
        lines.append(f'| {link} | {rule.severity} | {rule.title} | `{_shorten(rule.example)}` | {fix} |')
    for rule in RULES.values():
        lines += [
            '',
            f'## {rule.code}: {rule.title} {{ #{rule.code.lower()} }}',
            '',
            f'*{rule.severity}* — {_escape(with_flags(rule.meaning))}',
            '',
        ]
    return '\n'.join(lines)


def _shorten(path: str) -> str:
    return path.replace('lab/Subjects/s1/2024-05-06/001/', '').replace('lab/Subjects/s1/2024-05-06/', '')


def _table_faults_page() -> str:
    from fastindex.commands.output import as_typed, with_flags
    from fastindex.tables.faults import RULES

    lines = [
        '# Faults of tables',
        '',
        'What [`verify --index-only`](commands/verify.md) finds in the tables of any program: each is a rule',
        'of the client that is broken.',
        '',
        '| rule | what follows | what to do |',
        '| --- | --- | --- |',
    ]
    for code, rule in RULES.items():
        remedy = _escape(as_typed(with_flags(rule.remedy)))
        lines.append(f'| `{code}` | {_escape(rule.consequence)} | {remedy} |')
    return '\n'.join([*lines, ''])


def _escape(text: str) -> str:
    return re.sub(r'([*_<|])', r'\\\1', text)


_MERMAID = re.compile(
    r'<!-- End of mathjax configuration -->.*?<!-- End of mermaid configuration -->', re.DOTALL
)


def on_post_page(output: str, **_: Any) -> str:
    """Take out of a notebook's page what would load a program for diagrams; there are none."""
    return _MERMAID.sub('', output)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made of code."""
    from mkdocs.structure.files import File

    for path, text in make_pages().items():
        files.append(File.generated(config, path, content=text))
    return files


_FETCHED = re.compile(
    r'(?:<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)="?|\bimport\(?[\s"\']+)(?:https?:)?//([^">\s]+)'
)


def on_post_build(config: Any) -> None:
    """Fail where a page would fetch something from elsewhere."""
    from mkdocs.exceptions import PluginError

    for page in Path(config['site_dir']).rglob('*.html'):
        found = _FETCHED.findall(page.read_text())
        if found:
            raise PluginError(f'{page}: a reader would fetch {", ".join(sorted(set(found)))}')

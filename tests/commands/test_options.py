"""The parsers of all commands: one style, and one name for one thing."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from itertools import pairwise

import pytest

from fastindex.commands import COMMANDS, make_parser
from fastindex.commands.output import as_typed
from fastindex.errors import UsageError
from tests.support.patience import PATIENCE_SECONDS


@pytest.mark.parametrize('program', ['/usr/bin/fastindex', '/site-packages/fastindex/__main__.py'])
@pytest.mark.parametrize('command', COMMANDS)
def test_help_fits_a_terminal_of_80_columns(command, program, monkeypatch):
    monkeypatch.setattr(sys, 'argv', [program])
    lines = make_parser(command).format_help().splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert all(line[:1] != ' ' or len(line) - len(line.lstrip()) >= 2 for line in lines)


@pytest.mark.parametrize('program', ['/usr/bin/fastindex', '/site-packages/fastindex/__main__.py'])
@pytest.mark.parametrize('command', COMMANDS)
def test_each_example_of_a_help_page_can_be_copied_as_it_stands(command, program, monkeypatch):
    monkeypatch.setattr(sys, 'argv', [program])
    _, _, examples = make_parser(command).format_help().partition('\nexamples:\n')
    name = as_typed('python -m fastindex')
    lines = re.findall(rf'^  ({name} (?:\\\n|.)*)$', examples, re.MULTILINE)
    assert len(lines) == examples.count(f'  {name} ')
    for line in lines:
        words = shlex.split(re.split(r' {2,}(?=\w)| \| ', re.sub(r'\\\n *', '', line))[0])
        assert all(word != '>' or path.startswith(('~', '/')) for word, path in pairwise([*words, '']))
        words = words[len(name.split()) : words.index('>') if '>' in words else None]
        words = [f'{word}=xxh128' if word == '--hash' and 'verify' not in words else word for word in words]
        called = words.pop(0) if words[0] in COMMANDS else 'build'
        assert called == command
        make_parser(command).parse_args(words)


@pytest.mark.parametrize('command', COMMANDS)
def test_no_paragraph_of_a_help_page_has_a_short_line_in_it(command):
    text = make_parser(command).format_help()
    assert re.findall(r'^(?=\w)(?:(?!.*:$).{1,40})\n(?=\w)', text, re.MULTILINE) == []


@pytest.mark.parametrize('command', COMMANDS)
def test_an_option_without_its_value_says_which_and_what_for(command):
    parser = make_parser(command)
    options = {
        name: action
        for action in parser._actions
        for name in action.option_strings
        if name.startswith('--') and action.nargs != 0 and action.help != argparse.SUPPRESS
    }
    for name, action in options.items():
        if name == '--hash' and action.nargs == '?':
            continue
        wanted = action.metavar if isinstance(action.metavar, str) else ' '.join(action.metavar or ())
        if action.choices or action.nargs == argparse.REMAINDER or name.startswith('--no-'):
            continue
        with pytest.raises(UsageError) as caught:
            parser.parse_args([*(['root'] if command != 'help' else []), name])
        assert str(caught.value).startswith(f'{name}: expected {wanted} after it: {action.help[:20]}')


@pytest.mark.parametrize('command', COMMANDS)
def test_no_list_of_options_is_too_long_to_be_read(command):
    sections = make_parser(command).format_help().split('\n\n')
    options = [re.findall(r'^  --?[\w-]+', section, re.MULTILINE) for section in sections]
    assert max(map(len, options)) <= 18


def test_help_names_the_commands_before_the_options():
    text = make_parser('build').format_help()
    assert all(text.index(f'\n  {name} ') < text.index('options:') for name in COMMANDS)


@pytest.mark.parametrize('command', ['verify', 'search', 'info', 'report', 'release'])
def test_the_tables_that_are_read_are_named_by_one_option(command):
    parser = make_parser(command)
    out = [] if command not in ('report', 'release') else ['--out', 'x.zip']
    assert parser.parse_args(['root', '--index', 'tables', *out]).index == 'tables'
    assert '--index DIR' in parser.format_help()


@pytest.mark.parametrize(
    ('command', 'old'), [('search', '--out'), ('info', '--out'), ('release', '--tables')]
)
def test_the_old_name_of_an_option_works_and_is_not_shown(command, old):
    parser = make_parser(command)
    out = ['--out', 'x.zip'] if command == 'release' else []
    assert parser.parse_args(['root', old, 'tables', *out]).index == 'tables'
    assert f'{old} DIR' not in parser.format_help()


@pytest.mark.parametrize('command', COMMANDS)
def test_help_of_a_command_is_its_page(command, run):
    code, page, _ = run('help', command)
    assert code == 0
    assert page == run(command, '--help')[1]


@pytest.mark.long
def test_what_the_modules_of_dask_log_is_not_shown():
    program = (
        'import logging\n'
        'from fastindex.commands.options import prepare\n'
        "prepare(dask='scheduler.json')\n"
        'import distributed\n'
        "for name in [name for name in logging.root.manager.loggerDict if name.startswith('distributed')]:\n"
        "    logging.getLogger(name).error('lost')\n"
        'print(name)\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout.startswith('distributed')

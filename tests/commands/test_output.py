"""What the commands print: JSON by one rule, colours where they are wanted, the words that were typed."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from pathlib import Path

import pytest

import fastindex
from fastindex import cli, commands
from fastindex.commands.output import JsonItems, as_typed, paint, to_json
from fastindex.text import to_text
from tests.support.trees import SESSION, digest_of

TREE = {
    'lab/Subjects/s1/2024-01-01/001/alf/spikes.times.npy': b'1234',
    'lab/Subjects/s1/2024-01-01/2/a.b.npy': b'',
    f'{SESSION}/a.b.npy': b'',
}
QUERIES = (
    ('ROOT',),
    ('ROOT', '--check'),
    ('validate', 'ROOT'),
    ('verify', 'ROOT'),
    ('verify', '--index-only', 'ROOT'),
    ('search', 'ROOT'),
    ('search', 'ROOT', '--datasets'),
    ('search', 'ROOT', '--subject', 'nobody'),
    ('info', 'ROOT'),
    ('report', 'ROOT', '--out', 'ROOT/../r.html'),
    ('release', 'ROOT', '--out', 'ROOT/../r.tar.zst', '--force', '--overwrite'),
    ('example', 'ROOT/../example', '--sessions', '2'),
)
MANY = ('validate', 'verify', 'search')


@pytest.fixture
def built(make_tree, run):
    root = make_tree(TREE)
    run(root, '--workers', 1)
    (root / SESSION / 'c.d.npy').write_bytes(b'new')
    return root


@pytest.mark.long
@pytest.mark.parametrize('words', QUERIES, ids=' '.join)
def test_json_is_one_document(built, run, words):
    out = run(*(word.replace('ROOT', str(built)) for word in words), '--json')[1]
    assert isinstance(json.loads(out), list if words[0] == 'search' else dict)


@pytest.mark.parametrize('words', [words for words in QUERIES if words[0] in MANY], ids=' '.join)
def test_jsonl_is_the_same_as_lines(built, run, words):
    words = [word.replace('ROOT', str(built)) for word in words]
    document = json.loads(run(*words, '--json')[1])
    lines = [json.loads(line) for line in run(*words, '--jsonl')[1].splitlines()]
    if words[0] == 'search':
        assert lines == document
        return
    [items] = [value for value in document.values() if isinstance(value, list)]
    assert lines[:-1] == items
    assert lines[-1].keys() == {'summary'}
    assert lines[-1]['summary'].keys() == document['summary'].keys()


@pytest.mark.parametrize('count', [0, 1, 3])
def test_a_document_is_whole_however_many_objects_it_has(capsys, count):
    items = JsonItems('names', lines=False)
    for i in range(count):
        items.add({'i': i})
    items.close({'count': count})
    names = [{'i': i} for i in range(count)]
    assert json.loads(capsys.readouterr().out) == {'names': names, 'summary': {'count': count}}


@pytest.mark.parametrize(
    'text', ['caf\udce9', '\U0001f42d', '\U0001f42d\udce9\udcff', '\\udce9', '\\\udce9', '\x1b']
)
def test_json_has_no_half_of_a_character_which_many_parsers_refuse(text):
    assert json.loads(to_json([text])) == [to_text(text)]


def test_all_json_of_the_commands_is_written_in_one_place():
    found = [
        path.name for path in Path(commands.__file__).parent.glob('*.py') if 'json.dumps' in path.read_text()
    ]
    assert sorted(found) == ['output.py', 'rows.py']  # the latter of frames, which have nothing but UTF-8


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_severity_has_a_colour_on_a_terminal_unless_none_is_wanted(monkeypatch):
    monkeypatch.delenv('NO_COLOR', raising=False)
    assert paint('error', Terminal()) == '\x1b[31merror\x1b[0m'
    assert paint('error', io.StringIO()) == 'error'
    assert paint('spikes', Terminal()) == 'spikes'
    monkeypatch.setenv('NO_COLOR', '1')
    assert paint('error', Terminal()) == 'error'


@pytest.mark.parametrize(
    ('program', 'shown'),
    [
        ('/usr/bin/fastindex', 'fastindex help'),
        ('/site-packages/fastindex/__main__.py', 'python -m fastindex help'),
        ('/site-packages/pytest/__main__.py', 'fastindex help'),
    ],
)
def test_commands_are_named_in_the_words_that_were_typed(monkeypatch, program, shown):
    monkeypatch.setattr(sys, 'argv', [program])
    assert as_typed('python -m fastindex help') == shown


WORK = ('ROOT', 'report', 'release', 'example')
"""First words of commands that do something: what they print is its summary."""


@pytest.fixture
def run_into(monkeypatch):
    """Run the command line with standard output open on a file."""

    def run_into(path: str, *arguments: str) -> int:
        with open(path, 'w') as stream, monkeypatch.context() as patch:
            patch.setattr(sys, 'stdout', stream)
            try:
                return cli.main(arguments)
            except SystemExit as error:
                return int(error.code or 0)

    return run_into


@pytest.mark.long
@pytest.mark.parametrize('form', [[], ['--json']], ids=str)
@pytest.mark.parametrize('query', QUERIES, ids=' '.join)
def test_an_answer_that_cannot_be_written_whole_is_an_error_and_a_summary_a_warning(
    built, run_into, capsys, query, form
):
    arguments = [word.replace('ROOT', str(built)) for word in (*query, *form)]
    code = run_into('/dev/full', *arguments)
    stderr = capsys.readouterr().err
    if 'nobody' in query and not form:
        return  # nothing is found, and nothing printed
    assert 'could not be written whole (No space left on device)' in stderr
    if query[0] in WORK and '--check' not in query:
        assert ('warning: the answer' in stderr, code in (0, 3)) == (True, True)
    else:
        assert ('error: the answer' in stderr, code) == (True, 2)


HELP = (['help'], ['--help'], ['search', '--help'], ['--version'], ['validate', '--explain', 'ALF111'])


@pytest.mark.parametrize('query', HELP, ids=' '.join)
def test_help_that_cannot_be_written_is_an_error(run_into, capsys, query):
    assert run_into('/dev/full', *query) == 2
    assert 'could not be written whole' in capsys.readouterr().err


def test_changes_that_cannot_be_written_leave_the_index_that_is_there(built, run):
    before = digest_of(built)
    code, _, stderr = run(built, '--workers', 1, '--changes', '/dev/full')
    assert (code, 'No space left on device' in stderr) == (2, True)
    assert digest_of(built) == before


def test_changes_that_get_no_name_are_told_beside_the_index_that_is_in_place(
    built, run, tmp_path, monkeypatch
):
    link = os.link

    tried: list[str] = []

    def fail(source: str, name: str, **options: object) -> None:
        if source.startswith('/proc/self/fd/'):
            tried.append(name)
            if tried.count(name) > 1:  # not where it is tried beforehand
                raise OSError(errno.EIO, 'a disk that fails')
        link(source, name, **options)

    before = fastindex.open(built).generation
    monkeypatch.setattr(os, 'link', fail)
    code, stdout, stderr = run(built, '--workers', 1, '--changes', tmp_path / 'changes')
    assert (code, 'a disk that fails' in stderr, 'The index is in place' in stderr) == (3, True, True)
    assert 'indexed' in stdout
    assert fastindex.open(built).generation != before


def test_verify_of_an_index_without_rows_compares_nothing(make_tree, run):
    root = make_tree({f'{SESSION}/': None})
    assert run(root, '--workers', 1, '--hash', '--allow-empty')[0] == 0
    assert run('verify', root, '--hash', '--workers', 1)[0] == 0

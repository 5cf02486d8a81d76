"""What the commands print: JSON by one rule, colours where they are wanted, the words that were typed."""

from __future__ import annotations

import io
import json
import sys

import pytest

from fastindex.commands.output import JsonItems, as_typed, paint
from tests.support.trees import SESSION

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

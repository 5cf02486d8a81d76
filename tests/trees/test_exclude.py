"""Patterns as of gitignore leave folders and files out, in all commands alike."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fastindex
from fastindex import Summary, UsageError
from fastindex.tables.recipe import Recipe
from fastindex.trees import open_tree
from fastindex.trees.disk import LocalTree
from tests.support.tables import read_paths
from tests.support.trees import SESSION, Fifo, Link, grow

TREE = {
    f'{SESSION}/alf/a.b.npy': b'1',
    f'{SESSION}/alf/probe00/a.b.npy': b'1',
    f'{SESSION}/raw_video_data/a.b.mp4': b'1',
    f'{SESSION}/a.tmp.npy': b'1',
    'lab/Subjects/s2/2024-01-01/001/a.b.npy': b'1',
    'lab/Subjects/test/2024-01-01/001/a.b.npy': b'1',
    'lab2/Subjects/s5/2024-01-01/001/raw_video_data/a.b.npy': b'1',
}
PATTERNS = [
    ['raw_video_data'],
    ['raw_video_data/'],
    ['*.tmp.npy', '# a comment', ''],
    ['/lab/Subjects/test/'],
    ['test', '!alf'],
    ['lab2'],
    ['**/probe*/', '*.mp4'],
    ['*', '!*/', '!a.b.npy'],
    ['/lab/*/s[0-9]/'],
    ['2024-01-01/'],
]

Run = Callable[..., tuple[int, str, str]]


def not_ignored(root: Path, patterns: list[str]) -> set[str]:
    """The files that git does not ignore."""
    (root / '.gitignore').write_text('\n'.join(patterns))
    subprocess.run(['git', 'init', '-q', root], check=True)
    listed = subprocess.run(
        ['git', 'ls-files', '--others', '--exclude-standard'],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    shutil.rmtree(root / '.git')
    (root / '.gitignore').unlink()
    return set(listed.stdout.split()) - {'.gitignore'}


@pytest.mark.long
@pytest.mark.parametrize('patterns', PATTERNS)
def test_what_is_left_out_is_what_git_ignores(
    make_tree: Callable[..., Path], run: Run, patterns: list[str], tmp_path: Path
) -> None:
    root = make_tree(TREE)
    expected = not_ignored(root, patterns)
    options = [one for pattern in patterns if pattern[:1] not in ('', '#') for one in ('--exclude', pattern)]
    code, out, _ = run(root, *options, '--json', '--allow-empty')
    summary = json.loads(out)
    assert code == 0
    assert read_paths(root) == expected
    assert summary['skipped'].keys() <= {'excluded', 'not-a-lab-or-subject'}
    assert run('verify', root)[0] == 0
    assert run('verify', root, '--hash')[0] in (0, 2)
    again = fastindex.build(root, workers=1, allow_empty=True)  # carried on
    assert again.as_before == ('`exclude`',)
    assert read_paths(root) == expected
    (tmp_path / 'out').mkdir()
    (root / '.fastindexignore').write_text('\n'.join(patterns))
    fastindex.build(root, out=tmp_path / 'out', workers=1, allow_empty=True)
    assert read_paths(tmp_path / 'out') == expected


def test_a_run_without_patterns_reads_the_whole_tree_again(
    make_tree: Callable[..., Path], build: Callable[..., Summary]
) -> None:
    root = make_tree(TREE)
    assert build(root, exclude=['lab2']).datasets == len(TREE) - 1
    assert build(root, exclude=[]).datasets == len(TREE)


@pytest.mark.long
def test_validate_and_release_follow(make_tree: Callable[..., Path], run: Run, tmp_path: Path) -> None:
    root = make_tree({**TREE, 'lab/Subjects/s1/2024-01-01/001/wrong name/x': b''})
    assert run('validate', root)[0] == 1
    code, out, _ = run('validate', root, '--exclude', 'wrong name', '--json')
    assert code == 0
    assert [(one['code'], one['path']) for one in json.loads(out)['findings']] == [
        ('ALF207', f'{SESSION}/wrong name')
    ]
    run(root, '--exclude', 'wrong name', '--exclude', 'raw_video_data')
    assert run('release', root, '--out', tmp_path / 'a.tar.zst')[0] == 0
    assert not any('raw_video_data' in path for path in read_paths(root))
    (root / '.fastindexignore').write_text('lab2\n')
    code, out, _ = run('validate', root, '--exclude', 'wrong name', '--json')
    assert ('ALF207', 'lab2') in [(one['code'], one['path']) for one in json.loads(out)['findings']]


def test_a_part_of_a_tree_leaves_the_same_out(
    make_tree: Callable[..., Path], build: Callable[..., Summary]
) -> None:
    root = make_tree(TREE)
    build(root, exclude=['raw_video_data', 'test'])
    grow(root, {f'{SESSION}/raw_video_data/n.e.npy': b'', f'{SESSION}/n.e.npy': b''})
    before = read_paths(root)
    build(root, only=['lab'])
    assert read_paths(root) == before | {f'{SESSION}/n.e.npy'}


def test_a_link_is_a_folder_for_a_pattern_if_it_leads_to_one(
    make_tree: Callable[..., Path], build: Callable[..., Summary], tmp_path: Path
) -> None:
    grow(tmp_path, {'elsewhere/a.b.npy': b''})
    root = make_tree({f'{SESSION}/raw': Link(str(tmp_path / 'elsewhere')), f'{SESSION}/a.b.npy': b''})
    assert build(root).datasets == 2
    assert build(root, exclude=['raw/']).datasets == 1


def test_what_is_no_pattern_is_refused(make_tree: Callable[..., Path], build: Callable[..., Summary]) -> None:
    root = make_tree(TREE)
    with pytest.raises(UsageError, match='gitignore'):
        build(root, exclude=['!'])
    for patterns, says in (([''], 'no pattern'), (['*.x', '  '], 'no pattern'), (['# x'], 'no pattern')):
        for ask in (build, fastindex.validate):
            with pytest.raises(UsageError, match=says):
                list(ask(root, exclude=patterns, workers=1))
    with pytest.raises(UsageError, match='one pattern'):
        build(root, exclude='raw')


@pytest.mark.parametrize(
    'place', [Link('../outside'), Fifo(), None, Link('nowhere')], ids=['link', 'pipe', 'folder', 'dangling']
)
def test_patterns_are_read_out_of_a_plain_file_and_of_nothing_else(
    make_tree: Callable[..., Path], place: object, tmp_path: Path
) -> None:
    (tmp_path / 'outside').write_text('lab')
    root = make_tree({**TREE, '.fastindexignore/' if place is None else '.fastindexignore': place})
    with pytest.raises(UsageError, match=r'fastindexignore: (this file cannot be read \(a link|expected a)'):
        open_tree(root, follow_links=False)


def test_an_empty_pattern_of_an_older_index_says_nothing() -> None:
    assert Recipe.from_json({'exclude': ['', 'raw', ' ']}) == Recipe(exclude=('raw',))


@pytest.mark.long
def test_without_patterns_nothing_is_wrapped_and_no_library_loaded(make_tree: Callable[..., Path]) -> None:
    tree: Any = open_tree(make_tree(TREE))
    assert type(tree) is LocalTree
    code = (
        'import sys; from fastindex.cli import main; main(sys.argv[1:]); sys.exit("pathspec" in sys.modules)'
    )
    assert subprocess.run([sys.executable, '-c', code, tree.root, '--quiet'], check=False).returncode == 0


@pytest.mark.parametrize(
    ('data', 'left'),
    [
        (b'\xef\xbb\xbflab2\n', 6),  # as Notepad writes it
        (b'# caf\xe9\r\nlab2\r\n', 6),
        (b'# one\x0blab2\n# two\xc2\x85lab2\n# three\xe2\x80\xa8lab2\n', 7),  # a line ends as for git
        (b'[[]x]\n', 7),
        (b'[z-a]\n', 'bad character range'),
        ('lab2\n'.encode('utf-16'), 6),
        ('lab2\n'.encode('utf-16-le'), 'UTF-8'),
        (b'[[:alpha:]]*.mp4\n', r'\[0-9a-f\]'),
        (b'x\n' * 2**20, 'at most'),
    ],
    ids=range(9),
)
def test_the_file_is_read_as_git_reads_it_or_refused(
    make_tree: Callable[..., Path], build: Callable[..., Summary], data: bytes, left: int | str
) -> None:
    root = make_tree({**TREE, '.fastindexignore': data})
    if isinstance(left, int):
        assert build(root).datasets == left
        return
    with pytest.raises(UsageError, match=left):
        build(root)


def test_a_file_that_is_a_link_is_followed_where_links_are(
    make_tree: Callable[..., Path], build: Callable[..., Summary], tmp_path: Path
) -> None:
    (tmp_path / 'patterns').write_text('lab2\n')
    root = make_tree({**TREE, '.fastindexignore': Link('../patterns')})
    assert build(root).datasets == len(TREE) - 1
    for ask in (build, fastindex.validate):
        with pytest.raises(UsageError, match='links are not followed'):
            ask(root, follow_symlinks=False, workers=1)
    (tmp_path / 'patterns').unlink()
    with pytest.raises(UsageError, match='No such file'):
        build(root)


@pytest.fixture
def other_disk() -> Iterator[Path]:
    """A folder on another file system than that of the tests."""
    with tempfile.TemporaryDirectory(dir='/dev/shm') as folder:
        yield Path(folder)


@pytest.mark.long
def test_one_file_system_enters_no_other(make_tree: Callable[..., Path], run: Run, other_disk: Path) -> None:
    grow(other_disk, {'lab/Subjects/s9/2024-01-01/001/a.b.npy': b'', 'raw/x/a.b.npy': b''})
    links = {'lab9': Link(str(other_disk / 'lab')), f'{SESSION}/raw': Link(str(other_disk / 'raw'))}
    root = make_tree({f'{SESSION}/a.b.npy': b'', f'{SESSION}/alf/a.b.npy': b'', **links})
    assert os.stat(root).st_dev != os.stat(other_disk).st_dev
    assert fastindex.build(root, workers=1).datasets == 4
    code, out, _ = run(root, '--one-file-system', '--allow-removal', '--json')
    assert code == 0
    assert json.loads(out)['skipped']['other-file-system'] == 2
    assert read_paths(root) == {f'{SESSION}/a.b.npy', f'{SESSION}/alf/a.b.npy'}
    assert run('verify', root)[0] == 0
    summary = fastindex.build(root, workers=1, only=[SESSION])
    assert (summary.datasets, summary.as_before) == (2, ('`one_file_system`',))
    code, out, _ = run('validate', root, '--one-file-system', '--json')
    assert {one['path'] for one in json.loads(out)['findings'] if one['code'] == 'ALF207'} == {
        'lab9',
        f'{SESSION}/raw',
    }
    assert fastindex.build(root, workers=1, one_file_system=False).datasets == 4

"""Every option that names an output, with whatever may be there."""

from __future__ import annotations

import ast
import os
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import fastindex
from fastindex import cli, files
from fastindex.commands import COMMANDS, make_parser
from fastindex.errors import OutputError
from fastindex.files import new_folder, open_output
from tests.support.trees import SESSION, grow

PACKAGE = Path(fastindex.__file__).parent


class Output(NamedTuple):
    """A command that writes a file: what it is called, how it begins, may it be a stream, what else comes."""

    words: str
    name: str
    begin: bytes
    is_streamed: bool = True
    others: tuple[str, ...] = ()  # that come beside it


FILES = {
    'build --changes': [Output('{root} --workers 1 --changes {out}', 'x.jsonl', b'{"kind": "added"')],
    'validate --rename-script': [
        Output(
            'validate {root} --workers 1 --rename-script {out}',
            *('x.sh', b'#!/bin/sh', False, ('x-undo.sh',)),
        )
    ],
    'report --out': [Output('report {root} --no-validate --out {out}', 'x.html', b'<!doctype html>')],
    'release --out': [
        Output('release {root} --workers 1 --overwrite --out {out}', 'x.zip', b'PK\3\4', is_streamed=False),
        Output(
            'release {root} --workers 1 --overwrite --split 1GB --out {folder}/x.tar.zst',
            *('x.part1.tar.zst', b'\x28\xb5\x2f\xfd'),
            is_streamed=False,
        ),
    ],
}
FOLDERS = {
    'build --out': '{root} --workers 1 --out {out}',
    'example folder': 'example --sessions 1 --workers 1 {out}',
}
INPUTS = {
    *(
        'build root',
        'build --ids-from',
        'build --qc',
        'restore root',
        'restore --index',
        'build --dask',
        'validate --dask',
        'verify --dask',
        'report --dask',
        'release --dask',
        'validate root',
        'verify root',
        'verify --index',
    ),
    *('build --only', 'build --only-from', 'search --index', 'info --index', 'release --index'),
    *('verify --index-only', 'search root', 'search --out', 'info root', 'info --out', 'report root'),
    *('report --index', 'release root', 'release --tables', 'release --ids-from', 'example --zip'),
}
NO_PATHS = {
    *('N', 'I/N', 'S', 'UUID', 'NAMES', 'NAME', 'URL', 'TEXT', 'DIGEST', 'SIZE', 'WHAT', 'SEVERITY', 'TIME'),
    *('PATTERN', 'FIELDS'),
    *('CODE', 'CODES', 'DAY', ('FROM', 'TO'), 'QC', '...', 'COMMAND', 'SHELL', 'N|N%'),
}
"""What options take that name no path."""


def test_every_option_that_may_name_an_output_is_tried_here():
    found = set()
    for command in COMMANDS:
        for action in make_parser(command)._actions:
            if (
                action.nargs != 0
                and not action.choices
                and action.metavar not in NO_PATHS
                and action.dest != 'name'
            ):
                found.add(f'{command} {(action.option_strings or [action.dest])[0]}')
    assert found == {*FILES, *FOLDERS, *INPUTS}


WRITERS = {
    'files.py',
    'folders.py',
    'tables/publish.py',  # the pair of an index
    'tables/publish_bucket.py',  # a lock
    'tables/lock.py',
    'tables/journal.py',  # of digests, which grows
    'jobs/example/example.py',  # in a new folder
    'jobs/example/archive.py',  # in a new folder
    'cli.py',  # /dev/null
}


def is_writing(node: ast.AST) -> bool:
    """Whether something makes, renames or overwrites a file."""
    if isinstance(node, ast.Attribute):
        return node.attr in ('O_CREAT', 'write_text', 'write_bytes')
    if not isinstance(node, ast.Call):
        return False
    called, words = ast.unparse(node.func), [ast.unparse(word) for word in node.args]
    if called in ('os.rename', 'os.replace', 'os.link', 'os.symlink'):
        return True
    if called.endswith('.replace'):
        return len(words) == 1 and not node.keywords  # of text it takes two
    is_open = re.fullmatch(r'(.*\.)?open', called) is not None
    return is_open and any(re.fullmatch(r"'[wxa][bt]?\+?'|'r[bt]?\+'", word) for word in words)


@pytest.mark.long
def test_nothing_else_has_a_way_of_its_own_to_write_a_file():
    found = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob('*.py')
        if any(map(is_writing, ast.walk(ast.parse(path.read_text()))))
    }
    assert found == WRITERS


READERS = {
    'commands/build.py': 'the file of --only-from, which may be a FIFO',
    'tables/qc_file.py': 'the file of --qc, the same',
    'workers/cluster.py': 'a scheduler file, the same',
    'tables/publish_bucket.py': 'in a folder of this user',
    'trees/store.py': 'the same',
    'jobs/release/archive.py': 'in a temporary folder',
    'jobs/report/page.py': 'in this package',
    'system.py': '/proc',
    'workers/cpus.py': '/proc and /sys',
    'workers/child.py': '/proc',
}
"""What opens a file by its path to read it, and why nobody can put a link or a FIFO in its place."""


def is_reading(node: ast.AST) -> bool:
    """Whether something opens a file by its path to read it: not by a descriptor, nor a folder of a tree."""
    if isinstance(node, ast.Attribute):
        return node.attr in ('read_text', 'read_bytes')
    if not isinstance(node, ast.Call) or (not node.args and not node.keywords):
        return False
    called, words = ast.unparse(node.func), [ast.unparse(word) for word in node.args]
    keywords = {keyword.arg for keyword in node.keywords}
    is_mode = bool(words) and words[-1] in ("'rb'", "'r'")
    if called.endswith('.open'):
        return (is_mode or 'encoding' in keywords) and not words[0].startswith('fd')
    return (
        called == 'open'
        and words[0] != 'fd'
        and 'root' not in keywords  # `open` of an index
        and not any(word in ("'xb'", "'x'", "'w'") for word in words)
    )


@pytest.mark.long
def test_nothing_else_reads_a_file_by_its_path():
    """All others go by the tree, or by `open_file` and `open_table`: these wait for no writer of a FIFO."""
    found = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob('*.py')
        if any(map(is_reading, ast.walk(ast.parse(path.read_text()))))
    }
    assert found - {'cli.py'} == set(READERS)


def grow_unindexed(root: Path) -> Path:
    """Make a tree with an index that does not know its last dataset."""
    fastindex.build(grow(root, {f'{SESSION}/a.b.c': b'1'}), workers=1)
    return grow(root, {f'{SESSION}/c.d.e': b'2'})


@pytest.fixture(scope='module')
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grow_unindexed(tmp_path_factory.mktemp('template') / 'root')


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    (tmp_path / 'out').mkdir()
    return Path(shutil.copytree(template, tmp_path / 'root'))


@pytest.fixture
def write(
    root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run a command: exit code, stdout, stderr."""

    def write(words: str, out: object) -> tuple[int, str, str]:
        values = {'root': root, 'out': out, 'folder': tmp_path / 'out'}
        code = cli.main([word.format(**values) for word in words.split()])
        return code, *capfd.readouterr()

    return write


def list_all(folder: Path) -> dict[str, object]:
    """What is in a folder, without a look through links."""
    return {
        str(path.relative_to(folder)): (
            os.lstat(path).st_mode,
            os.lstat(path).st_rdev,
            os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None,
        )
        for path in sorted(folder.rglob('*'))
    }


def make_device(path: Path) -> None:
    """Make a device as /dev/null is; a user who may not makes a FIFO."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@contextmanager
def reading(path: Path) -> Iterator[list[bytes]]:
    """Read a FIFO meanwhile: until its writer has closed it, or has not come."""
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(path.read_bytes()))
    reader.start()
    try:
        yield found
    finally:
        while reader.is_alive():
            with suppress(OSError):  # it has not opened it yet, or is done
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
            reader.join(0.01)


each_file = pytest.mark.parametrize(
    'output', [pytest.param(output, id=output.name) for outputs in FILES.values() for output in outputs]
)
each_folder = pytest.mark.parametrize('words', FOLDERS.values(), ids=FOLDERS)


# Files: what may be replaced, is replaced as a whole


@pytest.mark.long
@each_file
def test_a_new_file_is_written_and_nothing_beside_it(write, tmp_path, output):
    out = tmp_path / 'out' / output.name
    assert write(output.words, out)[0] == 0
    assert sorted(os.listdir(tmp_path / 'out')) == sorted([output.name, *output.others])
    assert out.read_bytes().startswith(output.begin)
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(out.stat().st_mode) == 0o666 & ~umask


@pytest.mark.long
@each_file
def test_a_file_is_replaced_by_one_of_its_mode(write, tmp_path, output):
    out = tmp_path / 'out' / output.name
    out.write_text('old')
    out.chmod(0o640)
    with out.open() as old:
        assert write(output.words, out)[0] == 0
        assert old.read() == 'old'
    assert out.read_bytes().startswith(output.begin)
    assert stat.S_IMODE(out.stat().st_mode) == 0o640
    assert sorted(os.listdir(tmp_path / 'out')) == sorted([output.name, *output.others])


@pytest.mark.long
@each_file
@pytest.mark.parametrize('is_there', [True, False], ids=['link', 'dangling-link'])
def test_a_link_stays_and_what_it_leads_to_is_replaced(write, tmp_path, output, is_there):
    link, target = tmp_path / 'out' / output.name, tmp_path / f'other-{output.name}'
    if is_there:
        target.write_text('old')
    (tmp_path / 'between').symlink_to(target.name)
    link.symlink_to('../between')
    assert write(output.words, link)[0] == 0
    assert os.readlink(link) == '../between'
    assert not target.is_symlink()
    assert target.read_bytes().startswith(output.begin)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(['between', 'out', 'root', target.name])


@pytest.mark.long
@each_file
@pytest.mark.parametrize('is_linked', [False, True], ids=['', 'linked'])
def test_a_device_stays_one(write, tmp_path, output, is_linked):
    device = out = tmp_path / 'out' / output.name
    if is_linked:
        device = tmp_path / output.name
        out.symlink_to(device)
    make_device(device)
    before = list_all(tmp_path / 'out'), device.lstat()
    if stat.S_ISCHR(device.stat().st_mode):
        code, _, err = write(output.words, out)
    else:
        with reading(device):
            code, _, err = write(output.words, out)
    assert (code, 'no file' in err) == ((0, False) if output.is_streamed else (2, True)), err
    assert list_all(tmp_path / 'out') == before[0]
    assert os.path.samestat(device.lstat(), before[1])


@each_file
def test_a_fifo_gets_all(write, tmp_path, output):
    out = tmp_path / 'out' / output.name
    os.mkfifo(out)
    with reading(out) as found:
        code, _, err = write(output.words, out)
    assert (code, 'no file' in err) == ((0, False) if output.is_streamed else (2, True)), err
    assert stat.S_ISFIFO(out.lstat().st_mode)
    assert not output.is_streamed or found[0].startswith(output.begin)


@each_file
def test_a_fifo_that_nobody_reads_is_said(write, tmp_path, output, monkeypatch):
    monkeypatch.setattr(files, 'READER_SECONDS', 0)
    out = tmp_path / 'out' / output.name
    os.mkfifo(out)
    code, _, err = write(output.words, out)
    assert (code, 'nobody reads' in err or 'no file' in err) == (2, True), err


@pytest.mark.long
@each_file
@pytest.mark.parametrize('name', ['-', '/dev/fd/1', 'stdout'])
def test_standard_output_gets_what_was_asked_for_and_nothing_else(write, tmp_path, output, name, monkeypatch):
    monkeypatch.chdir(tmp_path / 'out')
    os.symlink('/proc/self/fd/1', 'stdout')  # as in /dev, where a failing test would break the machine
    code, out, err = write(output.words.replace('{folder}/x.tar.zst', '{out}'), name)
    if output.is_streamed:
        assert code == 0
        assert out.encode().startswith(output.begin)
        assert out.rstrip().endswith(('}', '</html>'))
        assert re.search(r'(^|\n)(indexed|wrote) ', err)
    else:
        assert (code, out) == (2, '')
        assert re.search(r'expected a name that ends in \.zip or \.tar\.zst|this is no file', err)
    assert os.listdir() == ['stdout']


@pytest.mark.long
@each_file
@pytest.mark.parametrize('make', ['folder', 'socket', 'loop', '..'])
def test_what_is_no_file_is_refused_and_stays(write, tmp_path, output, make, monkeypatch):
    monkeypatch.chdir(tmp_path / 'out')  # an address of a socket may have 107 bytes
    if make in ('folder', 'socket'):
        (Path.mkdir if make == 'folder' else make_socket)(Path(output.name))
    else:
        os.symlink(output.name if make == 'loop' else make, output.name)
    before = list_all(tmp_path / 'out')
    code, _, err = write(output.words, tmp_path / 'out' / output.name)
    assert code == 2
    assert re.search(rf'{output.name}: (this is|cannot be written \(Too many levels)', err)
    assert list_all(tmp_path / 'out') == before


@pytest.mark.long
@each_file
def test_names_that_were_planted_are_not_used(write, tmp_path, output):
    out, victim = tmp_path / 'out' / output.name, tmp_path / 'victim'
    victim.write_text('precious')
    for name in (f'.{output.name}.partial-{os.getpid()}', f'{output.name}.{os.getpid()}'):
        out.with_name(name).symlink_to(victim)
    planted = list_all(tmp_path / 'out')
    assert write(output.words, out)[0] == 0
    assert victim.read_text() == 'precious'
    for name in (output.name, *output.others):
        out.with_name(name).unlink()
    assert list_all(tmp_path / 'out') == planted


@pytest.mark.long
@each_file
def test_a_folder_that_cannot_be_written_to_is_said(open_folder, output, run):
    shut = open_folder / 'shut'
    shut.mkdir()
    out = shut / output.name
    out.write_text('old')
    shut.chmod(0o555)
    root = grow_unindexed(open_folder / 'root')
    words = [word.format(root=root, out=out, folder=shut) for word in output.words.split()]
    code, _, err = run(*words)
    shut.chmod(0o755)
    names = '|'.join((output.name, *output.others))
    assert code == 2
    assert re.search(rf'({names}): cannot be written \(Permission denied\)', err)
    assert {path.name: path.read_text() for path in shut.iterdir()} == {output.name: 'old'}


@pytest.mark.long
@each_file
def test_a_disk_that_is_full_is_said_with_the_name(write, tmp_path, output):
    out = tmp_path / 'out' / output.name
    try:
        os.mknod(out, stat.S_IFCHR | 0o666, os.makedev(1, 7))
    except PermissionError:  # of root alone is that of the machine in danger
        out.symlink_to('/dev/full')
    code, _, err = write(output.words, out)
    said = (
        r'cannot be written \(No space left on device\).*Is there space' if output.is_streamed else 'no file'
    )
    assert code == 2
    assert re.search(rf'{output.name}: .*{said}', err)


@pytest.mark.long
def test_a_reader_that_has_enough_is_no_error(template, tmp_path):
    root = shutil.copytree(template, tmp_path / 'root')
    command = [sys.executable, '-m', 'fastindex', root, '--workers', '1', '--changes', '-']
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert b'indexed' in process.stderr.read()
    assert process.returncode == 0
    assert fastindex.open(root).datasets.collect().height == 2


def test_a_dry_run_has_no_changes_to_write(write, tmp_path):
    out = tmp_path / 'out/x.jsonl'
    out.write_text('old')
    code, _, err = write('{root} --dry-run --changes {out}', out)
    assert (code, '--check --changes' in err, out.read_text()) == (2, True, 'old')


@pytest.mark.parametrize('target', ['root/lab/x.zip', f'root/{SESSION}/c.d.e', 'other'])
def test_a_link_leads_no_archive_into_the_tree_nor_over_other_data(write, tmp_path, target):
    (tmp_path / 'out/x.zip').symlink_to(tmp_path / target)
    before = list_all(tmp_path)
    code, _, err = write('release {root} --workers 1 --overwrite --out {out}', tmp_path / 'out/x.zip')
    assert (code, bool(re.search(r'inside the tree|ends in \.zip', err))) == (2, True), err
    assert list_all(tmp_path) == before


# Folders: nothing is replaced


@pytest.mark.long
@each_folder
@pytest.mark.parametrize(
    'make',
    [Path.touch, make_device, os.mkfifo, make_socket, '../victim', 'full', None],
    ids=['file', 'device', 'fifo', 'socket', 'link', 'loop', 'full'],
)
def test_what_is_no_folder_is_refused_and_stays(write, tmp_path, words, make, monkeypatch):
    monkeypatch.chdir(tmp_path / 'out')
    Path('../victim').write_text('precious')
    if make is None:
        grow(Path('full'), {'sessions.pqt/mine': b'precious'})
    elif isinstance(make, str):
        os.symlink(make, 'full')
    else:
        make(Path('full'))
    before = list_all(tmp_path / 'out')
    code, _, err = write(words, tmp_path / 'out/full')
    assert code == 2
    assert re.search(r'error: .*/(full|victim)', err)
    assert {
        name: found for name, found in list_all(tmp_path / 'out').items() if '.fastindex' not in name
    } == before
    assert Path('../victim').read_text() == 'precious'


@each_folder
def test_a_link_to_a_folder_is_followed(write, tmp_path, words):
    (tmp_path / 'other').mkdir()
    (tmp_path / 'out/link').symlink_to('../other')
    assert write(words, tmp_path / 'out/link')[0] == 0
    assert os.readlink(tmp_path / 'out/link') == '../other'
    assert list((tmp_path / 'other').iterdir())
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['link']


def test_a_dangling_link_makes_the_folder_that_it_leads_to(write, tmp_path):
    (tmp_path / 'out/link').symlink_to('../other')
    assert write(FOLDERS['example folder'], tmp_path / 'out/link')[0] == 0
    assert (tmp_path / 'other/README.txt').is_file()


@each_folder
def test_a_folder_that_cannot_be_filled_is_said(open_folder, words, run):
    shut = open_folder / 'shut'
    shut.mkdir(mode=0o555)
    root = grow_unindexed(open_folder / 'root')
    out = shut if words.startswith('{root}') else shut / 'new'
    code, _, err = run(*[word.format(root=root, out=out) for word in words.split()])
    assert (code, 'shut' in err, 'Permission denied' in err) == (2, True, True), err
    assert list(shut.iterdir()) == []


# What is left, and what is not


def write_file(
    path: Path, data: bytes, *, overwrite: bool = True, meanwhile: Callable[[], object] = str
) -> None:
    with open_output(path, overwrite=overwrite) as file:
        file.write(data)
        meanwhile()


def fail() -> None:
    raise RuntimeError


def test_a_block_that_raises_leaves_what_was_there(tmp_path):
    (tmp_path / 'x').write_text('old')
    for name in ('x', 'y'):
        with pytest.raises(RuntimeError):
            write_file(tmp_path / name, b'new', meanwhile=fail)
    assert list_all(tmp_path).keys() == {'x'}
    assert (tmp_path / 'x').read_text() == 'old'


@pytest.mark.parametrize('has_nameless', [True, False])
def test_a_full_disk_leaves_what_was_there(tmp_path, has_nameless, monkeypatch):
    if not has_nameless:
        monkeypatch.setattr(os, 'O_TMPFILE', 0)  # as on NFS
    (tmp_path / 'x').write_text('old')
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limits[1]))
    try:
        for data in (bytes(2**21), bytes(2**20 + 1)):  # the last byte comes when all else is done
            with pytest.raises(OutputError, match=r'x: cannot be written \(File too large'):
                write_file(tmp_path / 'x', data)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ['x']
    assert (tmp_path / 'x').read_text() == 'old'


@pytest.mark.parametrize('has_nameless', [True, False])
@pytest.mark.parametrize('overwrite', [True, False])
def test_what_comes_meanwhile_is_not_replaced(tmp_path, has_nameless, overwrite, monkeypatch):
    if not has_nameless:
        monkeypatch.setattr(os, 'O_TMPFILE', 0)
    out = tmp_path / 'x'
    for make in (make_device, os.mkfifo, Path.mkdir, lambda path: path.symlink_to('y')):
        with pytest.raises(OutputError, match='something has come there meanwhile'):
            write_file(out, b'new', overwrite=overwrite, meanwhile=partial(make, out))
        assert os.listdir(tmp_path) == ['x']
        assert not out.is_file()
        out.rmdir() if out.is_dir() else out.unlink()
    write_file(out, b'new', meanwhile=out.touch)
    with pytest.raises(OutputError, match='something has come there meanwhile'):
        write_file(tmp_path / 'y', b'new', overwrite=False, meanwhile=(tmp_path / 'y').touch)
    assert (out.read_bytes(), (tmp_path / 'y').read_bytes()) == (b'new', b'')


@pytest.mark.parametrize('has_nameless', [True, False])
def test_two_that_write_one_output_at_once_do_not_meet(tmp_path, has_nameless, monkeypatch):
    """As in two containers, where the number of each process is 1."""
    if not has_nameless:
        monkeypatch.setattr(os, 'O_TMPFILE', 0)
    with open_output(tmp_path / 'x') as one, open_output(tmp_path / 'x') as other:
        one.write(b'one')
        other.write(b'other')
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {'x': b'one'}


@pytest.mark.parametrize('has_nameless', [True, False])
def test_any_name_will_do(tmp_path, has_nameless, monkeypatch):
    if not has_nameless:
        monkeypatch.setattr(os, 'O_TMPFILE', 0)
    names = {'x' * 255, 'ä' * 127, '\U0001f42d' * 63, os.fsdecode(b'\xff\xfe'), 'a\nb', '-x', '.x', '(?i)['}
    for name in names:
        write_file(tmp_path / name, b'new')
    assert set(os.listdir(tmp_path)) == names


KILLED = """
import os, sys
from fastindex.files import new_folder, open_output
os.O_TMPFILE = 0
with open_output('x') as file, new_folder(os.path.abspath('y')) as folder:
    open(f'{folder}/z', 'w').close()
    print('begun', flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_run_has_left_the_next_one_removes_but_not_what_is_being_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / f'.x.partial-{0:016}').symlink_to('victim')
    (tmp_path / f'.x.partial-{1}').touch()
    Path('victim').touch()
    planted = set(os.listdir())
    pipes: dict[str, Any] = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE}
    with subprocess.Popen([sys.executable, '-c', KILLED], **pipes) as process:
        assert process.stdout.readline() == b'begun\n'
        left = set(os.listdir()) - planted
        assert len(left) == 2
        for _ in range(2):  # alive: it is left alone
            with open_output('x') as file, new_folder(str(tmp_path / 'y')):
                file.write(b'')
        assert left <= set(os.listdir())
        os.rmdir('y')
        process.send_signal(signal.SIGKILL)
    assert left <= set(os.listdir())
    with open_output('x') as file, new_folder(str(tmp_path / 'y')):
        file.write(b'')
    assert set(os.listdir()) == {*planted, 'x', 'y'}


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    yield reader, writer
    for fd in (reader, writer):
        with suppress(OSError):
            os.close(fd)


def test_nothing_more_is_written_through_where_the_block_fails(pipe):
    """Nobody may read it any more: then the end, with a signal, would wait for ever."""
    reader, writer = pipe
    with suppress(KeyboardInterrupt), open_output(f'/dev/fd/{writer}') as file:
        file.write(b'half')
        raise KeyboardInterrupt
    os.close(writer)
    assert os.read(reader, 10) == b''


def test_a_pipe_that_must_not_block_gets_all(pipe):
    reader, writer = pipe
    os.set_blocking(writer, False)
    data = bytes(range(256)) * 2**13  # 32 times what it holds
    with open(reader, 'rb', closefd=False) as answer, ThreadPoolExecutor(1) as other:
        read = other.submit(answer.read)
        with open_output(f'/dev/fd/{writer}') as file:
            file.write(data)
        os.close(writer)
        assert read.result() == data

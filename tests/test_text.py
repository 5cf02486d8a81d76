"""A name is bytes: under every locale the same tree gives the same ids, tables, findings and archives."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fastindex.trees.disk import LocalTree
from fastindex.workers.cluster import Requirements, find_mismatch
from tests.support.patience import PATIENCE_SECONDS
from tests.support.trees import grow

NAMES = [
    'lab/Subjects/Müller_01/2024-01-01/001/alf/größe/a.b.npy'.encode(),
    b'lab/Subjects/M\xfcller_01/2024-01-01/001/alf/a.b.npy',
    'lab/Subjects/マウス/2024-01-01/001/alf/spikes.times.npy'.encode(),
    b'lab/Subjects/s1/2024-01-01/001/alf/caf\xe9.times.npy',
    b'lab/Subjects/s1/2024-01-01/001/alf/ok.times.npy',
    'lab/Subjects/s1/2024-01-01/001/größe_é/ok.times.npy'.encode(),
    b'lab/Subjects/s2/2024-01-01/1/ok.times.npy',
]


@pytest.mark.parametrize(
    'encoding', ['utf-8', 'utf-8-sig', 'utf-16']
)  # the latter two as Windows writes them
def test_lists_are_read_whatever_program_wrote_them(make_tree, run, tmp_path, encoding):
    root = make_tree(
        {f'Mäuse/2024-01-0{day}/001/{name}': b'' for day in (1, 2) for name in ('ä.b.npy', 'a.b.npy')}
    )
    (root / '.fastindexignore').write_text('ä*\r\n', encoding)
    (tmp_path / 'only').write_text('Mäuse/2024-01-01\r\n', encoding)
    assert '2 datasets' in run(root)[1]
    assert 'looked at 1 session' in run(root, '--only-from', tmp_path / 'only')[1]


LIBRARY = """
import hashlib, sys
from pathlib import Path
import fastindex
root, out = sys.argv[1], Path(sys.argv[2])
done = fastindex.build(root, out=out, workers=1, hash=['xxh128'])
fastindex.release(root, out / 'x.tar.zst', index=out, workers=1, force=True, name='x')
index = fastindex.open(out, root=root)
said = [
    [(one.path, one.reason) for one in done.problems],
    [str(one) for one in fastindex.verify(root, index=out, workers=1, hash=True)],
    [(one.code, one.path, one.message, one.fix) for one in fastindex.validate(root, workers=1)],
    [index.path(eid).is_dir() for eid in index.search()],
    [str(eid) for eid in index.search(subject='M.*')],
    [hashlib.md5((out / name).read_bytes()).hexdigest() for name in ('datasets.pqt', 'x.tar.zst')],
]
print(ascii(said))
"""

WORKERS = """
import hashlib, sys, threading
from pathlib import Path
import fastindex
root, out = sys.argv[1], Path(sys.argv[2])
if sys.argv[3] == 'spawned':
    threading.Thread(target=threading.Event().wait, daemon=True).start()
done = fastindex.build(root, out=out, workers=1 if sys.argv[3] == 'here' else 2, hash=['xxh128'])
print(done.problems, hashlib.md5((out / 'datasets.pqt').read_bytes()).hexdigest())
"""


def run(root: Path, out: Path, *arguments: str, code: str = '', **environment: str) -> bytes:
    out.mkdir()
    command = [sys.executable, '-c', code, root, out] if code else [sys.executable, '-m', 'fastindex']
    done = subprocess.run(
        [*command, *arguments],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path), 'SOURCE_DATE_EPOCH': '1', **environment},
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=bool(code),
    )
    return re.sub(rb'seconds": [0-9.]+', b'', done.stdout)


ASCII = {'LC_ALL': 'C', 'PYTHONCOERCECLOCALE': '0', 'PYTHONUTF8': '0'}
"""A locale whose encoding is not UTF-8, and which every system has."""


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grow(tmp_path_factory.mktemp('größe') / 'root', dict.fromkeys(NAMES, b'1'))


@pytest.mark.long
def test_the_library_says_and_writes_the_same_under_every_locale(root, tmp_path, twin):
    expected = run(root, tmp_path / 'utf-8', code=LIBRARY)
    assert b'True' in expected
    assert run(root, tmp_path / 'ascii', code=LIBRARY, **ASCII) == expected


@pytest.mark.long
def test_so_do_workers_however_they_are_started(root, tmp_path):
    expected = run(root, tmp_path / 'utf-8', 'here', code=WORKERS)
    for start in ('forked', 'spawned'):
        assert run(root, tmp_path / start, start, code=WORKERS, **ASCII) == expected


OTHER_MACHINE = """
import pickle, sys
from fastindex.names.problems import Tally
from fastindex.trees.disk import LocalTree
from fastindex.trees.fate import list_folders
from fastindex.workers.cluster import Requirements, find_mismatch
needed, given = pickle.loads(bytes.fromhex(sys.argv[3])), LocalTree.open(sys.argv[1])
assert find_mismatch(needed) is None, find_mismatch(needed)
assert needed.tree.root == given.root and not given.root.isascii()
assert list_folders(needed.tree, 'lab', Tally()) == ['Subjects']
print(pickle.dumps(Requirements.here(given)).hex())
"""


@pytest.mark.long
def test_a_tree_that_is_sent_to_a_worker_of_another_locale_is_the_same_there(root, tmp_path):
    """As to a Dask cluster, whose machines have locales of their own."""
    (root / 'größe').mkdir(exist_ok=True)  # by which a worker sees that it has the same disk
    needed = Requirements.here(LocalTree.open(str(root)))
    sent = pickle.dumps(needed).hex()
    answer = run(root, tmp_path / 'out', sent, code=OTHER_MACHINE, **ASCII)
    theirs = pickle.loads(bytes.fromhex(answer.decode()))
    assert theirs.tree.root == needed.tree.root
    assert theirs.landmarks == needed.landmarks
    assert find_mismatch(theirs) is None


@pytest.mark.long
def test_the_command_line_prints_the_same_bytes_under_every_locale(root, tmp_path):
    run(root, tmp_path / 'index', str(root), '--out', str(tmp_path / 'index'), '--workers', '1')
    commands = [
        ['validate', str(root), '--json', '--workers', '1'],
        ['search', str(tmp_path / 'index'), '--paths', '--subject', 'Müller_01'],
        ['search', str(tmp_path / 'index'), '--json'],
        ['info', str(tmp_path / 'index'), '--json'],
    ]
    for i, arguments in enumerate(commands):
        expected = run(root, tmp_path / f'{i} utf-8', *arguments)
        assert expected
        assert run(root, tmp_path / f'{i} ascii', *arguments, **ASCII) == expected

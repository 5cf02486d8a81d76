"""P11 any name, P12 any size and date: what the kernel accepts is indexed, skipped or a problem."""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastindex
from fastindex.text import to_text
from tests.support.injectors import mounted, need_mounts, run, scaled
from tests.support.tables import read
from tests.support.trees import SESSION, grow

pytestmark = [pytest.mark.fault, pytest.mark.usefixtures('twin')]  # of the kernel

NAMES = [
    b'a' * 251 + b'.b.c',
    '\u00e9'.encode() * 125 + b'.b.c',
    b'caf\xe9.b.c',
    b'\xff\xfe.b.c',
    b'\xed\xa0\x80.b.c',  # a surrogate
    b'a\nb.c.d',
    b'a.b.c\n',
    b'\x1b]0;title\x07.b.c',
    b'\x1b[2J.b.c',
    '\u202eevil.b.c'.encode(),
    '\u2066x.b.c'.encode(),
    '\u0085.b.c'.encode(),
    b'--version',
    b'-a.b.c',
    '\u00e9.b.c'.encode(),
    'e\u0301.b.c'.encode(),  # its twin
    b' .b.c',
    b'a.b.c ',
    b'\t.b.c',
    b'\x01.b.c',
    b'*?.b.c',
    b'$(reboot).b.c',
    b'"\'.b.c',
    b'a\\..\\b.c.d',
    '\U0001f400.b.c'.encode(),
    b'nan.b.c',
    b'None.b.c',
    b'...',
    b'CON.b.c',
]


def fate_of(root: Path, prefix: bytes = b'') -> Counter[bytes]:
    """How often each path below the root is a dataset, a skip or a problem, as text escaped."""
    fates = Counter[bytes]()
    skips: list[fastindex.Skip] = []
    summary = fastindex.build(root, workers=1, on_skip=skips.append, allow_empty=True)
    eids = {row['id']: row for row in read(root, 'sessions')}
    assert len(eids) == summary.sessions
    session_of = {
        str(fastindex.eid(path.relative_to(root).as_posix())): path.relative_to(root).as_posix()
        for path in [*root.glob('*/*/*'), *root.glob('*/Subjects/*/*/*')]
        if os.fsencode(path).decode(errors='ignore') == os.fsencode(path).decode(errors='replace')
    }
    for row in read(root, 'datasets'):
        fates[f'{session_of[row["eid"]]}/{row["rel_path"]}'.encode()] += 1
    for path in [skip.path for skip in skips] + [problem.path for problem in summary.problems]:
        fates[path.encode()] += 1
    fastindex.open(root)
    return fates


def as_text(path: bytes) -> bytes:
    return to_text(os.fsdecode(path)).encode()


def test_each_awkward_name_of_a_file_or_folder_has_one_fate(tmp_path, figure):
    base = SESSION.encode()
    tree: dict[str | bytes, bytes] = {b'%s/%s' % (base, name): b'x' for name in NAMES}
    tree |= {b'%s/in/%s/a.b.c' % (base, name): b'x' for name in NAMES}
    root = grow(tmp_path / 'root', tree)
    fates = fate_of(root)
    for path in map(os.fsencode, tree):
        above = [as_text(path[:place]) for place in range(len(path)) if path[place : place + 1] == b'/']
        assert fates[as_text(path)] + sum(fates[folder] for folder in above) == 1, path
    figure('P11', f'{2 * len(NAMES)} of {2 * len(NAMES)} awkward names have one fate')


def test_nothing_that_a_terminal_would_obey_is_printed(tmp_path, figure):
    root = grow(tmp_path / 'root', {b'%s/%s' % (SESSION.encode(), name): b'x' for name in NAMES})
    for name in NAMES:
        for folder in (b'lab/Subjects/%s/2024-01-01/001/a.b.c', b'%s/2024-01-01/001/a.b.c', b'%s/x/y'):
            grow(root, {folder % name: b''})
    texts = 0
    printable = ('-v',), ('--dry-run', '-v'), ('--json', '-v'), ('--json', '--dry-run')
    for options in printable:
        done = run(root, *options)
        for text in (done.stdout, done.stderr):
            assert all(line.isprintable() for line in text.split('\n')), options
            texts += 1
    hostile = grow(tmp_path / '\x1b[31m\u202e', {b'%s/caf\xe9.b.c' % SESSION.encode(): b''})
    for arguments in (
        [hostile],
        [hostile, '--json'],
        [hostile / 'no'],
        ['--out', hostile / 'no', root],
        ['\x1b[0m'],
    ):
        done = run(*arguments)
        assert all(line.isprintable() for line in (done.stdout + done.stderr).split('\n')), arguments
        texts += 1
    figure('P11', f'{texts} of {texts} outputs printable')


kernel_names = st.binary(min_size=1, max_size=40).map(
    lambda name: name.replace(b'\0', b'0').replace(b'/', b'1')
).filter(lambda name: name not in (b'.', b'..'))  # fmt: skip


@settings(max_examples=scaled(150, 2000))
@given(st.lists(kernel_names, min_size=1, max_size=8, unique=True), st.booleans())
def check_names(names, as_folders):
    with tempfile.TemporaryDirectory() as folder:
        below = b'/a.b.c' if as_folders else b''
        paths = [SESSION.encode() + b'/' + name + below for name in names]
        fates = fate_of(grow(Path(folder), dict.fromkeys(paths, b'')))
        for name, path in zip(names, paths, strict=True):
            folder_path = SESSION.encode() + b'/' + name
            assert fates[as_text(path)] + (fates[as_text(folder_path)] if as_folders else 0) == 1


def test_any_name_has_one_fate(figure):
    check_names()
    figure('P11', f'{scaled(150, 2000)} folders of random bytes as names')


SIZES = [0, 1, 4096, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1]
YEARS = [1901, 1902, 1938, 1969, 1970, 2000, 2038, 2106, 2262, 2263, 2400, 2446]

# tmpfs takes every size and date
EXTREMES = """
mount -t tmpfs -o size=16m x "$1"
"$2" - "$1" "$4" "$5" <<'END'
import datetime, os, sys
from pathlib import Path
folder = Path(sys.argv[1], 'lab/Subjects/s1/2024-01-01/001')
folder.mkdir(parents=True)
for size in map(int, sys.argv[2].split()):
    with open(folder / f'size.b.x{size}', 'wb') as file:
        file.truncate(size)
for year in map(int, sys.argv[3].split()):
    seconds = (datetime.datetime(year, 12, 31) - datetime.datetime(1970, 1, 1)).days * 86400
    path = folder / f'date.b.x{year}'
    path.write_bytes(b'x')
    os.utime(path, (seconds, seconds))
    assert path.stat().st_mtime == seconds
END
"$2" -m fastindex "$1" --out "$3" --quiet
rm "$1"/lab/Subjects/s1/2024-01-01/001/size*
"$2" -m fastindex "$1" --out "$3/hashed" --quiet --hash=md5,xxh128
"""


def test_any_size_and_any_date_is_indexed(tmp_path, figure):
    need_mounts()
    for name in ('mount', 'out', 'out/hashed'):
        (tmp_path / name).mkdir()
    words = [' '.join(map(str, numbers)) for numbers in (SIZES, YEARS)]
    done = mounted(EXTREMES, tmp_path / 'mount', sys.executable, tmp_path / 'out', *words)
    assert done.returncode == 0, done.stderr
    sizes = {row['rel_path']: row['file_size'] for row in read(tmp_path / 'out', 'datasets')}
    dated = {f'date.b.x{year}': 1 for year in YEARS}
    assert sizes == {f'size.b.x{size}': size for size in SIZES} | dated
    assert fastindex.open(tmp_path / 'out').datasets.collect()['file_size'].max() == 2**63 - 1
    hashed = {row['rel_path'] for row in read(tmp_path / 'out/hashed', 'datasets')}
    assert hashed == set(dated)
    figure('P12', f'{len(SIZES)} of {len(SIZES)} sizes from 0 to 2^63 - 1')
    figure('P12', f'{len(YEARS)} of {len(YEARS)} dates from {YEARS[0]} to {YEARS[-1]}, plain and hashed')

"""Try the main job and the light tests with Python for Windows, in Wine: `make windows`.

The oracle is the index of the same tree that is made here: its rows are the same to the byte.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import fastindex
from fastindex.jobs.example.example import write_example
from tests.support.trees import grow
from tests.windows import setup

CLONE = Path(__file__).parents[2]

SESSION = 'lab/Subjects/s1/2024-01-01/001'
LONG = '/'.join(letter * 90 for letter in 'abc')
AWKWARD = {
    f'{SESSION}/alf/lines.times.npy': b'a\r\nb\n\x1a\x00' * 10_000,  # what a file of text would not keep
    f'{SESSION}/alf/big.times.npy': bytes(range(256)) * 20_000,
    f'{SESSION}/alf/größe.times.npy': b'',
    f'{SESSION}/{LONG}/deep.times.npy': b'beyond 260 characters',
}

COMMANDS = ('verify', 'search', 'info', 'release zip', 'release tar.zst', 'report', 'verify unpacked')

MINUTES = 15  # until it hangs


def make_tree(root: Path) -> None:
    write_example(root, sessions=20, workers=1)
    grow(root, AWKWARD)
    long_ago = time.time() - 10**6
    for folder, _, names in os.walk(root):
        for name in names:
            os.utime(os.path.join(folder, name), (long_ago, long_ago))


def run_guest(folder: Path) -> None:
    """Run all in Wine: its streams are pipes, as Wine 8 does not know where a file that is inherited is."""
    clone = 'Z:' + os.fspath(CLONE).replace('/', '\\')
    with subprocess.Popen(
        [
            setup.WINE,
            'C:\\python\\python.exe',
            f'{clone}\\tests\\windows\\guest.py',
            *('C:\\run\\tree', 'C:\\run\\out', clone),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**setup.environment(folder), 'PYTHONPATH': clone},
    ) as guest:
        try:
            shown = guest.communicate(timeout=60 * MINUTES)[0]
        except subprocess.TimeoutExpired:
            setup.stop(folder)  # what the guest has started holds its streams too
            guest.kill()
            shown = guest.communicate()[0] + f'\nstopped: it has not ended in {MINUTES} minutes'.encode()
    print(shown.decode('utf-8', 'replace'))


def main(folder: Path) -> int:
    start = time.monotonic()
    try:
        setup.main(folder)
    except SystemExit as error:
        return int(bool(os.environ.get('FASTINDEX_NO_SKIP'))) if error.code == setup.NOT_TO_BE_HAD else 1
    made = time.monotonic()
    run = folder / 'drive_c' / 'run'
    shutil.rmtree(run, ignore_errors=True)
    (run / 'out').mkdir(parents=True)
    (run / 'here').mkdir()
    make_tree(run / 'tree')
    here = fastindex.build(run / 'tree', out=run / 'here', hash=['xxh128'], workers=1)
    run_guest(folder)
    told = run / 'out' / 'found.json'
    found = json.loads(told.read_text()) if told.exists() else {}
    trials = (run / 'tree').glob('*/Subjects/NYU-01/*/001')
    expected = {
        'build': 0,
        'generations': [here.generation] * 2,
        'digests reused': here.datasets,
        'while a table is held': 2,
        'and then': 0,
        'over tables that may only be read': [0, 0],
        'a folder in other words': [[0, here.sessions]] * 2,
        'outcomes of qc': [0, ['NOT_SET', 'PASS']],
        'Ctrl-Break': 143,
        'while another run writes': 4,
        **dict.fromkeys(COMMANDS, 0),
        'left': ['x.html', 'x.tar.zst', 'x.zip'],
        'sessions of the client': len(list(trials)),
        'findings': sorted(one.code for one in fastindex.validate(run / 'tree', deep=True, workers=1)),
        'light tests': 0,
    }
    wrong = {name: found.get(name) for name, value in expected.items() if found.get(name) != value}
    setup.stop(folder)
    if wrong or len(found.get('trials of the client', ())) < 5:
        print(f'not as expected: {wrong or found}')
        return 1
    seconds = f'{made - start:.0f} s to make it, {time.monotonic() - made:.0f} s to run all'
    seconds += f', {sum(os.times()[:4]):.0f} s of the CPUs'
    print(f'Python for Windows, in Wine: {len(found)} of {len(found)} as expected; {seconds}')
    return 0


if __name__ == '__main__':
    sys.exit(main(Path(sys.argv[1])))

"""P4, P18: in a container: the first process, of no known user, with a root that may only be read."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fastindex import twins
from fastindex.jobs.example.example import write_example
from tests.support.injectors import mounted, need_mounts

pytestmark = pytest.mark.fault

REPO = Path(__file__).parent.parent.parent

CONTAINER = """
mount --make-rprivate /
mount -t tmpfs none /mnt
mkdir /mnt/repo && mount --bind "$1" /mnt/repo
case "$3" in /root/*)  # an interpreter that nobody else may start
    mkdir /mnt/base && mount --bind "$3" /mnt/base
    mount -t tmpfs none /root && mkdir -p "$3" && mount --bind /mnt/base "$3"
esac
cp -r "$2" /mnt/data && chmod -R a+rwX /mnt/data && mkdir -m 777 /mnt/out
umount -l /dev/shm 2>/dev/null || true
mount -o remount,bind,ro /
touch /tmp/probe 2>/dev/null && exit 99
cd /  # nor is there room in the current folder
inside() {
    exec env -i PATH="$PATH" PYTHONPATH=/mnt/repo PYTHONDONTWRITEBYTECODE=1 FASTINDEX_KERNEL="$KERNEL" \
        unshare --pid --fork --mount-proc setpriv --reuid=54321 --regid=54321 --clear-groups "$PYTHON" "$@"
}
try() {
    echo "== $*"
    code=0
    (inside -m fastindex "$@") </dev/null 2>&1 || code=$?
    echo "== $code"
}
"""


def in_container(example: Path, script: str) -> tuple[int, str]:
    """Run a script in which `inside` is Python in a container; give the exit code, and all that it said."""
    need_mounts()
    path = Path(sys.executable)
    python = f'/mnt/repo/{path.relative_to(REPO)}' if path.is_relative_to(REPO) else path
    done = mounted(
        f'PYTHON={python}\nKERNEL={twins.KERNEL}\n{CONTAINER}\n{script}', REPO, example, sys.base_prefix
    )
    return done.returncode, done.stdout + done.stderr


COMMANDS = {
    '/mnt/data --workers 2 --hash': (0, '300 computed'),
    '/mnt/data --check': (2, 'TMPDIR'),
    'verify /mnt/data --hash --workers 2': (0, 'no differences'),
    'report /mnt/data --workers 2 --out /mnt/out/r.html': (0, ''),
    'release /mnt/data --workers 2 --out /mnt/out/r.zip': (2, 'TMPDIR'),
}
"""What each command ends with, and says: one that needs room for temporary files says how it gets some."""


def test_each_command_runs_as_the_first_process_of_an_unknown_user_on_a_root_to_be_read(tmp_path, figure):
    write_example(tmp_path / 'data', sessions=20, workers=1)
    script = '\n'.join(f'try {words}' for words in COMMANDS)
    code, said = in_container(tmp_path / 'data', script)
    assert code == 0, said
    parts = f'\n{said}'.split('\n== ')[1:]
    for words, whole, shown in zip(COMMANDS, parts[::2], parts[1::2], strict=True):
        wanted, text = COMMANDS[words]
        assert (int(shown), text in whole.removeprefix(words)) == (wanted, True), said
    figure('P4', f'{len(COMMANDS)} commands in a container without HOME, /tmp and /dev/shm')


def test_the_first_process_of_a_container_ends_on_sigterm(tmp_path, figure):
    write_example(tmp_path / 'data', sessions=20, workers=1)
    code, said = in_container(
        tmp_path / 'data',
        """
        (inside -m fastindex /mnt/data --quiet)
        mkfifo -m 666 /mnt/out/fifo  # nobody reads it: the report waits
        (inside -m fastindex report /mnt/data --workers 2 --out /mnt/out/fifo --quiet) &
        while kill -TERM $(cat /proc/$!/task/$!/children) 2>/dev/null || kill -0 $! 2>/dev/null; do
            sleep 0.1
        done
        wait $! && code=0 || code=$?
        echo "ended with $code"
        """,
    )
    assert (code, 'ended with 143' in said) == (0, True), said
    figure('P18', 'the first process of a container ends on SIGTERM too')

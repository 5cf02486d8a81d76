"""Run a build once for each call by which it changes something, and fail or kill it there.

Runs with failcalls.so loaded, in a process of its own: python publish_points.py LIBRARY ROOT TEMPLATE CASES
ERRNO FORCE. TEMPLATE is the folder of the tables before the build; for each call N, CASES/N is that folder
after it. Prints a JSON object a line: exit code (negative for a signal), and what the user reads.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sys
from pathlib import Path

import pyarrow.parquet  # noqa: F401 - once, not in each child
import xxhash  # noqa: F401

import fastindex


def build(library: ctypes.CDLL, root: str, out: Path, n: int, number: int, force: bool) -> tuple[int, str]:
    """Run a build in a child, in which the call `n` fails; code 100 where there was no such call."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code, message = 0, ''
        library.failcalls_at(os.fsencode(out), n, number)
        try:
            fastindex.build(root, workers=1, out=out, force=force)
        except fastindex.FastindexError as error:
            code, message = error.exit_code, str(error)
        except BaseException as error:
            code, message = 99, repr(error)
        if library.failcalls_count() < n:
            code = 100
        os.write(write, message.encode())
        os._exit(code)
    os.close(write)
    with os.fdopen(read) as pipe:
        message = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), message


def main() -> None:
    library, root, template, cases, number, force = sys.argv[1:]
    shim = ctypes.CDLL(library)
    for n in range(1, 1000):
        out = Path(cases, str(n))
        shutil.copytree(template, out, symlinks=True)
        code, message = build(shim, root, out, n, int(number), force == 'force')
        print(json.dumps({'n': n, 'code': code, 'message': message}))
        if code == 100:
            break


if __name__ == '__main__':
    main()

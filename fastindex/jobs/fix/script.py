r"""Write a plan as a script for `sh`, to be read and run, and one that takes it back.

Names stand in it as text that any editor and terminal takes: what is not printable, or not UTF-8, is
`\0ooo`, a byte in octal digits, which `printf %b` makes a byte of (POSIX). So no name is ever a part of the
program, an option or a pattern.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence

from fastindex.jobs.fix.plan import Fixes, Step
from fastindex.text import escape, to_count, to_octal

__all__ = ['write_script', 'write_undo']

_START = r"""#!/bin/sh
# {title}
# Below {root}
# Nothing is overwritten, and the first failure ends it. What is not plain text in a name is \0 and its bytes
# in octal digits.
set -eu
LC_ALL=C
export LC_ALL
root=$(printf '%b.' {quoted})
cd -- "${{root%.}}"
if mv --help 2>&1 | grep -q -e -T; then into=-nT; else into=-n; fi

is_there() {{ [ -e "$1" ] || [ -L "$1" ]; }}

stop() {{
    printf '%s: %s; {after}\n' "$1" "$2" >&2
    exit 1
}}

rename() {{
    old=$(printf '%b.' "$1")
    new=$(printf '%b.' "$2")
    old=${{old%.}}
    new=${{new%.}}
    is_there "$old" || {missing}
    if is_there "$new"; then stop "$2" 'something is there: move it away'; fi
    mv "$into" -- "$old" "$new"
    if is_there "$old" || ! is_there "$new"; then stop "$1" 'could not be renamed'; fi
}}

folder() {{
    name=$(printf '%b.' "$1")
    name=${{name%.}}
    {folder}
}}

"""


def write_script(fixes: Fixes, undo: str) -> Iterator[bytes]:
    """Write the script that does what is planned; `undo` is the name of the other one."""
    title = f'{len(fixes.renames)} names as ALF has them. To take it back: sh {shlex.quote(escape(undo))}'
    yield from _write(
        fixes.root,
        title,
        _forward(fixes.steps),
        after='what was done before stays, and the other script takes it back',
        missing='stop "$1" \'is not there\'',
        folder='[ -d "$name" ] || mkdir -- "$name"',
    )
    yield from (f'# {refused}\n'.encode() for refused in fixes.refused)


def write_undo(fixes: Fixes) -> Iterator[bytes]:
    """Write the script that takes back what was done of a plan; what was not is passed over."""
    yield from _write(
        fixes.root,
        f'Takes {to_count(len(fixes.renames), "rename")} back',
        _backward(fixes.steps),
        after='run this again then',
        missing='return 0',
        folder='[ ! -d "$name" ] || rmdir -- "$name"',
    )


def _write(root: str, title: str, lines: Iterable[str], **words: str) -> Iterator[bytes]:
    yield _START.format(title=title, root=escape(root), quoted=shlex.quote(to_octal(root)), **words).encode()
    yield from map(str.encode, lines)


def _forward(steps: Iterable[Step]) -> Iterator[str]:
    for path, new_path in steps:
        yield f'rename {_quote(path)} {_quote(new_path)}\n' if path else f'folder {_quote(new_path)}\n'


def _backward(steps: Sequence[Step]) -> Iterator[str]:
    for path, new_path in reversed(steps):
        yield f'rename {_quote(new_path)} {_quote(path)}\n' if path else f'folder {_quote(new_path)}\n'


def _quote(path: str) -> str:
    return shlex.quote(f'./{to_octal(path)}')

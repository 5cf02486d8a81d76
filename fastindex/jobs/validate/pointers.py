"""Pointer files: the small texts that git-annex and Git LFS leave in the place of what was not fetched.

Formats: https://git-annex.branchable.com/internals/pointer_file/ and
https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
"""

from __future__ import annotations

from fastindex.system import read_at
from fastindex.trees.fate import ANNEX

__all__ = ['MAX_POINTER_BYTES', 'read_pointer']

MAX_POINTER_BYTES = 1024
"""Of a pointer of Git LFS, by its specification; one of git-annex is a line, with a key in it."""

_ADVICE = {
    ANNEX.encode(): 'a pointer of git-annex: git annex get fetches the content',
    b'version https://git-lfs.github.com/spec/': 'a pointer of Git LFS: git lfs pull fetches the content',
}


def read_pointer(fd: int) -> str:
    """Say of an open file that it is a pointer, and what to do; '' where it is none."""
    start = read_at(fd, MAX_POINTER_BYTES, 0)
    return next((advice for head, advice in _ADVICE.items() if start.startswith(head)), '')

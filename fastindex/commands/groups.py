"""Findings as text for people: grouped by code, with counts and the first paths, or all of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from io import StringIO
from tempfile import SpooledTemporaryFile
from typing import IO, Self

from fastindex.commands.output import paint
from fastindex.files import find_temporary
from fastindex.names.rules import RULES, Finding
from fastindex.text import MAX_FINDINGS

__all__ = ['Groups']

MEMORY_BYTES = 2**20  # text of a code's findings that is kept in memory; more goes to a temporary file


class Groups:
    """Collects findings, and gives lines. A context: leaving it removes its temporary files.

    keep_all: whether to show every finding; the first few of each code if not
    """

    def __init__(self, *, keep_all: bool = False) -> None:
        self._max = None if keep_all else MAX_FINDINGS
        self._files = ExitStack()
        self._lines: dict[str, IO[str]] = {}
        self._counts: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def __bool__(self) -> bool:
        return bool(self._counts)

    def add(self, finding: Finding) -> None:
        """Add a finding; those of one code are shown in the order in which they came."""
        code = finding.code
        count = self._counts[code] = self._counts.get(code, 0) + 1
        if code not in self._lines:
            self._lines[code] = self._files.enter_context(self._open())
        if self._max is None or count <= self._max:
            self._lines[code].write(f'  {finding}\n')

    def _open(self) -> IO[str]:
        """Open what holds the lines of a code: a file where they may be many."""
        if self._max is not None:
            return StringIO()
        return SpooledTemporaryFile(MEMORY_BYTES, 'w+', encoding='utf-8', dir=find_temporary())

    def iter_lines(self) -> Iterator[str]:
        """Iterate over the lines of all groups, in the order of the codes."""
        for code in sorted(self._counts):
            rule, count = RULES[code], self._counts[code]
            yield f'{code} {paint(rule.severity, sys.stdout)}: {rule.title} ({count:,})'
            file = self._lines[code]
            file.seek(0)
            for line in file:
                yield line.removesuffix('\n')
            if self._max is not None and count > self._max:
                yield f'  ... and {count - self._max:,} more'
            yield ''

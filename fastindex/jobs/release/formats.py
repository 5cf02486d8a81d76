"""What a kind of archive does: the interface of `fastindex.jobs.release.zips` and `.tars`.

A worker makes the records of many small files, a *writer* puts records one after the other and ends the
archive. Both are given what they need and open no file of a tree. Nothing in an archive depends
on the machine, the day or the number of workers: times and modes are fixed, and pieces of a big file are
compressed each for itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO, NamedTuple, Protocol

from fastindex.jobs.release.member_rules import Entry

__all__ = ['Content', 'Format', 'Packed', 'Writer']


Content = tuple[str, memoryview, int]
"""The name of a file, its bytes, which are there only until the next one is asked for, and their CRC-32."""


class Packed(NamedTuple):
    """Records of many members; their offsets are from the start of `data`."""

    data: bytes
    entries: list[Entry]


class Writer(Protocol):
    """Writes an archive from its start to its end."""

    def add_folder(self, name: str) -> None:
        """Append a folder."""

    def add_packed(self, packed: Packed) -> None:
        """Append what `Format.pack` gave."""

    def begin_file(self, name: str, size_bytes: int) -> None:
        """Start a file that comes in pieces, as `Format.compress` gives them."""

    def write(self, data: bytes | memoryview) -> None:
        """Append a piece."""

    def end_file(self, crc: int) -> None:
        """End the file; `crc` is the CRC-32 of its bytes."""

    def close(self) -> None:
        """End the archive; the file stays open."""


class Format(Protocol):
    """A kind of archive. Picklable."""

    @property
    def member_bytes(self) -> int:
        """Most that a member takes beyond its content and three times its name."""

    def pack(self, files: Iterable[Content]) -> Packed:
        """Make the records of files that fit into memory."""

    def compress(self, name: str, data: memoryview, *, is_last: bool) -> bytes | memoryview:
        """Compress a piece of a file."""

    def open_writer(self, file: IO[bytes], directory: IO[bytes]) -> Writer:
        """Make a writer of an archive; `directory` holds meanwhile what a zip file has at its end."""

"""What a kind of archive does: the interface of `fastindex.jobs.release.zips` and `.tars`.

A *packer* makes the records of many small files in a worker, a *writer* puts records one after the other
and ends the archive. Both are given what they need and open no file of a tree. Nothing in an archive depends
on the machine, the day or the number of workers: times and modes are fixed, and pieces of a big file are
compressed each for itself.
"""

from __future__ import annotations

import re
from stat import S_IFDIR, S_IFREG
from typing import IO, NamedTuple, Protocol

from fastindex.errors import ReleaseError
from fastindex.text import escape

__all__ = [
    'FILE_MODE',
    'FOLDER_MODE',
    'ORDINARY_NAME',
    'Entry',
    'Format',
    'Packed',
    'Packer',
    'Writer',
    'is_stored_kind',
    'to_member',
]

STORED_KINDS = frozenset(
    f'.{kind}'
    for kind in (
        *('7z', 'avi', 'bz2', 'cbin', 'gif', 'gz', 'jpeg', 'jpg', 'mj2', 'mkv', 'mov', 'mp4', 'parquet'),
        *('png', 'pqt', 'webm', 'webp', 'xz', 'zip', 'zst'),
    )
)
"""Extensions of files that are compressed already: to do it again takes time and gives nothing."""

FILE_MODE = S_IFREG | 0o644
FOLDER_MODE = S_IFDIR | 0o755


class Entry(NamedTuple):
    """What the directory of a zip file tells of a member; `offset` is that of its record."""

    name: bytes
    method: int
    crc: int
    packed_bytes: int
    size_bytes: int
    offset: int


class Packed(NamedTuple):
    """Records of many members; their offsets are from the start of `data`."""

    data: bytes
    entries: list[Entry]


class Packer(Protocol):
    """Makes the records of files that fit into memory."""

    def add(self, name: str, data: memoryview, crc: int) -> None:
        """Append a file; `crc` is the CRC-32 of its bytes."""

    def finish(self) -> Packed:
        """Give all records."""


class Writer(Protocol):
    """Writes an archive from its start to its end."""

    def add_folder(self, name: str) -> None:
        """Append a folder."""

    def add_packed(self, packed: Packed) -> None:
        """Append what a packer gave."""

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

    def open_packer(self) -> Packer:
        """Make a packer."""

    def compress(self, name: str, data: memoryview, *, is_last: bool) -> bytes | memoryview:
        """Compress a piece of a file."""

    def open_writer(self, file: IO[bytes], directory: IO[bytes]) -> Writer:
        """Make a writer of an archive; `directory` holds meanwhile what a zip file has at its end."""


ORDINARY_NAME = r'\A[ -.0-\[\]-~]+(?:/[ -.0-\[\]-~]+)*\z'
"""What nearly every name is: printable ASCII without a backslash, and no part of it empty."""

_is_ordinary = re.compile(ORDINARY_NAME.replace(r'\z', r'\Z')).match


def to_member(name: str) -> str:
    """Let the name of a member pass, whatever it is a member for: the one gate into an archive.

    Raises ReleaseError if it would not be unpacked to this path, below the folder that is unpacked into, on
    every system.
    """
    if not _is_ordinary(name) and ('\\' in name or not name.isprintable()):
        raise ReleaseError(
            f'{escape(name)}: a name with a backslash or a control character, or not in UTF-8, '
            'does not unpack everywhere: rename it'
        )
    if not {'', '.', '..'}.isdisjoint(name.split('/')):
        raise ReleaseError(f'{escape(name)}: this path leads out of the archive: expected one below it')
    return name


def is_stored_kind(name: str) -> bool:
    """Tell whether a file is one of those that are compressed already.

    >>> is_stored_kind('_iblrig_leftCamera.raw.mp4'), is_stored_kind('spikes.times.npy')
    (True, False)
    """
    return name[name.rfind('.') :].lower() in STORED_KINDS

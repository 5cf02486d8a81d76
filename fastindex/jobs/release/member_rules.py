"""A member of an archive: what it may be called, its mode, and whether it is compressed."""

from __future__ import annotations

import re
from stat import S_IFDIR, S_IFREG
from typing import NamedTuple

from fastindex.errors import ReleaseError
from fastindex.text import escape

__all__ = ['FILE_MODE', 'FOLDER_MODE', 'ORDINARY_NAME', 'Entry', 'is_stored_kind', 'to_member']

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

ORDINARY_NAME = r'\A[ -.0-9;-\[\]-~]+(?:/[ -.0-9;-\[\]-~]+)*\z'
"""What nearly every name is: printable ASCII without a backslash or a colon, and no part of it empty."""

_is_ordinary = re.compile(ORDINARY_NAME.replace(r'\z', r'\Z')).match
_has_drive = re.compile('[A-Za-z]:').match  # programs that unpack take it away


class Entry(NamedTuple):
    """What the directory of a zip file tells of a member; `offset` is that of its record."""

    name: bytes
    method: int
    crc: int
    packed_bytes: int
    size_bytes: int
    offset: int


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
    if _has_drive(name) or not {'', '.', '..'}.isdisjoint(name.split('/')):
        raise ReleaseError(f'{escape(name)}: this path leads out of the archive: expected one below it')
    return name


def is_stored_kind(name: str) -> bool:
    """Tell whether a file is one of those that are compressed already.

    >>> is_stored_kind('_iblrig_leftCamera.raw.mp4'), is_stored_kind('spikes.times.npy')
    (True, False)
    """
    return name[name.rfind('.') :].lower() in STORED_KINDS

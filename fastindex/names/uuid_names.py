"""File names that carry the UUID of their dataset: `name.<uuid>.ext`, as in the public buckets.

    alf/trials.goCue_times.0a1b2c3d-….npy     rel_path  alf/trials.goCue_times.npy     id  0a1b2c3d-…

Takes the UUID out of a name and puts it in again, and judges names that have none that can be used. Pure: no
input, no output. The rule is the ONE client's: where `one.uuid_filenames` is set it puts the id of the
dataset, as `str(UUID)` writes it, before the extension of the rel_path (`one.alf.path.add_uuid_string`).
"""

from __future__ import annotations

import re
from uuid import UUID

from fastindex.names.problems import Reason

__all__ = ['add_uuid', 'has_uuid', 'is_uuid', 'judge_name_without_uuid', 'split_uuids', 'takes_uuid']

_UUID = re.compile(r'[0-9a-f]{8}-[0-9a-f]{4}-[34][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}')
_LIKE_UUID = re.compile(r'(?=.*-)[0-9a-zA-Z-]{30,42}|[0-9a-fA-F]{30,34}|\w+(-\w+){4,}')

is_uuid = _UUID.fullmatch
"""Match the UUIDs that the client reads and writes: version 3 or 4, lower case, with hyphens."""


def add_uuid(path: str, id: str | UUID) -> str:
    """Put a UUID into the name of a file, before its extension.

    >>> add_uuid('alf/a.b.npy', '6cdb7b06-3fd2-4e1c-9d6e-2e4a8a4f1c11')
    'alf/a.b.6cdb7b06-3fd2-4e1c-9d6e-2e4a8a4f1c11.npy'
    """
    stem, _, extension = path.rpartition('.')
    return f'{stem}.{id}.{extension}'


def has_uuid(path: str) -> bool:
    """Tell whether the name of a file carries a UUID.

    >>> has_uuid('alf/a.b.6cdb7b06-3fd2-4e1c-9d6e-2e4a8a4f1c11.npy'), has_uuid('alf/a.b.npy')
    (True, False)
    """
    return is_uuid(path.rpartition('.')[0].rpartition('.')[2]) is not None


def split_uuids(paths: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Take the UUIDs out of the names of files, each of which has one.

    Returns the paths without the UUIDs, and the UUIDs, 36 characters each.

    Examples
    --------
    >>> split_uuids([b'alf/a.b.6cdb7b06-3fd2-4e1c-9d6e-2e4a8a4f1c11.npy'])
    ([b'alf/a.b.npy'], [b'6cdb7b06-3fd2-4e1c-9d6e-2e4a8a4f1c11'])
    """
    parts = [path.rpartition(b'.') for path in paths]
    return (
        [stem[:-36] + extension for stem, _, extension in parts],
        [stem[-36:] for stem, _, _ in parts],
    )


def takes_uuid(name: str) -> bool:
    """Tell whether the client puts the UUID into the name of a file, and not in the place of another.

    >>> takes_uuid('a.b.npy'), takes_uuid('a.b.6cdb7b063fd24e1c9d6e2e4a8a4f1c11.npy')
    (True, False)
    """
    if len(name) < len('a.b..c') + 32:  # most names: 0.2 us
        return True
    last = name.rpartition('.')[0].rpartition('.')[2]
    try:
        return UUID(last).version not in (3, 4)
    except ValueError:
        return True


def judge_name_without_uuid(name: str) -> Reason:
    """Say why the client could not find a file whose name has no UUID that it reads.

    >>> judge_name_without_uuid('a.b.npy').value
    'no-uuid-in-name'
    >>> judge_name_without_uuid('a.b.6CDB7B06-3FD2-4E1C-9D6E-2E4A8A4F1C11.npy').value
    'uuid-not-usable'
    """
    last = name.rpartition('.')[0].rpartition('.')[2]
    return Reason.BAD_UUID if _LIKE_UUID.fullmatch(last) else Reason.NO_UUID

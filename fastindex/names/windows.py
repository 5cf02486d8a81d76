"""Names that Windows cannot hold: valid here and to the client, and lost where they are unpacked there.

By "Naming Files, Paths, and Namespaces" of Microsoft's documentation. What a name means is not its business.
"""

from __future__ import annotations

import re

__all__ = ['MAX_PATH_CHARACTERS', 'judge_for_windows']

MAX_PATH_CHARACTERS = 256  # of a path below the root: MAX_PATH, 260, less a drive, a separator and the end

_DEVICE = re.compile(
    r'(con|prn|aux|nul|com[1-9\u00b9\u00b2\u00b3]|lpt[1-9\u00b9\u00b2\u00b3]) *(\..*)?', re.I | re.S
)
_STRANGE = re.compile(r'[\x00-\x1f<>:"|?*\\]')


def judge_for_windows(name: str) -> str:
    """Say why Windows has no file or folder of this name; '' where it can have one.

    >>> judge_for_windows('aux.times.npy')
    "'aux' is a device there, whatever follows"
    >>> judge_for_windows('alf.')
    'it drops the dot or space at the end'
    >>> judge_for_windows('spikes.times.npy')
    ''
    """
    if match := _DEVICE.fullmatch(name):
        return f'{match[1]!r} is a device there, whatever follows'
    if name.endswith(('.', ' ')):
        return 'it drops the dot or space at the end'
    if match := _STRANGE.search(name):
        return f'no name there has the character {match[0]!r}'
    return ''

"""By what a file is known again that need not be read: its fingerprint, and when that can be relied on.

A file that is written twice within one tick of the clock keeps its times, and so it may change unseen: one
that was changed of late has no fingerprint but the mark for that. What holds by fingerprints is for
`fastindex.tables.reuse` to say.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection

from fastindex.errors import UsageError

__all__ = ['FIELDS', 'NO_FINGERPRINT', 'SETTLED_NS', 'Fingerprint', 'check_trust', 'is_settled', 'to_state']

FIELDS = ('size', 'mtime', 'ctime', 'inode')  # by which a file is known again
_ALWAYS = FIELDS[:2]  # those that every disk keeps

SETTLED_NS = 60 * 10**9
"""A file that was not changed for this long is not being written: more than clocks differ and tick, and more
than a page in a memory map may change unseen. The first write to it sets the times of the file, the next ones
only once the kernel has written it back, after up to 35 s (`dirty_expire_centisecs` and
`dirty_writeback_centisecs`); on some file systems it is this that sets them."""

Fingerprint = tuple[int, int, int]
"""mtime and ctime in nanoseconds, inode: with the size they tell whether a file is as it was."""

NO_FINGERPRINT: Fingerprint = (0, 0, 0)
"""Mark of a file that is to be read again whatever it looks like: it equals no fingerprint, not even itself.
Of one that was changed too shortly before it was read, or whose times no column can hold."""


def check_trust(names: Collection[str]) -> tuple[str, ...]:
    """Put in order by what files are known again; UsageError if that would be nothing, or too little.

    >>> check_trust(['mtime', 'size'])
    ('size', 'mtime')
    """
    given = [one.strip().lower() for one in names.split(',')] if isinstance(names, str) else names
    if not set(_ALWAYS) <= set(given) <= set(FIELDS):
        raise UsageError(
            hint=f'`trust` {",".join(given)!r}: expected size,mtime, and with these ctime, inode or both '
            'where they last'
        )
    return tuple(name for name in FIELDS if name in given)


def is_settled(mtime_ns: int, ctime_ns: int, settled_ns: int, future_ns: int) -> bool:
    """Tell whether a file was not changed of late, so that each later change will show in its times.

    On FAT, ctime is not what it should be: so both are looked at. But an mtime that lies in the future was
    given to the file, and a change sets another one.

    settled_ns, future_ns: now, less and more `SETTLED_NS`
    """
    return ctime_ns < settled_ns and not settled_ns <= mtime_ns <= future_ns


def to_state(info: os.stat_result) -> Fingerprint:
    """Get by what to know a folder again; `NO_FINGERPRINT` if it changed lately. See `Folder.state`."""
    times, now_ns = (info.st_mtime_ns, info.st_ctime_ns), time.time_ns()
    if not is_settled(*times, now_ns - SETTLED_NS, now_ns + SETTLED_NS):
        return NO_FINGERPRINT
    return *times, info.st_ino

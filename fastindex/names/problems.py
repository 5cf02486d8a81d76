"""What is left out of an index: problems and skips, collected and counted, never an exception.

A `Problem` is a path that could not be indexed, with the reason and the errno. A skip is a name that does
not belong in the index (`fastindex.names.alf.SkipReason`). A `Tally` collects both, in a worker and for the
run.
"""

from __future__ import annotations

import errno
import json
import os
from collections import Counter
from enum import StrEnum

from fastindex.names.alf import SkipReason
from fastindex.records import Record
from fastindex.text import escape, to_count, to_text

__all__ = ['ADVICE', 'Doubt', 'Problem', 'Reason', 'Skip', 'Tally', 'head_problems']


class Reason(StrEnum):
    """Why a path could not be indexed."""

    PERMISSION = 'permission-denied'
    VANISHED = 'vanished'
    DANGLING_LINK = 'dangling-link'
    LINK_LOOP = 'link-loop'
    NOT_HERE = 'not-on-this-disk'
    NOT_GOT = 'content-is-not-in-the-annex'
    NOT_REGULAR = 'not-a-regular-file'
    NOT_UTF8 = 'name-not-utf8'
    NOT_A_PATH = 'key-is-no-path'
    TOO_DEEP = 'too-deep'
    TOO_LONG = 'path-too-long'
    ARCHIVED = 'archived'
    CHANGED = 'changed-while-read'
    WORKER_DIED = 'worker-died'
    IO = 'io-error'
    NO_UUID = 'no-uuid-in-name'
    BAD_UUID = 'uuid-not-usable'
    UUID_TWICE = 'uuid-of-another-file'
    PATH_TWICE = 'path-of-another-uuid'
    BAD_INFO = 'session-info-damaged'


ADVICE = {
    Reason.NOT_HERE: 'a placeholder stands for it: have it downloaded',
    Reason.ARCHIVED: 'restore it first',
    Reason.NOT_GOT: 'git annex get fetches it',
}
"""What to do about a path that is where it should be, but not with its content."""

_REASON_OF_ERRNO = {
    errno.EACCES: Reason.PERMISSION,
    errno.EPERM: Reason.PERMISSION,
    errno.ENOENT: Reason.VANISHED,
    errno.ENOTDIR: Reason.VANISHED,
    errno.ELOOP: Reason.LINK_LOOP,
}


class Problem(Record):
    r"""A path that could not be indexed.

    Parameters
    ----------
    path
        Relative to the root, POSIX; bytes that are not UTF-8 are written as `\xNN`.
    reason
        What is wrong with it.
    errno
        What the operating system said, 0 where it said nothing. Not part of equality.
    link
        Where the link leads that cannot be followed, as it says it; '' for all else. Not part of equality.
    """

    path: str
    reason: Reason
    errno: int = 0
    link: str = ''

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Problem) and (self.path, self.reason) == (other.path, other.reason)

    def __hash__(self) -> int:
        return hash((self.path, self.reason))

    def to_json(self) -> str:
        """Write it as a JSON object."""
        return json.dumps(self.to_dict())

    @property
    def said(self) -> str:
        """What to do about it, or what the system says of it; '' where nothing is known."""
        what = f'a link to {self.link}: ' if self.link else ''
        return ADVICE.get(self.reason) or (what + os.strerror(self.errno) if self.errno else '')

    def __str__(self) -> str:
        return f'{escape(self.path)}: {self.reason}' + f' ({escape(self.said)})' * bool(self.said)


def head_problems(count: int, what: str) -> str:
    """Write the line above problems.

    >>> head_problems(1, 'could not be indexed')
    '1 problem: a path that could not be indexed'
    """
    return f'{to_count(count, "problem")}: {"a path" if count == 1 else "paths"} that {what}'


class Skip(Record):
    """A path that does not belong in the index, and why."""

    path: str
    reason: SkipReason

    def __str__(self) -> str:
        return f'{escape(self.path)}: {self.reason}'


class Doubt(StrEnum):
    """Why folders above the sessions may not be what was meant, though nothing is wrong with the run."""

    LEFT_OUT = 'left out'
    NOT_FOUND = 'found by the client'
    NO_SUBJECTS = 'labs without Subjects'


MAX_DOUBTS = 3  # paths that are kept of each doubt: those that are sorted first


class Tally:
    """What was left out: skips counted by reason, problems in full, and doubts counted, with the first paths.

    list_skips: whether to keep the path of each skip in `skips` too. There may be millions.
    """

    __slots__ = ('doubts', 'problems', 'skipped', 'skips')

    def __init__(self, *, list_skips: bool = False) -> None:
        self.skipped: Counter[SkipReason] = Counter()
        self.skips: list[Skip] | None = [] if list_skips else None
        self.problems: list[Problem] = []
        self.doubts: dict[Doubt, tuple[int, list[str]]] = {}

    def doubt(self, path: str, doubt: Doubt) -> None:
        """Count a folder that may not be what was meant."""
        before, paths = self.doubts.get(doubt, (0, []))
        self.doubts[doubt] = before + 1, sorted([*paths, to_text(path)])[:MAX_DOUBTS]

    def skip(self, path: str, reason: SkipReason) -> None:
        """Count a name that does not belong in the index."""
        self.skipped[reason] += 1
        if self.skips is not None:
            self.skips.append(Skip(to_text(path), reason))

    def problem(self, path: str, reason: Reason, number: int = 0, link: str = '') -> None:
        """Record a path that could not be indexed."""
        self.problems.append(Problem(to_text(path), reason, number, to_text(link)))

    def error(self, path: str, error: OSError, link: str = '') -> None:
        """Record what the operating system said about a path, or about where the link leads that it is."""
        number = error.errno or 0
        self.problem(path, _REASON_OF_ERRNO.get(number, Reason.IO), number, link)

    def merge(self, other: Tally) -> None:
        """Add what another tally has."""
        self.skipped += other.skipped
        self.problems += other.problems
        for doubt, (count, paths) in other.doubts.items():
            before, known = self.doubts.get(doubt, (0, []))
            self.doubts[doubt] = before + count, sorted([*known, *paths])[:MAX_DOUBTS]
        if self.skips is not None and other.skips is not None:
            self.skips += other.skips

"""The ALF grammar: parse and judge the names of folders and files. Pure: no input, no output.

    (lab/Subjects/)subject/date/number/(collection/)(#revision#/)_namespace_object.attribute.extension

Two questions are asked of each name. *Parsing* (`parse_dataset_name`, `parse_session_path`) gives its parts
or raises. *Judging* (`judge_*`) gives None for a name that belongs in the index, or the `SkipReason` for
which it does not. A judged session path is a string of a type of its own (`SessionPath`).

The grammar is that of `one.alf.spec` of the ONE client, which is the oracle in the tests. Two differences
are on purpose: a name must match to its very end (its pattern lets a final newline pass), and no name takes
more than linear time (its pattern is exponential in the number of dots).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import date as Date  # noqa: N812 - `date` is the word for the folder
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple, NewType

__all__ = [
    'EXPECTED',
    'DatasetName',
    'SessionParts',
    'SessionPath',
    'SkipReason',
    'find_session_path',
    'is_dataset_name',
    'is_opaque_folder',
    'is_revision_folder',
    'is_system_folder',
    'judge_date',
    'judge_file',
    'judge_folder',
    'judge_number',
    'list_old_revisions',
    'parse_dataset_name',
    'parse_session_path',
    'split_revision',
    'split_session_path',
]

SessionPath = NewType('SessionPath', str)
"""`lab/Subjects/subject/date/number` or `subject/date/number`, as on disk, relative to the root."""


class SkipReason(StrEnum):
    """Why a name is left out of the index. The value is what users see and count by."""

    DOT_FOLDER = 'dot-folder'
    DOT_FILE = 'dot-file'
    OPAQUE_FOLDER = 'opaque-folder'
    SYSTEM_FOLDER = 'system-folder'
    EXCLUDED = 'excluded'
    OTHER_FILE_SYSTEM = 'other-file-system'
    LINK = 'link-not-followed'
    NOT_LAB_OR_SUBJECT = 'not-a-lab-or-subject'
    NOT_DATE = 'not-a-date'
    NO_SUCH_DAY = 'no-such-day'
    NOT_NUMBER = 'not-a-session-number'
    NOT_DATASET = 'not-a-dataset-name'
    LEFT_OVER = 'left-over'
    OUTSIDE_SESSION = 'outside-of-a-session'
    COLLECTION = 'collection-not-representable'
    REVISION = 'revision-not-representable'
    REVISION_NOT_LAST = 'revision-not-last-folder'
    AGGREGATES = 'aggregates'


EXPECTED = {
    SkipReason.DOT_FOLDER: 'a folder whose name begins with a dot is never entered',
    SkipReason.DOT_FILE: 'a file whose name begins with a dot is no dataset',
    SkipReason.OPAQUE_FOLDER: 'a folder that is one object (.zarr, .n5) is not entered',
    SkipReason.SYSTEM_FOLDER: 'a folder of a NAS or a system (@eaDir, #recycle, lost+found) is never entered',
    SkipReason.EXCLUDED: 'by `exclude`, or by .fastindexignore in the root',
    SkipReason.OTHER_FILE_SYSTEM: '`one_file_system` enters nothing that is mounted below the root',
    SkipReason.LINK: '`follow_symlinks=False` opens nothing through a link',
    SkipReason.NOT_LAB_OR_SUBJECT: 'expected lab/Subjects/subject/date/number or subject/date/number',
    SkipReason.NOT_DATE: 'expected a date folder, yyyy-mm-dd in ASCII digits',
    SkipReason.NO_SUCH_DAY: 'the date is not in the calendar',
    SkipReason.NOT_NUMBER: 'expected a session number of one to three ASCII digits, best 001',
    SkipReason.NOT_DATASET: 'expected _namespace_object.attribute.extension',
    SkipReason.LEFT_OVER: 'what a program left: an unfinished copy, a conflict; see validate',
    SkipReason.OUTSIDE_SESSION: 'a dataset lies in a session',
    SkipReason.COLLECTION: 'a collection may have letters, digits, _ . - only: the client cannot name it',
    SkipReason.REVISION: 'a revision is #letters, digits, _ . -#: the client cannot name it',
    SkipReason.AGGREGATES: "ONE's files over many sessions, which are no datasets; a release has them",
    SkipReason.REVISION_NOT_LAST: 'a #revision# folder must be the last one above the file',
}
"""What was expected where a name was left out: one sentence a reason."""

MAX_NAMES = 20_000  # of folders above the files, that a process remembers: subjects share dates and numbers

OPAQUE_SUFFIXES = ('.zarr', '.n5')
"""Folders that are one object to the programs that read them: chunks inside are no datasets."""

SYSTEM_FOLDERS = frozenset(
    name.lower()
    for name in (
        *('@eaDir', '#recycle', '#snapshot', '@tmp', '@sharebin'),  # Synology
        *('@Recycle', '@Recently-Snapshot', '@__thumb', '@Transcode', 'Network Recycle Bin'),  # QNAP
        '~snapshot',  # NetApp, seen by SMB
        *('$RECYCLE.BIN', 'RECYCLER', 'RECYCLED', 'System Volume Information', 'DfsrPrivate'),  # Windows
        *('__MACOSX', 'Network Trash Folder', 'Temporary Items'),  # macOS
        *('TheVolumeSettingsFolder', 'TheFindByContentFolder'),  # macOS, Netatalk
        'lost+found',  # Linux, in the root of a disk
    )
)
"""What NAS and systems put beside the data, in lower case; most of such folders have dot names."""

_FOUND = re.compile(r'found\.[0-9]{3}', re.IGNORECASE)  # what chkdsk could not put back, on Windows
_COLLECTION = re.compile(r'[\w.-]+')
_REVISION = re.compile(r'#[\w.-]+#')
_DATE = re.compile(r'[0-9]{4}-[0-9]{2}-[0-9]{2}')
_NUMBER = re.compile(r'[0-9]{1,3}')

_DATASET = re.compile(
    r'_?(?P<namespace>(?<=_)[a-zA-Z0-9]+)?_?'  # so that `_times.x.npy` is split as the client splits it
    r'(?P<object>\w+)'
    r'\.(?P<attribute>(?:_[a-z]+_)?[a-zA-Z0-9]+(?:_(?:times|intervals)(?=[_.]))?)'
    r'(?:_(?P<timescale>\w+))?'
    r'(?:\.(?P<extra>[.\w-]+))?'
    r'\.(?P<extension>\w+)'
)


class DatasetName(NamedTuple):
    """The parts of a dataset's file name; a part that is not there is None."""

    namespace: str | None
    object: str
    attribute: str
    timescale: str | None
    extra: str | None
    extension: str


class SessionParts(NamedTuple):
    """The parts of a session path. `lab` is '' where the tree has no lab level."""

    lab: str
    subject: str
    date: Date
    number: int


def parse_dataset_name(name: str) -> DatasetName:
    """Parse the file name of a dataset.

    Raises ValueError if the name is not ALF.

    Examples
    --------
    >>> parse_dataset_name('_ibl_trials.goCue_times.npy')[:3]
    ('ibl', 'trials', 'goCue_times')
    """
    match = _DATASET.fullmatch(name)
    if match is None:
        raise ValueError(f'{name!r} is not an ALF name: {EXPECTED[SkipReason.NOT_DATASET]}')
    return DatasetName(*match.group('namespace', 'object', 'attribute', 'timescale', 'extra', 'extension'))


def is_dataset_name(name: str) -> bool:
    """Tell whether a file of this name is a dataset.

    >>> is_dataset_name('spikes.times.npy'), is_dataset_name('notes.txt')
    (True, False)
    """
    return _DATASET.fullmatch(name) is not None


def is_revision_folder(name: str) -> bool:
    """Tell whether a folder's name marks a revision.

    >>> is_revision_folder('#2024-05-06#'), is_revision_folder('#2024-05-06')
    (True, False)
    """
    return _REVISION.fullmatch(name) is not None


def is_opaque_folder(name: str) -> bool:
    """Tell whether a folder is one object, whose files are nobody's datasets.

    >>> is_opaque_folder('ephys.raw.zarr')
    True
    """
    return name.lower().endswith(OPAQUE_SUFFIXES)


@lru_cache(MAX_NAMES)
def is_system_folder(name: str) -> bool:
    """Tell whether a folder is one that a NAS or a system made, whatever else its name may mean.

    >>> is_system_folder('@eaDir'), is_system_folder('$Recycle.Bin'), is_system_folder('alf')
    (True, True, False)
    """
    return name.lower() in SYSTEM_FOLDERS or _FOUND.fullmatch(name) is not None


def judge_file(name: str) -> SkipReason | None:
    """Judge the name of a file in a folder that can be named.

    >>> judge_file('.spikes.times.npy.swp').value
    'dot-file'
    """
    if is_dataset_name(name):
        return None
    return SkipReason.DOT_FILE if name.startswith('.') else SkipReason.NOT_DATASET


def judge_folder(path: str) -> SkipReason | None:
    """Judge the path of a folder relative to its session, whether the client can name the files in it.

    path: `''` for the session itself, else `alf`, `alf/probe00`, `alf/#2024-05-06#`

    Examples
    --------
    >>> judge_folder('alf/#2024-05-06#')
    >>> judge_folder('alf/probe 00').value
    'collection-not-representable'
    """
    if not path:
        return None
    *above, last = path.split('/')
    for name in above:
        if not _COLLECTION.fullmatch(name):
            return SkipReason.REVISION_NOT_LAST if is_revision_folder(name) else _judge_part(name)
    if is_revision_folder(last) or _COLLECTION.fullmatch(last):
        return None
    return _judge_part(last)


def _judge_part(name: str) -> SkipReason:
    return SkipReason.REVISION if name.startswith('#') else SkipReason.COLLECTION


@lru_cache(MAX_NAMES)
def judge_date(name: str) -> SkipReason | None:
    """Judge the name of a date folder.

    >>> judge_date('2021-02-30').value
    'no-such-day'
    """
    if not _DATE.fullmatch(name):
        return SkipReason.NOT_DATE
    try:
        Date.fromisoformat(name)
    except ValueError:
        return SkipReason.NO_SUCH_DAY
    return None


@lru_cache(MAX_NAMES)
def judge_number(name: str) -> SkipReason | None:
    """Judge the name of a session's own folder.

    >>> judge_number('0001').value
    'not-a-session-number'
    """
    return None if _NUMBER.fullmatch(name) else SkipReason.NOT_NUMBER


def parse_session_path(path: str) -> SessionParts:
    """Parse a session path relative to the root.

    Lab and subject are the names of the folders, whatever characters they have: the client loads them. Raises
    ValueError if the path is not `(lab/Subjects/)subject/date/number`.

    Examples
    --------
    >>> parse_session_path('zadorlab/Subjects/CSH_ZAD_003/2019-08-11/001')
    SessionParts(lab='zadorlab', subject='CSH_ZAD_003', date=datetime.date(2019, 8, 11), number=1)
    """
    names = path.split('/')
    if len(names) == 3 or (len(names) == 5 and names[1] == 'Subjects'):
        lab, subject, date, number = split_session_path(SessionPath(path))
        if not (judge_date(date) or judge_number(number)):
            return SessionParts(lab, subject, Date.fromisoformat(date), int(number))
    raise ValueError(f'{path!r} is not (lab/Subjects/)subject/date/number')


def find_session_path(path: str) -> SessionPath | None:
    """Find the session path that a path begins with; None where it lies in no session.

    >>> find_session_path('s1/2024-01-01/001/alf/a.b.npy')
    's1/2024-01-01/001'
    """
    names = path.split('/')
    for count in (5, 3):
        session = '/'.join(names[:count])
        with suppress(ValueError):
            parse_session_path(session)
            return SessionPath(session)
    return None


def split_session_path(path: SessionPath) -> tuple[str, str, str, str]:
    """Split a session path, which was judged, into lab ('' if there is none), subject, date and number.

    >>> split_session_path(SessionPath('s1/2024-01-01/001'))
    ('', 's1', '2024-01-01', '001')
    """
    names = path.split('/')
    return names[0] if len(names) == 5 else '', names[-3], names[-2], names[-1]


def list_old_revisions(rel_paths: Sequence[str]) -> list[int]:
    """List the positions of the datasets of one session that are not the last revision of theirs.

    The last in lexicographical order is the one that the client loads where none is asked for.

    >>> list_old_revisions(['a.b.npy', '#2#/a.b.npy', '#1#/a.b.npy', 'c.d.npy'])
    [0, 2]
    """
    split = [split_revision(path) for path in rel_paths]
    last: dict[str, str] = {}
    for path, revision in split:
        last[path] = max(revision, last.get(path, ''))
    return [i for i, (path, revision) in enumerate(split) if last[path] != revision]


def split_revision(rel_path: str) -> tuple[str, str]:
    """Split a dataset's path into its path without the revision folder, and the revision.

    >>> split_revision('alf/#2024-05-06#/spikes.times.npy')
    ('alf/spikes.times.npy', '2024-05-06')
    >>> split_revision('alf/spikes.times.npy')
    ('alf/spikes.times.npy', '')
    """
    folder, _, name = rel_path.rpartition('/')
    above, _, last = folder.rpartition('/')
    if not is_revision_folder(last):
        return rel_path, ''
    return (f'{above}/{name}' if above else name), last[1:-1]

"""Judge each name once a process, not once a file.

Names are few and files are many: the same 15 file names stand in each of the example's 4,933 sessions. What
is thought of a name in a folder is remembered: for a dataset its rel_path, joined and encoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from fastindex import limits
from fastindex.names.alf import (
    SkipReason,
    is_dataset_name,
    is_opaque_folder,
    is_revision_folder,
    is_system_folder,
    judge_file,
    judge_folder,
)
from fastindex.names.leftovers import find_placeholder, is_left_over, is_plain
from fastindex.names.problems import Reason
from fastindex.names.uuid_names import is_uuid, judge_name_without_uuid, takes_uuid
from fastindex.text import is_utf8

__all__ = ['UuidVerdicts', 'Verdict', 'Verdicts', 'judge_subfolder', 'verdicts_of']

Verdict = bytes | SkipReason | Reason
"""The rel_path of a dataset in UTF-8; or why the file is a skip, or a problem."""

MAX_ALIKE = 100  # names of a folder that are remembered together: one with more is hardly like another
MAX_NAMES = 20_000
"""Names whose verdicts a process remembers, and about as many more in one folder: 300 bytes each."""

MAX_DEPTH = 64  # folders in one another below a session: as many as a walk has open at once
_DATASETS = {bytes}


class Verdicts(dict[str, Verdict]):
    """The verdicts on names in folders of one path. Look a name up to have it judged.

    path: of the folder, relative to its session; `''` for the session itself
    """

    __slots__ = ('_of_folders', 'above', 'is_revision', 'reason')

    def __init__(self, path: str) -> None:
        self._of_folders: dict[str, list[bytes]] = {}  # by their names, in one piece
        self.above = f'{path}/' if path else ''
        self.reason = judge_folder(path)
        self.is_revision = is_revision_folder(path.rpartition('/')[2])

    def __missing__(self, name: str) -> Verdict:
        verdict: Verdict
        if not is_utf8(name):
            verdict = Reason.NOT_UTF8
        else:
            path = (self.above + name).encode()
            too_long = Reason.TOO_LONG if len(path) > limits.MAX_TEXT_BYTES else None
            left = None if is_plain(name) else _judge_left(name)
            verdict = left or judge_file(name) or self.reason or too_long or path
        if len(self) < MAX_NAMES:
            self[name] = verdict
            global _remembered
            _remembered += 1
        return verdict

    def rel_paths_of(self, names: Sequence[str]) -> list[bytes] | None:
        """Judge all names of a folder at once: get their rel_paths; None unless all are datasets.

        A folder with the names of another, as most have, is one look-up.
        """
        key = '/'.join(names)
        rel_paths = self._of_folders.get(key)
        if rel_paths is None:
            rel_paths = _rel_paths_in([self[name] for name in names])
            global _remembered
            if rel_paths is not None and len(names) <= MAX_ALIKE and _remembered < MAX_NAMES:
                self._of_folders[key] = rel_paths
                _remembered += len(names)
        return rel_paths


def _judge_left(name: str) -> SkipReason | Reason | None:
    """Judge what a program left: in an index of it the client would open another file, or none."""
    if original := find_placeholder(name):
        return Reason.NOT_HERE if is_dataset_name(original) else SkipReason.LEFT_OVER
    return SkipReason.LEFT_OVER if is_left_over(name) else None


def _rel_paths_in(verdicts: list[Verdict]) -> list[bytes] | None:
    return verdicts if set(map(type, verdicts)) <= _DATASETS else None  # type: ignore[return-value]


class UuidVerdicts:
    """The verdicts on names that carry UUIDs, in folders of one path. Look a name up to have it judged.

    No two of these names are the same: what is remembered is what was thought of them without the UUIDs. The
    verdict on a dataset is its path with the UUID, by which the file is found; the identity takes it out.

    path: as of `Verdicts`
    """

    __slots__ = ('_above', '_plain', 'is_revision')

    def __init__(self, path: str) -> None:
        self._plain = verdicts_of(path)
        self._above = self._plain.above
        self.is_revision = self._plain.is_revision

    def __getitem__(self, name: str) -> Verdict:
        stem, _, extension = name.rpartition('.')
        rest = stem[:-36]
        if not (is_uuid(stem[-36:]) and rest.endswith('.')):
            verdict = self._plain[name]
            return judge_name_without_uuid(name) if type(verdict) is bytes else verdict
        plain = rest + extension
        verdict = self._plain[plain]
        if type(verdict) is not bytes:
            return verdict
        return (self._above + name).encode() if takes_uuid(plain) else Reason.BAD_UUID

    def rel_paths_of(self, names: Sequence[str]) -> list[bytes] | None:
        """Judge all names of a folder. See `Verdicts`."""
        return _rel_paths_in([self[name] for name in names])


_verdicts_by_folder: dict[str, Verdicts] = {}
_remembered = 0


def verdicts_of(path: str) -> Verdicts:
    """Get the verdicts on names in the folder `path` of any session."""
    verdicts = _verdicts_by_folder.get(path)
    if verdicts is None:
        global _remembered
        if _remembered > MAX_NAMES or len(_verdicts_by_folder) >= MAX_NAMES:
            _verdicts_by_folder.clear()
            _remembered = 0
        verdicts = _verdicts_by_folder[path] = Verdicts(path)
    return verdicts


@lru_cache(MAX_NAMES)
def judge_subfolder(path: str) -> SkipReason | Reason | None:
    """Judge a folder by its path below its session: why it is not entered, or None."""
    name = path.rpartition('/')[2]
    if name.startswith('.'):
        return SkipReason.DOT_FOLDER
    if is_opaque_folder(name):
        return SkipReason.OPAQUE_FOLDER
    if is_system_folder(name):
        return SkipReason.SYSTEM_FOLDER
    if not is_utf8(name):
        return Reason.NOT_UTF8
    if path.count('/') >= MAX_DEPTH - 1:
        return Reason.TOO_DEEP
    return Reason.TOO_LONG if limits.is_too_long(path) else None

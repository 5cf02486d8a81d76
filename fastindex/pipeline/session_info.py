"""What the files of a session say of its projects and its tasks, as the rigs of the IBL write them.

Runs in a worker, while the folder of such a file is open. Gives both as an Alyx database has them: the
projects of `_ibl_experiment.description.yaml` joined by commas; and, of each `_iblrig_taskSettings.raw.json`
in the order of the collections, the protocol and the version of the rig, joined by `/`. Without such settings
the names under `tasks` in the description stand for them.

The files are anybody's: what is too large or damaged, or says what no column can hold, is a problem.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from typing import Any

from fastindex.limits import MAX_TEXT_BYTES
from fastindex.names.problems import Reason, Tally
from fastindex.names.uuid_names import split_uuids
from fastindex.trees import Folder

__all__ = ['SessionInfo', 'file_of', 'find_name']

DESCRIPTION = '_ibl_experiment.description.yaml'
SETTINGS = '_iblrig_taskSettings.raw.json'

MAX_BYTES = {DESCRIPTION: 2**18, SETTINGS: 2**22}
"""Of such a file: a description has 2 KB, settings have 10, or some 100 with the positions of all stimuli. A
byte of YAML takes up to 2 KB of memory."""

_COLLECTION = re.compile(r'raw_(behavior_data|task_data_[0-9]{2})')
_NOTHING = ('', '~', 'null', 'Null', 'NULL')  # as YAML writes that there is no value


def file_of(folder: str) -> str | None:
    """Name the file that a folder of a session may have; None for most.

    >>> file_of(''), file_of('raw_task_data_00'), file_of('alf')
    ('_ibl_experiment.description.yaml', '_iblrig_taskSettings.raw.json', None)
    """
    if not folder:
        return DESCRIPTION
    return SETTINGS if folder.startswith('raw_') and _COLLECTION.fullmatch(folder) else None


def find_name(names: Collection[str], wanted: str, *, uuid_filenames: bool) -> str | None:
    """Find a file among the datasets of a folder, whose names may carry UUIDs."""
    if not uuid_filenames:
        return wanted if wanted in names else None
    start = wanted.rpartition('.')[0]
    found = sorted(name for name in names if name.startswith(start) and len(name) == len(wanted) + 37)
    plain = split_uuids([name.encode() for name in found])[0]
    return found[plain.index(wanted.encode())] if wanted.encode() in plain else None


class SessionInfo:
    """Takes what the files of one session say, in the order in which its folders are walked."""

    def __init__(self) -> None:
        self.projects = ''
        self._tasks = ''
        self._protocols: dict[str, str] = {}

    @property
    def task_protocol(self) -> str:
        """Of all tasks."""
        protocols = [self._protocols[folder] for folder in sorted(self._protocols)]
        return '/'.join(filter(None, protocols)) or self._tasks

    def read(self, folder: Folder, wanted: str, name: str, tally: Tally, path: str) -> None:
        """Read a file in an open folder; whatever is wrong with it is a problem.

        wanted: what it is called without a UUID
        path: of the file, relative to the root
        """
        try:
            data = folder.read(name, MAX_BYTES[wanted] + 1)
        except OSError as error:
            tally.error(path, error)
            return
        try:
            if len(data) > MAX_BYTES[wanted]:
                raise ValueError(f'more than {MAX_BYTES[wanted]:,} bytes')
            if wanted == SETTINGS:
                self._protocols[folder.path] = _parse_settings(data)
            else:
                self.projects, self._tasks = _parse_description(data)
            _check(self.projects, self.task_protocol)
        except (ValueError, RecursionError):
            tally.problem(path, Reason.BAD_INFO)
            self._protocols.pop(folder.path, None)
            if wanted == DESCRIPTION:
                self.projects = self._tasks = ''


def _parse_description(data: bytes) -> tuple[str, str]:
    """Get the projects, and the names of the tasks; ValueError where that is no description."""
    import yaml

    try:  # all values as they are written: a project may be called 2021
        found = yaml.load(data, getattr(yaml, 'CBaseLoader', yaml.BaseLoader))  # noqa: S506 - it makes text alone
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    if not isinstance(found, dict):
        raise ValueError('no mapping')
    tasks = _list(found.get('tasks'))
    names = [name for task in tasks for name in (task if isinstance(task, dict) else [task])]
    return _join(',', _list(found.get('projects'))), _join('/', names)


def _parse_settings(data: bytes) -> str:
    """Get the protocol with the version of the rig; '' where there is none. ValueError for other files."""
    found = json.loads(data)
    if not isinstance(found, dict):
        raise ValueError('no mapping')
    protocol = found.get('PYBPOD_PROTOCOL') or ''
    version = found.get('IBLRIG_VERSION') or found.get('IBLRIG_VERSION_TAG') or ''
    if not (isinstance(protocol, str) and isinstance(version, str)):
        raise ValueError('no text')
    return protocol and protocol + version


def _list(value: Any) -> Sequence[Any]:
    """Take one value for a list of it, and none for an empty one."""
    if value is None or (isinstance(value, str) and value in _NOTHING):
        return []
    return value if isinstance(value, list) else [value]


def _join(between: str, names: Sequence[Any]) -> str:
    """Join names, each once."""
    if not all(isinstance(name, str) for name in names):
        raise ValueError('no text')
    return between.join(dict.fromkeys(name for name in names if name not in _NOTHING))


def _check(*texts: str) -> None:
    """Refuse what no column of text may hold, or what acts upon a terminal."""
    for text in texts:
        if not text.isprintable() or len(text.encode()) > MAX_TEXT_BYTES:
            raise ValueError('no such text')

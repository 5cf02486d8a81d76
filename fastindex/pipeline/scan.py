"""Scan a shard: walk its sessions, judge each name, measure each dataset, return record batches.

Runs in a worker. Takes one picklable argument and gives the rows of both tables as Arrow IPC streams, with
the counts and what was left out. Leaves sorting to nobody: the sessions come in the order of the table, and
the datasets of a session are sorted here.

Names are few and files are many: the same 15 file names stand in each of the example's 4,933 sessions. A
name is judged, joined to its folder and encoded once a process, not once a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date as Date  # noqa: N812 - `date` is the word for the folder
from stat import S_IFMT, S_IFREG, S_ISDIR, S_ISREG
from typing import TYPE_CHECKING

from fastindex.alf import (
    SkipReason,
    is_opaque_folder,
    is_revision_folder,
    judge_file,
    judge_folder,
    parse_session_path,
    split_revision,
)
from fastindex.hashing import FileChangedError, Hasher, Measured
from fastindex.ids import Identity
from fastindex.pipeline.executors import FollowUp, Pool
from fastindex.problems import Reason, Tally, is_utf8
from fastindex.tables import datasets_batch, sessions_batch, to_ipc
from fastindex.trees import Entry, Folder, Tree

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    'BigFile',
    'HashResult',
    'HashTask',
    'ScanResult',
    'ScanTask',
    'hash_big_file',
    'scan',
    'scan_shard',
]

BIG_BYTES = 16 * 2**20
"""A file from this size on is hashed as a task of its own, so that no shard waits for it."""

MAX_NAMES = 10_000
MAX_FOLDERS = 1_000
"""Names a folder, and folders, whose verdicts a process remembers: a few hundred bytes each."""

_TYPE_MASK = S_IFMT(0xFFFF)
_REGULAR = S_IFREG

_EPOCH = Date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class ScanTask:
    """A shard, and what to do with it."""

    tree: Tree
    identity: Identity
    keys: list[bytes]
    algorithms: tuple[str, ...] = ()
    lab: str | None = None
    list_skips: bool = False


@dataclass(frozen=True, slots=True)
class BigFile:
    """A dataset whose digests are to be computed by a task of its own."""

    row: int
    path: str
    size_bytes: int


@dataclass(slots=True)
class ScanResult:
    """What a shard gave."""

    sessions: bytes
    datasets: bytes
    shard_sessions: int
    session_count: int
    dataset_count: int
    total_bytes: int
    tally: Tally
    big_files: list[BigFile] = field(default_factory=list)


def scan(pool: Pool, tasks: Iterable[ScanTask]) -> Iterator[tuple[ScanResult, list[HashResult]]]:
    """Scan shards in the workers, which begin at once; iterate over the results in order.

    Yields
    ------
    result, hashed
        The latter are the big files of the shard, in the order of `result.big_files`.
    """

    def follow_ups(task: ScanTask, result: ScanResult) -> Iterator[FollowUp]:
        for file in result.big_files:
            yield FollowUp(hash_big_file, HashTask(task.tree, file.path, task.algorithms), file.size_bytes)

    return pool.run(scan_shard, tasks, follow_ups=follow_ups, size_bytes=lambda result: len(result.datasets))


def scan_shard(task: ScanTask) -> ScanResult:
    """Scan the sessions of a shard.

    Never raises for what is on the disk: what cannot be indexed is in the tally of the result.
    """
    return _Scan(task).run()


class _Verdicts(dict[str, bytes | SkipReason | Reason]):
    """What is thought of each name in folders of one path: a dataset's rel_path, or why it is left out."""

    __slots__ = ('above', 'is_revision', 'reason')

    def __init__(self, path: str) -> None:
        self.above = f'{path}/' if path else ''
        self.reason = judge_folder(path)
        self.is_revision = is_revision_folder(path.rpartition('/')[2])

    def __missing__(self, name: str) -> bytes | SkipReason | Reason:
        verdict: bytes | SkipReason | Reason
        if not is_utf8(name):
            verdict = Reason.NOT_UTF8
        else:
            verdict = judge_file(name) or self.reason or (self.above + name).encode()
        if len(self) < MAX_NAMES:
            self[name] = verdict
        return verdict


_verdicts_by_folder: dict[str, _Verdicts] = {}


def _verdicts_of(path: str) -> _Verdicts:
    verdicts = _verdicts_by_folder.get(path)
    if verdicts is None:
        if len(_verdicts_by_folder) >= MAX_FOLDERS:
            _verdicts_by_folder.clear()
        verdicts = _verdicts_by_folder[path] = _Verdicts(path)
    return verdicts


class _Scan:
    """The rows of one shard while they grow."""

    def __init__(self, task: ScanTask) -> None:
        self.task = task
        self.tree = task.tree
        self.hasher = Hasher(task.algorithms) if task.algorithms else None
        self.tally = Tally(list_skips=task.list_skips)
        # One element a session, in the order of the table:
        self.session_keys: list[bytes] = []
        self.counts: list[int] = []
        # One element a dataset, in the order of the table:
        self.keys: list[bytes] = []
        self.rel_paths: list[bytes] = []
        self.sizes: list[int] = []
        self.digests: list[tuple[bytes, ...] | None] = []
        self.default_revisions: list[bool] = []
        self.big_files: list[BigFile] = []

    def run(self) -> ScanResult:
        for key in self.task.keys:
            self._scan_session(key)
        eids = self.task.identity.eids(self.session_keys)
        return ScanResult(
            sessions=to_ipc(self._sessions(eids)),
            datasets=to_ipc(self._datasets(eids)),
            shard_sessions=len(self.task.keys),
            session_count=len(self.session_keys),
            dataset_count=len(self.keys),
            total_bytes=sum(self.sizes),
            tally=self.tally,
            big_files=self.big_files,
        )

    def _scan_session(self, key: bytes) -> None:
        session = _Session(self, self.task.identity.session_path(key))
        try:
            session.scan()
        except FileNotFoundError as error:
            self.tally.error(session.path, error)
            return  # gone since it was listed: no row
        except OSError as error:
            self.tally.error(session.path, error)
        self.session_keys.append(key)
        self._add(key, session)

    def _add(self, key: bytes, session: _Session) -> None:
        """Add the datasets of a session, sorted."""
        keys = self.task.identity.dataset_keys(key, session.rel_paths)
        order = sorted(range(len(keys)), key=keys.__getitem__)
        if len(set(keys)) != len(keys):  # a folder that changes may list a name twice
            order = [i for place, i in enumerate(order) if not place or keys[i] != keys[order[place - 1]]]
        first = len(self.keys)
        self.counts.append(len(order))
        self.keys += [keys[i] for i in order]
        self.rel_paths += [session.rel_paths[i] for i in order]
        self.sizes += [session.sizes[i] for i in order]
        if session.has_revisions:
            self.default_revisions += _default_revisions(self.rel_paths[first:])
        else:
            self.default_revisions += [True] * len(order)
        if self.hasher is None:
            return
        self.digests += [session.digests[i] for i in order]
        for row, digests in enumerate(self.digests[first:], first):
            if digests is None:
                path = f'{session.path}/{self.rel_paths[row].decode()}'
                self.big_files.append(BigFile(row, path, self.sizes[row]))

    def _sessions(self, eids: list[bytes]) -> pa.RecordBatch:
        path_of = self.task.identity.session_path
        parts = [parse_session_path(path_of(key)) for key in self.session_keys]
        return sessions_batch(
            eids,
            [part.lab if self.task.lab is None else self.task.lab for part in parts],
            [part.subject for part in parts],
            [part.date.toordinal() - _EPOCH for part in parts],
            [part.number for part in parts],
        )

    def _datasets(self, eids: list[bytes]) -> pa.RecordBatch:
        eids = [eid for eid, count in zip(eids, self.counts, strict=True) for _ in range(count)]
        columns = {
            name: [digests[i] if digests else b'' for digests in self.digests]
            for i, name in enumerate(self.task.algorithms)
        }
        ids = self.task.identity.dataset_ids(self.keys)
        return datasets_batch(eids, ids, self.rel_paths, self.sizes, self.default_revisions, columns)


class _Session:
    """The datasets of one session while it is walked, in the order of the listings."""

    def __init__(self, scan: _Scan, path: str) -> None:
        self.path = path
        self.tree = scan.tree
        self.tally = scan.tally
        self.hasher = scan.hasher
        self.rel_paths: list[bytes] = []
        self.sizes: list[int] = []
        self.digests: list[tuple[bytes, ...] | None] = []
        self.has_revisions = False

    def scan(self) -> None:
        for folder in self.tree.walk(self.path, self.tally):
            try:
                self._scan_folder(folder)
            except OSError as error:  # the listing broke off: what it gave is kept
                self.tally.error(self._path_of(folder, ''), error)

    def _scan_folder(self, folder: Folder) -> None:
        """Judge and measure the entries of a folder: the hot loop.

        The size is taken here and not in a method: a call for each file costs 2 % of the scan.
        """
        verdicts = _verdicts_of(folder.path)
        self.has_revisions |= verdicts.is_revision
        add_path, add_size = self.rel_paths.append, self.sizes.append
        hasher = self.hasher
        for entry in folder.entries:
            verdict = verdicts[entry.name]
            try:
                if type(verdict) is not bytes:
                    self._pass_over(folder, entry, verdict)
                elif not entry.is_file(follow_symlinks=False):
                    self._measure_other(folder, entry, verdict)
                elif hasher is not None:
                    self._hash(folder, entry.name, verdict, hasher)
                else:
                    info = entry.stat(follow_symlinks=False)
                    if info.st_mode & _TYPE_MASK == _REGULAR:
                        add_path(verdict)
                        add_size(info.st_size)
                    else:  # replaced since it was listed
                        self.tally.problem(self._path_of(folder, entry.name), Reason.NOT_REGULAR)
            except OSError as error:
                self.tally.error(self._path_of(folder, entry.name), error)

    def _pass_over(self, folder: Folder, entry: Entry, verdict: bytes | SkipReason | Reason) -> None:
        """Deal with an entry whose name is not a dataset's: a folder, or something to be left out."""
        if self._enter(folder, entry):
            return
        path = self._path_of(folder, entry.name)
        if isinstance(verdict, Reason):
            self.tally.problem(path, verdict)
        elif isinstance(verdict, SkipReason):
            self.tally.skip(path, verdict)

    def _enter(self, folder: Folder, entry: Entry) -> bool:
        """Deal with an entry that may be a folder; True where nothing is left to do about it."""
        name = entry.name
        path = self._path_of(folder, name)
        is_link = entry.is_symlink()
        if is_link and not self.tree.follow_links:
            self.tally.skip(path, SkipReason.LINK)
            return True
        try:
            if not (S_ISDIR(entry.stat().st_mode) if is_link else entry.is_dir(follow_symlinks=False)):
                return False
        except OSError as error:
            if name.startswith('.'):
                return False  # an editor's lock, most often: what it leads to would be left out anyway
            if not (is_link and isinstance(error, FileNotFoundError)):
                raise
            self.tally.problem(path, Reason.DANGLING_LINK, error.errno or 0)
            return True
        if name.startswith('.'):
            self.tally.skip(path, SkipReason.DOT_FOLDER)
        elif is_opaque_folder(name):
            self.tally.skip(path, SkipReason.OPAQUE_FOLDER)
        elif not is_utf8(name):
            self.tally.problem(path, Reason.NOT_UTF8)
        else:
            folder.enter.append((name, is_link))
        return True

    def _measure_other(self, folder: Folder, entry: Entry, rel_path: bytes) -> None:
        """Measure an entry with a dataset's name that is no plain file: a link, most often."""
        if self._enter(folder, entry):
            return
        if not entry.is_symlink() or not S_ISREG(entry.stat().st_mode):
            # A FIFO, a socket, a device: never opened.
            self.tally.problem(self._path_of(folder, entry.name), Reason.NOT_REGULAR)
        elif self.hasher is not None:
            self._hash(folder, entry.name, rel_path, self.hasher, is_link=True)
        else:
            self.rel_paths.append(rel_path)
            self.sizes.append(entry.stat().st_size)

    def _hash(
        self, folder: Folder, name: str, rel_path: bytes, hasher: Hasher, *, is_link: bool = False
    ) -> None:
        """Measure and hash a dataset; a big one is left to a task of its own."""
        fd = self.tree.open_entry(folder, name, is_link=is_link)
        try:
            info = os.fstat(fd)
            size_bytes = info.st_size
            digests = None
            if info.st_mode & _TYPE_MASK != _REGULAR:
                self.tally.problem(self._path_of(folder, name), Reason.NOT_REGULAR)
                return
            if size_bytes < BIG_BYTES:
                size_bytes, digests = hasher.measure(fd, info)
        except FileChangedError:
            self.tally.problem(self._path_of(folder, name), Reason.CHANGED)
            return
        finally:
            os.close(fd)
        self.rel_paths.append(rel_path)
        self.sizes.append(size_bytes)
        self.digests.append(digests)

    def _path_of(self, folder: Folder, name: str) -> str:
        return '/'.join(part for part in (self.path, folder.path, name) if part)


def _default_revisions(rel_paths: list[bytes]) -> list[bool]:
    """Tell for each dataset of a session whether it is the last revision, in lexicographical order."""
    split = [split_revision(path.decode()) for path in rel_paths]
    last: dict[str, str] = {}
    for path, revision in split:
        last[path] = max(revision, last.get(path, ''))
    return [last[path] == revision for path, revision in split]


@dataclass(frozen=True, slots=True)
class HashTask:
    """A big file to be hashed by itself."""

    tree: Tree
    path: str
    algorithms: tuple[str, ...]


@dataclass(slots=True)
class HashResult:
    """The state of a big file; `measured` is None where it is a problem."""

    measured: Measured | None
    tally: Tally


def hash_big_file(task: HashTask) -> HashResult:
    """Hash one big file. Never raises for what is on the disk."""
    tally = Tally()
    measured = None
    try:
        with task.tree.open_file(task.path) as (fd, info):
            measured = Hasher(task.algorithms).measure(fd, info)
    except FileChangedError:
        tally.problem(task.path, Reason.CHANGED)
    except OSError as error:
        tally.error(task.path, error)
    return HashResult(measured, tally)

"""Scan a shard: walk its sessions, judge each name, measure each dataset, return record batches.

Runs in a worker. Takes one picklable argument and gives the rows of both tables as Arrow IPC streams, with
the counts and what was left out. Leaves sorting to nobody: the sessions come in the order of the table, and
the datasets of a session are sorted here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import date as Date  # noqa: N812 - `date` is the word for the folder
from itertools import accumulate, pairwise
from stat import S_IFMT, S_IFREG, S_ISDIR, S_ISREG
from typing import TYPE_CHECKING, NamedTuple

from fastindex.alf import (
    SkipReason,
    is_opaque_folder,
    list_old_revisions,
    split_session_path,
)
from fastindex.hashing import Digests, FileChangedError, Hasher, Measured, NotRegularError
from fastindex.ids import Identity, Text
from fastindex.pipeline.executors import FollowUp, Pool
from fastindex.pipeline.verdicts import Verdict, verdicts_of
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

_TYPE_MASK = S_IFMT(0xFFFF)
_REGULAR = S_IFREG

NO_DIGEST = bytes(16)
"""In the place of a digest that is to be filled in later: that of a big file."""

close = os.close
_EPOCH = Date(1970, 1, 1).toordinal()


class ScanTask(NamedTuple):
    """A shard, and what to do with it."""

    tree: Tree
    identity: Identity
    keys: list[bytes]
    algorithms: tuple[str, ...] = ()
    lab: str | None = None
    list_skips: bool = False


class BigFile(NamedTuple):
    """A dataset whose digests are to be computed by a task of its own."""

    row: int
    path: str
    size_bytes: int


class ScanResult(NamedTuple):
    """What a shard gave."""

    sessions: bytes
    datasets: bytes
    shard_sessions: int
    session_count: int
    dataset_count: int
    total_bytes: int
    tally: Tally
    big_files: list[BigFile]


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


class _Scan:
    """The rows of one shard while they grow, in the order of the listings; sorted at its end."""

    def __init__(self, task: ScanTask) -> None:
        self.task = task
        self.tree = task.tree
        self.hasher = Hasher(task.algorithms, max_bytes=BIG_BYTES) if task.algorithms else None
        self.tally = Tally(list_skips=task.list_skips)
        # One element a session, in the order of the table:
        self.session_keys: list[bytes] = []
        self.counts: list[int] = []
        # One element a dataset:
        self.rel_paths: list[bytes] = []
        self.sizes: list[int] = []
        self.digests: list[Digests | None] = []
        self.revised: list[int] = []  # places of the sessions that have revisions

    def run(self) -> ScanResult:
        for key in self.task.keys:
            self._scan_session(key)
        keys = self.task.identity.dataset_keys(self.session_keys, self.counts, self.rel_paths)
        order = self._sort(keys)
        eids = self.task.identity.eids(self.session_keys)
        return ScanResult(
            sessions=to_ipc(self._sessions(eids)),
            datasets=to_ipc(self._datasets(eids, [keys[i] for i in order])),
            shard_sessions=len(self.task.keys),
            session_count=len(self.session_keys),
            dataset_count=len(order),
            total_bytes=sum(self.sizes),
            tally=self.tally,
            big_files=self._big_files(),
        )

    def _scan_session(self, key: bytes) -> None:
        first, first_problem = len(self.rel_paths), len(self.tally.problems)
        session = _Session(self, self.task.identity.session_path(key))
        try:
            session.scan()
        except OSError as error:
            self.tally.error(session.path, error)
            if isinstance(error, FileNotFoundError) and len(self.rel_paths) == first:
                return  # gone since it was listed: no row
        self.tally.problems[first_problem:] = sorted(self.tally.problems[first_problem:])
        if session.has_revisions:
            self.revised.append(len(self.counts))
        self.session_keys.append(key)
        self.counts.append(len(self.rel_paths) - first)

    def _sort(self, keys: list[bytes]) -> list[int]:
        """Sort the datasets of each session; return the order they were in."""
        order: list[int] = []
        end = 0
        for session, count in enumerate(self.counts):
            start, end = end, end + count
            part = sorted(range(start, end), key=keys.__getitem__)
            if len(set(keys[start:end])) != count:  # a folder that changes may list a name twice
                part = part[:1] + [i for before, i in pairwise(part) if keys[i] != keys[before]]
                self.counts[session] = len(part)
            order += part
        self.rel_paths = [self.rel_paths[i] for i in order]
        self.sizes = [self.sizes[i] for i in order]
        if self.hasher is not None:
            self.digests = [self.digests[i] for i in order]
        return order

    def _sessions(self, eids: list[bytes]) -> pa.RecordBatch:
        path_of = self.task.identity.session_path
        parts = [split_session_path(path_of(key)) for key in self.session_keys]
        lab = self.task.lab
        return sessions_batch(
            Text.join(eids),
            [part[0] if lab is None else lab for part in parts],
            [part[1] for part in parts],
            [Date.fromisoformat(part[2]).toordinal() - _EPOCH for part in parts],
            [int(part[3]) for part in parts],
        )

    def _datasets(self, eids: list[bytes], keys: list[bytes]) -> pa.RecordBatch:
        columns = {
            name: b''.join([digests[i] if digests else NO_DIGEST for digests in self.digests])
            for i, name in enumerate(self.task.algorithms)
        }
        return datasets_batch(
            Text.join([eid for eid, count in zip(eids, self.counts, strict=True) for _ in range(count)]),
            self.task.identity.dataset_ids(keys),
            Text.join(self.rel_paths),
            self.sizes,
            self._old_revisions(),
            columns,
        )

    def _old_revisions(self) -> list[int]:
        ends = list(accumulate(self.counts)) if self.revised else []
        rows = []
        for place in self.revised:
            start = ends[place] - self.counts[place]
            paths = [path.decode() for path in self.rel_paths[start : ends[place]]]
            rows += [start + old for old in list_old_revisions(paths)]
        return rows

    def _big_files(self) -> list[BigFile]:
        if self.hasher is None:
            return []
        paths = (self.task.identity.session_path(key) for key in self.session_keys)
        paths_of_rows = (path for path, count in zip(paths, self.counts, strict=True) for _ in range(count))
        return [
            BigFile(row, f'{path}/{self.rel_paths[row].decode()}', self.sizes[row])
            for row, (path, digests) in enumerate(zip(paths_of_rows, self.digests, strict=True))
            if digests is None
        ]


class _Session:
    """One session while it is walked; its datasets go into the rows of the shard."""

    def __init__(self, scan: _Scan, path: str) -> None:
        self.path = path
        self.tree = scan.tree
        self.tally = scan.tally
        self.hasher = scan.hasher
        self.rel_paths = scan.rel_paths
        self.sizes = scan.sizes
        self.digests = scan.digests
        self.has_revisions = False

    def scan(self) -> None:
        for folder in self.tree.walk(self.path, self.tally):
            try:
                self._scan_folder(folder)
            except OSError as error:  # the listing broke off: what it gave is kept
                self.tally.error(self._path_of(folder, ''), error)

    def _scan_folder(self, folder: Folder) -> None:
        """Judge and measure the entries of a folder: the hot loop.

        Longer than a function of this house: each call that it makes for a file is 0.1 us of its 5.5.
        """
        verdicts = verdicts_of(folder.path)
        self.has_revisions |= verdicts.is_revision
        add_path, add_size, add_digests = self.rel_paths.append, self.sizes.append, self.digests.append
        hasher = self.hasher
        open_entry = self.tree.open_entry
        for entry in folder.entries:
            verdict = verdicts[entry.name]
            try:
                if type(verdict) is not bytes:
                    self._pass_over(folder, entry, verdict)
                    continue
                if hasher is None:
                    info = entry.stat(follow_symlinks=False)
                    if info.st_mode & _TYPE_MASK != _REGULAR:
                        if not self._is_link_to_file(folder, entry):
                            continue
                        info = entry.stat()
                    add_size(info.st_size)
                else:
                    is_plain = entry.is_file(follow_symlinks=False)
                    if not (is_plain or self._is_link_to_file(folder, entry)):
                        continue
                    fd = open_entry(folder, entry.name, not is_plain)
                    try:
                        size_bytes, digests = hasher.measure(fd)
                    finally:
                        close(fd)
                    add_size(size_bytes)
                    add_digests(digests)
                add_path(verdict)
            except OSError as error:
                self.tally.error(self._path_of(folder, entry.name), error)
            except FileChangedError:
                self.tally.problem(self._path_of(folder, entry.name), Reason.CHANGED)
            except NotRegularError:
                self.tally.problem(self._path_of(folder, entry.name), Reason.NOT_REGULAR)

    def _pass_over(self, folder: Folder, entry: Entry, verdict: Verdict) -> None:
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
        if entry.is_symlink():
            return self._enter_link(folder, entry)
        if not entry.is_dir(follow_symlinks=False):
            return False
        self._enter_folder(folder, entry.name, is_link=False)
        return True

    def _enter_link(self, folder: Folder, entry: Entry) -> bool:
        path = self._path_of(folder, entry.name)
        if not self.tree.follow_links:
            self.tally.skip(path, SkipReason.LINK)
            return True
        try:
            if not S_ISDIR(entry.stat().st_mode):
                return False
        except FileNotFoundError as error:
            if entry.name.startswith('.'):
                return False  # an editor's lock, most often: what it leads to would be left out anyway
            self.tally.problem(path, Reason.DANGLING_LINK, error.errno or 0)
        else:
            self._enter_folder(folder, entry.name, is_link=True)
        return True

    def _enter_folder(self, folder: Folder, name: str, *, is_link: bool) -> None:
        if name.startswith('.'):
            self.tally.skip(self._path_of(folder, name), SkipReason.DOT_FOLDER)
        elif is_opaque_folder(name):
            self.tally.skip(self._path_of(folder, name), SkipReason.OPAQUE_FOLDER)
        elif not is_utf8(name):
            self.tally.problem(self._path_of(folder, name), Reason.NOT_UTF8)
        else:
            folder.enter.append((name, is_link))

    def _is_link_to_file(self, folder: Folder, entry: Entry) -> bool:
        """Deal with an entry of a dataset's name that is no plain file; True for a link to one."""
        if self._enter(folder, entry):
            return False
        if entry.is_symlink() and S_ISREG(entry.stat().st_mode):
            return True
        # A FIFO, a socket, a device: never opened.
        self.tally.problem(self._path_of(folder, entry.name), Reason.NOT_REGULAR)
        return False

    def _path_of(self, folder: Folder, name: str) -> str:
        return '/'.join(part for part in (self.path, folder.path, name) if part)


class HashTask(NamedTuple):
    """A big file to be hashed by itself."""

    tree: Tree
    path: str
    algorithms: tuple[str, ...]


class HashResult(NamedTuple):
    """The state of a big file; `measured` is None where it is a problem."""

    measured: Measured | None
    tally: Tally


def hash_big_file(task: HashTask) -> HashResult:
    """Hash one big file. Never raises for what is on the disk."""
    tally = Tally()
    measured = None
    try:
        fd = task.tree.open_file(task.path)
        try:
            measured = Hasher(task.algorithms).measure(fd)
        finally:
            os.close(fd)
    except FileChangedError:
        tally.problem(task.path, Reason.CHANGED)
    except NotRegularError:
        tally.problem(task.path, Reason.NOT_REGULAR)
    except OSError as error:
        tally.error(task.path, error)
    return HashResult(measured, tally)

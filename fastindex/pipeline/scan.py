"""Scan a shard: walk its sessions, judge each name, measure each dataset, return record batches.

Runs in a worker. Takes one picklable argument and gives the rows of both tables as Arrow IPC streams, with
the counts and what was left out. Leaves sorting to nobody: the sessions come in the order of the table, and
the datasets of a session are sorted here.
"""

from __future__ import annotations

from array import array
from bisect import bisect
from collections.abc import Iterable, Iterator
from datetime import date as Date  # noqa: N812 - `date` is the word for the folder
from functools import lru_cache
from itertools import accumulate, chain, islice, pairwise
from stat import S_IFMT, S_IFREG, S_ISDIR, S_ISREG
from typing import TYPE_CHECKING, NamedTuple

from fastindex.names.alf import SkipReason, list_old_revisions, split_session_path
from fastindex.names.identity import find_twins
from fastindex.names.ids import Identity, Text, cut_ids
from fastindex.names.problems import Reason, Tally
from fastindex.names.verdicts import UuidVerdicts, Verdict, judge_subfolder, verdicts_of
from fastindex.tables.reuse import KnownRows
from fastindex.tables.schema import (
    datasets_batch,
    fingerprint_columns,
    fingerprints_batch,
    sessions_batch,
    to_ipc,
)
from fastindex.trees import Entry, Folder, Tree
from fastindex.trees.digests import (
    NO_FINGERPRINT,
    Digests,
    FileChangedError,
    Fingerprint,
    Measured,
    NotRegularError,
)
from fastindex.workers.pool import FollowUp, Pool, Successor

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    'BigFile',
    'HashResult',
    'HashTask',
    'PartTask',
    'ScanResult',
    'ScanTask',
    'hash_big_file',
    'scan',
    'scan_part',
    'scan_shard',
]

MAX_ENTRIES = 2**15
"""Of a folder that are measured by the task that lists it; the files beyond are shared among the workers."""

PART_ROWS = 2**14
"""Datasets of a session that are measured by one task, where they are shared."""

BIG_BYTES = 16 * 2**20
"""A file from this size on is hashed as a task of its own, so that no shard waits for it."""

_TYPE_MASK = S_IFMT(0xFFFF)
_REGULAR = S_IFREG

NO_DIGEST = bytes(16)
"""In the place of a digest that is to be filled in later: that of a big file."""

_ENCODING = 'utf-8', 'surrogateescape'
"""Of names on their way between processes: that of the rel_paths, and no name is lost."""

_EPOCH = Date(1970, 1, 1).toordinal()


@lru_cache(10_000)
def _day(date: str) -> int:
    """Count the days from 1970-01-01 to a date folder's."""
    return Date.fromisoformat(date).toordinal() - _EPOCH


class ScanTask(NamedTuple):
    """A shard, and what to do with it."""

    tree: Tree
    identity: Identity
    keys: list[bytes]
    algorithms: tuple[str, ...] = ()
    lab: str | None = None
    list_skips: bool = False
    known: bytes | None = None
    """What the published index has of these sessions. See `fastindex.tables.reuse`."""
    uuid_filenames: bool = False
    """Whether names carry the UUIDs of the datasets. What is here called the rel_path of a dataset is then
    its path with the UUID, until it becomes a row."""


class BigFile(NamedTuple):
    """A dataset whose digests are to be computed by a task of its own."""

    row: int
    path: str
    size_bytes: int


Row = tuple[bytes, int, Digests | None, Fingerprint]
"""The rel_path of a dataset, its size in bytes, its digests, and what to know the file again by."""


class PartTask(NamedTuple):
    """Datasets of one session that is too large for one task: a range in the order of the table."""

    shard: ScanTask
    """Of this one session."""

    paths: list[bytes]
    """Of files that are to be measured, relative to the session, as the file system has them."""

    measured: list[Row]
    """Those that are measured already."""


class ScanResult(NamedTuple):
    """What a shard gave, or a part of a session."""

    sessions: bytes
    datasets: bytes
    fingerprints: bytes | None
    shard_sessions: int
    session_count: int
    dataset_count: int
    total_bytes: int
    reused: int
    """Datasets whose digests are those of the published index."""
    tally: Tally
    big_files: list[BigFile]
    successors: list[Successor]
    """What is left to be scanned, and stands behind these rows in the table."""


def scan(pool: Pool, tasks: Iterable[ScanTask]) -> Iterator[tuple[ScanResult, list[HashResult]]]:
    """Scan shards in the workers, which begin at once; iterate over the results in order.

    Yields
    ------
    result, hashed
        The latter are the big files of the shard, in the order of `result.big_files`.
    """

    def follow_ups(task: ScanTask | PartTask, result: ScanResult) -> Iterator[FollowUp]:
        shard = task.shard if isinstance(task, PartTask) else task
        for file in result.big_files:
            yield FollowUp(hash_big_file, HashTask(shard.tree, file.path, shard.algorithms), file.size_bytes)

    return pool.run(
        scan_shard,
        tasks,
        follow_ups=follow_ups,
        successors=lambda result: result.successors,
        rescue=_rescue,
        size_bytes=lambda result: len(result.datasets),
    )


def _rescue(_: object, task: ScanTask | PartTask | HashTask) -> object:
    """Scan the sessions one by one of a shard that kills its worker; the one that does it is a problem."""
    tally = Tally()
    if isinstance(task, HashTask):
        tally.problem(task.path, Reason.WORKER_DIED)
        return HashResult(None, tally)
    shard = task.shard if isinstance(task, PartTask) else task
    if len(shard.keys) > 1:
        return [Successor(scan_shard, shard._replace(keys=[key])) for key in shard.keys]
    tally.problem(shard.identity.session_path(shard.keys[0]), Reason.WORKER_DIED)
    return scan_shard(shard._replace(keys=[]))._replace(shard_sessions=1, tally=tally)


def scan_shard(task: ScanTask) -> ScanResult:
    """Scan the sessions of a shard, up to the first one that is too large for one task.

    Never raises for what is on the disk: what cannot be indexed is in the tally of the result.
    """
    return _Scan(task).scan_sessions()


def scan_part(task: PartTask) -> ScanResult:
    """Measure some datasets of a session. Gives no row of the session itself."""
    return _Scan(task.shard).scan_part(task.paths, task.measured)


class _Scan:
    """The rows of one shard while they grow, in the order of the listings; sorted at its end."""

    def __init__(self, task: ScanTask) -> None:
        self.task = task
        self.tree = task.tree
        self.hasher = self.tree.open_hasher(task.algorithms, max_bytes=BIG_BYTES) if task.algorithms else None
        self.open_entry, self.close_file = self.tree.open_entry, self.tree.close_file
        self.verdicts_of = UuidVerdicts if task.uuid_filenames else verdicts_of
        self.tally = Tally(list_skips=task.list_skips)
        self.known = KnownRows(task.known, task.algorithms) if task.known is not None else None
        self.reused = 0
        # One element a session, in the order of the table:
        self.session_keys: list[bytes] = []
        self.counts: list[int] = []
        # One element a dataset:
        self.rel_paths: list[bytes] = []
        self.sizes: list[int] = []
        self.digests: list[Digests | None] = []
        self.fingerprints: list[Fingerprint] = []
        self.problem_ends: list[int] = []  # one element a session
        self.revised: list[int] = []  # places of the sessions that have revisions

    def scan_sessions(self) -> ScanResult:
        """Scan session by session, up to the first one that is too large for one task."""
        rest = list(reversed(self.task.keys))
        successors: list[Successor] = []
        while rest and not successors:
            successors = self._scan_session(rest.pop())
        if rest:
            successors.append(Successor(scan_shard, self.task._replace(keys=rest[::-1])))
        done = len(self.task.keys) - len(rest)
        return self._result(self.session_keys)._replace(shard_sessions=done, successors=successors)

    def scan_part(self, paths: list[bytes], measured: list[Row]) -> ScanResult:
        """Measure datasets of the one session of the task; take over those that are measured."""
        (key,) = self.task.keys
        self._add(measured)
        session = _Session(self, self.task.identity.session_path(key))
        session.measure(paths)
        self._close(session, key, 0, 0)
        return self._result([])

    def _scan_session(self, key: bytes) -> list[Successor]:
        """Scan a session; return the tasks that scan its datasets, where they are too many for this one."""
        first, first_problem = len(self.rel_paths), len(self.tally.problems)
        session = _Session(self, self.task.identity.session_path(key))
        parts: list[Successor] = []
        try:
            session.scan()
        except OSError as error:
            self.tally.error(session.path, error)
            if isinstance(error, FileNotFoundError) and len(self.rel_paths) == first:
                return []  # gone since it was listed: no row
        is_whole = session.has_revisions or self.task.uuid_filenames  # one dataset tells of another
        if session.deferred and is_whole:
            session.measure(session.deferred)
        elif session.deferred:
            parts = self._cut(key, first, session.deferred)
        self._close(session, key, first, first_problem)
        return parts

    def _close(self, session: _Session, key: bytes, first: int, first_problem: int) -> None:
        if self.task.uuid_filenames:
            self._drop_twins(session.path, first)
        if len(self.tally.problems) > first_problem:
            self.tally.problems[first_problem:] = sorted(self.tally.problems[first_problem:])
        if session.has_revisions:
            self.revised.append(len(self.counts))
        self.session_keys.append(key)
        self.counts.append(len(self.rel_paths) - first)
        self.problem_ends.append(len(self.tally.problems))

    def _drop_twins(self, session_path: str, first: int) -> None:
        """Make problems of those of the datasets from `first` on that have an id or a rel_path of another."""
        for twin, reason in reversed(find_twins(self.rel_paths[first:])):
            self.tally.problem(f'{session_path}/{self.rel_paths[first + twin].decode()}', reason)
            for column in (self.rel_paths, self.sizes, self.digests, self.fingerprints):
                if column:  # of digests and fingerprints there may be none
                    del column[first + twin]

    def _add(self, rows: list[Row]) -> None:
        self.rel_paths += [path for path, _, _, _ in rows]
        self.sizes += [size_bytes for _, size_bytes, _, _ in rows]
        if self.hasher is not None:
            self.digests += [digests for _, _, digests, _ in rows]
            self.fingerprints += [fingerprint for _, _, _, fingerprint in rows]

    def _take(self, first: int) -> list[Row]:
        """Take the rows from `first` on out again."""
        columns = [column[first:] for column in (self.rel_paths, self.sizes, self.digests, self.fingerprints)]
        del self.rel_paths[first:], self.sizes[first:], self.digests[first:], self.fingerprints[first:]
        if self.hasher is None:
            return [
                (path, size_bytes, None, NO_FINGERPRINT)
                for path, size_bytes in zip(*columns[:2], strict=True)
            ]
        return list(zip(*columns, strict=True))

    def _cut(self, key: bytes, first: int, deferred: list[bytes]) -> list[Successor]:
        """Cut the datasets of a session into parts that stand one behind the other in the table."""
        measured: list[Row] = []
        if self.known is None:
            measured = self._take(first)
        else:
            deferred = self.rel_paths[first:] + deferred  # to look at a few again is simplest
            del self.rel_paths[first:], self.sizes[first:], self.fingerprints[first:]
        paths = [path for path, *_ in measured] + deferred
        identity = self.task.identity
        sort_keys = identity.dataset_keys([key], [len(paths)], paths)
        count = -(-len(paths) // PART_ROWS)
        sample = sorted(sort_keys[:: len(paths) // (count * 64) + 1])
        bounds = [sample[len(sample) * i // count] for i in range(1, count)]
        places = [bisect(bounds, sort_key) for sort_key in sort_keys]
        shard = self.task._replace(keys=[key])
        parts = [PartTask(shard, [], []) for _ in range(count)]
        for row, place in zip(measured, places, strict=False):
            parts[place].measured.append(row)
        for path, place in zip(deferred, places[len(measured) :], strict=True):
            parts[place].paths.append(path)
        if self.known is not None:
            for place, part in enumerate(parts):
                wanted = [k for k, p in zip(sort_keys, places, strict=True) if p == place]
                known = self.known.select(cut_ids(identity.dataset_ids(wanted)))
                parts[place] = part._replace(shard=shard._replace(known=known))
        return [Successor(scan_part, part) for part in parts]

    def _result(self, session_rows: list[bytes]) -> ScanResult:
        """Make rows of what there is; those of `session_rows` in the table of the sessions."""
        keys = self.task.identity.dataset_keys(self.session_keys, self.counts, self.rel_paths)
        order = self._sort(keys)
        ids = self.task.identity.dataset_ids(list(map(keys.__getitem__, order)))
        columns = fingerprint_columns(self.fingerprints)
        hex_digests = self._hex_digests()
        if self.known is not None:
            known = self.known.hex_digests_of(ids.data, (array('Q', self.sizes), *columns))
            if known is None:
                self._measure_changed(ids)
                return self._result(session_rows)
            hex_digests = known
            self.reused = len(order)
        return ScanResult(
            sessions=to_ipc(self._sessions(session_rows)),
            datasets=to_ipc(self._datasets(ids, hex_digests)),
            fingerprints=to_ipc(fingerprints_batch(*columns)) if self.hasher else None,
            shard_sessions=0,
            session_count=len(session_rows),
            dataset_count=len(order),
            total_bytes=sum(self.sizes),
            reused=self.reused,
            tally=self.tally,
            big_files=self._big_files(),
            successors=[],
        )

    def _hex_digests(self) -> dict[str, bytes]:
        return {
            name: b''.join([row[i] if row else NO_DIGEST for row in self.digests]).hex().encode()
            for i, name in enumerate(self.task.algorithms)
        }

    def _measure_changed(self, ids: Text) -> None:
        """Read the files that are not as they are known, and take over the digests of the others."""
        assert self.known is not None  # noqa: S101 - for the type checker
        known, self.known = self.known.by_id(), None
        states = zip(self.sizes, *zip(*self.fingerprints, strict=True), strict=True)
        rows = iter(list(zip(cut_ids(ids), self.rel_paths, states, strict=True)))
        counts, problem_ends, problems = self.counts, self.problem_ends, self.tally.problems
        self.rel_paths, self.sizes, self.fingerprints, self.counts = [], [], [], []
        self.problem_ends, self.tally.problems = [], []
        starts = [0, *problem_ends]
        for key, count, start, end in zip(self.session_keys, counts, starts, problem_ends, strict=False):
            session = _Session(self, self.task.identity.session_path(key))
            first, first_problem = len(self.rel_paths), len(self.tally.problems)
            self.tally.problems += problems[start:end]
            changed: list[bytes] = []
            for one, path, state in islice(rows, count):
                known_state, digests = known.get(one, (None, None))
                if state == known_state:
                    self._add([(path, state[0], digests, state[1:])])
                    self.reused += 1
                else:
                    changed.append(path)
            session.measure(changed)
            self.tally.problems[first_problem:] = sorted(self.tally.problems[first_problem:])
            self.counts.append(len(self.rel_paths) - first)
        self.tally.problems += problems[starts[-1] :]  # of sessions that vanished

    def _sort(self, keys: list[bytes]) -> list[int]:
        """Sort the datasets of each session; return the order they were in."""
        order: list[int] = []
        end = 0
        key_of = keys.__getitem__
        for count in self.counts:
            start, end = end, end + count
            order += sorted(range(start, end), key=key_of)
        if len(set(keys)) != len(keys):
            order = self._drop_doubles(order, keys)
        self.rel_paths = list(map(self.rel_paths.__getitem__, order))
        self.sizes = list(map(self.sizes.__getitem__, order))
        if self.hasher is not None:
            self.fingerprints = list(map(self.fingerprints.__getitem__, order))
            if self.known is None:
                self.digests = list(map(self.digests.__getitem__, order))
        return order

    def _drop_doubles(self, order: list[int], keys: list[bytes]) -> list[int]:
        """Drop all but one of the datasets of a session that have one key; `order` is sorted, as the table.

        A folder that changes may list a name twice.
        """
        places = iter(order)
        once: list[int] = []
        for session, count in enumerate(self.counts):
            part = list(islice(places, count))
            part = part[:1] + [i for before, i in pairwise(part) if keys[i] != keys[before]]
            self.counts[session] = len(part)
            once += part
        return once

    def _sessions(self, keys: list[bytes]) -> pa.RecordBatch:
        identity, lab = self.task.identity, self.task.lab
        parts = [split_session_path(identity.session_path(key)) for key in keys]
        return sessions_batch(
            Text.join(identity.eids(keys)),
            Text.join([(part[0] if lab is None else lab).encode() for part in parts]),
            Text.join([part[1].encode() for part in parts]),
            array('i', [_day(part[2]) for part in parts]),
            array('H', [int(part[3]) for part in parts]),
        )

    def _datasets(self, ids: Text, hex_digests: dict[str, bytes]) -> pa.RecordBatch:
        rel_paths = self.task.identity.rel_paths(self.rel_paths)
        return datasets_batch(
            Text.repeat(self.task.identity.eids(self.session_keys), self.counts),
            ids,
            Text.join(rel_paths),
            self.sizes,
            self._old_revisions(rel_paths),
            hex_digests,
        )

    def _old_revisions(self, rel_paths: list[bytes]) -> list[int]:
        ends = list(accumulate(self.counts)) if self.revised else []
        rows = []
        for place in self.revised:
            start = ends[place] - self.counts[place]
            paths = [path.decode() for path in rel_paths[start : ends[place]]]
            rows += [start + old for old in list_old_revisions(paths)]
        return rows

    def _big_files(self) -> list[BigFile]:
        if not self.digests:
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
        self.rows = scan
        self.tree = scan.tree
        self.tally = scan.tally
        self.has_revisions = False
        self.deferred: list[bytes] = []
        """Paths of files that are too many to be measured by this task."""

    def scan(self) -> None:
        for folder in self.tree.walk(self.path, self.tally):
            try:
                self._scan_folder(folder)
            except OSError as error:  # the listing broke off: what it gave is kept
                self.tally.error(self._path_of(folder.path, ''), error)

    def measure(self, paths: list[bytes]) -> None:
        """Judge and measure files that were listed before, in whatever folders."""
        names_by_folder: dict[str, list[str]] = {}
        for path in paths:
            above, _, name = path.decode(*_ENCODING).rpartition('/')
            names_by_folder.setdefault(above, []).append(name)
        for above, names in names_by_folder.items():
            try:
                with self.tree.revisit(self.path, above, names) as folder:
                    self._scan_entries(folder, folder.entries)
                    for name, _ in folder.enter:  # a folder has come in the place of a file
                        self.tally.problem(self._path_of(above, name), Reason.CHANGED)
            except OSError as error:
                for name in names:
                    self.tally.error(self._path_of(above, name), error)

    def _scan_folder(self, folder: Folder) -> None:
        entries = iter(folder.entries)
        self._scan_entries(folder, islice(entries, MAX_ENTRIES))
        for entry in entries:  # too many for one task
            self._scan_entries(folder, self._defer(folder, chain((entry,), entries)))

    def _defer(self, folder: Folder, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Leave plain files to be measured later; iterate over the other entries."""
        above = f'{folder.path}/'.encode(*_ENCODING) if folder.path else b''
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                self.deferred.append(above + entry.name.encode(*_ENCODING))
            else:
                yield entry

    def _scan_entries(self, folder: Folder, entries: Iterable[Entry]) -> None:
        """Judge and measure entries of a folder: the hot loop.

        Longer than a function of this house: each call that it makes for a file is 0.1 us of its 5.5.
        """
        rows = self.rows
        verdicts = rows.verdicts_of(folder.path)
        if verdicts.is_revision:
            self.has_revisions = True
        add_path, add_size, add_digests = rows.rel_paths.append, rows.sizes.append, rows.digests.append
        add_fingerprint = rows.fingerprints.append
        is_known = rows.known is not None
        hasher = None if is_known else rows.hasher
        open_entry, close = rows.open_entry, rows.close_file
        for entry in entries:
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
                    if is_known:
                        add_fingerprint((info.st_mtime_ns, info.st_ctime_ns, info.st_ino))
                else:
                    is_plain = entry.is_file(follow_symlinks=False)
                    if not (is_plain or self._is_link_to_file(folder, entry)):
                        continue
                    fd = open_entry(folder, entry.name, not is_plain)
                    try:
                        size_bytes, digests, fingerprint = hasher.measure(fd)
                    finally:
                        close(fd)
                    add_size(size_bytes)
                    add_digests(digests)
                    add_fingerprint(fingerprint)
                add_path(verdict)
            except OSError as error:
                self.tally.error(self._path_of(folder.path, entry.name), error)
            except FileChangedError:
                self.tally.problem(self._path_of(folder.path, entry.name), Reason.CHANGED)
            except NotRegularError:
                self.tally.problem(self._path_of(folder.path, entry.name), Reason.NOT_REGULAR)

    def _pass_over(self, folder: Folder, entry: Entry, verdict: Verdict) -> None:
        """Deal with an entry whose name is not a dataset's: a folder, or something to be left out."""
        if self._enter(folder, entry):
            return
        path = self._path_of(folder.path, entry.name)
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
        path = self._path_of(folder.path, entry.name)
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
        reason = judge_subfolder(name)
        if reason is None:
            folder.enter.append((name, is_link))
        elif isinstance(reason, SkipReason):
            self.tally.skip(self._path_of(folder.path, name), reason)
        else:
            self.tally.problem(self._path_of(folder.path, name), reason)

    def _is_link_to_file(self, folder: Folder, entry: Entry) -> bool:
        """Deal with an entry of a dataset's name that is no plain file; True for a link to one."""
        if self._enter(folder, entry):
            return False
        if entry.is_symlink() and S_ISREG(entry.stat().st_mode):
            return True
        # A FIFO, a socket, a device: never opened.
        self.tally.problem(self._path_of(folder.path, entry.name), Reason.NOT_REGULAR)
        return False

    def _path_of(self, above: str, name: str) -> str:
        return '/'.join(part for part in (self.path, above, name) if part)


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
            measured = task.tree.open_hasher(task.algorithms).measure(fd)
        finally:
            task.tree.close_file(fd)
    except FileChangedError:
        tally.problem(task.path, Reason.CHANGED)
    except NotRegularError:
        tally.problem(task.path, Reason.NOT_REGULAR)
    except OSError as error:
        tally.error(task.path, error)
    return HashResult(measured, tally)

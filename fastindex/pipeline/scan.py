"""Scan a shard: walk its sessions, sift each folder, measure the datasets, return record batches.

Runs in a worker. Takes one picklable task and gives the rows of both tables as Arrow IPC streams, with the
counts and what was left out. Leaves sorting to nobody: the sessions come in the order of the table, and the
datasets of a session are sorted here. What becomes of an entry is `fastindex.trees.fate`'s to say, what a row
looks like `fastindex.pipeline.rows`'s.
"""

from __future__ import annotations

from array import array
from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import NamedTuple, cast

from fastindex.names.given_ids import find_twins
from fastindex.names.ids import Identity, Text, cut
from fastindex.names.problems import Reason, Tally
from fastindex.pipeline import shard
from fastindex.pipeline.big import HashResult, HashTask
from fastindex.pipeline.rows import Rows, SessionRows, datasets_rows, sessions_rows, sort_rows, to_hex_digests
from fastindex.pipeline.session_info import SessionInfo
from fastindex.pipeline.unchanged_folders import pack_folders
from fastindex.pipeline.walk import SessionWalk
from fastindex.tables.journal import Recorder
from fastindex.tables.recipe import Recipe
from fastindex.tables.reuse import KnownRows
from fastindex.tables.schema import (
    fingerprint_columns,
    fingerprints_schema,
    folders_schema,
    make_batch,
    to_ipc,
)
from fastindex.trees import Measures, Tree
from fastindex.trees.part import NotedTree
from fastindex.workers import Task
from fastindex.workers.pool import Pool

__all__ = ['PartTask', 'ScanResult', 'ScanTask', 'scan']

PART_ROWS = 2**14  # datasets of a session that are measured by one task, where they are shared
LEFT_OUT_BYTES = 400  # that a problem or a skip takes in memory, about


class ScanTask(NamedTuple):
    """A shard, and what to do with it."""

    tree: Tree
    identity: Identity
    keys: list[bytes]
    recipe: Recipe = Recipe()
    """How files and what they say of sessions are read; what is left out, the tree knows. Where names carry
    UUIDs, what is here called the path of a dataset is its path with the UUID, until it becomes a row."""

    lab: str | None = None
    list_skips: bool = False
    known: bytes | None = None
    """What the published index has of these sessions. See `fastindex.tables.reuse`."""
    with_folders: bool = False  # whether it is noted by what to know the folders again

    def run(self) -> ScanResult:
        """Scan the sessions, up to the first one that is too large for one task, or until they are enough.

        Never raises for what is on the disk: what cannot be indexed is in the tally of the result.
        """
        return _Scan(self).scan_sessions()

    def rescue(self) -> ScanResult | list[ScanTask]:
        """Scan session by session; the one that kills its worker is a problem."""
        if len(self.keys) > 1:
            return [self._replace(keys=[key]) for key in self.keys]
        tally = Tally()
        tally.problem(self.identity.session_path(self.keys[0]), Reason.WORKER_DIED)
        return self._replace(keys=[]).run()._replace(shard_sessions=1, tally=tally)


class PartTask(NamedTuple):
    """Datasets of one session that is too large for one task: a range in the order of the table."""

    shard: ScanTask  # of this one session
    paths: bytes
    """Of files that are to be measured, relative to the session, as the file system has them; NUL after each.

    In one piece, as those of a session of millions wait in the process that collects.
    """

    measured: Rows  # those that are measured already

    def run(self) -> ScanResult:
        """Measure the files. Gives no row of the session itself."""
        return _Scan(self.shard).scan_part(self.paths.split(b'\0')[:-1], self.measured)

    def rescue(self) -> ScanResult | list[ScanTask]:
        """Leave the whole session out: it is a problem."""
        return self.shard.rescue()


class ScanResult(NamedTuple):
    """What a shard gave, or a part of a session. See `fastindex.workers.Branches`.

    Of many fields: all that a worker sends back.
    """

    sessions: bytes
    datasets: bytes
    fingerprints: bytes | None
    shard_sessions: int
    session_count: int
    dataset_count: int
    total_bytes: int
    reused: int  # datasets whose digests are those of the published index
    read_again: Counter[str]  # datasets that it knows too, by the field in which they are not as they were
    tally: Tally
    folders: bytes | None  # by what to know the folders of the sessions again
    with_info: list[int]  # rows of sessions that have files which say what they are of
    subtasks: list[HashTask]  # datasets whose digests are to be computed by tasks of their own
    continuation: list[Task]  # what is left to be scanned, and comes after these rows in the table

    @property
    def held_bytes(self) -> int:
        parts = (self.sessions, self.datasets, self.fingerprints, self.folders)
        left_out = len(self.tally.problems) + len(self.tally.skips or ())
        return sum(len(part) for part in parts if part is not None) + left_out * LEFT_OUT_BYTES


def scan(
    pool: Pool, tasks: Iterable[ScanTask], recorder: Recorder | None = None
) -> Iterator[tuple[ScanResult, list[HashResult]]]:
    """Scan shards in the workers, which start at once; iterate over the results in order.

    recorder: takes the digests as they come in
    Yields results, each with the big files of the shard, in the order of `result.subtasks`.
    """
    if recorder is None:
        return pool.run(tasks)

    def record(task: Task, result: ScanResult | HashResult) -> None:
        if isinstance(result, ScanResult):
            if result.fingerprints is not None and result.reused < result.dataset_count:
                of = task.shard if isinstance(task, PartTask) else cast('ScanTask', task)
                eids, paths = of.identity.eids(of.keys), map(of.identity.session_path, of.keys)
                path_of = {eid.decode(): str(path) for eid, path in zip(eids, paths, strict=True)}
                rows = result.datasets, result.fingerprints
                recorder.add_rows(*rows, path_of, uuid_filenames=of.recipe.uuid_filenames)
        elif isinstance(task, HashTask) and result.measured is not None:
            recorder.add_file(task.path, result.measured)

    return pool.run(tasks, on_result=record)


class _Scan:
    """One shard while it is scanned: its rows in the order of the listings; sorted at its end."""

    def __init__(self, task: ScanTask) -> None:
        self.task = task
        self.tree = task.tree
        self.tally = Tally(list_skips=task.list_skips)
        self.known = None
        if task.known is not None:
            with suppress(ValueError):  # it is of no use
                self.known = KnownRows(task.known, task.recipe.algorithms, task.recipe.trust)
        self.reused = 0
        self.read_again: Counter[str] = Counter()
        self.sessions: list[SessionRows] = []  # in the order of the table
        self.rows = Rows()
        self.noted = NotedTree(task.tree, {}) if task.with_folders else None
        self.folders: dict[bytes, tuple[bytes, bytes]] = {}  # of sessions by their keys
        self.infos: dict[bytes, SessionInfo | None] = {}  # of those whose files say what they are of
        self.held_bytes = 0

    def scan_sessions(self) -> ScanResult:
        """Scan session by session, up to the first one that is too large for one task, or to the limits."""
        all_keys, done = self.task.keys, 0
        continuation: list[Task] = []
        while done < len(all_keys) and not (continuation or self._is_full()):
            continuation += self._scan_session(all_keys[done])
            done += 1
        # As many at once as were enough; but what is known of all of them is not sent time and again.
        is_whole = bool(continuation) or self.task.known is not None
        rest = [all_keys[done:]] if is_whole else shard.cut(all_keys, done)
        continuation += [self.task._replace(keys=list(keys)) for keys in rest if keys]
        keys = [session.key for session in self.sessions]
        return self._result(keys)._replace(shard_sessions=done, continuation=continuation)

    def _is_full(self) -> bool:
        """Tell whether the sessions that were scanned are as much as a task may hold."""
        left_out = len(self.tally.problems) + len(self.tally.skips or ())
        return self.held_bytes + left_out * LEFT_OUT_BYTES >= shard.SHARD_BYTES

    def scan_part(self, paths: list[bytes], measured: Rows) -> ScanResult:
        """Measure datasets of the one session of the task; take over those that are measured."""
        (key,) = self.task.keys
        self.rows = measured
        session = self._walk(self.task.identity.session_path(key))
        session.measure(paths)
        self._close(session, key, 0, 0)
        return self._result([])

    def _walk(self, session_path: str, info: SessionInfo | None = None) -> SessionWalk:
        return SessionWalk(
            self.noted or self.tree,
            session_path,
            self.rows,
            self.tally,
            self.task.recipe,
            is_known=self.known is not None,
            info=info,
        )

    def _scan_session(self, key: bytes) -> list[PartTask]:
        """Scan a session; return the tasks that scan its datasets, where they are too many for this one."""
        first, first_problem = len(self.rows), len(self.tally.problems)
        info = SessionInfo() if self.task.recipe.session_info else None
        session = self._walk(self.task.identity.session_path(key), info)
        parts: list[PartTask] = []
        try:
            session.scan()
        except OSError as error:
            self.tally.error(session.path, error)
            if isinstance(error, FileNotFoundError) and len(self.rows) == first:
                return []  # gone since it was listed: no row
        if self.noted is not None:
            self.folders[key] = pack_folders(self.noted.noted, self.task.recipe.trust)
        if session.has_info:
            self.infos[key] = info
        is_whole = session.has_revisions or self.task.recipe.uuid_filenames  # one dataset tells of another
        if session.deferred and is_whole:
            session.measure(session.deferred)
        elif session.deferred:
            parts = self._cut(key, first, session.deferred)
        self.held_bytes += session.held_bytes
        self._close(session, key, first, first_problem)
        return parts

    def _close(self, session: SessionWalk, key: bytes, first: int, first_problem: int) -> None:
        problems = self.tally.problems
        if self.task.recipe.uuid_filenames:
            self._drop_twins(session.path, first)
        if len(problems) > first_problem:
            problems[first_problem:] = sorted(problems[first_problem:])
        count = len(self.rows) - first
        self.sessions.append(SessionRows(key, count, len(problems), session.has_revisions))

    def _drop_twins(self, session_path: str, first: int) -> None:
        """Make problems of those of the datasets from `first` on that have an id or a rel_path of another."""
        for twin, reason in reversed(find_twins(self.rows.paths[first:])):
            self.tally.problem(f'{session_path}/{self.rows.paths[first + twin].decode()}', reason)
            self.rows.drop(first + twin)

    def _cut(self, key: bytes, first: int, deferred: list[bytes]) -> list[PartTask]:
        """Cut the datasets of a session into parts that follow each other in the table."""
        measured = self.rows.take(first)
        if self.known is not None:
            deferred = measured.paths + deferred  # to look at a few again is simplest
            measured = Rows()
        identity = self.task.identity
        paths = measured.paths + deferred
        sort_keys = identity.dataset_keys([key], [len(paths)], paths)
        count = -(-len(paths) // PART_ROWS)
        sample = sorted(sort_keys[:: len(paths) // (count * 64) + 1])
        bounds = [sample[len(sample) * i // count] for i in range(1, count)]
        rows_of_part: list[list[int]] = [[] for _ in range(count)]
        for row, sort_key in enumerate(sort_keys):
            rows_of_part[bisect(bounds, sort_key)].append(row)
        task = self.task._replace(keys=[key])
        parts = []
        for rows in rows_of_part:
            known = None
            if self.known is not None:
                ids = identity.dataset_ids([sort_keys[row] for row in rows])
                known = self.known.select(cut(ids.data, 36))
            split = bisect(rows, len(measured) - 1)
            to_measure = b''.join([paths[row] + b'\0' for row in rows[split:]])
            parts.append(PartTask(task._replace(known=known), to_measure, measured.select(rows[:split])))
        return parts

    def _result(self, session_keys: list[bytes]) -> ScanResult:
        """Make rows of what there is; those of `session_keys` in the table of the sessions."""
        identity, algorithms = self.task.identity, self.task.recipe.algorithms
        counts = [session.datasets for session in self.sessions]
        keys = identity.dataset_keys([session.key for session in self.sessions], counts, self.rows.paths)
        order, keys, left = sort_rows(keys, counts)
        if left is not counts:
            self.sessions = [
                session._replace(datasets=count) for session, count in zip(self.sessions, left, strict=True)
            ]
        rows = self.rows = self.rows.select(order)
        ids = identity.dataset_ids(keys)
        fingerprints = fingerprint_columns(rows.fingerprints)
        if self.known is None:
            hex_digests = to_hex_digests(rows.digests, algorithms)
        else:
            known = self.known.take_all(ids.data, (array('Q', rows.sizes), *fingerprints))
            if known is None:
                self._measure_changed(ids)
                return self._result(session_keys)
            hex_digests, fingerprints = known
            self.reused = len(rows)
        return ScanResult(
            sessions=to_ipc(sessions_rows(identity, session_keys, self.task.lab, self.infos)),
            datasets=to_ipc(datasets_rows(identity, self.sessions, ids, rows, hex_digests)),
            fingerprints=to_ipc(make_batch(fingerprints_schema(), fingerprints)) if algorithms else None,
            shard_sessions=0,
            session_count=len(session_keys),
            dataset_count=len(rows),
            total_bytes=sum(rows.sizes),
            reused=self.reused,
            read_again=self.read_again,
            tally=self.tally,
            folders=self._pack_folders(session_keys) if self.noted else None,
            with_info=[row for row, key in enumerate(session_keys) if key in self.infos],
            subtasks=self._list_big_files(),
            continuation=[],
        )

    def _pack_folders(self, session_keys: list[bytes]) -> bytes:
        eids = self.task.identity.eids(session_keys)
        paths, states = zip(*(self.folders[key] for key in session_keys), strict=True) if eids else ((), ())
        columns = [Text.join(list(column)) for column in (eids, paths, states)]
        return to_ipc(make_batch(folders_schema(), columns))

    def _measure_changed(self, ids: Text) -> None:
        """Read the files that are not as they are known, and take over the digests of the others."""
        assert self.known is not None  # noqa: S101 - for the type checker
        known, self.known = self.known, None
        old, self.rows = self.rows, Rows()
        states = zip(old.sizes, *zip(*old.fingerprints, strict=True), strict=True)
        found = iter(list(zip(cut(ids.data, 36), old.paths, states, strict=True)))
        sessions, self.sessions = self.sessions, []
        problems, self.tally.problems = self.tally.problems, []
        problem_start = 0
        for session in sessions:
            walk = self._walk(self.task.identity.session_path(session.key))
            walk.has_revisions = session.has_revisions
            first, first_problem = len(self.rows), len(self.tally.problems)
            self.tally.problems += problems[problem_start : session.problem_end]
            problem_start = session.problem_end
            changed: list[bytes] = []
            for one, path, state in islice(found, session.datasets):
                taken = known.take(one, state)
                if isinstance(taken, str):
                    changed.append(path)
                    self.read_again[taken] += bool(taken)
                else:
                    digests, fingerprint = taken
                    self.rows.add([path], Measures([state[0]], [digests], [fingerprint], {}))
                    self.reused += 1
            walk.measure(changed)
            self.tally.problems[first_problem:] = sorted({*self.tally.problems[first_problem:]})
            count = len(self.rows) - first
            self.sessions.append(session._replace(datasets=count, problem_end=len(self.tally.problems)))
        self.tally.problems += problems[problem_start:]  # of sessions that vanished

    def _list_big_files(self) -> list[HashTask]:
        if None not in self.rows.digests:
            return []
        keys_of_rows = [session.key for session in self.sessions for _ in range(session.datasets)]
        identity = self.task.identity
        return [
            HashTask(
                self.tree,
                f'{identity.session_path(keys_of_rows[row])}/{self.rows.paths[row].decode()}',
                self.task.recipe.algorithms,
                row,
                self.rows.sizes[row],
            )
            for row, digests in enumerate(self.rows.digests)
            if digests is None
        ]

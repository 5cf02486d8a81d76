"""Count what a build found, show its progress, and sum it up.

Knows what the stages yield, and nothing of their order.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

from fastindex.errors import InvalidIndexError
from fastindex.jobs.build.guard import refuse_in_doubt, refuse_losses
from fastindex.jobs.build.options import Options
from fastindex.jobs.build.words import iter_doubts, iter_lines
from fastindex.lazy import pa
from fastindex.names.alf import SkipReason
from fastindex.names.problems import Problem, Tally
from fastindex.pipeline.big import HashResult
from fastindex.pipeline.discover import Discovery
from fastindex.pipeline.scan import ScanResult
from fastindex.progress import open_bar
from fastindex.records import Record
from fastindex.tables.change_times import ChangeTimes
from fastindex.tables.check import Published
from fastindex.tables.file import AGAIN
from fastindex.tables.foreign import read_edited
from fastindex.tables.losses import Losses, has_own
from fastindex.tables.publish import PROBLEMS
from fastindex.tables.recipe import Recipe
from fastindex.tables.reuse import RECENT
from fastindex.tables.sources import count_empty
from fastindex.tables.splice import Counts
from fastindex.text import escape, from_system, to_count, to_text
from fastindex.trees import STATE_FOLDER, Tree
from fastindex.trees.fingerprints import FIELDS
from fastindex.trees.roots import judge_root

if TYPE_CHECKING:
    from fastindex.tables.carry import Carrier, KeptIds
    from fastindex.tables.publish import Stage

__all__ = ['Changes', 'Report', 'Summary']

MAX_PROBLEMS = 1000
"""Problems that a summary holds; `problems.jsonl` has all."""

FEW = 0.5  # of all files: some may have their old inode again by chance


class Changes(Record):
    """How many rows are not as they were in the index before; what has moved is neither added nor removed.

    `columns` are those that come, go or have other values, where no row is told to have changed.
    """

    sessions_added: int
    sessions_removed: int
    datasets_added: int
    datasets_removed: int
    datasets_changed: int
    sessions_moved: int = 0
    datasets_moved: int = 0
    columns: tuple[str, ...] = ()


class Summary(Record):
    """What a build did. Of many fields: each is in the lines that the command prints.

    Parameters
    ----------
    root
        Folder that was indexed.
    recipe
        How the index is made.
    as_before
        Those of its options that nobody gave, as the index before was made with them, in backticks.
    sessions, datasets
        Rows of the two tables.
    bytes
        Sum of the sizes of all datasets.
    skipped
        For each reason the number of names that do not belong in the index.
    problems
        The first thousand paths that could not be indexed.
    problem_count
        Number of all of them; `problems_path` has them in full.
    warnings
        What is wrong with the root, in sentences.
    digests_reused
        Datasets whose digests are those of the index before, as the file is as it was.
    read_again
        Datasets that were known too, but whose files were read: how many by the first of size, mtime, ctime
        and inode in which the file is not as it was, or by `recent`, as it had just been changed then.
    changes
        Since the index before; None where there was none of ours that was whole.
    seconds
        Wall time.
    sessions_path, datasets_path, problems_path
        The published files, URLs where they are in a bucket; None where there is none (a dry run; no
        problem).
    sessions_carried, datasets_carried
        Rows of the index before that are in this one, as nobody has looked at these sessions.
    generation
        Token that both tables carry; the same rows have the same one.
    ids_kept
        For each of the tables whose ids are kept, how many of theirs are those of this index.
    info_offered
        Sessions whose own files would fill in projects or tasks, as nobody has said whether they are to.
    info_overruled
        Sessions whose projects or tasks are other ones than their files say, by people or other tables.
    known_again
        What indexes that were replaced knew of sessions and datasets that the one before did not have, as
        they were not there: how many values, by their columns.
    """

    root: str
    recipe: Recipe
    as_before: tuple[str, ...]
    sessions: int
    datasets: int
    bytes: int
    skipped: Mapping[str, int]
    problems: tuple[Problem, ...]
    problem_count: int
    warnings: tuple[str, ...]
    digests_reused: int
    changes: Changes | None
    seconds: float
    sessions_path: Path | str | None = None
    datasets_path: Path | str | None = None
    problems_path: Path | None = None
    sessions_carried: int = 0
    datasets_carried: int = 0
    generation: str | None = None
    ids_kept: tuple[KeptIds, ...] = ()
    read_again: Mapping[str, int] = MappingProxyType({})
    info_offered: int = 0
    info_overruled: int = 0
    known_again: Mapping[str, int] = MappingProxyType({})

    def at(self, url: str) -> Self:
        """Get it with the tables in a bucket."""
        return self.replace(sessions_path=f'{url}/sessions.pqt', datasets_path=f'{url}/datasets.pqt')

    def __str__(self) -> str:
        return '\n'.join(iter_lines(self))

    def __repr__(self) -> str:
        return f'<Summary: {str(self).partition(chr(10))[0]}>'


class Report:
    """Counts what the stages yield, and shows progress while it is open.

    Of many fields: it is the `Summary` while it grows.
    """

    def __init__(
        self, tree: Tree, options: Options, found: Discovery, carrier: Carrier | None, *, with_folders: bool
    ) -> None:
        self.tree = tree
        self.with_folders = with_folders  # whether it is noted by what to know folders again
        self.carrier = carrier
        self.options = options
        self.total = found.count_sessions()
        self.sessions = self.datasets = self.bytes = self.reused = self.info_offered = 0
        self.read_again: Counter[str] = Counter()
        self.skipped: Counter[SkipReason] = Counter()
        self.problems: list[Problem] = []
        self.problem_count = self.problems_carried = 0
        self.carried = Counts()
        self.looked_at: Sequence[str] | None = None  # None: all
        self.changes: Changes | None = None
        self.lost_digests: list[str] = []
        self.change_times = ChangeTimes(self.tree.root)
        self.inodes_are_new = False
        self.unreadable = ''  # why the index before was not compared
        self.started = time.monotonic()
        found.tally.problems.sort()
        self.doubts = found.tally.doubts
        self.first_problems = self._take(found.tally)

    def __enter__(self) -> Self:
        self._bar = open_bar(
            total=self.total, unit='session', description='indexing', enabled=self.options.progress
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def add(self, result: ScanResult, hashed: list[HashResult]) -> list[Problem]:
        """Count what a shard gave; return its problems, sorted."""
        self.sessions += result.session_count
        self.datasets += result.dataset_count
        self.bytes += result.total_bytes
        self.reused += result.reused
        self.read_again += result.read_again
        tally = result.tally
        for task, big in zip(result.subtasks, hashed, strict=True):
            tally.merge(big.tally)
            if big.measured is None:
                self.datasets -= 1
                self.bytes -= task.cost
            else:
                self.bytes += big.measured[0] - task.cost
        seconds = time.monotonic() - self.started
        self._bar.set_postfix_str(
            f'{self.datasets / seconds:,.0f} files/s, {self.bytes / seconds / 1e6:,.0f} MB/s', refresh=False
        )
        self._bar.update(result.shard_sessions)
        return self._take(tally)

    def complete(
        self, result: ScanResult, hashed: list[HashResult]
    ) -> tuple[pa.Table, pa.Table, pa.Table | None]:
        """Unpack what a shard gave into rows of all tables, with what is known of them."""
        from fastindex.pipeline.collect import complete

        sessions, datasets, fingerprints = complete(result, hashed, self.options.recipe.algorithms)
        if fingerprints is not None:
            self.change_times.add(fingerprints)
        if self.carrier is not None:
            sessions, datasets = self.carrier.fill(sessions, datasets)
        if result.with_info and self.options.offers_info and not self.options.recipe.session_info:
            self.info_offered += count_empty(sessions.take(result.with_info))
        return sessions, datasets, fingerprints

    def add_carried(self, counts: Counts, problem_count: int, looked_at: Sequence[str]) -> None:
        """Count what is carried over; `looked_at` are the eids of all other sessions."""
        self.looked_at = looked_at
        self.carried = counts
        self.sessions += counts.sessions
        self.datasets += counts.datasets
        self.bytes += counts.bytes
        self.problems_carried = problem_count

    def compare(self, published: Published, stage: Stage, generation: str) -> None:
        """Count what has changed from the published index to the staged one, and tell the hook.

        Whatever is wrong with the published one, down to its last row, is found before anything is told: then
        it is not compared, which is a warning, and no reason to keep it.
        """
        from fastindex.tables.changes import ChangeKind, iter_parts, list_columns, tell_changes
        from fastindex.tables.paths import list_session_paths

        recipe = self.options.recipe
        if self.options.path_ids or not published.is_there:
            return
        with ExitStack() as files:
            try:
                tables = files.enter_context(published.open())
                if tables.generation is None:
                    if not self.options.carries or read_edited(published.folder) is None:
                        raise InvalidIndexError(f'{escape(str(tables.folder))}: tables of another program')
                    tables.check_order()
                # Else all rows are as they are now; those that are carried over stay what they are.
                if tables.generation != generation and self.looked_at is None and published.damage:
                    raise published.damage
            except InvalidIndexError as error:
                if self.carried.sessions:
                    raise  # its rows are among those of the new one
                self.unreadable = str(error).removesuffix(f'. {AGAIN}')
                refuse_in_doubt(published.folder, stage, self)
                return
            if recipe.algorithms:  # else none at all are meant
                self.lost_digests = sorted(set(tables.recipe.algorithms) - set(recipe.algorithms))
            parts = iter_parts(tables, stage.path, below=stage.out.path, among=self.looked_at)
            losses = Losses(moves_count=has_own(tables))
            counts = tell_changes(
                parts if tables.generation != generation else (),
                partial(list_session_paths, namespace=recipe.namespace, root=Path(self.tree.root)),
                self.options.on_change,
                losses.add,
            )
            refuse_losses(losses, tables, self, published.folder)
            columns: list[str] = []
            if not any(counts.values()) and None is not tables.generation != generation:
                columns = list_columns(tables, stage.path, below=stage.out.path, among=self.looked_at)
            # Which nobody need have changed: all is as it was.
            again = self.read_again['inode'] if tables.generation == generation else 0
            self.inodes_are_new = again > 1 and again >= (self.reused + self.read_again.total()) * FEW
        self.changes = Changes(
            **{
                f'{"sessions" if of_sessions else "datasets"}_{kind}': counts[of_sessions, kind]
                for of_sessions, kind in product((True, False), ChangeKind)
                if not (of_sessions and kind is ChangeKind.CHANGED)
            },
            columns=tuple(columns),
        )

    def _iter_warnings(self) -> Iterator[str]:
        if wrong := judge_root(self.tree):
            yield f'{wrong.message}: {wrong.advice}'
        yield from iter_doubts(self.doubts, to_text(self.tree.root))
        if self.unreadable:
            yield f'the index before could not be compared with this one: {self.unreadable}'
        if self.inodes_are_new:
            yield (
                'most files were read again, as they have other inodes than at the run before, with '
                'the sizes and times of then: where the disk gives new ones at each mount, '
                '`trust=size,mtime,ctime` does without them'
            )
        if self.change_times.are_missing:
            yield (
                'on this disk ctime is no time of change, as it equals mtime in all files: one that was '
                'written again with its old size and mtime is not noticed, unless `rehash` reads all'
            )
        if self.lost_digests:
            names = ','.join(self.lost_digests)
            yield f'the index before had digests that this one has not: `hash={names}` keeps them'
        for kept in self._list_kept() if self.looked_at is None else ():
            if kept.sessions_known and not kept.sessions:
                yield f'{escape(kept.tables)}: no session of these tables is in this tree, so no id is kept'
        if self.carrier is not None and (lost := self.carrier.count_lost(self.looked_at)):
            yield (
                'of sessions and datasets that are gone, or have other names now, the index before knew what '
                f'this one does not: {_to_list(lost)}; '
                'python -m fastindex restore ROOT puts it back'
            )
        if self.carrier is not None and (replaced := +self.carrier.replaced):
            yield (
                f'the tables of `ids_from` say other things than the index before: {_to_list(replaced)}; '
                'theirs count, and python -m fastindex restore ROOT puts the others back'
            )
        outcomes = None if self.carrier is None else self.carrier.outcomes
        if outcomes is not None and (unused := outcomes.list_unused()):
            yield (
                f'{escape(outcomes.path)}: {to_count(len(unused), "line")} of no dataset of this '
                f'tree, or of one that a later line is of too; the first is line {unused[0]}'
            )
        if self.carrier is not None and self.carrier.newer:
            yield (
                f'the client will load a newer revision of {to_count(self.carrier.newer, "dataset")} than by '
                'the tables before: `default_revision=known` keeps theirs'
            )
        if self.options.recipe.uuid_filenames and self.problem_count and not self.datasets:
            yield 'no name of a file has a UUID of version 3 or 4: is `uuid_filenames` right for this tree?'

    def _list_kept(self) -> tuple[KeptIds, ...]:
        return () if self.carrier is None else tuple(self.carrier.iter_kept(self.carried[:2]))

    def _take(self, tally: Tally) -> list[Problem]:
        problems = tally.problems
        self.skipped += tally.skipped
        self.problem_count += len(problems)
        self.problems += problems[: MAX_PROBLEMS - len(self.problems)]
        if self.options.on_skip is not None:
            for skip in tally.skips or ():
                self.options.on_skip(skip)
        return problems

    def summary(self, started: float, *, out: Path | None = None, generation: str | None = None) -> Summary:
        """Freeze the counts."""
        has_problems = self.problem_count + self.problems_carried > 0
        return Summary(
            root=to_text(from_system(self.tree.root)),
            recipe=self.options.recipe,
            as_before=self.options.as_before,
            sessions=self.sessions,
            datasets=self.datasets,
            bytes=self.bytes,
            skipped=MappingProxyType({str(reason): self.skipped[reason] for reason in sorted(self.skipped)}),
            problems=tuple(self.problems),
            problem_count=self.problem_count,
            warnings=tuple(self._iter_warnings()),
            digests_reused=self.reused,
            changes=self.changes,
            seconds=time.monotonic() - started,
            sessions_path=out / 'sessions.pqt' if out else None,
            datasets_path=out / 'datasets.pqt' if out else None,
            problems_path=out / STATE_FOLDER / PROBLEMS if out and has_problems else None,
            sessions_carried=self.carried.sessions,
            datasets_carried=self.carried.datasets,
            generation=generation,
            ids_kept=self._list_kept(),
            info_offered=self.info_offered,
            info_overruled=0 if self.carrier is None else self.carrier.overruled,
            known_again={} if self.carrier is None else dict(sorted((+self.carrier.known_again).items())),
            read_again={name: self.read_again[name] for name in (*FIELDS, RECENT) if name in self.read_again},
        )


def _to_list(counts: Mapping[str, int]) -> str:
    """Write the columns of values, with how many there are."""
    return ', '.join(f'{name} of {count:,}' for name, count in sorted(counts.items()))

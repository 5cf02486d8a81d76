"""What an index would lose if a new one took its place: whole labs and subjects, or a great part of it.

A disk that is not mounted looks like an empty folder, and a folder that may not be read like none at all:
what would go is counted. Knows nothing of why rows are gone, nor of what becomes of the run.

A subject that has lost some sessions and got as many has lost none: folders that get other names are no loss,
nor is an index that gets other ids. Where size and digest tell that all has moved, nothing goes but the ids
of other tables and what people have said, which are known by path: an index that has such is asked about.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple, Self

from fastindex.errors import UsageError
from fastindex.lazy import pc
from fastindex.names.alf import SessionParts
from fastindex.tables.changes import OwnedRows, RangeChanges
from fastindex.tables.check import Tables
from fastindex.tables.recipe import Recipe
from fastindex.tables.sources import KnownTables

__all__ = ['Limit', 'Losses', 'Missing', 'has_own']

FEW_SESSIONS = 3  # a subject with more than these is missed when it is empty; a lab with any


class Limit(NamedTuple):
    """How much may go unasked: a number of sessions, or a part of the sessions or of the datasets.

    number: of sessions, or percent
    is_percent: which of the two
    at_least: sessions that must have lost something before a part of all counts
    """

    number: float
    is_percent: bool = False
    at_least: int = 1

    @classmethod
    def parse(cls, value: int | str | None) -> Limit:
        """Parse `20` or `5%`; None is 10 %, and ten sessions at least.

        Raises UsageError if it is neither.

        Examples
        --------
        >>> Limit.parse('2.5%')
        Limit(number=2.5, is_percent=True, at_least=1)
        """
        if value is None:
            return cls(10, is_percent=True, at_least=10)
        match = re.fullmatch(r'(\d+)|(\d+(?:\.\d+)?)%', str(value), re.ASCII)
        if match is None:
            raise UsageError(
                hint=f'`max_removed` is {value!r}: expected a number of sessions, or percent, as in 20 or 5%'
            )
        return cls(float(match[1] or match[2]), is_percent=match[1] is None)


class Missing(NamedTuple):
    """A lab or a subject that had rows and has none any more."""

    path: str  # relative to the root
    sessions: int
    datasets: int
    has_sessions: bool  # whether its sessions still are there, without a dataset


class _Count(NamedTuple):
    """Rows of a lab or a subject."""

    sessions: int = 0
    datasets: int = 0

    def plus(self, other: _Count) -> _Count:
        return _Count(self.sessions + other.sessions, self.datasets + other.datasets)


def has_own(before: Tables) -> bool:
    """Tell whether an index has what goes where a session moves: ids of other tables, what people said."""
    facts = before.datasets.facts
    return before.generation is None or Recipe.from_json(facts).ids_from or bool(facts.get('kept'))


class Losses:
    """Counts what goes, by subject, while changes are told.

    moves_count: whether what has moved goes too
    """

    def __init__(self, *, moves_count: bool = True) -> None:
        self._moves_count = moves_count
        self._sessions: Counter[str] = Counter()
        self._datasets: Counter[str] = Counter()
        self._losing_sessions = 0
        self._last_eid = ''

    def add(self, part: RangeChanges, gone: Sequence[bool], come: Sequence[bool]) -> None:
        """Count what goes and what comes; `gone` and `come` say what of it has moved, as far as is known."""
        counts = self._sessions if part.of_sessions else self._datasets
        if self._moves_count:
            gone = come = ()
        for rows, moved, sign in ((part.removed, gone, 1), (part.added, come, -1)):
            names = (rows.sessions[name].to_pylist() for name in ('id', 'lab', 'subject'))
            losing = []
            for eid, lab, subject, count in zip(*names, _count_others(rows, moved), strict=True):
                counts[_subject_path(lab, subject)] += sign * count
                losing += [eid] * (count > 0)
            if losing and sign > 0 and not part.of_sessions:
                self._losing_sessions += len(losing) - (losing[0] == self._last_eid)
                self._last_eid = losing[-1]

    @property
    def sessions(self) -> int:
        """How many go."""
        return sum(count for count in self._sessions.values() if count > 0)

    @property
    def datasets(self) -> int:
        """How many go."""
        return sum(count for count in self._datasets.values() if count > 0)

    def exceed(self, limit: Limit, sessions: int, datasets: int) -> bool:
        """Tell whether more goes than may go unasked, of all that there were."""
        if not limit.is_percent:
            return self.sessions > limit.number
        return (self.sessions >= limit.at_least and self.sessions * 100 > limit.number * sessions) or (
            max(self._losing_sessions, self.sessions) >= limit.at_least
            and self.datasets * 100 > limit.number * datasets
        )

    @classmethod
    def of_known(cls, known: KnownTables, found: Iterable[SessionParts]) -> Self:
        """Count what goes of tables in any order; `found` are all sessions that are there."""
        losses = cls()
        left = set(map(known.find, found))
        for eid, path in _iter_known(known):
            if eid not in left:
                losses._sessions[path] += 1
                losses._datasets[path] += known.spans.get(eid, (0, 0))[1]
                losses._losing_sessions += 1
        return losses

    def find_missing(self, before: Tables | KnownTables) -> list[Missing]:
        """Find the labs, and the subjects with more than a few sessions, that have lost all they had."""
        if not (self.sessions or self.datasets):
            return []
        subjects = _count_known(before) if isinstance(before, KnownTables) else _count_by_subject(before)
        labs: dict[str, _Count] = {}
        lost_of_labs: dict[str, _Count] = {}
        missing: list[Missing] = []
        for path, had in subjects.items():
            lost = _Count(self._sessions[path], self._datasets[path])
            lab, is_in_lab, _ = path.partition('/Subjects/')
            if is_in_lab:
                labs[lab] = labs.get(lab, _Count()).plus(had)
                lost_of_labs[lab] = lost_of_labs.get(lab, _Count()).plus(lost)
            if had.sessions > FEW_SESSIONS:
                missing += _iter_missing(path, had, lost)
        gone = [one for lab, had in labs.items() for one in _iter_missing(lab, had, lost_of_labs[lab])]
        whole = {one.path for one in gone}
        missing = [one for one in missing if one.path.partition('/Subjects/')[0] not in whole]
        return sorted([*gone, *missing], key=lambda one: (-one.sessions, one.path))


def _iter_missing(path: str, had: _Count, lost: _Count) -> Iterator[Missing]:
    if lost.sessions >= had.sessions or (had.datasets and lost.datasets >= had.datasets):
        yield Missing(path, had.sessions, had.datasets, lost.sessions < had.sessions)


def _count_others(rows: OwnedRows, moved: Sequence[bool]) -> Sequence[int]:
    """Count the rows of each session that have not moved."""
    flags = iter(moved)
    return [count - sum(islice(flags, count)) for count in rows.counts] if moved else rows.counts


def _subject_path(lab: str, subject: str) -> str:
    return f'{lab}/Subjects/{subject}' if lab else subject


def _iter_known(known: KnownTables) -> Iterator[tuple[str, str]]:
    """Iterate over the eids of sessions, and the paths of their subjects."""
    columns = (known.sessions[name].to_pylist() for name in ('id', 'lab', 'subject'))
    return ((eid, _subject_path(lab or '', subject)) for eid, lab, subject in zip(*columns, strict=True))


def _count_known(known: KnownTables) -> dict[str, _Count]:
    counts: dict[str, _Count] = {}
    for eid, path in _iter_known(known):
        counts[path] = counts.get(path, _Count()).plus(_Count(1, known.spans.get(eid, (0, 0))[1]))
    return counts


def _count_by_subject(tables: Tables) -> dict[str, _Count]:
    """Count the rows of each subject, in step: both tables are sorted by the eid."""

    def iter_sessions() -> Iterator[tuple[str, str]]:
        for _, found in tables.sessions.iter_batches(['id', 'lab', 'subject']):
            columns = (found[name].to_pylist() for name in ('id', 'lab', 'subject'))
            for eid, lab, subject in zip(*columns, strict=True):
                yield eid, _subject_path(lab, subject)

    sessions: Counter[str] = Counter()
    datasets: Counter[str] = Counter()
    rows = iter_sessions()
    current, path = '', ''
    for _, found in tables.datasets.iter_batches(['eid']):
        counts = pc.value_counts(found['eid'])
        for eid, count in zip(counts.field(0).to_pylist(), counts.field(1).to_pylist(), strict=True):
            while current < eid:
                current, path = next(rows)
                sessions[path] += 1
            datasets[path] += count
    sessions.update(path for _, path in rows)
    return {path: _Count(count, datasets[path]) for path, count in sessions.items()}

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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice, repeat
from operator import add
from typing import NamedTuple, Self

from fastindex.errors import UsageError
from fastindex.lazy import pa, pc
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
            losing = []
            for (eid, path), count in zip(
                _iter_subjects(rows.sessions), _count_others(rows, moved), strict=True
            ):
                counts[path] += sign * count
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
        for eid, path in _iter_subjects(known.sessions):
            if eid not in left:
                losses._sessions[path] += 1
                losses._datasets[path] += known.spans.get(eid, (0, 0))[1]
                losses._losing_sessions += 1
        return losses

    def find_missing(self, before: Tables | KnownTables) -> list[Missing]:
        """Find the labs, and the subjects with more than a few sessions, that have lost all they had."""
        if not (self.sessions or self.datasets):
            return []
        had = _count_known(before) if isinstance(before, KnownTables) else _count_by_subject(before)
        counts = (*had, self._sessions, self._datasets)
        subjects = {path: [count[path] for count in counts] for path in had[0]}
        labs: dict[str, list[int]] = {}
        for path, numbers in subjects.items():
            lab, is_in_lab, _ = path.partition('/Subjects/')
            if is_in_lab:
                labs[lab] = list(map(add, labs.get(lab, repeat(0)), numbers))
        gone = list(_iter_missing(labs))
        whole = {one.path for one in gone}
        gone += [
            one
            for one in _iter_missing(subjects)
            if one.sessions > FEW_SESSIONS and one.path.partition('/Subjects/')[0] not in whole
        ]
        return sorted(gone, key=lambda one: (-one.sessions, one.path))


def _iter_missing(counts: dict[str, list[int]]) -> Iterator[Missing]:
    """Find what has lost all; `counts` are sessions and datasets that it had, and those that it has lost."""
    for path, (sessions, datasets, lost_sessions, lost_datasets) in counts.items():
        if lost_sessions >= sessions or (datasets and lost_datasets >= datasets):
            yield Missing(path, sessions, datasets, lost_sessions < sessions)


def _count_others(rows: OwnedRows, moved: Sequence[bool]) -> Sequence[int]:
    """Count the rows of each session that have not moved."""
    flags = iter(moved)
    return [count - sum(islice(flags, count)) for count in rows.counts] if moved else rows.counts


def _iter_subjects(sessions: pa.Table | Mapping[str, pa.Array]) -> Iterator[tuple[str, str]]:
    """Iterate over the eids of sessions, and the paths of their subjects."""
    columns = (sessions[name].to_pylist() for name in ('id', 'lab', 'subject'))
    for eid, lab, subject in zip(*columns, strict=True):
        yield eid, f'{lab}/Subjects/{subject}' if lab else subject


def _count_known(known: KnownTables) -> tuple[Counter[str], Counter[str]]:
    """Count the sessions and the datasets of each subject."""
    sessions: Counter[str] = Counter()
    datasets: Counter[str] = Counter()
    for eid, path in _iter_subjects(known.sessions):
        sessions[path] += 1
        datasets[path] += known.spans.get(eid, (0, 0))[1]
    return sessions, datasets


def _count_by_subject(tables: Tables) -> tuple[Counter[str], Counter[str]]:
    """Count the same in step: both tables are sorted by the eid."""
    sessions: Counter[str] = Counter()
    datasets: Counter[str] = Counter()
    batches = tables.sessions.iter_batches(['id', 'lab', 'subject'])
    rows = chain.from_iterable(_iter_subjects(found) for _, found in batches)
    current, path = '', ''
    for _, found in tables.datasets.iter_batches(['eid']):
        counts = pc.value_counts(found['eid'])
        for eid, count in zip(counts.field(0).to_pylist(), counts.field(1).to_pylist(), strict=True):
            while current < eid:
                current, path = next(rows)
                sessions[path] += 1
            datasets[path] += count
    sessions.update(path for _, path in rows)
    return sessions, datasets

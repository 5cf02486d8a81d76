"""The rules of the tables that the client needs, and the faults that name them: what it gets wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

from fastindex.records import Record
from fastindex.text import escape

__all__ = ['RULES', 'Fault', 'TableRule']

_REBUILD = 'python -m fastindex ROOT writes it as it should be'


class TableRule(NamedTuple):
    """A rule that an index may break: what happens then, and what to do."""

    consequence: str
    remedy: str = _REBUILD


RULES = {
    'damaged': TableRule('fastindex refuses the index; the client may read wrong rows'),
    'mixed-pair': TableRule(
        'the two tables are of different runs, one of which was stopped',
        'python -m fastindex ROOT completes it',
    ),
    'foreign-table': TableRule(
        'the client loads every *.pqt in the folder as a table', 'move the file elsewhere, or rename it'
    ),
    'no-one-metadata': TableRule('the client takes it for no table and loads nothing'),
    'wrong-one-metadata': TableRule('the client raises, or reads another date than was meant'),
    'no-pandas-metadata': TableRule(
        'the client takes every column with "id" in its name for a part of the index'
    ),
    'no-arrow-schema': TableRule('the order of the qc categories is lost, and the client raises TypeError'),
    'missing-column': TableRule('the client raises KeyError where it needs the column'),
    'wrong-type': TableRule('the client raises, or makes wrong paths'),
    'dictionary-id': TableRule('the client raises IndexError with pandas 2'),
    'null': TableRule('the client raises TypeError'),
    'null-size': TableRule('nobody knows how large the datasets are; the client loads them all the same'),
    'wrong-id': TableRule('the client knows UUIDs of version 3 and 4 only: it raises, or finds no path'),
    'duplicate-session-id': TableRule('the client loads one of the sessions in the place of the other'),
    'duplicate-dataset-id': TableRule('the client loads one of the datasets in the place of the others'),
    'unsorted': TableRule('the client sorts the table at each start'),
    'wrong-name': TableRule('the client makes a path that is not there, or leads out of the tree'),
    'wrong-number': TableRule('the client makes a path of three digits: no such folder'),
    'twin-sessions': TableRule(
        'one subject, date and number twice: the client cannot tell them apart by path',
        'give the folders different numbers, then index again',
    ),
    'orphan': TableRule(
        'datasets of a session that is not in sessions.pqt: the client finds no path to them'
    ),
    'unknown-session': TableRule(
        'the client finds these rows, and no session of theirs', 'index their sessions, or remove the rows'
    ),
    'unsafe-path': TableRule('the path leads out of its session'),
    'not-alf': TableRule(
        'the client can neither list nor load it', 'rename the file, or leave it out: fastindex does'
    ),
    'empty-hash': TableRule('the client computes the MD5 of each file at each load, and warns of a mismatch'),
    'wrong-hash': TableRule('the client compares it with the MD5 of each file that it loads, and warns'),
    'wrong-xxh128': TableRule('fastindex verify cannot compare contents by it'),
    'wrong-qc': TableRule('the client raises TypeError'),
    'no-qc': TableRule('the client adds the column at each start'),
    'no-default-revision': TableRule(
        'the client warns at each load, and takes the last revision for the best'
    ),
    'two-default-revisions': TableRule('the client raises at a load that names no revision'),
    'old-default-revision': TableRule('the client loads it where no revision is named'),
    'no-default-among-revisions': TableRule('the client finds no dataset where no revision is named'),
    'other-id-column': TableRule('the client takes the column for a part of the index'),
}
"""All rules, by the code of a fault."""

_KEEPING = 'python -m fastindex ROOT, with `ids_from` and the folder of these tables, keeps what they know'
_REPLACING = (
    'python -m fastindex ROOT, with `force`, replaces the tables: their ids cannot be kept, the new ones last'
)

_LOST_IDS = frozenset({'duplicate-dataset-id', 'duplicate-session-id', 'wrong-id', 'damaged', 'mixed-pair'})
"""With these faults nobody can keep the ids."""

_USUAL_ELSEWHERE = frozenset({'unsorted', 'old-default-revision', 'null-size'})
"""What an Alyx database's tables have: a warning there."""


class Fault(Record):
    """One rule that a table breaks.

    Parameters
    ----------
    code
        Of `RULES`, which say what follows and what to do.
    table
        Name of the file.
    detail
        What is wrong, and how often.
    severity
        `error`, or `warning` for what tables of another program have by their nature.
    remedy
        What to do, so that all that the tables know is kept.
    """

    code: str
    table: str
    detail: str
    severity: str = 'error'
    remedy: str = ''

    @classmethod
    def of_rule(cls, code: str, table: str, detail: str) -> Self:
        """Make a fault with the remedy of its rule."""
        return cls(code, table, detail, remedy=RULES[code].remedy)

    @property
    def consequence(self) -> str:
        """What the client makes of it."""
        return RULES[self.code].consequence

    def __str__(self) -> str:
        return f'{escape(self.table)}: {escape(self.detail)}'


def judge_elsewhere(faults: Sequence[Fault]) -> Iterator[Fault]:
    """Judge the faults of tables of another program: what is usual there is a warning, ids are to stay."""
    remedy = _REPLACING if _LOST_IDS.intersection(fault.code for fault in faults) else _KEEPING
    for fault in faults:
        severity = 'warning' if fault.code in _USUAL_ELSEWHERE else 'error'
        keeps = remedy if fault.remedy == _REBUILD else fault.remedy
        yield fault.replace(severity=severity, remedy=keeps)

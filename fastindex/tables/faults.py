"""The rules of the tables that the client needs, and the faults that name them: what it gets wrong."""

from __future__ import annotations

from typing import NamedTuple

from fastindex.text import escape

__all__ = ['RULES', 'Fault', 'Rule']


_REBUILD = 'python -m fastindex ROOT writes it as it should be'


class Rule(NamedTuple):
    """A rule that an index may break: what happens then, and what to do."""

    consequence: str
    remedy: str = _REBUILD


RULES = {
    'damaged': Rule('fastindex refuses the index; the client may read wrong rows'),
    'mixed-pair': Rule(
        'the two tables are of different runs, one of which was stopped',
        'python -m fastindex ROOT completes it',
    ),
    'foreign-table': Rule(
        'the client loads every *.pqt in the folder as a table', 'move the file elsewhere, or rename it'
    ),
    'no-one-metadata': Rule('the client takes it for no table and loads nothing'),
    'wrong-one-metadata': Rule('the client raises, or reads another date than was meant'),
    'no-pandas-metadata': Rule('the client takes every column with "id" in its name for a part of the index'),
    'no-arrow-schema': Rule('the order of the qc categories is lost, and the client raises TypeError'),
    'missing-column': Rule('the client raises KeyError where it needs the column'),
    'wrong-type': Rule('the client raises, or makes wrong paths'),
    'dictionary-id': Rule('the client raises IndexError with pandas 2'),
    'null': Rule('the client raises TypeError'),
    'wrong-id': Rule('the client knows UUIDs of version 3 and 4 only: it raises, or finds no path'),
    'duplicate-session-id': Rule('the client loads one of the sessions in the place of the other'),
    'duplicate-dataset-id': Rule('the client loads one of the datasets in the place of the others'),
    'unsorted': Rule('the client sorts the table at each start'),
    'wrong-name': Rule('the client makes a path that is not there, or leads out of the tree'),
    'wrong-number': Rule('the client makes a path of three digits: no such folder'),
    'twin-sessions': Rule(
        'one subject, date and number twice: the client cannot tell them apart by path',
        'give the folders different numbers, then index again',
    ),
    'orphan': Rule('datasets of a session that is not in sessions.pqt: the client finds no path to them'),
    'unsafe-path': Rule('the path leads out of its session'),
    'not-alf': Rule(
        'the client can neither list nor load it', 'rename the file, or leave it out: fastindex does'
    ),
    'empty-hash': Rule('the client computes the MD5 of each file at each load, and warns of a mismatch'),
    'wrong-hash': Rule('the client compares it with the MD5 of each file that it loads, and warns'),
    'wrong-xxh128': Rule('fastindex verify cannot compare contents by it'),
    'wrong-qc': Rule('the client raises TypeError'),
    'no-qc': Rule('the client adds the column at each start'),
    'no-default-revision': Rule('the client warns at each load, and takes the last revision for the best'),
    'two-default-revisions': Rule('the client raises at a load that names no revision'),
    'old-default-revision': Rule('the client loads it where no revision is named'),
    'no-default-among-revisions': Rule('the client finds no dataset where no revision is named'),
    'other-id-column': Rule('the client takes the column for a part of the index'),
}
"""All rules, by the code of a fault."""


class Fault(NamedTuple):
    """One rule that a table breaks.

    Parameters
    ----------
    code
        Of `RULES`, which say what follows and what to do.
    table
        Name of the file.
    detail
        What is wrong, and how often.
    """

    code: str
    table: str
    detail: str

    @property
    def consequence(self) -> str:
        """What the client makes of it."""
        return RULES[self.code].consequence

    @property
    def remedy(self) -> str:
        """What to do."""
        return RULES[self.code].remedy

    def __str__(self) -> str:
        return f'{escape(self.table)}: {escape(self.detail)}'

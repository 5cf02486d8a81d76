"""Findings: what is wrong with one path, by the code of the rule that is broken."""

from __future__ import annotations

from fastindex.names.problems import Reason
from fastindex.names.rule import Severity
from fastindex.names.rules import RULES
from fastindex.records import Record
from fastindex.text import escape, to_text

__all__ = ['RULE_OF_REASON', 'Finding']


class Finding(Record):
    r"""One thing that is wrong with one path. Sorts by code, then by path.

    Parameters
    ----------
    code
        Of the rule, see `RULES`.
    severity
        Of the rule.
    path
        Relative to the root, POSIX; `.` is the root itself; bytes that are not UTF-8 are written as `\xNN`.
    message
        What is wrong, in one sentence.
    fix
        The nearest valid path, free as far as was seen, and relative to the root too; for a wrong root the
        right one, absolute; '' where there is none.
    """

    code: str
    severity: Severity
    path: str
    message: str
    fix: str = ''

    @classmethod
    def make(cls, code: str, path: str, message: str, fix: str = '') -> Finding:
        """Make a finding with the severity of its rule, of a path as the file system gave it."""
        return cls(code, RULES[code].severity, to_text(path), message, to_text(fix))

    def __str__(self) -> str:
        return f'{escape(self.path)}: {escape(self.message)}{self._advice()}'

    def _advice(self) -> str:
        """Show the fix: its name, where the folder stays the same, else the whole path."""
        above, _, name = self.fix.rpartition('/')
        is_beside = above == self.path.rpartition('/')[0]
        return f' -> {escape(name if is_beside else self.fix)}' if self.fix else ''


RULE_OF_REASON = {
    Reason.PERMISSION: 'ALF401',
    Reason.DANGLING_LINK: 'ALF402',
    Reason.LINK_LOOP: 'ALF403',
    Reason.NOT_REGULAR: 'ALF404',
    Reason.NOT_HERE: 'ALF413',
    Reason.NOT_GOT: 'ALF413',
    Reason.NOT_UTF8: 'ALF405',
    Reason.TOO_DEEP: 'ALF406',
    Reason.TOO_LONG: 'ALF411',
    Reason.VANISHED: 'ALF407',
    Reason.CHANGED: 'ALF407',
    Reason.IO: 'ALF408',
    Reason.WORKER_DIED: 'ALF410',
    Reason.NO_UUID: 'ALF311',
    Reason.BAD_UUID: 'ALF312',
    Reason.UUID_TWICE: 'ALF313',
    Reason.PATH_TWICE: 'ALF314',
    Reason.BAD_INFO: 'ALF503',
}
"""The codes of the problems of a build."""

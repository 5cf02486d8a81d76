"""What a rule is, and how bad it is to break one. The rules themselves are in `fastindex.names.rules`."""

from __future__ import annotations

from enum import StrEnum
from textwrap import wrap
from typing import NamedTuple

__all__ = ['Rule', 'Severity']


class Severity(StrEnum):
    """How bad it is: what an error costs, a warning may cost, and an information does not."""

    ERROR = 'error'
    WARNING = 'warning'
    INFO = 'info'


MEANING_OF_SEVERITY = {
    Severity.ERROR: 'data that the client does not find, does not load, or confuses with other data',
    Severity.WARNING: 'left out of the index, or read in another way than was meant; perhaps on purpose',
    Severity.INFO: 'left out of the index, as it should be',
}


class Rule(NamedTuple):
    """What a code stands for.

    Parameters
    ----------
    code
        Stable: it is never given to another rule.
    title
        A few words, for headings.
    finder
        The module, below `fastindex`, that finds it; of several, the one that sees most of it.
    meaning
        What is wrong, and what comes of it.
    example
        A path that breaks the rule, and `fix` the right one; '' where nobody can tell from the name.
    """

    code: str
    severity: Severity
    title: str
    finder: str
    meaning: str
    example: str
    fix: str = ''

    def __str__(self) -> str:
        lines = [
            f'{self.code} {self.title}',
            f'{self.severity}: {MEANING_OF_SEVERITY[self.severity]}',
            '',
            *wrap(self.meaning, width=78),
            '',
            f'example:  {self.example}',
        ]
        return '\n'.join([*lines, f'fix:      {self.fix}'] if self.fix else lines)

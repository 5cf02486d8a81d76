"""Progress on standard error: a tqdm bar on a terminal, nothing elsewhere.

tqdm takes 70 ms to import, so it is imported only where a bar will be seen.
"""

from __future__ import annotations

import sys
from typing import Protocol

__all__ = ['Bar', 'open_bar']


class Bar(Protocol):
    """The part of tqdm's interface that fastindex uses."""

    def update(self, n: int = 1) -> object:
        """Advance by `n` units."""

    def set_postfix_str(self, s: str = '', refresh: bool = True) -> object:
        """Show `s` after the bar."""

    def close(self) -> object:
        """Leave the last state on the terminal."""


class _NoBar:
    """A bar that nobody sees."""

    def update(self, n: int = 1) -> None:
        pass

    def set_postfix_str(self, s: str = '', refresh: bool = True) -> None:
        pass

    def close(self) -> None:
        pass


def open_bar(*, total: int | None, unit: str, description: str, enabled: bool, bytes: bool = False) -> Bar:
    """Open a progress bar; the caller closes it.

    total: number of units expected, None where nobody knows
    unit: name of one unit, in the singular
    description: what is going on, one word
    enabled: whether progress is wanted at all; it is shown only if stderr is a terminal
    bytes: whether the units are bytes, to be shown as kB, MB, GB
    """
    if not enabled or not sys.stderr.isatty():
        return _NoBar()
    from tqdm import tqdm

    bar: Bar = tqdm(
        total=total, unit=unit, desc=description, unit_scale=bytes, dynamic_ncols=True, leave=False
    )
    return bar

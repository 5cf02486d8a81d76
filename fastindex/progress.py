"""Progress on standard error: a tqdm bar on a terminal and in a notebook, elsewhere a line a minute.

tqdm takes 70 ms to import, so it is imported only where a bar will be seen.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from fastindex.text import to_size

__all__ = ['Bar', 'announce', 'open_bar']

LINE_SECONDS = 60
"""From one line to the next, where there is neither terminal nor notebook: short runs write none."""


class Bar:
    """The part of tqdm's interface that fastindex uses; by itself a bar that nobody sees."""

    def update(self, n: int = 1) -> None:
        """Advance by `n` units."""

    def set_postfix_str(self, s: str = '', refresh: bool = True) -> None:
        """Show `s` after the bar."""

    def close(self) -> None:
        """Leave the last state on the terminal."""


class _Lines(Bar):
    """Progress in a log: a line a minute."""

    def __init__(self, total: int | None, unit: str, description: str) -> None:
        self._total, self._unit, self._description, self._is_bytes = total, unit, description, unit == 'B'
        self._done = 0
        self._next = time.monotonic() + LINE_SECONDS

    def update(self, n: int = 1) -> None:
        self._done += n
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + LINE_SECONDS
        of = f' of {self._say(self._total)}' if self._total else ''
        unit = '' if self._is_bytes else f' {self._unit}s'
        share = f' ({self._done * 100 // self._total} %)' if self._total else ''
        _write(f'fastindex: {self._description}: {self._say(self._done)}{of}{unit}{share}\n')

    def _say(self, count: int) -> str:
        return to_size(count) if self._is_bytes else f'{count:,}'


@contextmanager
def announce(text: str, *, enabled: bool) -> Iterator[None]:
    """Say on a terminal what goes on, as long as it does; without a thread, so that workers may fork."""
    is_shown = enabled and sys.stderr.isatty()
    if is_shown:
        _write(f'{text} ...')
    try:
        yield
    finally:
        if is_shown:
            _write('\r\x1b[K')


def _write(text: str) -> None:
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


def is_notebook() -> bool:
    """Tell whether this is the process of a notebook."""
    get = getattr(sys.modules.get('IPython'), 'get_ipython', None)
    return get is not None and type(get()).__name__ == 'ZMQInteractiveShell'


def open_bar(*, total: int | None, unit: str, description: str, enabled: bool) -> Bar:
    """Open a progress bar; the caller closes it.

    total: number of units expected, None where nobody knows
    unit: name of one unit, in the singular; `B`, a byte, is shown as kB, MB, GB
    description: what is going on, one word
    enabled: whether progress is wanted at all; a line a minute where nothing shows a bar
    """
    if not enabled:
        return Bar()
    if is_notebook():
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # without ipywidgets it is a bar of text, which will do
            from tqdm.auto import tqdm
    elif sys.stderr.isatty():
        from tqdm import tqdm
    else:
        return _Lines(total, unit, description)

    bar: Bar = tqdm(
        total=total, unit=unit, desc=description, unit_scale=unit == 'B', dynamic_ncols=True, leave=False
    )
    return bar

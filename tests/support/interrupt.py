"""Send a signal when a chosen call of a function returns: at any point of a run, on any machine."""

from __future__ import annotations

import os
import signal
import sys
from inspect import CO_GENERATOR
from types import FrameType
from typing import Any

__all__ = ['SignalAtCall', 'run_command']


class SignalAtCall:
    """Counts the calls of Python functions in this thread during a block; sends signals as some return.

    When they start would not do: what Ctrl-C hits as it enters `__exit__`, Python never cleans up. Nor would
    generators do: one that is dropped ends too, and Python then ignores what is raised.

    at: the number of the call
    numbers: the signals, one after the other, a call each
    """

    def __init__(self, at: int = 0, *numbers: int) -> None:
        self.calls = 0
        self._numbers = dict(enumerate(numbers, at))
        self._process = os.getpid()

    def __enter__(self) -> SignalAtCall:
        sys.setprofile(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _count(self, frame: FrameType, event: str, _: Any) -> None:
        if (
            event == 'return'
            and not frame.f_code.co_flags & CO_GENERATOR
            and frame.f_globals.get('__name__') != __name__
        ):
            self.calls += 1
            if self.calls in self._numbers and os.getpid() == self._process:
                signal.raise_signal(self._numbers[self.calls])


def run_command() -> None:
    """Run the command line as `python -m fastindex` does: `at`, the numbers of signals, its words.

    Where there are no numbers, how many calls there were is the last line of standard error.
    """
    at, numbers, *words = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from fastindex.cli import main

    with SignalAtCall(int(at), *map(int, filter(None, numbers.split(',')))) as sent:
        code = main(words)
    if not numbers:
        sys.stderr.write(f'{sent.calls}\n')
    os._exit(code)


if __name__ == '__main__':
    run_command()

"""`python -m fastindex`, and the command `fastindex`."""

import os
import signal

__all__ = ['start']


def start() -> None:
    """Run the command line, and end."""
    # Until the command line has its own handler, Ctrl-C is the end: a traceback of an import helps nobody.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from fastindex.cli import main

    os._exit(main())  # nothing is open: to take pyarrow down in good order would take 20 ms


if __name__ == '__main__':
    start()

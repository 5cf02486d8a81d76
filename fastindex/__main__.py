"""`python -m fastindex`."""

import os
import sys

from fastindex.cli import main

if __name__ == '__main__':
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # nothing is open: to take pyarrow down in good order would take 20 ms

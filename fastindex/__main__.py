"""`python -m fastindex`."""

import os

from fastindex.cli import main

if __name__ == '__main__':
    os._exit(main())  # nothing is open: to take pyarrow down in good order would take 20 ms

"""`python -m fastindex`."""

import sys

from fastindex.cli import main

if __name__ == '__main__':
    sys.exit(main())

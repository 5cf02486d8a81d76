"""How many cases a random test has, and how a case is called."""

from __future__ import annotations

import os


def cases(count: int) -> int:
    """Cut the number of random cases of a test to a sixth unless FASTINDEX_ALL_CASES asks for all."""
    return count if os.environ.get('FASTINDEX_ALL_CASES') else count // 6


def to_id(value: object) -> str:
    """Name a case of a test the same in each process: the order of a set is not."""
    return str(sorted(value) if isinstance(value, set) else value)

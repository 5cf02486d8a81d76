"""Which twin of the hot code runs: the one compiled in C (`_kernel.c`), or the one in Python beside it.

Chosen once, at import: the compiled one where it could be built, unless `FASTINDEX_KERNEL=python` in the
environment asks for the other; `FASTINDEX_KERNEL=compiled` insists. Leaves what the twins do to
`fastindex.trees.kernel` and `fastindex.names.ids`.
"""

from __future__ import annotations

import os

from fastindex.errors import UsageError

try:
    import fastindex._kernel as compiled
except ImportError:  # it was not built: there was no compiler, or this is another system
    compiled = None  # type: ignore[assignment]

__all__ = ['HAS_COMPILED', 'KERNEL', 'KERNEL_VARIABLE', 'TWINS', 'compiled']

HAS_COMPILED = compiled is not None

TWINS = 'python', 'compiled'
KERNEL_VARIABLE = 'FASTINDEX_KERNEL'  # of the environment: which twin is to run


def _choose(wanted: str) -> str:
    """Choose a twin by what the environment says, which may be nothing."""
    if wanted not in ('', *TWINS):
        raise UsageError(f'{KERNEL_VARIABLE} is {wanted!r}: expected {" or ".join(TWINS)}')
    if wanted == 'compiled' and not HAS_COMPILED:
        raise UsageError(f'{KERNEL_VARIABLE} is {wanted!r}, but it was not built: is there a C compiler?')
    return wanted or ('compiled' if HAS_COMPILED else 'python')


KERNEL = _choose(os.environ.get(KERNEL_VARIABLE, ''))  # the twin that runs

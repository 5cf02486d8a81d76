"""Packages that take long to load, each loaded when something of it is first used.

pyarrow takes 60 to 100 ms, its Parquet module 100 more, polars 380; a whole run on the example takes 500. A
process that is forked inherits what is loaded.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastindex.system import let_interrupt

__all__ = ['load', 'pa', 'pc', 'pl', 'pq']


def load(name: str) -> Any:
    """Load a package, and keep what Ctrl-C does: to end whatever waits.

    polars puts a handler around that of SIGINT, after which the system goes on with a read that it has ended.
    """
    package = import_module(name)
    if name == 'polars':
        let_interrupt()
    return package


class _Package:
    """Stands for a package that may not be loaded yet."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        value = getattr(load(self._name), name)
        setattr(self, name, value)  # this method is not asked for it again
        return value


if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
else:
    pa, pc, pq, pl = map(_Package, ('pyarrow', 'pyarrow.compute', 'pyarrow.parquet', 'polars'))

"""Packages that take long to load, each loaded when something of it is first used.

pyarrow takes 60 to 100 ms, its Parquet module 100 more, polars 380; a whole run on the example takes 500. A
process that is forked inherits what is loaded.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ['pa', 'pc', 'pl', 'pq']


class _Package:
    """Stands for a package that may not be loaded yet."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        value = getattr(import_module(self._name), name)
        setattr(self, name, value)  # this method is not asked for it again
        return value


if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
else:
    pa, pc, pq, pl = map(_Package, ('pyarrow', 'pyarrow.compute', 'pyarrow.parquet', 'polars'))

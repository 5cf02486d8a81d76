"""Open a published index: the door for all that reads one.

Gives the two tables, checked, as polars lazy frames. Leaves what they mean to the reader.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastindex.checks import check_pair
from fastindex.errors import InvalidIndexError
from fastindex.problems import escape
from fastindex.tablefile import Stamp, open_table, stamp_of

if TYPE_CHECKING:
    import polars as pl

__all__ = ['Index', 'open']


@dataclass(frozen=True, slots=True)
class Index:
    """A published pair of tables, which was checked. Made by `fastindex.open`.

    Parameters
    ----------
    folder
        Where the tables are.
    generation
        Token that both carry; None where another program wrote them.
    stamps
        Tell the files that were checked from others that took their place.
    """

    folder: Path
    generation: str | None
    stamps: Mapping[str, Stamp]

    @property
    def sessions(self) -> pl.LazyFrame:
        """The sessions: id, lab, subject, date, number, task_protocol, projects.

        Raises
        ------
        InvalidIndexError
            If the table is not the one that was checked: open the index again.
        """
        return self._scan('sessions.pqt')

    @property
    def datasets(self) -> pl.LazyFrame:
        """The datasets: eid, id, rel_path, file_size (bytes), hash, exists, qc, default_revision, xxh128.

        Raises
        ------
        InvalidIndexError
            If the table is not the one that was checked: open the index again.
        """
        return self._scan('datasets.pqt')

    def _scan(self, name: str) -> pl.LazyFrame:
        import polars as pl

        path = self.folder / name
        with open_table(path) as file:
            if stamp_of(file) != self.stamps[name]:
                raise InvalidIndexError(
                    f'{escape(os.fspath(path))}: this table was replaced since it was opened: open it again'
                )
            return pl.scan_parquet(file, glob=False)  # keeps the file, whatever becomes of its name


def open(folder: str | os.PathLike[str]) -> Index:
    """Open the index in a folder, once it has been checked: no row of a damaged one is ever given.

    Reads both tables once, a row group at a time: 0.05 s for 74,000 datasets, 0.5 s for a million, beside
    the time to load pyarrow (0.15 s). A table of ours is checked to the bit; one of the client's own builder,
    or of any other program, as far as it can be: columns, types, ids, and that no path leads out of its
    session. Limits: see `fastindex.tablefile`.

    Raises
    ------
    InvalidIndexError
        If a table is missing, damaged or no table of an index, or the two are not of one generation.

    Examples
    --------
    >>> index = fastindex.open('/data')  # doctest: +SKIP
    >>> index.sessions.filter(subject='NYU-01').collect().height  # doctest: +SKIP
    98
    """
    path = Path(folder)
    pair = check_pair(path)
    return Index(path, pair.generation, pair.stamps)

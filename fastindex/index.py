"""Open a published index: the door for all that reads one.

Gives the two tables as polars lazy frames, and paths. Leaves what they mean to the reader.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastindex.errors import InvalidIndexError
from fastindex.problems import escape

if TYPE_CHECKING:
    import polars as pl

__all__ = ['Index', 'open']


@dataclass(frozen=True, slots=True)
class Index:
    """A published pair of tables. Made by `fastindex.open`.

    Parameters
    ----------
    folder
        Where the tables are.
    generation
        Token that both carry; None where another program wrote them.
    """

    folder: Path
    generation: str | None

    @property
    def sessions(self) -> pl.LazyFrame:
        """The sessions: id, lab, subject, date, number, task_protocol, projects."""
        import polars as pl

        return pl.scan_parquet(self.folder / 'sessions.pqt', glob=False)

    @property
    def datasets(self) -> pl.LazyFrame:
        """The datasets: eid, id, rel_path, file_size (bytes), hash, exists, qc, default_revision, xxh128."""
        import polars as pl

        return pl.scan_parquet(self.folder / 'datasets.pqt', glob=False)


def open(folder: str | os.PathLike[str]) -> Index:
    """Open the index in a folder.

    Raises
    ------
    InvalidIndexError
        If a table is missing or no Parquet file, or the two are not of one generation.

    Examples
    --------
    >>> index = fastindex.open('/data')  # doctest: +SKIP
    >>> index.sessions.filter(subject='NYU-01').collect().height  # doctest: +SKIP
    98
    """
    path = Path(folder)
    sessions, datasets = (_read_generation(path / name) for name in ('sessions.pqt', 'datasets.pqt'))
    if sessions != datasets:
        raise InvalidIndexError(
            f'{escape(os.fspath(path))}: sessions.pqt and datasets.pqt are of different generations '
            f'({sessions} and {datasets}): run fastindex on it again'
        )
    return Index(path, sessions)


def _read_generation(path: Path) -> str | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path).metadata or {}
    except FileNotFoundError:
        raise InvalidIndexError(
            f'{escape(os.fspath(path))}: there is no such table: python -m fastindex makes it'
        ) from None
    except (pa.ArrowException, OSError) as error:
        raise InvalidIndexError(f'{escape(os.fspath(path))}: not Parquet, or damaged ({error})') from error
    facts = json.loads(metadata.get(b'fastindex', b'{}'))
    generation: str | None = facts.get('generation')
    return generation

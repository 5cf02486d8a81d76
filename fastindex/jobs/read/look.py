"""`fastindex.search` and `fastindex.info`: what the commands of these names do, for one question."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fastindex.errors import naming_shortage
from fastindex.jobs.read.index import open as open_index
from fastindex.jobs.read.info import Info, summarize
from fastindex.lazy import pl

if TYPE_CHECKING:
    from typing import Unpack

    from fastindex.jobs.read.search import Terms

__all__ = ['info', 'search']


@naming_shortage()
def search(
    root: str | os.PathLike[str], *, index: str | os.PathLike[str] | None = None, **terms: Unpack[Terms]
) -> pl.DataFrame:
    """Find sessions: `fastindex.open(root).find_sessions(...)`. For several questions open the index once.

    Parameters
    ----------
    root
        The folder that was indexed, or `s3://bucket/prefix`.
    index
        Where the tables are, if not there.
    terms
        Of `fastindex.Query`.

    Raises
    ------
    UsageError, InvalidIndexError
        As `fastindex.open` and `fastindex.Query` do.

    Examples
    --------
    >>> fastindex.search('/data', subject='NYU-01')['path']  # doctest: +SKIP
    """
    return open_index(root if index is None else index, root=root).find_sessions(**terms)


@naming_shortage()
def info(root: str | os.PathLike[str], *, index: str | os.PathLike[str] | None = None) -> Info:
    """Count what is in an index.

    Parameters
    ----------
    root, index
        As for `fastindex.search`.

    Raises
    ------
    InvalidIndexError
        If there is no index that can be used.
    """
    return summarize(open_index(root if index is None else index, root=root))

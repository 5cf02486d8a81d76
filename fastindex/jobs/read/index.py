"""Open a published index: the door for all that reads one.

Gives the two tables, checked, as polars lazy frames, and answers to what the ONE client would be asked.
Leaves the questions to `fastindex.jobs.read.search`.
"""

from __future__ import annotations

import json
import os
import sys
import weakref
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from fastindex.errors import InvalidIndexError, UnknownSessionError, UsageError, naming_shortage
from fastindex.extras import require
from fastindex.jobs.read.search import Query, file_path, find_datasets, find_sessions, select_sessions
from fastindex.lazy import load, pl
from fastindex.tables.check import check_pair
from fastindex.tables.file import Stamp, open_table
from fastindex.tables.paths import SESSION_COLUMNS, list_session_paths
from fastindex.tables.recipe import Recipe
from fastindex.text import escape, to_count, to_system
from fastindex.trees import ACCESS_OPTIONS, Access, is_url
from fastindex.workers.threads import check_polars

if TYPE_CHECKING:
    from typing import Unpack

    from one.api import One

    from fastindex.jobs.read.search import Terms

__all__ = ['Index', 'open', 'open_for_command', 'open_unlinked', 'search']


@dataclass(frozen=True, slots=True, weakref_slot=True, repr=False)
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
    facts
        What the tables say of themselves: date_created, origin; where they are ours version, algorithms,
        sessions, datasets, bytes, and what `fastindex.tables.recipe.Recipe` has.
    root
        Where the tree is: `folder`, unless it was told otherwise.
    url
        Where the tables are in a bucket, of which `folder` has a copy as long as this object lives.
    """

    folder: Path
    generation: str | None
    stamps: Mapping[str, Stamp]
    facts: Mapping[str, Any]
    root: Path
    url: str | None = None

    def __post_init__(self) -> None:
        check_polars()

    @property
    def recipe(self) -> Recipe:
        """How the index was made."""
        return Recipe.from_json(self.facts)

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

    @naming_shortage()
    def search(self, **terms: Unpack[Terms]) -> list[UUID]:
        """Find sessions as the client's `One.search` does, in the same order.

        Parameters
        ----------
        terms
            Those of `fastindex.Query`, which tells what each means.

        Raises
        ------
        UsageError
            If there is no such term, or a value is no regular expression, date, number or quality.

        Examples
        --------
        >>> index = fastindex.open('/data')  # doctest: +SKIP
        >>> len(index.search(subject='NYU-01', datasets=['_ibl_trials.goCue_times.npy']))  # doctest: +SKIP
        98
        """
        found = find_sessions(self, Query.of_terms(terms))
        return [UUID(eid) for eid in found['id'].to_list()]

    @naming_shortage()
    def find_sessions(self, **terms: Unpack[Terms]) -> pl.DataFrame:
        """Find sessions by the terms of `search`, in the same order, as a frame with their paths.

        Returns
        -------
        polars.DataFrame
            eid, lab, subject, date, number, task_protocol, projects, and path: the folder of the session,
            below the root.
        """
        found = find_sessions(self, Query.of_terms(terms))
        return found.with_columns(self.session_paths(found).alias('path')).rename({'id': 'eid'})

    @naming_shortage()
    def find_datasets(self, **terms: Unpack[Terms]) -> pl.DataFrame:
        """Find datasets by the terms of `search`, as a frame with their paths.

        Returns
        -------
        polars.DataFrame
            The columns of `datasets` and of the sessions, and path: the file, below the root.
        """
        frame = find_datasets(self, Query.of_terms(terms))
        path = pl.concat_str('session_path', file_path(self), separator='/').alias('path')
        return frame.with_columns(path).collect().drop('session_path')

    def __repr__(self) -> str:
        counts = [
            to_count(self.facts[f'{noun}s'], noun)
            for noun in ('session', 'dataset')
            if f'{noun}s' in self.facts
        ]
        return (
            f'<Index of {escape(self.url or os.fspath(self.root))}{": " * bool(counts)}{", ".join(counts)}>'
        )

    def path(self, eid: str | UUID) -> Path:
        """Get the folder of a session, whether it is on this disk or not.

        Raises
        ------
        UnknownSessionError
            If no session of the index has this eid.
        UsageError
            If the tree is in a bucket: then it has no folder.
        """
        if self.url is not None and self.root == self.folder:
            raise UsageError(
                f'{escape(self.url)}: the sessions are in a bucket: expected root=, the folder that they '
                'were copied to'
            )

        rows = select_sessions(self.sessions.filter(pl.col('id') == str(eid)))
        if rows.is_empty():
            raise UnknownSessionError(f'{eid}: the index in {escape(self.folder)} has no such session')
        return self.root / to_system(str(self.session_paths(rows)[0]))

    def session_paths(self, sessions: pl.DataFrame) -> pl.Series:
        """Get the paths of sessions, relative to the root, by their rows."""
        rows = sessions.select(SESSION_COLUMNS).iter_rows()
        return pl.Series(
            'session_path', list_session_paths(rows, self.recipe.namespace, self.root), pl.String
        )

    def to_one(self) -> One:
        """Open this index with the real client, in local mode.

        Raises
        ------
        MissingExtraError
            If ONE-api is not installed.
        """
        require('one', 'the client')
        from one.api import One

        one = One(cache_dir=self.root, tables_dir=self.folder, mode='local')
        one.uuid_filenames = self.recipe.uuid_filenames
        return one

    def _scan(self, name: str) -> pl.LazyFrame:
        path = self.folder / name
        with open_table(path) as file:
            if not self.stamps[name].is_of(file):
                raise InvalidIndexError(
                    f'{escape(path)}: this table was replaced since it was opened: open it again'
                )
            return pl.scan_parquet(file, glob=False)  # keeps the file, whatever becomes of its name


@naming_shortage()
def open(
    folder: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    endpoint: str | None = None,
    anonymous: bool = False,
    requester_pays: bool = False,
) -> Index:
    """Open the index in a folder, once it has been checked: no row of a damaged one is ever given.

    Reads both tables once, a row group at a time: 0.05 s for 74,000 datasets, 0.5 s for a million, beside
    the time to load pyarrow (0.15 s). A table of ours is checked to the bit; one of the client's own builder,
    or of any other program, as far as it can be: columns, types, ids, and that no path leads out of its
    session. Limits: see `fastindex.limits`.

    Parameters
    ----------
    folder
        Where sessions.pqt and datasets.pqt are; of `s3://bucket/prefix` a copy is made.
    root
        Where the tree is, if not there.
    endpoint, anonymous, requester_pays
        Of a bucket, as in `fastindex.build`.

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
    if is_url(folder):
        return _open_copy(os.fspath(folder), root, Access(endpoint, anonymous, requester_pays))
    return Index(Path(folder), *check_pair(Path(folder)), Path(folder if root is None else root))


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
    return open(root if index is None else index, root=root).find_sessions(**terms)


def open_unlinked(folder: Path, *, root: Path) -> Index:
    """Open an index as `open` does, but no table that is a link: for who hands on what is in it."""
    return Index(folder, *check_pair(folder, below=folder), root)


def _open_copy(url: str, root: str | os.PathLike[str] | None, access: Access) -> Index:
    """Open an index in a bucket: a copy of it, which is gone with the index."""
    from fastindex.tables.publish_bucket import open_copy
    from fastindex.trees.store import Location

    with ExitStack() as stack:
        copy = stack.enter_context(open_copy(Location.parse(url, access)))
        tree = copy if root is None or is_url(root) else Path(root)
        index = Index(copy, *check_pair(copy), tree, url)
        weakref.finalize(index, stack.pop_all().close)
        return index


def open_for_command(folder: str, *, root: str, access: Access) -> Index:
    """Open the index as `open` does, in two thirds of the time, where a process does nothing else.

    A forked process checks the tables with pyarrow, while this one imports polars: 0.21 s instead of 0.29 s
    on the example, with interpreter start. Where it does not say that all is well, `open` says what is wrong.
    """
    if is_url(folder):
        return _open_copy(folder, root, access)
    if access != Access():
        raise UsageError(f'{escape(folder)}: ', hint=f'{ACCESS_OPTIONS} are for s3://bucket/prefix')
    if {'pyarrow', 'polars', 'numpy'} & {name for name, module in sys.modules.items() if module}:
        return open(folder, root=root)  # these start threads, with which a process cannot be forked
    from fastindex.workers.beside import beside

    with beside(lambda: json.dumps(check_pair(Path(folder))).encode()) as read_answer:
        load('polars')  # by which the time is saved
        found = read_answer()
    if not found:
        return open(folder, root=root)
    generation, stamps, facts = json.loads(found)
    stamps = {name: Stamp(*stamp) for name, stamp in stamps.items()}
    return Index(Path(folder), generation, stamps, facts, Path(root))

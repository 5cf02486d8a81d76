"""What is in an index, at a glance.

Gives counts as an `Info`. Leaves reading the tree to others: nothing but the two tables is opened.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import date as Date  # noqa: N812 - `date` is the word for the folder
from datetime import datetime
from typing import Any

from fastindex.errors import naming_shortage
from fastindex.jobs.read.index import Index
from fastindex.jobs.read.index import open as open_index
from fastindex.jobs.read.search import file_path, select_sessions
from fastindex.lazy import pl
from fastindex.names.alf import parse_dataset_name
from fastindex.records import Record
from fastindex.tables.previous import KeptIndex, iter_kept
from fastindex.text import escape, to_count, to_size, to_text

__all__ = ['BigDataset', 'Info', 'LabCount', 'ObjectCount', 'info', 'sum_sizes', 'summarize']

BIGGEST = 5  # datasets that are named


@dataclass(frozen=True, slots=True)
class LabCount:
    """What a lab has; `lab` is '' where the tree has no lab level."""

    lab: str
    subjects: int
    sessions: int
    datasets: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ObjectCount:
    """The datasets of an ALF object; None where the names are not ALF."""

    object: str | None
    datasets: int
    bytes: int


@dataclass(frozen=True, slots=True)
class BigDataset:
    """One of the biggest datasets; the path is relative to the root."""

    path: str
    bytes: int


@dataclass(frozen=True, slots=True, repr=False)
class Info:
    """What is in an index. Of many fields: each is in the lines that the command prints.

    Parameters
    ----------
    path
        The folder of the tables.
    generation, version
        The token of this publish, and the fastindex that made it; None where another program did.
    date_created
        As it is in the tables, without a time zone; None where it is not there.
    age_seconds
        Since then, to the minute.
    previous
        The indexes that it has replaced and that can be put back, the last one first; of a bucket none.
    labs, subjects
        How many there are; a subject of two labs is two.
    sessions_without_datasets
        Sessions of which no dataset is in the index.
    first_date, last_date
        Days of the first and the last session; None where there is none.
    bytes
        Of all datasets.
    missing
        Datasets that are not on disk, as far as the index knows.
    revised
        Datasets in a `#revision#` folder.
    superseded
        Datasets that the client loads only where their revision is asked for.
    revisions
        Names of revisions, the one with most datasets first, with their numbers of datasets.
    digests
        Datasets that have a digest, by algorithm.
    by_lab, by_object
        The largest number of datasets first.
    biggest
        The biggest datasets.
    """

    path: str
    generation: str | None
    version: str | None
    date_created: str | None
    age_seconds: int | None
    previous: tuple[KeptIndex, ...]
    labs: int
    subjects: int
    sessions: int
    sessions_without_datasets: int
    first_date: Date | None
    last_date: Date | None
    datasets: int
    bytes: int
    missing: int
    revised: int
    superseded: int
    revisions: dict[str, int]
    digests: dict[str, int]
    by_lab: tuple[LabCount, ...]
    by_object: tuple[ObjectCount, ...]
    biggest: tuple[BigDataset, ...]

    _repr_html_ = Record._repr_html_

    def __str__(self) -> str:
        from fastindex.jobs.read.words import iter_lines

        return '\n'.join(iter_lines(self))

    def __repr__(self) -> str:
        counts = f'{to_count(self.sessions, "session")}, {to_count(self.datasets, "dataset")}'
        return f'<Info of {escape(self.path)}: {counts}, {to_size(self.bytes)}>'


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


def summarize(index: Index) -> Info:
    """Count what is in an index; memory grows with the number of sessions, not of datasets.

    Raises InvalidIndexError if the tables are not the ones that were checked: open the index again.
    """
    datasets = index.datasets
    sessions = select_sessions(index.sessions)
    totals, of_sessions, of_objects, of_revisions, biggest = pl.collect_all(
        [
            datasets.select(_totals(datasets.collect_schema())),
            datasets.group_by(pl.col('eid').cast(pl.String)).agg(pl.len(), sum_sizes()),
            datasets.group_by(_text().str.extract(r'(?:^|/)([^/.]+)\.[^/]*$').alias('stem')).agg(
                pl.len(), sum_sizes()
            ),
            datasets.filter(_text().str.contains(_REVISION))
            .group_by(_text().str.extract(_REVISION))
            .agg(pl.len()),
            datasets.top_k(BIGGEST, by=['file_size', 'eid', 'id'], reverse=[False, True, True]),
        ],
        engine='streaming',
    )
    counts = totals.row(0, named=True)
    rows = sessions.join(of_sessions.rename({'eid': 'id'}), on='id', how='left')
    dates: Any = sessions['date']  # for the type checker, to which these may be anything
    by_lab = _count_labs(rows)
    return Info(
        path=to_text(index.url or os.fspath(index.folder)),
        generation=index.generation,
        version=index.facts.get('version'),
        **_tell_age(index.facts.get('date_created')),
        previous=() if index.url else tuple(iter_kept(index.folder)),
        labs=sum(1 for count in by_lab if count.lab),
        subjects=sum(count.subjects for count in by_lab),
        sessions=sessions.height,
        sessions_without_datasets=rows['len'].null_count(),
        first_date=dates.min(),
        last_date=dates.max(),
        datasets=counts['datasets'],
        bytes=counts['bytes'],
        missing=counts['missing'],
        revised=int(of_revisions['len'].sum()),
        superseded=counts['superseded'],
        revisions=dict(of_revisions.sort(['len', 'rel_path'], descending=[True, True]).iter_rows()),
        digests={name: counts[name] for name in ('md5', 'xxh128') if counts[name]},
        by_lab=by_lab,
        by_object=_count_objects(of_objects),
        biggest=_name_biggest(index, sessions, biggest),
    )


def sum_sizes(column: str = 'file_size') -> pl.Expr:
    """Add up sizes: the sum of a few sparse files is more than 64 bits hold."""
    return pl.col(column).cast(pl.Int128).sum()


_REVISION = r'(?:^|/)#([^/#]+)#/[^/]*$'


def _text() -> pl.Expr:
    return pl.col('rel_path').cast(pl.String)


def _totals(schema: pl.Schema) -> list[pl.Expr]:
    """Count rows; a column that another program left out counts nothing."""

    def count(name: str, column: str, rows: pl.Expr) -> pl.Expr:
        found = rows.sum() if column in schema else pl.lit(0)
        return found.cast(pl.Int64).alias(name)

    def is_digest(column: str) -> pl.Expr:  # the client's builder writes '' where there is none
        return pl.col(column).cast(pl.String).str.len_bytes().fill_null(0) > 0

    return [
        pl.len().alias('datasets'),
        sum_sizes().alias('bytes'),
        count('missing', 'exists', ~pl.col('exists').cast(pl.Boolean)),
        count('superseded', 'default_revision', ~pl.col('default_revision').cast(pl.Boolean)),
        count('md5', 'hash', is_digest('hash')),
        count('xxh128', 'xxh128', is_digest('xxh128')),
    ]


def _tell_age(date_created: Any) -> dict[str, Any]:
    try:
        seconds = (datetime.now() - datetime.fromisoformat(date_created)).total_seconds()
    except (TypeError, ValueError):  # not there, not a date, or with a time zone
        return {'date_created': None, 'age_seconds': None}
    return {'date_created': date_created, 'age_seconds': max(0, int(seconds))}


def _count_labs(rows: pl.DataFrame) -> tuple[LabCount, ...]:
    counts = rows.group_by('lab').agg(
        pl.col('subject').n_unique(),
        pl.len().alias('sessions'),
        pl.col('len').sum().alias('datasets'),
        sum_sizes(),
    )
    ordered = counts.sort(['datasets', 'lab'], descending=[True, False])
    return tuple(LabCount(*row) for row in ordered.iter_rows())


def _count_objects(stems: pl.DataFrame) -> tuple[ObjectCount, ...]:
    """Add up the stems of names, `_ibl_trials`, by the object that is in them."""
    found: dict[str | None, list[int]] = {}
    for stem, datasets, size_bytes in stems.iter_rows():
        try:
            name = parse_dataset_name(f'{stem}.x.y').object
        except ValueError:
            name = None
        total = found.setdefault(name, [0, 0])
        total[0] += datasets
        total[1] += size_bytes
    ordered = sorted(found.items(), key=lambda item: (-item[1][0], item[0] or ''))
    return tuple(ObjectCount(name, *total) for name, total in ordered)


def _name_biggest(index: Index, sessions: pl.DataFrame, rows: pl.DataFrame) -> tuple[BigDataset, ...]:
    rows = rows.select(pl.col('eid', 'id').cast(pl.String), file_path(index), 'file_size')
    rows = rows.sort(['file_size', 'eid', 'id'], descending=[True, False, False])
    some = sessions.filter(pl.col('id').is_in(rows['eid'].implode()))
    paths = dict(zip(some['id'].to_list(), index.session_paths(some).to_list(), strict=True))
    return tuple(BigDataset(f'{paths.get(eid, eid)}/{name}', size) for eid, _, name, size in rows.iter_rows())

"""Which datasets which subjects have: the matrix of a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastindex.lazy import pl
from fastindex.names.alf import parse_dataset_name
from fastindex.text import escape

__all__ = [
    'MAX_COVERAGE_COLUMNS',
    'MAX_COVERAGE_ROWS',
    'Coverage',
    'CoverageRow',
    'cover',
    'pair_kinds',
    'to_name',
]

MAX_COVERAGE_ROWS = 150

MAX_COVERAGE_COLUMNS = 60  # of the coverage matrix: of more subjects it has the labs

NO_NAME = '(none)'


@dataclass(frozen=True, slots=True)
class CoverageRow:
    """Of how many sessions of a subject there is each dataset."""

    group: str  # the lab of a subject; '' where the row is no subject
    name: str  # the subject, or what the row stands for
    sessions: int  # all that there are
    having: tuple[int, ...]  # sessions that have the dataset, for each column


@dataclass(frozen=True, slots=True)
class Coverage:
    """Who has what."""

    of: str  # what a row is: `subject`, or `lab` where there are too many subjects
    columns: tuple[str, ...]  # `object.attribute` of the datasets
    # total, rows: all sessions together; and each row
    total: CoverageRow
    rows: tuple[CoverageRow, ...]
    # cut_columns, cut_rows: how many were left out, or added up in the last row
    cut_columns: int
    cut_rows: int


def to_name(text: str) -> str:
    """Name a value, also where it is empty."""
    return escape(text) or NO_NAME


def cover(datasets: pl.LazyFrame, sessions: pl.DataFrame) -> Coverage:
    """Count the sessions that have a dataset, by subject or lab, and by its object and attribute."""
    keys, of = _choose_rows(sessions)
    groups = sessions.group_by(keys).len().sort(keys).with_row_index('row')
    row_of_id = sessions.join(groups, on=keys).select('id', 'row')
    counts = (
        pair_kinds(datasets)
        .join(row_of_id.lazy(), on='id')
        .group_by('row', 'id', 'kind')
        .agg()
        .group_by('row', 'kind')
        .len()
        .collect(engine='streaming')
    )
    having: dict[str, dict[int, int]] = {}
    for row, kind, count in counts.iter_rows():
        having.setdefault(kind, {})[row] = count
    ranked = sorted(having, key=lambda kind: (-sum(having[kind].values()), kind))
    columns = sorted(ranked[:MAX_COVERAGE_COLUMNS], key=lambda kind: (kind == '', kind))
    rows = [
        CoverageRow(
            group=to_name(lab) if of == 'subject' else '',
            name=to_name(names[0] if names else lab),
            sessions=count,
            having=tuple(having[kind].get(row, 0) for kind in columns),
        )
        for row, lab, *names, count in groups.iter_rows()
    ]
    total = _add_rows('all', rows, len(columns))
    kept, cut = _cut_rows(rows)
    return Coverage(
        of=of,
        columns=tuple(escape(kind) or 'not ALF' for kind in columns),
        total=total,
        rows=(*kept, *([_add_rows(f'{len(cut):,} other {of}s', cut, len(columns))] if cut else [])),
        cut_columns=len(ranked) - len(columns),
        cut_rows=len(cut),
    )


def _choose_rows(sessions: pl.DataFrame) -> tuple[list[str], str]:
    """Choose what a row of the coverage is: a subject, or a lab where they are many."""
    subjects = sessions.select('lab', 'subject').n_unique()
    if subjects > MAX_COVERAGE_ROWS and sessions['lab'].n_unique() > 1:
        return ['lab'], 'lab'
    return ['lab', 'subject'], 'subject'


def _cut_rows(rows: list[CoverageRow]) -> tuple[list[CoverageRow], list[CoverageRow]]:
    """Keep the rows with most sessions, in their order."""
    if len(rows) <= MAX_COVERAGE_ROWS:
        return rows, []
    ranked = sorted(range(len(rows)), key=lambda i: (-rows[i].sessions, i))
    kept = set(ranked[:MAX_COVERAGE_ROWS])
    return (
        [row for i, row in enumerate(rows) if i in kept],
        [row for i, row in enumerate(rows) if i not in kept],
    )


def _add_rows(name: str, rows: Sequence[CoverageRow], width: int) -> CoverageRow:
    return CoverageRow(
        group='',
        name=name,
        sessions=sum(row.sessions for row in rows),
        having=tuple(sum(row.having[i] for row in rows) for i in range(width)),
    )


def pair_kinds(datasets: pl.LazyFrame) -> pl.LazyFrame:
    """Give `id` of session and `kind`, `object.attribute`, of each dataset that is there; '' if not ALF."""
    if 'exists' in datasets.collect_schema():
        datasets = datasets.filter('exists')
    stem = pl.col('rel_path').cast(pl.String).str.extract(_STEM).fill_null('').alias('stem')
    named = datasets.select(pl.col('eid').cast(pl.String).alias('id'), stem)
    stems = named.select(pl.col('stem').unique()).collect(engine='streaming')['stem'].to_list()
    kinds = pl.LazyFrame(
        [stems, list(map(_to_kind, stems))], {'stem': pl.String, 'kind': pl.String}, orient='col'
    )
    return named.join(kinds, on='stem').select('id', 'kind')


_STEM = r'(?:^|/)([^/.]+\.[^/.]+)\.[^/]*$'  # the start of a name, `_ibl_trials.choice`


def _to_kind(stem: str) -> str:
    try:
        name = parse_dataset_name(f'{stem}.x')
    except ValueError:
        return ''
    return f'{name.object}.{name.attribute}'

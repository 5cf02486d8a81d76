"""Find sessions and datasets by what one knows of them.

Gives data frames of the rows that answer a `Query`, in the order of the ONE client. Leaves opening the index
to `fastindex.jobs.read.index`, and the words of the answer to `fastindex.commands.rows`.

Questions and answers are those of the client's `One.search` in local mode (ONE-api 3.6): terms are joined by
*and*, values of one term by *or*, but for `datasets`, which must all be there. Regular expressions are
Python's: each is tried once on each distinct name, of which there are few, and Polars does the rest. Where
the client does not do what it documents, this does: see `Query`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date as Date  # noqa: N812 - `date` is the word for the folder
from datetime import datetime, time, timedelta
from difflib import get_close_matches
from functools import partial
from numbers import Integral
from typing import TYPE_CHECKING, Any, Self, TypedDict

from fastindex.errors import UsageError
from fastindex.lazy import pl
from fastindex.names.alf import parse_dataset_name, split_revision
from fastindex.tables.schema import QC_CATEGORIES

if TYPE_CHECKING:
    from fastindex.jobs.read.index import Index

__all__ = ['Query', 'file_path', 'find_datasets', 'find_sessions', 'parts_of', 'select_sessions']

Patterns = str | Sequence[str]
Moment = str | Date | None

_QC_NUMBERS = {'0': 'NOT_SET', '10': 'PASS', '30': 'WARNING', '40': 'FAIL', '50': 'CRITICAL'}
_SESSION_TERMS = ('subject', 'lab', 'projects', 'task_protocol')
_PART_TERMS = ('object', 'attribute', 'collection', 'revision')  # of the path of a dataset
_NUMBERS = range(1000)


class Terms(TypedDict, total=False):
    """The terms of a `Query`, for functions that take them by name. Of many fields: it has those."""

    subject: Patterns | None
    lab: Patterns | None
    projects: Patterns | None
    task_protocol: Patterns | None
    date_range: Moment | Sequence[Moment]
    number: int | str | Sequence[int | str] | None
    datasets: Patterns | None
    dataset_qc_lte: str | int | None
    object: Patterns | None
    attribute: Patterns | None
    collection: Patterns | None
    revision: Patterns | None
    min_size_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is known of the sessions and datasets that are wanted; None is no question.

    Of many fields: they are the client's terms.

    Three answers differ from those of ONE-api 3.6, which does not find what it documents: a dataset outside
    of all collections, where the session also has one in a collection; `dataset_qc_lte` without `datasets`
    (nothing at all); and sessions before 1677 or after 2262, by an open range of dates.

    Parameters
    ----------
    subject, lab, projects, task_protocol
        Regular expressions: the name contains a match of one of them, in the case as it is written.
    date_range
        A day (`'2019-08-11'`), or the first and the last one of a range; None leaves an end open.
    number
        One or more session numbers.
    datasets
        Regular expressions: each matches the whole file name of a dataset of the session. None at all, `[]`,
        are met by every session that has a dataset, be it one that does not count.
    dataset_qc_lte
        The worst quality of those datasets, by name or number. The client's rule, that no dataset counts
        which is CRITICAL, or not on disk, holds in any case.
    object, attribute, collection, revision
        Regular expressions of a whole part of the dataset's path; `''` is one that has no such part.
        A dataset must meet all of them, and one of `datasets` where they are named.
    min_size_bytes
        Datasets of this size or larger.

    Raises
    ------
    UsageError
        If a value is no regular expression, date, number or quality.
    """

    subject: Patterns | None = None
    lab: Patterns | None = None
    projects: Patterns | None = None
    task_protocol: Patterns | None = None
    date_range: Moment | Sequence[Moment] = None
    number: int | str | Sequence[int | str] | None = None
    datasets: Patterns | None = None
    dataset_qc_lte: str | int | None = None
    object: Patterns | None = None
    attribute: Patterns | None = None
    collection: Patterns | None = None
    revision: Patterns | None = None
    min_size_bytes: int | None = None

    def __post_init__(self) -> None:
        for name in (*_SESSION_TERMS, 'datasets', *_PART_TERMS):
            _compile_each(name, getattr(self, name))
        _parse_days(self.date_range)
        _parse_numbers(self.number)
        _parse_qc(self.dataset_qc_lte)
        if not isinstance(self.min_size_bytes, Integral | None):
            raise UsageError(f'min_size_bytes {self.min_size_bytes!r}: expected a whole number')

    @classmethod
    def of_terms(cls, terms: Mapping[str, Any]) -> Self:
        """Make a query of terms by their names. Raises UsageError if there is no such term."""
        names = [field.name for field in fields(cls)]
        for name in sorted(terms.keys() - set(names)):
            near = get_close_matches(name, names, 1)
            did_you = f': did you mean {near[0]}?' if near else ':'
            raise UsageError(f'unknown search term {name!r}{did_you} There are {", ".join(names)}')
        return cls(**terms)

    @property
    def asks_for_datasets(self) -> bool:
        """Whether a session is judged by its datasets too."""
        return self.datasets is not None or self.dataset_qc_lte is not None or self._asks_for_parts

    @property
    def asks_for_any(self) -> bool:
        """Whether any dataset of a session will do, as no name at all was asked for."""
        return self.datasets is not None and not (_as_list(self.datasets) or self._asks_for_parts)

    @property
    def _asks_for_parts(self) -> bool:
        return any(getattr(self, name) is not None for name in (*_PART_TERMS, 'min_size_bytes'))


def find_sessions(index: Index, query: Query) -> pl.DataFrame:
    """Find the sessions that answer a query.

    Gives id, lab, subject, date, number, task_protocol and projects; the last day first, and of each day, and
    of each subject, the last in the order of names and numbers.
    """
    frame = _filter_sessions(index.sessions, query)
    if not query.asks_for_datasets:
        return frame
    of_sessions = _of_sessions(index, frame)
    wanted = of_sessions if query.asks_for_any else _filter_datasets(of_sessions, query)
    rows = wanted.select('eid', 'rel_path').collect()
    patterns = [_compile('datasets', pattern) for pattern in _as_list(query.datasets)]
    for pattern in patterns if len(patterns) > 1 else [None]:  # of one, all rows are
        found = rows
        if pattern is not None:
            paths = _match_values(rows['rel_path'], partial(_is_named, pattern))
            found = rows.filter(pl.col('rel_path').is_in(paths.implode()))
        frame = frame.filter(pl.col('id').is_in(found['eid'].unique().implode()))
    return frame


def find_datasets(index: Index, query: Query) -> pl.LazyFrame:
    """Find the datasets that answer a query, of the sessions that do.

    Gives the columns of datasets.pqt, those of the sessions but for their id, and session_path; in the order
    of `find_sessions`, and of rel_path in each session. Lazy: there may be many, and not all is read for some
    columns.
    """
    frame = find_sessions(index, query)
    wanted = _filter_datasets(_of_sessions(index, frame), query)
    frame = frame.with_columns(index.session_paths(frame)).rename({'id': 'eid'}).with_row_index('position')
    wanted = wanted.drop(set(frame.columns) - {'eid'}, strict=False)  # further columns that are called so too
    return wanted.join(frame.lazy(), on='eid', how='inner').sort('position', 'rel_path').drop('position')


def file_path(index: Index) -> pl.Expr:
    """Make the rel_path of datasets as their files are called: with the ids, where the names carry these."""
    rel_path = pl.col('rel_path').cast(pl.String)
    if not index.recipe.uuid_filenames:
        return rel_path
    stem, extension = (rel_path.str.extract(part) for part in (r'^(?s)(.*\.)', r'([^.]*)$'))
    return pl.concat_str(stem, pl.col('id').cast(pl.String), pl.lit('.'), extension).alias('rel_path')


def _filter_sessions(sessions: pl.LazyFrame, query: Query) -> pl.DataFrame:
    frame = select_sessions(sessions)
    for name in _SESSION_TERMS:
        if (value := getattr(query, name)) is not None:
            patterns = _compile_each(name, value)
            names = _match_values(frame[name], partial(_finds_any, patterns))
            frame = frame.filter(pl.col(name).is_in(names.implode()))
    first, last = _parse_days(query.date_range)
    if first is not None:
        frame = frame.filter(pl.col('date') >= first)
    if last is not None:
        frame = frame.filter(pl.col('date') <= last)
    if query.number is not None:
        numbers = pl.Series(_parse_numbers(query.number), dtype=pl.Int64)
        frame = frame.filter(pl.col('number').cast(pl.Int64).is_in(numbers.implode()))
    return frame.sort(
        'date', 'subject', 'number', 'id', descending=[True, True, True, False], maintain_order=True
    )


def select_sessions(sessions: pl.LazyFrame) -> pl.DataFrame:
    """Read the columns of sessions.pqt, whoever wrote it: names as text, '' where there are none."""
    schema = sessions.collect_schema()
    columns = []
    for name in ('id', 'lab', 'subject', 'date', 'number', 'task_protocol', 'projects'):
        old_name = name.rstrip('s')  # the client calls `project` what it called so before 1.13
        if name in schema:
            column = pl.col(name)
        elif name == 'projects' and old_name in schema:
            column = pl.col(old_name).alias(name)
        else:
            column = pl.lit('').alias(name)
        columns.append(column if name in ('date', 'number') else column.cast(pl.String).fill_null(''))
    return sessions.select(columns).collect()


def _of_sessions(index: Index, found: pl.DataFrame) -> pl.LazyFrame:
    """Keep the datasets of the sessions that were found: Polars skips row groups that have none of them."""
    datasets = index.datasets
    schema = datasets.collect_schema()
    texts = [name for name in ('eid', 'id', 'rel_path') if schema[name] != pl.String]
    datasets = datasets.with_columns(pl.col(texts).cast(pl.String)) if texts else datasets
    if found.height == index.sessions.select(pl.len()).collect().item():
        return datasets
    return datasets.filter(pl.col('eid').is_in(found['id'].implode()))


def _filter_datasets(datasets: pl.LazyFrame, query: Query) -> pl.LazyFrame:
    """Keep the datasets that count: on disk, good enough, and with a path as it was asked for."""
    schema = datasets.collect_schema()
    judge = _path_judge(query)
    if judge is not None:
        paths = _match_values(datasets.select(pl.col('rel_path').unique()).collect()['rel_path'], judge)
        datasets = datasets.filter(pl.col('rel_path').is_in(paths.implode()))
    if 'exists' in schema:
        datasets = datasets.filter(pl.col('exists').cast(pl.Boolean))
    if 'qc' in schema:
        worst = QC_CATEGORIES.index(_parse_qc(query.dataset_qc_lte))
        allowed = pl.Series(QC_CATEGORIES[: worst + 1], dtype=pl.String)
        datasets = datasets.filter(pl.col('qc').cast(pl.String).is_in(allowed.implode()))
    if query.min_size_bytes is not None:
        datasets = datasets.filter(pl.col('file_size') >= query.min_size_bytes)
    return datasets


def _path_judge(query: Query) -> Callable[[str], bool] | None:
    """Make the function that tells whether a rel_path answers a query; None where all do."""
    asked = {name: getattr(query, name) for name in _PART_TERMS}
    parts = {name: _compile_each(name, value) for name, value in asked.items() if value is not None}
    patterns = [_compile('datasets', pattern) for pattern in _as_list(query.datasets)]
    if not parts and not patterns:
        return None

    def judge(path: str) -> bool:
        if patterns and not any(_is_named(pattern, path) for pattern in patterns):
            return False
        found = parts_of(path) if parts else {}
        return all(any(one.fullmatch(found.get(part, '')) for one in each) for part, each in parts.items())

    return judge


def parts_of(path: str) -> dict[str, str]:
    """Split a rel_path into the parts that can be asked for; what another program wrote may have none."""
    without, revision = split_revision(path)
    found = {'collection': without.rpartition('/')[0], 'revision': revision}
    try:
        name = parse_dataset_name(_name_of(path))
    except ValueError:
        return found
    return {**found, 'object': name.object, 'attribute': name.attribute}


def _finds_any(patterns: Sequence[re.Pattern[str]], text: str) -> bool:
    return any(pattern.search(text) for pattern in patterns)


def _is_named(pattern: re.Pattern[str], path: str) -> bool:
    return pattern.fullmatch(_name_of(path)) is not None


def _name_of(path: str) -> str:
    return path.rpartition('/')[2]


def _match_values(column: pl.Series, judge: Callable[[str], object]) -> pl.Series:
    """Judge each distinct value of a column; give those that pass."""
    return pl.Series([value for value in column.unique().to_list() if judge(value)], dtype=pl.String)


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return [value] if isinstance(value, str) or not isinstance(value, Iterable) else list(value)


def _compile_each(name: str, patterns: Patterns | None) -> list[re.Pattern[str]]:
    """Compile regular expressions, each by itself: what is meant for one is not for another.

    None of them is one that everything matches, as for the client.
    """
    return [_compile(name, pattern) for pattern in _as_list(patterns) or ['']]


def _compile(name: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except TypeError:
        raise UsageError(f'{name} {pattern!r}: expected text, a regular expression') from None
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(
            f'{name} {pattern!r}: no regular expression ({error}); a \\ makes a character ordinary'
        ) from None


def _parse_days(value: Moment | Sequence[Moment]) -> tuple[Date | None, Date | None]:
    """Parse a day or a range into the first and the last day that belong to it."""
    if value is None:
        return None, None
    if isinstance(value, str) or not isinstance(value, Iterable):
        day = _first_midnight(_parse_moment(value))
        return day, day
    ends = list(value)
    if len(ends) not in (1, 2):
        raise UsageError(f'date_range has {len(ends)} dates: expected one, or the first and the last')
    first, last = (None if not end else _parse_moment(end) for end in (*ends, None)[:2])
    return first and _first_midnight(first), last and last.date()


def _parse_moment(value: Moment) -> datetime:
    if isinstance(value, Date) and not isinstance(value, datetime):
        return datetime.combine(value, time())
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        raise UsageError(f'{value!r}: no such date; expected yyyy-mm-dd, as in 2019-08-11') from None
    if moment.tzinfo:
        raise UsageError(f'{value!r}: the dates of sessions have no time zone')
    return moment


def _first_midnight(moment: datetime) -> Date:
    """Find the first day that begins at a moment or later: a session counts as of its midnight."""
    return moment.date() if moment.time() == time() else moment.date() + timedelta(days=1)


def _parse_numbers(value: int | str | Sequence[int | str] | None) -> list[int]:
    """Parse session numbers; those that no session can have are left out."""
    numbers = []
    for text in _as_list(value):
        try:
            numbers.append(int(text))
        except (ValueError, TypeError):
            raise UsageError(f'number {text!r}: expected a whole number, as in 1 or 002') from None
    return [number for number in numbers if number in _NUMBERS]


def _parse_qc(value: str | int | None) -> str:
    """Parse a quality, by name or number; None is the worst that the client lets pass."""
    if value is None:
        return 'FAIL'
    text = str(value if isinstance(value, str) else int(value)).upper()
    name = _QC_NUMBERS.get(text, text)
    if name not in QC_CATEGORIES:
        raise UsageError(hint=f'`dataset_qc_lte` {value!r}: expected one of {", ".join(QC_CATEGORIES)}')
    return name

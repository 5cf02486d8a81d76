"""`fastindex search ROOT`: find sessions and datasets."""

from __future__ import annotations

import argparse
import os
import re
import sys
from functools import partial
from typing import TYPE_CHECKING

from fastindex.commands.options import Parser, parse_size, positive, prepare, share
from fastindex.commands.output import complain, give
from fastindex.errors import EXIT_DONE, UsageError
from fastindex.lazy import pl
from fastindex.progress import announce
from fastindex.text import escape, to_count
from fastindex.trees import Access

if TYPE_CHECKING:
    from fastindex.jobs.read.index import Index
    from fastindex.jobs.read.search import Query

__all__ = ['add_terms', 'make_parser', 'open_index', 'to_query']

EPILOG = """\
Names are regular expressions; upper and lower case differ, but (?i)nyu finds
NYU too. Several values of an option are joined by "or", options by "and"; but
of --dataset a session must have each one.

examples:
  python -m fastindex search /data --subject NYU-01
  python -m fastindex search /data --lab zador angelaki --date-range 2019-08-01 -
  python -m fastindex search /data --dataset '.*goCue_times.*' --eids
  python -m fastindex search /data --object spikes --datasets --paths
  python -m fastindex search /data --min-size 1GB --datasets --limit 20

exit codes:
  0  done, also where nothing was found
  2  wrong usage, no index that can be used, or an answer that could not be written whole
"""


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of `fastindex search`."""
    parser = Parser(
        'search',
        'ROOT [options]',
        'Find the sessions of an index, or their datasets, as the ONE client does: the last day first.',
        EPILOG,
    )
    share(parser, 'root', help='folder that was indexed: it comes before the options')
    add_terms(parser, 'what is wanted')
    group = parser.add_argument_group('what is shown')
    add = group.add_argument
    add('--datasets', action='store_true', dest='of_datasets', help='the datasets, not their sessions')
    shown = group.add_mutually_exclusive_group()
    for name, text in {
        'paths': 'their paths, below ROOT',
        'eids': 'the eids (identifiers) of the sessions',
        'json': 'an array of JSON objects',
        'jsonl': 'a JSON object a line',
        'csv': 'comma-separated values with a header',
        'count': 'how many there are',
    }.items():
        shown.add_argument(f'--{name}', action='store_const', const=name, dest='form', help=text)
    add('-0', action='store_true', dest='null', help='end paths with NUL, and do not escape them (xargs -0)')
    add('--limit', metavar='N', type=positive, help='only the first N')
    share(parser, '--index', old='--out')
    share(parser, '--endpoint', '--anonymous', '--requester-pays')
    parser.set_defaults(run=_run, form='table')
    return parser


def add_terms(parser: argparse.ArgumentParser, title: str) -> None:
    """Add the options that tell what is wanted; `to_query` reads them."""
    wanted = parser.add_argument_group(title)
    add = wanted.add_argument
    several = partial(wanted.add_argument, nargs='+', action='extend')
    several('--subject', metavar='NAME', help='contained in the name of the subject')
    several('--lab', metavar='NAME', help='contained in the name of the lab')
    several('--project', metavar='NAME', dest='projects', help='contained in the projects')
    several('--task', metavar='NAME', dest='task_protocol', help='contained in the task protocol')
    add('--date', metavar='DAY', help='on this day, as in 2019-08-11')
    range_help = 'from one day to another, both included; - leaves an end open'
    add('--date-range', nargs=2, metavar=('FROM', 'TO'), help=range_help)
    several('--number', metavar='N', help='session numbers')
    several('--dataset', metavar='NAME', dest='datasets', help='whole names of files: all must be there')
    qc_help = 'datasets of this quality or better: NOT_SET, PASS, WARNING, FAIL (default), CRITICAL'
    add('--dataset-qc-lte', metavar='QC', help=qc_help)
    several('--object', metavar='NAME', help='whole object of a dataset, as in trials')
    several('--attribute', metavar='NAME', help='whole attribute of a dataset, as in goCue_times')
    several('--collection', metavar='NAME', help="whole folder, as in alf/probe00; '' for no folder")
    several('--revision', metavar='NAME', help="whole revision, as in 2024-05-06; '' for no revision")
    add(
        '--min-size',
        metavar='SIZE',
        type=parse_size,
        dest='min_size_bytes',
        help='datasets of this size or larger, as in 10MB',
    )


def open_index(options: argparse.Namespace) -> Index:
    """Open the index of a tree, in a folder if not in the root."""
    from fastindex.jobs.read.index import open_for_command

    access = Access(options.endpoint, options.anonymous, options.requester_pays)
    return open_for_command(options.index or options.root, root=options.root, access=access)


def _run(options: argparse.Namespace) -> int:
    if options.null and options.form != 'paths':
        raise UsageError('-0 ends paths: add --paths')
    if options.of_datasets and options.form == 'eids':
        raise UsageError('--eids are of sessions: leave --datasets out')
    query = to_query(options)
    prepare(polars=True)
    with announce('searching', enabled=True):
        index = open_index(options)
        found = _find(index, query, options)
    rows = found if options.limit is None else found.head(options.limit)
    if not found.height:
        complain(_say_nothing(index, query, 'datasets' if options.of_datasets else 'sessions'))
    with announce('writing', enabled=not sys.stdout.isatty()):
        _give(rows, options)
    if options.form == 'table' and found.height:
        shown = f'{rows.height:,} of ' if rows.height < found.height else ''
        complain(f'{shown}{to_count(found.height, "dataset" if options.of_datasets else "session")}')
    return EXIT_DONE


def _find(index: Index, query: Query, options: argparse.Namespace) -> pl.DataFrame:
    """Find the rows of an answer, with the columns that its form has."""
    from fastindex.jobs.read.search import file_path, find_datasets, find_sessions

    form = options.form
    if options.of_datasets:
        frame = find_datasets(index, query)
        if form == 'paths':
            frame = frame.with_columns(file_path(index))
        return (frame.select(COLUMNS[form]) if form in COLUMNS else frame).collect()
    found = find_sessions(index, query)
    if form not in ('table', 'eids', 'count'):
        found = found.with_columns(index.session_paths(found))
    return found.rename({'id': 'eid'})


def _give(rows: pl.DataFrame, options: argparse.Namespace) -> None:
    """Print the rows of an answer in its form."""
    from shutil import get_terminal_size

    from fastindex.commands.rows import (
        iter_csv,
        iter_json,
        to_dataset_table,
        to_path_bytes,
        to_paths,
        to_session_table,
    )

    form = options.form
    if form == 'table':
        to_rows = to_dataset_table if options.of_datasets else to_session_table
        width = get_terminal_size().columns if sys.stdout.isatty() else None
        give((to_rows(rows, width=width), '\n') if rows.height else ())
    elif form == 'count':
        give((f'{rows.height}\n',))
    elif form == 'eids':
        give(f'{eid}\n' for eid in rows['eid'].to_list())
    elif form != 'paths':
        give(iter_csv(rows) if form == 'csv' else iter_json(rows, lines=form == 'jsonl'))
    elif options.null:
        give((to_path_bytes(options.root, to_paths(rows)),))
    else:
        give(escape(os.path.join(options.root, path)) + '\n' for path in to_paths(rows))


COLUMNS = {
    'table': ['date', 'number', 'subject', 'rel_path', 'file_size', '^qc$'],
    'paths': ['session_path', 'rel_path'],
    'count': ['eid'],
}
"""What of datasets is read."""


def _say_nothing(index: Index, query: Query, what: str) -> str:
    """Say that nothing was found, and why."""
    from fastindex.jobs.read.nothing import explain_nothing

    return f'no {what} found: {explain_nothing(index, query) or "the index has none"}'


def to_query(options: argparse.Namespace) -> Query:
    """Make the query of what `add_terms` has added."""
    from dataclasses import fields

    from fastindex.jobs.read.search import Query

    if options.date and options.date_range:
        raise UsageError('--date is one day, --date-range many: leave one of them out')
    date_range = options.date
    if options.date_range:
        date_range = [None if text in ('', '-') else text for text in options.date_range]
        days = [text for text in date_range if text and re.fullmatch(r'[\d-]{10}', text)]
        if len(days) == 2 and days[1] < days[0]:
            raise UsageError(f'--date-range ends on {date_range[1]}, before it begins on {date_range[0]}')
    names = [field.name for field in fields(Query) if field.name != 'date_range']
    return Query(date_range=date_range, **{name: getattr(options, name) for name in names})

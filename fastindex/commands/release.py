"""`fastindex release ROOT --out FILE`: index and datasets in one archive."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from fastindex.commands.options import Parser, arguments, parse_size, prepare, share
from fastindex.commands.output import after_work, complain, tell, with_flags
from fastindex.commands.search import add_terms, to_query
from fastindex.errors import EXIT_DONE, UsageError

if TYPE_CHECKING:
    from fastindex.jobs.read.search import Query

__all__ = ['make_parser']

EPILOG = """\
examples:
  python -m fastindex release /data --out my-data.zip
  python -m fastindex release /data --out my-data.tar.zst --manifest sha256
  python -m fastindex release /data --out z.zip --select --lab zador
  python -m fastindex release /data --out my-data.zip --split 50GB --split-by subject

After --select stands nothing but options of search, which choose the sessions;
each comes with all of its datasets. See: python -m fastindex help search

A .zip needs the package deflate, a .tar.zst nothing more.

exit codes:
  0  done
  1  not released: validate finds errors, or there are links and no --[no-]follow-symlinks
  2  wrong usage, or it could not be done: the archive that was there still is
  4  another run is writing the index of this tree
  130, 143  interrupted, terminated: the same, or the new one is complete
"""


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of `fastindex release`."""
    parser = Parser(
        'release',
        'ROOT --out FILE [options] [--select ...]',
        'Publish the tree below ROOT: validate it, index it, and write index and datasets into '
        'one archive. Unpacked, it is a tree that the ONE client opens. The same tree gives the same bytes.',
        EPILOG,
    )
    add = parser.add_argument
    share(parser, 'root')
    add('--out', metavar='FILE', required=True, help='the archive, .zip or .tar.zst, outside of ROOT')
    add('--name', help="what the tables call their origin (default: the name of ROOT's folder)")
    add('--manifest', metavar='DIGEST', default='md5', help='md5 (default), xxh128 or sha256')
    split_help = 'several archives, none larger than this: 50GB'
    add('--split', metavar='SIZE', type=parse_size, dest='split_bytes', help=split_help)
    add('--split-by', metavar='WHAT', default='lab', help='keep a lab (default) or a subject together')
    share(
        parser,
        '--follow-symlinks',
        default=None,
        help='release what links lead to; --no-follow-symlinks leaves it out (default: leave it out if the '
        'index does, else links are errors)',
    )
    share(parser, '--index', old='--tables', help='where the index of the tree is, if not in ROOT')
    share(parser, '--namespace', '--ids-from')
    share(parser, '--workers', help='tasks at once that validate, scan and compress (default: auto)')
    share(parser, '--dask', help='validate and scan on a Dask cluster, and compress here')
    share(parser, '--force', help='release what can be indexed, whatever validate says')
    add(
        '--overwrite', action='store_true', help='replace an archive that is there, when this one is complete'
    )
    share(parser, '--dry-run', help='find out what would be released; write nothing')
    share(parser, '--json', '--quiet')
    select_help = 'only sessions that search finds with these options; the rest of the line belongs to it'
    add('--select', nargs=argparse.REMAINDER, metavar='...', help=select_help)
    parser.set_defaults(run=_run)
    return parser


def _run(options: argparse.Namespace) -> int:
    select = None if options.select is None else _parse_terms(options.select)
    prepare(dask=options.dask, polars=True)
    from fastindex.jobs.release.release import release
    from fastindex.jobs.release.summary import iter_lines

    done = release(**arguments(options, 'select'), select=select, progress=not options.quiet)
    warnings = list(map(with_flags, done.warnings))
    for warning in warnings:
        complain(f'warning: {warning}')
    with nullcontext() if options.dry_run else after_work():
        shown = {**done.to_dict(), 'warnings': warnings, 'seconds': round(done.seconds, 3)}
        tell(options, shown, iter_lines(done, root=options.root, folder=os.path.dirname(options.out)))
    return EXIT_DONE


def _parse_terms(words: Sequence[str]) -> Query:
    """Parse what follows --select."""
    if not words:
        raise UsageError('--select: expected options of search after it, as in --select --subject NYU-01')
    parser = Parser('search', add_help=False)
    add_terms(parser, 'what is released')
    try:
        return to_query(parser.parse_args(words))
    except UsageError as error:
        raise UsageError(
            f'--select: {error}. After it stand options of search alone, all others come before it'
        ) from None

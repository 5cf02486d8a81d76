"""`fastindex report ROOT --out report.html`: an index as one HTML file."""

from __future__ import annotations

import argparse
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from shutil import rmtree

from fastindex.commands.options import Parser, arguments, prepare, share
from fastindex.commands.output import after_work, beside, tell
from fastindex.errors import EXIT_DONE, UsageError
from fastindex.files import find_temporary

__all__ = ['make_parser']

EPILOG = """\
examples:
  python -m fastindex report /data --out report.html
  python -m fastindex report /data --open                               look at it
  python -m fastindex report /data --out report.html --no-validate      the index alone, without a walk
  python -m fastindex report /mnt/tree --index ~/index --out r.html     tables that --out put elsewhere

It needs the packages vl-convert-python, itables and jinja2.
The same index gives the same bytes.

exit codes:
  0  done, also where the names have findings
  2  wrong usage, no index that can be used, or the file cannot be written: what was there still is
  130, 143  interrupted, terminated: the same, or the new one is complete
"""


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of `fastindex report`."""
    parser = Parser(
        'report',
        'ROOT (--out FILE.html | --open) [options]',
        'Write one HTML file that shows what is in an index, and opens offline in any browser: '
        'sessions over time, who has what, sizes, findings of validate, and a table to search and sort.',
        EPILOG,
    )
    add = parser.add_argument
    share(parser, 'root', help='folder that was indexed')
    add('--out', metavar='FILE', help='the file to write, in a folder that exists, or -')
    add('--open', action='store_true', help='show it in the browser; without --out from a temporary file')
    share(parser, '--index')
    add('--title', metavar='TEXT', help='heading of the page (default: the name of ROOT)')
    add(
        '--validate',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='judge the names in the tree, if it is there (default); --no-validate reads the index alone',
    )
    share(parser, '--workers', help='tasks at once that validate (default: auto)')
    share(parser, '--dask', help='validate on a Dask cluster, as a build does')
    share(
        parser,
        '--follow-symlinks',
        default=None,
        help='follow links to folders and files, or do not (default: as the index was made)',
    )
    share(parser, '--json', '--quiet')
    parser.set_defaults(run=_run)
    return parser


def _run(options: argparse.Namespace) -> int:
    if options.out is None and not options.open:
        raise UsageError('expected --out FILE.html, or --open. See python -m fastindex report --help')
    prepare(dask=options.dask, polars=True)
    from fastindex.jobs.report.report import report

    with ExitStack() as unless_written:
        if options.out is None:
            folder = tempfile.mkdtemp(prefix='fastindex-', dir=find_temporary())
            unless_written.callback(rmtree, folder)
            options.out = os.path.join(folder, 'report.html')
        summary = report(**arguments(options, 'open'), progress=not options.quiet)
        unless_written.pop_all()
    with beside(options.out), after_work():
        tell(options, summary, (str(summary),))
    if options.open:
        import webbrowser

        webbrowser.open(Path(options.out).resolve().as_uri())
    return EXIT_DONE

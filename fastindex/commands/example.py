"""`fastindex example DIR`: an example tree."""

from __future__ import annotations

import argparse

from fastindex.commands.options import Parser, arguments, positive, share
from fastindex.commands.output import after_work, tell
from fastindex.errors import EXIT_DONE, UsageError
from fastindex.system import quote

__all__ = ['make_parser']

EPILOG = """\
examples:
  python -m fastindex example example-data           74,000 files, 218 MB
  python -m fastindex example small --sessions 100   a small one
  python -m fastindex example real --zip ONE.zip     unpack the published archive instead

exit codes:
  0  done, or it was there already
  2  wrong usage, or it could not be done
  130, 143  interrupted, terminated: nothing is left, or all is there
"""


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of `fastindex example`."""
    parser = Parser(
        'example',
        'DIR [options]',
        'Write a tree shaped like the published example "ibl-behavioral-data-Dec2019": '
        'synthetic trials of 4,933 sessions, which any client can load.',
        EPILOG,
    )
    add = parser.add_argument
    add('folder', metavar='DIR', help='folder to be made; never one that has something else in it')
    add('--sessions', metavar='N', type=positive, help='sessions, of 15 files each (default: 4933)')
    add('--seed', metavar='S', type=int, help='seed of the random numbers (default: 0)')
    add('--zip', metavar='FILE_OR_URL', help='unpack the published archive instead')
    share(parser, '--workers', help='processes that write (default: one a CPU)')
    share(parser, '--json', '--quiet')
    parser.set_defaults(run=_run)
    return parser


def _run(options: argparse.Namespace) -> int:
    if options.zip:
        from fastindex.jobs.example.archive import unpack_archive

        if options.sessions is not None or options.seed is not None:
            raise UsageError('--zip unpacks an archive as it is: leave --sessions and --seed out')
        summary = unpack_archive(options.zip, options.folder, progress=not options.quiet)
    else:
        from fastindex.jobs.example.example import write_example

        summary = write_example(**arguments(options, 'zip'), progress=not options.quiet)
    with after_work():
        tell(options, summary, (f'{summary}', f'index it: python -m fastindex {quote(options.folder)}'))
    return EXIT_DONE

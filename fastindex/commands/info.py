"""`fastindex info ROOT`: what is in an index."""

from __future__ import annotations

import argparse

from fastindex.commands.options import Parser, prepare, share
from fastindex.commands.output import print_json, show
from fastindex.commands.search import open_index
from fastindex.errors import EXIT_DONE
from fastindex.progress import announce

__all__ = ['make_parser']

EPILOG = """\
examples:
  python -m fastindex info /data
  python -m fastindex info /data --json | jq .by_lab

exit codes:
  0  done
  2  wrong usage, or no index that can be used
"""


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of `fastindex info`."""
    parser = Parser('info', 'ROOT [options]', 'Tell what is in an index, without a look at the tree.', EPILOG)
    share(parser, 'root', help='folder that was indexed')
    share(parser, '--index', old='--out')
    share(parser, '--endpoint', '--anonymous', '--requester-pays')
    share(parser, '--json', help='print one JSON object')
    parser.set_defaults(run=_run)
    return parser


def _run(options: argparse.Namespace) -> int:
    prepare(polars=True)
    from dataclasses import asdict

    with announce('reading the index', enabled=True):
        index = open_index(options)
        from fastindex.jobs.read.info import summarize
        from fastindex.jobs.read.words import iter_lines

        info = summarize(index)
    if options.json:
        print_json(asdict(info))
    else:
        show('\n'.join(iter_lines(info, number=' --number', more=' (--json has all)')))
    return EXIT_DONE

"""`fastindex restore ROOT`: put back the index that a run has replaced."""

from __future__ import annotations

import argparse

from fastindex.commands.options import Parser, arguments, positive, prepare, share
from fastindex.commands.output import after_work, tell
from fastindex.errors import EXIT_DONE

__all__ = ['make_parser']

EPILOG = """\
examples:
  python -m fastindex restore /data              the index that was replaced last; once more: back again
  python -m fastindex restore /data --number 2   the one before it, where a build has kept more (--keep 2)

exit codes:
  0  done
  2  wrong usage, no index that was replaced, or a damaged one: the one that is published stays
  4  another run is writing this index
"""


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of `fastindex restore`."""
    parser = Parser(
        'restore',
        'ROOT [options]',
        'Put back the index that a run has replaced. The one that is there is kept in its place, to be put '
        'back too. `fastindex info` names both.',
        EPILOG,
    )
    share(parser, 'root', help='folder that was indexed')
    share(parser, '--index')
    parser.add_argument(
        '--number', metavar='N', type=positive, default=1, help='1 (default) was replaced last, 2 before it'
    )
    share(parser, '--endpoint', '--anonymous', '--requester-pays', '--json', '--quiet')
    parser.set_defaults(run=_run)
    return parser


def _run(options: argparse.Namespace) -> int:
    prepare()
    from dataclasses import asdict

    from fastindex.jobs.restore.restore import restore

    done = restore(**arguments(options))
    with after_work():
        tell(options, {**done.to_dict(), 'kept': list(map(asdict, done.kept))}, (str(done),))
    return EXIT_DONE

"""`fastindex verify ROOT`: whether the data is what the index says."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from heapq import nsmallest
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from fastindex.commands.options import Parser, arguments, positive, prepare, share
from fastindex.commands.output import JsonItems, show, with_flags
from fastindex.errors import EXIT_DIFFERENCES, EXIT_DONE, EXIT_PROBLEMS, UsageError
from fastindex.names.problems import head_problems
from fastindex.text import MAX_PROBLEMS, escape, to_count, to_size

if TYPE_CHECKING:
    from fastindex.jobs.verify.judge import Difference, Kind
    from fastindex.jobs.verify.verify import Verification
    from fastindex.tables.faults import Fault

__all__ = ['make_parser']

EPILOG = """\
examples:
  python -m fastindex verify /data                     every dataset is there, and of its size
  python -m fastindex verify /data --hash              and of its content
  python -m fastindex verify /data --hash --part 3/10  a tenth of that, for the third of ten nights
  python -m fastindex verify /data --index ~/index     the tables are elsewhere (build --out)
  python -m fastindex verify --index-only /data        what the client would refuse in the tables, and why

exit codes:
  0  the tree is as the index says
  1  something differs
  2  wrong usage, or it could not be done: no index, a damaged one, no such folder
  3  nothing differs, but some paths could not be looked into
  130, 143  interrupted, terminated
"""


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of `fastindex verify`."""
    parser = Parser(
        'verify',
        'ROOT [options]\n       python -m fastindex verify --index-only DIR',
        'Compare the tree below ROOT with its index: every dataset is there and of its size, and '
        'nothing is new. Writes nothing.',
        EPILOG,
    )
    add = parser.add_argument
    share(parser, 'root', nargs='?', help='folder that was indexed')
    add('--fast', action='store_true', help='compare the numbers of sessions, datasets and bytes, no more')
    add('--hash', action='store_true', help='read all files: compare the digests that are in the index')
    add(
        '--part',
        metavar='I/N',
        type=_part,
        help='verify one of N parts of the sessions, as 3/10: a session is always in the same one',
    )
    share(parser, '--index')
    add(
        '--index-only', metavar='DIR', help='check the tables in DIR, whatever program wrote them; no dataset'
    )
    share(parser, '--workers', '--dask')
    share(
        parser,
        '--follow-symlinks',
        default=None,
        help='follow links to folders and files, or not (default: as the index was built)',
    )
    share(
        parser,
        '--uuid-filenames',
        help='the names carry the ids of the datasets, name.<uuid>.ext (default: as the index says)',
    )
    share(parser, '--endpoint', '--anonymous', '--requester-pays')
    add('--all', action='store_true', help=f'name all differences, not the first {MAX_PROBLEMS} of each kind')
    share(parser, '--json', help='print one JSON object: the differences, and a summary')
    share(parser, '--jsonl')
    share(parser, '--quiet', help='print nothing but errors: the exit code tells')
    parser.set_defaults(run=_run)
    return parser


def _part(text: str) -> tuple[int, int]:
    number, _, total = text.partition('/')
    if not total:
        raise argparse.ArgumentTypeError(f'{text!r}: expected which of how many, as in 3/10')
    return positive(number), positive(total)


def _run(options: argparse.Namespace) -> int:
    if (options.root is None) == (options.index_only is None):
        raise UsageError('expected either ROOT or --index-only DIR. See python -m fastindex verify --help')
    prepare(dask=options.dask)
    if options.index_only is not None:
        return _run_verify_index(options)
    from fastindex.jobs.verify.verify import verify

    verification = verify(**arguments(options, 'index_only', 'all'), progress=not options.quiet)
    shown: dict[Kind, list[Difference]] = {}
    is_json = options.json or options.jsonl
    items = JsonItems('differences', lines=options.jsonl)
    for difference in verification:
        if is_json:
            items.add(difference)
            continue
        first = shown.setdefault(difference.kind, [])
        first.append(difference)
        if not options.all and len(first) > 2 * MAX_PROBLEMS:
            first[:] = _choose_first(first)
    if is_json:
        items.close(_to_json_of(verification))
    elif not options.quiet:
        show('\n'.join(_iter_verify_lines(verification, shown, options)))
    if verification.differences:
        return EXIT_DIFFERENCES
    return EXIT_PROBLEMS if verification.problem_count else EXIT_DONE


def _to_json_of(verification: Verification) -> dict[str, Any]:
    return {
        'sessions': verification.sessions,
        'datasets': verification.datasets,
        'bytes': verification.bytes,
        'differences': verification.differences,
        'problem_count': verification.problem_count,
        'problems': verification.problems,
        'seconds': round(verification.seconds, 3),
    }


def _iter_verify_lines(
    verification: Verification, shown: dict[Kind, list[Difference]], options: argparse.Namespace
) -> Iterator[str]:
    for kind, first in shown.items():
        first[:] = sorted(first, key=attrgetter('path')) if options.all else _choose_first(first)
        yield f'{kind} {verification.differences[kind]:,}'
        yield from (f'  {difference}' for difference in first)
    if any(verification.differences[kind] > len(first) for kind, first in shown.items()):
        yield f'the first {MAX_PROBLEMS} of each kind: --all names all of them'
    if verification.problem_count:
        yield head_problems(verification.problem_count, 'could not be looked into')
        yield from (f'  {problem}' for problem in verification.problems[:MAX_PROBLEMS])
    total = verification.differences.total()
    part = f', part {options.part[0]}/{options.part[1]}' if options.part else ''
    level = 'counted' if options.fast else 'contents read' if options.hash else 'names and sizes'
    yield (
        f'verified {escape(options.root)}{part} ({level}): {to_count(verification.sessions, "session")}, '
        f'{to_count(verification.datasets, "dataset")}, {to_size(verification.bytes)} in '
        f'{verification.seconds:.2f} s: {to_count(total, "difference") if total else "no differences"}'
    )


def _choose_first(differences: list[Difference]) -> list[Difference]:
    return nsmallest(MAX_PROBLEMS, differences, key=attrgetter('path'))


def _run_verify_index(options: argparse.Namespace) -> int:
    from fastindex.tables.audit import verify_index

    if wrong := [name for name in ('fast', 'hash', 'part', 'index') if getattr(options, name)]:
        raise UsageError(f'--index-only looks at no dataset: leave --{wrong[0]} out')
    faults: list[Fault] = []
    is_json = options.json or options.jsonl
    items = JsonItems('faults', lines=options.jsonl)
    for fault in verify_index(options.index_only):
        faults.append(fault)
        if is_json:
            record = {**fault.to_dict(), 'consequence': fault.consequence}
            items.add({**record, 'remedy': with_flags(fault.remedy)})
    counts = Counter('fault' if fault.severity == 'error' else 'warning' for fault in faults)
    if is_json:
        items.close({'faults': counts['fault'], 'warnings': counts['warning']})
    elif not options.quiet:
        for fault in faults:
            what = f'{fault.code}: {"warning: " * (fault.severity == "warning")}{fault}'
            show(f'{what}\n  {fault.consequence}\n  do: {with_flags(fault.remedy)}')
        count = ', '.join(to_count(counts[noun], noun) for noun in sorted(counts)) or 'no faults'
        show(f'verified the index in {escape(options.index_only)}: {count}')
    return EXIT_DIFFERENCES if any(fault.severity == 'error' for fault in faults) else EXIT_DONE

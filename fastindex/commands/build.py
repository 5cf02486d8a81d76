"""`fastindex [build] ROOT`: index a tree."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastindex._version import __version__
from fastindex.commands.options import (
    Parser,
    arguments,
    list_commands,
    parse_duration,
    positive,
    prepare,
    share,
)
from fastindex.commands.output import after_work, beside, complain, show, tell, to_json, with_flags
from fastindex.errors import EXIT_DIFFERENCES, EXIT_DONE, EXIT_PROBLEMS, OutputError, UsageError
from fastindex.files import open_output
from fastindex.names.ids import NAMESPACE
from fastindex.names.problems import Skip
from fastindex.system import quote
from fastindex.tables.recipe import REVISIONS
from fastindex.text import as_utf8, escape

if TYPE_CHECKING:
    from fastindex.jobs.build.summary import Summary
    from fastindex.tables.changes import Change

__all__ = ['make_parser']

EPILOG = """\
examples:
  python -m fastindex /data                          index /data with all CPUs
  python -m fastindex /data --workers 16 --hash      and compute XXH3-128 digests
  python -m fastindex /data                          from then on the digests stay
  python -m fastindex /data --hash=xxh128,md5        MD5 too, which the client checks
  python -m fastindex /mnt/read-only --out ~/index   leave the tree as it is
  python -m fastindex /data --dry-run -v             what would be left out, and why
  python -m fastindex /shared/data --dask head:8786  on a Dask cluster
  python -m fastindex /data --check --quiet          exit 1 where the index is stale
  python -m fastindex /data --only lab/Subjects/s1   what is new in one subject; all else as it was
  python -m fastindex /data --quick                  those too in which names have come or gone
  python -m fastindex /data --new                    sessions that are new or gone; all others as they were

exit codes:
  0  done
  1  --check: the index is stale
  2  wrong usage, or it could not be done: the index that was there still is
  3  done, but some paths are problems
  4  another run is writing this index
  130, 143  interrupted, terminated: the index that was there still is
"""


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of `fastindex build`."""
    parser = Parser(
        '',
        '[build] ROOT [options]',
        'Index the ONE sessions below ROOT: write sessions.pqt and datasets.pqt, which the ONE client opens. '
        'Running it again is the update: an index that is there goes on as it was made. Most runs need no '
        'option, or --hash.',
        EPILOG,
        list_commands(),
    )
    _add_recipe(parser)
    _add_questions(parser)
    _add_memory(parser)
    _add_guards(parser)
    parser.set_defaults(run=_run)
    return parser


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    """Add what is read and written, by whom, and how the index is made."""
    add = parser.add_argument
    share(parser, 'root')
    add('--out', metavar='DIR', help='existing folder for the tables (default: ROOT)')
    share(parser, '--workers', '--dask')
    add(
        '--hash',
        metavar='NAMES',
        type=_split_names,
        help='compute digests of all files: --hash is XXH3-128 (column xxh128), --hash=md5 is what the '
        'client checks (column hash), --hash=xxh128,md5 both in one read',
    )
    none: dict[str, Any] = {'action': 'store_const', 'const': []}
    add('--no-hash', dest='hash', **none, help='compute no digests, even if the index has some')
    what = parser.add_argument_group('what is indexed')
    share(
        what,
        '--follow-symlinks',
        default=None,
        help='follow links to folders and files (as a first run does); --no-follow-symlinks stays in ROOT',
    )
    share(what, '--exclude')
    forget = 'forget the patterns that the index remembers'
    what.add_argument('--no-exclude', dest='exclude', **none, help=forget)
    share(what, '--one-file-system')
    what.add_argument(
        '--session-info',
        action=argparse.BooleanOptionalAction,
        default=None,
        help="take projects and tasks from the sessions' own files (_ibl_experiment.description.yaml, "
        '_iblrig_taskSettings.raw.json), unless people or the tables of --ids-from say otherwise',
    )


def _add_questions(parser: argparse.ArgumentParser) -> None:
    """Add which sessions are scanned, and what is asked of them."""
    add = parser.add_argument_group('which sessions are looked at, if not all').add_argument
    add(
        '--only',
        metavar='PATH',
        nargs='+',
        action='extend',
        help='scan these labs, subjects, dates or sessions, and take all others from the index that is there',
    )
    add(
        '--only-from', metavar='FILE', help='the same; the PATHs are in FILE, one a line; - is standard input'
    )
    add(
        '--new',
        action='store_true',
        help='scan only the sessions that the index does not have, drop those that are gone, keep all others',
    )
    add(
        '--quick',
        action='store_true',
        help='like --new, and scan those too in which a name has come or gone; what was written into a file '
        'that was there before is not seen',
    )
    changed = parser.add_argument_group('what has changed, or would be indexed')
    add = changed.add_argument
    add(
        '--check',
        action='store_true',
        help='find out what has changed since the index was made; write nothing; exit 1 if it is stale',
    )
    add(
        '--changes',
        metavar='FILE',
        help='write what has changed since the last index, one JSON object a line; - is standard output',
    )
    share(changed, '--dry-run', help='find out what would be indexed; write nothing')


def _add_memory(parser: argparse.ArgumentParser) -> None:
    """Add what is kept of tables that are there, and what is not."""
    kept = parser.add_argument_group('ids, and what is kept of tables that are there')
    add = kept.add_argument
    share(kept, '--namespace', help='namespace of the eids, for trees that will be merged')
    add(
        '--no-namespace',
        dest='namespace',
        action='store_const',
        const=NAMESPACE,
        help='the namespace of fastindex, even if the index has another one',
    )
    share(
        kept,
        '--ids-from',
        action='append',
        help='keep what the tables in DIR (or the file DIR) know: ids, projects, tasks, qc, further columns; '
        'may be given several times: later ones fill gaps; if the index goes to DIR, it replaces them',
    )
    add(
        '--default-revision',
        choices=REVISIONS,
        help='what the client loads if no revision is named: the newest one (default of a first run), or the '
        'one that the tables of --ids-from, or the index before, know as the default',
    )
    add(
        '--no-ids-from',
        dest='ids_from',
        action='store_const',
        const=[],
        help='compute all ids, even if the index has some from other tables',
    )
    share(
        kept,
        '--uuid-filenames',
        help='the names carry the UUIDs of the datasets, name.<uuid>.ext: these are the ids; '
        '--no-uuid-filenames gives that up',
    )
    add(
        '--qc',
        metavar='FILE',
        help='put outcomes of quality control into the column qc, which later runs carry on: a CSV file with '
        'the path or eid of a session, the rel_path or id of a dataset, and the outcome in each line',
    )
    add(
        '--trust',
        metavar='FIELDS',
        help='a file is not read again for its digest if these are as they were: size,mtime, and if the disk '
        'keeps them ctime, inode or both (default: all four)',
    )
    add('--fresh', action='store_true', help='start from the defaults, not from how the index was made')
    add(
        '--rehash', action='store_true', help='compute all digests again, also of files that have not changed'
    )


def _add_guards(parser: argparse.ArgumentParser) -> None:
    """Add what may be lost and replaced, how the answer is told, and how a bucket is asked."""
    guards = parser.add_argument_group('what may be lost or replaced')
    add = guards.add_argument
    add('--allow-empty', action='store_true', help='write an index even if there is nothing to index')
    add(
        '--allow-removal',
        action='store_true',
        help='go on even if much of what the index has is no longer there',
    )
    add(
        '--max-removed',
        metavar='N|N%',
        help='how much may go without --allow-removal: sessions, or a part of the sessions or datasets '
        '(default: 10%%, or less than ten sessions)',
    )
    add(
        '--keep',
        metavar='N',
        type=positive,
        help='how many replaced indexes are kept for `fastindex restore` (default: as many as there are, '
        'and one at least)',
    )
    share(guards, '--force', help='replace tables of another program, and tables that are links')
    share(parser, '--json', '--quiet')
    add = parser.add_argument
    verbose_help = 'list all that is left out; -vv: of an error, also where it was in the program'
    add('-v', dest='verbose', action='count', default=0, help=verbose_help)
    add(
        '--wait',
        metavar='TIME',
        type=parse_duration,
        default=0.0,
        help='wait for another run on the same index to end, at most so long: 30s, 10m, 2h (default: exit 4)',
    )
    bucket = parser.add_argument_group('a bucket')
    share(bucket, '--endpoint', '--anonymous', '--requester-pays')
    version_help = 'show the version, and whether the kernel is compiled'
    add('--version', action=_Version, nargs=0, default=argparse.SUPPRESS, help=version_help)


def _split_names(text: str) -> list[str]:
    return [name.strip().lower() for name in text.split(',')]


class _Version(argparse.Action):
    """Prints the version."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from fastindex.twins import KERNEL

        show(f'fastindex {__version__} (kernel: {KERNEL})')
        parser.exit()


def _run(options: argparse.Namespace) -> int:
    if options.dry_run and options.changes is not None:
        raise UsageError('--dry-run compares with no index: expected --check --changes FILE')
    prepare(dask=options.dask)
    from fastindex.jobs.build.build import build

    summary, is_whole = None, True
    try:
        with _open_changes(options.changes) as write_change:
            summary = build(
                **arguments(options, 'only', 'only_from', 'changes', 'verbose'),
                only=_read_only(options),
                progress=not options.quiet,
                on_skip=_print_skip if options.verbose else None,
                on_change=write_change,
            )
    except OutputError as error:
        if summary is None or options.check:
            raise
        is_whole = False
        complain(f'error: {error}. The index is in place')
    for warning in summary.warnings:
        complain(f'warning: {with_flags(warning)}')
    is_answer = options.check or options.dry_run
    with beside(options.changes), nullcontext() if is_answer else after_work():
        tell(options, _to_json(summary), _iter_lines(summary, options))
    if options.check and (summary.changes is None or any(summary.changes.to_dict().values())):
        return EXIT_DIFFERENCES
    return EXIT_PROBLEMS if summary.problem_count or not is_whole else EXIT_DONE


def _read_only(options: argparse.Namespace) -> list[str] | None:
    """Read which folders are to be scanned; None where all are."""
    only: list[str] | None = options.only
    if options.only_from is None:
        return only
    try:
        path = options.only_from
        data = sys.stdin.buffer.read() if path == '-' else Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f'--only-from {escape(options.only_from)}: {error.strerror}') from error
    return [*(only or ()), *(os.fsdecode(line) for line in as_utf8(data).splitlines() if line.strip())]


@contextmanager
def _open_changes(path: str | None) -> Iterator[Callable[[Change], None] | None]:
    """Open the file that gets a JSON object for each change."""
    if path is None:
        yield None
        return
    with open_output(path) as file:

        def write(change: Change) -> None:
            file.write(f'{to_json(change)}\n'.encode())
            file.flush()  # a disk that is full shows before the index is in place

        yield write


def _print_skip(skip: Skip) -> None:
    with suppress(OSError):
        print(f'skipped {skip}', file=sys.stderr)


def _to_json(summary: Summary) -> dict[str, Any]:
    from fastindex.twins import KERNEL

    shown = summary.to_dict()
    del shown['recipe']
    return {
        **shown,
        'as_before': list(map(with_flags, summary.as_before)),
        'warnings': list(map(with_flags, summary.warnings)),
        'seconds': round(summary.seconds, 3),
        'kernel': KERNEL,
    }


def _iter_lines(summary: Summary, options: argparse.Namespace) -> Iterator[str]:
    from fastindex.jobs.build.words import iter_lines

    is_part = options.only is not None or options.only_from is not None or options.new or options.quick
    names = ' --uuid-filenames' if summary.recipe.uuid_filenames else ''
    links = '' if summary.recipe.follow_symlinks else ' --no-follow-symlinks'
    root = quote(options.root)
    lines = iter_lines(
        summary,
        is_dry=options.dry_run or options.check,
        is_check=options.check,
        is_part=is_part,
        to_list='' if options.verbose else f'python -m fastindex {root}{links}{names} --dry-run -v',
        about_names=f'python -m fastindex validate {root}{names}' if names else '',
    )
    yield from map(with_flags, lines)

"""The command line: arguments, exit codes, text or JSON out. Nothing else."""

from __future__ import annotations

import argparse
import gc
import io
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import UUID

from fastindex import __version__
from fastindex.alf import EXPECTED, SkipReason
from fastindex.errors import (
    EXIT_DIFFERENCES,
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_PROBLEMS,
    EXIT_TERMINATED,
    FastindexError,
    UsageError,
)
from fastindex.problems import Skip, escape, to_text

if TYPE_CHECKING:
    import polars as pl

    from fastindex.faults import Fault
    from fastindex.index import Index
    from fastindex.pipeline.build import Summary
    from fastindex.pipeline.changes import Change
    from fastindex.pipeline.judge import Difference, Kind
    from fastindex.pipeline.verify import Verification
    from fastindex.search import Query

__all__ = ['main']

MAX_PROBLEMS = 10
"""Problems that the summary names."""

BUILD_EPILOG = """\
examples:
  python -m fastindex /data                          index /data with all CPUs
  python -m fastindex /data --workers 16 --hash      and compute XXH3-128 digests
  python -m fastindex /data --hash=xxh128,md5        MD5 too, which the ONE client checks at each load
  python -m fastindex /mnt/read-only --out ~/index   leave the tree as it is
  python -m fastindex /data --dry-run -v             what would be left out, and why
  python -m fastindex /data --check --quiet          exit 1 where the index is stale

commands (python -m fastindex COMMAND --help):
  build      this one, also where no command is named
  validate   judge the names of all folders and files, with reasons and fixes
  verify     compare a tree with its index: counts, files and sizes, or contents
  search     find sessions and datasets
  info       what is in an index
  example    write an example tree of 74,000 files

exit codes:
  0  done
  1  --check: the index is stale
  2  wrong usage, or it could not be done: the index that was there still is
  3  done, but some paths are problems
  4  another run is writing this index
  130, 143  interrupted, terminated: the index that was there still is
"""

VALIDATE_EPILOG = """\
examples:
  python -m fastindex validate /data                          what is wrong, by code, with the first paths
  python -m fastindex validate /data --all                    with every path
  python -m fastindex validate /data --min-severity error     only what costs data
  python -m fastindex validate /data --ignore ALF301,ALF308   but for notes and temporary files
  python -m fastindex validate /data --json                   one object a line: code, path, fix ...
  python -m fastindex validate --explain ALF117               what a code means

exit codes:
  0  no errors; perhaps warnings
  1  errors were found
  2  wrong usage, or the folder cannot be listed
  130, 143  interrupted, terminated
"""

EXAMPLE_EPILOG = """\
examples:
  python -m fastindex example example-data           74,000 files, 218 MB
  python -m fastindex example small --sessions 100   a small one
  python -m fastindex example real --zip ONE.zip     unpack the published archive instead

exit codes:
  0  done, or it was there already
  2  wrong usage, or it could not be done
  130, 143  interrupted, terminated: nothing is left
"""

SEARCH_EPILOG = """\
Names are regular expressions, in the case as it is written; (?i)nyu is in any case. Several values of an
option are joined by "or", options by "and"; but each name of --dataset must be there.

examples:
  python -m fastindex search /data --subject NYU-01
  python -m fastindex search /data --lab zador angelaki --date-range 2019-08-01 -
  python -m fastindex search /data --dataset trials.intervals.npy '.*goCue_times.*' --eids
  python -m fastindex search /data --object spikes --attribute times --datasets --paths -0 | xargs -0 ls -l
  python -m fastindex search /data --min-size 1GB --datasets --limit 20

exit codes:
  0  done, also where nothing was found
  2  wrong usage, or no index that can be used
"""

INFO_EPILOG = """\
examples:
  python -m fastindex info /data
  python -m fastindex info /data --json | jq .by_lab

exit codes:
  0  done
  2  wrong usage, or no index that can be used
"""


VERIFY_EPILOG = """\
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


class _TerminatedError(BaseException):
    """SIGTERM came."""


class _Parser(argparse.ArgumentParser):
    """Raises where argparse would exit."""

    def error(self, message: str) -> NoReturn:
        if message.startswith('unrecognized arguments') and '--hash' in self._option_string_actions:
            message += ' (only one folder is expected; a digest is named with =, as in --hash=md5)'
        elif message == 'the following arguments are required: ROOT' and self.prog.endswith('search'):
            message += ' (ROOT comes before the options, some of which take many words)'
        raise UsageError(f'{message}. See {self.prog} --help')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _mend_streams()
    try:
        with suppress(ValueError):  # not in the main thread: then signals are nobody's business here
            signal.signal(signal.SIGINT, _interrupt)
            signal.signal(signal.SIGTERM, _terminate)
        options = _parse(arguments)
        code: int = options.run(options)
        sys.stdout.flush()
    except FastindexError as error:
        _complain(f'error: {error}')
        if '-vv' in arguments:
            raise
        return error.exit_code
    except KeyboardInterrupt:
        _complain('interrupted; what was there is whole')
        return EXIT_INTERRUPTED
    except _TerminatedError:
        _complain('terminated; what was there is whole')
        return EXIT_TERMINATED
    except Exception as error:
        if '-vv' in arguments:
            raise
        _complain(f'error: unexpected {type(error).__name__}: {error} (-vv shows where)')
        return EXIT_FAILED
    return code


def _interrupt(*_: object) -> NoReturn:
    _ignore_signals()
    raise KeyboardInterrupt


def _terminate(*_: object) -> NoReturn:
    _ignore_signals()
    raise _TerminatedError


def _ignore_signals() -> None:
    """Once is enough: let the clean-up run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _mend_streams() -> None:
    """Make closed streams swallow what they get, and any name printable."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    sys.stdout = sys.stdout or open(os.devnull, 'w')  # noqa: SIM115 - as long as we live
    sys.stderr = sys.stderr or open(os.devnull, 'w')  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')


def _complain(message: str) -> None:
    with suppress(OSError):
        print('fastindex: ' + '\n'.join(map(escape, message.split('\n'))), file=sys.stderr, flush=True)


def _show(text: str) -> None:
    """Print what was asked for. The work is done: that nobody takes the text does not undo it."""
    try:
        print(text, flush=True)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            _complain(f'warning: the summary could not be written ({error.strerror})')
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parse(arguments: list[str]) -> argparse.Namespace:
    command = 'build'
    if arguments and arguments[0] in COMMANDS:
        command, *arguments = arguments
    if command == 'build':
        end = arguments.index('--') if '--' in arguments else len(arguments)
        # Without this, `--hash ROOT` would take ROOT for the name of a digest.
        arguments[:end] = ['--hash=xxh128' if word == '--hash' else word for word in arguments[:end]]
    return COMMANDS[command]().parse_args(arguments)


def _build_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog='python -m fastindex',
        usage='python -m fastindex [build] ROOT [options]',
        description='Index the ONE sessions below ROOT: write sessions.pqt and datasets.pqt, which the ONE '
        'client opens. Running it again is the update.',
        epilog=BUILD_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add('root', metavar='ROOT', help='folder that has the labs or the subjects in it')
    add('--out', metavar='DIR', help='existing folder for the tables (default: ROOT)')
    add('--workers', metavar='N', type=_positive, help='processes that scan (default: one a CPU)')
    add(
        '--hash',
        metavar='NAMES',
        help='compute digests of all files: --hash is XXH3-128 (column xxh128), --hash=md5 is what the '
        'client checks (column hash), --hash=xxh128,md5 both in one read',
    )
    add(
        '--follow-symlinks',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='follow links to folders and files (default); --no-follow-symlinks stays inside ROOT',
    )
    add('--namespace', metavar='UUID', type=UUID, help='namespace of the eids, for trees that will be merged')
    add(
        '--check',
        action='store_true',
        help='find out what has changed since the index was made; write nothing; exit 1 where it is stale',
    )
    add(
        '--changes',
        metavar='FILE',
        help='write what has changed since the last index, one JSON object a line',
    )
    add('--dry-run', action='store_true', help='find out what would be indexed; write nothing')
    add('--ids-from', metavar='DIR', help='keep the ids of the tables in DIR for what they know')
    add('--rehash', action='store_true', help='read all files again, also those that are as they were')
    add('--allow-empty', action='store_true', help='write an index though there is nothing to index')
    add('--force', action='store_true', help='put files in the place of tables that are links')
    add('--json', action='store_true', help='print the summary as one JSON object')
    add('--quiet', action='store_true', help='print nothing but errors')
    add('-v', dest='verbose', action='count', default=0, help='name all that is left out; -vv: trace errors')
    add('--version', action='version', version=f'fastindex {__version__}')
    parser.set_defaults(run=_run_build)
    return parser


def _example_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog='python -m fastindex example',
        description='Write a tree shaped like the published example "ibl-behavioral-data-Dec2019": '
        'synthetic trials of 4,933 sessions, which any client can load.',
        epilog=EXAMPLE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add('folder', metavar='DIR', help='folder to be made; never one that has something else in it')
    add('--sessions', metavar='N', type=_positive, help='sessions, of 15 files each (default: 4933)')
    add('--seed', metavar='S', type=int, help='seed of the random numbers (default: 0)')
    add('--zip', metavar='FILE_OR_URL', help='unpack the published archive instead')
    add('--workers', metavar='N', type=_positive, help='processes that write (default: one a CPU)')
    add('--json', action='store_true', help='print the summary as one JSON object')
    add('--quiet', action='store_true', help='print nothing but errors')
    parser.set_defaults(run=_run_example)
    return parser


def _validate_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog='python -m fastindex validate',
        usage='python -m fastindex validate ROOT [options]',
        description='Judge the name of every folder and file below ROOT: what the ONE client cannot find, '
        'load or tell apart, and the nearest valid name. Nothing is opened or written.',
        epilog=VALIDATE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add('root', metavar='ROOT', nargs='?', help='folder that has the labs or the subjects in it')
    add('--all', action='store_true', help='name every path, not only the first of each code')
    add('--min-severity', metavar='SEVERITY', default='info', help='error, warning or info (default)')
    add('--ignore', metavar='CODES', action='append', default=[], help='leave these codes out: ALF301,ALF308')
    add('--deep', action='store_true', help='read the headers of .npy files too: lengths within an object')
    add('--explain', metavar='CODE', help='say what a code means, with an example, and do nothing else')
    add('--workers', metavar='N', type=_positive, help='processes that check (default: one a CPU)')
    add(
        '--follow-symlinks',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='follow links to folders and files (default); --no-follow-symlinks stays inside ROOT',
    )
    add('--json', action='store_true', help='print each finding as a JSON object on a line of its own')
    add('--quiet', action='store_true', help='print nothing but errors: the exit code tells')
    parser.set_defaults(run=_run_validate)
    return parser


def _search_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog='python -m fastindex search',
        usage='python -m fastindex search ROOT [options]',
        description='Find the sessions of an index, or their datasets, as the ONE client does: the last day '
        'first.',
        epilog=SEARCH_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument('root', metavar='ROOT', help='folder that was indexed: it comes before the options')
    wanted = parser.add_argument_group('what is wanted')
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
    qc_help = 'of this quality or better: NOT_SET, PASS, WARNING, FAIL (default), CRITICAL'
    add('--dataset-qc-lte', metavar='QC', help=qc_help)
    several('--object', metavar='NAME', help='whole object of a dataset, as in trials')
    several('--attribute', metavar='NAME', help='whole attribute of a dataset, as in goCue_times')
    several('--collection', metavar='NAME', help="whole folder, as in alf/probe00; '' is none")
    several('--revision', metavar='NAME', help="whole revision, as in 2024-05-06; '' is none")
    add(
        '--min-size',
        metavar='SIZE',
        type=_size,
        dest='min_size_bytes',
        help='of this size or larger, as in 10MB',
    )
    group = parser.add_argument_group('what is shown')
    add = group.add_argument
    add('--datasets', action='store_true', dest='of_datasets', help='the datasets, not their sessions')
    shown = group.add_mutually_exclusive_group()
    for name, text in {
        'paths': 'their paths, below ROOT',
        'eids': 'the eids of the sessions',
        'json': 'an array of JSON objects',
        'csv': 'comma-separated values with a header',
        'count': 'how many there are',
    }.items():
        shown.add_argument(f'--{name}', action='store_const', const=name, dest='form', help=text)
    add('-0', action='store_true', dest='null', help='end paths with NUL, and do not escape them (xargs -0)')
    add('--limit', metavar='N', type=_positive, help='the first N alone')
    add('--out', metavar='DIR', help='where the tables are, if not in ROOT')
    parser.set_defaults(run=_run_search, form='table')
    return parser


def _info_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog='python -m fastindex info',
        usage='python -m fastindex info ROOT [options]',
        description='Tell what is in an index, without a look at the tree.',
        epilog=INFO_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument('root', metavar='ROOT', help='folder that was indexed')
    parser.add_argument('--out', metavar='DIR', help='where the tables are, if not in ROOT')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    parser.set_defaults(run=_run_info)
    return parser


def _verify_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog='python -m fastindex verify',
        usage='python -m fastindex verify ROOT [options]\n       python -m fastindex verify --index-only DIR',
        description='Compare the tree below ROOT with its index: every dataset is there and of its size, and '
        'nothing is new. Writes nothing.',
        epilog=VERIFY_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add('root', metavar='ROOT', nargs='?', help='the folder that was indexed')
    add('--fast', action='store_true', help='compare the numbers of sessions, datasets and bytes, no more')
    add('--hash', action='store_true', help='read all files: compare the digests that are in the index')
    add(
        '--part',
        metavar='I/N',
        type=_part,
        help='one of N parts of the sessions, as 3/10: always the same ones',
    )
    add('--index', metavar='DIR', help='folder of the tables (default: ROOT)')
    add(
        '--index-only', metavar='DIR', help='check the tables in DIR, whatever program wrote them; no dataset'
    )
    add('--workers', metavar='N', type=_positive, help='processes that scan (default: one a CPU)')
    add(
        '--follow-symlinks',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='follow links to folders and files (default); --no-follow-symlinks if the index was built so',
    )
    add('--all', action='store_true', help=f'name all differences, not the first {MAX_PROBLEMS} of each kind')
    add(
        '--json', action='store_true', help='print each difference as a JSON object in a line, a summary last'
    )
    add('--quiet', action='store_true', help='print nothing but errors: the exit code tells')
    parser.set_defaults(run=_run_verify)
    return parser


COMMANDS = {
    'build': _build_parser,
    'validate': _validate_parser,
    'verify': _verify_parser,
    'search': _search_parser,
    'info': _info_parser,
    'example': _example_parser,
}


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r}: expected a whole number, 1 or more')
    return int(text)


def _part(text: str) -> tuple[int, int]:
    number, _, total = text.partition('/')
    return _positive(number), _positive(total)


def _size(text: str) -> int:
    match = re.fullmatch(r'(\d+(?:\.\d+)?) ?([kmgt]?)(i?)b?', text, re.IGNORECASE | re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(f'{text!r}: expected a size, as in 4096, 10MB or 1.5GiB')
    number, unit, binary = match.groups()
    step = 1024 if binary else 1000
    return round(float(number) * float(step ** ' kmgt'.index(unit.lower() or ' ')))


def _leave_out_what_pyarrow_can_do_without() -> None:
    """Let pyarrow be imported without numpy and without the file systems of the clouds.

    Where numpy is installed this saves 80 ms, a fifth of the whole run on the example; and OpenBLAS's
    threads, with which this process could not be forked. The file systems take 5 ms. Only the command line
    does it: its process does nothing else.
    """
    clouds = (f'pyarrow._{name}fs' for name in ('s3', 'azure', 'gcs'))
    for name in ('numpy', *clouds, 'pyarrow._hdfs'):
        if name not in sys.modules:
            sys.modules[name] = None  # type: ignore[assignment]


def _run_build(options: argparse.Namespace) -> int:
    _leave_out_what_pyarrow_can_do_without()
    gc.set_threshold(100_000, 20, 20)  # collections during imports alone cost 5 % of the run on the example
    from fastindex.hashing import parse_algorithms
    from fastindex.ids import NAMESPACE
    from fastindex.pipeline.build import build

    with _open_changes(options.changes) as write_change:
        summary = build(
            options.root,
            out=options.out,
            workers=options.workers,
            hash=() if options.hash is None else parse_algorithms(options.hash),
            progress=not options.quiet,
            follow_symlinks=options.follow_symlinks,
            namespace=options.namespace or NAMESPACE,
            ids_from=options.ids_from,
            rehash=options.rehash,
            allow_empty=options.allow_empty,
            force=options.force,
            dry_run=options.dry_run,
            check=options.check,
            on_skip=_print_skip if options.verbose else None,
            on_change=write_change,
        )
    for warning in summary.warnings:
        _complain(f'warning: {warning}')
    if options.json:
        _print_json(_to_json(summary))
    elif not options.quiet:
        _show('\n'.join(_iter_lines(summary, options)))
    if options.check and (summary.changes is None or any(summary.changes)):
        return EXIT_DIFFERENCES
    return EXIT_PROBLEMS if summary.problem_count else EXIT_DONE


@contextmanager
def _open_changes(path: str | None) -> Iterator[Callable[[Change], None] | None]:
    """Open the file that gets a JSON object for each change; it replaces an older one when all is done."""
    if path is None:
        yield None
        return
    import json

    draft = f'{path}.{os.getpid()}'
    try:
        with open(draft, 'x', encoding='utf-8') as file:
            yield lambda change: print(json.dumps(change._asdict()), file=file)
        os.replace(draft, path)
    except OSError as error:
        if error.filename != draft:
            raise
        raise UsageError(
            f'--changes {escape(path)}: the file cannot be written ({error.strerror}): '
            'expected a name in an existing folder'
        ) from error
    finally:
        with suppress(FileNotFoundError):
            os.unlink(draft)


def _print_skip(skip: Skip) -> None:
    with suppress(OSError):
        print(f'skipped {skip}', file=sys.stderr)


def _to_json(summary: Summary) -> dict[str, Any]:
    paths = {name: getattr(summary, f'{name}_path') for name in ('sessions', 'datasets', 'problems')}
    return {
        'root': summary.root,
        'sessions': summary.sessions,
        'datasets': summary.datasets,
        'bytes': summary.bytes,
        'skipped': dict(summary.skipped),
        'problem_count': summary.problem_count,
        'problems': [
            {'path': problem.path, 'reason': problem.reason, 'errno': problem.errno}
            for problem in summary.problems
        ],
        'warnings': summary.warnings,
        'digests_reused': summary.digests_reused,
        'changes': summary.changes and summary.changes._asdict(),
        'seconds': round(summary.seconds, 3),
        'generation': summary.generation,
        **{f'{name}_path': path and to_text(os.fspath(path)) for name, path in paths.items()},
    }


def _iter_lines(summary: Summary, options: argparse.Namespace) -> Iterator[str]:
    rate = summary.datasets / summary.seconds
    verb = 'would index' if options.dry_run or options.check else 'indexed'
    yield (
        f'{verb} {escape(summary.root)}: '
        f'{summary.sessions:,} sessions, {summary.datasets:,} datasets, {_megabytes(summary.bytes)} '
        f'in {summary.seconds:.2f} s ({rate:,.0f} files/s)'
    )
    if options.hash:
        computed = summary.datasets - summary.digests_reused
        yield f'digests: {computed:,} computed, {summary.digests_reused:,} reused'
    if summary.changes is not None:
        changes = summary.changes._asdict().items()
        counts = [f'{name.replace("_", " ")}: {count:,}' for name, count in changes if count]
        yield f'since the last index: {", ".join(counts) or "nothing has changed"}'
    elif options.check:
        yield 'there is no index of fastindex that is whole: run it without --check'
    if summary.skipped:
        yield f'skipped {sum(summary.skipped.values()):,}, which do not belong into an index:'
        for reason, count in summary.skipped.items():
            yield f'  {count:>9,}  {reason}: {EXPECTED[SkipReason(reason)]}'
        if not options.verbose:
            links = '' if options.follow_symlinks else ' --no-follow-symlinks'
            yield f'  to list them: python -m fastindex {_quote(options.root)}{links} --dry-run -v'
    if summary.problem_count:
        yield f'{summary.problem_count:,} problems: paths that could not be indexed'
        for problem in summary.problems[:MAX_PROBLEMS]:
            yield f'  {problem}'
        if summary.problems_path:
            yield f'  all of them: {escape(os.fspath(summary.problems_path))}'
    if summary.sessions_path:
        yield f'wrote sessions.pqt and datasets.pqt in {escape(os.fspath(summary.sessions_path.parent))}'


def _print_json(value: object) -> None:
    import json

    _show(json.dumps(value, default=str))


def _quote(path: str) -> str:
    import shlex

    return shlex.quote(escape(path))


def _megabytes(count: int) -> str:
    return f'{count / 1e6:,.1f} MB' if count < 1e9 else f'{count / 1e9:,.1f} GB'


def _run_validate(options: argparse.Namespace) -> int:
    from fastindex.rules import RULES, Severity

    if options.explain is not None:
        rule = RULES.get(options.explain.upper())
        if rule is None:
            raise UsageError(f'unknown code {options.explain!r}: expected such as ALF117')
        _show(str(rule))
        return EXIT_DONE
    if options.root is None:
        raise UsageError('ROOT is missing. See python -m fastindex validate --help')
    from fastindex.groups import Groups
    from fastindex.pipeline.validate import validate

    started = time.monotonic()
    findings = validate(
        options.root,
        workers=options.workers,
        follow_symlinks=options.follow_symlinks,
        deep=options.deep,
        ignore=[code.strip().upper() for codes in options.ignore for code in codes.split(',')],
        min_severity=options.min_severity,
        progress=not options.quiet,
    )
    has_errors = False
    with closing(findings), Groups(keep_all=options.all) as groups:
        for finding in findings:
            has_errors |= finding.severity is Severity.ERROR
            if options.json:
                _print_json(finding._asdict())
            elif not options.quiet:
                groups.add(finding)
        if not (options.json or options.quiet):
            for line in groups.iter_lines():
                _show(line)
            _show(
                f'checked {escape(options.root)}: {findings.sessions:,} sessions, {findings.files:,} files '
                f'in {time.monotonic() - started:.2f} s: {groups.summary()}'
            )
            if groups:
                _show('what a code means: python -m fastindex validate --explain CODE')
    return EXIT_DIFFERENCES if has_errors else EXIT_DONE


def _run_example(options: argparse.Namespace) -> int:
    from fastindex.example import DEFAULT_SESSIONS, write_example

    if options.zip:
        from fastindex.archive import unpack_archive

        if options.sessions is not None or options.seed is not None:
            raise UsageError('--zip unpacks an archive as it is: leave --sessions and --seed out')
        summary = unpack_archive(options.zip, options.folder, progress=not options.quiet)
    else:
        summary = write_example(
            options.folder,
            sessions=options.sessions or DEFAULT_SESSIONS,
            seed=options.seed or 0,
            workers=options.workers,
            progress=not options.quiet,
        )
    if options.json:
        _print_json({name: getattr(summary, name) for name in summary.__slots__})
    elif not options.quiet:
        state = f'written in {summary.seconds:.1f} s' if summary.written else 'there already'
        size = _megabytes(summary.bytes)
        counts = f'{summary.sessions:,} sessions, {summary.datasets:,} datasets, {size}'
        _show(
            f'{escape(summary.root)}: {counts}, {state}\n'
            f'index it: python -m fastindex {_quote(options.folder)}'
        )
    return EXIT_DONE


def _open_index(options: argparse.Namespace) -> Index:
    _leave_out_what_pyarrow_can_do_without()
    gc.set_threshold(100_000, 20, 20)  # as for a build
    from fastindex.index import open_for_command

    return open_for_command(options.out or options.root, root=options.root)


def _run_search(options: argparse.Namespace) -> int:
    if options.null and options.form != 'paths':
        raise UsageError('-0 ends paths: add --paths')
    if options.of_datasets and options.form == 'eids':
        raise UsageError('--eids are of sessions: leave --datasets out')
    query = _to_query(options)
    index = _open_index(options)
    from fastindex.rows import to_csv, to_json, to_path_bytes, to_paths
    from fastindex.search import find_datasets, find_sessions, to_session_paths

    form = options.form
    if options.of_datasets:
        frame = find_datasets(index.sessions, index.datasets, query)
        found = (frame.select(COLUMNS[form]) if form in COLUMNS else frame).collect()
    else:
        found = find_sessions(index.sessions, index.datasets, query)
        paths = [] if form in ('table', 'eids', 'count') else [to_session_paths(found)]
        found = found.rename({'id': 'eid'}).with_columns(paths)
    rows = found if options.limit is None else found.head(options.limit)
    if form == 'table':
        _show_table(rows, found.height)
    elif form == 'count':
        _show(str(rows.height))
    elif form == 'eids':
        _show_lines(rows['eid'].to_list())
    elif form != 'paths':
        _show(to_csv(rows) if form == 'csv' else to_json(rows))
    elif options.null:
        _show_bytes(to_path_bytes(options.root, to_paths(rows)))
    else:
        _show_lines([escape(os.path.join(options.root, path)) for path in to_paths(rows)])
    return EXIT_DONE


COLUMNS = {
    'table': ['date', 'number', 'subject', 'rel_path', 'file_size', '^qc$'],
    'paths': ['session_path', 'rel_path'],
    'count': ['eid'],
}
"""What of datasets is read."""


def _show_table(rows: pl.DataFrame, found: int) -> None:
    """Print rows as a table that fits the terminal; how many there are goes to stderr."""
    from shutil import get_terminal_size

    from fastindex.rows import to_count, to_dataset_table, to_session_table

    noun, to_rows = 'session', to_session_table
    if 'rel_path' in rows.columns:
        noun, to_rows = 'dataset', to_dataset_table
    if not found:
        _complain(f'no {noun}s found (names are taken in the case as written: (?i)nyu finds NYU)')
        return
    _show(to_rows(rows, width=get_terminal_size().columns if sys.stdout.isatty() else None))
    shown = f'{rows.height:,} of ' if rows.height < found else ''
    _complain(f'{shown}{to_count(found, noun)}')


def _show_lines(lines: list[str]) -> None:
    if lines:
        _show('\n'.join(lines))


def _show_bytes(data: bytes) -> None:
    """Print names as they are on disk."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _to_query(options: argparse.Namespace) -> Query:
    from dataclasses import fields

    from fastindex.search import Query

    if options.date and options.date_range:
        raise UsageError('--date is one day, --date-range many: leave one of them out')
    date_range = options.date
    if options.date_range:
        date_range = [None if text in ('', '-') else text for text in options.date_range]
    names = [field.name for field in fields(Query) if field.name != 'date_range']
    return Query(date_range=date_range, **{name: getattr(options, name) for name in names})


def _run_info(options: argparse.Namespace) -> int:
    index = _open_index(options)
    from dataclasses import asdict

    from fastindex.info import summarize
    from fastindex.rows import to_summary

    info = summarize(index)
    if options.json:
        _print_json(asdict(info))
    else:
        _show(to_summary(info))
    return EXIT_DONE


def _run_verify(options: argparse.Namespace) -> int:
    if (options.root is None) == (options.index_only is None):
        raise UsageError('expected either ROOT or --index-only DIR. See python -m fastindex verify --help')
    _leave_out_what_pyarrow_can_do_without()
    gc.set_threshold(100_000, 20, 20)
    if options.index_only is not None:
        return _run_verify_index(options)
    from fastindex.pipeline.verify import verify

    verification = verify(
        options.root,
        index=options.index,
        fast=options.fast,
        hash=options.hash,
        part=options.part or (1, 1),
        workers=options.workers,
        progress=not options.quiet,
        follow_symlinks=options.follow_symlinks,
    )
    shown: dict[Kind, list[Difference]] = {}
    for difference in verification:
        if options.json:
            _print_json(difference._asdict())
            continue
        first = shown.setdefault(difference.kind, [])
        if options.all or len(first) < MAX_PROBLEMS:
            first.append(difference)
    if options.json:
        _print_json({'summary': _to_json_of(verification)})
    elif not options.quiet:
        _show('\n'.join(_iter_verify_lines(verification, shown, options)))
    if verification.differences:
        return EXIT_DIFFERENCES
    return EXIT_PROBLEMS if verification.problem_count else EXIT_DONE


def _to_json_of(verification: Verification) -> dict[str, Any]:
    return {
        'sessions': verification.sessions,
        'datasets': verification.datasets,
        'bytes': verification.bytes,
        'differences': dict(verification.differences),
        'problem_count': verification.problem_count,
        'problems': [problem._asdict() for problem in verification.problems],
        'seconds': round(verification.seconds, 3),
    }


def _iter_verify_lines(
    verification: Verification, shown: dict[Kind, list[Difference]], options: argparse.Namespace
) -> Iterator[str]:
    for kind, first in shown.items():
        yield f'{kind} {verification.differences[kind]:,}'
        yield from (f'  {difference}' for difference in first)
    if any(verification.differences[kind] > len(first) for kind, first in shown.items()):
        yield f'the first {MAX_PROBLEMS} of each kind: --all names all of them'
    if verification.problem_count:
        yield f'{verification.problem_count:,} problems: paths that could not be looked into'
        yield from (f'  {problem}' for problem in verification.problems[:MAX_PROBLEMS])
    total = verification.differences.total()
    part = f', part {options.part[0]}/{options.part[1]}' if options.part else ''
    level = 'counted' if options.fast else 'contents read' if options.hash else 'names and sizes'
    yield (
        f'verified {escape(options.root)}{part} ({level}): {verification.sessions:,} sessions, '
        f'{verification.datasets:,} datasets, {_megabytes(verification.bytes)} in '
        f'{verification.seconds:.2f} s: {f"{total:,}" if total else "no"} '
        f'difference{"s" * (total != 1)}'
    )


def _run_verify_index(options: argparse.Namespace) -> int:
    from fastindex.faults import verify_index

    if wrong := [name for name in ('fast', 'hash', 'part', 'index') if getattr(options, name)]:
        raise UsageError(f'--index-only looks at no dataset: leave --{wrong[0]} out')
    faults: list[Fault] = []
    for fault in verify_index(options.index_only):
        faults.append(fault)
        if options.json:
            record = {**fault._asdict(), 'consequence': fault.consequence, 'remedy': fault.remedy}
            _print_json(record)
    if not (options.json or options.quiet):
        for fault in faults:
            _show(f'{fault.code}: {fault}\n  {fault.consequence}\n  do: {fault.remedy}')
        count = f'{len(faults)} fault{"s" * (len(faults) != 1)}' if faults else 'no fault'
        _show(f'verified the index in {escape(options.index_only)}: {count}')
    return EXIT_DIFFERENCES if faults else EXIT_DONE

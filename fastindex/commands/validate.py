"""`fastindex validate ROOT`: whether the names are right."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from fastindex.commands.options import Parser, arguments, prepare, share
from fastindex.commands.output import JsonItems, paint, show, with_flags
from fastindex.errors import EXIT_DIFFERENCES, EXIT_DONE, UsageError
from fastindex.text import escape, to_count, to_findings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastindex.commands.fixes import Made
    from fastindex.commands.groups import Groups
    from fastindex.jobs.validate.validate import Findings

__all__ = ['make_parser']

EPILOG = """\
examples:
  python -m fastindex validate /data                          what is wrong, by code, with the first paths
  python -m fastindex validate /data --all                    with every path
  python -m fastindex validate /data --min-severity error     only what costs data
  python -m fastindex validate /data --ignore ALF301,ALF308   without notes and temporary files
  python -m fastindex validate /data --jsonl                  one object a line: code, path, fix ...
  python -m fastindex validate --explain ALF117               what a code means
  python -m fastindex validate /data --rename-script fix.sh   write the fixes as a script; sh fix.sh runs it
  python -m fastindex validate /data --fix                    rename at once, after asking

exit codes:
  0  no errors; perhaps warnings
  1  errors were found (with --fix: are left), or the answer to --fix was no
  2  wrong usage, the folder cannot be listed, or a name could not be changed
  4  with --fix: another run is writing the index in this folder
  130, 143  interrupted, terminated
"""


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of `fastindex validate`."""
    parser = Parser(
        'validate',
        'ROOT [options]',
        'Judge the name of every folder and file below ROOT: what the ONE client cannot find, '
        'load or tell apart, and the nearest valid name. Nothing is opened or written, but for --fix.',
        EPILOG,
    )
    add = parser.add_argument
    share(parser, 'root', nargs='?')
    add('--all', action='store_true', help='name every path, not only the first of each code')
    add('--min-severity', metavar='SEVERITY', default='info', help='error, warning or info (default)')
    add(
        '--ignore',
        metavar='CODES',
        type=_split_codes,
        action='extend',
        help='leave these codes out: ALF301,ALF308',
    )
    add(
        '--deep',
        action='store_true',
        help='open arrays and tables too: their lengths within an object; and what --session-info reads',
    )
    share(
        parser,
        '--uuid-filenames',
        default=False,
        help='expect names that carry the UUIDs of the datasets, name.<uuid>.ext',
    )
    add(
        '--rename-script',
        metavar='FILE',
        help='write the fixes as a script for sh, and beside it one that undoes them, FILE-undo',
    )
    add('--fix', action='store_true', help='make the fixes, after asking; .fastindex/undo-….sh undoes them')
    add('--yes', action='store_true', help='with --fix: do not ask')
    add('--explain', metavar='CODE', help='say what a code means, with an example, and do nothing else')
    share(parser, '--workers', help='tasks at once that check (default: auto)')
    share(parser, '--dask', help='check on a Dask cluster: HOST:PORT of its scheduler, or a scheduler file')
    share(parser, '--follow-symlinks', '--exclude', '--one-file-system')
    share(parser, '--json', help='print one JSON object: the findings, and a summary')
    share(parser, '--jsonl')
    share(parser, '--quiet', help='print nothing but errors: the exit code tells')
    parser.set_defaults(run=_run)
    return parser


def _split_codes(text: str) -> list[str]:
    return [code for code in text.split(',') if code.strip()]


def _run(options: argparse.Namespace) -> int:
    from fastindex.names.rules import Severity, find_rule

    if options.explain is not None:
        show(with_flags(str(find_rule(options.explain))))
        return EXIT_DONE
    if options.root is None:
        raise UsageError('ROOT is missing. See python -m fastindex validate --help')
    if options.yes and not options.fix:
        raise UsageError('--yes is about --fix: leave it out, or add --fix')
    prepare(dask=options.dask)
    made = None
    if options.fix or options.rename_script is not None:
        from fastindex.commands.fixes import fix

        made = fix(options, partial(_start, options))
        if made.is_declined:
            return EXIT_DIFFERENCES
    from fastindex.commands.groups import Groups

    started = time.monotonic()
    findings = _start(options)
    counts: dict[str, int] = dict.fromkeys(Severity, 0)
    has_fixes = False
    is_json = options.json or options.jsonl
    items = JsonItems('findings', lines=options.jsonl)
    with closing(findings), Groups(keep_all=options.all) as groups:
        for finding in findings:
            counts[finding.severity] += 1
            has_fixes |= bool(finding.fix) and finding.path != '.'  # the root is not renamed
            if is_json:
                items.add(finding)
            elif not options.quiet:
                groups.add(finding)
        seconds = round(time.monotonic() - started, 3)
        if is_json:
            items.close(
                {
                    **{str(severity): count for severity, count in counts.items()},
                    'sessions': findings.sessions,
                    'files': findings.files,
                    'seconds': seconds,
                    **(made.summary if made else {}),
                }
            )
        elif not options.quiet:
            for line in groups.iter_lines():
                show(line)
            found = to_findings(counts, partial(paint, stream=sys.stdout)) or 'no findings'
            show(
                f'checked {escape(options.root)}: {to_count(findings.sessions, "session")}, '
                f'{to_count(findings.files, "file")} in {seconds:.2f} s: {found}'
            )
            for line in _iter_advice(groups, made, has_fixes=has_fixes):
                show(line)
    return EXIT_DIFFERENCES if counts[Severity.ERROR] else EXIT_DONE


def _iter_advice(groups: Groups, made: Made | None, *, has_fixes: bool) -> Iterator[str]:
    if groups:
        yield 'what a code means: python -m fastindex validate --explain CODE'
    if made is not None:
        yield from made.last_lines
    elif has_fixes:
        yield 'to rename as shown after ->: --fix, or --rename-script FILE, which writes a script'


def _start(options: argparse.Namespace) -> Findings:
    from fastindex.jobs.validate.validate import validate

    return validate(
        **arguments(options, 'all', 'rename_script', 'fix', 'yes', 'explain'), progress=not options.quiet
    )

"""`fastindex validate --fix` and `--rename-script`: the fixes that are shown, asked about and made."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from fastindex.commands.output import complain, show
from fastindex.errors import UsageError
from fastindex.system import quote
from fastindex.text import MAX_PROBLEMS, escape, to_count, to_text

if TYPE_CHECKING:
    from fastindex.jobs.fix.plan import Fixes
    from fastindex.jobs.validate.validate import Findings

__all__ = ['Made', 'fix']


class Made(NamedTuple):
    """What was made of the fixes."""

    summary: dict[str, object]  # for `--json`
    last_lines: tuple[str, ...] = ()  # to be shown below the findings
    is_declined: bool = False  # who was asked said no


def fix(options: argparse.Namespace, start: Callable[[], Findings]) -> Made:
    """Plan the fixes of what is found; write them as a script, or make them. `start` makes the findings."""
    from fastindex.jobs.fix.fix import apply_fixes, hold_root, write_scripts
    from fastindex.jobs.fix.plan import plan_fixes

    if options.fix and options.rename_script is not None:
        raise UsageError('--fix makes the fixes that --rename-script writes: expected one of the two')
    is_silent = options.quiet or options.json or options.jsonl
    if options.rename_script is not None:
        fixes = plan_fixes(start())
        undo = write_scripts(fixes, options.rename_script)
        if not is_silent:
            _show_refused(fixes)
        lines = (
            f'wrote {escape(options.rename_script)}: {to_count(len(fixes.renames), "rename")}',
            f'to do it: sh {quote(options.rename_script)}; to take it back: sh {quote(undo)}',
        )
        return Made(_to_summary(fixes, 0, undo), lines)
    if not options.yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError('--fix asks before it renames, and here is no terminal: expected --yes too')
    findings = start()
    with hold_root(findings.task.tree.root) as stage:
        fixes = plan_fixes(findings)
        if not options.yes or not is_silent:
            _show(fixes, keep_all=options.all)
        if not fixes.steps:
            return Made(_to_summary(fixes, 0, None), ('nothing to rename',))
        if not options.yes and not _ask(fixes):
            complain('nothing was renamed')
            return Made({}, is_declined=True)
        undo = apply_fixes(fixes, stage)
    if not is_silent:
        show(f'renamed {to_count(len(fixes.renames), "path")}; to take it back: sh {quote(undo)}')
        show(f'to bring the index up to date: python -m fastindex {quote(options.root)}')
        show('  with --out DIR, if the index is there; with --allow-removal, if a lab or a subject has a')
        show('  new name and the index has no digests')
        show('')
    return Made(_to_summary(fixes, len(fixes.renames), undo))


def _show(fixes: Fixes, *, keep_all: bool) -> None:
    """Show what is to be done, and what is not."""
    count = len(fixes.renames) if keep_all else MAX_PROBLEMS
    for line in islice(fixes.iter_lines(), count):
        show(line)
    if len(fixes.renames) > count:
        show(f'... and {len(fixes.renames) - count:,} more (--all shows them)')
    _show_refused(fixes)


def _show_refused(fixes: Fixes) -> None:
    for refused in fixes.refused:
        complain(f'warning: {refused}')


def _ask(fixes: Fixes) -> bool:
    sys.stderr.write(f'{to_count(len(fixes.renames), "rename")} in {escape(fixes.root)}: do it? [y/N] ')
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ('y', 'yes')


def _to_summary(fixes: Fixes, done: int, undo: str | None) -> dict[str, object]:
    return {
        'fixes': len(fixes.renames),
        'renamed': done,
        'not_renamed': [{'path': to_text(path), 'fix': fix, 'why': why} for path, fix, why in fixes.refused],
        'undo': None if undo is None else to_text(undo),
    }

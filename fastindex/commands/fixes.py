"""`fastindex validate --fix` and `--rename-script`: the fixes that are shown, asked about and made."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from fastindex.commands.output import complain, show
from fastindex.errors import UsageError
from fastindex.system import quote
from fastindex.text import MAX_PROBLEMS, escape, to_count, to_text

if TYPE_CHECKING:
    from fastindex.jobs.fix.plan import Plan
    from fastindex.jobs.validate.validate import Findings

__all__ = ['Made', 'fix']


class Made(NamedTuple):
    """What was made of the fixes."""

    summary: dict[str, object]  # for `--json`
    last_lines: tuple[str, ...] = ()  # to be shown below the findings
    is_declined: bool = False  # who was asked said no


def fix(options: argparse.Namespace, start: Callable[[], Findings]) -> Made:
    """Plan the fixes of what is found; write them as a script, or make them. `start` makes the findings."""
    from fastindex.jobs.fix.fix import apply_plan, hold_root, write_scripts
    from fastindex.jobs.fix.plan import plan_fixes

    if options.fix and options.rename_script is not None:
        raise UsageError('--fix makes the fixes that --rename-script writes: expected one of the two')
    is_silent = options.quiet or options.json or options.jsonl
    if options.rename_script is not None:
        plan = plan_fixes(start())
        undo = write_scripts(plan, options.rename_script)
        if not is_silent:
            _show_refused(plan)
        lines = (
            f'wrote {escape(options.rename_script)}: {to_count(len(plan.fixes), "rename")}',
            f'to do it: sh {quote(options.rename_script)}; to take it back: sh {quote(undo)}',
        )
        return Made(_to_summary(plan, 0, undo), lines)
    if not options.yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError('--fix asks before it renames, and here is no terminal: expected --yes too')
    findings = start()
    with hold_root(findings.task.tree.root) as stage:
        plan = plan_fixes(findings)
        if not options.yes or not is_silent:
            _show(plan, keep_all=options.all)
        if not plan.steps:
            return Made(_to_summary(plan, 0, None))
        if not options.yes and not _ask(plan):
            complain('nothing was renamed')
            return Made({}, is_declined=True)
        undo = apply_plan(plan, stage)
    if not is_silent:
        show(f'renamed {to_count(len(plan.fixes), "path")}; to take it back: sh {quote(undo)}')
        show(f'an index that is there is updated by: python -m fastindex {quote(options.root)}')
        show('')
    return Made(_to_summary(plan, len(plan.fixes), undo))


def _show(plan: Plan, *, keep_all: bool) -> None:
    """Show what is to be done, and what is not."""
    shown = plan.fixes if keep_all else plan.fixes[:MAX_PROBLEMS]
    for path, new_path in shown:
        is_beside = path.rpartition('/')[0] == new_path.rpartition('/')[0]
        show(f'{escape(path)} -> {escape(new_path.rpartition("/")[2] if is_beside else new_path)}')
    if len(shown) < len(plan.fixes):
        show(f'... and {len(plan.fixes) - len(shown):,} more (--all shows them)')
    _show_refused(plan)


def _show_refused(plan: Plan) -> None:
    for path, new_path, why in plan.refused:
        complain(f'warning: {path} is not renamed to {new_path}: {why}')


def _ask(plan: Plan) -> bool:
    sys.stderr.write(f'{to_count(len(plan.fixes), "rename")} in {escape(plan.root)}: do it? [y/N] ')
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ('y', 'yes')


def _to_summary(plan: Plan, done: int, undo: str | None) -> dict[str, object]:
    return {
        'fixes': len(plan.fixes),
        'renamed': done,
        'not_renamed': [{'path': to_text(path), 'fix': fix, 'why': why} for path, fix, why in plan.refused],
        'undo': None if undo is None else to_text(undo),
    }

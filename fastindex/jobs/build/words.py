"""A summary in lines: what the command prints, and `print(summary)` does."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from fastindex.names.alf import EXPECTED, SkipReason
from fastindex.names.problems import Doubt, head_problems
from fastindex.system import quote
from fastindex.text import MAX_PROBLEMS, escape, to_count, to_size, to_text

if TYPE_CHECKING:
    from fastindex.jobs.build.summary import Summary

__all__ = ['iter_doubts', 'iter_lines']

_WHY_READ_AGAIN = {'recent': 'too new then to rely on their times'}


def iter_lines(
    summary: Summary,
    *,
    is_dry: bool = False,
    is_check: bool = False,
    is_part: bool = False,
    to_list: str = '',
    about_names: str = '',
) -> Iterator[str]:
    """Iterate over the lines that say what a build did; options are in backticks.

    is_dry, is_check: whether nothing was to be written; whether it was asked what has changed
    is_part: whether a part of the tree was looked at
    to_list, about_names: commands that list what was left out, and say what to do about names without a UUID;
        '' names none
    """
    rate = summary.datasets / summary.seconds
    yield (
        f'{"would index" if is_dry else "indexed"} {escape(summary.root)}: '
        f'{to_count(summary.sessions, "session")}, {to_count(summary.datasets, "dataset")}, '
        f'{to_size(summary.bytes)} in {summary.seconds:.2f} s ({to_count(round(rate), "file")}/s)'
    )
    if is_part:
        looked = to_count(summary.sessions - summary.sessions_carried, 'session')
        verb = 'is' if summary.sessions_carried == 1 else 'are'
        yield f'looked at {looked}; {summary.sessions_carried:,} {verb} as in the index before'
    if summary.as_before:
        yield f'as before: {" ".join(summary.as_before)}'
    if summary.recipe.algorithms:
        computed = summary.datasets - summary.datasets_carried - summary.digests_reused
        yield f'digests: {computed:,} computed, {summary.digests_reused:,} reused'
        if again := summary.read_again:
            why = ', '.join(f'{count:,} {_WHY_READ_AGAIN.get(name, name)}' for name, count in again.items())
            yield f'{sum(again.values()):,} read again: {why}'
    for kept in summary.ids_kept:
        yield (
            f'ids kept: {kept.sessions:,} of {to_count(kept.sessions_known, "session")}, '
            f'{kept.datasets:,} of {to_count(kept.datasets_known, "dataset")} '
            f'of {escape(to_text(kept.tables))}'
        )
    if summary.known_again:
        values = ', '.join(f'{name} of {count:,}' for name, count in summary.known_again.items())
        yield f'known again, of what was not there at the last run: {values}'
    if summary.info_overruled:
        sessions = to_count(summary.info_overruled, 'session')
        yield f'projects or tasks of {sessions} are kept as they are known, though their files say other ones'
    if summary.info_offered:
        sessions = to_count(summary.info_offered, 'session')
        yield f'files of {sessions} say their projects or tasks: `session_info` fills them in'
    yield from _iter_changes(summary, is_check)
    if summary.skipped:
        count = sum(summary.skipped.values())
        yield f'skipped {count:,}, which {"does" if count == 1 else "do"} not belong in an index:'
        for reason, count in summary.skipped.items():
            yield f'  {count:>9,}  {reason}: {EXPECTED[SkipReason(reason)]}'
        if to_list:
            yield f'  to list them: {to_list}'
    if summary.problem_count:
        yield head_problems(summary.problem_count, 'could not be indexed')
        yield from (f'  {problem}' for problem in summary.problems[:MAX_PROBLEMS])
        if summary.problems_path:
            yield f'  all of them: {escape(summary.problems_path)}'
        if about_names:
            yield f'  what to do about names: {about_names}'
    if summary.sessions_path:
        yield f'wrote sessions.pqt and datasets.pqt in {escape(os.path.dirname(summary.sessions_path))}'


def _iter_changes(summary: Summary, is_check: bool) -> Iterator[str]:
    if summary.changes is None:
        if is_check:
            yield 'there is no index of fastindex that is whole: run it without `check`'
        return
    counts = [
        f'{name.replace("_", " ")}: {count:,}'
        for name, count in summary.changes.to_dict().items()
        if count and name != 'columns'
    ]
    if summary.changes.columns:
        counts.append(f'columns: {" ".join(summary.changes.columns)}')
    if is_check:
        yield f'stale: {", ".join(counts)}' if counts else 'up to date'
    else:
        yield f'since the last index: {", ".join(counts) or "nothing has changed"}'


def iter_doubts(doubts: Mapping[Doubt, tuple[int, list[str]]], root: str) -> Iterator[str]:
    """Say which folders may not be what was meant."""
    advice = f'python -m fastindex validate {quote(root)}'
    if Doubt.NO_SUBJECTS in doubts:
        count, labs = doubts[Doubt.NO_SUBJECTS]
        names = ', '.join(map(escape, labs)) + ', …' * (count > len(labs))
        yield f'Subjects is missing in {names}: what is below is not in the index. See {advice}'
    parts = []
    for doubt, one, many in (
        (Doubt.LEFT_OUT, 'looks like a misnamed session and is', 'look like misnamed sessions and are'),
        (Doubt.NOT_FOUND, 'is indexed, but not', 'are indexed, but not'),
    ):
        if doubt in doubts:
            count, paths = doubts[doubt]
            names = ', '.join(map(escape, paths)) + ', …' * (count > len(paths))
            parts.append(f'{to_count(count, "folder")} {one if count == 1 else many} {doubt}: {names}')
    if parts:
        yield f'{"; ".join(parts)}. See {advice}'

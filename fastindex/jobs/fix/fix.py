"""Rename what a plan says: in held folders, through no link, over nothing, with no build beside it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fastindex.errors import FastindexError, FixError, UsageError, noting
from fastindex.files import find_target, open_outputs
from fastindex.folders import OpenFolder
from fastindex.jobs.fix.plan import Fixes, Step
from fastindex.jobs.fix.script import write_script, write_undo
from fastindex.system import quote, sync_file
from fastindex.tables.publish import Stage
from fastindex.text import escape, to_system

__all__ = ['apply_fixes', 'hold_root', 'write_scripts']


def write_scripts(fixes: Fixes, path: str) -> str:
    """Write fixes as a script, and beside it one that takes them back, whose path is given.

    Raises OutputError if they cannot be written. Raises UsageError if it is no file, or the one beside it is
    there: what it takes back may be needed.
    """
    stem, ending = os.path.splitext(path)
    undo = f'{stem}-undo{ending}'
    if find_target(path).is_stream:
        raise UsageError(
            f'{escape(path)}: this is no file, and a second one goes beside it: choose another name'
        )
    if os.path.lexists(undo):
        raise UsageError(f'{escape(undo)}: this may be needed to take something back: choose another name')
    with open_outputs() as open_next:
        for name, pieces in ((undo, write_undo(fixes)), (path, write_script(fixes, undo))):
            file = open_next(name)
            for piece in pieces:
                file.write(piece)
    return undo


@contextmanager
def hold_root(root: str) -> Iterator[Stage]:
    """Hold the lock of the index in a root, so that no build runs meanwhile.

    Raises LockedError if one does, FixError if this user may write nothing there.
    """
    with ExitStack() as held:
        try:
            stage = Stage(held.enter_context(OpenFolder.open(Path(root))))
            held.enter_context(stage.hold())
        except FastindexError:
            raise
        except OSError as error:
            raise FixError(
                f'{escape(root)}: no name can be changed there ({error.strerror}): may this user write there?'
            ) from error
        yield stage


def apply_fixes(fixes: Fixes, stage: Stage) -> str:
    """Do what is planned; give the path of the script that takes it back, which is written first.

    Raises FixError where something stands in the way: what was done before stays, and can be taken back.

    stage: of the root, whose lock is held
    """
    try:
        undo = _write_undo(fixes, stage)
    except OSError as error:
        where = escape(stage.state.path)
        raise FixError(
            f'{where}: what takes the names back could not be written ({error.strerror}): nothing was renamed'
        ) from error
    stage.was_opened = True  # the folder of the lock has the script
    advice = f'what was renamed before stays. To take it back: sh {quote(undo)}'
    with noting([advice]):
        for step in fixes.steps:
            try:
                _do(step, stage.out)
            except OSError as error:
                raise FixError(f'{escape(step.new_path)}: {error.strerror}; {advice}') from error
    return undo


def _write_undo(fixes: Fixes, stage: Stage) -> str:
    name = f'undo-{time.strftime("%Y%m%dT%H%M%S")}-{os.urandom(2).hex()}.sh'
    with stage.state.open_new(name) as file:
        for piece in write_undo(fixes):
            file.write(piece)
        file.flush()
        sync_file(file.fileno())
    stage.state.sync()
    return os.fspath(stage.state.path / name)


def _do(step: Step, root: OpenFolder) -> None:
    with ExitStack() as stack:
        target, name = _enter(root, step.new_path, stack)
        if step.path:
            source, old_name = _enter(root, step.path, stack)
            source.move(old_name, target, name)
        else:
            target.make(name)


def _enter(folder: OpenFolder, path: str, stack: ExitStack) -> tuple[OpenFolder, str]:
    *above, name = map(to_system, path.split('/'))
    for part in above:
        folder = stack.enter_context(folder.enter(part))
    return folder, name

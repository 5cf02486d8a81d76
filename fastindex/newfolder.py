"""A new folder that is there as a whole or not at all, and never in the place of another one.

It grows as a hidden sibling, `.NAME.partial-PID`, and is renamed when it is complete. A run that was killed
leaves the sibling, safe to remove.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator

from fastindex.errors import ExampleError

__all__ = ['ADVICE', 'check_free', 'new_folder']

ADVICE = 'choose another folder, or remove this one if nobody needs it'


def check_free(target: str) -> None:
    """Raise ExampleError unless `target` does not exist or is an empty folder that nobody stands in."""
    try:
        names = sorted(os.listdir(target))
    except FileNotFoundError:
        return
    except OSError as error:
        raise ExampleError(
            f'{target}: {error.strerror}, expected an empty folder or none: {ADVICE}'
        ) from error
    if names:
        shown = ', '.join(names[:3]) + (' ...' if len(names) > 3 else '')
        raise ExampleError(f'{target}: not empty (has {shown}), expected an empty folder or none: {ADVICE}')
    if target == os.getcwd():  # the rename would leave the shell in a folder that is gone
        raise ExampleError(f'{target}: the current folder cannot be replaced: give a new name below it')


@contextlib.contextmanager
def new_folder(target: str) -> Iterator[str]:
    """Make a sibling that becomes `target` at the end of the block, or is removed if the block raises."""
    parent, name = os.path.split(target)
    partial = os.path.join(parent, f'.{name}.partial-{os.getpid()}')
    try:
        os.makedirs(parent, exist_ok=True)
        os.mkdir(partial)
    except OSError as error:
        raise ExampleError(f'{partial}: cannot be made ({error.strerror}): choose another folder') from error
    try:
        yield partial
        os.rename(partial, target)  # fails if anything but an empty folder has come there meanwhile
    except OSError as error:
        raise ExampleError(f'{target}: cannot be written ({error}): choose another folder') from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # nothing is there any more if all went well

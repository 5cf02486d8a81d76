"""Run tasks in order: in this process, in processes of our own, in an executor, on a cluster.

A task runs itself, wherever it is sent to. It is picklable, and so is its result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

__all__ = ['Branches', 'Rescuable', 'Subtask', 'Task']


class Task(Protocol):
    """Something to be done by a worker."""

    def run(self) -> Any:
        """Do it; return the result. What it raises ends the run."""


class Subtask(Task, Protocol):
    """A further task that a result waits for; of those that are known, the costliest runs first."""

    @property
    def cost(self) -> int: ...


@runtime_checkable
class Rescuable(Task, Protocol):
    """What a task can do too that has killed its worker time and again."""

    def rescue(self) -> Any:
        """Give, in the collecting process, a list of smaller tasks to try in its place; or its result."""


@runtime_checkable
class Branches(Protocol):
    """What a result can do too: ask for more."""

    @property
    def subtasks(self) -> Sequence[Subtask]:
        """Tasks that are to be done before the turn of this result comes."""

    @property
    def continuation(self) -> Sequence[Task]:
        """Tasks whose results have their turns right after this one."""

    @property
    def held_bytes(self) -> int:
        """Memory that it takes while it waits for its turn."""

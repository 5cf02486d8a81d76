"""Tasks that a new interpreter loads at once: neither pytest nor a package is imported here."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple


class Call(NamedTuple):
    """A task that calls a function."""

    function: Callable[[Any], Any]
    argument: Any
    cost: int = 0

    def run(self) -> Any:
        return self.function(self.argument)


def calls(function: Callable[[Any], Any], arguments: Iterable[Any]) -> Iterator[Call]:
    return (Call(function, argument) for argument in arguments)


def double(number: int) -> int:
    time.sleep(0.001 * (number % 3))
    return 2 * number


def whoami(_: object) -> int:
    return os.getpid()


def fail(number: int) -> int:
    raise ValueError(f'no {number}')


def large(size: int) -> bytes:
    return bytes(size)


class Branched(NamedTuple):
    """A result that asks for more."""

    value: int
    subtasks: Sequence[Call] = ()
    continuation: Sequence[Any] = ()
    held_bytes: int = 0


class AskForSubtasks(NamedTuple):
    number: int

    def run(self) -> Branched:
        doubled = double(self.number)
        return Branched(doubled, [Call(double, doubled + i, cost=i) for i in range(self.number % 3)])


class AskForContinuation(NamedTuple):
    number: int

    def run(self) -> Branched:
        doubled = double(self.number)
        small = [AskForContinuation(doubled * 10 + digit) for digit in (1, 2)] if doubled < 10 else []
        return Branched(doubled, continuation=small)


def echo(data: bytes) -> bytes:
    return data

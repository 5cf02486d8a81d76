"""Tell what has moved from what is gone and what is new: by contents of the same size and digest.

Pairs datasets that are gone with those that are new, and the sessions with them. A content that is there once
on both sides tells where its session has gone; then the others of this session are looked for there.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

__all__ = ['MAX_HELD', 'Moves', 'Placed', 'find_moves']

MAX_HELD = 2**20
"""Rows that are held at most until all are there: beyond that nothing is told as moved."""


class Placed(NamedTuple):
    """A dataset: what is in it (size and digests), its session, and its rel_path."""

    content: Hashable
    session: str
    name: str


class Moves(NamedTuple):
    """What has moved."""

    datasets: dict[int, int]
    """The position of a dataset that is gone, by that of one that is new."""

    sessions: dict[str, str]
    """The path of a session all of whose datasets have moved into a new one, by the path of that."""


def find_moves(gone: Sequence[Placed], new: Sequence[Placed], new_sessions: frozenset[str]) -> Moves:
    """Find what has moved; `new_sessions` are those that the index before did not have."""
    found: dict[int, int] = {}
    _pair(gone, new, found, lambda one: one.content)
    votes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for to, of in found.items():
        votes[gone[of].session][new[to].session] += 1
    goal = {session: counts.most_common(1)[0][0] for session, counts in votes.items()}
    _pair(
        gone,
        new,
        found,
        lambda one: (one.content, goal.get(one.session, one.session), one.name),
        lambda one: (one.content, one.session, one.name),
    )
    _pair(gone, new, found, lambda one: (one.content, one.session))
    _pair(gone, new, found, lambda one: (one.content, *one.session.split('/')[-2:], one.name))
    totals = Counter(one.session for one in gone)
    ways = Counter((gone[of].session, new[to].session) for to, of in found.items())
    sessions = {
        to: of for (of, to), count in ways.items() if to in new_sessions and of != to and count == totals[of]
    }
    return Moves(found, sessions)


def _pair(
    gone: Sequence[Placed],
    new: Sequence[Placed],
    found: dict[int, int],
    key: Callable[[Placed], Hashable],
    key_of_new: Callable[[Placed], Hashable] | None = None,
) -> None:
    """Pair those that are not paired yet, where one of each side has a key."""
    paired = set(found.values())
    sides = []
    for rows, taken, key_of in ((gone, paired, key), (new, found, key_of_new or key)):
        positions: defaultdict[Hashable, list[int]] = defaultdict(list)
        for i, one in enumerate(rows):
            if i not in taken:
                positions[key_of(one)].append(i)
        sides.append(positions)
    for value, places in sides[0].items():
        others = sides[1].get(value, [])
        if len(places) == len(others) == 1:
            found[others[0]] = places[0]

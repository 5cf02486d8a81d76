"""Tell what has moved from what is gone and what is new: by contents of the same size and digest.

Pairs datasets that are gone with those that are new, and the sessions with them. A content that is there once
on both sides tells where its session has gone; then the others of this session are looked for there. All by
columns: each dataset is a few numbers, which stand for its content, its session and its name.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from fastindex.lazy import pa, pc

__all__ = ['MAX_HELD', 'MAX_HELD_BYTES', 'Moves', 'Placed', 'find_moves']

MAX_HELD = 2**20
"""Rows that are held at most until all are there: beyond that nothing is told as moved."""

MAX_HELD_BYTES = 2**28
"""Of the same rows: those of an index have 100 bytes each, or 4,000 if all rel_paths are of the longest."""

_BITS = 21  # of a number: there are fewer of each kind than rows on both sides


class Placed(NamedTuple):
    """Datasets: columns of what is in them, of their sessions, and of their rel_paths."""

    content: pa.Array
    """Text of size and digests; null where nothing is known of a content."""

    session: Sequence[int]
    """Positions in a list of the paths of all sessions."""

    name: pa.Array


class Moves(NamedTuple):
    """What has moved."""

    datasets: array[int]
    """Of each dataset that is new the position of the one that is gone; -1 where it has not moved."""

    sessions: dict[int, int]
    """The position of a session all of whose datasets have moved into a new one, by that of the new one."""


def find_moves(gone: Placed, new: Placed, sessions: Sequence[str], new_sessions: frozenset[int]) -> Moves:
    """Find what has moved.

    sessions: the paths, each once
    new_sessions: positions of those that the index before did not have
    """
    contents, names = (_number(getattr(gone, name), getattr(new, name)) for name in ('content', 'name'))
    places = [_to_column(side.session) for side in (gone, new)]
    pairs = _Pairs(gone, new)
    pairs.find(*contents)
    votes: dict[int, Counter[int]] = {}
    for (of, to), count in pairs.count_ways().items():
        votes.setdefault(of, Counter())[to] = count
    goals = _to_column([votes[i].most_common(1)[0][0] if i in votes else i for i in range(len(sessions))])
    named = [_join(*two) for two in zip(contents, names, strict=True)]
    files = _number(*(pc.replace_substring_regex(side.name, r'(?s)\A.*/', '') for side in (gone, new)))
    for both in (named, [_join(*two) for two in zip(contents, files, strict=True)]):
        pairs.find(_join(both[0], goals.take(places[0])), _join(both[1], places[1]))
    pairs.find(*(_join(*two) for two in zip(contents, places, strict=True)))
    numbers: dict[tuple[str, ...], int] = {}
    days = _to_column([numbers.setdefault(tuple(one.split('/')[-2:]), len(numbers)) for one in sessions])
    pairs.find(*(_join(one, days.take(place)) for one, place in zip(named, places, strict=True)))
    totals = Counter(gone.session)
    moved = {
        to: of
        for (of, to), count in pairs.count_ways().items()
        if to in new_sessions and of != to and count == totals[of]
    }
    return Moves(pairs.found, moved)


class _Pairs:
    """Pairs of datasets that are gone with those that are new, as they are found."""

    def __init__(self, gone: Placed, new: Placed) -> None:
        self.found = array('q', [-1]) * len(new.session)
        self._sessions = gone.session, new.session
        self._left = [
            _to_column(range(len(side.session))).filter(side.content.is_valid()) for side in (gone, new)
        ]

    def find(self, gone: pa.Array, new: pa.Array) -> None:
        """Pair those that are not paired yet, where one of each side has a key."""
        keys = [side.take(left) for side, left in zip((gone, new), self._left, strict=True)]
        once = []
        for side in keys:
            counts = pc.value_counts(side)
            once.append(counts.field(0).filter(pc.equal(counts.field(1), 1)))
        both = once[0].filter(pc.is_in(once[0], value_set=once[1]))
        of, to = (
            left.take(pc.index_in(both, value_set=side)) for left, side in zip(self._left, keys, strict=True)
        )
        for gone_row, new_row in zip(of.to_pylist(), to.to_pylist(), strict=True):
            self.found[new_row] = gone_row
        self._left = [
            left.filter(pc.invert(pc.is_in(left, value_set=paired)))
            for left, paired in zip(self._left, (of, to), strict=True)
        ]

    def count_ways(self) -> Counter[tuple[int, int]]:
        """Count the pairs by their sessions, in the order of those that are gone."""
        gone, new = self._sessions
        pairs = sorted((of, to) for to, of in enumerate(self.found) if of >= 0)
        return Counter((gone[of], new[to]) for of, to in pairs)


def _number(gone: pa.Array, new: pa.Array) -> list[pa.Array]:
    """Give each value of both sides a number."""
    both = pa.concat_arrays([gone, new]).dictionary_encode('encode').indices.cast(pa.int64())
    return [both[: len(gone)], both[len(gone) :]]


def _join(one: pa.Array, other: pa.Array) -> pa.Array:
    """Join columns of numbers to one column."""
    return pc.bit_wise_or(pc.shift_left(one, _BITS), other)


def _to_column(numbers: Sequence[int]) -> pa.Array:
    return pa.Array.from_buffers(pa.int64(), len(numbers), [None, pa.py_buffer(array('q', numbers))])

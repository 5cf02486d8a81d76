"""Hold differences until all are there, and tell what is missing at one path and is at another as moved.

Of each its contents, session and name are held as columns, and all of it packed: 150 bytes, where the objects
take 1,000. Leaves what a move is to `fastindex.tables.moves`.
"""

from __future__ import annotations

import pickle
import zlib
from array import array
from collections.abc import Iterator
from contextlib import closing

from fastindex.jobs.verify.judge import Difference, Kind
from fastindex.lazy import pa
from fastindex.progress import open_bar
from fastindex.tables.merge import CHUNK_ROWS
from fastindex.tables.moves import MAX_HELD, Placed, find_moves

__all__ = ['HeldDifferences']


class HeldDifferences:
    """What is missing, and what is unexpected, in the order in which it was found."""

    def __init__(self, *, progress: bool) -> None:
        self._progress = progress
        self._count = 0
        self._packed: list[bytes] = []
        self._last: list[Difference] = []
        self._numbers: dict[str, int] = {}  # of the sessions that have contents, by their paths
        self._added: list[str] = []  # the paths of sessions that the index does not have
        self._sides = {Kind.MISSING: _Side(), Kind.UNEXPECTED: _Side()}

    @property
    def is_full(self) -> bool:
        """Whether there are too many to tell what has moved."""
        return self._count > MAX_HELD

    def add(self, difference: Difference, content: str | None) -> None:
        """Hold a difference; `content` stands for what is in the file, None where nothing is known of it."""
        names = difference.path.split('/')
        if content is not None:
            depth = 5 if names[1] == 'Subjects' else 3
            number = self._numbers.setdefault('/'.join(names[:depth]), len(self._numbers))
            self._sides[difference.kind].add(self._count, content, number, '/'.join(names[depth:]))
        elif difference.found == 'folder':
            self._added.append(difference.path)
        self._count += 1
        self._last.append(difference)
        if len(self._last) == CHUNK_ROWS:
            self._packed.append(zlib.compress(pickle.dumps(self._last), 1))
            self._last = []

    def iter_told(self) -> Iterator[Difference]:
        """Iterate over all: what has moved is told where it is now, and no more where it was."""
        bar = open_bar(total=self._count, unit='difference', description='telling', enabled=self._progress)
        with closing(bar):
            for one in self._iter_all() if self.is_full else self._iter_moved():
                bar.update()
                yield one

    def _iter_all(self) -> Iterator[Difference]:
        for packed in self._packed:
            yield from pickle.loads(zlib.decompress(packed))  # noqa: S301 - from this process
        yield from self._last

    def _iter_moved(self) -> Iterator[Difference]:
        gone, new = (side.place() for side in self._sides.values())
        added = frozenset(self._numbers[path] for path in self._added if path in self._numbers)
        paths = list(self._numbers)
        moves = find_moves(gone, new, paths, added)
        sources = {paths[to]: paths[of] for to, of in moves.sessions.items()}
        left = set(sources.values())
        has_left = bytearray(self._count)
        came_from = array('q', [-1]) * self._count
        for to, of in enumerate(moves.datasets):
            if of >= 0:
                has_left[self._sides[Kind.MISSING].positions[of]] = 1
                came_from[self._sides[Kind.UNEXPECTED].positions[to]] = of
        for i, one in enumerate(self._iter_all()):
            source = sources.get(one.path) if one.kind is Kind.UNEXPECTED else None
            if (of := came_from[i]) >= 0:
                source = f'{paths[gone.session[of]]}/{gone.name[of].as_py()}'
            if source is not None:
                yield Difference(Kind.MOVED, one.path, 'path', source, one.path)
            elif one.kind is Kind.UNEXPECTED or not (has_left[i] or one.path in left):
                yield one


class _Side:
    """Datasets of one kind of whose contents something is known."""

    def __init__(self) -> None:
        self.positions = array('q')  # among all that is held
        self._sessions = array('q')
        self._chunks: list[pa.RecordBatch] = []
        self._last: list[tuple[str, str]] = []  # contents and names

    def add(self, position: int, content: str, session: int, name: str) -> None:
        self.positions.append(position)
        self._sessions.append(session)
        self._last.append((content, name))
        if len(self._last) == CHUNK_ROWS:
            self._pack()

    def _pack(self) -> None:
        contents, names = zip(*self._last, strict=True) if self._last else ((), ())
        columns = [pa.array(column, pa.string()) for column in (contents, names)]
        self._chunks.append(pa.record_batch(columns, ['content', 'name']))
        self._last = []

    def place(self) -> Placed:
        """Give them as columns."""
        self._pack()
        table = pa.Table.from_batches(self._chunks)
        contents, names = (pa.concat_arrays(column.chunks) for column in table.columns)
        return Placed(contents, self._sessions, names)

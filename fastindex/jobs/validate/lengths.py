"""How long arrays and tables are, and whether those that the client loads as one object agree.

Reads the first bytes of a `.npy` file; the last ones of a Parquet file, and the first of each column in it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from fastindex.jobs.validate.npy import BadHeaderError, read_shape
from fastindex.lazy import pa, pq
from fastindex.names.alf import list_old_revisions, parse_dataset_name, split_revision
from fastindex.system import read_at
from fastindex.text import to_count

__all__ = ['OddShapeError', 'compare_lengths', 'read_length']


class OddShapeError(ValueError):
    """The array has a shape that the client takes for an error by itself."""


def read_length(fd: int, name: str) -> int | None:
    """Read how many rows an open `.npy` or `.pqt` file has; None if any number will do.

    Raises BadHeaderError if the file is damaged, OddShapeError if its shape is. Raises OSError if it cannot
    be read.
    """
    if name.endswith('.pqt'):
        return _count_rows(fd)
    shape = read_shape(fd)
    if '.timestamps' in name and parse_dataset_name(name).attribute == 'timestamps':
        if shape == (2, 2):
            return None
        if shape[1:] not in ((), (1,)):
            raise OddShapeError(f'timestamps of shape {shape}: expected a vector, or 2 x 2')
    return shape[0] if shape else 1


def _count_rows(fd: int) -> int:
    try:
        with open(fd, 'rb', closefd=False) as file:
            footer = pq.read_metadata(file)
        if read_at(fd, 4, 0) != b'PAR1' or not all(_is_there(fd, start) for start in _list_starts(footer)):
            raise BadHeaderError('it is damaged: columns are not where its end says')
        return int(footer.num_rows)
    except (OSError, pa.ArrowException) as error:
        if getattr(error, 'errno', None):  # the disk's, not what pyarrow says
            raise
        raise BadHeaderError('it is no Parquet file, or it is cut off') from error


def _list_starts(footer: Any) -> Iterator[int]:
    """Iterate over the positions at which the columns of a Parquet file begin, each in a row group."""
    for group in map(footer.row_group, range(footer.num_row_groups)):
        for i in range(footer.num_columns if group.num_rows else 0):
            column = group.column(i)
            first = column.dictionary_page_offset if column.has_dictionary_page else None
            yield min(first or column.data_page_offset, column.data_page_offset)


def _is_there(fd: int, start: int) -> bool:
    """Tell whether a page is at a position: each starts with its type, as Thrift writes a first number."""
    return start >= 4 and read_at(fd, 1, start) == b'\x15'


def compare_lengths(found: Sequence[tuple[str, int]]) -> Iterator[tuple[int, str]]:
    """Compare the lengths of what the client loads as one object: gives positions, and what is wrong there.

    Of a dataset in several revisions that is the last one. What has an extra part is another array, which is
    not compared with those that have none, or another one.

    found: path of each dataset in the session, and how many rows it has
    """
    old = set(list_old_revisions([path for path, _ in found]))
    objects = defaultdict(list)
    for position, (path, length) in enumerate(found):
        if position not in old:
            collection, _, name = split_revision(path)[0].rpartition('/')
            parts = parse_dataset_name(name)
            objects[collection, parts.namespace, parts.object, parts.extra].append((position, length))
    for (_, _, object, _), together in objects.items():
        counts = Counter(length for _, length in together if length != 1)
        if len(counts) > 1:
            # What most have is right, as it seems; of as many, the longer.
            usual = max(counts, key=lambda length: (counts[length], length))
            for position, length in together:
                if length not in (1, usual):
                    yield (
                        position,
                        f'{to_count(length, "row")}, where others of the object {object!r} have {usual:,}',
                    )

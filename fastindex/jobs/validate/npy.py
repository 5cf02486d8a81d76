"""The header of a `.npy` file: the shape of the array, and nothing of its contents.

numpy is not needed for it, and nothing is unpickled: the header is a Python literal of a few fixed forms,
read with bounds. Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import os
import re
import struct
from math import prod

from fastindex.system import read_at

__all__ = ['BadHeaderError', 'read_shape']

MAX_HEADER_BYTES = 2**16
"""More than any header but those of arrays with thousands of named fields, which are no attributes."""

_MAGIC = b'\x93NUMPY'
_LENGTHS = {1: struct.Struct('<H'), 2: struct.Struct('<I'), 3: struct.Struct('<I')}
_DTYPE = re.compile(rb"'descr': *'[<>|=]?([?a-zA-Z])([0-9]{0,9})(?:\[[^]]*\])?'")
_SHAPE = re.compile(rb"'shape': *\( *(|[0-9]{1,19} *,?|[0-9]{1,19} *(?:, *[0-9]{1,19} *){1,63},?) *\)")


class BadHeaderError(ValueError):
    """The file does not begin as a `.npy` file does."""


def read_shape(fd: int) -> tuple[int, ...]:
    """Read the shape of the array in an open `.npy` file: `()` for a scalar.

    Raises BadHeaderError if there is no header of a known version, or the file is not whole. Raises OSError
    if it cannot be read.
    """
    start = read_at(fd, 12, 0)
    if len(start) < 12 or not start.startswith(_MAGIC):
        raise BadHeaderError('the file is empty' if not start else 'it does not begin as a .npy file does')
    length = _LENGTHS.get(start[6])
    if length is None:
        raise BadHeaderError(f'version {start[6]} of the format is not known')
    size = length.unpack_from(start, 8)[0]
    if size > MAX_HEADER_BYTES:
        raise BadHeaderError(f'a header of {size:,} bytes')
    header = read_at(fd, size, 8 + length.size)
    if len(header) < size:
        raise BadHeaderError('the header is cut off')
    match = _SHAPE.search(header)
    if match is None or not header.startswith(b'{'):
        raise BadHeaderError('the header has no shape')
    shape = tuple(int(number) for number in match[1].split(b',') if number.strip())
    wanted = 8 + length.size + size + prod(shape) * _item_bytes(header)
    if (there := os.fstat(fd).st_size) < wanted:
        raise BadHeaderError(f'the file is cut off: {there:,} of {wanted:,} bytes')
    return shape


def _item_bytes(header: bytes) -> int:
    """Tell how many bytes an element takes; 0 where that is not plain: objects, and named fields."""
    match = _DTYPE.search(header)
    if match is None or match[1] == b'O':
        return 0
    return int(match[2] or 1) * (4 if match[1] == b'U' else 1)

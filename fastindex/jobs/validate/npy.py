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
_SHAPE = r'\s*(?:|[0-9]{1,19}L?\s*,?|[0-9]{1,19}L?\s*(?:,\s*[0-9]{1,19}L?\s*){1,63},?)\s*'  # L: Python 2
_ITEM = rf"""(['"])(?:
    descr\1\s*:\s*(?P<type>'[^']*'|"[^"]*"|\[.*\])
    |fortran_order\1\s*:\s*(?:True|False)
    |shape\1\s*:\s*\((?P<shape>{_SHAPE})\)
)\s*,?\s*"""
_HEADER = re.compile(rf'\s*\{{\s*(?:{_ITEM}){{3}}\}}\s*'.encode(), re.VERBOSE | re.DOTALL)
_DTYPE = re.compile(rb'[<>|=]?([?a-zA-Z])([0-9]{0,9})(?:\[[^]]*\])?')
_FIELD = re.compile(
    rb""",\s*['"]([<>|=]?[?a-zA-Z][0-9]{0,9}(?:\[\w*\])?)['"]\s*(?:,\s*\(([0-9L,\s]{0,99})\)\s*)?\)"""
)
_SIZES = {b'b': '1', b'i': '1 2 4 8', b'u': '1 2 4 8', b'f': '2 4 8 12 16', b'c': '8 16 24 32', b'?': '1'}
"""Bytes that numbers may have; those of text, times and the like are not judged."""


class BadHeaderError(ValueError):
    """The file does not begin as a `.npy` file does."""


def read_shape(fd: int) -> tuple[int, ...]:
    """Read the shape of the array in an open `.npy` file: `()` for a scalar.

    Raises BadHeaderError if there is no header that numpy reads, or the file is not whole. Raises OSError if
    it cannot be read.
    """
    start = read_at(fd, 12, 0)
    if len(start) < 12 or not start.startswith(_MAGIC):
        raise BadHeaderError('the file is empty' if not start else 'it does not begin as a .npy file does')
    length = _LENGTHS.get(start[6])
    if length is None or start[7]:
        raise BadHeaderError(f'version {start[6]}.{start[7]} of the format is not known')
    size = length.unpack_from(start, 8)[0]
    if size > MAX_HEADER_BYTES:
        raise BadHeaderError(f'a header of {size:,} bytes')
    header = read_at(fd, size, 8 + length.size)
    if len(header) < size:
        raise BadHeaderError('the header is cut off')
    match = _HEADER.fullmatch(header)
    if match is None or match['shape'] is None or match['type'] is None:
        raise BadHeaderError('the header is not as numpy writes it')
    shape = _to_shape(match['shape'])
    wanted = 8 + length.size + size + prod(shape) * _item_bytes(match['type'])
    if (there := os.fstat(fd).st_size) < wanted:
        raise BadHeaderError(f'the file is cut off: {there:,} of {wanted:,} bytes')
    if match['type'][1:-1] in (b'O', b'|O') and read_at(fd, 1, there - 1) != b'.':
        raise BadHeaderError('the file is cut off: the objects in it have no end')
    return shape


def _to_shape(text: bytes) -> tuple[int, ...]:
    return tuple(int(number.strip(b'L \t\n')) for number in text.split(b',') if number.strip())


def _item_bytes(dtype: bytes) -> int:
    """Tell how many bytes an element takes at least; 0 of objects, and where fields have titles.

    Raises BadHeaderError if numpy has no such numbers.
    """
    if dtype[:1] != b'[':
        return _number_bytes(dtype[1:-1])
    if b'((' in dtype:
        return 0
    return sum(_number_bytes(one) * prod(_to_shape(dims)) for one, dims in _FIELD.findall(dtype))


def _number_bytes(dtype: bytes) -> int:
    match = _DTYPE.fullmatch(dtype)
    if match is None or match[1] == b'O':
        return 0
    kind, size = match.groups()
    if size and size.decode() not in _SIZES.get(kind, size.decode()).split():
        raise BadHeaderError(f'numpy has no numbers {match[0].decode()!r}')
    return int(size or 1) * (4 if kind == b'U' else 1)

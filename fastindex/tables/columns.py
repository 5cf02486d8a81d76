"""The columns that readers of an index look into, and the types that these may be of, whoever wrote them.

One list for the door: what passes here is read by every command without a look at a type. What a column has
in its rows is for `fastindex.tables.check` to say.
"""

from __future__ import annotations

from collections.abc import Mapping

from fastindex.lazy import pa, pc
from fastindex.tables.file import TableFile

__all__ = ['check_columns', 'sum_bytes']

_NEEDED = {
    'sessions.pqt': {'id': 'string', 'subject': 'string', 'date': 'date32', 'number': 'int'},
    'datasets.pqt': {'eid': 'string', 'id': 'string', 'rel_path': 'string', 'file_size': 'int'},
}
_KNOWN = {
    'sessions.pqt': {'lab': 'string', 'task_protocol': 'string', 'projects': 'string', 'project': 'string'},
    'datasets.pqt': {
        'hash': 'string',
        'xxh128': 'string',
        'qc': 'string',
        'exists': 'bool',
        'default_revision': 'bool',
    },
}
"""What readers do without where it is missing, and where it is of type null: nobody knows anything of it."""


def check_columns(table: TableFile, name: str) -> None:
    """Check the columns of a table of another program, whether it is sessions.pqt or datasets.pqt.

    Raises InvalidIndexError if one is missing that the client needs, one is there twice, or one is of a type
    that its readers do not know.
    """
    names = table.schema.names
    for twice in sorted({one for one in names if names.count(one) > 1}):
        table.refuse(f'{names.count(twice)} columns named {twice}: expected one')
    for missing in _NEEDED[name].keys() - names:
        table.refuse(f'0 columns named {missing}: expected one')
    expected: Mapping[str, str] = _NEEDED[name] | _KNOWN[name]
    for field in table.schema:
        kind = expected.get(field.name, 'any')
        is_unknown = str(field.type) == 'null' and (field.name in _KNOWN[name] or not table.footer.num_rows)
        if not (is_unknown or _is(field.type, kind)):
            what = 'a type that all readers know' if kind == 'any' else kind
            table.refuse(f'column {field.name} is of type {field.type}: expected {what}')


def _is(found: pa.DataType, kind: str) -> bool:
    """Tell whether a type is of a kind, be it that of values that stand in a dictionary."""
    from pyarrow import types

    if types.is_dictionary(found):
        found = found.value_type
    if kind == 'string':
        return found in (pa.string(), pa.large_string(), pa.string_view())
    if kind == 'any':
        if types.is_list(found) or types.is_large_list(found) or types.is_fixed_size_list(found):
            return _is(found.value_type, kind)
        if types.is_struct(found):
            return all(_is(field.type, kind) for field in found)
        return _is(found, 'string') or bool(types.is_primitive(found) or types.is_null(found))
    judges = {'int': types.is_integer, 'date32': types.is_date32, 'bool': types.is_boolean}
    return bool(judges[kind](found))


def sum_bytes(sizes: pa.ChunkedArray | pa.Array) -> int:
    """Add up sizes, none of which is negative: the sum may be more than a column of Arrow holds.

    >>> import pyarrow as pa
    >>> sum_bytes(pa.array([2**64 - 1] * 3, pa.uint64())) == 3 * (2**64 - 1)
    True
    """
    sizes = sizes.cast(pa.uint64())
    half = pa.scalar(32, pa.uint64())
    high = pc.shift_right(sizes, half)
    low = pc.subtract(sizes, pc.shift_left(high, half))
    return int((pc.sum(high).as_py() or 0) << 32) + int(pc.sum(low).as_py() or 0)

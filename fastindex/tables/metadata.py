"""What the tables say of themselves: the `fastindex` facts, among them the recipe, and the keys of others.

The client and pandas each have a key of their own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from fastindex._version import __version__
from fastindex.errors import UsageError
from fastindex.lazy import pa
from fastindex.tables.recipe import Recipe
from fastindex.tables.schema import QC_CATEGORIES

__all__ = ['date_created_now', 'one_metadata', 'pandas_metadata', 'to_facts']


def to_facts(
    recipe: Recipe, *, sessions: int, datasets: int, size_bytes: int, kept: Sequence[str] = ()
) -> dict[str, Any]:
    """Make what the tables say of themselves: how they were made, and how much is in them.

    kept: the columns that have what no tree tells, and the next run carries on
    """
    return {
        'version': __version__,
        'algorithms': [],  # here, among the others
        'sessions': sessions,
        'datasets': datasets,
        'bytes': size_bytes,
        **recipe.to_json(),
        **({'kept': list(kept)} if kept else {}),
    }


def date_created_now() -> str:
    """Tell the time as the client wants it: to the minute, without a time zone."""
    epoch = os.environ.get('SOURCE_DATE_EPOCH')
    try:
        now = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now()
    except (ValueError, OverflowError, OSError):
        raise UsageError(f'SOURCE_DATE_EPOCH={epoch!r}: expected seconds since 1970') from None
    return now.replace(tzinfo=None).isoformat(sep=' ', timespec='minutes')


def one_metadata(*, date_created: str, origin: str) -> bytes:
    """Build the client's own metadata: exactly these two keys.

    date_created: `2026-11-22 11:06`: the client raises where there is a time zone
    origin: where the tree is, or a name for it
    """
    return json.dumps({'date_created': date_created, 'origin': origin}).encode()


def pandas_metadata(schema: pa.Schema, index: Iterable[str]) -> bytes:
    """Build the metadata by which pandas restores the index, as pandas would write it.

    Without it the client takes each column with "id" in its name for a part of the index.
    """
    index = list(index)
    return json.dumps(
        {
            'index_columns': index,
            'column_indexes': [],
            'columns': [_pandas_column(field) for field in schema],
            'creator': {'library': 'fastindex', 'version': '1'},
            'pandas_version': '2.0.0',
        }
    ).encode()


def _pandas_column(field: pa.Field) -> dict[str, Any]:
    names: dict[pa.DataType, tuple[str, str]] = {
        pa.string(): ('unicode', 'object'),
        pa.date32(): ('date', 'object'),
        pa.null(): ('empty', 'object'),
        pa.bool_(): ('bool', 'bool'),
        pa.float32(): ('float32', 'float32'),
        pa.float64(): ('float64', 'float64'),
    }
    metadata = None
    if pa.types.is_dictionary(field.type):
        metadata = {'num_categories': len(QC_CATEGORIES), 'ordered': True}
        pandas_type, numpy_type = 'categorical', 'int8'
    elif pa.types.is_integer(field.type):
        pandas_type = numpy_type = str(field.type)
    else:  # of a further column anything may be
        pandas_type, numpy_type = names.get(field.type, ('object', 'object'))
    return {
        'name': field.name,
        'field_name': field.name,
        'pandas_type': pandas_type,
        'numpy_type': numpy_type,
        'metadata': metadata,
    }

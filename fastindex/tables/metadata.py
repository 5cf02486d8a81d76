"""What an index says of how it was made, as far as its readers must know.

Stands in the metadata of both tables, with the rest of the `fastindex` facts. What is as it is without
options is not written: so the tables of a plain build are the same bytes whatever options there come to be.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from uuid import UUID

from fastindex.names.ids import NAMESPACE
from fastindex.tables.schema import QC_CATEGORIES

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ['Facts', 'one_metadata', 'pandas_metadata']


class Facts(NamedTuple):
    """How an index was made.

    Parameters
    ----------
    namespace
        Of the eids.
    ids_from
        Whether ids of other tables were kept, which nobody can compute.
    follow_symlinks
        Whether links were followed.
    uuid_filenames
        Whether the names of the files have the ids of the datasets in them, before the extension.
    """

    namespace: UUID = NAMESPACE
    ids_from: bool = False
    follow_symlinks: bool = True
    uuid_filenames: bool = False

    def to_json(self) -> dict[str, Any]:
        """Make what is written: only what is not as it is without options."""
        usual = Facts()._asdict()
        return {
            name: str(value) if isinstance(value, UUID) else value
            for name, value in self._asdict().items()
            if value != usual[name]
        }

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Self:
        """Take what is known to this version out of the facts of an index; a wrong value is as none.

        >>> Facts.from_json({'follow_symlinks': False, 'ids_from': 'x'})[1:3]
        (False, False)
        """
        known: dict[str, Any] = {
            name: facts[name]
            for name in cls._fields
            if name != 'namespace' and isinstance(facts.get(name), bool)
        }
        with suppress(KeyError, ValueError, TypeError, AttributeError):
            known['namespace'] = UUID(facts['namespace'])
        return cls(**known)


def one_metadata(*, date_created: str, origin: str) -> bytes:
    """Build the client's own metadata: exactly these two keys.

    Parameters
    ----------
    date_created
        `2026-11-22 11:06`: the client raises where there is a time zone.
    origin
        Where the tree is, or a name for it.
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
    import pyarrow as pa

    names: dict[pa.DataType, tuple[str, str]] = {
        pa.string(): ('unicode', 'object'),
        pa.date32(): ('date', 'object'),
        pa.null(): ('empty', 'object'),
        pa.bool_(): ('bool', 'bool'),
        pa.uint16(): ('uint16', 'uint16'),
        pa.uint64(): ('uint64', 'uint64'),
    }
    metadata = None
    if pa.types.is_dictionary(field.type):
        metadata = {'num_categories': len(QC_CATEGORIES), 'ordered': True}
        pandas_type, numpy_type = 'categorical', 'int8'
    else:
        pandas_type, numpy_type = names[field.type]
    return {
        'name': field.name,
        'field_name': field.name,
        'pandas_type': pandas_type,
        'numpy_type': numpy_type,
        'metadata': metadata,
    }

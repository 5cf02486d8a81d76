"""What an index says of how it was made: the recipe, which every command takes from it.

Stands in the metadata of both tables, with the rest of the `fastindex` facts. What is as it is without
options is not written: so the tables of a plain build are the same bytes whatever options there come to be.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self
from uuid import UUID

from fastindex._version import __version__
from fastindex.errors import UsageError
from fastindex.lazy import pa
from fastindex.names.ids import NAMESPACE
from fastindex.tables.schema import QC_CATEGORIES
from fastindex.trees.digests import ALGORITHMS
from fastindex.trees.fingerprints import FIELDS, check_trust

__all__ = ['REVISIONS', 'Recipe', 'date_created_now', 'one_metadata', 'pandas_metadata', 'to_facts']

REVISIONS = ('newest', 'known')  # which of the revisions of a dataset is the default one


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How an index is made: what its readers must know, and what the next run goes on with."""

    namespace: UUID = NAMESPACE  # of the eids
    ids_from: bool = False  # whether ids of other tables were kept, which nobody can compute
    follow_symlinks: bool = True  # whether links are followed
    # whether the names of the files have the ids of the datasets in them, before the extension
    uuid_filenames: bool = False
    # the digests of all files, in the order of `fastindex.trees.digests.ALGORITHMS`
    algorithms: tuple[str, ...] = ()
    # `newest`, or `known`: the one that the index before, or the tables whose ids are kept, say
    default_revision: str = REVISIONS[0]
    # patterns of what is left out, besides those in the root
    exclude: tuple[str, ...] = ()
    one_file_system: bool = False  # whether what is mounted below the root is left out
    session_info: bool = False  # whether projects and tasks are those of the sessions' own files
    # by what files are known again, in the order of `fastindex.trees.fingerprints.FIELDS`
    trust: tuple[str, ...] = FIELDS

    @property
    def leave_out(self) -> dict[str, Any]:
        """What is left out of the tree, as those are told who look into it."""
        return {'exclude': self.exclude, 'one_file_system': self.one_file_system}

    def to_json(self) -> dict[str, Any]:
        """Make what is written: the digests, and only what is not as it is without options."""
        usual = Recipe()
        values: dict[str, Any] = {'algorithms': list(self.algorithms)}
        for name in ('namespace', 'default_revision', 'exclude', 'trust', *_SWITCHES):
            if (value := getattr(self, name)) != getattr(usual, name):
                values[name] = str(value) if isinstance(value, UUID) else value
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Self:
        """Take what is known to this version out of the facts of an index; a wrong value is as none.

        >>> Recipe.from_json({'follow_symlinks': False, 'ids_from': 'x', 'algorithms': ['md5', 'crc']})
        Recipe(namespace=UUID('4a3ea44e-3757-4acb-821f-cdb419c23249'), ids_from=False, \
follow_symlinks=False, uuid_filenames=False, algorithms=('md5',), default_revision='newest', exclude=(), \
one_file_system=False, session_info=False, trust=('size', 'mtime', 'ctime', 'inode'))
        """
        known: dict[str, Any] = {name: facts[name] for name in _SWITCHES if isinstance(facts.get(name), bool)}
        with suppress(KeyError, ValueError, TypeError, AttributeError):
            known['namespace'] = UUID(facts['namespace'])
        if facts.get('default_revision') in REVISIONS:
            known['default_revision'] = facts['default_revision']
        if isinstance(patterns := facts.get('exclude'), list):
            known['exclude'] = tuple(one for one in patterns if isinstance(one, str) and one.strip())
        with suppress(KeyError, UsageError, TypeError):
            known['trust'] = check_trust(facts['trust'])
        if isinstance(names := facts.get('algorithms'), list):
            known['algorithms'] = tuple(name for name in ALGORITHMS if name in names)
        return cls(**known)


_SWITCHES = ('ids_from', 'follow_symlinks', 'uuid_filenames', 'one_file_system', 'session_info')


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

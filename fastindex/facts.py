"""What an index says of how it was made, as far as its readers must know.

Stands in the metadata of both tables, with the rest of the `fastindex` facts. What is as it is without
options is not written: so the tables of a plain build are the same bytes whatever options there come to be.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Self
from uuid import UUID

from fastindex.ids import NAMESPACE

__all__ = ['Facts']


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

"""How an index is made: the recipe, which every command takes from the index.

What is as it is without options is not written: so the tables of a plain build are the same bytes whatever
options there come to be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

from fastindex._version import __version__
from fastindex.errors import UsageError
from fastindex.names.ids import NAMESPACE
from fastindex.trees.digests import ALGORITHMS
from fastindex.trees.fingerprints import FIELDS, check_trust

__all__ = ['REVISIONS', 'Recipe']

REVISIONS = ('newest', 'known')  # which of the revisions of a dataset is the default one


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How an index is made, as its tables say it to readers and to the next run."""

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

    @property
    def ids(self) -> tuple[object, ...]:
        """What the ids are made of, but for the tables of which they were kept."""
        return self.namespace, self.ids_from, self.uuid_filenames

    def to_json(self) -> dict[str, Any]:
        """Make what is written: the digests, and only what is not as it is without options."""
        usual = Recipe()
        values: dict[str, Any] = {'algorithms': list(self.algorithms)}
        for name in ('namespace', 'default_revision', 'exclude', 'trust', *_SWITCHES):
            if (value := getattr(self, name)) != getattr(usual, name):
                values[name] = str(value) if isinstance(value, UUID) else value
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def to_facts(
        self, *, sessions: int, datasets: int, size_bytes: int, kept: Sequence[str] = ()
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
            **self.to_json(),
            **({'kept': list(kept)} if kept else {}),
        }

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

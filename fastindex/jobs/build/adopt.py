"""Keep the ids of other tables (an Alyx database's, the client's own) for what they know.

Gives an identity that names sessions and datasets as those tables do, and all others as we do. A session is
known by lab, subject, date and number, a dataset by its session and rel_path.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import combinations, groupby
from pathlib import Path
from typing import Self
from uuid import UUID

from fastindex.errors import IdClashError, InvalidIndexError
from fastindex.jobs.build.options import Options
from fastindex.lazy import pa, pc
from fastindex.names.alf import SessionParts, parse_session_path
from fastindex.names.given_ids import AdoptedIdentity
from fastindex.names.ids import eid
from fastindex.pipeline.discover import Discovery
from fastindex.tables.carry import Carrier
from fastindex.tables.check import Pair, Published
from fastindex.tables.file import AGAIN
from fastindex.tables.foreign import read_edited, read_kept, read_recipes
from fastindex.tables.paths import join
from fastindex.tables.previous import COVERED, KeptIndex, iter_kept
from fastindex.tables.recipe import REVISIONS, Recipe
from fastindex.tables.sources import SESSION_VALUES, KnownTables
from fastindex.text import escape

__all__ = ['AdoptedIds', 'open_carrier', 'remembering']


class AdoptedIds:
    """The ids of tables.

    Raises IdClashError if an id stands for one thing in one of them, and for another in another.

    sources: the tables. Where several know one session or dataset, the first of them names it.
    namespace: of the eids of sessions that are not in them
    """

    def __init__(self, sources: Sequence[KnownTables], namespace: UUID) -> None:
        self.sources = sources
        for first, second in combinations(sources, 2):
            _refuse_clashes(first, second)
        eids: dict[SessionParts, bytes] = {}
        for source in reversed(sources):
            eids |= {parts: UUID(eid).bytes for parts, eid in source.eids.items()}
        self.identity = AdoptedIdentity(namespace.bytes, eids)

    @classmethod
    def open(cls, paths: Iterable[Path], namespace: UUID) -> Self:
        """Open tables by their folders or files. See `fastindex.tables.sources.KnownTables`."""
        return cls([KnownTables(path, namespace=namespace) for path in paths], namespace)

    @classmethod
    def open_own(cls, folder: Path, namespace: UUID) -> Self:
        """Open the published index in a folder, and those that are kept of what it has not."""
        own = KnownTables(folder, namespace=namespace)
        return cls([own, *_iter_kept(own)], namespace)

    def is_of_others(self, folder: Path) -> bool:
        """Tell whether there are other tables than those in a folder."""
        return any(not one.is_kept and one.path.resolve() != folder.resolve() for one in self.sources)

    def weigh(self, key: bytes) -> int:
        """Count the datasets of a session that are known."""
        return sum(rows.num_rows for source in self.sources if (rows := self._find(source, key)) is not None)

    def _find(self, source: KnownTables, key: bytes) -> pa.Table | None:
        path = str(self.identity.session_path(key))
        eid = None if path in self.identity.ours else source.find(parse_session_path(path))
        return None if eid is None else source.slice(eid)

    def for_shard(self, keys: Iterable[bytes]) -> AdoptedIdentity:
        """Get the identity for a shard: it knows the datasets of these sessions only."""
        owners: list[tuple[bytes, int]] = []
        tables: list[pa.Table] = []
        for source in reversed(self.sources):  # the last one counts
            for key in keys:
                if (rows := self._find(source, key)) is not None:
                    owners.append((key[:16], rows.num_rows))
                    tables.append(rows.select(['rel_path', 'id']))
        given = self.identity.replace(eids_by_parts={}, ours=frozenset())
        if not tables:
            return given
        rows = pa.concat_tables(tables)
        ids = bytes.fromhex(''.join(rows['id'].to_pylist()).replace('-', ''))
        return given.replace(owners=tuple(owners), paths=join(rows['rel_path']), ids=ids)

    def settle(self, found: Discovery) -> Discovery:
        """Give each id to one session.

        Tables know the number alone: of the folders `001` and `1` the one that the client looks for keeps the
        id, or the one that is most like it; one that they have by our eid keeps that, whatever else is found.
        Where a lab is not known, and there is more than one, none does. The others get ours. Raises
        IdClashError if two other sessions have one eid.
        """
        ours: set[str] = set()
        for id, keys in groupby(found.iter_keys(), key=lambda key: key[:16]):
            paths = [str(self.identity.session_path(key)) for key in keys]  # 001 is before 01 and 1
            known = {path for path in paths if self._is_ours(path)}
            ours |= known
            first, *others = [path for path in paths if path not in known] or paths[:1]
            if not others:
                continue
            if len({parse_session_path(path) for path in (first, *others)}) == 1:
                ours.update(others)
                continue
            guessed = {path for path in (first, *others) if self._is_guessed(path)}
            if not guessed:
                raise IdClashError(
                    f'{escape(first)} and {escape(others[0])} have the same eid {UUID(bytes=id)} by '
                    f'{" and ".join(map(_name, self.sources))}: ',
                    hint='rename one of them, or leave `ids_from` out',
                )
            ours |= guessed
        if not ours:
            return found
        all_paths = [self.identity.session_path(key) for key in found.iter_keys()]
        self.identity = self.identity.replace(ours=self.identity.ours | ours)
        return self.settle(found.renamed(self.identity, all_paths))

    def _is_ours(self, path: str) -> bool:
        """Tell whether tables have a session by our eid, as `001` has the one that its number would have."""
        if len(path.rpartition('/')[2]) == 3 or path in self.identity.ours:
            return False
        ours = str(eid(path, namespace=UUID(bytes=self.identity.namespace)))
        return any(ours in source.row_of for source in self.sources)

    def _is_guessed(self, path: str) -> bool:
        """Tell whether the eid of a session is that of a table, but not by its lab."""
        known = self.identity.eids_by_parts
        return parse_session_path(path) not in known and self.identity.find(path) is not None


def open_carrier(published: Published | None, options: Options) -> Carrier | None:
    """Open what fills rows with what is known of them; None where nothing is."""
    sources = [] if options.adopted is None else [*options.adopted.sources]
    own = None
    if published is not None and published.is_there:
        folder = os.path.realpath(published.folder)
        if folder not in {os.path.realpath(source.path) for source in sources} and _knows(published, options):
            # Who names other tables has what they know; else a warning is not enough.
            with suppress(InvalidIndexError) if options.forgets or sources else remembering():
                where, has_uuids = published.folder, options.recipe.uuid_filenames
                sources.append(KnownTables(where, with_ids=False, below=where, uuid_filenames=has_uuids))
    for source in sources:
        if published is not None and source.path.resolve() == published.folder.resolve():
            source.drop(_told_by_files(published))
            own = source
    if own is not None and not any(source.is_kept for source in sources):
        sources += _iter_kept(own, uuid_filenames=options.recipe.uuid_filenames)
    if not sources and options.outcomes is None:
        return None
    return Carrier(sources, options.recipe, outcomes=options.outcomes, own=own)


def _knows(published: Published, options: Options) -> bool:
    """Tell whether the published index knows what no tree tells."""
    pair = published.pair
    if isinstance(pair, Pair) and pair.generation is None:
        return read_edited(published.folder) is not None
    if read_kept(published.folder) or options.recipe.default_revision != REVISIONS[0]:
        return True
    return isinstance(pair, Pair) and any(map(_may_know, iter_kept(published.folder)))


def _may_know(kept: KeptIndex) -> bool:
    """Tell whether an index that is kept may know what the one that took its place has no row for.

    It may be one over which the client has written.
    """
    folder = Path(kept.path)
    if (folder / COVERED).exists():
        return False
    recipes = read_recipes(folder, follow_links=False)
    return bool(read_kept(folder)) or not recipes or any(recipe.ids_from for recipe in recipes)


def _iter_kept(own: KnownTables, *, uuid_filenames: bool = False) -> Iterator[KnownTables]:
    """Iterate over the indexes that were replaced, with what they know and the published one has not.

    What was not there for a while, as a disk that was not mounted, is known again when it is back.
    """
    before = [own]
    for kept in iter_kept(own.path):
        with suppress(InvalidIndexError, IdClashError):
            if not _may_know(kept):
                continue
            known = KnownTables(
                Path(kept.path),
                with_ids=own.with_ids,
                namespace=own.recipe.namespace,
                below=own.path,
                uuid_filenames=uuid_filenames,
                recipe=own.recipe,
                is_kept=True,
            )
            if kept.generation is None and own.row_of.keys().isdisjoint(known.row_of):
                continue  # tables of another program, which were replaced
            if kept.generation is not None and known.recipe.session_info:
                known.drop(set(SESSION_VALUES) - read_kept(known.path))  # which the files tell again
            for one in before:
                known.drop_known(one)
            before.append(known)
            if known.row_of or known.spans:
                yield known


@contextmanager
def remembering() -> Iterator[None]:
    """Say what to do where the published index cannot be read, of what nobody else knows."""
    try:
        yield
    except InvalidIndexError as error:
        raise InvalidIndexError(
            f'{str(error).removesuffix(f". {AGAIN}")}: what only this index knows, as the ids of other '
            'tables, qc and projects, cannot be carried on. It was left as it is; '
            'python -m fastindex restore ROOT puts one back that was there before, and ',
            hint='`fresh` goes on without',
        ) from error


def _told_by_files(published: Published) -> set[str]:
    """Tell which columns of the published index the sessions' own files have filled, and nobody else."""
    pair = published.pair
    if isinstance(pair, InvalidIndexError) or not Recipe.from_json(pair.facts).session_info:
        return set()
    return set(SESSION_VALUES).difference(pair.facts.get('kept', ()))


def _name(source: KnownTables) -> str:
    return escape(source.path)


def _refuse_clashes(first: KnownTables, second: KnownTables) -> None:
    """Refuse an id that stands for one thing in one of two tables, and for another in the other."""
    for (ids, names), (other_ids, other_names) in zip(first.iter_named(), second.iter_named(), strict=False):
        rows = pc.index_in(other_ids, value_set=ids)
        differs = pc.fill_null(pc.not_equal(names.take(rows), other_names), False)
        if pc.any(differs).as_py():
            clash = pc.index(differs, True).as_py()
            raise IdClashError(
                f'{other_ids[clash]} is {escape(names[rows[clash].as_py()].as_py())} in {_name(first)}, and '
                f'{escape(other_names[clash].as_py())} in {_name(second)}: expected one thing of an id. ',
                hint='Leave one of the two `ids_from` out',
            )

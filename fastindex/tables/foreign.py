"""Tell the tables of fastindex from those of another program, before an index is put in their place.

Looks at the footers alone: ours have our metadata, which no other program writes, not even one that has read
our tables; and they say how the index was made. Leaves pyarrow out, which takes longer to load than all else
that comes before the first folder.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from fastindex import limits
from fastindex.errors import ForeignTableError, InvalidIndexError
from fastindex.names.ids import eid
from fastindex.tables.file import TABLES, find_footer, open_table, to_object
from fastindex.tables.recipe import Recipe
from fastindex.text import escape
from fastindex.trees import STATE_FOLDER

__all__ = [
    'Foreign',
    'find_foreign',
    'is_of_client',
    'read_edited',
    'read_kept',
    'read_recipes',
    'refuse_foreign',
]

_OUR_KEY = b'\x18\x09fastindex\x18'
"""Our metadata in a footer: a key of nine bytes, and that a value follows (Thrift's compact protocol)."""


class Foreign(NamedTuple):
    """A file in the place of a table of ours that another program wrote, as far as can be told."""

    path: Path
    what: str  # what it is, in words

    is_table: bool  # whether it is one; then its ids can be kept


def find_foreign(folder: Path) -> Foreign | None:
    """Find a sessions.pqt or datasets.pqt in a folder that is not ours, or a link; None where there is none.

    A file without a footer is a damaged one of ours where a run of ours has written into this folder, or the
    other table is ours. Anywhere else it is not: what nobody can tell is left alone.
    """
    strangers = []
    is_our_folder = os.path.isfile(folder / STATE_FOLDER / 'lock')
    for name in reversed(TABLES):
        path = folder / name
        if not os.path.exists(path):  # nor a link that leads nowhere
            continue
        try:
            with open_table(path, below=folder) as file:
                footer = _read_footer(file)
        except InvalidIndexError as error:
            is_link = os.path.islink(path)
            what = f'a link to {escape(os.readlink(path))}' if is_link else str(error).rpartition(': ')[2]
            return Foreign(path, what, is_table=False)
        if _OUR_KEY in footer:
            is_our_folder = True
        elif footer:
            whose = 'of the ONE client or an Alyx database' if b'one_metadata' in footer else 'of others'
            return Foreign(path, f'a table {whose}, not of fastindex', is_table=True)
        else:
            strangers.append(Foreign(path, 'no table, as far as can be told', is_table=False))
    return strangers[0] if strangers and not is_our_folder else None


def is_of_client(name: str, file: IO[bytes]) -> bool:
    """Tell whether a table beside the index is one that the ONE client saved there, as insertions.pqt."""
    footer = b'' if name.startswith('.') else _read_footer(file)
    return b'one_metadata' in footer and b'date_created' in footer and _OUR_KEY not in footer


def _read_footer(file: IO[bytes]) -> bytes:
    """Read the end of a footer, which has the metadata; b'' where there is no footer."""
    size_bytes = os.fstat(file.fileno()).st_size
    start = find_footer(file, size_bytes)
    if start is None:
        return b''
    file.seek(max(start, size_bytes - limits.MAX_FOOTER_BYTES))
    return file.read(limits.MAX_FOOTER_BYTES)


def read_recipes(folder: Path, *, follow_links: bool = True) -> set[Recipe]:
    """Read how the tables of ours in a folder were made, of as many as say it.

    Two where they say different things; none where nothing of ours is there, or can be read. Who is about to
    replace the tables follows no link to them: it is the link that is replaced.
    """
    below = None if follow_links else folder
    found = {recipe for name in TABLES if (recipe := _read_recipe(folder / name, below=below)) is not None}
    if not found and (edited := read_edited(folder)) is not None:
        return {edited}
    return found


def read_edited(folder: Path) -> Recipe | None:
    """Read how an index of ours was made over which the ONE client has written, as its `save_cache` does.

    What people have changed there is to be kept, and all else is as we wrote it: the next run goes on with
    it.
    None where the tables are not that: where no run of ours has written into this folder, where one of the
    two is missing, a link or no table, or where their ids are not ours.
    """
    state = folder / STATE_FOLDER
    if not os.path.isfile(state / 'lock') or not all(os.path.exists(folder / name) for name in TABLES):
        return None
    from fastindex.tables.check import open_tables
    from fastindex.tables.paths import SESSION_COLUMNS, iter_paths
    from fastindex.tables.reuse import FINGERPRINTS

    with suppress(InvalidIndexError), open_tables(folder, below=folder) as tables:
        recipe = _read_recipe(state / FINGERPRINTS, below=folder) or Recipe()
        if tables.generation is not None or not {*SESSION_COLUMNS} <= {*tables.sessions.schema.names}:
            return None
        if recipe.ids_from:  # which nobody can compute: of another database they would say so
            origins = tables.sessions.read_one_metadata().get('origin')
            return recipe if any(map(os.path.isabs, _list_texts(origins))) else None
        paths = iter_paths(tables.sessions, recipe.namespace)
        if any(id == str(eid(path, namespace=recipe.namespace)) for id, path in paths):
            return recipe
    return None


def _list_texts(value: object) -> list[str]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]


def read_kept(folder: Path) -> set[str]:
    """Read which columns have what no tree tells, as far as one of the tables of ours in a folder says it."""
    found = (_read_facts(folder / name, below=folder) or {} for name in TABLES)
    return {str(name) for facts in found if isinstance(kept := facts.get('kept'), list) for name in kept}


def _read_recipe(path: Path, *, below: Path | None = None) -> Recipe | None:
    facts = _read_facts(path, below=below)
    return None if facts is None else Recipe.from_json(facts)


def _read_facts(path: Path, *, below: Path | None) -> dict[str, Any] | None:
    """Read what a table of ours says of itself; None where there is none, or nobody can tell."""
    with suppress(InvalidIndexError), open_table(path, below=below) as file:
        _, key, rest = _read_footer(file).partition(_OUR_KEY)
        if key:
            return to_object(_read_string(rest))
    return None


def _read_string(data: bytes) -> bytes:
    """Read a string after its length, as Thrift's compact protocol has it: 7 bits a byte, low ones first."""
    length = 0
    for i, byte in enumerate(data[:5]):
        length |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return data[i + 1 : i + 1 + length]
    return b''


def refuse_foreign(folder: Path, *, url: str | None = None) -> None:
    """Refuse to put an index in the place of tables that are not ours.

    Raises ForeignTableError if there is one.

    url: of the bucket that the folder has a copy of
    """
    found = find_foreign(folder)
    if found is None or (found.is_table and read_edited(folder) is not None):
        return
    shown = escape(url or os.fspath(folder))
    lines = []
    if found.is_table:
        option = f'`ids_from` {shown}' if url is None else '`force` `ids_from` COPY (a folder on this disk)'
        lines.append(f'{option} replaces the tables and keeps what they know: ids, projects, tasks, qc')
    lost = ", and keeps nothing of them: right for those of the client's own builder, whose ids do not last"
    lines += ['`out` DIR writes the index elsewhere', f'`force` replaces the tables{lost * found.is_table}']
    raise ForeignTableError(
        f'{shown}/{found.path.name}: {found.what}. It was left as it is. To go on:\n  ',
        hint='\n  '.join(lines),
    )

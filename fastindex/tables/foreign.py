"""Tell the tables of fastindex from those of another program, before an index is put in their place.

Looks at the footers alone: ours have our metadata, which no other program writes, not even one that has read
our tables; and they say how the index was made. Leaves pyarrow out, which takes longer to load than all else
that comes before the first folder.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

from fastindex import limits
from fastindex.errors import ForeignTableError, InvalidIndexError
from fastindex.tables.file import find_footer, open_table
from fastindex.tables.metadata import Recipe
from fastindex.text import escape
from fastindex.trees import STATE_FOLDER

__all__ = ['Foreign', 'find_foreign', 'read_recipes', 'refuse_foreign']

_OUR_KEY = b'\x18\x09fastindex\x18'
"""Our metadata in a footer: a key of nine bytes, and that a value follows (Thrift's compact protocol)."""


class Foreign(NamedTuple):
    """A file in the place of a table of ours that another program wrote, as far as can be told."""

    path: Path
    what: str
    """What it is, in words."""

    is_table: bool
    """Whether it is one; then its ids can be kept."""


def find_foreign(folder: Path) -> Foreign | None:
    """Find a sessions.pqt or datasets.pqt in a folder that is not ours, or a link; None where there is none.

    A file without a footer is a damaged one of ours where a run of ours has written into this folder, or the
    other table is ours. Anywhere else it is not: what nobody can tell is left alone.
    """
    strangers = []
    is_our_folder = os.path.isfile(folder / STATE_FOLDER / 'lock')
    for name in ('sessions.pqt', 'datasets.pqt'):
        path = folder / name
        if not os.path.exists(path):  # nor a link that leads nowhere
            continue
        try:
            with open_table(path, below=folder) as file:
                footer = _read_footer(file)
        except InvalidIndexError as error:
            return Foreign(path, str(error).rpartition(': ')[2], is_table=False)
        if _OUR_KEY in footer:
            is_our_folder = True
        elif footer:
            whose = 'of the ONE client or an Alyx database' if b'one_metadata' in footer else 'of others'
            return Foreign(path, f'a table {whose}, not of fastindex', is_table=True)
        else:
            strangers.append(Foreign(path, 'no table, as far as can be told', is_table=False))
    return strangers[0] if strangers and not is_our_folder else None


def _read_footer(file: IO[bytes]) -> bytes:
    """Read the end of a footer, which has the metadata; b'' where there is no footer."""
    size_bytes = os.fstat(file.fileno()).st_size
    start = find_footer(file, size_bytes)
    if start is None:
        return b''
    file.seek(max(start, size_bytes - limits.MAX_FOOTER_BYTES))
    return file.read(limits.MAX_FOOTER_BYTES)


def read_recipes(folder: Path) -> set[Recipe]:
    """Read how the tables of ours in a folder were made, of as many as say it.

    Two where they say different things; none where nothing of ours is there, or can be read.
    """
    found = set()
    for name in ('sessions.pqt', 'datasets.pqt'):
        with suppress(InvalidIndexError, ValueError, RecursionError), open_table(folder / name) as file:
            _, key, rest = _read_footer(file).partition(_OUR_KEY)
            if key:
                facts = json.loads(_read_string(rest))
                found.add(Recipe.from_json(facts if isinstance(facts, dict) else {}))
    return found


def _read_string(data: bytes) -> bytes:
    """Read a string after its length, as Thrift's compact protocol has it: 7 bits a byte, low ones first."""
    length = 0
    for place, byte in enumerate(data[:5]):
        length |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return data[place + 1 : place + 1 + length]
    return b''


def refuse_foreign(folder: Path, *, url: str | None = None) -> None:
    """Refuse to put an index in the place of tables that are not ours.

    Parameters
    ----------
    url
        Of the bucket that the folder has a copy of.

    Raises
    ------
    ForeignTableError
        If there is one.
    """
    found = find_foreign(folder)
    if found is None:
        return
    shown = escape(url or os.fspath(folder))
    lines = []
    if found.is_table:
        option = f'`ids_from` {shown}' if url is None else '`force` `ids_from` COPY (a folder on this disk)'
        lines.append(f'{option} replaces the tables and keeps what they know: ids, projects, tasks, qc')
    lines += ['`out` DIR writes the index elsewhere', '`force` replaces the tables']
    raise ForeignTableError(
        f'{shown}/{found.path.name}: {found.what}. It was left as it is. To go on:\n  ',
        hint='\n  '.join(lines),
    )

"""The tables of an index in a bucket: to be read and put in place, the datasets first.

Reading an index takes every byte of it, as it is checked to the bit: so it is copied, and the copy is opened.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

from fastindex.errors import InvalidIndexError
from fastindex.files import open_output
from fastindex.problems import escape
from fastindex.trees.store import Place

__all__ = ['REMOTE_TABLES', 'fetch_tables', 'look_at_tables']

REMOTE_TABLES = ('datasets.pqt', 'sessions.pqt')
"""In the order in which they are put in place."""


def look_at_tables(place: Place) -> dict[str, str]:
    """Get the ETags of the tables that are there, by name.

    Raises
    ------
    InvalidIndexError
        If that cannot be found out.
    """
    found = {}
    for name in REMOTE_TABLES:
        try:
            found[name] = place.look(name).etag
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _refuse(place, name, error) from error
    return found


def fetch_tables(place: Place, folder: Path, names: Sequence[str] = REMOTE_TABLES) -> dict[str, str]:
    """Copy the tables into a folder, in the place of what is there; get their ETags by name.

    Raises
    ------
    InvalidIndexError
        If one is not there, or cannot be read.
    """
    etags = {}
    for name in names:
        try:
            with open_output(folder / name, error=InvalidIndexError) as file:
                etags[name] = place.read(name, file).etag
        except OSError as error:
            raise _refuse(place, name, error) from error
    return etags


def _refuse(place: Place, name: str, error: OSError) -> InvalidIndexError:
    path = escape(f'{place.url}/{name}')
    if error.errno == errno.ENOENT:
        return InvalidIndexError(
            f'{path}: there is no such table: python -m fastindex --out {place.url} makes it'
        )
    return InvalidIndexError(f'{path}: the table cannot be read ({error.strerror or error})')

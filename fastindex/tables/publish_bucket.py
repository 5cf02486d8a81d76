"""Publish an index in a bucket: build it on this disk, then put both tables in place, the datasets first.

    $XDG_STATE_HOME/fastindex/NAME-DIGEST/     one for each location in a bucket that this user publishes to
        datasets.pqt, sessions.pqt, .fastindex/    as in any folder: a run is compared with what is there, and
                                                   reuses its digests
        published.json                             the ETags that the tables had in the bucket
        pending.json                               there while the two are put in place: the ETags before

A store replaces an object as a whole, so each table is the old one or the new one. Both carry the generation:
between the two uploads a reader is told that they do not belong together. A run that was stopped there leaves
the pair here, and the next one puts it in place before anything else, unless another machine has published
meanwhile: its index is newer, and is fetched.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from fastindex.errors import InvalidIndexError, LockedError, PublishError
from fastindex.file_locks import hold_lock
from fastindex.files import open_output, temporary_folder
from fastindex.folders import patiently
from fastindex.tables.file import TABLES, to_object
from fastindex.tables.lock import enter_patiently
from fastindex.text import escape
from fastindex.trees import Access
from fastindex.trees.store import Location

__all__ = ['Mirror', 'fetch_tables', 'look_at_tables', 'open_bucket', 'open_mirror']

PUBLISHED = 'published.json'
PENDING = 'pending.json'
RESTORED = 'restored'  # among the ETags there: what is put in place was there before


class Mirror(NamedTuple):
    """The index of a bucket on this disk. Made by `open_mirror`."""

    location: Location
    folder: Path

    def update(self) -> bool:
        """Make it the index that is in the bucket; finish first what a run before has started.

        Raises InvalidIndexError if the tables cannot be read. Raises PublishError if what is left from a run
        before cannot be put in place.

        Returns
        -------
        is_restored
            Whether that was to put an index back.
        """
        there = look_at_tables(self.location)
        before = _read(self.folder / PENDING)
        if before is not None:
            if self._is_ours_to_finish(there, before):
                self.publish()
                return RESTORED in before
            (self.folder / PENDING).unlink()
        if there != _read(self.folder / PUBLISHED) or not all(
            (self.folder / name).exists() for name in TABLES
        ):
            for name in TABLES:
                patiently(partial(Path.unlink, self.folder / name, missing_ok=True))
            _write(self.folder / PUBLISHED, fetch_tables(self.location, self.folder, list(there)))
        return False

    def _is_ours_to_finish(self, there: dict[str, str], before: dict[str, str]) -> bool:
        """Tell whether each table in the bucket is the one before the run that was stopped, or its own."""
        return all(there.get(name) in (before.get(name), _md5(self.folder / name)) for name in TABLES)

    def publish(self, *, is_restored: bool = False) -> None:
        """Put both tables into the bucket. Raises PublishError if that fails: then the next run does it."""
        pending = self.folder / PENDING
        if not pending.exists():
            mark = {RESTORED: ''} if is_restored else {}
            _write(pending, {**look_at_tables(self.location), **mark})
        try:
            for name in TABLES:
                self.location.write(name, self.folder / name)
        except OSError as error:
            raise PublishError(
                f'{escape(self.location.url)}: the index could not be put there ',
                hint=f'({error.strerror or error}); the new one is complete in '
                f'{escape(self.folder)}, and the next run puts it there',
            ) from error
        _write(self.folder / PUBLISHED, look_at_tables(self.location))
        pending.unlink()


@contextmanager
def open_mirror(url: str, access: Access) -> Iterator[Mirror]:
    """Open the mirror of an index in a bucket, and keep other runs of this user out.

    Raises UsageError if the URL is none of a bucket. Raises LockedError if another run publishes there.
    Raises PublishError if there is no room for it on this disk.
    """
    location = Location.parse(url, access)
    home = os.environ.get('XDG_STATE_HOME') or os.path.expanduser('~/.local/state')
    digest = hashlib.md5(
        f'{access.endpoint or ""} {location.url}'.encode(), usedforsecurity=False
    ).hexdigest()
    name = re.sub(r'[^\w.-]+', '-', f'{location.bucket}-{location.prefix}')[:80]
    folder = Path(home, 'fastindex', f'{name}-{digest[:12]}')
    try:
        if home.startswith('~'):  # HOME is not set, and this user is in no list
            raise FileNotFoundError(errno.ENOENT, 'HOME is not set')
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / 'lock').open('ab')
    except OSError as error:
        raise PublishError(
            f'{escape(folder)}: an index is made here before it is put into a bucket, which '
            f'failed ({error.strerror}): expected XDG_STATE_HOME to name a folder that can be written to'
        ) from error
    otherwise = 'or let XDG_STATE_HOME name a folder of another disk'
    with lock, hold_lock(lock.fileno(), folder / 'lock', hint=otherwise) as is_ours:
        if not is_ours:
            raise LockedError(f'{escape(location.url)}: another run publishes there: wait for it, or end it')
        yield Mirror(location, folder)


def _read(path: Path) -> dict[str, str] | None:
    with suppress(FileNotFoundError):
        return to_object(path.read_bytes())
    return None


def _write(path: Path, etags: dict[str, str]) -> None:
    with open_output(path, error=PublishError) as file:
        file.write(json.dumps(etags).encode())


def _md5(path: Path) -> str | None:
    with suppress(FileNotFoundError), path.open('rb') as file:
        return hashlib.file_digest(file, 'md5').hexdigest()
    return None


def look_at_tables(location: Location) -> dict[str, str]:
    """Get the ETags of the tables that are there, by name.

    Raises InvalidIndexError if that cannot be found out.
    """
    found = {}
    for name in TABLES:
        with _refusing(location, name), suppress(FileNotFoundError):
            found[name] = location.look(name).etag
    return found


def fetch_tables(location: Location, folder: Path, names: Sequence[str] = TABLES) -> dict[str, str]:
    """Copy the tables into a folder, in the place of what is there; get their ETags by name.

    Raises InvalidIndexError if one is not there, or cannot be read.
    """
    etags = {}
    for name in names:
        with _refusing(location, name), open_output(folder / name, error=InvalidIndexError) as file:
            etags[name] = location.read(name, file).etag
    return etags


@contextmanager
def _refusing(location: Location, name: str) -> Iterator[None]:
    """Make an InvalidIndexError of what a store says of a table."""
    try:
        yield
    except OSError as error:
        what, hint = 'the table cannot be read ', f'({error.strerror or error})'
        if error.errno == errno.ENOENT:
            what, hint = 'there is no such table: ', f'a build with `out` {location.url} makes it'
        raise InvalidIndexError(f'{escape(f"{location.url}/{name}")}: {what}', hint=hint) from error


@contextmanager
def open_copy(location: Location, names: Sequence[str] = TABLES) -> Iterator[Path]:
    """Copy the tables into a folder for the time of a block, as `fetch_tables` does."""
    with temporary_folder() as folder:
        fetch_tables(location, folder, names)
        yield folder


def open_bucket(
    stack: ExitStack, url: str, access: Access, *, dry_run: bool, wait_s: float = 0
) -> tuple[Path, Mirror | None]:
    """Open the index in a bucket as a folder on this disk; as a mere copy where nothing is to be written."""
    if dry_run:
        location = Location.parse(url, access)
        return stack.enter_context(open_copy(location, list(look_at_tables(location)))), None
    hold = partial(open_mirror, url, access)
    mirror = enter_patiently(stack, hold, wait_s)
    mirror.update()
    return mirror.folder, mirror

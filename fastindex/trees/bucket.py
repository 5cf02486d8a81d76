"""A tree in a bucket: what stands for folders is what the keys have in common up to a slash.

A listing gives key, size, ETag and time of a thousand objects in one request, and a request takes 50 ms. So
all below a subject is listed at once, when its dates are asked for, and kept, packed, for the scan: nothing
is asked for about a single object, unless its content is to be read. The scan comes in another order than the
listing, and in other processes: the packed listings of its sessions are handed to it with the tree
(`ObjectTree.with_listed`). A session that was not handed over is listed when it is walked.

What a key can be and a path cannot (`a//b`, `./a`) is a problem; a key that ends in a slash is a folder.
"""

from __future__ import annotations

import errno
import os
import threading
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import NamedTuple

from fastindex.errors import RootError, StoreError, UsageError
from fastindex.names.alf import SkipReason, judge_date, judge_number
from fastindex.names.problems import Reason, Tally
from fastindex.text import escape
from fastindex.trees import Access, Folder
from fastindex.trees.prefixes import BucketFolder, ObjectSession, UnlistedFolder
from fastindex.trees.store import Location, Object

__all__ = ['ObjectTree']

BLOCK_OBJECTS = 2**13
"""Objects of a session that are packed at once: what a listing takes unpacked, whatever is in a session."""

_NO_PART = frozenset({'', '.', '..'})
_LENGTH_BYTES = 8


class _Listing(NamedTuple):
    """All that is below a subject's folder."""

    folders: dict[str, dict[str, None]]  # names of the folders in it (`''`), and of those in its dates
    sessions: dict[str, bytes]  # for each session, by its path relative to the root, its objects, packed


class _Listings(threading.local):
    """The subject that was listed last, in this thread: its dates are asked for next."""

    def __init__(self) -> None:
        self.by_path: dict[tuple[Location, str], _Listing] = {}


_listings = _Listings()


class ObjectTree(NamedTuple):
    """A tree in a bucket. See `fastindex.trees.Tree`."""

    location: Location
    listed: dict[str, bytes] | None = None  # packed listings of sessions, by their paths

    @classmethod
    def open(cls, url: str, access: Access, *, follow_links: bool = True) -> ObjectTree:
        """Open the tree below a URL; RootError where that is no bucket that can be listed."""
        location = Location.parse(url, access)
        if not follow_links:
            raise UsageError(
                f'{escape(url)}: there are no links in a bucket: ', hint='leave `follow_symlinks=False` out'
            )
        try:
            next(location.iter_pages('', is_deep=False))
        except StoreError as error:
            raise RootError(str(error).removesuffix(error.hint), hint=error.hint) from error
        return cls(location)

    @property
    def root(self) -> str:
        return self.location.url

    @property
    def follow_links(self) -> bool:
        return True

    def close(self) -> None:
        """Forget what was listed. See `fastindex.trees.Tree`."""
        _listings.by_path.clear()

    @contextmanager
    def open_folder(self, path: str, tally: Tally) -> Iterator[Folder]:
        above, _, name = path.rpartition('/')
        if above and judge_date(name) is not SkipReason.NOT_DATE:
            yield self._to_folder(self._list_subject(above, tally).folders.get(name, ()))
        elif path.count('/') == 2 and path.split('/')[1] == 'Subjects':
            yield self._to_folder(self._list_subject(path, tally).folders[''])
        else:
            yield self._find_listed(path) or UnlistedFolder(self, path, tally)

    def _find_listed(self, path: str) -> BucketFolder | None:
        """Find a folder in the packed listing of its session, where that was handed over."""
        parts = path.split('/')
        for count in (3, 5):
            session_path = '/'.join(parts[:count])
            if packed := (self.listed or {}).get(session_path):
                session = _unpack(self.location, session_path, packed)
                below = '/'.join(parts[count:])
                return session.folders.get(below) or BucketFolder(session, below)
        return None

    def _to_folder(self, names: Iterable[str]) -> BucketFolder:
        folder = BucketFolder(ObjectSession(self.location, ()), '')
        folder.folders.extend(names)
        return folder

    def iter_shallow(self, path: str, tally: Tally) -> Iterator[tuple[str, Object | None]]:
        """List what is in one folder alone; None in the place of an object says that it is a folder."""
        start = len(self.location.key(f'{path}/' if path else ''))
        for page in self.location.iter_pages(path, is_deep=False):
            names = [(prefix[start:-1], None) for prefix in page.prefixes]
            objects = [(found.key[start:], found) for found in page.objects]
            for name, found in (*names, *objects):
                if not name and found is not None:
                    continue  # it stands for the folder itself
                if name in _NO_PART or '\0' in name:
                    below = f'{path}/{name}' if path else name
                    tally.problem(below + '/' * (found is None), Reason.NOT_A_PATH)
                else:
                    yield name, found

    def _list_subject(self, subject: str, tally: Tally) -> _Listing:
        listing = _listings.by_path.get((self.location, subject))
        if listing is None:
            _listings.by_path.clear()
            listing = _listings.by_path[self.location, subject] = self._list_below(subject, tally)
        return listing

    def _list_below(self, subject: str, tally: Tally) -> _Listing:
        folders: dict[str, dict[str, None]] = {'': {}}
        packers: dict[str, _Packer] = {}
        last: _Packer | None = None
        for path, found in self._iter_deep(subject, tally):
            date, slash, rest = path.partition('/')
            if not slash:
                continue  # a file beside the dates
            folders[''][date] = None
            number, slash, rest = rest.partition('/')
            if not slash:
                continue
            folders.setdefault(date, {})[number] = None
            session = f'{date}/{number}'
            packer = packers.get(session)
            if packer is None:
                if judge_date(date) or judge_number(number):
                    continue
                packer = packers[session] = _Packer()
            if last is not None and last is not packer:
                last.pack()  # keys are sorted: this session is done
            last = packer
            packer.add(rest, found)
        return _Listing(folders, {f'{subject}/{path}': packer.close() for path, packer in packers.items()})

    def _iter_deep(self, above: str, tally: Tally) -> Iterator[tuple[str, Object]]:
        """List all below a folder, by paths relative to it; a path that ends in a slash is a folder's."""
        start = len(self.location.key(f'{above}/'))
        for page in self.location.iter_pages(above, is_deep=True):
            for found in page.objects:
                path = found.key[start:]
                if not path:
                    continue
                is_folder = path[-1] == '/'
                if not _NO_PART.isdisjoint(path[: -1 if is_folder else None].split('/')) or (
                    '\0' in path or (is_folder and found.size_bytes)
                ):
                    tally.problem(f'{above}/{path}', Reason.NOT_A_PATH)
                else:
                    yield path, found

    def pack_listed(self, session_paths: Iterable[str]) -> bytes:
        """Give away what was listed. See `fastindex.trees.ListsAhead`."""
        parts = []
        sessions = {
            path: data for listing in _listings.by_path.values() for path, data in listing.sessions.items()
        }
        _listings.by_path.clear()
        for path in session_paths:
            data = sessions.get(path, b'')
            parts += [len(data).to_bytes(_LENGTH_BYTES, 'big'), data]
        return b''.join(parts)

    def with_listed(self, listed: dict[str, bytes]) -> ObjectTree:
        """Get this tree with listings. See `fastindex.trees.ListsAhead`."""
        return self._replace(listed=listed)

    def walk(self, session_path: str, tally: Tally) -> Iterator[Folder]:
        session = self._find_session(session_path, tally)
        if session is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), session_path)
        return self._walk(session, '')

    def _find_session(self, path: str, tally: Tally) -> ObjectSession | None:
        if packed := (self.listed or {}).get(path):
            return _unpack(self.location, path, packed)
        objects = list(self._iter_deep(path, tally))
        return ObjectSession(self.location, objects) if objects else None

    def _walk(self, session: ObjectSession, path: str) -> Iterator[Folder]:
        folder = session.folders[path]
        folder.entered.clear()
        yield folder
        for name in folder.entered:
            below = f'{path}/{name}' if path else name
            if below in session.folders:
                yield from self._walk(session, below)


class _Packer:
    """The listing of a session while it grows, in blocks that are compressed."""

    def __init__(self) -> None:
        self._fields: list[str] = []
        self._blocks: list[bytes] = []

    def add(self, path: str, found: Object) -> None:
        self._fields += path, str(found.size_bytes), found.etag, found.modified
        if len(self._fields) >= 4 * BLOCK_OBJECTS:
            self.pack()

    def pack(self) -> None:
        if not self._fields:
            return
        data = '\0'.join(self._fields).encode('utf-8', 'surrogateescape')
        self._blocks.append(zlib.compress(data, 1))
        self._fields = []

    def close(self) -> bytes:
        self.pack()
        return b''.join(self._blocks)


@lru_cache(maxsize=1)  # a session that is measured in parts is asked for once a folder
def _unpack(location: Location, session_path: str, packed: bytes) -> ObjectSession:
    return ObjectSession(location, _iter_packed(location.key(f'{session_path}/'), packed))


def _iter_packed(prefix: str, packed: bytes) -> Iterator[tuple[str, Object]]:
    while packed:
        unzip = zlib.decompressobj()
        fields = iter(unzip.decompress(packed).decode('utf-8', 'surrogateescape').split('\0'))
        for path, size, etag, modified in zip(fields, fields, fields, fields, strict=True):
            yield path, Object(prefix + path, int(size), etag, modified)
        packed = unzip.unused_data

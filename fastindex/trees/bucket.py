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
import re
import sys
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from itertools import count
from stat import S_IFDIR, S_IFREG
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

from fastindex.errors import RootError, StoreError, UsageError
from fastindex.names.alf import SkipReason, judge_date, judge_number
from fastindex.names.problems import Reason, Tally
from fastindex.text import escape, is_utf8
from fastindex.trees import Folder
from fastindex.trees.digests import NO_FINGERPRINT, Digests, Fingerprint, Measured, new_digest
from fastindex.trees.disk import MAX_DEPTH, STATE_FOLDER
from fastindex.trees.s3 import Object, Place

__all__ = ['ObjectTree']

BLOCK_OBJECTS = 2**13
"""Objects of a session that are packed at once: what a listing takes unpacked, whatever is in a session."""

_MD5 = re.compile(r'[0-9a-f]{32}')
_NO_PART = frozenset({'', '.', '..'})
_LENGTH_BYTES = 8


class _Entry:
    """What `os.DirEntry` is, of an object or of a folder."""

    __slots__ = ('_found', 'name')

    def __init__(self, name: str, found: Object | None) -> None:
        self.name = name
        self._found = found

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return self._found is not None

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return self._found is None

    def is_symlink(self) -> bool:
        return False

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        if self._found is None:
            return os.stat_result((S_IFDIR, 0, 0, 1, 0, 0, 0, 0, 0, 0))
        mtime_ns, ctime_ns, inode = _fingerprint_of(self._found)
        times = {'st_mtime_ns': mtime_ns, 'st_ctime_ns': ctime_ns}
        return os.stat_result((S_IFREG, inode, 0, 1, 0, 0, self._found.size_bytes, 0, 0, 0), times)


class _Missing(_Entry):
    """What was asked for by name and is not there."""

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return bool(self.stat())

    is_dir = is_file

    def is_symlink(self) -> bool:
        return bool(self.stat())

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.name)


def _fingerprint_of(found: Object) -> Fingerprint:
    """Get by what to know an object again: ETag and time, in the places of inode and times of a file."""
    try:
        seconds = datetime.fromisoformat(found.modified[:19]).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return NO_FINGERPRINT
    if not found.etag:
        return NO_FINGERPRINT
    ns = int(seconds) * 10**9  # some servers say milliseconds in a listing, and not elsewhere
    return ns, ns, xxh3_64_intdigest(found.etag.encode()) | 1  # no inode is 0


class _Entries:
    """What is in a folder: a name stands for a folder and an object at once where keys say so."""

    def __init__(self, session: _Session | None) -> None:
        self.session = session
        self.folders: list[str] = []
        self.objects: dict[str, Object] = {}
        self.missing: list[str] = []

    def __iter__(self) -> Iterator[_Entry]:
        for name in self.folders:
            yield _Entry(name, None)
        for name, found in self.objects.items():
            yield _Entry(name, found)
        for name in self.missing:
            yield _Missing(name, None)

    def select(self, names: Iterable[str]) -> _Entries:
        """Get the entries of these names."""
        some = _Entries(self.session)
        for name in names:
            if name in self.objects:
                some.objects[name] = self.objects[name]
            elif name in self.folders:
                some.folders.append(name)
            else:
                some.missing.append(name)
        return some


class _Session:
    """The folders of a session, by their paths relative to it, made of the paths of the objects."""

    def __init__(self, objects: Iterable[tuple[str, Object]]) -> None:
        self.folders = {'': _Entries(self)}
        self._are_md5: bool | None = None
        for path, found in objects:
            above, _, name = path.rpartition('/')
            entries = self.folders.get(above) or self._add_folder(above)
            if name:  # else it stands for the folder itself
                entries.objects[name] = found

    def _add_folder(self, path: str) -> _Entries:
        above, _, name = path.rpartition('/')
        entries = self.folders.get(above) or self._add_folder(above)
        entries.folders.append(name)
        return self.folders.setdefault(path, _Entries(self))

    def are_etags_md5(self, place: Place) -> bool:
        """Tell whether the ETags that look like MD5 are: by the smallest object that has one.

        They are not where the store encrypts with a key of the user's (SSE-KMS, SSE-C); no listing tells.
        """
        if self._are_md5 is None:
            objects = (found for entries in self.folders.values() for found in entries.objects.values())
            likely = [found for found in objects if _MD5.fullmatch(found.etag)]
            sample = min(likely, key=lambda found: (not found.size_bytes, found.size_bytes))
            try:
                _, digests = _read(place, sample.key[len(place.key('')) :], ('md5',))
            except OSError:  # what is wrong with it, it will say in its own turn
                self._are_md5 = False
            else:
                self._are_md5 = digests[0].hex() == sample.etag
        return self._are_md5


class _Open(NamedTuple):
    """An object that is open for reading: nothing is asked for yet."""

    tree: ObjectTree
    path: str
    found: Object
    session: _Session | None


_open_objects: dict[int, _Open] = {}
_handles = count(1)


class _ObjectHasher:
    """Reads objects and computes their digests. See `fastindex.trees.digests.Hasher`.

    The state and the bytes that an answer has are of one upload: nothing changes while it is read.
    """

    def __init__(self, algorithms: tuple[str, ...], max_bytes: int) -> None:
        self._algorithms = algorithms
        self._max_bytes = max_bytes

    def measure(self, handle: int) -> Measured:
        tree, path, found, session = _open_objects[handle]
        if not self._algorithms:
            return found.size_bytes, (), _fingerprint_of(found)
        if (
            self._algorithms == ('md5',)
            and session is not None
            and _MD5.fullmatch(found.etag)
            and session.are_etags_md5(tree.place)
        ):
            return found.size_bytes, (bytes.fromhex(found.etag),), _fingerprint_of(found)
        if found.size_bytes >= self._max_bytes:
            return found.size_bytes, None, NO_FINGERPRINT
        found, digests = _read(tree.place, path, self._algorithms)
        return found.size_bytes, digests, _fingerprint_of(found)


def _read(place: Place, path: str, algorithms: tuple[str, ...]) -> tuple[Object, Digests]:
    digests = [new_digest(name) for name in algorithms]
    with place.open(path) as (found, blocks):
        for block in blocks:
            for digest in digests:
                digest.update(memoryview(block))
    return found, tuple(digest.digest() for digest in digests)


class _Listing(NamedTuple):
    """All that is below a subject's folder."""

    folders: dict[str, dict[str, None]]
    """Names of the folders in it (`''`), and of those in its dates."""

    sessions: dict[str, bytes]
    """For each session, by its path relative to the root, its objects, packed."""


class _Listings(threading.local):
    """The subject that was listed last, in this thread: its dates are asked for next."""

    def __init__(self) -> None:
        self.by_path: dict[tuple[Place, str], _Listing] = {}


_listings = _Listings()


class ObjectTree(NamedTuple):
    """A tree in a bucket. See `fastindex.trees.Tree`."""

    place: Place
    listed: dict[str, bytes] | None = None
    """Packed listings of sessions, by their paths."""

    @classmethod
    def open(
        cls, url: str, *, follow_links: bool = True, endpoint: str | None = None, anonymous: bool = False
    ) -> ObjectTree:
        """Open the tree below a URL; RootError where that is no bucket that can be listed."""
        place = Place.parse(url, endpoint=endpoint, anonymous=anonymous)
        if not follow_links:
            raise UsageError(f'{escape(url)}: there are no links in a bucket: leave --no-follow-symlinks out')
        try:
            next(place.iter_pages('', is_deep=False))
        except StoreError as error:
            raise RootError(str(error)) from error
        return cls(place)

    @property
    def root(self) -> str:
        return self.place.url

    @property
    def follow_links(self) -> bool:
        return True

    def close(self) -> None:
        """Forget what was listed. See `fastindex.trees.Tree`."""
        _listings.by_path.clear()

    def list_folders(self, path: str, tally: Tally) -> list[str]:
        """List the names of the folders in `path`. See `fastindex.trees.Tree`."""
        above, _, name = path.rpartition('/')
        if above and judge_date(name) is not SkipReason.NOT_DATE:
            found = list(self._list_subject(above, tally).folders.get(name, ()))
        elif path.count('/') == 2 and path.split('/')[1] == 'Subjects':
            found = list(self._list_subject(path, tally).folders[''])
        else:
            found = [name for name, _ in self._iter_shallow(path, tally, folders_only=True)]
        return [name for name in found if _is_folder_wanted(path, name, tally)]

    def _iter_shallow(
        self, path: str, tally: Tally, *, folders_only: bool = False
    ) -> Iterator[tuple[str, Object | None]]:
        """List what is in one folder alone; None in the place of an object says that it is a folder."""
        start = len(self.place.key(f'{path}/' if path else ''))
        for page in self.place.iter_pages(path, is_deep=False):
            names = [(prefix[start:-1], None) for prefix in page.prefixes]
            objects = [] if folders_only else [(found.key[start:], found) for found in page.objects]
            for name, found in (*names, *objects):
                if not name and found is not None:
                    continue  # it stands for the folder itself
                if name in _NO_PART or '\0' in name:
                    tally.problem(f'{path}/{name}' if path else name, Reason.NOT_A_PATH)
                else:
                    yield name, found

    def _list_subject(self, subject: str, tally: Tally) -> _Listing:
        listing = _listings.by_path.get((self.place, subject))
        if listing is None:
            _listings.by_path.clear()
            listing = _listings.by_path[self.place, subject] = self._list_below(subject, tally)
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
        start = len(self.place.key(f'{above}/'))
        for page in self.place.iter_pages(above, is_deep=True):
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
        """Walk the folders of a session. See `fastindex.trees.Tree`."""
        session = self._find_session(session_path, tally)
        if session is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), session_path)
        return self._walk(session, session_path, '', tally, 0)

    def _find_session(self, path: str, tally: Tally) -> _Session | None:
        if packed := (self.listed or {}).get(path):
            return _unpack(self.place, path, packed)
        if path.count('/') < 2:  # no session's: to list all below would be far too much
            return self._list_shallow(path, tally)
        objects = list(self._iter_deep(path, tally))
        return _Session(objects) if objects else None

    def _list_shallow(self, path: str, tally: Tally) -> _Session:
        session = _Session(())
        for name, found in self._iter_shallow(path, tally):
            if found is None:
                session.folders[''].folders.append(name)
            else:
                session.folders[''].objects[name] = found
        return session

    def _walk(
        self, session: _Session, session_path: str, path: str, tally: Tally, depth: int
    ) -> Iterator[Folder]:
        folder = Folder(path, session.folders[path], 0, [])
        yield folder
        for name, _ in folder.enter:
            below = f'{path}/{name}' if path else name
            if depth == MAX_DEPTH - 1:  # as on a disk
                tally.problem(f'{session_path}/{below}', Reason.TOO_DEEP)
            elif below in session.folders:
                yield from self._walk(session, session_path, below, tally, depth + 1)

    @contextmanager
    def revisit(self, session_path: str, path: str, names: Iterable[str]) -> Iterator[Folder]:
        """Open a folder of a session again. See `fastindex.trees.Tree`."""
        if packed := (self.listed or {}).get(session_path):
            entries = _unpack(self.place, session_path, packed).folders.get(path)
        else:
            above = f'{session_path}/{path}' if path else session_path
            entries = self._list_shallow(above, Tally()).folders['']
        yield Folder(path, (entries or _Entries(None)).select(names), 0, [])

    def open_entry(self, folder: Folder, name: str, is_link: bool) -> int:
        """Take an object of an open folder. See `fastindex.trees.Tree`."""
        entries = folder.entries
        assert isinstance(entries, _Entries)  # noqa: S101 - for the type checker: this tree made it
        return self._open(entries.objects[name], entries.session)

    def open_file(self, path: str) -> int:
        """Look at an object. See `fastindex.trees.Tree`."""
        return self._open(self.place.look(path), None)

    def _open(self, found: Object, session: _Session | None) -> int:
        handle = next(_handles)
        _open_objects[handle] = _Open(self, found.key[len(self.place.key('')) :], found, session)
        return handle

    @property
    def close_file(self) -> Callable[[int], None]:
        return _open_objects.__delitem__

    def open_hasher(self, algorithms: tuple[str, ...], *, max_bytes: int = sys.maxsize) -> _ObjectHasher:
        """Make what reads the objects. See `fastindex.trees.Tree`."""
        return _ObjectHasher(algorithms, max_bytes)


def _is_folder_wanted(above: str, name: str, tally: Tally) -> bool:
    """Tell whether a folder may have sessions below it, as `LocalTree` does."""
    path = f'{above}/{name}' if above else name
    if name.startswith('.'):
        if path != STATE_FOLDER:
            tally.skip(path, SkipReason.DOT_FOLDER)
        return False
    if not is_utf8(name):
        tally.problem(path, Reason.NOT_UTF8)
        return False
    return True


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
def _unpack(place: Place, session_path: str, packed: bytes) -> _Session:
    return _Session(_iter_packed(place.key(f'{session_path}/'), packed))


def _iter_packed(prefix: str, packed: bytes) -> Iterator[tuple[str, Object]]:
    while packed:
        unzip = zlib.decompressobj()
        fields = iter(unzip.decompress(packed).decode('utf-8', 'surrogateescape').split('\0'))
        for path, size, etag, modified in zip(fields, fields, fields, fields, strict=True):
            yield path, Object(prefix + path, int(size), etag, modified)
        packed = unzip.unused_data

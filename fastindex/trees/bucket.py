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
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from io import UnsupportedOperation
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

from fastindex.errors import RootError, StoreError, UsageError
from fastindex.names.alf import SkipReason, judge_date, judge_number
from fastindex.names.problems import Reason, Tally
from fastindex.text import escape
from fastindex.trees import BLOCK_NAMES, Folder, Kind, Measures
from fastindex.trees.digests import NO_FINGERPRINT, Digests, Fingerprint, Measured, new_digest
from fastindex.trees.s3 import Object, Place

__all__ = ['ObjectTree']

BLOCK_OBJECTS = 2**13
"""Objects of a session that are packed at once: what a listing takes unpacked, whatever is in a session."""

_MD5 = re.compile(r'[0-9a-f]{32}')
_NO_PART = frozenset({'', '.', '..'})
_LENGTH_BYTES = 8


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


class _BucketFolder:
    """What keys have in common up to a slash. See `fastindex.trees.Folder`.

    A name stands for a folder and an object at once where keys say so.
    """

    def __init__(self, session: _Session, path: str) -> None:
        self.path = path
        self.folders: list[str] = []
        self.objects: dict[str, Object] = {}
        self.entered: list[str] = []
        self._session = session

    def iter_names(self) -> Iterator[tuple[Sequence[str], bytes]]:
        for names, kind in ((self.folders, Kind.FOLDER), (list(self.objects), Kind.FILE)):
            for start in range(0, len(names), BLOCK_NAMES):
                block = names[start : start + BLOCK_NAMES]
                yield block, bytes([kind]) * len(block)

    def kind_of(self, name: str, *, follow: bool = True) -> Kind:
        if name in self.objects:
            return Kind.FILE
        if name in self.folders:
            return Kind.FOLDER
        raise _not_found(name)

    def measure(
        self,
        names: Sequence[str],
        algorithms: tuple[str, ...] = (),
        *,
        max_bytes: int = sys.maxsize,
        with_fingerprints: bool = False,
    ) -> Measures:
        """Measure objects. See `fastindex.trees.Folder`.

        The state and the bytes that an answer has are of one upload: nothing changes while it is read.
        """
        found: list[Measured] = []
        wrong: dict[int, OSError | Reason] = {}
        for position, name in enumerate(names):
            try:
                found.append(self._measure(name, algorithms, max_bytes))
            except OSError as error:
                wrong[position] = error
        sizes, digests, fingerprints = [list(column) for column in zip(*found, strict=True)] or [[], [], []]
        return Measures(
            sizes,
            digests if algorithms else [],
            fingerprints if algorithms or with_fingerprints else [],
            wrong,
        )

    def _measure(self, name: str, algorithms: tuple[str, ...], max_bytes: int) -> Measured:
        place, found = self._session.place, self.objects.get(name)
        if found is None:
            raise _not_found(name)
        if not algorithms:
            return found.size_bytes, None, _fingerprint_of(found)
        if algorithms == ('md5',) and _MD5.fullmatch(found.etag) and self._session.are_etags_md5():
            return found.size_bytes, (bytes.fromhex(found.etag),), _fingerprint_of(found)
        if found.size_bytes >= max_bytes:
            return found.size_bytes, None, NO_FINGERPRINT
        found, digests = _read(place, found.key[len(place.key('')) :], algorithms)
        return found.size_bytes, digests, _fingerprint_of(found)

    @contextmanager
    def open(self, name: str) -> Iterator[int]:
        raise UnsupportedOperation(f'{escape(name)}: objects of a bucket are read as a whole only')
        yield

    def enter(self, name: str) -> None:
        self.entered.append(name)


class _UnlistedFolder(_BucketFolder):
    """A folder of which nothing is known yet: an object is looked at by its name, the rest is listed."""

    def __init__(self, tree: ObjectTree, path: str, tally: Tally) -> None:
        super().__init__(_Session(tree.place, ()), '')
        self._place = tree.place
        self._where = path
        self._listing = tree.iter_shallow(path, tally)

    def _fill(self) -> None:
        for name, found in self._listing:
            if found is None:
                self.folders.append(name)
            else:
                self.objects[name] = found

    def iter_names(self) -> Iterator[tuple[Sequence[str], bytes]]:
        self._fill()
        return super().iter_names()

    def kind_of(self, name: str, *, follow: bool = True) -> Kind:
        self._fill()
        return super().kind_of(name)

    def _measure(self, name: str, algorithms: tuple[str, ...], max_bytes: int) -> Measured:
        if name not in self.objects:
            self.objects[name] = self._place.look(f'{self._where}/{name}')
        return super()._measure(name, algorithms, max_bytes)


def _not_found(name: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


class _Session:
    """The folders of a session, by their paths relative to it, made of the paths of the objects."""

    def __init__(self, place: Place, objects: Iterable[tuple[str, Object]]) -> None:
        self.place = place
        self.folders = {'': _BucketFolder(self, '')}
        self._are_md5: bool | None = None
        for path, found in objects:
            above, _, name = path.rpartition('/')
            folder = self.folders.get(above) or self._add_folder(above)
            if name:  # else it stands for the folder itself
                folder.objects[name] = found

    def _add_folder(self, path: str) -> _BucketFolder:
        above, _, name = path.rpartition('/')
        folder = self.folders.get(above) or self._add_folder(above)
        folder.folders.append(name)
        return self.folders.setdefault(path, _BucketFolder(self, path))

    def are_etags_md5(self) -> bool:
        """Tell whether the ETags that look like MD5 are: by the smallest object that has one.

        They are not where the store encrypts with a key of the user's (SSE-KMS, SSE-C); no listing tells.
        """
        if self._are_md5 is None:
            self._are_md5 = False
            objects = (found for folder in self.folders.values() for found in folder.objects.values())
            likely = [found for found in objects if _MD5.fullmatch(found.etag)]
            if likely:  # none is in a folder that was not listed
                sample = min(likely, key=lambda found: (not found.size_bytes, found.size_bytes))
                with suppress(OSError):  # what is wrong with it, it will say in its own turn
                    _, digests = _read(self.place, sample.key[len(self.place.key('')) :], ('md5',))
                    self._are_md5 = digests[0].hex() == sample.etag
        return self._are_md5


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
            raise UsageError(
                f'{escape(url)}: there are no links in a bucket: ', hint='leave `follow_symlinks=False` out'
            )
        try:
            next(place.iter_pages('', is_deep=False))
        except StoreError as error:
            raise RootError(str(error).removesuffix(error.hint), hint=error.hint) from error
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

    @contextmanager
    def open_folder(self, path: str, tally: Tally) -> Iterator[Folder]:
        """Open one folder. See `fastindex.trees.Tree`."""
        above, _, name = path.rpartition('/')
        if above and judge_date(name) is not SkipReason.NOT_DATE:
            yield self._to_folder(self._list_subject(above, tally).folders.get(name, ()))
        elif path.count('/') == 2 and path.split('/')[1] == 'Subjects':
            yield self._to_folder(self._list_subject(path, tally).folders[''])
        else:
            yield self._find_listed(path) or _UnlistedFolder(self, path, tally)

    def _find_listed(self, path: str) -> _BucketFolder | None:
        """Find a folder in the packed listing of its session, where that was handed over."""
        parts = path.split('/')
        for count in (3, 5):
            session_path = '/'.join(parts[:count])
            if packed := (self.listed or {}).get(session_path):
                session = _unpack(self.place, session_path, packed)
                below = '/'.join(parts[count:])
                return session.folders.get(below) or _BucketFolder(session, below)
        return None

    def _to_folder(self, names: Iterable[str]) -> _BucketFolder:
        folder = _BucketFolder(_Session(self.place, ()), '')
        folder.folders.extend(names)
        return folder

    def iter_shallow(self, path: str, tally: Tally) -> Iterator[tuple[str, Object | None]]:
        """List what is in one folder alone; None in the place of an object says that it is a folder."""
        start = len(self.place.key(f'{path}/' if path else ''))
        for page in self.place.iter_pages(path, is_deep=False):
            names = [(prefix[start:-1], None) for prefix in page.prefixes]
            objects = [(found.key[start:], found) for found in page.objects]
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
        return self._walk(session, '')

    def _find_session(self, path: str, tally: Tally) -> _Session | None:
        if packed := (self.listed or {}).get(path):
            return _unpack(self.place, path, packed)
        objects = list(self._iter_deep(path, tally))
        return _Session(self.place, objects) if objects else None

    def _walk(self, session: _Session, path: str) -> Iterator[Folder]:
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
def _unpack(place: Place, session_path: str, packed: bytes) -> _Session:
    return _Session(place, _iter_packed(place.key(f'{session_path}/'), packed))


def _iter_packed(prefix: str, packed: bytes) -> Iterator[tuple[str, Object]]:
    while packed:
        unzip = zlib.decompressobj()
        fields = iter(unzip.decompress(packed).decode('utf-8', 'surrogateescape').split('\0'))
        for path, size, etag, modified in zip(fields, fields, fields, fields, strict=True):
            yield path, Object(prefix + path, int(size), etag, modified)
        packed = unzip.unused_data

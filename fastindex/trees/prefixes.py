"""Folders that are made of keys: what keys have in common up to a slash.

Gives folders and sessions of listings. Leaves how they are listed to `fastindex.trees.bucket`.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import UnsupportedOperation
from typing import TYPE_CHECKING

from xxhash import xxh3_64_intdigest

from fastindex.names.problems import Reason, Tally
from fastindex.text import escape, is_utf8
from fastindex.trees import BLOCK_NAMES, SIZES, Kind, Measures, Wanted
from fastindex.trees.digests import Digests, Measured, new_digest
from fastindex.trees.fingerprints import NO_FINGERPRINT, Fingerprint
from fastindex.trees.refusals import RefusedError
from fastindex.trees.store import ArchivedError, Location, Object

if TYPE_CHECKING:
    from fastindex.trees.bucket import ObjectTree

__all__ = ['BucketFolder', 'ObjectSession', 'UnlistedFolder']

_MD5 = re.compile(r'[0-9a-f]{32}')


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


class BucketFolder:
    """What keys have in common up to a slash. See `fastindex.trees.Folder`.

    A name stands for a folder and an object at once where keys say so.
    """

    def __init__(self, session: ObjectSession, path: str) -> None:
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

    def kind_of(self, name: str, *, follow: bool = True) -> int:
        if name in self.objects:
            return Kind.FILE
        if name in self.folders:
            return Kind.FOLDER
        raise _not_found(name)

    def link_text(self, name: str) -> str:
        return ''

    def measure(self, names: Sequence[str], wanted: Wanted = SIZES) -> Measures:
        """Measure objects. See `fastindex.trees.Folder`.

        The state and the bytes that an answer has are of one upload: nothing changes while it is read.
        """
        found: list[Measured] = []
        wrong: dict[int, OSError | Reason] = {}
        for position, name in enumerate(names):
            try:
                found.append(self._measure(name, wanted))
            except ArchivedError:
                wrong[position] = Reason.ARCHIVED
            except OSError as error:
                wrong[position] = error
        sizes, digests, fingerprints = [list(column) for column in zip(*found, strict=True)] or [[], [], []]
        if not wanted.algorithms:
            digests, fingerprints = [], fingerprints if wanted.with_fingerprints else []
        return Measures(sizes, digests, fingerprints, wrong)

    def _measure(self, name: str, wanted: Wanted) -> Measured:
        algorithms, location, found = wanted.algorithms, self._session.location, self.objects.get(name)
        if found is None:
            raise _not_found(name)
        if not algorithms:
            return found.size_bytes, None, _fingerprint_of(found)
        if algorithms == ('md5',) and _MD5.fullmatch(found.etag) and self._session.are_etags_md5():
            return found.size_bytes, (bytes.fromhex(found.etag),), _fingerprint_of(found)
        if found.size_bytes >= wanted.max_bytes:
            return found.size_bytes, None, NO_FINGERPRINT
        found, digests = _read(location, found, algorithms)
        return found.size_bytes, digests, _fingerprint_of(found)

    @contextmanager
    def open(self, name: str) -> Iterator[int]:
        raise UnsupportedOperation(f'{escape(name)}: objects of a bucket are read as a whole only')
        yield

    def read(self, name: str, max_bytes: int) -> bytes:
        found, location, data = self.objects.get(name), self._session.location, b''
        if found is None:
            raise _not_found(name)
        with location.open(found.key[len(location.key('')) :]) as (_, blocks):
            for block in blocks:
                data += block
                if len(data) >= max_bytes:
                    break
        return data[:max_bytes]

    def state(self, path: str = '') -> Fingerprint:
        return NO_FINGERPRINT  # a listing tells it all: there is nothing quicker to look at

    def enter(self, name: str) -> None:
        self.entered.append(name)


class UnlistedFolder(BucketFolder):
    """A folder of which nothing is known yet: an object is looked at by its name, the rest is listed."""

    def __init__(self, tree: ObjectTree, path: str, tally: Tally) -> None:
        super().__init__(ObjectSession(tree.location, ()), '')
        self._location = tree.location
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

    def kind_of(self, name: str, *, follow: bool = True) -> int:
        self._fill()
        return super().kind_of(name)

    def _measure(self, name: str, wanted: Wanted) -> Measured:
        if name not in self.objects:
            self.objects[name] = self._location.look(f'{self._where}/{name}')
        return super()._measure(name, wanted)


def _not_found(name: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


class ObjectSession:
    """The folders of a session, by their paths relative to it, made of the paths of the objects."""

    def __init__(self, location: Location, objects: Iterable[tuple[str, Object]]) -> None:
        self.location = location
        self.folders = {'': BucketFolder(self, '')}
        self._are_md5: bool | None = None
        for path, found in objects:
            above, _, name = path.rpartition('/')
            folder = self.folders.get(above) or self._add_folder(above)
            if name:  # else it stands for the folder itself
                folder.objects[name] = found

    def _add_folder(self, path: str) -> BucketFolder:
        above, _, name = path.rpartition('/')
        folder = self.folders.get(above) or self._add_folder(above)
        folder.folders.append(name)
        return self.folders.setdefault(path, BucketFolder(self, path))

    def are_etags_md5(self) -> bool:
        """Tell whether the ETags that look like MD5 are: by the smallest object that has one.

        They are not where the store encrypts with a key of the user's (SSE-KMS, SSE-C); no listing tells.
        """
        if self._are_md5 is None:
            self._are_md5 = False
            objects = (found for folder in self.folders.values() for found in folder.objects.values())
            likely = [found for found in objects if _MD5.fullmatch(found.etag) and is_utf8(found.key)]
            if likely:  # none is in a folder that was not listed
                sample = min(likely, key=lambda found: (not found.size_bytes, found.size_bytes))
                with suppress(OSError):  # what is wrong with it, it will say in its own turn
                    _, digests = _read(self.location, sample, ('md5',))
                    self._are_md5 = digests[0].hex() == sample.etag
        return self._are_md5


def _read(location: Location, listed: Object, algorithms: tuple[str, ...]) -> tuple[Object, Digests]:
    digests = [new_digest(name) for name in algorithms]
    path = listed.key[len(location.key('')) :]
    with location.open(path) as (found, blocks):
        if found.etag and found.etag == listed.etag and found.size_bytes != listed.size_bytes:
            # One upload has one size: a gateway has cut it off, or unpacked it.
            raise OSError(errno.EIO, RefusedError('BadAnswer').said, f'{location.url}/{path}')
        for block in blocks:
            for digest in digests:
                digest.update(memoryview(block))
    return found, tuple(digest.digest() for digest in digests)

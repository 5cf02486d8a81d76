"""Read the files of a release, each once, and make records of them: what the workers do.

In that one read a file is compressed, gets its line in the manifest, and is compared with its row in the
index; and it is looked at before and after, so that one that is written to meanwhile is noticed.
"""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Iterator
from stat import S_ISREG
from typing import NamedTuple, NoReturn

from fastindex.errors import ReleaseError
from fastindex.jobs.release.formats import Content, Format, Packed
from fastindex.names.problems import Tally
from fastindex.system import read_into
from fastindex.text import escape
from fastindex.trees import Tree
from fastindex.trees.digests import new_digest, open_buffer

__all__ = [
    'BIG_BYTES',
    'MANIFESTS',
    'FileTask',
    'PackResult',
    'PackTask',
    'Packing',
    'PieceTask',
    'SteadyFile',
    'TurnTask',
    'manifest_line',
    'raise_unreadable',
]

MANIFESTS = ('md5', 'xxh128', 'sha256')  # digests that a manifest can be of
PIECE_BYTES = 2 * 2**20
BIG_BYTES = 4 * 2**20  # a file of this size or more is no worker's task as a whole


class FileTask(NamedTuple):
    """A file as the index knows it; `xxh128` is '' where it does not."""

    name: str
    size_bytes: int
    xxh128: str


class Packing(NamedTuple):
    """From where datasets are read, and how they are packed: the same for a whole release."""

    tree: Tree
    format: Format
    manifest: str  # the digest of `manifest-….txt`, of `MANIFESTS`


class PackTask(NamedTuple):
    """Files to be packed, by the folder that they are in, in the order of the archive."""

    packing: Packing
    folders: list[tuple[str, list[FileTask]]]

    def run(self) -> PackResult:
        """Read and pack them. Raises ReleaseError if one cannot be read, or is not what the index says."""
        lines: list[bytes] = []
        packed = self.packing.format.pack(self._read(lines))
        return PackResult(packed, b''.join(lines))

    def _read(self, lines: list[bytes]) -> Iterator[Content]:
        """Read the files; append to `lines` those of the manifest."""
        largest = max(file.size_bytes for _, files in self.folders for file in files)
        tree, _, manifest = self.packing
        buffer = open_buffer(largest + 1)  # a byte more: a file that has grown shows
        for path, files in self.folders:
            name = path
            try:
                with tree.open_folder(path, Tally()) as folder:
                    for file in files:
                        name = f'{path}/{file.name}'
                        with folder.open(file.name) as fd:
                            steady = SteadyFile(fd, name, manifest, file)
                            data = steady.read(buffer)
                        lines.append(manifest_line(steady.hex_digest, name))
                        yield name, data, steady.crc
            except OSError as error:
                raise_unreadable(name, error)


class PackResult(NamedTuple):
    """Records for the archive, and lines for the manifest."""

    packed: Packed
    lines: bytes

    @property
    def held_bytes(self) -> int:
        return len(self.packed.data)


class PieceTask(NamedTuple):
    """A piece of a big file, to be compressed."""

    format: Format
    name: str
    data: bytes
    is_last: bool

    def run(self) -> bytes | memoryview:
        """Compress it."""
        return self.format.compress(self.name, memoryview(self.data), is_last=self.is_last)


class TurnTask(NamedTuple):
    """What the collecting process does itself, when its turn comes."""

    def run(self) -> None:
        """Do nothing."""


def raise_unreadable(path: str, error: OSError) -> NoReturn:
    """Raise a ReleaseError that tells why a file cannot be read."""
    if isinstance(error, ReleaseError):
        raise error
    if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EMLINK):
        raise ReleaseError(
            f'{escape(path)}: a link leads there, or it has become one: ',
            hint='`follow_symlinks` releases what links lead to',
        ) from error
    raise ReleaseError(f'{escape(path)}: it cannot be read ({error.strerror})') from error


def manifest_line(hex_digest: str, path: str) -> bytes:
    r"""Write a line of a manifest as `md5sum` and its like do, and check it: with the path as it is.

    >>> manifest_line('d41d8cd98f00b204e9800998ecf8427e', 'lab/100%')
    b'd41d8cd98f00b204e9800998ecf8427e  lab/100%\n'
    """
    return f'{hex_digest}  {path}\n'.encode()


class SteadyFile:
    """An open file that must stay as it is while it is read, and be what the index says.

    Raises ReleaseError if it is no regular file, or not as it was.

    fd: stands at its start, and stays the caller's to close
    path: its name, for messages
    manifest: the digest that is wanted, of `MANIFESTS`
    expected: its row in the index; None where it has none

    Attributes
    ----------
    size_bytes
        Its size.
    crc, hex_digest
        CRC-32 and digest, once all was read.
    """

    def __init__(self, fd: int, path: str, manifest: str, expected: FileTask | None = None) -> None:
        self._fd = fd
        self._path = path
        self._expected = expected
        self._before = before = os.fstat(fd)
        self._xxh128 = new_digest('xxh128')
        self._digest = self._xxh128 if manifest == 'xxh128' else new_digest(manifest)
        self.size_bytes = before.st_size
        self.crc = 0
        self.hex_digest = ''
        if not S_ISREG(before.st_mode):
            raise ReleaseError(f'{escape(path)}: this is no regular file')
        if expected is not None and expected.size_bytes != before.st_size:
            self._refuse(
                f'it has {before.st_size:,} bytes, and had {expected.size_bytes:,} when it was indexed'
            )

    def read(self, buffer: memoryview) -> memoryview:
        """Read the whole file, which is smaller than the buffer."""
        count = self._read_into(buffer)
        while count < self.size_bytes and (got := self._read_into(buffer[count:])):
            count += got
        data = buffer[:count]
        self._digest_piece(data)
        self._end(count)
        return data

    def iter_pieces(self, buffer: memoryview) -> Iterator[tuple[memoryview, bool]]:
        """Iterate over pieces, and whether each is the last: only a file that stayed has a last one."""
        total = 0
        while True:
            left = min(len(buffer), self.size_bytes - total)
            count = self._read_into(buffer[:left]) if left else 0
            total += count
            data = buffer[:count]
            self._digest_piece(data)
            is_last = total == self.size_bytes or not count
            if is_last:
                self._end(total)
            yield data, is_last
            if is_last:
                return

    def _read_into(self, buffer: memoryview) -> int:
        try:
            return read_into(self._fd, [buffer])
        except OSError as error:
            raise_unreadable(self._path, error)

    def _digest_piece(self, data: memoryview) -> None:
        self.crc = zlib.crc32(data, self.crc)
        self._xxh128.update(data)
        if self._digest is not self._xxh128:
            self._digest.update(data)

    def _end(self, count: int) -> None:
        before, after = self._before, os.fstat(self._fd)
        if (
            count != before.st_size
            or after.st_size != before.st_size
            or (after.st_mtime_ns, after.st_ctime_ns) != (before.st_mtime_ns, before.st_ctime_ns)
        ):
            self._refuse('it was written to while it was read')
        if self._expected is not None and self._expected.xxh128 not in ('', self._xxh128.hexdigest()):
            self._refuse('it has other contents than when it was indexed')
        self.hex_digest = self._digest.hexdigest()

    def _refuse(self, what: str) -> NoReturn:
        raise ReleaseError(
            f'{escape(self._path)}: the file has changed ({what}): release again when nobody writes there'
        )

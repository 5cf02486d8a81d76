"""tar (POSIX 1003.1-2001), compressed by zstd in frames that follow each other: `.tar.zst`."""

from __future__ import annotations

import tarfile
from calendar import timegm
from collections.abc import Iterable
from datetime import datetime
from stat import S_IMODE
from typing import IO, NamedTuple

from fastindex.jobs.release.formats import Content, Packed, Writer
from fastindex.jobs.release.member_rules import FILE_MODE, FOLDER_MODE, to_member
from fastindex.lazy import pa

__all__ = ['TarZstFormat']

ZSTD_LEVEL = 3


class TarZstFormat(NamedTuple):
    """tar, compressed by zstd in frames that follow each other; `moment` is the time of all members."""

    moment: datetime

    @property
    def member_bytes(self) -> int:
        return 2600

    def codec(self) -> pa.Codec:
        """Make the compressor: that of pyarrow, which is there anyway."""
        return pa.Codec('zstd', compression_level=ZSTD_LEVEL)

    def make_header(self, name: str, size_bytes: int, *, is_folder: bool = False) -> bytes:
        """Make the header in front of a member."""
        info = tarfile.TarInfo(to_member(name))
        info.size = size_bytes
        info.mode = S_IMODE(FOLDER_MODE if is_folder else FILE_MODE)
        info.type = tarfile.DIRTYPE if is_folder else tarfile.REGTYPE
        info.mtime = timegm(self.moment.timetuple())
        return info.tobuf(tarfile.PAX_FORMAT, 'utf-8', 'strict')

    def pack(self, files: Iterable[Content]) -> Packed:
        records: list[bytes] = []
        for name, data, _ in files:
            records += (self.make_header(name, len(data)), bytes(data), _padding(len(data)))
        return Packed(bytes(self.codec().compress(b''.join(records), asbytes=True)), [])

    def compress(self, name: str, data: memoryview, *, is_last: bool) -> bytes | memoryview:
        return bytes(self.codec().compress(pa.py_buffer(data), asbytes=True))

    def open_writer(self, file: IO[bytes], directory: IO[bytes]) -> Writer:
        return _TarWriter(self, file)


def _padding(size_bytes: int) -> bytes:
    return bytes(-size_bytes % 512)


class _TarWriter:
    def __init__(self, format: TarZstFormat, file: IO[bytes]) -> None:
        self._format = format
        self._codec = format.codec()
        self._file = file
        self._size_bytes = 0

    def write(self, data: bytes | memoryview) -> None:
        self._file.write(data)

    def _write_frame(self, data: bytes) -> None:
        if data:
            self.write(self._codec.compress(data, asbytes=True))

    def add_folder(self, name: str) -> None:
        self._write_frame(self._format.make_header(name, 0, is_folder=True))

    def add_packed(self, packed: Packed) -> None:
        self.write(packed.data)

    def begin_file(self, name: str, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._write_frame(self._format.make_header(name, size_bytes))

    def end_file(self, crc: int) -> None:
        self._write_frame(_padding(self._size_bytes))

    def close(self) -> None:
        self._write_frame(bytes(1024))

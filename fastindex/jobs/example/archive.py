"""Unpack a zip of the real "ibl-behavioral-data-Dec2019", for those who have it, into a new folder.

All members are judged before one is written: nothing lands outside the folder, no link is made, and no
archive fills the disk. A download is a file without a name beside the folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from typing import TYPE_CHECKING

from fastindex.errors import ExampleError
from fastindex.files import new_folder
from fastindex.jobs.example.example import ExampleSummary, check_free
from fastindex.progress import open_bar
from fastindex.text import to_size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, TypeAlias
    from zipfile import ZipFile, ZipInfo

    Member: TypeAlias = tuple[ZipInfo, str]  # of an archive, and its path below the new root

__all__ = ['unpack_archive']

_SESSION = re.compile(r'([^/]+/Subjects/[^/]+/[0-9]{4}-[0-9]{2}-[0-9]{2}/[0-9]{1,3})/.')


def unpack_archive(
    archive: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    max_bytes: int = 8 * 2**30,
    progress: bool = False,
) -> ExampleSummary:
    """Unpack a zip of the real example to a folder that does not exist yet or is empty.

    The archive's single top folder becomes `folder`. Its old `one_example.py` and macOS's files are dropped.

    Parameters
    ----------
    archive
        Path of a zip file, or its address (http or https).
    folder
        Where to; missing folders above it are made.
    max_bytes
        Most that the archive may hold, and most that is downloaded.
    progress
        Whether to show a bar.

    Raises
    ------
    ExampleError
        Something is in the folder, or the archive cannot be had, is damaged, or has a member that no harmless
        archive has (`..` in its name, a link, encrypted, too large ...); the folder is as it was.
    """
    began = time.perf_counter()
    target = os.path.realpath(folder)
    check_free(target)
    with _open_archive(os.fspath(archive), target, max_bytes, progress) as file:
        counts = _unpack(file, os.fspath(archive), target, max_bytes, progress)
    return ExampleSummary(target, *counts, time.perf_counter() - began, written=True)


@contextlib.contextmanager
def _open_archive(archive: str, target: str, max_bytes: int, progress: bool) -> Iterator[str | IO[bytes]]:
    """Give the path of the archive, or what was downloaded, for which there is room beside `target`."""
    if not re.match(r'https?://', archive, re.IGNORECASE):
        yield archive
        return
    import http.client
    from tempfile import TemporaryFile

    parent = os.path.dirname(target)
    with contextlib.ExitStack() as stack:
        try:
            os.makedirs(parent, exist_ok=True)
            file = stack.enter_context(TemporaryFile(dir=parent))
            _download(archive, file, max_bytes, progress)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise ExampleError(f'{archive}: cannot be downloaded to {parent} ({error})') from error
        yield file


def _download(url: str, file: IO[bytes], max_bytes: int, progress: bool) -> None:
    from urllib.request import urlopen

    # It follows redirects to http, https and ftp, never to file.
    with urlopen(url, timeout=60) as response:  # noqa: S310
        length = int(response.headers.get('Content-Length') or 0)
        total = length or None
        bar = open_bar(total=total, unit='B', description='Downloading', enabled=progress)
        with contextlib.closing(bar):
            while data := response.read(2**20):
                file.write(data)
                bar.update(len(data))
                if file.tell() > max_bytes:
                    raise OSError(f'more than {to_size(max_bytes)}, which no example has')
        if file.tell() < length:
            raise OSError(
                f'the connection broke after {to_size(file.tell())} of {to_size(length)}: try again'
            )


def _unpack(
    file: str | IO[bytes], name: str, target: str, max_bytes: int, progress: bool
) -> tuple[int, int, int]:
    """Unpack the zip file and return the sessions, datasets and bytes."""
    import zipfile
    import zlib

    undocumented = ValueError, OverflowError, EOFError, NotImplementedError, zlib.error  # found by fuzzing
    try:
        with zipfile.ZipFile(file) as source:
            source.filename = name
            members = _judge_members(source, max_bytes)
            with new_folder(target, error=ExampleError) as root:
                return _unpack_members(source, members, root, max_bytes, progress)
    except ExampleError:
        raise
    except FileNotFoundError as error:
        raise ExampleError(f'{name}: no such file, expected a zip file or its address') from error
    except (zipfile.BadZipFile, OSError, *undocumented) as error:
        raise ExampleError(f'{name}: not a whole zip file ({error!r}): get it again') from error


def _judge_members(source: ZipFile, max_bytes: int) -> list[Member]:
    """List what to unpack, and where to; raise ExampleError if any member, wanted or not, is bad."""
    kept = []
    for info in source.infolist():
        if reason := _why_refused(info):
            raise ExampleError(f'{source.filename}: nothing unpacked, member {info.orig_filename!r} {reason}')
        parts = info.orig_filename.removesuffix('/').split('/')
        if '__MACOSX' not in parts and parts[-1] not in ('.DS_Store', 'one_example.py'):
            kept.append((info, parts))
    if (total := sum(info.file_size for info, _ in kept)) > max_bytes:
        largest = max((info for info, _ in kept), key=lambda info: info.file_size).orig_filename
        what = f'it would unpack to {to_size(total)}, most of it in {largest!r}'
        raise ExampleError(f'{source.filename}: {what}: no example has more than {to_size(max_bytes)}')
    tops = {parts[0] for _, parts in kept}
    is_lab = any(parts[1:2] == ['Subjects'] for _, parts in kept)
    is_wrapped = len(tops) == 1 and not is_lab and any(len(parts) > 1 for _, parts in kept)
    members = [(info, '/'.join(parts[is_wrapped:])) for info, parts in kept]
    _check_places(source, members)
    return members


def _why_refused(info: ZipInfo) -> str | None:
    """Say what is suspicious about a member; its name is judged as it stands in the archive."""
    import stat
    import zipfile

    name = info.orig_filename  # `filename` is cut at a NUL, and may come from a field that nobody sees
    parts = name.removesuffix('/').split('/')
    kind = stat.S_IFMT(info.external_attr >> 16)
    reasons = (
        (not name.isprintable() or '\\' in name, 'has a backslash or a control character in its name'),
        (re.match(r'/|[A-Za-z]:', name), 'has an absolute path'),
        (not {'', '.', '..'}.isdisjoint(parts), "has '.', '..' or nothing as a folder"),
        (kind not in (0, stat.S_IFREG, stat.S_IFDIR), 'is a link or a device'),
        (info.flag_bits & 0x2041, 'is encrypted'),
        (info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED), 'is not stored or deflated'),
        (info.file_size > 2**20 + 250 * info.compress_size, 'would become more than 250 times larger'),
    )
    return next((reason for is_so, reason in reasons if is_so), None)


def _check_places(source: ZipFile, members: list[Member]) -> None:
    """Raise ExampleError if two members want the same path, or one is a file and another one's folder."""
    paths: set[str] = set()
    files = {path for info, path in members if not info.orig_filename.endswith('/')}
    for info, path in members:
        above = path
        while above := above.rpartition('/')[0]:
            if above in files:
                break
        if path in paths or above:
            reason = 'is below another member that is a file' if above else 'is there twice'
            name = info.orig_filename
            raise ExampleError(f'{source.filename}: nothing unpacked, member {name!r} {reason}')
        paths.add(path)
    if not files:
        raise ExampleError(f'{source.filename}: holds no file, expected the folders of an example')


def _unpack_members(
    source: ZipFile, members: list[Member], root: str, max_bytes: int, progress: bool
) -> tuple[int, int, int]:
    sessions: set[str] = set()
    datasets = size = total = 0
    expected = sum(info.file_size for info, _ in members)
    bar = open_bar(total=expected, unit='B', description='Unpacking', enabled=progress)
    with contextlib.closing(bar):
        for info, member in members:
            path = os.path.join(root, member)
            if info.orig_filename.endswith('/'):
                os.makedirs(path, exist_ok=True)
                continue
            os.makedirs(os.path.dirname(path), exist_ok=True)
            before = total
            with source.open(info) as stream, open(path, 'xb') as file:
                while data := stream.read(2**20):
                    total += len(data)
                    if total > max_bytes:  # a header may lie
                        raise ExampleError(
                            f'{source.filename}: {member!r} unpacks to more than {to_size(max_bytes)}'
                        )
                    file.write(data)
                    bar.update(len(data))
            if session := _SESSION.match(member):
                sessions.add(session[1])
                datasets += 1
                size += total - before
    return len(sessions), datasets, size

"""What can be indexed: a tree lists folders, walks sessions and opens files; it knows no command line.

A tree is small and picklable: each worker process opens the root for itself. Paths are relative to the
root, POSIX, and carry bytes that are not UTF-8 as the file system interface of Python does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from fastindex.errors import UsageError
from fastindex.names.problems import Tally
from fastindex.text import escape

if TYPE_CHECKING:
    from fastindex.trees.digests import Measured


__all__ = ['SCHEME', 'AnyHasher', 'Entry', 'Folder', 'ListsAhead', 'Tree', 'is_url', 'open_tree']


class Entry(Protocol):
    """What a listing returned, not yet judged: the part of `os.DirEntry` that the scan uses."""

    @property
    def name(self) -> str: ...

    def is_file(self, *, follow_symlinks: bool = True) -> bool: ...

    def is_dir(self, *, follow_symlinks: bool = True) -> bool: ...

    def is_symlink(self) -> bool: ...

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result: ...


class Folder(NamedTuple):
    """An open folder of a session, while its entries are judged.

    Parameters
    ----------
    path
        Relative to the session; `''` is the session itself.
    entries
        Each entry once, in the order of the file system; iterating may raise OSError.
    fd
        File descriptor that names in the folder are relative to.
    enter
        Names of the subfolders to be walked next, and whether each is a link: the scan fills it.
    """

    path: str
    entries: Iterable[Entry]
    fd: int
    enter: list[tuple[str, bool]]


class Tree(Protocol):
    """A tree of recordings. Picklable; safe to use from several processes at once."""

    @property
    def root(self) -> str:
        """Where the tree is, absolute: `origin` in the published tables."""

    @property
    def follow_links(self) -> bool:
        """Whether symbolic links to folders and files are followed."""

    def close(self) -> None:
        """Give back what this process holds of the tree; using it again opens it again."""

    def list_folders(self, path: str, tally: Tally) -> list[str]:
        """List the names of the folders in a folder; what is none of them goes into the tally.

        Raises
        ------
        OSError
            If the folder cannot be listed.
        """

    def walk(self, session_path: str, tally: Tally) -> Iterator[Folder]:
        """Walk the folders of a session, parents first. Each is open until the next one is asked for.

        Raises
        ------
        OSError
            If the session's own folder cannot be opened; a folder below it is a problem instead.
        """

    def revisit(self, session_path: str, path: str, names: Iterable[str]) -> AbstractContextManager[Folder]:
        """Open a folder of a session again, for some of its entries: those of the given names.

        Raises
        ------
        OSError
            If it cannot be opened.
        """

    def open_entry(self, folder: Folder, name: str, is_link: bool) -> int:
        """Open an entry of an open folder for reading; the caller closes it with `close_file`.

        Raises
        ------
        OSError
            If it cannot be opened, or is a link though `is_link` is False.
        """

    def open_file(self, path: str) -> int:
        """Open a file for reading; the caller closes it with `close_file`.

        Returns
        -------
        handle
            What the tree's own hasher takes; of a local tree a file descriptor.

        Raises
        ------
        OSError
            If it cannot be opened.
        """

    @property
    def close_file(self) -> Callable[[int], None]:
        """What closes a file that `open_entry` or `open_file` opened."""

    def open_hasher(self, algorithms: tuple[str, ...], *, max_bytes: int = sys.maxsize) -> AnyHasher:
        """Make what reads the files of this tree. See `fastindex.trees.digests.Hasher`."""


class AnyHasher(Protocol):
    """Reads files that a tree has opened. See `fastindex.trees.digests.Hasher`."""

    def measure(self, handle: int, /) -> Measured: ...


@runtime_checkable
class ListsAhead(Protocol):
    """What a tree can do too that lists all below a subject at once: that goes along with the shards."""

    def pack_listed(self, session_paths: Iterable[str]) -> bytes:
        """Give away what this process has listed since it last gave away.

        Returns
        -------
        listed
            For each session the length of what is known of it, as 8 bytes, and that.
        """

    def with_listed(self, listed: dict[str, bytes]) -> Tree:
        """Get this tree with what is known of sessions, by their paths: the tree of a shard."""


def open_tree(
    root: str | os.PathLike[str],
    *,
    follow_links: bool = True,
    endpoint: str | None = None,
    anonymous: bool = False,
) -> Tree:
    """Open the tree below `root`.

    Parameters
    ----------
    root
        The folder that has the labs or the subjects in it.
    follow_links
        Whether symbolic links to folders and files are followed. Where not, no byte outside the root is
        read, not even while links change.
    endpoint
        URL of the object store, for a bucket (`s3://bucket/prefix`) that is not where the environment and the
        profile say.
    anonymous
        Whether a public bucket is read without credentials.

    Raises
    ------
    RootError
        If there is no such folder, or it cannot be listed.
    UsageError
        If it has no name.
    """
    from fastindex.trees.disk import LocalTree

    if is_url(root):
        from fastindex.trees.bucket import ObjectTree

        return ObjectTree.open(
            os.fspath(root), follow_links=follow_links, endpoint=endpoint, anonymous=anonymous
        )
    if endpoint is not None or anonymous:
        raise UsageError(f'{escape(os.fspath(root))}: endpoint and anonymous are for s3://bucket/prefix')
    if not os.fspath(root):
        raise UsageError("the root is '': expected a folder ('.' is the current one)")
    return LocalTree.open(os.fspath(root), follow_links=follow_links)


SCHEME = 's3://'


def is_url(path: str | os.PathLike[str]) -> bool:
    """Tell whether a path is the URL of a bucket.

    >>> is_url('s3://recordings'), is_url('/data/s3://recordings')
    (True, False)
    """
    return os.fspath(path).startswith(SCHEME)

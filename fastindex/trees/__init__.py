"""What can be indexed: a tree walks sessions and opens folders; a folder lists, measures and opens its files.

A folder is the unit of work: one listing, one call that measures its files. A tree is small and picklable:
each worker process opens the root for itself. Paths are relative to the root, POSIX, and carry bytes that are
not UTF-8 as the file system interface of Python does. What becomes of an entry is `fastindex.trees.fate`'s to
say, for every tree.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, runtime_checkable

from fastindex.errors import UsageError
from fastindex.names.problems import Reason, Tally
from fastindex.system import OPENS_BY_FOLDER
from fastindex.text import escape

if TYPE_CHECKING:
    from fastindex.trees.digests import Digests
    from fastindex.trees.fingerprints import Fingerprint

__all__ = [
    'ACCESS_OPTIONS',
    'BLOCK_NAMES',
    'SCHEME',
    'SIZES',
    'STATE_FOLDER',
    'Access',
    'Folder',
    'Kind',
    'ListsAhead',
    'Measures',
    'Tree',
    'Wanted',
    'is_url',
    'open_tree',
]

SCHEME = 's3://'
STATE_FOLDER = '.fastindex'  # our own folder in the root: the one dot folder that is not counted as skipped
BLOCK_NAMES = 2**15  # names of a folder that are listed at once, at most


class Kind:
    """What an entry of a folder is. A listing tells the first five apart, `Folder.kind_of` all of them.

    Plain integers: to look up a member of an enumeration takes a tenth of the time that a file takes.
    """

    UNKNOWN: Final = 0  # the listing did not tell, and a look at the entry failed
    FILE: Final = 1
    FOLDER: Final = 2
    LINK: Final = 3
    OTHER: Final = 4  # no file, folder or link: never opened
    FIFO: Final = 5
    SOCKET: Final = 6
    DEVICE: Final = 7


class Wanted(NamedTuple):
    """What is wanted of files besides their sizes."""

    algorithms: tuple[str, ...] = ()
    """Digests, of `fastindex.trees.digests.ALGORITHMS`: then the files are read, and have fingerprints."""

    max_bytes: int = sys.maxsize  # a file of this size or more gets no digests
    with_fingerprints: bool = False  # of files that are not read


SIZES = Wanted()


class Measures(NamedTuple):
    """What was measured of the files of a folder: columns with an element a file, in the order of names."""

    sizes: list[int]  # in bytes
    digests: list[Digests | None]
    """None for a file that is too large for this call. Empty where no algorithm was given."""

    fingerprints: list[Fingerprint]  # by which to know each file again. Empty where nobody asked for them
    wrong: dict[int, OSError | Reason]
    """By position, what stands in the way of a file: it has no element in the columns."""


class Folder(Protocol):
    """An open folder, while its entries are judged and its files measured."""

    @property
    def path(self) -> str:
        """Relative to its session; `''` is the session itself, or a folder above the sessions."""

    def iter_names(self) -> Iterator[tuple[Sequence[str], bytes]]:
        """List the folder: blocks of names, and a `Kind` a byte for each; a link is a link.

        Raises OSError if the listing breaks off; what it gave before has been yielded.
        """

    def kind_of(self, name: str, *, follow: bool = True) -> int:
        """Tell the `Kind` of an entry; where `follow` says so, of what a link leads to.

        Raises OSError if it is not there, or cannot be looked at.
        """

    def link_text(self, name: str) -> str:
        """Read where a link leads, as it says; '' where that cannot be read."""

    def measure(self, names: Sequence[str], wanted: Wanted = SIZES) -> Measures:
        """Measure files, through links where the tree follows them."""

    def open(self, name: str) -> AbstractContextManager[int]:
        """Open a file for reading: gives a file descriptor that stands at its start.

        Raises OSError if it cannot be opened, or is a link in a tree that follows none.
        """

    def read(self, name: str, max_bytes: int) -> bytes:
        """Open a file once, and read its first bytes, at most so many. Raises OSError as `open` does."""

    def state(self, path: str = '') -> Fingerprint:
        """Get by what to know this folder again, or one at a path below it, while no name in it changes.

        Raises OSError if it cannot be looked at.

        Returns
        -------
        state
            `fastindex.trees.fingerprints.NO_FINGERPRINT` if it changed so lately that it may change unseen,
            or if nothing tells.
        """

    def enter(self, name: str) -> None:
        """Have a subfolder of the current block walked next."""

    @property
    def entered(self) -> Collection[str]:
        """Names of the subfolders that are to be walked next."""


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

    def walk(self, session_path: str, tally: Tally) -> Iterator[Folder]:
        """Walk the folders of a session, parents first. Each is open until the next one is asked for.

        Raises OSError if the session's own folder cannot be opened; a folder below it is a problem instead.
        """

    def open_folder(self, path: str, tally: Tally) -> AbstractContextManager[Folder]:
        """Open one folder, above the sessions or below one.

        Raises OSError if it cannot be opened.

        tally: for what is met on the way that is no entry of a folder
        """


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


class Access(NamedTuple):
    """How a bucket is reached, beyond what the environment and the profile say. Has no secret."""

    endpoint: str | None = None  # URL of the object store
    anonymous: bool = False  # whether a public bucket is read without credentials
    requester_pays: bool = False  # whether who asks pays for it: such a bucket refuses anybody else


ACCESS_OPTIONS = '`endpoint`, `anonymous` and `requester_pays`'  # as a message names them


def is_url(path: str | os.PathLike[str]) -> bool:
    """Tell whether a path is the URL of a bucket.

    >>> is_url('s3://bucket/prefix'), is_url('/data')
    (True, False)
    """
    return os.fspath(path).startswith(SCHEME)


def open_tree(
    root: str | os.PathLike[str],
    *,
    follow_links: bool = True,
    access: Access | None = None,
) -> Tree:
    """Open the tree below `root`.

    Raises RootError if there is no such folder, or it cannot be listed. Raises UsageError if it has no name.

    root: the folder that has the labs or the subjects in it
    follow_links: whether symbolic links to folders and files are followed. Where not, no byte outside the
        root is read, not even while links change; on Windows a folder that becomes a link meanwhile may be.
    access: how a bucket (`s3://bucket/prefix`) is reached, if not as the environment and the profile say
    """
    if is_url(root):
        from fastindex.trees.bucket import ObjectTree

        return ObjectTree.open(os.fspath(root), access or Access(), follow_links=follow_links)
    if access and access != Access():
        raise UsageError(f'{escape(root)}: ', hint=f'{ACCESS_OPTIONS} are for s3://bucket/prefix')
    if not os.fspath(root):
        raise UsageError("the root is '': expected a folder ('.' is the current one)")
    from fastindex.trees.disk import LocalTree
    from fastindex.trees.paths import PathTree

    kind = LocalTree if OPENS_BY_FOLDER else PathTree
    tree: Tree = kind.open(os.fspath(root), follow_links=follow_links)
    from fastindex.trees.exclude import exclude_patterns, read_ignore_file

    return exclude_patterns(tree, read_ignore_file(tree.root, follow_links=follow_links))

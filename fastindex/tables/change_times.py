"""Whether files have a time of change, as far as the fingerprints of a run tell: on some disks ctime is none.

It is no error: what a run then cannot see is said.
"""

from __future__ import annotations

from fastindex.lazy import pa
from fastindex.system import is_smb
from fastindex.trees import is_url

__all__ = ['ChangeTimes']

COARSE_NS = 10**7
"""Where ctime is no time of change, times are coarse: 2 s on FAT, 1 s over SFTP, 10 ms on exFAT. What was
just written elsewhere has one time for both, too, but not such a round one."""


class ChangeTimes:
    """Looks whether ctime is mtime in all files, and a round one: then it is no time of change.

    On an SMB share it need not be a round one: Samba says the mtime for it, in units of 100 ns.

    root: of the files
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._unit_ns = 0
        self._files = 0
        self._is_plain = is_url(root)  # an ETag tells that an object has changed

    def add(self, fingerprints: pa.Table) -> None:
        """Look at the fingerprints of a shard; once a file is as it should be, at no more."""
        if self._is_plain:
            return
        self._unit_ns = self._unit_ns or (1 if is_smb(self._root) else COARSE_NS)
        # Not with pyarrow's functions: to take a number, they import pandas.
        mtimes, ctimes = (fingerprints.column(name).to_pylist() for name in ('mtime_ns', 'ctime_ns'))
        for mtime, ctime in zip(mtimes, ctimes, strict=True):
            self._files += mtime != 0  # which is a mark
            if mtime != ctime or mtime % self._unit_ns:
                self._is_plain = True
                return

    @property
    def are_missing(self) -> bool:
        """Whether no file has a time of change, of some that have times."""
        return self._files > 1 and not self._is_plain

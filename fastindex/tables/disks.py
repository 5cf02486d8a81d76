"""What a disk does with inodes and times, as far as the fingerprints of a run tell.

Some give other inodes at each mount; on some ctime is no time of change. Neither is an error: what a run then
does, or cannot see, is said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastindex.tables.file import DAMAGES
from fastindex.tables.reuse import FINGERPRINTS, GroupTable, open_fingerprints

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

__all__ = ['FEW', 'ChangeTimes', 'are_inodes_new']

FEW = 0.5  # of all files: some may have their old inode again by chance

COARSE_NS = 10**7
"""Where ctime is no time of change, times are coarse: 2 s on FAT, 1 s over SFTP, 10 ms on exFAT. What was
just written elsewhere has one time for both, too, but not such a round one."""


class ChangeTimes:
    """Looks whether ctime is mtime in all files, and a round one: then it is no time of change."""

    def __init__(self) -> None:
        self._files = 0
        self._is_plain = False

    def add(self, fingerprints: pa.Table) -> None:
        """Look at the fingerprints of a shard; once a file is as it should be, at no more."""
        if self._is_plain:
            return
        # Not with pyarrow's functions: to take a number, they import pandas.
        mtimes, ctimes = (fingerprints.column(name).to_pylist() for name in ('mtime_ns', 'ctime_ns'))
        for mtime, ctime in zip(mtimes, ctimes, strict=True):
            self._files += mtime != 0  # which is a mark
            if mtime != ctime or mtime % COARSE_NS:
                self._is_plain = True
                return

    @property
    def are_missing(self) -> bool:
        """Whether no file has a time of change, of some that have times."""
        return self._files > 1 and not self._is_plain


def are_inodes_new(folder: Path, staged: Path) -> bool:
    """Tell whether nothing but the inode has changed, and that in most files: by chance some may agree.

    folder: of the published index
    staged: where an index with the same rows is, not published yet
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    files = same = 0
    try:
        datasets = GroupTable(folder / 'datasets.pqt', below=folder, repeated=['eid'])
        before, now = open_fingerprints(folder, datasets), GroupTable(staged / FINGERPRINTS, below=staged)
        if before is None or before.group_rows != now.group_rows:
            return False
        for group in range(len(now.group_rows)):
            old, new = before.read(group), now.read(group)
            is_known = pc.and_(pc.not_equal(old['mtime_ns'], 0), pc.not_equal(new['mtime_ns'], 0))
            old, new = old.filter(is_known), new.filter(is_known)
            if not (old['mtime_ns'].equals(new['mtime_ns']) and old['ctime_ns'].equals(new['ctime_ns'])):
                return False
            files += old.num_rows
            same += pc.sum(pc.cast(pc.equal(old['inode'], new['inode']), pa.int64())).as_py() or 0
    except DAMAGES:
        return False
    return files > 1 and same <= files * FEW

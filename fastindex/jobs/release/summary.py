"""What was released: a summary, and one of each archive."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path

from fastindex.records import Record

__all__ = ['Archive', 'Release']


class Archive(Record):
    """One archive of a release.

    Parameters
    ----------
    path
        Where it is.
    bytes, sha256
        Its size, and what `sha256sum` prints; None of a dry run.
    sessions, datasets, datasets_bytes
        What is in it; the size is that of the datasets when they are unpacked.
    groups
        The labs or subjects in it, where the release is split.
    """

    path: Path
    bytes: int | None
    sha256: str | None
    sessions: int
    datasets: int
    datasets_bytes: int
    groups: tuple[str, ...]


class Release(Record):
    """What was released. Of many fields: each is in what a page about the data needs.

    Parameters
    ----------
    root, name
        The folder; the name that stands for it in the tables.
    archives
        One, or the parts.
    sessions, datasets, bytes
        What is in them together; the size is that of the datasets when they are unpacked.
    labs, subjects
        How many there are.
    first_date, last_date
        Of the sessions.
    manifest
        Digest of the list of checksums.
    findings
        For each severity how much `validate` found.
    warnings
        What the user should know, in sentences.
    seconds
        Wall time.
    """

    root: str
    name: str
    archives: tuple[Archive, ...]
    sessions: int
    datasets: int
    bytes: int
    labs: int
    subjects: int
    first_date: date
    last_date: date
    manifest: str
    findings: Mapping[str, int]
    warnings: tuple[str, ...]
    seconds: float

    def __str__(self) -> str:
        from fastindex.jobs.release.words import iter_lines

        return '\n'.join(iter_lines(self, root=self.root, folder=os.path.dirname(self.archives[0].path)))

    def __repr__(self) -> str:
        return f'<Release {self.name}: {", ".join(archive.path.name for archive in self.archives)}>'

"""What was released: a summary, one of each archive, and the lines in which they are told."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path

from fastindex.records import Record
from fastindex.system import has_unix_tools, quote
from fastindex.text import escape, to_count, to_findings, to_size, to_some, to_subjects

__all__ = ['Archive', 'Release', 'iter_lines']


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
        return '\n'.join(iter_lines(self, root=self.root, folder=os.path.dirname(self.archives[0].path)))

    def __repr__(self) -> str:
        return f'<Release {self.name}: {", ".join(archive.path.name for archive in self.archives)}>'


def iter_lines(done: Release, *, root: str, folder: str) -> Iterator[str]:
    """Iterate over the lines that a page about the data needs.

    root, folder: of the tree, and of the archives, as they are called
    """
    is_dry = done.archives[0].sha256 is None
    verb = 'would release' if is_dry else 'released'
    name = f', by the name of {escape(done.name)}' * (done.name != os.path.basename(done.root))
    yield f'{verb} {escape(root)}{name}:'
    subjects = to_subjects(done.subjects, done.labs)
    yield (
        f'  {to_count(done.sessions, "session")} of {subjects}, {done.first_date} to '
        f'{done.last_date}; {to_count(done.datasets, "dataset")}, {to_size(done.bytes)} unpacked'
    )
    if any(done.findings.values()):
        command = f'python -m fastindex validate {quote(done.root)}'
        yield f'  validate finds {to_findings(done.findings)} ({command})'
    for archive in done.archives:
        yield from _iter_archive_lines(archive, folder)
    if not is_dry:
        yield from _iter_advice(done)


def _iter_archive_lines(archive: Archive, folder: str) -> Iterator[str]:
    size = '' if archive.bytes is None else f': {to_size(archive.bytes)}'
    yield f'{escape(os.path.join(folder, archive.path.name))}{size}'
    if archive.groups:
        groups = to_some(list(map(escape, archive.groups)), 5)
        sessions, datasets = to_count(archive.sessions, 'session'), to_count(archive.datasets, 'dataset')
        yield f'  {sessions}, {datasets}, {to_size(archive.datasets_bytes)} unpacked: {groups}'
    if archive.sha256:
        yield f'  sha256 {archive.sha256}'


def _iter_advice(done: Release) -> Iterator[str]:
    """Say how to open an archive, and how to check it, as commands that work where it lies."""
    path = done.archives[0].path
    is_zip = path.name.endswith('.zip')
    folder = path.name.removesuffix('.zip').removesuffix('.tar.zst')
    if done.root == os.path.realpath(path.with_name(folder)):  # these are the data
        folder += '-unpacked'
    archive, target = quote(path.name), quote(folder)
    pattern = quote(re.sub(r'[*?\[]', r'[\g<0>]', path.name))  # as unzip takes it
    unpack = [f'unzip -q {pattern} -d {target}']
    check = f'cd {target} && {done.manifest}sum -c --quiet manifest-{done.manifest}.txt'
    if not is_zip:
        unpack = [f'mkdir {target} && tar --zstd -xf {archive} -C {target}']
    if not has_unix_tools():
        check = f'python -m fastindex verify {target} --hash'
        unpack = [f'python -m zipfile -e {archive} {target}']
        if not is_zip:
            unpack = [f'mkdir {target}', f'tar -xf {archive} -C {target}']  # not each shell knows `&&`
    yield 'to open it (pip install ONE-api):' if len(done.archives) == 1 else 'to open one of them:'
    yield from (f'  {line}' for line in unpack)
    code = f"from one.api import One; print(One(cache_dir={folder!r}, mode='local').search())"
    is_plain = not set('"$`\\!') & set(code)  # in double quotes, to each shell
    yield f'  python -c "{code}"' if is_plain else f'  python -c {shlex.quote(code)}'
    yield 'to check it:'
    yield f'  {check}'

"""A release in lines: what the command prints, and `print(release)` does."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fastindex.system import has_unix_tools, quote
from fastindex.text import escape, to_count, to_findings, to_size, to_some, to_subjects

if TYPE_CHECKING:
    from fastindex.jobs.release.summary import Archive, Release

__all__ = ['iter_lines']


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

"""The fate of an entry: what becomes of each name in a folder, in every tree.

This is the one place that says it; a scan, `validate` and the discovery of sessions all call it. Leaves what
a name means to `fastindex.names`, and measuring files to the tree.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastindex.names.alf import SkipReason, is_system_folder
from fastindex.names.problems import Reason, Tally
from fastindex.names.verdicts import UuidVerdicts, Verdicts, judge_subfolder
from fastindex.text import is_utf8
from fastindex.trees import STATE_FOLDER, Folder, Kind, Tree

__all__ = ['ANNEX', 'list_folders', 'list_folders_in', 'sift']

ANNEX = '/annex/objects/'  # is in what a link of git-annex says, and in the files that it has for links


def sift(
    folder: Folder,
    names: Sequence[str],
    kinds: bytes,
    verdicts: Verdicts | UuidVerdicts,
    tally: Tally,
    *,
    above: str,
    follow_links: bool,
) -> tuple[Sequence[str], list[bytes]]:
    """Decide what becomes of a block of entries of a folder of a session.

    1. A name that the listing could not tell the kind of, as a look at it failed: a problem with its errno.
    2. A link where links are not followed: a skip.
    3. A link that cannot be looked through: a problem, and another one if it leads to content that git-annex
       has not got; but one that leads nowhere and has a dot name (an editor's lock, most often) is what its
       name says.
    4. A folder, or a link to one: entered, unless its name is a skip (dot folder, opaque, a system's) or a
       problem, or it is too deep down, or its path too long: a problem.
    5. A name that is no dataset's: what the verdict on it says, a skip or a problem, whatever it is.
    6. A file, or a link to one: a dataset.
    7. What is left has the name of a dataset and is a FIFO, a socket or a device: a problem, never opened.

    names, kinds: a block of `Folder.iter_names`
    verdicts: on names in this folder. See `fastindex.names.verdicts`.
    tally: takes the skips and the problems
    above: path of the folder, relative to the root
    Returns names and rel_paths of the datasets, which may be measured.
    """
    if kinds.count(Kind.FILE) == len(kinds) and (all_paths := verdicts.rel_paths_of(names)) is not None:
        return names, all_paths
    found: list[str] = []
    rel_paths: list[bytes] = []
    for name, kind in zip(names, kinds, strict=True):
        if kind == Kind.FOLDER:
            _enter(folder, name, tally, f'{above}/{name}')
            continue
        verdict = verdicts[name]
        if kind != Kind.FILE:
            try:
                leads_to = _look_through(folder, name, kind, tally, f'{above}/{name}', follow_links)
            except OSError as error:
                tally.error(f'{above}/{name}', error)
                continue
            if leads_to is None:
                continue
            if leads_to == Kind.FOLDER:
                _enter(folder, name, tally, f'{above}/{name}')
                continue
            if type(verdict) is bytes and leads_to != Kind.FILE:
                verdict = Reason.NOT_REGULAR
        if type(verdict) is bytes:
            found.append(name)
            rel_paths.append(verdict)
        elif isinstance(verdict, Reason):
            tally.problem(f'{above}/{name}', verdict)
        elif isinstance(verdict, SkipReason):
            tally.skip(f'{above}/{name}', verdict)
    return found, rel_paths


def _look_through(
    folder: Folder, name: str, kind: int, tally: Tally, path: str, follow_links: bool
) -> int | None:
    """Tell what an entry is, or what it leads to; None where nothing is left to be said about it."""
    if kind == Kind.UNKNOWN:
        kind = folder.kind_of(name, follow=False)
    if kind != Kind.LINK:
        return kind
    if not follow_links:
        tally.skip(path, SkipReason.LINK)
        return None
    try:
        return folder.kind_of(name)
    except FileNotFoundError as error:
        if name.startswith('.'):
            return Kind.OTHER
        link = folder.link_text(name)
        tally.problem(path, Reason.NOT_GOT if ANNEX in link else Reason.DANGLING_LINK, error.errno or 0, link)
    except OSError as error:
        if name.startswith('.'):
            raise
        tally.error(path, error, folder.link_text(name))
    return None


def _enter(folder: Folder, name: str, tally: Tally, path: str) -> None:
    reason = judge_subfolder(f'{folder.path}/{name}' if folder.path else name)
    if reason is None:
        folder.enter(name)
    elif isinstance(reason, SkipReason):
        tally.skip(path, reason)
    else:
        tally.problem(path, reason)


def list_folders(tree: Tree, path: str, tally: Tally) -> list[str]:
    """List the names of the folders in a folder above the sessions that may have sessions below them.

    1. A file, or what leads to none: not our business here.
    2. A link where links are not followed: a skip.
    3. A link that cannot be looked through, or an entry that cannot be looked at: a problem of this one path;
       but a link with a dot name is passed over.
    4. A folder with a dot name: a skip; that of our own in the root: nothing.
    5. A folder that a NAS or a system made: a skip.
    6. A folder whose name is not UTF-8: a problem.

    Raises OSError if the folder cannot be listed.
    """
    with tree.open_folder(path, tally) as folder:
        return list_folders_in(folder, path, tally, follow_links=tree.follow_links)


def find_folders(tree: Tree, path: str) -> list[str]:
    """Find the folders in a folder, sorted; none where it cannot be listed. Nothing is told of it."""
    try:
        return sorted(list_folders(tree, path, Tally()))
    except OSError:
        return []


def list_folders_in(folder: Folder, path: str, tally: Tally, *, follow_links: bool) -> list[str]:
    """List the names of the folders in an open folder. See `list_folders`; `path` is that below the root."""
    found: list[str] = []
    above = f'{path}/' if path else ''
    for names, kinds in folder.iter_names():
        for name, kind in zip(names, kinds, strict=True):
            if kind in (Kind.FILE, Kind.OTHER):
                continue
            if kind != Kind.FOLDER and not _leads_to_folder(folder, name, kind, tally, above, follow_links):
                continue
            if name.startswith('.'):
                if path or name != STATE_FOLDER:
                    tally.skip(above + name, SkipReason.DOT_FOLDER)
            elif is_system_folder(name):
                tally.skip(above + name, SkipReason.SYSTEM_FOLDER)
            elif is_utf8(name):
                found.append(name)
            else:
                tally.problem(above + name, Reason.NOT_UTF8)
    return found


def _leads_to_folder(
    folder: Folder, name: str, kind: int, tally: Tally, above: str, follow_links: bool
) -> bool:
    try:
        leads_to = _look_through(folder, name, kind, tally, above + name, follow_links)
    except OSError as error:
        if not name.startswith('.'):
            tally.error(above + name, error)
        return False
    return leads_to == Kind.FOLDER

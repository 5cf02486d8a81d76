"""Check what must hold before a release is made, and find the files that describe the data.

Gives also where the archive goes, and what `validate` finds. Nothing is written.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from fastindex.errors import FindingsError, ForeignTableError, ReleaseError, UsageError
from fastindex.extras import require
from fastindex.files import choose_sibling, find_target
from fastindex.folders import OpenFolder
from fastindex.jobs.release.archive import Source
from fastindex.jobs.release.member_rules import to_member
from fastindex.jobs.release.pack import raise_unreadable
from fastindex.jobs.release.tars import TarZstFormat
from fastindex.jobs.release.zips import ZipFormat
from fastindex.jobs.validate.validate import validate
from fastindex.names.problems import Tally
from fastindex.names.rules import Finding, Severity
from fastindex.pipeline.discover import AGGREGATES
from fastindex.system import quote
from fastindex.tables.check import open_tables
from fastindex.tables.file import TABLES
from fastindex.tables.foreign import find_foreign, read_edited, read_recipes
from fastindex.tables.recipe import Recipe
from fastindex.text import escape, to_count
from fastindex.trees import Measures, Tree
from fastindex.trees.digests import ALGORITHMS
from fastindex.trees.fate import list_folders, list_folders_in

if TYPE_CHECKING:
    from fastindex.workers.pool import Dask

__all__ = [
    'ELSEWHERE',
    'ArchiveFormat',
    'check_choice',
    'check_place',
    'choose_making',
    'count_findings',
    'find_aggregates',
    'find_descriptions',
    'name_parts',
    'parse_out',
    'replacing_parts',
]

LINK_CODE = 'ALF409'  # what `validate` finds where a link is not followed
ArchiveFormat = type[ZipFormat] | type[TarZstFormat]  # of archive, by its name
DIGEST = 'xxh128'  # what every index that is released has: by it a file that has changed since is found
ELSEWHERE = '`index` DIR (an empty folder) makes an index for this release alone'

_KINDS: dict[str, ArchiveFormat] = {'.zip': ZipFormat, '.tar.zst': TarZstFormat}

_DESCRIPTION = re.compile(r'(readme|licen[cs]e).*(?<!~)', re.IGNORECASE | re.DOTALL)


def check_choice(option: str, value: str, choices: Sequence[str]) -> None:
    """Raise UsageError if a value is not one of those that an option has."""
    if value not in choices:
        raise UsageError(hint=f'`{option}` {value!r}: expected one of {", ".join(choices)}')


def parse_out(out: str | os.PathLike[str]) -> tuple[Path, ArchiveFormat]:
    """Find where the archive is to go, and of which kind it is.

    Raises UsageError if it is of no kind. Raises MissingExtraError if it takes a package that is not
    installed.
    """
    folder, name = os.path.split(os.fspath(out))
    kind = _KINDS[_split_name(name, out)[1]]
    if kind is ZipFormat:
        require('release', 'a zip file', otherwise=' (.tar.zst needs nothing more)')
    return Path(os.path.realpath(folder), name), kind


def check_place(path: Path, root: str, *, overwrite: bool) -> None:
    """Check that an archive can be written to a place; where a link is, what it leads to counts.

    Raises UsageError, ReleaseError if it cannot.
    """
    target = find_target(path, error=ReleaseError)
    shown = escape(path)
    if target.is_stream:
        raise ReleaseError(
            f'{shown}: this is no file, and an archive is written as a whole: choose another name'
        )
    _split_name(os.path.basename(target.path), path)
    if Path(target.path).is_relative_to(root):
        raise UsageError(f'{shown}: this is inside the tree: expected a place outside of it')
    if target.mode is not None and not overwrite:
        raise ReleaseError(
            f'{shown}: there is something already: ',
            hint='choose another name, or let `overwrite` put the new archive in its place',
        )


def _split_name(name: str, out: str | os.PathLike[str]) -> tuple[str, str]:
    for suffix in _KINDS:
        stem = name.removesuffix(suffix)
        if stem not in ('', name):
            return stem, suffix
    raise UsageError(f'{escape(out)}: expected a name that ends in {" or ".join(_KINDS)}')


class Making(NamedTuple):
    """How the index of a release is made."""

    recipe: Recipe
    ids_from: tuple[Path, ...] = ()  # tables whose ids are kept
    is_apart: bool = False
    """Whether it is made elsewhere, and dropped afterwards: the tables that are there are of others."""


def choose_making(
    folder: Path,
    namespace: UUID | None,
    ids_from: str | os.PathLike[str] | None,
    follow_symlinks: bool | None,
) -> Making:
    """Choose how the index of a release is made: so that ids and all else that the one there has stays.

    Raises ForeignTableError if something is there that is no table. Raises InvalidIndexError if tables of
    another program are there that are no index. Raises UsageError if the index there was made in another way
    than what was asked for, or nobody can tell how.

    folder: where the tables are, or will be
    namespace, ids_from, follow_symlinks: what was asked for; None is no wish
    """
    given = () if ids_from is None else (Path(ids_from),)
    wishes = {'namespace': namespace, 'ids_from': bool(given) or None, 'follow_symlinks': follow_symlinks}
    asked: dict[str, Any] = {option: wish for option, wish in wishes.items() if wish is not None}
    foreign = find_foreign(folder)
    if foreign is None or read_edited(folder) is not None:
        recipe = _choose_recipe(folder, asked)
        return Making(recipe, given or (folder,) * recipe.ids_from)
    if not foreign.is_table:
        there = escape(os.path.dirname(os.path.realpath(foreign.path)))
        raise ForeignTableError(
            f'{escape(foreign.path)}: {foreign.what}. It was left as it is. ',
            hint=f'`index` {there} releases by what the link leads to'
            if os.path.islink(foreign.path)
            else ELSEWHERE,
        )
    with open_tables(folder):
        pass  # they are an index
    asked = {**asked, 'ids_from': True, 'default_revision': 'known'}
    recipe = Recipe(**asked, algorithms=(DIGEST,))
    is_given = os.path.realpath(folder) in map(os.path.realpath, given)
    return Making(recipe, given if is_given else (*given, folder), is_apart=True)


def _choose_recipe(folder: Path, asked: Mapping[str, Any]) -> Recipe:
    """Choose the recipe where no tables of others are."""
    shown = escape(folder)
    found = read_recipes(folder, follow_links=False)
    if not found and not any((folder / name).exists() for name in TABLES):
        return Recipe(**asked, algorithms=(DIGEST,))
    ways = {replace(recipe, algorithms=()) for recipe in found}
    if len(ways) != 1:
        raise UsageError(
            f'{shown}: the tables are damaged, and how this index was made cannot be told: make it again '
            'by python -m fastindex ROOT, with the options that it had. ',
            hint=ELSEWHERE,
        )
    [known] = ways
    wanted = replace(known, **asked)
    if wanted != known:
        how = _explain_change(known, wanted)
        raise UsageError(
            f'{shown}: the index there was made otherwise than this release asks for: ',
            hint=f'{how}. {ELSEWHERE}',
        )
    algorithms = {DIGEST, *chain.from_iterable(recipe.algorithms for recipe in found)}
    return replace(known, algorithms=tuple(name for name in ALGORITHMS if name in algorithms))


def _explain_change(known: Recipe, wanted: Recipe) -> str:
    """Say how an index was made, and by which option it would stay so."""
    if wanted.ids_from != known.ids_from:
        return 'it has our own ids: expected no `ids_from`'
    if wanted.namespace != known.namespace:
        return f'its eids are of the namespace {known.namespace}: expected no other `namespace`'
    if known.follow_symlinks:
        return 'links were followed: expected `follow_symlinks`'
    return 'links were not followed: expected `follow_symlinks=False`'


def count_findings(
    tree: Tree,
    follow_symlinks: bool | None,
    recipe: Recipe,
    *,
    force: bool,
    workers: int | None,
    dask: Dask | None,
    progress: bool,
) -> dict[str, int]:
    """Count the findings by severity.

    Raises FindingsError if there are errors, or links of which nobody said what to do about them.
    """
    counts: Counter[str] = Counter({str(severity): 0 for severity in Severity})
    first: dict[str, Finding] = {}
    links = 0
    follow = follow_symlinks is True
    findings = validate(
        tree.root,
        workers=workers,
        dask=dask,
        follow_symlinks=follow,
        uuid_filenames=recipe.uuid_filenames,
        **recipe.leave_out,
        progress=progress,
    )
    with closing(findings):
        for finding in findings:
            counts[finding.severity] += 1
            kind = finding.code if finding.code == LINK_CODE else finding.severity
            first.setdefault(kind, finding)
            links += finding.code == LINK_CODE
    root = quote(tree.root)
    if counts[Severity.ERROR] and not force:
        found = first[Severity.ERROR]
        links_too = '' if follow else ' `follow_symlinks=False`'
        raise FindingsError(
            f'{escape(tree.root)}: {to_count(counts[Severity.ERROR], "error")}, the first:\n'
            f'  {found.code} {escape(found.path)}: {found.message}\n'
            f'see them all: python -m fastindex validate {root} ',
            hint=f'`min_severity` error `all`{links_too}\n`force` releases what can be indexed nonetheless',
        )
    if links and follow_symlinks is None and recipe.follow_symlinks:
        raise FindingsError(
            f'{escape(tree.root)}: {to_count(links, "link")}, the first: {escape(first[LINK_CODE].path)}\n',
            hint='`follow_symlinks` releases what they lead to; `follow_symlinks=False` leaves them out, and '
            'needs `index` DIR too, an empty folder, if the index that is there has what they lead to',
        )
    return dict(counts)


def find_aggregates(tree: Tree) -> list[Source]:
    """Find the files below `aggregates/`, which ONE makes of many sessions.

    Raises ReleaseError if one has a name that does not unpack everywhere, or something cannot be looked into.
    """
    found: list[Source] = []
    tally = Tally()
    try:
        is_there = AGGREGATES in list_folders(tree, '', Tally())
        for folder in tree.walk(AGGREGATES, tally) if is_there else ():
            path = f'{AGGREGATES}/{folder.path}'.rstrip('/')
            for name in list_folders_in(folder, path, tally, follow_links=tree.follow_links):
                folder.enter(name)
            names = [name for names, _ in folder.iter_names() for name in names if name[:1] != '.']
            found += _list_sources(path, names, folder.measure(names))
    except OSError as error:
        raise_unreadable(AGGREGATES, error)
    for problem in tally.problems:
        raise ReleaseError(f'{problem}: what is below {AGGREGATES} is released as a whole, or not at all')
    return sorted(found)


def name_parts(path: Path, count: int) -> list[Path]:
    """Name the parts of an archive.

    >>> [path.name for path in name_parts(Path('data.zip'), 2)]
    ['data.part1.zip', 'data.part2.zip']
    """
    stem, suffix = _split_name(path.name, path)
    width = len(str(count))
    return [path.with_name(f'{stem}.part{i:0{width}}{suffix}') for i in range(1, count + 1)]


@contextmanager
def replacing_parts(path: Path | None, made: Sequence[tuple[int, int]]) -> Iterator[Callable[[], object]]:
    """Give what moves all parts of an earlier release out of the way, the first one first.

    They are gone when the block has ended, and are as they were if it raises. So no part of one release
    stands beside one of another, whenever the run ends.

    path: of the release, before it was split; None where no other is replaced
    made: devices and inodes of the new parts, once these are written
    """
    if path is None:
        yield bool
        return
    stem, suffix = _split_name(path.name, path)
    is_part = re.compile(f'{re.escape(stem)}\\.part([0-9]+){re.escape(suffix)}').fullmatch
    aside: list[tuple[str, str]] = []
    with OpenFolder.open(path.parent) as folder:

        def iter_parts() -> Iterator[tuple[str, os.stat_result]]:
            for match in sorted(filter(None, map(is_part, folder.names())), key=lambda one: int(one[1])):
                info = folder.look(match[0])
                if info is not None and S_ISREG(info.st_mode):
                    yield match[0], info

        def put_aside() -> None:
            for name, _ in iter_parts():
                aside.append((name, choose_sibling(name, folder)))
                folder.replace(name, folder, aside[-1][1])

        try:
            yield put_aside
        except BaseException:
            for name, info in iter_parts():
                if (info.st_dev, info.st_ino) in made:
                    folder.remove(name)
            for name, sibling in reversed(aside):
                with suppress(FileNotFoundError):
                    folder.replace(sibling, folder, name)
            raise
        for _, sibling in aside:
            with suppress(OSError):  # else the next release of this name removes it
                folder.remove(sibling)


def find_descriptions(tree: Tree) -> list[Source]:
    """Find the README and LICENSE files of the root.

    Raises ReleaseError if one has a name that does not unpack everywhere.
    """
    with tree.open_folder('', Tally()) as folder:
        listed = (name for names, _ in folder.iter_names() for name in names)
        names = sorted(filter(_DESCRIPTION.fullmatch, listed))
        return _list_sources('', names, folder.measure(names))


def _list_sources(above: str, names: list[str], measures: Measures) -> list[Source]:
    """List the files of what was measured; what nobody can look at is not left out unsaid."""
    paths = [f'{above}/{name}' if above else name for name in names]
    for position, wrong in measures.wrong.items():
        if isinstance(wrong, OSError):
            raise_unreadable(paths[position], wrong)
    files = (to_member(path) for position, path in enumerate(paths) if position not in measures.wrong)
    return [Source(path, size) for path, size in zip(files, measures.sizes, strict=True)]

"""What a run goes on with: how the published index was made, but for what was asked for.

An index is a lab's memory: a run loses something of it only where it was told so. Gives the recipe, and what
of it nobody has asked for. Leaves to `fastindex.tables.foreign` what the tables say.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from fastindex.errors import UsageError
from fastindex.tables.file import TABLES
from fastindex.tables.foreign import find_foreign, read_recipes
from fastindex.tables.recipe import Recipe
from fastindex.text import escape
from fastindex.trees import is_url

__all__ = ['Wish', 'carry_on', 'follows_links']


class Wish(NamedTuple):
    """What was asked for of a `Recipe`; None is as the published index was made."""

    namespace: UUID | None = None
    ids_from: bool | None = None
    follow_symlinks: bool | None = None
    uuid_filenames: bool | None = None
    algorithms: tuple[str, ...] | None = None
    default_revision: str | None = None
    exclude: tuple[str, ...] | None = None
    one_file_system: bool | None = None
    session_info: bool | None = None
    trust: tuple[str, ...] | None = None


def carry_on(
    folder: Path, wish: Wish, *, replaces: bool, fresh: bool = False, force: bool = False
) -> tuple[Recipe, tuple[str, ...]]:
    """Choose the recipe of a run.

    Raises UsageError if both tables and names are to give the ids of datasets, or nobody can tell how the
    index was made.

    folder: where the published index is, or will be
    replaces: whether the run will put another in its place
    fresh: whether it makes no difference how that one was made
    force: whether it makes none where nobody can tell

    Returns
    -------
    recipe, as_before
        The latter are the options that the index has decided, in backticks, as a hint has them.
    """
    asked = {name: value for name, value in wish._asdict().items() if value is not None}
    known = set() if fresh or None not in wish else read_recipes(folder, follow_links=not replaces)
    recipes = {replace(recipe, **asked) for recipe in known or {Recipe()}}
    if not (fresh or force) and None in wish and (len(recipes) > 1 or (not known and _has_tables(folder))):
        raise UsageError(
            f'{escape(folder)}: the tables are damaged, and how this index was made cannot be '
            'told. It was left as it is; ',
            hint='`fresh` makes it anew, as the other options say',
        )
    recipe = Recipe(**asked) if len(recipes) > 1 else recipes.pop()
    if recipe.uuid_filenames and recipe.ids_from:
        says = ''
        if wish.uuid_filenames is None:
            says = '; this index has those in the names, until `uuid_filenames=False` says otherwise'
        elif wish.ids_from is None:
            says = '; this index has those of other tables, until `ids_from=False` says otherwise'
        raise UsageError(
            hint='the ids of datasets are those in the names of their files (`uuid_filenames`), or those of '
            f'other tables (`ids_from`): leave one of the two out{says}'
        )
    return recipe, tuple(_iter_options(recipe, set(asked)))


def follows_links(target: str | os.PathLike[str], wish: Wish, *, fresh: bool) -> bool:
    """Tell whether links are followed, as far as it is known before the index is locked: none is in vain."""
    if wish.follow_symlinks is not None or fresh or is_url(target):
        return wish.follow_symlinks is not False
    known = read_recipes(Path(os.path.realpath(target)), follow_links=False)
    return all(recipe.follow_symlinks for recipe in known)


def _has_tables(folder: Path) -> bool:
    """Tell whether there are tables of ours."""
    return any((folder / name).exists() for name in TABLES) and find_foreign(folder) is None


def _iter_options(recipe: Recipe, asked: set[str]) -> Iterator[str]:
    """Iterate over the options by which an index is made so, but for those that were given."""
    usual = Recipe()
    for name in (field.name for field in fields(Recipe)):
        value = getattr(recipe, name)
        if name in asked or value == getattr(usual, name):
            continue
        if name == 'exclude':
            yield '`exclude`'
        elif name == 'trust':
            yield f'`trust={",".join(value)}`'
        elif name == 'algorithms':
            yield '`hash`' if value == ('xxh128',) else f'`hash={",".join(value)}`'
        else:
            yield f'`{name}`' if value is True else f'`{name}={value}`'

"""`make_parquet_db`: a drop-in for the client's own builder, `one.alf.cache.make_parquet_db`."""

from __future__ import annotations

import logging
import os
import warnings
from functools import partial
from pathlib import Path

from fastindex.errors import EmptyTreeError, UsageError, naming_shortage
from fastindex.jobs.build.build import build_index
from fastindex.jobs.build.options import Options
from fastindex.jobs.build.scope import parse_only
from fastindex.names.problems import head_problems
from fastindex.tables.recipe import Recipe
from fastindex.trees import Tree, open_tree
from fastindex.trees.part import PartTree
from fastindex.trees.roots import find_right_root, judge_root

__all__ = ['make_parquet_db']

_logger = logging.getLogger(__name__)


@naming_shortage()
def make_parquet_db(
    root_dir: str | os.PathLike[str],
    out_dir: str | os.PathLike[str] | None = None,
    hash_ids: bool = True,
    hash_files: bool = False,
    lab: str | None = None,
) -> tuple[Path, Path]:
    """Index a folder of ALF datasets, with the arguments and results of `one.alf.cache.make_parquet_db`.

    Parameters
    ----------
    root_dir
        The folder to index. It may be a part of a tree (a lab, its `Subjects`, a subject, a date, a session):
        then the rows are those that an index of the whole tree has of it, for a client on the whole tree.
    out_dir
        Existing folder for the tables; `root_dir` if None.
    hash_ids
        Whether ids are UUIDs, as the client needs them. If not, they are paths without `Subjects`
        (`mylab/mysub/2021-02-28/001`), the tables have no index, and the rows are in the order of the paths.
    hash_files
        Whether the MD5 of each file is computed. Where not, `hash` is null, not `''`, which the client
        would compare with the MD5 of each file that it loads.
    lab
        Fills the lab column.

    Returns
    -------
    sessions_path, datasets_path
        The paths of the saved tables, in `out_dir` as it was given or the resolved root.

    Raises
    ------
    AssertionError
        If `out_dir` is not a folder, or the tree names another lab than `lab`.

    Warns
    -----
    RuntimeWarning
        If there are no sessions or no datasets; the tables are written all the same.
    """
    root = Path(root_dir).resolve()
    out = Path(out_dir) if out_dir else root
    if not out.is_dir():
        raise AssertionError(f'{out} is no folder: expected one that exists')
    options = Options(
        recipe=Recipe(algorithms=('md5',) if hash_files else ()),
        path_ids=not hash_ids,
        lab=lab or None,
        keep=0,
    )
    build = partial(build_index, out=out.resolve(), overwrite=True)
    tree = open_tree(root)
    try:
        summary = build(_open_part(tree) if root.name == 'Subjects' else tree, options=options)
    except EmptyTreeError:
        summary = build(_open_part(tree), options=options._replace(allow_empty=True))
    for warning in summary.warnings:
        _logger.warning('%s', warning)
    if summary.problem_count:
        head = head_problems(summary.problem_count, 'could not be indexed')
        _logger.warning('%s: %s', head, summary.problems_path)
    if not (summary.sessions and summary.datasets):
        missing = 'datasets' if summary.sessions else 'sessions'
        warnings.warn(f'No {missing} found', RuntimeWarning, stacklevel=3)  # behind the decorator
    return out / 'sessions.pqt', out / 'datasets.pqt'


def _open_part(tree: Tree) -> Tree:
    """Open the tree of which another one is a part, so that only this part is seen; itself if it is none."""
    wrong = find_right_root(tree)
    if os.path.basename(tree.root) == 'Subjects':
        wrong = judge_root(tree)
    if wrong is None or wrong.is_too_high:
        return tree
    try:
        (part,) = parse_only([tree.root], wrong.right)
    except UsageError:  # it is in a session
        return tree
    return PartTree(open_tree(wrong.right), (part,))

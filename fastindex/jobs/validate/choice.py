"""Names beside each other: those that stand for one thing, and those that misnamed ones are to get."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from fastindex.names.diagnose import Diagnosis, diagnose_beside, fold, is_variant
from fastindex.names.rules import Finding

__all__ = ['beside', 'choose_fixes', 'iter_twins']


def beside(path: str, name: str) -> str:
    """Put another name in the place of the last one of a path; '' for ''."""
    return f'{path.rpartition("/")[0]}/{name}'.removeprefix('/') if name else ''


def iter_twins(names: Iterable[str], key: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    """Iterate over the names that have the key of one before them, in order, each with the first of it."""
    first: dict[str, str] = {}
    for name in sorted(names):
        other = first.setdefault(key(name), name)
        if other != name:
            yield name, other


def choose_fixes(
    above: str, diagnoses: Iterable[tuple[str, Diagnosis]], names: Collection[str]
) -> Iterator[Finding]:
    """Make findings of the diagnoses of names in one folder; no two get the same fix, nor one that is taken.

    above: path of the folder
    names: all names in the folder
    """
    names = frozenset(names)
    taken = {fold(name) for name in names}
    for name, diagnosis in sorted(diagnoses):
        is_left = diagnosis.code == 'ALF308'
        code, message, fix = (is_left and diagnose_beside(name, names)) or diagnosis
        path = f'{above}/{name}' if above else name
        if fix and is_variant(name, names):
            fix = ''
        if fold(fix) in taken and (fold(fix) != fold(name) or fix in names):
            fix = ''
        taken.add(fold(fix))
        yield Finding.make(code, path, message, beside(path, fix))

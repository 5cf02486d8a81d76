"""Choose the names that misnamed files and folders are to get: no two the same, and none that is taken."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from fastindex.names.diagnose import Diagnosis, diagnose_beside, fold, is_variant
from fastindex.names.rules import Finding

__all__ = ['beside', 'choose_fixes']


def beside(path: str, name: str) -> str:
    """Put another name in the place of the last one of a path; '' for ''."""
    return f'{path.rpartition("/")[0]}/{name}'.removeprefix('/') if name else ''


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

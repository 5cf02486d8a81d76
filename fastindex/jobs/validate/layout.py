"""Survey what is above the sessions: the root, labs, subjects, dates, and the sessions as a whole.

Which folders are sessions is the discovery's to say, the same one that a build has. Here its skips and
problems become findings, with the nearest valid name.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from io import UnsupportedOperation
from itertools import groupby, islice

from fastindex.jobs.validate.choice import beside, choose_fixes, iter_twins
from fastindex.jobs.validate.sessions import make_finding
from fastindex.names.alf import SessionPath, SkipReason, is_dataset_name, judge_date, split_session_path
from fastindex.names.diagnose import (
    DIAGNOSIS_OF_SKIP,
    Diagnosis,
    describe_twin,
    diagnose_date,
    diagnose_file,
    diagnose_lab,
    diagnose_number,
    diagnose_subject,
    fold,
)
from fastindex.names.problems import Skip, Tally
from fastindex.names.rules import Finding
from fastindex.pipeline.discover import AGGREGATES
from fastindex.tables.file import TABLES
from fastindex.tables.foreign import is_of_client
from fastindex.trees import Folder, Kind, Tree
from fastindex.trees.fate import find_folders
from fastindex.trees.part import TreeOver
from fastindex.trees.roots import find_right_root, judge_root

__all__ = ['NotingTree', 'survey']

MAX_FOLDERS = 500  # folders that are listed at most to say what is wrong with one folder
MAX_LISTINGS = 8  # that are remembered: of a lab and its Subjects, while each misplaced subject is looked at

Listing = Callable[[str], Mapping[str, None]]  # gives the names of the folders in a folder, sorted


class NotingTree(TreeOver):
    """A tree that notes the files above the sessions too, if their names belong in a session."""

    @contextmanager
    def open_folder(self, path: str, tally: Tally) -> Iterator[Folder]:
        with self.tree.open_folder(path, tally) as folder:
            if path and path.split('/')[0] != AGGREGATES:
                for name in _iter_files(folder):
                    if is_dataset_name(name):
                        tally.skip(f'{path}/{name}', SkipReason.OUTSIDE_SESSION)
                    elif (diagnosis := diagnose_file(name)) and diagnosis.code == 'ALF308':
                        tally.skip(f'{path}/{name}', SkipReason.NOT_DATASET)
            yield folder


def survey(tree: Tree, sessions: Sequence[str], tally: Tally) -> list[Finding]:
    """Survey what is above the sessions.

    sessions: their paths, sorted
    tally: of the discovery by a `NotingTree`, with its skips in full
    Returns the findings, sorted by path.
    """
    wrong = judge_root(tree) if sessions else find_right_root(tree)
    found = list(map(make_finding, tally.problems))
    found += _iter_foreign_tables(tree)
    if wrong:
        code = 'ALF101' if wrong.is_too_high else 'ALF102'
        found.append(Finding.make(code, '.', wrong.message, wrong.right))
    elif not sessions:
        found.append(Finding.make('ALF103', '.', 'no session was found: is this the right folder?'))
    if sessions or not wrong:  # under a wrong root every name is wrong
        listing = lru_cache(MAX_LISTINGS)(partial(_list, tree))
        found += _iter_skip_findings(listing, tally.skips or [])
        found += _iter_name_findings(tree, sessions)
        found += _iter_number_findings(sessions)
        found += _iter_lab_findings(sessions)
    return sorted(set(found), key=lambda finding: (finding.path, finding))


def _iter_foreign_tables(tree: Tree) -> Iterator[Finding]:
    with tree.open_folder('', Tally()) as folder:
        for names, _ in folder.iter_names():
            for name in names:
                if name.endswith('.pqt') and name not in TABLES and not _is_of_client(folder, name):
                    yield Finding.make('ALF104', name, 'the client will open it as a part of the index')


def _is_of_client(folder: Folder, name: str) -> bool:
    """Tell whether a table belongs beside the index, as the client saves others there: insertions.pqt."""
    try:
        with folder.open(name) as fd, os.fdopen(os.dup(fd), 'rb') as file:
            return is_of_client(name, file)
    except UnsupportedOperation:  # in a bucket
        return name == 'insertions.pqt'
    except OSError:
        return False


def _iter_skip_findings(listing: Listing, skips: Iterable[Skip]) -> Iterator[Finding]:
    """Say of each name that the discovery left out what is wrong with it."""
    by_folder = groupby(sorted(skips), key=lambda skip: skip.path.rpartition('/')[0])
    for above, left_out in by_folder:
        diagnoses = []
        for skip in left_out:
            if skip.reason is SkipReason.AGGREGATES:
                continue
            if skip.reason is SkipReason.NOT_LAB_OR_SUBJECT:
                yield from _explain_folder(listing, skip.path)
            else:
                name = skip.path.rpartition('/')[2]
                diagnoses.append((name, _diagnose_skip(name, skip.reason)))
        if diagnoses:
            names = listing(above)
            numbers = [name.zfill(3) for name in names if name.isdecimal()]  # 1 is where 001 should be
            yield from choose_fixes(above, diagnoses, [*names, *numbers])


def _diagnose_skip(name: str, reason: SkipReason) -> Diagnosis:
    if known := DIAGNOSIS_OF_SKIP.get(reason):
        return known
    if reason is SkipReason.NOT_NUMBER:
        diagnosis = diagnose_number(name)
    elif reason in (SkipReason.NOT_DATE, SkipReason.NO_SUCH_DAY):
        diagnosis = diagnose_date(name)
    else:
        diagnosis = diagnose_file(name)
        if diagnosis is None or diagnosis.code != 'ALF308':
            diagnosis = Diagnosis('ALF125', 'it lies above the sessions, so it is not in the index')
    if diagnosis is None:
        raise AssertionError(f'{name!r} was left out as {reason}, but is right')
    return diagnosis


def _explain_folder(listing: Listing, path: str) -> Iterator[Finding]:
    """Say why a folder in the root, or in a lab, is neither lab nor subject: what is below it tells."""
    names = listing(path)
    above, _, name = path.rpartition('/')
    if above and fold(name) == fold('Subjects'):
        yield Finding.make('ALF306', path, describe_twin(name, 'Subjects'))
        return
    if above and any(judge_date(name) is None for name in names):
        yield _misplaced_subject(listing, above, name)
        return
    twins = [child for child in names if not above and fold(child) == fold('Subjects')]
    misnamed = [(twin, Diagnosis('ALF111', 'expected the name Subjects', 'Subjects')) for twin in twins]
    dates = [(child, diagnosis) for child in names if (diagnosis := diagnose_date(child)) and diagnosis.fix]
    if misnamed or dates:
        yield from choose_fixes(path, misnamed or dates, names)
        return
    found = []
    for child in islice(names, MAX_FOLDERS):
        below = listing(f'{path}/{child}')
        if any(judge_date(date) is None for date in below):
            found.append(_misplaced_subject(listing, path, child))
        elif 'Subjects' in below:
            fix = '' if child in listing(above) else f'{above}/{child}'.removeprefix('/')
            found.append(Finding.make('ALF111', f'{path}/{child}', 'a lab that lies too deep', fix))
    yield from found or [Finding.make('ALF111', path, 'there is neither Subjects nor a date in this folder')]


def _misplaced_subject(listing: Listing, lab: str, subject: str) -> Finding:
    message = 'it looks like a subject, which in a lab belongs in the folder Subjects'
    code = 'ALF111' if 'Subjects' in listing(lab) else 'ALF105'
    fix = '' if subject in listing(f'{lab}/Subjects') else f'{lab}/Subjects/{subject}'
    return Finding.make(code, f'{lab}/{subject}', message, fix)


def _iter_name_findings(tree: Tree, sessions: Sequence[str]) -> Iterator[Finding]:
    """Judge the names of the labs and subjects that have sessions."""
    subjects: defaultdict[str, set[str]] = defaultdict(set)
    for path in sessions:
        lab, subject, _, _ = split_session_path(SessionPath(path))
        subjects[f'{lab}/Subjects' if lab else ''].add(subject)
    yield from _judge_names(tree, '', {above.partition('/')[0] for above in subjects if above}, diagnose_lab)
    for above, names in subjects.items():
        yield from _judge_names(tree, above, names, diagnose_subject)


def _judge_names(
    tree: Tree, above: str, names: set[str], diagnose: Callable[[str], Diagnosis | None]
) -> Iterator[Finding]:
    diagnoses = [(name, diagnosis) for name in names if (diagnosis := diagnose(name))]
    if diagnoses:
        yield from choose_fixes(above, diagnoses, _list(tree, above))
    for name, other in iter_twins(names, fold):
        yield Finding.make('ALF306', f'{above}/{name}'.removeprefix('/'), describe_twin(name, other))


def _iter_number_findings(sessions: Sequence[str]) -> Iterator[Finding]:
    """Judge the numbers of the sessions of each date: three digits each, and no two of one value."""
    for above, paths in groupby(sessions, key=lambda path: path.rpartition('/')[0]):
        names = [path.rpartition('/')[2] for path in paths]
        taken = {int(name) for name in names}
        first: dict[int, str] = {}
        for name in names:
            number = int(name)
            other = first.setdefault(number, name)
            if other != name:
                free = next((f'{n:03}' for n in range(number + 1, 1000) if n not in taken), '')
                taken.add(int(free or 0))
                message = f'to the client it is the same session as {other}'
                yield Finding.make('ALF121', f'{above}/{name}', message, beside(f'{above}/{name}', free))
            elif diagnosis := diagnose_number(name):
                code, message, fix = diagnosis
                yield Finding.make(code, f'{above}/{name}', message, f'{above}/{fix}')


def _iter_lab_findings(sessions: Sequence[str]) -> Iterator[Finding]:
    """Find sessions of the same subject, date and number in two labs."""
    first: dict[str, str] = {}
    for path in sessions:
        lab, subject, date, number = split_session_path(SessionPath(path))
        other = first.setdefault(f'{subject}/{date}/{int(number)}', lab)
        if other != lab:
            where = f'the lab {other!r}' if other else 'the root'
            yield Finding.make('ALF122', path, f'the same subject, date and number are in {where} too')


def _iter_files(folder: Folder) -> Iterator[str]:
    """Iterate over the names of what is no folder, nor leads to one."""
    for names, kinds in folder.iter_names():
        for name, kind in zip(names, kinds, strict=True):
            if kind == Kind.LINK:
                with suppress(OSError):
                    kind = folder.kind_of(name)
            if kind != Kind.FOLDER:
                yield name


def _list(tree: Tree, path: str) -> dict[str, None]:
    """List the folders in a folder, sorted; as a dictionary, as most often one of them is looked for."""
    return dict.fromkeys(find_folders(tree, path))

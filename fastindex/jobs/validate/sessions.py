"""Check the names in a shard of sessions: walk each as a scan does, but measure and open nothing.

Runs in a worker. Takes one picklable argument and gives the findings, sorted by path. Leaves what is above
the sessions to `fastindex.jobs.validate.layout`. Only `deep` opens files: see
`fastindex.jobs.validate.lengths`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

from fastindex import limits
from fastindex.jobs.validate.choice import beside, choose_fixes, iter_twins
from fastindex.jobs.validate.lengths import OddShapeError, compare_lengths, read_length
from fastindex.jobs.validate.npy import BadHeaderError
from fastindex.jobs.validate.pointers import MAX_POINTER_BYTES, read_pointer
from fastindex.names.alf import (
    SkipReason,
    is_dataset_name,
    is_revision_folder,
    judge_date,
    judge_number,
    parse_dataset_name,
)
from fastindex.names.diagnose import (
    DIAGNOSIS_OF_SKIP,
    Diagnosis,
    describe_twin,
    diagnose_file,
    diagnose_folder,
    diagnose_uuid,
    fold,
)
from fastindex.names.problems import ADVICE, Problem, Reason, Tally
from fastindex.names.rules import RULE_OF_REASON, RULES, Finding
from fastindex.names.uuid_names import add_uuid, is_uuid, split_uuids
from fastindex.names.verdicts import UuidVerdicts, verdicts_of
from fastindex.names.windows import MAX_PATH_CHARACTERS
from fastindex.pipeline.session_info import SessionInfo, file_of, find_name
from fastindex.pipeline.shard import SHARD_BYTES, cut
from fastindex.text import to_text
from fastindex.trees import Folder, Kind, Tree
from fastindex.trees.fate import find_folders, sift

__all__ = ['CheckResult', 'CheckTask', 'make_finding']

MAX_NAMES = 20_000  # names whose verdicts a process remembers
FINDING_BYTES = 500  # what a finding takes in memory, about
COMPANIONS = frozenset({'bin', 'cbin', 'ch', 'meta'})
"""SpikeGLX's files of one recording: they belong together, and nobody loads them as one object."""

_OF_NAMES = frozenset({Reason.NOT_UTF8, Reason.NOT_HERE, Reason.NO_UUID, Reason.BAD_UUID})
"""Problems that are those of a name."""

_MESSAGES = {
    Reason.NOT_REGULAR: 'a pipe, a socket or a device',
    Reason.TOO_DEEP: 'too many folders in one another',
    Reason.TOO_LONG: f'more than {limits.MAX_TEXT_BYTES:,} bytes below the session',
}


class CheckTask(NamedTuple):
    """A shard, and what to look for."""

    tree: Tree
    paths: list[bytes]
    codes: frozenset[str]
    deep: bool
    uuid_filenames: bool = False

    def run(self) -> CheckResult:
        """Check the sessions. Never raises for what is on the disk."""
        sessions: list[_Session] = []
        result = CheckResult(0, 0, 0, [], [])
        while len(sessions) < len(self.paths) and result.held_bytes < SHARD_BYTES:
            sessions.append(session := _Session(self, self.paths[len(sessions)].decode()))
            result.findings.extend(session.check())
            result.uuid_paths.extend(sorted(session.uuid_paths))
        return result._replace(
            sessions=len(sessions),
            folders=sum(session.folders for session in sessions),
            files=sum(session.files for session in sessions),
            continuation=[self._replace(paths=list(paths)) for paths in cut(self.paths, len(sessions))],
        )

    def rescue(self) -> CheckResult | list[CheckTask]:
        """Check session by session; the one that kills its worker is a finding."""
        if len(self.paths) > 1:
            return [self._replace(paths=[path]) for path in self.paths]
        finding = make_finding(Problem(self.paths[0].decode(), Reason.WORKER_DIED))
        return CheckResult(1, 0, 0, [finding] if finding.code in self.codes else [], [])


class CheckResult(NamedTuple):
    """What a shard gave."""

    sessions: int
    folders: int
    files: int
    findings: list[Finding]
    uuid_paths: list[str]  # of the datasets whose names carry UUIDs, sorted as the findings are
    continuation: Sequence[CheckTask] = ()  # for the sessions after them, where these had much to tell
    subtasks: tuple[()] = ()

    @property
    def held_bytes(self) -> int:
        return FINDING_BYTES * (len(self.findings) + len(self.uuid_paths))


class _Name(NamedTuple):
    """What is known of a file's name."""

    diagnosis: Diagnosis | None
    folded: str  # equal for names that some file systems take for one
    stem: str  # all but the extension, '' where the name is no dataset's
    key: str  # what `load_object` tells a dataset of an object by: no namespace, no extension


@lru_cache(maxsize=MAX_NAMES)
def _judge(name: str) -> _Name:
    if not is_dataset_name(name):
        return _Name(diagnose_file(name), fold(name), '', '')
    stem = name.rpartition('.')[0]
    thing = parse_dataset_name(name).object
    return _Name(diagnose_file(name), fold(name), stem, thing + stem[stem.index('.') :])


def _judge_with_uuid(name: str) -> _Name:
    """Judge a name that carries a UUID: what is remembered is what was thought of it without."""
    stem, _, extension = name.rpartition('.')
    rest, uuid = stem[:-36], stem[-36:]
    has_uuid = is_uuid(uuid) and rest.endswith('.')
    known = _judge(rest + extension if has_uuid else name)
    diagnosis = known.diagnosis
    if known.stem and (wrong := diagnose_uuid(name)):
        return _Name(wrong, fold(name), '', '')
    if diagnosis and diagnosis.fix and has_uuid:
        diagnosis = diagnosis._replace(fix=add_uuid(diagnosis.fix, uuid))
    return known._replace(diagnosis=diagnosis, folded=fold(name))


_diagnose_folder = lru_cache(maxsize=MAX_NAMES)(diagnose_folder)


def make_finding(problem: Problem) -> Finding:
    """Make a finding of a path that could not be indexed."""
    code = RULE_OF_REASON[problem.reason]
    if problem.reason is Reason.NOT_UTF8:
        name = problem.path.rpartition('/')[2]
        fixed = re.sub(r'\\x([89a-f][0-9a-f])', lambda match: chr(int(match[1], 16)), name)
        return Finding.make(code, problem.path, 'the name is not UTF-8', beside(problem.path, fixed))
    if advice := ADVICE.get(problem.reason):
        return Finding.make(code, problem.path, f'{RULES[code].title}: {advice}')
    if problem.errno:
        begin = '' if problem.link else 'the system says: '
        return Finding.make(code, problem.path, f'{begin}{problem.said} (errno {problem.errno})')
    return Finding.make(code, problem.path, _MESSAGES.get(problem.reason, RULES[code].title))


class _Session:
    """One session while it is walked."""

    def __init__(self, task: CheckTask, path: str) -> None:
        self.task = task
        self.tree = task.tree
        self.path = path
        self.tally = Tally(list_skips=True)
        self.findings: list[Finding] = []
        self.folders = 0
        self.files = 0
        self.datasets = 0
        self.uuid_paths: list[str] = []
        self.lengths: list[tuple[str, int]] = []  # of datasets: path, and how many rows
        self.info = SessionInfo()
        self._judge = _judge_with_uuid if task.uuid_filenames else _judge

    def check(self) -> list[Finding]:
        """Walk the session; return its findings, sorted by path."""
        try:
            for folder in self.tree.walk(self.path, self.tally):
                self.folders += 1
                self._check_folder(folder)
        except OSError as error:
            self.tally.error(self.path, error)
        self._compare_lengths()
        self.findings += map(make_finding, self.tally.problems)
        for skip in self.tally.skips or ():
            code, why, _ = DIAGNOSIS_OF_SKIP[skip.reason]
            self._add(code, skip.path, why)
        if not (self.datasets or self.tally.problems):
            self._add('ALF124', self.path, 'there is no dataset in this session')
        wanted = {finding for finding in self.findings if finding.code in self.task.codes}
        return sorted(wanted, key=lambda finding: (finding.path, finding))

    def _add(self, code: str, path: str, message: str, fix: str = '') -> None:
        self.findings.append(Finding.make(code, path, message, fix))

    def _path_of(self, folder: Folder, name: str) -> str:
        return '/'.join(part for part in (self.path, folder.path, name) if part)

    def _check_folder(self, folder: Folder) -> None:
        """Sift the names in a folder as a scan does; look at those that are wrong, alone or together."""
        tally = Tally(list_skips=True)
        verdicts = UuidVerdicts(folder.path) if self.task.uuid_filenames else verdicts_of(folder.path)
        above = self._path_of(folder, '')
        kind_of: dict[str, int] = {}
        datasets: list[str] = []
        try:
            for block, kinds in folder.iter_names():
                kind_of.update(zip(block, kinds, strict=True))
                datasets += sift(
                    folder, block, kinds, verdicts, tally, above=above, follow_links=self.tree.follow_links
                )[0]
        except OSError as error:  # the listing broke off: what it gave counts
            self.tally.error(above, error)
        self.datasets += len(datasets)
        if self.task.uuid_filenames:
            self.uuid_paths += [f'{above}/{name}' for name in datasets]
        diagnoses = list(self._iter_left_out(tally, datasets, kind_of))
        for name in folder.entered:
            diagnoses += self._judge_entered(folder, name)
        known = {name: self._judge(name) for name in kind_of}
        diagnoses += [(name, wrong) for name in datasets if (wrong := known[name].diagnosis)]
        for name in datasets:
            if len(above) + len(name) >= MAX_PATH_CHARACTERS:
                message = (
                    f'{len(above) + 1 + len(name)} characters: on Windows a path has no more than 260 in all'
                )
                self._add('ALF412', f'{above}/{name}', message)
        self.files += len(datasets)
        if len({judged.folded for judged in known.values()}) < len(known):
            for name, other in iter_twins(known, lambda name: known[name].folded):
                self._add('ALF306', self._path_of(folder, name), describe_twin(name, other))
        if len({known[name].key for name in datasets}) < len(datasets):
            self._find_same_attributes(folder, {name: known[name] for name in datasets})
        if diagnoses:
            self.findings += choose_fixes(above, diagnoses, kind_of)
        if self.task.deep:
            pointers = self._find_pointers(folder, datasets)
            datasets = [name for name in datasets if name not in pointers]
            self._read_lengths(folder, datasets)
            self._read_info(folder, datasets)

    def _iter_left_out(
        self, tally: Tally, datasets: list[str], kind_of: dict[str, int]
    ) -> Iterator[tuple[str, Diagnosis]]:
        """Say what is wrong with the names that a scan leaves out; note good ones in bad folders."""
        for skip in tally.skips or ():
            name = skip.path.rpartition('/')[2]
            if known := DIAGNOSIS_OF_SKIP.get(skip.reason):
                yield name, known
            elif skip.reason is not SkipReason.LEFT_OVER and is_dataset_name(name):  # its folder is wrong
                datasets.append(name)
            else:
                self.files += 1
                if diagnosis := self._judge(name).diagnosis:
                    yield name, diagnosis
        names = {to_text(name): name for name in kind_of} if tally.problems else {}
        for problem in tally.problems:
            name = names[problem.path.rpartition('/')[2]]
            is_folder = kind_of[name] == Kind.FOLDER
            diagnosis = _diagnose_folder(name) if is_folder else self._judge(name).diagnosis
            if problem.reason in _OF_NAMES and diagnosis:
                self.files += not is_folder
                yield name, diagnosis
            else:
                self.tally.problems.append(problem)

    def _judge_entered(self, folder: Folder, name: str) -> Iterator[tuple[str, Diagnosis]]:
        """Judge the name of a folder that is entered, by itself and by where it is."""
        path = self._path_of(folder, name)
        if judge_number(name) is None and judge_date(folder.path.rpartition('/')[2]) is None:
            fix = self._outer_path(f'{folder.path}/{name}')
            self._add('ALF123', path, 'its files are indexed as datasets of the session around it', fix)
        above, _, last = folder.path.rpartition('/')
        if is_revision_folder(last):
            fix = '' if is_revision_folder(name) else '/'.join(filter(None, (self.path, above, name, last)))
            message = f'this folder is below the revision {last}'
            self._add('ALF203', path, message, '' if self._is_there(fix) else fix)
        if diagnosis := _diagnose_folder(name):
            yield name, diagnosis

    def _outer_path(self, below: str) -> str:
        """Find a free place beside this session for one that lies in it."""
        names = below.split('/')
        if len(names) >= 5 and names[-4] == 'Subjects':
            fix = '/'.join(names[-5:])
        else:
            subject = self.path.rsplit('/', 2)[0]
            fix = f'{subject}/{names[-2]}/{int(names[-1]):03}'
        return '' if self._is_there(fix) else fix

    def _is_there(self, path: str) -> bool:
        above, _, name = path.rpartition('/')
        return name in find_folders(self.tree, above)

    def _find_same_attributes(self, folder: Folder, names: dict[str, _Name]) -> None:
        extension = {name: name.rpartition('.')[2] for name in names}
        same_paths = dict(iter_twins(names, lambda name: f'{names[name].stem}.{extension[name]}'))
        for name, other in iter_twins(names, lambda name: names[name].key):
            path = self._path_of(folder, name)
            if name in same_paths:  # only the UUIDs differ
                self._add('ALF314', path, f'the path is that of {same_paths[name]!r}, too')
            elif not COMPANIONS.issuperset((extension[name], extension[other])):
                self._add('ALF307', path, f"the client's load_object refuses it beside {other!r}")

    def _find_pointers(self, folder: Folder, datasets: list[str]) -> set[str]:
        """Find small files that stand for others, which are not here."""
        found: set[str] = set()
        sizes, _, _, wrong = folder.measure(datasets)
        readable = [name for position, name in enumerate(datasets) if position not in wrong]
        for name, size in zip(readable, sizes, strict=True):
            with suppress(OSError):
                if size <= MAX_POINTER_BYTES:
                    with folder.open(name) as fd:
                        message = read_pointer(fd)
                    if message:
                        found.add(name)
                        self._add('ALF413', self._path_of(folder, name), message)
        return found

    def _read_info(self, folder: Folder, datasets: list[str]) -> None:
        """Read what says of which projects and tasks the session is; what is wrong with it is a problem."""
        wanted = file_of(folder.path)
        if wanted and (name := find_name(datasets, wanted, uuid_filenames=self.task.uuid_filenames)):
            self.info.read(folder, wanted, name, self.tally, self._path_of(folder, name))

    def _read_lengths(self, folder: Folder, datasets: list[str]) -> None:
        """Read how long the datasets of a folder are."""
        for name in datasets:
            path = self._path_of(folder, name)
            if not name.endswith(('.npy', '.pqt')):
                continue
            try:
                with folder.open(name) as fd:
                    length = read_length(fd, name)
            except BadHeaderError as error:
                self._add('ALF502', path, str(error))
            except OddShapeError as error:
                self._add('ALF501', path, str(error))
            except OSError as error:
                self.tally.error(path, error)
            else:
                if length is not None:
                    self.lengths.append((path, length))

    def _compare_lengths(self) -> None:
        """Compare the lengths of what the client loads together, whatever folders it lies in."""
        paths = [path[len(self.path) + 1 :] for path, _ in self.lengths]
        if self.task.uuid_filenames:
            paths = [path.decode() for path in split_uuids([path.encode() for path in paths])[0]]
        for position, message in compare_lengths(
            [(path, length) for path, (_, length) in zip(paths, self.lengths, strict=True)]
        ):
            self._add('ALF501', self.lengths[position][0], message)

"""Check the names in a shard of sessions: walk each as a scan does, but measure and open nothing.

Runs in a worker. Takes one picklable argument and gives the findings, sorted by path. Leaves what is above
the sessions to `fastindex.jobs.validate.layout`. Only `deep` opens files: the headers of `.npy` files.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from stat import S_ISDIR, S_ISREG
from typing import NamedTuple

from fastindex.jobs.validate.npy import BadHeaderError, read_shape
from fastindex.names.alf import (
    is_dataset_name,
    is_opaque_folder,
    is_revision_folder,
    judge_date,
    judge_folder,
    judge_number,
    parse_dataset_name,
)
from fastindex.names.diagnose import (
    Diagnosis,
    describe_twin,
    diagnose_file,
    diagnose_folder,
    diagnose_uuid,
    fold,
)
from fastindex.names.problems import Problem, Reason, Tally
from fastindex.names.rules import RULE_OF_REASON, RULES, Finding
from fastindex.names.uuids import add_uuid, is_uuid
from fastindex.trees import Entry, Folder, Tree
from fastindex.workers.pool import Pool, Successor

__all__ = ['CheckResult', 'CheckTask', 'beside', 'check', 'check_shard', 'choose_fixes', 'make_finding']

MAX_NAMES = 20_000
"""Names whose verdicts a process remembers."""

FINDING_BYTES = 500
"""What a finding takes in memory, about."""

COMPANIONS = frozenset({'bin', 'cbin', 'ch', 'meta'})
"""SpikeGLX's files of one recording: they belong together, and nobody loads them as one object."""


_MESSAGES = {
    Reason.NOT_REGULAR: 'a pipe, a socket or a device',
    Reason.TOO_DEEP: 'too many folders in one another',
}


class CheckTask(NamedTuple):
    """A shard, and what to look for."""

    tree: Tree
    paths: list[bytes]
    codes: frozenset[str]
    deep: bool
    uuid_filenames: bool = False


class CheckResult(NamedTuple):
    """What a shard gave."""

    sessions: int
    folders: int
    files: int
    findings: list[Finding]
    uuid_paths: list[str]
    """Of the datasets whose names carry UUIDs, sorted as the findings are."""


class _Name(NamedTuple):
    """What is known of a file's name."""

    diagnosis: Diagnosis | None
    folded: str
    """Equal for names that some file systems take for one."""

    stem: str
    """All but the extension, '' where the name is no dataset's."""


@lru_cache(maxsize=MAX_NAMES)
def _judge(name: str) -> _Name:
    stem = name.rpartition('.')[0] if is_dataset_name(name) else ''
    return _Name(diagnose_file(name), fold(name), stem)


def _judge_with_uuid(name: str) -> _Name:
    """Judge a name that carries a UUID: what is remembered is what was thought of it without."""
    stem, _, extension = name.rpartition('.')
    rest, uuid = stem[:-36], stem[-36:]
    has_uuid = is_uuid(uuid) and rest.endswith('.')
    known = _judge(rest + extension if has_uuid else name)
    diagnosis = known.diagnosis
    if known.stem and (wrong := diagnose_uuid(name)):
        return _Name(wrong, fold(name), '')
    if diagnosis and diagnosis.fix and has_uuid:
        diagnosis = diagnosis._replace(fix=add_uuid(diagnosis.fix, uuid))
    return _Name(diagnosis, fold(name), known.stem)


_diagnose_folder = lru_cache(maxsize=MAX_NAMES)(diagnose_folder)
_judge_folder = lru_cache(maxsize=MAX_NAMES)(judge_folder)
_parse_name = lru_cache(maxsize=MAX_NAMES)(parse_dataset_name)


def check(pool: Pool, tasks: Iterable[CheckTask]) -> Iterator[CheckResult]:
    """Check shards in the workers, which begin at once; iterate over the results in order."""
    results = pool.run(
        check_shard,
        tasks,
        rescue=_rescue,
        size_bytes=lambda result: FINDING_BYTES * (len(result.findings) + len(result.uuid_paths)),
    )
    return (result for result, _ in results)


def _rescue(_: object, task: CheckTask) -> object:
    """Check the sessions one by one of a shard that kills its worker; the one that does it is a finding."""
    if len(task.paths) > 1:
        return [Successor(check_shard, task._replace(paths=[path])) for path in task.paths]
    finding = make_finding(Problem(task.paths[0].decode(), Reason.WORKER_DIED))
    return CheckResult(1, 0, 0, [finding] if finding.code in task.codes else [], [])


def check_shard(task: CheckTask) -> CheckResult:
    """Check the sessions of a shard. Never raises for what is on the disk."""
    sessions = [_Session(task, path.decode()) for path in task.paths]
    findings = [finding for session in sessions for finding in session.check()]
    return CheckResult(
        sessions=len(sessions),
        folders=sum(session.folders for session in sessions),
        files=sum(session.files for session in sessions),
        findings=findings,
        uuid_paths=[path for session in sessions for path in sorted(session.uuid_paths)],
    )


def make_finding(problem: Problem) -> Finding:
    """Make a finding of a path that could not be indexed."""
    code = RULE_OF_REASON[problem.reason]
    if problem.reason is Reason.NOT_UTF8:
        name = problem.path.rpartition('/')[2]
        fixed = re.sub(r'\\x([89a-f][0-9a-f])', lambda match: chr(int(match[1], 16)), name)
        return Finding.make(code, problem.path, 'the name is not UTF-8', beside(problem.path, fixed))
    if problem.errno:
        return Finding.make(
            code, problem.path, f'the system says: {os.strerror(problem.errno)} (errno {problem.errno})'
        )
    return Finding.make(code, problem.path, _MESSAGES.get(problem.reason, RULES[code].title))


def beside(path: str, name: str) -> str:
    """Put another name in the place of the last one of a path; '' for ''."""
    return f'{path.rpartition("/")[0]}/{name}'.removeprefix('/') if name else ''


def choose_fixes(
    above: str, diagnoses: Iterable[tuple[str, Diagnosis]], names: Collection[str]
) -> Iterator[Finding]:
    """Make findings of the diagnoses of names in one folder; no two get the same fix, nor one that is taken.

    Parameters
    ----------
    above
        Path of the folder.
    names
        All names in the folder.
    """
    taken = {fold(name) for name in names}
    for name, (code, message, fix) in sorted(diagnoses):
        path = f'{above}/{name}' if above else name
        if fold(fix) in taken and (fold(fix) != fold(name) or fix in names):
            fix = ''
        taken.add(fold(fix))
        yield Finding.make(code, path, message, beside(path, fix))


class _Session:
    """One session while it is walked."""

    def __init__(self, task: CheckTask, path: str) -> None:
        self.task = task
        self.tree = task.tree
        self.path = path
        self.tally = Tally()
        self.findings: list[Finding] = []
        self.folders = 0
        self.files = 0
        self.datasets = 0
        self.uuid_paths: list[str] = []
        self._judge = _judge_with_uuid if task.uuid_filenames else _judge

    def check(self) -> list[Finding]:
        """Walk the session; return its findings, sorted by path."""
        try:
            for folder in self.tree.walk(self.path, self.tally):
                self.folders += 1
                try:
                    self._check_folder(folder)
                except OSError as error:  # the listing broke off
                    self.tally.error(self._path_of(folder, ''), error)
        except OSError as error:
            self.tally.error(self.path, error)
        self.findings += map(make_finding, self.tally.problems)
        if not (self.datasets or self.tally.problems):
            self._add('ALF124', self.path, 'there is no dataset in this session')
        wanted = {finding for finding in self.findings if finding.code in self.task.codes}
        return sorted(wanted, key=lambda finding: (finding.path, finding))

    def _add(self, code: str, path: str, message: str, fix: str = '') -> None:
        self.findings.append(Finding.make(code, path, message, fix))

    def _path_of(self, folder: Folder, name: str) -> str:
        return '/'.join(part for part in (self.path, folder.path, name) if part)

    def _check_folder(self, folder: Folder) -> None:
        """Judge the names in a folder: the hot loop. What is not a good dataset is looked at apart."""
        names: dict[str, _Name] = {}
        datasets: list[tuple[str, bool]] = []
        diagnoses: list[tuple[str, Diagnosis]] = []
        for entry in folder.entries:
            name = entry.name
            known = names[name] = self._judge(name)
            if known.stem and known.diagnosis is None and entry.is_file(follow_symlinks=False):
                datasets.append((name, False))
            elif self._is_file(folder, entry, diagnoses):
                if known.diagnosis is not None:
                    diagnoses.append((name, known.diagnosis))
                if known.stem:
                    datasets.append((name, entry.is_symlink()))
                else:
                    self.files += 1
        if _judge_folder(folder.path) is None:
            self.datasets += len(datasets)
            if self.task.uuid_filenames:
                self.uuid_paths += [self._path_of(folder, name) for name, _ in datasets]
        self.files += len(datasets)
        if len({known.folded for known in names.values()}) < len(names):
            self._find_twins(folder, names)
        stems = [names[name].stem for name, _ in datasets]
        if len(set(stems)) < len(stems):
            self._find_extensions(folder, {name: names[name].stem for name, _ in datasets})
        if diagnoses:
            self.findings += choose_fixes(self._path_of(folder, ''), diagnoses, names)
        if self.task.deep:
            self._compare_lengths(folder, datasets)

    def _is_file(self, folder: Folder, entry: Entry, diagnoses: list[tuple[str, Diagnosis]]) -> bool:
        """Tell whether an entry is a file whose name counts; deal with all else."""
        path = self._path_of(folder, entry.name)
        try:
            is_link = entry.is_symlink()
            if is_link and not self.tree.follow_links:
                self._add('ALF409', path, 'a symbolic link, which is not followed')
                return False
            mode = entry.stat().st_mode if is_link else 0
            if S_ISDIR(mode) or entry.is_dir(follow_symlinks=False):
                if diagnosis := self._enter(folder, entry.name, is_link=is_link):
                    diagnoses.append((entry.name, diagnosis))
                return False
            if S_ISREG(mode) or entry.is_file(follow_symlinks=False) or not is_dataset_name(entry.name):
                return True
            self.tally.problem(path, Reason.NOT_REGULAR)
        except FileNotFoundError as error:
            if entry.name.startswith('.'):
                return True  # an editor's lock, most often: its name is what is wrong
            self.tally.problem(path, Reason.DANGLING_LINK, error.errno or 0)
        except OSError as error:
            self.tally.error(path, error)
        return False

    def _enter(self, folder: Folder, name: str, *, is_link: bool) -> Diagnosis | None:
        """Have a subfolder walked, if a scan would; judge its name."""
        path = self._path_of(folder, name)
        if name.startswith('.'):
            return Diagnosis('ALF204', 'the name begins with a dot')
        if is_opaque_folder(name):
            return Diagnosis('ALF205', 'one object to those who read it')
        diagnosis = _diagnose_folder(name)
        if diagnosis is not None and diagnosis.code == 'ALF405':
            return diagnosis
        folder.enter.append((name, is_link))
        if judge_number(name) is None and judge_date(folder.path.rpartition('/')[2]) is None:
            fix = self._outer_path(f'{folder.path}/{name}')
            self._add('ALF123', path, 'its files are indexed as datasets of the session around it', fix)
        above, _, last = folder.path.rpartition('/')
        if is_revision_folder(last):
            fix = '' if is_revision_folder(name) else '/'.join(filter(None, (self.path, above, name, last)))
            message = f'this folder is below the revision {last}'
            self._add('ALF203', path, message, '' if self._is_there(fix) else fix)
        return diagnosis

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
        try:
            return name in self.tree.list_folders(above, Tally())
        except OSError:
            return False

    def _find_twins(self, folder: Folder, names: dict[str, _Name]) -> None:
        first: dict[str, str] = {}
        for name in sorted(names):
            other = first.setdefault(names[name].folded, name)
            if other != name:
                self._add('ALF306', self._path_of(folder, name), describe_twin(name, other))

    def _find_extensions(self, folder: Folder, stems: dict[str, str]) -> None:
        first: dict[str, str] = {}
        for name, stem in sorted(stems.items()):
            extension = name.rpartition('.')[2]
            twin = first.setdefault(f'{stem}.{extension}', name)
            other = first.setdefault(stem, name)
            if twin != name:  # only the UUIDs differ
                self._add('ALF314', self._path_of(folder, name), f'the path is that of {twin!r}, too')
            elif other != name and not COMPANIONS.issuperset((extension, other.rpartition('.')[2])):
                message = f"the client's load_object refuses it beside {other!r}"
                self._add('ALF307', self._path_of(folder, name), message)

    def _compare_lengths(self, folder: Folder, datasets: list[tuple[str, bool]]) -> None:
        """Compare the first dimensions of the arrays of each object, as the client does."""
        lengths: defaultdict[tuple[str | None, str], list[tuple[str, int]]] = defaultdict(list)
        for name, is_link in datasets:
            if not name.endswith('.npy'):
                continue
            namespace, object, attribute, *_ = _parse_name(name)
            shape = self._read_shape(folder, name, is_link)
            if shape is None or (attribute == 'timestamps' and shape == (2, 2)):
                continue
            if attribute == 'timestamps' and shape[1:] not in ((), (1,)):
                message = f'timestamps of shape {shape}: expected a vector, or 2 x 2'
                self._add('ALF501', self._path_of(folder, name), message)
            else:
                lengths[namespace, object].append((name, shape[0] if shape else 1))
        for (_, object), found in lengths.items():
            counts = Counter(length for _, length in found if length != 1)
            if len(counts) > 1:
                # What most have is right, as it seems; of as many, the longer.
                usual = max(counts, key=lambda length: (counts[length], length))
                for name, length in found:
                    if length not in (1, usual):
                        message = f'{length:,} rows, where others of the object {object!r} have {usual:,}'
                        self._add('ALF501', self._path_of(folder, name), message)

    def _read_shape(self, folder: Folder, name: str, is_link: bool) -> tuple[int, ...] | None:
        path = self._path_of(folder, name)
        try:
            fd = self.tree.open_entry(folder, name, is_link)
            try:
                return read_shape(fd)
            finally:
                os.close(fd)
        except BadHeaderError as error:
            self._add('ALF502', path, str(error))
        except OSError as error:
            self.tally.error(path, error)
        return None

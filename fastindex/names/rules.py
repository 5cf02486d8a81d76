"""What can be wrong with a tree: a table of rules, one row for each code, and the findings that name them.

Here is where a rule is added: a row in `_RULES`. What finds it is elsewhere, and each row names the module. A
finding is of one path, by the code of the rule that is broken.

    ALF1xx  the root, labs, subjects and sessions       ALF4xx  what the file system says
    ALF2xx  folders in a session                        ALF5xx  contents (`deep`)
    ALF3xx  files
"""

from __future__ import annotations

import re
from enum import StrEnum
from textwrap import wrap
from typing import NamedTuple

from fastindex.errors import UsageError
from fastindex.names.problems import Reason
from fastindex.records import Record
from fastindex.text import escape, to_text

__all__ = ['RULES', 'RULE_OF_REASON', 'Finding', 'Rule', 'Severity', 'find_rule']


class Severity(StrEnum):
    """How bad it is: what an error costs, a warning may cost, and an information does not."""

    ERROR = 'error'
    WARNING = 'warning'
    INFO = 'info'


MEANING_OF_SEVERITY = {
    Severity.ERROR: 'data that the client does not find, does not load, or confuses with other data',
    Severity.WARNING: 'left out of the index, or read in another way than was meant; perhaps on purpose',
    Severity.INFO: 'left out of the index, as it should be',
}


class Rule(NamedTuple):
    """What a code stands for.

    Parameters
    ----------
    code
        Stable: it is never given to another rule.
    title
        A few words, for headings.
    finder
        The module, below `fastindex`, that finds it; of several, the one that sees most of it.
    meaning
        What is wrong, and what comes of it.
    example
        A path that breaks the rule, and `fix` the right one; '' where nobody can tell from the name.
    """

    code: str
    severity: Severity
    title: str
    finder: str
    meaning: str
    example: str
    fix: str = ''

    def __str__(self) -> str:
        lines = [
            f'{self.code} {self.title}',
            f'{self.severity}: {MEANING_OF_SEVERITY[self.severity]}',
            '',
            *wrap(self.meaning, width=78),
            '',
            f'example:  {self.example}',
        ]
        return '\n'.join([*lines, f'fix:      {self.fix}'] if self.fix else lines)


_ERROR, _WARNING, _INFO = Severity
_BY_LAYOUT = 'jobs.validate.layout'
_BY_SESSIONS = 'jobs.validate.sessions'
_BY_VALIDATE = 'jobs.validate.validate'
_BY_DIAGNOSE = 'names.diagnose'
_BY_PROBLEMS = 'names.problems'
_BY_INFO = 'pipeline.session_info'
_BY_SIFT = 'trees.fate'
_BY_VERDICTS = 'names.verdicts'
_SESSION = 'lab/Subjects/s1/2024-05-06/001'

_RULES = [
    # The root, labs, subjects and sessions
    Rule('ALF101', _ERROR, 'root too high', _BY_LAYOUT,
        'There is no session where the index looks for one, as the labs or subjects lie deeper. '
        'Paths are read from the root down.', '/data with /data/archive/lab/Subjects/...', '/data/archive'),
    Rule('ALF102', _ERROR, 'root too low', _BY_LAYOUT,
        'The root is a part of a session path: a lab, its Subjects, a subject, a date or a session. '
        'What is above it is lost to the index, or the client reads it as part of every path.',
        '/data/lab/Subjects', '/data'),
    Rule('ALF103', _ERROR, 'no session', _BY_LAYOUT,
        'There is no session below the root, nor a folder nearby that would be a better one. '
        'Is the disk mounted?', '/mnt/empty'),
    Rule('ALF104', _ERROR, 'foreign table', _BY_LAYOUT,
        'The client opens every *.pqt that lies directly in the root, as if it were a part of the index, '
        'and refuses all of them if one is not. Only sessions.pqt and datasets.pqt belong there, and what '
        'the client itself saved, as insertions.pqt.', 'trials.pqt'),
    Rule('ALF105', _ERROR, 'Subjects is missing', _BY_LAYOUT,
        'A lab whose subjects are not in its folder Subjects: nothing below it is in the index, and the '
        'client does not find it either.', 'lab/s1', 'lab/Subjects/s1'),
    Rule('ALF111', _WARNING, 'neither lab nor subject', _BY_LAYOUT,
        'A folder that has neither Subjects nor dates in it holds nothing that is indexed. '
        'Expected lab/Subjects/subject/date/number or subject/date/number.',
        'lab/subjects/s1', 'lab/Subjects/s1'),
    Rule('ALF112', _WARNING, "lab's name", _BY_DIAGNOSE,
        'The name of a lab is letters, digits and _. The client loads other ones, but its own tools cut '
        'them off: my-lab becomes lab.', 'my-lab', 'my_lab'),
    Rule('ALF113', _WARNING, "subject's name", _BY_DIAGNOSE,
        'The name of a subject is letters, digits, _ . and -. The client loads other ones, but its own '
        'tools cut them off: my mouse becomes mouse.', 'lab/Subjects/my mouse', 'lab/Subjects/my_mouse'),
    Rule('ALF114', _ERROR, 'not a date', _BY_DIAGNOSE,
        'A folder in a subject that is no date, yyyy-mm-dd in ASCII digits, is not entered.',
        'lab/Subjects/s1/2024-5-6', 'lab/Subjects/s1/2024-05-06'),
    Rule('ALF115', _ERROR, 'no such day', _BY_DIAGNOSE,
        'The date is not in the calendar, so the folder is not entered.',
        'lab/Subjects/s1/2021-30-01', 'lab/Subjects/s1/2021-01-30'),
    Rule('ALF116', _ERROR, 'not a session number', _BY_DIAGNOSE,
        'A folder in a date is not entered, unless it has one to three ASCII digits for a name, best three.',
        'lab/Subjects/s1/2024-05-06/0001', 'lab/Subjects/s1/2024-05-06/001'),
    Rule('ALF117', _ERROR, 'number without zeros', _BY_DIAGNOSE,
        'The session is in the index, but the client looks for its files in the folder of three digits '
        'and finds none.', 'lab/Subjects/s1/2024-05-06/1', _SESSION),
    Rule('ALF121', _ERROR, 'two sessions of one number', _BY_LAYOUT,
        'The client knows a session by subject, date and the value of its number: 1 and 001 are one to it.',
        'lab/Subjects/s1/2024-05-06/1 beside 001', 'lab/Subjects/s1/2024-05-06/002'),
    Rule('ALF122', _ERROR, 'one session in two labs', _BY_LAYOUT,
        'The client knows a session by subject, date and number, without the lab: it confuses these two.',
        'lab_b/Subjects/s1/2024-05-06/001 beside lab_a/Subjects/s1/2024-05-06/001'),
    Rule('ALF123', _ERROR, 'session in a session', _BY_SESSIONS,
        'The files are indexed as datasets of the outer session, in a collection that looks like a session.',
        f'{_SESSION}/2024-05-07/001', 'lab/Subjects/s1/2024-05-07/001'),
    Rule('ALF124', _WARNING, 'session without datasets', _BY_SESSIONS,
        'The session has a row in the index, but nothing that can be loaded.', f'{_SESSION}, empty'),
    Rule('ALF125', _WARNING, 'dataset outside of a session', _BY_LAYOUT,
        'The file has the name of a dataset, but lies above the sessions: it is not in the index.',
        'lab/Subjects/s1/spikes.times.npy'),
    # Folders in a session
    Rule('ALF201', _ERROR, 'name of a collection', _BY_DIAGNOSE,
        'A collection has letters, digits, _ . and - only. The client cannot name this one: '
        'its datasets are left out.', f'{_SESSION}/alf/probe 00', f'{_SESSION}/alf/probe_00'),
    Rule('ALF202', _ERROR, 'name of a revision', _BY_DIAGNOSE,
        'A revision is #letters, digits, _ . -#, with both marks. The client cannot name this one: '
        'its datasets are left out.', f'{_SESSION}/alf/#2024-05-06', f'{_SESSION}/alf/#2024-05-06#'),
    Rule('ALF203', _ERROR, 'revision is not the last folder', _BY_SESSIONS,
        'A #revision# folder must be the last one above the files. The client cannot name what is in a '
        'folder below it: these datasets are left out.',
        f'{_SESSION}/#2024-05-06#/alf', f'{_SESSION}/alf/#2024-05-06#'),
    Rule('ALF204', _INFO, 'dot folder', _BY_DIAGNOSE,
        'A folder whose name begins with a dot (.snapshot, .Trash-0, .git) is not entered.',
        'lab/Subjects/.snapshot'),
    Rule('ALF205', _INFO, 'folder that is one object', _BY_DIAGNOSE,
        'A .zarr or .n5 folder is one object to the programs that read it, and not entered.',
        f'{_SESSION}/ephys.raw.zarr'),
    Rule('ALF206', _INFO, 'folder of a NAS or a system', _BY_DIAGNOSE,
        'What Synology (@eaDir, #recycle), QNAP (@Recycle), NetApp (~snapshot), Windows ($RECYCLE.BIN), '
        'macOS and Linux (lost+found) put beside the data is not entered.', f'{_SESSION}/@eaDir'),
    Rule('ALF207', _INFO, 'excluded', _BY_DIAGNOSE,
        'A pattern leaves this out, of `exclude` or of the file .fastindexignore in the root.',
        f'{_SESSION}/raw_video_data'),
    # Files
    Rule('ALF301', _WARNING, 'fewer than two dots', _BY_DIAGNOSE,
        'The name of a dataset has an object, an attribute and an extension, between dots. '
        'The file is left out.', f'{_SESSION}/spikes_times.npy', f'{_SESSION}/spikes.times.npy'),
    Rule('ALF302', _ERROR, 'empty part', _BY_DIAGNOSE,
        'A part of the name of a dataset is empty: two dots without anything between, or one at an end. '
        'The file is left out.', f'{_SESSION}/spikes..times.npy', f'{_SESSION}/spikes.times.npy'),
    Rule('ALF303', _ERROR, 'underscores of an attribute', _BY_DIAGNOSE,
        'An attribute may have a namespace of small letters between underscores, _phy_ids, and a timescale '
        'after one, times_bpod. Other underscores at its ends are not ALF: the file is left out.',
        f'{_SESSION}/spikes._times.npy', f'{_SESSION}/spikes.times.npy'),
    Rule('ALF304', _ERROR, 'characters of a file name', _BY_DIAGNOSE,
        'An object and an extension have letters, digits and _; an attribute ASCII letters and digits; '
        'what is between may have - too. The file is left out, and an index by the '
        "client's own builder would be refused as a whole for its sake.",
        f'{_SESSION}/my spikes.times.npy', f'{_SESSION}/my_spikes.times.npy'),
    Rule('ALF305', _WARNING, 'underscores of a namespace', _BY_DIAGNOSE,
        'The name is valid, but read in another way than it looks: a namespace stands between two single '
        'underscores. Of _ibltrials.choice.npy the client makes namespace ibltrial, object s.',
        f'{_SESSION}/__ibl_trials.choice.npy', f'{_SESSION}/_ibl_trials.choice.npy'),
    Rule('ALF306', _ERROR, 'twin names', _BY_SESSIONS,
        'Two names in one folder (or two labs, two subjects) differ in case or in Unicode normal form alone: '
        'on the disks of macOS and Windows, and to the eye, they are one.',
        f'{_SESSION}/Spikes.times.npy beside spikes.times.npy'),
    Rule('ALF307', _WARNING, 'one attribute twice', _BY_SESSIONS,
        "The client's load_object refuses an object that has an attribute twice, with two extensions or "
        'namespaces, unless it is told which one to take.',
        f'{_SESSION}/spikes.times.csv beside spikes.times.npy'),
    Rule('ALF308', _WARNING, 'temporary or editor file', _BY_DIAGNOSE,
        'What editors, interrupted copies, synchronisers and file managers leave behind (.x.swp, x~, *.part, '
        '*.6eF1b2A0 of the AWS tools, conflicted copies, .DS_Store). Where it is left of a dataset it is not '
        'indexed, though its name may be valid.', f'{_SESSION}/spikes.times.npy.part'),
    Rule('ALF309', _INFO, 'dot file', _BY_DIAGNOSE,
        'A file whose name begins with a dot is no dataset.', f'{_SESSION}/.gitignore'),
    # Names that carry UUIDs
    Rule('ALF311', _ERROR, 'no UUID in the name', _BY_DIAGNOSE,
        'With `uuid_filenames`: the client looks for the file under a name with the id of the dataset before '
        'the extension. This name has none, so there is no id, and the file is left out. The id that the '
        'database has for it belongs in the name.', f'{_SESSION}/spikes.times.npy'),
    Rule('ALF312', _ERROR, 'UUID that cannot be used', _BY_DIAGNOSE,
        'With `uuid_filenames`: the client knows UUIDs of version 3 and 4, and writes them in lower case '
        'with hyphens. A file with another one in its name is left out, as the client would not find it.',
        f'{_SESSION}/spikes.times.6CDB7B06-3FD2-4E1C-9D6E-2E4A8A4F1C11.npy',
        f'{_SESSION}/spikes.times.6cdb7b06-3fd2-4e1c-9d6e-2e4a8a4f1c11.npy'),
    Rule('ALF313', _ERROR, 'UUID of another file', _BY_VALIDATE,
        'With `uuid_filenames`: to the client the UUID is the dataset, so two files of one UUID cannot both '
        'be in the index. One is left out: remove the copy, or give it a UUID of its own.',
        f'{_SESSION}/spikes.times.6cdb7b06-3fd2-4e1c-9d6e-2e4a8a4f1c11.npy, copied from 002'),
    Rule('ALF314', _ERROR, 'path of another UUID', _BY_SESSIONS,
        'With `uuid_filenames`: two files differ in nothing but their UUIDs, so that they have one path in '
        'the index, and nobody can tell which is meant. That of the lower UUID is indexed: remove the other '
        'one, or put it into a #revision# folder.',
        f'{_SESSION}/spikes.times.<uuid>.npy beside spikes.times.<another uuid>.npy'),
    Rule('ALF315', _ERROR, 'left over beside its original', _BY_DIAGNOSE,
        'An unfinished copy, or another version, lies beside the file that it is of (*.part, *.6eF1b2A0, '
        '*.sync-conflict-*, "conflicted copy", "(1)"). Which of the two is whole, and right, nobody can tell '
        "from the names, and an index by the client's own builder has both: see to it, and remove the other.",
        f'{_SESSION}/spikes.times.npy.6eF1b2A0 beside spikes.times.npy'),
    Rule('ALF316', _WARNING, 'UUID in the name', _BY_DIAGNOSE,
        'Files of an Alyx database have the UUIDs of their datasets in their names. Without `uuid_filenames` '
        'it is a part of the name, which load_object must be given too; with it the UUID is the id of the '
        'dataset, and in no path of the index.',
        f'{_SESSION}/spikes.times.6cdb7b06-3fd2-4e1c-9d6e-2e4a8a4f1c11.npy'),
    # What the file system says
    Rule('ALF401', _ERROR, 'permission denied', _BY_PROBLEMS,
        'This user may not read it: it is not in the index, nor is what is below it.',
        f'{_SESSION}/alf, of mode 000'),
    Rule('ALF402', _ERROR, 'dangling link', _BY_SIFT,
        'A symbolic link leads nowhere. Mount or copy what it names, mend the link, or remove it.',
        f'{_SESSION}/spikes.times.npy, a link to a file that was removed'),
    Rule('ALF403', _ERROR, 'link in a loop', _BY_PROBLEMS,
        'A symbolic link leads back to itself or to a folder above it, or one folder is linked too often.',
        f'{_SESSION}/again, a link to the folder that it is in'),
    Rule('ALF404', _ERROR, 'not a regular file', _BY_SIFT,
        'A named pipe, a socket or a device has the name of a dataset. It is never opened.',
        f'{_SESSION}/spikes.times.npy, made by mkfifo'),
    Rule('ALF405', _ERROR, 'name is not UTF-8', _BY_DIAGNOSE,
        'The tables hold UTF-8 only, so the name cannot be in the index. The fix reads it as Latin-1.',
        f'{_SESSION}/caf\\xe9.times.npy', f'{_SESSION}/caf\u00e9.times.npy'),
    Rule('ALF406', _ERROR, 'too deep', _BY_VERDICTS,
        'More folders are in one another than are walked.', f'{_SESSION}/a/a/a/...'),
    Rule('ALF407', _WARNING, 'vanished', _BY_PROBLEMS,
        'It was listed, and gone when it was looked at: somebody works in the tree.',
        f'{_SESSION}/alf, removed meanwhile'),
    Rule('ALF408', _ERROR, 'input/output error', _BY_PROBLEMS,
        'The file system failed. Is the disk healthy, the network up?',
        f'{_SESSION}/alf, on a disk that fails'),
    Rule('ALF409', _INFO, 'link is not followed', _BY_DIAGNOSE,
        '`follow_symlinks=False` opens nothing through a link.', f'{_SESSION}/alf, a link'),
    Rule('ALF410', _ERROR, 'worker died', _BY_SESSIONS,
        'Each process that looked at this session was killed, or ran out of memory: it is left out.',
        f'{_SESSION}, with too many files for the memory'),
    Rule('ALF411', _ERROR, 'path too long', _BY_VERDICTS,
        'The path below the session has more than 4,096 bytes: no program can open it as a whole, and no '
        'index holds it. The file is left out; a folder is not entered.',
        f'{_SESSION}/a.../a.../..., 20 folders of 250 letters in one another'),
    Rule('ALF412', _WARNING, 'not on Windows', _BY_DIAGNOSE,
        'Windows cannot hold this name, or a path of more than 256 characters below the root: who unpacks a '
        'release there, or copies the tree, does not get it.', f'{_SESSION}/alf/aux.times.npy'),
    Rule('ALF413', _ERROR, 'not on this disk', _BY_DIAGNOSE,
        'Something stands for the file, which is not here: a placeholder of iCloud (.x.icloud), Nextcloud or '
        'odrive, a link of git-annex to what was not got, or, with `deep`, the pointer file of git-annex or '
        'Git LFS. Have it downloaded, or run git annex get, or git lfs pull.',
        f'{_SESSION}/.spikes.times.npy.icloud'),
    # Contents
    Rule('ALF501', _ERROR, 'attributes of different length', _BY_SESSIONS,
        'The attributes of an object are columns of one table: their arrays have the same first dimension, '
        'or 1. Timestamps may be 2 x 2 instead. Revisions as the client loads them. Read with `deep`.',
        f'{_SESSION}/spikes.clusters.npy with 9 rows beside spikes.times.npy with 10'),
    Rule('ALF502', _ERROR, 'damaged array or table', _BY_SESSIONS,
        'The .npy or Parquet file is not one, or was cut off: it has fewer bytes than its header says, or '
        'its columns are elsewhere. Read with `deep`.', f'{_SESSION}/spikes.times.npy with 0 bytes'),
    Rule('ALF503', _ERROR, 'damaged description of a session', _BY_INFO,
        'A file that says which projects and tasks a session is of, and that `session_info` fills in, cannot '
        'be understood, is larger than such a file may be, or says what no column holds: no search for them '
        'finds this session. Read with `deep`.',
        f'{_SESSION}/_ibl_experiment.description.yaml with 0 bytes'),
]  # fmt: skip

RULES = {rule.code: rule for rule in _RULES}  # every rule by its code, in the order of the codes

RULE_OF_REASON = {
    Reason.PERMISSION: 'ALF401',
    Reason.DANGLING_LINK: 'ALF402',
    Reason.LINK_LOOP: 'ALF403',
    Reason.NOT_REGULAR: 'ALF404',
    Reason.NOT_HERE: 'ALF413',
    Reason.NOT_GOT: 'ALF413',
    Reason.NOT_UTF8: 'ALF405',
    Reason.TOO_DEEP: 'ALF406',
    Reason.TOO_LONG: 'ALF411',
    Reason.VANISHED: 'ALF407',
    Reason.CHANGED: 'ALF407',
    Reason.IO: 'ALF408',
    Reason.WORKER_DIED: 'ALF410',
    Reason.NO_UUID: 'ALF311',
    Reason.BAD_UUID: 'ALF312',
    Reason.UUID_TWICE: 'ALF313',
    Reason.PATH_TWICE: 'ALF314',
    Reason.BAD_INFO: 'ALF503',
}
"""The codes of the problems of a build."""


def find_rule(code: str) -> Rule:
    """Find a rule by its code as people write it: ALF117, alf117, 117. Raises UsageError where there is none.

    >>> find_rule('alf117').code
    'ALF117'
    """
    digits = re.sub(r'^ALF[ _-]?', '', code.strip(), flags=re.IGNORECASE)
    if (rule := RULES.get(f'ALF{digits}')) is not None:
        return rule
    of_kind = [known for known in RULES if known.startswith(f'ALF{digits[:1]}')] if digits.isdecimal() else []
    wanted = f'one of {", ".join(of_kind)}' if of_kind else 'one as ALF117, which may be written 117'
    raise UsageError(f'unknown code {escape(code)!r}: expected {wanted}')


class Finding(Record):
    r"""One thing that is wrong with one path. Sorts by code, then by path.

    Parameters
    ----------
    code
        Of the rule, see `RULES`.
    severity
        Of the rule.
    path
        Relative to the root, POSIX; `.` is the root itself; bytes that are not UTF-8 are written as `\xNN`.
    message
        What is wrong, in one sentence.
    fix
        The nearest valid path, free as far as was seen, and relative to the root too; for a wrong root the
        right one, absolute; '' where there is none.
    """

    code: str
    severity: Severity
    path: str
    message: str
    fix: str = ''

    @classmethod
    def make(cls, code: str, path: str, message: str, fix: str = '') -> Finding:
        """Make a finding with the severity of its rule, of a path as the file system gave it."""
        return cls(code, RULES[code].severity, to_text(path), message, to_text(fix))

    def __str__(self) -> str:
        above, _, name = self.fix.rpartition('/')
        is_beside = above == self.path.rpartition('/')[0]
        advice = f' -> {escape(name if is_beside else self.fix)}' if self.fix else ''
        return f'{escape(self.path)}: {escape(self.message)}{advice}'

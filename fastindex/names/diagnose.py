"""Why a name is wrong, and the nearest right one. Pure: no input, no output.

Each `diagnose_*` judges one name and gives None, or a `Diagnosis`: the code of the rule that is broken, what
is wrong in one sentence, and the nearest valid name ('' where nobody can tell). `fastindex.names.alf` says
what is valid; here is only why. Whether the nearest name is free is the caller's to see.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from typing import NamedTuple
from uuid import UUID

from fastindex.names.alf import (
    SkipReason,
    is_dataset_name,
    judge_date,
    judge_folder,
    judge_number,
    parse_dataset_name,
)
from fastindex.names.leftovers import DATA, Left, find_left_over, find_placeholder, is_left_over
from fastindex.names.problems import Reason
from fastindex.names.uuid_names import add_uuid, has_uuid, is_uuid, judge_name_without_uuid, takes_uuid
from fastindex.names.windows import judge_for_windows
from fastindex.text import is_utf8

__all__ = [
    'DIAGNOSIS_OF_SKIP',
    'Diagnosis',
    'describe_twin',
    'diagnose_beside',
    'diagnose_date',
    'diagnose_file',
    'diagnose_folder',
    'diagnose_lab',
    'diagnose_number',
    'diagnose_subject',
    'diagnose_uuid',
    'fold',
    'is_variant',
    'to_latin_1',
]


class Diagnosis(NamedTuple):
    """What is wrong with a name: code of the rule, one sentence, and the nearest valid name or ''."""

    code: str
    message: str
    fix: str = ''


DIAGNOSIS_OF_SKIP = {
    SkipReason.DOT_FOLDER: Diagnosis('ALF204', 'the name begins with a dot'),
    SkipReason.OPAQUE_FOLDER: Diagnosis('ALF205', 'one object to those who read it'),
    SkipReason.SYSTEM_FOLDER: Diagnosis('ALF206', 'a NAS or a system made it'),
    SkipReason.OTHER_FILE_SYSTEM: Diagnosis('ALF207', 'it is on another file system'),
    SkipReason.EXCLUDED: Diagnosis('ALF207', 'a pattern leaves it out'),
    SkipReason.LINK: Diagnosis('ALF409', 'a symbolic link, which is not followed'),
}
"""Of what is left out wherever it is, and stays as it is."""

TABLES = frozenset({'npy', 'npz', 'pqt', 'parquet', 'csv', 'tsv', 'ssv', 'htsv'})
"""Extensions of which a file with too few dots was meant to be a dataset."""

_DATE = re.compile(r'\s*(\d{4})\s*[-_./ ]?\s*(\d{1,2})\s*[-_./ ]?\s*(\d{1,2})\s*')
_VARIANT = re.compile(r'(\w+\.\w+)[\s([{-].*\.(\w+)')
_COMPACT_DATE = re.compile(r'\d{8}')
_NAMESPACE = re.compile(r'_([^_]*[a-zA-Z0-9][^_]*)_(?=[^\W_])')


def diagnose_file(name: str) -> Diagnosis | None:
    """Judge the name of a file in a session.

    >>> diagnose_file('spikes.times.npy')
    >>> diagnose_file('my spikes.times.npy')[::2]
    ('ALF304', 'my_spikes.times.npy')
    """
    if not is_utf8(name):
        fixed = to_latin_1(name)
        other = diagnose_file(fixed)
        return Diagnosis('ALF405', 'the name is not UTF-8', other.fix if other else fixed)
    if find_placeholder(name):
        return Diagnosis('ALF413', Left.PLACEHOLDER)
    if left := find_left_over(name):
        is_row = is_dataset_name(name) and not is_left_over(name)
        indexed = ', and indexed as a dataset, as its name is valid' if is_row else ''
        return Diagnosis('ALF308', f'{left[0]}{indexed}')
    if is_dataset_name(name):
        if has_uuid(name):
            return Diagnosis('ALF316', 'the UUID before the extension is a part of the name')
        return _diagnose_namespace(name) or _diagnose_for_windows(name)
    if name.startswith('.'):
        return Diagnosis('ALF309', 'the name begins with a dot')
    parts = name.split('.')
    if len(parts) < 3:
        return Diagnosis(
            'ALF301',
            f'{("no", "one")[len(parts) - 1]} dot, where object.attribute.extension has two',
            _add_dot(*parts) if len(parts) == 2 else '',
        )
    code, message = _find_mistake(parts)
    return Diagnosis(code, message, _mend(name))


def diagnose_beside(name: str, names: Collection[str]) -> Diagnosis | None:
    """Judge what a program left of a file by the other names in the folder: None where that is not there.

    >>> diagnose_beside('spikes.times.npy.part', ['spikes.times.npy']).message
    "a copy that a program has not finished, beside 'spikes.times.npy'"
    """
    left = find_left_over(name)
    if left and left[0] is not Left.NOTE and left[1] in names:
        return Diagnosis('ALF315', f'{left[0]}, beside {left[1]!r}')
    return None


def is_variant(name: str, names: Collection[str]) -> bool:
    """Tell whether a name that is not ALF is that of another file with something after the attribute.

    To make it valid would make an attribute that nobody meant: there is no nearest name.

    >>> is_variant('spikes.times-LABPC.npy', ['spikes.times.npy'])
    True
    """
    match = _VARIANT.fullmatch(name)
    return match is not None and f'{match[1]}.{match[2]}' in names


def _diagnose_namespace(name: str) -> Diagnosis | None:
    """Judge the underscores before the object: valid, but the client may read another namespace from them."""
    if not name.startswith('_') or _is_read_as_it_looks(name):
        return None
    namespace, object = parse_dataset_name(name)[:2]
    head, _, rest = name.partition('.')
    reading = (
        f'namespace {namespace!r}, object {object!r}' if namespace else f'object {object!r}, no namespace'
    )
    first, _, second = head.strip('_').partition('_')
    for fixed in (f'_{first}_{second.lstrip("_")}.{rest}', f'{head.strip("_")}.{rest}'):
        if is_dataset_name(fixed) and _is_read_as_it_looks(fixed):
            return Diagnosis('ALF305', f'the client reads {reading}', fixed)
    return Diagnosis('ALF305', f'the client reads {reading}')


def _is_read_as_it_looks(name: str) -> bool:
    """Tell whether a valid name has a namespace between two single underscores, or none."""
    namespace, object = parse_dataset_name(name)[:2]
    above = f'_{namespace}_' if namespace else ''
    return name.startswith(f'{above}{object}.') and not object.startswith('_')


def _find_mistake(parts: list[str]) -> tuple[str, str]:
    """Find the first mistake of an invalid name of two dots or more."""
    object, attribute, *extras, extension = parts
    for word, part in (('object', object), ('attribute', attribute), ('extension', extension)):
        if not part:
            return 'ALF302', f'the {word} is empty'
    if not all(extras):
        return 'ALF302', 'there is nothing between two dots'
    if strange := re.search(r'\W', object):
        return 'ALF304', _name_character('object', object, strange)
    if strange := re.search(r'[^\w]', attribute) or re.search(r'[^a-zA-Z0-9_]', _strip_timescale(attribute)):
        return 'ALF304', _name_character('attribute', attribute, strange)
    for part in extras:
        if strange := re.search(r'[^\w-]', part):
            return 'ALF304', _name_character('part', part, strange)
    if strange := re.search(r'\W', extension):
        return 'ALF304', _name_character('extension', extension, strange)
    return 'ALF303', f'the underscores of the attribute {attribute!r} are not ALF'


def _strip_timescale(attribute: str) -> str:
    """Cut off what may have any letter: what follows the first underscore after the attribute's own name."""
    return re.sub(r'^(_[a-z]+_)?([^_]+)_.*', r'\1\2', attribute)


def _name_character(word: str, part: str, match: re.Match[str]) -> str:
    character = match.group()
    if character == ' ':
        shown = 'a space'
    elif unicodedata.combining(character):
        shown = f'a combining character (U+{ord(character):04X})'
    else:
        shown = repr(character)
    return f'{shown} in the {word} {part!r}'


def _add_dot(stem: str, extension: str) -> str:
    """Make two dots of one, where the stem is two words and the file a table."""
    head, _, tail = re.sub(r'[\s-]+', '_', stem).rpartition('_')
    name = f'{head}.{tail}.{extension}'
    is_meant = extension.lower() in TABLES and head.strip('_') and not diagnose_file(name)
    return name if is_meant else ''


def _mend(name: str) -> str:
    """Make the nearest valid name of two dots or more; '' where that fails."""
    parts = [part.strip() for part in name.split('.')]
    parts = [part for part in parts if part]
    if len(parts) < 3:
        return ''
    object, attribute, *extras, extension = parts
    head, _, more = re.split(r'(\W+)', f'{extension} ', maxsplit=1)
    if more and not DATA.isdisjoint({head.lower(), *map(str.lower, extras)}):
        return ''  # it is whole without what follows, which would be an extension that nobody meant
    extension = re.sub(r'\W+', '', extension)
    extras = [re.sub(r'[^\w-]+', '_', part) for part in extras]
    fixed = '.'.join([_mend_object(object), _mend_attribute(attribute), *extras, extension])
    return fixed if is_dataset_name(fixed) and diagnose_file(fixed) is None else ''


def _mend_object(object: str) -> str:
    match = _NAMESPACE.match(object)
    rest = _replace(r'\W+', object[match.end() if match else 0 :])
    return f'_{re.sub("[^a-zA-Z0-9]", "", _to_ascii(match[1]))}_{rest}' if match else rest


def _mend_attribute(attribute: str) -> str:
    """Keep `_phy_` before and `_times`, `_bpod` after; write what is between in ASCII and camelCase."""
    match = re.match(r'(_[a-z]+_)(?=[a-zA-Z0-9])', attribute)
    namespace = match.group() if match else ''
    words = [word for word in re.split(r'[\W_]+', _to_ascii(attribute[len(namespace) :])) if word]
    if not words:
        return ''
    if re.fullmatch(r'\w+', attribute) or words[-1] in ('times', 'intervals'):
        return namespace + '_'.join(words)
    return namespace + words[0] + ''.join(word[0].upper() + word[1:] for word in words[1:])


def diagnose_uuid(name: str) -> Diagnosis | None:
    """Judge the UUID in the name of a file, which is a dataset's but for that.

    >>> diagnose_uuid('a.b.npy').message
    'there is no UUID before the extension'
    >>> diagnose_uuid('a.b.6CDB7B063FD24E1C9D6E2E4A8A4F1C11.npy').fix
    'a.b.6cdb7b06-3fd2-4e1c-9d6e-2e4a8a4f1c11.npy'
    """
    stem, _, extension = name.rpartition('.')
    rest, _, last = stem.rpartition('.')
    if is_uuid(last):
        if takes_uuid(f'{rest}.{extension}'):
            return None
        message = 'there are two UUIDs, and the client would put the id in the place of the first'
        return Diagnosis('ALF312', message, add_uuid(f'{rest.rpartition(".")[0]}.{extension}', last))
    if judge_name_without_uuid(name) is Reason.NO_UUID:
        return Diagnosis('ALF311', 'there is no UUID before the extension')
    try:
        uuid = UUID(last)
    except ValueError:
        return Diagnosis('ALF312', f'{last!r} is no UUID of 32 hexadecimal digits')
    if is_uuid(str(uuid)):
        message = 'the client writes UUIDs in lower case, with four hyphens'
        return Diagnosis('ALF312', message, add_uuid(f'{rest}.{extension}', uuid))
    version = f'of version {uuid.version}' if uuid.version else 'of no version'
    return Diagnosis('ALF312', f'a UUID {version}: the client knows version 3 and 4')


def diagnose_folder(name: str) -> Diagnosis | None:
    """Judge the name of a folder in a session, which the caller found to be entered.

    >>> diagnose_folder('probe 00').fix, diagnose_folder('#2024-05-06').fix
    ('probe_00', '#2024-05-06#')
    """
    if judge_folder(name) is None:
        return _diagnose_for_windows(name)
    if not is_utf8(name):
        fixed = to_latin_1(name)
        other = diagnose_folder(fixed)
        return Diagnosis('ALF405', 'the name is not UTF-8', other.fix if other else fixed)
    label = name.strip('#').strip()
    fixed = _replace(r'[^\w.-]+', label)
    if name.startswith('#') or (name.endswith('#') and '#' not in label):
        fixed = fixed and f'#{fixed}#'
        if name.startswith('#') and name.endswith('#') and len(name) > 1:
            strange = re.search(r'[^\w.-]', name[1:-1])
            message = _name_character('revision', name, strange) if strange else 'the revision has no name'
        else:
            where = 'end' if name.startswith('#') else 'beginning'
            message = f'the mark # of a revision is missing at the {where}'
        return Diagnosis('ALF202', message, fixed)
    strange = re.search(r'[^\w.-]', name)
    message = _name_character('collection', name, strange) if strange else 'the collection cannot be named'
    return Diagnosis('ALF201', message, fixed)


def diagnose_date(name: str) -> Diagnosis | None:
    """Judge the name of a date folder.

    >>> diagnose_date('2024-5-6').fix, diagnose_date('2021-30-01').fix, diagnose_date('2021-02-30').fix
    ('2024-05-06', '2021-01-30', '')
    """
    reason = judge_date(name)
    if reason is None:
        return None
    fix = ''
    if (match := _DATE.fullmatch(name)) and (re.search(r'\d\D+\d', name) or _COMPACT_DATE.fullmatch(name)):
        year, first, second = (int(digits) for digits in match.groups())
        # The month first, as ALF has it; the day first only where there is no such month.
        for month, day in ((first, second), (second, first)):
            date = f'{year:04}-{month:02}-{day:02}'
            if not fix and judge_date(date) is None:
                fix = date
    if reason is SkipReason.NO_SUCH_DAY:
        return Diagnosis('ALF115', 'there is no such day in the calendar', fix)
    return Diagnosis('ALF114', 'not a date: expected yyyy-mm-dd in ASCII digits', fix)


def diagnose_number(name: str) -> Diagnosis | None:
    """Judge the name of a session's own folder.

    >>> diagnose_number('1').fix, diagnose_number('0001').fix, diagnose_number('1000').fix
    ('001', '001', '')
    """
    match = re.fullmatch(r'\s*0*(\d{1,3})\s*', name)
    fix = f'{int(match[1]):03}' if match else ''
    if judge_number(name):
        return Diagnosis('ALF116', 'not a session number of three ASCII digits', fix)
    if len(name) < 3:
        return Diagnosis('ALF117', f'the client looks for this session in {fix}', fix)
    return None


def diagnose_lab(name: str) -> Diagnosis | None:
    """Judge the name of a lab.

    >>> diagnose_lab('my-lab').fix
    'my_lab'
    """
    if not (strange := re.search(r'\W', name)):
        return _diagnose_for_windows(name)
    return Diagnosis('ALF112', _name_character('lab', name, strange), _replace(r'\W+', name))


def diagnose_subject(name: str) -> Diagnosis | None:
    """Judge the name of a subject.

    >>> diagnose_subject('my mouse').fix
    'my_mouse'
    """
    if not (strange := re.search(r'[^\w.-]', name)):
        return _diagnose_for_windows(name)
    return Diagnosis('ALF113', _name_character('subject', name, strange), _replace(r'[^\w.-]+', name))


def _diagnose_for_windows(name: str) -> Diagnosis | None:
    """Judge a name that is valid here."""
    if not (message := judge_for_windows(name)):
        return None
    shorter = name.rstrip('.')
    return Diagnosis(
        'ALF412', f'Windows has no such name: {message}', '' if judge_for_windows(shorter) else shorter
    )


def _replace(strange: str, name: str) -> str:
    fixed = re.sub(strange, '_', _compose(name)).strip('_')
    return fixed if re.search(r'\w', fixed) else ''


def fold(name: str) -> str:
    """Fold a name, so that those that are one to macOS and Windows are equal.

    >>> fold('Spikes') == fold('spikes'), fold('e\u0301') == fold('\u00e9')
    (True, True)
    """
    if name.isascii():
        return name.lower()
    return unicodedata.normalize('NFC', unicodedata.normalize('NFC', name).casefold())


def describe_twin(name: str, other: str) -> str:
    """Say how two names differ that are one to some file systems."""
    if _compose(name) == _compose(other):
        return f'{name!a} and {other!a} differ in Unicode normal form alone'
    return f'{other!r} differs in case alone'


def to_latin_1(name: str) -> str:
    r"""Read a name that is not UTF-8 as Latin-1.

    >>> to_latin_1('caf\udce9')
    'caf\xe9'
    """
    return name.encode('utf-8', 'surrogateescape').decode('latin-1')


def _compose(name: str) -> str:
    """Join letters with the accents that follow them, which alone are no letters."""
    return unicodedata.normalize('NFC', name)


def _to_ascii(name: str) -> str:
    """Take the accents off."""
    return ''.join(c for c in unicodedata.normalize('NFKD', name) if not unicodedata.combining(c))

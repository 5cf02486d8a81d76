"""Names as text, whatever the locale; words for people: names made safe to print, sizes and counts."""

from __future__ import annotations

import os
import sys
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Mapping, Sequence

__all__ = [
    'MAX_FINDINGS',
    'MAX_PROBLEMS',
    'as_utf8',
    'escape',
    'from_system',
    'is_utf8',
    'to_count',
    'to_findings',
    'to_octal',
    'to_size',
    'to_some',
    'to_subjects',
    'to_system',
    'to_text',
]

MAX_PROBLEMS = 10  # problems, and differences of a kind, that are named where nobody asked for all
MAX_FINDINGS = 3  # findings of a code, likewise

_IS_SYSTEM_UTF8 = (sys.getfilesystemencoding().lower(), sys.getfilesystemencodeerrors()) == (
    'utf-8',
    'surrogateescape',  # Windows has names with half a character, 'surrogatepass'
)


def from_system(name: str) -> str:
    """Take a name as the bytes that it is, which are UTF-8: Python has decoded it as the locale says."""
    return name if _IS_SYSTEM_UTF8 else os.fsencode(name).decode('utf-8', 'surrogateescape')


def to_system(name: str) -> str:
    """Give a name in a tree to Python's functions, which encode it as the locale says."""
    return name if _IS_SYSTEM_UTF8 else os.fsdecode(name.encode('utf-8', 'surrogateescape'))


def as_utf8(data: bytes) -> bytes:
    """Take a file that people wrote as UTF-8; on Windows it may have a mark at its start, or be UTF-16."""
    if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return data.decode('utf-16', 'replace').encode()
    return data.removeprefix(BOM_UTF8)


def is_utf8(name: str) -> bool:
    """Tell whether a name from the file system is valid UTF-8, which Arrow and Parquet require."""
    if name.isascii():
        return True
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def to_text(path: str | os.PathLike[str]) -> str:
    r"""Make a path that any encoder takes: bytes that are not UTF-8 become `\xNN`.

    >>> to_text('s1/caf\udce9')
    's1/caf\\xe9'
    """
    return os.fspath(path).encode('utf-8', 'surrogateescape').decode('utf-8', 'backslashreplace')


def escape(path: str | os.PathLike[str]) -> str:
    r"""Make a path safe to print: control and direction characters become escapes.

    >>> escape('a\x1b[31m')
    'a\\x1b[31m'
    """
    text = to_text(path)
    if text.isprintable():
        return text
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode('ascii') for c in text)


def to_octal(path: str) -> str:
    r"""Write a path for `printf %b`.

    >>> print(to_octal('a b\n\\c\udce9'))
    a b\0012\\c\0351
    """
    return ''.join(
        c if c.isprintable() and c != '\\' else '\\\\' if c == '\\' else _to_bytes(c) for c in path
    )


def _to_bytes(character: str) -> str:
    return ''.join(f'\\0{byte:03o}' for byte in character.encode('utf-8', 'surrogateescape'))


def to_count(count: int, noun: str) -> str:
    """Write how many there are of something.

    >>> to_count(1, 'session'), to_count(4933, 'session')
    ('1 session', '4,933 sessions')
    """
    return f'{count:,} {noun}' if count == 1 else f'{count:,} {noun}s'


def to_findings(counts: Mapping[str, int], paint: Callable[[str], str] = str) -> str:
    """Write how many findings of each severity there are; '' where there are none.

    paint: gives the word for a severity its colour

    Examples
    --------
    >>> to_findings({'error': 1, 'warning': 2, 'info': 3})
    '1 error, 2 warnings, 3 info'
    """
    return ', '.join(
        f'{count:,} {paint(severity)}{"s" * (count > 1 and severity != "info")}'
        for severity, count in counts.items()
        if count
    )


def to_some(names: Sequence[str], most: int) -> str:
    """Write names, the first of them where they are many.

    >>> to_some(['a', 'b'], 2), to_some(['a', 'b', 'c', 'd'], 2)
    ('a, b', 'a, b and 2 more')
    """
    return ', '.join(names[:most]) + (f' and {len(names) - most:,} more' if len(names) > most else '')


def to_subjects(subjects: int, labs: int) -> str:
    """Write how many subjects there are, and in how many labs, where there are labs.

    >>> to_subjects(2, 1), to_subjects(1, 0)
    ('2 subjects in 1 lab', '1 subject')
    """
    where = f' in {to_count(labs, "lab")}' if labs else ''
    return f'{to_count(subjects, "subject")}{where}'


def to_size(count: int) -> str:
    """Write a number of bytes with three or four digits and a unit.

    >>> to_size(999), to_size(219_491_302), to_size(10**15)
    ('999 B', '219.5 MB', '1,000.0 TB')
    """
    if count < 1000:
        return f'{count} B'
    for exponent, unit in enumerate(('kB', 'MB', 'GB'), start=1):
        if count < 1000 ** (exponent + 1) - 1000**exponent // 20:
            return f'{count / 1000**exponent:,.1f} {unit}'
    return f'{count / 1e12:,.1f} TB'

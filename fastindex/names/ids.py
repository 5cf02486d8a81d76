"""Identity: which session and which dataset a path is, on every machine and at every rebuild.

    eid = uuid3(NAMESPACE, session_path)        id = uuid3(eid, rel_path)

both as in RFC 4122 and the standard library's `uuid.uuid3`, so that anyone can compute them again. Version 3
is one of the two that the ONE client accepts.

An identity also orders the tables: sessions by their *key* (bytes that hold the path and sort as the table
is sorted), the datasets of a session by their sort key. `UuidIdentity` is the one that is published;
`PathIdentity` serves `make_parquet_db(hash_ids=False)`.

Ids are made in bulk: `uuid.uuid3` takes 6.9 us, an MD5 0.4 us and one of the compiled twin 0.2 us, the 36
characters of one among many 0.1 us and 0.02.
"""

from __future__ import annotations

from abc import abstractmethod
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, chain, repeat
from operator import concat, mul
from struct import iter_unpack
from typing import NamedTuple, TypeVar
from uuid import UUID

try:
    from _md5 import md5  # half the time of OpenSSL's for inputs this short, and there under FIPS
except ImportError:  # pragma: no cover - an interpreter built without its own MD5
    from hashlib import md5

from fastindex.names.alf import SessionPath
from fastindex.records import Record
from fastindex.twins import KERNEL, compiled

__all__ = ['NAMESPACE', 'Identity', 'PathIdentity', 'Text', 'UuidIdentity', 'cut', 'dataset_id', 'eid']

T = TypeVar('T')

NAMESPACE = UUID('4a3ea44e-3757-4acb-821f-cdb419c23249')
"""The namespace of all session paths, unless another is named."""

MAX_TEXT_BYTES = 2**31 - 1

_VERSION_3 = bytes((i & 0x0F) | 0x30 for i in range(256))
_VARIANT = bytes((i & 0x3F) | 0x80 for i in range(256))
_HEX_AT = [i for i in range(36) if i not in (8, 13, 18, 23)]


def eid(session_path: str, *, namespace: UUID = NAMESPACE) -> UUID:
    """Compute the eid of a session path, `lab/Subjects/subject/date/number` or `subject/date/number`.

    >>> str(eid('zadorlab/Subjects/CSH_ZAD_003/2019-08-11/001'))
    'ff6ddfb4-dc62-39ca-8000-c1b6e4cc390b'
    """
    (id,) = uuid3s([namespace.bytes], [1], [session_path.encode()])
    return UUID(bytes=id)


def dataset_id(eid: UUID, rel_path: str) -> UUID:
    """Compute the id of a dataset from its session's eid and its path relative to the session."""
    (id,) = uuid3s([eid.bytes], [1], [rel_path.encode()])
    return UUID(bytes=id)


def _uuid3s_in_python(namespaces: list[bytes], counts: list[int], names: list[bytes]) -> list[bytes]:
    """Compute version 3 UUIDs, 16 bytes each: `counts[i]` names are in the namespace `namespaces[i]`."""
    messages = map(concat, _repeat_each(namespaces, counts), names)
    ids = bytearray(b''.join([md5(message).digest() for message in messages]))
    ids[6::16] = ids[6::16].translate(_VERSION_3)
    ids[8::16] = ids[8::16].translate(_VARIANT)
    return cut(bytes(ids), 16)


def _to_characters_in_python(ids: bytes) -> bytes:
    digits = ids.hex().encode()
    characters = bytearray(b'-') * (len(ids) // 16 * 36)
    for source, target in enumerate(_HEX_AT):
        characters[target::36] = digits[source::32]
    return bytes(characters)


def _find_ends_in_python(strings: list[bytes]) -> bytes:
    return array('I', list(accumulate(map(len, strings), initial=0))).tobytes()


class IdTwin(NamedTuple):
    """One way to make many ids, and columns of text."""

    uuid3s: Callable[[list[bytes], list[int], list[bytes]], list[bytes]]
    to_characters: Callable[[bytes], bytes]
    """Writes UUIDs of 16 bytes each as 36 characters each, without anything between them."""

    find_ends: Callable[[list[bytes]], bytes]
    """Finds where strings begin once they are joined, and where the last one ends: 32 bits each."""


TWINS = {'python': IdTwin(_uuid3s_in_python, _to_characters_in_python, _find_ends_in_python)}
if compiled:  # if it was built of older sources, what it lacks is done in Python until it is built again
    made = {name: value for name, value in vars(compiled).items() if name in IdTwin._fields}
    TWINS['compiled'] = TWINS['python']._replace(**made)

uuid3s, to_characters, find_ends = TWINS[KERNEL]


class Text(NamedTuple):
    """Strings in one piece: the two buffers of an Arrow string column."""

    data: bytes
    offsets: array[int]
    """Of the first character of each string, and the end of the last: 32 bits each.

    Arrow's are signed; an array of unsigned ones is made in a third of the time.
    """

    @classmethod
    def join(cls, values: list[bytes]) -> Text:
        """Join strings of any lengths."""
        data = b''.join(values)
        _check(len(data))
        return cls(data, array('I', find_ends(values)))

    @classmethod
    def repeat(cls, values: list[bytes], counts: list[int]) -> Text:
        """Join strings of which `values[i]` stands `counts[i]` times in a row."""
        if len(set(map(len, values))) == 1 and values[0]:  # eids, most often
            return cls.cut(b''.join(map(mul, values, counts)), len(values[0]))
        return cls.join(list(_repeat_each(values, counts)))

    @classmethod
    def cut(cls, data: bytes, width: int) -> Text:
        """Take `data` for strings of `width` bytes each."""
        _check(len(data))
        count = len(data) // width
        known = _offsets_by_width.get(width, array('I'))
        if len(known) <= count:
            known = _offsets_by_width[width] = array('I', list(range(0, len(data) + 1, width)))
        return cls(data, known[: count + 1])


_offsets_by_width: dict[int, array[int]] = {}
"""Of the most strings of a width that there were at once: those of fewer are a part of them."""


def _check(size_bytes: int) -> None:
    if size_bytes > MAX_TEXT_BYTES:
        raise OverflowError(f'{size_bytes:,} bytes of text in one piece: Arrow counts to {MAX_TEXT_BYTES:,}')


def cut(data: bytes, width: int) -> list[bytes]:
    """Take strings of one width apart that stand in one piece, as 16 bytes or 36 characters of UUIDs."""
    return [part for (part,) in iter_unpack(f'{width}s', data)]


class Identity(Record):
    """How sessions and datasets are named and ordered. Picklable: it travels with each shard."""

    @abstractmethod
    def session_keys(self, paths: list[str]) -> list[bytes]:
        """Make the keys of sessions, which sort as the tables are sorted, and hold the paths."""

    @abstractmethod
    def session_path(self, key: bytes) -> SessionPath:
        """Get the path out of a key."""

    @abstractmethod
    def eids(self, keys: list[bytes]) -> list[bytes]:
        """Get the `id`s of sessions, as characters."""

    @abstractmethod
    def dataset_keys(self, session_keys: list[bytes], counts: list[int], paths: list[bytes]) -> list[bytes]:
        """Make the sort keys of datasets: `counts[i]` of them are of the session `session_keys[i]`."""

    @abstractmethod
    def dataset_ids(self, keys: list[bytes]) -> Text:
        """Get the `id`s that sort keys stand for."""

    def rel_paths(self, paths: list[bytes]) -> list[bytes]:
        """Get the `rel_path`s of datasets whose files are at these paths in their sessions."""
        return paths


class UuidIdentity(Identity):
    """Version 3 UUIDs; tables sorted by (eid, id). A key is the 16 bytes of the eid, then the path."""

    namespace: bytes = NAMESPACE.bytes

    def session_keys(self, paths: list[str]) -> list[bytes]:
        names = [path.encode() for path in paths]
        ids = uuid3s([self.namespace], [len(names)], names)
        return [eid + name for eid, name in zip(ids, names, strict=True)]

    def session_path(self, key: bytes) -> SessionPath:
        return SessionPath(key[16:].decode())

    def eids(self, keys: list[bytes]) -> list[bytes]:
        return cut(to_characters(b''.join([key[:16] for key in keys])), 36)

    def dataset_keys(self, session_keys: list[bytes], counts: list[int], paths: list[bytes]) -> list[bytes]:
        return uuid3s([key[:16] for key in session_keys], counts, paths)

    def dataset_ids(self, keys: list[bytes]) -> Text:
        return Text.cut(to_characters(b''.join(keys)), 36)


class PathIdentity(Identity):
    r"""Paths as ids, in the order of `sorted(pathlib.Path)`. A key is the path with NUL for each slash."""

    def session_keys(self, paths: list[str]) -> list[bytes]:
        return [path.encode().replace(b'/', b'\0') for path in paths]

    def session_path(self, key: bytes) -> SessionPath:
        return SessionPath(key.replace(b'\0', b'/').decode())

    def eids(self, keys: list[bytes]) -> list[bytes]:
        return [key.replace(b'\0Subjects\0', b'\0', 1).replace(b'\0', b'/') for key in keys]

    def dataset_keys(self, session_keys: list[bytes], counts: list[int], paths: list[bytes]) -> list[bytes]:
        return [path.replace(b'/', b'\0') for path in paths]

    def dataset_ids(self, keys: list[bytes]) -> Text:
        return Text.join([key.replace(b'\0', b'/') for key in keys])


def _repeat_each(values: Iterable[T], counts: list[int]) -> Iterator[T]:
    """Iterate over values, `values[i]` `counts[i]` times in a row."""
    return chain.from_iterable(map(repeat, values, counts))

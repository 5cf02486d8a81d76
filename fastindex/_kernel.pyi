from collections.abc import Sequence

_Fingerprint = tuple[int, int, int]
_Left = list[tuple[int, int]]

def list_names(fd: int, is_first: bool, count: int, /) -> tuple[list[str], bytes, int]: ...
def stat_files(
    fd: int, names: Sequence[str], start: int, follow_links: bool, with_fingerprints: bool, /
) -> tuple[int, list[int], list[_Fingerprint], _Left]: ...
def read_files(
    fd: int,
    names: Sequence[str],
    start: int,
    follow_links: bool,
    buffer: memoryview,
    max_bytes: int,
    settled: tuple[int, int],
    future: tuple[int, int],
    /,
) -> tuple[int, list[int], list[_Fingerprint], _Left]: ...
def uuid3s(namespaces: list[bytes], counts: list[int], names: list[bytes], /) -> list[bytes]: ...
def to_characters(ids: bytes, /) -> bytes: ...
def find_ends(strings: list[bytes], /) -> bytes: ...

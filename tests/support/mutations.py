"""Single mutations of a small tree, each with the differences that it makes: what `verify` is held to."""

from __future__ import annotations

import os
import random
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import fastindex
from tests.support.trees import grow

SESSIONS = ['lab/Subjects/s1/2024-01-01/001', 'lab/Subjects/s1/2024-01-02/1', 's2/2024-01-01/012']
DATASETS = ['a.b.npy', 'alf/a.b.npy', 'alf/c.d.npy', 'alf/probe00/e.f.npy', 'alf/#2024-05-06#/c.d.npy']
TREE = {f'{session}/{name}': (session + name).encode() for session in SESSIONS for name in DATASETS}
TREE |= {f'{SESSIONS[0]}/notes.txt': b'none of the index'}
PATHS = sorted(path for path in TREE if 'notes' not in path)

Wanted = set[tuple[str, str]]
"""Kinds and paths of the differences that there are."""


class Level(NamedTuple):
    """How is verified."""

    hash: bool
    follow: bool


def below(folder: str) -> list[str]:
    return [path for path in PATHS if path.startswith(f'{folder}/')]


def remove(root: Path, path: str, chance: random.Random, level: Level) -> Wanted:
    (root / path).unlink()
    return {('missing', path)}


def remove_folder(root: Path, path: str, chance: random.Random, level: Level) -> Wanted:
    """The collection, or the session."""
    folder = os.path.dirname(path)
    shutil.rmtree(root / folder)
    sessions = {('missing', folder)} if folder in SESSIONS else set()
    return sessions | {('missing', lost) for lost in below(folder)}


def add(root: Path, path: str, chance: random.Random, level: Level) -> Wanted:
    new = os.path.join(os.path.dirname(path), chance.choice(['_ns_new.file.npy', 'a.b.new', 'Z.z.z']))
    (root / new).write_bytes(b'new')
    return {('unexpected', new)}


def add_session(root: Path, path: str, chance: random.Random, level: Level) -> Wanted:
    session = chance.choice(
        ['new/2024-01-01/001', 'lab/Subjects/s1/2024-01-02/2', 'zz/Subjects/x/1999-01-01/1']
    )
    grow(root, {f'{session}/': None, f'{session}/a.b.npy': b'', f'{session}/alf/notes.txt': b''})
    return {('unexpected', session), ('unexpected', f'{session}/a.b.npy')}


def add_what_is_no_dataset(root: Path, path: str, chance: random.Random, level: Level) -> Wanted:
    name = chance.choice(['notes.md', '.a.b.npy.swp', 'my file.npy', '.hidden/a.b.npy', 'x.zarr/0.0.0'])
    grow(root, {f'{os.path.dirname(path)}/{name}': b'x'})
    return set()


def grow_by_a_byte(root: Path, path: str, chance: random.Random, level: Level) -> Wanted:
    with (root / path).open('ab') as file:
        file.write(b'x')
    return {('resized', path)}


def truncate(root: Path, path: str, chance: random.Random, level: Level) -> Wanted:
    os.truncate(root / path, chance.choice([0, 1, len(TREE[path]) - 1]))
    return {('resized', path)}


def alter(root: Path, path: str, chance: random.Random, level: Level) -> Wanted:
    """Flip a bit; nothing but the content tells it."""
    times = os.stat(root / path)
    data = bytearray(TREE[path])
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    (root / path).write_bytes(data)
    os.utime(root / path, ns=(times.st_atime_ns, times.st_mtime_ns))
    return {('altered', path)} if level.hash else set()


def touch(root: Path, path: str, chance: random.Random, level: Level) -> Wanted:
    os.utime(root / path, (chance.randrange(2**31), chance.randrange(2**31)))
    return set()


def replace_by_a_folder(root: Path, path: str, chance: random.Random, level: Level) -> Wanted:
    (root / path).unlink()
    (root / path).mkdir()
    return {('retyped', path)}


def replace_by_a_full_folder(root: Path, path: str, chance: random.Random, level: Level) -> Wanted:
    (root / path).unlink()
    grow(root, {f'{path}/x.y.z': b''})
    hidden = '#' in path  # a revision is the last folder: what is below the new one has no name
    return {('retyped', path)} | (set() if hidden else {('unexpected', f'{path}/x.y.z')})


def replace_by_a_fifo(root: Path, path: str, chance: random.Random, level: Level) -> Wanted:
    (root / path).unlink()
    os.mkfifo(root / path)
    return {('retyped', path)}


def replace_by_a_socket(root: Path, path: str, chance: random.Random, level: Level) -> Wanted:
    (root / path).unlink()
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir((root / path).parent)  # the address of a socket may have 107 bytes
        server.bind(os.path.basename(path))
        os.chdir(here)
    return {('retyped', path)}


def replace_by_a_bad_link(root: Path, path: str, chance: random.Random, level: Level) -> Wanted:
    (root / path).unlink()
    (root / path).symlink_to(chance.choice(['nowhere', os.path.basename(path), '.', '/dev/null']))
    return {('retyped', path)}


def replace_by_a_link_to_the_same(root: Path, path: str, chance: random.Random, level: Level) -> Wanted:
    (root / path).rename(root / 'elsewhere')
    (root / path).symlink_to(root / 'elsewhere')
    return set() if level.follow else {('retyped', path)}


def replace_a_session_by_a_file(root: Path, path: str, chance: random.Random, level: Level) -> Wanted:
    session = next(session for session in SESSIONS if path.startswith(session))
    shutil.rmtree(root / session)
    (root / session).write_bytes(b'')
    return {('retyped', session)} | {('missing', lost) for lost in below(session)}


def rename(root: Path, path: str, chance: random.Random, level: Level) -> Wanted:
    new = os.path.join(os.path.dirname(path), 'other.name.npy')
    (root / path).rename(root / new)
    return {('missing', path), ('unexpected', new)}


def move(root: Path, path: str, chance: random.Random, level: Level) -> Wanted:
    new = f'{chance.choice(SESSIONS)}/moved/{os.path.basename(path)}'
    (root / new).parent.mkdir()
    (root / path).rename(root / new)
    return {('missing', path), ('unexpected', new)}


def renumber(root: Path, path: str, chance: random.Random, level: Level) -> Wanted:
    old = chance.choice(SESSIONS)
    new = f'{os.path.dirname(old)}/{chance.choice(["999", "01"])}'
    (root / old).rename(root / new)
    lost = [old, *below(old)]
    return {('missing', gone) for gone in lost} | {('unexpected', gone.replace(old, new)) for gone in lost}


def swap(root: Path, path: str, chance: random.Random, level: Level) -> Wanted:
    same = [other for other in PATHS if len(TREE[other]) == len(TREE[path]) and other != path]
    if not same:
        return touch(root, path, chance, level)
    other = chance.choice(same)
    (root / path).write_bytes(TREE[other])
    (root / other).write_bytes(TREE[path])
    return {('altered', path), ('altered', other)} if level.hash else set()


def lock(root: Path, path: str, chance: random.Random, level: Level) -> Wanted:
    (root / path).chmod(0)
    return {('unreadable', path)} if level.hash else set()


def lock_folder(root: Path, path: str, chance: random.Random, level: Level) -> Wanted:
    """The collection, the session, or the day."""
    folder = chance.choice([os.path.dirname(path), os.path.dirname(os.path.dirname(path))])
    (root / folder).chmod(chance.choice([0o000, 0o111]))  # the latter: what has a known name can be opened
    sessions = [session for session in SESSIONS if session.startswith(f'{folder}/')]
    return {('unreadable', lost) for lost in [*sessions, *below(folder)]}


MUTATIONS: list[Callable[[Path, str, random.Random, Level], Wanted]] = [
    remove, remove_folder, add, add_session, add_what_is_no_dataset, grow_by_a_byte, truncate, alter, touch,
    replace_by_a_folder, replace_by_a_full_folder, replace_by_a_fifo, replace_by_a_socket,
    replace_by_a_bad_link, replace_by_a_link_to_the_same, replace_a_session_by_a_file,
    rename, move, renumber, swap, lock, lock_folder,
]  # fmt: skip


@contextmanager
def as_nobody() -> Iterator[None]:
    """Be one whom modes concern: they do not concern root."""
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)
        yield
    finally:
        os.seteuid(user)


def take_apart(difference: fastindex.Difference) -> list[tuple[str, str]]:
    """Take what has moved for what it is: missing at one path, unexpected at another."""
    if difference.kind == 'moved':
        return [('missing', str(difference.expected)), ('unexpected', difference.path)]
    return [(str(difference.kind), difference.path)]


def count_mutations(
    folder: Path, total: int, seed: int
) -> tuple[int, list[tuple[str, set[tuple[str, str]]]]]:
    """Mutate a tree time and again, and verify it each time.

    Returns
    -------
    found
        Number of the differences that were planted.
    wrong
        For each failure its mutation, and the differences that were not found, or that were invented.
    """
    chance = random.Random(seed)
    found, wrong = 0, []
    root = grow(folder / 'root', TREE)
    for algorithm in ('xxh128', 'md5'):  # as oneself: what is imported here nobody may be free to read
        (folder / algorithm).mkdir()
        fastindex.build(root, out=folder / algorithm, workers=1, hash=[algorithm])
        assert not list(fastindex.verify(root, index=folder / algorithm, workers=1, hash=True))
    for turn in range(total):
        shutil.rmtree(root)
        root.mkdir(mode=0o777)
        root.chmod(0o777)
        level = Level(hash=chance.random() < 0.5, follow=chance.random() < 0.7)
        mutate = MUTATIONS[turn % len(MUTATIONS)]
        with as_nobody():
            wanted = mutate(grow(root, TREE), chance.choice(PATHS), chance, level)
            differences = fastindex.verify(
                root,
                index=folder / chance.choice(['xxh128', 'md5']),
                hash=level.hash,
                follow_symlinks=level.follow,
                workers=1,
            )
            got = [one for difference in differences for one in take_apart(difference)]
        if sorted(got) != sorted(wanted) or differences.problem_count:
            wrong.append((f'{turn}: {mutate.__name__} {level}', wanted ^ set(got)))
        found += len(wanted)
    return found, wrong

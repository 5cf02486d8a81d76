"""List and stat a tree in Python, and nothing else: what a walker in this language can reach at all.

    python -m benchmarks.bare ROOT
    python -m benchmarks.bare ROOT --hash

Two forked processes, folders by file descriptor, one listing a folder and one stat a file, as fastindex has
it. No name is judged, no id made, no table written, nothing sent from process to process. With --hash each
file is opened, read and hashed. Between this and `floor.c` is the language, between this and fastindex what
fastindex does besides.
"""

from __future__ import annotations

import mmap
import os
import sys

from xxhash import xxh3_128_digest

PROCESSES = 2
BUFFER = memoryview(mmap.mmap(-1, 2**22, flags=mmap.MAP_PRIVATE))  # see fastindex.trees.digests.open_buffer
FOLDER = os.O_RDONLY | os.O_DIRECTORY


def find_folders(root: str, depth: int) -> list[str]:
    """List the folders that are `depth` levels below the root."""
    folders = [root]
    for _ in range(depth):
        folders = [
            entry.path
            for folder in folders
            for entry in os.scandir(folder)
            if entry.is_dir(follow_symlinks=False)
        ]
    return folders


def walk(fd: int, sizes: list[int]) -> None:
    """Collect the size of each file below an open folder."""
    below = []
    with os.scandir(fd) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                below.append(entry.name)
            else:
                sizes.append(entry.stat(follow_symlinks=False).st_size)
    for name in below:
        folder = os.open(name, FOLDER, dir_fd=fd)
        walk(folder, sizes)
        os.close(folder)


def walk_and_hash(fd: int, digests: list[bytes]) -> None:
    """Collect the digest of each file below an open folder."""
    below = []
    with os.scandir(fd) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                below.append(entry.name)
            else:
                file = os.open(entry.name, os.O_RDONLY, dir_fd=fd)
                count = os.readv(file, [BUFFER])
                digests.append(xxh3_128_digest(BUFFER[:count]))
                os.close(file)
    for name in below:
        folder = os.open(name, FOLDER, dir_fd=fd)
        walk_and_hash(folder, digests)
        os.close(folder)


def main() -> None:
    """Walk the subjects of a tree with labs, each second one in each process."""
    visit = walk_and_hash if '--hash' in sys.argv else walk
    subjects = find_folders(sys.argv[1], 3)
    children = []
    for number in range(PROCESSES):
        if (pid := os.fork()) == 0:
            for subject in subjects[number::PROCESSES]:
                visit(os.open(subject, FOLDER), [])
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)


if __name__ == '__main__':
    main()

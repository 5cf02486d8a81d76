"""Trees as dicts: made on a disk, and compared."""

from __future__ import annotations

import hashlib
import io
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SESSION = 'lab/Subjects/s1/2024-01-01/001'


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True)
class Mode:
    """A folder of this mode."""

    mode: int


@dataclass(frozen=True)
class Sparse:
    """A file of this many bytes that takes no space."""

    size_bytes: int


class Fifo:
    """A named pipe."""


class Socket:
    """A socket in the file system."""


Tree = Mapping[str | bytes, Any]

Entry = tuple[str, int]
"""A name that a listing gives, and its kind."""


def grow(root: Path, tree: Tree) -> Path:
    """Make the files and folders of a dict: a name that ends in / is a folder."""
    for name, content in tree.items():
        path = os.path.join(os.fsencode(root), os.fsencode(name))
        is_folder = path.endswith(b'/')
        os.makedirs(path if is_folder else os.path.dirname(path), exist_ok=True)
        if isinstance(content, Link):
            os.symlink(content.target, path)
        elif isinstance(content, Fifo):
            os.mkfifo(path)
        elif isinstance(content, Socket):
            with socket.socket(socket.AF_UNIX) as server:
                folder = os.open(os.path.dirname(path), os.O_PATH)  # an address may have 107 bytes
                server.bind(b'/proc/self/fd/%d/%s' % (folder, os.path.basename(path)))
                os.close(folder)
        elif isinstance(content, Mode):
            os.chmod(path, content.mode)
        elif isinstance(content, Sparse):
            with open(path, 'wb') as file:
                file.truncate(content.size_bytes)
        elif not is_folder:
            with open(path, 'wb') as file:
                file.write(content)
    return root


def digest_of(root: Path) -> str:
    """One digest of all folders, file names and bytes below `root`."""
    total = hashlib.sha256()
    for path in sorted(Path(root).rglob('*')):
        content = path.read_bytes() if path.is_file() else b''
        total.update(f'{path.relative_to(root)} {path.is_dir()} {len(content)}\n'.encode() + content)
    return total.hexdigest()


def grow_what_fits(root: Path, tree: dict[str, bytes]) -> Path:
    """Make what can be made: a name may be both a file and a folder in a random tree."""
    root.mkdir()
    for name, content in tree.items():
        try:
            grow(root, {name: content})
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue
    return root


def npy(*numbers: float) -> bytes:
    """The bytes of an .npy file with these numbers."""
    buffer = io.BytesIO()
    np.save(buffer, np.array(numbers))
    return buffer.getvalue()

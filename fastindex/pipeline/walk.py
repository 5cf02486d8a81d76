"""Walk one session: sift each folder, and measure its datasets.

Runs in a worker. Gives columns of the datasets; leaves their order and rows to `fastindex.pipeline.rows`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fastindex.names.problems import Reason, Tally
from fastindex.names.verdicts import UuidVerdicts, verdicts_of
from fastindex.pipeline import shard
from fastindex.pipeline.rows import NO_DIGEST, Rows
from fastindex.pipeline.session_info import SessionInfo, file_of, find_name
from fastindex.tables.recipe import Recipe
from fastindex.trees import Folder, Kind, Measures, Tree, Wanted
from fastindex.trees.fate import sift
from fastindex.trees.fingerprints import NO_FINGERPRINT

__all__ = ['BIG_BYTES', 'SessionWalk', 'measure_datasets']

BIG_BYTES = 16 * 2**20
"""A file from this size on is hashed as a task of its own, so that no shard waits for it."""

_ENCODING = 'utf-8', 'surrogateescape'
"""Of names on their way between processes: that of the rel_paths, and no name is lost."""


def measure_datasets(
    folder: Folder,
    above: str,
    names: Sequence[str],
    paths: Sequence[bytes],
    wanted: Wanted,
    rows: Rows,
    tally: Tally,
) -> Collection[int]:
    """Measure datasets of a folder, and add their rows; what stands in the way of a file is a problem.

    An object that is there, and can be read once it is restored, is a problem and has a row without a digest.

    above: path of the folder, relative to the root
    names, paths: of the datasets; the latter as the rows are to have them
    Returns the positions of those that are problems.
    """
    measures = folder.measure(names, wanted)
    rows.add(paths, measures)
    if not measures.wrong:
        return ()
    archived = []
    for position, wrong in measures.wrong.items():
        path = f'{above}/{names[position]}'
        if isinstance(wrong, OSError):
            tally.error(path, wrong)
            continue
        tally.problem(path, wrong)
        if wrong is Reason.ARCHIVED and wanted.algorithms == ('xxh128',):  # MD5 has every row, or none
            archived.append(position)
    if archived:
        count, sizes = len(archived), folder.measure([names[position] for position in archived]).sizes
        without = Measures(sizes, [(NO_DIGEST,)] * count, [NO_FINGERPRINT] * count, {})
        rows.add([paths[position] for position in archived], without)
    return measures.wrong


class SessionWalk:
    """One session while it is walked; its datasets go into the rows of the shard.

    path: of the session, relative to the root
    rows, tally: take what is found
    is_known: whether the index has digests that may still hold: then fingerprints are taken, and nothing is
        read
    info: takes what the session's own files say of it; None: they are not read
    """

    def __init__(
        self,
        tree: Tree,
        path: str,
        rows: Rows,
        tally: Tally,
        recipe: Recipe,
        *,
        is_known: bool,
        info: SessionInfo | None,
    ) -> None:
        self.path = path
        self.info = info
        self.has_info = False  # whether there are files that say what the session is of
        self.has_revisions = False
        self.deferred: list[bytes] = []  # paths of files that are too many to be measured by this task
        self._tree = tree
        self.held_bytes = 0  # what its rows take, about, and never much less than they do
        self._rows = rows
        self._tally = tally
        self._wanted = Wanted(() if is_known else recipe.algorithms, BIG_BYTES, with_fingerprints=is_known)
        self._uuid_filenames = recipe.uuid_filenames

    def scan(self) -> None:
        """Walk the session; a listing that breaks off is a problem, and what it gave is kept."""
        for folder in self._tree.walk(self.path, self._tally):
            try:
                self._scan_folder(folder)
            except OSError as error:
                self._tally.error(self._path_of(folder.path, ''), error)

    def measure(self, paths: list[bytes]) -> None:
        """Judge and measure files that were listed before, in whatever folders."""
        names_by_folder: dict[str, list[str]] = {}
        for path in paths:
            above, _, name = path.decode(*_ENCODING).rpartition('/')
            names_by_folder.setdefault(above, []).append(name)
        for above, names in names_by_folder.items():
            try:
                with self._tree.open_folder(self._path_of(above, ''), self._tally) as folder:
                    self._take(folder, above, names, bytes([Kind.FILE]) * len(names))
            except OSError as error:
                for name in names:
                    self._tally.error(self._path_of(above, name), error)

    def _scan_folder(self, folder: Folder) -> None:
        """Sift and measure a folder; of one with many files those beyond the first block are left.

        And all that come once the session has as many as a task may hold, in however many folders. The hot
        loops are those of `sift` and `Folder.measure`: here nothing is done for a single file.
        """
        is_full = self.held_bytes >= shard.SHARD_BYTES
        wanted = file_of(folder.path)
        for names, kinds in folder.iter_names():
            now = self._defer(folder, names, kinds, wanted) if is_full else (names, kinds)
            self._take(folder, folder.path, *now, wanted)
            is_full = is_full or Kind.FILE in kinds

    def _take(
        self, folder: Folder, path: str, names: Sequence[str], kinds: bytes, wanted: str | None = None
    ) -> None:
        """Sift names of a folder at this path of the session, and measure the datasets among them.

        wanted: what a file is called that says what the session is of
        """
        verdicts = UuidVerdicts(path) if self._uuid_filenames else verdicts_of(path)
        if verdicts.is_revision:
            self.has_revisions = True
        above = f'{self.path}/{path}' if path else self.path
        names, paths = sift(
            folder, names, kinds, verdicts, self._tally, above=above, follow_links=self._tree.follow_links
        )
        if not paths:
            return
        self.held_bytes += len(paths) * (len(path) + shard.ROW_BYTES)
        wrong = measure_datasets(folder, above, names, paths, self._wanted, self._rows, self._tally)
        if wanted is not None and (name := self._find(names, wanted)) is not None:
            self.has_info = True
            if self.info is not None and names.index(name) not in wrong:
                self.info.read(folder, wanted, name, self._tally, f'{above}/{name}')

    def _find(self, names: Sequence[str], wanted: str) -> str | None:
        return find_name(names, wanted, uuid_filenames=self._uuid_filenames)

    def _defer(
        self, folder: Folder, names: Sequence[str], kinds: bytes, wanted: str | None
    ) -> tuple[list[str], bytes]:
        """Leave plain files to be judged and measured later; return the other entries, and what is wanted."""
        above = f'{folder.path}/'.encode(*_ENCODING) if folder.path else b''
        now = None if wanted is None else self._find(names, wanted)
        rest: dict[str, int] = {}
        for name, kind in zip(names, kinds, strict=True):
            if kind == Kind.FILE and name != now:
                self.deferred.append(above + name.encode(*_ENCODING))
            else:
                rest[name] = kind
        return list(rest), bytes(rest.values())

    def _path_of(self, above: str, name: str) -> str:
        """Path of a file, or of a folder where `name` is `''`, relative to the root."""
        path = f'{self.path}/{above}' if above else self.path
        return f'{path}/{name}' if name else path

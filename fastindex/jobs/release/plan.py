"""Plan a release: which sessions and datasets go into which archive, by the index; nothing is read yet.

Gives the parts, each with the rows of its sessions and datasets in the order of the archive, about 150 bytes
a dataset in memory. Leaves the tables to `fastindex.jobs.release.tables`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING, NamedTuple
from unicodedata import normalize

from fastindex.errors import ReleaseError
from fastindex.jobs.read.info import sum_sizes
from fastindex.jobs.read.search import Query, file_path, find_sessions
from fastindex.jobs.release.member_rules import ORDINARY_NAME, to_member
from fastindex.jobs.release.pack import FileTask
from fastindex.lazy import pl
from fastindex.names.windows import MAX_PATH_CHARACTERS, judge_for_windows
from fastindex.text import escape, to_count, to_size

if TYPE_CHECKING:
    from fastindex.jobs.read.index import Index

__all__ = ['SPLITS', 'Part', 'check_beside', 'iter_warnings', 'select_rows', 'split_rows']

SPLITS = ('lab', 'subject')

ROW_BYTES = 400
"""Most that the two tables have of a dataset or a session; rel_path and digests included twice."""

SLICE_ROWS = 2**16

PLAIN = r'\A[ -~]*\z'


class Part(NamedTuple):
    """What goes into one archive."""

    sessions: pl.DataFrame  # rows of sessions.pqt with `session_path`, in the order of that
    # `session_path`, `rel_path` (as the file is called), `path` (both joined), `file_size`, `xxh128` (''
    # where the index has none), in the order of `path`
    datasets: pl.DataFrame
    groups: tuple[str, ...] = ()  # the labs or subjects, where a release is split

    @property
    def size_bytes(self) -> int:
        """Size of its datasets."""
        return int(self.datasets.select(sum_sizes()).item())

    @property
    def dates(self) -> tuple[date, date]:
        """The first and the last day."""
        days: list[date] = self.sessions['date'].to_list()
        return min(days), max(days)

    def list_empty_sessions(self) -> list[str]:
        """List the paths of sessions without a dataset: nothing else tells that they are there."""
        owners = self.datasets['session_path'].unique()
        empty = self.sessions.filter(~pl.col('session_path').is_in(owners.implode()))
        paths: list[str] = empty['session_path'].to_list()
        return paths

    def iter_files(self) -> Iterator[tuple[str, FileTask]]:
        """Iterate over the datasets: the path of the folder, and the file in it."""
        for rows in self.datasets.select('path', 'file_size', 'xxh128').iter_slices(SLICE_ROWS):
            for path, size_bytes, xxh128 in rows.iter_rows():
                folder, _, name = path.rpartition('/')
                yield folder, FileTask(name, size_bytes, xxh128)


def select_rows(index: Index, query: Query | None) -> Part:
    """Select the sessions that answer a query, all if None, and all datasets of theirs.

    Raises ReleaseError if there is none, or a path that cannot be unpacked everywhere.
    """
    sessions = find_sessions(index.sessions, index.datasets, query or Query())
    if sessions.is_empty():
        raise ReleaseError(
            hint='no session is as `select` says: python -m fastindex search ROOT, with the same options, '
            'shows what is found'
        )
    sessions = sessions.with_columns(index.session_paths(sessions)).sort('session_path')
    datasets = index.datasets
    if index.recipe.uuid_filenames:
        datasets = datasets.with_columns(file_path())
    digest = pl.col('xxh128') if 'xxh128' in datasets.collect_schema() else pl.lit('').alias('xxh128')
    found = (
        datasets.select('eid', 'rel_path', 'file_size', digest)
        .join(sessions.lazy().select('session_path', eid='id'), on='eid', how='inner')
        .with_columns(path=pl.concat_str('session_path', 'rel_path', separator='/'))
        .drop('eid')
        .sort('path')
        .collect()
    )
    part = Part(sessions, found)
    _check_names(part)
    return part


def _check_names(part: Part) -> None:
    """Refuse now what an archive would refuse after hours: see `to_member`."""
    for column in (part.sessions['session_path'], part.datasets['rel_path'].unique()):
        for path in column.filter(~column.str.contains(ORDINARY_NAME)).to_list():
            to_member(path)
    paths = part.datasets['path']
    if paths.n_unique() < paths.len():
        path = paths.filter(paths.is_duplicated())[0]
        raise ReleaseError(f'{escape(path)}: two datasets of the index have this path')


def check_beside(part: Part, names: Collection[str]) -> None:
    """Raise ReleaseError if what the archive has beside the sessions would be in the place of their folders.

    names: of the files beside the sessions
    """
    for path in part.sessions['session_path'].to_list():
        if path.partition('/')[0] in names:
            raise ReleaseError(f'{escape(path)}: the archive has a file where its first folder is: rename it')


def iter_warnings(rows: Part, beside: Sequence[str]) -> Iterator[str]:
    """Say of which paths some are lost where a release is unpacked on another system, and what it lacks.

    beside: names of the files that describe the data
    """
    if twins := _find_twins(rows):
        yield (
            f'{to_count(len(twins), "path")} that differ only in upper and lower case or in how accents are '
            f'written, such as {escape(twins[0])}: they overwrite each other where they are unpacked on '
            'macOS or Windows'
        )
    if apart := [path for path in _list_unplain(rows) if normalize('NFC', path) != path]:
        yield (
            f'{to_count(len(apart), "path")} with accents that are characters of their own, such as '
            f'{escape(apart[0])}: bsdtar joins them with their letters, and then the index and the checksums '
            'name other files: validate has the right names (ALF113)'
        )
    if lost := _find_too_much_for_windows(rows):
        yield (
            f'{to_count(len(lost), "path")} that Windows cannot hold, such as {escape(lost[0])}: '
            'validate says why (ALF412)'
        )
    lacking = [
        f'no {name}: {what}'
        for name, what in (
            ('LICENSE', 'without one nobody may use the data'),
            ('README', 'nothing says what the data is'),
        )
        if not any(one.upper().startswith(name[:5]) for one in beside)
    ]
    if lacking:
        those = 'it there, and it is' if len(lacking) == 1 else 'them there, and they are'
        yield f'in the root there is {", and ".join(lacking)}; put {those} released too'


def _find_twins(part: Part) -> list[str]:
    """Find paths that are one where a disk does not tell upper from lower case (macOS, Windows)."""
    paths = part.datasets['path']
    plain, rest = paths.filter(paths.str.contains(PLAIN)), pl.Series(_list_unplain(part), dtype=pl.String)
    folded_rest = [normalize('NFC', path).casefold() for path in rest.to_list()]
    folded = pl.concat([plain.str.to_lowercase(), pl.Series(folded_rest, dtype=pl.String)])
    twins: list[str] = pl.concat([plain, rest]).filter(folded.is_duplicated()).to_list()
    return sorted(twins)


def _list_unplain(part: Part) -> list[str]:
    """List the paths that are not of ASCII alone."""
    paths = part.datasets['path']
    found: list[str] = paths.filter(~paths.str.contains(PLAIN)).to_list()
    return found


def _find_too_much_for_windows(part: Part) -> list[str]:
    """Find paths that Windows cannot hold, by a name in them or by their length."""
    paths = part.datasets['path']
    names = paths.str.split('/').explode().unique()
    wrong = [name for name in names.to_list() if judge_for_windows(name)]
    is_wrong = paths.str.len_chars() > MAX_PATH_CHARACTERS
    if wrong:
        parts = pl.DataFrame({'row': range(paths.len()), 'name': paths.str.split('/')}).explode('name')
        rows = parts.filter(pl.col('name').is_in(wrong))['row']
        is_wrong |= pl.Series(range(paths.len())).is_in(rows.implode())
    found: list[str] = paths.filter(is_wrong).to_list()
    return found


def split_rows(part: Part, by: str, *, max_bytes: int, member_bytes: int, extra_bytes: int) -> list[Part]:
    """Split a release into parts none of which becomes larger than a limit, whatever its data is.

    Labs or subjects stay whole, and in the order of their names. What is counted is the size without
    compression, so the archives are smaller, and the cut does not hang on how well a file compresses. Raises
    ReleaseError if a lab or subject alone is larger.

    by: of `SPLITS`
    member_bytes: what the format needs for a member
    extra_bytes: what each part has besides: the README and the like
    """
    above = pl.when(pl.col('lab') != '').then(pl.col('lab') + '/').otherwise(pl.lit(''))
    group = pl.col('lab') if by == 'lab' else above + pl.col('subject')
    groups = part.sessions.select('session_path', group=group)
    name_bytes = 3 * pl.col('path').str.len_bytes().cast(pl.Int64)  # header, directory and manifest have it
    size_bytes = pl.col('file_size').cast(pl.UInt64)
    sizes = (
        pl.concat(
            [
                groups.select('group', file_size=pl.lit(0, pl.UInt64), more=pl.lit(member_bytes + ROW_BYTES)),
                part.datasets.join(groups, on='session_path').select(
                    'group', size_bytes, more=name_bytes + member_bytes + ROW_BYTES
                ),
            ],
            how='vertical_relaxed',
        )
        .group_by('group')
        .agg(sum_sizes(), (size_bytes // 1024).cast(pl.Int128).sum().alias('slack'), pl.col('more').sum())
        .sort('group')
    )
    cut: list[list[str]] = []
    room = 0
    for name, *needed in sizes.iter_rows():
        size = sum(needed)
        if size + extra_bytes > max_bytes:
            raise ReleaseError(
                f'{by} {escape(name)}: {to_size(size + extra_bytes)} before compression, ',
                hint=f'more than `split_bytes` {to_size(max_bytes)}: expected a larger size'
                f'{", or `split_by=subject`" * (by == "lab")}',
            )
        if size > room:
            cut.append([])
            room = max_bytes - extra_bytes
        cut[-1].append(name)
        room -= size
    return [_narrow(part, groups, names) for names in cut]


def _narrow(part: Part, groups: pl.DataFrame, names: Sequence[str]) -> Part:
    """Keep the rows of some groups."""
    paths = groups.filter(pl.col('group').is_in(list(names)))['session_path'].implode()
    is_wanted = pl.col('session_path').is_in(paths)
    return Part(part.sessions.filter(is_wanted), part.datasets.filter(is_wanted), tuple(names))

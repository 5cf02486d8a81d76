"""Plan a release: which sessions and datasets go into which archive, by the index; nothing is read yet.

Gives the parts, each with the rows of its sessions and datasets in the order of the archive, about 75 bytes a
dataset in memory: what has paths and names is asked of each session and each rel_path once, and no more paths
are joined at a time than are looked at. Leaves the tables to `fastindex.jobs.release.tables`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import date
from functools import partial
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

TWINS = (
    'that differ only in upper and lower case or in how accents are written, such as {}: they overwrite each '
    'other where they are unpacked on macOS or Windows'
)
APART = (
    'with accents that are characters of their own, such as {}: bsdtar joins them with their letters, and '
    'then the index and the checksums name other files: validate has the right names (ALF113)'
)
TOO_MUCH = 'that Windows cannot hold, such as {}: validate says why (ALF412)'


class Part(NamedTuple):
    """What goes into one archive."""

    # rows of sessions.pqt with `session_path`, in the order of that, and `session`, their number in it
    sessions: pl.DataFrame
    # `session`, `rel_path` (as the file is called), `file_size`, `xxh128` ('' where the index has none), in
    # the order of the first two, which is that of the paths: where the path of a session is the start of that
    # of another, digits of the number follow, and they come after a slash
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
        owners = self.datasets['session'].unique()
        empty = self.sessions.filter(~pl.col('session').is_in(owners.implode()))
        paths: list[str] = empty['session_path'].to_list()
        return paths

    def iter_files(self) -> Iterator[tuple[str, FileTask]]:
        """Iterate over the datasets: the path of the folder, and the file in it."""
        for rows in self.datasets.iter_slices(SLICE_ROWS):
            files = zip(self.join_paths(rows), rows['file_size'], rows['xxh128'], strict=True)
            for path, size_bytes, xxh128 in files:
                folder, _, name = path.rpartition('/')
                yield folder, FileTask(name, size_bytes, xxh128)

    def join_paths(self, datasets: pl.DataFrame) -> pl.Series:
        """Get the paths of some of the datasets, relative to the root."""
        rows = datasets.join(
            self.sessions.select('session', 'session_path'), on='session', how='left', maintain_order='left'
        )
        return rows.select(path=pl.concat_str('session_path', 'rel_path', separator='/'))['path']

    def find_paths(self, is_meant: Callable[[pl.Series], pl.Series]) -> pl.Series:
        """Get the paths of datasets, by what is in that of their session, or in their rel_path.

        is_meant: tells of each of some texts whether it has what is meant
        """
        sessions, names = self.sessions, self.datasets['rel_path'].unique()
        rows = pl.col('session').is_in(
            sessions.filter(is_meant(sessions['session_path']))['session'].implode()
        )
        rows |= pl.col('rel_path').is_in(names.filter(is_meant(names)).implode())
        return self.join_paths(self.datasets.filter(rows))


def select_rows(index: Index, query: Query | None) -> Part:
    """Select the sessions that answer a query, all if None, and all datasets of theirs.

    Raises ReleaseError if there is none, or a path that cannot be unpacked everywhere.
    """
    sessions = find_sessions(index, query or Query())
    if sessions.is_empty():
        raise ReleaseError(
            hint='no session is as `select` says: python -m fastindex search ROOT, with the same options, '
            'shows what is found'
        )
    sessions = (
        sessions.with_columns(index.session_paths(sessions)).sort('session_path').with_row_index('session')
    )
    datasets = index.datasets.with_columns(file_path(index))
    digest = pl.col('xxh128') if 'xxh128' in datasets.collect_schema() else pl.lit('').alias('xxh128')
    found = (
        datasets.select('eid', 'rel_path', 'file_size', digest)
        .join(sessions.lazy().select('session', eid='id'), on='eid', how='inner')
        .select('session', 'rel_path', 'file_size', 'xxh128')
        .collect()
        .sort('session', 'rel_path')
    )
    part = Part(sessions, found)
    _check_names(part)
    return part


def _check_names(part: Part) -> None:
    """Refuse now what an archive would refuse after hours: see `to_member`."""
    for column in (part.sessions['session_path'], part.datasets['rel_path'].unique()):
        for path in column.filter(~column.str.contains(ORDINARY_NAME)).to_list():
            to_member(path)
    keys = pl.col('session', 'rel_path')
    twice = part.datasets.filter(pl.all_horizontal(keys == keys.shift()))
    if twice.height:
        path = part.join_paths(twice.head(1))[0]
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

    beside: paths of the files that are released with the datasets: what describes them, and aggregates
    """
    others = pl.Series('path', beside, dtype=pl.String)
    for found, what in (
        (_find_twins(rows, others), TWINS),
        (_find_apart(rows, others), APART),
        (_find_too_much_for_windows(rows, others), TOO_MUCH),
    ):
        if found.len():
            yield f'{to_count(found.len(), "path")} {what.format(escape(found[0]))}'
    empty = rows.join_paths(rows.datasets.filter(file_size=0))
    if empty.len():
        have = f'{to_count(empty.len(), "dataset")} {"has" if empty.len() == 1 else "have"}'
        yield f'{have} no bytes, the first {escape(empty[0])}: is it so meant?'
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


def _find_twins(part: Part, others: pl.Series) -> pl.Series:
    """Find paths that are one where a disk does not tell upper from lower case (macOS, Windows), sorted."""
    paths = pl.concat([part.find_paths(lambda texts: _fold(texts).is_duplicated()), others])
    return paths.filter(_fold(paths).is_duplicated()).sort()


def _find_apart(part: Part, others: pl.Series) -> pl.Series:
    """Find paths with accents that are characters of their own."""
    paths = pl.concat([part.find_paths(lambda texts: texts.ne(_compose(texts))), others])
    return paths.filter(paths.ne(_compose(paths)))


def _fold(texts: pl.Series) -> pl.Series:
    """Write texts as a disk that does not tell upper from lower case may."""
    plain = texts.str.to_lowercase()
    return _change_unplain(texts, plain, lambda text: normalize('NFC', text).casefold())


def _compose(texts: pl.Series) -> pl.Series:
    """Write texts with each accent joined with its letter."""
    return _change_unplain(texts, texts, partial(normalize, 'NFC'))


def _change_unplain(texts: pl.Series, plain: pl.Series, change: Callable[[str], str]) -> pl.Series:
    """Change texts, unless all are of ASCII alone: then they are as in `plain`."""
    if texts.str.contains(PLAIN).all():
        return plain
    return texts.map_elements(change, return_dtype=pl.String)


def _find_too_much_for_windows(part: Part, others: pl.Series) -> pl.Series:
    """Find paths that Windows cannot hold, by a name in them or by their length."""

    def are_wrong(texts: pl.Series, max_characters: int) -> pl.Series:
        has_wrong_name = (any(map(judge_for_windows, text.split('/'))) for text in texts)
        return pl.Series(has_wrong_name, dtype=pl.Boolean) | (texts.str.len_chars() > max_characters)

    # Of a path that is too long, one of the two around a slash has half of the characters.
    candidates = part.find_paths(lambda texts: are_wrong(texts, MAX_PATH_CHARACTERS // 2 - 1))
    paths = pl.concat([candidates, others])
    return paths.filter(are_wrong(paths, MAX_PATH_CHARACTERS))


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
    groups = part.sessions.select('session', 'session_path', group=group)
    path_bytes = pl.sum_horizontal(pl.col('session_path', 'rel_path').str.len_bytes().cast(pl.Int64)) + 1
    name_bytes = 3 * path_bytes  # header, directory and manifest have it
    size_bytes = pl.col('file_size').cast(pl.UInt64)
    sizes = (
        pl.concat(
            [
                groups.select('group', file_size=pl.lit(0, pl.UInt64), more=pl.lit(member_bytes + ROW_BYTES)),
                part.datasets.join(groups, on='session').select(
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
    sessions = groups.filter(pl.col('group').is_in(list(names)))['session'].implode()
    is_wanted = pl.col('session').is_in(sessions)
    return Part(part.sessions.filter(is_wanted), part.datasets.filter(is_wanted), tuple(names))

"""An example tree to try everything on, shaped like the ONE documentation's "ibl-behavioral-data-Dec2019".

Writes 9 labs of mice at IBL's decision task, 15 trials datasets a session, into a new folder. The bytes
depend on `sessions` and `seed` alone (for one version of numpy), not on the number of workers; a session
depends on `seed` and its path, so it is the same in a larger example. Gives an `ExampleSummary`. Leaves the
index to `fastindex.build`, an archive of the real data to `fastindex.jobs.example.archive`.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import math
import os
import re
import time
from datetime import date, timedelta
from stat import S_ISREG
from typing import TYPE_CHECKING, Any, NamedTuple

from fastindex.errors import ExampleError, UsageError, naming_shortage
from fastindex.extras import require
from fastindex.files import new_folder
from fastindex.folders import open_file
from fastindex.progress import open_bar
from fastindex.records import Record
from fastindex.text import escape, to_count, to_size
from fastindex.workers.pool import Pool, default_workers

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

__all__ = [
    'DEFAULT_SESSIONS',
    'ExampleSummary',
    'check_free',
    'example',
    'iter_session_paths',
    'write_example',
]

ADVICE = 'choose another folder, or remove this one if nobody needs it'
DEFAULT_SESSIONS = 4933  # of the published example: 73,995 datasets

# Lab, pattern of its subjects' names, first number, step: two labs share a colony and so a pattern.
_LABS = (
    ('angelakilab', 'NYU-{:02d}', 1, 1),
    ('churchlandlab', 'CSHL_{:03d}', 1, 1),
    ('cortexlab', 'KS{:03d}', 2, 1),
    ('danlab', 'DY_{:03d}', 1, 1),
    ('hoferlab', 'SWC_{:03d}', 10, 2),
    ('mainenlab', 'ZM_{}', 1084, 1),
    ('mrsicflogellab', 'SWC_{:03d}', 9, 2),
    ('wittenlab', 'ibl_witten_{:02d}', 1, 1),
    ('zadorlab', 'CSH_ZAD_{:03d}', 1, 1),
)
_LONGEST = 'angelakilab', 'NYU-01', 98  # these two are in the tutorials of ONE
_FAMOUS = 'zadorlab', 'CSH_ZAD_003', date(2019, 8, 11)
_DATASETS_A_SESSION = 15
_FORMAT = 1  # count up when other bytes are written for the same sessions and seed
_MARKER = re.compile(
    r'Example of fastindex, format (\d+): (\d+) sessions, seed (-?\d+), (\d+) bytes of datasets\n', re.ASCII
)
_README = """\
Example of fastindex, format {format}: {sessions} sessions, seed {seed}, {size} bytes of datasets

The data is synthetic: no mouse has done these trials. The folders and names are those of the example
"ibl-behavioral-data-Dec2019" in the documentation of ONE (Open Neurophysiology Environment).
Made by: fastindex example FOLDER --sessions {sessions} --seed {seed}
The first line tells fastindex that this folder is its own. The folder may be removed at any time.
"""


class ExampleSummary(Record):
    """What stands in the folder now.

    Parameters
    ----------
    root
        Absolute path of the folder, symbolic links resolved.
    sessions, datasets, bytes
        Number of sessions, of files in sessions, and the size of these files.
    seconds
        How long it took.
    written
        False if the very same example was already there.
    """

    root: str
    sessions: int
    datasets: int
    bytes: int
    seconds: float
    written: bool

    def __str__(self) -> str:
        state = f'written in {self.seconds:.1f} s' if self.written else 'there already'
        counts = f'{to_count(self.sessions, "session")}, {to_count(self.datasets, "dataset")}'
        return f'{escape(self.root)}: {counts}, {to_size(self.bytes)}, {state}'

    def __repr__(self) -> str:
        return f'<ExampleSummary: {self}>'


@naming_shortage()
def write_example(
    folder: str | os.PathLike[str],
    *,
    sessions: int = DEFAULT_SESSIONS,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = False,
) -> ExampleSummary:
    """Write the example tree to a folder that does not exist yet, or is empty, or is this example already.

    Parameters
    ----------
    folder
        Where to; missing folders above it are made.
    sessions
        How many, the first of `iter_session_paths`; 15 datasets and about 44 kB each.
    seed
        Other seeds give other trials in the same sessions.
    workers
        Number of processes, by default one a core.
    progress
        Whether to show a bar.

    Raises
    ------
    ExampleError
        Something else is in the folder, it cannot be written, or numpy is missing; the folder is as it was.
    UsageError
        Fewer than one session or worker.
    WorkerError
        A worker process was killed.
    """
    began = time.perf_counter()
    if sessions < 1:
        raise UsageError(f'sessions is {sessions}, expected 1 or more')
    if workers is not None and workers < 1:
        raise UsageError(f'workers is {workers}, expected 1 or more')
    target = os.path.realpath(folder)
    datasets = sessions * _DATASETS_A_SESSION
    if found := _read_marker(target):
        if found[:3] != (_FORMAT, sessions, seed):
            what = 'an example of format {}, {} sessions, seed {}'.format(*found)
            raise ExampleError(f'{target}: found {what}, which is never written over: {ADVICE}')
        return ExampleSummary(
            target, sessions, datasets, found[3], time.perf_counter() - began, written=False
        )
    check_free(target)
    require('example', 'the example')
    with new_folder(target, error=ExampleError) as root:
        size = _write_sessions(root, sessions, seed, workers, progress)
        with open(f'{root}/README.txt', 'x', encoding='utf-8') as file:
            file.write(_README.format(format=_FORMAT, sessions=sessions, seed=seed, size=size))
    return ExampleSummary(target, sessions, datasets, size, time.perf_counter() - began, written=True)


example = write_example  # the name of the command


def iter_session_paths(sessions: int = DEFAULT_SESSIONS) -> Iterator[str]:
    """Yield the first `sessions` session paths of an endless list that is the same for everybody.

    The order: one session of NYU-01, then 2019-08-11 of CSH_ZAD_003, the other 97 of NYU-01, the others of
    CSH_ZAD_003, then subject by subject (of each lab in turn, 20 to 80 sessions each), by date within one.
    So 2 sessions hold both of these mice, 99 hold all 98 of NYU-01, and every example holds all smaller ones.

    >>> list(iter_session_paths(2))
    ['angelakilab/Subjects/NYU-01/2019-03-25/001', 'zadorlab/Subjects/CSH_ZAD_003/2019-08-11/001']
    """
    return itertools.islice(_iter_all_paths(), sessions)


def _iter_all_paths() -> Iterator[str]:
    longest, famous = _iter_subject_paths(*_LONGEST[:2]), _iter_subject_paths(*_FAMOUS[:2])
    yield from (next(longest), next(famous))
    yield from longest
    yield from famous
    for count in itertools.count():
        for lab, pattern, first, step in _LABS:
            subject = pattern.format(first + step * count)
            if subject not in (_LONGEST[1], _FAMOUS[1]):
                yield from _iter_subject_paths(lab, subject)


def _iter_subject_paths(lab: str, subject: str) -> Iterator[str]:
    count = _LONGEST[2] if subject == _LONGEST[1] else 20 + _hash(subject) % 61
    day = _first_day(subject)
    while count:
        yield f'{lab}/Subjects/{subject}/{day}/001'
        count -= 1
        day += timedelta(days=1)
        # Weekends are off and weekdays on, but for one in sixteen.
        while (day.weekday() < 5) == (_hash(f'{subject}/{day}') % 16 == 0):
            day += timedelta(days=1)


@functools.lru_cache(maxsize=64)
def _first_day(subject: str) -> date:
    """Choose a Monday so early that the last day is before the release in December 2019."""
    if subject == _FAMOUS[1]:
        return _FAMOUS[2]
    return date(2018, 2, 5) + timedelta(weeks=_hash(subject) // 61 % 75)


def _hash(text: str) -> int:
    from xxhash import xxh3_128_intdigest

    return xxh3_128_intdigest(text.encode())


def _read_marker(target: str) -> tuple[int, ...] | None:
    """Read format, sessions, seed and bytes of the example in `target`; None if there is none."""
    try:
        fd = open_file(os.path.join(target, 'README.txt'), os.O_RDONLY)  # be it a FIFO
        with open(fd, encoding='ascii', errors='replace') as file:
            marker = _MARKER.fullmatch(file.readline(200)) if S_ISREG(os.fstat(fd).st_mode) else None
    except OSError:
        return None
    return tuple(map(int, marker.groups())) if marker else None


def check_free(target: str) -> None:
    """Raise ExampleError unless `target` does not exist or is an empty folder that nobody stands in."""
    try:
        names = sorted(os.listdir(target))
    except FileNotFoundError:
        return
    except OSError as error:
        raise ExampleError(
            f'{target}: {error.strerror}, expected an empty folder or none: {ADVICE}'
        ) from error
    if names:
        shown = ', '.join(names[:3]) + (' ...' if len(names) > 3 else '')
        raise ExampleError(f'{target}: not empty (has {shown}), expected an empty folder or none: {ADVICE}')
    if target == os.getcwd():  # the rename would leave the shell in a folder that is gone
        raise ExampleError(f'{target}: the current folder cannot be replaced: give a new name below it')


def _write_sessions(root: str, sessions: int, seed: int, workers: int | None, progress: bool) -> int:
    """Write all sessions below `root` and return their bytes."""
    paths = iter_session_paths(sessions)
    parts = iter(lambda: list(itertools.islice(paths, 50)), [])  # 50 ms each: a smooth bar
    tasks = [_WriteTask(root, seed, part) for part in parts]
    size = 0
    count = min(workers or default_workers(), len(tasks))
    with Pool(count, is_asked=workers is not None) as pool:
        results = pool.run(tasks)  # before the bar, which starts a thread
        bar = open_bar(total=sessions, unit='session', description='writing', enabled=progress)
        with contextlib.closing(bar):
            for (count, shard_bytes), _ in results:
                size += shard_bytes
                bar.update(count)
    return size


class _WriteTask(NamedTuple):
    """Some sessions to be written; gives their number and their bytes."""

    root: str
    seed: int
    session_paths: list[str]

    def run(self) -> tuple[int, int]:
        import numpy as np

        size = 0
        for session_path in self.session_paths:
            subject_path, day, _ = session_path.rsplit('/', 2)
            subject = subject_path.rpartition('/')[2]
            days = (date.fromisoformat(day) - _first_day(subject)).days
            rng = np.random.Generator(np.random.PCG64(_hash(f'{self.seed}/{session_path}')))
            trials = _draw_trials(rng, skill=1 - math.exp(-days / 30))
            size += _write_trials(f'{self.root}/{session_path}/alf', trials)
        return len(self.session_paths), size


def _write_trials(folder: str, trials: dict[str, np.ndarray[Any, Any]]) -> int:
    """Write each array to `_ibl_trials.ATTRIBUTE.npy` in a new folder and return the bytes."""
    size = 0
    os.makedirs(folder, exist_ok=True)  # a worker that died may have begun it
    for attribute, array in trials.items():
        data = _npy_header(array.dtype.str, array.shape) + array.tobytes()
        fd = open_file(f'{folder}/_ibl_trials.{attribute}.npy', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            if os.write(fd, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), folder)
        finally:
            os.close(fd)
        size += len(data)
    return size


@functools.lru_cache(maxsize=4096)
def _npy_header(descr: str, shape: tuple[int, ...]) -> bytes:
    """Format the start of a npy file: 6 us, which is half of `numpy.save`, so it is kept for each shape."""
    import io

    import numpy as np

    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {'descr': descr, 'fortran_order': False, 'shape': shape})
    return header.getvalue()


def _draw_trials(rng: np.random.Generator, *, skill: float) -> dict[str, np.ndarray[Any, Any]]:
    """Draw the 15 trials attributes of a session of IBL's task (doi 10.7554/eLife.63711), in seconds.

    `skill` in [0, 1) is how far the mouse is trained: more trials, fewer errors, faster. As in IBL's data,
    choice is 1 for left, -1 for right, 0 for neither in 60 s; where no stimulus is, the contrast is NaN.
    """
    import numpy as np

    n = int(np.clip((250 + 140 * skill) * math.exp(0.25 * rng.standard_normal()), 200, 700))
    lengths = rng.integers(20, 101, size=n // 20 + 1)
    lengths[0] = 90  # the first block is the even one
    blocks = np.where(np.arange(len(lengths)) % 2 == rng.integers(2), 0.2, 0.8)
    blocks[0] = 0.5
    p_left = np.repeat(blocks, lengths)[:n]

    u = rng.random((7, n))
    left = u[0] < p_left
    contrast = np.array([0, 0.0625, 0.125, 0.25, 1])[(u[1] * 5).astype(np.int64)]
    ease = np.tanh(contrast / 0.15)
    prior = np.where(left, p_left, 1 - p_left)
    p_correct = 0.5 + (0.15 + 0.3 * skill) * ease + 0.5 * skill * (prior - 0.5) * (1 - ease)
    missed = u[2] < 0.01
    correct = (u[3] < p_correct) & ~missed
    reaction = (0.45 - 0.25 * skill + 0.15 * (1 - ease)) * np.exp(0.4 * rng.standard_normal(n))
    reaction[missed] = 60

    quiescence = 0.4 + 0.4 * u[4]
    durations = quiescence + reaction + np.where(correct, 1.5, 2.5)
    starts = np.cumsum(durations) - durations + 5
    stim_trigger = starts + quiescence
    stim = stim_trigger + 0.005 + 0.02 * u[5]
    cue_trigger = stim + 0.0005
    cue = cue_trigger + 0.0002 + 0.0008 * u[6]
    response = cue + reaction

    trials = np.arange(n)
    again = np.zeros(n, dtype=bool)  # the same stimulus as in the trial before
    again[1:] = (contrast[1:] == contrast[:-1]) & (left[1:] == left[:-1])
    side = np.where(left, np.int64(1), np.int64(-1))
    return {
        'choice': np.where(missed, 0, np.where(correct, side, -side)),
        'contrastLeft': np.where(left, contrast, np.nan),
        'contrastRight': np.where(left, np.nan, contrast),
        'feedbackType': np.where(correct, np.int64(1), np.int64(-1)),
        'feedback_times': response + 0.0001,
        'goCueTrigger_times': cue_trigger,
        'goCue_times': cue,
        'included': trials < n - rng.integers(20),  # a mouse that has had enough
        'intervals': np.column_stack((starts, starts + durations - 0.1)),
        'probabilityLeft': p_left,
        'repNum': trials - np.maximum.accumulate(np.where(again, 0, trials)) + 1,
        'response_times': response,
        'rewardVolume': np.where(correct, rng.integers(20, 31) / 10, 0),
        'stimOnTrigger_times': stim_trigger,
        'stimOn_times': stim,
    }

"""What all benchmarks share: commands that run in turn, the ratios of their pairs, and results as JSON.

Machines differ and are noisy: what can be compared is the ratio of two commands that ran next to each other,
and of several such ratios the median. Every command runs as a user types it, interpreter start included.

Not pyperf: it times all runs of one command before those of the next, so a machine that slows down in between
counts as a change, and its metadata has the host's name and paths. What is left for it is a median.
"""

from __future__ import annotations

import importlib.util
import json
import operator
import os
import platform
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import NamedTuple

import fastindex

HERE = Path(__file__).parent
RESULTS = HERE / 'results'
_COMPARE = {'<=': operator.le, '>=': operator.ge, '==': operator.eq}


class Command(NamedTuple):
    """A shell command to be timed.

    Parameters
    ----------
    name
        As it stands in the tables.
    template
        With placeholders such as `{root}`, which are filled in quoted; `{out}` is a new folder at each run.
    needs
        Programs, Python modules or tools of ours without which it is missing.
    """

    name: str
    template: str
    needs: tuple[str, ...] = ()


class Cost(NamedTuple):
    """What a run of a command took: wall seconds, and CPU seconds of it and of all that it waited for."""

    wall: float
    user: float
    kernel: float

    @property
    def cpu(self) -> float:
        """CPU seconds, those of the kernel included."""
        return self.user + self.kernel


@dataclass(frozen=True, slots=True)
class Measurement:
    """One row of the table of measurements.

    Parameters
    ----------
    tree, name
        What was measured on, and what: most often the command that fastindex is compared with.
    value
        What is judged: the median of the ratios fastindex / other unless `unit` says something else. None
        where there is nothing to judge; `note` says why.
    goal
        Operator and number, `'<= 0.7'`; or nothing.
    ours, theirs
        What was measured, run by run.
    measured_in
        Unit of these.
    commands
        What was run, with placeholders.
    """

    tree: str
    name: str
    value: float | None
    goal: str = ''
    unit: str = 'ratio'
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    measured_in: str = 's'
    commands: list[str] = field(default_factory=list)
    note: str = ''

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met; None where there is none, or nothing was measured."""
        if self.value is None or not self.goal:
            return None
        symbol, number = self.goal.split()
        return bool(_COMPARE[symbol](round(self.value, 3), float(number)))

    def to_json(self) -> dict[str, object]:
        """Give what a result file has of it, medians included."""
        medians = {
            f'median_{name}': median(values)
            for name, values in (('ours', self.ours), ('theirs', self.theirs))
            if values
        }
        return {**asdict(self), **medians, 'met': self.is_met}


class MissingError(Exception):
    """Something that a command needs is not installed."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a folder for outputs and compiled tools, and remove it at the end."""
    with tempfile.TemporaryDirectory(prefix='fastindex-bench-') as folder:
        yield Path(folder)


def compile_tool(name: str, folder: Path, *flags: str) -> Path:
    """Compile one of the C sources of this folder.

    Raises
    ------
    MissingError
        If there is no C compiler, or a header that it needs is missing.
    """
    if shutil.which('cc') is None:
        raise MissingError('no C compiler (cc)')
    tool = folder / name
    source = HERE / f'{Path(name).stem}.c'
    done = subprocess.run(
        ['cc', '-O3', '-o', tool, source, *flags], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise MissingError(f'{source.name} does not compile: {done.stderr.strip().splitlines()[0]}')
    return tool


def make_words(scratch: Path, **words: str | Path) -> dict[str, str]:
    """Collect what the placeholders of commands stand for; `floor` only where it can be compiled."""
    found = {'python': sys.executable, 'bare': str(HERE / 'bare.py'), **words}
    try:
        found['floor'] = compile_tool('floor', scratch, '-lxxhash', '-lpthread')
    except MissingError as error:
        print(f'missing: {error}', file=sys.stderr)
    return {name: shlex.quote(str(word)) for name, word in found.items()}


def is_missing(command: Command, words: Mapping[str, str]) -> bool:
    """Tell whether something that a command needs is not installed."""
    return any(
        not (need in words or shutil.which(need) or importlib.util.find_spec(need)) for need in command.needs
    )


def cost_of(command: Command, words: Mapping[str, str], scratch: Path) -> Cost:
    """Measure what a command takes, which must succeed."""
    with tempfile.TemporaryDirectory(dir=scratch) as out:
        line = command.template.format(**{'out': out, **words})
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.perf_counter()
        done = subprocess.run(
            line, shell=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
        )
        wall = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f'failed with {done.returncode}: {line}\n{done.stderr[-2000:]}')
    return Cost(round(wall, 4), after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime)


SHORT_SECONDS = 2.0


def race_costs(
    commands: Sequence[Command], words: Mapping[str, str], scratch: Path, *, rounds: int, warm_up: bool = True
) -> dict[str, list[Cost]]:
    """Run commands in turn, round after round, each round beginning with another one, after a warm-up.

    A short command is warmed up before each of its runs: a kernel that reclaims what was idle for some
    seconds drops the modules of one while the others run, and to read them again takes longer than the run.

    Parameters
    ----------
    warm_up
        Whether each command runs once before, untimed: its tree and its modules are read from memory then.

    Returns
    -------
    dict
        For the name of each command its costs, round by round; none where it is missing.
    """
    there = [command for command in commands if not is_missing(command, words)]
    costs: dict[str, list[Cost]] = {command.name: [] for command in commands}
    for command in there if warm_up else ():
        cost_of(command, words, scratch)  # the whole tree, too
    for turn in range(rounds if there else 0):
        first = turn % len(there)
        for command in there[first:] + there[:first]:
            if warm_up and min(costs[command.name], default=Cost(0, 0, 0)).wall < SHORT_SECONDS:
                cost_of(command, words, scratch)
            costs[command.name].append(cost_of(command, words, scratch))
    return costs


def race(
    commands: Sequence[Command], words: Mapping[str, str], scratch: Path, *, rounds: int, warm_up: bool = True
) -> dict[str, list[float]]:
    """Give the wall seconds of what `race_costs` runs."""
    costs = race_costs(commands, words, scratch, rounds=rounds, warm_up=warm_up)
    return {name: [cost.wall for cost in runs] for name, runs in costs.items()}


def ratio_of(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """Compute the median of the ratios of pairs; None where nothing was measured."""
    if not (ours and theirs):
        return None
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def describe_machine(folder: Path) -> dict[str, object]:
    """Describe the machine, the file system of a folder and the versions: what ratios depend on."""
    cpu = [line for line in Path('/proc/cpuinfo').read_text().splitlines() if line.startswith('model name')]
    packages = ('pyarrow', 'xxhash', 'polars', 'ONE-api', 'pandas', 'scandir-rs')
    programs = ('find', 'bfs', 'fdfind', 'xxh128sum', 'cc')
    return {
        'cpu': cpu[0].partition(': ')[2] if cpu else platform.machine(),
        'cores': len(os.sched_getaffinity(0)),
        'ram_gib': round(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30),
        'kernel': platform.release(),
        'file_system': _output('findmnt', '-n', '-o', 'FSTYPE', '-T', str(folder)),
        'python': platform.python_version(),
        'fastindex': fastindex.__version__,
        **{name: _version(name) for name in packages},
        **{name: _output(name, '--version') for name in programs},
    }


def name_machine(machine: Mapping[str, object]) -> str:
    """Say in short what a result was measured on, of what `describe_machine` gave."""
    return f'{machine["cores"]} cores of {machine["cpu"]}'


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _output(*words: str) -> str | None:
    """Give the first line that a program prints; None where it is missing."""
    if shutil.which(words[0]) is None:
        return None
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).partition('\n')[0].strip()


def write_results(name: str, measurements: Sequence[Measurement], folder: Path) -> None:
    """Keep measurements as `results/NAME.json`, with the machine described; show them.

    Parameters
    ----------
    folder
        That was measured on: its file system is named.
    """
    RESULTS.mkdir(exist_ok=True)
    content = {
        'date': datetime.now(UTC).date().isoformat(),
        'machine': describe_machine(folder),
        'measurements': [measurement.to_json() for measurement in measurements],
    }
    (RESULTS / f'{name}.json').write_text(json.dumps(content, indent=1, ensure_ascii=False) + '\n')
    for row in measurements:
        value = row.note if row.value is None else f'{row.value:.3g} {row.unit}'
        judged = {None: '', True: 'met', False: 'NOT MET'}[row.is_met]
        print(f'{row.tree}: {row.name}: {value} {row.goal and f"(goal {row.goal}) "}{judged}', flush=True)


def replace_between(text: str, name: str, new: str) -> str:
    """Replace what stands between the lines `<!-- NAME -->` and `<!-- end of NAME -->`."""
    begin, end = f'<!-- {name} -->\n', f'<!-- end of {name} -->'
    before, _, rest = text.partition(begin)
    _, marker, after = rest.partition(end)
    if not marker:
        raise SystemExit(f'expected the lines {begin.strip()} and {end}')
    return f'{before}{begin}{new}\n{end}{after}'

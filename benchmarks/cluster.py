"""Measure what Dask costs: the same tree by two workers of a cluster on this machine, and by two processes.

    python -m benchmarks.cluster --tree 1m --data bench-data --rounds 5

A scheduler and two workers of one thread are started, and stay: start-up of the cluster is not counted, that
of the command is. CPU seconds are those of all processes: the command, the scheduler, the workers. Then tasks
that do nothing tell how many the scheduler manages. Makes the table in docs/explanation/scale.md.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.measure import (
    HERE,
    Command,
    Measurement,
    cost_of,
    make_words,
    ratio_of,
    replace_between,
    scratch_folder,
    write_results,
)
from benchmarks.trees import make_tree
from fastindex.jobs.release.pack import TurnTask
from fastindex.trees import open_tree
from fastindex.workers.cluster import Cluster

DOCS = HERE.parent / 'docs/explanation/scale.md'
BUILD = '{python} -m fastindex {root} --out {out} --quiet'
RACES = {'stat': '', 'hash': ' --hash'}
WORKERS = 2
EMPTY_TASKS = 4000
TICKS = os.sysconf('SC_CLK_TCK')


class Use(NamedTuple):
    """What a run took: wall time, and CPU time by who took it."""

    seconds: float
    command: float
    scheduler: float
    workers: float

    @property
    def cpu(self) -> float:
        """CPU seconds of all."""
        return self.command + self.scheduler + self.workers


class Processes(NamedTuple):
    """A cluster on this machine."""

    file: Path
    scheduler: int
    workers: list[int]

    def cpu_seconds(self) -> tuple[float, float]:
        """CPU seconds of the scheduler and of the workers so far."""
        return _cpu_of(self.scheduler), sum(map(_cpu_of, self.workers))


def _cpu_of(pid: int) -> float:
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@contextmanager
def run_cluster(folder: Path) -> Iterator[Processes]:
    """Run a scheduler and workers of one thread each."""
    from distributed import Client

    file = folder / 'scheduler.json'
    started: list[subprocess.Popen[bytes]] = []
    with ExitStack() as stack:
        for words in (
            'scheduler --host 127.0.0.1 --port 0',
            *[f'worker --nthreads 1 --no-nanny --local-directory {folder}'] * WORKERS,
        ):
            line = f'{sys.executable} -m dask {words} --no-dashboard --scheduler-file {file}'
            process = subprocess.Popen(shlex.split(line), stderr=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            started.append(process)
        while not file.exists():
            time.sleep(0.05)
        with Client(scheduler_file=str(file), set_as_default=False) as client:
            client.wait_for_workers(WORKERS, timeout=60)
        yield Processes(file, started[0].pid, [process.pid for process in started[1:]])


def use_of(command: Command, words: dict[str, str], scratch: Path, cluster: Processes) -> Use:
    """Run a command; measure what it takes of which process."""
    scheduler, workers = cluster.cpu_seconds()
    own = cost_of(command, words, scratch)
    scheduler_after, workers_after = cluster.cpu_seconds()
    return Use(own.wall, own.cpu, scheduler_after - scheduler, workers_after - workers)


def measure(
    tree: str, races: Sequence[str], data: Path, *, rounds: int
) -> tuple[list[Measurement], list[str]]:
    """Race the cluster with processes; give the measurements and the lines of the table."""
    measurements, lines = [], []
    with scratch_folder() as scratch, run_cluster(scratch) as cluster:
        words = make_words(scratch, root=make_tree(tree, data), file=cluster.file)
        for name in races:
            line = BUILD + RACES[name]
            commands = [
                Command('dask', f'{line} --dask {{file}}'),
                Command('processes', f'{line} --workers {WORKERS}'),
            ]
            uses: dict[str, list[Use]] = {command.name: [] for command in commands}
            for turn in range(rounds + 1):
                for command in commands if turn % 2 else commands[::-1]:
                    use = use_of(command, words, scratch, cluster)
                    print(name, command.name, *(f'{part:.2f}' for part in use), flush=True)
                    if turn:  # the first one warms up
                        uses[command.name].append(use)
            dask, processes = uses['dask'], uses['processes']
            walls = [use.seconds for use in dask], [use.seconds for use in processes]
            cpus = [use.cpu for use in dask], [use.command for use in processes]  # the cluster is idle then
            title = f'{tree}, {name}'
            templates = [command.template for command in commands]
            for time_of, (ours, theirs) in (('wall time', walls), ('CPU time', cpus)):
                ratio, what = ratio_of(ours, theirs), f'Dask / processes: {time_of}'
                measurements.append(
                    Measurement(title, what, ratio, ours=ours, theirs=theirs, commands=templates)
                )
            parts = [median(use[i] for use in dask) for i in range(1, 4)]
            for part, value in zip(Use._fields[1:], parts, strict=True):
                measurements.append(Measurement(title, f'CPU time with Dask: {part}', value, unit='s'))
            lines.append(
                f'| {title} | {ratio_of(*walls):.2f} | {ratio_of(*cpus):.2f} | {median(cpus[1]):.1f} s | '
                + ' | '.join(f'{part:.1f} s' for part in parts)
                + ' |'
            )
        rate = measure_empty_tasks(cluster, Path(shlex.split(words['root'])[0]))
        measurements.append(
            Measurement(tree, 'tasks that do nothing, for a CPU second of the scheduler', rate, unit='tasks')
        )
        lines += ['', f'Tasks that do nothing: {rate:,.0f} for a CPU second of the scheduler.']
    return measurements, lines


def measure_empty_tasks(cluster: Processes, root: Path) -> float:
    """Count the tasks that do nothing in a second of CPU time of the scheduler."""
    scheduler, _ = cluster.cpu_seconds()
    with Cluster.open(cluster.file, open_tree(root)) as workers:
        sent = done = 0
        while done < EMPTY_TASKS:
            while sent < EMPTY_TASKS and workers.has_room():
                workers.submit(sent, TurnTask(), is_long=False)
                sent += 1
            done += sum(1 for _ in workers.collect())
    return EMPTY_TASKS / (cluster.cpu_seconds()[0] - scheduler)


HEAD = """\
| | wall time: ratio | CPU time: ratio | processes, all | Dask: command | scheduler | workers |
| --- | --- | --- | --- | --- | --- | --- |"""


def main() -> None:
    """Measure, keep the result, write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--data', type=Path, default=Path('bench-data'), help='folder of the trees')
    parser.add_argument('--tree', default='1m')
    parser.add_argument('--races', nargs='+', choices=RACES, default=list(RACES))
    parser.add_argument('--rounds', type=int, default=5)
    options = parser.parse_args()
    measurements, lines = measure(options.tree, options.races, options.data, rounds=options.rounds)
    write_results('cluster', measurements, options.data)
    DOCS.write_text(replace_between(DOCS.read_text(), 'cluster', '\n'.join([HEAD, *lines])))


if __name__ == '__main__':
    main()

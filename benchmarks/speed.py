"""Race fastindex against the other commands on one tree after the other, and keep the ratios.

python -m benchmarks.speed example example-hash --data bench-data --rounds 9
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median

from benchmarks.measure import (
    Command,
    Measurement,
    cost_of,
    make_words,
    race,
    race_costs,
    ratio_of,
    scratch_folder,
    write_results,
)
from benchmarks.peers import FASTINDEX, SCENARIOS, SPREAD, Scenario
from benchmarks.trees import DATASETS_A_SESSION, make_tree


def run_scenario(scenario: Scenario, data: Path, *, rounds: int) -> list[Measurement]:
    """Race the commands of a scenario on its tree, which is made in `data` if it is not there."""
    commands = [scenario.ours, *(peer for peer, _ in scenario.peers)]
    with scratch_folder() as scratch:
        words = {'root': make_tree(scenario.tree, data)}
        if SPREAD in commands:
            words['spread'] = make_tree('1m', data)
        for name in ('indexed', 'indexed_plain'):  # outlive the single run, unlike {out}
            words[name] = scratch / name
            words[name].mkdir()
        made_words = make_words(scratch, **words)
        if scenario.before is not None:
            cost_of(scenario.before, made_words, scratch)
        costs = race_costs(commands, made_words, scratch, rounds=rounds)
    seconds = {
        name: [cost.cpu if scenario.is_cpu else cost.wall for cost in runs] for name, runs in costs.items()
    }
    ours = seconds[scenario.ours.name]
    return [
        Measurement(
            scenario.title,
            peer.name,
            ratio_of(ours, seconds[peer.name]),
            goal,
            ours=ours,
            theirs=seconds[peer.name],
            measured_in='CPU s' if scenario.is_cpu else 's',
            commands=[scenario.ours.template, peer.template],
            note=scenario.note if seconds[peer.name] else 'missing',
        )
        for peer, goal in scenario.peers
    ]


def run_growth(data: Path, *, rounds: int) -> list[Measurement]:
    """Compare the files a second at 1 M and at 100,000, the time for one session taken off."""
    words = {f'tree_{name}': make_tree(name, data) for name in ('session', '100k', '1m')}
    commands = [Command(name, FASTINDEX.template.replace('{root}', f'{{{name}}}')) for name in words]
    with scratch_folder() as scratch:
        seconds = race(commands, make_words(scratch, **words), scratch, rounds=rounds)
    start, few, many = seconds.values()
    counts = [count // DATASETS_A_SESSION for count in (100_000, 1_000_000)]
    rates = [(counts[1] / (c - a)) / (counts[0] / (b - a)) for a, b, c in zip(start, few, many, strict=True)]
    return [
        Measurement(
            '1 M files',
            'files a second, start-up taken off: 1 M / 100k',
            median(rates),
            '>= 0.95',
            ours=many,
            theirs=few,
            commands=[command.template for command in commands],
        )
    ]


def main() -> None:
    """Run the scenarios that the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('scenarios', nargs='+', choices=[*SCENARIOS, 'growth'])
    parser.add_argument('--data', type=Path, default=Path('bench-data'), help='folder of the trees')
    parser.add_argument('--rounds', type=int, default=9)
    options = parser.parse_args()
    for name in options.scenarios:
        if name == 'growth':
            measurements = run_growth(options.data, rounds=options.rounds)
        else:
            measurements = run_scenario(SCENARIOS[name], options.data, rounds=options.rounds)
        write_results(f'speed-{name}', measurements, options.data)


if __name__ == '__main__':
    main()

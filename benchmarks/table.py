"""Make the tables of measurements from the kept results: all of them, and three rows for the README.

    python -m benchmarks.table            # writes them between the markers in PAGES
    python -m benchmarks.table --check    # exits 1 where a page is not what the results say

What was not measured, or could not be, has a row that says so in the large table.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.measure import HERE, RESULTS, name_machine, replace_between
from benchmarks.peers import SCENARIOS

TITLES = {
    **{f'speed-{name}': scenario.title for name, scenario in SCENARIOS.items()},
    'speed-growth': 'files a second, start-up taken off: 1 M / 100k',
    'memory': 'peak memory',
    'waiting': '1 ms per call',
    'updates': '`--only`, `--new`, `--quick`',
    'release': 'example, `release`',
    'look': 'example, `search`, `info`, `report`',
    'objects': 'a bucket of 100k objects, 50 ms a page',
    'client': "the ONE client's `load_object`",
    'calls': 'system calls',
}
"""Of the result files, in the order of the table: what to call them while they are not there."""

ELSEWHERE = {'cluster', 'scale'}
"""Results whose tables are in docs/explanation/scale.md."""

FIRST = (
    ('speed-example', "ONE's make_parquet_db", 'index 74,000 files', "the client's `make_parquet_db`"),
    ('speed-example-hash', 'xargs -P2 xxh128sum', 'the same, with a digest of each', '`xargs -P2 xxh128sum`'),
    ('release', 'zip -rq', 'one zip archive, with index and checksums', '`zip -rq`'),
)
"""The rows of the README: result file, measurement (the first of this name), task, what one would use."""

_SYMBOLS = {'<=': '≤', '>=': '≥', '==': '='}
_WORDS = {True: 'yes', False: '**no**', None: ''}


def make_table(results: Path) -> str:
    """Make the table, its rows with their machines, and a line that describes each of these."""
    lines = [
        '| measured on | against | fastindex | other | ratio or value | goal | met | machine |',
        '| --- ' * 8 + '|',
    ]
    machines = []
    for name, title in TITLES.items():
        path = results / f'{name}.json'
        if not path.exists():
            lines.append(f'| {title} | | | | not measured yet | | | |')
            continue
        content = json.loads(path.read_text())
        machine = name_machine(content['machine'])
        lines += [_row(measurement, machine) for measurement in content['measurements']]
        machines.append(_describe(content))
    return '\n'.join([*lines, '', *dict.fromkeys(machines)])


def _row(row: dict[str, Any], machine: str) -> str:
    symbol, _, number = row['goal'].partition(' ')
    cells = (
        row['tree'],
        row['name'],
        _median(row, 'ours'),
        _median(row, 'theirs'),
        row['note'] if row['value'] is None else _value(row),
        f'{_SYMBOLS[symbol]} {number}' if symbol else '',
        _WORDS[row['met']] if row['value'] is None else f'{_WORDS[row["met"]]} {row["note"]}'.strip(),
        machine,
    )
    return f'| {" | ".join(cells)} |'


def _median(row: dict[str, Any], whose: str) -> str:
    value = row.get(f'median_{whose}')
    return '' if value is None else f'{value:.3g} {row["measured_in"]}'


def _value(row: dict[str, Any]) -> str:
    return f'{row["value"]:.3g} {row["unit"]}'.removesuffix(' ratio')


def _describe(content: dict[str, Any]) -> str:
    machine = content['machine']
    return (
        f'{content["date"]}: {name_machine(machine)}, {machine["ram_gib"]} GiB, '
        f'Linux {machine["kernel"]}, {machine["file_system"]}, Python {machine["python"]}, '
        f'pyarrow {machine["pyarrow"]}.'
    )


def make_first_table(results: Path) -> str:
    """Make the table of the README: three tasks, and what one would use otherwise."""
    lines = ['| task | otherwise | | fastindex | |', '| --- ' * 5 + '|']
    for name, title, task, other in FIRST:
        rows = json.loads((results / f'{name}.json').read_text())['measurements']
        row = next(row for row in rows if row['name'] == title)
        times = f'{1 / row["value"]:.2g} times as fast'
        lines.append(f'| {task} | {other} | {_median(row, "theirs")} | {_median(row, "ours")} | {times} |')
    return '\n'.join(lines)


PAGES = {'README.md': make_first_table, 'docs/explanation/performance.md': make_table}
"""The pages that have a table, by what makes it."""


def main() -> int:
    """Write the tables, or check them."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument(
        '--check', action='store_true', help='change nothing; exit 1 if there is a difference'
    )
    options = parser.parse_args()
    stale = False
    for name, make in PAGES.items():
        page = HERE.parent / name
        old = page.read_text()
        new = replace_between(old, 'measurements', make(RESULTS))
        if new == old:
            continue
        if options.check:
            print(f'{name} is not what the results say: run benchmarks/table.py', file=sys.stderr)
            stale = True
        else:
            page.write_text(new)
    return int(stale)


if __name__ == '__main__':
    sys.exit(main())

"""The outcomes of quality control in a CSV file: session, dataset and outcome in each line.

A session is its path or its eid, a dataset its rel_path or its id. Leaves to `fastindex.tables.carry` what
becomes of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from fastindex.errors import UsageError
from fastindex.lazy import pa, pc
from fastindex.tables.merge import bring_together
from fastindex.tables.schema import QC_CATEGORIES
from fastindex.text import as_utf8, escape

__all__ = ['Outcomes']

_COLUMNS = ('session', 'dataset', 'outcome')


class Outcomes:
    """The outcomes in a CSV file, 100 bytes a line in memory. The last line about a dataset counts.

    Raises UsageError if it cannot be read, or is not such a file.

    path: of the file: three columns, maybe with a header
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        rows = self._read().sort_by([('line', 'descending')])
        self._used = bytearray((pc.max(rows['line']).as_py() or 0) + 1)
        self._lines = rows['line'].combine_chunks()
        sessions = rows['session'].combine_chunks().dictionary_encode()
        self._rows, self._spans = bring_together(rows.set_column(0, 'session', sessions), 'session')

    def _read(self) -> pa.Table:
        """Read the three columns, and the number of each line."""
        from pyarrow import csv

        where = escape(self.path)
        try:
            rows = csv.read_csv(
                pa.BufferReader(as_utf8(self.path.read_bytes())),
                csv.ReadOptions(use_threads=False, column_names=list(_COLUMNS)),
                convert_options=csv.ConvertOptions(column_types=dict.fromkeys(_COLUMNS, pa.string())),
            )
        except OSError as error:
            raise UsageError(f'{where}: the file cannot be read ({error.strerror or error})') from error
        except pa.ArrowInvalid as error:
            raise UsageError(f'{where}: {error}: expected lines of {", ".join(_COLUMNS)}') from error
        for i, name in enumerate(_COLUMNS[:2]):  # of paths that Windows wrote
            rows = rows.set_column(i, name, pc.replace_substring(rows[name], os.sep, '/'))
        lines = pc.add(pc.indices_nonzero(pc.is_valid(rows['session'])), 1)
        rows = rows.append_column('line', lines)
        outcomes = pc.utf8_upper(pc.utf8_trim_whitespace(rows['outcome']))
        is_known = pc.is_in(outcomes, value_set=pa.array(QC_CATEGORIES, pa.string()))
        is_path = pc.match_substring_regex(rows['session'], r'/|\A[0-9a-fA-F-]{36}\z')
        if rows.num_rows and not (is_known[0].as_py() or is_path[0].as_py()):  # a header
            rows, outcomes, is_known = rows.slice(1), outcomes.slice(1), is_known.slice(1)
        if not pc.all(is_known, min_count=0).as_py():
            wrong = rows.filter(pc.invert(is_known)).slice(0, 1).to_pylist()[0]
            raise UsageError(
                f'{where}, line {wrong["line"]}: the outcome is {wrong["outcome"]!r}: expected one of '
                f'{", ".join(QC_CATEGORIES)}'
            )
        sessions = pc.utf8_trim(pc.utf8_trim_whitespace(rows['session']), '/')
        rows = rows.set_column(0, 'session', sessions)
        return rows.set_column(2, 'outcome', outcomes)

    def find(self, session: str) -> pa.Table | None:
        """Get the lines of a session, by its path or its eid: `dataset`, `outcome`, `line`."""
        span = self._spans.get(session)
        return None if span is None else self._rows.slice(*span)

    def use(self, lines: Iterable[int]) -> None:
        """Take note that these lines are of datasets that there are."""
        for line in lines:
            self._used[line] = True

    def list_unused(self) -> list[int]:
        """List the lines that are of no dataset, or that a later line about the same one overrides."""
        return sorted(line for line in self._lines.to_pylist() if not self._used[line])

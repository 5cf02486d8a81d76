"""What an index may hold: the one table of limits, by which readers refuse and writers judge.

A reader refuses what is beyond, so that no table, whoever made it, has it hold more than a row group of
limited size. A writer stays within, so that fastindex writes no index which it does not open:

    text in a column   a longer rel_path or session path is a problem, `Reason.TOO_LONG`: by the verdicts on
                       names, `fastindex.trees.fate` and the discovery; a longer `lab=` is a UsageError
    the footer         too many datasets are a PublishError, and the index before stays:
                       `fastindex.tables.write.PairWriter` has the reader look at what it wrote
    all others         out of reach of rows of ours, as each constant says; and the reader looks for them too

They are looked up here, as `limits.MAX_TEXT_BYTES`, wherever they are needed.
"""

from __future__ import annotations

__all__ = [
    'BATCH_ROWS',
    'FEW_ROWS',
    'MAX_COLUMNS',
    'MAX_FOOTER_BYTES',
    'MAX_ROWS_PER_BYTE',
    'MAX_ROW_BYTES',
    'MAX_ROW_GROUP_BYTES',
    'MAX_TEXT_BYTES',
    'is_too_long',
]

MAX_TEXT_BYTES = 4096
"""Of one value in a column of text, UTF-8. PATH_MAX: no program can open a longer path as a whole."""

BATCH_ROWS = 2**16
"""Rows that a reader holds at once, and those of a row group of ours: 270 MB of the longest rel_paths."""

FEW_ROWS = 2**13  # that one holds at once who reads several tables in step

MAX_FOOTER_BYTES = 2**23
"""Of a table. That of the example has 5 KB; 700 million datasets reach it, or 60 million if all rel_paths are
of the longest."""

MAX_ROWS_PER_BYTE = 4
"""Of a file. Ids hardly compress, so ours have a row in 22 bytes; the client's builder, in 4."""

MAX_ROW_GROUP_BYTES = 2**30
"""Uncompressed. Ours have 3 MB, 8 with both digests, 280 MB with the longest rel_paths; the client's builder
puts a million rows into one."""

MAX_ROW_BYTES = 2**14
"""Uncompressed, on average over a row group, beyond a first megabyte. A row of ours has 5 KB at most."""

MAX_COLUMNS = 100  # ours have 9 at most


def is_too_long(path: str) -> bool:
    """Tell whether a path, as the file system gave it, is longer than a column of text may hold."""
    return len(path.encode('utf-8', 'surrogateescape')) > MAX_TEXT_BYTES

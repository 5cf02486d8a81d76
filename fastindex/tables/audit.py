"""The faults of an index by itself: what the ONE client would refuse, or get wrong, and what to do about it.

Gives each fault of a pair of tables as a record, whatever program wrote them. Leaves the data to
`fastindex.verify`. The door (`fastindex.open`) stops at the first thing that makes an index unusable; here
all are named, those too that the client only suffers from.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from fastindex.errors import InvalidIndexError, naming_shortage
from fastindex.lazy import pa, pc
from fastindex.names.alf import judge_file, judge_folder, split_revision
from fastindex.tables.check import DIGEST, UNSAFE, UUID, check_pair, refusing_damage
from fastindex.tables.faults import Fault, judge_elsewhere
from fastindex.tables.file import TABLES, UNREAD, TableFile, open_table, to_object
from fastindex.tables.foreign import find_foreign, is_of_client
from fastindex.tables.recipe import Recipe
from fastindex.tables.schema import QC_CATEGORIES, datasets_schema, sessions_schema
from fastindex.text import to_count

__all__ = ['verify_index']


def verify_index(folder: str | os.PathLike[str]) -> Iterator[Fault]:
    """Iterate over the faults of the index in a folder, whatever program wrote it. Looks at no dataset.

    Memory: the ids of all datasets, 100 bytes each.

    Raises
    ------
    InvalidIndexError
        If a table is not there, or cannot be opened.

    Examples
    --------
    >>> for fault in fastindex.verify_index('/data'):  # doctest: +SKIP
    ...     print(fault.code, fault.remedy)
    empty-hash python -m fastindex ROOT writes it as it should be
    """
    with naming_shortage(), ExitStack() as stack:
        path = Path(folder)
        files = [stack.enter_context(open_table(path / name)) for name in reversed(TABLES)]
        faults = list(_iter_table_faults(path, files))
    yield from judge_elsewhere(faults) if find_foreign(path) else faults


def _iter_table_faults(path: Path, files: list[IO[bytes]]) -> Iterator[Fault]:
    others = []
    for other in sorted(path.glob('*.pqt')):
        if other.name not in TABLES:
            with suppress(InvalidIndexError), open_table(other) as file:
                if is_of_client(other.name, file):
                    others.append(other)
                    continue
            yield Fault.of_rule('foreign-table', other.name, 'neither sessions.pqt nor datasets.pqt')
    try:
        sessions, datasets = (
            _Audit(TableFile(path / name, file)) for name, file in zip(reversed(TABLES), files, strict=True)
        )
        yield from _iter_damages(path, sessions.table, datasets.table)
        with refusing_damage(path):
            eids = _audit_sessions(sessions)
            _audit_datasets(datasets, eids)
    except InvalidIndexError as error:
        yield Fault.of_rule('damaged', path.name, str(error))
        return
    yield from sessions.iter_faults()
    yield from datasets.iter_faults()
    for other in others if eids is not None else ():
        yield from _iter_other_faults(other, eids)


def _iter_other_faults(path: Path, eids: pa.ChunkedArray) -> Iterator[Fault]:
    """Check the sessions of another table of the client against those of the index."""
    try:
        with refusing_damage(path), open_table(path) as file:
            table = TableFile(path, file)
            columns = [name for name in table.schema.names if name == 'eid']
            owners = [found['eid'] for _, found in table.iter_batches(columns)] if columns else []
    except InvalidIndexError as error:
        yield Fault.of_rule('damaged', path.name, str(error))
        return
    lost = [pc.unique(owner.filter(pc.invert(pc.is_in(owner, eids.combine_chunks())))) for owner in owners]
    unknown = pc.unique(pa.chunked_array(lost, pa.string()))
    if len(unknown):
        what = f'{to_count(len(unknown), "session")} not in sessions.pqt, the first {unknown[0].as_py()!r}'
        yield Fault.of_rule('unknown-session', path.name, what)


def _iter_damages(folder: Path, sessions: TableFile, datasets: TableFile) -> Iterator[Fault]:
    """Check what our own tables say of each other."""
    generations = [table.facts.get('generation') for table in (sessions, datasets)]
    if generations == [None, None]:
        return
    try:
        check_pair(folder)
    except InvalidIndexError as error:
        code = 'damaged' if generations[0] == generations[1] else 'mixed-pair'
        yield Fault.of_rule(code, folder.name, str(error))


class _Audit:
    """Collects the faults of one table: each once, with its count and the first example."""

    def __init__(self, table: TableFile) -> None:
        self.table = table
        self.rows: int = table.footer.num_rows
        self._found: dict[tuple[str, str], tuple[int, str]] = {}

    def note(self, code: str, what: str, count: int = 1, example: object = '') -> None:
        """Note a fault, or some more of it."""
        before, first = self._found.get((code, what), (0, str(example)[:200]))
        if count:
            self._found[code, what] = before + count, first

    def note_rows(self, code: str, what: str, values: Any, is_wrong: Any) -> None:
        """Note the rows that are wrong."""
        wrong = values.filter(is_wrong)  # null, too, is not wrong here
        if len(wrong):
            self.note(code, what, len(wrong), wrong[0].as_py())

    def iter_faults(self) -> Iterator[Fault]:
        """Iterate over what was noted."""
        for (code, what), (count, example) in self._found.items():
            rows = f' in {to_count(count, "row")}' if count > 1 else ''
            yield Fault.of_rule(
                code, self.table.path.name, what + rows + (f', the first {example!r}' if example else '')
            )

    def check_schema(self, expected: pa.Schema, optional: dict[str, str]) -> list[str]:
        """Check metadata, columns and types; return the columns whose rows can be looked at.

        optional: for some columns the code of the fault if they are not there, '' for none
        """
        usable = []
        for field in expected:
            positions = self.table.schema.get_all_field_indices(field.name)
            if len(positions) != 1:
                if code := optional.get(field.name, 'missing-column'):
                    self.note(code, f'{len(positions) or "no"} columns {field.name}')
                continue
            found = self.table.schema.field(positions[0]).type
            if not self.rows:
                continue  # pandas knows no type where no row is
            if field.name in ('id', 'eid') and pa.types.is_dictionary(found):
                self.note('dictionary-id', f'column {field.name} is {found}')
            elif field.name == 'qc' and b'ARROW:schema' not in self.table.metadata:
                self.note('no-arrow-schema', 'no Arrow schema in the metadata')
                continue
            elif not _is_like(found, field):
                self.note('wrong-type', f'column {field.name} is {found}, expected {field.type}')
                continue
            usable.append(field.name)
        self._check_metadata(set(expected.names))
        return usable

    def _check_metadata(self, known: set[str]) -> None:
        metadata = self.table.metadata
        about = to_object(metadata.get(b'one_metadata'))
        if about is None:
            self.note('no-one-metadata', 'no one_metadata')
        elif not _is_naive_date(about.get('date_created')):
            date = about.get('date_created')
            self.note('wrong-one-metadata', 'date_created is no date without a time zone', example=date)
        names_index = bool((to_object(metadata.get(b'pandas')) or {}).get('index_columns'))
        if not names_index:
            self.note('no-pandas-metadata', 'no pandas metadata that names the index')
            for name in self.table.schema.names:
                if 'id' in name and name not in known:
                    self.note('other-id-column', f'column {name}')

    def check_ids(self, ids: pa.ChunkedArray, code: str) -> None:
        """Check the column that names the rows."""
        self.note_rows('wrong-id', 'column id is no UUID of version 3 or 4', ids, _unlike(ids, UUID))
        distinct, counts = pc.value_counts(ids).flatten()
        twice = distinct.filter(pc.greater(counts, 1))
        if len(twice):
            what = f'an id more than once: {len(ids) - len(distinct):,} too many'
            self.note(code, what, example=twice[0].as_py())


def _unlike(values: Any, pattern: str) -> Any:
    return pc.invert(pc.match_substring_regex(values, pattern))


def _is_like(found: pa.DataType, field: pa.Field) -> bool:
    """Tell whether the client can use a type in the place of ours."""
    is_text = found in (pa.string(), pa.large_string(), pa.string_view())
    if field.name == 'hash':
        return is_text or found == pa.null()
    if field.name == 'qc':
        return bool(pa.types.is_dictionary(found))
    if pa.types.is_integer(field.type):
        return bool(pa.types.is_integer(found))
    return is_text if field.type == pa.string() else bool(found == field.type)


def _is_naive_date(text: object) -> bool:
    try:
        return datetime.fromisoformat(str(text)).tzinfo is None
    except ValueError:
        return False


def _read(audit: _Audit, columns: list[str]) -> pa.Table:
    """Read columns as a whole, nulls too; each null is noted, but those of hash."""
    parts = []
    for _, found in audit.table.iter_batches(columns, nulls=columns):
        parts.append(pa.table({name: found[name] for name in columns}))
    rows = (
        pa.concat_tables(parts, promote_options='permissive')
        if parts
        else pa.table({name: [] for name in columns})
    )
    for name in columns:
        is_free = name == 'hash' or (name == 'xxh128' and audit.table.facts.get(UNREAD))
        if rows[name].null_count and not is_free:
            code = 'null-size' if name == 'file_size' and _is_nullable(audit.table, name) else 'null'
            audit.note(code, f'column {name} is null', rows[name].null_count)
    return rows


def _is_nullable(table: TableFile, name: str) -> bool:
    """Tell whether pandas reads a column of integers as one that may have nulls, not as floating point."""
    columns = (to_object(table.metadata.get(b'pandas')) or {}).get('columns')
    found = [column for column in columns or () if isinstance(column, dict) and column.get('name') == name]
    return any(str(column.get('numpy_type')).lstrip('U').startswith('Int') for column in found)


def _audit_sessions(audit: _Audit) -> pa.ChunkedArray | None:
    """Check sessions.pqt; return the eids, None where there are none to be had."""
    columns = audit.check_schema(sessions_schema(), {'lab': '', 'task_protocol': '', 'projects': ''})
    rows = _read(audit, columns)
    for name in {'lab', 'subject'}.intersection(columns):
        wrong = pc.match_substring_regex(rows[name], r'/|\x00|\A\.{1,2}\z')
        if name == 'subject':
            wrong = pc.or_(wrong, pc.equal(rows[name], ''))
        audit.note_rows('wrong-name', f"column {name} is no folder's name", rows[name], wrong)
    if 'number' in columns:
        number = rows['number']
        is_wrong = pc.or_(pc.less(number, 0), pc.greater(number, 999))
        audit.note_rows('wrong-number', 'column number is not 0 to 999', number, is_wrong)
    key = [name for name in ('lab', 'subject', 'date', 'number') if name in columns]
    if len(key) >= 3:
        counts = rows.group_by(key).aggregate([([], 'count_all')])
        twins = counts.filter(pc.greater(counts['count_all'], 1))
        if twins.num_rows:
            first = '/'.join(str(twins[name][0].as_py()) for name in key)
            audit.note(
                'twin-sessions', f'{to_count(twins.num_rows, "session")} more than once', example=first
            )
    if 'id' not in columns:
        return None
    audit.check_ids(rows['id'], 'duplicate-session-id')
    _check_sorted(audit, [rows['id']])
    return rows['id']


def _check_sorted(audit: _Audit, columns: list[pa.ChunkedArray]) -> None:
    """Check that rows ascend by one column, or by two."""
    first, last = columns[0], columns[-1]
    falls = pc.or_(
        pc.greater(first[:-1], first[1:]),
        pc.and_(pc.equal(first[:-1], first[1:]), pc.greater(last[:-1], last[1:])),
    )
    if pc.any(falls).as_py():
        audit.note('unsorted', 'its rows are not in the order of its ids')


def _audit_datasets(audit: _Audit, eids: pa.ChunkedArray | None) -> None:
    """Check datasets.pqt; `eids` are those of the sessions."""
    expected = datasets_schema(('xxh128',))
    optional = {'xxh128': '', 'default_revision': 'no-default-revision', 'qc': 'no-qc' if audit.rows else ''}
    columns = audit.check_schema(expected, optional)
    if not audit.rows:
        if 'qc' in audit.table.schema.names:
            audit.note('wrong-qc', 'a column qc in a table without rows')
        return
    rows = _read(audit, columns)
    if 'id' in columns:
        audit.check_ids(rows['id'], 'duplicate-dataset-id')
    if 'eid' in columns:
        _audit_eids(audit, rows, eids)
    if 'rel_path' in columns:
        _audit_paths(audit, rows['rel_path'])
        if {'eid', 'default_revision'} <= set(columns):
            _audit_revisions(audit, rows)
    if 'hash' in columns and str(rows['hash'].type) != 'null':
        empty = pc.or_(rows['hash'].is_null(), pc.equal(pc.binary_length(rows['hash'].fill_null('')), 0))
        audit.note('empty-hash', "column hash is '' or null, and not of type null", pc.sum(empty).as_py())
        full = rows['hash'].filter(pc.invert(empty))
        audit.note_rows('wrong-hash', 'column hash is no MD5', full, _unlike(full, DIGEST))
    if 'xxh128' in columns:
        digests = rows['xxh128']
        audit.note_rows('wrong-xxh128', 'column xxh128 is no digest', digests, _unlike(digests, DIGEST))
    if 'qc' in columns:
        kind = audit.table.schema.field('qc').type
        categories = rows['qc'].chunk(0).dictionary.to_pylist()
        if not kind.ordered:
            audit.note('wrong-qc', 'the categories of qc have no order')
        if categories != list(QC_CATEGORIES):
            audit.note('wrong-qc', f'the categories of qc are {categories}, expected {list(QC_CATEGORIES)}')


def _audit_eids(audit: _Audit, rows: pa.Table, eids: pa.ChunkedArray | None) -> None:
    owners = rows['eid']
    audit.note_rows('wrong-id', 'column eid is no UUID of version 3 or 4', owners, _unlike(owners, UUID))
    if eids is not None:
        known = eids.combine_chunks().cast(owners.type)
        audit.note_rows('orphan', 'eid is not in sessions.pqt', owners, pc.invert(pc.is_in(owners, known)))
    if 'id' in rows.column_names:
        _check_sorted(audit, [owners, rows['id']])


def _audit_paths(audit: _Audit, paths: pa.ChunkedArray) -> None:
    is_unsafe = pc.match_substring_regex(paths, UNSAFE)
    audit.note_rows('unsafe-path', 'rel_path is no path below its session', paths, is_unsafe)
    for path in pc.unique(paths.filter(pc.invert(is_unsafe))).to_pylist():
        folder, _, name = (path or '').rpartition('/')
        if path and (judge_folder(folder) or judge_file(name)):
            audit.note('not-alf', 'rel_path is not (collection/)(#revision#/)name in ALF', example=path)


def _audit_revisions(audit: _Audit, rows: pa.Table) -> None:
    """Check that of each dataset exactly the last revision is the default one."""
    # Without revisions a dataset is its own default: then only those with one are split, in Python.
    paths = pc.unique(rows['rel_path'])
    split = [split_revision(path or '') for path in paths.to_pylist()]
    row_of_path = pc.index_in(rows['rel_path'], paths)
    bases = pa.array([base for base, _ in split], pa.string()).take(row_of_path.combine_chunks())
    revisions = pa.array([revision for _, revision in split], pa.string()).take(row_of_path.combine_chunks())
    is_default = rows['default_revision'].combine_chunks().fill_null(False)
    found = pa.table(
        {
            'eid': rows['eid'],
            'base': bases,
            'last': revisions,
            'marked': pc.if_else(is_default, revisions, pa.scalar(None, pa.string())),
            'marks': is_default.cast(pa.int64()),
        }
    )
    groups = found.group_by(['eid', 'base']).aggregate([('marks', 'sum'), ('last', 'max'), ('marked', 'max')])
    marks, bases = groups['marks_sum'], groups['base']
    audit.note_rows('two-default-revisions', 'two rows are the default of', bases, pc.greater(marks, 1))
    audit.note_rows('no-default-among-revisions', 'no row is the default of', bases, pc.equal(marks, 0))
    if Recipe.from_json(audit.table.facts).default_revision == 'known':
        return
    is_old = pc.and_(pc.equal(marks, 1), pc.less(groups['marked_max'], groups['last_max']))
    audit.note_rows('old-default-revision', 'an older revision is the default', bases, is_old)

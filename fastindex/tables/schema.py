"""The two tables as the ONE client reads them: columns, types, metadata.

Gives the Arrow schemas, record batches in them, their way between processes, and the metadata. Leaves the
rows to the scan, the files to the collector. Source: the cache tables of ONE-api 3.6, tried column by column
(`one.alf.cache`, `one.api`); the reasons stand beside what they decide.
"""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from fastindex.errors import UsageError
from fastindex.lazy import pa
from fastindex.names.ids import Text
from fastindex.trees.fingerprints import NO_FINGERPRINT, Fingerprint

__all__ = [
    'QC_CATEGORIES',
    'boolean_column',
    'datasets_schema',
    'date_created_now',
    'fingerprint_columns',
    'fingerprints_schema',
    'folders_schema',
    'from_ipc',
    'make_batch',
    'one_metadata',
    'pandas_metadata',
    'qc_column',
    'sessions_schema',
    'to_ipc',
]

QC_CATEGORIES = ('NOT_SET', 'PASS', 'WARNING', 'FAIL', 'CRITICAL')
"""All five, in this order and ordered: the client compares with them and raises without."""


def sessions_schema() -> pa.Schema:
    """Build the schema of sessions.pqt: one row a session."""
    text = pa.string()
    return pa.schema(
        [
            ('id', text),
            ('lab', text),
            ('subject', text),
            ('date', pa.date32()),
            ('number', pa.uint16()),
            ('task_protocol', text),
            ('projects', text),
        ]
    )


def datasets_schema(algorithms: Sequence[str] = ()) -> pa.Schema:
    """Build the schema of datasets.pqt: one row a dataset.

    algorithms: the digests that every row has. `hash` is MD5 or of type null: the client computes the MD5 of
        each file it loads wherever `hash` is anything but None, an empty string included. `xxh128` is ours.
    """
    text = pa.string()
    fields = [
        ('eid', text),
        ('id', text),
        ('rel_path', text),
        ('file_size', pa.uint64()),
        ('hash', text if 'md5' in algorithms else pa.null()),
        ('exists', pa.bool_()),
        ('qc', pa.dictionary(pa.int8(), text, ordered=True)),
        ('default_revision', pa.bool_()),
    ]
    if 'xxh128' in algorithms:
        fields.append(('xxh128', text))
    return pa.schema(fields)


def fingerprints_schema() -> pa.Schema:
    """Build the schema of the fingerprints: what to know files again by, row for row beside datasets.pqt.

    With `file_size` in datasets.pqt they tell whether a digest still holds. All three are 0, the mark
    `fastindex.trees.fingerprints.NO_FINGERPRINT`, for a file that is to be read again in any case.
    """
    return pa.schema([('mtime_ns', pa.int64()), ('ctime_ns', pa.int64()), ('inode', pa.uint64())])


def fingerprint_columns(
    fingerprints: Sequence[Fingerprint],
) -> tuple[array[int], array[int], array[int]]:
    """Make columns of fingerprints, with the mark for one that has a time before 1677 or after 2262."""
    mtimes_ns, ctimes_ns, inodes = zip(*fingerprints, strict=True) if fingerprints else ((), (), ())
    try:
        return array('q', mtimes_ns), array('q', ctimes_ns), array('Q', inodes)
    except OverflowError:
        return fingerprint_columns([one if _fits(one) else NO_FINGERPRINT for one in fingerprints])


def _fits(fingerprint: Fingerprint) -> bool:
    return all(-(2**63) <= time_ns < 2**63 for time_ns in fingerprint[:2])


def folders_schema() -> pa.Schema:
    """Build the schema of what tells whether a session has other names in it than when it was scanned.

    The paths of all folders of a session are between NUL, `state` is a digest of their states. The first rows
    have no eid: there are paths of subjects, and for each what is known of its dates.
    """
    return pa.schema([('eid', pa.string()), ('folders', pa.string()), ('state', pa.string())])


def make_batch(schema: pa.Schema, columns: Iterable[Text | array[int] | pa.Array]) -> pa.RecordBatch:
    """Build rows of columns: text in UTF-8, and numbers of as many bits as the schema says.

    Of buffers, as is all that a worker makes: `pa.array` of a list imports pandas where it is installed,
    0.3 s in each worker.
    """
    columns = [_to_array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _to_array(column: Text | array[int] | pa.Array, kind: pa.DataType) -> pa.Array:
    if isinstance(column, Text):  # which is known to be valid, so it is not decoded
        buffers = [pa.py_buffer(column.offsets), pa.py_buffer(column.data)]
        return pa.StringArray.from_buffers(len(column.offsets) - 1, *buffers)
    if isinstance(column, array):
        return pa.Array.from_buffers(kind, len(column), [None, pa.py_buffer(column)])
    return column


def qc_column(codes: array[int] | pa.Array) -> pa.DictionaryArray:
    """Build the column qc of positions in `QC_CATEGORIES`, 8 bits each."""
    categories = _to_array(Text.join([name.encode() for name in QC_CATEGORIES]), pa.string())
    return pa.DictionaryArray.from_arrays(_to_array(codes, pa.int8()), categories, ordered=True)


def boolean_column(rows: int, *, false: Iterable[int] = ()) -> pa.BooleanArray:
    """Build a column that is True but for some rows."""
    bits = bytearray(b'\xff' * -(-rows // 8))
    for row in false:
        bits[row // 8] &= ~(1 << row % 8)
    return pa.Array.from_buffers(pa.bool_(), rows, [None, pa.py_buffer(bits)])


def to_ipc(batch: pa.RecordBatch | pa.Table) -> bytes:
    """Write rows as an Arrow IPC stream, schema included."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write(batch)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def from_ipc(data: bytes) -> pa.Table:
    """Read an Arrow IPC stream, without copying it."""
    with pa.ipc.open_stream(data) as reader:
        return reader.read_all()


def date_created_now() -> str:
    """Tell the time as the client wants it: to the minute, without a time zone."""
    epoch = os.environ.get('SOURCE_DATE_EPOCH')
    try:
        now = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now()
    except (ValueError, OverflowError, OSError):
        raise UsageError(f'SOURCE_DATE_EPOCH={epoch!r}: expected seconds since 1970') from None
    return now.replace(tzinfo=None).isoformat(sep=' ', timespec='minutes')


def one_metadata(*, date_created: str, origin: str) -> bytes:
    """Build the client's own metadata: exactly these two keys.

    date_created: `2026-11-22 11:06`: the client raises where there is a time zone
    origin: where the tree is, or a name for it
    """
    return json.dumps({'date_created': date_created, 'origin': origin}).encode()


def pandas_metadata(schema: pa.Schema, index: Iterable[str]) -> bytes:
    """Build the metadata by which pandas restores the index, as pandas would write it.

    Without it the client takes each column with "id" in its name for a part of the index.
    """
    index = list(index)
    return json.dumps(
        {
            'index_columns': index,
            'column_indexes': [],
            'columns': [_pandas_column(field) for field in schema],
            'creator': {'library': 'fastindex', 'version': '1'},
            'pandas_version': '2.0.0',
        }
    ).encode()


def _pandas_column(field: pa.Field) -> dict[str, Any]:
    names: dict[pa.DataType, tuple[str, str]] = {
        pa.string(): ('unicode', 'object'),
        pa.date32(): ('date', 'object'),
        pa.null(): ('empty', 'object'),
        pa.bool_(): ('bool', 'bool'),
        pa.float32(): ('float32', 'float32'),
        pa.float64(): ('float64', 'float64'),
    }
    metadata = None
    if pa.types.is_dictionary(field.type):
        metadata = {'num_categories': len(QC_CATEGORIES), 'ordered': True}
        pandas_type, numpy_type = 'categorical', 'int8'
    elif pa.types.is_integer(field.type):
        pandas_type = numpy_type = str(field.type)
    else:  # of a further column anything may be
        pandas_type, numpy_type = names.get(field.type, ('object', 'object'))
    return {
        'name': field.name,
        'field_name': field.name,
        'pandas_type': pandas_type,
        'numpy_type': numpy_type,
        'metadata': metadata,
    }

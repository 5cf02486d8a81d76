"""Whoever merges sorted rows checks their order: a forged table is refused, and nobody waits for its end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pyarrow as pa
import pytest

import fastindex
from fastindex import InvalidIndexError
from tests.support.tables import forge, reverse
from tests.support.trees import grow

OTHER = UUID('11111111-1111-4111-8111-111111111111')
NAME = 'spikes.times.{}.npy'
UUIDS = [f'{i}2345678-1234-4234-8234-123456789abc' for i in range(2)]


def exchange_first(table: pa.Table) -> pa.Table:
    """Exchange the first two rows: two sessions, or two datasets of one session."""
    return table.take([1, 0, *range(2, table.num_rows)])


def exchange_sessions(table: pa.Table) -> pa.Table:
    """Let the first session of datasets be the last."""
    first = table.column('eid').to_pylist().count(table.column('eid')[0].as_py())
    return table.take([*range(first, table.num_rows), *range(first)])


DISORDERS: dict[str, tuple[str, Callable[[pa.Table], pa.Table]]] = {
    'sessions reversed': ('sessions', reverse),
    'two sessions exchanged': ('sessions', exchange_first),
    'datasets reversed': ('datasets', reverse),
    'datasets of one session exchanged': ('datasets', exchange_first),
    'sessions of datasets exchanged': ('datasets', exchange_sessions),
}


def verify(root: Path, **options: object) -> None:
    list(fastindex.verify(root, workers=1, **options))  # type: ignore[arg-type]


READERS: dict[str, Callable[[Path], object]] = {
    'verify': verify,
    'verify --hash': lambda root: verify(root, hash=True),
    'verify --part': lambda root: [verify(root, part=(n, 2)) for n in (1, 2)],
}


@pytest.mark.long
@pytest.mark.parametrize('recipe', [{}, {'namespace': OTHER}, {'uuid_filenames': True}], ids=str)
@pytest.mark.parametrize('disorder', DISORDERS)
@pytest.mark.parametrize('reader', READERS)
def test_rows_in_another_order_are_refused_by_each_reader(tmp_path, reader, disorder, recipe):
    tree = {
        f's{i}/2024-01-01/001/{NAME.format(f"{i}{uuid[1:]}" if n else f"{i + 4}{uuid[1:]}")}': b''
        for i in range(4)
        for n, uuid in enumerate(UUIDS)
    }
    if 'uuid_filenames' not in recipe:
        tree = {f's{i}/2024-01-01/001/{n}.times.npy': b'' for i in range(4) for n in 'abc'}
    root = grow(tmp_path / 'root', tree)
    fastindex.build(root, workers=1, hash=['xxh128'], **recipe)
    READERS[reader](root)
    grow(root, {f's{i}/2024-01-01/001/new.times.npy': b'' for i in range(4)})
    forge(root, *DISORDERS[disorder])
    with pytest.raises(InvalidIndexError, match='its rows are not in the order of their ids'):
        READERS[reader](root)


@pytest.mark.parametrize('disorder', DISORDERS)
def test_rows_in_another_order_are_not_compared_with_those_of_a_new_index(make_tree, build, disorder):
    root = make_tree({f's{i}/2024-01-01/001/{n}.times.npy': b'' for i in range(4) for n in 'abc'})
    build(root)
    forge(root, *DISORDERS[disorder])
    (warning,) = build(root).warnings
    assert 'its rows are not in the order' in warning
    assert not list(fastindex.verify(root, workers=1))


@pytest.mark.parametrize('disorder', [name for name in DISORDERS if 'of one session' not in name])
def test_rows_in_another_order_are_not_carried_over(make_tree, build, disorder):
    root = make_tree({f's{i}/2024-01-01/001/{n}.times.npy': b'' for i in range(4) for n in 'abc'})
    build(root)
    forge(root, *DISORDERS[disorder])
    with pytest.raises(InvalidIndexError, match='its rows are not in the order of their ids'):
        build(root, only=['s1/2024-01-01/001'])

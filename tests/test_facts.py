"""What an index says of how it was made, and who goes by it."""

from __future__ import annotations

import json
import os
from uuid import UUID, uuid4

import pyarrow.parquet as pq
import pytest
from conftest import Link, read

import fastindex
from fastindex.facts import Facts

OTHER = UUID('c1d61b47-7a9d-4b8e-9b8e-6f6a3f0a2d11')
TREE = {f's{i}/2024-01-01/{number}/a.b.npy': b'x' * i for i in range(1, 9) for number in ('001', '02')}


def facts_of(folder):
    """What both tables say."""
    said = [
        json.loads(pq.read_metadata(folder / f'{name}.pqt').metadata[b'fastindex'])
        for name in ('sessions', 'datasets')
    ]
    assert said[0] == said[1]
    return {name: value for name, value in said[0].items() if name in Facts._fields}


def test_what_is_as_it_is_without_options_is_not_said(make_tree, build):
    root = make_tree(TREE)
    build(root)
    assert facts_of(root) == {}
    build(root, namespace=OTHER, follow_symlinks=False)
    assert facts_of(root) == {'namespace': str(OTHER), 'follow_symlinks': False}


@pytest.mark.parametrize('part', [(1, 1), (2, 3)])
def test_verify_takes_the_namespace_from_the_index(make_tree, build, monkeypatch, part):
    root = make_tree(TREE)
    build(root, namespace=OTHER)
    monkeypatch.setattr('fastindex.pipeline.expect._ByPath', None)  # the slow way is not needed
    verification = fastindex.verify(root, workers=1, part=part)
    assert list(verification) == []
    assert verification.datasets
    (root / 's3/2024-01-01/02/a.b.npy').write_bytes(b'')
    changed = [d.path for n in range(part[1]) for d in fastindex.verify(root, part=(n + 1, part[1]))]
    assert changed == ['s3/2024-01-01/02/a.b.npy']


def test_verify_follows_links_where_the_build_did_unless_told_otherwise(make_tree, build, tmp_path, run):
    root = make_tree({**TREE, 's1/2024-01-01/001/c.d.npy': Link('../02/a.b.npy'), 's9': Link('s1')})
    build(root, follow_symlinks=False)
    assert list(fastindex.verify(root, workers=1)) == []
    assert run('verify', root, '--quiet')[0] == 0
    found = {difference.path for difference in fastindex.verify(root, workers=1, follow_symlinks=True)}
    assert {'s1/2024-01-01/001/c.d.npy', 's9/2024-01-01/001'} <= found
    build(root)
    assert list(fastindex.verify(root, workers=1)) == []
    assert list(fastindex.verify(root, workers=1, follow_symlinks=False))


def test_an_index_with_kept_ids_is_verified_by_path_though_its_eids_are_ours(make_tree, build, tmp_path):
    names = ('a.b.npy', 'c.d.npy', 'e.f.npy', 'g.h.npy')
    root = make_tree({f's{i}/2024-01-01/001/{name}': b'x' for i in range(8) for name in names})
    (tmp_path / 'alyx').mkdir()
    build(root, out=tmp_path / 'alyx')
    datasets = pq.read_table(tmp_path / 'alyx/datasets.pqt')
    ids = [str(uuid4()) for _ in range(datasets.num_rows)]
    place = datasets.schema.get_field_index('id')
    sessions = pq.read_table(tmp_path / 'alyx/sessions.pqt')
    for name, table in (('sessions', sessions), ('datasets', datasets.set_column(place, 'id', [ids]))):
        metadata = {key: value for key, value in table.schema.metadata.items() if key != b'fastindex'}
        pq.write_table(table.replace_schema_metadata(metadata), tmp_path / f'alyx/{name}.pqt')
    build(root, ids_from=tmp_path / 'alyx')
    assert {row['id'] for row in read(root, 'datasets')} == set(ids)
    assert facts_of(root) == {'ids_from': True}
    assert list(fastindex.verify(root, workers=1)) == []


@pytest.mark.parametrize('value', [None, True, False, 1, '', 'x', str(OTHER), [], {}, [True]], ids=repr)
def test_whatever_a_stranger_wrote_gives_facts_of_the_right_types(value):
    facts = Facts.from_json(dict.fromkeys([*Facts._fields, 'other'], value))
    assert [type(value) for value in facts] == [type(value) for value in Facts()]
    assert Facts.from_json(json.loads(json.dumps(facts.to_json()))) == facts


def test_folders_with_few_digits_are_found_in_any_namespace(make_tree, build, capsys):
    from fastindex.cli import main

    root = make_tree({f's/2024-01-0{day}/{number}/x.y.npy': b'' for day, number in ((1, '1'), (2, '02'))})
    build(root, namespace=uuid4())
    index = fastindex.open(root)
    assert [os.path.relpath(index.path(eid), root) for eid in index.search()] == [
        's/2024-01-02/02',
        's/2024-01-01/1',
    ]
    assert main(['search', str(root), '--paths']) == 0
    assert capsys.readouterr().out.split() == [f'{root}/s/2024-01-02/02', f'{root}/s/2024-01-01/1']
    assert main(['search', str(root), '--datasets', '--paths']) == 0
    assert all(os.path.exists(path) for path in capsys.readouterr().out.split())
    assert main(['info', str(root), '--json']) == 0
    assert {one['path'] for one in json.loads(capsys.readouterr().out)['biggest']} == {
        's/2024-01-02/02/x.y.npy',
        's/2024-01-01/1/x.y.npy',
    }

"""The ONE client opens what fastindex writes, and says nothing about it."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from one.api import One

import fastindex
from fastindex.names.leftovers import LEFTOVERS
from tests.support.cases import to_id
from tests.support.tables import read
from tests.support.trees import SESSION, npy

pytestmark = [
    # one.api calls `mask.astype(bool, copy=False)`, which pandas 3 deprecates (Pandas4Warning).
    pytest.mark.filterwarnings('ignore:The copy keyword is deprecated:DeprecationWarning:one.api'),
]

COMPLAINTS = ('mismatch', 'does not appear to be a valid table')

HASHES = [(), ('xxh128',), ('md5',), ('xxh128', 'md5')]

PLAIN = {
    f'{SESSION}/alf/spikes.times.npy': npy(1, 2),
    f'{SESSION}/alf/spikes.amps.npy': npy(3, 4),
    f'{SESSION}/alf/probe00/clusters.depths.npy': npy(5),
    f'{SESSION}/_ibl_trials.goCue_times.npy': npy(6),
    'lab/Subjects/s2/2024-01-02/001/alf/spikes.times.npy': npy(7),
    'lab/Subjects/s2/2024-01-02/002/alf/wheel.position.npy': npy(8),
    'my-lab/Subjects/my mouse/2024-02-01/001/alf/spikes.times.npy': npy(9),
    'flat/2024-03-01/010/trials.intervals.npy': npy(10),
}

REVISED = {
    f'{SESSION}/alf/spikes.times.npy': npy(0),
    f'{SESSION}/alf/#2024-02-01#/spikes.times.npy': npy(1),
    f'{SESSION}/alf/#2024-03-01#/spikes.times.npy': npy(2),
    f'{SESSION}/alf/#2024-03-01b#/spikes.times.npy': npy(3),
    f'{SESSION}/alf/spikes.amps.npy': npy(4),
    f'{SESSION}/#v1#/trials.intervals.npy': npy(5),
}


@pytest.fixture(autouse=True)
def _small_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client takes 256 MiB for each MD5 that it computes: 0.2 s."""
    monkeypatch.setattr('iblutil.io.hashfile.BUF_SIZE', 2**16)


@pytest.fixture
def open_client(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[..., One]]:
    """Open an index with the real client; fail where it logs a complaint."""
    caplog.set_level(logging.INFO)
    yield lambda root, **options: One(cache_dir=root, mode='local', **options)
    logged = [record.getMessage() for record in caplog.get_records('call')]
    assert not [message for message in logged if any(words in message for words in COMPLAINTS)]


@pytest.fixture
def index(make_tree, build, open_client) -> Callable[..., tuple[Path, One]]:
    """Make a tree, index it, open it."""

    def index(tree: dict[str, Any], **options: Any) -> tuple[Path, One]:
        root = make_tree(tree)
        build(root, **options)
        return root, open_client(root)

    return index


def paths_of(root: Path, one: One, eids: list[uuid.UUID]) -> set[str]:
    return {one.eid2path(eid).relative_to(root).as_posix() for eid in eids}


# Search


def test_search_without_terms_finds_every_session(index):
    root, one = index(PLAIN)
    assert paths_of(root, one, one.search()) == {
        SESSION,
        'lab/Subjects/s2/2024-01-02/001',
        'lab/Subjects/s2/2024-01-02/002',
        'my-lab/Subjects/my mouse/2024-02-01/001',
        'flat/2024-03-01/010',
    }


@pytest.mark.long
@pytest.mark.parametrize(
    ('terms', 'found'),
    [
        ({'subject': 's1'}, {SESSION}),
        ({'subject': ['s1', 'flat']}, {SESSION, 'flat/2024-03-01/010'}),
        ({'subject': 'my mouse'}, {'my-lab/Subjects/my mouse/2024-02-01/001'}),
        ({'lab': 'my-lab'}, {'my-lab/Subjects/my mouse/2024-02-01/001'}),
        ({'lab': '^$'}, {'flat/2024-03-01/010'}),
        ({'date_range': '2024-01-01'}, {SESSION}),
        (
            {'date_range': ['2024-02-01', '2024-03-01']},
            {'my-lab/Subjects/my mouse/2024-02-01/001', 'flat/2024-03-01/010'},
        ),
        ({'date_range': [date(2024, 2, 2), None]}, {'flat/2024-03-01/010'}),
        ({'number': 2}, {'lab/Subjects/s2/2024-01-02/002'}),
        ({'number': [10, 2]}, {'lab/Subjects/s2/2024-01-02/002', 'flat/2024-03-01/010'}),
        ({'datasets': ['spikes.times.npy', 'spikes.amps.npy']}, {SESSION}),
        ({'datasets': 'trials.intervals.npy'}, {'flat/2024-03-01/010'}),
        ({'datasets': 'nobody.has.npy'}, set()),
        ({'task_protocol': 'ephys'}, set()),
        ({'projects': 'brainwide'}, set()),
        ({'dataset_qc_lte': 'PASS', 'datasets': 'wheel.position.npy'}, {'lab/Subjects/s2/2024-01-02/002'}),
    ],
    ids=to_id,
)
def test_search_finds_by(index, terms, found):
    root, one = index(PLAIN)
    assert paths_of(root, one, one.search(**terms)) == found


def test_search_with_details_gives_plain_values(index):
    _, one = index(PLAIN)
    _, [details] = one.search(subject='my mouse', details=True)
    assert details == {
        'lab': 'my-lab',
        'subject': 'my mouse',
        'date': date(2024, 2, 1),
        'number': 1,
        'task_protocol': '',
        'projects': '',
    }


def test_details_of_a_session_have_its_datasets(index):
    root, one = index(PLAIN)
    details = one.get_details(one.path2eid(root / SESSION), full=True)
    assert len(details) == 4


def test_subjects_are_listed(index):
    _, one = index(PLAIN)
    assert one.list_subjects() == ['flat', 'my mouse', 's1', 's2']


# Lists


def test_datasets_of_a_session_are_listed_whole(index):
    root, one = index(PLAIN)
    assert one.list_datasets(one.path2eid(root / SESSION)) == [
        '_ibl_trials.goCue_times.npy',
        'alf/probe00/clusters.depths.npy',
        'alf/spikes.amps.npy',
        'alf/spikes.times.npy',
    ]


@pytest.mark.parametrize(
    ('terms', 'found'),
    [
        ({'collection': 'alf'}, ['alf/spikes.amps.npy', 'alf/spikes.times.npy']),
        ({'collection': ''}, ['_ibl_trials.goCue_times.npy']),
        ({'filename': {'namespace': 'ibl', 'attribute': 'goCue_times'}}, ['_ibl_trials.goCue_times.npy']),
        ({'filename': '*depths*'}, ['alf/probe00/clusters.depths.npy']),
        ({'qc': 'PASS', 'collection': 'alf/probe*'}, ['alf/probe00/clusters.depths.npy']),
        ({'ignore_qc_not_set': True}, []),
    ],
    ids=str,
)
def test_datasets_are_listed_by(index, terms, found):
    root, one = index(PLAIN)
    assert one.list_datasets(one.path2eid(root / SESSION), **terms) == found


def test_what_programs_left_beside_a_dataset_is_not_in_its_way(index):
    names = [row.example for row in LEFTOVERS]
    _, one = index({f'{SESSION}/alf/{name}': npy(9)[:99] for name in names} | PLAIN)
    (eid,) = one.search(date_range=['2024-01-01'] * 2, subject='s1')
    assert one.load_object(eid, 'spikes', collection='alf')['times'].tolist() == [1, 2]
    assert one.load_dataset(eid, 'spikes.times', collection='alf').tolist() == [1, 2]
    assert one.list_datasets(eid, collection='alf') == ['alf/spikes.amps.npy', 'alf/spikes.times.npy']


def test_datasets_of_all_sessions_are_listed(index):
    _, one = index(PLAIN)
    assert len(one.list_datasets(details=True)) == len(PLAIN)


def test_collections_are_listed(index):
    root, one = index(PLAIN)
    assert set(one.list_collections(one.path2eid(root / SESSION))) == {'', 'alf', 'alf/probe00'}


def test_revisions_are_listed(index):
    root, one = index(REVISED)
    revisions = one.list_revisions(one.path2eid(root / SESSION))
    assert set(revisions) == {'', '2024-02-01', '2024-03-01', '2024-03-01b', 'v1'}


def test_default_revisions_alone_are_listed(index):
    root, one = index(REVISED)
    assert one.list_datasets(one.path2eid(root / SESSION), default_revisions_only=True) == [
        '#v1#/trials.intervals.npy',
        'alf/#2024-03-01b#/spikes.times.npy',
        'alf/spikes.amps.npy',
    ]


# Loads


def test_object_loads_with_all_attributes(index):
    root, one = index(PLAIN)
    spikes = one.load_object(one.path2eid(root / SESSION), 'spikes', collection='alf')
    assert {name: list(values) for name, values in spikes.items()} == {'times': [1, 2], 'amps': [3, 4]}


def test_collection_loads(index):
    root, one = index(PLAIN)
    collection = one.load_collection(one.path2eid(root / SESSION), 'alf')
    assert list(collection['spikes']['times']) == [1, 2]


def test_several_datasets_load_at_once(index):
    root, one = index(PLAIN)
    names = ['alf/spikes.times.npy', 'alf/probe00/clusters.depths.npy']
    data, _ = one.load_datasets(one.path2eid(root / SESSION), names)
    assert [list(values) for values in data] == [[1, 2], [5]]


def test_each_dataset_loads_by_its_id_alone(index):
    root, one = index(PLAIN)
    for row in read(root, 'datasets'):
        _, record = one.load_dataset_from_id(row['id'], details=True)
        assert record['rel_path'] == row['rel_path']


def test_last_revision_loads_by_default(index):
    root, one = index(REVISED)
    assert one.load_dataset(one.path2eid(root / SESSION), 'spikes.times.npy', collection='alf') == 3


def test_revision_at_the_top_of_a_session_loads(index):
    root, one = index(REVISED)
    assert one.load_dataset(one.path2eid(root / SESSION), 'trials.intervals.npy') == 5


@pytest.mark.parametrize(
    ('revision', 'value'),
    [
        ('2024-02-01', 1),  # this one
        ('2024-03-01', 2),
        ('2024-02-15', 1),  # the one before
        ('2025-01-01', 3),
        ('2024-01-15', 0),  # before the first: the one without revision
    ],
)
def test_asked_for_a_revision_the_client_loads_it_or_the_one_before(index, revision, value):
    root, one = index(REVISED)
    eid = one.path2eid(root / SESSION)
    assert one.load_dataset(eid, 'spikes.times.npy', collection='alf', revision=revision) == value


@pytest.mark.long
@pytest.mark.parametrize('hash', HASHES, ids=str)
def test_every_dataset_loads_whatever_digests_were_asked_for(index, hash):
    root, one = index(PLAIN, hash=hash)
    loaded = {}
    for row in read(root, 'datasets'):
        data = one.load_dataset(row['eid'], row['rel_path'].rpartition('/')[2])
        loaded[f'{one.eid2path(row["eid"])}/{row["rel_path"]}'] = npy(*data)
    assert loaded == {f'{root}/{path}': content for path, content in PLAIN.items()}


def test_altered_file_is_noticed_where_md5_was_asked_for(index, caplog):
    root, one = index(PLAIN, hash=('md5',))
    (root / SESSION / 'alf/spikes.times.npy').write_bytes(npy(1, 3))
    one.load_dataset(one.path2eid(root / SESSION), 'alf/spikes.times.npy')
    assert 'local md5 mismatch on dataset' in caplog.text
    caplog.clear()


def test_altered_size_is_noticed_without_digests(index, caplog):
    root, one = index(PLAIN)
    (root / SESSION / 'alf/spikes.times.npy').write_bytes(npy(1, 2, 3))
    one.load_dataset(one.path2eid(root / SESSION), 'alf/spikes.times.npy')
    assert 'local file size mismatch on dataset' in caplog.text
    caplog.clear()


@pytest.mark.parametrize('path', ['my-lab/Subjects/s/2024-01-01/001', 'lab/Subjects/my mouse/2024-01-01/001'])
def test_lab_or_subject_beyond_the_grammar_loads_by_eid(index, path):
    root, one = index({f'{path}/alf/spikes.times.npy': npy(1)})
    [eid] = one.search()
    assert one.eid2path(eid) == root / path
    assert one.load_dataset(eid, 'spikes.times.npy') == 1


def test_empty_file_is_listed_with_size_zero(index):
    _, one = index({f'{SESSION}/spikes.times.npy': b''})
    [eid] = one.search()
    assert one.list_datasets(eid, details=True)['file_size'].tolist() == [0]


# Paths and ids


def test_eid_to_path_and_back(index):
    _, one = index(PLAIN)
    for eid in one.search():
        path = one.eid2path(eid)
        assert path.is_dir()
        assert one.path2eid(path) == eid


def test_path_of_a_file_leads_to_its_record(index):
    root, one = index(PLAIN)
    record = one.path2record(root / SESSION / 'alf/spikes.amps.npy')
    assert record['file_size'] == len(npy(3, 4))


def test_eid_of_the_client_is_that_of_the_library(index):
    root, one = index(PLAIN)
    assert one.path2eid(root / SESSION) == fastindex.eid(SESSION)


def session_of(path: str) -> str:
    return '/'.join(path.split('/')[: 5 if '/Subjects/' in path else 3])


def test_ids_are_those_of_the_standard_library(make_tree, build):
    root = make_tree({**PLAIN, **REVISED})
    build(root)
    eids = {str(uuid.uuid3(fastindex.NAMESPACE, session_of(path))) for path in {**PLAIN, **REVISED}}
    assert {row['id'] for row in read(root, 'sessions')} == eids
    for row in read(root, 'datasets'):
        assert row['id'] == str(uuid.uuid3(uuid.UUID(row['eid']), row['rel_path']))


def test_ids_are_of_version_3_and_unique_over_the_table(make_tree, build):
    root = make_tree({**PLAIN, **REVISED})
    build(root)
    for table in ('sessions', 'datasets'):
        ids = [uuid.UUID(row['id']) for row in read(root, table)]
        assert len(set(ids)) == len(ids)
        assert {one_id.version for one_id in ids} == {3}


def test_flat_trees_of_different_namespaces_share_no_id(make_tree, build, tmp_path):
    root = make_tree({'s1/2024-01-01/001/spikes.times.npy': b'x'})
    ids = []
    for name in ('a', 'b'):
        out = tmp_path / name
        out.mkdir()
        build(root, out=out, namespace=uuid.uuid3(uuid.NAMESPACE_DNS, name))
        ids += [row['id'] for table in ('sessions', 'datasets') for row in read(out, table)]
    assert len(set(ids)) == 4


# Ways to open


def test_session_without_datasets_is_there(index):
    root, one = index({**PLAIN, 'lab/Subjects/s9/2024-01-01/001/': b''})
    [eid] = one.search(subject='s9')
    assert one.eid2path(eid) == root / 'lab/Subjects/s9/2024-01-01/001'
    assert len(one.list_datasets(eid)) == 0


def test_index_without_datasets_opens(index):
    _, one = index({f'{SESSION}/notes.txt': b''}, allow_empty=True)
    [eid] = one.search(subject='s1')
    assert len(one.list_datasets(eid)) == 0
    assert one.search(datasets='spikes.times.npy') == []


def test_index_without_sessions_opens(index):
    _, one = index({'notes/': b''}, allow_empty=True)
    assert one.search() == []
    assert one.list_datasets() == []


def test_index_in_another_folder_opens(make_tree, build, open_client, tmp_path):
    root = make_tree(PLAIN)
    out = tmp_path / 'tables'
    out.mkdir()
    build(root, out=out)
    one = open_client(root, tables_dir=out)
    assert list(one.load_dataset(one.path2eid(root / SESSION), 'alf/spikes.times.npy')) == [1, 2]
    assert not list(root.glob('*.pqt'))


def test_client_says_when_and_where_the_index_was_made(index, monkeypatch):
    monkeypatch.setenv('SOURCE_DATE_EPOCH', str(1_700_000_000))
    root, one = index(PLAIN)
    meta = one._cache['_meta']
    assert meta['created_time'] == datetime(2023, 11, 14, 22, 13)
    assert meta['raw']['datasets']['origin'] == {str(root)}


def test_client_saves_and_opens_its_own_copy(index, open_client, tmp_path):
    """The client adds rows to the tables and saves them: ours must go through that."""
    root, one = index(PLAIN, hash=('xxh128',))
    copy = tmp_path / 'copy'
    copy.mkdir()
    one.save_cache(copy, clobber=True)
    again = open_client(root, tables_dir=copy)
    assert sorted(again.search()) == sorted(one.search())


# What is in the files


SESSIONS_COLUMNS = [
    ('id', pa.string()),
    ('lab', pa.string()),
    ('subject', pa.string()),
    ('date', pa.date32()),
    ('number', pa.uint16()),
    ('task_protocol', pa.string()),
    ('projects', pa.string()),
]


def datasets_columns(hash: tuple[str, ...]) -> list[tuple[str, pa.DataType]]:
    return [
        ('eid', pa.string()),
        ('id', pa.string()),
        ('rel_path', pa.string()),
        ('file_size', pa.uint64()),
        ('hash', pa.string() if 'md5' in hash else pa.null()),
        ('exists', pa.bool_()),
        ('qc', pa.dictionary(pa.int8(), pa.string(), ordered=True)),
        ('default_revision', pa.bool_()),
        *([('xxh128', pa.string())] if 'xxh128' in hash else []),
    ]


def columns_of(path: Path) -> list[tuple[str, pa.DataType]]:
    schema = pq.read_schema(path)
    return list(zip(schema.names, schema.types, strict=True))


def test_sessions_have_the_columns_of_the_contract(make_tree, build):
    summary = build(make_tree(PLAIN))
    assert columns_of(summary.sessions_path) == SESSIONS_COLUMNS


@pytest.mark.parametrize('hash', HASHES, ids=str)
def test_datasets_have_the_columns_of_the_contract(make_tree, build, hash):
    summary = build(make_tree(PLAIN), hash=hash)
    assert columns_of(summary.datasets_path) == datasets_columns(hash)


def test_table_without_rows_leaves_out_qc_alone(make_tree, build):
    summary = build(make_tree({f'{SESSION}/': b''}), allow_empty=True)
    assert columns_of(summary.datasets_path) == [
        column for column in datasets_columns(()) if column[0] != 'qc'
    ]


@pytest.mark.parametrize('hash', HASHES, ids=str)
def test_no_value_is_null_but_a_hash_not_asked_for(make_tree, build, hash):
    root = make_tree({**PLAIN, **REVISED})
    build(root, hash=hash)
    for table in ('sessions', 'datasets'):
        columns = pq.read_table(root / f'{table}.pqt')
        nulls = {name for name in columns.column_names if columns[name].null_count}
        assert nulls == ({'hash'} if table == 'datasets' and 'md5' not in hash else set())


def test_constant_columns_have_the_values_of_the_contract(make_tree, build):
    root = make_tree(PLAIN)
    build(root)
    assert {(row['task_protocol'], row['projects']) for row in read(root, 'sessions')} == {('', '')}
    assert {(row['exists'], row['qc']) for row in read(root, 'datasets')} == {(True, 'NOT_SET')}


def test_qc_has_all_five_categories_in_order(make_tree, build):
    summary = build(make_tree(PLAIN))
    qc = pq.read_table(summary.datasets_path)['qc'].combine_chunks()
    assert qc.dictionary.to_pylist() == ['NOT_SET', 'PASS', 'WARNING', 'FAIL', 'CRITICAL']
    assert qc.type.ordered


def test_one_default_revision_a_dataset_and_it_is_the_last(make_tree, build):
    root = make_tree(REVISED)
    build(root)
    assert {row['rel_path'] for row in read(root, 'datasets') if row['default_revision']} == {
        'alf/#2024-03-01b#/spikes.times.npy',
        'alf/spikes.amps.npy',
        '#v1#/trials.intervals.npy',
    }


def test_both_tables_are_sorted_by_their_index(make_tree, build):
    root = make_tree({**PLAIN, **REVISED})
    build(root)
    eids = [row['id'] for row in read(root, 'sessions')]
    assert eids == sorted(eids)
    keys = [(row['eid'], row['id']) for row in read(root, 'datasets')]
    assert keys == sorted(keys)


def metadata_of(folder: Path, table: str) -> dict[bytes, bytes]:
    metadata: dict[bytes, bytes] = pq.ParquetFile(folder / f'{table}.pqt').metadata.metadata
    return metadata


@pytest.mark.parametrize('table', ['sessions', 'datasets'])
def test_client_metadata_has_exactly_two_keys(make_tree, build, table):
    root = make_tree(PLAIN)
    build(root)
    facts = json.loads(metadata_of(root, table)[b'one_metadata'])
    assert set(facts) == {'date_created', 'origin'}
    assert facts['origin'] == str(root.resolve())


@pytest.mark.parametrize('table', ['sessions', 'datasets'])
def test_date_of_creation_is_now_without_time_zone_to_the_minute(make_tree, build, table):
    root = make_tree(PLAIN)
    build(root)
    text = json.loads(metadata_of(root, table)[b'one_metadata'])['date_created']
    created = datetime.fromisoformat(text)
    assert created.tzinfo is None
    assert len(text) == len('2026-11-22 11:06')
    assert abs((datetime.now() - created).total_seconds()) < 120


@pytest.mark.parametrize(('table', 'index'), [('sessions', ['id']), ('datasets', ['eid', 'id'])])
def test_pandas_metadata_names_the_index(make_tree, build, table, index):
    root = make_tree(PLAIN)
    build(root, hash=('xxh128',))
    facts = json.loads(metadata_of(root, table)[b'pandas'])
    assert facts['index_columns'] == index
    names = pq.read_schema(root / f'{table}.pqt').names
    assert [column['field_name'] for column in facts['columns']] == names


@pytest.mark.parametrize('table', ['sessions', 'datasets'])
def test_arrow_schema_is_kept_for_the_order_of_qc(make_tree, build, table):
    root = make_tree(PLAIN)
    build(root)
    assert b'ARROW:schema' in metadata_of(root, table)


def test_our_own_facts_are_the_same_in_both_tables(make_tree, build):
    root = make_tree(PLAIN)
    summary = build(root, hash=('md5',))
    ours, theirs = (json.loads(metadata_of(root, table)[b'fastindex']) for table in ('sessions', 'datasets'))
    assert ours == theirs
    assert ours['generation'] == summary.generation
    assert (ours['algorithms'], ours['sessions'], ours['datasets']) == (['md5'], 5, len(PLAIN))


def test_tables_folder_has_no_third_table(make_tree, build):
    root = make_tree(PLAIN)
    build(root, hash=('xxh128',))
    assert {path.name for path in root.rglob('*.pqt')} == {'sessions.pqt', 'datasets.pqt'}

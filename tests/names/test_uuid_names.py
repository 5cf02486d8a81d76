"""Names that carry the UUIDs of the datasets: the ids come from there, and the client loads by them."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections import Counter
from itertools import islice, permutations
from pathlib import Path
from uuid import UUID, uuid4

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from one.alf.path import add_uuid_string
from one.alf.spec import is_uuid

import fastindex
from fastindex import Changes, Problem, Reason, UsageError
from fastindex.jobs.read.info import summarize
from fastindex.names import verdicts
from fastindex.names.alf import is_dataset_name
from fastindex.names.given_ids import SeenIds, find_twins
from fastindex.names.uuid_names import add_uuid, split_uuids
from fastindex.names.verdicts import UuidVerdicts, _verdicts_by_folder, verdicts_of
from fastindex.pipeline import scan
from fastindex.trees import fingerprints
from tests.support.mutations import take_apart
from tests.support.tables import read, tables_digest
from tests.support.trees import SESSION, Link, digest_of, grow

pytestmark = pytest.mark.usefixtures('fixed_date')

IDS = [f'6cdb7b06-3fd2-4e1c-9d6e-2e4a8a4f1c{i:02x}' for i in range(100)]
OTHER = SESSION.replace('s1', 's2')
ORDER = sorted((SESSION, OTHER), key=fastindex.eid)
"""Of the sessions in the table."""


@pytest.fixture
def index(build):
    """Build with the option."""
    return lambda root, **options: build(root, uuid_filenames=True, **options)


def rows(root: Path) -> dict[str, str]:
    """The rel_path of each id."""
    return {row['id']: row['rel_path'] for row in read(root, 'datasets')}


def rename(source: Path, target: Path) -> dict[str, str]:
    """Copy the first 300 files of a tree with UUIDs in the names; give the rel_path of each."""
    ids = {}
    chance = random.Random(0)
    for path in sorted(source.rglob('*.npy'))[:300]:
        id = str(UUID(int=chance.getrandbits(128), version=4))
        there = target / path.relative_to(source)
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, there.with_name(f'{path.stem}.{id}.npy'))
        ids[id] = str(Path(*path.relative_to(source).parts[5:]))
    return ids


# What the client reads


def test_the_id_comes_from_the_name_and_is_not_in_the_rel_path(make_tree, index):
    names = {
        f'alf/trials.goCue_times.{IDS[2]}.npy': 'alf/trials.goCue_times.npy',
        f'raw/_spikeglx_ephysData_g0_t0.imec0.ap.{IDS[1]}.cbin': (
            'raw/_spikeglx_ephysData_g0_t0.imec0.ap.cbin'
        ),
        f'alf/#2024-01-02#/trials.goCue_times.{IDS[0]}.npy': 'alf/#2024-01-02#/trials.goCue_times.npy',
    }
    root = make_tree({f'{SESSION}/{name}': b'1' for name in names})
    assert index(root).problem_count == 0
    assert rows(root) == {split_uuids([name.encode()])[1][0].decode(): path for name, path in names.items()}
    assert list(rows(root)) == IDS[:3]  # sorted
    old = {row['rel_path']: row['default_revision'] for row in read(root, 'datasets')}
    assert [path for path, is_last in old.items() if not is_last] == ['alf/trials.goCue_times.npy']
    fastindex.open(root)  # checks the order


@pytest.mark.long
@pytest.mark.filterwarnings('ignore:The copy keyword is deprecated:DeprecationWarning:one.api')
def test_the_client_opens_and_loads_it(make_tree, index):
    names = {
        'alf/trials.goCue_times.npy': np.arange(3),
        'alf/#2024-01-02#/trials.goCue_times.npy': np.arange(4),
    }
    root = make_tree({f'{SESSION}/': None})
    for id, (name, array) in zip(IDS, names.items(), strict=False):
        path = root / SESSION / add_uuid(name, id)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array)
    index(root, hash=['md5', 'xxh128'])
    one = fastindex.open(root).to_one()
    assert one.uuid_filenames is True
    (eid,) = one.search(subject='s1')
    assert sorted(one.list_datasets(eid)) == sorted(names)
    assert one.load_dataset(eid, 'trials.goCue_times', collection='alf').tolist() == [0, 1, 2, 3]
    assert one.load_dataset(eid, 'trials.goCue_times', collection='alf', revision='2024-01-01').shape == (3,)
    (loaded,) = one.load_object(eid, 'trials', collection='alf').values()
    assert len(loaded) == 4


def test_without_the_option_the_client_looks_for_plain_names(make_tree, build):
    root = make_tree({f'{SESSION}/alf/a.b.npy': b'1'})
    build(root)
    assert fastindex.open(root).to_one().uuid_filenames is False


PARTS = st.sampled_from(
    [
        *IDS[:2],
        f'x{IDS[0]}',
        IDS[0].upper(),
        IDS[0].replace('-', ''),
        IDS[0].replace('-4', '-1', 1),
        'a',
        'b_c',
        '-x',
        '1' * 32,
    ]
)


@given(st.lists(PARTS, max_size=3), st.sampled_from(['npy', IDS[0].replace('-', ''), 'b-c']))
def test_a_name_is_a_dataset_where_the_client_makes_it_of_rel_path_and_id_and_else_is_named(parts, extension):
    name = '.'.join(['a', 'b', *parts, extension])
    verdict = UuidVerdicts('alf')[name]
    if isinstance(verdict, bytes):
        (rel_path,), (id,) = split_uuids([verdict])
        assert verdict.decode() == f'alf/{name}' == add_uuid(rel_path.decode(), id.decode())
        assert add_uuid_string(rel_path.decode(), UUID(id.decode())).as_posix() == f'alf/{name}'
        assert is_uuid(id.decode())
        assert is_dataset_name(rel_path.decode().removeprefix('alf/'))
        return
    *rest, last = name.rpartition('.')[0].split('.')
    plain = '.'.join([*rest, extension])
    is_found = is_uuid(last) and add_uuid_string(plain, UUID(last)).as_posix() == name
    assert not (is_found and is_dataset_name(plain))
    if is_dataset_name(name):  # nobody would miss anything else
        assert verdict in (Reason.NO_UUID, Reason.BAD_UUID) or not is_dataset_name(plain)


# Names that cannot be rows


@pytest.mark.long
@pytest.mark.parametrize(
    ('name', 'reason', 'code', 'fix'),
    [
        ('a.b.npy', Reason.NO_UUID, 'ALF311', ''),
        (f'a.{IDS[0]}.b.npy', None, 'ALF304', None),
        (f'a.b.{IDS[10].upper()}.npy', Reason.BAD_UUID, 'ALF312', f'a.b.{IDS[10]}.npy'),
        (f'a.b.{IDS[0].replace("-", "")}.npy', Reason.BAD_UUID, 'ALF312', f'a.b.{IDS[0]}.npy'),
        ('a.b.6cdb7b06-3fd2-1e1c-9d6e-2e4a8a4f1c11.npy', Reason.BAD_UUID, 'ALF312', ''),
        ('a.b.6cdb7b06-3fd2-5e1c-9d6e-2e4a8a4f1c11.npy', Reason.BAD_UUID, 'ALF312', ''),
        ('a.b.6cdb7b06-3fd2-4e1c-0d6e-2e4a8a4f1c11.npy', Reason.BAD_UUID, 'ALF312', ''),
        ('a.b.6cdb7b06-3fd2-4e1c-9d6e-2e4a8a4f1c1x.npy', Reason.BAD_UUID, 'ALF312', ''),
        ('a.b.6cdb7b06-3fd2-4e1c-9d6e-2e4a8a4f1c1.npy', Reason.BAD_UUID, 'ALF312', ''),
        (f'a.b.{IDS[0]}.{IDS[1]}.npy', Reason.BAD_UUID, 'ALF312', f'a.b.{IDS[1]}.npy'),
        (f'a.b.{IDS[0]}', None, 'ALF304', None),
        (f'a.b.x{IDS[0]}.npy', Reason.BAD_UUID, 'ALF312', ''),
        (f'notes.{IDS[0]}.txt', None, 'ALF301', ''),
        (f'a_b.{IDS[0]}.npy', None, 'ALF301', f'a.b.{IDS[0]}.npy'),
    ],
)  # fmt: skip
def test_a_name_that_the_client_would_not_find_is_named_with_what_to_do(
    make_tree, index, name, reason, code, fix
):
    root = make_tree({f'{SESSION}/{name}': b'', f'{SESSION}/good.one.{IDS[99]}.npy': b''})
    summary = index(root)
    assert rows(root) == {IDS[99]: 'good.one.npy'}
    assert summary.problems == ((Problem(f'{SESSION}/{name}', reason),) if reason else ())
    assert sum(summary.skipped.values()) == (reason is None)
    (finding,) = fastindex.validate(root, uuid_filenames=True, workers=1)
    assert (finding.code, finding.path) == (code, f'{SESSION}/{name}')
    if fix is not None:
        assert finding.fix == (fix and f'{SESSION}/{fix}')


def test_a_uuid_that_stands_twice_in_a_session_is_that_of_the_first_path(make_tree, index):
    root = make_tree({f'{SESSION}/{name}.{IDS[0]}.npy': b'' for name in ('c.d', 'alf/a.b', 'e.f')})
    summary = index(root)
    assert rows(root) == {IDS[0]: 'alf/a.b.npy'}
    twins = [f'{SESSION}/{name}.{IDS[0]}.npy' for name in ('c.d', 'e.f')]
    assert [*summary.problems] == [Problem(path, Reason.UUID_TWICE) for path in twins]
    findings = fastindex.validate(root, uuid_filenames=True, workers=1)
    assert [(finding.code, finding.path) for finding in findings] == [('ALF313', path) for path in twins]


@pytest.mark.long
@pytest.mark.parametrize('options', [{}, {'hash': ['xxh128', 'md5']}, {'workers': 2}], ids=str)
def test_a_uuid_that_stands_in_two_sessions_is_that_of_the_first_in_the_table(
    make_tree, index, monkeypatch, options
):
    monkeypatch.setattr('fastindex.pipeline.walk.BIG_BYTES', 5)  # those beyond are hashed apart
    first, second = ORDER
    root = make_tree(
        {
            f'{first}/a.b.{IDS[1]}.npy': b'first',
            f'{first}/a.b.npy': b'no',
            f'{second}/x.y.{IDS[0]}.npy': b'big: before',
            f'{second}/#1#/c.d.{IDS[1]}.npy': b'twin',
            f'{second}/c.d.{IDS[2]}.npy': b'the last one, as the twin is none',
            f'{second}/e.f.npy': b'no',
        }
    )
    summary = index(root, **options)
    assert rows(root) == {IDS[1]: 'a.b.npy', IDS[0]: 'x.y.npy', IDS[2]: 'c.d.npy'}
    assert all(row['default_revision'] for row in read(root, 'datasets'))
    assert (summary.datasets, summary.bytes) == (3, 5 + 11 + 33)
    assert [*summary.problems] == [
        Problem(f'{first}/a.b.npy', Reason.NO_UUID),
        Problem(f'{second}/#1#/c.d.{IDS[1]}.npy', Reason.UUID_TWICE),
        Problem(f'{second}/e.f.npy', Reason.NO_UUID),
    ]
    if 'hash' in options:
        for row in read(root, 'datasets'):
            session = {str(fastindex.eid(path)): path for path in ORDER}[row['eid']]
            content = (root / session / add_uuid(row['rel_path'], row['id'])).read_bytes()
            assert len(content) == row['file_size']
            assert row['hash'] == hashlib.md5(content).hexdigest()
    fastindex.open(root)
    codes = Counter(finding.code for finding in fastindex.validate(root, uuid_filenames=True, workers=1))
    assert codes == {'ALF313': 1, 'ALF311': 2}
    verification = fastindex.verify(root, workers=1)
    assert (list(verification), verification.problem_count) == ([], 3)


def test_one_path_of_two_uuids_is_that_of_the_lower_one(make_tree, index):
    root = make_tree({f'{SESSION}/alf/a.b.{id}.npy': b'' for id in IDS[:3]})
    summary = index(root)
    assert rows(root) == {IDS[0]: 'alf/a.b.npy'}
    twins = [f'{SESSION}/alf/a.b.{id}.npy' for id in IDS[1:3]]
    assert [*summary.problems] == [Problem(path, Reason.PATH_TWICE) for path in twins]
    findings = fastindex.validate(root, uuid_filenames=True, workers=1)
    assert [(finding.code, finding.path) for finding in findings] == [('ALF314', path) for path in twins]


def test_a_linked_session_has_the_uuids_of_the_other(make_tree, index):
    root = make_tree({f'{SESSION}/a.b.{IDS[0]}.npy': b'', OTHER.rsplit('/', 2)[0]: Link('s1')})
    summary = index(root)
    assert (summary.sessions, rows(root)) == (2, {IDS[0]: 'a.b.npy'})
    assert [*summary.problems] == [Problem(f'{ORDER[1]}/a.b.{IDS[0]}.npy', Reason.UUID_TWICE)]


def test_validate_sees_through_the_uuid_to_what_else_is_wrong(make_tree):
    names = [
        f'my spikes.times.{IDS[0]}.npy',
        f'a.b.{IDS[1]}.npy',
        f'a.b.{IDS[2]}.csv',
        f'__ibl_c.d.{IDS[3]}.npy',
    ]
    root = make_tree({f'{SESSION}/{name}': b'' for name in names})
    findings = [*fastindex.validate(root, uuid_filenames=True, workers=1)]
    assert [(finding.code, finding.fix.removeprefix(f'{SESSION}/')) for finding in findings] == [
        ('ALF305', f'_ibl_c.d.{IDS[3]}.npy'),
        ('ALF307', ''),
        ('ALF304', f'my_spikes.times.{IDS[0]}.npy'),
    ]
    assert not [*fastindex.validate(root, uuid_filenames=True, ignore=['ALF304', 'ALF305', 'ALF307'])]


def test_validate_finds_the_same_with_any_number_of_workers(make_tree):
    root = make_tree(
        {
            f's{i}/2024-01-01/001/{name}': b''
            for i in range(30)
            for name in (f'a.b.{IDS[i % 9]}.npy', 'c.d.npy')
        }
    )
    one, two = ([*fastindex.validate(root, uuid_filenames=True, workers=workers)] for workers in (1, 2))
    assert one == two
    assert Counter(finding.code for finding in one) == {'ALF311': 30, 'ALF313': 21}
    assert one == sorted(one, key=lambda finding: (finding.path, finding))


# Runs


@pytest.mark.long
def test_any_run_gives_the_same_bytes(example_tree, tmp_path, index):
    ids = rename(example_tree[0], tmp_path / 'named')
    root = tmp_path / 'named'
    twin = next(root.rglob('*.npy'))
    for number in ('998', '999'):
        there = twin.parents[2] / number / 'alf' / twin.name
        there.parent.mkdir(parents=True)
        shutil.copyfile(twin, there)
    made = set()
    for options in ({}, {'workers': 2}):
        summary = index(root, **options)
        made.add((tables_digest(root), (root / '.fastindex/problems.jsonl').read_text()))
    assert len(made) == 1
    assert summary.problem_count == 2
    assert rows(root) == ids


def test_more_files_than_one_task_takes_are_still_compared_with_each_other(make_tree, index, monkeypatch):
    monkeypatch.setattr('fastindex.trees.kernel.BLOCK_NAMES', 4)
    monkeypatch.setattr(scan, 'PART_ROWS', 4)
    tree = {f'{SESSION}/a.b{i % 40}.{id}.npy': b'' for i, id in enumerate(IDS[:50])}
    for options in ({}, {'hash': ['xxh128']}, {'hash': ['xxh128']}):
        summary = index(make_tree(tree), **options)
        assert (summary.datasets, len(summary.problems)) == (40, 10)
        assert {problem.reason for problem in summary.problems} == {Reason.PATH_TWICE}


def test_a_rerun_reuses_digests_and_tells_what_has_changed(make_tree, index, run, monkeypatch, tmp_path):
    monkeypatch.setattr(fingerprints, 'SETTLED_NS', -(10**12))
    tree = {f'{path}/a.b{i}.{IDS[10 * n + i]}.npy': b'x' for n, path in enumerate(ORDER) for i in range(5)}
    root = make_tree({**tree, f'{ORDER[1]}/twin.b.{IDS[0]}.npy': b'xx'})
    index(root, hash=['xxh128'])
    before = tables_digest(root)
    again = index(root, hash=['xxh128'])
    assert (again.digests_reused, again.changes, again.problem_count) == (10, Changes(0, 0, 0, 0, 0), 1)
    assert tables_digest(root) == before
    assert run(root, '--check', '--uuid-filenames', '--hash', '--workers', 1)[0] == 3  # the twin
    session = root / ORDER[0]
    (session / f'a.b0.{IDS[0]}.npy').write_bytes(b'changed')
    (session / f'a.b1.{IDS[1]}.npy').rename(session / f'c.d.{IDS[1]}.npy')
    (session / f'a.b2.{IDS[2]}.npy').rename(session / f'a.b2.{IDS[50]}.npy')
    words = '--check', '--no-hash', '--changes', tmp_path / 'changes', '--workers', 1
    assert run(root, *words)[0] == 1
    found = [json.loads(line) for line in (tmp_path / 'changes').read_text().splitlines()]
    assert {(change['kind'], change['rel_path'], str(change['before'])) for change in found} == {
        ('changed', 'a.b0.npy', "{'file_size': 1}"),
        ('changed', 'c.d.npy', "{'rel_path': 'a.b1.npy'}"),
        ('removed', 'a.b2.npy', "{'file_size': 1}"),
        ('added', 'a.b2.npy', 'None'),
    }
    summary = index(root, hash=['xxh128'])
    rebuilt = tables_digest(root)
    shutil.rmtree(root / '.fastindex')
    index(root, hash=['xxh128'])
    assert tables_digest(root) == rebuilt
    assert summary.digests_reused >= 7


def test_kept_ids_are_refused_beside_it(make_tree, run):
    root = make_tree({f'{SESSION}/a.b.{IDS[0]}.npy': b''})
    code, _, err = run(root, '--uuid-filenames', '--ids-from', root)
    assert (code, '--ids-from): leave one of the two out' in err) == (2, True)
    with pytest.raises(UsageError):
        fastindex.build(root, uuid_filenames=True, ids_from=root)


def test_a_run_that_has_the_wrong_names_says_so(make_tree, run):
    root = make_tree({f'{SESSION}/a.b.npy': b'', f'{SESSION}/notes.txt': b''})
    code, out, err = run(root, '--uuid-filenames', '--workers', 1)
    assert code == 3
    assert 'is --uuid-filenames right for this tree?' in err
    assert f'validate {root} --uuid-filenames' in out
    assert f'{root} --uuid-filenames --dry-run -v' in out
    (root / SESSION / f'a.b.{IDS[0]}.npy').touch()
    assert 'warning' not in run(root, '--uuid-filenames', '--workers', 1)[2]
    code, out, err = run(root, '--workers', 1)
    assert (code, 'as before: --uuid-filenames\n' in out, 'warning' in err) == (3, True, False)
    assert run(root, '--no-uuid-filenames', '--workers', 1)[::2] == (0, '')


# Who reads it


@pytest.fixture
def named(example_tree, tmp_path, index):
    """The example with UUIDs, indexed with digests; 20 sessions."""
    rename(example_tree[0], tmp_path / 'named')
    index(tmp_path / 'named', hash=['xxh128'])
    return tmp_path / 'named'


@pytest.mark.long
@pytest.mark.parametrize('is_ours', [True, False])
def test_verify_finds_each_mutation_and_no_other(named, is_ours, monkeypatch):
    options = {'hash': True, 'workers': 1}
    if not is_ours:
        disown(named)
        assert Counter(d.kind for d in fastindex.verify(named, workers=1)).keys() == {'missing', 'unexpected'}
        options['uuid_filenames'] = True
    else:
        monkeypatch.setattr('fastindex.jobs.verify.expected._ByPath', None)
    assert list(fastindex.verify(named, **options)) == []
    chance = random.Random(1)
    files = chance.sample(sorted(named.rglob('*.npy')), 40)
    expected = set()
    for place, path in enumerate(files):
        relative = str(path.relative_to(named))
        match place % 5:
            case 0:
                path.unlink()
                expected.add(('missing', relative))
            case 1:
                path.write_bytes(path.read_bytes() + b'x')
                expected.add(('resized', relative))
            case 2:
                path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
                expected.add(('altered', relative))
            case 3:
                *rest, _, extension = path.name.split('.')
                other = path.with_name('.'.join([*rest, str(uuid4()), extension]))
                path.rename(other)
                expected |= {('missing', relative), ('unexpected', str(other.relative_to(named)))}
            case 4:
                other = path.with_name(f'my.{path.name}')
                path.rename(other)
                expected |= {('missing', relative), ('unexpected', str(other.relative_to(named)))}
    before = digest_of(named)
    found = [one for difference in fastindex.verify(named, **options) for one in take_apart(difference)]
    assert sorted(found) == sorted(expected)
    parts = [d for n in (1, 2, 3) for d in fastindex.verify(named, **options, part=(n, 3))]
    assert sorted(one for difference in parts for one in take_apart(difference)) == sorted(expected)
    assert digest_of(named) == before


def test_a_tree_that_got_the_ids_of_an_index_for_names_is_verified_by_it(make_tree, build, tmp_path):
    """As the client names what it downloads where it is told to keep the UUIDs."""
    root = make_tree({f'{path}/alf/a.b{i}.npy': b'x' * i for path in ORDER for i in range(9)})
    (tmp_path / 'tables').mkdir()
    build(root, out=tmp_path / 'tables')
    session_of = {str(fastindex.eid(path)): path for path in ORDER}
    for row in read(tmp_path / 'tables', 'datasets'):
        path = root / session_of[row['eid']] / row['rel_path']
        path.rename(path.with_name(add_uuid(path.name, row['id'])))
    options = {'index': tmp_path / 'tables', 'workers': 1}
    assert list(fastindex.verify(root, uuid_filenames=True, **options)) == []
    kinds = Counter(difference.kind.value for difference in fastindex.verify(root, **options))
    assert kinds == {'missing': 18, 'unexpected': 18}


def disown(folder: Path) -> None:
    """Make the tables those of another program, in another order, and forget that there was one of ours."""
    import pyarrow.parquet as pq

    shutil.rmtree(folder / '.fastindex', ignore_errors=True)
    for name in ('sessions', 'datasets'):
        table = pq.read_table(folder / f'{name}.pqt')
        metadata = {key: value for key, value in table.schema.metadata.items() if key != b'fastindex'}
        table = table.replace_schema_metadata(metadata)
        pq.write_table(table.take(list(range(table.num_rows))[::-1]), folder / f'{name}.pqt')


@pytest.mark.long
def test_paths_of_datasets_are_those_of_the_files(named, run):
    code, out, _ = run('search', named, '--datasets', '--paths')
    assert code == 0
    assert sorted(out.splitlines()) == sorted(map(str, named.rglob('*.npy')))
    biggest = [found.path for found in summarize(fastindex.open(named)).biggest]
    assert all((named / path).is_file() for path in biggest)


def test_verify_of_a_stranger_leads_nowhere(make_tree, index):
    import pyarrow as pa
    import pyarrow.parquet as pq

    root = make_tree({f'{SESSION}/a.b.{id}.npy'.replace('.b', f'.b{i}'): b'' for i, id in enumerate(IDS[:4])})
    index(root)
    table = pq.read_table(root / 'datasets.pqt')
    paths = ['noextension', '../x.y.npy', 'a\nb.c.npy', '.']
    place = table.schema.get_field_index('rel_path')
    pq.write_table(table.set_column(place, 'rel_path', pa.array(paths)), root / 'datasets.pqt')
    disown(root)
    try:
        found = Counter(d.kind.value for d in fastindex.verify(root, uuid_filenames=True, workers=1))
    except fastindex.InvalidIndexError:
        return
    assert found == {'missing': 4, 'unexpected': 4}


# Memory and names


def test_what_is_remembered_of_names_does_not_grow_with_their_number():
    _verdicts_by_folder.clear()
    verdicts = UuidVerdicts('alf')
    for _ in range(1000):
        assert type(verdicts[f'a.b.{uuid4()}.npy']) is bytes
    assert len(verdicts_of('alf')) == 1


@given(st.lists(st.integers(0, 30), max_size=60))
def test_seen_ids_are_a_set(numbers):
    chance = random.Random(0)
    # Such as have much in common, at any distance.
    pool = [bytes(chance.choices(b'\0\1', k=16)) for _ in range(15)]
    pool += [bytes(2) + bytes(chance.choices(b'\0', k=14 - i)) + b'\1' * i for i in range(16)]
    seen, known = SeenIds(), set()
    for number in numbers:
        id = pool[number][:16]
        assert seen.add(id) == (id not in known)
        known.add(id)


@pytest.mark.parametrize('shift', [0, 40, 80, 112])
def test_ids_that_differ_in_few_bits_are_in_pieces_as_others_are(shift):
    seen = SeenIds()
    assert all(seen.add((number << shift).to_bytes(16, 'big')) for number in range(2**14))
    assert max(map(len, seen._pieces.values())) < 16 * 16


def test_a_name_that_is_listed_twice_is_no_twin():
    path = f'a.b.{IDS[0]}.npy'.encode()
    assert find_twins([path, path]) == []


def test_names_that_are_not_utf8_are_problems(make_tree, index):
    name = os.fsencode(f'{SESSION}/caf') + b'\xe9.b.' + IDS[0].encode() + b'.npy'
    root = grow(make_tree({}), {name: b'', f'{SESSION}/a.b.{IDS[1]}.npy': b''})
    assert [problem.reason for problem in index(root).problems] == [Reason.NOT_UTF8]


def test_a_folder_with_the_names_of_another_is_judged_by_one_look_up(monkeypatch):
    _verdicts_by_folder.clear()
    names = ['a.b.npy', 'c.d.npy']
    paths = verdicts_of('alf').rel_paths_of(names)
    assert paths == [b'alf/a.b.npy', b'alf/c.d.npy']
    monkeypatch.setattr(verdicts, 'judge_file', None)
    assert verdicts_of('alf').rel_paths_of(list(names)) is paths
    with pytest.raises(TypeError):
        verdicts_of('alf').rel_paths_of([*names, 'e.f.npy'])


def test_a_folder_with_a_name_that_is_no_datasets_is_judged_name_by_name():
    _verdicts_by_folder.clear()
    for _ in range(2):
        assert verdicts_of('alf').rel_paths_of(['a.b.npy', 'notes.txt']) is None
        assert verdicts_of('alf').rel_paths_of([]) == []
    uuid = 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa'
    assert UuidVerdicts('alf').rel_paths_of(['a.b.npy']) is None
    assert UuidVerdicts('alf').rel_paths_of([f'a.b.{uuid}.npy']) == [f'alf/a.b.{uuid}.npy'.encode()]


def test_what_is_remembered_of_folders_does_not_grow_with_their_number(monkeypatch):
    monkeypatch.setattr(verdicts, 'MAX_NAMES', 100)
    monkeypatch.setattr(verdicts, '_remembered', 0)
    _verdicts_by_folder.clear()
    for order in islice(permutations(f'a.b{i}.npy' for i in range(10)), 1000):
        assert verdicts_of('alf').rel_paths_of(order) == [f'alf/{name}'.encode() for name in order]
    assert 5 < len(verdicts_of('alf')._of_folders) <= 10
    monkeypatch.setattr(verdicts, 'MAX_NAMES', 10_000)
    assert verdicts_of('raw').rel_paths_of(['x.y.z'] * 101) == [b'raw/x.y.z'] * 101
    assert not verdicts_of('raw')._of_folders

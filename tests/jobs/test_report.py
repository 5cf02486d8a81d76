"""Report: the page as a browser has it, and the numbers in it as one would count them by hand."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import one.alf.cache
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import fastindex
from fastindex import MissingExtraError, ReportError, UsageError
from fastindex.jobs.report import contents as counting
from fastindex.jobs.report import page
from fastindex.jobs.report.contents import Contents, gather
from fastindex.jobs.report.coverage import CoverageRow
from fastindex.jobs.report.storage import ChartBar
from fastindex.text import to_size
from tests.support.patience import PATIENCE_SECONDS, wait_until
from tests.support.tables import read
from tests.support.trees import SESSION, Link, grow

TREE = {
    f'{SESSION}/alf/_ibl_trials.choice.npy': b'12345',
    f'{SESSION}/alf/probe00/spikes.times.npy': b'1',
    f'{SESSION}/alf/probe01/spikes.times.npy': b'1',
    f'{SESSION}/alf/#2024-05-06#/_ibl_trials.choice.npy': b'123456',
    'lab/Subjects/s1/2024-01-09/001/alf/_ibl_trials.choice.npy': b'12',
    'lab/Subjects/s1/2024-02-29/001/wheel.position_bpod.raw.npy': b'',
    'lab/Subjects/s2/2024-02-29/002/': None,
    'other/Subjects/s1/2024-03-01/001/wheel.position.npy': b'1234',
    'other/Subjects/s1/2024-03-01/001/notes.txt': b'',
    **{f'other/Subjects/s1/2024-03-01/001/notes{i}.txt': b'' for i in range(3)},
}

HOSTILE = {
    f'lab/Subjects/{subject}/2024-01-01/001/spikes.times.npy': b''
    for subject in (
        '<script>alert(1)',
        '<img src=x onerror=alert(1)>',
        '"><svg onload=alert(1)>',
        "'-alert(1)-'",
        '{{ 7 * 7 }}',
        '<!--<script>',
        '\u202ee\u2028lif',
        '&lt;b&gt;',
        'datum.x',
    )
} | {
    '<b>/Subjects/s/2024-01-01/001/spikes.times.npy': b'12345',
    # A literal end of a script, over two folders.
    '<b>/Subjects/s/2024-01-01/001/x</script><script>alert(1)</y.npy': b'',
}


@pytest.fixture(scope='module')
def browser() -> Iterator[Any]:
    """Chromium, as Debian has it, without a network."""
    playwright = pytest.importorskip('playwright.sync_api')
    chromium = shutil.which('chromium')
    if chromium is None:
        pytest.skip('there is no chromium')
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=chromium, args=['--no-sandbox'], timeout=PATIENCE_SECONDS * 1000
        )
        yield browser
        browser.close()


class Visit:
    """A page in the browser, and all that it said and asked for."""

    def __init__(self, browser: Any, path: Path, scheme: str = 'light', width: int = 1280) -> None:
        context = browser.new_context(color_scheme=scheme, viewport={'width': width, 'height': 900})
        context.set_offline(True)
        context.set_default_timeout(PATIENCE_SECONDS * 1000)
        self.messages: list[str] = []
        self.requests: list[str] = []
        self.page = context.new_page()
        self.page.on('console', lambda message: self.messages.append(message.text))
        self.page.on('pageerror', lambda error: self.messages.append(str(error)))
        self.page.on('dialog', lambda dialog: (self.messages.append(dialog.message), dialog.dismiss()))
        self.page.on('request', lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector('html[data-ready=yes]')

    def ask(self, script: str) -> Any:
        return self.page.evaluate(script)

    def rows(self) -> list[list[str]]:
        """The rows of the table that are shown."""
        return self.ask(
            '[...document.querySelectorAll("#table tbody tr")].map(r => [...r.cells].map(c => c.innerText))'
        )


@pytest.fixture
def write(make_tree, build, tmp_path):
    """Index a tree and report on it; give the file."""

    def write(tree: Any, **options: Any) -> Path:
        root = make_tree(tree)
        build(root, allow_empty=True)
        fastindex.report(root, tmp_path / 'report.html', **{'workers': 1, **options})
        return tmp_path / 'report.html'

    return write


@pytest.fixture
def contents(make_tree, build) -> Contents:
    root = make_tree(TREE)
    build(root)
    return gather(fastindex.open(root))


def gather_tree(root: Path) -> Contents:
    fastindex.build(root, workers=1)
    return gather(fastindex.open(root))


def test_coverage_is_of_sessions_not_of_datasets(contents):
    coverage = contents.coverage
    assert coverage.columns == ('spikes.times', 'trials.choice', 'wheel.position')
    assert coverage.rows == (
        CoverageRow('lab', 's1', 3, (1, 2, 1)),
        CoverageRow('lab', 's2', 1, (0, 0, 0)),
        CoverageRow('other', 's1', 1, (0, 0, 1)),
    )
    assert coverage.total == CoverageRow('', 'all', 5, (1, 2, 2))


def test_sessions_are_counted_by_time_and_size(contents):
    assert contents.step == 'day'
    assert [(bin_.lab, bin_.first, bin_.sessions) for bin_ in contents.timeline] == [
        ('lab', date(2024, 1, 1), 1),
        ('lab', date(2024, 1, 9), 1),
        ('lab', date(2024, 2, 29), 2),
        ('other', date(2024, 3, 1), 1),
    ]
    assert [(bar.label, bar.value) for bar in contents.bars['session-datasets']] == [
        ('0', 1),
        ('1', 3),
        ('2', 0),
        ('3', 0),
        ('4', 1),
    ]
    assert contents.bars['lab-bytes'] == (ChartBar('lab', 15, '15 B'), ChartBar('other', 4, '4 B'))


@pytest.mark.parametrize(
    ('last', 'step', 'bins'),
    [
        ('2024-01-20', 'day', 2),
        ('2025-01-01', 'week', 2),
        ('2029-02-03', 'month', 2),
        ('9999-12-31', 'year', 2),
    ],
)
def test_the_steps_of_time_are_as_wide_as_they_must_be(make_tree, last, step, bins):
    root = make_tree({f'l/Subjects/s/{day}/001/a.b.c': b'' for day in ('2024-01-01', last)})
    contents = gather_tree(root)
    assert (contents.step, len(contents.timeline)) == (step, bins)
    assert contents.timeline[-1].first <= date.fromisoformat(last) <= contents.timeline[-1].end


def test_the_example_is_counted_as_its_rows_are(example_tree, tmp_path):
    root, _ = example_tree
    fastindex.build(root, out=tmp_path, workers=1)
    contents = gather(fastindex.open(tmp_path, root=root))
    sessions = {row['id']: row for row in read(tmp_path, 'sessions')}
    datasets = read(tmp_path, 'datasets')
    sizes: Counter[str] = Counter()
    for row in datasets:
        sizes[row['eid']] += row['file_size']
    assert {row[-1]: row[5] for row in contents.table.rows} == sizes
    labs = Counter(row['lab'] for row in sessions.values())
    shown: Counter[str] = Counter()
    for bin_ in contents.timeline:
        shown[bin_.lab] += bin_.sessions
    assert shown == labs
    assert sum(bar.value for bar in contents.bars['session-bytes']) == len(sessions)
    having = Counter((sessions[row['eid']]['subject'], row['rel_path'].split('.')[1]) for row in datasets)
    assert {
        (row.name, column.split('.')[1]): count
        for row in contents.coverage.rows
        for column, count in zip(contents.coverage.columns, row.having, strict=True)
    } == having


@pytest.mark.long
def test_what_is_too_many_is_added_up_and_said_to_be(make_tree, monkeypatch):
    root = make_tree({f'lab{i:02}/Subjects/s/2024-01-01/00{i % 3}/o{i}.b.c': b'1' for i in range(25)})
    contents = gather_tree(root)
    assert contents.labs[-1] == '16 other labs'
    assert sum(bin_.sessions for bin_ in contents.timeline) == 25
    assert contents.bars['lab-bytes'][-1] == ChartBar('6 others', 6, '6 B', is_rest=True)
    monkeypatch.setattr('fastindex.jobs.report.coverage.MAX_COVERAGE_ROWS', 4)
    monkeypatch.setattr('fastindex.jobs.report.coverage.MAX_COVERAGE_COLUMNS', 2)
    monkeypatch.setattr(counting, 'MAX_TABLE_ROWS', 5)
    contents = gather_tree(root)
    coverage = contents.coverage
    assert (coverage.of, coverage.cut_columns, coverage.cut_rows) == ('lab', 23, 21)
    assert coverage.rows[-1].name == '21 other labs'
    assert sum(row.sessions for row in coverage.rows) == 25
    assert (contents.table.of, len(contents.table.rows), contents.table.cut_rows) == ('subject', 5, 20)


@pytest.mark.long
def test_the_same_index_gives_the_same_bytes(write, tmp_path):
    first = write(TREE).read_bytes()
    fastindex.report(tmp_path / 'root', tmp_path / 'again.html', workers=2)
    assert (tmp_path / 'again.html').read_bytes() == first
    assert len(first) < 2_000_000  # and 100 bytes for each row of the table: 5 MB at most


def test_findings_are_in_the_page(write):
    text = write(TREE).read_text()
    assert 'ALF301' in text
    assert 'other/Subjects/s1/2024-03-01/001/notes.txt' in text
    assert '5 warnings' in text
    assert 'and 1 more' in text


@pytest.mark.long
def test_without_a_look_at_the_tree_the_page_says_so(write, tmp_path):
    assert 'Every name is valid.' in write({f'{SESSION}/spikes.times.npy': b''}).read_text()
    assert 'were not judged.' in write(TREE, validate=False).read_text()
    root, tables = tmp_path / 'root', tmp_path / 'tables'
    tables.mkdir()
    for name in ('sessions.pqt', 'datasets.pqt'):
        shutil.copy(root / name, tables)
    for place in (tables, tmp_path / 'gone'):
        summary = fastindex.report(place, tmp_path / 'r.html', index=tables)
        assert summary.findings is None
        assert 'not judged: it is not where' in (tmp_path / 'r.html').read_text()


class Outline(HTMLParser):
    """The tags of a page with their attributes, but for the text in them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[tuple[str, ...]] = Counter()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag, *(name for name, _ in attrs)] += 1


def outline(path: Path) -> set[tuple[str, ...]]:
    parser = Outline()
    parser.feed(path.read_text())
    return set(parser.tags)


@pytest.mark.long
def test_names_never_become_markup(write):
    harmless = outline(write(TREE))
    hostile = write(HOSTILE, title='<script>alert(1)</script>')
    assert outline(hostile) <= harmless
    text = hostile.read_text()
    assert '<script>alert' not in text
    assert '&lt;script&gt;alert(1)' in text
    assert '\u202e' not in text
    assert '\u2028' not in text


def test_a_library_cannot_close_its_element():
    text = page._to_script_text('x = "</script>" + "</SCRIPT>" + "<!--<script>"')
    parser = Outline()
    parser.feed(f'<script type="text/plain">{text}</script><b>')
    assert set(parser.tags) == {('script', 'type'), ('b',)}


def test_what_is_not_on_disk_covers_nothing(make_tree):
    root = make_tree({f'{SESSION}/spikes.{name}.npy': b'' for name in ('times', 'amps')})
    one.alf.cache.make_parquet_db(root)
    table = pq.read_table(root / 'datasets.pqt')
    gone = pa.array(['amps' in path for path in table['rel_path'].to_pylist()])
    place = table.schema.get_field_index('exists')
    pq.write_table(table.set_column(place, 'exists', pc.invert(gone)), root / 'datasets.pqt')
    coverage = gather(fastindex.open(root)).coverage
    assert (coverage.columns, coverage.total.having) == (('spikes.times',), (1,))


@pytest.mark.long
def test_a_browser_runs_nothing_that_is_in_a_name(browser, write):
    visit = Visit(browser, write(HOSTILE, title='<script>alert(1)</script>'))
    assert visit.messages == []
    assert visit.ask('document.querySelectorAll("img, svg[onload], b i, script[src]").length') == 0
    assert '<img src=x onerror=alert(1)>' in {row[1] for row in visit.rows()}
    visit.page.hover('#lab-bytes .mark-rect path >> nth=0')
    wait_until(lambda: '<b>' in visit.page.inner_text('#vg-tooltip-element'))
    assert visit.ask('document.querySelectorAll("#vg-tooltip-element b").length') == 0
    visit.page.click('summary')  # all have all: the matrix is folded
    assert '{{ 7 * 7 }}' in visit.page.inner_text('#coverage')
    assert '</script><script>alert(1)</y.npy' in visit.page.inner_text('#findings')


@pytest.mark.long
def test_a_browser_shows_searches_and_sorts(browser, example_tree, tmp_path):
    root, made = example_tree
    fastindex.build(root, out=tmp_path, workers=1)
    out = tmp_path / 'report.html'
    fastindex.report(root, out, index=tmp_path, workers=1)
    visit = Visit(browser, out)
    assert visit.messages == []
    assert [url for url in visit.requests if not url.startswith('blob:')] == [out.as_uri()]
    assert visit.ask(
        '[...document.querySelectorAll(".chart")].map(c => [c.id, c.querySelectorAll("svg").length])'
    ) == [[name, 1] for name in ('timeline', 'growth', 'lab-bytes', 'session-bytes')]
    shown = visit.page.inner_text('main')
    assert 'All of it has one extension: .npy' in shown  # of one bar there is a sentence, no chart
    assert 'has all of the 15 datasets' in shown
    assert 'All names are valid.' in visit.page.inner_text('#health')
    bars = visit.ask(
        '[...document.querySelectorAll("#timeline .mark-rect path")].map(p => p.getBBox().height)'
    )
    contents = gather(fastindex.open(tmp_path))
    assert len(bars) == len(contents.timeline)
    scale = [bar / bin_.sessions for bar, bin_ in zip(bars, contents.timeline, strict=True)]
    assert max(scale) - min(scale) < 0.02 * max(scale)
    info = visit.page.inner_text('.dt-info')
    assert info == f'Showing 1 to 25 of {made.sessions} entries'

    subjects = Counter(row['subject'] for row in read(tmp_path, 'sessions'))
    subject, count = subjects.most_common()[0]
    visit.page.fill('.dt-search input', subject)
    wait_until(lambda: {row[1] for row in visit.rows()} == {subject})  # the page may take a moment
    wait_until(lambda: f'of {count} entries' in visit.page.inner_text('.dt-info'))

    visit.page.fill('.dt-search input', '')
    visit.page.click('th:has-text("bytes")')
    sizes = sorted(row[5] for row in contents.table.rows)
    wait_until(lambda: [row[5] for row in visit.rows()] == [to_size(size) for size in sizes[:25]])

    background = 'getComputedStyle(document.body).backgroundColor'
    light = visit.ask(background)
    visit.page.click('#theme')
    wait_until(lambda: visit.ask(background) != light)
    dark = visit.ask(background)
    assert Visit(browser, out, 'dark', 390).ask(background) == dark


@pytest.mark.long
def test_a_browser_lists_the_sessions_that_lack_a_dataset(browser, write):
    tree = {
        f'lab/Subjects/s{i}/2024-01-01/001/{name}.npy': b'12' for i in (1, 2, 3) for name in ('a.b', 'c.d')
    }
    del tree['lab/Subjects/s2/2024-01-01/001/c.d.npy']
    tree['lab/Subjects/s3/2024-01-02/1/c.d.npy'] = b''
    visit = Visit(browser, write(tree))
    assert visit.messages == []
    table = 'document.querySelectorAll("#incomplete-table tbody tr")'
    rows = f'[...{table}].map(r => [...r.cells].map(c => c.innerText))'
    lacking = [
        ['lab', 's2', '2024-01-01', '001', 'c.d', 'lab/Subjects/s2/2024-01-01/001'],
        ['lab', 's3', '2024-01-02', '001', 'a.b', 'lab/Subjects/s3/2024-01-02/1'],
    ]
    assert visit.ask(rows) == lacking
    # On a narrow page what is missing breaks, and neither a date nor a path does.
    spaces = f'[...{table}[0].cells].map(c => getComputedStyle(c).whiteSpace)'
    assert visit.ask(spaces) == ['nowrap'] * 4 + ['normal', 'nowrap']
    health = visit.page.inner_text('#health')
    assert health.splitlines()[1].startswith('error')  # the worst first: the number without zeros
    assert '2 sessions without a dataset that most sessions have' in health
    visit.page.click('#coverage tr:has-text("s3") td:has-text("50%")')
    wait_until(lambda: visit.ask(rows) == lacking[1:])
    with visit.page.expect_download() as download:
        visit.page.click('#incomplete button:has-text("CSV")')
    assert Path(download.value.path()).read_text().splitlines() == [
        '"lab","subject","date","number","missing","path"',
        '"lab","s3","2024-01-02","001","a.b","lab/Subjects/s3/2024-01-02/1"',
    ]


def test_problems_of_the_build_are_in_the_page(write):
    text = write({**TREE, f'{SESSION}/alf/gone.times.npy': Link('nowhere')}).read_text()
    assert '1 path could not be indexed' in text
    assert f'{SESSION}/alf/gone.times.npy: dangling-link' in text


@pytest.mark.long
@pytest.mark.parametrize(
    'tree',
    [
        {'lab/Subjects/s1/': None},
        {'s1/2024-01-01/001/': None},
        {f'lab{i}/Subjects/s{i}/2024-01-01/001/o{i}.b.c': b'' for i in range(100)},
    ],
    ids=['no session', 'no dataset', '100 labs'],
)
def test_a_browser_shows_what_is_odd(browser, write, tree):
    visit = Visit(browser, write(tree), width=390)
    assert visit.messages == []
    assert visit.ask('document.documentElement.scrollWidth') == 390


def test_an_index_of_the_clients_builder_is_shown_too(make_tree, tmp_path):
    root = make_tree({path: content for path, content in TREE.items() if not path.endswith('/')})
    one.alf.cache.make_parquet_db(root)
    summary = fastindex.report(root, tmp_path / 'report.html', workers=1)
    assert (summary.sessions, summary.datasets) == (4, 7)
    assert 'another program' in (tmp_path / 'report.html').read_text()


ENDLESS = """
import ctypes
def javascript_bundle(code):
    ctypes.PyDLL(None).sleep(10_000)  # holds the lock of the interpreter, as that of vl-convert does
"""


@pytest.mark.long
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM], ids=['INT', 'TERM'])
def test_a_report_that_draws_is_stopped_at_once_and_leaves_nothing(number, make_tree, build, tmp_path):
    root, out = make_tree(TREE), tmp_path / 'report.html'
    build(root)
    (tmp_path / 'modules').mkdir()
    (tmp_path / 'modules/vl_convert.py').write_text(ENDLESS)
    paths = [os.fspath(tmp_path / 'modules'), *filter(None, sys.path)]
    with subprocess.Popen(
        [sys.executable, '-m', 'fastindex', 'report', root, '--out', out, '--no-validate'],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        task = Path(f'/proc/{running.pid}/task/{running.pid}')
        found: list[str] = []

        def is_drawing() -> bool:
            """Tell whether a child draws, and the process itself waits."""
            with suppress(FileNotFoundError):  # a child that ends
                for child in (task / 'children').read_text().split():
                    if b'javascript_bundle' in Path(f'/proc/{child}/cmdline').read_bytes():
                        found[:] = [child]
            return bool(found) and ') S ' in (task / 'stat').read_text()

        wait_until(is_drawing)
        running.send_signal(number)
        _, errors = running.communicate(timeout=PATIENCE_SECONDS)
    assert running.returncode == 128 + number, errors
    assert b'Traceback' not in errors
    wait_until(lambda: not Path('/proc', *found).exists())
    assert not list(tmp_path.glob('*.html*'))


WAITING = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from fastindex.lazy import load
load('polars')
from fastindex.jobs.report.page import bundling
with bundling() as bundle:
    print('waits', flush=True)
    bundle()
"""


@pytest.mark.long
def test_ctrl_c_ends_the_wait_for_the_charts_where_polars_is_loaded(tmp_path):
    (tmp_path / 'vl_convert.py').write_text(ENDLESS)
    path = os.pathsep.join([os.fspath(tmp_path), *filter(None, sys.path)])
    with subprocess.Popen(
        [sys.executable, '-c', WAITING],
        env={**os.environ, 'PYTHONPATH': path},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as running:
        running.stdout.readline()
        for _ in range(PATIENCE_SECONDS // 5):  # the first one may come before it waits
            running.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                running.wait(5)
                break
        running.kill()
    assert running.returncode == -signal.SIGINT


@pytest.mark.long
def test_without_a_process_to_be_had_a_report_is_the_same(make_tree, build, tmp_path, monkeypatch):
    root = make_tree(TREE)
    build(root)
    pages = []
    for is_short in (False, True):
        if is_short:
            monkeypatch.setattr(page.subprocess, 'Popen', no_process)
        monkeypatch.setattr(page, '_made', [])
        fastindex.report(root, tmp_path / 'r.html', validate=False)
        pages.append((tmp_path / 'r.html').read_bytes())
    assert pages[0] == pages[1]


def no_process(*_: object, **__: object) -> None:
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


@pytest.mark.long
def test_the_command_tells_what_it_wrote(make_tree, build, run, tmp_path):
    root, out = make_tree(TREE), tmp_path / 'r.html'
    build(root)
    code, text, _ = run('report', root, '--out', out, '--workers', 1)
    assert code == 0
    assert re.fullmatch(
        rf'wrote {out} \(\d\.\d MB\) in \d+\.\d s: 5 sessions, 7 datasets, 5 findings\n', text
    ), text
    assert run('report', root, '--out', out, '--quiet', '--no-validate') == (0, '', '')
    code, text, _ = run('report', root, '--out', out, '--json', '--title', 'Ours', '--no-validate')
    found = json.loads(text)
    assert found['size_bytes'] == out.stat().st_size
    assert found['findings'] is None
    assert '<title>Ours</title>' in out.read_text()


def test_open_shows_a_temporary_file_in_the_browser(make_tree, build, run, monkeypatch):
    root, shown = make_tree(TREE), []
    build(root)
    monkeypatch.setattr('webbrowser.open', shown.append)
    assert run('report', root, '--open', '--no-validate', '--quiet')[0] == 0
    [url] = shown
    path = Path(url.removeprefix('file://'))
    assert '<title>' in path.read_text()
    shutil.rmtree(path.parent)


@pytest.mark.long
def test_what_cannot_be_done_is_said_and_leaves_what_was_there(make_tree, build, run, tmp_path):
    root, out = make_tree(TREE), tmp_path / 'r.html'
    out.write_text('old')
    for arguments, said in (
        ([root, '--out', out], 'there is no such table'),
        ([root, '--out', root / SESSION / 'alf/_ibl_trials.choice.npy'], 'ends in .html'),
        ([root, '--out', tmp_path / 'no/r.html'], 'does not exist'),
        ([root, '--out', '/proc/self/r.html'], 'cannot be written'),
        ([root], '--out'),
    ):
        code, _, errors = run('report', *arguments)
        assert code == 2
        assert said in errors, errors
        build(root)
        assert out.read_text() == 'old'
    assert [path.name for path in tmp_path.iterdir() if 'partial' in path.name] == []


def test_a_full_disk_leaves_what_was_there(make_tree, build, tmp_path):
    root, out = make_tree(TREE), tmp_path / 'r.html'
    build(root)
    out.write_text('old')
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(ReportError, match='File too large'):
            fastindex.report(root, out, validate=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert out.read_text() == 'old'
    assert {path.name for path in tmp_path.iterdir()} == {'r.html', 'root'}


def test_a_report_takes_the_place_of_a_file_alone(make_tree, build, tmp_path):
    root = make_tree(TREE)
    build(root)
    (tmp_path / 'folder.html').mkdir()
    (tmp_path / 'link.html').symlink_to(root / SESSION / 'alf/_ibl_trials.choice.npy')
    with pytest.raises(ReportError, match='this is a folder'):
        fastindex.report(root, tmp_path / 'folder.html')
    with pytest.raises(UsageError, match=r'ends in \.html'):
        fastindex.report(root, tmp_path / 'link.html')


def test_a_folder_that_cannot_be_written_to_is_named(open_folder):
    grow(open_folder, {f'{SESSION}/spikes.times.npy': b''})
    fastindex.build(open_folder, workers=1)
    (open_folder / 'shut').mkdir(mode=0o555)
    with pytest.raises(ReportError, match='Permission denied'):
        fastindex.report(open_folder, open_folder / 'shut/r.html', validate=False)


@pytest.mark.long
def test_without_the_packages_the_error_names_those_that_are_missing(make_tree, build, tmp_path, monkeypatch):
    root = make_tree(TREE)
    build(root)
    monkeypatch.setitem(sys.modules, 'itables', None)
    monkeypatch.setitem(sys.modules, 'vl_convert', None)
    with pytest.raises(MissingExtraError, match=r'pip install vl-convert-python itables$'):
        fastindex.report(root, tmp_path / 'report.html')

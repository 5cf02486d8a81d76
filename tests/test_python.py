"""fastindex as people use it from Python: in a script, at the prompt, in a notebook."""

from __future__ import annotations

import gc
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from inspect import isfunction, signature
from pathlib import Path

import polars as pl
import pytest

import fastindex
from tests.support.interrupt import SignalAtCall
from tests.support.trees import SESSION, grow

TREE = {
    f'{SESSION}/alf/spikes.times.npy': b'1234',
    f'{SESSION}/alf/#2024-05-06#/spikes.times.npy': b'12345',
    'lab/Subjects/s2/2024-02-29/002/a.b.npy': b'',
    'lab/Subjects/s2/2024-02-29/notes.txt': b'',
}

SCRIPT = """
import fastindex

if __name__ == '__main__':
    summary = fastindex.build('root', workers=2, hash=True)
    print(summary)
    print(fastindex.search('root', subject='s2')['path'].to_list())
    print([finding.code for finding in fastindex.validate('root', workers=2)])
    print(list(fastindex.verify('root', workers=2)))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    grow(tmp_path / 'root', TREE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_python(*arguments: str, **options: object) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True, **options)
    return done.stdout


@pytest.mark.long
def test_a_script(folder):
    (folder / 'script.py').write_text(SCRIPT)
    lines = run_python('script.py').splitlines()
    assert lines[0].startswith(f'indexed {folder}/root: 2 sessions, 3 datasets, 9 B in ')
    assert lines[1] == 'digests: 3 computed, 0 reused'
    assert lines[-3:] == ["['lab/Subjects/s2/2024-02-29/002']", '[]', '[]']


@pytest.mark.long
def test_the_prompt(folder):
    """Workers start there too, though there is no file that they could import."""
    words = "import fastindex\nfastindex.build('root', workers=2)\nfastindex.open('root')\n"
    shown = run_python('-i', '-q', input=words)
    assert f'<Summary: indexed {folder}/root: 2 sessions, 3 datasets' in shown
    assert '<Index of root: 2 sessions, 3 datasets>' in shown


@pytest.mark.long
def test_a_notebook(folder):
    nbformat = pytest.importorskip('nbformat')
    from nbclient import NotebookClient

    cells = [
        "import fastindex\nfastindex.build('root', workers=2, progress=True)",
        "fastindex.info('root').datasets",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, kernel_name='python3').execute()
    *_, result = notebook.cells[0].outputs
    assert result.data['text/html'].startswith(f'<pre>indexed {folder}/root: 2 sessions, 3 datasets')
    assert any('indexing' in str(output) for output in notebook.cells[0].outputs[:-1])
    assert notebook.cells[1].outputs[0].data['text/plain'] == '3'


def test_print_of_a_summary_is_what_the_command_prints(folder, run):
    run('root', '--workers', 1)
    summary = fastindex.build('root', workers=1)
    _, out, _ = run('root', '--workers', 1)
    printed, shown = (re.sub(r' in [\d.]+ s .*', '', text).splitlines() for text in (out, str(summary)))
    assert printed == shown
    assert '\n' not in repr(summary)


@pytest.mark.long
def test_print_of_an_answer_is_what_the_command_prints(folder, run):
    root, archive = folder / 'root', folder / 'x.tar.zst'
    grow(root, {f'{SESSION}/notes.txt': b'', f'{SESSION}/more.txt': b''})
    _, released, _ = run('release', root, '--out', archive, '--force', '--workers', 1)
    done = fastindex.release(root, archive, force=True, overwrite=True, workers=1)
    assert f'{done}\n'.replace('python -m fast', 'fast') == released
    assert f'  validate finds 2 warnings (fastindex validate {root})\n' in released
    assert f'{fastindex.info(root)}\n' == run('info', root)[1]
    outputs = [run('report', root, '--out', 'x.html')[1], run('example', 'few', '--sessions', 1)[1]]
    summaries = [fastindex.report(root, 'x.html'), fastindex.example('few', sessions=1)]
    for out, summary in zip(outputs, summaries, strict=True):
        assert re.split(' in |, written', out)[0] == re.split(' in |, there', str(summary))[0]
        assert f'<pre>{summary}'[:30] in summary._repr_html_()


@pytest.mark.long
def test_what_a_function_gives_says_in_a_line_what_it_is(folder):
    grow(folder / 'root', {f'{SESSION}/notes.txt': b''})
    summaries = [fastindex.build('root', workers=1, hash=hash) for hash in (False, True)]
    answers = [
        *summaries,
        fastindex.open('root'),
        fastindex.info('root'),
        fastindex.restore('root'),
        fastindex.release('root', 'x.tar.zst', force=True, workers=1),
        fastindex.example('example', sessions=1, workers=1),
        fastindex.report('root', 'x.html', validate=False),
        findings := fastindex.validate('root', workers=1),
        fastindex.verify('root', workers=1),
        fastindex.plan_fixes(findings),
        *findings,
        fastindex.Query(),
    ]
    for answer in answers:
        assert re.search(r'\n| object at ', repr(answer)) is None
        assert type(answer).__name__ in repr(answer)
        is_summary = 'Summary' in repr(answer) or isinstance(answer, fastindex.Restored)
        assert (f'<{type(answer).__name__}: ' in repr(answer)) >= is_summary


def test_what_is_found_is_a_frame_with_paths(folder):
    fastindex.build('root', workers=1)
    index = fastindex.open('root')
    found = index.find_datasets(object='spikes')
    assert isinstance(found, pl.DataFrame)
    assert found['path'].to_list() == [
        f'{SESSION}/alf/#2024-05-06#/spikes.times.npy',
        f'{SESSION}/alf/spikes.times.npy',
    ]
    assert all((folder / 'root' / path).is_file() for path in found['path'])
    sessions = index.find_sessions(lab='lab')
    assert [str(eid) for eid in index.search(lab='lab')] == sessions['eid'].to_list()
    assert all((folder / 'root' / path).is_dir() for path in sessions['path'])
    assert fastindex.search('root', lab='lab').equals(sessions)


def test_paths_of_files_have_the_uuids_that_their_names_have(tmp_path):
    uuid = '6cdb7b06-3fd2-4e1c-9d6e-2e4a8a4f1c11'
    grow(tmp_path / 'root', {f'{SESSION}/spikes.times.{uuid}.npy': b''})
    fastindex.build(tmp_path / 'root', workers=1, uuid_filenames=True)
    found = fastindex.open(tmp_path / 'root').find_datasets()
    assert found['path'].to_list() == [f'{SESSION}/spikes.times.{uuid}.npy']


def test_tab_shows_what_is_public_and_nothing_else():
    names = dir(fastindex)
    assert {'build', 'validate', 'verify', 'search', 'info', 'report', 'release', 'example'} <= set(names)
    assert set(names) - {'__version__'} == set(fastindex.__all__)


@pytest.mark.parametrize(('hash', 'columns'), [(True, {'xxh128'}), (False, set()), (['md5'], {'hash'})])
def test_hash_is_a_word_or_words(folder, hash, columns):
    fastindex.build('root', workers=1, hash=hash)
    frame = fastindex.open('root').datasets.collect()
    assert {name for name in ('hash', 'xxh128') if name in frame.columns and frame[name].count()} == columns


def children() -> set[str]:
    return set(Path(f'/proc/self/task/{os.getpid()}/children').read_text().split())


JOBS = {
    'build': lambda root, out: fastindex.build(root, workers=2, hash=True, fresh=True),
    'example': lambda root, out: fastindex.example(out / 'x', sessions=60, workers=2),
    'info': lambda root, out: fastindex.info(root),
    'make_parquet_db': lambda root, out: fastindex.make_parquet_db(root, out_dir=out),
    'open': lambda root, out: fastindex.open(root).find_datasets(subject='s'),
    'release': lambda root, out: fastindex.release(root, out / 'x.zip', workers=2, force=True),
    'report': lambda root, out: fastindex.report(root, out / 'x.html', workers=2),
    'restore': lambda root, out: fastindex.restore(root),
    'search': lambda root, out: fastindex.search(root, subject='s'),
    'validate': lambda root, out: list(fastindex.validate(root, workers=2, deep=True)),
    'verify': lambda root, out: list(fastindex.verify(root, workers=2, hash=True)),
    'verify_index': lambda root, out: list(fastindex.verify_index(root)),
}
"""What takes a folder, and how it is called."""


def test_every_function_that_takes_a_folder_is_interrupted():
    functions = {name: getattr(fastindex, name) for name in fastindex.__all__}
    functions = {name: one for name, one in functions.items() if isfunction(one)}
    first = {name: next(iter(signature(one).parameters.values())) for name, one in functions.items()}
    assert {name for name, one in first.items() if 'PathLike' in str(one.annotation)} == set(JOBS)


@pytest.mark.long
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')  # what Python drops
@pytest.mark.parametrize('name', JOBS)
def test_ctrl_c_at_any_point_comes_out_as_such_and_leaves_nothing(folder, tmp_path, name):
    """What was there is whole, and no worker waits, once nobody has the iterator."""
    root, out = tmp_path / 'root', tmp_path / 'out'
    fastindex.build('root', workers=1, hash=True)
    (root / SESSION / 'alf/c.d.npy').touch()
    fastindex.build('root', workers=1)

    def work() -> None:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        JOBS[name](root, out)

    work()  # all is loaded
    before = children()
    with SignalAtCall() as whole:
        work()
    interrupted = 0
    for at in range(1, whole.calls, whole.calls // 4):
        with suppress(KeyboardInterrupt), SignalAtCall(at, signal.SIGINT):
            interrupted += 1
            work()
            interrupted -= 1
        assert fastindex.open(root).generation
        gc.collect()
        assert children() <= before
    assert interrupted > 2  # the last points may be beyond the end, where less was to be waited for

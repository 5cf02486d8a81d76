"""P19: no plain command loses what the index knows, however it ends: all is there, or the old index."""

from __future__ import annotations

import errno
import random
import signal
import subprocess
import time
from uuid import UUID

import pytest

import fastindex
from fastindex.folders import OpenFolder
from tests.support.injectors import command, digests, environment, scaled
from tests.support.patience import PATIENCE_SECONDS
from tests.support.strangers import of_a_database
from tests.support.tables import read
from tests.support.trees import Link, grow

pytestmark = pytest.mark.fault

OTHER = UUID('c1d61b47-7a9d-4b8e-9b8e-6f6a3f0a2d11')
NAMED = {
    f'{lab}/Subjects/{lab[0]}{i}/2024-01-0{i + 1}/001/alf/a.b.{UUID(int=9 * i + j, version=4)}.npy': b'x'
    for j, lab in enumerate(('first', 'second'))
    for i in range(3)
}
LINK = 'first/Subjects/f0/2024-01-01/001/c.d.10e1e3d6-2f6b-4a4a-8c0a-3f1c6f5f2c11.npy'
LINKED = {LINK: Link(f'alf/a.b.{UUID(int=0, version=4)}.npy')}
INFO = {
    'first/Subjects/f0/2024-01-01/001/_ibl_experiment.description.yaml': b'projects: [of a file]\ntasks: []',
    'second/Subjects/s2/2024-01-03/001/raw_behavior_data/_iblrig_taskSettings.raw.json': (
        b'{"PYBPOD_PROTOCOL": "training", "IBLRIG_VERSION": "8.0"}'
    ),
}
QC = 'first/Subjects/f0/2024-01-01/001,{},FAIL\n'
RECIPES = {
    'plain': [],
    'digests': ['--hash=xxh128,md5'],
    'namespace': ['--namespace', str(OTHER)],
    'no links': ['--no-follow-symlinks'],
    'names with UUIDs': ['--uuid-filenames', '--hash', '--session-info', '--qc', 'qc.csv'],
    'projects, tasks and outcomes': ['--session-info', '--qc', 'qc.csv'],
    'ids, projects and qc of others': ['--ids-from', 'alyx', '--default-revision', 'known'],
    'all of them': [
        *('--ids-from', 'alyx', '--namespace', str(OTHER), '--no-follow-symlinks', '--hash'),
        *('--session-info', '--qc', 'qc.csv'),
    ],
}
READERS = [
    ['{root}', '--check'],
    ['{root}', '--dry-run'],
    ['verify', '{root}'],
    ['verify', '--index-only', '{root}'],
    ['validate', '{root}', '--quiet'],
    ['search', '{root}', '--datasets'],
    ['info', '{root}'],
    ['report', '{root}', '--out', 'r.html', '--workers', '1'],
]
WRITERS = [['{root}'], ['release', '{root}', '--out', 'x.tar.zst', '--overwrite']]
KILLED = ['names with UUIDs', 'all of them']


def known(root):
    """What the index knows: each row by its ids, with all that is in it, and how the index was made."""
    rows = {
        (row.get('eid', ''), row['id']): {name: value for name, value in row.items() if value is not None}
        for name in ('sessions', 'datasets')
        for row in read(root, name)
    }
    return rows, fastindex.open(root).recipe


def assert_remembered(root, before, words):
    """A release adds digests; nothing else is another, and nothing is gone."""
    rows, recipe = known(root)
    assert rows.keys() == before[0].keys(), words
    assert all(row.items() <= rows[key].items() for key, row in before[0].items()), words
    assert set(before[1].algorithms) <= set(recipe.algorithms), words
    assert recipe.to_json() == {**before[1].to_json(), 'algorithms': list(recipe.algorithms)}, words


@pytest.fixture(scope='module')
def alyx(tmp_path_factory):
    """A folder with `alyx`, whose tables have ids, projects and qc of another program."""
    folder = tmp_path_factory.mktemp('tables')
    (folder / 'alyx').mkdir()
    of_a_database(grow(folder / 'tree', NAMED), folder / 'alyx')
    file = next(iter(NAMED)).partition('001/')[2]
    names = [file, '.'.join(part for part in file.split('.') if len(part) < 36)]
    (folder / 'qc.csv').write_text(''.join(map(QC.format, names)))
    return folder


@pytest.fixture(params=RECIPES)
def indexed(request, tmp_path, alyx, monkeypatch):
    """A tree that is indexed in one of the ways, and what the index knows."""
    from fastindex import cli

    words = RECIPES[request.param]
    root = grow(tmp_path / 'root', {**NAMED, **(LINKED if '--no-follow-symlinks' in words else {})})
    for i, (path, content) in enumerate(INFO.items() if '--session-info' in words else ()):
        stem, _, extension = path.rpartition('.')
        named = f'{stem}.{UUID(int=99 + i, version=4)}.{extension}'
        grow(root, {named if '--uuid-filenames' in words else path: content})
    monkeypatch.chdir(alyx)
    assert cli.main([str(root), '--workers', '1', '--quiet', *words]) == 0
    monkeypatch.chdir(tmp_path)
    rows = known(root)[0].values()
    if '--session-info' in words:
        assert 'training8.0' in {row.get('task_protocol') for row in rows}
        assert {'of a file', 'brainwide'} & {row.get('projects') for row in rows}
    assert ('FAIL' in {row.get('qc') for row in rows}) == ('--qc' in words)
    return root, known(root)


def run_here(root, words, *more):
    from fastindex import cli

    return cli.main([word.format(root=root) for word in (*words, *more)])


def test_no_plain_command_loses_what_the_index_knows(indexed, figure, monkeypatch, capsys):
    root, before = indexed
    tried = 0
    for words in (*READERS, *WRITERS):  # run again
        assert run_here(root, words) in (0, 1, 3), words
        assert_remembered(root, before, words)
        tried += 1

    def fail(*_, **__):
        raise OSError(errno.EIO, 'Input/output error')

    for words in WRITERS:  # fail
        new = root / f'first/Subjects/f0/2024-01-01/001/new.n{tried}.{OTHER}.npy'
        new.write_bytes(b'new')
        old = digests(root)
        with monkeypatch.context() as patch:
            patch.setattr(OpenFolder, 'sync', fail)
            assert (run_here(root, words), digests(root)) == (2, old), words
        assert run_here(root, WRITERS[0]) == 0
        assert len(known(root)[0]) == len(before[0]) + 1
        new.unlink()
        assert run_here(root, WRITERS[0]) == 0
        assert_remembered(root, before, words)
        tried += 1
    (root / 'second').rename(root.parent / 'second')  # a mount that is empty
    (root / 'second').mkdir()
    old = digests(root)
    for words in (READERS[0], *WRITERS):
        assert run_here(root, words) in (1, 2), words  # 1: names are not in order either
        assert digests(root) == old, words
        tried += 1
    capsys.readouterr()
    figure('P19', f'{tried} of {tried} commands')


@pytest.mark.parametrize('indexed', KILLED, indirect=True)
def test_a_plain_command_that_is_killed_loses_nothing(indexed, figure):
    root, before = indexed
    chance = random.Random(19)
    started = time.monotonic()
    subprocess.run(command(root, '--check', '--quiet'), env=environment(), check=False)
    seconds = time.monotonic() - started
    rounds = scaled(1, 10)
    for number in range(rounds):
        for words in WRITERS:
            grow(root, {f'first/Subjects/f0/2024-01-01/001/new.n{number}.{OTHER}.npy': b'new'})
            with subprocess.Popen(
                command(*(word.format(root=root) for word in words)),
                env=environment(),
                start_new_session=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ) as running:
                time.sleep(chance.uniform(0, 1.2 * seconds))
                running.send_signal(signal.SIGKILL)
                running.wait(PATIENCE_SECONDS)
            for new in root.rglob('new.*'):
                new.unlink()
            assert run_here(root, WRITERS[0]) in (0, 3)
            assert_remembered(root, before, words)
    figure('P19', f'{rounds * len(WRITERS)} killed')

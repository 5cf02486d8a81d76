"""P19: what an index or the tables of another program know stays, or the command ends with 2."""

from __future__ import annotations

import subprocess
from pathlib import Path
from uuid import UUID

import pytest

import fastindex
from tests.support.injectors import digests
from tests.support.strangers import COMMANDS, STRANGERS, look_at, of_a_database
from tests.support.tables import read
from tests.support.trees import grow

pytestmark = pytest.mark.fault

NAMES = ('alf/a.b', 'alf/c.d', 'e.f')
TREE = {f's{i}/2024-01-01/001/{name}.npy': b'x' for i in range(3) for name in NAMES}
NAMED = {
    f's{i}/2024-01-01/001/{name}.{UUID(int=9 * i + j, version=4)}.npy': b'x'
    for i in range(3)
    for j, name in enumerate(NAMES)
}
OTHER = UUID('c1d61b47-7a9d-4b8e-9b8e-6f6a3f0a2d11')


def ids(folder: Path) -> list[str]:
    return [row['id'] for name in ('sessions', 'datasets') for row in read(folder, name)]


@pytest.mark.parametrize('stranger', STRANGERS)
def test_tables_of_another_program_are_never_replaced_unasked(tmp_path, figure, run, stranger):
    root, other, folder = grow(tmp_path / 'root', TREE), tmp_path / 'other', tmp_path / 'tables'
    other.mkdir()
    folder.mkdir()
    fastindex.build(root, out=other, workers=1)
    STRANGERS[stranger](root, folder)
    before = look_at(folder)
    places = {'root': root, 'folder': folder, 'other': other, 'tmp': tmp_path}
    for words in COMMANDS:
        code, out, err = run(*(word.format(**places) for word in words))
        assert (code, out) == (2, ''), (words, err)
        assert f'{folder}/' in err, words
        assert look_at(folder) == before, words
    assert not (tmp_path / 'x.zip').exists()
    figure('P19', f'{len(COMMANDS)} of {len(COMMANDS)} commands left alone tables {stranger}')


RECIPES = {
    'plain': (TREE, {}),
    'namespace': (TREE, {'namespace': OTHER}),
    'no links': (TREE, {'follow_symlinks': False}),
    'names with UUIDs': (NAMED, {'uuid_filenames': True}),
    'ids of others': (TREE, {'ids_from': 'alyx'}),
}
WISHES = [
    [],
    ['--force', '--overwrite'],
    ['--namespace', str(OTHER)],
    ['--ids-from', 'alyx'],
    ['--no-follow-symlinks'],
    ['--follow-symlinks'],
    ['--dry-run'],
    ['--select', '--subject', 's1'],
]


@pytest.mark.parametrize('recipe', RECIPES)
def test_a_release_gives_no_other_ids_than_the_index_has(tmp_path, figure, run, monkeypatch, recipe):
    tree, options = RECIPES[recipe]
    root = grow(tmp_path / 'root', tree)
    (tmp_path / 'alyx').mkdir()
    of_a_database(root, tmp_path / 'alyx')
    monkeypatch.chdir(tmp_path)
    fastindex.build(root, workers=1, **options)
    known, released = ids(root), 0
    for number, words in enumerate(WISHES):
        before, folder, archive = digests(root), tmp_path / f'out-{number}', tmp_path / f'{number}.tar.zst'
        code, _, err = run('release', root, '--out', archive, '--workers', '1', *words)
        assert code in (0, 2), (words, err)
        assert ids(root) == known, words
        if code == 2:
            assert 'the index there was made otherwise than this release asks for' in err, (words, err)
            assert digests(root) == before, words
        if archive.exists():
            folder.mkdir()
            subprocess.run(['tar', '--zstd', '-xf', archive, '-C', folder], check=True)
            assert ids(folder) == known if 'select' not in str(words) else set(ids(folder)) < set(known)
            released += 1
    assert released >= 1
    figure('P19', f'{len(WISHES)} of {len(WISHES)} releases of {recipe}: the same ids ({released} released)')

"""Kept indexes take their places, however often a run is stopped while they do."""

from __future__ import annotations

import itertools

import pytest

from fastindex.folders import OpenFolder
from fastindex.tables.previous import count_kept, put_by


class StoppedError(Exception):
    pass


def make(folder, kept, staged):
    for name, number in (('previous', 1), *((f'previous-{i}', i) for i in range(2, kept + 1))):
        if number <= kept:
            (folder / name).mkdir()
            (folder / name / 'is').write_text(str(number))
    (folder / 'stage').mkdir()
    (folder / 'stage' / staged).mkdir()
    (folder / 'stage' / staged / 'is').write_text('new')


def look(folder):
    return {path.parent.name: path.read_text() for path in folder.glob('previous*/is')}


@pytest.mark.parametrize(
    ('kept', 'staged', 'expected'),
    [
        (0, 'keep-1', ['new']),
        (1, 'keep-1', ['new']),
        (1, 'keep-2', ['new', '1']),
        (0, 'keep-3', ['new']),
        (2, 'keep-3', ['new', '1', '2']),
        (3, 'keep-3', ['new', '1', '2']),
        (3, 'keep-1', ['new']),
        (1, 'swap-1', ['new']),
        (3, 'swap-2', ['1', 'new', '3']),
    ],
)
def test_each_takes_its_place_though_the_run_is_stopped_before_each_rename(
    tmp_path, monkeypatch, kept, staged, expected
):
    replace = OpenFolder.replace
    for stop in itertools.count():
        folder = tmp_path / str(stop)
        folder.mkdir()
        make(folder, kept, staged)
        left = [stop]

        def stopping(self, *words, left=left, **options):
            if not left[0]:
                raise StoppedError
            left[0] -= 1
            return replace(self, *words, **options)

        with OpenFolder.open(folder) as state, state.enter('stage') as stage:
            was_stopped = False
            with monkeypatch.context() as patch:
                patch.setattr(OpenFolder, 'replace', stopping)
                try:
                    put_by(stage, state)
                except StoppedError:
                    was_stopped = True
            put_by(stage, state)
            assert count_kept(state) == len(expected)
        names = ['previous', *(f'previous-{number}' for number in range(2, 9))]
        assert look(folder) == dict(zip(names, expected, strict=False))
        if not was_stopped:
            break
    assert stop >= 1

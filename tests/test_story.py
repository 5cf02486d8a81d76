"""A data manager's week, as the command line sees it: index, change, check, rerun, verify, scrub."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from fastindex.jobs.example.example import write_example
from fastindex.trees import fingerprints
from tests.support.trees import grow


@pytest.mark.long
def test_a_data_managers_week(tmp_path, run, monkeypatch):
    monkeypatch.setattr(fingerprints, 'SETTLED_NS', -(10**12))  # the example is older than a few seconds
    monkeypatch.setattr('fastindex.workers.child.may_fork', lambda: True)  # and the workers know it
    root = tmp_path / 'data'
    write_example(root, sessions=40, workers=1)
    sessions = sorted(path.parent for path in root.glob('*/Subjects/*/*/*/alf'))

    # Monday: the names are right, and the index is made.
    assert run('validate', root, '--quiet')[0] == 0
    code, out, _ = run(root, '--hash', '--workers', 2)
    assert (code, '40 sessions, 600 datasets' in out) == (0, True)
    assert run(root, '--check', '--hash', '--quiet')[0] == 0
    assert run('verify', root, '--hash', '--quiet')[0] == 0

    # Tuesday: ten things change.
    files = {i: sorted((session / 'alf').iterdir()) for i, session in enumerate(sessions)}
    files[0][0].unlink()
    files[1][1].unlink()
    files[2][2].write_bytes(b'shorter')
    with files[3][3].open('ab') as file:
        file.write(b'longer')
    files[4][4].rename(files[4][4].with_name('_ibl_trials.renamed.npy'))
    grow(sessions[5], {'alf/_ibl_trials.new.npy': b'new', 'alf/notes.txt': b'not for the index'})
    shutil.rmtree(sessions[6])
    shutil.copytree(sessions[7], sessions[7].parent / '009')
    before = files[8][5].stat()
    files[8][5].write_bytes(b'#' * before.st_size)  # of the same size, later
    files[9][6].touch()  # no change of the content

    # Wednesday: the nightly job says that the index is stale, and changes nothing.
    old = (root / 'datasets.pqt').read_bytes()
    code, out, _ = run(root, '--check', '--hash', '--json')
    changes = json.loads(out)['changes']
    assert code == 1
    assert changes == {
        'sessions_added': 1,
        'sessions_removed': 1,
        'datasets_added': 1 + 15,
        'datasets_removed': 2 + 15,
        'datasets_changed': 3,
        'sessions_moved': 0,
        'datasets_moved': 1,
        'columns': [],
    }
    assert (root / 'datasets.pqt').read_bytes() == old
    code, out, _ = run('verify', root, '--hash')
    kinds = dict(line.split() for line in out.splitlines() if line[0].isalpha() and line.count(' ') == 1)
    assert code == 1
    assert kinds == {'missing': '18', 'unexpected': '17', 'moved': '1', 'resized': '2', 'altered': '1'}

    # Thursday: running again is the update. Only what changed is read.
    code, out, _ = run(root, '--hash', '--changes', tmp_path / 'changes.jsonl', '--workers', 2)
    assert code == 0
    assert 'digests: 21 computed, 578 reused' in out
    lines = [json.loads(line) for line in (tmp_path / 'changes.jsonl').read_text().splitlines()]
    del changes['columns']
    assert len(lines) == sum(changes.values())
    assert run(root, '--check', '--hash', '--quiet')[0] == 0
    assert run('verify', root, '--hash', '--quiet')[0] == 0
    assert run('verify', '--index-only', root)[0] == 0

    # Friday: a disk flips a bit, and no time tells of it. Only the contents do.
    victim = files[20][7]
    info = victim.stat()
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    os.utime(victim, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert run('verify', root, '--quiet')[0] == 0
    code, out, _ = run('verify', root, '--hash', '--json')
    [difference] = json.loads(out)['differences']
    assert code == 1
    assert (difference['kind'], difference['path']) == ('altered', str(victim.relative_to(root)))
    found = [run('verify', root, '--hash', '--part', f'{part}/3', '--json')[1] for part in (1, 2, 3)]
    assert sum(str(victim.relative_to(root)) in text for text in found) == 1


@pytest.mark.parametrize('words', [('validate',), ('verify',), ('search',), ('info',), ()])
def test_each_command_says_what_to_do_where_there_is_no_tree(tmp_path, run, words):
    code, out, err = run(*words, tmp_path / 'nowhere')
    assert (code, out) == (2, '')
    assert 'nowhere' in err
    assert err.startswith('fastindex: error: ')

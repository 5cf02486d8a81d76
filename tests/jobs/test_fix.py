"""Fixes as a script, and made at once: names of any bytes, nothing over another, all of it taken back."""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest

import fastindex
from fastindex import FixError, folders
from fastindex.folders import OpenFolder
from fastindex.jobs.fix.fix import apply_fixes, hold_root
from fastindex.trees.disk import _DiskFolder
from tests.support.strangers import of_a_database
from tests.support.tables import read
from tests.support.trees import SESSION, Fifo, Link, grow

DATE = 'lab/Subjects/s1/2024-01-01'
SUBJECT = 'lab/Subjects/s1'
HOSTILE = [
    b"it's",
    b'say "hi"',
    b'$(touch pwned)',
    b'`touch pwned`',
    b'-rf',
    b'--',
    b'a\nb',
    b'end\n',
    b'back\\slash\\x41',
    b'\\0101',
    b'caf\xe9',
    b'\x1b[31m',
    'rtl\u202e'.encode(),
    b'; rm -rf .',
    b'* ? [a]',
    b'~',
    b'%s %b',
    b'!x',
    b'\x81\x88',
    b'\xff\xfe',
]
"""Names that are no ALF, each with a nearest one once an attribute and an extension are behind it."""
MESSY = {
    f'{SESSION}/alf/spikes.times.npy': b'good',
    **{f'{SESSION}/raw/'.encode() + name + b' x.times.npy': name for name in HOSTILE},
    f'{SESSION}/alf probe 00/my spikes.times.npy': b'1',
    f'{SESSION}/#2024-05-06#/raw/a.b.npy': b'2',
    f'{SESSION}/alf/#2024-05-06/a b.c.npy': b'3',
    f'{SESSION}/2024-02-02/001/a.b.npy': b'4',
    f'{DATE}/2/a.b.npy': b'5',
    f'{DATE}/0003/a b.c.npy': b'6',
    f'{SUBJECT}/2024-1-5/1/a b.c.npy': b'7',
    'lab/Subjects/my mouse/2024-1-1/1/probe 0/a b.c.npy': b'8',
    'lab/Subjects/other: mouse/20240203/1/a b.c.npy': b'9',
    'my-lab/Subjects/s 9/2024-01-01/01/a b.c.npy': b'10',
    'lab2/s3/2024-2-2/7/x y.c.npy': b'11',
    'lab3/subjects/s4/2024-2-2/7/x y.c.npy': b'12',
    'lab/s5/2024-01-01/001/a b.c.npy': b'13',
    f'{SESSION}/two/a b.c.npy': b'one of two that would be one',
    f'{SESSION}/two/a-b.c.npy': b'the other one',
    f'{SESSION}/linked/a b.c.npy': Link('../alf/spikes.times.npy'),
    f'{SESSION}/linked/to nowhere.c.npy': Link('/nowhere'),
    f'{SESSION}/linked/a fifo.c.npy': Fifo(),
    f'{SESSION}/notes.txt': b'left as it is',
}


def listing(root: Path) -> bytes:
    """All paths below a folder with their kinds and what is in them, as `find` sees it."""
    command = ['find', '.', '-name', '.fastindex', '-prune', '-o', '-printf', r'%y %s %i %l %p\0']
    return b'\0'.join(
        sorted(subprocess.run(command, cwd=root, capture_output=True, check=True).stdout.split(b'\0'))
    )


def fixable(root: Path) -> list[str]:
    return [f'{one.code} {one.path}' for one in fastindex.validate(root, workers=1) if one.fix]


def plan(root: Path, **options):
    return fastindex.plan_fixes(fastindex.validate(root, workers=1, **options))


@pytest.fixture
def messy(make_tree) -> Path:
    return make_tree(MESSY)


def sh(script: Path, shell: str = 'sh') -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [shell, script.name], cwd=script.parent, capture_output=True, text=True, check=False
    )


# The script


@pytest.mark.long
def test_after_the_script_nothing_can_be_fixed_and_its_undo_gives_the_first_tree_back(messy, tmp_path, run):
    before = listing(messy)
    code, out, _ = run('validate', messy, '--workers', 1, '--rename-script', tmp_path / 'fix it.sh')
    assert (code, "sh '" in out) == (1, True)
    assert listing(messy) == before
    for name in ('fix it.sh', 'fix it-undo.sh'):
        assert (tmp_path / name).read_text().replace('\n', '').isprintable()
    done = sh(tmp_path / 'fix it.sh')
    assert (done.returncode, done.stderr) == (0, '')
    assert fixable(messy) == []
    files = [path for path in messy.rglob('*') if path.is_file() and not path.is_symlink()]
    contents = [content for content in MESSY.values() if isinstance(content, bytes)]
    assert sorted(path.read_bytes() for path in files) == sorted(contents)
    for shell in ('bash', 'sh'):  # the second time there is nothing to take back
        done = sh(tmp_path / 'fix it-undo.sh', shell)
        assert (done.returncode, done.stderr, listing(messy)) == (0, '', before)
    assert not list(tmp_path.rglob('pwned'))


@pytest.mark.long
def test_a_script_stops_at_what_has_come_there_and_what_was_done_is_taken_back(messy, tmp_path, run):
    run('validate', messy, '--workers', 1, '--rename-script', tmp_path / 'fix.sh', '--quiet')
    before = listing(messy)
    there = messy / 'my_lab'
    there.write_bytes(b'precious')
    done = sh(tmp_path / 'fix.sh')
    assert (done.returncode, done.stdout) == (1, '')
    said = (
        './my_lab: something is there: move it away; what was done before stays, and the other script takes'
    )
    assert done.stderr.startswith(said)
    assert sh(tmp_path / 'fix-undo.sh').stderr.startswith(
        './my-lab: something is there: move it away; run this'
    )
    assert there.read_bytes() == b'precious'
    there.unlink()
    assert sh(tmp_path / 'fix-undo.sh').returncode == 0
    assert listing(messy) == before


def test_a_script_that_may_be_needed_is_not_overwritten(messy, tmp_path, run):
    assert run('validate', messy, '--workers', 1, '--rename-script', tmp_path / 'fix.sh', '--quiet')[0] == 1
    code, _, err = run('validate', messy, '--workers', 1, '--rename-script', tmp_path / 'fix.sh')
    assert (code, 'fix-undo.sh: this may be needed' in err) == (2, True)


# What is planned


@pytest.mark.parametrize(
    ('tree', 'why'),
    [
        ({b'caf\xe9.a.b': b'', b'caf\\xe9.a.b': b''}, 'two names are shown alike'),
        ({('\xe9' * 128).encode('latin-1') + b'.a.b': b''}, 'more than 255 bytes'),
        ({'linked': Link('../../../../../../elsewhere')}, 'a link or a file is on the way'),
    ],
    ids=['alike', 'long', 'behind-a-link'],
)
def test_what_cannot_be_done_for_sure_is_left_and_said(make_tree, tmp_path, tree, why):
    grow(tmp_path / 'elsewhere', {'a b.c.npy': b''})
    root = make_tree({f'{SESSION}/ok.a.b': b''})
    for name, content in tree.items():
        grow(root, {os.path.join(os.fsencode(SESSION), os.fsencode(name)): content})
    refused = [one.why for one in plan(root).refused]
    assert [why in one for one in refused] == [True]


def test_names_that_meet_are_left_and_said(make_tree):
    root = make_tree({f'{SESSION}/x.y.z': b'', 'lab/S2/2024-01-01/001/a.b.c': b''})
    assert plan(root).renames == (('lab/S2', 'lab/Subjects/S2'),)
    grow(root, {'lab/s2/2024-01-01/001/a.b.c': b''})  # one with S2 on some disks
    planned = plan(root)
    assert planned.renames == (('lab/S2', 'lab/Subjects/S2'),)
    assert planned.refused == (('lab/s2', 'lab/Subjects/s2', 'there is something of that name'),)


def test_fixes_are_those_of_the_findings_that_were_asked_for(make_tree):
    root = make_tree({f'{DATE}/{number}/{name}': b'' for number in (1, 2) for name in ('a.b.c', 'a b.c.d')})
    assert len(plan(root).renames) == 4
    assert len(plan(root, ignore=['ALF304']).renames) == 2
    assert plan(root, ignore=['ALF304'], exclude=['1/']).renames == ((f'{DATE}/2', f'{DATE}/002'),)


# From Python


def test_from_python_fixes_are_shown_written_and_made(messy, tmp_path):
    grow(messy, {f'lab/{name}/2024-01-01/001/a.b.c': b'' for name in ('S1', 's1')})  # one on some disks
    before = listing(messy)
    findings = fastindex.validate(messy, workers=1)
    next(findings)  # what was read already counts too
    fixes = fastindex.plan_fixes(findings)
    counts = len(fixes.renames), len(fixes.refused)
    assert repr(fixes) == f'<Fixes of {messy}: {counts[0]} renames, {counts[1]} not made>'
    assert len(str(fixes).splitlines()) == sum(counts)
    assert fixes.write_script(tmp_path / 'fix.sh') == tmp_path / 'fix-undo.sh'
    assert listing(messy) == before
    undo = fixes.apply()
    assert len(fixable(messy)) == len(fixes.refused) == 1
    assert (sh(undo).returncode, listing(messy)) == (0, before)


def test_from_python_nothing_to_rename_writes_nothing(make_tree):
    root = make_tree({f'{SESSION}/a.b.c': b''})
    fixes = fastindex.plan_fixes(fastindex.validate(root, workers=1))
    assert (str(fixes), fixes.apply()) == ('nothing to rename', None)
    assert not (root / '.fastindex').exists()


# At once


def test_whatever_part_was_done_is_taken_back(messy, monkeypatch):
    before = listing(messy)
    planned = plan(messy)
    move = OpenFolder.move
    count = sum(step.path != '' for step in planned.steps)
    for stop in (0, 20, count - 1):
        left = stop

        def fail(*words):
            nonlocal left
            if not left:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            left -= 1
            move(*words)

        monkeypatch.setattr(OpenFolder, 'move', fail)
        with (
            hold_root(messy) as stage,
            pytest.raises(FixError, match='To take it back') as caught,
        ):
            apply_fixes(planned, stage)
        script = Path(str(caught.value).rpartition('sh ')[2])
        assert sh(script).returncode == 0
        assert listing(messy) == before


@pytest.mark.long
def test_a_fix_is_made_after_asking_and_says_what_takes_it_back(messy, run, monkeypatch):
    before = listing(messy)
    code, _, err = run('validate', messy, '--workers', 1, '--fix')
    assert (code, 'here is no terminal: expected --yes too' in err) == (2, True)
    for answer, is_made in (('n\n', False), ('', False), ('y\n', True)):
        primary, terminal = pty.openpty()
        os.write(primary, answer.encode() or b'\x04')
        with os.fdopen(terminal, 'r') as stdin:
            monkeypatch.setattr('sys.stdin', stdin)
            monkeypatch.setattr('sys.stderr.isatty', lambda: True)
            code, out, err = run('validate', messy, '--workers', 1, '--fix')
        os.close(primary)
        assert f'{SESSION}/alf probe 00/my spikes.times.npy -> my_spikes.times.npy\n' in out
        assert 'do it? [y/N] ' in err
        assert (listing(messy) != before, 'nothing was renamed' in err) == (is_made, not is_made)
        assert code == 1
    assert fixable(messy) == []
    script = re.search(r'to take it back: sh (.*)', out)[1]
    assert sh(Path(script)).returncode == 0
    assert listing(messy) == before


@pytest.mark.parametrize(('method', 'says'), [('make', 'no name can be'), ('open_new', 'nothing was')])
def test_where_nothing_can_be_written_nothing_is_renamed(messy, run, monkeypatch, method, says):
    def fail(folder, name, **_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    before = listing(messy)
    monkeypatch.setattr(OpenFolder, method, fail)
    code, _, err = run('validate', messy, '--workers', 1, '--fix', '--yes')
    assert (code, f'{says}' in err, 'Read-only' in err) == (2, True, True)
    assert listing(messy) == before


def test_no_build_runs_beside_and_nothing_is_left_of_the_lock_where_nothing_was_done(messy, run):
    with hold_root(messy):
        assert run('validate', messy, '--workers', 1, '--fix', '--yes')[0] == 4
        assert run(messy, '--workers', 1)[0] == 4
    assert not (messy / '.fastindex').exists()
    code, out, _ = run('validate', messy, '--workers', 1, '--fix', '--yes', '--json')
    made = json.loads(out)['summary']
    assert (code, made['renamed'], made['fixes']) == (1, made['fixes'], made['fixes'])
    code, out, _ = run('validate', messy, '--workers', 1, '--fix', '--yes', '--json')
    made = json.loads(out)['summary']
    assert (code, made['renamed'], made['undo']) == (1, 0, None)
    assert '\nnothing to rename\n' in run('validate', messy, '--workers', 1, '--fix', '--yes')[1]


def test_the_index_keeps_the_ids_that_it_can_and_tells_what_has_moved(make_tree, tmp_path, run, build):
    tree = {
        f'{DATE}/1/alf/a.b.npy': b'1',
        f'{DATE}/002/alf/a.b.npy': b'22',
        'lab/Subjects/my mouse/2024-01-01/001/a.b.npy': b'333',
    }
    root = make_tree(tree)
    build(root, hash=True)
    before = {row['id'] for row in read(root, 'datasets')}
    run('validate', root, '--workers', 1, '--fix', '--yes', '--quiet')
    changes = tmp_path / 'changes.jsonl'
    assert run(root, '--workers', 1, '--changes', changes, '--quiet')[0] == 0
    kinds = [json.loads(line)['kind'] for line in changes.read_text().splitlines()]
    assert set(kinds) == {'moved'}
    assert len(before & {row['id'] for row in read(root, 'datasets')}) == 1


def test_ids_of_other_tables_stay_where_only_a_number_has_got_its_zeros(make_tree, tmp_path, run, build):
    root = make_tree({f'{DATE}/1/alf/a.b.npy': b'1', f'{DATE}/002/alf/a.b.npy': b'22'})
    (tmp_path / 'alyx').mkdir()
    of_a_database(root, tmp_path / 'alyx')
    build(root, ids_from=tmp_path / 'alyx')
    before = [row['id'] for name in ('sessions', 'datasets') for row in read(root, name)]
    run('validate', root, '--workers', 1, '--fix', '--yes', '--quiet')
    build(root)
    assert [row['id'] for name in ('sessions', 'datasets') for row in read(root, name)] == before


# A rename over nothing


@pytest.mark.parametrize('has_call', [True, False], ids=['renameat2', 'without'])
@pytest.mark.parametrize(
    'content', [b'x', None, Link('nowhere'), Fifo()], ids=['file', 'folder', 'link', 'fifo']
)
@pytest.mark.parametrize('there', [b'precious', None, Link('nowhere')], ids=['file', 'folder', 'link'])
def test_nothing_is_ever_overwritten(tmp_path, monkeypatch, has_call, content, there):
    if not has_call:
        monkeypatch.setattr(folders, '_rename_new', lambda *_: False)
    grow(tmp_path, {'here/': None, 'target/': None, f'here/old{"/" * (content is None)}': content})
    grow(tmp_path, {f'target/new{"/" * (there is None)}': there})
    before = listing(tmp_path)
    with OpenFolder.open(tmp_path / 'here') as here, OpenFolder.open(tmp_path / 'target') as target:
        with pytest.raises(FileExistsError, match='target/new'):
            here.move('old', target, 'new')
        assert listing(tmp_path) == before
        here.move('old', target, 'newer')
        assert (here.names(), target.names()) == ([], ['new', 'newer'])
        with pytest.raises(FileNotFoundError):
            here.move('old', target, 'newest')


def test_no_link_that_comes_in_the_way_is_followed(make_tree, tmp_path):
    root = make_tree({f'{SESSION}/alf/a b.c.npy': b''})
    planned = plan(root)
    os.rename(root / SESSION / 'alf', tmp_path / 'elsewhere')
    grow(root, {f'{SESSION}/alf': Link(str(tmp_path / 'elsewhere'))})
    with hold_root(root) as stage, pytest.raises(FixError, match='Not a directory'):
        apply_fixes(planned, stage)
    assert os.listdir(tmp_path / 'elsewhere') == ['a b.c.npy']


WRONG = {
    'file': f'{SESSION}/my spikes.times{{}}.npy',
    'collection': f'{SESSION}/probe {{}}/a.b.npy',
    'subject': 'lab/Subjects/my mouse{}/2024-01-01/001/a.b.npy',
    'subject beside Subjects': 'lab/m{}/2024-01-01/001/a.b.npy',
    'number': f'{DATE}/{{}}/a.b.npy',
}


@pytest.mark.parametrize('kind', WRONG)
def test_folders_are_not_listed_again_for_each_wrong_name(tmp_path, monkeypatch, kind):
    """Else 1,200 wrong names in one folder take three seconds, and four times as many forty."""
    given = 0
    listed = []
    iter_names = _DiskFolder.iter_names

    def count_names(self):
        nonlocal given
        for block in iter_names(self):
            given += len(block[0])
            yield block

    monkeypatch.setattr(_DiskFolder, 'iter_names', count_names)
    for count in (10, 40):
        good = {f'{SESSION}/alf/spikes.times.npy': b'x'}
        wrong = {WRONG[kind].format(i): b'' for i in range(count)}
        root = grow(tmp_path / f'{count}', good | wrong)
        given = 0
        fixes = plan(root)
        assert len(fixes.renames) in (count, count - 1)  # of two numbers of one value one stays
        listed.append(given)
    assert listed[1] < 5 * listed[0]

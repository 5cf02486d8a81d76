"""Completion: what a shell completes after its script was read."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from fastindex.commands import COMMANDS
from tests.support.patience import PATIENCE_SECONDS


@pytest.mark.parametrize('shell', ['bash', 'zsh', 'fish'])
def test_each_shell_gets_a_script_that_knows_the_commands_and_options(run, shell):
    code, script, _ = run('completion', shell)
    assert code == 0
    assert all(name in script for name in (*COMMANDS, 'min-severity', 'no-follow-symlinks'))


@pytest.mark.skipif(not shutil.which('bash'), reason='bash is not installed')
@pytest.mark.parametrize(
    ('words', 'completed'),
    [
        ('se', 'search'),
        ('search --sub', '--subject'),
        ('ver', 'verify'),
        ('completion z', 'zsh'),
        ('mine', 'mine-too'),
        ('mine-too --exc', '--exclude'),
        ('--reh', '--rehash'),
        ('mine-too --only mine-too/l', 'mine-too/lab'),
    ],
)
def test_bash_completes(run, tmp_path, words, completed):
    (tmp_path / 'script').write_text(run('completion', 'bash')[1])
    (tmp_path / 'mine-too' / 'lab').mkdir(parents=True)
    line = (
        f'source ./script; COMP_WORDS=(fastindex {words}); COMP_CWORD={len(words.split())}; _shtab_fastindex'
    )
    command = ['bash', '-c', f'{line}; echo "${{COMPREPLY[@]}}"']
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [completed]


@pytest.mark.skipif(not shutil.which('fish'), reason='fish is not installed')
@pytest.mark.parametrize(
    ('line', 'completed'),
    [
        ('fastindex ver', 'verify'),
        ('fastindex mi', 'mine-too/'),
        ('fastindex mine-too --exc', '--exclude'),
        ('fastindex --reh', '--rehash'),
        ('fastindex mine-too --only mine-too/l', 'mine-too/lab/'),
        ('fastindex help rel', 'release'),
    ],
)
def test_fish_completes(run, tmp_path, line, completed):
    (tmp_path / 'script').write_text(run('completion', 'fish')[1])
    (tmp_path / 'mine-too' / 'lab').mkdir(parents=True)
    command = ['fish', '--no-config', '-c', f'source ./script; source ./script; complete -C "{line}"']
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [found.split('\t')[0] for found in done.stdout.splitlines()] == [completed]
    assert not done.stderr


@pytest.mark.long
@pytest.mark.skipif(not shutil.which('zsh'), reason='zsh is not installed')
@pytest.mark.parametrize(
    ('line', 'completed'),
    [
        ('fastindex mi', 'ne-too'),
        ('fastindex mine-too --exc', '--exclude'),
        ('fastindex --reh', '--rehash'),
        ('fastindex build . --only mi', 'ne-too'),
        ('fastindex help rel', 'release'),
    ],
)
def test_zsh_completes(run, tmp_path, line, completed):
    (tmp_path / '_fastindex').write_text(run('completion', 'zsh')[1])
    (tmp_path / 'mine-too' / 'lab').mkdir(parents=True)
    script = f"""
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'PS1=; fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -D; print -n rea; print dy'
zpty -r shell said '*ready*'
zpty -w -n shell $'{line}\\t'
zpty -r shell said '*{completed}*' && print -r -- found
zpty -d shell
"""
    done = subprocess.run(
        ['zsh', '-f', '-c', script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.stdout == 'found\n'

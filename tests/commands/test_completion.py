"""Completion: what a shell completes after its script was read."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from fastindex.commands import COMMANDS


@pytest.mark.parametrize('shell', ['bash', 'zsh', 'fish'])
def test_each_shell_gets_a_script_that_knows_the_commands_and_options(run, shell):
    code, script, _ = run('completion', shell)
    assert code == 0
    assert all(name in script for name in (*COMMANDS, 'min-severity', 'no-follow-symlinks'))


@pytest.mark.skipif(not shutil.which('bash'), reason='bash is not installed')
@pytest.mark.parametrize(
    ('words', 'completed'),
    [('se', 'search'), ('search --sub', '--subject'), ('ver', 'verify'), ('completion z', 'zsh')],
)
def test_bash_completes(run, tmp_path, words, completed):
    (tmp_path / 'script').write_text(run('completion', 'bash')[1])
    line = (
        f'source ./script; COMP_WORDS=(fastindex {words}); COMP_CWORD={len(words.split())}; _shtab_fastindex'
    )
    command = ['bash', '-c', f'{line}; echo "${{COMPREPLY[@]}}"']
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [completed]

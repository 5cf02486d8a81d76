"""The tutorial: the README tells the commands that are run by CI."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from first_look import DATASETS

ROOT = Path(__file__).parent.parent


def test_the_readme_has_the_commands_of_the_walkthrough_in_their_order():
    source = ast.parse((ROOT / 'examples/release_walkthrough.py').read_text())
    calls = [node for node in ast.walk(source) if isinstance(node, ast.Call)]
    words = [
        ast.unparse(call.args[0])
        for call in sorted(calls, key=lambda call: call.lineno)
        if ast.unparse(call.func) == 'run'
    ]
    section = (ROOT / 'README.md').read_text().partition('## Releasing data, from start to end')[2]
    told = re.findall(r'^    \$ (python .*)', section.partition('\n## ')[0], re.MULTILINE)
    assert told == [eval(word, {'DATASETS': DATASETS}) for word in words]
    assert len(told) == 7

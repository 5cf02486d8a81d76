"""What the guide says of each disk, and whether a disk does that."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

__all__ = ['HERE', 'THERE', 'check', 'read_guide']

GUIDE = Path(__file__).parent.parent.parent / 'docs' / 'guides' / 'file-systems.md'

HERE, THERE = 'by the tests', 'in a virtual machine'
"""How the rows of the guide were tried that are tried here, and those that are in the machine."""


def read_guide() -> dict[str, list[str]]:
    """The rows of the table in the guide, by the name of the disk."""
    rows = re.findall(r'^\| (.+?) +\|(.+)\|$', GUIDE.read_text('utf-8'), re.MULTILINE)
    return {disk: [cell.strip() for cell in rest.split('|')] for disk, rest in rows}


def tell(part: int, whole: int) -> str:
    return 'all' if part == whole else 'few or none' if part * 2 <= whole else f'{part} of {whole}'


def find_trust(reused: dict[str, int], datasets: int) -> str:
    return next((f'`{trust}`' for trust, count in reused.items() if count == datasets), 'none')


def check(name: str, found: dict[str, Any], how: str) -> None:
    """Fail where what the steps found on a disk is not what must be, or not what the guide says."""
    datasets = found['datasets']
    has_lasting_inodes = found['reused after a mount'] == datasets
    assert datasets == found['released'] > 0
    assert (found['problems'], found['differences']) == (0, 0)
    assert found['same rows']
    assert found['sessions of another case'] == 0
    assert found['is locked']
    assert 'stage' not in found['left']
    if name != 'fuse-overlayfs':  # which gives other times
        has_warning = any('other inodes' in warning for warning in found['warnings'])
        assert has_warning == (not has_lasting_inodes)
    assert any('time of change' in warning for warning in found['warnings']) == (found['rewrite'] == 0)
    row = [
        tell(found['reused'], datasets),
        tell(found['reused after a mount'], datasets),
        '' if has_lasting_inodes else find_trust(found['reused by trust'], datasets),
        'yes' if found['rewrite'] else 'no',
        how,
    ]
    assert read_guide()[name] == row

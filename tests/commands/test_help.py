"""Help pages, alone and as one man page."""

from __future__ import annotations

import re

from fastindex.commands import COMMANDS, make_parser


def test_the_man_page_has_the_help_page_of_each_command(run):
    code, page, _ = run('help', '--man')
    assert code == 0
    requests = re.findall(r"^[.'].*", page, re.MULTILINE)
    assert {line.split()[0] for line in requests} == {'.TH', '.SH', '.nf', '.fi'}
    assert re.search(r'(?<!\\)-', page) is None  # a hyphen that no shell takes for the start of an option
    plain = page.replace(r'\-', '-').replace(r'\(aq', "'").replace(r'\&', '').replace(r'\e', '\\')
    for command in COMMANDS:
        help = make_parser(command).format_help().rstrip().replace('…', '...')
        assert f'.SH {command.upper()}\n.nf\n{help}\n.fi\n' in plain

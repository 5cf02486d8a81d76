"""`fastindex completion SHELL`: what makes a shell complete commands, options and file names."""

from __future__ import annotations

import argparse

from fastindex.commands import COMMANDS
from fastindex.commands import make_parser as make_parser_of
from fastindex.commands.options import Parser
from fastindex.commands.output import show
from fastindex.errors import EXIT_DONE
from fastindex.extras import require

__all__ = ['make_parser', 'make_parser_of_all']

COMPLETED = {**dict.fromkeys(('ROOT', 'DIR', 'PATH'), 'DIRECTORY'), 'FILE': 'FILE', 'FILE_OR_URL': 'FILE'}
"""What is completed, by the word that stands for it in the help."""

_START = '_shtab_fastindex() {\n'
_AS_BUILD = {
    'bash': """\
  _shtab_fastindex_pos_0_COMPGEN=_shtab_compgen_dirs
  if [[ ( $COMP_CWORD -gt 1 || ${COMP_WORDS[1]} == -* ) && " %s " != *" ${COMP_WORDS[1]} "* ]]; then
    COMP_WORDS=("${COMP_WORDS[0]}" build "${COMP_WORDS[@]:1}")
    let "COMP_CWORD += 1"
  fi
""",
    'zsh': """\
  local -a named=(%s)
  if [[ ( $CURRENT -gt 2 || $words[2] == -* ) && -z ${(M)named:#$words[2]} ]]; then
    words=("$words[1]" build "${(@)words[2,-1]}")
    (( CURRENT += 1 ))
  elif [[ $CURRENT -eq 2 ]]; then
    _files -/
  fi
""",
    'fish': """
if functions -q _shtab_fastindex_scan
  functions -e _shtab_fastindex_scan_words
  functions -c _shtab_fastindex_scan _shtab_fastindex_scan_words
  function _shtab_fastindex_scan
    _shtab_fastindex_scan_words
    if test -z "$_shtab_fastindex_cmdpath"
      if test $_shtab_fastindex_npos -gt 0; or string match -q -- '-*' (commandline -ct)
        set -g _shtab_fastindex_cmdpath build
      end
    end
  end
  complete -c fastindex -n '_shtab_fastindex_using; and test $_shtab_fastindex_npos -eq 0' \\
    -a '(__fish_complete_directories)'
end
""",
}
"""What makes a shell take a line without a command for one of `build`, and completes ROOT first."""

EPILOG = """\
examples:
  python -m fastindex completion bash > ~/.fastindex.bash    and in ~/.bashrc: source ~/.fastindex.bash
  python -m fastindex completion zsh > ~/.zfunc/_fastindex   and in ~/.zshrc, before compinit: fpath+=~/.zfunc
  python -m fastindex completion fish > ~/.config/fish/completions/fastindex.fish
"""


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of `fastindex completion`."""
    parser = Parser(
        'completion',
        'SHELL',
        'Print what makes a shell complete the commands and options of fastindex.',
        EPILOG,
    )
    parser.add_argument('shell', metavar='SHELL', choices=['bash', 'zsh', 'fish'], help='bash, zsh or fish')
    parser.set_defaults(run=_run)
    return parser


def _run(options: argparse.Namespace) -> int:
    require('completion', 'completion')
    import shtab

    script = shtab.complete(make_parser_of_all(), shell=options.shell)
    if options.shell == 'fish':
        script += _AS_BUILD['fish']
    else:
        as_build = _AS_BUILD[options.shell] % ' '.join(COMMANDS)
        script = script.replace(_START, _START + as_build, 1)
    show(script)
    return EXIT_DONE


def make_parser_of_all() -> argparse.ArgumentParser:
    """Make one parser that has each command as a subcommand: for programs that read parsers."""
    import shtab

    parser = argparse.ArgumentParser('fastindex', description='Index a tree of ONE sessions.')
    commands = parser.add_subparsers(metavar='COMMAND')
    for name, text in COMMANDS.items():
        parent = make_parser_of(name)
        command = commands.add_parser(
            name, parents=[parent], add_help=False, help=text, description=text, usage=parent.usage
        )
        for action in command._actions:  # noqa: SLF001 - argparse has no other list of them
            if action.metavar in COMPLETED:
                action.complete = getattr(shtab, COMPLETED[action.metavar])  # type: ignore[attr-defined]
    return parser

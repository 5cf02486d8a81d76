"""What the commands take: the parser, the options that several of them share, types of arguments."""

from __future__ import annotations

import argparse
import gc
import re
import sys
from collections.abc import Iterable
from textwrap import fill
from typing import Any, NoReturn
from uuid import UUID

from fastindex.commands import COMMANDS
from fastindex.commands.output import as_typed, show
from fastindex.errors import UsageError
from fastindex.workers.threads import check_threads

__all__ = [
    'Parser',
    'arguments',
    'list_commands',
    'parse_duration',
    'parse_size',
    'positive',
    'prepare',
    'share',
    'suggest',
]

WIDTH = 80  # columns of a help page
MIN_LIKENESS = 0.7  # of two words, of which one is taken for the other misspelt


def _fit(line: str) -> str:
    """Break a line that is too long: the words about an example stand below it then."""
    if len(line) <= WIDTH:
        return line
    if match := re.match(r'(  (?:python|fastindex) .*?) {2,}(\S.*)', line):
        return f'{_fit(match[1])}\n{fill(match[2], WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)}'
    if line.startswith(('  python ', '  fastindex ')):  # a command, which is copied as it stands
        return fill(line, WIDTH - 2, subsequent_indent=' ' * 6, break_on_hyphens=False).replace('\n', ' \\\n')
    return fill(line, WIDTH, subsequent_indent=' ' * 5 if line[:1] == ' ' else '', break_on_hyphens=False)


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=WIDTH)


class Parser(argparse.ArgumentParser):
    """The parser of a command. Raises where argparse would exit.

    command: its name; '' for the one that needs none
    usage: what follows the command
    description, epilog: what stands above and below the options
    before: what stands between the description and the options, as it is
    add_help: whether it has --help
    """

    def __init__(
        self,
        command: str,
        usage: str = '',
        description: str = '',
        epilog: str = '',
        before: str = '',
        *,
        add_help: bool = True,
    ) -> None:
        prog = as_typed(f'python -m fastindex {command}').rstrip()
        super().__init__(
            prog=prog,
            usage=as_typed(f'{prog} {usage}'),
            description='\n\n'.join(filter(None, (fill(description, WIDTH), before))),
            epilog='\n'.join(map(_fit, as_typed(epilog).split('\n'))),
            formatter_class=_Formatter,
            allow_abbrev=False,
            add_help=add_help,
        )

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        # -0 is an option of search: to argparse, -1 would be one too, and no value of --limit.
        self._has_negative_number_optionals.clear()
        found = super().parse_known_args(args, namespace)
        if getattr(found[0], 'json', False) and getattr(found[0], 'jsonl', False):
            self.error('--json is one document, --jsonl is lines: expected one of the two')
        return found

    def _print_message(self, message: str, file: Any = None) -> None:
        if file is sys.stdout:
            show(message.rstrip('\n'))
        else:
            super()._print_message(message, file)

    def error(self, message: str) -> NoReturn:
        if match := re.match(r'argument --hash: ignored explicit argument (.*)', message):
            message = f'--hash takes no {match[1]}: the digests that the index has are compared'
        if match := re.match(r'argument (--[\w-]+): expected .* arguments?$', message):
            action = self._option_string_actions[match[1]]
            wanted = action.metavar if isinstance(action.metavar, str) else ' '.join(action.metavar or ())
            message = f'{match[1]}: expected {wanted} after it: {(action.help or "").replace("%%", "%")}'
        near = ''
        if match := re.match(r'unrecognized arguments: (--[\w-]+)', message):
            near = suggest(match[1], [name for name in self._option_string_actions if name[:2] == '--'])
        elif match := re.match(r"argument COMMAND: invalid choice: '(\w+)'", message):
            near = suggest(match[1], COMMANDS)
        if near:
            message += near
        elif message.startswith('unrecognized arguments') and '--hash' in self._option_string_actions:
            message += ' (only one folder is expected; a digest is named with =, as in --hash=md5)'
        elif message == 'the following arguments are required: ROOT' and self.prog.endswith('search'):
            message += ' (ROOT comes before the options, some of which take many words)'
        raise UsageError(f'{message}{"" if message[-1] == "?" else "."} See {self.prog} --help')


def suggest(word: str, words: Iterable[str]) -> str:
    """Ask whether another word was meant; '' where none is near."""
    from difflib import get_close_matches

    near = get_close_matches(word, list(words), 1, MIN_LIKENESS)
    return f': did you mean {near[0]}?' if near else ''


def list_commands() -> str:
    """List the commands, a line each."""
    lines = [f'  {name:<12}{text}' for name, text in COMMANDS.items()]
    return as_typed('\n'.join(['commands (python -m fastindex help COMMAND explains one):', *lines]))


def positive(text: str) -> int:
    """Parse a whole number, 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r}: expected a whole number, 1 or more')
    return int(text)


def parse_duration(text: str) -> float:
    """Parse a time in seconds: 90, 30s, 10m, 1.5h."""
    match = re.fullmatch(r'(\d+(?:\.\d+)?) ?([smh]?)', text, re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(f'{text!r}: expected a time, as in 30s, 10m or 2h')
    return float(match[1]) * {'': 1, 's': 1, 'm': 60, 'h': 3600}[match[2]]


def parse_uuid(text: str) -> UUID:
    """Parse a UUID."""
    try:
        return UUID(text)
    except ValueError:
        wanted = 'expected a UUID, as in 6f1de1ba-9a6a-4b8e-9b53-0f1d1e9f1a11'
        raise argparse.ArgumentTypeError(f'{text!r}: {wanted}') from None


def parse_size(text: str) -> int:
    """Parse a size: 4096, 10MB, 1.5GiB."""
    match = re.fullmatch(r'(\d+(?:\.\d+)?) ?([kmgt]?)(i?)b?', text, re.IGNORECASE | re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(f'{text!r}: expected a size, as in 4096, 10MB or 1.5GiB')
    number, unit, binary = match.groups()
    step = 1024 if binary else 1000
    return round(float(number) * float(step ** ' kmgt'.index(unit.lower() or ' ')))


def positive_or_auto(text: str) -> int | None:
    """Parse a number of workers; None for `auto`, where nobody counts them."""
    return None if text == 'auto' else positive(text)


_SWITCH = {'action': 'store_true'}

_SHARED: dict[str, dict[str, Any]] = {
    'root': {'metavar': 'ROOT', 'help': 'folder that has the labs or the subjects in it'},
    '--index': {'metavar': 'DIR', 'help': 'where the tables are, if not in ROOT'},
    '--endpoint': {
        'metavar': 'URL',
        'help': 'for s3://bucket/prefix: the store, if it is not the one of the environment',
    },
    '--anonymous': {**_SWITCH, 'help': 'for a public bucket: use no credentials'},
    '--requester-pays': {**_SWITCH, 'help': 'for a bucket whose readers pay for requests: agree to it'},
    '--workers': {
        'metavar': 'N',
        'type': positive_or_auto,
        'help': 'tasks at once (default: auto: one for each CPU, and up to 64 if they wait for the disk)',
    },
    '--dask': {
        'metavar': 'WHERE',
        'help': 'scan on a Dask cluster: HOST:PORT of its scheduler, or a scheduler file',
    },
    '--follow-symlinks': {
        'action': argparse.BooleanOptionalAction,
        'default': True,
        'help': 'follow links to folders and files (default); --no-follow-symlinks stays inside ROOT',
    },
    '--exclude': {
        'metavar': 'PATTERN',
        'action': 'append',
        'help': 'leave out what matches, as in a .gitignore; may be given several times. Patterns in '
        'ROOT/.fastindexignore count too',
    },
    '--one-file-system': {
        'action': argparse.BooleanOptionalAction,
        'default': None,
        'help': 'leave out what is on another disk: mounted below ROOT, or behind a link',
    },
    '--uuid-filenames': {'action': argparse.BooleanOptionalAction, 'default': None},
    '--namespace': {'metavar': 'UUID', 'type': parse_uuid, 'help': 'namespace of the eids, as in a build'},
    '--ids-from': {'metavar': 'DIR', 'help': 'tables whose ids are kept, as in a build'},
    '--dry-run': _SWITCH,
    '--force': _SWITCH,
    '--json': {**_SWITCH, 'help': 'print the summary as one JSON object'},
    '--jsonl': {**_SWITCH, 'help': 'print a JSON object a line, the summary last'},
    '--quiet': {**_SWITCH, 'help': 'print nothing but errors'},
}
"""The options that more than one command has."""


def share(parser: argparse._ActionsContainer, *names: str, old: str = '', **changes: Any) -> None:
    """Add options that several commands have.

    old: the name that an option had before: it still works, and is not shown
    changes: what is special here, most often the help
    """
    for name in names:
        action = parser.add_argument(name, **{**_SHARED[name], **changes})
        if old:
            parser.add_argument(old, dest=action.dest, help=argparse.SUPPRESS)


def arguments(options: argparse.Namespace, *own: str) -> dict[str, Any]:
    """Get the arguments of the function that a command calls: they have the names of the options.

    What nobody has asked for is left to the function.

    own: options of the command itself, beside those that all have
    """
    own = (*own, 'run', 'json', 'jsonl', 'quiet')
    return {name: value for name, value in vars(options).items() if value is not None and name not in own}


def prepare(*, dask: str | None = None, polars: bool = False) -> None:
    """Make this process quick to start: it does nothing but one command.

    Let pyarrow be imported without numpy and without the file systems of the clouds. Where numpy is installed
    this saves 80 ms, a fifth of the whole run on the example; and OpenBLAS's threads, with which this process
    could not be forked. The file systems take 5 ms, and cloudpickle 9 where it is. Dask needs them all.
    Collections during imports alone cost 5 % of that run.

    polars: whether the command imports it: then there are threads for it, or WorkerError
    """
    check_threads(polars=polars)
    gc.set_threshold(100_000, 20, 20)
    if dask is not None:
        import logging

        logging.disable(logging.ERROR)  # what Dask's modules say of a lost scheduler, our own errors say
        return
    clouds = (f'pyarrow._{name}fs' for name in ('s3', 'azure', 'gcs'))
    for name in ('numpy', 'cloudpickle', *clouds, 'pyarrow._hdfs'):
        if name not in sys.modules:
            sys.modules[name] = None  # type: ignore[assignment]

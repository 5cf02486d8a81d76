"""The command line: which command, exit codes, signals, streams. Nothing else."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from fastindex.commands import COMMANDS, make_parser
from fastindex.commands.options import list_commands, suggest
from fastindex.commands.output import complain, with_flags
from fastindex.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_TERMINATED,
    FastindexError,
    UsageError,
    explain_shortage,
)
from fastindex.text import escape

__all__ = ['main']

_SIGNALS = signal.Signals.__members__
_HANG_UP = _SIGNALS.get('SIGHUP') or _SIGNALS.get('SIGBREAK')
"""The terminal is gone; on Windows also Ctrl-Break, by which one program ends another there."""


class _TerminatedError(BaseException):
    """SIGTERM came, or the terminal is gone."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    if argv is None:
        _speak_utf8()
        if not sys.warnoptions:
            warnings.simplefilter('ignore')  # they speak to who writes Python, with lines of ours
    arguments = list(sys.argv[1:] if argv is None else argv)
    _mend_streams()
    try:
        with suppress(ValueError):  # not in the main thread: then signals are nobody's business here
            signal.signal(signal.SIGINT, _interrupt)
            signal.signal(signal.SIGTERM, _terminate)
            if _HANG_UP is not None and signal.getsignal(_HANG_UP) is not signal.SIG_IGN:  # that of nohup
                signal.signal(_HANG_UP, _terminate)
        options = _parse(arguments)
        code: int = options.run(options)
        sys.stdout.flush()
    except BaseException as error:
        return _end(error, is_traced='-vv' in arguments)
    return code


def _end(error: BaseException, *, is_traced: bool) -> int:
    """Say in a sentence what ended the command; return the exit code. Raises what nobody expected."""
    # The clean-up that a signal began may fail in its turn, or a library put its own error in place of it.
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt):
            complain('interrupted; what was there is whole')
            return EXIT_INTERRUPTED
        if isinstance(cause, _TerminatedError):
            complain('terminated; what was there is whole')
            return EXIT_TERMINATED
        cause = cause.__context__
    if isinstance(error, FastindexError):
        complain(f'error: {str(error).removesuffix(error.hint)}{with_flags(error.hint)}')
        if is_traced:
            raise error
        return error.exit_code
    is_panic = type(error).__name__ == 'PanicException'  # of polars, which is no Exception
    if is_traced or not (is_panic or isinstance(error, Exception)):
        raise error
    unexpected = f'unexpected {type(error).__name__}: {error} (-vv shows where)'
    complain(f'error: {explain_shortage(error) or unexpected}')
    return EXIT_FAILED


def _interrupt(*_: object) -> NoReturn:
    _ignore_signals()
    raise KeyboardInterrupt


def _terminate(*_: object) -> NoReturn:
    _ignore_signals()
    raise _TerminatedError


def _ignore_signals() -> None:
    """Once is enough: let the clean-up run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if _HANG_UP is not None:
        signal.signal(_HANG_UP, signal.SIG_IGN)


def _speak_utf8() -> None:
    """Start again in UTF-8 where the locale has another encoding: what is read and printed are bytes."""
    if sys.getfilesystemencoding() == 'utf-8' or os.environ.get('PYTHONUTF8') == '1':
        for stream in (sys.stdout, sys.stderr):  # on Windows, a file or a pipe
            if isinstance(stream, io.TextIOWrapper) and 'PYTHONIOENCODING' not in os.environ:
                stream.reconfigure(encoding='utf-8')
        return
    from fastindex.workers.child import find_interpreter

    if interpreter := find_interpreter():
        os.environ['PYTHONUTF8'] = '1'
        os.execv(interpreter, [interpreter, *sys.orig_argv[1:]])  # noqa: S606 - this very command


def _mend_streams() -> None:
    """Make closed streams swallow what they get, and any name printable."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    sys.stdout = sys.stdout or open(os.devnull, 'w')  # noqa: SIM115 - as long as we live
    sys.stderr = sys.stderr or open(os.devnull, 'w')  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')


def _parse(arguments: list[str]) -> argparse.Namespace:
    command = 'build'
    if not arguments:
        raise UsageError(f'expected a command, or a folder to index\n\n{list_commands()}')
    if arguments[0] in COMMANDS:
        command, *arguments = arguments
    else:
        _check_first(arguments[0])
    if command == 'build':
        end = arguments.index('--') if '--' in arguments else len(arguments)
        # Without this, `--hash ROOT` would take ROOT for the name of a digest.
        arguments[:end] = ['--hash=xxh128' if word == '--hash' else word for word in arguments[:end]]
    return make_parser(command).parse_args(arguments)


def _check_first(word: str) -> None:
    """Refuse a first word that is no option, command or folder: most often a command misspelt."""
    if word[:1] in ('', '-') or os.sep in word or os.path.lexists(word):
        return
    did_you = suggest(word, COMMANDS) or '. See fastindex help'
    raise UsageError(f'no command and no folder {escape(word)!r}{did_you}')

"""The command line: which command, exit codes, signals, streams. Nothing else."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

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
from fastindex.system import STOP_SIGNALS, send_signal
from fastindex.text import escape

__all__ = ['main']

AGAIN_SECONDS = 0.01  # after which a signal comes again that nothing could be done about


_came: list[BaseException] = []  # what signals have raised in this command


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
        with _stopped_by_signals():
            options = _parse(arguments)
            code: int = options.run(options)
            sys.stdout.flush()
    except BaseException as error:
        return _end(error, is_traced='-vv' in arguments)
    return code


def _end(error: BaseException, *, is_traced: bool) -> int:
    """Say in a sentence what ended the command; return the exit code. Raises what nobody expected."""
    stop = _find_stop(error) or next(iter(_came), None)  # a library may have lost it on the way
    if stop is not None:
        is_interrupt = isinstance(stop, KeyboardInterrupt)
        what = '; '.join(getattr(stop, '__notes__', ['what was there is whole']))
        complain(f'{"interrupted" if is_interrupt else "terminated"}; {what}')
        return EXIT_INTERRUPTED if is_interrupt else EXIT_TERMINATED
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


def _find_stop(error: BaseException | None) -> BaseException | None:
    """Find the signal behind an error: its clean-up may fail, or a library raise another in its place."""
    while error is not None and not isinstance(error, KeyboardInterrupt | _TerminatedError):
        error = error.__context__
    return error


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let a signal end a block by an exception. SIGHUP does not where it was ignored (nohup).

    After the block a further one is the end: nothing is left to clean up, and standard error may be a pipe
    that nobody reads.
    """
    former = {}
    unraisable = sys.unraisablehook
    _came.clear()
    try:
        with suppress(ValueError):  # not in the main thread: then signals are nobody's business here
            for number in STOP_SIGNALS:
                if (
                    number in (signal.SIGINT, signal.SIGTERM)
                    or signal.getsignal(number) is not signal.SIG_IGN
                ):
                    former[number] = signal.signal(number, _stop)
        sys.unraisablehook = _stop_again
        yield
    finally:
        sys.unraisablehook = unraisable
        for number, handler in former.items():
            signal.signal(number, handler)


def _stop(number: int, _: object) -> None:
    if _find_stop(sys.exception()) is None:  # once is enough: let the clean-up run
        _came.append(KeyboardInterrupt() if number == signal.SIGINT else _TerminatedError())
        raise _came[-1]


def _stop_again(unraisable: sys.UnraisableHookArgs) -> None:
    """Have a signal come again that Python has dropped, as it drops what is raised while an object goes."""
    stop = _find_stop(unraisable.exc_value)
    if stop is None:
        sys.__unraisablehook__(unraisable)
    else:
        number = signal.SIGINT if isinstance(stop, KeyboardInterrupt) else signal.SIGTERM
        threading.Timer(AGAIN_SECONDS, send_signal, (number,)).start()


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
    """Make any name printable, and a closed stream one that fails: no file of ours gets its number.

    Standard error swallows what it gets: there is nobody left to tell.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if fd else os.O_WRONLY)  # takes the lowest number: this one
            os.set_inheritable(fd, True)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - as long as we live
    sys.stdout = sys.stdout or open(1, 'w', closefd=False)  # noqa: SIM115
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

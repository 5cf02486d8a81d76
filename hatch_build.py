"""Compile the kernel where that can be done: hatchling's hook, and `python hatch_build.py` in a clone.

An editable install has it among the sources. A wheel that has it serves each Python from 3.11 on, on one kind
of machine; one without is pure. Where there is no compiler, or this is not Linux, the twin in Python runs and
nobody is warned; FASTINDEX_KERNEL=compiled insists here too, and =python leaves it out.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # nobody builds a package
    BuildHookInterface = object

FOLDER = Path('fastindex')
NAME = '_kernel.abi3.so'
LIMITED_API = '-DPy_LIMITED_API=0x030B0000'  # that of Python 3.11
FLAGS = ['-std=c11', '-O2', '-Wall', '-Wextra', '-shared', '-fPIC', LIMITED_API]


def compile_kernel(folder: Path, *flags: str) -> Path | None:
    """Compile the kernel into a folder; None where that cannot be done.

    Raises
    ------
    RuntimeError
        If the environment insists and it cannot be done.
    """
    wanted = os.environ.get('FASTINDEX_KERNEL')
    if wanted == 'python':
        return None
    source = Path(__file__).parent / FOLDER / '_kernel.c'
    compiler = shlex.split(os.environ.get('CC', 'cc'))
    includes = ['-isystem', sysconfig.get_path('include')]
    # Built beside it and renamed: a process may have the one before mapped.
    built = folder / f'{NAME}.{os.getpid()}'
    command = [*compiler, *FLAGS, *flags, *includes, source, '-o', built]
    failed = '' if sys.platform == 'linux' else 'it is for Linux'
    if not failed:
        try:
            subprocess.run(command, capture_output=True, text=True, check=True)
        except OSError as error:
            failed = str(error)
        except subprocess.CalledProcessError as error:
            failed = f'{error}: {error.stderr}'
    if not failed:
        return built.rename(folder / NAME)
    if wanted == 'compiled':
        raise RuntimeError(f'the kernel cannot be compiled: {failed}')
    return None


class KernelHook(BuildHookInterface):
    """Adds the kernel to what is built."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, before the wheel is put together."""
        if version == 'editable':
            compile_kernel(Path(self.root, FOLDER))
            return
        self._scratch = tempfile.TemporaryDirectory()
        build_data['shared_data'][self._write_man_page()] = 'share/man/man1/fastindex.1'
        kernel = compile_kernel(Path(self._scratch.name))
        if kernel is not None:
            platform = sysconfig.get_platform().replace('-', '_').replace('.', '_')
            build_data['force_include'][str(kernel)] = str(FOLDER / NAME)
            build_data['pure_python'] = False
            build_data['tag'] = f'cp311-abi3-{platform}'

    def _write_man_page(self) -> str:
        """Write the man page of the parsers, which need nothing but Python; give its path."""
        page = Path(self._scratch.name, 'fastindex.1')
        code = 'from fastindex.commands.help import make_man_page; print(make_man_page(), end="")'
        environment = {**os.environ, 'FASTINDEX_KERNEL': 'python'}  # none is compiled yet
        with page.open('wb') as file:
            subprocess.run(
                [sys.executable, '-c', code], cwd=self.root, env=environment, stdout=file, check=True
            )
        return str(page)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Clean up."""
        if version != 'editable':
            self._scratch.cleanup()


if __name__ == '__main__':
    sys.exit(compile_kernel(Path(__file__).parent / FOLDER) is None)

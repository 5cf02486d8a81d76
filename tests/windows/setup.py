"""Make a Python 3.11 for Windows that runs in Wine, in a folder, out of packages: `setup.py FOLDER`.

    apt     wine64; binutils-mingw-w64-x86-64, which links what is not to be had: python.exe and two libraries
    PyPI    panda3d, whose wheel carries Python itself; what fastindex and its tests need, built for Windows
    here    the standard library of this Python, which must be a 3.11 too

What waits for the network and what waits for the disk is done side by side. What cannot be had is said, with
exit code 77. Nothing is made again that is there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

NOT_TO_BE_HAD = 77

PACKAGES = (
    'pyarrow polars polars-runtime-32 xxhash tqdm pathspec deflate vl-convert-python itables jinja2 '
    'markupsafe ONE-api iblutil pandas python-dateutil six requests urllib3 idna certifi packaging '
    'charset-normalizer pyyaml boto3 botocore s3transfer jmespath colorlog '
    'pytest pluggy iniconfig pygments pytest-timeout hypothesis sortedcontainers'
)
"""In the versions that are installed here. ONE-api names others too (scipy, numba), but imports none."""

OTHERS = ['panda3d==1.10.16', 'numpy==2.0.2', 'colorama', 'tzdata']
"""Newer numpys call `crealf`, which Wine 8 lacks."""

PYTHON = ('python311.dll', 'VCRUNTIME140.dll')

START = """
    .globl start
start:
    sub $0x38, %rsp
    call *__imp_GetCommandLineW(%rip)
    mov %rax, %rcx
    lea 0x28(%rsp), %rdx
    call *__imp_CommandLineToArgvW(%rip)
    mov 0x28(%rsp), %ecx
    mov %rax, %rdx
    call *__imp_Py_Main(%rip)
    mov %eax, %ecx
    call *__imp_ExitProcess(%rip)
"""
"""python.exe, as a whole: Py_Main gets the words of the command line."""

IMPORTS = {
    'kernel32': ['GetCommandLineW', 'ExitProcess'],
    'shell32': ['CommandLineToArgvW'],
    'python311': ['Py_Main'],
}

TOOLS = 'x86_64-w64-mingw32-'

WINE = '/usr/lib/wine/wine64'

MINUTES = 2  # until a command hangs


def environment(folder: Path) -> dict[str, str]:
    """Of what runs in Wine: quiet, without Mono and Gecko, and with no word of the Python here."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(('PYTHON', 'FASTINDEX'))}
    return {
        **own,
        'WINEPREFIX': os.fspath(folder.resolve()),
        'WINEDEBUG': '-all',
        'WINEDLLOVERRIDES': 'mscoree,mshtml=',
        'PYTHONPYCACHEPREFIX': 'C:\\cache',
    }


def give_up(why: str) -> NoReturn:
    print(f'no Python for Windows here: {why}')
    sys.exit(NOT_TO_BE_HAD)


def stop(folder: Path) -> None:
    """End all that runs in this Wine, if anything does."""
    subprocess.run(['/usr/lib/wine/wineserver64', '-k'], env=environment(folder), timeout=60, check=False)


def call(*command: Any, wine: Path | None = None) -> str:
    """Run a command; once more if it fails or hangs, as a download may, or the first start of Wine."""
    for _ in range(2):
        try:
            done = subprocess.run(
                list(map(str, command)),
                env=environment(wine) if wine else None,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors='replace',
                timeout=60 * MINUTES,
            )
        except subprocess.TimeoutExpired:
            why = f'it has not ended in {MINUTES} minutes'
        else:
            if not done.returncode:
                return done.stdout
            why = done.stderr[-2000:]
        if wine:  # what is half made does not start
            stop(wine)
            half = 'drive_c/windows dosdevices system.reg user.reg userdef.reg .update-timestamp'
            subprocess.run(['rm', '-rf', *(wine / name for name in half.split())], check=True)
    give_up(f'{" ".join(map(str, command))[:200]}: {why}')


def copy_library(python: Path) -> None:
    skipped = shutil.ignore_patterns(
        'test', '*-packages', 'idlelib', 'tkinter', '__pycache__', '*.so', 'config-*'
    )
    shutil.copytree(sysconfig.get_path('stdlib'), python / 'Lib', ignore=skipped, dirs_exist_ok=True)


def install(python: Path) -> None:
    """Install the packages, and take Python itself out of one of them."""
    packages = python / 'Lib' / 'site-packages'
    same = [f'{name}=={version(name)}' for name in PACKAGES.split()]
    where = ['--python-platform', 'windows', '--python-version', '3.11', '--target', packages]
    options = ['--quiet', '--only-binary', ':all:', '--no-deps']
    call(sys.executable, '-m', 'uv', 'pip', 'install', *options, *where, *same, *OTHERS)
    (python / 'DLLs').mkdir()
    for library in (packages / 'deploy_libs').iterdir():
        if not re.match('api-ms|tcl86|tk86', library.name):
            library.rename(python / ('' if library.name in PYTHON else 'DLLs') / library.name)


def link(python: Path, work: Path) -> None:
    """Link python.exe, python3.dll, the stable ABI, and a library that Wine 8 lacks."""
    (work / 'start.s').write_text(START)
    (work / 'none.s').write_text('')
    for name in ('start', 'none'):
        call(f'{TOOLS}as', work / f'{name}.s', '-o', work / f'{name}.o')
    for library, names in IMPORTS.items():
        define(work / f'{library}.def', library, names)
        call(f'{TOOLS}dlltool', '-d', work / f'{library}.def', '-l', work / f'{library}.a')
    libraries = [work / f'{library}.a' for library in IMPORTS]
    options = ('--subsystem=console', '-e', 'start', '-o', python / 'python.exe')
    call(f'{TOOLS}ld', *options, work / 'start.o', *libraries)
    told = call(f'{TOOLS}objdump', '-p', python / PYTHON[0]).partition('[Ordinal/Name Pointer]')[2]
    exports = re.findall(r'^\t\[ *\d+\].* (\w+)$', told, re.MULTILINE)
    forwarded = {
        'python3': [f'{name} = python311.{name}' for name in exports],
        'bcryptprimitives': ['ProcessPrng = advapi32.SystemFunction036'],
    }
    for library, names in forwarded.items():
        define(work / f'{library}.def', library, names)
        options = ('-shared', '-e', '0', '-o', python / f'{library}.dll')
        call(f'{TOOLS}ld', *options, work / f'{library}.def', work / 'none.o')


def define(path: Path, library: str, names: list[str]) -> None:
    path.write_text(f'LIBRARY {library}.dll\nEXPORTS\n' + ''.join(f'  {name}\n' for name in names))


def main(folder: Path) -> None:
    made = folder / 'made'
    if made.exists():
        return
    if sys.version_info[:2] != (3, 11):
        give_up('the Python here is no 3.11')
    if not os.path.exists(WINE):
        give_up('there is no wine64')
    if not shutil.which(f'{TOOLS}ld'):
        give_up('there is no binutils-mingw-w64-x86-64')
    shutil.rmtree(folder, ignore_errors=True)
    python, work = folder / 'drive_c' / 'python', folder / 'work'
    work.mkdir(parents=True)
    with ThreadPoolExecutor() as pool:
        tasks = [
            pool.submit(call, WINE, 'wineboot.exe', '-i', wine=folder),
            pool.submit(copy_library, python),
            pool.submit(install, python),
        ]
    for task in tasks:
        task.result()
    link(python, work)
    shutil.rmtree(work)
    made.touch()


if __name__ == '__main__':
    main(Path(sys.argv[1]))

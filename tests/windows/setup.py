"""Make a Python 3.11 for Windows that runs in Wine, in a folder, out of packages: `setup.py FOLDER`.

    apt     wine64; binutils-mingw-w64-x86-64, which links what is not to be had: python.exe and two libraries
    PyPI    panda3d, whose wheel carries Python itself; what fastindex and its tests need, built for Windows
    here    the standard library of this Python, which must be a 3.11 too

What cannot be had is said, with exit code 77. Nothing is made again that is there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
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

OTHERS = ['numpy==2.0.2', 'colorama', 'tzdata']  # newer numpys call `crealf`, which Wine 8 lacks

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


def find_wine() -> str:
    return shutil.which('wine') or shutil.which('wine64') or '/usr/lib/wine/wine64'


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


def call(*command: Any, **options: Any) -> str:
    done = subprocess.run(
        list(map(str, command)), **options, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        give_up(f'{" ".join(map(str, command))[:200]}: {done.stderr[-2000:]}')
    return done.stdout


def pip(*words: Any) -> None:
    where = ['--platform', 'win_amd64', '--python-version', '3.11', '--only-binary', ':all:', '--no-deps']
    call(sys.executable, '-m', 'pip', '--quiet', '--disable-pip-version-check', *words, *where)


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
    if not os.path.exists(find_wine()):
        give_up('there is no wine64')
    if not shutil.which(f'{TOOLS}ld'):
        give_up('there is no binutils-mingw-w64-x86-64')
    shutil.rmtree(folder, ignore_errors=True)
    python, work = folder / 'drive_c' / 'python', folder / 'work'
    work.mkdir(parents=True)
    call(find_wine(), 'wineboot.exe', '-i', env=environment(folder))
    skipped = shutil.ignore_patterns(
        'test', '*-packages', 'idlelib', 'tkinter', '__pycache__', '*.so', 'config-*'
    )
    shutil.copytree(sysconfig.get_path('stdlib'), python / 'Lib', ignore=skipped)
    pip('download', 'panda3d', '--dest', work)
    with zipfile.ZipFile(next(work.glob('panda3d*'))) as wheel:
        for name in wheel.namelist():
            if name.startswith('deploy_libs/') and not re.search('api-ms|tcl86|tk86', name):
                target = python / ('' if os.path.basename(name) in PYTHON else 'DLLs')
                target.mkdir(exist_ok=True)
                (target / os.path.basename(name)).write_bytes(wheel.read(name))
    same = [f'{name}=={version(name)}' for name in PACKAGES.split()]
    pip('install', *same, *OTHERS, '--no-compile', '--target', python / 'Lib' / 'site-packages')
    link(python, work)
    shutil.rmtree(work)
    made.touch()


if __name__ == '__main__':
    main(Path(sys.argv[1]))

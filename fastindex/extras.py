"""Packages that only a part of this program needs, and the message where one is not installed."""

from __future__ import annotations

from importlib.util import find_spec

from fastindex.errors import MissingExtraError

__all__ = ['EXTRAS', 'require']

EXTRAS = {
    'completion': {'shtab': 'shtab'},
    'dask': {'distributed': 'distributed'},
    'example': {'numpy': 'numpy'},
    'one': {'ONE-api': 'one'},
    'release': {'deflate': 'deflate'},
    'report': {'vl-convert-python': 'vl_convert', 'itables': 'itables', 'jinja2': 'jinja2'},
    's3': {'botocore': 'botocore'},
}
"""By the name of an extra in pyproject.toml: its packages, as pip names them, and the module of each."""


def require(extra: str, what: str, *, otherwise: str = '') -> None:
    """Check that all packages of an extra are installed.

    Raises MissingExtraError if one is not there; the message names the packages, as pip takes them.

    extra: a key of `EXTRAS`
    what: what needs them: the subject of the message
    otherwise: what to do without them
    """
    missing = [package for package, module in EXTRAS[extra].items() if find_spec(module) is None]
    if missing:
        *others, last = missing
        names = f'{", ".join(others)} and {last}' if others else last
        raise MissingExtraError(
            f'{what} needs {names}, not installed here: pip install {" ".join(missing)}',
            hint=otherwise,
        )

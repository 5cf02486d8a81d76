"""Tell the URL of a bucket from the path of a folder, without what it takes to talk to one."""

from __future__ import annotations

import os

__all__ = ['SCHEME', 'is_url']

SCHEME = 's3://'


def is_url(path: str | os.PathLike[str]) -> bool:
    """Tell whether a path is the URL of a bucket.

    >>> is_url('s3://recordings'), is_url('/data/s3://recordings')
    (True, False)
    """
    return os.fspath(path).startswith(SCHEME)

"""What is loaded when it is first used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.patience import PATIENCE_SECONDS

WAITING = """
import os, signal, threading
from fastindex import lazy
signal.signal(signal.SIGINT, signal.default_int_handler)
{use}
reader, _ = os.pipe()
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
os.read(reader, 1)
"""


@pytest.mark.long
@pytest.mark.parametrize('use', ['lazy.load("polars")', 'lazy.pl.DataFrame({"a": [1]}).lazy().collect()'])
def test_ctrl_c_ends_what_waits_also_where_polars_is_loaded(use):
    done = subprocess.run(
        [sys.executable, '-c', WAITING.format(use=use)], stderr=subprocess.PIPE, timeout=PATIENCE_SECONDS
    )
    assert b'KeyboardInterrupt' in done.stderr

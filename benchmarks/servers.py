"""Real object stores to measure on and to test against, and a proxy between that makes trouble."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

KEY, SECRET = 'AKIATESTTESTTEST', 'wJalrXUtnFEMI-the-secret-of-the-tests'


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        return int(found.getsockname()[1])


@contextmanager
def _serving(command: list[str], port: int) -> Iterator[str]:
    """Run a server until the context is left; give its URL once it answers."""
    environment = {**os.environ, 'RCLONE_CONFIG': os.devnull}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:  # as long as it takes to start
            with suppress(ConnectionRefusedError), socket.create_connection(('127.0.0.1', port)):
                break
            assert process.poll() is None, f'{command} ended'
            time.sleep(0.05)
        yield f'http://127.0.0.1:{port}'
    finally:
        process.kill()
        process.wait()


@contextmanager
def rclone(folder: Path, *, has_etags: bool = True) -> Iterator[str]:
    """Run `rclone serve s3`: each folder in `folder` is a bucket. For ETags it reads all files."""
    port = _free_port()
    program = shutil.which('rclone') or str(Path(sys.executable).with_name('rclone'))
    address = f'127.0.0.1:{port}'
    command = [program, 'serve', 's3', '--addr', address, '--auth-key', f'{KEY},{SECRET}', str(folder)]
    command += ['--copy-links', *([] if has_etags else ['--etag-hash', ''])]
    # Else it would go on to show what was there for some minutes. With 0 it keeps a CPU busy for good, once
    # there was an upload.
    with _serving([*command, '--dir-cache-time', '1ms' if has_etags else '1h'], port) as url:
        yield url


@contextmanager
def moto() -> Iterator[str]:
    """Run the server of moto: AWS as Python, in memory."""
    port = _free_port()
    code = f'from moto.server import main; main(["-H", "127.0.0.1", "-p", "{port}"])'
    with _serving([sys.executable, '-W', 'ignore', '-c', code], port) as url:
        yield url


Answer = tuple[int, bytes]
Trouble = Callable[[str, str], Answer | str | None]
"""Given method and path with query, what to do: answer this, `drop` the request, `cut` the answer off, make
it `short`, with a length that is right, or pass it on."""


class Proxy:
    """Passes requests on to a server, unless told otherwise.

    Attributes
    ----------
    requests
        Method and path of each.
    trouble
        What is done in the place of passing a request on.
    change
        What an answer is changed to, given the path.
    seconds_a_page
        What a page of a listing takes longer.
    remembers
        Whether a page of a listing that was asked for before is not asked for again.
    """

    def __init__(self, target: str) -> None:
        self.requests: list[tuple[str, str]] = []
        self.trouble: Trouble = lambda _method, _path: None
        self.change: Callable[[str, bytes], bytes] = lambda _path, data: data
        self.seconds_a_page = 0.0
        self.remembers = False
        self._memory: dict[str, tuple[int, list[tuple[str, str]], bytes]] = {}
        self._target = target.removeprefix('http://')
        self._server = ThreadingHTTPServer(('127.0.0.1', 0), self._make_handler())
        self._server.daemon_threads = True
        self.url = f'http://127.0.0.1:{self._server.server_address[1]}'
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _make_handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def _pass_on(self) -> None:
                proxy.requests.append((self.command, self.path))
                body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
                action = proxy.trouble(self.command, self.path)
                if action == 'drop':
                    self.close_connection = True
                    return
                if isinstance(action, tuple):
                    self._answer(action[0], [('Content-Type', 'application/xml')], action[1])
                    return
                if 'list-type=2' in self.path:
                    time.sleep(proxy.seconds_a_page)
                answer = proxy._memory.get(self.path) or self._ask(body)
                if proxy.remembers and 'list-type=2' in self.path:
                    proxy._memory[self.path] = answer
                status, headers, data = answer
                if action == 'short':
                    data = data[: len(data) // 2]
                self._answer(status, headers, proxy.change(self.path, data), is_cut=action == 'cut')

            def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
                connection = http.client.HTTPConnection(proxy._target)
                # The signature is of the Host that the client asked.
                connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    connection.putheader(name, value)
                connection.endheaders(body)
                answer = connection.getresponse()
                data = answer.read()
                connection.close()
                return answer.status, answer.getheaders(), data

            def _answer(
                self, status: int, headers: list[tuple[str, str]], data: bytes, *, is_cut: bool = False
            ) -> None:
                self.send_response_only(status)
                for name, value in headers:
                    if name.lower() not in ('content-length', 'transfer-encoding', 'connection'):
                        self.send_header(name, value)
                length = dict(headers).get('Content-Length', '0') if self.command == 'HEAD' else len(data)
                self.send_header('Content-Length', str(length))
                self.end_headers()
                with suppress(ConnectionError):
                    self.wfile.write(data[: len(data) // 2] if is_cut else data)
                self.close_connection |= is_cut

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on  # noqa: N815 - their names

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        return Handler

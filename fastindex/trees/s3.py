"""Talk to an object store in the language of S3: list, read, write. Knows no tree.

Credentials, endpoints and regions are found as the tools of AWS find them, by botocore: environment,
profiles, roles, `AWS_ENDPOINT_URL`. It also retries with back-off what a store answers when it is busy or
ill: 500, 503, time-outs, lost connections. The pages of a listing are parsed here: botocore takes 70 us a
key for it, this takes 5, and gives the name of every object as it is, be it `a//b` or `./x`.

No secret passes through here: keys are not taken out of a URL, but refused there.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import unquote_plus, urlsplit
from xml.etree import ElementTree

from fastindex.errors import StoreError, UsageError
from fastindex.extras import require
from fastindex.text import escape
from fastindex.trees import SCHEME

__all__ = ['Location', 'Object', 'Page']

ATTEMPTS = 6
"""Times that a request is made before its failure counts, unless the user's configuration says otherwise."""

CONNECT_SECONDS = 10
READ_SECONDS = 60
BLOCK_BYTES = 2**20  # of an object that are in memory at once while it is read
_BUCKET = re.compile(r'[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]')

_ERRNO_OF_STATUS = {404: errno.ENOENT, 403: errno.EACCES, 401: errno.EACCES, 412: errno.ESTALE}


class Object(NamedTuple):
    """What a listing says of an object."""

    key: str  # its whole name; bytes that are not UTF-8 as Python's file names carry them
    size_bytes: int
    # without quotation marks: the MD5 of an object that was uploaded in one part and is not encrypted with a
    # key of the user's
    etag: str
    modified: str  # time of the upload as the store writes it, `2024-01-01T12:00:00.000Z`


class Page(NamedTuple):
    """A page of a listing: up to a thousand keys."""

    objects: list[Object]
    prefixes: list[str]  # what the keys begin with that were folded at a delimiter, which is their end


class Location(NamedTuple):
    """A bucket, and the prefix in it that stands for a folder. Picklable; has no secret."""

    bucket: str
    prefix: str  # without a slash at its end; `''` is the whole bucket
    endpoint: str | None = None
    anonymous: bool = False

    @classmethod
    def parse(cls, url: str, *, endpoint: str | None = None, anonymous: bool = False) -> Location:
        """Parse `s3://bucket/prefix`.

        Raises UsageError if it is not of this form, or there is a password in it or in the endpoint.

        Examples
        --------
        >>> Location.parse('s3://recordings/2024/')
        Location(bucket='recordings', prefix='2024', endpoint=None, anonymous=False)
        """
        bucket, _, prefix = url.removeprefix(SCHEME).partition('/')
        if '@' in bucket:
            raise UsageError(
                's3://…@…: expected s3://bucket/prefix: credentials are for the environment or a profile, '
                'not for the command line, where others see them'
            )
        if not _BUCKET.fullmatch(bucket):
            raise UsageError(f'{escape(url)}: this is no name of a bucket: expected s3://bucket/prefix')
        if {'', '.', '..'} & set((prefix.removesuffix('/') or 'x').split('/')):
            raise UsageError(f'{escape(url)}: expected names between the slashes, not an empty one, . or ..')
        if endpoint is not None:
            _check_endpoint(endpoint)
        return cls(bucket, prefix.removesuffix('/'), endpoint, anonymous)

    @property
    def url(self) -> str:
        """Where this is: `s3://bucket/prefix`."""
        return f'{SCHEME}{self.bucket}/{self.prefix}'.removesuffix('/')

    def key(self, path: str) -> str:
        """Get the key of a path below this location."""
        return f'{self.prefix}/{path}' if self.prefix else path

    def iter_pages(self, path: str, *, is_deep: bool) -> Iterator[Page]:
        """List what is in a folder: a request a page, each when it is asked for.

        Raises StoreError if a page cannot be had. What came before it is not the whole.

        path: of the folder, relative to this location; `''` is the location itself
        is_deep: whether all below it are listed, in whatever folders. Where not, folders are folded to
            prefixes.
        """
        prefix = self.key(f'{path}/' if path else '')
        wanted = {'Bucket': self.bucket, 'Prefix': prefix, **({} if is_deep else {'Delimiter': '/'})}
        token: str | None = None
        while True:
            page, following = self._list_page({**wanted, **({'ContinuationToken': token} if token else {})})
            yield page
            if following is None:
                return
            if following in ('', token):
                raise self._cannot_list(prefix, 'the listing goes on, but does not say where.')
            token = following

    def _list_page(self, wanted: dict[str, str]) -> tuple[Page, str | None]:
        try:
            answer = self._ask('list_objects_v2', **wanted)
        except _RefusedError as error:
            raise self._cannot_list(wanted['Prefix'], error.said) from None
        try:
            return _parse_page(answer['page'])
        except (ElementTree.ParseError, LookupError, ValueError):  # one cut off botocore has asked for again
            why = 'the answer is no listing: is the endpoint right?'
            raise self._cannot_list(wanted['Prefix'], why) from None

    def _cannot_list(self, prefix: str, why: str) -> StoreError:
        return StoreError(f'{escape(f"{SCHEME}{self.bucket}/{prefix}")}: ', hint=why)

    def look(self, path: str) -> Object:
        """Look at one object.

        Raises FileNotFoundError, PermissionError, OSError if it cannot be looked at.
        """
        answer = self._ask_of(path, 'head_object')
        return _to_object(self.key(path), answer)

    @contextmanager
    def open(self, path: str) -> Iterator[tuple[Object, Iterator[bytes]]]:
        """Open an object for reading; gives its state, and its bytes in blocks.

        The store gives the state and the bytes of one upload, whatever is uploaded meanwhile. A read that
        breaks off goes on where it was, if the object is still the same.

        Raises
        ------
        FileNotFoundError, PermissionError, OSError
            If it cannot be read; ESTALE where another one took its place meanwhile. Also while it is read.
        """
        answer = self._ask_of(path, 'get_object')
        found = _to_object(self.key(path), answer)
        reader = _Reader(self, path, found, answer['Body'])
        try:
            yield found, iter(reader)
        finally:
            reader.close()

    def read(self, path: str, file: IO[bytes]) -> Object:
        """Write an object into an open file; give its state."""
        with self.open(path) as (found, blocks):
            for block in blocks:
                file.write(block)
        return found

    def write(self, path: str, source: Path) -> None:
        """Put a file in the place of an object: it is the old one or the new one at every instant.

        Raises OSError if it cannot be written.
        """
        with source.open('rb') as file:
            self._ask_of(path, 'put_object', Body=file)

    def _ask_of(self, path: str, operation: str, **wanted: Any) -> dict[str, Any]:
        """Ask about one object; what cannot be done is an OSError, as of a file."""
        try:
            return self._ask(operation, Bucket=self.bucket, Key=self.key(path), **wanted)
        except _RefusedError as error:
            raise OSError(error.number, error.said, f'{self.url}/{path}') from None

    def _ask(self, operation: str, **wanted: Any) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer: dict[str, Any] = getattr(_client_of(self), operation)(**wanted)
        except ClientError as error:
            status = error.response['ResponseMetadata'].get('HTTPStatusCode', 0)
            code = str(error.response['Error'].get('Code', status))
            raise _RefusedError(code, _ERRNO_OF_STATUS.get(status, errno.EIO)) from None
        except BotoCoreError as error:
            raise _RefusedError(type(error).__name__, errno.EIO) from None
        return answer


class _Reader:
    """The bytes of an object, which goes on where a connection broke."""

    def __init__(self, location: Location, path: str, found: Object, body: Any) -> None:
        self._location = location
        self._path = path
        self._found = found
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        from botocore.exceptions import BotoCoreError

        done, failures = 0, 0
        while done < self._found.size_bytes:
            try:
                block = self._body.read(min(BLOCK_BYTES, self._found.size_bytes - done))
            except BotoCoreError:
                block = b''
            if block:
                done += len(block)
                yield block
                continue
            failures += 1
            if failures == ATTEMPTS:
                raise OSError(errno.EIO, os.strerror(errno.EIO), self._path)
            self._open_again(done)

    def _open_again(self, done: int) -> None:
        self.close()
        self._body = self._location._ask_of(  # noqa: SLF001 - of this module
            self._path, 'get_object', Range=f'bytes={done}-', IfMatch=f'"{self._found.etag}"'
        )['Body']

    def close(self) -> None:
        """Give the connection back."""
        self._body.close()


def _check_endpoint(endpoint: str) -> None:
    """Refuse an endpoint that is none, or has a secret in it; which is not repeated."""
    if '@' in endpoint:
        raise UsageError(
            'the endpoint has a user or a password in it: expected https://host: put credentials into the '
            'environment or a profile'
        )
    try:
        parts = urlsplit(endpoint)
        is_url = parts.scheme in ('http', 'https') and bool(parts.hostname)
    except ValueError:
        is_url = False
    if not is_url:
        raise UsageError(f'endpoint {escape(endpoint)!r}: expected a URL, as https://host:9000')


_EXPLAINED = {
    'NoSuchBucket': 'there is no such bucket here: is the name right, and the endpoint?',
    'NoCredentialsError': 'no credentials were found: expected AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, '
    'or a profile (AWS_PROFILE), or `anonymous` for a public bucket',
    'PartialCredentialsError': 'the credentials are incomplete: expected AWS_ACCESS_KEY_ID and '
    'AWS_SECRET_ACCESS_KEY',
    'ProfileNotFound': 'there is no such profile: expected AWS_PROFILE to name one of ~/.aws/config',
    'EndpointConnectionError': 'nobody answers at the endpoint: is its address right, the server running?',
    'ConnectTimeoutError': 'the endpoint did not answer in time: is its address right?',
    'ReadTimeoutError': 'the store did not answer in time, each time that it was asked',
    'NoRegionError': 'no region is set: expected AWS_DEFAULT_REGION, or one in the profile',
}
for _code in ('AccessDenied', 'Forbidden', '403', 'AllAccessDisabled'):
    _EXPLAINED[_code] = 'access is denied: may these credentials list and read it? `anonymous` sends none'
for _code in ('InvalidAccessKeyId', 'SignatureDoesNotMatch', 'ExpiredToken', 'InvalidToken'):
    _EXPLAINED[_code] = f'the credentials are refused ({_code}): are they those of this endpoint?'


class _RefusedError(Exception):
    """A request failed, each time. What is said of it are our words: those of a server may be anything."""

    def __init__(self, code: str, number: int) -> None:
        super().__init__(code)
        self.number = number
        self.said = _EXPLAINED.get(code, f'it failed each time that it was asked for ({escape(code)[:100]})')


class _Client(NamedTuple):
    """A client of botocore, and the process that it was made in: a fork must not share its connections."""

    pid: int
    client: Any


_clients: dict[tuple[str | None, bool], _Client] = {}
_sessions: list[Any] = []  # one at most: what it has read from files is inherited by the workers


def _client_of(location: Location) -> Any:
    made = _clients.get((location.endpoint, location.anonymous))
    if made is None or made.pid != os.getpid():
        made = _Client(os.getpid(), _make_client(location))
        _clients[location.endpoint, location.anonymous] = made
    return made.client


def _make_client(location: Location) -> Any:
    require('s3', escape(location.url))
    import botocore.session
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    try:
        if not _sessions:
            _sessions.append(botocore.session.get_session())
        (session,) = _sessions
        options: dict[str, Any] = {'connect_timeout': CONNECT_SECONDS, 'read_timeout': READ_SECONDS}
        if session.get_config_variable('max_attempts') is None:
            options['retries'] = {'mode': 'standard', 'total_max_attempts': ATTEMPTS}
        client = session.create_client(
            's3',
            endpoint_url=location.endpoint,
            region_name=session.get_config_variable('region') or 'us-east-1',
            config=Config(
                **options,
                signature_version=UNSIGNED if location.anonymous else None,
                # What is not AWS may not know the newer checksums.
                request_checksum_calculation='when_required',
                response_checksum_validation='when_required',
            ),
        )
    except BotoCoreError as error:
        said = _RefusedError(type(error).__name__, errno.EIO).said
        raise UsageError(f'{escape(location.url)}: ', hint=said) from None
    except ValueError:  # its message has the endpoint in it
        raise UsageError('the endpoint is no URL: expected one as https://host:9000') from None
    _check_endpoint(client.meta.endpoint_url)  # of the environment, or a profile
    client.meta.events.register('before-parse.s3.ListObjectsV2', _keep_page)
    return client


def _keep_page(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """Keep a page as it came, and give botocore an empty one to parse."""
    if response_dict['status_code'] == 200:
        customized_response_dict['page'] = response_dict['body']
        response_dict['body'] = b'<ListBucketResult/>'


def _parse_page(data: bytes) -> tuple[Page, str | None]:
    """Parse a page; give also where the next one begins, None where it is the last."""
    root = ElementTree.fromstring(data)  # noqa: S314 - expat bounds what entities may grow to
    if (space := root.tag.removesuffix('ListBucketResult')) == root.tag:
        raise ElementTree.ParseError(f'<{root.tag[:50]}>')
    is_quoted = root.findtext(f'{space}EncodingType') == 'url'
    decode = partial(unquote_plus, errors='surrogateescape') if is_quoted else str
    objects, prefixes = [], []
    for element in root:
        if element.tag == f'{space}Contents':
            said = {child.tag: child.text or '' for child in element}
            size_bytes = int(said.get(f'{space}Size', ''))
            etag, modified = said.get(f'{space}ETag', ''), said.get(f'{space}LastModified', '')
            objects.append(Object(decode(said[f'{space}Key']), size_bytes, etag.strip('"'), modified))
        elif element.tag == f'{space}CommonPrefixes':
            prefixes.append(decode(element.findtext(f'{space}Prefix') or ''))
    is_last = root.findtext(f'{space}IsTruncated') != 'true'
    return Page(objects, prefixes), None if is_last else root.findtext(f'{space}NextContinuationToken') or ''


def _to_object(key: str, answer: dict[str, Any]) -> Object:
    modified = answer['LastModified'].strftime('%Y-%m-%dT%H:%M:%S.000Z') if 'LastModified' in answer else ''
    return Object(key, answer['ContentLength'], answer.get('ETag', '').strip('"'), modified)

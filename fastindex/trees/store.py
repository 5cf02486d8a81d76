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
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import unquote_plus, urlsplit
from xml.etree import ElementTree

from fastindex.errors import StoreError, UsageError
from fastindex.extras import require
from fastindex.text import escape, is_utf8
from fastindex.trees import SCHEME, Access
from fastindex.trees.refusals import ARCHIVED, RefusedError

__all__ = ['ArchivedError', 'Location', 'Object', 'Page']

MAX_SIZE_BYTES = 2**64 - 1  # what the column holds
EMPTY_PAGES = 1000
"""Pages in a row that may have nothing in them: a store may be looking through what was deleted."""

ATTEMPTS = 6
"""Times that a request is made before its failure counts, unless the user's configuration says otherwise."""

CONNECT_SECONDS = 10
READ_SECONDS = 60
BLOCK_BYTES = 2**20  # of an object that are in memory at once while it is read
_ARN = re.compile(r'(arn:[^/]+:accesspoint[:/][^/]+)/?(.*)', re.DOTALL)  # has a slash in the name, perhaps

_ERRNO_OF_STATUS = {404: errno.ENOENT, 403: errno.EACCES, 401: errno.EACCES, 412: errno.ESTALE}


class ArchivedError(PermissionError):
    """An object is in an archive, as Glacier: it can be listed, and not be read."""


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
    access: Access = Access()

    @classmethod
    def parse(cls, url: str, access: Access = Access()) -> Location:  # noqa: B008 - a value
        """Parse `s3://bucket/prefix`.

        Which names buckets have is the store's to say. Raises UsageError if it is not of this form, or there
        is a password in it or in the endpoint.

        Examples
        --------
        >>> Location.parse('s3://recordings/2024/')[:2]
        ('recordings', '2024')
        """
        bucket, _, prefix = url.removeprefix(SCHEME).partition('/')
        if arn := _ARN.fullmatch(url.removeprefix(SCHEME)):
            bucket, prefix = arn.groups()
        if '@' in bucket:
            raise UsageError(
                's3://…@…: expected s3://bucket/prefix: credentials are for the environment or a profile, '
                'not for the command line, where others see them'
            )
        if not bucket or not is_utf8(url):
            raise UsageError(f'{escape(url)}: expected s3://bucket/prefix, in UTF-8')
        if {'', '.', '..'} & set((prefix.removesuffix('/') or 'x').split('/')):
            raise UsageError(f'{escape(url)}: expected names between the slashes, not an empty one, . or ..')
        if access.endpoint is not None:
            _check_endpoint(access.endpoint)
        return cls(bucket, prefix.removesuffix('/'), access)

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
        seen: set[str | tuple[str, ...]] = set()  # tokens, and what pages begin with: none comes twice
        token: str | None = None
        empty_pages = 0
        while True:
            page, following = self._list_page({**wanted, **({'ContinuationToken': token} if token else {})})
            if not _is_below(page, prefix, is_deep=is_deep):
                raise self._cannot_list(prefix, 'the listing has what was not asked for: is this a store?')
            start = (*(found.key for found in page.objects[:1]), *page.prefixes[:1])
            empty_pages = 0 if start else empty_pages + 1
            if empty_pages > EMPTY_PAGES or (start and start in seen):
                raise self._cannot_list(prefix, 'the listing goes on, and does not come to an end.')
            yield page
            if following is None:
                return
            if not following or following in seen:
                raise self._cannot_list(prefix, 'the listing goes on, but does not say where.')
            seen |= {following, start}
            token = following

    def _list_page(self, wanted: dict[str, str]) -> tuple[Page, str | None]:
        try:
            answer = self._ask('list_objects_v2', **wanted)
        except RefusedError as error:
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
        return self._to_object(path, self._ask_of(path, 'head_object'))

    @contextmanager
    def open(self, path: str) -> Iterator[tuple[Object, Iterator[bytes]]]:
        """Open an object for reading; gives its state, and its bytes in blocks.

        The store gives the state and the bytes of one upload, whatever is uploaded meanwhile. A read that
        breaks off goes on where it was, if the object is still the same.

        Raises FileNotFoundError, PermissionError, OSError if it cannot be read; ESTALE where another one took
        its place meanwhile. Also while it is read.
        """
        answer = self._ask_of(path, 'get_object')
        with ExitStack() as opened:
            opened.callback(answer['Body'].close)
            found = self._to_object(path, answer)
            yield found, self._iter_blocks(path, found, answer['Body'], opened)

    def _iter_blocks(self, path: str, found: Object, body: Any, opened: ExitStack) -> Iterator[bytes]:
        from botocore.exceptions import BotoCoreError

        done, failures = 0, 0
        while done < found.size_bytes:
            try:
                block = body.read(min(BLOCK_BYTES, found.size_bytes - done))
            except BotoCoreError:
                block = b''
            if block:
                done += len(block)
                yield block
                continue
            failures += 1
            if failures == ATTEMPTS:
                raise OSError(errno.EIO, os.strerror(errno.EIO), path)
            opened.close()
            answer = self._ask_of(path, 'get_object', Range=f'bytes={done}-', IfMatch=f'"{found.etag}"')
            body = answer['Body']
            opened.callback(body.close)
            if done and not answer.get('ContentRange', '').startswith(f'bytes {done}-'):
                raise OSError(errno.EIO, RefusedError('BadAnswer').said, path)  # it starts anew

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
        except RefusedError as error:
            kind = ArchivedError if error.code == ARCHIVED else OSError
            raise kind(error.number, error.said, f'{self.url}/{path}') from None

    def _to_object(self, path: str, answer: dict[str, Any]) -> Object:
        time = answer['LastModified'].strftime('%Y-%m-%dT%H:%M:%S.000Z') if 'LastModified' in answer else ''
        size_bytes = answer.get('ContentLength', -1)
        if not 0 <= size_bytes <= MAX_SIZE_BYTES:
            raise OSError(errno.EIO, RefusedError('BadAnswer').said, f'{self.url}/{path}')
        return Object(self.key(path), size_bytes, answer.get('ETag', '').strip('"'), time)

    def _ask(self, operation: str, **wanted: Any) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        if self.access.requester_pays:
            wanted['RequestPayer'] = 'requester'
        client = _client_of(self)
        try:
            answer: dict[str, Any] = getattr(client, operation)(**wanted)
        except ClientError as error:
            status = error.response['ResponseMetadata'].get('HTTPStatusCode', 0)
            code = str(error.response['Error'].get('Code', status))
            raise RefusedError(code, _ERRNO_OF_STATUS.get(status, errno.EIO), (str(status),)) from None
        except (BotoCoreError, RecursionError) as error:
            # botocore asks for the region, is redirected, and asks again; the end of that comes anywhere.
            if isinstance(getattr(error, 'kwargs', {}).get('error', error), RecursionError):
                raise RefusedError('PermanentRedirect') from None
            raise RefusedError.of(error) from None
        except UnicodeEncodeError:
            raise RefusedError('NotUtf8', errno.EILSEQ) from None
        except ValueError:  # of what botocore parses: a time, a size
            raise RefusedError('BadAnswer') from None
        return answer


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


_clients: dict[tuple[int, Access], Any] = {}
"""By the process that each was made in: a fork must not share its connections."""


@cache
def _session() -> Any:
    """Get the session of botocore: what it has read from files is inherited by the workers."""
    import botocore.session

    return botocore.session.get_session()


def _client_of(location: Location) -> Any:
    known_by = os.getpid(), location.access
    if known_by not in _clients:
        _clients[known_by] = _make_client(location)
    return _clients[known_by]


def _make_client(location: Location) -> Any:
    require('s3', escape(location.url))
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    try:
        session = _session()
        options: dict[str, Any] = {'connect_timeout': CONNECT_SECONDS, 'read_timeout': READ_SECONDS}
        if session.get_config_variable('max_attempts') is None:
            options['retries'] = {'mode': 'standard', 'total_max_attempts': ATTEMPTS}
        client = session.create_client(
            's3',
            endpoint_url=location.access.endpoint,
            region_name=session.get_config_variable('region') or 'us-east-1',
            config=Config(
                **options,
                signature_version=UNSIGNED if location.access.anonymous else None,
                # What is not AWS may not know the newer checksums.
                request_checksum_calculation='when_required',
                response_checksum_validation='when_required',
            ),
        )
    except BotoCoreError as error:
        raise UsageError(f'{escape(location.url)}: ', hint=RefusedError.of(error).said) from None
    except ValueError as error:  # its message has the endpoint in it
        if 'endpoint' in str(error):
            raise UsageError('the endpoint is no URL: expected one as https://host:9000') from None
        raise UsageError(f'{escape(location.url)}: ', hint=RefusedError('BadValue').said) from None
    _check_endpoint(client.meta.endpoint_url)  # of the environment, or a profile
    client.meta.events.register('before-parse.s3.ListObjectsV2', _keep_page)
    return client


def _keep_page(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """Keep a page as it came, and give botocore an empty one to parse."""
    if response_dict['status_code'] == 200:
        customized_response_dict['page'] = response_dict['body']
        response_dict['body'] = b'<ListBucketResult/>'


def _is_below(page: Page, prefix: str, *, is_deep: bool) -> bool:
    """Tell whether all in a page is what was asked for; paths are cut off its keys unseen."""
    if not all(found.key.startswith(prefix) for found in page.objects):
        return False
    start = len(prefix)
    if is_deep:
        return not page.prefixes
    return not any('/' in found.key[start:] for found in page.objects) and all(
        folder.startswith(prefix) and folder.find('/', start) == len(folder) - 1 for folder in page.prefixes
    )


def _parse_page(data: bytes) -> tuple[Page, str | None]:
    """Parse a page; give also where the next one begins, None where it is the last."""
    root = ElementTree.fromstring(data)  # noqa: S314 - expat bounds what entities may grow to
    if (space := root.tag.removesuffix('ListBucketResult')) == root.tag:
        raise ElementTree.ParseError(f'<{root.tag[:50]}>')
    is_quoted = (root.findtext(f'{space}EncodingType') or '').strip() == 'url'
    decode = partial(unquote_plus, errors='surrogateescape') if is_quoted else str
    objects, prefixes = [], []
    for element in root:
        if element.tag == f'{space}Contents':
            said = {child.tag: child.text or '' for child in element}
            size = said.get(f'{space}Size', '').strip()
            size_bytes = int(size)
            if not (size.isascii() and size.isdecimal() and size_bytes <= MAX_SIZE_BYTES):
                raise ValueError(f'a size of {size:.30}')
            etag, modified = said.get(f'{space}ETag', ''), said.get(f'{space}LastModified', '')
            objects.append(Object(decode(said[f'{space}Key']), size_bytes, etag.strip('"'), modified))
        elif element.tag == f'{space}CommonPrefixes':
            prefixes.append(decode(element.findtext(f'{space}Prefix') or ''))
    token = (root.findtext(f'{space}NextContinuationToken') or '').strip()
    goes_on = (root.findtext(f'{space}IsTruncated') or '').strip().lower()
    if goes_on not in ('true', 'false') and not token:
        raise ValueError('neither that there is more is said, nor that there is not')
    if not (objects or prefixes) and (root.findtext(f'{space}KeyCount') or '0').strip() != '0':
        raise ValueError('there are keys, as it says, but none of them can be read')
    return Page(objects, prefixes), None if goes_on == 'false' else token

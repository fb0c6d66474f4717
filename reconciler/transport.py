"""The one file with an HTTP client. One request, one answer, nothing followed, nothing remembered.

Only `Downloads` follows a redirect: it carries nothing that anybody could want, and looks where it goes at every hop.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from socket import AF_INET, AddressFamily
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from receiver import __version__
from receiver.addresses import ForbiddenAddress, Reach, reach_of, reach_of_files, vet, vet_file_url, vet_host
from receiver.providers.base import Account, Request, Response, UpstreamBusy
from receiver.providers.instants import http_date
from reconciler.decoding import ACCEPTED, Unpacker

LARGEST_ANSWER = 32 * 2**20
# A server of files that says nothing for so long, in seconds, has left; the whole request has its own, longer time.
SILENT_FOR = 30.0
CONNECT_WITHIN = 15.0
MOST_HOPS = 5

_DEFAULT_PORTS = {"http": 80, "https": 443}
_REDIRECTS = (301, 302, 303, 307, 308)


class ElsewhereRefused(Exception):
    """A request was about to carry a source's credentials to another origin than its `base_url`."""


def origin(url: str) -> tuple[str, str, int]:
    """Return (scheme, host, port) of a URL. Raises ValueError for one that has no host, or holds a user."""
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc:
        raise ValueError("not an http(s) URL with a host")
    return parts.scheme, parts.hostname.lower(), parts.port or _DEFAULT_PORTS[parts.scheme]


class VettingResolver(AbstractResolver):
    """Resolves names as the system does, or as `inner` does; everything a name resolves to is vetted.

    One bad address among good ones refuses the name: which of them is connected to is not ours to choose.
    """

    def __init__(self, reach: Reach, inner: AbstractResolver | None = None) -> None:
        self._reach: Reach = reach
        self._inner = inner or ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: AddressFamily = AF_INET) -> list[ResolveResult]:
        """Return the addresses of a name. Raises ForbiddenAddress when one of them is not permitted."""
        found = await self._inner.resolve(host, port, family)
        for one in found:
            vet(host, one["host"], self._reach)
        return found

    async def close(self) -> None:
        """Close what resolves."""
        await self._inner.close()


def opened(
    reach: Reach, concurrency: int, resolver: AbstractResolver | None, silent_for: float | None = None
) -> aiohttp.ClientSession:
    """Return a session that connects to vetted addresses alone, keeps no cookies and asks the environment nothing.

    `silent_for` is how many seconds a server may say nothing.
    """

    def gate(address: Any) -> socket.socket:
        # The very address that is about to be connected to, wherever it came from: a look-up, the cache, the URL.
        family, kind, proto, _, where = address
        vet(where[0], where[0], reach)
        return socket.socket(family, kind, proto)

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=concurrency, resolver=VettingResolver(reach, resolver), socket_factory=gate, ttl_dns_cache=30
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"hookledger/{__version__}"},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_WITHIN, sock_read=silent_for),
        auto_decompress=False,
        requote_redirect_url=False,
        trust_env=False,  # neither its proxies nor its .netrc
    )


class _Connections:
    """Connections to vetted addresses, opened when they are first needed. Use as `async with`; belongs to the running
    event loop."""

    def __init__(
        self, reach: Reach, concurrency: int, resolver: AbstractResolver | None, silent_for: float | None = None
    ) -> None:
        self._settings = (reach, concurrency, resolver, silent_for)
        self._opened: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        session, self._opened = self._opened, None
        if session is not None:
            await session.close()

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            self._opened = opened(*self._settings)
        return self._opened


class Transport(_Connections):
    """The connections to one source's upstream.

    `clock` is what `sent_at` and `received_at` are read from, `item` how long one request may take in all. `resolver`
    resolves names instead of the system.
    """

    def __init__(
        self,
        account: Account,
        *,
        clock: Callable[[], datetime],
        item: timedelta,
        concurrency: int = 8,
        allow_private: bool = False,
        largest: int = LARGEST_ANSWER,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._home = origin(account.base_url)
        parts = urlsplit(account.base_url)
        self._begins = f"{parts.scheme}://{parts.netloc}/"
        reach = reach_of(self._home[1], allow_private=allow_private)
        super().__init__(reach, concurrency, resolver)
        self._forbidden = _forbidden(self._home[1], reach)
        self._clock = clock
        self._item = item.total_seconds()
        self._largest = largest

    async def send(self, request: Request) -> Response:
        """Send one request and return its whole answer, a redirect as it is (header names in lower case).

        Raises ElsewhereRefused for another origin than the account's, UpstreamBusy when there is no answer in time,
        Unreadable when it is too large or packed in a way nobody asked for.
        """
        if not self._at_home(request.url):
            raise ElsewhereRefused("refused to send a request with the source's credentials away from its base_url")
        sent_at = self._clock()
        if self._forbidden is not None:
            raise UpstreamBusy(f"no answer: {self._forbidden}")
        try:
            with _named_by_fault(self._item):
                return await self._exchange(request, sent_at)
        except ForbiddenAddress as error:
            raise UpstreamBusy(f"no answer: {error}") from None

    def _at_home(self, url: str) -> bool:
        if url.startswith(self._begins):
            return True  # the host ends at that slash for whoever reads it; taking URLs apart costs as much as a read
        try:
            return origin(url) == self._home
        except ValueError:
            return False

    async def _exchange(self, request: Request, sent_at: datetime) -> Response:
        async with (
            asyncio.timeout(self._item),
            self._session.request(
                request.method,
                URL(request.url, encoded=True),  # as the provider wrote it: ids are percent-encoded already
                headers={"Accept-Encoding": ACCEPTED, **request.headers},
                data=request.body,
                allow_redirects=False,
            ) as answer,
        ):
            headers = {name.lower(): value for name, value in answer.headers.items()}
            unpacker = Unpacker(headers.get("content-encoding"), self._largest)
            body = bytearray()
            async for chunk in answer.content.iter_any():
                body += unpacker.feed(chunk)
            unpacker.finish()
            date = http_date(headers.get("date"))
            return Response(answer.status, headers, bytes(body), sent_at, self._clock(), date)


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer whose body is still to come, byte for byte as it was sent; header names are in lower case.

    `chunks` raises UpstreamBusy when the connection breaks or goes silent.
    """

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


class Downloads(_Connections):
    """Fetches the output files of one source. No credentials, no cookies, nothing unpacked."""

    def __init__(
        self,
        account: Account,
        *,
        concurrency: int = 4,
        allow_private: bool = False,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._reach = reach_of_files(origin(account.base_url)[1], allow_private=allow_private)
        super().__init__(self._reach, concurrency, resolver, SILENT_FOR)

    @asynccontextmanager
    async def get(self, url: str, headers: Mapping[str, str], *, within: timedelta) -> AsyncIterator[Stream]:
        """Ask for a file and give its answer to the block, all of which may take `within`.

        At most MOST_HOPS redirects are followed, and where each leads is vetted as the first URL is. Raises
        UpstreamBusy when there is no answer in time, and ForbiddenAddress for a URL that may not be fetched.
        """
        seconds = within.total_seconds()
        try:
            async with asyncio.timeout(seconds):
                for _ in range(MOST_HOPS + 1):
                    with _named_by_fault(seconds):
                        got = await self._session.get(
                            self._vetted(url),
                            headers={"Accept-Encoding": "identity", **headers},
                            allow_redirects=False,
                        )
                    async with got:
                        if got.status in _REDIRECTS and "location" in got.headers:
                            url = _joined(url, got.headers["location"])
                            continue
                        named = {name.lower(): value for name, value in got.headers.items()}
                        yield Stream(got.status, named, _chunks(got, seconds))
                        return
                raise UpstreamBusy(f"the file's address redirected more than {MOST_HOPS} times")
        except TimeoutError:
            raise UpstreamBusy(f"not whole within {seconds:g} s") from None

    def _vetted(self, url: str) -> URL:
        """Return a URL for the client. Raises ForbiddenAddress, also when the client would read another host in it."""
        parts = vet_file_url(url, self._reach)
        try:
            found = URL(url, encoded=True)
            same = (found.raw_host or "").lower() == parts.hostname
        except ValueError:
            same = False
        if not same:
            raise ForbiddenAddress("the URL can be read in two ways")
        return found


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise ForbiddenAddress("the file's address redirects to what is no URL") from None


async def _chunks(got: aiohttp.ClientResponse, seconds: float) -> AsyncIterator[bytes]:
    """Yield a body as it comes. What goes wrong in whoever takes it is not upstream's fault, and not named so."""
    pieces = got.content.iter_any().__aiter__()
    while True:
        with _named_by_fault(seconds):
            try:
                piece = await anext(pieces)
            except StopAsyncIteration:
                return
        yield piece


@contextmanager
def _named_by_fault(seconds: float) -> Iterator[None]:
    """Turn what the client raises into UpstreamBusy, with a sentence without the URL; ForbiddenAddress stays."""
    try:
        yield
    except (aiohttp.ClientError, OSError) as error:
        refused = _forbidden_in(error)
        if refused is not None:
            raise refused from None
        if isinstance(error, aiohttp.SocketTimeoutError):
            raise UpstreamBusy("no answer: upstream went silent") from None
        if isinstance(error, TimeoutError):
            raise UpstreamBusy(f"no answer within {seconds:g} s") from None
        raise UpstreamBusy(f"no answer: {_why(error)}") from None


def _forbidden(host: str, reach: Reach) -> str | None:
    """Say why a host may not be asked for, or return None."""
    try:
        vet_host(host, reach)
    except ForbiddenAddress as error:
        return str(error)
    return None


def _forbidden_in(error: BaseException) -> ForbiddenAddress | None:
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, ForbiddenAddress):
        seen = seen.__cause__ or seen.__context__
    return seen


def _why(error: BaseException) -> str:
    """Say what went wrong without the URL, whose query may hold what nobody should read."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its TLS certificate is not valid"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name cannot be resolved"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__

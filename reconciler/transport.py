"""The one file with an HTTP client. One request, one answer, nothing followed, nothing remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from socket import AF_INET, AddressFamily
from typing import Self
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from receiver import __version__
from receiver.providers.base import Account, Request, Response, Unreadable, UpstreamBusy
from receiver.providers.instants import http_date
from reconciler.addresses import ForbiddenAddress, Reach, literal, reach_of, vet

LARGEST_ANSWER = 32 * 2**20
_DEFAULT_PORTS = {"http": 80, "https": 443}


class ElsewhereRefused(Exception):
    """A request was about to carry a source's credentials to another origin than its `base_url`."""


def origin(url: str) -> tuple[str, str, int]:
    """Return (scheme, host, port) of a URL. Raises ValueError for one that has no host."""
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError("not an http(s) URL with a host")
    return parts.scheme, parts.hostname.lower(), parts.port or _DEFAULT_PORTS[parts.scheme]


class VettingResolver(AbstractResolver):
    """Resolves names as the system does. What a name resolves to is vetted, and that very address is connected to."""

    def __init__(self, reach: Reach) -> None:
        self._reach: Reach = reach
        self._inner = ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: AddressFamily = AF_INET) -> list[ResolveResult]:
        """Return the addresses of a name. Raises ForbiddenAddress when one of them is not permitted."""
        found = await self._inner.resolve(host, port, family)
        for one in found:
            vet(host, one["host"], self._reach)
        return found

    async def close(self) -> None:
        """Nothing is held open."""
        await self._inner.close()


class Transport:
    """The connections to one source's upstream. Use as `async with`; belongs to the running event loop.

    `clock` is what `sent_at` and `received_at` are read from, `item` how long one request may take in all.
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
    ) -> None:
        self._home = origin(account.base_url)
        self._reach = reach_of(self._home[1], allow_private=allow_private)
        self._clock = clock
        self._item = item.total_seconds()
        self._concurrency = concurrency
        self._largest = largest
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def send(self, request: Request) -> Response:
        """Send one request and return its whole answer, a redirect as it is (header names in lower case).

        Raises ElsewhereRefused for another origin than the account's, UpstreamBusy when there is no answer in time,
        Unreadable when it is too large.
        """
        try:
            elsewhere = origin(request.url) != self._home
        except ValueError:
            elsewhere = True
        if elsewhere:
            raise ElsewhereRefused("refused to send a request with the source's credentials away from its base_url")
        sent_at = self._clock()
        try:
            address = literal(self._home[1])
            if address is not None:  # the resolver is not asked about these
                vet(self._home[1], str(address), self._reach)
            return await self._exchange(request, sent_at)
        except ForbiddenAddress as error:
            raise UpstreamBusy(str(error)) from None
        except TimeoutError:
            raise UpstreamBusy(f"no answer within {self._item:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamBusy(f"no answer: {_why(error)}") from None

    async def _exchange(self, request: Request, sent_at: datetime) -> Response:
        session = self._opened()
        async with (
            asyncio.timeout(self._item),
            session.request(
                request.method,
                URL(request.url, encoded=True),  # as the provider wrote it: ids are percent-encoded already
                headers=dict(request.headers),
                data=request.body,
                allow_redirects=False,
            ) as answer,
        ):
            body = bytearray()
            async for chunk in answer.content.iter_any():
                body += chunk
                if len(body) > self._largest:
                    raise Unreadable(f"upstream answered {answer.status} with more than {self._largest} bytes")
            headers = {name.lower(): value for name, value in answer.headers.items()}
            date = http_date(headers.get("date"))
            return Response(answer.status, headers, bytes(body), sent_at, self._clock(), date)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=self._concurrency,
                resolver=VettingResolver(self._reach),
                # An address is vetted when it is resolved and used for no longer than this.
                ttl_dns_cache=30,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": f"hookledger/{__version__}"},
                timeout=aiohttp.ClientTimeout(total=None),
                requote_redirect_url=False,
                trust_env=False,
            )
        return self._session


def _why(error: BaseException) -> str:
    """Say what went wrong without the URL, whose query may hold what nobody should read."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, ForbiddenAddress):
            return str(inner)
        inner = inner.__cause__ or inner.__context__
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its TLS certificate is not valid"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name cannot be resolved"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__

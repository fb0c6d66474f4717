"""Who may come in, how many at once, and how long they may take: every connection of one server, in one place.

Connections bring no timers of their own: all of them are looked at twice a second, which costs the traffic nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from itertools import islice
from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from receiver.config.sections import ServerConfig
from receiver.web.limits import (
    AT_ONCE,
    CLOSING,
    CROWDED,
    EVERY,
    HURRY,
    KEEP_ALIVE,
    KEEP_ALIVE_CROWDED,
    LOBBY,
    READ_WITHIN,
)
from receiver.web.refusals import AGAIN_SOON, BUSY, CLIENT_FULL, REASONS
from receiver.web.room import Room

STAGES = ("head", "body", "waiting", "answer")  # how far a request had come whose client went away


class Visitor(Protocol):
    """One connection. `counted_as` is the client whose it is, None for a trusted proxy."""

    counted_as: str | None

    def look(self, now: float) -> None:
        """Close it if it has taken too long; `now` is the event loop's clock."""

    def abort(self) -> None:
        """Close it at once."""


class Door:
    """All connections of a server. `most` may be open, `each` of them by one client."""

    def __init__(self, server: ServerConfig) -> None:
        self.most = server.max_connections
        self.each = server.max_connections_per_client
        self.largest = server.max_body
        self.body_within = self._head_within = server.body_timeout.total_seconds()
        self.read_within = READ_WITHIN  # seconds for taking more of an answer
        self.room = Room(server.max_body)
        self.turned_away = Counter(dict.fromkeys(REASONS, 0))
        self.left = Counter(dict.fromkeys(STAGES, 0))
        self._proxies = trusted(server.trusted_proxies)
        self._inside: dict[Visitor, None] = {}
        self._lobby: dict[Visitor, None] = {}
        self._of: Counter[str] = Counter()  # connections by client
        self._under_way: Counter[str] = Counter()  # requests by client behind a proxy

    @property
    def open(self) -> int:
        """How many connections there are."""
        return len(self._inside)

    @property
    def crowded(self) -> bool:
        """Whether places are running out."""
        return len(self._inside) > self.most * CROWDED

    @property
    def head_within(self) -> float:
        """Seconds for a request's head, from the connection or from a later request's first byte."""
        return self._head_within / HURRY if self.crowded else self._head_within

    @property
    def idle_within(self) -> float:
        """Seconds a connection may rest between two requests."""
        return KEEP_ALIVE_CROWDED if self.crowded else KEEP_ALIVE

    def hurry(self) -> None:
        """The server is to end: give those who have not sent all, or do not take their answer, a moment only."""
        self.body_within = min(self.body_within, CLOSING)
        self._head_within = min(self._head_within, CLOSING)
        self.read_within = min(self.read_within, CLOSING)

    def enter(self, visitor: Visitor, address: str) -> bool:
        """Let a connection in, or return False: there is no place, or none for this client."""
        if len(self._inside) >= self.most:
            self.turned_away[BUSY.reason] += 1
            return False
        if address not in self._proxies:
            client = client_of(address)
            if self._of[client] >= self.each:
                self.turned_away[CLIENT_FULL] += 1
                return False
            self._of[client] += 1
            visitor.counted_as = client
        self._inside[visitor] = None
        return True

    def wait_outside(self, visitor: Visitor) -> bool:
        """Keep a refused connection for a moment, if there is room."""
        if len(self._lobby) >= LOBBY:
            return False
        self._lobby[visitor] = None
        return True

    def leave(self, visitor: Visitor) -> None:
        """Forget a connection, which is closed."""
        self._lobby.pop(visitor, None)
        if visitor in self._inside:
            del self._inside[visitor]
            if visitor.counted_as is not None:
                self._take_back(self._of, visitor.counted_as)

    @staticmethod
    def _take_back(counts: Counter[str], client: str) -> None:
        counts[client] -= 1
        if counts[client] <= 0:
            del counts[client]

    async def watch(self) -> None:
        """Look at all connections again and again, until cancelled; then close those that nobody serves any more."""
        loop = asyncio.get_running_loop()
        every = min(EVERY, self._head_within / 4)
        try:
            while True:
                await asyncio.sleep(every)
                everyone = iter([*self._inside, *self._lobby])
                while some := list(islice(everyone, AT_ONCE)):
                    now = loop.time()
                    for visitor in some:
                        visitor.look(now)
                    await asyncio.sleep(0)
                self.room.settle()
        finally:
            for visitor in list(self._lobby):
                visitor.abort()

    def sharing(self, app: ASGIApp) -> ASGIApp:
        """Return the application with a cap on the requests of one client behind a trusted proxy. Their connections
        are the proxy's, so what is counted is the requests under way, by the address that the proxy names."""

        async def shared(scope: Scope, receive: Receive, send: Send) -> None:
            address = scope["client"][0] if scope["type"] == "http" and scope.get("client") else None
            if address is None or address in self._proxies:
                await app(scope, receive, send)
                return
            client = client_of(address)
            if self._under_way[client] >= self.each:
                self.turned_away[CLIENT_FULL] += 1
                await send(_BUSY)
                await send({"type": "http.response.body", "body": BUSY.body})
                return
            self._under_way[client] += 1
            try:
                await app(scope, receive, send)
            finally:
                self._take_back(self._under_way, client)

        return shared


async def _nobody(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("only whom uvicorn trusts is of interest")


class _Hosts(Protocol):
    def __contains__(self, host: str | None) -> bool: ...


def trusted(proxies: Sequence[str]) -> _Hosts:
    """Return what says whether an address is a trusted proxy's: uvicorn's own word, so that there are no two."""
    return ProxyHeadersMiddleware(_nobody, list(proxies)).trusted_hosts  # type: ignore[arg-type]


@lru_cache(maxsize=4096)
def client_of(address: str) -> str:
    """Return what connections from an address are counted under: the address itself, and of IPv6 the /64, which is
    what one customer gets."""
    if ":" not in address:
        return address
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return f"{IPv6Address(int(found) >> 64 << 64)}/64"


_BUSY = {
    "type": "http.response.start",
    "status": 503,
    "headers": [
        (b"content-type", b"application/problem+json"),
        (b"cache-control", b"no-store"),
        (b"retry-after", str(AGAIN_SOON).encode()),
        (b"content-length", str(len(BUSY.body)).encode()),
    ],
}

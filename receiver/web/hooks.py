"""Deliveries: `POST /hooks/{source}`, the whole answer table of DESIGN §8.1.

A raw ASGI endpoint: on this path there is no Request, no Response and no middleware of ours, because what they cost
is half of what a delivery costs altogether.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from receiver.intake import IntakeFull, IntakeUnavailable
from receiver.ledger.entries import Entry, Result
from receiver.ledger.policy import Policy
from receiver.ledger.records import Outcome, Trust
from receiver.logs import log_event, log_soon
from receiver.providers import PROVIDERS
from receiver.providers.base import (
    Account,
    BadSignature,
    Inbound,
    KeysUnavailable,
    Provider,
)
from receiver.providers.tokens import check_token
from receiver.reading import delivery_entry
from receiver.seldom import Seldom
from receiver.web.bodies import LINGER_BYTES, Bodies, ClientLeft, NoRoom, TooLarge, TooSlow, throw_away
from receiver.web.inbound import headers_of, kept_headers, query_of
from receiver.web.limits import HELD_BACK
from receiver.web.rejections import Rejections
from receiver.web.signers import Signers
from receiver.web.site import Site
from receiver.web.whole import answer_whole

PARSED_ASIDE = 2**18  # bytes; checking and reading a larger body takes long enough to hold up everybody else
ROOM = 256 * 2**20  # bytes of all bodies at once, from their first byte to their answer
AGAIN_SOON = 5  # seconds until a delivery we could not keep is worth sending again
AGAIN_LATER = 60  # and one beyond its source's quota, which is counted by the hour


@dataclass(frozen=True, slots=True)
class Source:
    """What the endpoint needs of one configured source."""

    name: str
    provider: Provider
    account: Account
    policy: Policy


class Refusal(Exception):
    """An answer that is not 200. `reason` is what it is counted under, None when it is not a rejection."""

    def __init__(
        self, status: int, detail: str, reason: str | None, *, retry_after: int | None = None, allow: str | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.reason = status, detail, reason
        self.headers: list[tuple[bytes, bytes]] = []
        if retry_after is not None:
            self.headers.append((b"retry-after", str(retry_after).encode()))
        if allow is not None:
            self.headers.append((b"allow", allow.encode()))


@dataclass(slots=True)
class _Delivery:
    """One request on its way through; filled as we learn about it."""

    source: Source
    at: datetime
    began: float
    whole: bool = False  # the body has been read to its end
    body: bytes | None = None
    length: int | None = None
    workflow_id: str | None = None


class Hooks:
    """The endpoint. `providers` are the upstreams by name."""

    def __init__(
        self, site: Site, rejections: Rejections, providers: Mapping[str, Provider] = PROVIDERS, *, room: int = ROOM
    ) -> None:
        config = site.config
        self._sources = {
            name: Source(name, providers[source.provider], config.account(name), config.policy(name))
            for name, source in config.sources.items()
            if source.trust is not Trust.NONE
        }
        self._poll_only = frozenset(config.sources) - frozenset(self._sources)
        self._intake = site.intake
        self._rejections = rejections
        self._answer_within = config.server.answer_within.total_seconds()
        # Reading keys and asking for new ones take half of the time each.
        self._signers = Signers(site.database, self._answer_within / 2)
        self._turn = asyncio.Semaphore(1)
        self._say_refused = Seldom("delivery", level="warning")
        self._bodies = Bodies(largest=config.server.max_body, room=room)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        name: str = scope["path_params"]["source"]
        source = self._sources.get(name)
        at = datetime.now(UTC)
        if source is None:
            known = name if name in self._poll_only else None
            self._rejections.add(known, "no such source", at, headers=scope["headers"])
            await self._refuse(send, receive, Refusal(404, "there is no such source here", None), whole=False)
            return
        delivery = _Delivery(source, at, time.perf_counter())
        try:
            if scope["method"] != "POST":
                self._probe(scope, source)
                await _send(send, 204, b"", [])
                return
            result = await self._take(scope, receive, delivery)
        except ClientLeft:
            self._rejections.add(source.name, "client left", at, headers=scope["headers"])
        except Refusal as refusal:
            self._count(refusal, scope, delivery)
            await self._refuse(send, receive, refusal, whole=delivery.whole)
        else:
            log_soon("delivery", **_told(delivery, 200, result.outcome, result.evidence))
            body = orjson.dumps({"delivery": result.evidence or None, "outcome": result.outcome})
            if not answer_whole(receive, 200, _JSON, body):
                await _send(send, 200, body, _JSON)
        finally:
            if delivery.body is not None:
                self._bodies.let_go(delivery.body)

    async def _refuse(self, send: Send, receive: Receive, refusal: Refusal, *, whole: bool) -> None:
        """Send an answer that is not 200. While the client is still sending, the connection ends with it."""
        told = {"type": "about:blank", "title": _TITLES[refusal.status], "status": refusal.status}
        answer = orjson.dumps({**told, "detail": refusal.detail})
        headers = [*_PROBLEM, *refusal.headers]
        if whole:
            await _send(send, refusal.status, answer, headers)
            return
        # The whole answer goes out now; its end is only declared once the client has stopped sending. A stranger gets
        # no more of our time for that than a delivery would.
        await _send(send, refusal.status, answer, [*headers, (b"connection", b"close")], more=True)
        await throw_away(receive, LINGER_BYTES if refusal.status == 413 else self._bodies.largest)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _count(self, refusal: Refusal, scope: Scope, delivery: _Delivery) -> None:
        if refusal.reason is None:
            # Of an outage's thousands of refusals, one a second is told.
            self._say_refused.log(**_told(delivery, refusal.status, "refused", None))
            return
        self._rejections.add(
            delivery.source.name,
            refusal.reason,
            delivery.at,
            detail=refusal.detail,
            headers=scope["headers"],
            body=delivery.body,
            length=delivery.length,
        )

    def _probe(self, scope: Scope, source: Source) -> None:
        """Return when a GET or HEAD is to be answered 204: upstreams probe the URL they are given."""
        wrong = Refusal(405, "deliveries are sent by POST", "wrong method", allow="POST")
        if scope["method"] not in ("GET", "HEAD"):
            raise wrong
        if source.account.hook_tokens:
            try:
                check_token(query_of(scope["query_string"]), source.account.hook_tokens)
            except BadSignature:
                raise wrong from None
        elif source.account.trust is not Trust.HINT:
            raise wrong

    async def _take(self, scope: Scope, receive: Receive, delivery: _Delivery) -> Result:
        """Return what became of a delivery, once that is committed. Raises Refusal or ClientLeft."""
        source = delivery.source
        headers = headers_of(scope["headers"])
        query = query_of(scope["query_string"])
        if source.account.hook_tokens and not _is_here(headers):
            delivery.length = _announced(headers)
            _verify_token(source, query)
        body = await self._read_body(scope, receive, headers, delivery)
        inbound = Inbound(headers, query, body, delivery.at)
        ends = asyncio.get_running_loop().time() + self._answer_within
        if len(body) > PARSED_ASIDE:
            entry = await self._aside(source, inbound, ends)
        else:
            await self._verify(source, inbound)
            entry = _entry(source, inbound)
        delivery.workflow_id = entry.workflow_id
        try:
            result = await self._intake.submit(entry, ends)
        except (IntakeFull, IntakeUnavailable):
            raise _again("the ledger cannot take deliveries just now") from None
        if result.over_quota:
            raise Refusal(429, "this source has sent too many hints", "over quota", retry_after=AGAIN_LATER)
        return result

    async def _read_body(
        self, scope: Scope, receive: Receive, headers: Mapping[str, str], delivery: _Delivery
    ) -> bytes:
        try:
            delivery.body = await self._bodies.read(scope, receive, headers.get("content-length"))
        except TooLarge:
            delivery.length = _announced(headers)
            raise Refusal(413, "the body is larger than this receiver takes", "too large") from None
        except TooSlow as slow:
            delivery.length = slow.length
            raise Refusal(408, "the body did not arrive in time", "too slow") from None
        except NoRoom:
            raise _again("too many large bodies are on their way") from None
        delivery.whole = True
        return delivery.body

    async def _aside(self, source: Source, inbound: Inbound, ends: float) -> Entry:
        """Verify and read a large delivery in a thread, one after the other: together they would only wait for the
        interpreter, and hold the memory of all at once. Raises Refusal, also when its turn does not come in time."""
        try:
            async with asyncio.timeout_at(ends), self._turn:
                await self._verify(source, inbound, aside=True)
                return await asyncio.to_thread(_entry, source, inbound)
        except TimeoutError:
            raise _again("too many large bodies are being read") from None

    async def _verify(self, source: Source, inbound: Inbound, *, aside: bool = False) -> None:
        """Return when a delivery is believed. Raises Refusal."""
        keys = await self._signers.keys(source.name) if source.provider.habits.publishes_keys else None
        try:
            if aside:
                await asyncio.to_thread(source.provider.verify, inbound, source.account, keys)
            else:
                source.provider.verify(inbound, source.account, keys)
        except BadSignature as error:
            raise Refusal(401, str(error), "not believed") from None
        except KeysUnavailable:
            await self._signers.want(source.name)
            raise _again("the signer's keys cannot be had just now") from None
        except Exception as error:  # noqa: BLE001 - a bug of ours, and so neither 4xx nor belief
            log_event("verify failed", level="error", error=error, source=source.name)
            raise _again("the proof could not be checked") from None


def _entry(source: Source, inbound: Inbound) -> Entry:
    kept = kept_headers(inbound.headers, source.provider.habits.identity_headers)
    return delivery_entry(source.name, source.provider, source.account, source.policy, inbound, kept)


def _announced(headers: Mapping[str, str]) -> int | None:
    """Return how long a body is said to be, None when that is not said."""
    length = headers.get("content-length", "")
    return int(length) if length.isdecimal() and len(length) < 16 else None


def _is_here(headers: Mapping[str, str]) -> bool:
    """Whether the whole body has come already: for short ones a request waits before it gets here (`HELD_BACK`)."""
    length = _announced(headers)
    return length is not None and length <= HELD_BACK and "expect" not in headers


def _verify_token(source: Source, query: Mapping[str, str]) -> None:
    """Raise Refusal when the URL's token is wrong: where there is one it is required (R9), so no body need be read."""
    try:
        check_token(query, source.account.hook_tokens)
    except BadSignature as error:
        raise Refusal(401, str(error), "not believed") from None


def _again(detail: str) -> Refusal:
    return Refusal(503, detail, None, retry_after=AGAIN_SOON)


Headers = list[tuple[bytes, bytes]]

_JSON: Headers = [(b"content-type", b"application/json")]
_PROBLEM: Headers = [(b"content-type", b"application/problem+json"), (b"cache-control", b"no-store")]


async def _send(
    send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]], *, more: bool = False
) -> None:
    length = [(b"content-length", str(len(body)).encode())] if status != 204 else []
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *length]})
    await send({"type": "http.response.body", "body": body, "more_body": more})


_TITLES = {
    401: "Not believed",
    404: "Not found",
    405: "Wrong method",
    408: "Too slow",
    413: "Too large",
    429: "Too many hints",
    503: "Not now",
}


def _told(delivery: _Delivery, status: int, outcome: Outcome | str, name: str | None) -> dict[str, Any]:
    """Return what the log tells of a delivery."""
    return {
        "source": delivery.source.name,
        "status": status,
        "outcome": outcome,
        "workflow": delivery.workflow_id,
        "delivery": name or None,
        "ms": round((time.perf_counter() - delivery.began) * 1000, 1),
    }


def routes(hooks: Hooks) -> list[BaseRoute]:
    """Return the one route, for every method: which are allowed is part of the answer table."""
    return [Route("/hooks/{source}", hooks, name="hooks")]

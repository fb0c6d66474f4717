"""`/v1/stream`: transitions as they are committed, as server-sent events that can be taken up where they broke off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import orjson
from sqlalchemy.exc import DBAPIError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from receiver.ledger import happenings, sessions, tokens
from receiver.ledger.cursors import BadCursor
from receiver.ledger.database import LedgerError
from receiver.ledger.engines import DRIVER_ERRORS
from receiver.ledger.happenings import Place
from receiver.ledger.query_parts import JsonObject
from receiver.logs import log_event
from receiver.web.answers import HEADERS, clock, site_of
from receiver.web.auth import needs
from receiver.web.parameters import known
from receiver.web.problems import Problem
from receiver.web.site import Site
from receiver.web.visitors import Visitor
from receiver.web.watch import Listener, News

HINTS = ("false", "true", "only")
ENDED_WITH = frozenset({"tokens", "sessions"})  # what a stream is followed with, among the marks of what changes
STILL_HERE = 15.0  # seconds of silence after which a line is sent, so that nobody in between gives up
AGAIN = 1000  # milliseconds after which a client should come again
MOST = 300  # streams of one process; while nothing happens that concerns them, they ask the ledger nothing


@dataclass(frozen=True, slots=True)
class _Wanted:
    source: str | None
    workflow: str | None
    hints: str  # true, false, or only
    token: str  # its name
    session: str | None  # the secret of the login that stands for it, if there is one


def routes() -> list[Route]:
    """Return the route of the stream."""
    return [Route("/v1/stream", stream, methods=["GET"])]


@needs("read", or_login=True)
async def stream(request: Request) -> Response:
    """Transitions from now on, or from where `Last-Event-ID` (or `after`) says; none is left out."""
    known(request, {"source", "workflow", "after", "hints"})
    site, query = site_of(request), request.query_params
    if query.get("hints", "false") not in HINTS:
        raise Problem("bad-filter", f"hints must be {', '.join(HINTS)}")
    for name in ("source", "workflow"):
        if name in query and not (0 < len(query[name]) <= 256 and query[name].isprintable()):
            raise Problem("bad-filter", f"{name} must be 1 to 256 printable characters")
    if site.watch.listeners >= MOST:
        raise Problem("too-many-streams", f"{MOST} streams are open here", headers={"retry-after": "5"})
    place = await _place(site, request.headers.get("last-event-id") or query.get("after"))
    visitor: Visitor | None = getattr(request.state, "visitor", None)
    wanted = _Wanted(
        query.get("source"), query.get("workflow"), query.get("hints", "false"), request.state.token.name,
        visitor.session.secret if visitor is not None else None,
    )  # fmt: skip
    headers = {**HEADERS, "x-accel-buffering": "no"}
    return StreamingResponse(_events(site, place, wanted), 200, headers, "text/event-stream")


async def _place(site: Site, given: str | None) -> Place:
    async with site.database.read() as connection:
        if not given:
            return await happenings.present(connection, clock())
        place = happenings.place_of(given, site.database.dialect)
        await happenings.following(connection, place, clock(), limit=1)  # what cannot be read is told while it can be
    return place


async def _events(site: Site, place: Place, wanted: _Wanted) -> AsyncIterator[bytes]:
    """Yield events until the receiver ends, the token is revoked, or the ledger cannot be asked: the client comes
    again then, and goes on where it was."""
    with site.watch.listening(wanted.source, wanted.workflow) as listener:
        yield f"retry: {AGAIN}\nid: {place.encode()}\n\n".encode()
        checked = time.monotonic()  # when it was last asked whether whoever follows still may
        while not site.stopping.is_set():
            news = listener.take()
            try:
                if _doubtful(news) or time.monotonic() - checked >= STILL_HERE:
                    if not await _still_valid(site, wanted):
                        return
                    checked = time.monotonic()
                happened, place, more = await _next(site, place, wanted)
            except (LedgerError, BadCursor, DBAPIError, *DRIVER_ERRORS) as error:
                log_event("stream", level="warning", problem="it broke off", error=error)
                return
            if happened:
                yield b"".join(_event(site, name, told) for name, told in happened)
            if wanted.hints != "false" and _worth_telling(news):
                yield _hint(site, news)
            if not more and not await _woken(listener, site):
                yield f": still here\nid: {place.encode()}\n\n".encode()


def _doubtful(news: News) -> bool:
    """Whether a token or a login may have ended: that, and not every event, is a reason to ask."""
    return news.everything or not ENDED_WITH.isdisjoint(news.also)


async def _woken(listener: Listener, site: Site) -> bool:
    """Wait until something has changed or the receiver ends; False when it has been quiet for long."""
    waits = [asyncio.ensure_future(one) for one in (listener.event.wait(), site.stopping.wait())]
    try:
        done, _ = await asyncio.wait(waits, timeout=STILL_HERE, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waits:
            one.cancel()
    return bool(done)


async def _still_valid(site: Site, wanted: _Wanted) -> bool:
    """Whether the token, or the login, has not become worthless."""
    async with site.database.read() as connection:
        if wanted.session is None:
            return await tokens.still_valid(connection, wanted.token)
        return await sessions.find(connection, wanted.session, clock()) is not None


async def _next(site: Site, place: Place, wanted: _Wanted) -> tuple[list[tuple[str, JsonObject]], Place, bool]:
    """Return what follows a place, the new place, and whether there is more."""
    if wanted.hints == "only":
        return [], place, False
    async with site.database.read() as connection:
        return await happenings.following(connection, place, clock(), source=wanted.source, workflow=wanted.workflow)


def _worth_telling(news: News) -> bool:
    return bool(news.workflows or news.everything or news.also - ENDED_WITH)


def _hint(site: Site, news: News) -> bytes:
    """A hint has no id: what it says is not told again to who was away."""
    told = {
        "workflows": [{"source": source, "workflow": name} for source, name in sorted(news.workflows) if name],
        "everything": news.everything,
        "also": sorted(news.also - ENDED_WITH),
    }
    return b"event: hint\ndata: " + orjson.dumps(site.redactor.json(told)) + b"\n\n"


def _event(site: Site, name: str, told: JsonObject) -> bytes:
    data = orjson.dumps(site.redactor.json(told))
    return b"id: " + name.encode() + b"\nevent: transition\ndata: " + data + b"\n\n"

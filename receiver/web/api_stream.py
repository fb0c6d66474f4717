"""`/v1/stream`: transitions as they are committed, as server-sent events that can be taken up where they broke off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

import orjson
from sqlalchemy.exc import DBAPIError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from receiver.ledger import happenings, tokens
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

EVERY = 0.5  # seconds between looks at the ledger
STILL_HERE = 15.0  # seconds of silence after which a line is sent, so that nobody in between gives up
AGAIN = 1000  # milliseconds after which a client should come again
MOST = 100  # streams of one process; each asks the ledger twice a second


@dataclass(slots=True)
class _Open:
    """How many streams there are."""

    count: int = 0


@dataclass(frozen=True, slots=True)
class _Wanted:
    source: str | None
    workflow: str | None
    token: str  # its name


def routes() -> list[Route]:
    """Return the route of the stream."""
    return [Route("/v1/stream", stream, methods=["GET"])]


@needs("read", or_login=True)
async def stream(request: Request) -> Response:
    """Transitions from now on, or from where `Last-Event-ID` (or `after`) says; none is left out."""
    known(request, {"source", "workflow", "after"})
    site, query = site_of(request), request.query_params
    for name in ("source", "workflow"):
        if name in query and not (0 < len(query[name]) <= 256 and query[name].isprintable()):
            raise Problem("bad-filter", f"{name} must be 1 to 256 printable characters")
    state = request.app.state
    streams: _Open = getattr(state, "streams", None) or _Open()
    state.streams = streams
    if streams.count >= MOST:
        raise Problem("too-many-streams", f"{MOST} streams are open here", headers={"retry-after": "5"})
    place = await _place(site, request.headers.get("last-event-id") or query.get("after"))
    wanted = _Wanted(query.get("source"), query.get("workflow"), request.state.token.name)
    headers = {**HEADERS, "x-accel-buffering": "no"}
    return StreamingResponse(_counted(streams, _events(site, place, wanted)), 200, headers, "text/event-stream")


async def _place(site: Site, given: str | None) -> Place:
    async with site.database.read() as connection:
        if not given:
            return await happenings.present(connection, clock())
        try:
            place = happenings.place_of(given, site.database.dialect)
            await happenings.following(connection, place, limit=1)  # what cannot be read is told while it can be
        except BadCursor as error:
            raise Problem("bad-cursor", str(error)) from None
    return place


async def _counted(streams: _Open, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    streams.count += 1
    try:
        async for event in events:
            yield event
    finally:
        streams.count -= 1


async def _events(site: Site, place: Place, wanted: _Wanted) -> AsyncIterator[bytes]:
    """Yield events until the receiver ends, the token is revoked, or the ledger cannot be asked: the client comes
    again then, and goes on where it was."""
    yield f"retry: {AGAIN}\nid: {place.encode()}\n\n".encode()
    loop = asyncio.get_running_loop()
    heard = loop.time()
    while not site.stopping.is_set():
        try:
            found = await _next(site, place, wanted)
        except (LedgerError, DBAPIError, *DRIVER_ERRORS) as error:
            log_event("stream", level="warning", problem="it broke off", error=error)
            return
        if found is None:
            return
        happened, place, more = found
        if happened:
            yield b"".join(_event(site, name, told) for name, told in happened)
            heard = loop.time()
        elif loop.time() - heard >= STILL_HERE:
            yield f": still here\nid: {place.encode()}\n\n".encode()
            heard = loop.time()
        if not more:
            with suppress(TimeoutError):
                await asyncio.wait_for(site.stopping.wait(), EVERY)


async def _next(site: Site, place: Place, wanted: _Wanted) -> tuple[list[tuple[str, JsonObject]], Place, bool] | None:
    """Return what follows a place; None once the token is worthless."""
    async with site.database.read() as connection:
        if not await tokens.still_valid(connection, wanted.token):
            return None
        return await happenings.following(connection, place, source=wanted.source, workflow=wanted.workflow)


def _event(site: Site, name: str, told: JsonObject) -> bytes:
    data = orjson.dumps(site.redactor.json(told))
    return b"id: " + name.encode() + b"\nevent: transition\ndata: " + data + b"\n\n"

"""`/live`: server-sent events that tell an open page to renew itself."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from receiver.ledger import sessions
from receiver.web.answers import clock
from receiver.web.pages.guarding import page
from receiver.web.pages.watch import Listener, TooManyListeners, Watch
from receiver.web.site import Site
from receiver.web.visitors import Visitor

RENEW = 30.0  # seconds after which a page is renewed in any case, and its visitor looked up again
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-accel-buffering", b"no"),
]


def routes(site: Site, watch: Watch) -> list[Route]:
    """Return the route of live updates; `watch` is this process's."""

    @page()
    async def live(request: Request) -> Response:
        """Changes, for as long as the page is open."""
        return _Stream(site, watch, request.state.visitor)

    return [Route("/live", live, methods=["GET"])]


class _Stream(Response):
    """Writes until the browser leaves, the visitor is logged out, or the server ends."""

    def __init__(self, site: Site, watch: Watch, visitor: Visitor) -> None:
        super().__init__()
        self._site, self._watch, self._visitor = site, watch, visitor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._watch.listening() as listener:
                await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
                leaving = asyncio.create_task(_left(receive))
                stopping = asyncio.create_task(self._site.stopping.wait())
                try:
                    await self._write(listener, {leaving, stopping}, send)
                finally:
                    for task in (leaving, stopping):
                        task.cancel()
                with suppress(OSError):
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TooManyListeners:
            await Response(status_code=503, headers={"retry-after": "60"})(scope, receive, send)

    async def _write(self, listener: Listener, ends: set[asyncio.Task[bool]], send: Send) -> None:
        await _event(send, "hello", {})
        while True:
            news = asyncio.create_task(listener.event.wait())
            done, _ = await asyncio.wait({news, *ends}, timeout=RENEW, return_when=asyncio.FIRST_COMPLETED)
            news.cancel()
            if done & ends:
                return
            if not done:
                if not await self._still_in():
                    await _event(send, "bye", {})
                    return
                listener.hear(set(), everything=True)
            workflows, everything = listener.take()
            await _event(send, "change", {"workflows": workflows, "everything": everything})

    async def _still_in(self) -> bool:
        async with self._site.database.read() as connection:
            return await sessions.find(connection, self._visitor.session.secret, clock()) is not None


async def _left(receive: Receive) -> bool:
    while (await receive())["type"] != "http.disconnect":
        pass
    return True


async def _event(send: Send, name: str, data: object) -> None:
    body = b"event: " + name.encode() + b"\ndata: " + orjson.dumps(data) + b"\n\n"
    await send({"type": "http.response.body", "body": body, "more_body": True})

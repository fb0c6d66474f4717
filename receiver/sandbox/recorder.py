"""Around an application: every API request becomes a line of the log, every answer gets the sandbox clock's `Date`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from receiver.sandbox.clock import Clock, stamp

CONTROL = "/_sandbox"
KEY_HEADERS = frozenset({b"authorization", b"x-api-key"})


class Recorder:
    """Logs `{"time", "method", "path", "query", "status", "ms", "authorized"}`; `query` only names its parameters, for
    they may hold signatures. `status` is None when the client left first. The control surface itself is not logged."""

    def __init__(self, app: ASGIApp, clock: Clock, record: Callable[[dict[str, Any]], None]) -> None:
        self._app = app
        self._clock = clock
        self._record = record

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        names = [pair.partition("=")[0] for pair in scope["query_string"].decode("latin-1").split("&") if pair]
        line: dict[str, Any] = {"time": stamp(self._clock.now()), "method": scope["method"], "path": scope["path"]}
        line |= {"query": names, "status": None, "ms": 0.0, "authorized": not KEY_HEADERS.isdisjoint(headers)}
        began = time.monotonic()

        async def send_dated(message: Message) -> None:
            if message["type"] == "http.response.start":
                line["status"] = message["status"]
                message["headers"] = [*message["headers"], (b"date", self._clock.date_header().encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_dated)
        finally:
            line["ms"] = round((time.monotonic() - began) * 1000, 1)
            if not scope["path"].startswith(CONTROL):
                self._record(line)

"""HTTP Strict Transport Security (RFC 6797): whoever was answered over https once never asks without it again."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from receiver.web.visitors import is_https

_HEADER = (b"strict-transport-security", b"max-age=31536000")


class StrictTransport:
    """Has every answer over https say so; for a receiver whose public URL is https.

    Deliveries go by untouched: upstreams are no browsers, and nothing is added to their way.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the application does, and add the header."""
        if scope["type"] != "http" or scope["path"].startswith("/hooks/") or not is_https(Request(scope)):
            return await self._app(scope, receive, send)

        async def strict(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], _HEADER]
            await send(message)

        return await self._app(scope, receive, strict)

"""HTTP/1.1 as uvicorn speaks it, with a limit on what a request may take to begin.

uvicorn bounds neither the size of a request's head nor the time until it is there; without that, any stranger fills our
memory with one endless header, or our table of connections with silent ones.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD = 64 * 2**10  # bytes of the request line and the headers, give or take what one read from the socket brings


class Protocol(HttpToolsProtocol):
    """One connection."""

    head_within = 10.0  # seconds from the connection, or from a later request's first byte

    _arriving = True  # a head is, or has yet to begin
    _size = 0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.head_within, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._arriving:
            if self._size > HEAD:
                self.send_400_response("The head of the request is too large.")
                return
            self._size += len(data)
        super().data_received(data)
        if self._arriving and self._size and self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(self.head_within, self._give_up)

    def on_headers_complete(self) -> None:
        self._arriving = False
        self._disarm()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._arriving, self._size = True, 0
        super().on_message_complete()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.close()


def protocol_that_waits(seconds: float) -> type[Protocol]:
    """Return the protocol with another time limit for heads."""
    return type("Protocol", (Protocol,), {"head_within": seconds})

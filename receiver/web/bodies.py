"""A request's raw body, under a cap on its size and on what all bodies together may hold in memory.

The cap on its time is the protocol's, which closes the connection and leaves word under LATE in the scope's state.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.types import Receive, Scope

LATE = "hookledger.late"  # there when a body did not arrive in time: how many bytes of it nobody had read yet
LINGER = 2.0  # seconds for which a refused body is thrown away before its connection is closed, and
LINGER_BYTES = 64 * 2**20  # how much of one that was refused for its size alone


class TooLarge(Exception):
    """The body is larger than we take (413)."""


class TooSlow(Exception):
    """The body did not arrive in time (408). `length` is how much of it did."""

    def __init__(self, length: int) -> None:
        super().__init__(f"{length} bytes arrived in time")
        self.length = length


class ClientLeft(Exception):
    """The client closed the connection before its body was complete: there is nobody to answer."""


class NoRoom(Exception):
    """The bodies that arrive just now fill the memory set aside for them (503)."""


class Bodies:
    """Reads bodies. `largest` and `room` (for all bodies together, until they are let go) are bytes.

    Without `room`, a few hundred slow uploads would be enough to end the process.
    """

    def __init__(self, *, largest: int, room: int) -> None:
        self.largest, self._room = largest, room
        self._held = 0

    async def read(self, scope: Scope, receive: Receive, content_length: str | None) -> bytes:
        """Return the whole body, which takes up room until `let_go`. Raises TooLarge, TooSlow, ClientLeft or NoRoom."""
        # Announced sizes are checked first, so that nobody uploads 20 MB to be refused.
        if content_length is not None and content_length.isdecimal() and int(content_length[:20]) > self.largest:
            raise TooLarge
        parts: list[bytes] = []
        size = 0
        whole = False
        try:
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    late = scope["state"].get(LATE) if "state" in scope else None
                    raise ClientLeft if late is None else TooSlow(size + late)
                part: bytes = message.get("body", b"")
                size += len(part)
                self._held += len(part)
                if size > self.largest:
                    raise TooLarge
                if self._held > self._room:
                    raise NoRoom
                parts.append(part)
                if not message.get("more_body", False):
                    whole = True
                    return parts[0] if len(parts) == 1 else b"".join(parts)
        finally:
            if not whole:
                self._held -= size

    def let_go(self, body: bytes) -> None:
        """Give back the room of a body that was read: it has been answered."""
        self._held -= len(body)


async def throw_away(receive: Receive, most: int) -> None:
    """Read and drop what a refused client is still sending, for a moment and up to `most` bytes.

    A connection closed with unread data is reset, and a reset makes the client drop the answer it has just been sent.
    """
    dropped = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER):
            while dropped < most:
                message = await receive()
                dropped += len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return

"""uvicorn's flow control and queue, made to cost nothing on a connection that only waits.

Each `asyncio.Event` and each deque takes up most of a kilobyte, which thousands of stalled connections have three of.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl

# What every connection's queue is until something waits in it; never filled.
NOTHING_WAITS: deque[Any] = deque()
# What tells a request's application of its body for as long as there is no application; nobody waits for it.
NOBODY_LISTENS = asyncio.Event()


class Flow(FlowControl):
    """Whether reading and writing are paused. There is something to wait for only while writing is."""

    __slots__ = ("_is_writable_event", "_transport", "read_paused", "write_paused")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._is_writable_event: asyncio.Event | None = None  # type: ignore[assignment]
        self.read_paused = self.write_paused = False

    async def drain(self) -> None:
        """Return when writing is not paused."""
        if self._is_writable_event is not None:
            await self._is_writable_event.wait()

    def pause_writing(self) -> None:
        """Called when a client takes its answers too slowly."""
        self.write_paused = True
        self._is_writable_event = self._is_writable_event or asyncio.Event()

    def resume_writing(self) -> None:
        """Called when it has taken nearly all of them, or is gone."""
        self.write_paused = False
        event, self._is_writable_event = self._is_writable_event, None
        if event is not None:
            event.set()

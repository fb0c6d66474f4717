"""`/healthz` of `reconcile --watch`: whether its loop still turns, for whoever would start it anew.

Says the same as the receiver's, and nothing else. A process whose event loop is stuck does not answer at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson

from receiver import __version__

# A loop that says nothing for so many seconds is stuck; it turns twice a second, each ten while the database is away.
SILENT_AFTER = 60.0
_PATIENCE = 5.0  # seconds for a request to arrive
_LONGEST = 8192  # bytes of a request's head
_WORDS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


@dataclass(slots=True)
class Pulse:
    """The last sign of life of this process' loop, by its monotonic clock."""

    silent_after: float = SILENT_AFTER
    at: float = field(default_factory=time.monotonic)

    def beat(self) -> None:
        """Say that the loop is alive."""
        self.at = time.monotonic()

    @property
    def silent(self) -> float | None:
        """Return for how many seconds the loop has been silent, None while it is not."""
        since = time.monotonic() - self.at
        return since if since > self.silent_after else None


@asynccontextmanager
async def answering(host: str, port: int, pulse: Pulse) -> AsyncIterator[int]:
    """Answer on `host` and `port` (0: any free one) while inside; gives the port. Raises OSError when it is taken."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                    head = b""
                writer.write(_answer(head, pulse))
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, host, port, limit=_LONGEST) as server:
        yield server.sockets[0].getsockname()[1]


def _answer(head: bytes, pulse: Pulse) -> bytes:
    words = head.partition(b"\r\n")[0].split(b" ")
    silent = pulse.silent
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        status = 400
    elif words[1].partition(b"?")[0] != b"/healthz":
        status = 404
    elif words[0] not in (b"GET", b"HEAD"):
        status = 405
    else:
        status = 200 if silent is None else 503
    told = {"reconciler": round(silent, 1)} if silent is not None else {}
    body = orjson.dumps({"status": "silent" if told else "alive", "version": __version__, "silent": told})
    if status not in (200, 503):
        body = b"{}"
    lines = (
        f"HTTP/1.1 {status} {_WORDS[status]}\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return lines.encode("ascii") + (b"" if words[0] == b"HEAD" else body)

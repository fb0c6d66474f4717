"""Between us and PostgreSQL: a relay that understands its protocol well enough to fail exactly one statement.

Statements are counted over all connections from `arm` on: a simple query is one, a Bind with its Execute is one.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qs, urlsplit

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_SSL, _GSS = 80877103, 80877104


@dataclass(frozen=True)
class Fault:
    """What happens to the chosen statement.

    `cut before`: the connection ends without the statement having reached the server; `cut after`: the server has run
    it, and the answer is lost; `error`: the server raises an error of this SQLSTATE in its place; `fatal`: the server
    says an error of this SQLSTATE and closes the connection.
    """

    how: Literal["cut before", "cut after", "error", "fatal"]
    state: str = ""

    def __str__(self) -> str:
        return f"{self.how} {self.state}".strip()


def told(severity: str, state: str) -> bytes:
    """Return an ErrorResponse."""
    fields = b"".join(
        kind + text.encode() + b"\0"
        for kind, text in ((b"S", severity), (b"V", severity), (b"C", state), (b"M", "injected by the test"))
    )
    return b"E" + struct.pack("!I", len(fields) + 5) + fields + b"\0"


def raising(state: str) -> bytes:
    """Return a simple query that fails with a SQLSTATE."""
    text = f"DO $$ BEGIN RAISE EXCEPTION 'injected by the test' USING ERRCODE = '{state}'; END $$".encode()
    return b"Q" + struct.pack("!I", len(text) + 5) + text + b"\0"


@dataclass
class Wire:
    """The relay. `url` leads through it to the same database. `refusing` is the SQLSTATE new connections are sent away
    with."""

    url: str
    target: str
    refusing: str | None = None
    count: int = 0
    fired: bool = False
    met: bytes = b""  # the message that met the fault
    _passable: asyncio.Event = field(default_factory=asyncio.Event)
    _met: int = 0  # connections
    _lost: int = 0  # of these the first so many, for which nothing passes any more
    _at: int = 0
    _fault: Fault | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._passable.set()

    def swallow(self) -> None:
        """From now on nothing passes in either direction, and nobody is told: a black hole."""
        self._passable.clear()
        self._lost = self._met

    def pass_again(self) -> None:
        """Let pass what has come since; the connections from before are lost, and nobody has told their two ends."""
        self._passable.set()

    def meet(self) -> int:
        """Count a connection; returns its number."""
        self._met += 1
        return self._met

    async def passes(self, number: int) -> None:
        """Return when something passes on a connection: never, if it was swallowed."""
        await self._passable.wait()
        while number <= self._lost:
            await asyncio.Event().wait()

    def arm(self, at: int, fault: Fault) -> None:
        """Let the `at`-th statement from now on meet `fault`, once."""
        self._at, self._fault, self.count, self.fired, self.met = at, fault, 0, False, b""

    def disarm(self) -> None:
        """Let everything through."""
        self._fault = None

    def hits(self, message: bytes) -> Fault | None:
        """Count a statement; return the fault if it is the one."""
        if self._fault is None:
            return None
        self.count += 1
        if self.count != self._at:
            return None
        fault, self._fault, self.fired, self.met = self._fault, None, True, message
        return fault

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection to its end."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await _Relay(self, (reader, writer)).run()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def close(self) -> None:
        """End every connection."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class _Relay:
    """One connection."""

    def __init__(self, wire: Wire, client: Streams) -> None:
        self._wire, self._client, self._number = wire, client, wire.meet()
        self._swallowing = False  # what the server answers is not passed on

    async def run(self) -> None:
        first = await self._startup()
        if first is None:
            return
        server = await asyncio.open_unix_connection(self._wire.target)
        server[1].write(first)
        ways = [asyncio.create_task(self._up(server[1])), asyncio.create_task(self._down(server[0]))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            server[1].close()

    async def _startup(self) -> bytes | None:
        reader, writer = self._client
        while True:
            head = await reader.readexactly(8)
            length, code = struct.unpack("!II", head)
            first = head + await reader.readexactly(length - 8)
            await self._wire.passes(self._number)
            if code in (_SSL, _GSS):
                writer.write(b"N")
                continue
            if self._wire.refusing is None:
                return first
            writer.write(told("FATAL", self._wire.refusing))
            await writer.drain()
            return None

    async def _up(self, server: asyncio.StreamWriter) -> None:
        """From us to the server, message by message."""
        reader, writer = self._client
        while True:
            kind, message = await _message(reader)
            await self._wire.passes(self._number)
            fault = self._wire.hits(message) if kind in b"QB" else None
            if fault is None:
                server.write(message)
                continue
            if fault.how == "cut before":
                return
            if fault.how == "fatal":
                writer.write(told("FATAL", fault.state))
                await writer.drain()
                return
            if fault.how == "cut after":
                self._swallowing = True
                server.write(message)
                continue
            while kind not in b"QS":  # the rest of the statement, up to its Sync
                kind, _ = await _message(reader)
            server.write(raising(fault.state))

    async def _down(self, server: asyncio.StreamReader) -> None:
        """From the server to us."""
        while True:
            kind, message = await _message(server)
            await self._wire.passes(self._number)
            if not self._swallowing:
                self._client[1].write(message)
            elif kind == b"Z":  # it has run the statement, and is ready for the next
                return


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readexactly(5)
    (length,) = struct.unpack("!I", head[1:])
    return head[:1], head + await reader.readexactly(length - 4)


@asynccontextmanager
async def wired(database_url: str) -> AsyncIterator[Wire]:
    """Stand between a PostgreSQL that listens on a socket in a folder, as `?host=` says, and whoever uses `url`."""
    parts = urlsplit(database_url)
    folder = parse_qs(parts.query)["host"][0]
    wire = Wire("", f"{folder}/.s.PGSQL.5432")
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    wire.url = f"postgresql://postgres@127.0.0.1:{port}{parts.path}"
    try:
        yield wire
    finally:
        server.close()
        await wire.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(server.wait_closed(), 5)

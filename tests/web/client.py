"""The smallest HTTP client that can misbehave: it sends what it is told and reads one answer."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """One answer: `headers` by lower-case name."""

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class NoAnswer(Exception):
    """The server closed the connection without an answer, or refused it."""


async def connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection to the server of a URL."""
    where = urlsplit(url)
    return await asyncio.open_connection(where.hostname, where.port)


def head(method: str, url: str, headers: dict[str, str]) -> bytes:
    """The request line and the headers, as bytes."""
    where = urlsplit(url)
    target = where.path + (f"?{where.query}" if where.query else "")
    lines = [f"{method} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in {"host": where.netloc, **headers}.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def read_answer(reader: asyncio.StreamReader, method: str = "POST") -> Answer:
    """Read one answer. Raises NoAnswer."""
    try:
        start = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, ConnectionError):
        raise NoAnswer from None
    first, *lines = start.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    length = 0 if method == "HEAD" else int(headers.get("content-length", "0"))
    try:
        body = await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        raise NoAnswer from None
    return Answer(int(first.split()[1]), headers, body)


async def ask(method: str, url: str, body: bytes = b"", **headers: str) -> Answer:
    """Send one request on a connection of its own and read its answer. Raises NoAnswer.

    Header names are written with underscores.
    """
    try:
        reader, writer = await connect(url)
    except OSError:
        raise NoAnswer from None
    try:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if body or method == "POST":
            given.setdefault("content-length", str(len(body)))
        try:
            writer.write(head(method, url, given) + body)
            await writer.drain()
        except ConnectionError:
            pass  # an early answer may still be there to read
        return await read_answer(reader, method)
    finally:
        writer.close()


def event(workflow: str, status: str, **fields: Any) -> bytes:
    """A Civitai workflow event."""
    return json.dumps({"$type": "workflow", "workflowId": workflow, "status": status, **fields}).encode()

"""A server of output files that does as the test says: parts, breaks, refusals; and what a test of copying needs."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from receiver.ledger.collected import collected
from receiver.sandbox.serving import address_of, bind, serving
from reconciler.loop import run_pass
from reconciler.passes import PassReport
from tests.reconciler.world import Upstream, World, document, image


def some_bytes(size: int, name: str = "a") -> bytes:
    return hashlib.shake_128(name.encode()).digest(size)


@dataclass
class FileServer:
    """Files by name. `breaks_after` bytes a connection ends, that many times; `refuses` with these, one each."""

    base_url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    says_length: bool = True
    breaks_after: int | None = None
    breaks: int = 0
    refuses: list[tuple[int, bytes]] = field(default_factory=list)
    gate: asyncio.Event | None = None
    asked: list[dict[str, str]] = field(default_factory=list)

    def url(self, name: str, query: str = "sig=1") -> str:
        return f"{self.base_url}/{name}?{query}"

    async def take(self, request: Request) -> Response:
        self.asked.append({**request.headers, "path": request.url.path, "query": request.url.query})
        if self.refuses:
            status, said = self.refuses.pop(0)
            return Response(said, status)
        data = self.files.get(request.path_params["name"])
        if data is None:
            return Response(b"there is no such file", 404)
        etag = f'"{hashlib.sha256(data).hexdigest()[:20]}"'
        headers = {"etag": etag, "content-type": "image/png", **self.headers}
        start, wanted = 0, request.headers.get("range")
        if wanted and self.ranges and request.headers.get("if-range") in (None, headers["etag"]):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                return Response(b"", 416, {"content-range": f"bytes */{len(data)}"})
            headers["content-range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        if self.says_length:
            headers["content-length"] = str(len(data) - start)
        return StreamingResponse(self._sent(data[start:]), 206 if "content-range" in headers else 200, headers)

    async def _sent(self, data: bytes) -> AsyncIterator[bytes]:
        if self.breaks and self.breaks_after is not None:
            self.breaks -= 1
            yield data[: self.breaks_after]
            await asyncio.sleep(0.05)
            raise ConnectionError
        half = len(data) // 2 if self.gate is not None else len(data)
        yield data[:half]
        if self.gate is not None:
            await self.gate.wait()
            yield data[half:]


@asynccontextmanager
async def files_served() -> AsyncIterator[FileServer]:
    server = FileServer()
    sock = bind("127.0.0.1", 0)
    server.base_url = address_of(sock)
    async with serving(Starlette(routes=[Route("/{name}", server.take)]), sock):
        yield server
        if server.gate is not None:
            server.gate.set()


def collecting(folder: Path, *more: str) -> tuple[str, ...]:
    """The lines of a configuration that has outputs copied to a folder."""
    return ('deadline = "30d"', "collect = true", "[collect]", f'folder = "{folder}"', *more)


def shows(upstream: Upstream, url: str | Callable[[], str], name: str = "wf", *, lives: float = 600) -> None:
    """Have upstream show an ended workflow with one output there."""

    def answer() -> tuple[int, Any]:
        where = url if isinstance(url, str) else url()
        until = datetime.now(UTC) + timedelta(seconds=lives)
        return 200, document(name, output={"images": [image(f"{name}.png", where, until)]})

    upstream.answers[f"/{name}"] = answer


async def one_pass(world: World, **more: Any) -> PassReport:
    return await run_pass(world.config, world.database, world.redactor, **more)


async def row_of(world: World, name: str = "wf") -> Any:
    (row,) = [row for row in await world.rows(collected) if row.blob == f"{name}.png"]
    return row


async def hurry(world: World) -> None:
    """Let what waits for its next try have it now."""
    async with world.database.write() as connection:
        due = collected.c.due_at.is_not(None)
        await connection.execute(
            collected.update().where(due).values(due_at=datetime.now(UTC) - timedelta(seconds=1), leased_until=None)
        )

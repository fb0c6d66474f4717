"""What the tests of the single-task sandboxes speak with: a caller with any key header, and a box for callbacks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

import aiohttp
from sandbox_client import Answer
from starlette.requests import Request
from starlette.responses import Response

from receiver.sandbox.running import Running


@dataclass
class Client:
    """Calls one sandbox; `headers` bring its key."""

    session: aiohttp.ClientSession
    upstream: Running[Any]
    headers: Mapping[str, str]

    async def call(
        self, method: str, path: str, body: Any = None, *, key: bool = True, headers: Mapping[str, str] | None = None
    ) -> Answer:
        url = path if path.startswith("http") else self.upstream.base_url + path
        given = {**(self.headers if key else {}), **(headers or {})}
        data = body if isinstance(body, bytes) else None
        sent = None if isinstance(body, bytes) else body
        async with self.session.request(method, url, data=data, json=sent, headers=given) as answer:
            return Answer(answer.status, {k.lower(): v for k, v in answer.headers.items()}, await answer.read())

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.call("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        return await self.call("POST", path, body, **options)


@dataclass(frozen=True)
class Delivery:
    """One callback as it came."""

    headers: Mapping[str, str]
    query: str
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Box:
    """Keeps every callback; `status` decides the answer to the n-th (0-based)."""

    url: str = ""
    got: list[Delivery] = field(default_factory=list)
    status: Callable[[int], int] = lambda number: 200

    @property
    def hook(self) -> str:
        return self.url + "?token=tok"

    async def take(self, request: Request) -> Response:
        headers = {key.lower(): value for key, value in request.headers.items()}
        self.got.append(Delivery(headers, request.url.query, await request.body()))
        return Response(status_code=self.status(len(self.got) - 1))


def lines(upstream: Running[Any], **wanted: Any) -> list[dict[str, Any]]:
    """The callback log lines with these values."""
    return [x for x in upstream.log()["callbacks"] if all(x[key] == value for key, value in wanted.items())]


def gaps(tries: list[dict[str, Any]], speed: float) -> list[float]:
    """Upstream's seconds between the tries of one callback."""
    times = [datetime.fromisoformat(line["time"]) for line in tries]
    return [(later - sooner).total_seconds() * speed for sooner, later in pairwise(times)]

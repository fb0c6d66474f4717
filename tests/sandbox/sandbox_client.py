"""What the sandbox tests speak with: a caller of its API, and a receiver that keeps every callback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from starlette.requests import Request
from starlette.responses import Response

from receiver.sandbox.civitai import RunningCivitai

ALL = ["workflow:*", "step:*", "job:*"]
WORKFLOWS = "/v2/consumer/workflows"
BLOBS = "/v2/consumer/blobs"


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, read."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Caller:
    """Calls one sandbox with its key; redirects are shown, not followed."""

    def __init__(self, session: aiohttp.ClientSession, upstream: RunningCivitai) -> None:
        self.session = session
        self.upstream = upstream
        self.headers = {"Authorization": f"Bearer {upstream.api_key}"}

    async def call(self, method: str, path: str, *, body: Any = None, key: bool = True, **params: Any) -> Answer:
        url = path if path.startswith("http") else self.upstream.base_url + path
        headers = self.headers if key else {}
        query = [(k, str(v)) for k, vs in params.items() for v in (vs if isinstance(vs, list) else [vs])]
        async with self.session.request(
            method, url, json=body, headers=headers, params=query or None, allow_redirects=False
        ) as answer:
            return Answer(answer.status, {k.lower(): v for k, v in answer.headers.items()}, await answer.read())

    async def get(self, path: str, **params: Any) -> Answer:
        return await self.call("GET", path, **params)

    async def submit(self, *steps: dict[str, Any], wait: int = 0, **fields: Any) -> Answer:
        body = {"steps": list(steps) or [image()], **fields}
        return await self.call("POST", WORKFLOWS, body=body, wait=wait)

    async def finished(self, *steps: dict[str, Any], **fields: Any) -> dict[str, Any]:
        """Submit, wait for the end, return the workflow."""
        answer = await self.submit(*steps, wait=10, **fields)
        assert answer.status == 200, answer.body
        return dict(answer.json)


async def until(true: Callable[[], bool], seconds: float = 10) -> None:
    """Return once it is true; fail after that many seconds."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - the world is asked, it does not tell
            await asyncio.sleep(0.01)


def image(**script: Any) -> dict[str, Any]:
    """An image step; `script` says how it shall go."""
    return {"$type": "imageGen", "input": {"prompt": "a sword"}, "metadata": {"sandbox": script} if script else {}}


def echo(name: str | None = None, **script: Any) -> dict[str, Any]:
    """An echo step."""
    step = {"$type": "echo", "input": {"message": "hello"}, "metadata": {"sandbox": script} if script else {}}
    return step | ({"name": name} if name else {})


@dataclass
class Inbox:
    """A receiver of callbacks. `status` decides the answer to the n-th post (0-based) with that body."""

    url: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    answered: list[dict[str, Any]] = field(default_factory=list)
    status: Callable[[int, dict[str, Any]], int] = lambda number, event: 200
    pause: float = 0.0
    in_flight: dict[str, int] = field(default_factory=dict)
    most_in_flight: int = 0

    async def take(self, request: Request) -> Response:
        event = json.loads(await request.body())
        number, key = len(self.events), event["workflowId"]
        self.events.append(event)
        self.queries.append(request.url.query)
        self.in_flight[key] = self.in_flight.get(key, 0) + 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight[key])
        try:
            await asyncio.sleep(self.pause)
        finally:
            self.in_flight[key] -= 1
        status = self.status(number, event)
        if 200 <= status < 300:
            self.answered.append(event)
        return Response(status_code=status, headers={"Location": self.url} if 300 <= status < 400 else None)

    def callback(self, types: list[str] | None = None, *, detailed: bool | None = None, token: str = "tok") -> Any:
        """A registration of this inbox."""
        shown = {} if detailed is None else {"detailed": detailed}
        return {"url": f"{self.url}?token={token}", "type": types or ALL, **shown}

    def of_level(self, level: str) -> list[dict[str, Any]]:
        """The events of one level, as they came."""
        key = {"job": "jobId", "step": "name", "workflow": "timestamp"}[level]
        return [event for event in self.events if key in event]


@contextlib.asynccontextmanager
async def commanded(*arguments: str) -> AsyncIterator[str]:
    """`hookledger sandbox …` in a process of its own: the line it prints. It must leave silently on SIGTERM."""
    program = "from receiver.sandbox.command import sandbox; sandbox()"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", program, *arguments, "--port", "0"),
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode()
    finally:
        process.send_signal(signal.SIGTERM)
        rest, errors = await process.communicate()
    assert (process.returncode, rest, errors) == (0, b"", b"")


def strangers_of(*modules: str) -> str:
    """The list of modules of this product, the sandbox's aside, that importing these brings along."""
    program = (
        f"import sys, {', '.join(modules)}; "
        "print([m for m in sys.modules if m.startswith(('receiver.', 'reconciler')) and '.sandbox' not in m])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()

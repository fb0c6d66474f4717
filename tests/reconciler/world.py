"""What the reconciler's tests work in: a ledger, a configuration, and an upstream that answers as told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import select, text, update
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.config import Config, load_config
from receiver.ledger import checks, store
from receiver.ledger.apply import apply
from receiver.ledger.checks import Check
from receiver.ledger.database import Database, now
from receiver.ledger.entries import Entry, Result
from receiver.ledger.nodes import WorkflowState
from receiver.ledger.operations import passes, source_state
from receiver.ledger.records import EvidenceKind, Trust
from receiver.ledger.tables import attention, evidence, transitions
from receiver.ledger.tables import checks as check_table
from receiver.providers import provider_named
from receiver.providers.base import Inbound
from receiver.redaction import Redactor
from receiver.sandbox.serving import address_of, bind, serving
from reconciler.loop import run_daemon
from reconciler.places import HERE_FOR

KEY = "sandbox-key"
TOKEN = "hook-token-of-civitai-0001"
LATELY = timedelta(seconds=3)  # long enough for a first look, or a confirming one, to be due


def document(workflow_id: str, status: str = "succeeded", **more: Any) -> dict[str, Any]:
    """A workflow as GetWorkflow shows it, with one step of the same status."""
    step = {"$type": "echo", "name": "$0", "status": status, "metadata": {}, "priority": "normal"}
    return {
        "id": workflow_id, "status": status, "createdAt": datetime.now(UTC).isoformat(), "metadata": {},
        "steps": [step | {"output": more.pop("output", None)}], "tags": [], **more,
    }  # fmt: skip


def image(blob_id: str, url: str, expires_at: datetime) -> dict[str, Any]:
    """A blob as GetWorkflow shows it."""
    until = expires_at.isoformat().replace("+00:00", "Z")
    return {"type": "image", "id": blob_id, "available": True, "url": url, "urlExpiresAt": until}


@dataclass
class Seen:
    """One request as upstream got it."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    at: datetime
    body: bytes = b""


@dataclass
class Upstream:
    """An upstream whose every answer the test decides: `answers` maps a path's end to what is answered there.

    A value is (status, body, headers) or a callable that makes one; `body` is JSON data, or bytes as they are.
    `most_open` is how many requests were under way at once.
    """

    base_url: str = ""
    answers: dict[str, Any] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    pause: float = 0.0
    skew: timedelta = timedelta(0)
    open: int = 0
    most_open: int = 0

    async def take(self, request: Request) -> Response:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            return await self._answer(request)
        finally:
            self.open -= 1

    async def _answer(self, request: Request) -> Response:
        headers = dict(request.headers)
        path = request.scope["raw_path"].decode()
        at, body = datetime.now(UTC), await request.body()
        self.seen.append(Seen(request.method, path, request.url.query, headers, at, body))
        found = next((a for end, a in self.answers.items() if request.url.path.endswith(end)), (404, {"status": 404}))
        if callable(found):
            found = found()
        if asyncio.iscoroutine(found):
            found = await found
        status, body, *rest = found
        await asyncio.sleep(self.pause)
        dated = {"date": format_datetime((datetime.now(UTC) + self.skew).replace(microsecond=0), usegmt=True)}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return Response(content, status, dated | (rest[0] if rest else {}), "application/json")

    def asked(self, workflow_id: str) -> int:
        """How often this workflow was asked about."""
        return sum(one.path.endswith(f"/workflows/{workflow_id}") for one in self.seen)


@asynccontextmanager
async def upstream_running() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    sock = bind("127.0.0.1", 0)
    upstream.base_url = address_of(sock)
    app = Starlette(routes=[Route("/{path:path}", upstream.take, methods=["GET", "POST"])])
    async with serving(app, sock):
        yield upstream


@dataclass
class World:
    """A ledger with one source named `civitai`, asked at `base_url`."""

    database: Database
    config: Config
    redactor: Redactor

    async def deliver(
        self, workflow_id: str, status: str, *, token: bool = True, ago: timedelta = LATELY, **fields: Any
    ) -> Result:
        """Put in a callback as the receiver would have done a while ago."""
        at = datetime.now(UTC) - ago
        stamp = at.isoformat().replace("+00:00", "Z")
        body = json.dumps(
            {"$type": "workflow", "workflowId": workflow_id, "status": status, "timestamp": stamp, **fields}
        ).encode()
        policy = self.config.policy("civitai")
        inbound = Inbound({}, {"token": TOKEN}, body, at)
        account = self.config.account("civitai")
        reading = provider_named("civitai").read(inbound, account)
        digest = sha256(body).hexdigest()
        entry = Entry(
            "civitai", policy, EvidenceKind.DELIVERY, at, workflow_id=workflow_id, reading=reading,
            trust=policy.trust if token else Trust.HINT, body=body, body_sha256=digest, key=digest,
        )  # fmt: skip
        return await self.put(entry, ago)

    async def track(self, workflow_id: str, answer: dict[str, Any] | None = None, *, ago: timedelta = LATELY) -> Result:
        """Register a submitted workflow, as `hookledger track` would have done a while ago."""
        reading = provider_named("civitai").track(answer or document(workflow_id, "unassigned"), None)
        entry = Entry(
            "civitai", self.config.policy("civitai"), EvidenceKind.DECISION, datetime.now(UTC) - ago,
            workflow_id=workflow_id, reading=replace(reading, workflow_id=workflow_id),
        )  # fmt: skip
        return await self.put(entry, ago)

    async def put(self, entry: Entry, ago: timedelta = timedelta(0)) -> Result:
        async with self.database.write() as connection:
            (result,) = await apply(connection, [entry], await now(connection) - ago)
        return result

    async def state(self, workflow_id: str) -> WorkflowState | None:
        async with self.database.read() as connection:
            return (await store.load(connection, [("civitai", workflow_id)])).get(("civitai", workflow_id))

    async def known(self, workflow_id: str) -> WorkflowState:
        found = await self.state(workflow_id)
        assert found is not None
        return found

    async def status(self, workflow_id: str) -> str:
        return str((await self.known(workflow_id)).node.status)

    async def check(self, workflow_id: str) -> Check:
        async with self.database.read() as connection:
            return (await checks.load(connection, [("civitai", workflow_id)], lock=False))["civitai", workflow_id]

    async def want(self, workflow_id: str) -> None:
        state = await self.state(workflow_id)
        async with self.database.write() as connection:
            pk = state.pk if state is not None else None
            await checks.want(connection, "civitai", workflow_id, pk, await now(connection))

    async def let_pass(self, span: timedelta, workflow_id: str | None = None) -> None:
        """Make everything the ledger remembers that much older, so that nothing need be waited for."""
        places = {
            "checks": ("due_at", "wanted_at", "hinted_at", "doubted_at", "tried_at", "retry_at", "leased_until"),
            "workflows": (
                "status_seen_at", "look_sent_at", "finished_at", "news_at", "asked_at", "alive_since",
            ),
            "steps": ("status_seen_at", "look_sent_at", "finished_at", "alive_since"),
            "blobs": ("url_seen_at", "url_expires_at", "look_sent_at"),
            "source_state": ("probe_at", "paused_until"),
        }  # fmt: skip
        seconds = span.total_seconds()
        async with self.database.write() as connection:
            for table, columns in places.items():
                for column in columns:
                    if self.database.dialect == "postgresql":
                        older = f"{column} - make_interval(secs => {seconds})"
                    else:
                        older = f"strftime('%Y-%m-%dT%H:%M:%f', {column}, '-{seconds} seconds') || '000+00:00'"
                    await connection.execute(text(f"UPDATE {table} SET {column} = {older} WHERE {column} IS NOT NULL"))
            if span > HERE_FOR:
                await connection.execute(update(source_state).values(places=None))
            # So that whoever keeps copies sees that they are not true any more.
            await connection.execute(text("UPDATE workflows SET version = version + 1"))

    async def open_attention(self) -> list[str]:
        async with self.database.read() as connection:
            query = select(attention.c.kind).where(attention.c.closed_at.is_(None)).order_by(attention.c.kind)
            return list((await connection.execute(query)).scalars())

    async def rows(self, table: Any) -> list[Any]:
        async with self.database.read() as connection:
            return list(await connection.execute(select(table)))

    async def rows_of_attention(self) -> list[Any]:
        return await self.rows(attention)

    async def rows_of_sources(self) -> list[Any]:
        return await self.rows(source_state)

    async def fetches(self) -> list[Any]:
        async with self.database.read() as connection:
            query = select(evidence).where(evidence.c.kind == "fetch").order_by(evidence.c.recorded_at)
            return list(await connection.execute(query))

    async def everything(self) -> dict[str, list[Any]]:
        """All that a run of the reconciler might write."""
        tables = (check_table, attention, evidence, transitions, passes, source_state)
        return {table.name: await self.rows(table) for table in tables}


def configured(database_url: str, base_url: str, tmp_path: Any, *lines: str, server: tuple[str, ...] = ()) -> Config:
    """Load a configuration from a real file."""
    file = tmp_path / "hookledger.toml"
    file.write_text(
        "\n".join(
            [
                "[database]", f'url = "{database_url}"', "[server]", *server, "[sources.civitai]",
                'provider = "civitai"', f'api_key = "{KEY}"', f'hook_token = "{TOKEN}"', f'base_url = "{base_url}"',
                *lines,
            ]
        ),
        encoding="utf-8",
    )  # fmt: skip
    return load_config(file, {})


async def until(true: Callable[[], Any], seconds: float = 10) -> None:
    """Return once it is true; `true` may be a coroutine function."""
    async with asyncio.timeout(seconds):
        while True:
            found = true()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.02)


@asynccontextmanager
async def daemons(world: Any, count: int) -> AsyncIterator[None]:
    """That many reconcilers of a world, each with connections of its own."""
    stop = asyncio.Event()
    databases = [await Database.open(world.config.database.url) for _ in range(count)]
    running = [asyncio.create_task(run_daemon(world.config, one, world.redactor, stop)) for one in databases]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*running)
        for one in databases:
            await one.close()

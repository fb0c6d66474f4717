"""What the tests of the API stand on: a client with a token, and an upstream whose answers go in as looks do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import quote, urlencode

from receiver.config import Config
from receiver.ledger import checks, tokens
from receiver.ledger.apply import apply
from receiver.ledger.database import Database
from receiver.ledger.database import now as database_now
from receiver.ledger.entries import Answer as Answered
from receiver.ledger.entries import Entry, Look
from receiver.ledger.query_parts import stamp
from receiver.ledger.records import EvidenceKind, Reading
from receiver.providers import PROVIDERS
from receiver.providers.base import Response, UpstreamBusy, UpstreamGone
from tests.web.client import Answer, ask, event
from tests.web.conforming import assert_conforms
from tests.web.conftest import Running

# A workflow as upstream answers it when it has ended, with one image.
IMAGE = "QG0CWJ9MB8Y8P7FXNPDV34RY10.jpeg"
JOB = "8c3c2f0a-0c0e-4a3a-9d3e-5a1c1f0a7b11"


def document(
    workflow: str, status: str = "succeeded", *, url: str | None = None, lives: float = 600.0
) -> dict[str, Any]:
    """A Workflow as GetWorkflow shows it; `url` is its image's, which works for `lives` seconds from now."""
    ends = datetime.now().astimezone() + timedelta(seconds=lives)
    image = {"type": "image", "id": IMAGE, "available": url is not None, "jobId": JOB, "width": 1024, "height": 768}
    if url is not None:
        image |= {"url": url, "urlExpiresAt": stamp(ends)}
    step = {
        "$type": "imageGen", "name": "$0", "status": status, "metadata": {"n": 1},
        "input": {"engine": "flux", "prompt": "a fox"},
        "output": {"images": [image]}, "jobs": [{"id": JOB, "status": status, "cost": 4.0}],
    }  # fmt: skip
    return {
        "id": workflow,
        "status": status,
        "createdAt": "2026-01-21T22:21:26.3320001Z",
        "metadata": {},
        "steps": [step],
    }


@dataclass
class Api:
    """A receiver's API, asked with a token."""

    running: Running
    token: str | None = None

    async def ask(self, method: str, path: str, body: Any = None, **query: Any) -> Answer:
        url = self.running.url + path + (f"?{urlencode(query, doseq=True)}" if query else "")
        headers = {"authorization": f"Bearer {self.token}"} if self.token else {}
        sent = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = await ask(method, url, sent, **headers)
        assert_conforms(method, url, answer)
        return answer

    async def get(self, path: str, **query: Any) -> Answer:
        return await self.ask("GET", path, **query)

    async def post(self, path: str, body: Any = None, **query: Any) -> Answer:
        return await self.ask("POST", path, body, **query)

    async def workflow(self, name: str, source: str = "civ") -> Any:
        """One workflow as JSON; it must be there."""
        answer = await self.get(path_of(name, source))
        assert answer.status == 200, answer.body
        return answer.json

    async def deliver(self, name: str, status: str, source: str = "civ", **fields: Any) -> None:
        """Have upstream deliver a workflow event."""
        answer = await ask("POST", self.running.hook(source), event(name, status, **fields))
        assert answer.status == 200, answer.body


def path_of(name: str, source: str = "civ") -> str:
    return f"/v1/workflows/{source}/{quote(name, safe='')}"


async def make_token(database: Database, scope: str, name: str | None = None) -> str:
    """Make a token in the database."""
    async with database.write() as connection:
        return await tokens.create(connection, name or f"tests-{scope}", scope, await database_now(connection))


@dataclass
class Upstream:
    """Upstream with a reconciler before it: what it holds by id, and looks that go into the ledger like real ones.

    `holds` maps an id to the document, None for a 404, "busy" for a 503.
    """

    database: Database
    config: Config
    holds: dict[str, Any] = field(default_factory=dict)
    source: str = "civ"
    asked: list[str] = field(default_factory=list)

    async def look(self, *names: str, ahead: float = 0.0) -> int:
        """Take the due checks, of `names` only when there are any, and answer each, as if it were so many seconds
        later; returns how many."""
        async with self.database.write() as connection:
            now = await database_now(connection)
            claims = await checks.claim(
                connection, now, holder="tests", lease=timedelta(seconds=60), limits={self.source: 50},
                ids=names or None,
            )  # fmt: skip
        for claim in claims:
            self.asked.append(claim.id)
            later = timedelta(seconds=ahead)
            async with self.database.write() as connection:
                entry = self._entry(claim.id, claim.fence, now + later)
                await apply(connection, [entry], await database_now(connection) + later)
        return len(claims)

    def _entry(self, name: str, fence: int, now: datetime) -> Entry:
        held = self.holds.get(name)
        status = 404 if held is None else 503 if held == "busy" else 200
        body = json.dumps(held).encode()
        look, reading = Look(fence, Answered.SHOWN), None
        try:
            response = Response(status, {}, body, now, now)
            provider = PROVIDERS[self.config.sources[self.source].provider]
            reading = provider.read_status(name, response, self.config.account(self.source))
        except UpstreamGone:
            look = Look(fence, Answered.GONE)
        except UpstreamBusy:
            look = Look(fence, Answered.BUSY, "upstream answered 503", backoff=1.0)
        return Entry(
            self.source, self.config.policy(self.source), EvidenceKind.FETCH, now, name, reading, look=look, body=body,
            body_sha256=sha256(body).hexdigest(), http_status=status,
        )  # fmt: skip

    async def settle(self, name: str, shown: Any, *, ahead: float = 0.0) -> None:
        """Have upstream hold this and one look made at it now, or as if it were so many seconds later."""
        self.holds[name] = shown
        async with self.database.write() as connection:
            await checks.want(connection, self.source, name, None, await database_now(connection))
        assert await self.look(name, ahead=ahead) == 1

    async def renew(self, name: str, shown: dict[str, Any]) -> None:
        """Have upstream give one of a workflow's files a fresh URL (RefreshBlob), which shows nothing else of it."""
        body = json.dumps(shown).encode()
        async with self.database.write() as connection:
            now = await database_now(connection)
            await checks.want(connection, self.source, name, None, now)
            (claim,) = await checks.claim(
                connection, now, holder="tests", lease=timedelta(seconds=60), limits={self.source: 1}, ids=[name]
            )
            response = Response(200, {}, body, now, now)
            seen = PROVIDERS["civitai"].read_relink(name, response, self.config.account(self.source))
            entry = Entry(
                self.source, self.config.policy(self.source), EvidenceKind.FETCH, now, name,
                Reading(name, blobs=(seen,)),
                look=Look(claim.fence, Answered.SHOWN, blob=seen.id), body=body, body_sha256=sha256(body).hexdigest(),
                http_status=200,
            )  # fmt: skip
            await apply(connection, [entry], now)

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        """Look at whatever is due, all the time."""

        async def forever() -> None:
            while True:
                await self.look()
                await asyncio.sleep(0.05)

        task = asyncio.create_task(forever())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled(), task.exception()

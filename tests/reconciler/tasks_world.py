"""A ledger with one source whose workflows are single tasks: Beeble or EvoLink, asked at a stand-in."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import select

from receiver.config import Config, load_config
from receiver.ledger import checks
from receiver.ledger.apply import apply
from receiver.ledger.checks import Check
from receiver.ledger.database import Database, now
from receiver.ledger.entries import Entry
from receiver.ledger.operations import source_state
from receiver.ledger.records import EvidenceKind, Trust
from receiver.ledger.tables import evidence, workflows
from receiver.providers import provider_named
from receiver.providers.base import Inbound
from receiver.redaction import Redactor
from tests.reconciler.world import Seen

KEY = "key-of-the-account-0001"
TOKEN = "hook-token-of-the-source-1"
LATELY = timedelta(minutes=2)  # long enough for a first look, or a confirming one, to be due


@dataclass
class TasksWorld:
    """The source is named like its provider."""

    source: str
    database: Database
    config: Config
    redactor: Redactor

    @classmethod
    def made(cls, source: str, database: Database, url: str, base_url: str, folder: Path, *lines: str) -> TasksWorld:
        file = folder / "hookledger.toml"
        file.write_text(
            "\n".join(
                [
                    "[database]", f'url = "{url}"', "[server]", 'item = "2s"', 'lease = "10s"', f"[sources.{source}]",
                    f'provider = "{source}"', f'api_key = "{KEY}"', f'hook_token = "{TOKEN}"',
                    f'base_url = "{base_url}"', 'deadline = "30d"', *lines,
                ]
            ),
            encoding="utf-8",
        )  # fmt: skip
        config = load_config(file, {})
        return cls(source, database, config, Redactor(config.secret_values()))

    async def deliver(self, *bodies: dict[str, Any], ago: timedelta = LATELY, hint: bool = False) -> None:
        """Put in callbacks as the receiver would have done a while ago."""
        entries = [self._delivery(json.dumps(body).encode(), datetime.now(UTC) - ago, hint=hint) for body in bodies]
        async with self.database.write() as connection:
            await apply(connection, entries, await now(connection) - ago)

    def _delivery(self, body: bytes, at: datetime, *, hint: bool) -> Entry:
        policy, account = self.config.policy(self.source), self.config.account(self.source)
        reading = provider_named(self.source).read(Inbound({}, {"token": TOKEN}, body, at), account)
        digest = sha256(body).hexdigest()
        return Entry(
            self.source, policy, EvidenceKind.DELIVERY, at, workflow_id=reading.workflow_id, reading=reading,
            trust=Trust.HINT if hint else policy.trust, body=body, body_sha256=digest, key=digest,
        )  # fmt: skip

    async def track(self, *answers: dict[str, Any], ago: timedelta = LATELY) -> None:
        """Register submitted workflows, as `hookledger track` would have done a while ago."""
        policy, entries = self.config.policy(self.source), []
        for answer in answers:
            reading = replace(provider_named(self.source).track(answer, None), workflow_id=answer["id"])
            at = datetime.now(UTC) - ago
            entries.append(Entry(self.source, policy, EvidenceKind.DECISION, at, answer["id"], reading))
        async with self.database.write() as connection:
            await apply(connection, entries, await now(connection) - ago)

    async def want(self, workflow_id: str) -> None:
        async with self.database.write() as connection:
            await checks.want(connection, self.source, workflow_id, None, await now(connection))

    async def check(self, workflow_id: str) -> Check:
        key = (self.source, workflow_id)
        async with self.database.read() as connection:
            return (await checks.load(connection, [key], lock=False))[key]

    async def statuses(self) -> dict[str, str]:
        """Each workflow's status, with a question mark while it is not confirmed."""
        async with self.database.read() as connection:
            rows = await connection.execute(select(workflows.c.id, workflows.c.status, workflows.c.confirmed_at))
            return {row.id: row.status + ("" if row.confirmed_at else "?") for row in rows}

    async def settled(self, count: int) -> bool:
        statuses = await self.statuses()
        return len(statuses) == count and not any(status.endswith("?") for status in statuses.values())

    async def fetches(self) -> list[Any]:
        async with self.database.read() as connection:
            query = select(evidence).where(evidence.c.kind == "fetch").order_by(evidence.c.recorded_at)
            return list(await connection.execute(query))

    async def shared(self) -> Any:
        """What all processes know of the source."""
        async with self.database.read() as connection:
            return (await connection.execute(select(source_state))).one()


def job(workflow_id: str, status: str = "completed", **more: Any) -> dict[str, Any]:
    """A job as Beeble shows it (UPSTREAMS §2.2)."""
    ended = status in ("completed", "failed")
    render = f"https://cdn.beeble.ai/{workflow_id}/render.mp4?sig=1"
    return {
        "id": workflow_id, "status": status, "progress": 100 if ended else 40, "generation_type": "video",
        "alpha_mode": "auto", "output": {"render": render, "source": None, "alpha": None} if ended else None,
        "error": "It failed." if status == "failed" else None, "created_at": stamp(-600),
        "completed_at": stamp(-130) if ended else None, **more,
    }  # fmt: skip


def callback(workflow_id: str, status: str = "completed") -> dict[str, Any]:
    """A callback as Beeble sends it (UPSTREAMS §2.3)."""
    shown = job(workflow_id, status)
    return {key: shown[key] for key in ("id", "status", "output", "completed_at")}


def stamp(seconds: float) -> str:
    at = datetime.now(UTC) + timedelta(seconds=seconds)
    return at.replace(microsecond=0).isoformat().replace("+00:00", "Z")


def most_within(seen: list[Seen], window: timedelta) -> int:
    """The most requests that arrived in any stretch of that length, its end not counted."""
    times = sorted(one.at for one in seen)
    return max((sum(first <= at < first + window for at in times) for first in times), default=0)

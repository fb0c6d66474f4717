"""A ledger with everything on show: thirteen sources, each kind of attention, disputes, files, riddles."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from receiver.config import Config, load_config
from receiver.ledger import attention
from receiver.ledger.attention import Concern
from receiver.ledger.database import Database
from receiver.ledger.database import now as database_now
from receiver.ledger.operations import passes
from receiver.ledger.query_parts import stamp
from receiver.ledger.tables import ATTENTION_KINDS
from tests.web.asking import Api, Upstream, document
from tests.web.client import ask
from tests.web.conftest import TOKEN, Running

UPSTREAMS = (
    "beeble", "evolink", "removebgvideo", "replicate", "fal", "openai", "runpod", "luma", "kling", "kie", "openrouter",
    "runway",
)  # fmt: skip
PASSES = (("daemon", None), ("cron", "done"), ("cron", "budget"), ("open", "broken"))
OPEN, ENDED, DISPUTED = "swx-open-1", "swx-ended-1", "swx-disputed-1"


def configured(database_url: str) -> Config:
    """`civ`, whose upstream is on this machine, and twelve more that are only polled."""
    table = {
        "HOOKLEDGER_DATABASE__URL": database_url,
        "HOOKLEDGER_SOURCES__CIV__PROVIDER": "civitai",
        "HOOKLEDGER_SOURCES__CIV__API_KEY": "api-key-of-the-tests",
        "HOOKLEDGER_SOURCES__CIV__HOOK_TOKEN": TOKEN,
        "HOOKLEDGER_SOURCES__CIV__BUDGET": "60/min",
        "HOOKLEDGER_SOURCES__CIV__BASE_URL": "http://127.0.0.1:9",
    }
    for name in UPSTREAMS:
        table[f"HOOKLEDGER_SOURCES__{name.upper()}__PROVIDER"] = name
        table[f"HOOKLEDGER_SOURCES__{name.upper()}__TRUST"] = "none"
        table[f"HOOKLEDGER_SOURCES__{name.upper()}__API_KEY"] = "api-key-of-the-tests"
    return load_config(env=table)


def recent(shown: dict[str, Any]) -> dict[str, Any]:
    """A document of upstream's as if submitted half a minute ago."""
    return shown | {"createdAt": stamp(datetime.now(UTC) - timedelta(seconds=30))}


async def fill(running: Running, database: Database, config: Config, token: str, files: str) -> None:
    """Put everything on show; `files` is where output files lie."""
    api, upstream = Api(running, token), Upstream(database, config)
    await _ordinary(api, upstream, files)
    await _disputes(api, upstream)
    for body in (b"not json at all", b'{"$type": "workflow"}'):
        await ask("POST", running.hook("civ"), body)
    async with database.write() as connection:
        now = await database_now(connection)
        await attention.raise_concerns(connection, _concerns(), now - timedelta(hours=3))
        for n, (kind, outcome) in enumerate(
            (("daemon", None), ("cron", "done"), ("cron", "budget"), ("open", "broken"))
        ):
            began = now - timedelta(minutes=n * 7 + 1)
            counts = {"looks": 12 * n, "shown": 11 * n, "busy": n}
            ended = None if outcome is None else began + timedelta(seconds=40)
            row = {"id": f"{9 - n}0{n}", "kind": kind, "holder": "host-1", "started_at": began, "ended_at": ended}
            await connection.execute(passes.insert().values(**row, counts=counts, outcome=outcome))
    await api.post(f"/v1/workflows/civ/{ENDED}/attention/gone/ack")


async def _ordinary(api: Api, upstream: Upstream, files: str) -> None:
    for n, status in enumerate(("processing", "scheduled", "preparing", "failed", "expired", "canceled", "succeeded")):
        told: dict[str, Any] = {"source": "civ", "id": f"swx-{n}", "context": {"team": "red" if n % 2 else "blue"}}
        await api.post("/v1/workflows", told | {"request": {"prompt": "a heron at dawn"}})
        await api.deliver(f"swx-{n}", "processing")
        await api.deliver(f"swx-{n}", status)
        await api.deliver(f"swx-{n}", status)
    for name in (OPEN, ENDED):
        await api.deliver(name, "processing")
    await api.post("/v1/workflows", {"source": "runpod", "id": "rp-1", "locator": {"endpoint": "e1"}})
    shown = recent(document(ENDED, url=f"{api.running.url}/static/mark.svg"))
    output = shown["steps"][0]["output"]
    output["images"].append({"type": "image", "id": "blocked.jpeg", "available": False, "blockedReason": "mature"})
    output["video"] = {"type": "video", "id": "film.mp4", "available": True, "url": f"{files}/film.mp4"}
    await upstream.settle(ENDED, shown)
    failed = recent(document("swx-3", "failed"))
    failed["steps"][0]["jobs"] = [{"id": "job-3", "status": "failed", "reason": "no_provider_available"}]
    await upstream.settle("swx-3", failed)


async def _disputes(api: Api, upstream: Upstream) -> None:
    await api.deliver(DISPUTED, "succeeded")
    await upstream.settle(DISPUTED, recent(document(DISPUTED, "failed")))  # taken back: a look names another ending
    await asyncio.sleep(0.01)
    await api.deliver(DISPUTED, "canceled")  # and a believed event disputes what is confirmed by now


def _concerns() -> list[Concern]:
    found = [Concern("source", "kling", "", "credentials", note="401 Unauthorized")]
    for n, kind in enumerate(ATTENTION_KINDS):
        name = ENDED if kind == "gone" else f"swx-{n % 7}"
        found.append(Concern("workflow", "civ", name, kind, note="told by the tests" if n % 2 else None))
    return found

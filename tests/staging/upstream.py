"""The sandbox as a test uses it: submitting to it, and holding the ledger against its truth."""

from __future__ import annotations

import random
from typing import Any

import aiohttp
from sqlalchemy import select

from receiver.ledger.database import Database
from receiver.ledger.tables import blobs, jobs, steps, workflows
from receiver.sandbox.civitai import RunningCivitai
from tests.staging.traffic import Target

EVENTS = ["workflow:*", "step:*", "job:*"]


def image(**script: Any) -> dict[str, Any]:
    """A step that makes an image; `script` is what the sandbox is to do with it."""
    step = {"$type": "imageGen", "input": {"engine": "flux", "model": "flux-dev", "prompt": "a heron at dawn"}}
    return {**step, "metadata": {"sandbox": script}}


async def submit(
    session: aiohttp.ClientSession, civitai: RunningCivitai, *steps: dict[str, Any], hook_url: str | None = None
) -> dict[str, Any]:
    """Submit one workflow; returns what upstream answered."""
    body: dict[str, Any] = {"steps": list(steps) or [image()]}
    if hook_url is not None:
        body["callbacks"] = [{"url": hook_url, "type": EVENTS, "detailed": True}]
    headers = {"Authorization": f"Bearer {civitai.api_key}"}
    async with session.post(f"{civitai.base_url}/v2/consumer/workflows", json=body, headers=headers) as answer:
        assert answer.status in (200, 202), await answer.text()
        return dict(await answer.json())


async def held_targets(session: aiohttp.ClientSession, civitai: RunningCivitai, count: int) -> list[Target]:
    """Submit workflows of two steps without callbacks that only `finish_all` ends."""
    ids = [(await submit(session, civitai, *[image(hold=True, racing=1)] * 2))["id"] for _ in range(count)]
    found = {one["id"]: one for one in civitai.truth()["workflows"]}
    return [
        Target(
            name,
            [step["name"] for step in found[name]["steps"]],
            [(job["id"], step["name"]) for step in found[name]["steps"] for job in step["jobs"]],
        )
        for name in ids
    ]


def finish_all(civitai: RunningCivitai, targets: list[Target], rng: random.Random) -> None:
    """End held workflows, each in its own way."""
    for target in targets:
        civitai.finish(target.id, rng.choice(("succeeded", "succeeded", "failed", "expired", "canceled")))


async def differences(database: Database, civitai: RunningCivitai) -> list[str]:
    """Return a sentence for each workflow, step, job and blob of which ledger and truth say different things."""
    true = {key: word for one in civitai.truth()["workflows"] for key, word in _true_words(one)}
    ours = await _our_words(database)
    return [
        f"{' '.join(key)}: {ours.get(key, 'not in the ledger')}, in truth {true.get(key, 'not there')}"
        for key in sorted({*true, *ours})
        if ours.get(key) != true.get(key)
    ]


def _true_words(one: dict[str, Any]) -> list[tuple[tuple[str, ...], str]]:
    name = one["id"]
    found: list[tuple[tuple[str, ...], str]] = [(("workflow", name), f"{one['status']}, confirmed")]
    for step in one["steps"]:
        found.append((("step", name, step["name"]), step["status"]))
        found += [(("job", name, job["id"]), job["status"]) for job in step["jobs"]]
    found += [(("blob", name, blob["id"]), "available" if blob["available"] else "not") for blob in one["blobs"]]
    return found


async def _our_words(database: Database) -> dict[tuple[str, ...], str]:
    async with database.read() as connection:
        names: dict[int, str] = {}
        found: dict[tuple[str, ...], str] = {}
        for row in await connection.execute(select(workflows)):
            names[row.pk] = row.id
            found["workflow", row.id] = row.status + (", confirmed" if row.confirmed_at else ", provisional")
        for level, table in (("step", steps), ("job", jobs)):
            for row in await connection.execute(select(table)):
                found[level, names[row.workflow], row.key] = row.status
        for row in await connection.execute(select(blobs)):
            found["blob", names[row.workflow], row.id] = "available" if row.available else "not"
    return found

"""Fifty Beeble jobs end at once, and three reconcilers may ask five times a minute between them (UPSTREAMS §2.5).

The stand-in's clock runs 20 times as fast, so its minute is three seconds. It answers 429 to the sixth read in any of
them; its own log is held against the budget all the same.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from receiver.ledger import migrate
from receiver.ledger.database import Database
from receiver.ledger.tables import blobs, workflows
from receiver.sandbox.beeble import running_beeble
from receiver.sandbox.running import Running
from tests.staging.programs import KEY, Program, Stage, free_port
from tests.staging.soundness import rows
from tests.staging.waiting import until

pytestmark = [pytest.mark.race, pytest.mark.waits, pytest.mark.timeout(240)]

SPEED = 20
MINUTE = 60 / SPEED
COUNT = 50
TOKEN = "hook-token-of-beeble-0001"


@pytest.mark.parametrize("list_output", [True, False])
async def test_a_burst_of_callbacks_never_asks_more_than_five_times_a_minute_and_all_settle(
    database_url: str, tmp_path: Path, list_output: bool
) -> None:
    """With files in the list one read confirms them all; without, each that succeeded takes a read of its own."""
    knobs: dict[str, Any] = {"speed": SPEED, "api_key": KEY, "list_output": list_output, "allow_http": True}
    async with running_beeble(**knobs, writes_per_minute=0, concurrent_jobs=0) as beeble:
        stage = await staged(tmp_path, database_url, beeble)
        names = [f"reconciler{n}" for n in range(3)]
        async with AsyncExitStack() as running:
            serve = await running.enter_async_context(stage.running("serve", "serve", "--no-reconciler"))
            await stage.until_ready(serve)
            watchers = [
                await running.enter_async_context(stage.running(name, "reconcile", "--watch")) for name in names
            ]
            # Else the first of them may have settled everything before the others have begun.
            for one in watchers:
                await until(lambda one=one: "reconciler-started" in one.log.read_text(), 30, every=0.05)
            jobs = await submit_held(beeble, f"{stage.url}/hooks/beeble?token={TOKEN}")
            for n, job in enumerate(jobs):
                beeble.finish(job, "failed" if n % 5 == 0 else "succeeded")
            database = await Database.open(database_url)
            try:
                await until(lambda: settled(database, jobs), 150, every=0.25)
                found = {row.id: row.status for row in await rows(database, workflows)}
                with_files = {row.workflow for row in await rows(database, blobs) if row.url_confirmed}
            finally:
                await database.close()
            assert [await one.stop() for one in (*watchers, serve)] == [0] * 4
        assert found == {job: "failed" if n % 5 == 0 else "succeeded" for n, job in enumerate(jobs)}
        assert len(with_files) == COUNT - COUNT // 5
        assert_within_budget(beeble, watchers, list_output=list_output)


async def staged(folder: Path, database_url: str, beeble: Running[Any]) -> Stage:
    stage = Stage(folder, database_url, free_port())
    lines = [
        "[database]", f'url = "{database_url}"', "[server]", f"port = {stage.port}", "[sources.beeble]",
        'provider = "beeble"', f'base_url = "{beeble.base_url}"', f'api_key = "{KEY}"', f'hook_token = "{TOKEN}"',
        f'budget = "5/{MINUTE:g}s"', 'keep_fresh = "0"', 'deadline = "30d"',
    ]  # fmt: skip
    stage.config.write_text("\n".join(lines), encoding="utf-8")
    database = await Database.open(database_url)
    await migrate.ensure_current(database)
    await database.close()
    return stage


async def submit_held(beeble: Running[Any], hook: str) -> list[str]:
    """Submit jobs that end when they are told to; returns their ids."""
    body = {
        "generation_type": "image", "source_uri": "https://example.com/a.png", "alpha_mode": "auto", "prompt": "dusk",
        "callback_url": hook, "sandbox": {"hold": True},
    }  # fmt: skip
    found: list[str] = []
    async with aiohttp.ClientSession(headers={"x-api-key": KEY}) as session:
        for _ in range(COUNT):
            async with session.post(f"{beeble.base_url}/v1/switchx/generations", json=body) as answer:
                assert answer.status == 200, await answer.text()
                found.append((await answer.json())["id"])
    await asyncio.sleep(0.2)
    return found


async def settled(database: Database, jobs: list[str]) -> bool:
    """Whether each has ended, is confirmed, and has files where it succeeded that a look has shown."""
    known = {row.id: row for row in await rows(database, workflows)}
    if known.keys() != set(jobs) or any(row.confirmed_at is None for row in known.values()):
        return False
    shown = {row.workflow for row in await rows(database, blobs) if row.url_confirmed}
    return all(row.status == "failed" or row.pk in shown for row in known.values())


def assert_within_budget(beeble: Running[Any], watchers: list[Program], *, list_output: bool) -> None:
    """By upstream's log: never a sixth read within its minute, and never a 429."""
    reads = [line for line in beeble.log()["requests"] if line["method"] == "GET" and "/v1/" in line["path"]]
    times = sorted(datetime.fromisoformat(line["time"]).timestamp() for line in reads)
    most = max(sum(first <= at < first + MINUTE for at in times) for first in times)
    shares = [len(one.said("fetch")) + len(one.said("fetch-many")) for one in watchers]
    print(f"\n{len(times)} reads in {times[-1] - times[0]:.1f} s, {most} at most in {MINUTE:g} s; shares {shares}")
    assert most <= 5
    assert {line["status"] for line in reads} == {200}, json.dumps(reads)
    if list_output:
        assert len(times) <= COUNT // 5
    else:
        assert len(times) >= COUNT - COUNT // 5

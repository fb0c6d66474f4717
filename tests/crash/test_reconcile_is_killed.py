"""SIGKILL of the reconciler in mid-fetch: its workflows wait for one lease at most, and nothing is applied twice."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from datetime import datetime
from pathlib import Path

import aiohttp
import pytest

from receiver.ledger.database import Database
from receiver.ledger.tables import checks, evidence, transitions
from receiver.sandbox.civitai import RunningCivitai, running_civitai
from tests.staging.programs import KEY, Stage
from tests.staging.registering import register
from tests.staging.soundness import rows, unsound
from tests.staging.upstream import differences, image, submit
from tests.staging.waiting import until

pytestmark = [pytest.mark.crash, pytest.mark.timeout(180)]

LEASE, LATENCY, COUNT = 4.0, 1.0, 8
SERVER = (f'lease = "{LEASE:g}s"', 'item = "3s"')
SOURCE = ('deadline = "30d"', f"concurrency = {2 * COUNT}", 'keep_fresh = "0"')
# What a free reconciler needs to see that a lease has ended (it looks twice a second), on a busy machine.
SLACK = 2.5


async def test_a_daemon_killed_in_mid_fetch_delays_its_workflows_by_one_lease_at_most(
    database_url: str, tmp_path: Path
) -> None:
    async with running_civitai(speed=200, api_key=KEY, latency=LATENCY) as civitai:
        stage = Stage.made(tmp_path, database_url, civitai.base_url, server=SERVER, source=SOURCE)
        database = await Database.open(database_url)
        try:
            await lost_workflows(stage, database, civitai)
            await killed_in_mid_fetch(stage, database, civitai, "--watch")
            async with stage.running("second", "reconcile", "--watch") as second:
                await until(lambda: settled(database), 30)
                assert await second.stop() == 0, second.words()
            assert_one_lease(starts(civitai))
            await assert_looked_once(database, civitai)
        finally:
            await database.close()


async def test_a_pass_killed_in_mid_fetch_leaves_its_workflows_to_the_pass_after_its_lease(
    database_url: str, tmp_path: Path
) -> None:
    async with running_civitai(speed=200, api_key=KEY, latency=LATENCY) as civitai:
        stage = Stage.made(tmp_path, database_url, civitai.base_url, server=SERVER, source=SOURCE)
        database = await Database.open(database_url)
        try:
            await lost_workflows(stage, database, civitai)
            killed = await killed_in_mid_fetch(stage, database, civitai)
            assert await stage.finished("at once", "reconcile", "--open") == 0
            if time.monotonic() < killed + LEASE - LATENCY:
                assert len(civitai.log()["requests"]) <= 2 * COUNT, "what another holds was asked about"
                assert "0 looks" in stage.last_line("at once")
            await until(lambda: lease_over(database), LEASE + 2)
            assert await stage.finished("after", "reconcile") == 0
            assert f"{COUNT} looks: {COUNT} answered" in stage.last_line("after")
            assert await settled(database)
            await assert_looked_once(database, civitai)
        finally:
            await database.close()


async def lost_workflows(stage: Stage, database: Database, civitai: RunningCivitai) -> None:
    """Submit workflows that end without a word to us, register them, and wait until a look at each is due."""
    async with aiohttp.ClientSession() as session:
        submitted = [await submit(session, civitai, image()) for _ in range(COUNT)]
    await register(stage, database, submitted)
    await civitai.wait_quiet()
    civitai.sandbox.requests.clear()


async def killed_in_mid_fetch(stage: Stage, database: Database, civitai: RunningCivitai, *arguments: str) -> float:
    """Start a reconciler, kill it while upstream is about to answer all it asked; return when that was."""
    async with stage.running("first", "reconcile", *arguments) as first:
        await until(lambda: leased(database, COUNT), 20)
        await asyncio.sleep(LATENCY / 2)
        await first.kill()
    killed = time.monotonic()
    assert await leased(database, COUNT), "it ended before it was killed"
    await until(lambda: len(civitai.log()["requests"]) == COUNT, 5)
    return killed


async def leased(database: Database, count: int) -> bool:
    return sum(row.leased_by is not None for row in await rows(database, checks)) == count


async def lease_over(database: Database) -> bool:
    found = await rows(database, checks)
    return all(row.leased_until is None or row.leased_until < datetime.now(row.leased_until.tzinfo) for row in found)


async def settled(database: Database) -> bool:
    """Whether nothing is left to look at."""
    return all(row.due_at is None for row in await rows(database, checks))


def starts(civitai: RunningCivitai) -> dict[str, list[float]]:
    """Return for each path when it was asked for, in order."""
    found: dict[str, list[float]] = defaultdict(list)
    for line in civitai.log()["requests"]:
        found[line["path"]].append(datetime.fromisoformat(line["time"]).timestamp())
    return {path: sorted(times) for path, times in found.items()}


def assert_one_lease(asked: dict[str, list[float]]) -> None:
    """Each was asked about twice: by the one that was killed, and after its lease, and not long after it."""
    assert {len(times) for times in asked.values()} == {2}
    gaps = [times[1] - times[0] for times in asked.values()]
    print(f"\nasked again after {min(gaps):.2f} to {max(gaps):.2f} s, the lease being {LEASE:g} s")
    assert min(gaps) > LEASE - 0.5, "a lease was not respected"
    assert max(gaps) < LEASE + SLACK


async def assert_looked_once(database: Database, civitai: RunningCivitai) -> None:
    """The ledger is upstream's truth, and only the looks that lived to see their answer left anything."""
    assert await differences(database, civitai) == []
    assert await unsound(database) == []
    fetches = [row for row in await rows(database, evidence) if row.kind == "fetch"]
    assert [row.outcome for row in fetches] == ["applied"] * COUNT
    endings = [
        row for row in await rows(database, transitions) if row.level == "workflow" and row.to_status == "succeeded"
    ]
    assert len(endings) == COUNT
    assert [(row.looks, row.attempts, row.leased_by) for row in await rows(database, checks)] == [(1, 0, None)] * COUNT

"""SIGKILL of `hookledger serve` in the middle of traffic: what was answered 200 is there, once, and all comes right."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from receiver.ledger.database import Database
from receiver.sandbox.civitai import RunningCivitai, running_civitai
from tests.staging.programs import KEY, Stage
from tests.staging.soundness import lost_or_doubled, unsound
from tests.staging.traffic import Traffic
from tests.staging.upstream import differences, finish_all, held_targets, submit
from tests.staging.waiting import until

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

LEASE = 3.0
SERVER = ('lease = "3s"', 'item = "2s"')
SOURCE = ('silence = "2s"', 'deadline = "30d"', "concurrency = 16", 'keep_fresh = "0"')
FAULTS: dict[str, Any] = {
    "speed": 10, "api_key": KEY, "drop": 0.1, "duplicate": 0.1, "reorder": 0.05, "fail": 0.1, "cancel": 0.05,
    "callback_retries": 6, "callback_backoff": 1.0, "callback_total": 600.0,
}  # fmt: skip


async def test_every_delivery_answered_200_outlives_twenty_kills(database_url: str, tmp_path: Path) -> None:
    await story(database_url, tmp_path, 1, kills=20, arguments=("--no-reconciler",))


async def test_the_same_holds_with_the_reconciler_inside(database_url: str, tmp_path: Path) -> None:
    await story(database_url, tmp_path, 2, kills=10, arguments=())


async def story(database_url: str, folder: Path, seed: int, *, kills: int, arguments: tuple[str, ...]) -> None:
    """Traffic of our own and of the sandbox's, so many kills, then the ledger against both."""
    rng = random.Random(seed)
    counts: Counter[str] = Counter()
    async with running_civitai(seed=seed, **FAULTS) as civitai, aiohttp.ClientSession() as session:
        stage = Stage.made(folder, database_url, civitai.base_url, server=SERVER, source=SOURCE)
        targets = await held_targets(session, civitai, 60)
        traffic = Traffic(stage.port, stage.hook_path, targets, seed=seed)
        submitting = asyncio.create_task(keep_submitting(session, civitai, stage))
        try:
            for turn in range(kills):
                if turn % 8 == 7:
                    await die_while_starting(stage, rng, arguments, counts)
                await die_in_traffic(stage, traffic, rng, arguments, counts)
            submitting.cancel()
            async with stage.running("serve", "serve", *arguments) as program:
                await stage.until_ready(program)
                await traffic.stop()
                await until_told(civitai, held=len(targets))
                finish_all(civitai, targets, rng)
                assert await program.stop() == 0, program.words()
        finally:
            submitting.cancel()
            await asyncio.gather(submitting, return_exceptions=True)
            await traffic.abandon()
        report(database_url, traffic, civitai, counts)
        await judge(stage, civitai, traffic, counts)


async def keep_submitting(session: aiohttp.ClientSession, civitai: RunningCivitai, stage: Stage) -> None:
    """Submit workflows whose callbacks the sandbox sends, until cancelled."""
    while True:
        await submit(session, civitai, hook_url=stage.url + stage.hook_path)
        await asyncio.sleep(0.3)


async def die_while_starting(
    stage: Stage, rng: random.Random, arguments: tuple[str, ...], counts: Counter[str]
) -> None:
    """Start the server and kill it, most likely before it listens."""
    async with stage.running("serve", "serve", *arguments) as program:
        await asyncio.sleep(rng.uniform(0.2, 1.2))
        await program.kill()
    counts["killed while starting"] += 1


async def die_in_traffic(
    stage: Stage, traffic: Traffic, rng: random.Random, arguments: tuple[str, ...], counts: Counter[str]
) -> None:
    """Start the server, let it answer for a moment, and kill it while deliveries are under way."""
    async with stage.running("serve", "serve", *arguments) as program:
        await stage.until_ready(program)
        await traffic.until_acknowledged(5)
        await asyncio.sleep(rng.uniform(0.02, 0.5))
        await until(lambda: traffic.under_way, 10, every=0.0)
        await program.kill()
    counts["killed in traffic"] += 1


async def until_told(civitai: RunningCivitai, held: int, seconds: float = 60) -> None:
    """Return when all but the held workflows have ended, and every callback is delivered or given up."""

    def told() -> bool:
        state = civitai.sandbox.quiet()
        return bool(state["open"] <= held and not state["pending_callbacks"])

    await until(told, seconds, every=0.05)


def report(database_url: str, traffic: Traffic, civitai: RunningCivitai, counts: Counter[str]) -> None:
    """Print what the run consisted of, and see to it that it was what it is meant to be."""
    told = Counter(line["outcome"] for line in civitai.log()["callbacks"])
    print(f"\n{database_url.partition(':')[0]}: {dict(counts)}; {len(traffic.sent)} deliveries {dict(traffic.counts)}")
    print(f"sandbox: {len(civitai.truth()['workflows'])} workflows, callbacks {dict(told)}")
    assert traffic.counts["torn"] >= counts["killed in traffic"] / 2, "the kills met nothing under way"
    assert traffic.counts["acknowledged"] > 20 * counts["killed in traffic"]
    assert told["delivered"]
    assert told["retrying"]


async def judge(stage: Stage, civitai: RunningCivitai, traffic: Traffic, counts: Counter[str]) -> None:
    """Hold the ledger against what was answered; after the longest lease `reconcile --open` makes it equal to truth."""
    database = await Database.open(stage.database_url)
    try:
        assert await lost_or_doubled(database, traffic.sent) == []
        assert await unsound(database) == []
        await asyncio.sleep(LEASE)
        before = await differences(database, civitai)
        assert before, "there is nothing left to reconcile, so this would prove nothing"
        code = await stage.finished("reconcile", "reconcile", "--open")
        print(f"{len(before)} differences before; {stage.last_line('reconcile')}")
        assert await differences(database, civitai) == []
        assert code == 0, stage.last_line("reconcile")
        assert await unsound(database) == []
        assert await lost_or_doubled(database, traffic.sent) == []
    finally:
        await database.close()

"""SIGKILL of one worker of `serve --workers 2`: what it answered is there, the others go on, and it is replaced."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path

import aiohttp
import pytest

from receiver.ledger.database import Database
from receiver.sandbox.civitai import running_civitai
from tests.staging.programs import KEY, Stage
from tests.staging.soundness import lost_or_doubled, unsound
from tests.staging.traffic import Traffic
from tests.staging.upstream import held_targets
from tests.staging.waiting import until

pytestmark = [pytest.mark.crash, pytest.mark.timeout(120)]

KILLS = 6


async def test_a_worker_that_is_killed_is_replaced_and_nothing_answered_is_lost(
    postgres_url: str, tmp_path: Path
) -> None:
    rng = random.Random(5)
    async with running_civitai(speed=10, api_key=KEY) as civitai, aiohttp.ClientSession() as session:
        stage = Stage.made(tmp_path, postgres_url, civitai.base_url, source=('deadline = "30d"',))
        targets = await held_targets(session, civitai, 20)
        async with stage.running("serve", "serve", "--workers", "2") as program:
            await stage.until_ready(program)
            await until(lambda: len(program.children()) == 2)
            traffic = Traffic(stage.port, stage.hook_path, targets, seed=5)
            try:
                for turn in range(KILLS):
                    await traffic.until_acknowledged(20)
                    await asyncio.sleep(rng.uniform(0.1, 0.5))
                    before = program.children()
                    victim = before[turn % 2]
                    os.kill(victim, signal.SIGKILL)
                    # It goes on at once with the other, and has a new one within the time a worker should live.
                    await traffic.until_acknowledged(20, 2)
                    await until(lambda dead=victim: len(set(program.children()) - {dead}) == 2, 8)  # type: ignore[misc]
                await traffic.stop()
            finally:
                await traffic.abandon()
            assert await program.stop() == 0, program.words()
            replaced = program.said("worker died")
        print(f"\n{len(replaced)} workers killed; {len(traffic.sent)} deliveries {dict(traffic.counts)}")
        assert [line["code"] for line in replaced] == [-signal.SIGKILL] * KILLS
        assert traffic.counts["torn"], "the kills met nothing under way"
        database = await Database.open(postgres_url)
        try:
            assert await lost_or_doubled(database, traffic.sent) == []
            assert await unsound(database) == []
        finally:
            await database.close()

"""Everything dies again and again under load; in the end the ledger holds all it acknowledged, and upstream's truth.

PostgreSQL is killed and started again, or on SQLite the disk is full for a while; the receiver and the reconciler are
killed as well. Seeded and sized by the environment: see `tests.chaos.sizes`.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from receiver.ledger.database import Database
from receiver.sandbox.civitai import RunningCivitai, running_civitai
from tests.chaos.sizes import Size, size
from tests.chaos.supervising import Disaster, Disasters, Kept, kept
from tests.conftest import PostgresServer
from tests.staging.mortal_postgres import mortal_postgres
from tests.staging.programs import KEY, Stage
from tests.staging.registering import register
from tests.staging.small_disk import MIB, small_disk
from tests.staging.soundness import lost_or_doubled, unsound
from tests.staging.traffic import Traffic
from tests.staging.upstream import differences, finish_all, held_targets, submit
from tests.staging.waiting import until

SIZE = size()
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(int(4 * SIZE.seconds + 600))]

LEASE = 4.0
SERVER = (f'lease = "{LEASE:g}s"', 'item = "3s"')
SOURCE = (
    'silence = "5s"', 'deadline = "30d"', "concurrency = 16", 'keep_fresh = "0"', 'budget = "1000000/min"',
)  # fmt: skip
FAULTS: dict[str, Any] = {
    "speed": 10, "api_key": KEY, "drop": 0.1, "duplicate": 0.1, "reorder": 0.05, "fail": 0.1, "cancel": 0.05,
    "callback_retries": 6, "callback_backoff": 1.0, "callback_total": 600.0,
}  # fmt: skip
HELD = 2 / 3  # of the workflows are the subject of our own traffic; the sandbox's callbacks tell of the others

Choices = list[tuple[str, Disaster]]


async def test_postgresql_and_all_programs_die_again_and_again(postgres: PostgresServer, tmp_path: Path) -> None:
    async with mortal_postgres(postgres.programs) as server:

        def ended_by(end: Callable[[], Any]) -> Disaster:
            async def happen(rng: random.Random) -> None:
                await end()
                await asyncio.sleep(rng.uniform(0, SIZE.least))
                await server.start()

            return happen

        ways: Choices = [
            ("postgresql killed", ended_by(server.kill)),
            ("postgresql crashed", ended_by(server.crash)),
            ("postgresql restarted", ended_by(server.stop)),
        ]
        await Story(tmp_path, server.url, SIZE).told("postgresql", ways)


async def test_all_programs_die_again_and_again_and_the_disk_of_sqlite_fills_up(tmp_path: Path) -> None:
    story = Story(tmp_path, f"sqlite:///{tmp_path}/disk/ledger.db", SIZE)
    with small_disk(tmp_path / "disk", 64 * MIB + SIZE.deliveries * 6 * 1024, story.pids) as disk:

        async def full(rng: random.Random) -> None:
            await asyncio.to_thread(disk.fill)
            await asyncio.sleep(rng.uniform(0.3, SIZE.least))
            disk.free()

        await story.told("sqlite", [("disk full" if disk.mounted else "files at their limit", full)])


class Story:
    """One run: traffic, disasters, peace, judgement."""

    def __init__(self, folder: Path, database_url: str, size: Size) -> None:
        self._folder, self._url, self._size = folder, database_url, size
        self._programs: list[Kept] = []
        self._submitted: list[dict[str, Any]] = []

    def pids(self) -> list[int]:
        """The processes that write the ledger now."""
        return [one.pid for one in self._programs if one.pid is not None]

    async def told(self, name: str, ways: Choices) -> None:
        """Let it happen. `ways` are the ways in which the database is in trouble."""
        size = self._size
        async with AsyncExitStack() as stack:
            civitai = await stack.enter_async_context(running_civitai(seed=size.seed, **FAULTS))
            session = await stack.enter_async_context(aiohttp.ClientSession())
            stage = Stage.made(self._folder, self._url, civitai.base_url, server=SERVER, source=SOURCE)
            targets = await held_targets(session, civitai, int(size.workflows * HELD))
            serve = await stack.enter_async_context(kept(stage, "serve", "serve", "--no-reconciler"))
            daemon = await stack.enter_async_context(kept(stage, "daemon", "reconcile", "--watch"))
            self._programs = [serve, daemon]
            await serve.until_ready()
            traffic = Traffic(stage.port, stage.hook_path, targets, seed=size.seed)
            stack.push_async_callback(traffic.abandon)
            disasters = Disasters(size.seed)
            stack.push_async_callback(disasters.abandon)
            disasters.begin("database", ways, size.least, size.most)
            disasters.begin("serve", [("receiver killed", serve.kill)], 2 * size.least, 2 * size.most)
            disasters.begin("daemon", [("reconciler killed", daemon.kill)], 2 * size.least, 2 * size.most)
            began = time.monotonic()
            await asyncio.gather(self._submit_all(session, civitai, stage), self._last(traffic))
            await disasters.end()
            chaos = time.monotonic() - began
            await serve.until_ready()
            await traffic.stop(120)
            await told_all(civitai, len(targets))
            finish_all(civitai, targets, random.Random(size.seed))
            codes = (await daemon.stop(), await serve.stop())
            print(f"\n{name}, {chaos:.0f} s, seed {size.seed}: {dict(disasters.counts)}")
            print(f"{len(traffic.sent)} deliveries {dict(traffic.counts)}")
            print(f"ends of the receiver {dict(serve.ended)}, of the reconciler {dict(daemon.ended)}")
            # One that was started a moment ago may not have taken the signal into its own hands yet.
            assert codes[0] in (0, -signal.SIGTERM), stage.last_line("daemon")
            assert codes[1] == 0, stage.last_line("serve")
            assert traffic.counts["acknowledged"] >= size.deliveries
            assert len(disasters.counts) >= 3, "chaos was too short for everything to happen"
            await self._judge(stage, civitai, traffic)

    async def _last(self, traffic: Traffic) -> None:
        """Return when there were enough seconds and enough deliveries."""
        await asyncio.sleep(self._size.seconds)
        enough = self._size.deliveries
        await until(lambda: traffic.counts["acknowledged"] >= enough, 2 * self._size.seconds + 120, every=0.1)

    async def _submit_all(self, session: aiohttp.ClientSession, civitai: RunningCivitai, stage: Stage) -> None:
        """Submit, over the whole time, the workflows that the sandbox calls back about."""
        count = self._size.workflows - int(self._size.workflows * HELD)
        for _ in range(count):
            self._submitted.append(await submit(session, civitai, hook_url=stage.url + stage.hook_path))
            await asyncio.sleep(self._size.seconds / count)

    async def _judge(self, stage: Stage, civitai: RunningCivitai, traffic: Traffic) -> None:
        database = await Database.open(self._url)
        try:
            assert await lost_or_doubled(database, traffic.sent) == []
            assert await unsound(database) == []
            # Who submits tells the ledger, for as long as it takes; so even what nobody called back about is known.
            await register(stage, database, self._submitted)
            await asyncio.sleep(LEASE)
            before = await differences(database, civitai)
            code = await stage.finished("reconcile", "reconcile", "--open")
            print(f"{len(before)} differences before; {stage.last_line('reconcile')}")
            assert await differences(database, civitai) == []
            assert code == 0, stage.last_line("reconcile")
            assert await unsound(database) == []
            assert await lost_or_doubled(database, traffic.sent) == []
            print(f"{len(civitai.truth()['workflows'])} workflows as upstream has them")
        finally:
            await database.close()


async def told_all(civitai: RunningCivitai, held: int) -> None:
    """Return when all but the held workflows have ended, and every callback is delivered or given up."""

    def told() -> bool:
        state = civitai.sandbox.quiet()
        return bool(state["open"] <= held and not state["pending_callbacks"])

    await until(told, 120, every=0.05)
    print(f"\ncallbacks of the sandbox: {dict(Counter(line['outcome'] for line in civitai.log()['callbacks']))}")

"""The database is gone, silent, restarted, or out of room under traffic: 503s that say when to come again, and no more.

Each outage lasts `CHAOS_OUTAGE` seconds: a few in CI; 60 is the whole test.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from receiver.ledger.database import Database
from receiver.sandbox.civitai import running_civitai
from tests.chaos.sizes import number
from tests.conftest import PostgresServer
from tests.staging.failing_disk import FailingDisk, What, failing_disk
from tests.staging.mortal_postgres import MortalPostgres, mortal_postgres
from tests.staging.programs import KEY, Program, Stage, asked_ready
from tests.staging.small_disk import MIB, small_disk
from tests.staging.soundness import lost_or_doubled, unsound
from tests.staging.traffic import Traffic
from tests.staging.upstream import held_targets
from tests.staging.waiting import until
from tests.staging.wire import wired

OUTAGE = number("OUTAGE", 4)
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(int(120 + 3 * OUTAGE))]

ANSWER_WITHIN = 1.5  # seconds
BUSY = 1.5  # and more that a machine with other things to do may take
AT_ONCE = 3.0  # from the database's return to the first 200, on such a machine
# From then on until connections that nobody has told of their end are given up: a commit may take ten seconds.
UNTOLD = 10.0
FLAT = 32 * MIB


@dataclass
class Watched:
    """A `serve` under traffic, and what is seen of it from outside."""

    stage: Stage
    program: Program
    traffic: Traffic
    unhealthy: list[str] = field(default_factory=list)

    def memory(self) -> int:
        """Its resident bytes."""
        words = Path(f"/proc/{self.program.process.pid}/status").read_text().split()
        return int(words[words.index("VmRSS:") + 1]) * 1024

    @asynccontextmanager
    async def outage(self, *, workers: int = 1, back_within: float = AT_ONCE) -> AsyncIterator[None]:
        """Watch an outage that the block makes and ends: its answers, its log, its memory, and what comes after."""
        await self.traffic.until_acknowledged(100)
        before, self.traffic.slowest = self.memory(), 0.0
        refused, lines, began = self.traffic.counts["answered 503"], self._log_size(), time.monotonic()
        watching = asyncio.create_task(self._watch_health())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        ended = time.monotonic()
        acknowledged = self.traffic.counts["acknowledged"]
        await until(lambda: self.traffic.counts["acknowledged"] > acknowledged, 30)
        back = time.monotonic() - ended
        await until(lambda: asked_ready(self.stage.port), 10)
        said = self._said_since(lines)
        grown, count = self.memory() - before, self.traffic.counts["answered 503"] - refused
        print(
            f"\n{ended - began:.0f} s: {count} times 503, the slowest answer after {self.traffic.slowest:.2f} s; back"
            f" after {back:.2f} s; {grown / MIB:+.1f} MiB; log lines {dict(said)}"
        )
        assert count > 10, "the traffic did not notice"
        assert self.traffic.counts["curt"] == 0
        assert self.traffic.slowest < ANSWER_WITHIN + BUSY
        assert back < back_within
        assert self.unhealthy == []
        assert grown < FLAT
        for event, times in said.items():
            assert times <= workers * (time.monotonic() - began + 2), f"a flood of {event!r}"

    def _log_size(self) -> int:
        return self.program.log.stat().st_size

    def _said_since(self, place: int) -> Counter[str]:
        """What went wrong in its own words, with how many lines told of each; what went well has a line of its own."""
        said = self.program.log.read_bytes()[place:].decode(errors="replace").splitlines()
        told = [json.loads(line) for line in said if line.startswith("{") and line.endswith("}")]
        assert len(told) >= len(said) - 2, "something else than lines of JSON"
        wrong = [line for line in told if line["level"] != "info" or line.get("outcome") == "refused"]
        return Counter(line["event"] for line in wrong)

    async def _watch_health(self) -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.get(f"{self.stage.url}/healthz", timeout=aiohttp.ClientTimeout(5)) as answer:
                        if answer.status != 200:
                            self.unhealthy.append(await answer.text())
                except (aiohttp.ClientError, TimeoutError) as error:
                    self.unhealthy.append(repr(error))
                await asyncio.sleep(0.2)


@asynccontextmanager
async def watched(
    folder: Path, database_url: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Watched]:
    """Serve under traffic while inside; afterwards nothing that was acknowledged may be lost."""
    async with running_civitai(speed=10, api_key=KEY) as civitai, aiohttp.ClientSession() as session:
        stage = Stage.made(
            folder, database_url, civitai.base_url,
            server=(f'answer_within = "{ANSWER_WITHIN}s"',), source=('deadline = "30d"',),
            environment=environment,
        )  # fmt: skip
        targets = await held_targets(session, civitai, 20)
        async with stage.running("serve", "serve", *arguments) as program:
            await stage.until_ready(program)
            traffic = Traffic(stage.port, stage.hook_path, targets, seed=3)
            try:
                yield Watched(stage, program, traffic)
                await traffic.stop()
            finally:
                await traffic.abandon()
            assert await program.stop() == 0, program.words()
        assert traffic.counts["torn"] == 0, "a database in trouble is no reason to drop the client"
    database = await Database.open(database_url)
    try:
        assert await lost_or_doubled(database, traffic.sent) == []
        assert await unsound(database) == []
    finally:
        await database.close()


@pytest.fixture
async def server(postgres: PostgresServer) -> AsyncIterator[MortalPostgres]:
    async with mortal_postgres(postgres.programs) as server:
        yield server


async def test_a_database_that_is_gone_is_503_until_it_is_back(server: MortalPostgres, tmp_path: Path) -> None:
    async with watched(tmp_path, server.url) as serve, serve.outage():
        await server.kill()
        await asyncio.sleep(OUTAGE)
        assert not await asked_ready(serve.stage.port)
        await server.start()


async def test_a_database_that_is_silent_is_503_until_it_speaks(server: MortalPostgres, tmp_path: Path) -> None:
    async with watched(tmp_path, server.url) as serve, serve.outage():
        server.freeze()
        await asyncio.sleep(OUTAGE)
        assert not await asked_ready(serve.stage.port)
        server.thaw()


@pytest.mark.parametrize("workers", [1, 2])
async def test_behind_a_black_hole_it_is_503_until_a_new_connection_passes(
    server: MortalPostgres, tmp_path: Path, workers: int
) -> None:
    async with (
        wired(server.url) as wire,
        watched(tmp_path, wire.url, "--workers", str(workers)) as serve,
        serve.outage(workers=workers, back_within=max(UNTOLD - OUTAGE, 0) + AT_ONCE),
    ):
        wire.swallow()
        await asyncio.sleep(OUTAGE)
        assert not await asked_ready(serve.stage.port)
        wire.pass_again()


async def test_a_database_that_starts_again_and_again_loses_nothing(server: MortalPostgres, tmp_path: Path) -> None:
    async with watched(tmp_path, server.url, "--workers", "2") as serve, serve.outage(workers=2):
        ends = time.monotonic() + OUTAGE
        for end in (server.crash, server.stop, server.kill):
            await end()
            await asyncio.sleep(0.2)
            await server.start()
            await serve.traffic.until_acknowledged(20)
        while time.monotonic() < ends:
            await server.crash()
            await server.start()
            await serve.traffic.until_acknowledged(20)
            await asyncio.sleep(2)


async def test_a_disk_without_room_is_503_until_there_is_room(tmp_path: Path) -> None:
    programs: list[Program] = []
    with small_disk(tmp_path / "disk", 32 * MIB, lambda: [one.process.pid for one in programs]) as disk:
        async with watched(tmp_path, f"sqlite:///{tmp_path}/disk/ledger.db") as serve:
            programs.append(serve.program)
            async with serve.outage():
                disk.fill()
                await asyncio.sleep(OUTAGE)
                assert not await asked_ready(serve.stage.port), "it cannot keep anything, and says so"
                disk.free()


@pytest.fixture
def disk() -> Iterator[FailingDisk]:
    with failing_disk() as disk:
        yield disk


@pytest.mark.parametrize("what", ["sync", "write"])
async def test_a_disk_that_fails_is_503_until_it_works(disk: FailingDisk, tmp_path: Path, what: What) -> None:
    folder = tmp_path / "ledger"
    folder.mkdir()
    environment = disk.environment(folder)
    async with watched(tmp_path, f"sqlite:///{folder}/ledger.db", environment=environment) as serve, serve.outage():
        disk.fail(what)
        await asyncio.sleep(OUTAGE)
        assert not await asked_ready(serve.stage.port), "it cannot keep anything, and says so"
        disk.mend()


async def test_a_database_whose_log_cannot_be_synced_is_503_until_it_can(
    server: MortalPostgres, disk: FailingDisk, tmp_path: Path
) -> None:
    await server.stop()
    server.environment = disk.environment(server.data)
    await server.start()
    async with watched(tmp_path, server.url) as serve, serve.outage():
        disk.fail("sync")  # which PostgreSQL does not survive, rather than guess what the disk has
        await asyncio.sleep(OUTAGE)
        assert not await asked_ready(serve.stage.port)
        disk.mend()
        await server.kill()
        await server.start()

"""SIGTERM to `serve` under everything that may hold it up: it answers what it has, and leaves in time with 0."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from receiver.ledger.database import Database
from receiver.sandbox.civitai import running_civitai
from tests.conftest import PostgresServer
from tests.staging.mortal_postgres import MortalPostgres, mortal_postgres
from tests.staging.programs import KEY, Program, Stage
from tests.staging.soundness import lost_or_doubled, unsound
from tests.staging.traffic import Traffic
from tests.staging.upstream import held_targets

pytestmark = [pytest.mark.crash, pytest.mark.timeout(120)]

LEAVES_WITHIN = 20.0  # seconds, as the runbook says to whoever sets a supervisor's stop timeout
AT_ONCE = 6.0  # with nothing but clients that hold it up, on a machine with other things to do


@asynccontextmanager
async def busy(
    folder: Path, database_url: str, *arguments: str, lanes: int = 16
) -> AsyncIterator[tuple[Stage, Program, Traffic]]:
    """`serve` under traffic over so many connections."""
    async with running_civitai(speed=10, api_key=KEY) as civitai, aiohttp.ClientSession() as session:
        stage = Stage.made(folder, database_url, civitai.base_url, source=('deadline = "30d"',))
        targets = await held_targets(session, civitai, 20)
        async with stage.running("serve", "serve", *arguments) as program:
            await stage.until_ready(program)
            traffic = Traffic(stage.port, stage.hook_path, targets, seed=5, lanes=lanes)
            try:
                await traffic.until_acknowledged(100)
                yield stage, program, traffic
            finally:
                await traffic.abandon()


async def told(program: Program, *, within: float, times: int = 1) -> None:
    """Send SIGTERM so many times; it must leave in time, with 0 and without a traceback."""
    for _ in range(times):
        program.process.terminate()
        await asyncio.sleep(0.05)
    code = await program.ended(within)
    assert code == 0, program.words()
    assert "Traceback" not in program.log.read_text(), program.words()


async def nothing_lost(url: str, traffic: Traffic) -> None:
    database = await Database.open(url)
    try:
        assert await lost_or_doubled(database, traffic.sent) == []
        assert await unsound(database) == []
    finally:
        await database.close()


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
async def test_in_traffic_it_answers_what_it_has_and_leaves(database_url: str, tmp_path: Path, times: int) -> None:
    async with busy(tmp_path, database_url) as (_, program, traffic):
        await told(program, within=AT_ONCE, times=times)
    await nothing_lost(database_url, traffic)


async def test_two_workers_leave_together(postgres_url: str, tmp_path: Path) -> None:
    async with busy(tmp_path, postgres_url, "--workers", "2") as (_, program, traffic):
        await told(program, within=AT_ONCE)
    await nothing_lost(postgres_url, traffic)


async def test_a_client_that_trickles_does_not_hold_it_up(database_url: str, tmp_path: Path) -> None:
    async with busy(tmp_path, database_url) as (stage, program, traffic):
        slow = [asyncio.create_task(trickle(stage)) for _ in range(5)]
        try:
            await asyncio.sleep(0.5)
            await told(program, within=AT_ONCE)
            assert all(answer.startswith(b"HTTP/1.1 408") for answer in await asyncio.gather(*slow))
        finally:
            for task in slow:
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)
    await nothing_lost(database_url, traffic)


async def trickle(stage: Stage) -> bytes:
    """Send a body byte by byte, for longer than anybody waits; return what is answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    try:
        writer.write(f"POST {stage.hook_path} HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n".encode())
        answer = asyncio.create_task(reader.read())
        while not answer.done():
            writer.write(b"x")
            await asyncio.sleep(0.2)
        return await answer
    finally:
        writer.close()


@pytest.fixture
async def server(postgres: PostgresServer) -> AsyncIterator[MortalPostgres]:
    async with mortal_postgres(postgres.programs) as server:
        yield server


@pytest.mark.parametrize("how", ["killed", "frozen"])
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_database_in_trouble_does_not_hold_it_up(
    server: MortalPostgres, tmp_path: Path, how: str, workers: int
) -> None:
    async with busy(tmp_path, server.url, "--workers", str(workers)) as (_, program, traffic):
        if how == "killed":
            await server.kill()
        else:
            server.freeze()
        await asyncio.sleep(1)
        await told(program, within=LEAVES_WITHIN)
        if how == "killed":
            await server.start()
        else:
            server.thaw()
    await nothing_lost(server.url, traffic)


async def test_a_queue_that_has_piled_up_is_answered_before_it_leaves(server: MortalPostgres, tmp_path: Path) -> None:
    async with busy(tmp_path, server.url, lanes=400) as (_, program, traffic):
        server.freeze()
        await asyncio.sleep(1)
        acknowledged = traffic.counts["acknowledged"]
        leaving = asyncio.create_task(told(program, within=LEAVES_WITHIN))
        await asyncio.sleep(0.5)
        server.thaw()
        await leaving
        assert traffic.counts["acknowledged"] >= acknowledged + 100
    await nothing_lost(server.url, traffic)

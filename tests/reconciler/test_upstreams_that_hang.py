"""An upstream that accepts and says nothing, dribbles, or never ends: each look has its own time, and so has a pass."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from time import monotonic

import pytest

from receiver.ledger.database import Database
from receiver.ledger.operations import passes
from receiver.redaction import Redactor
from reconciler.loop import GRACE, run_pass
from tests.reconciler.world import World, configured, document

ITEM = 1.0
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


async def _talk(how: str, name: str, writer: asyncio.StreamWriter, over: asyncio.Event) -> None:
    if how == "mute":
        await over.wait()
    elif how == "dribble":
        for byte in HEAD + b"Content-Length: 2\r\n\r\n{}":
            writer.write(bytes([byte]))
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), 1)
    elif how == "endless":
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        while not over.is_set():
            writer.write(b"4\r\n    \r\n")
            await writer.drain()
            await asyncio.sleep(0.02)
    else:
        body = json.dumps(document(name)).encode()
        writer.write(HEAD + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        await writer.drain()


@asynccontextmanager
async def hanging() -> AsyncIterator[tuple[str, dict[str, float]]]:
    """An upstream whose workflows behave as their names begin; gives its URL, and when each was asked for last."""
    asked: dict[str, float] = {}
    over, talking = asyncio.Event(), set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talking.add(asyncio.current_task())
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            line = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].partition(b"?")[0]
            name = line.decode().rpartition("/")[2]
            asked[name] = monotonic()
            await _talk(name.partition("-")[0], name, writer, over)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}", asked
        over.set()
        await asyncio.gather(*talking)


def world_at(url: str, database: Database, database_url: str, folder: Path, *server: str) -> World:
    config = configured(database_url, url, folder, "concurrency = 4", server=server)
    return World(database, config, Redactor(config.secret_values()))


@pytest.mark.parametrize("how", ["mute", "dribble", "endless"])
async def test_looks_that_hang_end_in_their_own_time_and_the_healthy_are_all_looked_at(
    database: Database, database_url: str, tmp_path: Path, how: str
) -> None:
    async with hanging() as (url, _):
        world = world_at(url, database, database_url, tmp_path, 'lease = "30s"', f'item = "{ITEM:g}s"')
        for n in range(3):
            await world.track(f"{how}-{n}", ago=timedelta(seconds=60))
        for n in range(30):
            await world.track(f"well-{n}")
        began = monotonic()
        report = await run_pass(world.config, world.database, world.redactor)
        took = monotonic() - began
        assert [await world.status(f"well-{n}") for n in range(30)] == ["succeeded"] * 30
        assert report.outcome == "done"
        assert report.counts["busy"] >= 3
        assert took < 60, "and not the minute that upstream would have taken"
        for n in range(3):
            check = await world.check(f"{how}-{n}")
            assert check.leased_until is None
            assert "no answer within 1 s" in (check.last_error or "")


async def test_a_pass_ends_in_its_time_and_gives_back_what_hangs_uncounted(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    async with hanging() as (url, asked):
        world = world_at(url, database, database_url, tmp_path, 'lease = "5m"', 'item = "4m"')
        for n in range(3):
            await world.track(f"mute-{n}", ago=timedelta(seconds=60))
        for n in range(10):
            await world.track(f"well-{n}")
        began = monotonic()
        report = await run_pass(world.config, world.database, world.redactor, budget=timedelta(seconds=2))
        took = monotonic() - began
        assert len([name for name in asked if name.startswith("mute")]) == 3
        assert report.outcome == "budget"
        assert report.counts["shown"] == 10
        assert took < 2 + GRACE.total_seconds() + 30, "not the four minutes that an item may take"
        for n in range(3):
            check = await world.check(f"mute-{n}")
            assert (check.leased_until, check.memory.attempts) == (None, 0)
        (row,) = await world.rows(passes)
        assert (row.outcome, row.ended_at is not None) == ("budget", True)

"""What requests that have not arrived whole may hold in memory together, and who has to go when it is too much."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from receiver.web import limits
from receiver.web.room import Room
from tests.staging.waiting import until
from tests.web.client import ask, connect, event, head, read_answer
from tests.web.conftest import Receiving, Running
from tests.web.test_door import turned_away

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
SIZE = 1_000_000  # bytes; the receiver of these tests takes 1 MiB
COME = 900_000


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind of database is enough: hardly any of this gets that far."""
    return sqlite_url


@asynccontextmanager
async def uploading(running: Running, come: int) -> AsyncIterator[Streams]:
    """A delivery of SIZE bytes of which so many have been sent."""
    reader, writer = await connect(running.url)
    writer.write(head("POST", running.hook(), {"content-length": str(SIZE)}) + b" " * come)
    await writer.drain()
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def until_lent(running: Running, least: int) -> None:
    await until(lambda: running.site.door.room.lent >= least)


async def test_while_much_is_lent_those_that_make_no_progress_have_to_go_and_no_one_else(
    receiving: Receiving,
) -> None:
    async with receiving() as running, AsyncExitStack() as stack:
        room = running.site.door.room
        reader, writer = await stack.enter_async_context(uploading(running, 0))
        stalled = [await stack.enter_async_context(uploading(running, COME)) for _ in range(25)]
        await until_lent(running, 20 * COME)
        answers = [asyncio.create_task(read_answer(one)) for one, _ in stalled]
        for _ in range(15):
            writer.write(b" " * (SIZE // 20))
            await asyncio.sleep(0.15)
        gone = [task.result() for task in answers if task.done()]
        assert {answer.status for answer in gone} == {503}
        assert all(int(answer.headers["retry-after"]) > 0 for answer in gone)
        assert turned_away(running) == {"no room": len(gone)}
        assert room.lent <= limits.ROOM_FOR_STALLED + SIZE
        assert len(gone) < len(stalled), "only as many as it takes"
        writer.write(b" " * (SIZE - 15 * (SIZE // 20)))
        assert (await read_answer(reader)).status == 200
        for task in answers:
            task.cancel()


async def test_a_few_that_stall_have_all_the_time_there_is(receiving: Receiving) -> None:
    async with receiving() as running, uploading(running, COME) as (reader, writer):
        await asyncio.sleep(2.2)
        writer.write(b" " * (SIZE - COME))
        assert (await read_answer(reader)).status == 200
        assert running.site.door.room.lent == 0


async def test_whatever_is_lent_what_is_small_or_comes_whole_is_served(receiving: Receiving) -> None:
    async with receiving() as running:
        running.site.door.room.lend(limits.ROOM)
        assert (await ask("POST", running.hook(), event("wf-1", "failed", prompt="x" * 9000))).status == 200
        reader, writer = await connect(running.url)
        body = event("wf-2", "failed", prompt="x" * 1000)
        writer.write(head("POST", running.hook(), {"content-length": str(len(body))}) + body[:900])
        await asyncio.sleep(1.2)
        writer.write(body[900:])
        assert (await read_answer(reader)).status == 200
        writer.close()
        assert not turned_away(running)


@pytest.mark.parametrize(
    "words",
    [
        {"content-length": "2", "expect": "100-continue"},
        {"x-long": "x" * 20_000, "content-length": "2"},
        {"content-length": "50000"},
    ],
    ids=["asks first", "large head", "large body"],
)
async def test_when_all_is_lent_nobody_is_lent_more(receiving: Receiving, words: dict[str, str]) -> None:
    async with receiving() as running:
        running.site.door.room.lend(limits.ROOM)
        reader, writer = await connect(running.url)
        writer.write(head("POST", running.hook(), words) + (b" " * 20_000 if "5" in words["content-length"] else b""))
        answer = await asyncio.wait_for(read_answer(reader), 3)
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0
        assert turned_away(running) == {"no room": 1}
        assert running.site.door.room.lent == limits.ROOM, "it gave back what it had"
        writer.close()


def test_a_few_bodies_of_the_largest_size_find_room_whatever_that_size_is() -> None:
    largest = 100 * 2**20
    room = Room(largest)
    assert all(room.lend(largest) for _ in range(limits.LARGEST_AT_ONCE))
    assert not room.lend(largest)


def test_after_a_flood_memory_goes_back_to_the_system() -> None:
    room = Room(2**20)
    held = [bytearray(20_000) for _ in range(2000)]
    room.lend(40_000_000)
    room.settle()
    before = _resident()
    kept = held[::20]  # what is between them cannot simply be cut off at the end
    held.clear()
    room.give_back(38_000_000)
    room.settle()
    assert before - _resident() > 20 * 2**20
    assert len(kept) == 100


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

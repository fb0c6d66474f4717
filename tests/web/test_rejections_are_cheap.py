"""A rejected request does less than an accepted one: it needs no database, reads no more than it must, writes nothing.

Counted by what is done, not timed.
"""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from receiver.ledger.database import Database
from receiver.ledger.operations import rejections
from receiver.ledger.tables import delivery_keys, evidence, workflows
from receiver.web.rejections import SAMPLES
from tests.web.client import Answer, ask, connect, event, head, read_answer
from tests.web.conftest import TOKEN, Receiving, Running
from tests.web.rows import blocked, rows

BODY = event("wf-1", "failed")
LARGE = 1_000_000  # the receiver of these tests takes 1 MiB


async def every_rejection(running: Running) -> list[Answer]:
    """Have one request rejected for every reason there is; return the answers."""
    asked = [
        ("POST", running.hook(token="wrong-token-of-the-tests"), BODY, 401),
        ("POST", running.hook(token=None), BODY, 401),
        ("POST", f"{running.url}/hooks/nobody", BODY, 404),
        ("POST", f"{running.url}/hooks/silent", BODY, 404),
        ("PUT", running.hook(), BODY, 405),
        ("GET", running.hook(token="wrong-token-of-the-tests"), b"", 405),
        ("POST", running.hook(), b" " * (2**20 + 1), 413),
    ]
    answers = [await ask(method, url, body) for method, url, body, _ in asked]
    assert [answer.status for answer in answers] == [status for *_, status in asked]
    return answers


async def test_a_rejection_needs_no_database(receiving: Receiving, database: Database, database_url: str) -> None:
    async with receiving(answer_within=1) as running:
        async with blocked(database_url):
            await asyncio.wait_for(every_rejection(running), 5)
            assert running.site.intake.counters.queued == 0
            assert running.site.intake.counters.batches == 0
        assert await rows(database, rejections) == [], "it is not even counted there yet"
    for table in (evidence, workflows, delivery_keys):
        assert await rows(database, table) == []


async def test_a_flood_of_rejections_leaves_a_row_and_a_line_for_each_reason(
    receiving: Receiving, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "hookledger")
    async with receiving() as running:
        for turn in range(6):
            await every_rejection(running)
            # Whatever strangers choose must not become rows or lines.
            names = [f"{running.url}/hooks/nobody-{turn}-{n}" for n in range(30)]
            tokens = [running.hook(token=f"wrong-{turn}-{n}") for n in range(30)]
            await asyncio.gather(*(ask("POST", url, BODY, **{f"x_{turn}_{n}": "y"}) for n, url in enumerate(names)))
            await asyncio.gather(*(ask("POST", url, BODY) for url in tokens))
    found = await rows(database, rejections)
    assert sum(row.count for row in found) == 6 * (7 + 60)
    assert {(row.source, row.reason) for row in found} == {
        ("?", "no such source"), ("silent", "no such source"), ("civ", "not believed"), ("civ", "wrong method"),
        ("civ", "too large"),
    }  # fmt: skip
    assert all(len(row.samples) <= SAMPLES for row in found)
    assert len(caplog.records) == len(found)
    assert await rows(database, evidence) == []


@pytest.mark.parametrize("length", [LARGE, None], ids=["announced", "in chunks"])
async def test_a_wrong_token_is_found_before_the_body_is_read(receiver: Running, length: int | None) -> None:
    headers = {"transfer-encoding": "chunked"} if length is None else {"content-length": str(length)}
    reader, writer = await connect(receiver.url)
    part = b" " * 20_000
    writer.write(head("POST", receiver.hook(token="wrong"), headers))
    writer.write(part if length is not None else b"4e20\r\n" + part + b"\r\n")
    answer = await asyncio.wait_for(read_answer(reader), 3)
    assert (answer.status, answer.headers["connection"]) == (401, "close")
    writer.close()


async def test_who_asks_first_and_has_no_right_token_is_not_asked_for_its_body(receiver: Running) -> None:
    reader, writer = await connect(receiver.url)
    asked = {"content-length": str(len(BODY)), "expect": "100-continue"}
    writer.write(head("POST", receiver.hook(token="wrong"), asked))
    assert (await asyncio.wait_for(reader.readline(), 3))[9:12] == b"401"
    writer.close()


async def test_of_a_strangers_body_no_more_is_read_than_of_a_delivery(receiver: Running) -> None:
    for url in (receiver.hook(token="wrong"), f"{receiver.url}/hooks/nobody"):
        reader, writer = await connect(receiver.url)
        writer.transport.set_write_buffer_limits(0)
        writer.write(head("POST", url, {"content-length": str(LARGE * 50)}) + b" " * 20_000)
        assert (await asyncio.wait_for(read_answer(reader), 3)).status in (401, 404)
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 30 * 2**20 and not reader.at_eof():
                writer.write(b" " * 2**16)
                await writer.drain()
                await asyncio.sleep(0)
                sent += 2**16
        assert sent < 16 * 2**20, "what the kernels hold between us included"
        writer.close()


async def test_a_small_delivery_with_a_wrong_token_leaves_its_connection_to_the_next(receiver: Running) -> None:
    reader, writer = await connect(receiver.url)
    for token, status in (("wrong", 401), (TOKEN, 200)):
        writer.write(head("POST", receiver.hook(token=token), {"content-length": str(len(BODY))}) + BODY)
        assert (await read_answer(reader)).status == status
    writer.close()

"""What lives and dies with the application: the intake, the count of rejections, the built-in reconciler."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from receiver.ledger.database import Database
from receiver.ledger.operations import rejections
from receiver.web.health import STUCK
from receiver.web.rejections import Rejections
from tests.web.client import ask, connect, event, head, read_answer
from tests.web.conftest import Receiving
from tests.web.rows import blocked, rows


async def test_a_reconciler_that_dies_is_told_by_healthz_and_deliveries_go_on(
    receiving: Receiving,
) -> None:
    async def dies(*_: Any, beat: Callable[[], None]) -> None:
        raise ZeroDivisionError

    async with receiving(daemon=dies) as running:
        answer = await ask("GET", f"{running.url}/healthz")
        assert (answer.status, list(answer.json["silent"])) == (503, ["reconciler"])
        assert (await ask("POST", running.hook(), event("wf-1", "failed"))).status == 200


async def test_a_reconciler_that_just_ends_is_told_too(receiving: Receiving) -> None:
    async def ends(*_: Any, beat: Callable[[], None]) -> None:
        return

    async with receiving(daemon=ends) as running:
        assert (await ask("GET", f"{running.url}/healthz")).status == 503


async def test_an_intake_that_is_no_more_is_told_by_healthz_and_deliveries_are_sent_again(receiving: Receiving) -> None:
    async with receiving() as running:
        assert (await ask("GET", f"{running.url}/healthz")).status == 200
        await running.site.intake.stop()
        answer = await ask("GET", f"{running.url}/healthz")
        assert (answer.status, answer.json["silent"]) == (503, {"intake": None})
        refused = await ask("POST", running.hook(), event("wf-1", "failed"))
        assert (refused.status, "retry-after" in refused.headers) == (503, True)


async def test_an_intake_that_gives_no_sign_for_long_is_told(receiving: Receiving, database_url: str) -> None:
    async with receiving() as running, blocked(database_url):
        waits = asyncio.create_task(ask("POST", running.hook(), event("wf-1", "failed")))
        for _ in range(500):
            if running.site.intake.silent_for(time.monotonic()) > 0:
                break
            await asyncio.sleep(0.01)
        assert (await ask("GET", f"{running.url}/healthz")).status == 200
        assert running.site.intake.silent_for(time.monotonic() + 2 * STUCK) > STUCK
        await waits


async def test_the_reconciler_gets_its_parts_beats_and_is_told_to_end(receiving: Receiving, database: Database) -> None:
    seen: list[Any] = []

    async def works(config: Any, db: Any, redactor: Any, stop: asyncio.Event, *, beat: Callable[[], None]) -> None:
        beat()
        seen.append(db)
        await stop.wait()
        seen.append("ended")

    async with receiving(daemon=works) as running:
        assert (await ask("GET", f"{running.url}/healthz")).status == 200
        assert seen == [database]
    assert seen == [database, "ended"]


async def test_whoever_waits_for_long_is_told_of_the_end_before_it_waits_for_what_is_in_flight(
    receiving: Receiving,
) -> None:
    async with receiving() as running:
        body = event("wf-1", "failed")
        reader, writer = await connect(running.url)
        writer.write(head("POST", running.hook(), {"content-length": str(len(body))}) + body[:5])
        await writer.drain()
        await asyncio.sleep(0.05)
        running.server.stop()
        await asyncio.wait_for(running.site.stopping.wait(), 1)
        await asyncio.sleep(0.2)
        writer.write(body[5:])
        assert (await read_answer(reader)).status == 200
        writer.close()


async def test_rejections_that_cannot_be_written_are_kept_for_the_next_time(
    database: Database, database_url: str
) -> None:
    impatient = await Database.open(database_url, patience=0.2)
    count = Rejections(impatient)
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    for n in range(7):
        count.add("civ", "not believed", noon, body=b"%d" % n)
    async with database.write() as conn:
        await conn.exec_driver_sql("ALTER TABLE rejections RENAME TO elsewhere")
    await count.flush()
    async with database.write() as conn:
        await conn.exec_driver_sql("ALTER TABLE elsewhere RENAME TO rejections")
    count.add("civ", "not believed", noon, body=b"7")
    await count.flush()
    await impatient.close()
    (counted,) = await rows(database, rejections)
    assert counted.count == 8
    assert len(counted.samples) == 5

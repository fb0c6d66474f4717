"""What a signed delivery confirms teaches as a look does: else a source were known by the deliveries that failed."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from receiver.intake import Intake
from receiver.ledger import learning
from receiver.ledger.database import Database
from receiver.ledger.records import Trust
from receiver.web.janitor import sweep_forever
from tests.ledger.applying import delivery, saw


async def known_after(database: Database, intake: Intake) -> learning.Durations:
    """Let the janitor write down what there is; returns what is known of all of the source."""
    sweeper = asyncio.create_task(sweep_forever(database, intake.lessons, every=0.01))
    try:
        async with asyncio.timeout(10):
            while True:
                async with database.read() as connection:
                    found = (await learning.read(connection, ["civ"]))["civ"]
                if ("", "") in found:
                    return found["", ""]
                await asyncio.sleep(0.01)
    finally:
        sweeper.cancel()
        with suppress(asyncio.CancelledError):
            await sweeper


@pytest.mark.parametrize("together", [True, False], ids=["one batch", "one by one"])
async def test_endings_that_signed_deliveries_confirm_are_learned_once_each(database: Database, together: bool) -> None:
    begun, entries = [], []
    for n in range(5):
        name = f"wf{n}"
        begun.append(delivery(0, saw("processing"), wf=name, trust=Trust.SIGNED, body=f"{name} a".encode()))
        for body in (b"b", b"b", b"c"):  # doubled, and told once more in other words
            ended = saw("succeeded" if n else "failed")
            entries.append(delivery(60, ended, wf=name, trust=Trust.SIGNED, body=name.encode() + body))
    entries.append(delivery(60, saw("succeeded"), wf="doubtful", body=b"a token confirms nothing"))
    entries.append(delivery(60, saw("canceled"), wf="canceled", trust=Trust.SIGNED, body=b"says nothing of durations"))
    intake = Intake(database)
    intake.start()
    try:
        await asyncio.gather(*(intake.submit(entry) for entry in begun))
        if together:
            await asyncio.gather(*(intake.submit(entry) for entry in entries))
        else:
            for entry in entries:
                await intake.submit(entry)
        known = await known_after(database, intake)
    finally:
        await intake.stop()
    assert (round(known.weight), known.told, known.missed) == (5, 5.0, 0.0)


async def test_lessons_that_cannot_be_written_stop_neither_the_janitor_nor_what_is_learned_next(
    database: Database,
) -> None:
    intake = Intake(database)
    async with database.write() as connection:
        await learning.write(connection, {}, delivery(0).at)
        lost = intake.lessons
        lost.by_source["civ\0"] = {("", ""): learning.Durations.of(5.0)}  # PostgreSQL takes no NUL in text
    intake.start()
    sweeper = asyncio.create_task(sweep_forever(database, lost, every=0.01))
    await asyncio.sleep(0.2)
    try:
        assert not sweeper.done()
        lost.by_source["civ"] = {("", ""): learning.Durations.of(5.0)}
        assert round((await known_after(database, intake)).weight) == 1
    finally:
        sweeper.cancel()
        await intake.stop()

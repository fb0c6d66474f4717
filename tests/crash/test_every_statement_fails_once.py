"""Each statement of a commit of deliveries fails once, in every way: nothing is lost, nothing half done, a retry mends.

Faults stand at the wire (PostgreSQL) or come from SQLite itself; our own code is as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from receiver.intake import Intake
from receiver.ledger.database import Database
from receiver.ledger.entries import Result
from tests.crash.rounds import acknowledged_but_gone, left, prepare, submit
from tests.staging.interrupted import Interrupter
from tests.staging.soundness import unsound
from tests.staging.wire import Fault, Wire, wired

pytestmark = [pytest.mark.crash, pytest.mark.timeout(180)]

MOST = 80  # statements; a batch takes a handful, whatever its size

EACH = [
    Fault("cut before"),
    Fault("cut after"),
    Fault("error", "40001"),  # serialization failure
    Fault("error", "53100"),  # disk full
    Fault("fatal", "57P01"),  # shut down by its administrator
]
# What the server or the wire does is much the same for all others: the n-th statement meets the n-th of them.
OTHERS = [
    Fault("error", "40P01"),  # deadlock
    Fault("error", "55P03"),  # lock timeout
    Fault("error", "57014"),  # statement timeout
    Fault("error", "53200"),  # out of memory
    Fault("error", "25006"),  # read-only: this server is a standby now
    Fault("error", "58030"),  # input or output failed
    Fault("error", "XX001"),  # a page is damaged
    Fault("fatal", "57P02"),  # shut down by a crash
    Fault("fatal", "25P03"),  # idle in its transaction for too long
]


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = await Database.open(url)
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def taking(database: Database) -> AsyncIterator[Intake]:
    intake = Intake(database)
    intake.start()
    try:
        yield intake
    finally:
        await intake.stop()


@asynccontextmanager
async def through_the_wire(url: str) -> AsyncIterator[tuple[Wire, Database, Intake]]:
    """An intake behind a relay, and the same database without one."""
    async with wired(url) as wire, opened(url) as direct, opened(wire.url) as through, taking(through) as intake:
        yield wire, direct, intake


async def as_it_should_be(intake: Intake, database: Database) -> dict[str, list[Any]]:
    """What a batch leaves when nothing goes wrong."""
    await prepare(database, "calm")
    calm = await submit(intake, "calm")
    assert all(isinstance(answer, Result) for answer in calm.answers)
    return await left(database, "calm")


async def every_statement(
    intake: Intake,
    database: Database,
    expected: dict[str, list[Any]],
    name: str,
    arm: Callable[[int], Awaitable[object]],
    fired: Callable[[], bool],
) -> list[int]:
    """Fail statement after statement until there is none left; returns how many of the batch each failure refused."""
    refused = []
    for n in range(1, MOST):
        round_name = f"{name}{n}"
        await prepare(database, round_name)
        await arm(n)
        hurt = await asyncio.wait_for(submit(intake, round_name), 20)
        if not fired():
            assert all(isinstance(answer, Result) for answer in hurt.answers)
            return refused
        what = f"{name} at statement {n}"
        refused.append(sum(not isinstance(answer, Result) for answer in hurt.answers))
        assert await acknowledged_but_gone(database, hurt) == [], what
        assert await unsound(database) == [], what
        again = await asyncio.wait_for(submit(intake, round_name), 20)
        assert all(isinstance(answer, Result) for answer in again.answers), what
        assert await acknowledged_but_gone(database, again) == [], what
        for first, second in zip(hurt.answers, again.answers, strict=True):
            if isinstance(first, Result) and isinstance(second, Result):
                assert first.evidence == second.evidence, what
        assert await left(database, round_name) == expected, what
    raise AssertionError("a batch takes far too many statements")


@pytest.mark.parametrize("faults", [*([one] for one in EACH), OTHERS], ids=[*map(str, EACH), "others"])
async def test_each_statement_of_a_batch_on_postgresql(
    postgres_url: str, faults: list[Fault], caplog: pytest.LogCaptureFixture
) -> None:
    async with through_the_wire(postgres_url) as (wire, direct, intake):
        expected = await as_it_should_be(intake, direct)

        async def arm(n: int) -> None:
            wire.arm(n, faults[n % len(faults)])

        refused = await every_statement(intake, direct, expected, "r", arm, lambda: wire.fired)
        assert intake.counters.quarantined == 0
    assert [record for record in caplog.records if record.getMessage() == "poisoned"] == []
    print(f"\n{', '.join(map(str, faults))}: {len(refused)} statements, refused {refused}")
    assert len(refused) > 10
    if faults[0].state == "40001":
        assert sum(refused[1:]) == 0, "what would have done well alone is tried again at once"


async def test_each_statement_of_a_batch_on_sqlite(sqlite_url: str) -> None:
    async with opened(sqlite_url) as direct, opened(sqlite_url) as hurt, taking(hurt) as intake:
        expected = await as_it_should_be(intake, direct)
        interrupter = Interrupter(hurt)
        refused = await every_statement(intake, direct, expected, "r", interrupter.arm, lambda: interrupter.fired)
    print(f"\n{len(refused)} statements, refused {refused}")
    assert len(refused) > 10


@pytest.mark.parametrize("state", ["53300", "57P03", "57P01", "28000"])
async def test_connections_that_are_refused_lose_nothing(postgres_url: str, state: str) -> None:
    async with through_the_wire(postgres_url) as (wire, direct, intake):
        expected = await as_it_should_be(intake, direct)
        await prepare(direct, "r")
        wire.refusing = state
        await wire.close()  # and those that are there are gone
        hurt = await submit(intake, "r")
        assert not any(isinstance(answer, Result) for answer in hurt.answers)
        wire.refusing = None
        again = await submit(intake, "r")
        assert all(isinstance(answer, Result) for answer in again.answers)
        assert await left(direct, "r") == expected


def _is_commit(wire: Wire) -> bool:
    return b"COMMIT" in wire.met.replace(b"COMMITTED", b"")  # BEGIN names an isolation level of that name


async def test_a_commit_whose_answer_is_lost_is_kept_and_not_acknowledged(postgres_url: str) -> None:
    async with through_the_wire(postgres_url) as (wire, direct, intake):
        expected = await as_it_should_be(intake, direct)
        for n in range(1, MOST):
            await prepare(direct, f"r{n}")
            wire.arm(n, Fault("cut after"))
            hurt = await submit(intake, f"r{n}")
            if _is_commit(wire):
                break
        assert not any(isinstance(answer, Result) for answer in hurt.answers), "it is in doubt"
        assert await left(direct, f"r{n}") == expected, "and it is kept all the same"

"""A batch committed by one statement meets every fault there: nothing is lost, nothing half done, a retry mends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from receiver.intake import Intake, IntakeUnavailable
from receiver.ledger.database import Database
from receiver.ledger.entries import Entry, Result
from receiver.ledger.records import Level, Trust
from tests.crash.rounds import Round, acknowledged_but_gone, left
from tests.crash.test_every_statement_fails_once import EACH, OTHERS, opened, taking, through_the_wire
from tests.ledger.applying import delivery, saw
from tests.staging.soundness import unsound
from tests.staging.wire import Fault

pytestmark = [pytest.mark.crash, pytest.mark.timeout(180)]


def one(name: str, second: int, wf: str, *seen: object, trust: Trust = Trust.TOKEN) -> Entry:
    return delivery(second, *seen, wf=f"{name}-{wf}", body=f"{name} {second}".encode(), trust=trust)


def before(name: str) -> list[Entry]:
    return [one(name, 10, "known", saw("processing")), one(name, 11, "ended", saw("succeeded"), trust=Trust.SIGNED)]


def batch(name: str) -> list[Entry]:
    """Deliveries that memory can tell all about: of new workflows and known ones, one of them twice, one too late."""
    return [
        one(name, 20, "new", saw("processing"), saw("scheduled", Level.JOB, "j", "s")),
        one(name, 21, "new", saw("succeeded", Level.JOB, "j", "s")),
        one(name, 22, "known", saw("succeeded"), saw("succeeded", Level.STEP, "s")),
        one(name, 22, "known", saw("succeeded"), saw("succeeded", Level.STEP, "s")),
        one(name, 23, "ended", saw("processing")),
    ]


async def submit(intake: Intake, name: str, entries: Sequence[Entry]) -> Round:
    answers = await asyncio.gather(*(intake.submit(entry) for entry in entries), return_exceptions=True)
    for answer in answers:
        if not isinstance(answer, (Result, IntakeUnavailable)):
            raise answer
    return Round(name, list(entries), list(answers))  # type: ignore[arg-type]


async def by_memory(intake: Intake, name: str) -> None:
    """Let the intake know what the batch finds, and trust its memory again after the fault before."""
    for n in range(600):
        if not intake.ahead.sits_out:
            break
        await submit(intake, f"{name}-calm{n}", [one(f"{name}-calm{n}", 1, "calm", saw("processing"))])
    await submit(intake, name, before(name))


@pytest.mark.parametrize("fault", [*EACH, *OTHERS], ids=str)
async def test_the_statement_of_a_batch_fails(postgres_url: str, fault: Fault) -> None:
    async with through_the_wire(postgres_url) as (wire, direct, intake):
        await by_memory(intake, "calm")
        await submit(intake, "calm", batch("calm"))
        expected = await left(direct, "calm")
        await by_memory(intake, "r")
        committed = intake.ahead.committed
        wire.arm(1, fault)
        hurt = await asyncio.wait_for(submit(intake, "r", batch("r")), 20)
        assert wire.fired
        assert wire.met.startswith(b"B"), "the one statement is what met it"
        assert await acknowledged_but_gone(direct, hurt) == []
        assert await unsound(direct) == []
        again = await asyncio.wait_for(submit(intake, "r", batch("r")), 20)
        assert all(isinstance(answer, Result) for answer in again.answers)
        assert await acknowledged_but_gone(direct, again) == []
        assert await unsound(direct) == []
        assert await left(direct, "r") == expected
        assert intake.ahead.committed >= committed


async def test_a_batch_committed_by_memory_is_what_one_is_that_asked_first(postgres_url: str) -> None:
    async with opened(postgres_url) as database, taking(database) as ahead:
        await submit(ahead, "a", before("a"))
        await submit(ahead, "a", batch("a"))
        assert ahead.ahead.committed >= 2
        await asking_first(database, "b")
        assert await left(database, "a") == await left(database, "b")


async def asking_first(database: Database, name: str) -> None:
    intake = Intake(database)
    intake.ahead.sits_out = 1000
    intake.start()
    try:
        await submit(intake, name, before(name))
        await submit(intake, name, batch(name))
        assert intake.ahead.committed == 0
    finally:
        await intake.stop()

"""Deliveries of thousands of jobs: worked out beside the event loop, with what smaller ones come to."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from receiver.intake import Intake
from receiver.ledger.apply import apply
from receiver.ledger.aside import HEAVY, aside
from receiver.ledger.database import Database
from receiver.ledger.entries import Entry
from receiver.ledger.records import Level, Outcome, Trust
from receiver.ledger.states import Status
from receiver.ledger.views import view
from tests.ledger.applying import answer, claim_one, delivery, loaded, put, saw
from tests.ledger.histories import at


class Watched(tuple[Any, ...]):
    """Notes in which threads it is read."""

    read_in: set[threading.Thread]

    def __iter__(self) -> Iterator[Any]:
        self.read_in.add(threading.current_thread())
        return super().__iter__()


def jobs(status: str, count: int) -> list[Any]:
    return [saw(status, Level.JOB, f"job-{n}", f"step-{n % 7}") for n in range(count)]


def watched(entry: Entry) -> tuple[Entry, set[threading.Thread]]:
    assert entry.reading is not None
    observations = Watched(entry.reading.observations)
    observations.read_in = set()
    return replace(entry, reading=replace(entry.reading, observations=observations)), observations.read_in


@pytest.mark.parametrize("count", [3, HEAVY + 1])
async def test_only_a_large_delivery_is_worked_out_in_a_thread(database: Database, count: int) -> None:
    intake = Intake(database)
    intake.start()
    entry, read_in = watched(delivery(1, *jobs("processing", count)))
    assert (await intake.submit(entry)).outcome is Outcome.APPLIED
    await intake.stop()
    here = threading.current_thread()
    assert (here in read_in, read_in - {here} != set()) == ((True, False) if count == 3 else (False, True))
    assert len((await loaded(database)).jobs) == count


async def test_a_small_event_of_a_large_workflow_is_worked_out_in_a_thread_too(database: Database) -> None:
    await put(database, delivery(1, *jobs("processing", HEAVY + 1)))
    entry, read_in = watched(delivery(2, saw("succeeded", Level.JOB, "job-3")))
    await put(database, entry)
    assert threading.current_thread() not in read_in
    assert (await loaded(database)).jobs["job-3"].status is Status.SUCCEEDED


async def test_a_large_delivery_comes_to_what_many_small_ones_come_to(database: Database) -> None:
    """Also when it comes again, and when a look of the same size follows."""
    whole = jobs("processing", HEAVY + 50)
    ended = [saw("succeeded"), *jobs("succeeded", HEAVY + 50)]
    for name, pieces in (("one", [whole]), ("many", [whole[n::10] for n in range(10)])):
        async with database.write() as connection:
            await apply(connection, [delivery(1, *piece, wf=name) for piece in pieces], at(1))
        await put(database, delivery(1, *pieces[0], wf=name), now=1)  # once more
        await put(database, delivery(2, *ended, wf=name, trust=Trust.TOKEN), now=2)
    one, many = await loaded(database, "one"), await loaded(database, "many")
    assert view(one, (), {}) == view(many, (), {})
    assert {job.status for job in one.jobs.values()} == {Status.SUCCEEDED}


async def test_a_look_at_a_large_workflow_confirms_all_of_it(database: Database) -> None:
    await put(database, delivery(1, *jobs("processing", HEAVY + 1)))
    claimed = await claim_one(database, 200)
    await put(database, answer(201, claimed, saw("succeeded"), *jobs("succeeded", HEAVY + 1)), now=201)
    state = await loaded(database)
    assert state.node.confirmed_at is not None
    assert all(job.confirmed_at is not None for job in state.jobs.values())


async def test_a_batch_ends_where_it_becomes_too_much_for_the_loop(database: Database) -> None:
    intake = Intake(database)
    intake.start()
    large = [delivery(n, *jobs("processing", HEAVY // 2 + 1), wf=f"wf-{n}") for n in range(1, 4)]
    await asyncio.gather(*map(intake.submit, large))
    assert (intake.counters.batches, intake.counters.committed) == (3, 3)
    small = [delivery(n, *jobs("processing", 3), wf=f"wf-{n}") for n in range(11, 31)]
    await asyncio.gather(*map(intake.submit, small))
    assert (intake.counters.batches, intake.counters.last_batch) == (4, 20)
    await intake.stop()


async def test_whoever_is_cancelled_meanwhile_waits_for_the_thread() -> None:
    ended = threading.Event()

    def works() -> None:
        time.sleep(0.2)
        ended.set()

    waits = asyncio.create_task(aside(HEAVY + 1, works))
    await asyncio.sleep(0.01)
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    assert ended.is_set()


async def test_what_fails_in_a_thread_fails_here() -> None:
    with pytest.raises(ZeroDivisionError):
        await aside(HEAVY + 1, lambda: 1 // 0)

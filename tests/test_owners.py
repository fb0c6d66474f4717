"""Workers that pass deliveries on: one commits all of a workflow, nothing hangs on it, and nothing is lost by it."""

from __future__ import annotations

import asyncio
import os
import pickle
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from receiver.intake import IntakeFull, IntakeUnavailable
from receiver.ledger.database import Database
from receiver.ledger.entries import Entry
from receiver.ledger.records import Outcome, Trust
from receiver.ledger.tables import evidence, workflows
from receiver.owners import LONGEST, Boxes, OwningIntake, boxes
from tests.ledger.applying import Writer, delivery, saw
from tests.ledger.histories import arrivals, histories
from tests.ledger.test_ahead import held
from tests.ledger.test_order_on_databases import entry_of
from tests.web.rows import blocked, rows

names = (f"wf-{n}" for n in count())


def good(n: int, word: str = "processing", **more: object) -> Entry:
    return delivery(n, saw(word), wf=f"wf-{n}", **more)


@asynccontextmanager
async def workers(database: Database, many: int = 2) -> AsyncIterator[list[OwningIntake]]:
    """Workers in one process, which is all that they notice of it; the last ones commit."""
    found = boxes(many)
    started = [OwningIntake(database, number, found) for number in range(many)]
    for one in started:
        one.start()
    await acquainted()
    try:
        yield started
    finally:
        for one in started:
            await one.stop()
        close(found)


def close(found: Boxes) -> None:
    for pair in found:
        for end in pair:
            end.close()


NEWS, BEGINS = 0, 1


def say(found: Boxes, state: int, process: int) -> None:
    """Send worker 0 a message of a worker 1 that is none of ours."""
    found[0][1].send(pickle.dumps((1, state, process, [], [])))


async def acquainted() -> None:
    """Return when messages that were under way have been read."""
    for _ in range(10):
        await asyncio.sleep(0.002)


async def test_whichever_worker_a_delivery_comes_to_one_commits_it(postgres_database: Database) -> None:
    async with workers(postgres_database) as (first, owner):
        results = await asyncio.gather(*(one.submit(good(n)) for n in range(50) for one in (first, owner)))
        assert (owner.counters.committed, first.counters.committed, first.passed_on) == (100, 0, 50)
    assert sorted(one.outcome for one in results) == [Outcome.APPLIED] * 50 + [Outcome.DUPLICATE] * 50
    stored = {row.id for row in await rows(postgres_database, evidence)}
    assert {one.evidence for one in results} == stored


async def test_of_four_workers_two_commit_and_each_workflow_has_one_of_them(postgres_database: Database) -> None:
    async with workers(postgres_database, 4) as started:
        for turn in range(3):
            await asyncio.gather(*(started[(n + turn) % 4].submit(good(n, body=b"%d" % turn)) for n in range(40)))
        committed = [one.counters.committed for one in started]
        assert committed[:2] == [0, 0]
        assert min(committed[2:]) > 0
        assert sum(committed) == 120


@pytest.mark.parametrize("kept", [
    delivery(1),  # not understood
    delivery(1, saw("processing"), body=b"x" * (LONGEST + 1)),
    delivery(1, saw("processing"), trust=Trust.HINT),
], ids=["unreadable", "large", "hint"])  # fmt: skip
async def test_what_is_not_worth_passing_on_stays(postgres_database: Database, kept: Entry) -> None:
    async with workers(postgres_database) as (first, _):
        await first.submit(kept)
        assert (first.passed_on, first.counters.committed) == (0, 1)


async def test_an_owner_that_leaves_answers_what_it_has_and_the_others_do_without(
    postgres_database: Database, postgres_url: str
) -> None:
    async with workers(postgres_database) as (first, owner):
        async with blocked(postgres_url):
            asked = [asyncio.create_task(first.submit(good(n))) for n in range(20)]
            await acquainted()
            leaving = asyncio.create_task(owner.drain())
            await asyncio.sleep(0)
            late = asyncio.create_task(first.submit(good(99)))
            await acquainted()
        results = await asyncio.gather(*asked, late)
        await leaving
        await acquainted()
        assert [one.outcome for one in results] == [Outcome.APPLIED] * 21
        assert (owner.counters.committed, first.counters.committed) == (20, 1)
        await first.submit(good(100))
        assert first.counters.committed == 2
    assert len(await rows(postgres_database, workflows)) == 22


async def test_an_owner_that_comes_back_is_asked_again_and_so_is_one_that_was_there_before(
    postgres_database: Database,
) -> None:
    found = boxes(2)
    first, owner = (OwningIntake(postgres_database, number, found) for number in range(2))
    owner.start()
    first.start()
    for turn in range(3):
        await acquainted()
        await first.submit(good(turn))
        assert first.counters.committed == 0
        gone = (owner, first)[turn % 2]
        await gone.stop()
        anew = OwningIntake(postgres_database, int(gone is owner), found)
        anew.start()
        first, owner = (first, anew) if gone is owner else (anew, owner)
    for one in (first, owner):
        await one.stop()
    close(found)


async def test_an_owner_without_a_word_is_asked_nothing_more_until_it_is_heard_of(postgres_database: Database) -> None:
    found = boxes(2)
    first = OwningIntake(postgres_database, 0, found)
    first.start()
    say(found, BEGINS, os.getpid())  # and nothing more
    await acquainted()
    ends = asyncio.get_running_loop().time() + 2.0
    with pytest.raises(IntakeUnavailable):  # it may have been committed: upstream is to send it again
        await first.submit(good(0), ends)
    await first.submit(good(1))
    assert (first.passed_on, first.counters.committed) == (1, 1)
    owner = OwningIntake(postgres_database, 1, found)
    owner.start()  # which leaves alone what its predecessor was asked
    await acquainted()
    await first.submit(good(2))
    assert (first.passed_on, owner.counters.committed) == (2, 1)
    for one in (first, owner):
        await one.stop()
    close(found)
    assert {row.id for row in await rows(postgres_database, workflows)} == {"wf-1", "wf-2"}


async def test_the_end_of_an_owners_process_is_noticed_at_once(postgres_database: Database) -> None:
    found = boxes(2)
    first = OwningIntake(postgres_database, 0, found)
    first.start()
    program = await asyncio.create_subprocess_exec("sleep", "60")
    say(found, BEGINS, program.pid)
    await acquainted()
    asked = asyncio.create_task(first.submit(good(1)))
    await acquainted()
    assert first.passed_on == 1
    program.kill()
    await program.wait()
    with pytest.raises(IntakeUnavailable):
        await asyncio.wait_for(asked, 10)
    say(found, NEWS, program.pid)  # its last words, read late
    await acquainted()
    await first.submit(good(2))
    assert (first.passed_on, first.counters.committed) == (1, 1)
    await first.stop()
    close(found)


async def test_an_owner_that_is_full_or_cannot_commit_has_that_told(
    postgres_database: Database, postgres_url: str
) -> None:
    found = boxes(2)
    first, owner = OwningIntake(postgres_database, 0, found), OwningIntake(postgres_database, 1, found)
    owner._max_queue = 1
    for one in (first, owner):
        one.start()
    await acquainted()
    async with blocked(postgres_url):
        ends = asyncio.get_running_loop().time() + 2.0
        asked = [asyncio.create_task(first.submit(good(0), ends))]
        await acquainted()
        asked += [asyncio.create_task(first.submit(good(n), ends)) for n in (1, 2)]
        found_out = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(one) for one in found_out] == [IntakeUnavailable, IntakeUnavailable, IntakeFull]
    for one in (first, owner):
        await one.stop()
    close(found)


async def test_what_is_larger_than_a_message_may_be_is_committed_where_it_came_to(postgres_database: Database) -> None:
    async with workers(postgres_database) as (first, owner):
        large = [replace(good(n), headers={"webhook-signature": f"{n:016000}"}) for n in range(150)]
        asked = [asyncio.create_task(first.submit(one)) for one in large]
        await asyncio.sleep(0)
        asked[0].cancel()  # it has gone before anything was sent
        results = await asyncio.wait_for(asyncio.gather(*asked[1:]), 30)
        assert [one.outcome for one in results] == [Outcome.APPLIED] * 149
        assert (first.counters.committed, owner.counters.committed) == (149, 0)
        await first.submit(good(99))  # what is smaller is passed on as ever
        assert owner.counters.committed == 1


async def test_more_than_the_system_takes_at_once_is_sent_by_and_by(postgres_database: Database) -> None:
    async with workers(postgres_database) as (first, owner):
        asked = [good(n, body=b"%d" % n + os.urandom(LONGEST - 10)) for n in range(60)]
        await asyncio.gather(*(first.submit(one) for one in asked))
        assert owner.counters.committed == 60


@pytest.fixture
def opened(postgres_url):
    with asyncio.Runner() as runner:
        database = runner.run(Database.open(postgres_url))
        yield runner, database
        runner.run(database.close())


async def _told_to_workers(database: Database, entries: list[Entry], turns: list[int]) -> None:
    """Send entries in order to this worker or that; now and then one goes and another takes its place."""
    found = boxes(2)
    started = [OwningIntake(database, number, found) for number in range(2)]
    for one in started:
        one.start()
    for entry, turn in zip(entries, turns, strict=True):
        if turn >= 4:
            number = turn % 2
            await started[number].drain()
            started[number] = OwningIntake(database, number, found)
            started[number].start()
        if turn != 2:  # where the others may not have heard of it
            await acquainted()
        await started[turn % 2].submit(entry)
    for one in started:
        await one.stop()
    close(found)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), histories(), st.sampled_from([Trust.SIGNED, Trust.TOKEN]))
def test_several_workers_leave_the_ledger_that_one_leaves(opened, data, history, trust):
    runner, database = opened
    found = arrivals(data.draw, history, looks=False)
    assume(found)  # not every event is lost
    turns = data.draw(st.lists(st.integers(0, 5), min_size=len(found), max_size=len(found)))
    name = next(names)
    writer = Writer(database, ahead=False)
    for one in found:
        runner.run(writer.put(entry_of(one, name, trust)))
    runner.run(writer.close())
    alone = runner.run(held(database, name))
    name = next(names)
    runner.run(_told_to_workers(database, [entry_of(one, name, trust) for one in found], turns))
    assert runner.run(held(database, name)) == alone

"""R10: a finished id that runs again, on both databases."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from receiver.ledger.schedule import deadline_of
from receiver.ledger.tables import past_runs
from tests.ledger.applying import POLICY, answer, attentions, check_of, claim_one, delivery, loaded, put, rows, saw
from tests.ledger.histories import at

AGAIN = replace(POLICY, restartable=True)


async def ended(database, second=1):
    await put(database, delivery(second, saw("failed"), policy=AGAIN))
    one = await claim_one(database, second + 5)
    await put(database, answer(second + 5, one, saw("failed", completed_at=at(second)), policy=AGAIN))


async def look(database, second, *seen):
    one = await claim_one(database, second)
    await put(database, answer(second, one, *seen, policy=AGAIN))


async def test_news_of_life_after_a_confirmed_ending_makes_a_look_and_the_look_opens_run_two(database):
    await ended(database)
    (late,) = await put(database, delivery(100, saw("processing"), policy=AGAIN))
    state = await loaded(database)
    assert (state.run, state.node.status.value) == (1, "failed"), "only a look can tell"
    assert "doubt" in (await check_of(database)).reasons
    await look(database, 110, saw("processing"))
    state = await loaded(database)
    assert (state.run, state.node.status.value, state.node.confirmed_at) == (2, "processing", None)
    (past,) = await rows(database, past_runs)
    assert (past.run, past.status, past.completed_at) == (1, "failed", at(1))
    assert late.merged.transitions == []


async def test_in_the_second_run_a_terminal_delivery_is_a_hint(database):
    await ended(database)
    await put(database, delivery(100, saw("processing"), policy=AGAIN))
    await look(database, 110, saw("processing"))
    await put(database, delivery(120, saw("failed"), body=b"perhaps the first run's", policy=AGAIN))
    state = await loaded(database)
    assert state.node.status.value == "processing"
    await look(database, 145, saw("succeeded", completed_at=at(119)))
    state = await loaded(database)
    assert (state.run, state.node.status.value) == (2, "succeeded")


async def test_an_end_that_came_later_than_the_one_we_know_is_a_run_that_has_ended_already(database):
    await ended(database)
    await put(database, delivery(100, saw("processing"), policy=AGAIN))
    await look(database, 110, saw("failed", completed_at=at(105)))
    state = await loaded(database)
    assert (state.run, state.node.status.value, state.node.confirmed_at) == (2, "failed", at(110))


async def test_elsewhere_alive_again_is_a_dispute_and_no_new_run(database):
    await put(database, delivery(1, saw("failed")))
    await put(database, answer(6, await claim_one(database, 6), saw("failed")))
    async with database.write() as connection:
        await connection.exec_driver_sql("UPDATE checks SET due_at = tried_at")
    await put(database, answer(60, await claim_one(database, 60), saw("processing")))
    state = await loaded(database)
    assert (state.run, state.node.status.value) == (1, "failed")
    assert await rows(database, past_runs) == []


async def test_the_guard_lets_no_hand_open_a_run_whose_past_is_not_kept(database):
    await ended(database)
    with pytest.raises(IntegrityError, match="R2"):
        async with database.write() as connection:
            await connection.execute(text("UPDATE workflows SET run = 2, status = 'processing', confirmed_at = NULL"))
    async with database.write() as connection:
        await connection.execute(text("UPDATE workflows SET reason = 'by hand'"))


async def test_a_past_run_is_as_final_as_the_present_one(database):
    await ended(database)
    await put(database, delivery(100, saw("processing"), policy=AGAIN))
    await look(database, 110, saw("processing"))
    with pytest.raises(IntegrityError, match="R2"):
        async with database.write() as connection:
            await connection.execute(text("UPDATE past_runs SET status = 'succeeded'"))


async def again_from(database, second):
    await ended(database)
    await put(database, delivery(second - 10, saw("processing"), policy=AGAIN))
    await look(database, second, saw("processing"))


async def test_an_ending_of_the_second_run_that_was_delivered_is_not_counted_as_missed(database):
    await again_from(database, 110)
    await put(database, delivery(120, saw("succeeded"), policy=AGAIN))
    await look(database, 145, saw("succeeded", completed_at=at(119)))
    assert (await loaded(database)).ending_delivered_at == at(120)


async def test_a_delivery_after_the_look_that_ended_the_second_run_counts_too_if_it_names_that_ending(database):
    await again_from(database, 110)
    await look(database, 300, saw("succeeded", completed_at=at(119)))
    assert (await loaded(database)).ending_delivered_at is None
    await put(database, delivery(310, saw("failed"), policy=AGAIN))
    assert (await loaded(database)).ending_delivered_at is None
    await put(database, delivery(311, saw("succeeded"), policy=AGAIN))
    assert (await loaded(database)).ending_delivered_at == at(311)


async def test_the_deadline_of_a_later_run_counts_from_its_own_beginning(database):
    late = POLICY.deadline.total_seconds() * 3
    await again_from(database, late)
    assert deadline_of(await loaded(database), AGAIN) == at(late) + POLICY.deadline
    assert await attentions(database) == []

"""No workflow is left open without a look to come, and none is looked at again and again for nothing (R12, R15)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from receiver.ledger import checks
from receiver.ledger.apply import apply
from receiver.ledger.database import Database
from receiver.ledger.entries import Answer, Look
from receiver.ledger.records import BlobSeen, Level, Outcome, Reading, Trust
from tests.ledger.applying import (
    HINTS,
    answer,
    attentions,
    check_of,
    claim_one,
    delivery,
    loaded,
    put,
    saw,
)
from tests.ledger.histories import at


async def due_after(database: Database, wf: str = "wf") -> float | None:
    row = await check_of(database, wf)
    return None if row is None or row.due_at is None else (row.due_at - at(0)).total_seconds()


async def test_a_look_in_vain_at_a_doubtful_ending_is_not_repeated_at_once(database):
    await put(database, delivery(0, saw("succeeded")))
    await put(database, answer(10, await claim_one(database, 10), saw("processing")))
    assert await due_after(database) == 40
    await put(database, answer(41, await claim_one(database, 41), saw("mulling")))
    due = await due_after(database)
    assert due is not None
    assert due > 45


async def test_a_child_whose_ending_is_doubtful_is_left_alone_once_upstream_does_not_show_it(database):
    await put(database, delivery(0, saw("succeeded"), saw("succeeded", Level.STEP, "a")))
    shown = (saw("succeeded"), saw("processing", Level.STEP, "a"))
    await put(database, answer(10, await claim_one(database, 10), *shown))
    assert await due_after(database) == 40
    await put(database, answer(41, await claim_one(database, 41), saw("succeeded")))
    assert await due_after(database) is None


async def test_a_word_nobody_knows_on_a_settled_workflow_is_not_asked_about_for_ever(database):
    await put(database, delivery(0, saw("succeeded"), trust=Trust.SIGNED))
    async with database.write() as connection:
        await checks.want(connection, "civ", "wf", 1, at(100))
    await put(database, answer(100, await claim_one(database, 100), saw("archived")), now=101)
    assert await due_after(database) is None


async def test_a_child_that_a_late_event_opens_under_a_settled_parent_is_looked_at(database):
    await put(database, delivery(0, saw("succeeded"), saw("succeeded", Level.STEP, "a")))
    await put(database, answer(40, await claim_one(database, 40), saw("succeeded"), saw("succeeded", Level.STEP, "a")))
    assert await due_after(database) is None
    await put(database, delivery(100, saw("processing", Level.JOB, "j", "a")))
    assert await due_after(database) is not None
    shown = (saw("succeeded"), saw("succeeded", Level.STEP, "a"))
    await put(database, answer(101, await claim_one(database, 101), *shown))
    state = await loaded(database)
    assert state.jobs["j"].status.terminal
    assert await due_after(database) is None


async def test_a_delivery_whose_clock_is_ahead_does_not_make_looks_follow_one_another(database):
    await put(database, delivery(600, saw("succeeded")), now=0)
    await put(database, answer(10, await claim_one(database, 10), saw("processing")), now=10)
    due = await due_after(database)
    assert due is not None
    assert due >= 15


async def test_what_made_looks_fail_is_nobodys_business_once_there_is_nothing_to_look_for(database):
    await put(database, delivery(0, saw("processing"), trust=Trust.SIGNED))
    await put(database, answer(130, await claim_one(database, 130), how=Answer.REFUSED, message="403"))
    assert [kind for _, _, kind in await attentions(database)] == ["refused"]
    await put(database, delivery(140, saw("succeeded"), trust=Trust.SIGNED))
    assert await due_after(database) is None
    assert await attentions(database) == []


async def test_a_404_shows_that_upstream_can_be_reached(database):
    await put(database, delivery(0, saw("processing"), ephemeral=True))
    second = 130
    for _ in range(5):
        await put(database, answer(second, await claim_one(database, second), how=Answer.BUSY))
        second += 40
    assert [kind for _, _, kind in await attentions(database)] == ["unreachable"]
    await put(database, delivery(400, saw("succeeded"), ephemeral=True))
    await put(database, answer(800, await claim_one(database, 800), how=Answer.GONE))
    assert (await loaded(database)).node.confirmed_at is not None
    assert await attentions(database) == []


async def test_a_hint_that_comes_during_a_look_outlives_its_404(database):
    await put(database, delivery(0, saw("processing"), wf="new", trust=Trust.HINT, policy=HINTS))
    taken = await claim_one(database, 40)
    await put(database, delivery(41, saw("succeeded"), wf="new", trust=Trust.HINT, policy=HINTS))
    await put(database, answer(40, taken, how=Answer.GONE, policy=HINTS), now=42)
    assert await due_after(database, "new") is not None


async def test_the_first_delivery_of_a_retracted_ending_is_not_that_of_the_true_one(database):
    await put(database, delivery(0, saw("succeeded")))
    await put(database, answer(10, await claim_one(database, 10), saw("failed")))
    state = await loaded(database)
    assert state.node.status.value == "failed"
    assert state.ending_delivered_at is None
    await put(database, delivery(20, saw("failed")))
    assert (await loaded(database)).ending_delivered_at == at(20)


async def test_an_older_look_does_not_set_progress_back(database):
    await put(database, delivery(0, saw("processing", progress=0.1)))
    one = await claim_one(database, 200)
    await put(database, answer(200, one, saw("processing", progress=0.8)))
    two = await claim_one(database, 400)
    await put(database, answer(190, two, saw("processing", progress=0.5)), now=401)
    assert (await loaded(database)).node.progress == 0.8


def relinked(second, claim, url, expires):
    reading = Reading(claim.id, blobs=(BlobSeen("b", "image", available=True, url=url, url_expires_at=at(expires)),))
    entry = answer(second, claim, saw("x"))
    return replace(entry, reading=reading, look=Look(claim.fence, Answer.SHOWN, blob="b"))


async def test_a_renewal_that_brings_a_url_about_to_end_is_not_repeated_at_once(database):
    blob = BlobSeen("b", "image", available=True, url="https://x/1", url_expires_at=at(60))
    await put(database, delivery(0, saw("succeeded"), blobs=(blob,), trust=Trust.SIGNED))
    shown = answer(45, await claim_one(database, 45), saw("succeeded"))
    shown.reading = replace(shown.reading, blobs=(blob,))
    await put(database, shown)
    taken = await claim_one(database, 56)
    await put(database, relinked(56, taken, "https://x/2", 57))
    due = await due_after(database)
    assert due is not None
    assert due >= 66


async def test_a_404_about_an_id_that_a_delivery_made_known_meanwhile_leaves_its_check(postgres_database):
    database = postgres_database
    async with database.write() as connection:
        await checks.want(connection, "civ", "wf", None, at(0))
    taken = await claim_one(database, 0)
    async with database.write() as connection:
        await apply(connection, [delivery(1, saw("processing"))], at(1))
        late = asyncio.create_task(put(database, answer(0, taken, how=Answer.GONE), now=2))
        await asyncio.sleep(0.5)
    await late
    assert (await check_of(database)) is not None


async def test_a_delivery_beside_a_404_about_its_id_makes_a_new_check(postgres_database):
    database = postgres_database
    async with database.write() as connection:
        await checks.want(connection, "civ", "wf", None, at(0))
    taken = await claim_one(database, 0)
    async with database.write() as connection:
        await apply(connection, [answer(0, taken, how=Answer.GONE)], at(2))
        late = asyncio.create_task(put(database, delivery(1, saw("processing")), now=2))
        await asyncio.sleep(0.5)
    await late
    assert (await check_of(database)) is not None


async def test_a_child_whose_ending_cannot_be_confirmed_because_upstream_forgot_it_is_not_asked_for_daily(database):
    await put(database, delivery(0, saw("succeeded")))
    await put(database, answer(40, await claim_one(database, 40), saw("succeeded")))
    await put(database, delivery(100, saw("failed", Level.STEP, "late")))
    await put(database, answer(110, await claim_one(database, 110), how=Answer.GONE))
    assert await due_after(database) is None


async def test_a_refused_renewal_that_will_not_be_tried_again_is_nobodys_business(database):
    blob = BlobSeen("b", "image", available=True, url="https://x/1", url_expires_at=at(60))
    await put(database, delivery(0, saw("succeeded"), blobs=(blob,), trust=Trust.SIGNED))
    await put(database, answer(45, await claim_one(database, 45), how=Answer.REFUSED))
    assert await due_after(database) is None
    assert await attentions(database) == []


async def test_what_comes_again_is_as_old_as_when_it_came_first(database):
    one = delivery(0, saw("processing"))
    await put(database, one)
    await put(database, answer(130, await claim_one(database, 130), saw("preparing")))
    (again,) = await put(database, replace(one, at=at(140)))
    assert again.outcome is Outcome.DUPLICATE
    assert (await loaded(database)).node.status.value == "preparing"


async def test_a_reason_from_an_instant_that_cannot_be_outlives_no_other(database):
    wrong = saw("failed", Level.STEP, "a", upstream_at=at(10**8), facts={"reason": "wrong"})
    right = saw("failed", Level.STEP, "a", upstream_at=at(4), facts={"reason": "right"})
    await put(database, delivery(0, wrong))
    await put(database, delivery(5, right))
    assert (await loaded(database)).steps["a"].reason == "right"


async def test_outputs_whose_deletion_was_put_off_are_told_of_again_later(database):
    blob = BlobSeen("b", "image", available=True, url="u", record_expires_at=at(86400))
    await put(database, delivery(0, saw("succeeded"), blobs=(blob,), trust=Trust.SIGNED))
    await put(database, answer(60000, await claim_one(database, 60000), saw("succeeded")))
    assert [kind for _, _, kind in await attentions(database)] == ["uncollected"]
    async with database.write() as connection:
        await checks.want(connection, "civ", "wf", 1, at(61000))
    renewed = answer(61000, await claim_one(database, 61000), saw("succeeded"))
    assert renewed.reading is not None
    renewed.reading = replace(renewed.reading, blobs=(replace(blob, record_expires_at=at(30 * 86400)),))
    await put(database, renewed)
    assert await attentions(database) == []
    assert await due_after(database) == 29 * 86400

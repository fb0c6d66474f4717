"""Attention `uncollected`: told while there is time to act, and over when there is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from receiver.ledger import checks
from receiver.ledger.attention import Concern, raise_concerns
from receiver.ledger.records import BlobSeen, Trust
from receiver.ledger.tables import blobs, workflows
from reconciler.claiming import plan_claims
from tests.ledger.applying import POLICY, answer, attentions, check_of, claim, claim_one, delivery, loaded, put, saw
from tests.ledger.histories import at


async def due_after(database):
    row = await check_of(database)
    return None if row is None or row.due_at is None else (row.due_at - at(0)).total_seconds()


async def decided(database, second, policy=POLICY):
    """Claim what is due and decide on it, as a reconciler does; returns what it would ask about."""
    claims = await claim(database, second)
    async with database.write() as connection:
        tasks = await plan_claims(connection, claims, {"civ": policy}, at(second))
    return [task.claim.id for task in tasks]


@pytest.mark.parametrize("told", [True, False], ids=["a person was told", "nobody looked in time"])
async def test_nobody_is_told_for_ever_of_outputs_that_upstream_has_deleted(database, told):
    blob = BlobSeen("b", "image", available=True, url="u", media_expires_at=at(3600))
    await put(database, delivery(0, saw("succeeded"), blobs=(blob,), trust=Trust.SIGNED))
    if told:
        await put(database, answer(2500, await claim_one(database, 2500), saw("succeeded")))
        assert [kind for _, _, kind in await attentions(database)] == ["uncollected"]
        assert await decided(database, 3599) == []
        assert [kind for _, _, kind in await attentions(database)] == ["uncollected"]
    assert await decided(database, 3601) == [], "no look brings them back"
    assert await attentions(database) == []
    assert await due_after(database) is None


async def test_a_file_that_upstream_shows_as_deleted_is_nobodys_business_any_more(database):
    blob = BlobSeen("b", "image", available=True, url="u", media_expires_at=at(3600))
    await put(database, delivery(0, saw("succeeded"), blobs=(blob,), trust=Trust.SIGNED))
    await put(database, answer(2500, await claim_one(database, 2500), saw("succeeded")))
    async with database.write() as connection:
        await connection.execute(blobs.update().values(gone_at=at(2600)))
        await connection.execute(workflows.update().values(version=workflows.c.version + 1))
        await checks.want(connection, "civ", "wf", 1, at(2700))
    await put(database, answer(2700, await claim_one(database, 2700), saw("succeeded")))
    assert await attentions(database) == []
    assert await due_after(database) is None


async def test_work_that_is_alive_again_has_no_outputs_to_be_told_of(database):
    await put(database, delivery(0, saw("succeeded")))
    pk = (await loaded(database)).pk
    async with database.write() as connection:
        await raise_concerns(connection, [Concern("workflow", "civ", "wf", "uncollected", pk)], at(10))
    await put(database, answer(25, await claim_one(database, 25), saw("processing")))
    await put(database, answer(56, await claim_one(database, 56), saw("processing")))
    assert (await loaded(database)).node.status.value == "processing"
    assert await attentions(database) == []


async def test_who_fetches_outputs_with_programs_of_their_own_need_not_be_told(database):
    quiet = replace(POLICY, warn_deletion=False)
    blob = BlobSeen("b", "image", available=True, url="u", media_expires_at=at(3600))
    await put(database, delivery(0, saw("succeeded"), blobs=(blob,), trust=Trust.SIGNED, policy=quiet))
    assert await due_after(database) is None


async def test_what_a_person_was_told_is_over_when_they_need_not_be_told_any_more(database):
    blob = BlobSeen("b", "image", available=True, url="u", media_expires_at=at(3600))
    await put(database, delivery(0, saw("succeeded"), blobs=(blob,), trust=Trust.SIGNED))
    await put(database, answer(2500, await claim_one(database, 2500), saw("succeeded")))
    assert [kind for _, _, kind in await attentions(database)] == ["uncollected"]
    assert await decided(database, 3601, replace(POLICY, warn_deletion=False)) == []
    assert await attentions(database) == []

"""When the end of a child makes its parent due, what a hint leaves to the workflow it named, and doubts without end."""

from __future__ import annotations

import pytest

from receiver.ledger.database import Database
from receiver.ledger.records import EvidenceKind, Level, Outcome, Trust
from receiver.ledger.tables import evidence
from tests.ledger.applying import HINTS, answer, check_of, claim_one, delivery, loaded, put, rows, saw
from tests.ledger.histories import at

STEP = saw("processing", Level.STEP, "a")


async def reasons(database: Database) -> dict[str, str]:
    row = await check_of(database)
    assert row is not None
    return dict(row.reasons)


async def test_the_end_of_the_last_job_makes_its_open_step_due_within_five_seconds(database):
    await put(database, delivery(0, saw("processing")), delivery(0, STEP))
    await put(database, delivery(1, saw("processing", Level.JOB, "j1", "a")))
    await put(database, delivery(1, saw("processing", Level.JOB, "j2", "a")))
    await put(database, delivery(100, saw("succeeded", Level.JOB, "j1", "a")))
    assert "parent" not in await reasons(database)
    await put(database, delivery(110, saw("succeeded", Level.JOB, "j2", "a")))
    assert (await reasons(database))["parent"] == at(114).isoformat()
    row = await check_of(database)
    assert row is not None
    assert (row.due_at, row.lane) == (at(114), "fresh")


async def test_the_end_of_the_last_step_makes_the_workflow_due_and_its_own_news_clears_that(database):
    await put(database, delivery(0, saw("processing")), delivery(0, STEP))
    await put(database, delivery(60, saw("failed", Level.STEP, "a")))
    assert (await reasons(database))["parent"] == at(64).isoformat()
    await put(database, delivery(61, saw("failed"), trust=Trust.SIGNED))
    assert "parent" not in await reasons(database)


async def test_a_look_since_has_answered_for_the_parent(database):
    await put(database, delivery(0, saw("processing")), delivery(0, STEP))
    await put(database, delivery(60, saw("succeeded", Level.STEP, "a")))
    shown = (saw("processing"), saw("succeeded", Level.STEP, "a"))
    await put(database, answer(65, await claim_one(database, 65), *shown))
    assert "parent" not in await reasons(database)


@pytest.mark.parametrize("hours", [1, 24])
async def test_an_ending_upstream_has_no_known_word_for_is_asked_about_ever_more_rarely(database, hours):
    await put(database, delivery(0, saw("succeeded")))
    second, looks = 1.0, 0
    while second < hours * 3600:
        await put(database, answer(second, await claim_one(database, second), saw("archived")))
        row = await check_of(database)
        assert row is not None
        assert row.due_at is not None
        second = (row.due_at - at(0)).total_seconds()
        looks += 1
    assert looks <= {1: 20, 24: 36}[hours]


async def test_what_a_hint_said_belongs_to_the_workflow_that_its_look_makes(database):
    await put(database, delivery(1, saw("succeeded"), trust=Trust.HINT, policy=HINTS))
    await put(database, delivery(40, saw("failed"), trust=Trust.HINT, policy=HINTS))
    one = await claim_one(database, 41)
    await put(database, answer(41, one, saw("processing"), policy=HINTS))
    state = await loaded(database)
    kept = sorted(await rows(database, evidence), key=lambda row: row.seq)
    assert [(row.workflow, row.seq, row.kind) for row in kept] == [
        (state.pk, 1, EvidenceKind.DELIVERY),
        (state.pk, 2, EvidenceKind.DELIVERY),
        (state.pk, 3, EvidenceKind.FETCH),
    ]
    assert [row.outcome for row in kept[:2]] == [Outcome.HINT, Outcome.HINT]
    assert state.evidence_seq == 3

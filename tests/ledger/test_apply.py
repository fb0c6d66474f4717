"""Evidence in a real ledger, on SQLite and PostgreSQL: recognised, merged, numbered, planned, kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import select

from receiver.ledger import checks
from receiver.ledger.entries import Answer, Entry
from receiver.ledger.records import BlobSeen, EvidenceKind, Level, Outcome, Reading, Trust
from receiver.ledger.tables import delivery_keys, evidence, transitions, workflows
from tests.ledger.applying import (
    HINTS,
    POLICY,
    answer,
    attentions,
    check_of,
    claim,
    claim_one,
    delivery,
    loaded,
    put,
    rows,
    saw,
)
from tests.ledger.histories import at


async def test_a_callback_for_a_workflow_nobody_registered_creates_it(database):
    (result,) = await put(database, delivery(1, saw("processing")))
    state = await loaded(database)
    assert (result.outcome, result.created) == (Outcome.APPLIED, True)
    assert (state.node.status.value, state.first_seen_via, state.node.first_seen_at) == (
        "processing",
        "delivery",
        at(1),
    )
    (move,) = await rows(database, transitions)
    assert (move.seq, move.from_status, move.to_status, move.evidence) == (1, None, "processing", result.evidence)


async def test_a_duplicate_is_counted_not_stored_and_goes_through_the_merge_again(database):
    one = delivery(1, saw("succeeded"))
    (first,) = await put(database, one)
    (again,) = await put(database, one, now=5)
    assert (again.outcome, again.evidence) == (Outcome.DUPLICATE, first.evidence)
    assert len(await rows(database, evidence)) == 1
    (key,) = await rows(database, delivery_keys)
    assert (key.count, key.first_at, key.last_at) == (2, at(1), at(5))


async def test_the_same_delivery_twice_in_one_batch_is_stored_once(database):
    one = delivery(1, saw("processing"))
    results = await put(database, one, one, one)
    assert [r.outcome for r in results] == [Outcome.APPLIED, Outcome.DUPLICATE, Outcome.DUPLICATE]
    assert len({r.evidence for r in results}) == 1
    (key,) = await rows(database, delivery_keys)
    assert key.count == 3


async def test_the_same_identity_with_other_bytes_is_a_second_row_and_flagged(database):
    await put(database, delivery(1, saw("processing"), body=b"one", identity="d-1"))
    await put(database, delivery(2, saw("succeeded"), body=b"two", identity="d-1"))
    problems = {row.body: row.problem for row in await rows(database, evidence)}
    assert problems == {b"one": None, b"two": "the same delivery identity came before with other bytes"}


async def test_a_batch_over_many_workflows_numbers_evidence_and_transitions_per_workflow(database):
    entries = [delivery(n, saw(status), wf=f"wf-{n % 3}") for n, status in enumerate(["scheduled", "processing"] * 6)]
    await put(database, *entries)
    for wf in range(3):
        state = await loaded(database, f"wf-{wf}")
        assert state.evidence_seq == 2, "four arrivals, of which two are the same bytes"
    kept = {(row.workflow, row.seq) for row in await rows(database, evidence)}
    assert len(kept) == 6


async def test_what_cannot_be_read_is_quarantined_whole_and_a_person_is_told(database):
    (result,) = await put(database, delivery(1, wf=None, body=b"\x00\xff"))
    (row,) = await rows(database, evidence)
    assert (result.outcome, row.body, row.problem, row.workflow) == (
        Outcome.QUARANTINED, b"\x00\xff", "not understood", None,
    )  # fmt: skip
    assert await attentions(database) == [("delivery", result.evidence, "unreadable")]


async def test_an_ending_removes_the_reasons_for_polling_and_asks_for_confirmation(database):
    await put(database, delivery(1, saw("processing")))
    check = await check_of(database)
    assert set(check.reasons) == {"silence", "deadline"}
    await put(database, delivery(2, saw("succeeded")))
    check = await check_of(database)
    assert (set(check.reasons), check.due_at, check.lane) == ({"confirm"}, at(3), "fresh")
    one = await claim_one(database, 4)
    await put(database, answer(4, one, saw("succeeded")))
    check = await check_of(database)
    assert (check.reasons, check.due_at, check.leased_until) == ({}, None, None)


async def test_a_signed_ending_leaves_nothing_to_do(database):
    await put(database, delivery(2, saw("succeeded"), trust=Trust.SIGNED))
    check = await check_of(database)
    assert check is None or check.due_at is None


async def test_new_deliveries_do_not_write_the_check_again_and_again(database):
    await put(database, delivery(1, saw("processing", progress=0.1)))
    before = await check_of(database)
    await put(database, delivery(60, saw("processing", progress=0.2)))
    assert await check_of(database) == before, "a look that is only put off is put off when it is claimed"


async def test_a_hint_moves_nothing_makes_no_workflow_and_is_looked_into_once(database):
    hint = delivery(1, saw("succeeded"), trust=Trust.HINT, policy=HINTS)
    (result,) = await put(database, hint)
    (other,) = await put(database, delivery(2, saw("failed"), trust=Trust.HINT, policy=HINTS))
    assert (result.outcome, other.outcome) == (Outcome.HINT, Outcome.HINT)
    assert await rows(database, workflows) == []
    check = await check_of(database)
    assert (check.lane, check.hints, set(check.reasons)) == ("hints", 2, {"hint"})
    assert len(await rows(database, evidence)) == 1, "the second came while the first was still waiting"
    one = await claim_one(database, 3)
    (looked,) = await put(database, answer(3, one, saw("processing"), policy=HINTS))
    assert looked.created
    assert (await loaded(database)).node.status.value == "processing"
    assert (await check_of(database)).workflow is not None


async def test_a_hint_about_an_id_upstream_does_not_know_leaves_nothing_behind(database):
    await put(database, delivery(1, saw("succeeded"), trust=Trust.HINT, policy=HINTS))
    one = await claim_one(database, 3)
    await put(database, answer(3, one, how=Answer.GONE, policy=HINTS))
    check = await check_of(database)
    assert (set(check.reasons), check.due_at) == ({"forget"}, at(33)), "until then it keeps the next look away"
    assert await rows(database, workflows) == []


async def test_a_hint_never_moves_a_workflow_that_is_known(database):
    await put(database, delivery(1, saw("processing")))
    await put(database, delivery(2, saw("failed"), trust=Trust.HINT, policy=HINTS))
    assert (await loaded(database)).node.status.value == "processing"
    assert "hint" in (await check_of(database)).reasons


async def test_hints_over_the_quota_are_refused_and_not_kept(database):
    flood = [delivery(1, saw("succeeded"), wf=f"made-up-{n}", trust=Trust.HINT, policy=HINTS) for n in range(20)]
    results = await put(database, *flood)
    assert [r.over_quota for r in results] == [False] * 5 + [True] * 15
    assert len(await rows(database, evidence)) == 5
    (late,) = await put(database, delivery(3700, saw("failed"), wf="x", trust=Trust.HINT, policy=HINTS))
    assert late.over_quota, "five unknown ids still wait for their look"


async def test_a_track_that_comes_later_adds_its_context_and_one_that_comes_first_is_filled_in(database):
    def track(second, **told):
        return Entry(
            "civ", POLICY, EvidenceKind.DECISION, at(second), "wf", Reading("wf"), key=f"track-{second}", told=told,
            decision={"track": told},
        )  # fmt: skip

    await put(database, track(1, context={"team": "red"}, request={"steps": [1]}))
    state = await loaded(database)
    assert (state.node.status.value, state.first_seen_via) == ("unassigned", "track")
    facts = {"request": {"made": "of it"}, "model": "flux"}
    await put(database, delivery(2, saw("processing", facts=facts)))
    await put(database, track(3, context={"shot": "7"}))
    about = (await loaded(database)).about
    assert about["context"] == {"team": "red", "shot": "7"}
    assert about["request"] == {"steps": [1]}, "what a person told stands"
    assert about["model"] == "flux"


async def test_an_answer_whose_fence_is_old_is_kept_and_not_applied(database):
    await put(database, delivery(1, saw("processing")))
    slow = await claim_one(database, 500)
    quick = await claim_one(database, 600)
    assert quick.fence == slow.fence + 1
    (late,) = await put(database, answer(500, slow, saw("failed")), now=601)
    assert late.stale
    assert (await loaded(database)).node.status.value == "processing"
    (row,) = [row for row in await rows(database, evidence) if row.kind == "fetch"]
    assert row.problem == "its lease had ended: kept, not applied"
    (good,) = await put(database, answer(600, quick, saw("succeeded")))
    assert not good.stale


async def test_a_wish_made_while_a_look_is_under_way_is_not_lost(database):
    await put(database, delivery(1, saw("processing")))
    one = await claim_one(database, 500)
    async with database.write() as connection:
        await checks.want(connection, "civ", "wf", None, at(510))
    await put(database, answer(505, one, saw("processing")), now=511)
    check = await check_of(database)
    assert (check.wanted_at, check.lane) == (at(510), "interactive")
    assert check.due_at <= at(511)
    (again,) = await claim(database, 512)
    await put(database, answer(512, again, saw("processing")))
    assert (await check_of(database)).wanted_at is None


async def test_a_delivery_does_not_wipe_out_a_wish(database):
    await put(database, delivery(1, saw("processing")))
    async with database.write() as connection:
        await checks.want(connection, "civ", "wf", None, at(2))
    await put(database, delivery(3, saw("succeeded"), trust=Trust.SIGNED))
    check = await check_of(database)
    assert (check.lane, check.due_at) == ("interactive", at(2))


async def test_three_404s_spaced_out_are_attention_gone_and_the_status_stays(database):
    await put(database, delivery(1, saw("processing")))
    second = 500
    for _ in range(3):
        assert await attentions(database) == []
        one = await claim_one(database, second)
        await put(database, answer(second, one, how=Answer.GONE))
        assert await claim(database, second + 29) == [], "spaced out"
        second += 100
    assert ("workflow", "wf", "gone") in await attentions(database)
    assert (await loaded(database)).node.status.value == "processing"
    assert await claim(database, second + 3600) == [], "a look a day"


async def test_five_failed_tries_are_attention_unreachable_until_one_succeeds(database):
    await put(database, delivery(1, saw("processing")))
    second = 200
    for tries in range(5):
        assert ("workflow", "wf", "unreachable") not in await attentions(database), tries
        one = await claim_one(database, second)
        await put(database, answer(second, one, how=Answer.BUSY, message="503"))
        second += 5
    assert ("workflow", "wf", "unreachable") in await attentions(database)
    assert await claim(database, second + 60) == [], "back to the standing schedule"
    one = await claim_one(database, second + 200)
    await put(database, answer(second + 200, one, saw("processing")))
    assert ("workflow", "wf", "unreachable") not in await attentions(database)
    assert (await check_of(database)).attempts == 0


async def test_a_refusal_is_attention_and_a_look_a_day(database):
    await put(database, delivery(1, saw("processing")))
    one = await claim_one(database, 300)
    await put(database, answer(300, one, how=Answer.REFUSED, message="403"))
    assert ("workflow", "wf", "refused") in await attentions(database)
    assert await claim(database, 80_000) == []
    assert len(await claim(database, 90_000)) == 1


async def test_an_expired_key_is_not_charged_to_the_workflow(database):
    await put(database, delivery(1, saw("processing")))
    for second in range(300, 400, 10):
        one = await claim_one(database, second)
        await put(database, answer(second, one, how=Answer.CREDENTIALS))
    check = await check_of(database)
    assert (check.attempts, await attentions(database)) == (0, [])


async def test_a_deadline_passed_is_attention_overdue_and_its_end_closes_it(database):
    await put(database, delivery(1, saw("processing")))
    one = await claim_one(database, 2000)
    await put(database, answer(2000, one, saw("processing")))
    assert await attentions(database) == [("workflow", "wf", "overdue")]
    assert (await loaded(database)).node.status.value == "processing", "staleness never fails a workflow"
    await put(database, delivery(2100, saw("succeeded")))
    assert await attentions(database) == []


async def test_the_same_answer_again_keeps_its_body_once(database):
    await put(database, delivery(1, saw("processing")))
    for second in (200, 400):
        one = await claim_one(database, second)
        await put(database, answer(second, one, saw("processing"), body=b'{"same": 1}'))
    first, again = sorted((r for r in await rows(database, evidence) if r.kind == "fetch"), key=lambda r: r.seq)
    assert (first.body, again.body, again.same_as) == (b'{"same": 1}', None, first.id)


async def test_two_sources_may_have_workflows_of_the_same_name(database):
    await put(database, delivery(1, saw("processing")), delivery(1, saw("failed"), source="other"))
    assert (await loaded(database)).node.status.value == "processing"
    assert (await loaded(database, source="other")).node.status.value == "failed"


async def test_rows_of_steps_and_jobs_are_written_only_when_they_change(database):
    await put(
        database,
        delivery(1, saw("processing", Level.STEP, "$0"), saw("processing", Level.JOB, "j", "$0"), body=b"1"),
    )
    async with database.write() as connection:
        await connection.exec_driver_sql("UPDATE steps SET reason = 'hand'")
    await put(database, delivery(2, saw("succeeded", Level.JOB, "j", "$0"), body=b"2"))
    async with database.read() as connection:
        reason = (await connection.exec_driver_sql("SELECT reason FROM steps")).scalar_one()
    assert reason == "hand", "the step was not written again"
    assert (await loaded(database)).jobs["j"].status.value == "succeeded"
    query = select(workflows.c.evidence_seq)
    async with database.read() as connection:
        assert (await connection.execute(query)).scalar_one() == 2


def nameless(second, ref, body):
    entry = delivery(second, saw("processing"), wf="", body=body)
    entry.ref = ref
    return entry


async def test_a_delivery_that_names_no_id_finds_its_workflow_by_the_ref_of_its_url(database):
    tracked = delivery(1, saw("scheduled"))
    tracked.ref = "order-7"
    await put(database, tracked)
    (found, lost) = await put(database, nameless(2, "order-7", b"1"), nameless(3, "order-8", b"2"))
    assert (found.outcome, lost.outcome) == (Outcome.APPLIED, Outcome.QUARANTINED)
    assert (await loaded(database)).node.status.value == "processing"
    assert await attentions(database) == [("delivery", lost.evidence, "unreadable")]
    assert len(await rows(database, workflows)) == 1


async def test_outputs_that_upstream_will_delete_are_attention_while_there_is_time_to_act(database):
    blob = BlobSeen("wf~0", "image", available=True, url="https://x.test/0", media_expires_at=at(3600))
    ending = delivery(1, saw("succeeded", completed_at=at(0)), trust=Trust.SIGNED)
    ending.reading = replace(ending.reading, blobs=(blob,))
    await put(database, ending)
    check = await check_of(database)
    assert (check.reasons.keys(), check.due_at) == ({"uncollected"}, at(2400))
    assert await attentions(database) == []
    one = await claim_one(database, 2401)
    await put(database, answer(2401, one, saw("succeeded", completed_at=at(0))))
    assert await attentions(database) == [("workflow", "wf", "uncollected")]
    assert (await check_of(database)).due_at == at(3600), "said once, and over when they are deleted"


async def test_an_answer_that_comes_too_late_makes_no_workflow(database):
    await put(database, delivery(1, saw("succeeded"), trust=Trust.HINT, policy=HINTS))
    slow = await claim_one(database, 3)
    await claim_one(database, 100)
    (late,) = await put(database, answer(3, slow, saw("processing"), policy=HINTS), now=101)
    assert late.stale
    assert await rows(database, workflows) == []


async def test_a_wish_made_while_a_hint_is_looked_into_outlives_its_404(database):
    await put(database, delivery(1, saw("succeeded"), trust=Trust.HINT, policy=HINTS))
    one = await claim_one(database, 3)
    async with database.write() as connection:
        await checks.want(connection, "civ", "wf", None, at(4))
    await put(database, answer(3, one, how=Answer.GONE, policy=HINTS), now=5)
    assert (await check_of(database)).wanted_at == at(4)


async def test_a_url_that_upstream_does_not_renew_is_asked_for_ever_more_rarely(database):
    blob = BlobSeen("wf~0", "image", available=True, url="https://x.test/0", url_expires_at=at(100))

    async def look(second, one):
        entry = answer(second, one, saw("succeeded", completed_at=at(0)))
        entry.reading = replace(entry.reading, blobs=(blob,))
        await put(database, entry)
        return (await check_of(database)).due_at

    await put(database, delivery(0, saw("succeeded")))
    due, looks = await look(2, await claim_one(database, 2)), 0
    while due is not None and due <= at(3600):
        second = (due - at(0)).total_seconds()
        due = await look(second, await claim_one(database, second))
        looks += 1
    assert 5 < looks < 12, "not once every ten seconds for an hour"


async def test_a_new_ending_is_confirmed_soon_although_upstream_refused_to_be_asked_before(database):
    await put(database, delivery(1, saw("processing")))
    await put(database, answer(300, await claim_one(database, 300), how=Answer.REFUSED, message="403"))
    await put(database, delivery(400, saw("succeeded")))
    assert (await check_of(database)).due_at == at(401), "not a day later"


async def test_outputs_without_a_clock_of_their_own_live_as_long_as_upstream_keeps_any(database):
    policy = replace(POLICY, outputs_live=timedelta(minutes=30))
    await put(database, delivery(1, saw("processing"), policy=policy))
    looked = answer(300, await claim_one(database, 300), saw("succeeded"), policy=policy)
    looked.reading = replace(looked.reading, blobs=(BlobSeen("wf~0", "file", available=True, url="https://x.test/0"),))
    await put(database, looked)
    assert (await check_of(database)).due_at == at(300 + 1200), "a third of the half hour before it is over"

"""Copies of workflows kept in memory: always what the database holds, or not used."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from receiver.intake import Intake, IntakeUnavailable
from receiver.ledger.apply import apply
from receiver.ledger.database import Database
from receiver.ledger.merge import new_state
from receiver.ledger.recent import Recent
from receiver.ledger.records import Level, Trust
from receiver.ledger.states import Status
from receiver.ledger.store import load
from receiver.ledger.views import view
from tests.ledger.applying import answer, claim_one, delivery, loaded, put, saw
from tests.ledger.histories import arrivals, at, histories
from tests.ledger.test_order_on_databases import entry_of, names, opened  # noqa: F401 - a fixture


async def put_in_turn(database: Database, entries: list, cuts: list[int], writers: list[Recent | None]) -> None:
    """Apply a history in batches, each by another writer, some of which keep copies; check each copy that is kept."""
    edges = sorted({0, len(entries), *(cut % (len(entries) + 1) for cut in cuts)})
    for place, (start, end) in enumerate(pairwise(edges)):
        recent = writers[place % len(writers)]
        async with database.write() as connection:
            results = await apply(connection, entries[start:end], entries[end - 1].at, recent)
        if recent is None:
            continue
        recent.keep(result.state for result in results)
        copy = recent.take([("civ", entries[0].workflow_id)]).popitem()[1]
        stored = await loaded(database, entries[0].workflow_id)
        assert view(copy, (), {}) == view(stored, (), {})
        assert (copy.version, copy.evidence_seq, copy.transition_seq) == (
            stored.version, stored.evidence_seq, stored.transition_seq,
        )  # fmt: skip
        recent.keep([copy])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.data(), histories(), st.booleans(), st.lists(st.integers(0, 40), max_size=8),
    st.lists(st.sampled_from(["a", "b", "none"]), min_size=1, max_size=4),
)  # fmt: skip
def test_writers_with_copies_and_without_leave_the_ledger_that_one_without_leaves(
    opened,  # noqa: F811
    data,
    history,
    looks,
    cuts,
    writers,
):
    runner, database = opened
    found = arrivals(data.draw, history, looks=looks)
    assume(found)  # not every event is lost
    alone, together = next(names), next(names)
    keepers = {"a": Recent(), "b": Recent(), "none": None}
    runner.run(put_in_turn(database, [entry_of(one, alone, Trust.TOKEN) for one in found], cuts, [None]))
    entries = [entry_of(one, together, Trust.TOKEN) for one in found]
    runner.run(put_in_turn(database, entries, cuts, [keepers[name] for name in writers]))
    ours, theirs = runner.run(loaded(database, together)), runner.run(loaded(database, alone))
    assert view(ours, (), {}) == view(theirs, (), {})


async def test_what_another_process_wrote_meanwhile_is_seen(database: Database) -> None:
    intake = Intake(database)
    intake.start()
    await intake.submit(delivery(1, saw("processing")))
    await put(database, delivery(2, saw("succeeded"), trust=Trust.SIGNED), now=2)
    await intake.submit(delivery(3, saw("failed"), trust=Trust.SIGNED))
    await intake.stop()
    assert (await loaded(database)).node.status is Status.SUCCEEDED


async def test_a_copy_that_was_not_committed_is_not_used_again(database: Database) -> None:
    intake = Intake(database)
    intake.start()
    await intake.submit(delivery(1, saw("processing")))
    refuse = {
        "sqlite": "CREATE TRIGGER refuse BEFORE INSERT ON transitions BEGIN SELECT RAISE(ABORT, 'no room'); END",
        "postgresql": "ALTER TABLE transitions ADD CONSTRAINT refuse CHECK (to_status <> 'failed') NOT VALID",
    }[database.dialect]
    allow = {"sqlite": "DROP TRIGGER refuse", "postgresql": "ALTER TABLE transitions DROP CONSTRAINT refuse"}
    async with database.write() as connection:
        await connection.execute(text(refuse))
    with suppress(IntakeUnavailable):
        await intake.submit(delivery(2, saw("failed")))
    async with database.write() as connection:
        await connection.execute(text(allow[database.dialect]))
    assert (await loaded(database)).node.status is Status.PROCESSING
    await intake.submit(delivery(3, saw("processing", Level.JOB, "job-1")))
    await intake.stop()
    assert (await loaded(database)).node.status is Status.PROCESSING


async def test_a_workflow_that_was_forgotten_begins_anew(database: Database) -> None:
    intake = Intake(database)
    intake.start()
    await intake.submit(delivery(1, saw("processing"), saw("processing", Level.STEP, "$0")))
    async with database.write() as connection:
        await connection.execute(text("DELETE FROM workflows"))
    await intake.submit(delivery(2, saw("scheduled")))
    await intake.stop()
    state = await loaded(database)
    assert (state.node.status, state.steps) == (Status.SCHEDULED, {})


async def test_a_copy_of_what_was_forgotten_is_not_taken_for_what_another_process_has_made_since(
    database: Database,
) -> None:
    intake = Intake(database)
    intake.start()
    await intake.submit(delivery(1, saw("processing"), saw("processing", Level.STEP, "$0")))
    async with database.write() as connection:
        await connection.execute(text("DELETE FROM workflows"))
    await put(database, delivery(2, saw("scheduled")), now=2)  # SQLite gives it the same number
    await intake.submit(delivery(3, saw("preparing", Level.JOB, "job-1")))
    await intake.stop()
    state = await loaded(database)
    assert (state.node.status, set(state.steps), set(state.jobs)) == (Status.SCHEDULED, set(), {"job-1"})


def test_no_more_copies_are_kept_than_were_asked_for() -> None:
    recent = Recent(most=3)
    recent.keep(new_state("civ", f"wf-{n}", at(0), "delivery") for n in range(10))
    assert set(recent.take([("civ", f"wf-{n}") for n in range(10)])) == {("civ", f"wf-{n}") for n in (7, 8, 9)}


def test_no_more_is_remembered_than_there_is_room_for() -> None:
    """However few workflows tell that much: 1 + 100 pieces each, of which 350 are to be had."""
    recent, names = Recent(pieces=350), [("civ", f"wf-{n}") for n in range(10)]
    for _, name in names:
        state = new_state("civ", name, at(0), "delivery")
        state.tell("request", {"prompt": "p" * 100 * 1024})
        recent.keep([state])
        recent.keep([state])  # what is kept again takes no more room than before
    assert set(recent.take(names)) == set(names[-3:])
    small = [new_state("civ", f"small-{n}", at(0), "delivery") for n in range(350)]
    recent.keep(small)  # what was taken out is no longer counted
    assert len(recent.take([("civ", one.id) for one in small])) == 350


def test_what_is_told_later_and_what_hangs_on_a_workflow_takes_up_room_too() -> None:
    recent, state = Recent(pieces=50), new_state("civ", "wf", at(0), "delivery")
    recent.keep([state])
    assert recent.take([("civ", "wf")])
    state.node.tell("reason", "r" * 60 * 1024)
    recent.keep([state])
    assert not recent.take([("civ", "wf")])
    other = new_state("civ", "other", at(0), "delivery")
    other.jobs = {str(n): new_state("civ", "x", at(0), "delivery").node for n in range(60)}
    recent.keep([other])
    assert not recent.take([("civ", "other")])


async def test_a_look_whose_workflow_was_forgotten_since_it_was_claimed_does_not_bring_it_back(
    database: Database,
) -> None:
    await put(database, delivery(1, saw("processing")))
    claimed = await claim_one(database, 200)
    recent = Recent()
    recent.keep([await loaded(database)])
    async with database.write() as connection:
        await connection.execute(text("DELETE FROM checks"))
        await connection.execute(text("DELETE FROM workflows"))
    async with database.write() as connection:
        (result,) = await apply(connection, [answer(201, claimed, saw("succeeded"))], at(201), recent)
    assert (result.stale, result.created) == (True, False)
    assert await loaded(database) is None


async def test_a_copy_of_what_a_failover_lost_does_not_pass_for_what_was_written_instead(database: Database) -> None:
    """The replica lacks the newest transaction; another process then writes the workflow as often as that one did."""
    await put(database, delivery(0, saw("scheduled")))
    before = await loaded(database, "wf")
    await put(database, delivery(1, saw("processing")))
    lost = await loaded(database, "wf")
    async with database.write() as connection:
        await connection.execute(
            text("UPDATE workflows SET version = :version, transition_seq = :seq, evidence_seq = :evidence"),
            {"version": before.version, "seq": before.transition_seq, "evidence": before.evidence_seq},
        )
        await connection.execute(text("DELETE FROM transitions WHERE seq > :seq"), {"seq": before.transition_seq})
        await connection.execute(text("DELETE FROM evidence WHERE seq > :seq"), {"seq": before.evidence_seq})
    await put(database, delivery(2, saw("succeeded")))
    async with database.read() as connection:
        found = await load(connection, [("civ", "wf")], {("civ", "wf"): lost})
    assert found["civ", "wf"] is not lost
    assert found["civ", "wf"].node.status is Status.SUCCEEDED

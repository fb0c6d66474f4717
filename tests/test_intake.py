"""Group commit: who shares a transaction, who is answered what when it fails, and what becomes of poison."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
from sqlalchemy import select

from receiver.intake import Intake, IntakeFull, IntakeUnavailable
from receiver.ledger.database import Database
from receiver.ledger.entries import Entry, Result
from receiver.ledger.recent import LARGEST
from receiver.ledger.records import Level, Outcome, Trust
from receiver.ledger.tables import evidence, workflows
from tests.ledger.applying import delivery, saw
from tests.web.rows import blocked, rows

POISON = "\ud800"  # no database can store it, and no provider lets it through


def good(n: int) -> Entry:
    return delivery(n, saw("processing"), wf=f"wf-{n}")


def poison(n: int) -> Entry:
    return delivery(n, saw("processing"), saw("processing", Level.STEP, POISON), wf=f"wf-{n}", body=b"poison %d" % n)


@pytest.fixture
async def intake(database: Database) -> AsyncIterator[Intake]:
    intake = Intake(database)
    intake.start()
    yield intake
    await intake.stop()


def submit(intake: Intake, entries: Sequence[Entry]) -> list[asyncio.Task[Result]]:
    return [asyncio.create_task(intake.submit(entry)) for entry in entries]


async def settled(tasks: Sequence[asyncio.Task[Result]]) -> list[Result | BaseException]:
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_lone_delivery_is_committed_at_once(intake: Intake, database: Database) -> None:
    result = await asyncio.wait_for(intake.submit(good(1)), 5)
    assert result.outcome is Outcome.APPLIED
    assert [row.id for row in await rows(database, evidence)] == [result.evidence]


async def test_what_arrives_during_a_commit_goes_together_in_the_next(
    intake: Intake, database: Database, database_url: str
) -> None:
    async with blocked(database_url):
        first = submit(intake, [good(0)])
        await asyncio.sleep(0.05)
        rest = submit(intake, [good(n) for n in range(1, 50)])
        await asyncio.sleep(0.05)
        assert intake.counters.queued == 49
    results = await settled(first + rest)
    assert {result.outcome for result in results if isinstance(result, Result)} == {Outcome.APPLIED}
    assert (intake.counters.batches, intake.counters.last_batch, intake.counters.committed) == (2, 49, 50)
    assert intake.counters.queued == intake.counters.held == 0
    assert len(await rows(database, workflows)) == 50


async def test_a_batch_has_a_largest_size(database: Database, database_url: str) -> None:
    intake = Intake(database, max_batch=10)
    async with blocked(database_url):
        intake.start()
        tasks = submit(intake, [good(n) for n in range(35)])
        await asyncio.sleep(0.05)
    await settled(tasks)
    assert intake.counters.batches == 4
    await intake.stop()


async def test_more_than_the_queue_holds_is_refused_and_the_rest_is_kept(database: Database, database_url: str) -> None:
    intake = Intake(database, max_queue=3)
    intake.start()
    async with blocked(database_url):
        first = submit(intake, [good(0)])
        await asyncio.sleep(0.05)
        tasks = first + submit(intake, [good(n) for n in range(1, 4)])
        await asyncio.sleep(0.05)
        with pytest.raises(IntakeFull):
            await intake.submit(good(4))
    assert all(isinstance(result, Result) for result in await settled(tasks))
    assert len(await rows(database, workflows)) == 4
    assert (await intake.submit(good(5))).outcome is Outcome.APPLIED
    await intake.stop()


async def test_large_bodies_fill_the_queue_sooner(database: Database, database_url: str) -> None:
    intake = Intake(database, max_bytes=1000)
    intake.start()
    async with blocked(database_url):
        first = submit(intake, [good(0)])
        await asyncio.sleep(0.05)
        tasks = first + submit(intake, [delivery(1, saw("processing"), wf="wf-1", body=b"x" * 2000)])
        await asyncio.sleep(0.05)
        with pytest.raises(IntakeFull):
            await intake.submit(good(2))
    await settled(tasks)
    assert intake.counters.held == 0
    await intake.stop()


async def test_one_who_stops_waiting_cancels_nobody_and_its_delivery_is_kept(
    intake: Intake, database: Database, database_url: str
) -> None:
    async with blocked(database_url):
        tasks = submit(intake, [good(n) for n in range(5)])
        await asyncio.sleep(0.05)
        tasks[0].cancel()
        tasks[3].cancel()
    results = await settled(tasks)
    assert [isinstance(result, Result) for result in results] == [False, True, True, False, True]
    await intake.drain()
    assert len(await rows(database, workflows)) == 5


async def test_poison_is_set_aside_alone_and_everybody_else_is_answered_as_ever(
    database: Database, database_url: str
) -> None:
    intake = Intake(database)
    async with blocked(database_url):
        intake.start()
        entries = [poison(n) if n in (7, 20) else good(n) for n in range(40)]
        tasks = submit(intake, entries)
        await asyncio.sleep(0.05)
    results = await asyncio.gather(*tasks)
    outcomes = [result.outcome for result in results]
    assert [n for n, outcome in enumerate(outcomes) if outcome is Outcome.QUARANTINED] == [7, 20]
    assert outcomes.count(Outcome.APPLIED) == 38
    assert len(await rows(database, workflows)) == 38
    (kept,) = await rows(database, evidence, id=results[7].evidence)
    assert kept.body == b"poison 7"
    assert kept.workflow_id == "wf-7"
    assert "could not take it" in kept.problem
    assert intake.counters.quarantined == 2
    await intake.stop()


async def test_poison_in_its_own_name_and_headers_is_kept_all_the_same(intake: Intake, database: Database) -> None:
    entry = delivery(1, saw("processing"), wf=POISON, body=b"poison")
    entry.headers, entry.identity, entry.ref = {"webhook-id": POISON}, POISON, POISON
    result = await intake.submit(entry)
    assert result.outcome is Outcome.QUARANTINED
    (kept,) = await rows(database, evidence, id=result.evidence)
    assert (kept.body, kept.workflow_id, kept.headers) == (b"poison", None, {})
    again = await intake.submit(entry)
    assert (again.outcome, again.evidence) == (Outcome.DUPLICATE, result.evidence)


async def test_draining_answers_what_is_queued_and_refuses_what_is_new(
    intake: Intake, database: Database, database_url: str
) -> None:
    async with blocked(database_url):
        tasks = submit(intake, [good(n) for n in range(10)])
        await asyncio.sleep(0.05)
        draining = asyncio.create_task(intake.drain())
        await asyncio.sleep(0.05)
        with pytest.raises(IntakeUnavailable):
            await intake.submit(good(11))
        assert not draining.done()
    await draining
    assert all(isinstance(result, Result) for result in await settled(tasks))
    assert len(await rows(database, workflows)) == 10


async def test_stopping_leaves_nobody_waiting(intake: Intake, database_url: str) -> None:
    async with blocked(database_url):
        tasks = submit(intake, [good(n) for n in range(10)])
        await asyncio.sleep(0.05)
        await intake.stop()
        results = await asyncio.wait_for(settled(tasks), 5)
    assert all(isinstance(result, IntakeUnavailable) for result in results)
    assert intake.silent_for(0) == float("inf")


async def test_a_database_that_does_not_answer_refuses_everybody_and_is_used_again_when_it_does(
    database: Database,
) -> None:
    away = Database(
        "postgresql://nobody@127.0.0.1:1/nowhere" if database.dialect == "postgresql" else "sqlite:////no/x"
    )
    intake = Intake(away)
    intake.start()
    results = await settled(submit(intake, [good(n) for n in range(10)]))
    assert all(isinstance(result, IntakeUnavailable) for result in results)
    assert intake.counters.failed == 10
    assert intake.silent_for(0) != float("inf")
    await intake.stop()
    await away.close()


def _trigger(name: str, does: str, how: str = "BEFORE INSERT") -> tuple[str, str]:
    kind = "CONSTRAINT TRIGGER" if how.startswith("AFTER") else "TRIGGER"
    deferred = "DEFERRABLE INITIALLY DEFERRED" if how.startswith("AFTER") else ""
    return (
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {does} RETURN NEW; END $$",
        f"CREATE {kind} {name} {how} ON evidence {deferred} FOR EACH ROW EXECUTE FUNCTION {name}()",
    )


@pytest.fixture
async def on_postgres(postgres_url: str) -> AsyncIterator[Database]:
    opened = await Database.open(postgres_url)
    yield opened
    await opened.close()


async def _run(database: Database, *statements: str) -> None:
    async with database.write() as conn:
        for statement in statements:
            await conn.exec_driver_sql(statement)


@pytest.mark.parametrize("state", ["40001", "40P01"])
async def test_a_batch_that_postgresql_gave_up_for_another_is_tried_again(on_postgres: Database, state: str) -> None:
    # A sequence does not roll back, so that only the first try meets the error.
    once = f"IF nextval('tries') = 1 THEN RAISE EXCEPTION 'deadlock' USING ERRCODE = '{state}'; END IF;"
    await _run(on_postgres, "CREATE SEQUENCE tries", *_trigger("once", once))
    intake = Intake(on_postgres)
    intake.start()
    assert (await intake.submit(good(1))).outcome is Outcome.APPLIED
    assert intake.counters.quarantined == 0
    await intake.stop()


@pytest.mark.parametrize(
    ("times", "does"),
    [
        (1, "RAISE EXCEPTION 'full' USING ERRCODE = '53100';"),
        (3, "RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01';"),
        (1, "PERFORM pg_terminate_backend(pg_backend_pid());"),
    ],
    ids=["disk full", "deadlock after deadlock", "connection lost"],
)
async def test_trouble_of_the_database_is_never_an_answer_and_never_quarantine(
    on_postgres: Database, times: int, does: str
) -> None:
    trouble = f"IF nextval('tries') <= {times} THEN {does} END IF;"
    await _run(on_postgres, "CREATE SEQUENCE tries", *_trigger("trouble", trouble))
    intake = Intake(on_postgres)
    intake.start()
    results = await settled(submit(intake, [good(n) for n in range(5)]))
    assert all(isinstance(result, IntakeUnavailable) for result in results)
    assert await rows(on_postgres, evidence) == []
    assert (await intake.submit(good(1))).outcome is Outcome.APPLIED
    await intake.stop()


async def test_a_commit_in_doubt_is_never_an_answer(on_postgres: Database) -> None:
    # Deferred, so that the connection is lost inside COMMIT itself.
    lost = _trigger("lost", "PERFORM pg_terminate_backend(pg_backend_pid());", "AFTER INSERT")
    await _run(on_postgres, *lost)
    intake = Intake(on_postgres)
    intake.start()
    with pytest.raises(IntakeUnavailable, match="committing"):
        await intake.submit(good(1))
    await intake.stop()


async def test_a_workflow_that_somebody_holds_does_not_hold_up_the_others(on_postgres: Database) -> None:
    intake = Intake(on_postgres)
    intake.start()
    try:
        await settled(submit(intake, [good(1), good(2)]))
        async with on_postgres.write() as holder:
            await holder.execute(select(workflows).where(workflows.c.id == "wf-1").with_for_update())
            again = [delivery(n, saw("scheduled"), wf=f"wf-{n % 3}", body=b"again %d" % n) for n in range(30)]
            results = await asyncio.wait_for(settled(submit(intake, again)), 10)
            refused = [again[n].workflow_id for n, one in enumerate(results) if isinstance(one, IntakeUnavailable)]
            assert refused == ["wf-1"] * 10, "these come again; the other twenty are kept"
        assert (await intake.submit(again[1])).outcome is Outcome.RECORDED
    finally:
        await intake.stop()


async def test_what_has_to_ask_the_database_takes_nobody_with_it(on_postgres: Database) -> None:
    intake = Intake(on_postgres)
    intake.start()
    others = [good(n) for n in range(2, 20)]
    unread, hint = delivery(20, body=b"?"), delivery(21, saw("failed"), wf="wf-5", trust=Trust.HINT)
    results = await settled(submit(intake, [unread, *others, hint]))
    assert [str(one.outcome) for one in results if isinstance(one, Result)] == [
        "quarantined",
        *["applied"] * 18,
        "hint",
    ]
    assert (intake.counters.batches, intake.ahead.committed, intake.counters.last_batch) == (2, 1, 2)
    # One that is too large to be remembered has to ask each time.
    jobs = [delivery(n, saw("processing", Level.JOB, f"j{n}"), wf="large") for n in range(LARGEST + 1)]
    await settled(submit(intake, jobs))
    again = [delivery(n, saw("succeeded"), wf=f"wf-{n}") for n in range(2, 20)]
    late = delivery(99, saw("succeeded", Level.JOB, "j0"), wf="large")
    results = await settled(submit(intake, [late, *again]))
    assert [str(one.outcome) for one in results if isinstance(one, Result)] == ["applied"] * 19
    assert (intake.ahead.committed, intake.ahead.mistaken, intake.counters.last_batch) == (3, 0, 1)
    await intake.stop()
    assert len(await rows(on_postgres, evidence)) == 20 + len(jobs) + 19


async def test_a_mistake_of_ours_is_answered_and_ends_nothing(intake: Intake) -> None:
    odd = replace(good(1), workflow_id=["no", "name"])  # nothing that could be looked up, not even among suspects
    odd_one, neighbour = await asyncio.wait_for(settled(submit(intake, [odd, good(2)])), 30)
    assert isinstance(odd_one, IntakeUnavailable)
    assert isinstance(neighbour, (Result, IntakeUnavailable))
    assert (await asyncio.wait_for(intake.submit(good(3)), 30)).outcome is Outcome.APPLIED
    assert intake.silent_for(time.monotonic()) < 60

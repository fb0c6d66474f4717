"""Rows the database itself refuses, among good ones: each is set aside alone, and nobody else hears of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import replace

import pytest

from receiver.intake import Intake
from receiver.ledger.database import Database
from receiver.ledger.entries import Entry, Result
from receiver.ledger.records import BlobSeen, Level, Outcome
from receiver.ledger.tables import delivery_keys, evidence, steps, workflows
from tests.ledger.applying import delivery, saw
from tests.staging.refusing import counted, refuse
from tests.staging.soundness import unsound
from tests.web.rows import blocked, rows

Make = Callable[[int], Entry]


def good(n: int) -> Entry:
    return delivery(n, saw("processing"), saw("processing", Level.STEP, f"s-{n}"), wf=f"wf-{n}", body=b"good %d" % n)


def named(n: int) -> Entry:
    """One whose workflow is the trouble."""
    return delivery(n, saw("processing"), wf=f"poison-{n}", body=b"poison %d" % n)


def identified(n: int) -> Entry:
    return delivery(n, saw("processing"), wf=f"wf-{n}", identity=f"poison-{n}", body=b"poison %d" % n)


def step(n: int) -> Entry:
    seen = (saw("processing"), saw("processing", Level.STEP, "fine"), saw("processing", Level.STEP, f"poison-{n}"))
    return delivery(n, *seen, wf=f"wf-{n}", body=b"poison %d" % n)


def job(n: int) -> Entry:
    return delivery(n, saw("processing", Level.JOB, f"poison-{n}", "fine"), wf=f"wf-{n}", body=b"poison %d" % n)


def blob(n: int) -> Entry:
    made = (BlobSeen("fine", url="https://x/y"), BlobSeen(f"poison-{n}"))
    return delivery(n, saw("succeeded"), wf=f"wf-{n}", body=b"poison %d" % n, blobs=made)


def unreadable(n: int) -> Entry:
    return replace(delivery(n, wf=f"wf-{n}", body=b"poison %d" % n), problem=f"poison-{n}")


BY_TABLE: dict[str, tuple[str, Make]] = {
    "evidence": ("NEW.workflow_id LIKE 'poison%'", named),
    "delivery_keys": ("NEW.identity LIKE 'poison%'", identified),
    "workflows": ("NEW.id LIKE 'poison%'", named),
    "steps": ("NEW.key LIKE 'poison%'", step),
    "jobs": ("NEW.key LIKE 'poison%'", job),
    "blobs": ("NEW.id LIKE 'poison%'", blob),
    "transitions": ("NEW.key LIKE 'poison%'", step),
    "checks": ("NEW.id LIKE 'poison%'", named),
    "attention": ("NEW.note LIKE 'poison%'", unreadable),
}
POSITIONS = [{0}, {39}, {0, 1, 20, 38}]


@pytest.fixture
async def intake(database: Database) -> AsyncIterator[Intake]:
    intake = Intake(database)
    intake.start()
    yield intake
    await intake.stop()


async def together(intake: Intake, database_url: str, entries: list[Entry]) -> list[Result]:
    """Submit them so that all are in one batch."""
    async with blocked(database_url):
        first = asyncio.create_task(intake.submit(delivery(0, saw("scheduled"), wf="first", body=b"first")))
        await asyncio.sleep(0.02)
        tasks = [asyncio.create_task(intake.submit(entry)) for entry in entries]
        await asyncio.sleep(0.02)
    await first
    return await asyncio.gather(*tasks)


async def judge(database: Database, entries: list[Entry], results: list[Result], poison: Collection[int]) -> None:
    """The poison ones are quarantined, raw; the others are applied as if they had been alone; nothing is half done."""
    assert {n for n, one in enumerate(results) if one.outcome is Outcome.QUARANTINED} == set(poison)
    assert {one.outcome for n, one in enumerate(results) if n not in poison} <= {Outcome.APPLIED}
    kept = {row.id: row for row in await rows(database, evidence)}
    assert len(kept) == len(entries) + 1
    for entry, result in zip(entries, results, strict=True):
        assert bytes(kept[result.evidence].body) == entry.body
        assert kept[result.evidence].outcome == result.outcome
    healthy = {entry.workflow_id for n, entry in enumerate(entries) if n not in poison}
    assert {row.id for row in await rows(database, workflows)} == {*healthy, "first"}
    assert await unsound(database) == []


@pytest.mark.parametrize("table", BY_TABLE)
async def test_a_row_that_any_table_refuses_is_set_aside_alone_wherever_it_stands(
    intake: Intake, database: Database, database_url: str, table: str
) -> None:
    condition, make = BY_TABLE[table]
    await refuse(database, table, condition)
    for turn, poison in enumerate(POSITIONS):
        entries = [make(n + 100 * turn) if n in poison else good(n + 100 * turn) for n in range(40)]
        before = len(await rows(database, evidence))
        if before:
            await _forget(database)
        await judge(database, entries, await together(intake, database_url, entries), poison)
    assert intake.counters.quarantined == sum(map(len, POSITIONS))


async def _forget(database: Database) -> None:
    async with database.write() as connection:
        for table in ("attention", "checks", "transitions", "blobs", "jobs", "steps", "delivery_keys", "evidence"):
            await connection.exec_driver_sql(f"DELETE FROM {table}")
        await connection.exec_driver_sql("DELETE FROM workflows")


def surrogate(n: int) -> Entry:
    return delivery(n, saw("processing"), saw("processing", Level.STEP, "\ud800"), wf=f"p-{n}", body=b"poison %d" % n)


def out_of_range(n: int) -> Entry:
    return delivery(n, saw("processing", facts={"cost": 2**70}), wf=f"p-{n}", body=b"poison %d" % n)


def other_kind(n: int) -> Entry:
    return delivery(n, saw("processing", started_at="not an instant"), wf=f"p-{n}", body=b"poison %d" % n)


def endless_name(n: int) -> Entry:
    """PostgreSQL has no index entries of this length; SQLite has."""
    name = "".join(chr(random.Random(n + k).randrange(0x4E00, 0x9FFF)) for k in range(9000))
    return delivery(n, saw("processing"), wf=f"p-{n}", identity=name, body=b"poison %d" % n)


@pytest.mark.parametrize("make", [surrogate, out_of_range, other_kind, endless_name])
async def test_values_no_column_can_hold_are_set_aside_alone(
    intake: Intake, database: Database, database_url: str, make: Make
) -> None:
    poison = set() if make is endless_name and database.dialect == "sqlite" else {0, 17, 39}
    entries = [make(n) if n in {0, 17, 39} else good(n) for n in range(40)]
    await judge(database, entries, await together(intake, database_url, entries), poison)


async def test_the_ledgers_own_guard_sets_aside_nobody_but_whom_it_refused(
    intake: Intake, database: Database, database_url: str
) -> None:
    # A confirmed ending that the application no longer sees as one: only the database knows better.
    await refuse(database, "workflows", "NEW.id = 'wf-7' AND NEW.status = 'succeeded'", state="P0001")
    entries = [delivery(n, saw("succeeded"), wf=f"wf-{n}", body=b"end %d" % n) for n in range(20)]
    await judge(database, entries, await together(intake, database_url, entries), {7})


@pytest.mark.parametrize("state", ["23514", "23505", "22003", "22P05", "21000", "54000", "P0001"])
async def test_every_refusal_for_the_datas_sake_is_known_as_one(postgres_database: Database, state: str) -> None:
    await refuse(postgres_database, "steps", "NEW.key LIKE 'poison%'", state=state)
    intake = Intake(postgres_database)
    intake.start()
    results = await asyncio.gather(*(intake.submit(step(n) if n == 3 else good(n)) for n in range(6)))
    assert [n for n, one in enumerate(results) if one.outcome is Outcome.QUARANTINED] == [3]
    await intake.stop()


async def test_what_is_refused_at_commit_is_set_aside_alone(postgres_database: Database, postgres_url: str) -> None:
    await refuse(postgres_database, "steps", "NEW.key LIKE 'poison%'", state="P0001")
    async with postgres_database.write() as connection:
        await connection.exec_driver_sql("DROP TRIGGER refuse_steps ON steps")
        await connection.exec_driver_sql(
            "CREATE CONSTRAINT TRIGGER refuse_steps AFTER INSERT OR UPDATE ON steps DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW WHEN (NEW.key LIKE 'poison%') EXECUTE FUNCTION refuse_steps()"
        )
    intake = Intake(postgres_database)
    intake.start()
    entries = [step(n) if n == 11 else good(n) for n in range(20)]
    await judge(postgres_database, entries, await together(intake, postgres_url, entries), {11})
    await intake.stop()


async def test_one_poison_among_two_hundred_costs_a_handful_of_transactions(
    intake: Intake, database: Database, database_url: str
) -> None:
    await refuse(database, "steps", "NEW.key LIKE 'poison%'")
    async with counted(database) as tries:
        await together(intake, database_url, [step(n) if n == 77 else good(n) for n in range(200)])
        # One for what came first, two for each halving of 200, one to set it aside.
        assert await tries.count() <= 1 + 2 * 9 + 1


async def test_a_poison_workflow_that_is_hot_costs_its_neighbours_one_transaction_as_ever(
    intake: Intake, database: Database, database_url: str
) -> None:
    await refuse(database, "steps", "NEW.key LIKE 'poison%'")
    hot = [delivery(n, saw("processing", Level.STEP, "poison"), wf="hot", body=b"poison %d" % n) for n in range(600)]
    async with counted(database) as tries:
        first = [hot[n // 4] if n % 4 == 0 else good(n) for n in range(200)]
        results = await together(intake, database_url, first)
        assert sum(one.outcome is Outcome.QUARANTINED for one in results) == 50
        assert await tries.count() <= 1 + 2 * 9 + 1 + 2 * 50, "once one of them is known, the others are tried alone"
        for turn in range(3):
            entries = [good(1000 * turn + n) for n in range(199)] + [hot[100 + turn]]
            await together(intake, database_url, entries)
            assert await tries.count() == 1 + 1 + 2, "one for the first, one for all neighbours, two for the poison"
    assert await unsound(database) == []


async def test_a_flood_of_poison_for_one_workflow_does_not_make_its_neighbours_wait(
    database: Database, database_url: str
) -> None:
    await refuse(database, "steps", "NEW.key LIKE 'poison%'")
    intake = Intake(database)
    intake.start()
    hot = [delivery(n, saw("processing", Level.STEP, "poison"), wf="hot", body=b"poison %d" % n) for n in range(200)]
    done: list[str] = []

    async def one(kind: str, entry: Entry) -> None:
        await intake.submit(entry)
        done.append(kind)

    async with blocked(database_url):
        pairs = [(("good", good(n)), ("poison", hot[n])) for n in range(200)]
        tasks = [asyncio.create_task(one(*each)) for pair in pairs for each in pair]
        await asyncio.sleep(0.05)
    await asyncio.gather(*tasks)
    last_good = len(done) - 1 - done[::-1].index("good")
    # Half of the poison stands in the first batch, where it is found; only the other half can be made to wait.
    assert done[:last_good].count("poison") < 150, "the neighbours waited for the poison"
    assert len(await rows(database, evidence)) == 400
    assert intake.counters.queued == intake.counters.held == 0
    await intake.stop()


async def test_poison_of_one_workflow_cannot_fill_the_queue(database: Database, database_url: str) -> None:
    await refuse(database, "steps", "NEW.key LIKE 'poison%'")
    intake = Intake(database, max_queue=40)
    intake.start()
    hot = [delivery(n, saw("processing", Level.STEP, "poison"), wf="hot", body=b"poison %d" % n) for n in range(41)]
    await intake.submit(hot[40])
    async with blocked(database_url):
        first = asyncio.create_task(intake.submit(good(0)))
        await asyncio.sleep(0.02)
        tasks = [asyncio.create_task(intake.submit(entry)) for entry in [*hot[:39], good(1)]]
        await asyncio.sleep(0.02)
    results = await asyncio.gather(first, *tasks, return_exceptions=True)
    refused = [one for one in results if not isinstance(one, Result)]
    assert len(refused) == 39 - 40 // 4, "the rest comes again"
    assert isinstance(results[-1], Result)
    await intake.stop()


async def test_poison_that_comes_again_is_a_duplicate_and_is_counted(intake: Intake, database: Database) -> None:
    await refuse(database, "steps", "NEW.key LIKE 'poison%'")
    first = await intake.submit(step(1))
    again = [await intake.submit(step(1)) for _ in range(3)]
    assert {(one.outcome, one.evidence) for one in again} == {(Outcome.DUPLICATE, first.evidence)}
    assert [row.count for row in await rows(database, delivery_keys)] == [4]
    assert await rows(database, steps) == []


async def test_a_workflow_whose_poison_is_gone_is_applied_as_ever(intake: Intake, database: Database) -> None:
    await refuse(database, "steps", "NEW.key = 'poison-1'")
    poison = delivery(1, saw("processing", Level.STEP, "poison-1"), wf="wf", body=b"poison")
    assert (await intake.submit(poison)).outcome is Outcome.QUARANTINED
    fine = delivery(2, saw("processing", Level.STEP, "fine"), wf="wf", body=b"fine")
    assert (await intake.submit(fine)).outcome is Outcome.APPLIED
    assert [row.key for row in await rows(database, steps)] == ["fine"]

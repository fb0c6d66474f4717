"""Workflows are found by the types of their steps, whenever and however these were told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from receiver.ledger import migrate
from receiver.ledger.database import Database
from receiver.ledger.listing import WorkflowFilter, list_workflows
from receiver.ledger.records import Level
from tests.ledger.applying import delivery, put, saw
from tests.ledger.histories import START

NOW = START + timedelta(days=1)
BEFORE = "0012"


def step(second: int, key: str, kind: str, wf: str = "wf-1"):
    return delivery(second, saw("processing"), saw("processing", Level.STEP, key, facts={"type": kind}), wf=wf)


async def found(database: Database, step_type: str) -> list[str]:
    async with database.read() as connection:
        listed = await list_workflows(connection, WorkflowFilter(step_type=step_type), NOW)
    return [one["id"] for one in listed["items"]]


async def test_a_type_is_found_from_the_delivery_on_that_tells_it(database: Database) -> None:
    await put(database, delivery(0, saw("processing"), saw("processing", Level.STEP, "$0"), wf="wf-1"))
    assert await found(database, "imageGen") == []
    await put(database, step(1, "$0", "imageGen"))
    await put(database, step(2, "$1", "videoGen"))
    await put(database, step(3, "$0", "imageGen", "wf-2"))
    assert await found(database, "imageGen") == ["wf-2", "wf-1"]
    assert await found(database, "videoGen") == ["wf-1"]


async def test_a_type_that_is_told_otherwise_is_not_found_any_more(database: Database) -> None:
    await put(database, step(0, "$0", "imageGen"))
    await put(database, step(1, "$0", "videoGen"))
    assert (await found(database, "imageGen"), await found(database, "videoGen")) == ([], ["wf-1"])


async def test_a_change_of_context_loses_no_type(database: Database) -> None:
    await put(database, step(0, "$0", "imageGen"))
    told = {"context": {"team": "red"}}
    await put(database, replace(delivery(1, saw("processing"), wf="wf-1"), told=told))
    assert await found(database, "imageGen") == ["wf-1"]
    async with database.read() as connection:
        listed = await list_workflows(connection, WorkflowFilter(context={"team": "red"}), NOW)
    assert [one["id"] for one in listed["items"]] == ["wf-1"]


async def test_what_was_there_before_types_were_kept_is_found_after_the_upgrade(empty_database: Database) -> None:
    database = empty_database
    await migrate.upgrade(database, BEFORE)
    at = "2026-03-01T00:00:00.000000+00:00"
    columns = "run, status, status_seen_at, first_seen_at, stamps, facts"
    odd = '{"type": {"not": "a text"}, "note": "\\\\u0000"}'
    async with database.write() as connection:
        for number, facts in ((1, '{"type": "imageGen"}'), (2, odd), (3, '{"type": "lip\\"Sync"}'), (4, "{}")):
            await connection.exec_driver_sql(
                f"INSERT INTO workflows (source, id, first_seen_via, evidence_seq, transition_seq, {columns})"
                f" VALUES ('civ', 'wf-{number}', 'delivery', 0, 0, 1, 'processing', '{at}', '{at}', '{{}}', '{{}}')"
            )
            await connection.exec_driver_sql(
                f"INSERT INTO steps (workflow, key, {columns}) VALUES"
                f" ({number}, '$0', 1, 'processing', '{at}', '{at}', '{{}}', '{facts}')"
            )
    await migrate.upgrade(database)
    assert await found(database, "imageGen") == ["wf-1"]
    assert await found(database, 'lip"Sync') == ["wf-3"]

"""`hookledger prune` and `hookledger forget`."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from receiver.ledger.attention import Concern, acknowledge, raise_concerns
from receiver.ledger.database import Database
from receiver.ledger.operations import passes
from receiver.ledger.tables import attention, checks, delivery_keys, evidence, transitions, workflows
from tests.commands.conftest import Command
from tests.ledger.applying import answer, claim_named, delivery, put, saw
from tests.ledger.histories import START

TABLES = (workflows, evidence, delivery_keys, transitions, attention, checks, passes)


def on(url: str, work: Any) -> Any:
    async def opened() -> Any:
        database = await Database.open(url)
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(opened())


def rows(url: str, table: Any) -> list[Any]:
    async def work(database: Database) -> list[Any]:
        async with database.read() as connection:
            return list(await connection.execute(select(table)))

    return on(url, work)


def ago(**span: int) -> float:
    return (datetime.now(UTC) - timedelta(**span) - START).total_seconds()


async def settled(database: Database, name: str, second: float, *, look: bool = True) -> None:
    """An ended workflow: two deliveries, and two looks of which the second brings the same body again."""
    await put(database, delivery(second, saw("processing"), wf=name, body=f"{name} one".encode()))
    await put(database, delivery(second + 1, saw("succeeded"), wf=name, body=f"{name} two".encode()))
    for n in range(2 if look else 0):
        claim = await claim_named(database, name, second + 40 + n)
        await put(database, answer(second + 40 + n, claim, saw("succeeded"), body=f"{name} look".encode()))


async def filled(database: Database) -> None:
    await settled(database, "old", ago(days=100))
    await settled(database, "unconfirmed", ago(days=100), look=False)
    await put(database, delivery(ago(days=100), saw("processing"), wf="open", body=b"open"))
    await put(database, delivery(ago(days=100), wf=None, body=b"not understood"))
    await settled(database, "young", ago(days=10))


@pytest.fixture
def ledger(database_url: str, hookledger: Command) -> str:
    assert hookledger("list").code == 0
    on(database_url, filled)
    return database_url


def bodies(url: str) -> set[str]:
    return {bytes(row.body).decode() for row in rows(url, evidence) if row.body is not None}


def test_what_ended_long_ago_loses_its_evidence_and_the_rest_keeps_it(hookledger: Command, ledger: str) -> None:
    told = hookledger("prune", "--json").json
    assert (told["outcome"], told["counts"]["workflows"]) == ("done", 1)
    assert bodies(ledger) == {
        "unconfirmed one", "unconfirmed two", "open", "not understood", "young one", "young two", "young look",
    }  # fmt: skip
    assert {row.id for row in rows(ledger, workflows)} == {"old", "unconfirmed", "open", "young"}
    kinds = [(row.kind, row.outcome) for row in rows(ledger, passes)]
    assert kinds == [("prune", "done")]
    assert hookledger("prune", "--json").json["counts"] == {}


def test_nothing_refers_to_what_is_gone(hookledger: Command, ledger: str) -> None:
    hookledger("prune")
    there = {row.id for row in rows(ledger, evidence)}
    assert {row.evidence for row in rows(ledger, transitions)} <= there
    assert {row.evidence for row in rows(ledger, delivery_keys)} <= there
    assert {row.same_as for row in rows(ledger, evidence) if row.same_as} <= there
    assert {row.seen_evidence for row in rows(ledger, checks) if row.seen_evidence} <= there
    deliveries = {row.id for row in rows(ledger, evidence) if row.kind == "delivery" and row.body is not None}
    assert deliveries <= {row.evidence for row in rows(ledger, delivery_keys)}


def test_keys_outlive_evidence_for_as_long_as_upstream_may_deliver_it_again(
    hookledger: Command, ledger: str, configuration: Path
) -> None:
    configuration.write_text(configuration.read_text().replace("[sources.civ]", '[sources.civ]\nretention = "1h"'))
    on(ledger, lambda database: settled(database, "today", ago(hours=3)))
    hookledger("prune")
    kept = [row for row in rows(ledger, evidence) if row.workflow_id == "today" and row.kind == "delivery"]
    assert [row.body for row in kept] == [None, None]
    keys = {row.evidence for row in rows(ledger, delivery_keys)}
    assert {row.id for row in kept} <= keys

    async def again(database: Database) -> str:
        (result,) = await put(database, delivery(ago(hours=1), saw("succeeded"), wf="today", body=b"today two"))
        return str(result.outcome)

    assert on(ledger, again) == "duplicate"


def test_a_workflow_outlives_its_evidence_and_replay_says_so(hookledger: Command, ledger: str) -> None:
    hookledger("prune")
    assert hookledger("show", "civ", "old", "--json").json["status"] == "succeeded"
    told = json.loads(hookledger("replay", "--json", "--workflow", "old").out)
    assert (told["different"], told["not_replayable"]) == (0, 1)


def test_a_quarantined_delivery_waits_until_a_person_has_seen_to_it(hookledger: Command, ledger: str) -> None:
    hookledger("prune")
    assert "not understood" in bodies(ledger)

    async def seen(database: Database) -> None:
        async with database.write() as connection:
            await connection.execute(attention.update().values(acknowledged_at=datetime.now(UTC), acknowledged_by="me"))

    on(ledger, seen)
    hookledger("prune")
    assert "not understood" not in bodies(ledger)
    assert all(row.closed_at is not None for row in rows(ledger, attention) if row.scope == "delivery")


@pytest.mark.parametrize("seen_to", [False, True])
def test_a_workflow_keeps_its_evidence_until_a_person_has_seen_to_it(
    hookledger: Command, ledger: str, seen_to: bool
) -> None:
    async def raised(database: Database) -> None:
        async with database.write() as connection:
            pk = (await connection.execute(select(workflows.c.pk).where(workflows.c.id == "old"))).scalar_one()
            concern = Concern("workflow", "civ", "old", "contradicted", pk)
            await raise_concerns(connection, [concern], START)
            if seen_to:
                await acknowledge(connection, "civ", "old", "contradicted", "me", START)

    on(ledger, raised)
    pruned = hookledger("prune", "--json").json["counts"].get("workflows", 0)
    assert pruned == int(seen_to)
    assert [row.closed_at for row in rows(ledger, attention) if row.scope == "workflow"] == [None]


def test_a_dry_run_counts_and_changes_nothing(hookledger: Command, ledger: str) -> None:
    before = [rows(ledger, table) for table in TABLES]
    assert hookledger("prune", "--dry-run").out == "1 workflow would go; nothing was changed (done)\n"
    assert [rows(ledger, table) for table in TABLES] == before


def test_forget_says_what_it_removed(hookledger: Command, ledger: str) -> None:
    told = hookledger("forget", "civ", "old", "--json").json
    assert (told["removed"]["workflows"], told["removed"]["evidence"], told["removed"]["keys"]) == (1, 4, 2)
    assert hookledger("show", "civ", "old").code == 1
    assert not [row for row in rows(ledger, evidence) if row.workflow_id == "old"]
    assert [row.kind for row in rows(ledger, passes)] == ["forget"]
    again = hookledger("forget", "civ", "old")
    assert (again.code, again.err.count("\n")) == (1, 1)
    assert hookledger("forget", "civ", "a/b").code == 2

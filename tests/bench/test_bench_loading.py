"""A loaded ledger must be one that deliveries can be applied to, and the bench must send them to workflows in it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
from sqlalchemy import func, select

from receiver.ledger import migrate, tallies
from receiver.ledger.database import Database
from receiver.ledger.listing import WorkflowFilter, list_workflows
from receiver.ledger.states import Status
from receiver.ledger.tables import checks, delivery_keys, evidence, jobs, steps, transitions, workflows
from tests.bench.contenders import Kind
from tests.bench.loaded import OPEN_EVERY, old_name
from tests.bench.loading import load
from tests.bench.measure import Traffic
from tests.ledger.applying import delivery, put, saw

COUNT = 40


async def test_a_loaded_workflow_has_everything_and_takes_its_ending(database: Database, database_url: str) -> None:
    await _load(database_url)
    async with database.read() as connection:
        for table in (workflows, steps, jobs, evidence, delivery_keys, transitions, checks):
            assert await connection.scalar(select(func.count()).select_from(table)) == COUNT, table.name
    await put(database, delivery(0, saw("succeeded"), wf=old_name(0), source="civitai"))
    async with database.read() as connection:
        row = (await connection.execute(select(workflows).where(workflows.c.id == old_name(0)))).one()
        assert (row.pk, row.status, row.evidence_seq) == (1, Status.SUCCEEDED, 2)


async def test_a_loaded_ledger_has_every_index_and_key_again(database: Database, database_url: str) -> None:
    await _load(database_url)
    assert await migrate.check(database) == []


async def test_its_figures_are_what_a_count_says_and_its_labels_find_workflows(
    database: Database, database_url: str
) -> None:
    await _load(database_url)
    async with database.read() as connection:
        counted = select(workflows.c.source, workflows.c.status, func.count()).group_by(
            workflows.c.source, workflows.c.status
        )
        exact = {(source, f"status.{status}"): count for source, status, count in await connection.execute(counted)}
        totals = await tallies.totals(connection)
        assert {
            (source, name): count
            for source, counts in totals.items()
            for name, count in counts.items()
            if name.startswith("status.")
        } == exact
        since, until = datetime.now(UTC) - timedelta(days=40), datetime.now(UTC) + timedelta(days=1)
        hours = await tallies.series(connection, since, until, "hour")
        assert sum(one["created"] for points in hours.values() for one in points.values()) == COUNT
        red = await list_workflows(connection, WorkflowFilter(context={"team": "red"}), until)
        everything = await list_workflows(connection, WorkflowFilter(), until)
    assert [one["id"] for one in red["items"]] == [
        one["id"] for one in everything["items"] if (one["context"] or {}).get("team") == "red"
    ]
    assert {"finished_at", "blobs"} <= everything["items"][0].keys()


async def test_a_new_workflow_gets_a_number_of_its_own(database: Database, database_url: str) -> None:
    await _load(database_url)
    await put(database, delivery(0, saw("processing"), wf="new", source="civitai"))
    async with database.read() as connection:
        assert await connection.scalar(select(workflows.c.pk).where(workflows.c.id == "new")) == COUNT + 1


def test_traffic_about_old_workflows_names_loaded_ones_that_are_open(tmp_path: Path) -> None:
    kind = Kind("old", "", "sqlite", None, old=COUNT)
    names = {orjson.loads(body)["workflowId"] for body in Traffic(tmp_path).file(kind).read_bytes().split(b"\n")}
    assert names == {old_name(number) for number in range(0, COUNT, OPEN_EVERY)}


async def _load(url: str) -> None:
    await asyncio.to_thread(load, url, COUNT)  # it has an event loop of its own

"""A loaded ledger must be one that deliveries can be applied to, and the bench must send them to workflows in it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
from sqlalchemy import func, select

from receiver.ledger.database import Database
from receiver.ledger.states import Status
from receiver.ledger.tables import checks, delivery_keys, evidence, jobs, steps, transitions, workflows
from tests.bench.contenders import Kind
from tests.bench.loading import OPEN_EVERY, load, old_name
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

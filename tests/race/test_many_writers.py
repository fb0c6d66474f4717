"""Many writers on one workflow in PostgreSQL: exactly one ending each, no deadlock, no lost delivery."""

from __future__ import annotations

import asyncio
import random

import pytest
from sqlalchemy import func, select

from receiver.ledger.apply import apply
from receiver.ledger.database import Database
from receiver.ledger.records import Level, TransitionKind, Trust
from receiver.ledger.tables import delivery_keys, evidence, transitions, workflows
from tests.ledger.applying import delivery, loaded, saw

pytestmark = [pytest.mark.race, pytest.mark.timeout(600)]

WRITERS, ROUNDS = 8, 200
ENDINGS = ["succeeded", "failed", "expired", "canceled"]


def batch_of(rng: random.Random, writer: int, turn: int) -> list:
    """What one writer has in one round: its own word on the shared workflow, and on two neighbours, in any order."""
    shared = f"shared-{turn}"
    entries = [
        delivery(
            turn, saw(ENDINGS[writer % 4]), saw("processing", Level.STEP, "$0"),
            saw("failed", Level.JOB, f"j{writer}", "$0"),
            wf=shared, body=f"ending {writer} {turn}".encode(), trust=Trust.SIGNED,
        ),
        delivery(turn, saw("processing"), wf=shared, body=f"same {turn}".encode()),
        delivery(turn, saw("processing"), wf=f"left-{turn}", body=f"left {writer} {turn}".encode()),
        delivery(turn, saw("scheduled"), wf=f"right-{turn}", body=f"right {writer} {turn}".encode()),
    ]  # fmt: skip
    rng.shuffle(entries)
    return entries


async def test_eight_writers_on_one_workflow_two_hundred_rounds(postgres_url):
    databases = [await Database.open(postgres_url, pool_size=1) for _ in range(WRITERS)]
    rng = random.Random(7)
    try:
        for turn in range(ROUNDS):

            async def write(database: Database, entries: list, turn: int = turn) -> None:
                async with database.write() as connection:
                    await apply(connection, entries, max(entry.at for entry in entries))

            work = [write(db, batch_of(rng, n, turn)) for n, db in enumerate(databases)]
            await asyncio.wait_for(asyncio.gather(*work), 20)
        await assert_nothing_lost(databases[0])
    finally:
        await asyncio.gather(*(database.close() for database in databases))


async def assert_nothing_lost(database: Database) -> None:
    async with database.read() as connection:
        stored = (await connection.execute(select(func.count()).select_from(evidence))).scalar_one()
        keys = (await connection.execute(select(func.count(), func.sum(delivery_keys.c.count)))).one()
        endings = select(transitions.c.workflow, func.count()).where(
            transitions.c.level == "workflow",
            transitions.c.kind == TransitionKind.APPLIED,
            transitions.c.to_status.in_(ENDINGS),
        )
        per_workflow = dict(map(tuple, await connection.execute(endings.group_by(transitions.c.workflow))))
        shared = select(func.count()).select_from(workflows).where(workflows.c.id.like("shared-%"))
        count = (await connection.execute(shared)).scalar_one()
    assert count == ROUNDS
    assert sorted(per_workflow.values()) == [1] * ROUNDS, "exactly one ending each"
    assert stored == ROUNDS * (WRITERS * 3 + 1)
    assert tuple(keys) == (stored, ROUNDS * WRITERS * 4), "every delivery is there, the repeated one counted"
    for turn in range(0, ROUNDS, 20):
        state = await loaded(database, f"shared-{turn}")
        assert state.node.confirmed_at is not None
        assert len(state.jobs) == WRITERS
        assert state.evidence_seq == WRITERS + 1

"""What the database itself refuses, tried with UPDATEs as a person would type them, after every migration step."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import migrate
from receiver.ledger.database import Database
from receiver.ledger.guards import replay_permit
from receiver.ledger.schema import metadata

AT = "2026-03-01T00:00:00.000000+00:00"
LATER = "2026-03-02T00:00:00.000000+00:00"
STEPS = migrate.revisions()
# The revision that makes each table: its guards must hold from then on.
SINCE = {"workflows": STEPS[0], "steps": STEPS[0], "jobs": STEPS[0], "evidence": STEPS[1]}
ENDINGS = ("succeeded", "failed", "expired", "canceled")
NODE = "status, confirmed_at, run, status_seen_at, first_seen_at, facts, stamps"
TABLES = ("workflows", "steps", "jobs")


async def plant(conn: AsyncConnection, status: str, confirmed: bool) -> None:
    """Make one workflow with one step and one job, all of them in this status."""
    node = f"'{status}', {repr(AT) if confirmed else 'NULL'}, 1, '{AT}', '{AT}', '{{}}', '{{}}'"
    await conn.exec_driver_sql(
        f"INSERT INTO workflows (pk, source, id, first_seen_via, evidence_seq, transition_seq, {NODE})"
        f" VALUES (1, 's', 'w', 'delivery', 0, 0, {node})"
    )
    for table in ("steps", "jobs"):
        await conn.exec_driver_sql(f"INSERT INTO {table} (workflow, key, {NODE}) VALUES (1, 'k', {node})")


async def plant_evidence(conn: AsyncConnection) -> None:
    await conn.exec_driver_sql(
        "INSERT INTO evidence (id, source, kind, outcome, recorded_at, code_version, body) VALUES"
        f" ('e', 's', 'delivery', 'hint', '{AT}', '1', '\\x01')"
    )


async def type_in(database: Database, statement: str) -> int:
    async with database.write() as conn:
        return (await conn.exec_driver_sql(statement)).rowcount


async def refused(database: Database, statement: str, because: str) -> None:
    with pytest.raises(IntegrityError, match=because):
        await type_in(database, statement)


async def reached(database: Database, table: str) -> bool:
    return STEPS.index(str(await migrate.current(database))) >= STEPS.index(SINCE[table])


@pytest.mark.parametrize("ending", ENDINGS)
async def test_nothing_typed_by_hand_moves_a_confirmed_ending_after_any_migration_step(
    stepped: Database, ending: str
) -> None:
    async with stepped.write() as conn:
        await plant(conn, ending, confirmed=True)
    other = next(status for status in ENDINGS if status != ending)
    for table in TABLES:
        for change in (
            f"status = '{other}'",
            "status = 'processing', confirmed_at = NULL",
            "confirmed_at = NULL",
            f"confirmed_at = '{LATER}'",
            "run = 2",
            "run = run + 1, reason = 'x'",
        ):
            await refused(stepped, f"UPDATE {table} SET {change}", "R2: a confirmed ending is final")


async def test_the_guard_covers_status_only_so_fields_still_fill(stepped: Database) -> None:
    async with stepped.write() as conn:
        await plant(conn, "succeeded", confirmed=True)
    for table in TABLES:
        change = f"reason = 'x', progress = 1, completed_at = '{LATER}', status = status, confirmed_at = '{AT}'"
        assert await type_in(stepped, f"UPDATE {table} SET {change}") == 1


async def test_a_provisional_ending_and_an_open_status_can_be_moved(stepped: Database) -> None:
    async with stepped.write() as conn:
        await plant(conn, "failed", confirmed=False)
    for table in TABLES:
        assert await type_in(stepped, f"UPDATE {table} SET status = 'processing', run = 2") == 1
        assert await type_in(stepped, f"UPDATE {table} SET status = 'succeeded', confirmed_at = '{AT}'") == 1
        await refused(stepped, f"UPDATE {table} SET status = 'failed'", "R2")


async def test_a_confirmed_ending_can_be_forgotten_with_all_that_hangs_on_it(stepped: Database) -> None:
    async with stepped.write() as conn:
        await plant(conn, "failed", confirmed=True)
    assert await type_in(stepped, "DELETE FROM workflows") == 1
    async with stepped.read() as conn:
        assert (await conn.exec_driver_sql("SELECT count(*) FROM jobs")).scalar_one() == 0


async def test_first_seen_at_of_a_workflow_never_changes(stepped: Database) -> None:
    async with stepped.write() as conn:
        await plant(conn, "processing", confirmed=False)
    await refused(stepped, f"UPDATE workflows SET first_seen_at = '{LATER}'", "R14: first_seen_at")
    assert await type_in(stepped, f"UPDATE workflows SET first_seen_at = '{AT}', model = 'm'") == 1


async def test_evidence_is_never_edited_whichever_column(stepped: Database) -> None:
    if not await reached(stepped, "evidence"):
        return
    async with stepped.write() as conn:
        await plant_evidence(conn)
    values: dict[str, Any] = {"seq": 1, "workflow": 1, "http_status": 200, "kind": "'fetch'", "trust": "'token'"}
    for column in metadata.tables["evidence"].columns:
        value = values.get(column.name, f"'{LATER}'" if column.name.endswith(("_at", "_date")) else "'x'")
        if column.name not in ("workflow", "seq"):
            await refused(stepped, f"UPDATE evidence SET {column.name} = {value}", "evidence is never edited")


async def test_a_hint_that_a_look_confirmed_gets_its_workflow_once_and_a_body_may_be_pruned(stepped: Database) -> None:
    if not await reached(stepped, "evidence"):
        return
    async with stepped.write() as conn:
        await plant_evidence(conn)
    assert await type_in(stepped, "UPDATE evidence SET workflow = 7, seq = 1") == 1
    for change in ("workflow = 8", "seq = 2", "workflow = NULL", "seq = NULL", "outcome = 'applied', body = NULL"):
        await refused(stepped, f"UPDATE evidence SET {change}", "evidence is never edited")
    assert await type_in(stepped, "UPDATE evidence SET body = NULL") == 1
    await refused(stepped, "UPDATE evidence SET body = 'x'", "evidence is never edited")


async def test_a_replay_with_a_permit_corrects_an_ending_and_the_permit_ends_with_its_block(stepped: Database) -> None:
    async with stepped.write() as conn:
        await plant(conn, "failed", confirmed=True)
    async with stepped.write() as conn:
        async with replay_permit(conn):
            for table in TABLES:
                await conn.exec_driver_sql(f"UPDATE {table} SET status = 'succeeded'")
        with pytest.raises(IntegrityError, match="R2"):
            async with conn.begin_nested():
                await conn.exec_driver_sql("UPDATE workflows SET status = 'failed'")
    await refused(stepped, "UPDATE workflows SET status = 'failed'", "R2")
    async with stepped.read() as conn:
        assert (await conn.exec_driver_sql("SELECT status FROM workflows")).scalar_one() == "succeeded"


async def test_a_permit_lets_nobody_else_through_and_edits_no_evidence(database: Database) -> None:
    async with database.write() as conn:
        await plant(conn, "failed", confirmed=True)
        await plant_evidence(conn)

    async def leave_early() -> None:
        async with database.write() as conn, replay_permit(conn):
            if database.dialect == "postgresql":
                await refused(database, "UPDATE workflows SET status = 'succeeded'", "R2")
            await conn.exec_driver_sql("UPDATE evidence SET outcome = 'applied'")

    with pytest.raises(IntegrityError, match="evidence is never edited"):
        await leave_early()
    await refused(database, "UPDATE workflows SET status = 'succeeded'", "R2")


async def test_a_permit_typed_by_hand_cannot_outlive_its_transaction(database: Database) -> None:
    with pytest.raises(IntegrityError):
        await type_in(database, "INSERT INTO permits (name, until) VALUES ('replay', 'for ever')")
    with pytest.raises(IntegrityError):
        await type_in(database, "INSERT INTO permits (name, until) VALUES ('replay', 'replay')")


async def test_an_upsert_is_no_way_around_the_guard(database: Database) -> None:
    async with database.write() as conn:
        await plant(conn, "failed", confirmed=True)
    columns = (
        f"INSERT INTO steps (workflow, key, {NODE}) VALUES (1, 'k', 'succeeded', '{AT}', 1, '{AT}', '{AT}', '', '')"
    )
    upsert = f"{columns} ON CONFLICT (workflow, run, key) DO UPDATE SET status = excluded.status"
    await refused(database, upsert, "R2")


async def test_create_all_installs_the_same_guards(empty_database: Database) -> None:
    async with empty_database.maintenance() as conn:
        await conn.run_sync(metadata.create_all)
    async with empty_database.write() as conn:
        await plant(conn, "expired", confirmed=True)
    await refused(empty_database, "UPDATE jobs SET status = 'failed'", "R2")

"""The migrations make what the code wants, whatever else happens meanwhile; and a difference does not go unseen."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from receiver.ledger import dump, migrate
from receiver.ledger.database import Database
from receiver.ledger.schema import metadata
from tests.conftest import PostgresServer

ROOT = Path(__file__).parents[2]


def create_all(conn: Connection) -> None:
    metadata.create_all(conn)


def pg_dump(postgres: PostgresServer, url: str) -> list[str]:
    """Return PostgreSQL's own full dump of a schema, without what alembic keeps for itself and what differs per run."""
    told = subprocess.run(
        [postgres.programs / "pg_dump", "--schema-only", "--exclude-table=alembic_version", url],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [line for line in told.splitlines() if not re.match(r"\\(un)?restrict ", line)]


async def test_postgresql_dumps_the_same_after_the_migrations_as_after_create_all(
    migrated_postgres: PostgresServer,
) -> None:
    with migrated_postgres.database("hookledger_template") as migrated, migrated_postgres.database() as made:
        database = await Database.open(made)
        async with database.maintenance() as conn:
            await conn.run_sync(create_all)
        await database.close()
        left, right = pg_dump(migrated_postgres, migrated), pg_dump(migrated_postgres, made)
    assert any(line.startswith("CREATE TRIGGER") for line in left)
    assert any(line.startswith("CREATE FUNCTION") for line in left)
    assert left == right


async def test_both_databases_are_described_the_same_after_the_migrations_as_after_create_all(
    empty_database: Database, database: Database
) -> None:
    if empty_database.dialect != database.dialect:
        return
    async with empty_database.maintenance() as conn:
        await conn.run_sync(create_all)
        made = await dump.schema(conn)
    async with database.read() as conn:
        migrated = await dump.schema(conn)
    kept = {what: said for what, said in migrated.items() if "alembic_version" not in what}
    assert kept == made
    kinds = {what.split()[0] for what in made}
    assert kinds >= {"table", "column", "constraint", "index", "trigger"}


async def test_every_table_and_column_of_the_code_is_in_a_migrated_database(database: Database) -> None:
    async with database.read() as conn:
        found = await dump.schema(conn)
    for table in metadata.tables.values():
        assert {f"column {table.name}.{column.name}" for column in table.columns} <= found.keys()


async def test_a_migrated_database_passes_the_check_and_the_check_changes_nothing(database: Database) -> None:
    async with database.read() as conn:
        before = await dump.schema(conn)
    assert await migrate.check(database) == []
    await migrate.ensure_current(database)
    async with database.read() as conn:
        assert await dump.schema(conn) == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("ALTER TABLE jobs ADD COLUMN extra TEXT", "column jobs.extra is not part of the schema"),
        ("ALTER TABLE jobs DROP COLUMN reason", "column jobs.reason is missing"),
        ("DROP INDEX ix_jobs_key", "index ix_jobs_key is missing"),
        ("CREATE INDEX mine ON jobs (step)", "index mine is not part of the schema"),
        ("DROP TRIGGER guard_jobs_ending ON jobs", "trigger jobs.guard_jobs_ending is missing"),
        ("CREATE TABLE mine (id TEXT)", "table mine is not part of the schema"),
        ("DROP TABLE passes", "table passes is missing"),
    ],
)
async def test_the_check_names_what_a_hand_has_changed(database: Database, change: str, says: str) -> None:
    if database.dialect == "sqlite":
        change = change.replace(" ON jobs", "") if "TRIGGER" in change else change
    async with database.write() as conn:
        await conn.exec_driver_sql(change)
    assert says in await migrate.check(database)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("ALTER TABLE jobs ALTER COLUMN facts DROP NOT NULL", "column jobs.facts is 'text', not 'text not null'"),
        ("ALTER TABLE jobs ALTER COLUMN progress TYPE real", "column jobs.progress is 'real', not"),
        ("ALTER TABLE jobs ALTER COLUMN step SET DEFAULT 'x'", "column jobs.step is"),
        ("ALTER TABLE jobs DROP CONSTRAINT ck_jobs_status", "constraint jobs.ck_jobs_status is missing"),
        ("ALTER TABLE jobs DISABLE TRIGGER guard_jobs_ending", "trigger jobs.guard_jobs_ending is"),
        (
            "CREATE OR REPLACE FUNCTION hookledger_refuse() RETURNS trigger LANGUAGE plpgsql"
            " AS 'BEGIN RETURN NEW; END'",
            "function hookledger_refuse is",
        ),
    ],
)
async def test_the_check_sees_what_only_postgresql_can_change_in_place(
    postgres_database: Database, change: str, says: str
) -> None:
    database = postgres_database
    async with database.write() as conn:
        await conn.exec_driver_sql(change)
    assert any(says in difference for difference in await migrate.check(database))


async def test_an_empty_database_is_told_what_to_run_and_an_upgraded_one_is_not(empty_database: Database) -> None:
    assert await migrate.current(empty_database) is None
    with pytest.raises(migrate.SchemaOutdated, match=r"has no tables yet.*`hookledger db upgrade`"):
        await migrate.ensure_current(empty_database)
    await migrate.upgrade(empty_database, migrate.revisions()[0])
    with pytest.raises(migrate.SchemaOutdated, match=r"is at schema revision 0001.*`hookledger db upgrade`"):
        await migrate.ensure_current(empty_database)
    assert any("`hookledger db upgrade`" in said for said in await migrate.check(empty_database))
    await migrate.upgrade(empty_database)
    await migrate.ensure_current(empty_database)
    assert await migrate.current(empty_database) == migrate.head()


async def test_a_database_from_a_later_version_is_left_alone(database: Database) -> None:
    async with database.write() as conn:
        await conn.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    for act in (migrate.ensure_current, migrate.upgrade):
        with pytest.raises(migrate.SchemaTooNew, match="9999"):
            await act(database)
    assert any("9999" in said for said in await migrate.check(database))


@pytest.mark.parametrize("there", migrate.revisions())
async def test_guards_that_were_lost_come_back_with_the_next_upgrade(empty_database: Database, there: str) -> None:
    await migrate.upgrade(empty_database, there)
    async with empty_database.write() as conn:
        on = "" if empty_database.dialect == "sqlite" else " ON jobs"
        await conn.exec_driver_sql(f"DROP TRIGGER guard_jobs_ending{on}")
    await migrate.upgrade(empty_database)
    assert await migrate.check(empty_database) == []


async def test_a_migration_that_fails_leaves_the_database_as_it_was(empty_database: Database) -> None:
    async with empty_database.write() as conn:
        await conn.exec_driver_sql("CREATE TABLE tokens (mine TEXT)")  # in the way of the last step
    with pytest.raises(Exception, match="tokens"):
        await migrate.upgrade(empty_database)
    assert await migrate.current(empty_database) is None
    async with empty_database.read() as conn:
        tables = {what for what in await dump.schema(conn) if what.startswith("table ")}
    assert tables == {"table tokens"}


async def test_an_upgrade_does_not_queue_for_tables_that_a_backup_holds(postgres_database: Database) -> None:
    async with postgres_database.read() as reader:
        await reader.exec_driver_sql("SELECT count(*) FROM evidence")
        with pytest.raises(migrate.TablesInUse, match="nothing was changed"):
            await migrate.upgrade(postgres_database, wait=0.2)
    assert await migrate.check(postgres_database) == []
    await migrate.upgrade(postgres_database, wait=0.2)


UPGRADE = """
import asyncio, sys
from receiver.ledger import migrate
from receiver.ledger.database import Database

async def main(url):
    database = await Database.open(url)
    print("ready", flush=True)
    sys.stdin.readline()
    await migrate.upgrade(database)
    await database.close()

asyncio.run(main(sys.argv[1]))
"""


async def test_processes_that_upgrade_at_once_do_not_break_it(empty_database_url: str) -> None:
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", UPGRADE, empty_database_url),
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
    await asyncio.gather(*(process.communicate() for process in processes))
    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    database = await Database.open(empty_database_url)
    assert await migrate.check(database) == []
    await database.close()


def test_the_steps_are_known_by_their_files_as_alembic_knows_them_by_their_contents() -> None:
    walked = ScriptDirectory.from_config(migrate._config()).walk_revisions()
    assert migrate.revisions() == [step.revision for step in walked][::-1]


async def test_a_command_that_migrates_nothing_does_not_import_alembic(database_url: str, tmp_path: Path) -> None:
    config = tmp_path / "hookledger.toml"
    config.write_text(f'[database]\nurl = "{database_url}"\n')
    words = ["-X", "importtime", "-m", "receiver", "--config", str(config), "list"]
    done = await asyncio.to_thread(subprocess.run, [sys.executable, *words], capture_output=True, text=True)
    imported = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines()]
    assert done.returncode == 0
    assert "receiver.ledger.migrate" in imported
    assert [name for name in imported if name.startswith("alembic")] == []

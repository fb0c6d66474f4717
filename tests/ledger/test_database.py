"""Transactions: what they keep, what they leave behind, and how their failures are named."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError

from receiver.ledger.database import (
    CommitInDoubt,
    Database,
    DatabaseUnavailable,
    InvalidDatabaseUrl,
    TransactionLost,
    now,
)
from receiver.ledger.engines import SQLITE_AT_LEAST, sqlite_version
from receiver.ledger.operations import tokens

AT = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
# Statements that keep the database busy for longer than any test waits.
LONG = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000) SELECT max(i) FROM n",
    "postgresql": "SELECT pg_sleep(20)",
}


def token(name: str) -> dict[str, Any]:
    return {"name": name, "scope": "read", "hash": name.encode(), "created_at": AT}


async def add(database: Database, name: str) -> None:
    async with database.write() as conn:
        await conn.execute(insert(tokens), [token(name)])


async def names(database: Database) -> list[str]:
    async with database.read() as conn:
        return list((await conn.execute(select(tokens.c.name).order_by(tokens.c.name))).scalars())


async def test_what_a_transaction_wrote_is_there_after_its_block(database: Database) -> None:
    async with database.write() as conn:
        await conn.execute(insert(tokens), [token("a"), token("b")])
    assert await names(database) == ["a", "b"]
    async with database.read() as conn:
        assert (await conn.execute(select(tokens.c.created_at))).scalars().all() == [AT, AT]


async def test_an_error_inside_the_block_undoes_all_of_it(database: Database) -> None:
    async def fail() -> None:
        async with database.write() as conn:
            await conn.execute(insert(tokens), [token("a")])
            raise LookupError("of the caller")

    with pytest.raises(LookupError, match="of the caller"):
        await fail()
    assert await names(database) == []
    await add(database, "b")
    assert await names(database) == ["b"]


async def test_statements_sent_straight_to_the_driver_are_in_the_transaction_too(database: Database) -> None:
    async def fail() -> None:
        async with database.write() as conn:
            driver: Any = (await conn.get_raw_connection()).driver_connection
            await driver.execute("INSERT INTO rejections VALUES ('s', 'r', 1, '2026-03-01 00:00:00+00:00', '[]')")
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    async with database.read() as conn:
        assert (await conn.exec_driver_sql("SELECT count(*) FROM rejections")).scalar_one() == 0


async def test_an_error_that_was_swallowed_inside_is_not_taken_for_a_commit(database: Database) -> None:
    async def swallow() -> None:
        async with database.write() as conn:
            await conn.execute(insert(tokens), [token("a")])
            if database.dialect == "sqlite":
                await conn.exec_driver_sql("ROLLBACK")
                return
            with pytest.raises(ProgrammingError):
                await conn.exec_driver_sql("SELECT * FROM nowhere")

    with pytest.raises(TransactionLost, match="nothing was kept"):
        await swallow()
    assert await names(database) == []


async def test_a_broken_constraint_is_an_integrity_error_of_sqlalchemy(database: Database) -> None:
    await add(database, "a")
    with pytest.raises(IntegrityError):
        await add(database, "a")
    with pytest.raises(DBAPIError):
        async with database.write() as conn:
            await conn.exec_driver_sql("NOT SQL")
    assert await names(database) == ["a"]


async def test_a_foreign_key_to_nothing_is_refused(database: Database) -> None:
    with pytest.raises(IntegrityError):
        async with database.write() as conn:
            await conn.exec_driver_sql(
                "INSERT INTO transitions (workflow, seq, run, level, key, to_status, kind, evidence, recorded_at)"
                " VALUES (1, 1, 1, 'workflow', '', 'failed', 'applied', 'e', '2026-03-01T00:00:00.000000+00:00')"
            )


async def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(DBAPIError, match=r"read-?only"):
        async with database.read() as conn:
            await conn.execute(insert(tokens), [token("a")])
    await add(database, "b")
    assert await names(database) == ["b"]


async def test_one_reading_sees_one_instant_whatever_is_committed_meanwhile(database: Database) -> None:
    count = "SELECT count(*) FROM tokens"
    async with database.read() as conn:
        assert (await conn.exec_driver_sql(count)).scalar_one() == 0
        await add(database, "a")
        assert (await conn.exec_driver_sql(count)).scalar_one() == 0
    assert await names(database) == ["a"]


@pytest.mark.parametrize("busy", [True, False], ids=["in_a_statement", "between_statements"])
async def test_a_cancelled_transaction_leaves_nothing_and_the_writers_usable(database: Database, busy: bool) -> None:
    inside = asyncio.Event()

    async def work() -> None:
        async with database.write() as conn:
            await conn.execute(insert(tokens), [token("lost")])
            inside.set()
            if busy:
                await conn.exec_driver_sql(LONG[database.dialect])
            else:
                await asyncio.sleep(60)

    for _ in range(2 if database.dialect == "sqlite" else 7):  # more often than there are connections to write
        inside.clear()
        task = asyncio.create_task(work())
        await inside.wait()
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await add(database, "kept")
    assert await names(database) == ["kept"]


async def test_cancelling_whoever_waits_for_a_turn_leaves_the_next_in_line_theirs(sqlite_url: str) -> None:
    database = await Database.open(sqlite_url)
    async with database.write():
        waiting = [asyncio.create_task(add(database, name)) for name in "abc"]
        await asyncio.sleep(0.05)
        waiting[0].cancel()
    await asyncio.gather(*waiting[1:])
    assert await names(database) == ["b", "c"]
    await database.close()


async def test_cancelling_whoever_waits_for_another_process_leaves_no_transaction_open(sqlite_url: str) -> None:
    ours, theirs = await Database.open(sqlite_url), await Database.open(sqlite_url)
    async with theirs.write():
        waiting = asyncio.create_task(add(ours, "a"))
        await asyncio.sleep(0.1)
        waiting.cancel()
        began = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert time.monotonic() - began < 2
    await add(theirs, "b")
    await add(ours, "c")
    assert await names(ours) == ["b", "c"]
    await ours.close()
    await theirs.close()


async def test_a_commit_that_has_begun_is_finished_although_its_caller_is_cancelled(database: Database) -> None:
    reached = asyncio.Event()

    async def work() -> None:
        async with database.write() as conn:
            await conn.execute(insert(tokens), [token("a")])
            reached.set()

    task = asyncio.create_task(work())
    await reached.wait()  # the task has gone on to its commit before this line runs again
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await names(database) == ["a"]


WRITER = """
import asyncio, sys
from receiver.ledger.database import Database

async def main(url, name):
    database = await Database.open(url)
    for number in range(100):
        async with database.write() as conn:
            seen = (await conn.exec_driver_sql("SELECT count FROM rejections WHERE source = 's'")).scalar_one()
            await conn.exec_driver_sql(f"UPDATE rejections SET count = {seen + 1} WHERE source = 's'")
    await database.close()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_two_processes_write_one_sqlite_file_and_lose_nothing(sqlite_url: str) -> None:
    database = await Database.open(sqlite_url)
    async with database.write() as conn:
        await conn.exec_driver_sql("INSERT INTO rejections VALUES ('s', 'r', 0, '2026-03-01', '[]')")
    root = Path(__file__).parents[2]
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", "-c", WRITER, sqlite_url, name, env={**os.environ, "PYTHONPATH": str(root)}
        )
        for name in "ab"
    ]
    assert [await process.wait() for process in processes] == [0, 0]
    async with database.read() as conn:
        assert (await conn.exec_driver_sql("SELECT count FROM rejections")).scalar_one() == 200
        assert (await conn.exec_driver_sql("PRAGMA integrity_check")).scalar_one() == "ok"
    await database.close()


async def test_sqlite_is_durable_and_checks_its_references(sqlite_url: str) -> None:
    database = await Database.open(sqlite_url)
    async with database.write() as conn:
        found = [
            (await conn.exec_driver_sql(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
        version = (await conn.exec_driver_sql("SELECT sqlite_version()")).scalar_one()
    assert found == ["wal", 2, 1]  # 2 is FULL
    assert tuple(map(int, version.split("."))) == sqlite_version() >= SQLITE_AT_LEAST
    await database.close()


async def test_the_clock_is_the_databases_aware_and_moves_within_a_transaction(database: Database) -> None:
    async with database.write() as conn:
        first = await now(conn)
        await asyncio.sleep(0.01)
        second = await now(conn)
    assert first.tzinfo is UTC
    assert timedelta(milliseconds=5) < second - first < timedelta(seconds=5)
    assert abs(datetime.now(UTC) - first) < timedelta(seconds=30)


async def test_connections_that_died_in_the_pool_are_replaced_without_an_error(postgres_url: str) -> None:
    database = await Database.open(postgres_url)
    await asyncio.gather(*(names(database) for _ in range(3)))
    await add(database, "a")
    await _kill_all_others(postgres_url)
    await add(database, "b")
    assert await names(database) == ["a", "b"]
    await database.close()


async def test_a_connection_lost_before_the_commit_leaves_it_in_doubt_and_says_so(postgres_url: str) -> None:
    database = await Database.open(postgres_url)

    async def lose() -> None:
        async with database.write() as conn:
            await conn.execute(insert(tokens), [token("a")])
            await _kill_all_others(postgres_url)

    with pytest.raises(CommitInDoubt, match="while committing"):
        await lose()
    assert await names(database) == []
    await database.close()


async def _kill_all_others(url: str) -> None:
    admin = await asyncpg.connect(url)
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND datname = current_database()"
    )
    await admin.close()
    await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("url", "error", "says"),
    [
        ("hookledger.db", InvalidDatabaseUrl, "cannot be read"),
        ("mysql://u:sesame@h/d", InvalidDatabaseUrl, "begins with 'mysql'"),
        ("sqlite://", InvalidDatabaseUrl, "names a file"),
        ("sqlite:///:memory:", InvalidDatabaseUrl, "names a file"),
        ("sqlite:////nowhere/at/all.db", DatabaseUnavailable, "/nowhere/at does not exist"),
        ("sqlite:////", DatabaseUnavailable, "unable to open"),
        ("postgresql://u:sesame@127.0.0.1:1/d", DatabaseUnavailable, "the PostgreSQL database d at 127.0.0.1:1: "),
        ("postgresql://u:sesame@h/d?sslmode=sesame", DatabaseUnavailable, "sslmode"),
    ],
)
async def test_a_database_that_cannot_be_opened_is_named_without_its_password(
    url: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error) as caught:
        await Database.open(url)
    assert says in str(caught.value)
    assert "sesame" not in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_new_sqlite_file_is_for_its_owner_alone_and_so_is_what_lies_beside_it(tmp_path: Path) -> None:
    database = await Database.open(f"sqlite:///{tmp_path}/x.db")
    try:
        async with database.write() as connection:
            await connection.exec_driver_sql("CREATE TABLE t (x)")
        modes = {one.name: one.stat(follow_symlinks=False).st_mode & 0o777 for one in os.scandir(tmp_path)}
    finally:
        await database.close()
    assert modes == dict.fromkeys(("x.db", "x.db-wal", "x.db-shm"), 0o600)


async def test_a_file_that_is_no_database_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"not a database, but long enough to be taken for one" * 50)
    with pytest.raises(DatabaseUnavailable, match="file is not a database"):
        await Database.open(f"sqlite:///{path}")


async def test_waiting_for_a_lock_or_a_connection_that_never_comes_free_ends_with_a_sentence(database_url: str) -> None:
    theirs = await Database.open(database_url, pool_size=1, patience=0.3)
    ours = theirs if theirs.dialect == "postgresql" else await Database.open(database_url, patience=0.3)
    async with theirs.write():
        with pytest.raises(DatabaseUnavailable, match="cannot use the"):
            await add(ours, "a")
    await add(ours, "b")
    assert await names(ours) == ["b"]
    await ours.close()
    await theirs.close()

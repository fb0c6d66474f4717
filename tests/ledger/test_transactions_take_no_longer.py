"""A transaction with a limit ends by it, whatever the database is at, and leaves a connection that works."""

from __future__ import annotations

import pytest

from receiver.ledger.database import CommitInDoubt, Database


async def dawdle(database: Database) -> None:
    async with database.write(within=0.3) as connection:
        await connection.exec_driver_sql("CREATE TABLE half_done (id int)")
        await connection.exec_driver_sql("SELECT pg_sleep(30)")


async def test_one_that_takes_too_long_is_given_up_and_the_next_one_works(postgres_database: Database) -> None:
    with pytest.raises(CommitInDoubt, match=r"took longer than 0\.3 s"):
        await dawdle(postgres_database)
    async with postgres_database.write(within=10) as connection:
        found = await connection.exec_driver_sql("SELECT to_regclass('half_done')")
        assert found.scalar_one() is None


async def test_a_time_that_is_over_elsewhere_is_not_taken_for_the_limit(postgres_database: Database) -> None:
    with pytest.raises(TimeoutError, match="of the caller's own"):
        async with postgres_database.write(within=30):
            raise TimeoutError("of the caller's own")


async def test_after_distrust_everybody_gets_a_new_connection(postgres_database: Database) -> None:
    async with postgres_database.read() as connection:
        before = (await connection.exec_driver_sql("SELECT pg_backend_pid()")).scalar_one()
    postgres_database.distrust()
    async with postgres_database.read() as connection:
        assert (await connection.exec_driver_sql("SELECT pg_backend_pid()")).scalar_one() != before

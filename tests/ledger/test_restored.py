"""Whoever follows what happens, when the database is not the one it was: restored from a dump, or failed over."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
import pytest

from receiver.ledger import migrate
from receiver.ledger.cursors import BadCursor
from receiver.ledger.database import Database
from tests.conftest import PostgresServer
from tests.ledger.applying import delivery, put, saw
from tests.ledger.test_happenings import follow, here
from tests.staging.mortal_postgres import MortalPostgres

DAYS = 3 * 86_400.0


@contextmanager
def another_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hookledger-pg-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = await Database.open(url)
    try:
        yield database
    finally:
        await database.close()


async def use_up(url: str, transactions: int) -> int:
    """Begin and end so many transactions; returns the number of one after them."""
    connection = await asyncpg.connect(url)
    try:
        # By the server itself: how many it takes depends on how much this server was used before.
        await connection.execute(
            f"DO $$ BEGIN FOR n IN 1..{transactions} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
        )
        return int(await connection.fetchval("SELECT pg_current_xact_id()::text::bigint"))
    finally:
        await connection.close()


@asynccontextmanager
async def running(server: MortalPostgres) -> AsyncIterator[Database]:
    await server.start()
    try:
        async with opened(server.url) as database:
            yield database
    finally:
        await server.stop()


async def test_a_dump_restored_elsewhere_is_followed_from_there_and_its_past_is_never_news(
    postgres: PostgresServer, postgres_database: Database, postgres_url: str
) -> None:
    await use_up(postgres_url, 2000)  # a new cluster is that far behind
    old = await here(postgres_database)
    await put(postgres_database, delivery(0, saw("processing"), wf="old"))
    newest = await use_up(postgres_url, 1)
    run = asyncio.to_thread
    dump = await run(subprocess.run, [postgres.programs / "pg_dump", postgres_url], check=True, capture_output=True)
    with another_folder() as folder:
        server = MortalPostgres(postgres.programs, folder)
        server.make()
        async with running(server) as database:
            restore = [postgres.programs / "psql", "--quiet", server.url]
            await run(subprocess.run, restore, input=dump.stdout, check=True, capture_output=True)
            assert await migrate.check(database) == []
            with pytest.raises(BadCursor, match="restored from a dump"):
                await follow(database, old, DAYS)
            place = await here(database, DAYS)
            await put(database, delivery(DAYS + 1, saw("processing"), wf="new"))
            found, place = await follow(database, place, DAYS + 1)
            assert found == [("civ", "new", 1)]
            assert await use_up(server.url, newest) > newest  # the numbers of the past come round again
            await put(database, delivery(DAYS + 2, saw("succeeded"), wf="new"))
            assert (await follow(database, place, DAYS + 2))[0] == [("civ", "new", 2)]


async def test_after_a_failover_that_lost_transactions_what_takes_their_numbers_is_told(
    postgres: PostgresServer,
) -> None:
    """The replica has not heard of the newest; it goes on with the same numbers for others."""
    with another_folder() as first, another_folder() as second:
        primary, replica = MortalPostgres(postgres.programs, first), MortalPostgres(postgres.programs, second)
        primary.make()
        async with running(primary) as database:
            await migrate.upgrade(database)
            await put(database, delivery(0, saw("processing"), wf="before"))
            replica.copy_of(primary)
            for second_ in range(1, 20):
                await put(database, delivery(second_, saw("processing"), wf=f"lost-{second_}"))
            place = await here(database, 20)
        async with running(replica) as database:
            assert (await here(database)).home != place.home
            for second_ in range(21, 60):  # more than were lost, so that the place looks as if it could be
                await put(database, delivery(second_, saw("processing"), wf=f"new-{second_}"))
            found, behind = await follow(database, place, 60)
            assert {name for _, name, _ in found} >= {f"new-{second_}" for second_ in range(21, 60)}
            assert (await follow(database, behind, 61))[0] == []

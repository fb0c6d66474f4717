"""What the ledger holds after a test has spoken to it over HTTP, and ways to make its database slow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Table, select

from receiver.ledger import tallies
from receiver.ledger.database import Database
from receiver.ledger.tables import metadata


async def rows(database: Database, table: Table, **where: Any) -> list[Any]:
    """The rows of a table whose columns have these values."""
    query = select(table).where(*(table.c[name] == value for name, value in where.items()))
    async with database.read() as conn:
        return list(await conn.execute(query))


async def everything(database: Database) -> dict[str, list[str]]:
    """All that the ledger says, by table; who is logged in, and when a token was last used, is left out.

    What was counted is folded first, for the janitor may do so at any time.
    """
    async with database.write() as conn:
        while await tallies.unfolded(conn):
            await tallies.fold(conn)
    tables = [one for one in metadata.sorted_tables if one.name not in ("tokens", "sessions", "rejections")]
    async with database.read() as conn:
        return {one.name: sorted(map(repr, await conn.execute(select(one)))) for one in tables}


@asynccontextmanager
async def blocked(database_url: str) -> AsyncIterator[None]:
    """Let no transaction of anybody else write deliveries while inside."""
    other = await Database.open(database_url)
    try:
        async with other.write() as conn:
            if other.dialect == "postgresql":
                await conn.exec_driver_sql("LOCK TABLE workflows, evidence, delivery_keys IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await other.close()

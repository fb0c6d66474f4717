"""A database that refuses certain rows by itself, and counts the transactions that tried to write deliveries."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from receiver.ledger.database import Database

COUNT = """
CREATE SEQUENCE tries;
CREATE FUNCTION count_tries() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN PERFORM nextval('tries'); RETURN NULL; END $$;
CREATE TRIGGER count_tries BEFORE INSERT ON delivery_keys FOR EACH STATEMENT EXECUTE FUNCTION count_tries();
"""


async def refuse(database: Database, table: str, condition: str, *, state: str = "23514") -> None:
    """Let the database refuse to insert or update rows of a table for which `condition` (on NEW) holds.

    `state` is the SQLSTATE it names on PostgreSQL; SQLite calls it a constraint.
    """
    name = f"refuse_{table}"
    if database.dialect == "sqlite":
        statements = [
            f"CREATE TRIGGER {name}_{kind} BEFORE {kind} ON {table} WHEN {condition}"
            f" BEGIN SELECT RAISE(ABORT, 'refused by the test'); END"
            for kind in ("INSERT", "UPDATE")
        ]
    else:
        statements = [
            f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN RAISE EXCEPTION 'refused by the test' USING ERRCODE = '{state}'; END $$",
            f"CREATE TRIGGER {name} BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW WHEN ({condition})"
            f" EXECUTE FUNCTION {name}()",
        ]
    async with database.write() as connection:
        for statement in statements:
            await connection.exec_driver_sql(statement)


@dataclass
class Tries:
    """How many transactions have tried to write deliveries."""

    database: Database
    seen: int = 0

    async def count(self) -> int:
        """Return how many there were since the last time this was asked."""
        total = await _total(self.database) if self.database.dialect == "postgresql" else self.total
        new, self.seen = total - self.seen, total
        return new

    total: int = 0

    def note(self, statement: str) -> None:
        """Count a statement that SQLite runs."""
        self.total += statement.startswith("BEGIN IMMEDIATE")


async def _total(database: Database) -> int:
    async with database.read() as connection:
        query = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM tries"
        return int((await connection.exec_driver_sql(query)).scalar_one())


@asynccontextmanager
async def counted(database: Database) -> AsyncIterator[Tries]:
    """Count them while inside: on PostgreSQL in a sequence, which does not roll back; on SQLite from its own trace."""
    tries = Tries(database)
    async with database.write() as connection:
        if database.dialect == "postgresql":
            for statement in COUNT.strip().split(";\n"):
                await connection.exec_driver_sql(statement)
        else:
            # There is one writer, and it is kept.
            raw: Any = (await connection.get_raw_connection()).driver_connection
            raw._conn.set_trace_callback(tries.note)
    yield tries

"""Several statements over many rows that go to the database as one: a round trip and its overhead for all of a batch.

PostgreSQL runs them as one statement of data-modifying parts, each of which sees the tables as they were before; so no
two may touch the same row. SQLite, which has no round trips, runs one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import bulk, driver
from receiver.ledger.bulk import Row
from receiver.ledger.statements import Told, as_one, insert_sql, quoted, update_sql


class Together:
    """Gathers statements; `run` sends them. What has no rows is left out."""

    def __init__(self, dialect: str, condition: str = "") -> None:
        """Begin. On PostgreSQL nothing is written unless `condition` holds: an expression over `front` of `whole`."""
        self._dialect = dialect
        self._condition = condition
        self._parts: list[tuple[str, list[Any], Told]] = []

    def insert(
        self,
        table: Table,
        columns: tuple[str, ...],
        rows: Sequence[Row],
        *,
        keys: tuple[str, ...] = (),
        update: tuple[str, ...] = (),
        telling: Told = (),
    ) -> None:
        """Add what `bulk.insert` does; PostgreSQL tells the columns of `telling` of each row written."""
        if rows:
            told = telling if self._dialect == "postgresql" else ()
            returning = quoted(told)
            sql = insert_sql(table, columns, self._dialect, keys, update, returning, self._condition)
            self._parts.append((sql, bulk.encode(table, columns, self._dialect, rows), told))

    def update(
        self,
        table: Table,
        key: tuple[str, ...],
        columns: tuple[str, ...],
        rows: Sequence[Row],
        *,
        special: tuple[tuple[str, str], ...] = (),
        telling: Told = (),
    ) -> None:
        """Add what `bulk.update` does; `telling` as in `insert`."""
        if rows:
            told = telling if self._dialect == "postgresql" else ()
            sql = update_sql(table, key, columns, self._dialect, special, self._condition)
            if told:
                sql += f" RETURNING {', '.join(f't.{name}' for name in told)}"
            self._parts.append((sql, bulk.encode(table, (*columns, *key), self._dialect, rows), told))

    async def run(self, connection: AsyncConnection) -> list[Row]:
        """Send what was gathered. Raises sqlalchemy.exc.DBAPIError.

        Returns what parts tell, each row with the number of this transaction in front.
        """
        if self._dialect == "sqlite":
            parts, self._parts = self._parts, []
            for sql, given, _ in parts:
                await driver.run_many(connection, sql, given)
        elif self._parts:
            return [row for row in await driver.fetch(connection, *self.whole()) if row]  # with nothing to tell, one ()
        return []

    def whole(self, front: str = "", given: Sequence[Any] = (), first: str = "") -> tuple[str, list[Any]]:
        """Return everything gathered as one statement of PostgreSQL and its parameters; nothing is left here.

        `front` are named queries that go before all others, with parameters `given`; the last one is called `guard` and
        has one row, of which the columns `first` come in front of what the parts tell. Then there is one row at least.
        """
        parts, self._parts = self._parts, []
        sql = as_one(tuple((sql, len(values), told) for sql, values, told in parts), front, len(given), first)
        return sql, [*given, *(value for _, values, _ in parts for value in values)]

"""Several statements over many rows that go to the database as one: a round trip and its overhead for all of a batch.

PostgreSQL runs them as one statement of data-modifying parts, each of which sees the tables as they were before; so no
two may touch the same row. SQLite, which has no round trips, runs one after the other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import bulk, driver
from receiver.ledger.bulk import Row

_PLACE = re.compile(r"\$(\d+)")


class Together:
    """Gathers statements; `run` sends them. What has no rows is left out."""

    def __init__(self, dialect: str) -> None:
        self._dialect = dialect
        self._parts: list[tuple[str, list[Any]]] = []

    def insert(
        self,
        table: Table,
        columns: tuple[str, ...],
        rows: Sequence[Row],
        *,
        keys: tuple[str, ...] = (),
        update: tuple[str, ...] = (),
    ) -> None:
        """Add what `bulk.insert` does."""
        if rows:
            sql = bulk.insert_sql(table, columns, self._dialect, keys, update, "")
            self._parts.append((sql, bulk.encode(table, columns, self._dialect, rows)))

    def update(
        self,
        table: Table,
        key: tuple[str, ...],
        columns: tuple[str, ...],
        rows: Sequence[Row],
        *,
        special: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Add what `bulk.update` does."""
        if rows:
            sql = bulk.update_sql(table, key, columns, self._dialect, special)
            self._parts.append((sql, bulk.encode(table, (*columns, *key), self._dialect, rows)))

    async def run(self, connection: AsyncConnection) -> None:
        """Send what was gathered. Raises sqlalchemy.exc.DBAPIError."""
        parts, self._parts = self._parts, []
        if self._dialect == "sqlite":
            for sql, given in parts:
                await driver.run_many(connection, sql, given)
        elif parts:
            sql = _as_one(tuple((sql, len(given)) for sql, given in parts))
            await driver.fetch(connection, sql, [value for _, given in parts for value in given])


@cache
def _as_one(parts: tuple[tuple[str, int], ...]) -> str:
    """Return one statement for several, their parameters numbered through."""
    if len(parts) == 1:
        return parts[0][0]
    texts, first = [], 0
    for number, (sql, count) in enumerate(parts):
        moved = _PLACE.sub(lambda place, by=first: f"${int(place[1]) + by}", sql)  # type: ignore[misc]
        texts.append(f"part{number} AS ({moved})")
        first += count
    return f"WITH {', '.join(texts)} SELECT"

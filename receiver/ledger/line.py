"""A connection on which every statement is a transaction of its own: one round trip from beginning to commit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import asyncpg

from receiver.ledger import driver
from receiver.ledger.database import CommitInDoubt, Database, DatabaseUnavailable, refused
from receiver.ledger.engines import DRIVER_ERRORS
from receiver.ledger.parting import COMMIT_WITHIN

# Of its sessions. What waits for a row is better tried step by step; and who holds one and waits for another, as a
# statement that does all at once may have to, does not do so for long enough to be in a deadlock.
SETTINGS = {
    "lock_timeout": "50ms",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
}
RENEWED_AFTER = 1800.0  # seconds; PostgreSQL's side of a connection grows with time


class Line:
    """One connection to PostgreSQL, opened when it is first needed, and anew after it was lost.

    For one user at a time.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: Any = None
        self._opened_at = 0.0

    async def fetch(self, sql: str, values: Sequence[Any]) -> list[driver.Row]:
        """Run one statement, which is committed when this returns its rows.

        Raises DatabaseUnavailable when there is no connection and sqlalchemy.exc.DBAPIError when the database refused:
        nothing was changed. Raises CommitInDoubt when the connection was lost meanwhile. Cancelled, it is in doubt too.
        """
        connection = await self._open()
        try:
            return list(await connection.fetch(sql, *values, timeout=COMMIT_WITHIN))
        except BaseException as error:
            if isinstance(error, asyncpg.PostgresError) and refused(error):
                driver.translate(sql, error)
            self._drop()
            if isinstance(error, TimeoutError):
                self._database.distrust()
            if isinstance(error, DRIVER_ERRORS):
                raise CommitInDoubt(f"lost {self._database.name} while committing: {type(error).__name__}") from None
            raise

    async def close(self) -> None:
        """Close the connection. It opens again when it is needed."""
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            try:
                await connection.close(timeout=1.0)
            except DRIVER_ERRORS:
                connection.terminate()
            except asyncio.CancelledError:
                connection.terminate()
                raise

    async def _open(self) -> Any:
        old = self._connection is not None and time.monotonic() - self._opened_at > RENEWED_AFTER
        if old or (self._connection is not None and self._connection.is_closed()):
            self._drop()
        if self._connection is None:
            try:
                self._connection = await self._database.connect(**SETTINGS)
            except DRIVER_ERRORS as error:
                raise DatabaseUnavailable(f"cannot connect: {type(error).__name__}") from None
            self._opened_at = time.monotonic()
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

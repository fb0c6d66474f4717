"""SQLite behind SQLAlchemy's asyncio: pysqlite3 on a thread of each connection, which a statement visits once.

A visit costs more than most statements: the thread must be woken, and then it and the event loop want the interpreter
at the same time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import aiosqlite
from pysqlite3 import dbapi2 as sqlite
from sqlalchemy.dialects.sqlite.aiosqlite import AsyncAdapt_aiosqlite_dbapi

# What SQLAlchemy's adapter takes from aiosqlite, which has the standard library's: an error of pysqlite3 would be none
# of them and would reach the caller without SQLAlchemy's wrapping.
_OURS = (
    "DatabaseError", "DataError", "Error", "IntegrityError", "InterfaceError", "InternalError", "NotSupportedError",
    "OperationalError", "ProgrammingError", "sqlite_version", "sqlite_version_info",
)  # fmt: skip


class Pysqlite3(AsyncAdapt_aiosqlite_dbapi):
    """SQLAlchemy's adapter for aiosqlite, over pysqlite3 in place of the standard library's sqlite3."""

    def __init__(self) -> None:
        """Adapt."""
        super().__init__(aiosqlite, sqlite)

    def _init_dbapi_attributes(self) -> None:
        super()._init_dbapi_attributes()
        for name in _OURS:
            setattr(self, name, getattr(sqlite, name))


class Connection(aiosqlite.Connection):
    """A connection whose cursors visit its thread once per statement, and which may be told to stop more than once.

    Its thread ends at the first telling and never answers a second, for which SQLAlchemy would wait for ever after a
    task was cancelled twice.
    """

    _stopped: asyncio.Future[Any] | None = None

    def stop(self) -> asyncio.Future[Any] | None:
        """Close, and end the thread. Returns what to wait for; waiting may be cancelled without harm."""
        if self._stopped is None:
            self._stopped = super().stop()
        return None if self._stopped is None else asyncio.shield(self._stopped)

    async def visit(self, work: Callable[..., None], *given: Any) -> None:
        """Do some work in the thread. Raises what it raises."""
        await self._execute(work, *given)  # type: ignore[no-untyped-call]

    def cursor(self) -> Cursor:  # type: ignore[override]
        """Return a cursor of SQLAlchemy's, with no visit to the thread."""
        return Cursor(self)


class Cursor:
    """What SQLAlchemy asks of aiosqlite's cursor: that one visits the thread four times, to be made, to execute, to
    fetch and to close, this one to do it all."""

    def __init__(self, connection: Connection) -> None:
        """Nothing is opened."""
        self._connection = connection
        self._rows: list[Any] = []
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self.arraysize = 1

    async def __aenter__(self) -> Self:
        """There is nothing to wait for."""
        return self

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Self:
        """Run a statement and fetch all its rows. Raises the driver's errors."""
        await self._connection.visit(self._run, False, sql, parameters)
        return self

    async def executemany(self, sql: str, parameters: Iterable[Sequence[Any]]) -> Self:
        """Run a statement for each of many rows. Raises the driver's errors."""
        await self._connection.visit(self._run, True, sql, parameters)
        return self

    def _run(self, many: bool, sql: str, parameters: Any) -> None:
        """Do it, in the thread."""
        cursor = self._connection._conn.cursor()
        try:
            (cursor.executemany if many else cursor.execute)(sql, parameters)
            self.description = cursor.description
            self._rows = cursor.fetchall() if cursor.description else []
            self.rowcount, self.lastrowid = cursor.rowcount, cursor.lastrowid
        finally:
            cursor.close()

    async def fetchall(self) -> list[Any]:
        """Return the rows of the last statement."""
        return self._rows

    async def close(self) -> None:
        """Nothing is open."""

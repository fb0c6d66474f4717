"""How to connect: one SQLAlchemy engine per database, pool and purpose. What runs over it is `database`'s business.

Both engines leave transactions to `database`, which begins and ends each of them in words: SQLite must say BEGIN
IMMEDIATE, PostgreSQL must be asked whether a COMMIT really was one, and statements sent straight to the driver have to
be inside the transaction as well. For the same reason no pool resets what is returned to it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiosqlite
import asyncpg
from pysqlite3 import dbapi2 as sqlite
from sqlalchemy import AsyncAdaptedQueuePool
from sqlalchemy.dialects.sqlite.aiosqlite import AsyncAdapt_aiosqlite_dbapi
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

# Before 3.51.3 two processes that write one WAL database can corrupt it.
SQLITE_AT_LEAST = (3, 51, 3)

CONNECT_TIMEOUT = 10.0  # seconds for a new connection, a free place in the pool, or another process' SQLite lock
STATEMENT_TIMEOUT = 30.0  # seconds for one statement on PostgreSQL

# What a driver raises by itself, outside SQLAlchemy's wrapping.
DRIVER_ERRORS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, sqlite.Error)
# What may come out of connecting and of beginning a transaction.
CONNECT_ERRORS = (*DRIVER_ERRORS, DBAPIError, PoolTimeout)


class _Pysqlite3(AsyncAdapt_aiosqlite_dbapi):
    """SQLAlchemy's adapter for aiosqlite, over pysqlite3 in place of the standard library's sqlite3."""

    def __init__(self) -> None:
        super().__init__(aiosqlite, sqlite)

    def _init_dbapi_attributes(self) -> None:
        super()._init_dbapi_attributes()
        # The adapter takes these from aiosqlite, which has the standard library's: an error of pysqlite3 would be
        # none of them and would reach the caller without SQLAlchemy's wrapping.
        for name in (
            "DatabaseError",
            "Error",
            "IntegrityError",
            "InterfaceError",
            "InternalError",
            "DataError",
            "NotSupportedError",
            "OperationalError",
            "ProgrammingError",
            "sqlite_version",
            "sqlite_version_info",
        ):
            setattr(self, name, getattr(sqlite, name))


def sqlite_version() -> tuple[int, int, int]:
    """Return the version of the SQLite library we use, which is not the one inside Python."""
    major, minor, patch = sqlite.sqlite_version_info
    return major, minor, patch


def _use_wal(connection: Any) -> None:
    # Turning a fresh file to WAL needs it alone, and SQLite does not always wait for that as busy_timeout says.
    give_up_at = time.monotonic() + CONNECT_TIMEOUT
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        except sqlite.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up_at:
                raise
            time.sleep(0.02)
        else:
            if mode != "wal":
                raise sqlite.OperationalError(f"this file system allows no write-ahead log (journal mode is {mode})")
            return


def _connect_sqlite(path: str, *, read_only: bool, foreign_keys: bool) -> Any:
    connection = sqlite.connect(path, isolation_level=None, check_same_thread=False, timeout=CONNECT_TIMEOUT)
    try:
        connection.execute(f"PRAGMA busy_timeout={int(CONNECT_TIMEOUT * 1000)}")
        _use_wal(connection)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA foreign_keys={'ON' if foreign_keys else 'OFF'}")
        connection.execute("PRAGMA cache_size=-16000")  # 16 MB
        connection.execute("PRAGMA temp_store=MEMORY")
        if read_only:
            connection.execute("PRAGMA query_only=ON")
    except BaseException:
        connection.close()
        raise
    return connection


async def _close_when_open(opening: asyncio.Task[Any]) -> None:
    try:
        connection = await opening
    except DRIVER_ERRORS:
        return
    await connection.close()


def _unless_cancelled(connect: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
    """Return a creator whose connection is closed, not lost, when whoever waited for it has gone away."""
    leftovers: set[asyncio.Task[None]] = set()

    async def create() -> Any:
        opening = asyncio.ensure_future(connect())
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            closing = asyncio.ensure_future(_close_when_open(opening))
            leftovers.add(closing)
            closing.add_done_callback(leftovers.discard)
            raise

    return create


def sqlite_engine(path: str, *, pool_size: int, read_only: bool = False, foreign_keys: bool = True) -> AsyncEngine:
    """Return an engine on an SQLite file that is made if it does not exist. Nothing is opened yet."""

    async def connect() -> aiosqlite.Connection:
        connection = aiosqlite.Connection(
            lambda: _connect_sqlite(path, read_only=read_only, foreign_keys=foreign_keys), 64
        )
        # A program that dies without closing must not hang on this thread.
        connection._thread.daemon = True
        return await connection

    return create_async_engine(
        URL.create("sqlite+aiosqlite", database=path),
        module=_Pysqlite3(),
        async_creator=_unless_cancelled(connect),
        poolclass=AsyncAdaptedQueuePool,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=CONNECT_TIMEOUT,
        pool_reset_on_return=None,
    )


def postgresql_engine(dsn: str, *, pool_size: int, read_only: bool = False, patient: bool = False) -> AsyncEngine:
    """Return an engine on a PostgreSQL database. `patient` statements may take as long as they need. Nothing is opened
    yet; the DSN is read by asyncpg, so that libpq's parameters (`host`, `sslmode`, …) and environment count.
    """
    settings = {"application_name": "hookledger", "timezone": "UTC"}
    if read_only:
        settings["default_transaction_read_only"] = "on"
    if not patient:
        # A process that freezes inside a transaction must not hold its row locks for ever.
        settings["idle_in_transaction_session_timeout"] = "60s"

    async def connect() -> Any:
        return await asyncpg.connect(
            dsn,
            timeout=CONNECT_TIMEOUT,
            command_timeout=None if patient else STATEMENT_TIMEOUT,
            server_settings=settings,
        )

    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=_unless_cancelled(connect),
        isolation_level="AUTOCOMMIT",  # SQLAlchemy would begin lazily, and not for statements sent to the driver
        poolclass=AsyncAdaptedQueuePool,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=CONNECT_TIMEOUT,
        pool_recycle=1800,
        pool_reset_on_return=None,
    )

"""How to connect: one SQLAlchemy engine per database, pool and purpose. What runs over it is `database`'s business.

Both engines leave transactions to `database`, which begins and ends each of them in words: SQLite must say BEGIN
IMMEDIATE, PostgreSQL must be asked whether a COMMIT really was one, and statements sent straight to the driver have to
be inside the transaction as well. For the same reason no pool resets what is returned to it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import WeakSet

import asyncpg
from pysqlite3 import dbapi2 as sqlite
from sqlalchemy import AsyncAdaptedQueuePool
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from receiver.ledger.sqlite_thread import Connection, Pysqlite3

# Before 3.51.3 two processes that write one WAL database can corrupt it.
SQLITE_AT_LEAST = (3, 51, 3)

# Seconds that a writer waits inside SQLite for another process' lock before it looks up: that wait cannot be cancelled.
LOCK_SLICE = 0.2
# SQLite moves its log into the file once it has so many pages (of 4 KiB). A full batch writes two hundred, mostly the
# same ones as the batch before: the rarer that is, the less there is to write, and the fewer waits for the disk.
LOG_PAGES = 4_000
STATEMENT_TIMEOUT = 30.0  # seconds for one statement on PostgreSQL
# A network that loses every packet says nothing, and neither does TCP for a quarter of an hour: after so many seconds
# without a sign of the other end's kernel the connection is lost. A server that is merely slow keeps giving signs.
NO_SIGN = 5
# A process that froze inside a transaction holds its rows for no longer than this.
IDLE_IN_TRANSACTION = "15s"

# Whoever writes finds all rows by key, a few dozen at a time. Before a table has grown, and its statistics say
# so, PostgreSQL would rather read all of it each time; and to plan each statement anew costs more than to run it.
BY_KEY = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}

# The drivers' own errors. asyncpg's InternalClientError, which is none of its others, comes of a connection that dies
# at the wrong moment: "another operation is in progress".
DRIVERS_OWN = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, sqlite.Error)
# What a driver raises by itself, outside SQLAlchemy's wrapping.
DRIVER_ERRORS = (OSError, TimeoutError, *DRIVERS_OWN)
# What a database says that fails in the middle of its work: a full disk, a broken file, an end of the connection.
DATABASE_ERRORS = (DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, sqlite.Error)
# What may come out of connecting and of beginning a transaction.
CONNECT_ERRORS = (*DRIVER_ERRORS, DBAPIError, PoolTimeout)


def sqlite_version() -> tuple[int, int, int]:
    """Return the version of the SQLite library we use, which is not the one inside Python."""
    major, minor, patch = sqlite.sqlite_version_info
    return major, minor, patch


def reason(error: BaseException, password: str | None = None) -> str:
    """Return why a driver failed, in one line and without the password."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig.__cause__ or error.orig
    said = str(error).strip().splitlines()
    why = said[0] if said else "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
    return why.replace(password, "***") if password else why


def make_private(file: Path) -> None:
    """Make an SQLite file that nobody else may read, because prompts are personal data; one that is there stays.

    Never opened when it is there: closing it again would take away the locks that SQLite holds in this process.
    """
    with suppress(FileExistsError):
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def trouble_with_file(file: Path) -> str | None:
    """Return why an SQLite file, which is made if it is not there, cannot be used; None when it can."""
    if sqlite_version() < SQLITE_AT_LEAST:
        found, wanted = (".".join(map(str, version)) for version in (sqlite_version(), SQLITE_AT_LEAST))
        return (
            f"SQLite {found} can corrupt a database that two processes write; pysqlite3 with SQLite {wanted} or newer"
            " is needed"
        )
    if not file.parent.is_dir():
        return f"the folder {file.parent} does not exist"
    try:
        make_private(file)
    except OSError as error:
        return f"it cannot be made in {file.parent}: {error.strerror}"
    if not os.access(file, os.R_OK | os.W_OK) or not os.access(file.parent, os.W_OK):
        # Whoever only reads writes too: SQLite lays its log and its shared memory beside the file.
        return f"this user may not write it, or into {file.parent}"
    return None


def _use_wal(connection: Any, patience: float) -> None:
    # Turning a fresh file to WAL needs it alone, and SQLite does not always wait for that as busy_timeout says.
    give_up_at = time.monotonic() + patience
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


def _connect_sqlite(path: str, *, read_only: bool, foreign_keys: bool, patience: float) -> Any:
    timeout = patience if read_only else min(LOCK_SLICE, patience)
    connection = sqlite.connect(path, isolation_level=None, check_same_thread=False, timeout=timeout)
    try:
        _use_wal(connection, patience)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA foreign_keys={'ON' if foreign_keys else 'OFF'}")
        connection.execute("PRAGMA cache_size=-16000")  # 16 MB
        connection.execute("PRAGMA temp_store=MEMORY")
        connection.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}")
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


def sqlite_engine(
    path: str, *, pool_size: int, patience: float, read_only: bool = False, foreign_keys: bool = True
) -> AsyncEngine:
    """Return an engine on an SQLite file that is made if it does not exist. Nothing is opened yet.

    `patience` is how many seconds to wait for a free place in the pool, or for the file to be free.
    """

    def open_file() -> Any:
        return _connect_sqlite(path, read_only=read_only, foreign_keys=foreign_keys, patience=patience)

    async def connect() -> Connection:
        connection = Connection(open_file, 64)
        # A program that dies without closing must not hang on this thread.
        connection._thread.daemon = True
        try:
            await connection
        except BaseException:
            # Its thread is about to end; a loop that closes before that would be told of it nevertheless.
            if (stopped := connection.stop()) is not None:
                await stopped
            raise
        return connection

    return create_async_engine(
        URL.create("sqlite+aiosqlite", database=path),
        hide_parameters=True,  # prompts and whole bodies would stand in the log beside an error
        module=Pysqlite3(),
        async_creator=_unless_cancelled(connect),
        poolclass=AsyncAdaptedQueuePool,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=patience,
        pool_reset_on_return=None,
    )


def writing() -> dict[str, str]:
    """Return the settings of a connection that writes."""
    # A process that freezes inside a transaction must not hold its row locks for ever.
    return BY_KEY | {"idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION}


async def connect(dsn: str, patience: float, settings: Mapping[str, str], *, unhurried: bool = False) -> Any:
    """Return a connection to PostgreSQL. asyncpg reads the DSN, so that libpq's parameters (`host`, …) count."""
    connection = await asyncpg.connect(
        dsn,
        timeout=patience,
        command_timeout=None if unhurried else STATEMENT_TIMEOUT,
        server_settings={"application_name": "hookledger", "timezone": "UTC", **settings},
        # Statements are few and their texts long: to parse one anew costs more than to run it.
        max_cached_statement_lifetime=0,
        max_cacheable_statement_size=0,
    )
    _watch_for_silence(connection)
    return connection


def _watch_for_silence(connection: Any) -> None:
    """Have the kernel find out that nothing comes through any more, as libpq's `tcp_user_timeout` and keepalives do."""
    sock = connection._transport.get_extra_info("socket")  # asyncpg has no other way to it
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # Not every system has all of them.
    for name, value in (
        ("TCP_KEEPIDLE", 2),
        ("TCP_KEEPINTVL", 1),
        ("TCP_KEEPCNT", NO_SIGN - 2),
        ("TCP_USER_TIMEOUT", NO_SIGN * 1000),
    ):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def postgresql_engine(
    dsn: str,
    *,
    pool_size: int,
    patience: float,
    made: WeakSet[Any],
    read_only: bool = False,
    unhurried: bool = False,
) -> AsyncEngine:
    """Return an engine on a PostgreSQL database. Nothing is opened yet.

    `patience` is how many seconds to wait for a new connection or a free place in the pool; `unhurried` statements may
    take as long as they need. The driver's connections are added to `made`.
    """
    settings = {} if unhurried else writing()
    if read_only:
        settings = {name: value for name, value in settings.items() if name not in BY_KEY}
        settings["default_transaction_read_only"] = "on"

    async def connected() -> Any:
        connection = await connect(dsn, patience, settings, unhurried=unhurried)
        made.add(connection)
        return connection

    return create_async_engine(
        "postgresql+asyncpg://",
        hide_parameters=True,
        async_creator=_unless_cancelled(connected),
        isolation_level="AUTOCOMMIT",  # SQLAlchemy would begin lazily, and not for statements sent to the driver
        poolclass=AsyncAdaptedQueuePool,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=patience,
        pool_recycle=1800,
        pool_reset_on_return=None,
    )

"""The database: where it is, and how to be inside a transaction of it.

`write()` and `read()` are the only ways in. Whatever happens inside, an error or a cancellation included, no
transaction stays open behind them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self
from weakref import WeakSet

import asyncpg
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from receiver.ledger import driver
from receiver.ledger.engines import (
    CONNECT_ERRORS,
    DRIVER_ERRORS,
    connect,
    postgresql_engine,
    reason,
    sqlite_engine,
    trouble_with_file,
    writing,
)
from receiver.ledger.parting import (
    BEGIN_WITHIN,
    COMMIT_WITHIN,
    Unanswered,
    abandon,
    farewell,
    roll_back,
    say,
    to_the_end,
)

Dialect = Literal["sqlite", "postgresql"]

_BEGIN_WRITE = {
    "sqlite": "BEGIN IMMEDIATE",
    "postgresql": "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
}
# Several statements of one reading see the ledger as of one instant; SQLite's WAL gives that by itself.
_BEGIN_READ = {
    "sqlite": "BEGIN",
    "postgresql": "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
}


class LedgerError(Exception):
    """The ledger cannot do what was asked; the message is a sentence without secrets."""


class InvalidDatabaseUrl(LedgerError):
    """The database URL in the configuration is not one we understand."""


class DatabaseUnavailable(LedgerError):
    """The database cannot be reached, or has no room for us now. Nothing was changed; trying again later may help."""

    whole_message = True  # to the log


class CommitInDoubt(LedgerError):
    """The connection was lost while committing, or the time was over: the transaction may be kept or not."""


class TransactionLost(LedgerError):
    """The transaction had failed before its end, so nothing of it was kept although its block ended without error."""


def _parse(url: str) -> tuple[Dialect, URL]:
    expected = "expected sqlite:///relative.db, sqlite:////absolute.db or postgresql://user@host/database"
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise InvalidDatabaseUrl(f"the database URL cannot be read: {expected}") from None
    if parsed.drivername in ("postgresql", "postgres"):
        return "postgresql", parsed
    if parsed.drivername != "sqlite":
        raise InvalidDatabaseUrl(f"the database URL begins with {parsed.drivername!r}: {expected}")
    if parsed.host or parsed.query or not parsed.database or parsed.database == ":memory:":
        raise InvalidDatabaseUrl(f"an SQLite URL names a file and nothing else: {expected}")
    return "sqlite", parsed


def _name(dialect: Dialect, url: URL) -> str:
    """Return what to call this database in messages: no user, no password, no parameters."""
    if dialect == "sqlite":
        return f"the SQLite file {url.database}"
    host = url.host or url.query.get("host") or "the default host"
    port = f":{url.port}" if url.port else ""
    return f"the PostgreSQL database {url.database or 'of the default name'} at {host}{port}"


def refused(error: BaseException) -> bool:
    """Whether PostgreSQL says that a transaction is not kept: it lives, and answered with an error."""
    return isinstance(error, asyncpg.PostgresError) and getattr(error, "severity_en", None) == "ERROR"


async def now(conn: AsyncConnection) -> datetime:
    """Return the database's clock, aware and UTC (R14). It moves within a transaction. SQLite knows milliseconds."""
    if conn.dialect.name == "postgresql":
        instant: datetime = (await driver.fetch(conn, "SELECT clock_timestamp()", ()))[0][0]
        return instant.astimezone(UTC)
    said: str = (await driver.fetch(conn, "SELECT strftime('%Y-%m-%dT%H:%M:%f', 'now')", ()))[0][0]
    return datetime.fromisoformat(said).replace(tzinfo=UTC)


class Database:
    """One SQLite file or one PostgreSQL database, with connections for writing and others for reading.

    Belongs to the event loop it is first used in. SQLite has one writer, whose turn is taken in order; PostgreSQL has
    `pool_size` of them. Both have `pool_size` readers, so that a slow query never keeps a delivery waiting.
    """

    def __init__(self, url: str, *, pool_size: int = 5, patience: float = 10.0) -> None:
        """Prepare; nothing is opened. Raises InvalidDatabaseUrl.

        `patience` is how many seconds to wait for a connection, a free one of the pool, or another process' lock.
        """
        self._patience = patience
        self._dialect, self._url = _parse(url)
        self._dsn = self._url.set(drivername="postgresql").render_as_string(hide_password=False)
        self.name = _name(self._dialect, self._url)
        self._made: WeakSet[Any] = WeakSet()  # connections to PostgreSQL, of both pools
        self._turn: AbstractAsyncContextManager[Any] = asyncio.Lock() if self._dialect == "sqlite" else nullcontext()
        self._writers = self._engine(pool_size=1 if self._dialect == "sqlite" else pool_size)
        self._readers = self._engine(pool_size=pool_size, read_only=True)

    def _engine(self, *, pool_size: int, read_only: bool = False, maintenance: bool = False) -> AsyncEngine:
        if self._dialect == "sqlite":
            # Rebuilding a table drops it, which with foreign keys on would delete what refers to it.
            return sqlite_engine(
                str(self._url.database),
                pool_size=pool_size,
                patience=self._patience,
                read_only=read_only,
                foreign_keys=not maintenance,
            )
        return postgresql_engine(
            self._dsn, pool_size=pool_size, patience=self._patience, read_only=read_only, unhurried=maintenance,
            made=WeakSet() if maintenance else self._made,
        )  # fmt: skip

    @classmethod
    async def open(cls, url: str, *, pool_size: int = 5, patience: float = 10.0) -> Self:
        """Return a database that has answered. Its schema may be missing or old: see `migrate`.

        Raises InvalidDatabaseUrl, and DatabaseUnavailable when it does not answer or SQLite is too old to be trusted.
        """
        database = cls(url, pool_size=pool_size, patience=patience)
        try:
            database._look_at_sqlite()
            async with database.write() as conn:
                await conn.exec_driver_sql("SELECT 1")
        except BaseException:
            await to_the_end(database.close())
            raise
        return database

    def _look_at_sqlite(self) -> None:
        problem = trouble_with_file(Path(str(self._url.database)).absolute()) if self._dialect == "sqlite" else None
        if problem is not None:
            raise DatabaseUnavailable(f"cannot open {self.name}: {problem}")

    @property
    def dialect(self) -> Dialect:
        """Return which of the two this is."""
        return self._dialect

    def write(
        self, *, wait: float | None = None, within: float | None = None
    ) -> AbstractAsyncContextManager[AsyncConnection]:
        """Return a transaction that commits when its block ends, and rolls back on any exception.

        `wait` is for how many seconds a statement may wait for a row that another transaction holds, on PostgreSQL, and
        `within` how many the whole may take there.

        PostgreSQL: READ COMMITTED. SQLite: BEGIN IMMEDIATE on the one writer, in turn; another process' lock is waited
        for as long as `patience` says. Statements may also go straight to the driver's connection. Raises
        DatabaseUnavailable at the beginning and CommitInDoubt after `within`; at the end CommitInDoubt,
        TransactionLost when an error inside was swallowed, or SQLAlchemy's error when the database refused to commit.
        """
        begin = _BEGIN_WRITE[self._dialect]
        if wait is not None and self._dialect == "postgresql":
            begin += f"; SET LOCAL lock_timeout = {int(wait * 1000)}"
        limit = within if self._dialect == "postgresql" else None
        return self._transaction(self._writers, begin, self._turn, within=limit)

    async def connect(self, **settings: str) -> Any:
        """Return a writer's connection to PostgreSQL outside any pool, with more `settings`. Raises DRIVER_ERRORS."""
        return await connect(self._dsn, self._patience, writing() | settings)

    def read(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Return a read-only transaction that sees the ledger as of one instant. Raises DatabaseUnavailable."""
        return self._transaction(self._readers, _BEGIN_READ[self._dialect], nullcontext())

    @asynccontextmanager
    async def maintenance(self) -> AsyncIterator[AsyncConnection]:
        """A writing transaction for migrations: no time limits, and on SQLite no enforcement of foreign keys."""
        engine = self._engine(pool_size=1, maintenance=True)
        try:
            begin = _BEGIN_WRITE[self._dialect]
            async with self._transaction(engine, begin, self._turn, commit_within=None) as conn:
                yield conn
        finally:
            await to_the_end(engine.dispose())

    async def close(self) -> None:
        """Close every connection. The database must not be used afterwards."""
        # A pool would wait for each in turn, for as long as a statement may take.
        await asyncio.gather(*map(farewell, list(self._made)))
        await self._readers.dispose()
        await self._writers.dispose()

    @asynccontextmanager
    async def _transaction(
        self,
        engine: AsyncEngine,
        begin: str,
        turn: AbstractAsyncContextManager[Any],
        *,
        within: float | None = None,
        commit_within: float | None = COMMIT_WITHIN,
    ) -> AsyncIterator[AsyncConnection]:
        async with turn, self._limited(within):
            conn = await self._begin(engine, begin)
            try:
                yield conn
            except BaseException:
                await to_the_end(self._roll_back(conn))
                raise
            await to_the_end(self._commit(conn, commit_within))

    @asynccontextmanager
    async def _limited(self, seconds: float | None) -> AsyncIterator[None]:
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            raise CommitInDoubt(f"{self.name} took longer than {seconds:g} s over a transaction") from None

    async def _roll_back(self, conn: AsyncConnection) -> None:
        try:
            await roll_back(conn)
        except Unanswered as error:
            self._lost_by(error)

    def _lost_by(self, error: BaseException) -> None:
        if isinstance(error, Unanswered):
            self.distrust()

    def distrust(self) -> None:
        """Close every connection to PostgreSQL that there is, used or not, at once: one has been silent for too long,
        and the others came the same way. Whoever uses one is told that it is lost; new ones are made when needed."""
        for connection in list(self._made):
            connection.terminate()
        self._made.clear()

    async def _begin(self, engine: AsyncEngine, begin: str) -> AsyncConnection:
        tried_again = False
        while True:
            conn, connected = engine.connect(), False
            try:
                await conn.start()
                connected = True
                await _say_begin(conn, begin, self._patience)
            except BaseException as error:
                await to_the_end(abandon(conn))
                self._lost_by(error)
                # A connection that died in the pool says nothing about the database: once more, with an emptied pool.
                if connected and isinstance(error, DRIVER_ERRORS) and not tried_again:
                    await engine.dispose()
                    tried_again = True
                    continue
                if isinstance(error, CONNECT_ERRORS):
                    why = reason(error, self._url.password)
                    raise DatabaseUnavailable(f"cannot use {self.name}: {why}") from None
                raise
            return conn

    async def _commit(self, conn: AsyncConnection, within: float | None) -> None:
        try:
            kept = await self._say_commit(conn, within)
        except DRIVER_ERRORS as error:
            if refused(error):
                await self._roll_back(conn)
                at_fault = isinstance(error, asyncpg.IntegrityConstraintViolationError)
                raise (IntegrityError if at_fault else OperationalError)("COMMIT", None, error) from None
            await abandon(conn)
            self._lost_by(error)
            raise CommitInDoubt(f"lost {self.name} while committing: {reason(error, self._url.password)}") from None
        except BaseException:
            await self._roll_back(conn)
            raise
        if not kept:
            await self._roll_back(conn)
            raise TransactionLost("nothing was kept: an error ended the transaction early, and it was swallowed")
        await conn.close()

    async def _say_commit(self, conn: AsyncConnection, within: float | None) -> bool:
        """Return whether there was something to commit."""
        if conn.invalidated:
            return False
        raw: Any = (await conn.get_raw_connection()).driver_connection
        if self._dialect == "postgresql":
            # In a failed transaction PostgreSQL answers COMMIT without complaint, only with another word.
            return await say(raw, "COMMIT", within) == "COMMIT"
        if not raw.in_transaction:
            return False
        await driver.say(conn, "COMMIT")
        return True


async def _say_begin(conn: AsyncConnection, begin: str, patience: float) -> None:
    if conn.dialect.name == "postgresql":
        # To the driver, which takes several statements at once and needs no preparing for them.
        await say(driver.of(conn), begin, BEGIN_WITHIN)
        return
    give_up_at = time.monotonic() + patience
    while True:
        try:
            await driver.say(conn, begin)
        except OperationalError as error:
            if "database is locked" not in str(error.orig) or time.monotonic() > give_up_at:
                raise
        else:
            return

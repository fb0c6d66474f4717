"""Bring a database to today's schema, and say how it differs. All offline: the steps are in the package.

Alembic takes a quarter of a second to import. Every command asks whether the schema is today's, and hardly any has to
change it: so only those that do import it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import dump, guards
from receiver.ledger.database import Database, LedgerError
from receiver.ledger.faults import HELD, sqlstate
from receiver.ledger.schema import metadata

if TYPE_CHECKING:
    from alembic.config import Config

_STEPS = Path(__file__).parent / "migrations"
# Any number will do, as long as nothing else in the database locks by it.
_LOCK = 0x686F6F6B6C6467
_SCRATCH = "hookledger_check"


class SchemaOutdated(LedgerError):
    """The database's schema is not today's; the message names the command that mends it."""


class SchemaTooNew(LedgerError):
    """A later version of hookledger has migrated the database."""


class TablesInUse(LedgerError):
    """Others use the tables that are to be altered."""


def _config(conn: Connection | None = None) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_STEPS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = conn
    return config


def revisions() -> list[str]:
    """Return every revision, oldest first: the numbers that the steps' files begin with."""
    return sorted(file.name.partition("_")[0] for file in (_STEPS / "versions").glob("[0-9]*_*.py"))


def head() -> str:
    """Return the revision the code wants."""
    return revisions()[-1]


def _current(conn: Connection) -> str | None:
    if not inspect(conn).has_table("alembic_version"):
        return None
    return conn.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one_or_none()


async def current(db: Database) -> str | None:
    """Return the revision the database is at, None for an empty one."""
    async with db.read() as conn:
        return await conn.run_sync(_current)


async def ensure_current(db: Database) -> None:
    """Return if the database is at `head()`. Raises SchemaOutdated or SchemaTooNew with what to do."""
    _judge(db, await current(db))


def _judge(db: Database, found: str | None) -> None:
    if found == head():
        return
    if found is not None and found not in revisions():
        raise SchemaTooNew(
            f"{db.name} is at schema revision {found}, which this version does not know; it needs the newer hookledger"
            " that made it"
        )
    is_at = "has no tables yet" if found is None else f"is at schema revision {found}"
    raise SchemaOutdated(f"{db.name} {is_at} and this version needs {head()}: run `hookledger db upgrade`")


def _upgrade(conn: Connection, to: str, wait: float) -> None:
    if conn.dialect.name == "postgresql":
        # Whoever comes second waits here and then finds nothing left to do; SQLite's BEGIN IMMEDIATE does the same.
        conn.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        # Whoever waits for a table makes all others wait behind him: a pg_dump under way would stop every delivery.
        conn.exec_driver_sql(f"SET LOCAL lock_timeout = {int(wait * 1000)}")
    try:
        _take_steps(conn, to)
    except DBAPIError as error:
        if sqlstate(error) != HELD:
            raise
        raise TablesInUse(
            f"somebody used the tables for more than {wait:g} s (a backup, or hookledger itself?); nothing was changed:"
            " stop receiver and reconciler, let backups end, and try again"
        ) from None


def _take_steps(conn: Connection, to: str) -> None:
    from alembic import command

    found = _current(conn)
    if found is not None and found not in revisions():
        raise SchemaTooNew(f"schema revision {found} is not known to this version: it needs a newer hookledger")
    # Steps meet no guards, which would forbid altering the columns they read, and cannot forget to bring them back:
    # SQLite drops a table's triggers when a step rebuilds it, and a new column of evidence needs guarding too.
    guards.remove(conn)
    command.upgrade(_config(conn), to)
    guards.reinstall(conn)
    if _current(conn) == found:
        return  # nothing was rebuilt; to look through everything would hold up deliveries for as long as it takes
    if conn.dialect.name == "sqlite" and (broken := conn.exec_driver_sql("PRAGMA foreign_key_check").all()):
        tables = ", ".join(sorted({row[0] for row in broken}))
        raise LedgerError(f"the migration would leave rows of {tables} that refer to nothing; nothing was changed")


async def upgrade(db: Database, to: str = "head", *, wait: float = 5.0) -> None:
    """Run the missing steps up to revision `to` and make the guards anew, in one transaction: all of it or nothing.

    On PostgreSQL nobody else can use the tables meanwhile, not even to read. Safe to run twice at once. Raises
    SchemaTooNew when a later version has been here, and TablesInUse when others held a table for longer than `wait`
    seconds.
    """
    async with db.maintenance() as conn:
        await conn.run_sync(_upgrade, to, wait)


async def upgrade_if_outdated(db: Database) -> None:
    """Run the missing steps where there are any, and write nothing where there are none. Raises SchemaTooNew."""
    try:
        await ensure_current(db)
    except SchemaOutdated:
        await upgrade(db)


def _create_all(conn: Connection) -> None:
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    metadata.create_all(conn)
    MigrationContext.configure(conn).stamp(ScriptDirectory.from_config(_config()), "head")


async def _wanted(db: Database) -> dump.Dump:
    """Return what the code's own tables look like on this kind of database, made aside and thrown away again."""
    if db.dialect == "sqlite":
        folder = await asyncio.to_thread(TemporaryDirectory, prefix="hookledger-")
        try:
            aside = Database(f"sqlite:///{folder.name}/check.db")
            try:
                return await _made_anew(aside)
            finally:
                await aside.close()
        finally:
            await asyncio.to_thread(folder.cleanup)
    return await _made_anew(db)


class _ThrowAway(Exception):
    """Raised at the end of a transaction that must not be kept."""


async def _made_anew(db: Database) -> dump.Dump:
    found: dump.Dump = {}
    with suppress(_ThrowAway):
        async with db.maintenance() as conn:
            if db.dialect == "postgresql":
                await conn.exec_driver_sql(f"CREATE SCHEMA {_SCRATCH}")
                await conn.exec_driver_sql(f"SET LOCAL search_path TO {_SCRATCH}")
            await conn.run_sync(_create_all)
            found = await dump.schema(conn)
            raise _ThrowAway
    return found


async def _found(conn: AsyncConnection) -> tuple[str | None, dump.Dump]:
    return await conn.run_sync(_current), await dump.schema(conn)


async def check(db: Database) -> list[str]:
    """Return how the database's schema differs from the code's, one sentence each; empty when they are equal.

    Tables, columns, types, constraints, indexes, triggers and functions are compared, and the revision. PostgreSQL
    needs the right to create a schema, which is made and rolled back in one transaction.
    """
    async with db.read() as conn:
        revision, found = await _found(conn)
    said: list[str] = []
    try:
        _judge(db, revision)
    except LedgerError as error:
        said.append(str(error))
    return said + dump.differences(found, await _wanted(db))

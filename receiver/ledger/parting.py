"""Ends of transactions and connections, whatever happens meanwhile: nothing stays open, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger.engines import DRIVER_ERRORS

# Seconds until PostgreSQL must have answered what costs it nothing; a busy one may take a moment to come to it.
BEGIN_WITHIN = 5.0
GOODBYE_WITHIN = 1.0  # a ROLLBACK, a farewell
# Seconds for a COMMIT, and for a transaction that is one statement; then it is in doubt, as on any lost connection.
COMMIT_WITHIN = 10.0


class Unanswered(TimeoutError):
    """PostgreSQL has not answered in time: whatever came the same way is probably lost as well."""


async def to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Finish `work` even if we are cancelled meanwhile; the cancellation is raised afterwards."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # seen here, so that asyncio does not complain that nobody looked
        raise cancelled
    task.result()


async def say(raw: Any, words: str, seconds: float | None) -> str:
    """Have asyncpg execute words without results; returns the command's tag. Raises Unanswered, and asyncpg's errors.

    asyncpg's own time limit does not count while it still tells the server that the statement before was cancelled,
    for which it opens a connection.
    """
    try:
        async with asyncio.timeout(seconds):
            return str(await raw.execute(words))
    except TimeoutError:
        raise Unanswered("no answer in time") from None


async def roll_back(conn: AsyncConnection) -> None:
    """End a transaction without a trace and give its connection back, or up. Raises Unanswered; then it is up."""
    try:
        if conn.invalidated:
            return
        raw: Any = (await conn.get_raw_connection()).driver_connection
        if conn.dialect.name == "sqlite":
            await raw.rollback()  # SQLAlchemy would not, after a COMMIT that failed
        elif raw.is_in_transaction():
            await say(raw, "ROLLBACK", GOODBYE_WITHIN)
        await conn.rollback()
    except Unanswered:
        await abandon(conn)
        raise
    except (*DRIVER_ERRORS, DBAPIError):
        await abandon(conn)
    finally:
        await conn.close()


async def abandon(conn: AsyncConnection) -> None:
    """Close a connection of which we do not know what state it is in."""
    if conn.sync_connection is None:
        return
    if not conn.invalidated:
        raw: Any = conn.sync_connection.connection.driver_connection
        if isinstance(raw, asyncpg.Connection):
            await farewell(raw)
        await conn.invalidate()
    await conn.close()


async def farewell(raw: Any) -> None:
    """Cancel what a session is at and close it in good order, so that the server does not go on for nobody; or just
    close our end of it."""
    with suppress(*DRIVER_ERRORS):
        async with asyncio.timeout(GOODBYE_WITHIN):
            await raw.close()
    raw.terminate()

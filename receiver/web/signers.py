"""The public keys of upstreams that publish theirs, as the reconciler last fetched them, and the wish for new ones."""

from __future__ import annotations

import asyncio
import time

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from receiver.ledger.database import Database, LedgerError, now
from receiver.ledger.engines import DRIVER_ERRORS
from receiver.ledger.operations import source_state
from receiver.ledger.records import JsonObject
from receiver.logs import log_event

REMEMBERED = 3.0  # seconds
# Seconds between two wishes of one process for the same keys: the reconciler fetches them once a minute at most, and
# whoever sends forgeries must not make us write for each.
WISH_EVERY = 5.0

_TROUBLE = (LedgerError, SQLAlchemyError, TimeoutError, *DRIVER_ERRORS)


class Signers:
    """Reads `source_state.keys`, remembers them for a moment, and asks for others; within `within` seconds each."""

    def __init__(self, database: Database, within: float, *, remembered: float = REMEMBERED) -> None:
        self._database = database
        self._within = within
        self._remembered = remembered
        self._known: dict[str, tuple[float, JsonObject | None]] = {}
        self._wished: dict[str, float] = {}

    async def keys(self, source: str) -> JsonObject | None:
        """Return a source's keys, None when nobody has fetched any or the database does not answer in time."""
        read_at, keys = self._known.get(source, (float("-inf"), None))
        if time.monotonic() - read_at < self._remembered:
            return keys
        try:
            async with asyncio.timeout(self._within), self._database.read() as conn:
                query = select(source_state.c["keys"]).where(source_state.c.source == source)
                keys = (await conn.execute(query)).scalar_one_or_none()
        except _TROUBLE:
            return keys  # old ones are better than none
        # Missing keys are asked for again at once: they may be on their way.
        if keys is not None:
            self._known[source] = (time.monotonic(), keys)
        return keys

    async def want(self, source: str) -> None:
        """Ask the reconciler for a source's keys: there are none, or none that are young enough to tell by."""
        if time.monotonic() - self._wished.get(source, float("-inf")) < WISH_EVERY:
            return
        self._wished[source] = time.monotonic()
        try:
            async with asyncio.timeout(self._within), self._database.write() as conn:
                insert = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
                wish = {"keys_wanted_at": await now(conn)}
                statement = insert(source_state).values(source=source, hint_count=0, **wish)
                await conn.execute(statement.on_conflict_do_update(index_elements=["source"], set_=wish))
        except _TROUBLE as error:
            del self._wished[source]
            log_event("keys-not-wished", level="warning", error=error, source=source)

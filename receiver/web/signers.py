"""The public keys of upstreams that publish theirs, as the reconciler last fetched them."""

from __future__ import annotations

import time

from sqlalchemy import select

from receiver.ledger.database import Database, LedgerError
from receiver.ledger.operations import source_state
from receiver.ledger.records import JsonObject

REMEMBERED = 30.0  # seconds


class Signers:
    """Reads `source_state.keys`, and remembers them for a moment."""

    def __init__(self, database: Database, *, remembered: float = REMEMBERED) -> None:
        self._database = database
        self._remembered = remembered
        self._known: dict[str, tuple[float, JsonObject | None]] = {}

    async def keys(self, source: str) -> JsonObject | None:
        """Return a source's keys, None when nobody has fetched any or the database does not answer."""
        read_at, keys = self._known.get(source, (float("-inf"), None))
        if time.monotonic() - read_at < self._remembered:
            return keys
        try:
            async with self._database.read() as conn:
                query = select(source_state.c["keys"]).where(source_state.c.source == source)
                keys = (await conn.execute(query)).scalar_one_or_none()
        except LedgerError:
            return keys  # old ones are better than none
        # Missing keys are asked for again at once: they may be on their way.
        if keys is not None:
            self._known[source] = (time.monotonic(), keys)
        return keys

"""The janitor: every few seconds folds what batches added to the figures, and writes down what endings have taught.

Any number of processes may have one.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

from sqlalchemy.exc import DBAPIError

from receiver.ledger import learning, tallies
from receiver.ledger.database import Database, LedgerError, now
from receiver.ledger.engines import DRIVER_ERRORS
from receiver.ledger.learning import Lessons
from receiver.logs import log_event
from receiver.web.answers import clock

EVERY = 5.0  # seconds
_FORGET_EVERY = timedelta(hours=1)


async def sweep_forever(database: Database, lessons: Lessons, *, every: float = EVERY) -> None:
    """Fold and write until cancelled. Figures that cannot be folded are at the next turn; nothing waits for them."""
    forgotten_at = clock() - _FORGET_EVERY
    while True:
        await asyncio.sleep(every)
        try:
            await _write(database, lessons)
            while await _fold(database) == tallies.AT_ONCE:
                pass
            if clock() - forgotten_at >= _FORGET_EVERY:
                async with database.write() as connection:
                    await tallies.forget_minutes(connection, clock())
                forgotten_at = clock()
        except (LedgerError, DBAPIError, *DRIVER_ERRORS) as error:
            with suppress(Exception):
                log_event("figures not folded", level="warning", error=error)


async def _fold(database: Database) -> int:
    async with database.read() as connection:
        if not await tallies.unfolded(connection):
            return 0  # an idle ledger is not written to
    async with database.write() as connection:
        return await tallies.fold(connection)


async def _write(database: Database, lessons: Lessons) -> None:
    """Write lessons down. Those that cannot be are lost, which costs nobody anything but a little knowledge."""
    taken = lessons.taken()
    if taken:
        async with database.write() as connection:
            await learning.write(connection, taken, await now(connection))

"""The record that every pass leaves from its start: what ran, when, what it did, and whether it ended."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from sqlalchemy import insert, update
from sqlalchemy.exc import SQLAlchemyError

from receiver.ledger.database import Database, LedgerError, now
from receiver.ledger.engines import DRIVER_ERRORS
from receiver.ledger.evidence import new_id
from receiver.ledger.operations import passes


@dataclass(slots=True)
class PassRecord:
    """One pass under way. `outcome` is what it ends with: `done` unless somebody says otherwise."""

    id: str
    counts: Counter[str] = field(default_factory=Counter)
    outcome: str = "done"


@asynccontextmanager
async def noted(database: Database, kind: str, holder: str | None = None) -> AsyncIterator[PassRecord]:
    """Leave a row in `passes` that says a pass has begun, and at the end of the block what it did.

    One that an error ends is `broken`; one that was killed has no end. Raises LedgerError and SQLAlchemyError at the
    beginning; at the end a database that is away goes without.
    """
    record = PassRecord(new_id())
    async with database.write() as connection:
        row = {"id": record.id, "kind": kind, "holder": holder or f"{socket.gethostname()}:{os.getpid()}"}
        await connection.execute(insert(passes).values(**row, started_at=await now(connection), counts={}))
    try:
        yield record
    except BaseException:
        record.outcome = "broken"
        raise
    finally:
        with suppress(LedgerError, SQLAlchemyError, *DRIVER_ERRORS):
            async with database.write() as connection:
                ended = {"counts": dict(record.counts), "outcome": record.outcome, "ended_at": await now(connection)}
                await connection.execute(update(passes).where(passes.c.id == record.id).values(**ended))

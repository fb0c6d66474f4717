"""Chores: what is done now and then for a whole source, by one process at a time, and resumed after a kill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger.operations import chores
from receiver.ledger.query_parts import stamp
from receiver.ledger.records import JsonObject

LEASE = timedelta(minutes=5)  # of one step: whoever does a chore says at least this often that it still does
_C = chores.c


@dataclass(frozen=True, slots=True)
class Chore:
    """A chore that this process does: `progress` is where the one before was interrupted, None when it was not."""

    kind: str
    source: str
    holder: str
    progress: JsonObject | None

    def _mine(self) -> tuple[Any, ...]:
        return _C.kind == self.kind, _C.source == self.source, _C.leased_by == self.holder

    async def keep(self, connection: AsyncConnection, progress: JsonObject | None, now: datetime) -> bool:
        """Write down how far it has come, in the transaction that got there; False when another process took over."""
        values = {"progress": progress, "leased_until": now + LEASE}
        done = update(chores).where(*self._mine()).values(**values).returning(_C.kind)
        return (await connection.execute(done)).first() is not None

    async def end(
        self, connection: AsyncConnection, outcome: str, progress: JsonObject | None, found: JsonObject, now: datetime
    ) -> None:
        """Write down how it ended. What is left of `progress` is where the next one begins."""
        values = {"leased_until": None, "leased_by": None, "ended_at": now, "outcome": outcome}
        await connection.execute(
            update(chores).where(*self._mine()).values(**values, progress=progress, found=found)
        )  # fmt: skip


async def take(
    connection: AsyncConnection, kind: str, source: str, holder: str, now: datetime, every: timedelta | None = None
) -> Chore | None:
    """Take a chore; None when another process does it just now, or when it was begun less than `every` ago."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    await connection.execute(insert(chores).values(kind=kind, source=source).on_conflict_do_nothing())
    mine = [_C.kind == kind, _C.source == source, or_(_C.leased_until.is_(None), _C.leased_until <= now)]
    if every is not None:
        # One that was killed is gone on with as soon as its lease is over.
        killed = _C.leased_by.is_not(None)
        mine.append(or_(_C.begun_at.is_(None), _C.begun_at <= now - every, killed))
    values = {"leased_until": now + LEASE, "leased_by": holder, "begun_at": now, "outcome": None}
    taken = update(chores).where(*mine).values(**values).returning(_C.progress)
    row = (await connection.execute(taken)).first()
    return None if row is None else Chore(kind, source, holder, row.progress)


async def due(connection: AsyncConnection, kind: str, source: str, now: datetime, every: timedelta) -> bool:
    """Whether a chore may be taken, as far as can be told without writing."""
    row = (await connection.execute(select(chores).where(_C.kind == kind, _C.source == source))).first()
    if row is None:
        return True
    if row.leased_until is not None and row.leased_until > now:
        return False
    return row.begun_at is None or row.begun_at <= now - every or row.leased_by is not None


async def found(connection: AsyncConnection, kind: str) -> dict[str, JsonObject]:
    """Return, per source, when a chore of this kind was last done, how it ended and what it found."""
    rows = (await connection.execute(select(chores).where(_C.kind == kind, _C.begun_at.is_not(None)))).mappings()
    return {row["source"]: _told(row) for row in rows}


def _told(row: Mapping[Any, Any]) -> JsonObject:
    return {
        "begun_at": stamp(row["begun_at"]),
        "ended_at": stamp(row["ended_at"]),
        "outcome": row["outcome"],
        "found": row["found"],
    }

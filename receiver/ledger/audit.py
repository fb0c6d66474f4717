"""Who changed what by hand: a line for every write by a person, or by a program that has a person's token."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger.operations import audit_log
from receiver.ledger.query_parts import JsonObject, stamp


async def note(
    connection: AsyncConnection,
    who: str,
    what: str,
    now: datetime,
    *,
    source: str | None = None,
    subject: str | None = None,
    details: JsonObject | None = None,
) -> None:
    """Write one line. `who` is the token's name, `what` a verb, `subject` a workflow's, delivery's or blob's id.

    It must hold no secret.
    """
    await connection.execute(
        audit_log.insert().values(at=now, who=who, what=what, source=source, subject=subject, details=details)
    )


async def newest(connection: AsyncConnection, limit: int = 50) -> list[JsonObject]:
    """Return the newest lines, newest first."""
    query = select(audit_log).order_by(audit_log.c.id.desc()).limit(limit)
    return [
        {**{name: row[name] for name in ("who", "what", "source", "subject", "details")}, "at": stamp(row["at"])}
        for row in (await connection.execute(query)).mappings()
    ]

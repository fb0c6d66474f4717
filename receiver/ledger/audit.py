"""Who changed what by hand: a line for every write by a person, or by a program that has a person's token."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import cursors
from receiver.ledger.listing import USUAL, check_filter
from receiver.ledger.operations import audit_log
from receiver.ledger.query_parts import JsonObject, stamp

_A = audit_log.c
# What people do. Any other word is read, too: an older version may have written it.
VERBS = (
    "track", "refetch", "acknowledge", "replay", "correct", "share", "forget", "recopy", "save link", "remove link",
    "log in", "log out", "create token", "revoke token",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which lines to list; what is None does not matter. Raises BadFilter."""

    who: str | None = None
    what: str | None = None
    source: str | None = None
    subject: str | None = None
    limit: int = USUAL
    cursor: str | None = None

    def __post_init__(self) -> None:
        check_filter(self.limit, [(name, getattr(self, name)) for name in ("who", "what", "source", "subject")])


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
    """Write one line. `who` is the token's name, `what` one of VERBS, `subject` a workflow's, delivery's or blob's id.

    What came of it is `details["outcome"]`, where it is not plain from the verb. It must hold no secret.
    """
    await connection.execute(
        audit_log.insert().values(at=now, who=who, what=what, source=source, subject=subject, details=details)
    )


async def lines(connection: AsyncConnection, wanted: AuditFilter) -> JsonObject:
    """Return `{"items", "next_cursor"}`: lines, newest first. Raises BadCursor."""
    query = select(audit_log).order_by(_A.id.desc()).limit(wanted.limit + 1)
    for name in ("who", "what", "source", "subject"):
        value = getattr(wanted, name)
        if value is not None:
            query = query.where(_A[name] == value)
    if wanted.cursor is not None:
        query = query.where(_A.id < cursors.decode("a", wanted.cursor, int)[0])
    rows = list((await connection.execute(query)).mappings())
    more = cursors.encode("a", {"id": rows[wanted.limit - 1]["id"]}) if len(rows) > wanted.limit else None
    items = [
        {
            "id": row["id"],
            **{name: row[name] for name in ("who", "what", "source", "subject", "details")},
            "at": stamp(row["at"]),
        }
        for row in rows[: wanted.limit]
    ]
    return {"items": items, "next_cursor": more}


async def newest(connection: AsyncConnection, limit: int = 50) -> list[JsonObject]:
    """Return the newest lines, newest first."""
    found: list[JsonObject] = (await lines(connection, AuditFilter(limit=limit)))["items"]
    return found

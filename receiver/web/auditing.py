"""Writes down who changed what, in the ledger and in the log."""

from __future__ import annotations

from receiver.ledger import audit
from receiver.ledger.database import now as database_now
from receiver.ledger.query_parts import JsonObject
from receiver.logs import log_event
from receiver.web.site import Site


async def written(
    site: Site,
    who: str,
    what: str,
    *,
    source: str | None = None,
    subject: str | None = None,
    details: JsonObject | None = None,
) -> None:
    """Note a write that a person, by the name of a token, is about to make or has just made."""
    told: JsonObject | None = site.redactor.json(details) if details is not None else None
    async with site.database.write() as connection:
        now = await database_now(connection)
        await audit.note(connection, who, what, now, source=source, subject=subject, details=told)
    log_event("written", who=who, what=what, source=source, subject=subject)

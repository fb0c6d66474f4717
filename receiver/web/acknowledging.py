"""A person says to have seen to a workflow's attention, over the API or on a page: written down as evidence."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import attention, audit
from receiver.ledger.apply import apply
from receiver.ledger.entries import Entry
from receiver.ledger.query_parts import Row
from receiver.ledger.records import EvidenceKind, Reading
from receiver.web.answers import clock
from receiver.web.site import Site


async def acknowledge(
    site: Site, connection: AsyncConnection, source: str, workflow_id: str, kind: str, who: str, now: datetime
) -> Row | None:
    """Note that `who` has seen to what is open of this kind; returns its row, None when nothing is.

    It stays open until its cause is gone. The source must be configured.
    """
    seen = Entry(
        source=source,
        policy=site.config.policy(source),
        kind=EvidenceKind.DECISION,
        at=clock(),
        workflow_id=workflow_id,
        reading=Reading(workflow_id),
        decision={"acknowledged": kind, "by": who},
    )
    await apply(connection, [seen], now)
    row = await attention.acknowledge(connection, source, workflow_id, kind, who, now)
    if row is not None:
        details = {"kind": kind}
        await audit.note(connection, who, "acknowledge", now, source=source, subject=workflow_id, details=details)
    return row

"""A person says to have seen to what needed one, over the API, on a page or on the command line: written down."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.config import Config
from receiver.ledger import attention, audit, overview
from receiver.ledger.apply import apply
from receiver.ledger.entries import Entry
from receiver.ledger.query_parts import Row
from receiver.ledger.records import EvidenceKind, Reading


async def acknowledge(
    config: Config, connection: AsyncConnection, source: str, workflow_id: str, kind: str, who: str, now: datetime
) -> Row | None:
    """Note that `who` has seen to what is open of this kind; returns its row, None when nothing is.

    It stays open until its cause is gone. The source must be configured.
    """
    seen = Entry(
        source=source,
        policy=config.policy(source),
        kind=EvidenceKind.DECISION,
        at=datetime.now(UTC),
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


async def acknowledge_row(config: Config, connection: AsyncConnection, ref: str, who: str, now: datetime) -> Row | None:
    """Note that `who` has seen to what is open under this name, of a source, a delivery or a workflow.

    Returns its row as it was, None when nothing of that name is open.
    """
    row = await overview.attention_row(connection, ref)
    if row is not None and row["scope"] == "workflow" and row["source"] in config.sources:
        await acknowledge(config, connection, row["source"], row["subject"], row["kind"], who, now)
    elif row is not None:
        await overview.acknowledge_row(connection, ref, who, now)
        about = {"kind": row["kind"], "scope": row["scope"]}
        await audit.note(
            connection, who, "acknowledge", now, source=row["source"], subject=row["subject"], details=about
        )
    return row

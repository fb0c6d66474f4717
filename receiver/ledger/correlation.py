"""Finding the workflow of a delivery that names none: by the `ref` of the URL it was sent to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger.entries import Entry
from receiver.ledger.tables import workflows

NO_ID = "it names no workflow, and no workflow was tracked with the ref of its URL"


async def resolve(connection: AsyncConnection, entries: Iterable[Entry]) -> None:
    """Give each delivery whose body names no id the workflow tracked with its ref; the newest, where several were.

    A delivery for which none is found loses its reading, so that it is quarantined: kept whole, and shown to a person.
    """
    nameless = [entry for entry in entries if entry.reading is not None and not entry.workflow_id]
    if not nameless:
        return
    wanted = sorted({(entry.source, entry.ref) for entry in nameless if entry.ref is not None})
    found: dict[tuple[str, str], str] = {}
    if wanted:
        w = workflows.c
        query = select(w.source, w.ref, w.id).where(tuple_(w.source, w.ref).in_(wanted)).order_by(w.first_seen_at)
        found = {(row.source, row.ref): row.id for row in await connection.execute(query)}
    for entry in nameless:
        assert entry.reading is not None
        workflow_id = found.get((entry.source, entry.ref or ""))
        entry.workflow_id = workflow_id
        if workflow_id is None:
            entry.reading, entry.problem = None, entry.problem or NO_ID
        else:
            entry.reading = replace(entry.reading, workflow_id=workflow_id)

"""The labels of workflows' contexts in a table of their own, so that lists find workflows by them through an index."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import bulk
from receiver.ledger.derived import labels
from receiver.ledger.nodes import WorkflowState


def digest(key: str, value: str) -> bytes:
    """Return what a label is found by: 16 bytes, however long key and value are."""
    return sha256(f"{len(key)}:{key}{value}".encode("utf-8", "surrogatepass")).digest()[:16]


async def write(connection: AsyncConnection, states: Iterable[WorkflowState]) -> None:
    """Write the labels anew of those locked workflows whose context has changed; nothing for any other."""
    changed = sorted((state for state in states if state.relabelled), key=lambda state: state.pk or 0)
    if not changed:
        return
    await connection.execute(labels.delete().where(labels.c.workflow.in_([state.pk for state in changed])))
    rows = [
        (state.pk, one, state.node.first_seen_at)
        for state in changed
        for one in sorted({digest(key, value) for key, value in (state.about.get("context") or {}).items()})
    ]
    await bulk.insert(connection, labels, ("workflow", "digest", "first_seen_at"), rows)

"""Why a person should look: rows that are opened by a cause and closed when the cause is gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import bulk
from receiver.ledger.evidence import new_id
from receiver.ledger.tables import attention

# What is told of looks that fail: nobody's business once another kind of answer came, or nothing is to be looked for.
FAILURES = ("unreachable", "refused", "unreadable")


@dataclass(frozen=True, slots=True)
class Concern:
    """One reason for a person to look. `subject` is '' for a source, the workflow's id, or the delivery's id."""

    scope: str
    source: str
    subject: str
    kind: str
    workflow: int | None = None
    evidence: str | None = None
    note: str | None = None


async def open_kinds(connection: AsyncConnection, pks: Iterable[int]) -> dict[int, set[str]]:
    """Return the kinds of attention that are open for each of these workflows."""
    found: dict[int, set[str]] = {pk: set() for pk in pks}
    keys = [(pk,) for pk in found]
    columns = ("workflow", "kind", "closed_at")
    for pk, kind, closed_at in await bulk.columns_by_keys(connection, attention, ("workflow",), keys, columns):
        if closed_at is None:
            found[pk].add(kind)
    return found


async def raise_concerns(connection: AsyncConnection, concerns: Iterable[Concern], now: datetime) -> None:
    """Open attention rows; one that is open already stays as it is, with its `since`."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    for one in sorted(set(concerns), key=lambda c: (c.source, c.scope, c.subject, c.kind)):
        statement = insert(attention).values(
            id=new_id(), scope=one.scope, source=one.source, subject=one.subject, workflow=one.workflow,
            kind=one.kind, since=now, evidence=one.evidence, note=one.note,
        )  # fmt: skip
        await connection.execute(
            statement.on_conflict_do_nothing(
                index_elements=["source", "scope", "subject", "kind"], index_where=attention.c.closed_at.is_(None)
            )
        )


async def close(
    connection: AsyncConnection, scope: str, source: str, subject: str, kinds: Iterable[str], now: datetime
) -> None:
    """Close what is open of these kinds: its cause is gone."""
    await connection.execute(
        update(attention)
        .where(
            attention.c.scope == scope,
            attention.c.source == source,
            attention.c.subject == subject,
            attention.c.kind.in_(list(kinds)),
            attention.c.closed_at.is_(None),
        )
        .values(closed_at=now)
    )


async def acknowledge(
    connection: AsyncConnection, source: str, workflow_id: str, kind: str, who: str, now: datetime
) -> Mapping[Any, Any] | None:
    """Note that a person has seen to what is open of this kind; the first to do so counts. Returns the row, None when
    nothing of this kind is open. It stays open until its cause is gone."""
    row = attention.c
    mine = (
        row.scope == "workflow",
        row.source == source,
        row.subject == workflow_id,
        row.kind == kind,
        row.closed_at.is_(None),
    )
    await connection.execute(
        update(attention).where(*mine, row.acknowledged_at.is_(None)).values(acknowledged_at=now, acknowledged_by=who)
    )
    return (await connection.execute(select(attention).where(*mine))).mappings().first()

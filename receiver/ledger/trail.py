"""What happened to one workflow: its transitions, its evidence, and the last whole document upstream gave."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import cursors
from receiver.ledger.deliveries import body_of
from receiver.ledger.listing import USUAL
from receiver.ledger.query_parts import JsonObject, stamp, transition_json
from receiver.ledger.records import EvidenceKind
from receiver.ledger.tables import evidence, transitions

_EVIDENCE = (
    "id", "seq", "kind", "trust", "outcome", "problem", "identity", "http_status", "body_sha256", "same_as", "decision",
    "code_version",
)  # fmt: skip
# Answers that carry a whole document; of these, this many of the newest are tried.
_WHOLE = (200, 202)
_CANDIDATES = 10


async def list_transitions(
    connection: AsyncConnection, pk: int, *, limit: int = USUAL, cursor: str | None = None
) -> JsonObject:
    """Return `{"items", "next_cursor"}`: a workflow's transitions of all runs, oldest first. Raises BadCursor."""
    t = transitions.c
    query = select(transitions).where(t.workflow == pk).order_by(t.seq).limit(limit + 1)
    if cursor is not None:
        query = query.where(t.seq > cursors.decode("t", cursor, int)[0])
    rows = list((await connection.execute(query)).mappings())
    return _page([transition_json(row) for row in rows[:limit]], len(rows) > limit, "t")


async def list_evidence(
    connection: AsyncConnection, pk: int, *, limit: int = USUAL, cursor: str | None = None
) -> JsonObject:
    """Return `{"items", "next_cursor"}`: a workflow's evidence without bodies, oldest first. Raises BadCursor.

    `size` is the body's, in bytes, wherever it is kept.
    """
    e, held = evidence.c, evidence.alias("held")
    size = func.coalesce(func.length(e.body), func.length(held.c.body)).label("size")
    query = (
        select(*(e[name] for name in _EVIDENCE), e.sent_at, e.recorded_at, size)
        .select_from(evidence.outerjoin(held, held.c.id == e.same_as))
        .where(e.workflow == pk)
        .order_by(e.seq)
        .limit(limit + 1)
    )
    if cursor is not None:
        query = query.where(e.seq > cursors.decode("e", cursor, int)[0])
    rows = list((await connection.execute(query)).mappings())
    items = [
        {
            **{name: row[name] for name in (*_EVIDENCE, "size")},
            "sent_at": stamp(row["sent_at"]),
            "recorded_at": stamp(row["recorded_at"]),
        }
        for row in rows[:limit]
    ]
    return _page(items, len(rows) > limit, "e")


def _page(items: list[Any], more: bool, kind: str) -> JsonObject:
    return {"items": items, "next_cursor": cursors.encode(kind, {"seq": items[-1]["seq"]}) if more else None}


@dataclass(frozen=True, slots=True)
class Document:
    """One answer of upstream's: the evidence that holds it, when it was asked for, and its body byte for byte."""

    evidence: str
    sent_at: datetime
    recorded_at: datetime
    http_status: int
    body: bytes


async def documents(connection: AsyncConnection, pk: int) -> AsyncGenerator[Document, None]:
    """Yield the newest answers to our looks that may hold the whole workflow, newest first; at most ten.

    Not all do: the renewal of one file's URL is an answer too. Who knows the provider's words takes the first that is
    what it seems. One body is read at a time: each may be as large as an answer may be.
    """
    e = evidence.c
    query = (
        select(e.id, e.sent_at, e.recorded_at, e.http_status)
        .where(e.workflow == pk, e.kind == EvidenceKind.FETCH, e.http_status.in_(_WHOLE))
        .order_by(e.seq.desc())
        .limit(_CANDIDATES)
    )
    for row in (await connection.execute(query)).all():
        body = await body_of(connection, row.id)
        if body:
            yield Document(row.id, row.sent_at, row.recorded_at, row.http_status, body)

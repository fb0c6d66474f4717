"""Our looks at one workflow with how upstream answered, and the bodies in which it may have told an error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, case, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger.query_parts import JsonObject, stamp
from receiver.ledger.records import EvidenceKind
from receiver.ledger.tables import evidence

MOST_FETCHES = 100
_MOST_TOLD = 20
_LARGEST = 2**18
_REQUEST_ID = ("x-request-id", "request-id", "cf-ray")


@dataclass(frozen=True, slots=True)
class Told:
    """A delivery, or a fetch that upstream answered with an error, with its body byte for byte."""

    evidence: str
    seq: int
    kind: EvidenceKind
    http_status: int | None
    request_id: str | None
    body: bytes


async def list_fetches(connection: AsyncConnection, pk: int, *, limit: int = MOST_FETCHES) -> list[JsonObject]:
    """Return the newest looks that upstream answered, newest first: when, its status, what was wrong, its request's id.

    A look that met no answer leaves no evidence; the workflow's `check` counts it.
    """
    e = evidence.c
    query = (
        select(e.id, e.seq, e.sent_at, e.http_status, e.outcome, e.problem, e.headers, e.body_sha256)
        .where(e.workflow == pk, e.kind == EvidenceKind.FETCH)
        .order_by(e.seq.desc())
        .limit(limit)
    )
    return [
        {
            "evidence": row["id"],
            "seq": row["seq"],
            "sent_at": stamp(row["sent_at"]),
            "http_status": row["http_status"],
            "outcome": row["outcome"],
            "error": row["problem"],
            "request_id": request_id_of(row["headers"]),
            "body_sha256": row["body_sha256"],
        }
        for row in (await connection.execute(query)).mappings()
    ]


async def errors_told(connection: AsyncConnection, pk: int) -> list[Told]:
    """Return the newest deliveries and refused fetches, newest first; at most twenty.

    A body of more than _LARGEST bytes is left out (`b""`): no upstream tells an error at such length.
    """
    e, held = evidence.c, evidence.alias("held")
    refused = and_(e.kind == EvidenceKind.FETCH, e.http_status >= 400)
    body = func.coalesce(e.body, held.c.body)
    told = case((func.length(body) <= _LARGEST, body)).label("body")
    query = (
        select(e.id, e.seq, e.kind, e.http_status, e.headers, told)
        .select_from(evidence.outerjoin(held, held.c.id == e.same_as))
        .where(e.workflow == pk, or_(e.kind == EvidenceKind.DELIVERY, refused))
        .order_by(e.seq.desc())
        .limit(_MOST_TOLD)
    )
    return [
        Told(
            row["id"], row["seq"], EvidenceKind(row["kind"]), row["http_status"], request_id_of(row["headers"]),
            bytes(row["body"] or b""),
        )
        for row in (await connection.execute(query)).mappings()
    ]  # fmt: skip


def request_id_of(headers: Any) -> str | None:
    """Return the id by which upstream's support finds a request again, from the headers kept of its answer."""
    held = headers if isinstance(headers, dict) else {}
    return next((held[name] for name in _REQUEST_ID if isinstance(held.get(name), str)), None)

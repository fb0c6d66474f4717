"""Evidence rows and the keys that recognise a delivery that comes again (R13)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver import __version__
from receiver.ledger import bulk
from receiver.ledger.entries import Entry
from receiver.ledger.nodes import WorkflowState
from receiver.ledger.records import Outcome
from receiver.ledger.tables import delivery_keys, evidence

_COLUMNS = (
    "id", "source", "workflow", "workflow_id", "seq", "kind", "trust", "outcome", "problem", "identity", "sent_at",
    "recorded_at", "http_status", "http_date", "headers", "body", "body_sha256", "same_as", "decision", "code_version",
)  # fmt: skip
_KEY_COLUMNS = ("source", "key", "identity", "evidence", "first_at", "last_at", "count")


def new_id() -> str:
    """Return a name for a row that sorts by the time it was made: 48 bits of milliseconds, 80 of chance, in hex."""
    return f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


def dedupe_key(identity: str, headers: Iterable[tuple[str, str]], body: bytes) -> tuple[str, str]:
    """Return (key, sha256 of the body) of a delivery.

    The key is taken over upstream's delivery identity ('' for none), the headers that tell deliveries apart, and the
    raw body: the same identity with other bytes is another delivery.
    """
    body_hash = sha256(body).hexdigest()
    whole = sha256(identity.encode("utf-8", "surrogatepass"))
    for name, value in sorted(headers):
        whole.update(b"\0" + name.encode() + b"\0" + value.encode("utf-8", "surrogatepass"))
    whole.update(b"\0\0" + bytes.fromhex(body_hash))
    return whole.hexdigest(), body_hash


@dataclass(slots=True)
class Row:
    """One evidence row about to be written."""

    id: str
    entry: Entry
    outcome: Outcome
    recorded_at: datetime
    workflow: int | None = None
    seq: int | None = None
    same_as: str | None = None
    problem: str | None = None

    def values(self) -> tuple[object, ...]:
        """Return the row's values in the order of the columns."""
        entry = self.entry
        return (
            self.id, entry.source, self.workflow, entry.workflow_id, self.seq, entry.kind, entry.trust, self.outcome,
            self.problem or entry.problem, entry.identity, entry.at, self.recorded_at, entry.http_status,
            entry.http_date, entry.headers, None if self.same_as else entry.body, entry.body_sha256 or None,
            self.same_as, entry.decision, __version__,
        )  # fmt: skip


async def write(connection: AsyncConnection, rows: Sequence[Row]) -> None:
    """Append evidence rows."""
    await bulk.insert(connection, evidence, _COLUMNS, [row.values() for row in rows])


async def adopt(connection: AsyncConnection, states: Sequence[WorkflowState]) -> None:
    """Give new, locked workflows the evidence that named them before they were known, such as hints (R9).

    It is numbered in the order it was recorded, before whatever made the workflow.
    """
    e = evidence.c
    for state in states:
        unknown = (e.source == state.source, e.workflow_id == state.id, e.workflow.is_(None))
        query = select(e.id).where(*unknown, e.workflow_id.is_not(None)).order_by(e.recorded_at, e.id)
        rows = []
        for name in (await connection.execute(query)).scalars():
            state.evidence_seq += 1
            rows.append((state.pk, state.evidence_seq, name))
        state.node.dirty = state.node.dirty or bool(rows)
        await bulk.update(connection, evidence, ("id",), ("workflow", "seq"), rows)


async def take_keys(
    connection: AsyncConnection, entries: Sequence[tuple[Entry, str]], now: datetime
) -> dict[tuple[str, str], tuple[str, datetime]]:
    """Claim the dedupe keys of entries (each with the evidence id it would get).

    Returns, for every key that was there before, the id of the evidence that holds it and when it first came. Keys
    stand once in `entries`.
    """
    ordered = sorted(entries, key=lambda pair: (pair[0].source, pair[0].key or ""))
    rows = [(e.source, e.key, e.identity, name, e.at, e.at, 1) for e, name in ordered]
    new = await bulk.insert_new(connection, delivery_keys, _KEY_COLUMNS, rows, ("source", "key"))
    known = [(e.source, e.key or "") for e, _ in ordered if (e.source, e.key) not in new]
    found = await bulk.by_keys(connection, delivery_keys, ("source", "key"), known)
    return {(row["source"], row["key"]): (row["evidence"], row["first_at"]) for row in found}


async def count_repeats(connection: AsyncConnection, repeats: dict[tuple[str, str], int], now: datetime) -> None:
    """Add to the count of keys that came again; `repeats` says how often."""
    rows = [(times, now, source, key) for (source, key), times in sorted(repeats.items())]
    added = (("count", "t.count + {count}"),)
    await bulk.update(connection, delivery_keys, ("source", "key"), ("count", "last_at"), rows, special=added)


async def reused_identities(connection: AsyncConnection, entries: Sequence[Entry]) -> set[tuple[str, str]]:
    """Return the (source, identity) pairs of new deliveries whose identity an earlier one had with other bytes."""
    wanted = sorted({(entry.source, entry.identity) for entry in entries if entry.identity})
    rows = await bulk.by_keys(connection, delivery_keys, ("source", "identity"), wanted)
    seen: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        seen.setdefault((row["source"], row["identity"]), set()).add(row["key"])
    return {pair for pair, keys in seen.items() if len(keys) > 1}

"""Evidence rows and the keys that recognise a delivery that comes again (R13)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver import __version__
from receiver.ledger import bulk
from receiver.ledger.entries import Entry
from receiver.ledger.nodes import WorkflowState
from receiver.ledger.records import EvidenceKind, Outcome
from receiver.ledger.tables import delivery_keys, evidence
from receiver.ledger.together import Together

_COLUMNS = (
    "id", "source", "workflow", "workflow_id", "seq", "kind", "trust", "outcome", "problem", "identity", "sent_at",
    "recorded_at", "http_status", "http_date", "headers", "body", "body_sha256", "same_as", "decision", "code_version",
)  # fmt: skip
# Of a delivery that was understood or not, and of nothing else, these are all.
_PLAIN = (
    "id", "source", "workflow", "workflow_id", "seq", "kind", "trust", "outcome", "problem", "identity", "sent_at",
    "recorded_at", "headers", "body", "body_sha256", "code_version",
)  # fmt: skip
_KEY = ("source", "key")
_COUNTED = (("count", "t.count + {count}"),)
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

    @property
    def plain(self) -> bool:
        """Whether the columns of a delivery hold all there is."""
        entry = self.entry
        return entry.kind is EvidenceKind.DELIVERY and self.same_as is None and entry.decision is None

    def plain_values(self) -> tuple[object, ...]:
        """Return a delivery's values in the order of its columns."""
        entry = self.entry
        return (
            self.id, entry.source, self.workflow, entry.workflow_id, self.seq, entry.kind, entry.trust, self.outcome,
            self.problem or entry.problem, entry.identity, entry.at, self.recorded_at, entry.headers, entry.body,
            entry.body_sha256 or None, __version__,
        )  # fmt: skip

    def values(self) -> tuple[object, ...]:
        """Return the row's values in the order of the columns."""
        entry = self.entry
        return (
            self.id, entry.source, self.workflow, entry.workflow_id, self.seq, entry.kind, entry.trust, self.outcome,
            self.problem or entry.problem, entry.identity, entry.at, self.recorded_at, entry.http_status,
            entry.http_date, entry.headers, None if self.same_as else entry.body, entry.body_sha256 or None,
            self.same_as, entry.decision, __version__,
        )  # fmt: skip


def write(out: Together, rows: Sequence[Row]) -> None:
    """Add evidence rows to `out`. Those of deliveries and those of looks fill different columns."""
    plain = [row for row in rows if row.plain]
    out.insert(evidence, _PLAIN, [row.plain_values() for row in plain])
    out.insert(evidence, _COLUMNS, [row.values() for row in rows if not row.plain])


@dataclass(slots=True)
class Known:
    """What a dedupe key stands for: the evidence that holds it, when it came first, and whether that was now."""

    evidence: str
    first_at: datetime
    new: bool


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
    connection: AsyncConnection, entries: Sequence[tuple[Entry, str, int]], now: datetime
) -> dict[tuple[str, str], Known]:
    """Claim the dedupe keys of entries, each with the evidence id it would get and how often it is in this batch.

    A key that was there keeps its evidence, and what came is added to its count. Keys stand once in `entries`.
    """
    ordered = sorted(entries, key=lambda given: (given[0].source, given[0].key or ""))
    rows = [(e.source, e.key, e.identity, name, min(e.at, now), now, times) for e, name, times in ordered]
    if connection.dialect.name == "postgresql":
        held = await bulk.insert(
            connection, delivery_keys, _KEY_COLUMNS, rows,
            keys=_KEY, update=("+count", "last_at"), returning=("source", "key", "evidence", "first_at"),
        )  # fmt: skip
        proposed = {name for _, name, _ in ordered}
        return {(source, key): Known(name, first, name in proposed) for source, key, name, first in held}
    return await _take_keys_in_turn(connection, rows)


def add_keys(
    out: Together, entries: Sequence[tuple[Entry, str, int]], known: Mapping[tuple[str, str], Known], now: datetime
) -> None:
    """Add to `out` what `take_keys` does, where it is `known` already which of the keys are there."""
    ordered = sorted(entries, key=lambda given: (given[0].source, given[0].key or ""))
    new, again = [], []
    for entry, name, times in ordered:
        key = (entry.source, entry.key or "")
        if known[key].new:
            new.append((*key, entry.identity, name, min(entry.at, now), now, times))
        else:
            again.append((times, now, *key))
    out.insert(delivery_keys, _KEY_COLUMNS, new)
    out.update(delivery_keys, _KEY, ("count", "last_at"), again, special=_COUNTED)


async def _take_keys_in_turn(connection: AsyncConnection, rows: Sequence[tuple[Any, ...]]) -> dict[Any, Known]:
    """As `take_keys`, on SQLite: many rows in one statement cannot return anything there."""
    there = {
        (row["source"], row["key"]): Known(row["evidence"], row["first_at"], False)
        for row in await bulk.by_keys(connection, delivery_keys, _KEY, [row[:2] for row in rows])
    }
    await bulk.insert(connection, delivery_keys, _KEY_COLUMNS, [row for row in rows if row[:2] not in there])
    again = [(row[6], row[5], *row[:2]) for row in rows if row[:2] in there]
    await bulk.update(connection, delivery_keys, _KEY, ("count", "last_at"), again, special=_COUNTED)
    return {row[:2]: there.get(row[:2]) or Known(row[3], row[4], True) for row in rows}


async def reused_identities(connection: AsyncConnection, entries: Sequence[Entry]) -> set[tuple[str, str]]:
    """Return the (source, identity) pairs of new deliveries whose identity an earlier one had with other bytes."""
    wanted = sorted({(entry.source, entry.identity) for entry in entries if entry.identity})
    rows = await bulk.by_keys(connection, delivery_keys, ("source", "identity"), wanted)
    seen: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        seen.setdefault((row["source"], row["identity"]), set()).add(row["key"])
    return {pair for pair, keys in seen.items() if len(keys) > 1}

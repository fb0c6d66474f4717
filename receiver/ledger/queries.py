"""Asking the ledger about workflows and blobs. Everything here reads; `database.read()` gives the connection."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import copies, learning, tables
from receiver.ledger.aside import HEAVY, aside
from receiver.ledger.operations import rejections, source_state
from receiver.ledger.query_parts import (
    JsonObject,
    Row,
    attention_json,
    blob_json,
    check_json,
    lasting,
    servable,
    stamp,
    workflow_json,
)
from receiver.ledger.states import TERMINAL, Status

_ATTENTION = tables.attention.c
_CHECKS = tables.checks.c


async def workflow_row(connection: AsyncConnection, source: str, workflow_id: str) -> Row | None:
    """Return one workflow's own row, None when nobody has heard of it."""
    w = tables.workflows.c
    query = select(tables.workflows).where(w.source == source, w.id == workflow_id)
    return (await connection.execute(query)).mappings().first()


async def workflow(connection: AsyncConnection, source: str, workflow_id: str, now: datetime) -> JsonObject | None:
    """Return one workflow as the JSON of DESIGN §8.2, with its `check`; None when nobody has heard of it.

    `now` says which URLs still work.
    """
    row = await workflow_row(connection, source, workflow_id)
    return None if row is None else await one(connection, row, now)


async def one(connection: AsyncConnection, row: Row, now: datetime) -> JsonObject:
    """Return a workflow's own row as `workflow` does."""
    (found,) = await as_json(connection, [row], now)
    if found["check"] is not None:
        found["check"]["because"] = await _because(connection, row, found, now)
    return found


async def _because(connection: AsyncConnection, row: Row, found: JsonObject, now: datetime) -> str | None:
    """Say why a workflow that is alive is looked at when it is, as far as the past tells."""
    due = found["check"]["due_at"]
    if due is None or row["status"] in TERMINAL or not {"fresh", "silence"} & found["check"]["reasons"].keys():
        return None
    types = "+".join(sorted({step["type"] for step in found["steps"] if isinstance(step.get("type"), str)}))[:100]
    began = min(filter(None, (row["first_seen_at"], row["submitted_at"])))
    due_at = datetime.fromisoformat(due)
    return await learning.reasoning(connection, row["source"], row["model"] or "", types, began, due_at, now)


async def as_json(connection: AsyncConnection, rows: Sequence[Row], now: datetime) -> list[JsonObject]:
    """Return workflows with all that hangs on them, in the order given; five statements however many they are."""
    if not rows:
        return []
    steps = await _children(connection, tables.steps, rows, "first_seen_at", "key")
    jobs = await _children(connection, tables.jobs, rows, "first_seen_at", "key")
    blobs = await _children(connection, tables.blobs, rows, "id")
    attention = await _open_attention(connection, [row["pk"] for row in rows])
    checks = await _checks(connection, rows)
    weight = sum(map(len, chain(steps.values(), jobs.values(), blobs.values())))

    def joined() -> list[JsonObject]:
        made = []
        for row in rows:
            pk = row["pk"]
            one = workflow_json(row, steps[pk], jobs[pk], blobs[pk], now)
            one["attention"] = attention[pk]
            check = checks.get((row["source"], row["id"]))
            if check is not None:
                one["check"] = check_json(check)
                one["next_check_at"] = stamp(check["due_at"])
            made.append(one)
        return made

    return await aside(weight, joined)


async def _children(
    connection: AsyncConnection, table: Table, rows: Sequence[Row], *order: str
) -> defaultdict[int, list[Row]]:
    """Return the rows that belong to the present run of each workflow, by the workflow's pk."""
    runs = {row["pk"]: row["run"] for row in rows}
    query = select(table).where(table.c.workflow.in_(list(runs))).order_by(*(table.c[name] for name in order))
    found: defaultdict[int, list[Row]] = defaultdict(list)
    for some in (await connection.execute(query)).mappings().partitions(HEAVY):
        for row in some:
            if row["run"] == runs[row["workflow"]]:
                found[row["workflow"]].append(row)
        await asyncio.sleep(0)  # others have their turn
    return found


async def _open_attention(connection: AsyncConnection, pks: list[int]) -> defaultdict[int, list[JsonObject]]:
    query = (
        select(tables.attention)
        .where(_ATTENTION.workflow.in_(pks), _ATTENTION.closed_at.is_(None))
        .order_by(_ATTENTION.since, _ATTENTION.kind)
    )
    found: defaultdict[int, list[JsonObject]] = defaultdict(list)
    for row in (await connection.execute(query)).mappings():
        found[row["workflow"]].append(attention_json(row))
    return found


async def _checks(connection: AsyncConnection, rows: Sequence[Row]) -> dict[tuple[str, str], Row]:
    by_source: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        by_source[row["source"]].append(row["id"])
    named: list[ColumnElement[bool]] = [
        and_(_CHECKS.source == source, _CHECKS.id.in_(ids)) for source, ids in by_source.items()
    ]
    found = (await connection.execute(select(tables.checks).where(or_(*named)))).mappings()
    return {(row["source"], row["id"]): row for row in found}


@dataclass(frozen=True, slots=True)
class Pulse:
    """As much of a workflow as somebody who waits for it has to see.

    `changes` counts its transitions; the rest is read off the check: whether the wish for a look is still open, when a
    reconciler last tried, how often in a row upstream did not know the workflow.
    """

    pk: int
    terminal: bool
    confirmed: bool
    vanished: bool
    changes: int
    asked_at: datetime | None
    wanted_at: datetime | None
    tried_at: datetime | None
    misses: int

    def shown(self, wished: datetime) -> bool:
        """Whether upstream has shown the workflow since this wish."""
        return self.asked_at is not None and self.asked_at >= wished

    def answered(self, wished: datetime) -> bool:
        """Whether the look that was wished for is over: shown, unknown to upstream, or given up after its tries."""
        return self.wanted_at is None or self.shown(wished)

    def tried(self, wished: datetime) -> bool:
        """Whether a reconciler has been at it since this wish, with or without success."""
        return self.answered(wished) or (self.tried_at is not None and self.tried_at >= wished)


async def pulse(connection: AsyncConnection, source: str, workflow_id: str) -> Pulse | None:
    """Return what changes while somebody waits, in one small statement; None for an unknown workflow."""
    w, c = tables.workflows.c, tables.checks.c
    joined = tables.workflows.outerjoin(tables.checks, and_(c.source == w.source, c.id == w.id))
    columns = (
        w.pk, w.status, w.confirmed_at, w.vanished_at, w.transition_seq, w.asked_at, c.wanted_at, c.tried_at, c.misses,
    )  # fmt: skip
    query = select(*columns).select_from(joined).where(w.source == source, w.id == workflow_id)
    row = (await connection.execute(query)).mappings().first()
    if row is None:
        return None
    return Pulse(
        row["pk"], Status(row["status"]).terminal, row["confirmed_at"] is not None, row["vanished_at"] is not None,
        row["transition_seq"], row["asked_at"], row["wanted_at"], row["tried_at"], row["misses"] or 0,
    )  # fmt: skip


async def blob(connection: AsyncConnection, source: str, blob_id: str, now: datetime) -> Row | None:
    """Return the best row there is of a blob, with `workflow_id`, its workflow's name; None when it is unknown.

    Several workflows, and several runs of one, may name the same file: the URL that works longest counts.
    """
    b, w = tables.blobs.c, tables.workflows.c
    query = (
        select(tables.blobs, w.id.label("workflow_id"))
        .join(tables.workflows, b.workflow == w.pk)
        .where(b.source == source, b.id == blob_id, b.run == w.run)
    )
    rows = (await connection.execute(query)).mappings().all()

    def worth(row: Row) -> tuple[Any, ...]:
        endless = row["url_expires_at"] is None
        until = row["url_expires_at"].timestamp() if not endless else 0.0
        return lasting(row, now), servable(row, now), row["gone_at"] is None, endless, until, row["workflow"]

    return max(rows, key=worth, default=None)


async def blob_details(connection: AsyncConnection, source: str, blob_id: str, now: datetime) -> JsonObject | None:
    """Return what is known of a blob as JSON, with the source and the workflow it belongs to."""
    row = await blob(connection, source, blob_id, now)
    if row is None:
        return None
    copy = await copies.of_blob(connection, row["workflow"], row["run"], blob_id)
    about = {"source": source, "workflow": row["workflow_id"], "collected": copy}
    return {**about, **blob_json(row, now)}


async def source_states(connection: AsyncConnection) -> dict[str, Row]:
    """Return what is remembered of each source: whether it is paused, and why."""
    return {row["source"]: row for row in (await connection.execute(select(source_state))).mappings()}


async def rejected(connection: AsyncConnection) -> dict[str, dict[str, int]]:
    """Return how many deliveries were turned away, per source and reason; under `?` those for no source we know."""
    found: dict[str, dict[str, int]] = {}
    r = rejections.c
    for source, reason, number in await connection.execute(select(r.source, r.reason, r["count"])):
        found.setdefault(source, {})[reason] = number
    return found


async def due_checks(connection: AsyncConnection, now: datetime) -> dict[tuple[str, str], int]:
    """Return how many checks are due, per source and lane."""
    query = (
        select(_CHECKS.source, _CHECKS.lane, func.count())
        .where(_CHECKS.due_at <= now)
        .group_by(_CHECKS.source, _CHECKS.lane)
    )
    return {(source, lane): count for source, lane, count in await connection.execute(query)}

"""Which workflows end because upstream has forgotten them, where a source says so (`on_gone = "expire"`).

Three spaced 404s are not enough: a key that has expired makes some upstreams answer 404 to everything, and a source
with few workflows may have no more than these for the brake to go by. So upstream must have shown another workflow of
that source since the first of the three. Until it has, a person is told (`gone`), and each further look asks again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger.checks import Check
from receiver.ledger.entries import Answer, Entry
from receiver.ledger.looks import MISSES
from receiver.ledger.nodes import WorkflowState
from receiver.ledger.records import EvidenceKind, Outcome, Reading
from receiver.ledger.tables import evidence
from receiver.ledger.taking import GONE

Key = tuple[str, str]  # (source, id)

# How many of a source's latest pieces of evidence are searched for one that shows its key to be good.
_SEARCHED = 5000


async def forgotten(
    connection: AsyncConnection,
    entries: Sequence[Entry],
    states: Mapping[Key, WorkflowState],
    checks: Mapping[Key, Check],
) -> list[Entry]:
    """Return the decision to make of each look that was answered with one 404 too many; its workflow is locked.

    Call once the answers are applied. A look that was not (its lease had ended) decides nothing.
    """
    found: list[Entry] = []
    for entry in entries:
        if entry.look is None or entry.look.answer is not Answer.GONE or not entry.policy.expire_gone:
            continue
        key = (entry.source, entry.workflow_id or "")
        state, check = states.get(key), checks[key]
        if state is None or not check.finished or check.memory.misses < MISSES or state.node.status.terminal:
            continue
        since = await _first_miss(connection, state)
        if since is not None and await _shown_since(connection, state, since):
            found.append(_decision(entry, state))
    return found


async def _first_miss(connection: AsyncConnection, state: WorkflowState) -> datetime | None:
    """Return when the first of the last three looks was sent; the last one is not written yet. None: it is not kept."""
    e = evidence.c
    query = select(e.sent_at).where(e.workflow == state.pk, e.kind == EvidenceKind.FETCH).order_by(e.seq.desc())
    times = list((await connection.execute(query.limit(MISSES - 1))).scalars())
    return times[-1] if len(times) == MISSES - 1 else None


async def _shown_since(connection: AsyncConnection, state: WorkflowState, since: datetime) -> bool:
    e = evidence.c
    latest = (
        select(e.workflow, e.outcome, e.problem, e.sent_at)
        .where(e.source == state.source, e.kind == EvidenceKind.FETCH, e.recorded_at > since)
        .order_by(e.recorded_at.desc())
        .limit(_SEARCHED)
        .subquery()
        .c
    )
    shown = (latest.outcome == Outcome.APPLIED, latest.problem.is_(None))
    others = (latest.workflow != state.pk, latest.sent_at > since)
    return bool(await connection.scalar(select(exists().where(*shown, *others))))


def _decision(entry: Entry, state: WorkflowState) -> Entry:
    """Return what is kept of it: as old as the look that met the last 404."""
    decision = {GONE: f"upstream did not know it, {MISSES} times in a row"}
    nothing = Reading(state.id)
    return Entry(state.source, entry.policy, EvidenceKind.DECISION, entry.at, state.id, nothing, decision=decision)

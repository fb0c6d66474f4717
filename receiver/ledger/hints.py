"""Deliveries that prove nothing (R9): at most one look pending per id, 30 s apart, and a quota on what is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger.checks import Check, Key, count_waiting_hints
from receiver.ledger.entries import Entry
from receiver.ledger.nodes import SPACED, WorkflowState
from receiver.ledger.operations import source_state

WINDOW = timedelta(hours=1)


@dataclass(slots=True)
class Verdict:
    """What is to happen to one hint: kept as evidence, only counted, or refused because of the quota."""

    keep: bool
    over_quota: bool = False
    evidence: str | None = None


def note(check: Check, now: datetime) -> None:
    """Remember a hint; one that waits for its look already is enough."""
    memory = check.memory
    if memory.hinted_at is None or now - memory.hinted_at >= SPACED:
        memory.hinted_at = now
    memory.hints += 1
    check.dirty = True


def _coalesced(check: Check, now: datetime) -> bool:
    hinted = check.memory.hinted_at
    return check.stored and hinted is not None and now - hinted < SPACED


async def take_quota(
    connection: AsyncConnection,
    entries: Sequence[Entry],
    known: Mapping[Key, Check],
    states: Mapping[Key, WorkflowState],
    now: datetime,
) -> dict[int, Verdict]:
    """Decide on each hint of a batch, by its place in it. Other entries are not in the answer.

    The quota limits, per source and hour, the evidence kept, and at any time the unknown ids that wait for a look.
    What cannot be read counts as well: nobody has proven anything, and quarantine keeps every byte.
    """
    verdicts: dict[int, Verdict] = {}
    by_source: dict[str, list[int]] = {}
    for n, entry in enumerate(entries):
        if entry.hint:
            by_source.setdefault(entry.source, []).append(n)
    for source, places in sorted(by_source.items()):
        quota = entries[places[0]].policy.hint_quota
        used = await _window(connection, source, now)
        waiting = await count_waiting_hints(connection, source, quota)
        start = used
        met: set[Key] = set()
        for n in places:
            key = (source, entries[n].workflow_id or "")
            if entries[n].workflow_id is None or entries[n].reading is None:
                verdicts[n] = Verdict(keep=used < quota, over_quota=used >= quota)
                used += used < quota
                continue
            if key in met or _coalesced(known[key], now):
                verdicts[n] = Verdict(keep=False)
                continue
            unknown = key not in states and not known[key].stored
            if used >= quota or (unknown and waiting >= quota):
                verdicts[n] = Verdict(keep=False, over_quota=True)
                continue
            met.add(key)
            used += 1
            waiting += unknown
            verdicts[n] = Verdict(keep=True)
        if used != start:
            changed = update(source_state).where(source_state.c.source == source).values(hint_count=used)
            await connection.execute(changed)
    return verdicts


async def _window(connection: AsyncConnection, source: str, now: datetime) -> int:
    """Lock the source's counter and return how many hints this hour has kept."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    await connection.execute(insert(source_state).values(source=source, hint_count=0).on_conflict_do_nothing())
    query = select(source_state).where(source_state.c.source == source).with_for_update()
    row = (await connection.execute(query)).one()
    if row.hint_window_at is not None and now - row.hint_window_at < WINDOW:
        return int(row.hint_count)
    fresh = update(source_state).where(source_state.c.source == source).values(hint_window_at=now, hint_count=0)
    await connection.execute(fresh)
    return 0

"""One transaction takes a whole batch of evidence: lock, recognise, merge, plan, write.

Deliveries, looks and decisions all enter here. The order of locks is the same for everyone (workflows by name, then
checks, then dedupe keys), so that batches of several processes cannot block each other for good.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import (
    attention,
    audit,
    checks,
    copies,
    correlation,
    evidence,
    figures,
    hints,
    labels,
    store,
    vanishing,
)
from receiver.ledger.aside import aside
from receiver.ledger.batch import Batch, decide, gather, outcome_of, plan
from receiver.ledger.entries import Entry, Result
from receiver.ledger.recent import Recent
from receiver.ledger.records import EvidenceKind, Outcome
from receiver.ledger.store import Key
from receiver.ledger.taking import first_via
from receiver.ledger.together import Together

_NO_NEWS = (Outcome.DUPLICATE, Outcome.QUARANTINED)  # nothing was written by whoever tracked


async def apply(
    connection: AsyncConnection, entries: Sequence[Entry], now: datetime, recent: Recent | None = None
) -> list[Result]:
    """Apply a batch of evidence in the open transaction; returns one result per entry, in order.

    `now` is when this is recorded. Nothing is true until the caller commits. Raises SQLAlchemy's errors; then nothing
    of the batch must be committed. Of `recent`, copies of workflows that are still true need not be loaded; they are
    taken out of it, and the caller puts back what it has committed.
    """
    batch = Batch(now)
    await correlation.resolve(connection, entries)
    await _lock(connection, batch, entries, recent)
    before = figures.marks(batch.states, batch.created)
    quota = await hints.take_quota(connection, entries, batch.checks, batch.states, now)
    fresh = await _recognise(connection, entries, batch, quota)
    weight = sum(entry.weight for entry in entries) + sum(state.weight for state in batch.states.values())
    results = await aside(weight, _outcomes, batch, entries, fresh, quota)
    for decision in await vanishing.forgotten(connection, entries, batch.states, batch.checks):
        decide(batch, decision)
    policies = {(entry.source, entry.workflow_id): entry.policy for entry in entries if entry.workflow_id is not None}
    touched = [(batch.states[key], policy) for key, policy in policies.items() if key in batch.states]
    batch.copies = await copies.attend(connection, touched, now)
    await aside(weight, plan, batch, policies)
    changed = figures.of_batch(entries, results, batch.states, before, policies, now)
    await _write(connection, batch, changed)
    for entry, result in zip(entries, results, strict=True):
        if entry.tracked_by is not None and result.outcome not in _NO_NEWS:
            who, source = entry.tracked_by, entry.source
            await audit.note(connection, who, "track", now, source=source, subject=entry.workflow_id)
    if recent is not None:
        disputed = {key for key, state in batch.states.items() if batch.concerns.get(state.pk or 0)}
        disputed.update((one.source, one.subject) for one in batch.raised)
        recent.offer(batch.checks, batch.known_keys, disputed)
    return results


def _outcomes(
    batch: Batch, entries: Sequence[Entry], fresh: Mapping[int, str], quota: Mapping[int, hints.Verdict]
) -> list[Result]:
    return [outcome_of(batch, entry, fresh.get(n), quota.get(n)) for n, entry in enumerate(entries)]


async def _lock(connection: AsyncConnection, batch: Batch, entries: Sequence[Entry], recent: Recent | None) -> None:
    """Make the workflows that are not there, lock all, and load what a batch needs to know of them."""
    names = {(entry.source, entry.workflow_id) for entry in entries if entry.workflow_id is not None}
    if not names:
        return
    known = recent.take(names) if recent is not None else {}
    wanted = await _wanted(connection, entries, batch.now, known)
    made = await store.create_missing(connection, {key: how for key, how in wanted.items() if key not in known})
    batch.states = await store.lock(connection, names - made.keys(), known) | made
    missing = wanted.keys() - batch.states.keys()
    if missing:
        # Forgotten since we knew them. Whoever locks before he inserts may be chosen in a deadlock, and tries again.
        again = [entry for entry in entries if (entry.source, entry.workflow_id) in missing]
        made |= await store.create_missing(connection, await _wanted(connection, again, batch.now, ()))
        batch.states |= made
    batch.created = set(made)
    by_us = [(e.source, e.workflow_id) for e in entries if e.kind is not EvidenceKind.DELIVERY and e.workflow_id]
    await evidence.adopt(connection, [batch.states[key] for key in sorted(batch.created.intersection(by_us))])
    # A look about an id that had no workflow may be about to delete the check of one made here.
    looks_too = any(entry.look for entry in entries)
    batch.checks = await checks.load(connection, names, lock=bool(made) or looks_too)
    pks = [state.pk for state in batch.states.values() if state.pk is not None]
    batch.concerns = await attention.open_kinds(connection, pks)


async def _wanted(
    connection: AsyncConnection, entries: Sequence[Entry], now: datetime, known: Collection[Key]
) -> dict[Key, tuple[datetime, str]]:
    """Return the workflows that come into being unless they are there, with when and by what they are first seen.

    Whether a look has been overtaken is asked only of what is not `known`, and might so be made by it.
    """
    asked = [
        (entry.source, entry.workflow_id, entry.look)
        for entry in entries
        if entry.look and (entry.source, entry.workflow_id) not in known
    ]
    overtaken = await checks.overtaken(connection, asked, now) if asked else set()
    wanted: dict[Key, tuple[datetime, str]] = {}
    for entry in entries:
        if entry.creates and (entry.source, entry.workflow_id) not in overtaken:
            wanted.setdefault((entry.source, entry.workflow_id or ""), (now, first_via(entry)))
    return wanted


async def _recognise(
    connection: AsyncConnection, entries: Sequence[Entry], batch: Batch, quota: dict[int, hints.Verdict]
) -> dict[int, str]:
    """Claim the dedupe keys (R13); returns, per place in the batch, the evidence id of what is new."""
    first: dict[tuple[str, str], int] = {}
    ids: dict[int, str] = {}
    times: dict[tuple[str, str], int] = {}
    for n, entry in enumerate(entries):
        if n in quota and not quota[n].keep:
            continue
        if entry.key is None:
            ids[n] = evidence.new_id()
            continue
        key = (entry.source, entry.key)
        times[key] = times.get(key, 0) + 1
        if key not in first:
            first[key] = n
            ids[n] = evidence.new_id()
    if first:
        claimed = [(entries[n], ids[n], times[key]) for key, n in first.items()]
        batch.known_keys = await evidence.take_keys(connection, claimed, batch.now)
        for key, n in first.items():
            if not batch.known_keys[key].new:
                del ids[n]
        batch.reused = await evidence.reused_identities(connection, [entries[n] for n in first.values() if n in ids])
    return ids


async def _write(connection: AsyncConnection, batch: Batch, changed: figures.Amounts) -> None:
    """Write everything, nearly all of it as one statement."""
    states = batch.states.values()
    out = Together(connection.dialect.name)
    await store.end_runs(connection, states)
    await aside(sum(state.weight for state in states), gather, out, batch, changed)
    checks.learn(batch.checks, await out.run(connection))
    await labels.write(connection, states)
    if batch.raised:
        await attention.raise_concerns(connection, batch.raised, batch.now)
    for source, workflow_id, kinds in batch.closed:
        await attention.close(connection, "workflow", source, workflow_id, kinds, batch.now)

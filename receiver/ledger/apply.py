"""One transaction takes a whole batch of evidence: lock, recognise, merge, plan, write.

Deliveries, looks and decisions all enter here. The order of locks is the same for everyone (workflows by name, then
checks, then dedupe keys), so that batches of several processes cannot block each other for good.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import (
    attention,
    checks,
    copies,
    correlation,
    evidence,
    figures,
    hints,
    labels,
    looks,
    reminders,
    store,
    vanishing,
)
from receiver.ledger.attention import Concern
from receiver.ledger.checks import Check
from receiver.ledger.entries import Answer, Entry, Result
from receiver.ledger.nodes import SPACED, Merged, WorkflowState
from receiver.ledger.policy import Policy
from receiver.ledger.recent import Recent
from receiver.ledger.records import EvidenceKind, Outcome, Transition
from receiver.ledger.schedule import plan_check
from receiver.ledger.store import Key
from receiver.ledger.taking import first_via, take, take_answer, tell
from receiver.ledger.together import Together

# Decisions that read evidence once more name it: a delivery or a decision that came again and changed something, and
# one that was applied again on purpose.
REPEATED, AGAIN = "repeated", "again"
TOO_LATE = "its lease had ended: kept, not applied"


@dataclass(slots=True)
class Batch:
    """What a batch has locked and gathered so far."""

    now: datetime
    states: dict[Key, WorkflowState] = field(default_factory=dict)
    checks: dict[Key, Check] = field(default_factory=dict)
    copies: copies.Copies = field(default_factory=dict)
    concerns: dict[int, set[str]] = field(default_factory=dict)  # attention open per workflow pk
    created: set[Key] = field(default_factory=set)
    known_keys: dict[tuple[str, str], evidence.Known] = field(default_factory=dict)
    reused: set[tuple[str, str]] = field(default_factory=set)
    rows: list[evidence.Row] = field(default_factory=list)
    moves: list[tuple[WorkflowState, Sequence[Transition]]] = field(default_factory=list)
    raised: list[Concern] = field(default_factory=list)
    closed: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=list)  # (source, workflow id, kinds)


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
    results = [_one(batch, entry, fresh.get(n), quota.get(n)) for n, entry in enumerate(entries)]
    for decision in await vanishing.forgotten(connection, entries, batch.states, batch.checks):
        _decide(batch, decision)
    policies = {(entry.source, entry.workflow_id): entry.policy for entry in entries if entry.workflow_id is not None}
    touched = [(batch.states[key], policy) for key, policy in policies.items() if key in batch.states]
    batch.copies = await copies.attend(connection, touched, now)
    _plan(batch, policies)
    changed = figures.of_batch(entries, results, batch.states, before, policies, now)
    await _write(connection, batch, changed)
    return results


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


def _one(batch: Batch, entry: Entry, new: str | None, quota: hints.Verdict | None) -> Result:
    key = (entry.source, entry.workflow_id or "")
    state = batch.states.get(key) if entry.workflow_id is not None else None
    if quota is not None and (quota.over_quota or entry.reading is not None):
        return _hint(batch, entry, new, quota, state)
    if entry.look is not None:
        return _look(batch, entry, new or evidence.new_id(), state)
    name = new or batch.known_keys[entry.source, entry.key or ""].evidence
    if state is None or entry.reading is None:
        return _quarantine(batch, entry, name, fresh=new is not None)
    if new is None:
        return Result(name, Outcome.DUPLICATE, _merge_repeated(batch, entry, state, name), state)
    merged = _merge(batch, entry, state, name, fresh=True)
    outcome = Outcome.APPLIED if merged.moved or entry.kind is EvidenceKind.DECISION else Outcome.RECORDED
    _keep(batch, entry, name, outcome, state)
    return Result(name, outcome, merged, state, created=key in batch.created)


def _merge(batch: Batch, entry: Entry, state: WorkflowState, name: str, *, fresh: bool) -> Merged:
    known = batch.known_keys.get((entry.source, entry.key or ""))
    first_at = known.first_at if known is not None and not fresh else None
    merged = take(state, entry, name, batch.now, first_at, fresh=fresh)
    settle_batch(batch, entry, state, merged, name)
    return merged


def _merge_repeated(batch: Batch, entry: Entry, state: WorkflowState, name: str) -> Merged:
    """Merge what came before once more (R13). What that changes is kept as a decision, so that replay knows of it."""
    changed = [one for one in state.marks() if one.dirty]
    for one in changed:
        one.dirty = False
    merged = _merge(batch, entry, state, name, fresh=False)
    if merged.transitions or state.dropped_blobs or any(one.dirty for one in state.marks()):
        known = batch.known_keys[entry.source, entry.key or ""]
        repeated = replace(entry, again=None, decision={REPEATED: name}, at=min(entry.at, known.first_at))
        _keep(batch, _without_body(repeated), evidence.new_id(), Outcome.APPLIED, state)
    for one in changed:
        one.dirty = True
    return merged


def _without_body(entry: Entry) -> Entry:
    """Return a decision to read evidence once more; `trust` stays what it was read with."""
    told = entry.decision if entry.again is None else {AGAIN: entry.again}
    kind = EvidenceKind.DECISION
    return replace(entry, kind=kind, decision=told, body=b"", body_sha256="", identity=None, headers={})


def settle_batch(batch: Batch, entry: Entry, state: WorkflowState, merged: Merged, name: str) -> None:
    """Gather what a merge brought about: transitions to write, doubts for the check, attention to raise or close."""
    if merged.transitions:
        batch.moves.append((state, merged.transitions))
    check = batch.checks[state.source, state.id]
    if merged.moved and entry.kind is EvidenceKind.DELIVERY:
        forgive(check, batch.now)
    if merged.doubt:
        check.memory.doubted_at = batch.now
        check.dirty = True
    if merged.contested:
        batch.raised.append(Concern("workflow", state.source, state.id, "contradicted", state.pk, name))


def _decide(batch: Batch, entry: Entry) -> None:
    """Take in a decision drawn from what the batch brought; a person need not be told of it."""
    state, name = batch.states[entry.source, entry.workflow_id or ""], evidence.new_id()
    settle_batch(batch, entry, state, take(state, entry, name, batch.now, fresh=True), name)
    _keep(batch, entry, name, Outcome.APPLIED, state)
    batch.raised = [one for one in batch.raised if one.workflow != state.pk or one.kind != "gone"]


def forgive(check: Check, now: datetime) -> None:
    """Let news that moved a status be looked into at once, although upstream was silent or refused before."""
    memory = check.memory
    if memory.retry_at is not None and memory.retry_at > now + SPACED:
        memory.retry_at = None
        memory.misses = 0
        check.dirty = True


def _keep(batch: Batch, entry: Entry, name: str, outcome: Outcome, state: WorkflowState | None) -> evidence.Row:
    """Put an evidence row in the batch, numbered under its workflow's lock."""
    row = evidence.Row(name, entry if entry.again is None else _without_body(entry), outcome, batch.now)
    if state is not None:
        state.evidence_seq += 1
        state.node.dirty = True
        row.workflow, row.seq = state.pk, state.evidence_seq
    if entry.identity and (entry.source, entry.identity) in batch.reused:
        row.problem = "the same delivery identity came before with other bytes"
    batch.rows.append(row)
    return row


def _quarantine(batch: Batch, entry: Entry, name: str, *, fresh: bool) -> Result:
    """Keep what is believed but not understood, and tell a person; it may name a workflow all the same."""
    if not fresh:
        return Result(name, Outcome.DUPLICATE)
    state = batch.states.get((entry.source, entry.workflow_id)) if entry.workflow_id is not None else None
    _keep(batch, entry, name, Outcome.QUARANTINED, state)
    batch.raised.append(Concern("delivery", entry.source, name, "unreadable", None, name, entry.problem))
    return Result(name, Outcome.QUARANTINED, state=state)


def _hint(batch: Batch, entry: Entry, new: str | None, verdict: hints.Verdict, state: WorkflowState | None) -> Result:
    """A hint moves nothing; at most it makes a look due, one at a time per id and 30 s apart (R9)."""
    if verdict.over_quota:
        return Result("", Outcome.HINT, over_quota=True)
    assert entry.workflow_id is not None
    check = batch.checks[entry.source, entry.workflow_id]
    hints.note(check, batch.now)
    if new is None:
        known = batch.known_keys.get((entry.source, entry.key or ""))
        return Result(known.evidence if known is not None else verdict.evidence or "", Outcome.HINT, state=state)
    if state is not None:
        tell(state, entry)
    _keep(batch, entry, new, Outcome.HINT, state)
    return Result(new, Outcome.HINT, state=state)


def _look(batch: Batch, entry: Entry, name: str, state: WorkflowState | None) -> Result:
    """Apply the answer to one of our own looks, unless its lease has gone to somebody else meanwhile (R15)."""
    look = entry.look
    assert look is not None
    assert entry.workflow_id is not None
    check = batch.checks[entry.source, entry.workflow_id]
    lapsed = check.leased_until is not None and check.leased_until <= batch.now
    made_meanwhile = state is None and check.workflow is not None  # after we looked for it: it is not ours to plan
    if check.fence != look.fence or lapsed or not check.stored or made_meanwhile:
        if look.evidence and (check.stored or state is not None):  # else it was forgotten meanwhile, and stays so
            _keep(batch, entry, name, Outcome.RECORDED, state).problem = TOO_LATE
        return Result(name, Outcome.RECORDED, state=state, stale=True)
    merged = None
    if look.evidence:
        # What is recorded was not applied: replay goes by that.
        row = _keep(batch, entry, name, Outcome.RECORDED if look.answer is Answer.HELD else Outcome.APPLIED, state)
        looks.keep_body_once(check, row)
    if state is not None:
        merged = take_answer(state, entry, name, batch.now)
        if merged is not None:
            settle_batch(batch, entry, state, merged, name)
    raised, closed = looks.finish(check, entry, state, batch.now)
    batch.raised += raised
    if state is not None and not batch.concerns.get(state.pk or 0, set()).isdisjoint(closed):
        batch.closed.append((state.source, state.id, closed))
    created = (entry.source, entry.workflow_id) in batch.created
    return Result(name, Outcome.APPLIED, merged, state, created=created)


def _plan(batch: Batch, policies: Mapping[Key, Policy]) -> None:
    """Work out each workflow's next look, and open or close what the passing of time is the cause of."""
    for key, policy in policies.items():
        check, state = batch.checks[key], batch.states.get(key)
        if state is not None:
            check.workflow = state.pk
            check.memory.copies = batch.copies.get(state.pk or 0, {})
            open_kinds = batch.concerns.get(state.pk or 0, set())
            told = reminders.by_the_clock(state, policy, open_kinds, check.memory.copies, batch.now)
            check.memory.told = frozenset(told.open)
            batch.raised += told.raised
            batch.closed += [(state.source, state.id, kinds) for kinds in told.closed]
        if state is None and check.workflow is not None:
            continue
        due = plan_check(state, check.memory, policy)
        check.schedule(due)
        if state is not None and due.at is None:
            raised = {one.kind for one in batch.raised if one.workflow == state.pk}
            if not (raised | check.memory.told).isdisjoint(attention.FAILURES):
                batch.closed.append((state.source, state.id, attention.FAILURES))


async def _write(connection: AsyncConnection, batch: Batch, changed: figures.Amounts) -> None:
    """Write everything, nearly all of it as one statement."""
    states = batch.states.values()
    out = Together(connection.dialect.name)
    await store.end_runs(connection, states)
    evidence.write(out, batch.rows)
    store.add_transitions(out, batch.moves)
    store.save(out, states)
    checks.save(out, batch.checks.values())
    figures.write(out, changed, batch.now)
    labels.add_types(out, states)
    await out.run(connection)
    await labels.write(connection, states)
    if batch.raised:
        await attention.raise_concerns(connection, batch.raised, batch.now)
    for source, workflow_id, kinds in batch.closed:
        await attention.close(connection, "workflow", source, workflow_id, kinds, batch.now)

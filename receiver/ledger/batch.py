"""What a batch of evidence comes to, once all that it must know is gathered and locked: merge, number, plan. Pure.

Who gathers it, and how it is written, is `apply`'s business, and `ahead`'s.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from receiver.ledger import attention, checks, copies, evidence, figures, hints, labels, looks, reminders, store
from receiver.ledger.attention import Concern
from receiver.ledger.checks import Check
from receiver.ledger.entries import Answer, Entry, Result
from receiver.ledger.nodes import SPACED, Merged, WorkflowState
from receiver.ledger.policy import Policy
from receiver.ledger.records import EvidenceKind, Outcome, Transition
from receiver.ledger.schedule import plan_check
from receiver.ledger.store import Key
from receiver.ledger.taking import take, take_answer
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


def outcome_of(batch: Batch, entry: Entry, new: str | None, quota: hints.Verdict | None = None) -> Result:
    """Take one entry into the batch and return what becomes of it; `new` is the evidence's id when it is new."""
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


def decide(batch: Batch, entry: Entry) -> None:
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
    """A hint changes nothing, not even the `ref` of its URL, by which others find a workflow; at most it makes a look
    due, one at a time per id and 30 s apart (R9)."""
    if verdict.over_quota:
        return Result("", Outcome.HINT, over_quota=True)
    assert entry.workflow_id is not None
    check = batch.checks[entry.source, entry.workflow_id]
    hints.note(check, batch.now)
    if new is None:
        known = batch.known_keys.get((entry.source, entry.key or ""))
        return Result(known.evidence if known is not None else verdict.evidence or "", Outcome.HINT, state=state)
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


def plan(batch: Batch, policies: Mapping[Key, Policy]) -> None:
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
        if state is not None and check.dirty:
            state.node.dirty = True  # a new version, so that whoever keeps copies sees that the check is another too
        if state is not None and due.at is None:
            raised = {one.kind for one in batch.raised if one.workflow == state.pk}
            if not (raised | check.memory.told).isdisjoint(attention.FAILURES):
                batch.closed.append((state.source, state.id, attention.FAILURES))


def gather(out: Together, batch: Batch, changed: figures.Amounts, unmade: Collection[Key] = ()) -> None:
    """Add to `out` all that a batch writes in one statement; its runs that ended must be kept already.

    `unmade` are workflows that have no row yet.
    """
    states = batch.states.values()
    evidence.write(out, batch.rows)
    store.add_transitions(out, batch.moves)
    store.save(out, states, unmade)
    checks.save(out, batch.checks.values())
    figures.write(out, changed, batch.now)
    labels.add_types(out, states)

"""What one entry does to one workflow's state, whoever asks: the ledger as it happens, or replay afterwards. Pure."""

from __future__ import annotations

from datetime import datetime

from receiver.ledger.entries import Answer, Entry
from receiver.ledger.looks import refuse_renewal
from receiver.ledger.merge import by_hand, merge, merge_forgotten, merge_gone
from receiver.ledger.nodes import ABOUT, AHEAD, Evidence, Merged, WorkflowState
from receiver.ledger.records import EvidenceKind

# The decision that ends what upstream has forgotten (`vanishing`).
GONE = "gone"


def via(entry: Entry) -> str:
    """Return the word for how the ledger came to know what an entry says."""
    return {EvidenceKind.DELIVERY: "delivery", EvidenceKind.FETCH: "look"}.get(entry.kind, "track")


def first_via(entry: Entry) -> str:
    """Return the word for what a workflow was first seen by; a fetch nobody claimed was not made for that workflow."""
    return "backfill" if entry.kind is EvidenceKind.FETCH and entry.look is None else via(entry)


def take(
    state: WorkflowState, entry: Entry, name: str, now: datetime, first_at: datetime | None = None, *, fresh: bool
) -> Merged:
    """Merge what an entry says into its workflow, and tell it what a person or the registered URL adds.

    `name` is the evidence's id, `now` when it is recorded. `first_at` is when what comes again came first.
    """
    assert entry.reading is not None
    # Nothing arrives after it is recorded, but a receiver's clock may be ahead of the ledger's. What comes again is as
    # old as when it came first: a look sent since knows better (R4).
    at = min(entry.at, now, first_at or now)
    facts = Evidence(name, entry.kind, at, now, via(entry), entry.trust, _date(entry, now), fresh)
    if GONE in (entry.decision or {}):
        return _by_itself(state, merge_forgotten(state, facts))
    reading = by_hand(entry.reading) if entry.kind is EvidenceKind.DECISION else entry.reading
    merged = _by_itself(state, merge(state, reading, facts, restartable=entry.policy.restartable))
    tell(state, entry)
    return merged


def _date(entry: Entry, now: datetime) -> datetime | None:
    """Return upstream's clock on an answer; None when it is too far ahead to order anything by (R4)."""
    date = entry.http_date
    return date if date is None or date <= now + AHEAD else None


def _by_itself(state: WorkflowState, merged: Merged) -> Merged:
    """Leave the state as it comes back from the database, so that it makes no difference which evidence was committed
    together: replay cannot know that."""
    for child in state.children():
        child.blank = False
    if merged.transitions:
        state.node.blank = False
    return merged


def take_answer(state: WorkflowState, entry: Entry, name: str, now: datetime) -> Merged | None:
    """Take in how upstream answered one of our looks; None when that says nothing of the workflow's status."""
    look = entry.look
    assert look is not None
    if look.answer is Answer.SHOWN and entry.reading is not None:
        return take(state, entry, name, now, fresh=True)
    if look.blob is not None and look.answer in (Answer.GONE, Answer.REFUSED):
        refuse_renewal(state, entry, now)
    elif look.answer is Answer.GONE:
        facts = Evidence(name, entry.kind, entry.at, now, "look", None, _date(entry, now))
        return _by_itself(state, merge_gone(state, facts))
    return None


def tell(state: WorkflowState, entry: Entry) -> None:
    """Fill in what a person or the registered URL says of a workflow; context is added to, label by label."""
    if entry.ref is not None and state.about.get("ref") is None:
        state.tell("ref", entry.ref)
    if entry.submitted_at is not None:
        state.put("submitted_at", state.submitted_at or entry.submitted_at)
    for column, value in (entry.told or {}).items():
        if column not in ABOUT or value is None:
            continue
        if column not in state.node.stamps.get("told", ()):
            state.node.stamp("told", sorted({*state.node.stamps.get("told", ()), column}))
        known = state.about.get("context") or {}
        changed = state.tell(column, {**known, **value} if column == "context" else value)
        state.relabelled |= changed and column == "context"

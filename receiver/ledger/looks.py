"""What the answer to a look means for its check and for the people watching (R11). Decides; writes nothing."""

from __future__ import annotations

from datetime import datetime, timedelta

from receiver.ledger.attention import Concern
from receiver.ledger.checks import Check
from receiver.ledger.entries import Answer, Entry
from receiver.ledger.evidence import Row
from receiver.ledger.nodes import SPACED, WorkflowState
from receiver.ledger.schedule import DAILY

# Tries a round has before upstream counts as unreachable for this workflow (R11).
TRIES = 5
# 404s in a row before a person is told (R11).
MISSES = 3


def keep_body_once(check: Check, row: Row) -> None:
    """Let an answer that is the same as the last one refer to its body instead of storing it again."""
    digest = row.entry.body_sha256
    if digest and digest == check.seen_sha256 and check.seen_evidence is not None:
        row.same_as = check.seen_evidence
    elif digest:
        check.seen_sha256, check.seen_evidence = digest, row.id


def finish(
    check: Check, entry: Entry, state: WorkflowState | None, now: datetime
) -> tuple[list[Concern], tuple[str, ...]]:
    """Close a look: give the lease back, clear what it answered, and set when a failed one may be tried again.

    Returns the attention to raise and the kinds to close.
    """
    look = entry.look
    assert look is not None
    memory = check.memory
    check.finished = check.dirty = True
    check.last_error = look.message or None
    if look.answer is Answer.SHOWN:
        _answered(check, entry)
        return [], ("unreachable", "gone", "refused", "unreadable")
    if look.answer is Answer.CREDENTIALS:
        memory.attempts = max(memory.attempts - 1, 0)  # the key is at fault, not the workflow: not charged
        return [], ()
    if look.answer is Answer.GONE:
        return _missed(check, entry, state, now)
    if look.answer is Answer.REFUSED:
        check.dropped = state is None
        memory.attempts = 0
        memory.wanted_at = None
        memory.retry_at = now + DAILY
        return _concern("refused", entry, state, look.message), ()
    if memory.attempts < TRIES:
        wait = max(look.backoff, look.retry_after or 0.0)
        memory.retry_at = now + timedelta(seconds=wait)
        return [], ()
    memory.attempts = 0
    memory.wanted_at = None
    memory.retry_at = now + max(entry.policy.silence, SPACED)
    kind = "unreadable" if look.answer is Answer.UNREADABLE else "unreachable"
    return _concern(kind, entry, state, look.message), ()


def _answered(check: Check, entry: Entry) -> None:
    memory = check.memory
    memory.attempts = memory.misses = 0
    memory.looks += 1
    memory.retry_at = None
    for name in ("wanted_at", "hinted_at", "doubted_at"):
        at = getattr(memory, name)
        if at is not None and at <= entry.at:  # a wish made meanwhile is not lost (R15)
            setattr(memory, name, None)


def _missed(
    check: Check, entry: Entry, state: WorkflowState | None, now: datetime
) -> tuple[list[Concern], tuple[str, ...]]:
    memory = check.memory
    if state is None:
        check.dropped = True  # a hint about an id upstream does not know
        return [], ()
    memory.attempts = 0
    memory.misses += 1
    memory.wanted_at = None
    memory.retry_at = now + (SPACED * memory.misses if memory.misses < MISSES else DAILY)
    if state.node.status.terminal:
        memory.doubted_at = memory.hinted_at = None  # upstream's record is gone, the ending stands as it is
        return [], ()
    if memory.misses < MISSES:
        return [], ()
    return _concern("gone", entry, state, "upstream does not know this workflow (404)"), ()


def _concern(kind: str, entry: Entry, state: WorkflowState | None, note: str) -> list[Concern]:
    if state is None:
        return []
    return [Concern("workflow", state.source, state.id, kind, state.pk, None, note)]

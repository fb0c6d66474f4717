"""What the answer to a look means for its check and for the people watching (R11). Decides; writes nothing."""

from __future__ import annotations

from datetime import datetime, timedelta

from receiver.ledger.attention import FAILURES, Concern
from receiver.ledger.checks import Check
from receiver.ledger.entries import Answer, Entry
from receiver.ledger.evidence import Row
from receiver.ledger.nodes import SPACED, WorkflowState
from receiver.ledger.schedule import DAILY, TRIES, Memory

# 404s in a row before a person is told (R11).
MISSES = 3
# For how long a workflow that reads for many do not answer for is asked about by itself.
ALONE_FOR = timedelta(hours=1)


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
    if look.alone:
        check.alone_until = now + ALONE_FOR
    if look.blob is not None and look.answer in (Answer.SHOWN, Answer.GONE, Answer.REFUSED):
        return _renewed(check, entry)
    if look.answer is Answer.SHOWN:
        _answered(check, entry)
        return [], ("gone", *FAILURES)
    if look.answer is Answer.OMITTED:
        memory.attempts, memory.tried_at = max(memory.attempts - 1, 0), None  # it was not asked about at all
        return [], ()
    if look.answer is Answer.HELD:
        memory.attempts, memory.retry_at = max(memory.attempts - 1, 0), now + SPACED  # so that a probe tries others too
        return [], ()
    if look.answer is Answer.CREDENTIALS or not look.charged:
        memory.attempts = max(memory.attempts - 1, 0)  # the account is at fault, not the workflow (R11)
        return [], ()
    if look.answer is Answer.GONE:
        return _missed(check, entry, state, now)
    if look.answer is Answer.REFUSED:
        if state is None:
            return _unknown(memory, entry, now)
        memory.attempts = 0
        _forget(memory, entry, "wanted_at")
        memory.retry_at = now + DAILY
        return _concern("refused", entry, state, look.message), ()
    if memory.attempts < TRIES:
        wait = max(look.backoff, look.retry_after or 0.0)
        memory.retry_at = now + timedelta(seconds=wait)
        return [], ()
    memory.attempts = 0
    _forget(memory, entry, "wanted_at")
    memory.retry_at = now + max(entry.policy.silence, SPACED)
    kind = "unreadable" if look.answer is Answer.UNREADABLE else "unreachable"
    return _concern(kind, entry, state, look.message), ()


def _answered(check: Check, entry: Entry) -> None:
    memory = check.memory
    memory.attempts = memory.misses = 0
    memory.looks += 1
    memory.retry_at = None
    _forget(memory, entry, "wanted_at", "hinted_at", "doubted_at")


def _forget(memory: Memory, entry: Entry, *names: str) -> None:
    """Forget what a look has dealt with; a wish made while it was under way is not lost (R15)."""
    for name in names:
        at = getattr(memory, name)
        if at is not None and at <= entry.at:
            setattr(memory, name, None)


def _renewed(check: Check, entry: Entry) -> tuple[list[Concern], tuple[str, ...]]:
    """Close the renewal of one blob's URL. It answers no question about the workflow, except that upstream speaks."""
    check.memory.attempts = 0
    check.memory.retry_at = None
    _forget(check.memory, entry, "wanted_at")
    return [], ("unreachable",)


def refuse_renewal(state: WorkflowState, entry: Entry, now: datetime) -> None:
    """Mark a blob that upstream will not give a URL for: 404 is gone for good, anything else a block (R17)."""
    assert entry.look is not None
    blob = state.blobs.get(entry.look.blob or "")
    if blob is None:
        return
    if entry.look.answer is Answer.GONE:
        blob.put("gone_at", blob.gone_at or now)
    else:
        blob.put("available", False)
        blob.put("facts", {**blob.facts, "renewal_refused": entry.look.message})


def _missed(
    check: Check, entry: Entry, state: WorkflowState | None, now: datetime
) -> tuple[list[Concern], tuple[str, ...]]:
    memory = check.memory
    if state is None:
        return _unknown(memory, entry, now)
    memory.attempts = 0
    _forget(memory, entry, "wanted_at")
    if memory.misses == 0 or memory.retry_at is None or entry.at >= memory.retry_at:
        memory.misses += 1  # three in a row must be spaced out; asking by hand in between does not count
        memory.retry_at = now + (SPACED * memory.misses if memory.misses < MISSES else DAILY)
    if state.node.status.terminal:
        memory.doubted_at = memory.hinted_at = None  # upstream's record is gone, the ending stands as it is
        return [], FAILURES
    if memory.misses < MISSES:
        return [], FAILURES
    return _concern("gone", entry, state, "upstream does not know this workflow (404)"), FAILURES


def _unknown(memory: Memory, entry: Entry, now: datetime) -> tuple[list[Concern], tuple[str, ...]]:
    """Close a look at an id that only a hint or a wish has named, and that upstream does not know, or does not tell of.

    It may know it by the time of the next hint (R15); until the row is forgotten it keeps that look 30 s away (R9).
    """
    memory.attempts = 0
    _forget(memory, entry, "hinted_at", "wanted_at")
    memory.retry_at = now + SPACED
    return [], ()


def _concern(kind: str, entry: Entry, state: WorkflowState | None, note: str) -> list[Concern]:
    if state is None:
        return []
    return [Concern("workflow", state.source, state.id, kind, state.pk, None, note)]

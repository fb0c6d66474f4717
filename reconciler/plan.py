"""What to do with a check that has been claimed. Pure: no I/O, no clock, no chance."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from receiver.ledger.nodes import Blob, WorkflowState
from receiver.ledger.policy import Policy
from receiver.ledger.schedule import (
    LANE_OF,
    NOTHING_DUE,
    TRIES,
    Due,
    Memory,
    awaits_copying,
    plan_check,
    renewal_due,
    uncollected_between,
)

# A URL that a look this recent did not renew will not be renewed by the next look either.
RECENT = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Refetch:
    """Ask upstream how the workflow is. One look serves all the reasons it is made for (R15)."""

    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Relink:
    """Ask for a fresh URL of this one blob: a look did not bring one (R17)."""

    blob_id: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do yet: give the check back until `due.at` (None: until something happens).

    `over` are the kinds of attention whose time has passed meanwhile.
    """

    due: Due
    over: tuple[str, ...] = ()

    @property
    def until(self) -> datetime | None:
        """When the check is due again."""
        return self.due.at


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End this round without asking, for the attention kind `reason`."""

    reason: str


Plan = Refetch | Relink | Wait | GiveUp


def decide(
    state: WorkflowState | None, memory: Memory, now: datetime, policy: Policy, *, at_once: bool = False
) -> Plan:
    """Decide on a check just claimed, so that `memory.attempts` counts the try that is about to be made.

    `state` is None for an id that only a hint has named. `now` is the database's clock at the claim (R14). `at_once`
    asks about everything that is not settled yet, due or not (`reconcile --open`).

    The receiver leaves a due time that has become too early as it is; that deliveries postpone silence (R16) is worked
    out here. A wish, or `at_once`, does not wait for the next round of tries; within a round even they wait, because
    upstream may have said how long.
    """
    if memory.attempts > TRIES and not at_once:
        return GiveUp("unreachable")  # counted before their I/O, tries that crashed us are tries (R14)
    due = plan_check(state, memory, policy)
    if "forget" in due.reasons and memory.retry_at is not None and memory.retry_at <= now:
        return Wait(NOTHING_DUE)
    within_round = memory.attempts > 1 and memory.retry_at is not None and memory.retry_at > now
    asked_for = memory.wanted_at is not None or (at_once and unsettled(state))
    if asked_for and not within_round:
        blob = stubborn_blob(state, memory, now) if memory.wanted_at is not None and _asked_lately(state, now) else None
        return Relink(blob.id) if blob is not None else Refetch(_reasons(due, now) or ("open",))
    if state is not None and _too_late_to_keep_fresh(state, memory, policy, now):
        due = without("blobs", due)
    over: tuple[str, ...] = ()
    if state is not None and _nothing_to_tell(state, memory, policy, due, now):
        due, over = without("uncollected", due), ("uncollected",)
    if due.at is None or due.at > now:
        return Wait(due, over)
    reasons = _reasons(due, now)
    if reasons == ("blobs",):
        blob = stubborn_blob(state, memory, now)
        if blob is not None:
            return Relink(blob.id)
    return Refetch(reasons)


def _too_late_to_keep_fresh(state: WorkflowState, memory: Memory, policy: Policy, now: datetime) -> bool:
    """Whether URLs are renewed on demand only by now: after an outage not every old one is worth a look (R17)."""
    ended = state.node.finished_at
    if ended is None or now <= ended + policy.keep_fresh:
        return False
    return not any(awaits_copying(blob, memory.copies, policy) for blob in state.blobs.values())


def _nothing_to_tell(state: WorkflowState, memory: Memory, policy: Policy, due: Due, now: datetime) -> bool:
    """Whether a person was, or would be, told of outputs that upstream has deleted by now, or that somebody keeps.

    No look brings back what is deleted.
    """
    if "uncollected" not in due.reasons and "uncollected" not in memory.told:
        return False
    between = uncollected_between(state, policy, memory.copies)
    return between is None or (between[1] is not None and between[1] <= now)


def without(reason: str, due: Due) -> Due:
    """Return a plan without one of its reasons."""
    reasons = {why: at for why, at in due.reasons.items() if why != reason}
    if len(reasons) == len(due.reasons):
        return due
    at = min(reasons.values(), default=None)
    lanes = [LANE_OF[why] for why, when in reasons.items() if when == at]
    return Due(reasons, at, lanes[0] if lanes else due.lane)


def unsettled(state: WorkflowState | None) -> bool:
    """Whether a look may still change a status: something is open, or an ending is not confirmed yet."""
    if state is None:
        return False  # known from hints alone: their lane and their share decide (R9)
    if not state.node.status.terminal:
        return True
    if state.vanished_at is not None:
        return False
    return any(node.provisional or not node.status.terminal for node in (state.node, *state.children()))


def stubborn_blob(state: WorkflowState | None, memory: Memory, now: datetime) -> Blob | None:
    """Return the blob whose URL ends first among those that the last look should have renewed and did not.

    Such a look was made when the URL was due for renewal and showed the same URL again, or met a 404: upstream forgets
    an ephemeral workflow at its end and keeps its files.
    """
    if state is None:
        return None
    found: list[tuple[datetime, Blob]] = []
    for _, blob in sorted(state.blobs.items()):
        due = renewal_due(blob)
        if due is None or due > now or not blob.url_confirmed or blob.url_expires_at is None:
            continue
        if memory.misses > 0 or _shown_again(state, blob, due):
            found.append((blob.url_expires_at, blob))
    return min(found, key=lambda pair: pair[0])[1] if found else None


def _shown_again(state: WorkflowState, blob: Blob, due: datetime) -> bool:
    asked = state.asked_at
    if asked is None or asked < due or blob.look_sent_at is None or blob.url_seen_at is None:
        return False
    return blob.look_sent_at >= asked and blob.url_seen_at < asked


def _asked_lately(state: WorkflowState | None, now: datetime) -> bool:
    return state is not None and state.asked_at is not None and now - state.asked_at < RECENT


def _reasons(due: Due, now: datetime) -> tuple[str, ...]:
    return tuple(sorted(why for why, at in due.reasons.items() if at <= now))

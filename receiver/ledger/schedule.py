"""When a workflow is to be looked at, and why. Pure, and read off the state of the world rather than off events.

A check is one row per workflow (R15). Its reasons are worked out anew from the workflow's state each time something
changes, on the receiver's side as on the reconciler's, so an ending removes the reasons for polling in the same
transaction that records it. What cannot be read off the workflow (somebody wants it, a hint came, a doubt arose, how
often upstream failed to answer) is the check's memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from receiver.ledger.durations import READ_COST, SILENT_MISS, together
from receiver.ledger.nodes import SPACED, Blob, Node, WorkflowState
from receiver.ledger.policy import Policy
from receiver.ledger.records import Trust
from receiver.ledger.runs import began_at

# A moment for upstream's own reads to catch up with the callback it just sent.
CONFIRM_AFTER = timedelta(seconds=1)
# A look that was concurrent with an ending says nothing about it: ask again after this.
CONFIRM_AGAIN = timedelta(seconds=5)
CONFIRM_AT_LEAST = timedelta(minutes=5)
# The last step or job is over: its parent's own news is given this long, and then asked for.
PARENT_AFTER = timedelta(seconds=4)
# No two renewals of a workflow's URLs are closer than this (R17).
RENEW_SPACING = timedelta(seconds=10)
RENEW_AHEAD = timedelta(minutes=5)
# A workflow whose word is that it does not exist, or may not be read, is asked about once a day (R11).
DAILY = timedelta(days=1)
# Tries a round has before upstream counts as unreachable for this workflow (R11).
TRIES = 5
# No two looks that the past suggests are closer than this.
SOONEST = timedelta(seconds=2)
# A read for many is reckoned to answer for so many that are due at the same time.
WORTH_MANY = 100
# Such reads are no further apart than this part of a source's `silence`.
WAITS_FOR_COMPANY = 3
_EPOCH = datetime.fromisoformat("2000-01-01T00:00:00+00:00")

LANE_OF = {
    "wanted": "interactive",
    "confirm": "fresh",
    "fresh": "fresh",
    "doubt": "fresh",
    "parent": "fresh",
    "children": "standing",
    "silence": "standing",
    "deadline": "standing",
    "blobs": "standing",
    "uncollected": "standing",
    "hint": "hints",
    "forget": "hints",
}
_LANE_ORDER = ("interactive", "fresh", "standing", "hints")


@dataclass(slots=True)
class Memory:
    """What a check remembers that the workflow's state does not say; one row of `checks`."""

    wanted_at: datetime | None = None
    hinted_at: datetime | None = None
    doubted_at: datetime | None = None
    retry_at: datetime | None = None
    tried_at: datetime | None = None
    attempts: int = 0
    looks: int = 0
    misses: int = 0
    hints: int = 0
    told: frozenset[str] = frozenset()  # kinds of attention that are open: their instants have nothing more to say
    copies: Mapping[str, str] = field(default_factory=dict)  # blobs that are being copied or were: how that stands


@dataclass(frozen=True, slots=True)
class Due:
    """Why and when to look next: reasons with their instants, the earliest of them, and its lane. None: no reason."""

    reasons: dict[str, datetime]
    at: datetime | None
    lane: str


NOTHING_DUE = Due({}, None, "standing")


def plan_check(state: WorkflowState | None, memory: Memory, policy: Policy) -> Due:
    """Return what is due for a workflow; `state` is None for an id that only a hint has named (R9)."""
    reasons: dict[str, datetime] = {}
    asked = state.asked_at if state is not None else None
    if memory.wanted_at is not None:
        reasons["wanted"] = memory.wanted_at
    if memory.hinted_at is not None and (asked is None or memory.hinted_at > asked):
        reasons["hint"] = max(memory.hinted_at, asked + SPACED) if asked else memory.hinted_at
    if state is not None:
        if memory.doubted_at is not None and (asked is None or memory.doubted_at > asked):
            reasons["doubt"] = max(memory.doubted_at, asked + SPACED) if asked else memory.doubted_at
        if state.node.status.terminal:
            reasons |= _after_the_end(state, memory, policy)
        else:
            reasons |= _while_alive(state, memory, policy)
    elif not reasons and memory.retry_at is not None:
        reasons["forget"] = memory.retry_at  # nothing is known by that id: its row only keeps looks apart
    if not reasons:
        return NOTHING_DUE
    if memory.retry_at is not None:
        # Between rounds a person's wish does not wait for the next one; within a round it does, as upstream asked.
        free = {"wanted"} if memory.attempts == 0 else set()
        reasons = {why: at if why in free else max(at, memory.retry_at) for why, at in reasons.items()}
    at = min(reasons.values())
    lane = min((LANE_OF[why] for why, due in reasons.items() if due == at), key=_LANE_ORDER.index)
    return Due(reasons, at, lane)


def _while_alive(state: WorkflowState, memory: Memory, policy: Policy) -> dict[str, datetime]:
    """Poll fresh work as upstream advises until the first believed delivery; then ask after silence (R16).

    What has told nothing yet is silent too: it is never asked about more rarely than silence is asked after.
    """
    last = state.asked_at or state.node.first_seen_at
    reasons: dict[str, datetime] = {}
    at = learned_at(state, policy)
    if state.news_at is None:
        rung = min(memory.looks, len(policy.poll) - 1)
        reasons["fresh"] = at or last + min(timedelta(seconds=policy.poll[rung]), policy.silence)
    else:
        quiet_since = max(state.news_at, last)
        reasons["silence"] = min(at or quiet_since + policy.silence, last + 4 * policy.silence)
    parent = _parent_at(state)
    if parent is not None:
        reasons["parent"] = parent
    if "overdue" not in memory.told:
        reasons["deadline"] = deadline_of(state, policy)
    return reasons


def learned_at(state: WorkflowState, policy: Policy) -> datetime | None:
    """Return when it pays to look at a workflow that is alive, by what is known of its kind; None when nothing is.

    Counted from the last time it was known to be alive. Where one read answers for many workflows, their looks fall on
    the same instants.
    """
    known = policy.learned.of(state.about.get("model") or "", step_types(state)) if policy.learned else None
    if known is None:
        return None
    began = began_of(state)
    alive = max(filter(None, (began, state.asked_at, state.news_at)))
    miss = policy.learned.miss_rate
    if policy.trust is Trust.NONE:
        miss = 1.0
    elif state.news_at is None:
        miss = max(miss, SILENT_MISS)
    cost = READ_COST if policy.bulk == 1 else READ_COST / WORTH_MANY
    wait = known.next_look((alive - began).total_seconds(), miss, cost)
    if wait is None:
        return None
    at = alive + min(max(timedelta(seconds=wait), SOONEST), 4 * policy.silence)
    if policy.bulk == 1:
        return at
    # Whoever wants to hear of silence soon does not want to wait long for company either.
    most = max(policy.silence.total_seconds() / WAITS_FOR_COMPANY, 1)
    apart = timedelta(seconds=round(min(together(policy.learned.miss_rate, policy.learned.rate), most)))
    return _EPOCH + math.ceil((at - _EPOCH) / apart) * apart


def step_types(state: WorkflowState) -> str:
    """Return what kinds of steps a workflow has, as one word."""
    found = {word for step in state.steps.values() if isinstance(word := step.facts.get("type"), str)}
    return "+".join(sorted(found))[:100]


def began_of(state: WorkflowState) -> datetime:
    """Return since when a workflow, or its present run, has been known to be on its way."""
    began = began_at(state) if state.run > 1 else None
    return began or min(filter(None, (state.node.first_seen_at, state.submitted_at)))


def _parent_at(state: WorkflowState) -> datetime | None:
    """When to look because all that is known to go on in a step, or in the workflow, has ended and it has not itself.

    None when there is no such parent, or when a look was made since.
    """
    found: list[datetime] = []
    for parent in (state.node, *(step for step in state.steps.values() if not step.status.terminal)):
        under = [child for child in state.children() if state.parent_of(child) is parent]
        if under and all(child.status.terminal for child in under):
            last = max(under, key=lambda child: child.status_seen_at)
            if last.finished_at is not None and (state.asked_at is None or state.asked_at < last.status_seen_at):
                found.append(last.finished_at + PARENT_AFTER)
    return min(found, default=None)


def deadline_of(state: WorkflowState, policy: Policy) -> datetime:
    """Return when a workflow that has not ended becomes a person's business (attention `overdue`)."""
    return began_of(state) + policy.deadline


def awaits_copying(blob: Blob, copies: Mapping[str, str], policy: Policy) -> bool:
    """Whether a file of an ended workflow is still to be copied: its URL is kept alive for that."""
    return policy.collect and copies.get(blob.id, "due") == "due"


def uncollected_between(
    state: WorkflowState, policy: Policy, copies: Mapping[str, str]
) -> tuple[datetime, datetime | None] | None:
    """Return from when until when a person is told that upstream will delete outputs (attention `uncollected`).

    What has been copied (`copies`: blob id to state) is nobody's business; what cannot be copied is at once, and until
    it is seen to (no end). Else from a third of their lifetime ahead of their end, a day at most, until they are
    deleted: then there is nothing left to do. None where upstream is not known to delete them. A file without a clock
    of its own lives as long as upstream's outputs do, counted from the end as far as that is known.
    """
    ended = state.node.completed_at or state.node.finished_at
    if not state.node.status.terminal or state.node.finished_at is None or ended is None:
        return None
    first: list[datetime] = []
    last: list[datetime] = []
    lost = False
    for blob in state.blobs.values():
        copy = copies.get(blob.id)
        if copy == "failed":
            first.append(state.node.finished_at)
            lost = True
        if copy in ("kept", "failed") or not policy.warn_deletion:
            continue
        ends = [at for at in (blob.media_expires_at, blob.record_expires_at) if at is not None]
        if not ends and policy.outputs_live is not None:
            ends = [ended + policy.outputs_live]
        if ends and blob.available and blob.gone_at is None:
            end = min(ends)
            first.append(end - min(max(end - ended, timedelta(0)) / 3, DAILY))
            last.append(end)
    return (min(first), None if lost else max(last)) if first else None


def is_between(span: tuple[datetime, datetime | None] | None, now: datetime) -> bool:
    """Whether an instant lies in a span of time, which may have no end; no span holds none."""
    return span is not None and span[0] <= now and (span[1] is None or now < span[1])


def _uncollected_at(state: WorkflowState, memory: Memory, policy: Policy) -> datetime | None:
    """When a person is to be told of outputs that upstream will delete; once told, when that is over."""
    told = "uncollected" in memory.told
    if state.vanished_at is not None and not told:
        return None
    between = uncollected_between(state, policy, memory.copies)
    return None if between is None else between[1 if told else 0]


def _after_the_end(state: WorkflowState, memory: Memory, policy: Policy) -> dict[str, datetime]:
    node = state.node
    assert node.finished_at is not None
    reasons: dict[str, datetime] = {}
    uncollected = _uncollected_at(state, memory, policy)
    if uncollected is not None:
        reasons["uncollected"] = uncollected
    if state.vanished_at is not None:
        return reasons
    # A 404 has its say on the workflow as `vanished`; of its children nobody will hear more either (R9).
    asked_of = (node, *state.children()) if memory.misses == 0 else (node,)
    confirm = [_confirm_at(state, one) for one in asked_of if one.provisional]
    unasked = [at for at in confirm if at is not None]
    if unasked:
        reasons["confirm"] = min(unasked)
    settled_from = _children_at(state)
    if settled_from is not None:
        reasons["children"] = settled_from
    renewals = _renewals(state, memory, policy)
    if renewals:
        reasons["blobs"] = min(renewals)
    return reasons


def _renewals(state: WorkflowState, memory: Memory, policy: Policy) -> list[datetime]:
    """Return when URLs are to be renewed ahead of their end: within `keep_fresh`, and until a file is copied (R17)."""
    node = state.node
    if node.confirmed_at is None or node.finished_at is None:
        return []
    until = node.finished_at + policy.keep_fresh if policy.keep_fresh else None
    found: list[datetime] = []
    for blob in state.blobs.values():
        at = _renew_at(state, blob)
        if at is None:
            continue
        in_time = until is not None and max(at, memory.retry_at or at) <= until
        if in_time or awaits_copying(blob, memory.copies, policy):
            found.append(at)
    return found


def _confirm_at(state: WorkflowState, node: Node) -> datetime | None:
    """When to look so that a provisional ending is confirmed or taken back; None when a look has had its say."""
    asked = state.asked_at
    if node.alive_since is not None and (asked is None or asked < node.alive_since + SPACED):
        return node.alive_since + SPACED
    assert node.finished_at is not None
    if asked is None or asked <= node.status_seen_at:
        return node.finished_at + CONFIRM_AFTER
    if node is not state.node:
        return None  # asked since, and upstream does not show this child's ending: asking again would not either
    # Upstream keeps saying nothing of use: ask ever more rarely.
    since = asked - node.finished_at
    return asked + max(CONFIRM_AGAIN, min(since / 2, CONFIRM_AT_LEAST), min(since / 4, DAILY))


def _children_at(state: WorkflowState) -> datetime | None:
    """When the open children of an ended workflow can be settled by a look (R8).

    None when there are none, or when a look made late enough has left them open: another would do the same. One that a
    late event opened after that look has not been asked about yet.
    """
    assert state.node.finished_at is not None
    still_open = [child for child in state.children() if not child.status.terminal]
    at = state.node.finished_at + SPACED
    if not still_open or state.asked_at is None or state.asked_at < at:
        return at if still_open else None
    return state.asked_at + SPACED if any(one.status_seen_at > state.asked_at for one in still_open) else None


def _renew_at(state: WorkflowState, blob: Blob) -> datetime | None:
    """When a blob's URL is to be renewed: min(5 min, a third of its lifetime) ahead of its expiry (R17).

    Counted from the last time it was asked for, by a look or by itself: what that brings may end at once. Where asking
    brought nothing new, it is asked for ever more rarely: not every upstream renews.
    """
    at = renewal_due(blob)
    asked = max(filter(None, (state.asked_at, blob.look_sent_at)), default=None)
    if at is None or asked is None:
        return at
    in_vain = int(blob.facts.get("renewed_in_vain", 0))
    spacing: timedelta = RENEW_SPACING * int(2 ** max(min(in_vain, 12) - 1, 0))
    return max(at, asked + spacing)


def renewal_due(blob: Blob) -> datetime | None:
    """From when on a blob's URL is too close to its end; None for one that has no end or is not there any more."""
    if blob.url_expires_at is None or blob.gone_at is not None or not blob.available:
        return None
    seen = blob.url_seen_at or blob.url_expires_at
    ahead = min(RENEW_AHEAD, max(blob.url_expires_at - seen, timedelta(0)) / 3)
    return blob.url_expires_at - ahead

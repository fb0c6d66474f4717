"""What evidence fills in besides statuses (R7): times, progress, facts, blobs. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from receiver.ledger.motion import believable, provably_older
from receiver.ledger.nodes import ABOUT, Blob, Evidence, Node, WorkflowState
from receiver.ledger.records import EVENT_FACTS, BlobSeen, EvidenceKind, Observation, Reading
from receiver.ledger.runs import delivered_at
from receiver.ledger.schedule import renewal_due
from receiver.ledger.states import Status

# Facts that are columns of every node; the rest stay together in `facts`.
_COLUMNS = frozenset({"reason", "blocked_reason"})


def fill(node: Node, observation: Observation, evidence: Evidence, *, look: bool, late: bool) -> None:
    """Fill one node's fields from an observation of it.

    `late` says that the evidence is behind what the node already knows: then it fills gaps and replaces nothing.
    """
    for name in ("started_at", "completed_at"):
        _fill_value(node, name, believable(getattr(observation, name), evidence), late)
    if observation.progress is not None:
        _progress(node, observation, evidence, look=look, late=late)
    if observation.step is not None:
        _fill_value(node, "step", observation.step, late)
    for name, value in observation.facts.items():
        if value is None:
            continue
        if name in EVENT_FACTS:
            _stamped(node, name, value, observation, evidence, look=look)
        else:
            _fact(node, name, value, late)


def late_for(node: Node, observation: Observation, evidence: Evidence, *, look: bool) -> bool:
    """Whether an observation is behind what the node knew before it: asked before the status moves.

    Of events that name the same status the newer is believed, by upstream's clock where both tell it, else by ours. One
    that came before (a duplicate) is older than whatever has come since.
    """
    if look:
        return node.look_sent_at is not None and evidence.instant < node.look_sent_at
    if behind(node, observation) or provably_older(node, observation, evidence):
        return True
    known = node.inferred_from or node.status
    if observation.status is not None and observation.status.rank > known.rank:
        return False
    at = believable(observation.upstream_at, evidence)
    if at is not None and node.status_at is not None and at != node.status_at:
        return at < node.status_at
    return not evidence.fresh or evidence.instant < node.status_seen_at


def behind(node: Node, observation: Observation) -> bool:
    """Whether an observation shows a node less far along than it is known to be."""
    known = node.inferred_from or node.status
    return observation.status is not None and observation.status.rank < known.rank


def _fill_value(node: Node, name: str, value: Any, late: bool) -> None:
    if value is not None and (not late or getattr(node, name) is None):
        node.put(name, value)


def _fact(node: Node, name: str, value: Any, late: bool) -> None:
    old = node.facts.get(name)
    if old == value or (late and old is not None):
        return
    node.tell(name, value)
    node.retyped |= name == "type"


def _progress(node: Node, observation: Observation, evidence: Evidence, *, look: bool, late: bool) -> None:
    """Progress only grows, except that a look or an ending says what it is (R3)."""
    progress = observation.progress
    assert progress is not None
    ending = observation.status is not None and observation.status.terminal
    if look or ending:
        counts = not late or node.progress is None
    else:
        grown = not node.status.terminal and progress > (node.progress or 0.0)
        counts = grown and not provably_older(node, observation, evidence)
    if counts:
        node.put("progress", progress)


def _stamped(node: Node, name: str, value: Any, observation: Observation, evidence: Evidence, *, look: bool) -> None:
    """Merge a fact that usually only events carry, so that the order of arrival does not matter (R5).

    The value from the furthest status wins; among equals a look's, then upstream's later instant, then the greater
    text.
    """
    rank = observation.status.rank if observation.status is not None else -1
    upstream_at = believable(observation.upstream_at, evidence)
    at = upstream_at.isoformat() if upstream_at is not None else ""
    stamp = [rank, look, at, orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()]
    known = node.stamps.get(name)
    if known is not None and known >= stamp:
        return
    node.stamp(name, stamp)
    if name in _COLUMNS:
        node.put(name, value if isinstance(value, str) else str(value))
    else:
        node.tell(name, value)


def fill_about(state: WorkflowState, observation: Observation, *, late: bool) -> None:
    """Fill the workflow's own columns (model, request, …) from the facts that have one; see `nodes.ABOUT`.

    What a person told us stands: upstream's account of a request is only what it made of it. A locator is put together
    from what each of them knows of it.
    """
    told = state.node.stamps.get("told", ())
    for name in ABOUT:
        value, known = observation.facts.get(name), state.about.get(name)
        stands = name in told or (late and known is not None)
        if value is not None and name == "locator" and known is not None:
            state.tell(name, {**value, **known} if stands else {**known, **value})
        elif value is not None and not stands:
            state.tell(name, value)


def own_facts(observation: Observation) -> Observation:
    """Return a workflow's observation without the facts that are columns of the workflow."""
    if not observation.facts:
        return observation
    return replace(observation, facts={name: value for name, value in observation.facts.items() if name not in ABOUT})


def see_blobs(state: WorkflowState, reading: Reading, evidence: Evidence) -> None:
    """Take in the output files a reading shows. `url` and `available` follow the newest full look (R7)."""
    for seen in reading.blobs:
        blob = state.blobs.get(seen.id)
        if blob is None:
            blob = state.blobs[seen.id] = Blob(seen.id, dirty=True)
        older = blob.look_sent_at is not None and evidence.instant < blob.look_sent_at
        _describe(blob, seen, late=older or not evidence.fresh)
        if seen.hidden:
            continue
        if evidence.kind is EvidenceKind.FETCH:
            if blob.look_sent_at is None or evidence.instant >= blob.look_sent_at:
                _count_vain_looks(blob, seen, evidence)
                _link(blob, seen, evidence)
                blob.put("look_sent_at", evidence.instant)
        elif _worth_taking(blob, seen):
            _link(blob, seen, evidence)
    if reading.snapshot and reading.complete and state.node.status.terminal:
        _drop_invented(state, reading)


def _describe(blob: Blob, seen: BlobSeen, *, late: bool) -> None:
    for name in ("type", "step", "job", "slot", "media_expires_at", "record_expires_at"):
        value = getattr(seen, name)
        if value is not None and not (late and getattr(blob, name) is not None):
            blob.put(name, value)
    changed = {name: value for name, value in seen.facts.items() if value is not None and blob.facts.get(name) != value}
    if late:
        changed = {name: value for name, value in changed.items() if blob.facts.get(name) is None}
    if changed:
        blob.facts = {**blob.facts, **changed}
        blob.dirty = True


def _worth_taking(blob: Blob, seen: BlobSeen) -> bool:
    """Whether an event may set a blob's link: never over a look's, and among events the later expiry wins."""
    if blob.look_sent_at is not None:
        return not blob.available and bool(seen.available)
    if seen.url is None:
        return blob.url is None
    if blob.url is None or seen.url_expires_at is None or blob.url_expires_at is None:
        return blob.url is None or (seen.url_expires_at is not None, seen.url) > (
            blob.url_expires_at is not None,
            blob.url,
        )
    return (seen.url_expires_at, seen.url) > (blob.url_expires_at, blob.url)


def _count_vain_looks(blob: Blob, seen: BlobSeen, evidence: Evidence) -> None:
    """Count the looks that showed a URL once more which had ended or was about to: not every upstream renews."""
    due = renewal_due(blob)
    vain = due is not None and evidence.instant >= due and seen.url == blob.url
    count = blob.facts.get("renewed_in_vain", 0) + 1 if vain else 0
    if count or "renewed_in_vain" in blob.facts:
        blob.facts = {**blob.facts, "renewed_in_vain": count}
        blob.dirty = True


def _link(blob: Blob, seen: BlobSeen, evidence: Evidence) -> None:
    blob.put("available", seen.available)
    if seen.url is not None and seen.url != blob.url:
        blob.put("url_seen_at", evidence.instant)
    blob.put("url", seen.url)
    blob.put("url_expires_at", seen.url_expires_at)
    blob.put("url_confirmed", evidence.confirms)


def _drop_invented(state: WorkflowState, reading: Reading) -> None:
    """Forget blobs that only unconfirmed deliveries named and that the whole, ended workflow does not have."""
    named = {seen.id for seen in reading.blobs}
    for blob_id in [key for key, blob in state.blobs.items() if blob.look_sent_at is None and not blob.url_confirmed]:
        if blob_id not in named:
            del state.blobs[blob_id]
            state.dropped_blobs.append(blob_id)


def note_ending(state: WorkflowState, status: Status | None, evidence: Evidence) -> None:
    """Remember the first delivery that named the ending the workflow has (R18)."""
    if (
        evidence.kind is EvidenceKind.DELIVERY
        and status is not None
        and status.terminal
        and status is state.node.status
    ):
        state.put("ending_delivered_at", state.ending_delivered_at or evidence.instant)
    elif state.run > 1 and status is not None and status is state.node.status and state.ending_delivered_at is None:
        state.put("ending_delivered_at", delivered_at(state.node, status))

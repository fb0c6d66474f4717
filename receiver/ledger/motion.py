"""How one observation moves the status of one node (R1-R4, R6, R12). Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from receiver.ledger.nodes import AHEAD, CONCURRENT, SPACED, Evidence, Merged, Node
from receiver.ledger.records import EvidenceKind, Level, Observation, Transition, TransitionKind
from receiver.ledger.states import Move, Status, move


def believable(instant: datetime | None, evidence: Evidence) -> datetime | None:
    """Return an upstream instant if it may be used, None when it lies too far ahead of our receipt (R4)."""
    if instant is None or instant > evidence.recorded_at + AHEAD:
        return None
    return instant


def provably_older(node: Node, observation: Observation, evidence: Evidence) -> bool:
    """Whether an event is older than the newest look at this node, by either clock, like compared with like (R4)."""
    if node.look_sent_at is not None and evidence.instant < node.look_sent_at - CONCURRENT:
        return True
    at = believable(observation.upstream_at, evidence)
    return at is not None and node.look_date is not None and at < node.look_date - CONCURRENT


def record(node: Node, to: Status, kind: TransitionKind, at: datetime | None, evidence: Evidence, out: Merged) -> None:
    """Write down a transition. The first status of a node that did not exist before comes from None."""
    before = None if node.blank else node.status
    out.transitions.append(Transition(node.level, node.key, before, to, kind, evidence.id, at, evidence.recorded_at))


def set_status(
    node: Node, to: Status, kind: TransitionKind, observation: Observation, evidence: Evidence, out: Merged
) -> None:
    """Move a node to a status that evidence names, and keep what goes with it."""
    at = believable(observation.upstream_at, evidence)
    record(node, to, kind, at, evidence, out)
    out.moved = True
    node.blank = False
    node.dirty = True
    node.status = to
    node.upstream_status = observation.word
    node.status_at = at
    node.status_seen_at = evidence.instant
    node.inferred_from = None
    node.alive_since = None
    if to.terminal:
        node.finished_at = evidence.recorded_at
        node.finished_via = evidence.via
        node.confirmed_at = evidence.recorded_at if evidence.confirms else None
    else:
        node.finished_at = node.finished_via = node.confirmed_at = None


def dispute(node: Node, observation: Observation, evidence: Evidence, out: Merged) -> None:
    """Record that believed evidence contradicts what the ledger holds; nothing is applied (R12).

    The same dispute is recorded once for as long as the node's status stands, so that a repeated delivery neither fills
    the timeline nor keeps asking upstream.
    """
    assert observation.status is not None
    known = node.stamps.get("disputed", ())
    token = f"{node.status}>{observation.status}:{'look' if evidence.confirms else 'event'}"
    if token in known:
        return
    node.stamp("disputed", [*known, token])
    at = believable(observation.upstream_at, evidence)
    record(node, observation.status, TransitionKind.CONTRADICTION, at, evidence, out)
    out.doubt = True
    if node.confirmed_at is not None and evidence.confirms:
        out.contested = True


def _unknown_word(node: Node, observation: Observation, out: Merged, *, look: bool = False) -> None:
    """Keep a word nobody knows beside the last known status, and ask (R6).

    A look that meets one is not made again for it: the answer would be the same, of a settled workflow for ever.
    """
    if observation.word is None:
        return
    out.doubt = out.doubt or not look
    if not node.status.terminal:
        node.put("upstream_status", observation.word)


def take_event(node: Node, observation: Observation, evidence: Evidence, out: Merged) -> bool:
    """Apply an event's status; returns False when it disputes the ledger, so that its fields are not believed."""
    status = observation.status
    older = provably_older(node, observation, evidence)
    if status is None:
        if not older:
            _unknown_word(node, observation, out)
        return True
    if node.inferred_from is not None:
        _event_on_inferred(node, observation, evidence, older, out)
        return True
    verdict = move(node.status, status)
    at = believable(observation.upstream_at, evidence)
    if verdict is Move.DISPUTE or (older and status.terminal and verdict is Move.ADVANCE):
        dispute(node, observation, evidence, out)
        return False
    if verdict is Move.REPEAT:
        _repeat(node, observation, evidence, at, out)
    elif verdict is Move.LATE:
        if node.status.terminal and at is not None and node.status_at is not None and at > node.status_at + CONCURRENT:
            # Alive after its end, by upstream's own clock: not merely late.
            dispute(node, observation, evidence, out)
            return False
    elif not older and _forward(node, status, verdict, at):
        set_status(node, status, TransitionKind.APPLIED, observation, evidence, out)
    return True


def _forward(node: Node, status: Status, verdict: Move, at: datetime | None) -> bool:
    """Whether an event that is not late moves the node; only preparing and scheduled need the clock (R3)."""
    if status.rank > node.status.rank:
        return True
    if at is not None and node.status_at is not None:
        return at > node.status_at
    return verdict is Move.ADVANCE


def _repeat(node: Node, observation: Observation, evidence: Evidence, at: datetime | None, out: Merged) -> None:
    if node.blank:
        set_status(node, node.status, TransitionKind.APPLIED, observation, evidence, out)
        return
    if at is not None and (node.status_at is None or at > node.status_at):
        node.put("status_at", at)
    if not node.status.terminal:
        node.put("status_seen_at", max(node.status_seen_at, evidence.instant))  # what it is compared with (R4)
    if node.status.terminal and node.confirmed_at is None and evidence.confirms:
        node.put("confirmed_at", evidence.recorded_at)
        node.put("alive_since", None)
    if node.upstream_status is None:
        node.put("upstream_status", observation.word)


def _event_on_inferred(node: Node, observation: Observation, evidence: Evidence, older: bool, out: Merged) -> None:
    """Any evidence that names an inferred child replaces the inference (R8).

    An ending takes its place. An event that only shows the child further along than we knew changes what the inference
    starts from; `inference.revise` then draws it again.
    """
    status = observation.status
    assert status is not None
    assert node.inferred_from is not None
    if status.terminal:
        if status is node.status:
            node.put("inferred_from", None)
            node.put("upstream_status", observation.word)
            node.put("finished_via", evidence.via)
            if evidence.confirms:
                node.put("confirmed_at", evidence.recorded_at)
        else:
            set_status(node, status, TransitionKind.APPLIED, observation, evidence, out)
    elif node.level is Level.WORKFLOW:
        if evidence.kind is EvidenceKind.DELIVERY and evidence.instant >= node.status_seen_at - CONCURRENT:
            _revive(node, observation, evidence, out)
    elif not older and move(node.inferred_from, status) is Move.ADVANCE:
        node.put("inferred_from", status)
        node.put("upstream_status", observation.word)


def _revive(node: Node, observation: Observation, evidence: Evidence, out: Merged) -> None:
    """Take back that a workflow was forgotten: upstream speaks of it. An event moves it no further back than it was."""
    known, word = node.inferred_from, node.upstream_status
    assert known is not None
    assert observation.status is not None
    ahead = evidence.kind is EvidenceKind.FETCH or move(known, observation.status) is Move.ADVANCE
    seen = observation if ahead else replace(observation, status=known, word=word)
    set_status(node, seen.status or known, TransitionKind.RETRACTED, seen, evidence, out)


def take_look(node: Node, observation: Observation, evidence: Evidence, out: Merged) -> bool:
    """Apply what a snapshot shows of a node; returns False when it disputes a confirmed ending."""
    if node.look_sent_at is not None and evidence.instant < node.look_sent_at:
        return take_event(node, observation, evidence, out)  # a newer look has spoken already
    by_look = node.look_sent_at is not None and node.status_seen_at == node.look_sent_at
    node.put("look_sent_at", evidence.instant)
    node.put("look_date", evidence.date)
    status = observation.status
    if status is None:
        _unknown_word(node, observation, out, look=True)
        return True
    if node.status.terminal:
        return _look_at_ended(node, observation, evidence, out)
    verdict = move(node.status, status)
    if verdict is Move.REPEAT:
        _repeat(node, observation, evidence, believable(observation.upstream_at, evidence), out)
        node.put("upstream_status", observation.word)
    elif status.rank > node.status.rank:
        set_status(node, status, TransitionKind.APPLIED, observation, evidence, out)
    elif by_look or _beats(node, evidence):
        set_status(node, status, TransitionKind.CORRECTED, observation, evidence, out)
    elif verdict is Move.ADVANCE:
        set_status(node, status, TransitionKind.APPLIED, observation, evidence, out)
    return True


def _beats(node: Node, evidence: Evidence) -> bool:
    """Whether a snapshot is newer than the event that set the node's status, by either clock (R4)."""
    if node.status_seen_at < evidence.instant - CONCURRENT:
        return True
    return node.status_at is not None and evidence.date is not None and node.status_at < evidence.date - CONCURRENT


def _look_at_ended(node: Node, observation: Observation, evidence: Evidence, out: Merged) -> bool:
    status = observation.status
    assert status is not None
    if node.inferred_from is not None and not status.terminal and node.level is Level.WORKFLOW:
        _revive(node, observation, evidence, out)
        return True
    if node.inferred_from is not None and not status.terminal:
        node.put("inferred_from", status)  # still open under an ended parent: the inference is drawn again
        node.put("upstream_status", observation.word)
        return True
    if status is node.status:
        node.put("inferred_from", None)
        node.put("confirmed_at", node.confirmed_at or evidence.recorded_at)
        node.put("alive_since", None)
        node.put("upstream_status", observation.word)
        return True
    since_then = evidence.instant > node.status_seen_at + CONCURRENT
    if node.confirmed_at is not None:
        if status.terminal or since_then:
            dispute(node, observation, evidence, out)
            return False
        return True  # it was under way when the ending came, and says nothing of it
    if status.terminal:
        kind = TransitionKind.RETRACTED if node.inferred_from is None else TransitionKind.APPLIED
        retract(node, kind, observation, evidence, out)
    elif since_then:
        if node.alive_since is None:
            node.put("alive_since", evidence.instant)  # one look may have met a stale replica (R2)
        elif evidence.instant - node.alive_since >= SPACED:
            retract(node, TransitionKind.RETRACTED, observation, evidence, out)
    return True


# What is known of a node whatever its ending turns out to be.
_LASTING = frozenset({"disputed", "told", "began", "delivered"})


def retract(node: Node, kind: TransitionKind, observation: Observation, evidence: Evidence, out: Merged) -> None:
    """Replace a provisional ending, and take away what was told along with it."""
    set_status(node, observation.status or node.status, kind, observation, evidence, out)
    for name in ("reason", "blocked_reason", "completed_at", "progress"):
        node.put(name, None)
    node.tell("error", None)
    node.stamps = {name: stamp for name, stamp in node.stamps.items() if name in _LASTING}
    node.told = True

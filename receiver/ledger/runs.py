"""A finished id that runs again (R10): RemoveBGVideo's `/start`, RunPod's `/retry`. Pure."""

from __future__ import annotations

from datetime import datetime

from receiver.ledger.nodes import CONCURRENT, Evidence, Merged, Node, PastRun, WorkflowState
from receiver.ledger.records import EvidenceKind, Level, Observation, Reading
from receiver.ledger.states import Status


def begin_if_restarted(state: WorkflowState, reading: Reading, evidence: Evidence) -> None:
    """Open run N+1 when our own look shows a confirmed ending alive, ended otherwise, or ended later.

    Only for upstreams that restart a finished id; elsewhere the same look is a dispute (R2). What the ended run was is
    kept, and the new one begins blank: it is closed at once if the look shows that it has ended too.
    """
    node = state.node
    if node.confirmed_at is None or evidence.instant <= node.status_seen_at + CONCURRENT:
        return
    seen = next((one for one in reading.observations if one.level is Level.WORKFLOW), None)
    if seen is None or seen.status is None or not _another_run(node, seen):
        return
    state.past.append(PastRun(state.run, node, state.ending_delivered_at))
    state.run += 1
    state.node = Node(
        Level.WORKFLOW, "", Status.UNASSIGNED, node.first_seen_at, evidence.instant, dirty=True, blank=True
    )
    state.steps, state.jobs, state.blobs = {}, {}, {}
    state.ending_delivered_at = state.vanished_at = None
    if state.about.pop("error", None) is not None:
        state.retold = True
    state.node.stamp("began", [evidence.instant.isoformat()])
    told = node.stamps.get("told")
    if told is not None:
        state.node.stamp("told", told)


def _another_run(node: Node, seen: Observation) -> bool:
    if seen.status is not node.status:
        return True
    return (
        seen.completed_at is not None
        and node.completed_at is not None
        and seen.completed_at > node.completed_at + CONCURRENT
    )


def only_a_hint(state: WorkflowState, reading: Reading, evidence: Evidence, out: Merged) -> bool:
    """Whether a delivery about a restarted id may do no more than make a look due.

    From the second run on an ending may be the first run's, late; and news of life after a confirmed ending may be the
    first of a new run. Which it is, only a look can tell.
    """
    if evidence.kind is not EvidenceKind.DELIVERY:
        return False
    statuses = [one.status for one in reading.observations if one.level is Level.WORKFLOW and one.status is not None]
    ended = any(status.terminal for status in statuses)
    alive = any(not status.terminal for status in statuses)
    if not (ended and state.run > 1) and not (alive and state.node.confirmed_at is not None):
        return False
    out.doubt = out.doubt or evidence.fresh
    if ended and state.run > 1:
        _remember(state, next(status for status in statuses if status.terminal), evidence)
    return True


def _remember(state: WorkflowState, ending: Status, evidence: Evidence) -> None:
    """Keep which ending a delivery named in a later run: if a look shows the same, it was delivered (R18)."""
    node = state.node
    if node.status is ending:
        state.put("ending_delivered_at", state.ending_delivered_at or evidence.instant)
    elif not node.status.terminal and ending not in [name for name, _ in node.stamps.get("delivered", ())]:
        node.stamp("delivered", [*node.stamps.get("delivered", ()), [ending, evidence.instant.isoformat()]])


def delivered_at(node: Node, ending: Status) -> datetime | None:
    """Return when a delivery named this ending of a later run, None when none did."""
    return next((datetime.fromisoformat(at) for name, at in node.stamps.get("delivered", ()) if name == ending), None)


def began_at(state: WorkflowState) -> datetime | None:
    """Return when the present run was first seen, None for the first one."""
    began = state.node.stamps.get("began")
    return datetime.fromisoformat(began[0]) if began else None

"""Endings nobody told us of: children still open under a parent that ended (R8), and answers of 404 (R9). Pure."""

from __future__ import annotations

from datetime import datetime

from receiver.ledger.nodes import SPACED, Evidence, Merged, Node, WorkflowState
from receiver.ledger.records import Level, Reading, Transition, TransitionKind
from receiver.ledger.states import Status, settle


def infer_children(state: WorkflowState, reading: Reading, evidence: Evidence, out: Merged) -> None:
    """Settle the open children that a snapshot taken long enough after their parent's end omits or shows open.

    A snapshot that does not claim to be complete omits a job if it shows the job's step.
    """
    named = {(seen.level, seen.key) for seen in reading.observations}
    for child in state.children():
        told = reading.complete or (child.level, child.key) in named or (Level.STEP, child.step) in named
        if told and not child.status.terminal and _ended_long_ago(state, child, evidence):
            _conclude(state, child, evidence, out)


def _ended_long_ago(state: WorkflowState, child: Node, evidence: Evidence) -> bool:
    """Whether the look was sent at least 30 s after an ancestor's confirmed end, by either clock."""
    for ancestor in {id(node): node for node in (state.parent_of(child), state.node)}.values():
        if not ancestor.status.terminal or ancestor.confirmed_at is None:
            continue
        if ancestor.finished_at is not None and evidence.instant - ancestor.finished_at >= SPACED:
            return True
        if ancestor.completed_at and evidence.date and evidence.date - ancestor.completed_at >= SPACED:
            return True
    return False


def _ended_parent(state: WorkflowState, child: Node) -> Node | None:
    parent = state.parent_of(child)
    if parent.status.terminal:
        return parent
    return state.node if state.node.status.terminal else None


def _ending(state: WorkflowState, child: Node, known: Status) -> Status | None:
    parent = _ended_parent(state, child)
    if parent is None:
        return None
    step_ending, job_ending = settle(parent.status, known)
    return step_ending if child.level is Level.STEP else job_ending


def _conclude(state: WorkflowState, child: Node, evidence: Evidence, out: Merged) -> None:
    known = child.inferred_from or child.status
    ending = _ending(state, child, known)
    if ending is None:
        return
    _move(child, ending, known, TransitionKind.INFERRED, evidence, out)


def _move(child: Node, to: Status, known: Status | None, kind: TransitionKind, evidence: Evidence, out: Merged) -> None:
    before = None if child.blank else child.status
    child.put("inferred_from", known)
    if to is before:
        return
    out.transitions.append(
        Transition(child.level, child.key, before, to, kind, evidence.id, None, evidence.recorded_at)
    )
    out.moved = True
    child.blank = False
    child.dirty = True
    child.status = to
    child.status_at = None
    child.status_seen_at = evidence.instant
    child.confirmed_at = None
    child.finished_at = evidence.recorded_at if to.terminal else None
    child.finished_via = "inferred" if to.terminal else None


def revise(state: WorkflowState, evidence: Evidence, out: Merged) -> None:
    """Draw each inference again from what is known now: its parent's status and the child's last named status."""
    for child in state.children():
        known = child.inferred_from
        if known is None:
            continue
        ending = _ending(state, child, known)
        if ending is None:
            _move(child, known, None, TransitionKind.RETRACTED, evidence, out)  # the parent turned out to be alive
        elif ending is not child.status:
            _move(child, ending, known, TransitionKind.INFERRED, evidence, out)


def take_gone(state: WorkflowState, evidence: Evidence, out: Merged) -> None:
    """Apply a look that upstream answered with 404.

    An ephemeral workflow is forgotten at its end, so the 404 confirms that it ended and the delivery says how (R9).
    Any other provisional ending stays provisional, marked as vanished. Open children of an ended parent are inferred.
    The status of a workflow that is alive never changes here (R11).
    """
    if state.node.status.terminal:
        if state.ephemeral:
            _confirm_endings(state, evidence.recorded_at)
        elif state.node.confirmed_at is None:
            state.put("vanished_at", state.vanished_at or evidence.recorded_at)
        conclude_open(state, evidence, out)


def expire(state: WorkflowState, evidence: Evidence, out: Merged) -> None:
    """End a workflow upstream has forgotten, and what is open in it; whoever speaks of it again takes that back."""
    node = state.node
    if node.status.terminal:
        return
    _move(node, Status.EXPIRED, node.status, TransitionKind.INFERRED, evidence, out)
    state.put("vanished_at", evidence.recorded_at)
    conclude_open(state, evidence, out)


def conclude_open(state: WorkflowState, evidence: Evidence, out: Merged) -> None:
    """Infer the end of every open child: upstream has forgotten the workflow, so that nobody can say better (R8)."""
    for child in state.children():
        if not child.status.terminal:
            _conclude(state, child, evidence, out)


def _confirm_endings(state: WorkflowState, at: datetime) -> None:
    for node in [state.node, *state.children()]:
        if node.provisional:
            node.put("confirmed_at", at)
    for blob in state.blobs.values():
        blob.put("url_confirmed", True)

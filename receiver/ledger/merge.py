"""The one door: how a piece of evidence changes what the ledger holds of a workflow. Pure.

A webhook, an answer to our own look and a submit answer all arrive as a `Reading`; `merge` applies it to the state in
place and returns what happened. Order, repetition and loss of events do not matter to where a workflow ends up once a
look has followed them (R5).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from receiver.ledger import fields, inference, motion, runs
from receiver.ledger.nodes import Evidence, Merged, Node, WorkflowState
from receiver.ledger.records import EvidenceKind, Level, Observation, Reading, TransitionKind
from receiver.ledger.states import Status


def new_state(source: str, workflow_id: str, now: datetime, via: str) -> WorkflowState:
    """Return a workflow nobody has heard of before: unassigned, first seen now, by `via`."""
    node = Node(Level.WORKFLOW, "", Status.UNASSIGNED, now, now, dirty=True, blank=True)
    return WorkflowState(source, workflow_id, 1, node, first_seen_via=via)


def merge(state: WorkflowState, reading: Reading, evidence: Evidence, *, restartable: bool = False) -> Merged:
    """Apply one reading to a workflow. The reading's workflow id is the state's; the caller saw to that.

    `restartable` is the provider's word that a finished id may run again (R10).
    """
    out = Merged()
    look = reading.snapshot and evidence.kind is EvidenceKind.FETCH
    newest = state.asked_at is None or evidence.instant >= state.asked_at
    if restartable and runs.only_a_hint(state, reading, evidence, out):
        return out
    if restartable and look and newest:
        runs.begin_if_restarted(state, reading, evidence)
    forgotten = state.node.inferred_from is not None
    for observation in reading.observations:
        node = _node_for(state, observation, evidence)
        _apply(state, node, observation, evidence, out, look=look)
    if reading.ephemeral is not None:
        state.put("ephemeral", reading.ephemeral)
    fields.see_blobs(state, reading, evidence)
    if forgotten and state.node.inferred_from is None:
        state.put("vanished_at", None)  # somebody has spoken of it since
    if look and newest:
        state.put("asked_at", evidence.instant)
        state.put("vanished_at", None)
        inference.infer_children(state, reading, evidence, out)
    elif state.vanished_at is not None:
        inference.conclude_open(state, evidence, out)
    inference.revise(state, evidence, out)
    if evidence.kind is EvidenceKind.DELIVERY and evidence.fresh:
        state.put("news_at", max(filter(None, (state.news_at, evidence.instant))))
    out.doubt = out.doubt or (reading.needs_look and evidence.fresh)
    return out


def merge_gone(state: WorkflowState, evidence: Evidence) -> Merged:
    """Apply a look that upstream answered with 404 or 410."""
    out = Merged()
    inference.take_gone(state, evidence, out)
    inference.revise(state, evidence, out)
    return out


def merge_forgotten(state: WorkflowState, evidence: Evidence) -> Merged:
    """Apply the decision that a workflow upstream has forgotten counts as expired (`on_gone`)."""
    out = Merged()
    inference.expire(state, evidence, out)
    inference.revise(state, evidence, out)
    return out


def _node_for(state: WorkflowState, observation: Observation, evidence: Evidence) -> Node:
    """Return the node an observation is about, making it and its missing parents as unassigned (R6)."""
    if observation.level is Level.WORKFLOW:
        return state.node
    if observation.level is Level.STEP:
        return _child(state.steps, Level.STEP, observation.key, evidence)
    if observation.step is not None:
        _child(state.steps, Level.STEP, observation.step, evidence)
    return _child(state.jobs, Level.JOB, observation.key, evidence)


def _child(nodes: dict[str, Node], level: Level, key: str, evidence: Evidence) -> Node:
    node = nodes.get(key)
    if node is None:
        at = evidence.recorded_at
        node = nodes[key] = Node(level, key, Status.UNASSIGNED, at, evidence.instant, dirty=True, blank=True)
    return node


def _apply(
    state: WorkflowState, node: Node, observation: Observation, evidence: Evidence, out: Merged, *, look: bool
) -> None:
    late = fields.late_for(node, observation, evidence, look=look)
    take = motion.take_look if look else motion.take_event
    before = len(out.transitions)
    if not take(node, observation, evidence, out):
        return
    late = late or (look and fields.behind(node, observation))  # the events since tell more than this snapshot
    if node.level is Level.WORKFLOW and any(t.kind is TransitionKind.RETRACTED for t in out.transitions[before:]):
        state.tell("error", None)  # it was told along with the ending that is taken back
        state.put("ending_delivered_at", None)  # and who delivered that one has not delivered the true one (R18)
    if node.level is Level.WORKFLOW:
        fields.note_ending(state, observation.status, evidence)
        fields.fill_about(state, observation, late=late)
        if state.submitted_at is None:
            state.put("submitted_at", motion.believable(observation.submitted_at, evidence))
        observation = fields.own_facts(observation)
    fields.fill(node, observation, evidence, look=look, late=late)


def by_hand(reading: Reading) -> Reading:
    """Return a submit answer a person gave us as an event: it proves nothing, so it corrects nothing (R2)."""
    return replace(reading, snapshot=False, complete=False)

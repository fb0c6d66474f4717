"""How workflows, steps, jobs and blobs stand in their tables: column by column, out of rows and back into them.

What moves with every event and what hardly ever changes are written apart: most updates carry a third of the columns,
and leave a workflow's long texts where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

from receiver.ledger.nodes import ABOUT, Blob, Node, WorkflowState
from receiver.ledger.records import Level
from receiver.ledger.states import Status

# What a workflow, a step and a job have alike, in the order of their columns: what moves, and what mostly stands.
MOVING = (
    "status", "upstream_status", "status_at", "status_seen_at", "confirmed_at", "started_at", "completed_at",
    "finished_at", "finished_via", "progress",
)  # fmt: skip
STANDING = ("look_sent_at", "look_date", "inferred_from", "alive_since", "reason", "blocked_reason")
NODE = (*MOVING, *STANDING, "first_seen_at")
# What only a workflow has, likewise.
OWN_MOVING = ("news_at", "ending_delivered_at", "evidence_seq", "transition_seq", "version")
OWN_STANDING = ("run", "first_seen_via", "submitted_at", "asked_at", "vanished_at", "ephemeral")
BLOB = (
    "type", "step", "job", "slot", "available", "url", "url_seen_at", "url_expires_at", "url_confirmed",
    "look_sent_at", "media_expires_at", "record_expires_at", "gone_at", "facts",
)  # fmt: skip

# A blank workflow, as it is made; the other columns are null.
WORKFLOW_NEW = (
    "source", "id", "run", "status", "status_seen_at", "first_seen_at", "facts", "stamps", "first_seen_via",
    "evidence_seq", "transition_seq", "version",
)  # fmt: skip
WORKFLOW_MOVING = (*MOVING, *OWN_MOVING)
WORKFLOW_WHOLE = (*MOVING, *STANDING, "facts", "stamps", *OWN_MOVING, *OWN_STANDING, *ABOUT)
WORKFLOW_MADE = ("pk", "source", "id", "first_seen_at", *WORKFLOW_WHOLE)
STEP_KEY = ("workflow", "run", "key")
STEP_MOVING = (*STEP_KEY, "first_seen_at", *MOVING, "facts", "stamps")
STEP_WHOLE = (*STEP_MOVING, *STANDING)
JOB_MOVING = (*STEP_KEY, "first_seen_at", "source", "step", *MOVING, "facts", "stamps")
JOB_WHOLE = (*JOB_MOVING, *STANDING)
PAST_RUN = ("workflow", "run", *NODE, "facts", "stamps", "ending_delivered_at")
BLOB_KEY = ("workflow", "run", "id")
BLOB_WHOLE = (*BLOB_KEY, "source", *BLOB)

Values = tuple[Any, ...]

_moving: Callable[[Node], Values] = attrgetter(*MOVING)
_standing: Callable[[Node], Values] = attrgetter(*STANDING)
_node: Callable[[Node], Values] = attrgetter(*NODE)
_own_moving: Callable[[WorkflowState], Values] = attrgetter(*OWN_MOVING)
_own_standing: Callable[[WorkflowState], Values] = attrgetter(*OWN_STANDING)
_blob: Callable[[Blob], Values] = attrgetter(*BLOB)

_NOTHING: Values = (None,) * len(STANDING)  # how a node stands that is not stored yet


def node_from(level: Level, key: str, row: Mapping[str, Any]) -> Node:
    """Return the node a row holds; `row` has its columns by name, `facts` still as text."""
    node = Node(level, key, Status(row["status"]), row["first_seen_at"], row["status_seen_at"])
    for name in NODE[1:]:
        setattr(node, name, row[name])
    if row["inferred_from"] is not None:
        node.inferred_from = Status(row["inferred_from"])
    node.raw_facts = row["facts"]
    node.stamps = row["stamps"]
    node.stood = _standing(node)
    return node


def step_from(row: Mapping[str, Any]) -> Node:
    """Return the step a row holds."""
    return node_from(Level.STEP, row["key"], row)


def job_from(row: Mapping[str, Any]) -> Node:
    """Return the job a row holds."""
    job = node_from(Level.JOB, row["key"], row)
    job.step = row["step"]
    return job


def state_from(row: Mapping[str, Any]) -> WorkflowState:
    """Return the workflow a row of `workflows` holds, without what hangs on it."""
    state = WorkflowState(row["source"], row["id"], row["run"], node_from(Level.WORKFLOW, "", row), row["pk"])
    for name in (*OWN_MOVING, *OWN_STANDING):
        setattr(state, name, row[name])
    state.about = {name: row[name] for name in ABOUT if row[name] is not None}
    state.node.blank = state.transition_seq == 0
    settled(state)
    return state


def blob_from(row: Mapping[str, Any]) -> Blob:
    """Return the blob a row holds."""
    blob = Blob(row["id"])
    for name in BLOB:
        setattr(blob, name, row[name])
    return blob


def settled(state: WorkflowState) -> None:
    """Note that the database holds the workflow's row as it is now."""
    node = state.node
    node.stood = _standing(node)
    state.stood = _own_standing(state)
    node.dirty = node.told = state.retold = False


def stands(state: WorkflowState) -> bool:
    """Whether nothing of a workflow's row has changed but what moves with every event."""
    node = state.node
    return (
        not node.told
        and not state.retold
        and node.stood == _standing(node)
        and state.stood == _own_standing(state)
    )  # fmt: skip


def child_stands(node: Node) -> bool:
    """Whether nothing of a step or a job has changed but what moves with every event."""
    return (node.stood or _NOTHING) == _standing(node)


def child_settled(node: Node) -> None:
    """Note that the database holds a step or a job as it is now."""
    node.stood = _standing(node)
    node.dirty = node.told = node.retyped = False


def new_workflow(state: WorkflowState) -> Values:
    """Return the values of WORKFLOW_NEW."""
    node = state.node
    return (
        state.source, state.id, state.run, node.status, node.status_seen_at, node.first_seen_at, "{}", "{}",
        state.first_seen_via, 0, 0, state.version,
    )  # fmt: skip


def moving_workflow(state: WorkflowState) -> Values:
    """Return the values of WORKFLOW_MOVING."""
    return _moving(state.node) + _own_moving(state)


def whole_workflow(state: WorkflowState) -> Values:
    """Return the values of WORKFLOW_WHOLE."""
    node = state.node
    about = tuple(map(state.about.get, ABOUT))
    told = (node.raw_facts, node.stamps)
    return _moving(node) + _standing(node) + told + _own_moving(state) + _own_standing(state) + about


def made_workflow(state: WorkflowState) -> Values:
    """Return the values of WORKFLOW_MADE."""
    return (state.pk, state.source, state.id, state.node.first_seen_at, *whole_workflow(state))


def moving_step(state: WorkflowState, node: Node) -> Values:
    """Return the values of STEP_MOVING."""
    return (state.pk, state.run, node.key, node.first_seen_at, *_moving(node), node.raw_facts, node.stamps)


def moving_job(state: WorkflowState, node: Node) -> Values:
    """Return the values of JOB_MOVING."""
    its = (state.pk, state.run, node.key, node.first_seen_at, state.source, node.step)
    return (*its, *_moving(node), node.raw_facts, node.stamps)


def whole_step(state: WorkflowState, node: Node) -> Values:
    """Return the values of STEP_WHOLE."""
    return moving_step(state, node) + _standing(node)


def whole_job(state: WorkflowState, node: Node) -> Values:
    """Return the values of JOB_WHOLE."""
    return moving_job(state, node) + _standing(node)


def past_run(state: WorkflowState, run: int, node: Node, delivered: Any) -> Values:
    """Return the values of PAST_RUN."""
    return (state.pk, run, *_node(node), node.raw_facts, node.stamps, delivered)


def whole_blob(state: WorkflowState, blob: Blob) -> Values:
    """Return the values of BLOB_WHOLE."""
    return (state.pk, state.run, blob.id, state.source, *_blob(blob))

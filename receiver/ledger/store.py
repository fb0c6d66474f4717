"""Workflows out of the database and back into it: whole batches, a handful of statements, only what changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import bulk
from receiver.ledger.merge import new_state
from receiver.ledger.nodes import ABOUT, Blob, Node, WorkflowState
from receiver.ledger.records import Level, Transition
from receiver.ledger.states import Status
from receiver.ledger.tables import blobs, jobs, past_runs, steps, transitions, workflows

Key = tuple[str, str]  # (source, id)

# What a workflow, a step and a job have alike, in the order of their columns.
NODE = (
    "status", "upstream_status", "status_at", "status_seen_at", "look_sent_at", "look_date", "confirmed_at",
    "inferred_from", "alive_since", "first_seen_at", "started_at", "completed_at", "finished_at", "finished_via",
    "progress", "reason", "blocked_reason",
)  # fmt: skip
OWN = (
    "first_seen_via", "submitted_at", "news_at", "asked_at", "ending_delivered_at", "vanished_at", "ephemeral",
    "evidence_seq", "transition_seq",
)  # fmt: skip
BLOB = (
    "type", "step", "job", "slot", "available", "url", "url_seen_at", "url_expires_at", "url_confirmed",
    "look_sent_at", "media_expires_at", "record_expires_at", "gone_at", "facts",
)  # fmt: skip

_WORKFLOW_COLUMNS = ("source", "id", "run", *NODE, "facts", "stamps", *OWN, *ABOUT)
_STEP_COLUMNS = ("workflow", "run", "key", *NODE, "facts", "stamps")
_JOB_COLUMNS = ("workflow", "run", "key", "step", *NODE, "facts", "stamps")
_PAST_COLUMNS = ("workflow", "run", *NODE, "facts", "stamps", "ending_delivered_at")
_BLOB_COLUMNS = ("workflow", "run", "id", "source", *BLOB)
_TRANSITION_COLUMNS = (
    "workflow", "seq", "run", "level", "key", "from_status", "to_status", "kind", "evidence", "upstream_at",
    "recorded_at",
)  # fmt: skip
_RAW = frozenset({"facts"})


async def lock(connection: AsyncConnection, keys: Iterable[Key]) -> dict[Key, WorkflowState]:
    """Lock the workflows of these names in the order of their names, and load them with all that hangs on them.

    Names without a workflow are absent from the answer. On SQLite the transaction's own write lock does the locking.
    """
    return await load(connection, keys, lock=True)


async def load(connection: AsyncConnection, keys: Iterable[Key], *, lock: bool = False) -> dict[Key, WorkflowState]:
    """Load workflows with all that hangs on them, without a lock: to decide by, never to change."""
    rows = await bulk.by_keys(connection, workflows, ("source", "id"), sorted(set(keys)), lock=lock, raw=_RAW)
    states = {row["pk"]: _state(row) for row in rows}
    await _load_children(connection, states)
    return {(state.source, state.id): state for state in states.values()}


async def create_missing(connection: AsyncConnection, wanted: Mapping[Key, tuple[datetime, str]]) -> set[Key]:
    """Insert a blank workflow for each name that has none; `wanted` says when and by what it was first seen.

    Returns the names that are new. Must come before `lock`: a transaction that inserted waits for nobody it locked.
    """
    keys = sorted(wanted)
    known = await bulk.existing(connection, workflows, ("source", "id"), keys)
    rows = [
        _workflow_row(new_state(source, name, *wanted[source, name]))
        for source, name in keys
        if (source, name) not in known
    ]
    new = await bulk.insert_new(connection, workflows, _WORKFLOW_COLUMNS, rows, ("source", "id"))
    return {(source, name) for source, name in new}


async def held_elsewhere(connection: AsyncConnection, keys: Iterable[Key]) -> set[Key]:
    """Return those of the names whose workflow another transaction holds just now, and lock the rest; never waits.

    On SQLite nobody can, because the write lock is on the whole file.
    """
    wanted = sorted(set(keys))
    if connection.dialect.name != "postgresql":
        return set()
    known = await bulk.existing(connection, workflows, ("source", "id"), wanted)
    free = await bulk.lock_free(connection, workflows, ("source", "id"), wanted)
    return {(source, name) for source, name in known - free}


def _node(level: Level, key: str, row: Mapping[str, Any]) -> Node:
    node = Node(level, key, Status(row["status"]), row["first_seen_at"], row["status_seen_at"])
    for name in NODE[1:]:
        setattr(node, name, row[name])
    if row["inferred_from"] is not None:
        node.inferred_from = Status(row["inferred_from"])
    node.raw_facts = row["facts"]
    node.stamps = row["stamps"]
    return node


def _state(row: Mapping[str, Any]) -> WorkflowState:
    state = WorkflowState(row["source"], row["id"], row["run"], _node(Level.WORKFLOW, "", row), row["pk"])
    for name in OWN:
        setattr(state, name, row[name])
    state.about = {name: row[name] for name in ABOUT if row[name] is not None}
    state.node.blank = state.transition_seq == 0
    return state


def past_node(row: Mapping[str, Any]) -> Node:
    """Return what a workflow was at the end of a run that is over."""
    return _node(Level.WORKFLOW, "", row)


def step(row: Mapping[str, Any]) -> Node:
    """Return a step."""
    return _node(Level.STEP, row["key"], row)


def job(row: Mapping[str, Any]) -> Node:
    """Return a job."""
    found = _node(Level.JOB, row["key"], row)
    found.step = row["step"]
    return found


def blob(row: Mapping[str, Any]) -> Blob:
    """Return an output file."""
    found = Blob(row["id"])
    for name in BLOB:
        setattr(found, name, row[name])
    return found


async def _load_children(connection: AsyncConnection, states: Mapping[int, WorkflowState]) -> None:
    keys = [(pk, state.run) for pk, state in sorted(states.items())]
    for row in await bulk.by_keys(connection, steps, ("workflow", "run"), keys, raw=_RAW):
        states[row["workflow"]].steps[row["key"]] = step(row)
    for row in await bulk.by_keys(connection, jobs, ("workflow", "run"), keys, raw=_RAW):
        states[row["workflow"]].jobs[row["key"]] = job(row)
    for row in await bulk.by_keys(connection, blobs, ("workflow", "run"), keys):
        states[row["workflow"]].blobs[row["id"]] = blob(row)


def _node_values(node: Node) -> tuple[Any, ...]:
    return (*(getattr(node, name) for name in NODE), node.raw_facts, node.stamps)


def _workflow_row(state: WorkflowState) -> tuple[Any, ...]:
    own = (getattr(state, name) for name in OWN)
    about = (state.about.get(name) for name in ABOUT)
    return (state.source, state.id, state.run, *_node_values(state.node), *own, *about)


async def save(connection: AsyncConnection, states: Iterable[WorkflowState]) -> None:
    """Write back what changed of locked workflows; their rows exist already. Runs that are over go first (R10)."""
    ordered = sorted(states, key=lambda state: (state.source, state.id))
    over = [
        (state.pk, past.run, *_node_values(past.node), past.ending_delivered_at)
        for state in ordered
        for past in state.past
    ]
    await bulk.insert(connection, past_runs, _PAST_COLUMNS, over)
    rows = [(*_workflow_row(state)[2:], state.pk) for state in ordered if state.node.dirty]
    await bulk.update(connection, workflows, ("pk",), _WORKFLOW_COLUMNS[2:], rows)
    pairs = [(state, node) for state in ordered for node in _sorted(state.steps) if node.dirty]
    await bulk.insert(
        connection,
        steps,
        _STEP_COLUMNS,
        [(state.pk, state.run, node.key, *_node_values(node)) for state, node in pairs],
        keys=("workflow", "run", "key"),
        update=_STEP_COLUMNS[3:],
    )
    pairs = [(state, node) for state in ordered for node in _sorted(state.jobs) if node.dirty]
    await bulk.insert(
        connection,
        jobs,
        _JOB_COLUMNS,
        [(state.pk, state.run, node.key, node.step, *_node_values(node)) for state, node in pairs],
        keys=("workflow", "run", "key"),
        update=_JOB_COLUMNS[3:],
    )
    await _save_blobs(connection, ordered)


def _sorted(nodes: Mapping[str, Node]) -> list[Node]:
    return [nodes[key] for key in sorted(nodes)]


async def _save_blobs(connection: AsyncConnection, ordered: Sequence[WorkflowState]) -> None:
    rows = [
        (state.pk, state.run, blob.id, state.source, *(getattr(blob, name) for name in BLOB))
        for state in ordered
        for _, blob in sorted(state.blobs.items())
        if blob.dirty
    ]
    await bulk.insert(connection, blobs, _BLOB_COLUMNS, rows, keys=("workflow", "run", "id"), update=_BLOB_COLUMNS[3:])
    for state in ordered:
        if state.dropped_blobs:
            doomed = blobs.c.id.in_(state.dropped_blobs)
            await connection.execute(
                blobs.delete().where(blobs.c.workflow == state.pk, blobs.c.run == state.run, doomed)
            )


async def add_transitions(
    connection: AsyncConnection, happened: Iterable[tuple[WorkflowState, Sequence[Transition]]]
) -> None:
    """Append transitions to the timelines of locked workflows, numbering them in order. Call before `save`."""
    rows = []
    for state, moves in happened:
        for one in moves:
            state.transition_seq += 1
            state.node.dirty = True
            rows.append(
                (
                    state.pk, state.transition_seq, state.run, one.level, one.key, one.from_status, one.to_status,
                    one.kind, one.evidence, one.upstream_at, one.recorded_at,
                )
            )  # fmt: skip
    await bulk.insert(connection, transitions, _TRANSITION_COLUMNS, rows)

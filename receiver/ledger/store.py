"""Workflows out of the database and back into it: whole batches, a handful of statements, only what changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from random import getrandbits
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import bulk, rows
from receiver.ledger.aside import aside
from receiver.ledger.merge import new_state
from receiver.ledger.nodes import Node, WorkflowState
from receiver.ledger.records import Transition
from receiver.ledger.tables import blobs, jobs, past_runs, steps, transitions, workflows
from receiver.ledger.together import Together

Key = tuple[str, str]  # (source, id)

_TRANSITION = (
    "workflow", "seq", "run", "level", "key", "from_status", "to_status", "kind", "evidence", "upstream_at",
    "recorded_at",
)  # fmt: skip
_RAW = frozenset({"facts"})
_VERSION = ("source", "id", "pk", "version")
# Of a version, each of which is any number. Not the next: a copy of what was forgotten, or of what a failover
# has lost, must not pass for what others have written since.
_BITS = 48


async def lock(
    connection: AsyncConnection, keys: Iterable[Key], known: Mapping[Key, WorkflowState] | None = None
) -> dict[Key, WorkflowState]:
    """Lock the workflows of these names in the order of their names, and return them with all that hangs on them.

    Names without a workflow are absent from the answer. On SQLite the transaction's own write lock does the locking.
    `known` are copies whose maker believes them to be true: one is taken as it is where nobody has written since.
    """
    return await _found(connection, keys, known, lock=True)


async def load(
    connection: AsyncConnection, keys: Iterable[Key], known: Mapping[Key, WorkflowState] | None = None
) -> dict[Key, WorkflowState]:
    """Load workflows with all that is theirs, without a lock: to decide by, not to change; `known` as in `lock`."""
    return await _found(connection, keys, known, lock=False)


async def _found(
    connection: AsyncConnection, keys: Iterable[Key], known: Mapping[Key, WorkflowState] | None, *, lock: bool
) -> dict[Key, WorkflowState]:
    wanted = sorted(set(keys))
    if not known:
        return await _load(connection, ("source", "id"), wanted, lock=lock)
    found: dict[Key, WorkflowState] = {}
    unknown: list[tuple[int]] = []
    for source, name, pk, version in await bulk.columns_by_keys(
        connection, workflows, ("source", "id"), wanted, _VERSION, lock=lock
    ):
        copy = known.get((source, name))
        if copy is not None and copy.pk == pk and copy.version == version:
            found[source, name] = copy
        else:
            unknown.append((pk,))
    if unknown:
        found |= await _load(connection, ("pk",), unknown, lock=False)
    return found


async def _load(
    connection: AsyncConnection, key: tuple[str, ...], values: Sequence[tuple[Any, ...]], *, lock: bool
) -> dict[Key, WorkflowState]:
    found = await bulk.by_keys(connection, workflows, key, values, lock=lock, raw=_RAW)
    states = {row["pk"]: rows.state_from(row) for row in found}
    await _load_children(connection, states)
    return {(state.source, state.id): state for state in states.values()}


async def _load_children(connection: AsyncConnection, states: Mapping[int, WorkflowState]) -> None:
    keys = [(pk, state.run) for pk, state in sorted(states.items())]
    own = ("workflow", "run")
    found = (
        await bulk.by_keys(connection, steps, own, keys, raw=_RAW),
        await bulk.by_keys(connection, jobs, own, keys, raw=_RAW),
        await bulk.by_keys(connection, blobs, own, keys),
    )
    await aside(sum(map(len, found)), _hang, states, *found)


def _hang(
    states: Mapping[int, WorkflowState],
    found_steps: Iterable[bulk.Mapping],
    found_jobs: Iterable[bulk.Mapping],
    found_blobs: Iterable[bulk.Mapping],
) -> None:
    """Hang what was found on the workflows it belongs to."""
    for row in found_steps:
        states[row["workflow"]].steps[row["key"]] = rows.step_from(row)
    for row in found_jobs:
        states[row["workflow"]].jobs[row["key"]] = rows.job_from(row)
    for row in found_blobs:
        states[row["workflow"]].blobs[row["id"]] = rows.blob_from(row)


async def create_missing(
    connection: AsyncConnection, wanted: Mapping[Key, tuple[datetime, str]]
) -> dict[Key, WorkflowState]:
    """Insert a blank workflow for each name that has none; `wanted` says when and by what it was first seen.

    Returns those that are new, locked. Must come before `lock`: a transaction that inserted waits for nobody it locked.
    """
    blank = [new_state(source, name, *how) for (source, name), how in sorted(wanted.items())]
    for state in blank:
        state.version = getrandbits(_BITS)  # SQLite gives its pk to another when it is forgotten
    values = [rows.new_workflow(state) for state in blank]
    pks = await bulk.insert_new(connection, workflows, rows.WORKFLOW_NEW, values, ("source", "id"), ("pk",))
    made = {}
    for state in blank:
        if (state.source, state.id) in pks:
            (state.pk,) = pks[state.source, state.id]
            rows.settled(state)
            made[state.source, state.id] = state
    return made


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


async def end_runs(connection: AsyncConnection, states: Iterable[WorkflowState]) -> None:
    """Keep the runs that are over (R10). Comes before `save`: the guard lets a workflow go on only once they are there.

    Blobs that turned out to be invented are taken away here too.
    """
    over = [
        rows.past_run(state, past.run, past.node, past.ending_delivered_at) for state in states for past in state.past
    ]
    await bulk.insert(connection, past_runs, rows.PAST_RUN, over)
    for state in states:
        if state.dropped_blobs:
            doomed = blobs.c.id.in_(state.dropped_blobs)
            await connection.execute(
                blobs.delete().where(blobs.c.workflow == state.pk, blobs.c.run == state.run, doomed)
            )


def save(out: Together, states: Collection[WorkflowState], unmade: Collection[Key] = ()) -> None:
    """Add to `out` what changed of locked workflows, and of what hangs on them.

    Their rows exist already, except those named in `unmade`: these are made with all there is of them.
    """
    for state in states:
        if state.dropped_blobs or state.past or any(one.dirty for one in state.marks()):
            state.node.dirty = True
            state.version = getrandbits(_BITS)
    changed = [state for state in _ordered(states) if state.node.dirty]
    made = [rows.made_workflow(state) for state in changed if (state.source, state.id) in unmade]
    out.insert(workflows, rows.WORKFLOW_MADE, made)
    there = [state for state in changed if (state.source, state.id) not in unmade] if unmade else changed
    moving = [(*rows.moving_workflow(state), state.pk) for state in there if rows.stands(state)]
    whole = [(*rows.whole_workflow(state), state.pk) for state in there if not rows.stands(state)]
    out.update(workflows, ("pk",), rows.WORKFLOW_MOVING, moving)
    out.update(workflows, ("pk",), rows.WORKFLOW_WHOLE, whole)
    save_children(out, changed)


def save_children(out: Together, states: Collection[WorkflowState]) -> None:
    """Add to `out` what changed of the steps, jobs and blobs of locked workflows."""
    ordered = _ordered(states)
    _save_steps(out, [(state, node) for state in ordered for node in _sorted(state.steps)])
    _save_jobs(out, [(state, node) for state in ordered for node in _sorted(state.jobs)])
    found = [rows.whole_blob(state, blob) for state in ordered for _, blob in sorted(state.blobs.items()) if blob.dirty]
    out.insert(blobs, rows.BLOB_WHOLE, found, keys=rows.BLOB_KEY, update=rows.BLOB_WHOLE[4:])


def _ordered(states: Collection[WorkflowState]) -> list[WorkflowState]:
    return sorted(states, key=lambda state: state.pk or 0)


def _sorted(nodes: Mapping[str, Node]) -> list[Node]:
    return sorted((node for node in nodes.values() if node.dirty), key=lambda node: node.key)


def _save_steps(out: Together, pairs: Sequence[tuple[WorkflowState, Node]]) -> None:
    moving = [rows.moving_step(state, node) for state, node in pairs if rows.child_stands(node)]
    whole = [rows.whole_step(state, node) for state, node in pairs if not rows.child_stands(node)]
    out.insert(steps, rows.STEP_MOVING, moving, keys=rows.STEP_KEY, update=rows.STEP_MOVING[4:])
    out.insert(steps, rows.STEP_WHOLE, whole, keys=rows.STEP_KEY, update=rows.STEP_WHOLE[4:])


def _save_jobs(out: Together, pairs: Sequence[tuple[WorkflowState, Node]]) -> None:
    moving = [rows.moving_job(state, node) for state, node in pairs if rows.child_stands(node)]
    whole = [rows.whole_job(state, node) for state, node in pairs if not rows.child_stands(node)]
    out.insert(jobs, rows.JOB_MOVING, moving, keys=rows.STEP_KEY, update=rows.JOB_MOVING[5:])
    out.insert(jobs, rows.JOB_WHOLE, whole, keys=rows.STEP_KEY, update=rows.JOB_WHOLE[5:])


def add_transitions(out: Together, happened: Iterable[tuple[WorkflowState, Sequence[Transition]]]) -> None:
    """Add transitions to the timelines of locked workflows, numbering them in order. Call before `save`."""
    values = []
    for state, moves in happened:
        for one in moves:
            state.transition_seq += 1
            state.node.dirty = True
            values.append(
                (
                    state.pk, state.transition_seq, state.run, one.level, one.key, one.from_status, one.to_status,
                    one.kind, one.evidence, one.upstream_at, one.recorded_at,
                )
            )  # fmt: skip
    out.insert(transitions, _TRANSITION, values)


def settle(state: WorkflowState) -> None:
    """Note that the database holds a workflow, and all that hangs on it, as it is now: after the commit."""
    if state.node.told or state.retold:
        state.bulk = -1
    rows.settled(state)
    for child in state.children():
        if child.dirty:
            if child.told:
                state.bulk = -1
            rows.child_settled(child)
    for blob in state.blobs.values():
        blob.dirty = False
    state.past.clear()
    state.dropped_blobs.clear()
    state.relabelled = False

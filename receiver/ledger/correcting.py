"""Writing what evidence says today over what the ledger says: the last step of `replay --apply` (R2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import figures, labels, store
from receiver.ledger.guards import replay_permit
from receiver.ledger.history import Past
from receiver.ledger.nodes import PastRun, WorkflowState
from receiver.ledger.records import Transition, TransitionKind
from receiver.ledger.tables import blobs, jobs, past_runs, steps
from receiver.ledger.together import Together
from receiver.ledger.views import Children


async def overwrite(
    connection: AsyncConnection,
    past: Past,
    state: WorkflowState,
    over: Iterable[PastRun],
    earlier: Mapping[int, Children],
) -> None:
    """Replace a locked workflow, and all that hangs on it, by another account of it.

    Its name, when it was first seen and its numbering stay. Confirmed endings are no obstacle here: this holds the
    permit, for these statements alone.
    """
    pk = state.pk = past.state.pk
    state.evidence_seq, state.transition_seq = past.state.evidence_seq, past.state.transition_seq
    state.version = past.state.version  # whoever holds a copy must see that it is not true any more
    state.node.first_seen_at = past.state.node.first_seen_at
    state.past = list(over)
    state.dropped_blobs = []
    async with replay_permit(connection):
        for table in (steps, jobs, blobs, past_runs):
            await connection.execute(delete(table).where(table.c.workflow == pk))
        for run, children in earlier.items():
            was = WorkflowState(state.source, state.id, run, past.state.node, pk)
            was.steps, was.jobs, was.blobs = dict(children.steps), dict(children.jobs), dict(children.blobs)
            await _save_whole(connection, was, own=False)
        await _save_whole(connection, state, own=True)


async def recount(
    connection: AsyncConnection, past: Past, state: WorkflowState, corrected: int, horizon: timedelta, now: datetime
) -> None:
    """Bring what is counted and looked up apart from the workflow in line with its new account; call after `overwrite`.

    `horizon` is for how long upstream tries to deliver an ending (R18).
    """
    state.relabelled = True
    await labels.write(connection, [state])
    amounts: figures.Amounts = {(state.source, figures.minute_of(now)): {"corrected": corrected}}
    state.past = state.past[len(past.over) :]  # the runs that are counted already
    figures.of_workflow(amounts, state, figures.mark(past.state), horizon)
    out = Together(connection.dialect.name)
    figures.write(out, amounts, now)
    await out.run(connection)


async def _save_whole(connection: AsyncConnection, state: WorkflowState, *, own: bool) -> None:
    for one in state.marks():
        one.dirty = True
    state.stood = None  # so that the workflow's row is written whole
    out = Together(connection.dialect.name)
    if own:
        await store.end_runs(connection, [state])
        store.save(out, [state])
    else:
        store.save_children(out, [state])
    await out.run(connection)


def corrections(past: Past, state: WorkflowState, evidence: str, now: datetime) -> list[Transition]:
    """Return the transitions that say which statuses were corrected. A step or job that is no more has none."""
    same_run = past.state.run == state.run
    were = {(one.level, one.key): one.status for one in [past.state.node, *past.state.children()] if same_run}
    found: list[Transition] = []
    for one in [state.node, *state.children()]:
        before = were.get((one.level, one.key))
        if before is not one.status:
            kind = TransitionKind.CORRECTED
            found.append(Transition(one.level, one.key, before, one.status, kind, evidence, one.status_at, now))
    return found


async def note_corrections(connection: AsyncConnection, state: WorkflowState, moves: list[Transition]) -> None:
    """Append corrections to the timeline of a locked workflow."""
    out = Together(connection.dialect.name)
    store.add_transitions(out, [(state, moves)])
    store.save(out, [state])
    await out.run(connection)

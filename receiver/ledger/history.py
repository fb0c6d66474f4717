"""Everything that ever happened to some workflows, out of the database: what replay works on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import bulk, rows, store
from receiver.ledger.nodes import PastRun, WorkflowState
from receiver.ledger.records import EvidenceKind, Level, Outcome
from receiver.ledger.store import Key
from receiver.ledger.tables import blobs, evidence, jobs, past_runs, steps, transitions, workflows
from receiver.ledger.views import Children

Row = Mapping[Any, Any]
_W, _E, _T = workflows.c, evidence.c, transitions.c


@dataclass(slots=True)
class Past:
    """One workflow as it is stored, with all its evidence in the order of its numbers."""

    state: WorkflowState
    rows: list[Row] = field(default_factory=list)
    timeline: list[tuple[Any, ...]] = field(default_factory=list)
    over: list[PastRun] = field(default_factory=list)
    earlier: dict[int, Children] = field(default_factory=dict)


async def keys_after(
    connection: AsyncConnection, sources: Iterable[str], after: int, limit: int, ids: Sequence[str] | None = None
) -> list[tuple[int, Key]]:
    """Return the next workflows of these sources in the order they became known, as (pk, name)."""
    query = select(_W.pk, _W.source, _W.id).where(_W.pk > after, _W.source.in_(sorted(sources)))
    if ids is not None:
        query = query.where(_W.id.in_(ids))
    return [(row.pk, (row.source, row.id)) for row in await connection.execute(query.order_by(_W.pk).limit(limit))]


async def load(connection: AsyncConnection, keys: Iterable[Key], *, lock: bool = False) -> list[Past]:
    """Load workflows whole, in the order of their names; `lock` takes their row locks."""
    states = await (store.lock(connection, keys) if lock else store.load(connection, keys))
    found = {state.pk: Past(state) for _, state in sorted(states.items()) if state.pk is not None}
    if not found:
        return []
    query = select(evidence).where(_E.workflow.in_(list(found))).order_by(_E.workflow, _E.seq)
    for row in (await connection.execute(query)).mappings():
        found[row["workflow"]].rows.append(row)
    moves = select(_T.workflow, _T.run, _T.level, _T.key, _T.from_status, _T.to_status, _T.kind, _T.evidence)
    for move in await connection.execute(moves.where(_T.workflow.in_(list(found))).order_by(_T.workflow, _T.seq)):
        found[move.workflow].timeline.append(tuple(move)[1:])
    await _load_runs(connection, {pk: past for pk, past in found.items() if past.state.run > 1})
    return list(found.values())


async def _load_runs(connection: AsyncConnection, found: Mapping[int, Past]) -> None:
    """Fill in the runs that are over, with what hung on them."""
    if not found:
        return
    names = [(pk,) for pk in sorted(found)]
    for row in await bulk.by_keys(connection, past_runs, ("workflow",), names):
        past = found[row["workflow"]]
        past.over.append(PastRun(row["run"], rows.node_from(Level.WORKFLOW, "", row), row["ending_delivered_at"]))
    kinds = ((steps, "key", rows.step_from), (jobs, "key", rows.job_from), (blobs, "id", rows.blob_from))
    runs: defaultdict[tuple[int, int], tuple[dict[str, Any], ...]] = defaultdict(lambda: ({}, {}, {}))
    for place, (table, name, made) in enumerate(kinds):
        for row in await bulk.by_keys(connection, table, ("workflow",), names):
            if row["run"] < found[row["workflow"]].state.run:
                runs[row["workflow"], row["run"]][place][row[name]] = made(row)
    for (pk, run), children in sorted(runs.items()):
        found[pk].earlier[run] = Children(*children)
    for past in found.values():
        past.over.sort(key=lambda one: one.run)


async def rows_by_id(connection: AsyncConnection, ids: Iterable[str]) -> dict[str, Row]:
    """Return evidence by id; what is not there any more is absent."""
    found = await bulk.by_keys(connection, evidence, ("id",), [(one,) for one in sorted(set(ids))])
    return {row["id"]: row for row in found}


async def unattached(connection: AsyncConnection, sources: Iterable[str], after: str, limit: int) -> list[Row]:
    """Return the next quarantined deliveries that belong to no workflow, in the order of their ids."""
    query = (
        select(evidence)
        .where(_E.workflow.is_(None), _E.kind == EvidenceKind.DELIVERY, _E.outcome == Outcome.QUARANTINED)
        .where(_E.source.in_(sorted(sources)), _E.id > after)
        .order_by(_E.id)
        .limit(limit)
    )
    return list((await connection.execute(query)).mappings())

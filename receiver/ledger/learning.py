"""What endings have taught, in the database: written in batches by who confirms them, read by who plans with it.

A look confirms most endings, a signed delivery the others. Both must teach: if only looks did, a source whose signed
deliveries never fail would be known by the few that did.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger.durations import Durations, keys_of
from receiver.ledger.entries import Result
from receiver.ledger.nodes import WorkflowState
from receiver.ledger.operations import durations
from receiver.ledger.records import JsonObject, Level
from receiver.ledger.schedule import began_of, step_types
from receiver.ledger.states import Status

# Kinds of one source that are kept apart; a source that names a model anew for each workflow must not fill the table.
MOST_KINDS = 200
_RATE = "rate"

Kind = tuple[str, str]  # (model, step types)


class Lessons:
    """Endings seen by this process that are not written down yet, by source and kind."""

    def __init__(self) -> None:
        self.by_source: dict[str, dict[Kind, Durations]] = {}

    def note(self, state: WorkflowState) -> None:
        """Take in a workflow whose ending has just been confirmed.

        How long it took is upstream's word where it gives one. One that was canceled or has expired says nothing of how
        long such work takes, nor does one that nobody knew of before its end.
        """
        node = state.node
        if node.status not in (Status.SUCCEEDED, Status.FAILED) or node.finished_at is None:
            return
        ended = node.completed_at or node.finished_at
        seconds = (ended - began_of(state)).total_seconds()
        if seconds <= 0:
            return
        shown = Durations.of(seconds)
        late = (node.finished_at - ended).total_seconds()
        shown.note_teller(delivered=state.ending_delivered_at is not None, late=late)
        known = self.by_source.setdefault(state.source, {})
        for kind in keys_of(state.about.get("model") or "", step_types(state)):
            known.setdefault(kind, Durations()).add(shown)

    def note_delivered(self, results: Iterable[Result]) -> None:
        """Take in the endings that deliveries confirmed by themselves, from what became of a batch of them."""
        for result in results:
            if result.state is None or result.merged is None or result.state.node.confirmed_at is None:
                continue
            if any(one.level is Level.WORKFLOW and one.to_status.terminal for one in result.merged.transitions):
                self.note(result.state)

    def taken(self) -> dict[str, dict[Kind, Durations]]:
        """Return everything and forget it."""
        taken, self.by_source = self.by_source, {}
        return taken


async def write(connection: AsyncConnection, lessons: Mapping[str, Mapping[Kind, Durations]], now: datetime) -> None:
    """Add lessons to what is known; several processes may do so at once."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    d = durations.c
    for source, found in sorted(lessons.items()):
        kinds = await _kept(connection, source, found)
        for model, types in sorted(kinds):
            key = {"source": source, "model": model, "step_type": types}
            blank = {**key, "counts": {}, "told": 0.0, "missed": 0.0, "learned_at": now}
            await connection.execute(insert(durations).values(**blank).on_conflict_do_nothing())
            mine = (d.source == source, d.model == model, d.step_type == types)
            row = (await connection.execute(select(durations).where(*mine).with_for_update())).one()
            known, new = _durations(row.counts, row.told, row.missed), found[model, types]
            known.pass_time(max((now - row.learned_at).total_seconds(), 1.0), new.told + new.missed)
            known.add(new)
            values = {"counts": _as_json(known), "told": known.told, "missed": known.missed, "learned_at": now}
            await connection.execute(update(durations).where(*mine).values(**values))


async def _kept(connection: AsyncConnection, source: str, found: Iterable[Kind]) -> list[Kind]:
    """Leave out kinds that are new where there are too many already; all of the source stays."""
    d = durations.c
    count = (await connection.execute(select(func.count()).where(d.source == source))).scalar_one()
    kinds = list(found)
    if count + len(kinds) <= MOST_KINDS:
        return kinds
    query = select(d.model, d.step_type).where(d.source == source)
    known = {(row.model, row.step_type) for row in await connection.execute(query)}
    return [kind for kind in kinds if kind in known or kind == ("", "")]


async def read(connection: AsyncConnection, sources: Iterable[str]) -> dict[str, dict[Kind, Durations]]:
    """Return all that is known of these sources."""
    names = sorted(sources)
    found: dict[str, dict[Kind, Durations]] = {name: {} for name in names}
    for row in await connection.execute(select(durations).where(durations.c.source.in_(names))):
        found[row.source][row.model, row.step_type] = _durations(row.counts, row.told, row.missed)
    return found


def _durations(counts: JsonObject, told: float, missed: float) -> Durations:
    known = {int(bucket): float(weight) for bucket, weight in counts.items() if bucket != _RATE}
    return Durations(known, told, missed, float(counts.get(_RATE, 0.0)))


def _as_json(known: Durations) -> JsonObject:
    return {_RATE: known.rate, **{str(bucket): round(weight, 4) for bucket, weight in sorted(known.counts.items())}}


async def reasoning(
    connection: AsyncConnection, source: str, model: str, types: str, began: datetime, due: datetime, now: datetime
) -> str | None:
    """Return why the next look at a workflow that is alive is when it is, None where nothing is known of its kind.

    Such as: "next look in 40 s: 82 % of videoGen end by then". `began` is since when it is on its way.
    """
    known = (await read(connection, [source]))[source]
    for kind in keys_of(model, types):
        one = known.get(kind)
        share = one.ended_by(max((now - began).total_seconds(), 0.0), (due - began).total_seconds()) if one else None
        if share is not None:
            what = " ".join(filter(None, (kind[1], f"with {kind[0]}" if kind[0] else ""))) or f"all of {source}"
            wait = max(round((due - now).total_seconds()), 0)
            return f"next look in {wait} s: {share:.0%} of {what} alive now end by then".replace("%", " %")
    return None

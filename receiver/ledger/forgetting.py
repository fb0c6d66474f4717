"""Forgetting one workflow, with everything that could tell of it: prompts are personal data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import unquote_plus

from sqlalchemy import ColumnElement, and_, delete, func, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import store
from receiver.ledger.collected import collected
from receiver.ledger.operations import audit_log, chores, saved_links
from receiver.ledger.tables import (
    attention,
    blobs,
    checks,
    delivery_keys,
    evidence,
    jobs,
    steps,
    transitions,
    workflows,
)

FORGOTTEN = "[forgotten]"  # in the place of a name

Keys = dict[str, tuple[str, ...]]  # evidence -> its dedupe keys
_E, _A, _K = evidence.c, attention.c, delivery_keys.c


async def evidence_of(connection: AsyncConnection, source: str, workflow_id: str) -> set[str]:
    """Return the ids of all evidence that tells of a workflow: its own, and what belongs to none and names it.

    What nobody could read names it if the id stands anywhere in its body.
    """
    w = workflows.c
    pk = select(w.pk).where(w.source == source, w.id == workflow_id).scalar_subquery()
    nobody = (_E.source == source, _E.workflow.is_(None))
    named = or_(_E.workflow_id == workflow_id, *_holds(connection.dialect.name, workflow_id))
    query = select(_E.id, _E.decision).where(or_(_E.workflow == pk, and_(*nobody, named)))
    rows = (await connection.execute(query)).all()
    again = {str(row.decision["again"]) for row in rows if row.decision and "again" in row.decision}
    return {row.id for row in rows} | again


def _holds(dialect: str, workflow_id: str) -> list[ColumnElement[bool]]:
    """Conditions that a body holds an id, as it is or as JSON escapes it."""
    forms = {workflow_id.encode(), json.dumps(workflow_id)[1:-1].encode()}
    if dialect == "postgresql":
        return [func.position(literal(form).op("IN")(_E.body)) > 0 for form in sorted(forms)]
    return [func.instr(_E.body, form) > 0 for form in sorted(forms)]


async def keys_of(connection: AsyncConnection, source: str, ids: Sequence[str]) -> Keys:
    """Return the dedupe keys that evidence is held by. Reads all of the source's keys: call it outside of a lock."""
    found: Keys = dict.fromkeys(ids, ())
    query = select(_K.evidence, _K.key).where(_K.source == source, _K.evidence.in_(list(ids)))
    for row in await connection.execute(query):
        found[row.evidence] = (*found[row.evidence], row.key)
    return found


async def forget(connection: AsyncConnection, source: str, workflow_id: str, known: Keys) -> dict[str, int] | None:
    """Remove a workflow and everything that tells of it, under its lock; None when nothing does.

    `known` is what `keys_of` found a moment ago; only for evidence that came since the keys are searched again. A later
    delivery about the same id starts anew. Returns how many rows of what were removed.
    """
    if connection.dialect.name == "sqlite":
        await connection.exec_driver_sql("PRAGMA secure_delete = ON")  # zeros, where it was
    state = (await store.lock(connection, [(source, workflow_id)])).get((source, workflow_id))
    ids = sorted(await evidence_of(connection, source, workflow_id))
    new = [name for name in ids if name not in known]
    keys = {**known, **(await keys_of(connection, source, new) if new else {})}
    dropped = sorted(key for name in ids for key in keys[name])
    pk = state.pk if state is not None else None
    files = list((await connection.execute(select(blobs.c.id).where(blobs.c.workflow == pk))).scalars())
    counts: dict[str, int] = {}
    hung = {"steps": steps, "jobs": jobs, "blobs": blobs, "transitions": transitions}
    for name, table in hung.items():
        counts[name] = await _remove(connection, table, table.c.workflow == pk) if pk is not None else 0
    subjects = or_(
        and_(_A.scope == "workflow", _A.subject == workflow_id), and_(_A.scope == "delivery", _A.subject.in_(ids))
    )
    counts["attention"] = await _remove(connection, attention, and_(_A.source == source, subjects))
    named = and_(checks.c.source == source, checks.c.id == workflow_id)
    counts["checks"] = await _remove(connection, checks, named)
    counts["evidence"] = await _remove(connection, evidence, _E.id.in_(ids))
    counts["keys"] = await _remove(connection, delivery_keys, and_(_K.source == source, _K.key.in_(dropped)))
    counts["copies"] = await _forget_copies(connection, pk) if pk is not None else 0
    # Past runs, labels and what else hangs on the row go with it.
    counts["workflows"] = await _remove(connection, workflows, workflows.c.pk == pk) if pk is not None else 0
    await _forget_places(connection, source, workflow_id)
    await _forget_mentions(connection, source, {workflow_id, *ids, *files})
    return counts if any(counts.values()) else None


async def _remove(connection: AsyncConnection, table: object, which: ColumnElement[bool]) -> int:
    return int((await connection.execute(delete(table).where(which))).rowcount)  # type: ignore[arg-type]


async def _forget_copies(connection: AsyncConnection, pk: int) -> int:
    """Remove what was queued to be copied, and leave of copies only their place: the collector removes the bytes."""
    c = collected.c
    queued = await _remove(connection, collected, and_(c.workflow == pk, c.place.is_(None)))
    copied = update(collected).where(c.workflow == pk).values(workflow=None, blob=FORGOTTEN)
    return queued + int((await connection.execute(copied)).rowcount)


async def _forget_places(connection: AsyncConnection, source: str, workflow_id: str) -> None:
    """Some listings are paged by ids: a backfill that stands at this one begins anew."""
    c = chores.c
    for row in (await connection.execute(select(c.kind, c.progress).where(c.source == source))).all():
        place = "" if row.progress is None else json.dumps(row.progress, ensure_ascii=False)
        if workflow_id in place or workflow_id in unquote_plus(place):
            mine = (c.source == source, c.kind == row.kind)
            await connection.execute(update(chores).where(*mine).values(progress=None))


async def _forget_mentions(connection: AsyncConnection, source: str, names: set[str]) -> None:
    """Who did what by hand stays written; to whom it was done does not. Saved searches for it go."""
    a, s = audit_log.c, saved_links.c
    mine = or_(a.source == source, a.source.is_(None))  # a saved link is of no source, and its name may tell of it
    for row in (await connection.execute(select(a.id, a.subject, a.details).where(mine))).all():
        told = json.dumps(row.details, ensure_ascii=False)
        if row.subject in names or any(name in told for name in names):
            gone = update(audit_log).where(a.id == row.id).values(subject=FORGOTTEN, details=None)
            await connection.execute(gone)
    for saved in (await connection.execute(select(s.name, s.query))).all():
        if any(name in unquote_plus(saved.query) for name in names):
            await connection.execute(delete(saved_links).where(s.name == saved.name))

"""Retention: what has been kept long enough goes, in short transactions, and leaves nothing that refers to it.

Of an ended workflow the bodies of its evidence go, and every piece of evidence that nothing refers to; what a
transition names stays as a row without its body, so that the timeline keeps its proof's hash. A delivery's row goes
with its dedupe key, which stays for as long as upstream may deliver it again (R13). Workflows themselves stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Text, and_, delete, exists, func, not_, or_, select, tuple_, type_coerce, update
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger.operations import passes, rejections
from receiver.ledger.records import EvidenceKind
from receiver.ledger.states import TERMINAL
from receiver.ledger.tables import attention, checks, delivery_keys, evidence, transitions, workflows

Place = tuple[datetime, int]  # (first_seen_at, pk) of a workflow
_W, _E, _K, _A = workflows.c, evidence.c, delivery_keys.c, attention.c


def _expired(source: str, status: str, before: datetime) -> list[ColumnElement[bool]]:
    """Which workflows ended for good before an instant, with no person to see to them, and still hold bodies."""
    concern = exists().where(_A.workflow == _W.pk, _A.closed_at.is_(None), _A.acknowledged_at.is_(None))
    held = exists().where(_E.workflow == _W.pk, _E.body.is_not(None), _E.body_sha256.is_not(None))
    return [
        _W.source == source,
        _W.status == status,
        _W.finished_at < before,
        or_(_W.confirmed_at.is_not(None), _W.vanished_at.is_not(None)),
        ~concern,
        held,
    ]


async def expired(
    connection: AsyncConnection, source: str, status: str, before: datetime, after: Place | None, limit: int
) -> tuple[list[int], Place | None]:
    """Look through the next `limit` workflows of a source and status, in the order they were first seen.

    Returns the numbers of those whose evidence may go, and the place to go on after, None at the end. Most were pruned
    long ago: looked for in one go, the next that was not may be millions of rows away.
    """
    next_ones = select(_W.first_seen_at, _W.pk).where(
        _W.source == source, _W.status == status, _W.first_seen_at < before
    )
    if after is not None:
        at, pk = after
        next_ones = next_ones.where(_W.first_seen_at >= at, or_(_W.first_seen_at > at, _W.pk > pk))
    rows = (await connection.execute(next_ones.order_by(_W.first_seen_at, _W.pk).limit(limit))).all()
    if not rows:
        return [], None
    pks = [row.pk for row in rows]
    due = await connection.execute(select(_W.pk).where(_W.pk.in_(pks), *_expired(source, status, before)))
    there = set(due.scalars())
    return [pk for pk in pks if pk in there], (rows[-1].first_seen_at, rows[-1].pk)


async def prune_workflows(
    connection: AsyncConnection, source: str, status: str, before: datetime, pks: Sequence[int]
) -> dict[str, int]:
    """Prune the evidence of these workflows, as far as they may still be and nobody holds them just now.

    Returns how many `workflows` were pruned, `bodies` taken away and `evidence` rows removed.
    """
    query = select(_W.pk, _W.id).where(_W.pk.in_(pks), *_expired(source, status, before)).order_by(_W.pk)
    rows = (await connection.execute(query.with_for_update(skip_locked=True, of=workflows))).all()
    if not rows:
        return {"workflows": 0, "bodies": 0, "evidence": 0}
    mine = [row.pk for row in rows]
    # The next answer that is the same as the last one has no body to refer to any more.
    seen = (checks.c.source == source, checks.c.id.in_([row.id for row in rows]))
    await connection.execute(update(checks).where(*seen).values(seen_sha256=None, seen_evidence=None))
    held = and_(_E.body.is_not(None), _E.body_sha256.is_not(None))
    bodies = await connection.execute(update(evidence).where(_E.workflow.in_(mine), held).values(body=None))
    removed = await connection.execute(delete(evidence).where(_E.workflow.in_(mine), _has_no_key(), *_unreferenced()))
    return {"workflows": len(mine), "bodies": bodies.rowcount, "evidence": removed.rowcount}


def _has_no_key() -> ColumnElement[bool]:
    """Fetches, and decisions but for what was tracked: everything else goes with its dedupe key."""
    tracked = type_coerce(_E.decision, Text).like('{"track":%')
    return or_(_E.kind == EvidenceKind.FETCH, and_(_E.kind == EvidenceKind.DECISION, not_(tracked)))


def _unreferenced() -> list[ColumnElement[bool]]:
    """Which evidence no transition, no attention and no other evidence of its workflow names."""
    same, moved, told = evidence.alias("same"), transitions, attention.alias("told")
    return [
        ~exists().where(moved.c.workflow == _E.workflow, moved.c.evidence == _E.id),
        ~exists().where(same.c.workflow == _E.workflow, same.c.same_as == _E.id),
        ~exists().where(told.c.workflow == _E.workflow, told.c.evidence == _E.id),
    ]


async def unattached(
    connection: AsyncConnection, source: str, before: datetime, after: str, limit: int
) -> list[tuple[str, str]]:
    """Return (id, kind) of the next evidence that belongs to no workflow and that nobody need see to any more."""
    waiting = exists().where(
        _A.scope == "delivery",
        _A.source == source,
        _A.subject == _E.id,
        _A.closed_at.is_(None),
        _A.acknowledged_at.is_(None),
    )
    query = select(_E.id, _E.kind).where(_E.source == source, _E.recorded_at < before, _E.workflow.is_(None))
    query = query.where(_E.id > after, ~waiting, or_(_E.body.is_not(None), _E.kind == EvidenceKind.FETCH))
    return [(row.id, row.kind) for row in await connection.execute(query.order_by(_E.id).limit(limit))]


async def prune_unattached(
    connection: AsyncConnection, source: str, found: Sequence[tuple[str, str]], now: datetime
) -> dict[str, int]:
    """Take the bodies of evidence without a workflow away; an answer to a look goes whole."""
    ids = [name for name, kind in found if kind != EvidenceKind.FETCH]
    answers = [name for name, kind in found if kind == EvidenceKind.FETCH]
    still = (_E.workflow.is_(None), _E.body.is_not(None))
    bodies = await connection.execute(update(evidence).where(_E.id.in_(ids), *still).values(body=None))
    removed = await connection.execute(delete(evidence).where(_E.id.in_(answers), _E.workflow.is_(None)))
    seen = (_A.scope == "delivery", _A.source == source, _A.subject.in_(ids), _A.closed_at.is_(None))
    await connection.execute(update(attention).where(*seen).values(closed_at=now))
    return {"bodies": bodies.rowcount, "evidence": removed.rowcount}


async def keys_after(
    connection: AsyncConnection, source: str, after: str, limit: int
) -> list[tuple[str, datetime, str]]:
    """Return (key, when it last came, evidence) of the next dedupe keys of a source."""
    query = select(_K.key, _K.last_at, _K.evidence).where(_K.source == source, _K.key > after)
    return [tuple(row) for row in await connection.execute(query.order_by(_K.key).limit(limit))]


async def spent(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, bool]:
    """Return, for evidence whose body is gone, whether nothing but its key refers to it; what is not there is spent."""
    held = select(_E.id, _E.body.is_(None).label("pruned")).where(_E.id.in_(ids))
    known = {row.id: bool(row.pruned) for row in await connection.execute(held)}
    gone = [name for name in ids if known.get(name, True)]
    free = await connection.execute(select(_E.id).where(_E.id.in_(gone), *_unreferenced()))
    unused = set(free.scalars())
    return {name: name in unused or name not in known for name in gone}


async def drop_keys(
    connection: AsyncConnection, source: str, keys: Sequence[str], last_before: datetime, rows: Sequence[str]
) -> dict[str, int]:
    """Remove dedupe keys that did not come again meanwhile, and the evidence that only they referred to."""
    mine = (_K.source == source, _K.key.in_(keys), _K.last_at < last_before)
    gone = (await connection.execute(delete(delivery_keys).where(*mine).returning(_K.evidence))).scalars().all()
    wanted = sorted(set(rows) & set(gone))
    removed = await connection.execute(delete(evidence).where(_E.id.in_(wanted), _E.body.is_(None)))
    return {"keys": len(gone), "evidence": removed.rowcount}


async def prune_records(connection: AsyncConnection, source: str, before: datetime, limit: int) -> dict[str, int]:
    """Remove attention that was closed, and rejections that were last met, before an instant."""
    old = select(_A.id).where(_A.source == source, _A.closed_at < before).limit(limit)
    seen = await connection.execute(delete(attention).where(_A.id.in_(old)))
    turned = rejections.c
    away = await connection.execute(delete(rejections).where(turned.source == source, turned.last_at < before))
    return {"attention": seen.rowcount, "rejections": away.rowcount}


async def prune_passes(connection: AsyncConnection, before: datetime, limit: int) -> int:
    """Remove the records of passes that ended, or were killed, before an instant; the newest of each kind stays."""
    p = passes.c
    newest = select(p.kind, func.max(p.started_at)).group_by(p.kind)
    old = select(p.id).where(p.started_at < before, tuple_(p.kind, p.started_at).not_in(newest)).limit(limit)
    return (await connection.execute(delete(passes).where(p.id.in_(old)))).rowcount


STATUSES = tuple(sorted(TERMINAL))

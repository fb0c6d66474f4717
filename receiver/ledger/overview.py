"""What the dashboard asks across workflows: what needs a person, what came in, what the reconciler did."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import cursors, tables
from receiver.ledger.listing import USUAL, check_filter
from receiver.ledger.operations import audit_log, passes, sessions, tokens
from receiver.ledger.query_parts import JsonObject, Row, attention_json, stamp

_ATTENTION = tables.attention.c
_LATE = 3000  # milliseconds between the making of evidence and its commit, and between clocks
_WINDOW = 2000  # pieces of evidence looked at in one poll
_OPEN = _ATTENTION.closed_at.is_(None)


async def unacknowledged(connection: AsyncConnection) -> int:
    """Return how many reasons to look are open that nobody has acknowledged."""
    query = select(func.count()).where(_OPEN, _ATTENTION.acknowledged_at.is_(None))
    return int((await connection.execute(query)).scalar_one())


async def attention_by_kind(connection: AsyncConnection, most: int) -> dict[str, JsonObject]:
    """Return `{"open", "acknowledged", "items"}` by kind: of what is open, at most `most` items each.

    What nobody has acknowledged comes first, then what has waited longest. An item is as in a workflow's JSON, with
    `ref` (the row's name), `scope`, `source`, `subject`, and its workflow's `status`.
    """
    a, w = _ATTENTION, tables.workflows.c
    order = (a.acknowledged_at.is_not(None), a.since, a.id)
    place = func.row_number().over(partition_by=a.kind, order_by=order).label("place")
    ranked = select(tables.attention, place).where(_OPEN).subquery()
    listed = (
        select(ranked, w.status)
        .select_from(ranked.outerjoin(tables.workflows, w.pk == ranked.c.workflow))
        .where(ranked.c.place <= most)
        .order_by(ranked.c.kind, ranked.c.place)
    )
    counted = select(a.kind, func.count(), func.count(a.acknowledged_at)).where(_OPEN).group_by(a.kind)
    found: dict[str, JsonObject] = {
        kind: {"open": every, "acknowledged": seen, "items": []}
        for kind, every, seen in await connection.execute(counted)
    }
    for row in (await connection.execute(listed)).mappings():
        # Between the two statements another one may have been opened.
        group = found.setdefault(row["kind"], {"open": 1, "acknowledged": 0, "items": []})
        group["items"].append(_attention(row))
    return found


@dataclass(frozen=True, slots=True)
class AttentionFilter:
    """Which open reasons to look to list; what is None or empty does not matter. Raises BadFilter.

    `acknowledged` tells those that a person has seen to from those nobody has.
    """

    scope: str | None = None
    kinds: tuple[str, ...] = ()
    source: str | None = None
    acknowledged: bool | None = None
    limit: int = USUAL
    cursor: str | None = None

    def __post_init__(self) -> None:
        scopes = () if self.scope is None else (self.scope,)
        words = [("scope", scopes, tables.ATTENTION_SCOPES), ("kind", self.kinds, tables.ATTENTION_KINDS)]
        check_filter(self.limit, [("source", self.source)], words)


async def list_attention(connection: AsyncConnection, wanted: AttentionFilter) -> JsonObject:
    """Return `{"items", "next_cursor"}`: open reasons to look as in `attention_by_kind`, the newest first.

    Raises BadCursor.
    """
    a = _ATTENTION
    query = _told().order_by(a.since.desc(), a.id.desc()).limit(wanted.limit + 1)
    for column, value in ((a.scope, wanted.scope), (a.source, wanted.source)):
        if value is not None:
            query = query.where(column == value)
    if wanted.kinds:
        query = query.where(a.kind.in_(wanted.kinds))
    if wanted.acknowledged is not None:
        query = query.where(a.acknowledged_at.is_not(None) if wanted.acknowledged else a.acknowledged_at.is_(None))
    if wanted.cursor is not None:
        at, ref = cursors.decode("c", wanted.cursor, datetime, str)
        query = query.where(a.since <= at, or_(a.since < at, a.id < ref))
    rows = list((await connection.execute(query)).mappings())
    last = rows[wanted.limit - 1] if len(rows) > wanted.limit else None
    after = cursors.encode("c", {"since": last["since"], "id": last["id"]}) if last is not None else None
    return {"items": [_attention(row) for row in rows[: wanted.limit]], "next_cursor": after}


async def one_attention(connection: AsyncConnection, ref: str) -> JsonObject | None:
    """Return one open reason to look, as `list_attention` does; None when there is none of this name."""
    row = (await connection.execute(_told().where(_ATTENTION.id == ref))).mappings().first()
    return _attention(row) if row is not None else None


def _told() -> Select[Any]:
    w = tables.workflows
    joined = tables.attention.outerjoin(w, w.c.pk == _ATTENTION.workflow)
    return select(tables.attention, w.c.status).select_from(joined).where(_OPEN)


def _attention(row: Row) -> JsonObject:
    named = {"ref": row["id"], "scope": row["scope"], "source": row["source"], "subject": row["subject"]}
    return {**attention_json(row), **named, "status": row["status"]}


async def attention_row(connection: AsyncConnection, ref: str) -> Row | None:
    """Return one open reason to look by its row's name; None when it is not open."""
    query = select(tables.attention).where(_ATTENTION.id == ref, _OPEN)
    return (await connection.execute(query)).mappings().first()


async def acknowledge_row(connection: AsyncConnection, ref: str, who: str, now: datetime) -> None:
    """Note that a person has seen to what is open; the first to do so counts."""
    mine = (_ATTENTION.id == ref, _OPEN, _ATTENTION.acknowledged_at.is_(None))
    await connection.execute(update(tables.attention).where(*mine).values(acknowledged_at=now, acknowledged_by=who))


async def list_passes(connection: AsyncConnection, *, limit: int, cursor: str | None = None) -> JsonObject:
    """Return `{"items", "next_cursor"}`: runs of the reconciler, newest first. Raises BadCursor."""
    p = passes.c
    query = select(passes).order_by(p.id.desc()).limit(limit + 1)  # ids sort by time
    if cursor is not None:
        query = query.where(p.id < cursors.decode("p", cursor, str)[0])
    rows = list((await connection.execute(query)).mappings())
    items = [
        {
            **{name: row[name] for name in ("id", "kind", "holder", "counts", "outcome")},
            "started_at": stamp(row["started_at"]),
            "ended_at": stamp(row["ended_at"]),
        }
        for row in rows[:limit]
    ]
    return {"items": items, "next_cursor": _next(items, len(rows) > limit, "p")}


async def last_pass(connection: AsyncConnection) -> JsonObject | None:
    """Return the newest run of a reconciler, None when there has been none."""
    found: list[JsonObject] = (await list_passes(connection, limit=1))["items"]
    return found[0] if found else None


def _next(items: list[Any], more: bool, kind: str) -> str | None:
    return cursors.encode(kind, {"id": items[-1]["id"]}) if more else None


@dataclass(frozen=True, slots=True)
class Place:
    """How far changes have been seen: everything named up to `floor`, and of what is later, `seen`."""

    floor: str
    seen: frozenset[str]


async def newest_place(connection: AsyncConnection) -> Place:
    """Return the place at which nothing has changed since now."""
    e = tables.evidence.c
    floor = _floor((await connection.execute(select(func.max(e.id)))).scalar_one() or "")
    return Place(floor, frozenset((await connection.execute(select(e.id).where(e.id > floor))).scalars()))


async def changed_since(
    connection: AsyncConnection, place: Place, most: int
) -> tuple[set[tuple[str, str]], Place, bool]:
    """Return (the workflows that evidence came for, the new place, whether there are more than `most`).

    Evidence is named by the time it was made and appears when it is committed, a little later and not in that order:
    a few seconds before the newest are looked through again.
    """
    e = tables.evidence.c
    query = select(e.id, e.source, e.workflow_id).where(e.id > place.floor).order_by(e.id.desc()).limit(_WINDOW)
    rows = list(await connection.execute(query))
    fresh = [row for row in rows if row.id not in place.seen]
    floor = max(_floor(rows[0].id), place.floor) if rows else place.floor
    named = {(row.source, row.workflow_id or "") for row in fresh}
    after = Place(floor, frozenset(row.id for row in rows if row.id > floor))
    more = len(named) > most or (len(rows) == _WINDOW and bool(fresh))
    return (set() if more else named), after, more


async def marks(connection: AsyncConnection) -> dict[str, str]:
    """Return a mark of each thing that changes without evidence: while it stays the same, nothing of it has changed."""
    a = _ATTENTION
    newest = select(passes.c.id, passes.c.ended_at).order_by(passes.c.id.desc()).limit(3)
    noted = select(func.max(audit_log.c.id))
    opened = select(func.count(), func.max(a.since), func.max(a.acknowledged_at)).where(_OPEN)
    revoked = select(func.count(tokens.c.revoked_at))
    begun = select(func.count(), func.max(sessions.c.created_at))
    return {
        "passes": repr((await connection.execute(newest)).all()),
        "audit": repr((await connection.execute(noted)).scalar_one()),
        "attention": repr((await connection.execute(opened)).one()),
        "tokens": repr((await connection.execute(revoked)).scalar_one()),
        "sessions": repr((await connection.execute(begun)).one()),
    }


def _floor(name: str) -> str:
    """Return the beginning of names that are a little older than this one."""
    try:
        return f"{max(int(name[:12], 16) - _LATE, 0):012x}"
    except ValueError:
        return ""

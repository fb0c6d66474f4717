"""Evidence across workflows: what came in, what was fetched and decided, with filters and pages, newest first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import cursors
from receiver.ledger.listing import MOST, USUAL, BadFilter
from receiver.ledger.query_parts import JsonObject, stamp
from receiver.ledger.records import EvidenceKind, Outcome
from receiver.ledger.tables import evidence, workflows

_LONGEST = 256  # characters of a text to look for; no id is longer
_E = evidence.c
_HELD = evidence.alias("held")
_TOLD = (
    "id", "source", "seq", "kind", "trust", "outcome", "problem", "identity", "http_status", "body_sha256", "same_as",
    "code_version",
)  # fmt: skip
# An id begins with its maker's milliseconds, and makers' clocks differ a little from the ledger's.
_CLOCKS_APART = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class EvidenceFilter:
    """Which evidence to list; what is None or empty does not matter. Raises BadFilter.

    `workflow` is a workflow's id, as the evidence itself or the ledger says. `since` (included) and `until` (not
    included) are about `recorded_at`.
    """

    source: str | None = None
    kinds: tuple[str, ...] = (EvidenceKind.DELIVERY,)
    outcomes: tuple[str, ...] = ()
    workflow: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int = USUAL
    cursor: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= MOST:
            raise BadFilter(f"limit must be 1 to {MOST}")
        for what, given, known in (("kind", self.kinds, EvidenceKind), ("outcome", self.outcomes, Outcome)):
            for word in given:
                if word not in set(known):
                    raise BadFilter(f"there is no {what} {word[:40]!r}; there are {', '.join(known)}")
        for name, value in (("source", self.source), ("workflow", self.workflow)):
            if value is not None and (not 0 < len(value) <= _LONGEST or not value.isprintable()):
                raise BadFilter(f"{name} must be 1 to {_LONGEST} printable characters")


async def list_evidence(connection: AsyncConnection, wanted: EvidenceFilter) -> JsonObject:
    """Return `{"items", "next_cursor"}`: evidence without headers and bodies, newest first. Raises BadCursor."""
    rows = list((await connection.execute(evidence_query(wanted))).mappings())
    more: str | None = None
    if len(rows) > wanted.limit:
        last_row, by_time = rows[wanted.limit - 1], wanted.source is not None
        place = {name: last_row[name] for name in (("recorded_at", "id") if by_time else ("id",))}
        more = cursors.encode("ds" if by_time else "d", place)
    return {"items": [_as_json(row) for row in rows[: wanted.limit]], "next_cursor": more}


def evidence_query(wanted: EvidenceFilter) -> Select[Any]:
    """Return the query behind `list_evidence`, for one row more than a page. Raises BadCursor."""
    by_time = wanted.source is not None  # one source's evidence is indexed by time, all evidence by its id
    conditions = _conditions(wanted)
    if wanted.cursor is not None and by_time:
        at, last = cursors.decode("ds", wanted.cursor, datetime, str)
        conditions += [_E.recorded_at <= at, or_(_E.recorded_at < at, _E.id < last)]
    elif wanted.cursor is not None:
        conditions.append(_E.id < cursors.decode("d", wanted.cursor, str)[0])
    query = _listed().where(*conditions)
    if wanted.workflow is not None:
        query = _listed().where(_E.id.in_(_page_of_workflow(wanted, conditions, by_time=by_time)))
    order = (_E.recorded_at.desc(), _E.id.desc()) if by_time else (_E.id.desc(),)
    return query.order_by(*order).limit(wanted.limit + 1)


async def one(connection: AsyncConnection, evidence_id: str) -> JsonObject | None:
    """Return one piece of evidence with its `headers` and its `decision`, without its body; None for an unknown id."""
    query = _listed(_E.headers, _E.decision).where(_E.id == evidence_id)
    row = (await connection.execute(query)).mappings().first()
    return None if row is None else {**_as_json(row), "headers": row["headers"], "decision": row["decision"]}


async def body_of(connection: AsyncConnection, evidence_id: str) -> bytes | None:
    """Return what was received or fetched, byte for byte; None for an unknown id, and for a body that was pruned."""
    body = func.coalesce(_E.body, _HELD.c.body)
    query = select(body).select_from(_joined()).where(_E.id == evidence_id)
    found = (await connection.execute(query)).scalar_one_or_none()
    return None if found is None else bytes(found)


def _joined() -> Any:
    return evidence.outerjoin(_HELD, _HELD.c.id == _E.same_as)


def _listed(*more: ColumnElement[Any]) -> Select[Any]:
    size = func.coalesce(func.length(_E.body), func.length(_HELD.c.body)).label("size")
    columns = (*(_E[name] for name in _TOLD), _E.workflow_id, _E.sent_at, _E.recorded_at, size, *more)
    return select(*columns).select_from(_joined())


def _as_json(row: Any) -> JsonObject:
    return {
        **{name: row[name] for name in _TOLD},
        "workflow": row["workflow_id"],
        "size": row["size"],
        "sent_at": stamp(row["sent_at"]),
        "recorded_at": stamp(row["recorded_at"]),
    }


def _conditions(wanted: EvidenceFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.source is not None:
        found.append(_E.source == wanted.source)
    if wanted.kinds:
        found.append(_E.kind.in_(wanted.kinds))
    if wanted.outcomes:
        found.append(_E.outcome.in_(wanted.outcomes))
    if wanted.since is not None:
        found.append(_E.recorded_at >= wanted.since)
        if wanted.source is None:  # by way of the one index that orders all evidence
            found.append(_E.id >= _first_id(wanted.since - _CLOCKS_APART))
    if wanted.until is not None:
        found.append(_E.recorded_at < wanted.until)
        if wanted.source is None:
            found.append(_E.id < _first_id(wanted.until + _CLOCKS_APART))
    return found


def _page_of_workflow(wanted: EvidenceFilter, conditions: list[ColumnElement[bool]], *, by_time: bool) -> Select[Any]:
    """Return the query for the ids on a page about one workflow.

    By way of the workflow, whose evidence is indexed; what no workflow is known for names it by itself. All of it is
    read and put in order: whoever goes back in time instead reads what came in for everybody else.
    """
    mine = select(workflows.c.pk).where(workflows.c.id == wanted.workflow)
    if wanted.source is not None:
        mine = mine.where(workflows.c.source == wanted.source)
    known = select(_E.id, _E.recorded_at).where(_E.workflow.in_(mine), *conditions)
    nobody = (_E.workflow.is_(None), _E.workflow_id.is_not(None), _E.workflow_id == wanted.workflow)
    both = union_all(known, select(_E.id, _E.recorded_at).where(*nobody, *conditions))
    found = both.cte("found").prefix_with("MATERIALIZED")
    order = (found.c.recorded_at.desc(), found.c.id.desc()) if by_time else (found.c.id.desc(),)
    return select(found.c.id).order_by(*order).limit(wanted.limit + 1)


def _first_id(at: datetime) -> str:
    """Return the least id that can have been made at an instant (`evidence.new_id`)."""
    return f"{max(int(at.timestamp() * 1000), 0):012x}"

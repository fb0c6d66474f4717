"""Evidence across workflows: what came in, what was fetched and decided, with filters and pages, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import Any

from sqlalchemy import ColumnElement, Select, func, literal_column, or_, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import cursors, narrowing
from receiver.ledger.listing import USUAL, check_filter
from receiver.ledger.newest import newest
from receiver.ledger.query_parts import JsonObject, stamp
from receiver.ledger.records import EvidenceKind, Outcome
from receiver.ledger.tables import SELDOM, evidence, workflows

_E = evidence.c
_HELD = evidence.alias("held")
_TOLD = (
    "id", "source", "seq", "kind", "trust", "outcome", "problem", "identity", "http_status", "body_sha256", "same_as",
    "code_version",
)  # fmt: skip
# Outcomes that nearly all deliveries have; the index `ix_evidence_seldom` leaves them out.
OFTEN = frozenset({Outcome.APPLIED, Outcome.RECORDED})


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
        words = [("kind", self.kinds, tuple(EvidenceKind)), ("outcome", self.outcomes, tuple(Outcome))]
        check_filter(self.limit, [("source", self.source), ("workflow", self.workflow)], words)


async def list_evidence(connection: AsyncConnection, wanted: EvidenceFilter) -> JsonObject:
    """Return `{"items", "next_cursor"}`: evidence without headers and bodies, newest first. Raises BadCursor."""
    rows = list((await connection.execute(await evidence_query(connection, wanted))).mappings())
    more: str | None = None
    if len(rows) > wanted.limit:
        last = rows[wanted.limit - 1]
        more = cursors.encode("e", {name: last[name] for name in ("recorded_at", "id")})
    return {"items": [_as_json(row) for row in rows[: wanted.limit]], "next_cursor": more}


async def evidence_query(connection: AsyncConnection, wanted: EvidenceFilter) -> Select[Any]:
    """Return the query behind `list_evidence`, for one row more than a page. Raises BadCursor."""
    conditions = _conditions(wanted)
    if wanted.cursor is not None:
        at, last = cursors.decode("e", wanted.cursor, datetime, str)
        conditions += [_E.recorded_at <= at, or_(_E.recorded_at < at, _E.id < last)]
    if wanted.workflow is not None:
        page = _of_workflow(wanted, conditions)
    else:
        sources = [wanted.source] if wanted.source else await narrowing.known_sources(connection, evidence)
        page = _of_sources(sources, wanted, conditions, connection.dialect.name)
    return _listed().where(_E.id.in_(page)).order_by(_E.recorded_at.desc(), _E.id.desc())


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
    if wanted.until is not None:
        found.append(_E.recorded_at < wanted.until)
    return found


def _of_sources(
    sources: Sequence[str], wanted: EvidenceFilter, conditions: Sequence[ColumnElement[bool]], dialect: str
) -> Select[Any]:
    """Return the query for the ids on a page: the newest of each source and kind, put in order together.

    Back in time along one index for all of them, a page of deliveries would read all fetches made since. Outcomes that
    few deliveries have are in an index of their own.
    """
    told: ColumnElement[Any] = _E.kind
    words: Sequence[str] = wanted.kinds or tuple(EvidenceKind)
    if wanted.outcomes and not OFTEN.intersection(wanted.outcomes):
        told, words = _E.outcome, wanted.outcomes
        # Word for word, or SQLite does not see that the index has them all.
        conditions = [*conditions, literal_column(SELDOM)]

    def within(source: ColumnElement[Any], word: ColumnElement[Any]) -> list[ColumnElement[bool]]:
        return [_E.source == source, told == word, *conditions]

    places = product(sources, dict.fromkeys(words))
    return newest(evidence, ("id",), ("recorded_at", "id"), places, within, wanted.limit + 1, dialect)


def _of_workflow(wanted: EvidenceFilter, conditions: Sequence[ColumnElement[bool]]) -> Select[Any]:
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
    return select(found.c.id).order_by(found.c.recorded_at.desc(), found.c.id.desc()).limit(wanted.limit + 1)

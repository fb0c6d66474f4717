"""Lists of workflows and of jobs: filters, pages, newest first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, and_, cast, exists, func, literal, or_, select, union
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import cursors, queries
from receiver.ledger.derived import labels
from receiver.ledger.labels import digest
from receiver.ledger.query_parts import JsonObject, Row, job_json
from receiver.ledger.states import TERMINAL, Status
from receiver.ledger.tables import ATTENTION_KINDS, attention, blobs, checks, jobs, steps, workflows

# A check overdue by more than this makes its workflow stale (DESIGN §8.2).
STALE_AFTER = timedelta(minutes=1)
MOST, USUAL = 200, 50
_LONGEST = 256  # characters of a text to look for; no id is longer
_W = workflows.c


class BadFilter(ValueError):
    """A filter cannot be right; the message says which and what would be."""


def _checked(limit: int, statuses: tuple[str, ...], texts: Mapping[str, str | None]) -> None:
    if not 1 <= limit <= MOST:
        raise BadFilter(f"limit must be 1 to {MOST}")
    for status in statuses:
        if status not in set(Status):
            raise BadFilter(f"there is no status {status[:40]!r}; there are {', '.join(Status)}")
    for name, value in texts.items():
        if value is not None and (not 0 < len(value) <= _LONGEST or not value.isprintable()):
            raise BadFilter(f"{name} must be 1 to {_LONGEST} printable characters")


@dataclass(frozen=True, slots=True)
class WorkflowFilter:
    """Which workflows to list; what is None does not matter. Raises BadFilter.

    `attention` is a kind, or `any`. `since` (included) and `until` (not included) are about `first_seen_at`.
    `q` is a workflow's, job's or blob's id or a ref, or its beginning.
    """

    source: str | None = None
    statuses: tuple[str, ...] = ()
    open: bool | None = None
    stale: bool | None = None
    attention: str | None = None
    step_type: str | None = None
    context: Mapping[str, str] = field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None
    q: str | None = None
    limit: int = USUAL
    cursor: str | None = None

    def __post_init__(self) -> None:
        texts = {"source": self.source, "step_type": self.step_type, "q": self.q}
        labels = {f"context.{key[:40]}": key for key in self.context}
        _checked(self.limit, self.statuses, {**texts, **labels})
        if any("\0" in value for value in self.context.values()):
            raise BadFilter("a context's value must not hold a NUL character")
        if self.attention is not None and self.attention not in ("any", *ATTENTION_KINDS):
            raise BadFilter(f"attention must be any or one of {', '.join(ATTENTION_KINDS)}")


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs to list, across workflows; what is None does not matter. Raises BadFilter."""

    source: str | None = None
    id: str | None = None
    statuses: tuple[str, ...] = ()
    workflow: str | None = None
    since: datetime | None = None
    limit: int = USUAL
    cursor: str | None = None

    def __post_init__(self) -> None:
        _checked(self.limit, self.statuses, {"source": self.source, "id": self.id, "workflow": self.workflow})


async def list_workflows(connection: AsyncConnection, wanted: WorkflowFilter, now: datetime) -> JsonObject:
    """Return `{"items", "next_cursor"}`: workflows as `queries.workflow` returns them, newest first seen first.

    Raises BadCursor.
    """
    query = workflow_query(wanted, now, connection.dialect.name)
    rows = list((await connection.execute(query)).mappings())
    items = await queries.as_json(connection, rows[: wanted.limit], now)
    return _page(items, rows, wanted.limit, "w", ("first_seen_at", "pk"))


def workflow_query(wanted: WorkflowFilter, now: datetime, dialect: str) -> Select[Any]:
    """Return the query behind `list_workflows`, for one row more than a page. Raises BadCursor."""
    query = select(workflows).where(*_conditions(wanted, now, dialect))
    if wanted.cursor is not None:
        at, pk = cursors.decode("w", wanted.cursor, datetime, int)
        query = query.where(_W.first_seen_at <= at, or_(_W.first_seen_at < at, _W.pk < pk))
    return query.order_by(_W.first_seen_at.desc(), _W.pk.desc()).limit(wanted.limit + 1)


async def list_jobs(connection: AsyncConnection, wanted: JobFilter) -> JsonObject:
    """Return `{"items", "next_cursor"}`: jobs of each workflow's present run, with `source`, `workflow` and `run`.

    Raises BadCursor.
    """
    j = jobs.c
    query: Select[Any] = (
        select(jobs, _W.source, _W.id.label("workflow_id"))
        .join(workflows, and_(j.workflow == _W.pk, j.run == _W.run))
        .order_by(j.first_seen_at.desc(), j.workflow.desc(), j.key.desc())
        .limit(wanted.limit + 1)
    )
    for column, value in ((_W.source, wanted.source), (j.key, wanted.id), (_W.id, wanted.workflow)):
        if value is not None:
            query = query.where(column == value)
    if wanted.statuses:
        query = query.where(j.status.in_(wanted.statuses))
    if wanted.since is not None:
        query = query.where(j.first_seen_at >= wanted.since)
    if wanted.cursor is not None:
        at, pk, key = cursors.decode("j", wanted.cursor, datetime, int, str)
        later = or_(j.workflow < pk, and_(j.workflow == pk, j.key < key))
        query = query.where(j.first_seen_at <= at, or_(j.first_seen_at < at, later))
    rows = list((await connection.execute(query)).mappings())
    items = [
        {"source": row["source"], "workflow": row["workflow_id"], "run": row["run"], **job_json(row)}
        for row in rows[: wanted.limit]
    ]
    return _page(items, rows, wanted.limit, "j", ("first_seen_at", "workflow", "key"))


def _page(items: list[Any], rows: list[Any], limit: int, kind: str, place: tuple[str, ...]) -> JsonObject:
    last: Row | None = rows[limit - 1] if len(rows) > limit else None
    cursor = None if last is None else cursors.encode(kind, {name: last[name] for name in place})
    return {"items": items, "next_cursor": cursor}


def _conditions(wanted: WorkflowFilter, now: datetime, dialect: str) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.source is not None:
        found.append(_W.source == wanted.source)
    if wanted.statuses:
        found.append(_W.status.in_(wanted.statuses))
    if wanted.open is not None:
        ended = _W.status.in_(sorted(TERMINAL))
        found.append(~ended if wanted.open else ended)
    if wanted.stale is not None:
        stale = exists().where(checks.c.source == _W.source, checks.c.id == _W.id, checks.c.due_at < now - STALE_AFTER)
        found.append(stale if wanted.stale else ~stale)
    if wanted.attention is not None:
        seen = exists().where(attention.c.workflow == _W.pk, attention.c.closed_at.is_(None))
        found.append(seen if wanted.attention == "any" else seen.where(attention.c.kind == wanted.attention))
    if wanted.step_type is not None:
        mine = exists().where(steps.c.workflow == _W.pk, steps.c.run == _W.run)
        found.append(mine.where(_fact_type(dialect) == wanted.step_type))
    found += _labelled(wanted.context)
    if wanted.since is not None:
        found.append(_W.first_seen_at >= wanted.since)
    if wanted.until is not None:
        found.append(_W.first_seen_at < wanted.until)
    if wanted.q is not None:
        found.append(_named(wanted.q, dialect))
    return found


def _fact_type(dialect: str) -> ColumnElement[Any]:
    if dialect == "postgresql":
        return func.jsonb_extract_path_text(cast(steps.c.facts, JSONB), literal("type", Text))
    return func.json_extract(steps.c.facts, literal("$.type", Text))


def _labelled(wanted: Mapping[str, str]) -> Iterator[ColumnElement[bool]]:
    for key, value in wanted.items():
        mine = select(labels.c.workflow).where(labels.c.digest == digest(key, value))
        yield _W.pk.in_(mine)


def _named(q: str, dialect: str) -> ColumnElement[bool]:
    """Whether a workflow's id or ref, or the id of one of its jobs or blobs, is `q` or begins with it.

    Each of the four is looked up in an index of its own: an OR over columns would have every workflow read.
    """

    def begins(column: ColumnElement[Any]) -> ColumnElement[bool]:
        if dialect == "postgresql":
            return column.startswith(q, autoescape=True)
        # A range finds its way through the index, which SQLite's LIKE does not.
        return and_(column >= q, column < q + "\U0010ffff")

    found = union(
        select(_W.pk).where(begins(_W.id)),
        select(_W.pk).where(begins(_W.ref)),
        select(jobs.c.workflow).where(begins(jobs.c.key)),
        select(blobs.c.workflow).where(begins(blobs.c.id)),
    )
    return _W.pk.in_(found)

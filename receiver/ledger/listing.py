"""Lists of workflows and of jobs: filters, pages, newest first."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import product
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import cursors, narrowing, queries
from receiver.ledger.narrowing import FEW, WALK, Narrowing, Window
from receiver.ledger.newest import newest
from receiver.ledger.query_parts import JsonObject, Row, job_json
from receiver.ledger.states import TERMINAL, Status
from receiver.ledger.tables import ATTENTION_KINDS, checks, jobs, workflows

# A check overdue by more than this makes its workflow stale (DESIGN §8.2).
STALE_AFTER = timedelta(minutes=1)
MOST, USUAL = 200, 50
_LONGEST = 256  # characters of a text to look for; no id is longer
STATUSES = tuple(str(status) for status in Status)
_W = workflows.c
_JOB_KEY = ("workflow", "run", "key")
_JOB_ORDER = ("first_seen_at", "workflow", "key")


class BadFilter(ValueError):
    """A filter cannot be right; the message says which and what would be."""


def check_filter(
    limit: int,
    texts: Iterable[tuple[str, str | None]],
    words: Iterable[tuple[str, Iterable[str], Collection[str]]] = (),
) -> None:
    """Raise BadFilter unless the limit is one of a page's, each text (by its name) can be looked for, and each word
    of (what it is, the words given, those there are) is there."""
    if not 1 <= limit <= MOST:
        raise BadFilter(f"limit must be 1 to {MOST}")
    for what, given, known in words:
        for word in given:
            if word not in known:
                raise BadFilter(f"there is no {what} {word[:40]!r}; there are {', '.join(known)}")
    for name, value in texts:
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
        texts = [("source", self.source), ("step_type", self.step_type), ("q", self.q)]
        labels = [(f"context.{key[:40]}", key) for key in self.context]
        check_filter(self.limit, [*texts, *labels], [("status", self.statuses, STATUSES)])
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
        texts = [("source", self.source), ("id", self.id), ("workflow", self.workflow)]
        check_filter(self.limit, texts, [("status", self.statuses, STATUSES)])


async def list_workflows(connection: AsyncConnection, wanted: WorkflowFilter, now: datetime) -> JsonObject:
    """Return `{"items", "next_cursor"}`: workflows as `queries.workflow` returns them, newest first seen first.

    Raises BadCursor.
    """
    query = await workflow_query(connection, wanted, now)
    rows = list((await connection.execute(query)).mappings())
    items = await queries.as_json(connection, rows[: wanted.limit], now)
    return _page(items, rows, wanted.limit, "w", ("first_seen_at", "pk"))


async def workflow_query(
    connection: AsyncConnection, wanted: WorkflowFilter, now: datetime, few: int = FEW, walk: int = WALK
) -> Select[Any]:
    """Return the query behind `list_workflows`, for one row more than a page.

    `few` is how many may be put in order, `walk` how many of the newest are looked through before.

    Raises BadCursor.
    """
    dialect = connection.dialect.name
    after = cursors.decode("w", wanted.cursor, datetime, int) if wanted.cursor is not None else None
    window = Window(wanted.limit + 1, wanted.since, wanted.until, after)
    statuses = _statuses(wanted)
    by_place = wanted.source is not None or statuses is not None
    sources: list[str] = [wanted.source] if wanted.source is not None else []
    if not sources and (by_place or wanted.stale or wanted.q is not None):
        sources = await narrowing.known_sources(connection)
    labelled = narrowing.of_context(wanted.context)
    if wanted.step_type is not None:
        labelled.append(narrowing.of_type(wanted.step_type))
    all_statuses = statuses if statuses is not None else tuple(Status)
    ordered = [*labelled, *([narrowing.of_places(sources, all_statuses)] if by_place else [])]
    found = [*ordered, *_seldom(wanted, now, sources, dialect)]
    rest = _unlikely(wanted, now, dialect)
    way, left = (ordered[0] if ordered else None), 0
    if len(found) > 1 or found != ordered:  # one filter alone whose index has the order of the list needs no more
        least, left = await narrowing.fewest(connection, found, few)
        way = least if least is not None else way
    if way is None:
        return narrowing.along_time([*_but(found), *rest], window)
    others = [*_but(found, way), *rest]
    if way.label is not None:
        return narrowing.along_label(way.label, others, window)
    if way.own:
        return narrowing.along_places(sources, all_statuses, others, window, dialect)
    page = await narrowing.among_newest(connection, [way.also, *others], window, left, walk)
    return page if page is not None else narrowing.of_few(way, others, window, few)


def _but(found: Sequence[Narrowing], used: Narrowing | None = None) -> list[ColumnElement[bool]]:
    return [one.also for one in found if one is not used]


def _statuses(wanted: WorkflowFilter) -> tuple[str, ...] | None:
    """Which statuses are asked for, by name or as open or not; None for any."""
    if wanted.open is None:
        return wanted.statuses or None
    of_these = wanted.statuses or tuple(Status)
    return tuple(one for one in of_these if (one in TERMINAL) is not wanted.open)


def _seldom(wanted: WorkflowFilter, now: datetime, sources: list[str], dialect: str) -> list[Narrowing]:
    """The filters whose indexes do not have the order of the list."""
    found = []
    if wanted.stale:
        found.append(narrowing.of_due(now - STALE_AFTER, sources))
    if wanted.attention is not None:
        found.append(narrowing.of_attention(wanted.attention))
    if wanted.q is not None:
        found.append(narrowing.of_name(wanted.q, sources, dialect))
    return found


def _unlikely(wanted: WorkflowFilter, now: datetime, dialect: str) -> list[ColumnElement[bool]]:
    """What no index is for: it leaves nearly everything, or all that another filter has left."""
    found = []
    if wanted.stale is False:
        c = checks.c
        found.append(~exists().where(c.source == _W.source, c.id == _W.id, c.due_at < now - STALE_AFTER))
    if wanted.step_type is not None:
        found.append(narrowing.has_step(wanted.step_type, dialect))
    return found


async def list_jobs(connection: AsyncConnection, wanted: JobFilter) -> JsonObject:
    """Return `{"items", "next_cursor"}`: jobs of each workflow's present run, with `source`, `workflow` and `run`.

    Raises BadCursor.
    """
    rows = list((await connection.execute(await job_query(connection, wanted))).mappings())
    items = [
        {"source": row["source"], "workflow": row["workflow_id"], "run": row["run"], **job_json(row)}
        for row in rows[: wanted.limit]
    ]
    return _page(items, rows, wanted.limit, "j", ("first_seen_at", "workflow", "key"))


async def job_query(connection: AsyncConnection, wanted: JobFilter) -> Select[Any]:
    """Return the query behind `list_jobs`, for one row more than a page. Raises BadCursor."""
    j = jobs.c
    named = wanted.id is not None or wanted.workflow is not None  # few have that name
    if named or not (wanted.source or wanted.statuses):
        asked = ((j.source, wanted.source), (j.key, wanted.id), (_W.id, wanted.workflow))
        conditions = [column == value for column, value in asked if value is not None]
        if wanted.statuses:
            conditions.append(j.status.in_(wanted.statuses))
        return _jobs([*conditions, *_window(wanted)], wanted.limit + 1)
    sources = [wanted.source] if wanted.source is not None else await narrowing.known_sources(connection)
    dialect = connection.dialect.name
    places = product(sources, dict.fromkeys(wanted.statuses or tuple(Status)))

    def within(source: ColumnElement[Any], status: ColumnElement[Any]) -> list[ColumnElement[bool]]:
        present = exists().where(_W.pk == j.workflow, _W.run == j.run)
        return [j.source == source, j.status == status, present, *_window(wanted)]

    page = newest(jobs, _JOB_KEY, _JOB_ORDER, places, within, wanted.limit + 1, dialect)
    return _jobs([tuple_(*(j[name] for name in _JOB_KEY)).in_(page)], wanted.limit + 1)


def _jobs(conditions: Sequence[ColumnElement[bool]], limit: int) -> Select[Any]:
    query = select(jobs, _W.id.label("workflow_id")).join(
        workflows, and_(jobs.c.workflow == _W.pk, jobs.c.run == _W.run)
    )
    return query.where(*conditions).order_by(*(jobs.c[name].desc() for name in _JOB_ORDER)).limit(limit)


def _window(wanted: JobFilter) -> list[ColumnElement[bool]]:
    j = jobs.c
    found = [j.first_seen_at >= wanted.since] if wanted.since is not None else []
    if wanted.cursor is not None:
        at, pk, key = cursors.decode("j", wanted.cursor, datetime, int, str)
        later = or_(j.workflow < pk, and_(j.workflow == pk, j.key < key))
        found += [j.first_seen_at <= at, or_(j.first_seen_at < at, later)]
    return found


def _page(items: list[Any], rows: list[Any], limit: int, kind: str, place: tuple[str, ...]) -> JsonObject:
    last: Row | None = rows[limit - 1] if len(rows) > limit else None
    cursor = None if last is None else cursors.encode(kind, {name: last[name] for name in place})
    return {"items": items, "next_cursor": cursor}

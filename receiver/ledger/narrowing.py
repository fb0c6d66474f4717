"""Which way to find the workflows that match several filters, newest first.

A planner goes by averages, and ledgers are uneven: what is open is new, what needs a person is old, a source that was
given up has nothing of today. So it is not asked. Each filter is an index to look workflows up in, and one that leaves
few is taken. If it has the order of the list (that of a label, those of each source and status), the page is found by
going back in time along it: that reads no more than all it has. Else all of these are read and put in order, unless the
newest of all are likely to fill the page and do. Where all leave many, it is back in time along the first that has the
order, or along time alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import product
from typing import Any

from sqlalchemy import (
    JSON,
    ColumnElement,
    Select,
    Table,
    Text,
    and_,
    cast,
    func,
    literal,
    literal_column,
    or_,
    select,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger.derived import labels
from receiver.ledger.labels import digest, digest_of_type
from receiver.ledger.newest import newest
from receiver.ledger.tables import LANES, attention, blobs, checks, jobs, steps, workflows

# So many workflows are read, if need be, to be put in order: some dozen milliseconds. In a ledger of five million, to
# go back in time until a page of what so many have in common is full takes as long.
FEW = 20_000
WALK = 2_000  # and so many of the newest are looked through first, where that is likely to do
_W = workflows.c
Condition = ColumnElement[bool]


@dataclass(frozen=True, slots=True)
class Narrowing:
    """One filter: queries for the numbers of the workflows it leaves (some may be there twice, and nulls), and the same
    as a condition on a row of `workflows`. `label` is set for one by a label, `own` for the one by sources and
    statuses: their indexes have the order of the list."""

    parts: tuple[Select[Any], ...]
    also: Condition
    label: bytes | None = None
    own: bool = False

    def pks(self, most: int) -> Select[Any]:
        """Return the query for so many of the numbers, each once."""
        return select(union_all(*self.parts).limit(most).subquery("few")).distinct()

    def counted(self, most: int) -> Select[Any]:
        """Return the query for how many there are, as far as `most`: an index alone tells it."""
        ones: list[Select[Any]] = [part.with_only_columns(literal_column("1").label("one")) for part in self.parts]
        return select(func.count()).select_from(union_all(*ones).limit(most).subquery())


async def known_sources(connection: AsyncConnection, table: Table = workflows) -> list[str]:
    """Return every source that has a row, configured or not: one step into an index for each."""
    return list((await connection.execute(_every_source(table))).scalars())


@cache
def _every_source(table: Table) -> Select[Any]:
    other = table.alias()
    first = select(func.min(table.c.source).label("name")).cte("found", recursive=True)
    after = select(func.min(other.c.source)).where(other.c.source > first.c.name).scalar_subquery()
    found = first.union_all(select(after).where(first.c.name.is_not(None)))
    return select(found.c.name).where(found.c.name.is_not(None))


async def fewest(connection: AsyncConnection, found: Sequence[Narrowing], few: int) -> tuple[Narrowing | None, int]:
    """Return the filter that leaves the fewest and how many these are; None when each leaves more than `few`."""
    counts = (await connection.execute(select(*(one.counted(few + 1).scalar_subquery() for one in found)))).one()
    least = min(range(len(found)), key=lambda place: counts[place])
    return (found[least] if counts[least] <= few else None), counts[least]


def _some(column: ColumnElement[Any], *conditions: Condition) -> Condition:
    """Whether there is a row, asked for each workflow that is met: EXISTS might be answered for all of them at once."""
    return select(column).where(*conditions).correlate(workflows).limit(1).scalar_subquery().is_not(None)


def of_label(key: str, value: str) -> Narrowing:
    """Return the filter by one label of the context."""
    return _labelled(digest(key, value))


def of_type(step_type: str) -> Narrowing:
    """Return the filter by the type of a step of any run."""
    return _labelled(digest_of_type(step_type))


def has_step(step_type: str, dialect: str) -> Condition:
    """Return the condition that the present run has a step of a type."""
    if dialect == "postgresql":
        told = func.json_extract_path_text(cast(steps.c.facts, JSON), literal("type", Text))
    else:
        told = func.json_extract(steps.c.facts, literal("$.type", Text))
    return _some(steps.c.workflow, steps.c.workflow == _W.pk, steps.c.run == _W.run, told == step_type)


def _labelled(label: bytes) -> Narrowing:
    mine = labels.c.digest == label
    also = _some(labels.c.workflow, labels.c.workflow == _W.pk, mine)
    return Narrowing((select(labels.c.workflow).where(mine),), also, label)


def of_attention(kind: str) -> Narrowing:
    """Return the filter by what needs a person: one kind, or `any`."""
    a = attention.c
    opened = [a.closed_at.is_(None), *([a.kind == kind] if kind != "any" else ())]
    return Narrowing(
        (select(a.workflow).where(*opened, a.scope == "workflow"),), _some(a.workflow, a.workflow == _W.pk, *opened)
    )


def of_due(before: datetime, sources: Sequence[str]) -> Narrowing:
    """Return the filter by checks that were due before an instant."""
    c = checks.c
    due = (c.source.in_(sources), c.lane.in_(LANES), c.due_at < before)
    return Narrowing(
        (select(c.workflow).where(*due),), _some(c.id, c.source == _W.source, c.id == _W.id, c.due_at < before)
    )


def of_places(sources: Sequence[str], statuses: Sequence[str]) -> Narrowing:
    """Return the filter by sources and statuses."""
    mine = and_(_W.source.in_(sources), _W.status.in_(statuses))
    return Narrowing((select(_W.pk).where(mine),), mine, own=True)


def of_name(q: str, sources: Sequence[str], dialect: str) -> Narrowing:
    """Return the filter by a workflow's id or ref, or the id of one of its jobs or blobs: `q`, or what begins so.

    Each of the four is looked up in an index of its own.
    """

    def begins(column: ColumnElement[Any]) -> Condition:
        if dialect == "postgresql":
            return column.startswith(q, autoescape=True)
        # A range finds its way through the index, which SQLite's LIKE does not.
        return and_(column >= q, column < q + "\U0010ffff")

    job, blob = begins(jobs.c.key), and_(blobs.c.source.in_(sources), begins(blobs.c.id))
    parts = (
        select(_W.pk).where(begins(_W.id)),
        select(_W.pk).where(begins(_W.ref)),
        select(jobs.c.workflow).where(job),
        select(blobs.c.workflow).where(blob),
    )
    its_job = _some(jobs.c.workflow, jobs.c.workflow == _W.pk, job)
    its_blob = _some(blobs.c.workflow, blobs.c.workflow == _W.pk, begins(blobs.c.id))
    also = or_(begins(_W.id), begins(_W.ref), its_job, its_blob)
    return Narrowing(parts, also)


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of time a page is of: `since` is included, `until` is not; `after` is the row the page follows."""

    limit: int
    since: datetime | None = None
    until: datetime | None = None
    after: tuple[datetime, int] | None = None

    def holds(self, at: ColumnElement[Any], pk: ColumnElement[Any]) -> list[Condition]:
        """Return the conditions on these two columns."""
        found: list[Condition] = []
        if self.since is not None:
            found.append(at >= self.since)
        if self.until is not None:
            found.append(at < self.until)
        if self.after is not None:
            last_at, last_pk = self.after
            found += [at <= last_at, or_(at < last_at, pk < last_pk)]
        return found


def of_few(few: Narrowing, others: Sequence[Condition], window: Window, most: int = FEW) -> Select[Any]:
    """Return the query for a page of what one filter leaves: all of it read, put in order, cut. It was just counted:
    by `most` a planner sees that it is not worth reading anything else for it."""
    these = _W.pk.in_(few.pks(2 * most))
    mine = select(_W.pk, _W.first_seen_at).where(these, *others, *window.holds(_W.first_seen_at, _W.pk))
    # Not to be mingled with the order outside: that would let a planner go back in time after all.
    found = mine.cte("found").prefix_with("MATERIALIZED")
    page = select(found.c.pk).order_by(found.c.first_seen_at.desc(), found.c.pk.desc()).limit(window.limit)
    return _rows(page)


async def among_newest(
    connection: AsyncConnection, conditions: Sequence[Condition], window: Window, left: int, walk: int = WALK
) -> Select[Any] | None:
    """Return the query for a page that the newest `walk` workflows fill, None when they do not.

    Where `left` of all match, and these are likely to fill it twice over, that is a small part of reading them all.
    """
    at, pk = _W.first_seen_at, _W.pk
    mine = window.holds(at, pk)
    last = select(at).where(*mine).order_by(at.desc(), pk.desc()).offset(max(walk - 1, 0)).limit(1)
    since, known = (
        await connection.execute(select(last.scalar_subquery(), select(func.max(pk)).scalar_subquery()))
    ).one()
    if since is None or left * walk < 2 * window.limit * known:
        return None
    page = select(pk).where(at >= since, *mine, *conditions).order_by(at.desc(), pk.desc()).limit(window.limit)
    found = (await connection.execute(page)).scalars().all()
    return _rows(found) if len(found) == window.limit else None


def _rows(page: Select[Any] | Sequence[int]) -> Select[Any]:
    return select(workflows).where(_W.pk.in_(page)).order_by(_W.first_seen_at.desc(), _W.pk.desc())


def along_label(label: bytes, others: Sequence[Condition], window: Window) -> Select[Any]:
    """Return the query for a page of what has a label, back in time along it."""
    at, pk = labels.c.first_seen_at, labels.c.workflow
    query = select(workflows).join(labels, pk == _W.pk).where(labels.c.digest == label, *others, *window.holds(at, pk))
    return query.order_by(at.desc(), pk.desc()).limit(window.limit)


def along_places(
    sources: Sequence[str], statuses: Sequence[str], others: Sequence[Condition], window: Window, dialect: str
) -> Select[Any]:
    """Return the query for a page of these sources and statuses: the newest of each, put in order together."""

    def within(source: ColumnElement[Any], status: ColumnElement[Any]) -> list[Condition]:
        return [_W.source == source, _W.status == status, *others, *window.holds(_W.first_seen_at, _W.pk)]

    order = ("first_seen_at", "pk")
    return _rows(newest(workflows, ("pk",), order, product(sources, statuses), within, window.limit, dialect))


def along_time(others: Sequence[Condition], window: Window) -> Select[Any]:
    """Return the query for a page of all workflows, back in time."""
    at, pk = _W.first_seen_at, _W.pk
    query = select(workflows).where(*others, *window.holds(at, pk))
    return query.order_by(at.desc(), pk.desc()).limit(window.limit)


def of_context(context: Mapping[str, str]) -> list[Narrowing]:
    """Return the filters by the labels of a context."""
    return [of_label(key, value) for key, value in sorted(context.items())]

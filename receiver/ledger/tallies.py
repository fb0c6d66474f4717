"""The figures themselves: deltas folded into totals and series, and both read as of one instant.

Whoever reads adds what is not folded yet, so a figure is never late. Folding is a janitor's chore: any number of
processes may try, one at a time does, and a crash anywhere leaves each delta either folded or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, exists, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger.derived import figure_deltas, figures
from receiver.ledger.figures import TOTAL, Place
from receiver.ledger.tables import attention, workflows

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
AT_ONCE = 5000  # deltas in one folding
# Series by the minute are kept for this long, by the hour for ever.
MINUTES_KEPT = timedelta(days=3)
# Any number will do, as long as nothing else in the database locks by it.
_LOCK = 0x66696775726573
# Values in one statement; SQLite takes 32766.
_PART = 1000

Counts = dict[str, int]
Spot = tuple[str, str, datetime]  # source, span, begins at


def _sum(deltas: Iterable[Any]) -> dict[Place, Counts]:
    found: dict[Place, Counts] = {}
    for delta in deltas:
        for source, minute, numbers in delta:
            here = found.setdefault((source, minute), {})
            for name, number in numbers.items():
                here[name] = here.get(name, 0) + number
    return found


def _merged(counts: Counts, more: Mapping[str, int]) -> Counts:
    both = dict(counts)
    for name, number in more.items():
        both[name] = both.get(name, 0) + number
    return {name: number for name, number in both.items() if number}


def _spots(amounts: Mapping[Place, Counts]) -> dict[Spot, Counts]:
    """Return where amounts belong: totals, and each minute in its minute and its hour."""
    found: dict[Spot, Counts] = {}
    for (source, minute), numbers in amounts.items():
        if minute == TOTAL:
            places = [(source, "total", EPOCH)]
        else:
            at = datetime.fromtimestamp(minute, UTC)
            places = [(source, "minute", at), (source, "hour", at.replace(minute=0))]
        for place in places:
            found[place] = _merged(found.get(place, {}), numbers)
    return found


async def unfolded(connection: AsyncConnection) -> bool:
    """Whether there is anything to fold."""
    return bool((await connection.execute(select(exists().select_from(figure_deltas)))).scalar_one())


async def fold(connection: AsyncConnection) -> int:
    """Fold what batches have added into the figures, in the open writing transaction; returns how many deltas.

    0 also while another process is at it. Call again until fewer than AT_ONCE come.
    """
    if connection.dialect.name == "postgresql":
        mine = await connection.execute(select(func.pg_try_advisory_xact_lock(_LOCK)))
        if not mine.scalar_one():
            return 0
    query = select(figure_deltas.c.id, figure_deltas.c.delta).order_by(figure_deltas.c.id).limit(AT_ONCE)
    rows = (await connection.execute(query)).all()
    if not rows:
        return 0
    spots = _spots(_sum(row.delta for row in rows))
    for place, more in sorted(spots.items()):
        await _add(connection, place, more)
    ids = [row.id for row in rows]
    for start in range(0, len(ids), _PART):
        await connection.execute(delete(figure_deltas).where(figure_deltas.c.id.in_(ids[start : start + _PART])))
    return len(rows)


async def _add(connection: AsyncConnection, place: Spot, more: Counts) -> None:
    source, span, at = place
    here = (figures.c.source == source, figures.c.span == span, figures.c.at == at)
    known = (await connection.execute(select(figures.c.counts).where(*here))).scalar_one_or_none()
    counts = _merged(known or {}, more)
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(figures).values(source=source, span=span, at=at, counts=counts)
    await connection.execute(
        statement.on_conflict_do_update(index_elements=["source", "span", "at"], set_={"counts": counts})
    )


async def forget_minutes(connection: AsyncConnection, now: datetime) -> None:
    """Drop the series by the minute that are older than MINUTES_KEPT; those by the hour stay."""
    await connection.execute(delete(figures).where(figures.c.span == "minute", figures.c.at < now - MINUTES_KEPT))


async def _unfolded(connection: AsyncConnection) -> dict[Spot, Counts]:
    return _spots(_sum((await connection.execute(select(figure_deltas.c.delta))).scalars()))


async def totals(connection: AsyncConnection) -> dict[str, Counts]:
    """Return each source's totals as of now: `status.<status>` and `attention.<kind>` (what is open)."""
    query = select(figures.c.source, figures.c.counts).where(figures.c.span == "total")
    found: dict[str, Counts] = {row.source: row.counts for row in await connection.execute(query)}
    for (source, span, _), more in (await _unfolded(connection)).items():
        if span == "total":
            found[source] = _merged(found.get(source, {}), more)
    return found


async def series(
    connection: AsyncConnection, since: datetime, until: datetime, span: str, source: str | None = None
) -> dict[str, dict[datetime, Counts]]:
    """Return per source what happened in each minute or hour that begins in [since, until); empty ones are left out.

    `created`, `ended.<status>`, `learned.<delivery|look|track>`, `undelivered`, `lag.<bucket>` (by when a workflow was
    first seen, and by when its ending was learned), `deliveries.<outcome>`, `contradictions`, `retracted`, `corrected`
    (by when it was recorded). `span` is `minute` or `hour`.
    """
    query = select(figures).where(figures.c.span == span, figures.c.at >= since, figures.c.at < until)
    if source is not None:
        query = query.where(figures.c.source == source)
    found: dict[str, dict[datetime, Counts]] = {}
    for row in await connection.execute(query):
        found.setdefault(row.source, {})[row.at] = row.counts
    for (name, kind, at), more in (await _unfolded(connection)).items():
        if kind == span and since <= at < until and source in (None, name):
            here = found.setdefault(name, {})
            here[at] = _merged(here.get(at, {}), more)
    return found


async def recount(connection: AsyncConnection) -> None:
    """Set the totals to what a count of the whole ledger says, for rows that came in by another door (COPY).

    Nothing else may write meanwhile. What is not folded yet of the totals is void then, of the series it is kept.
    """
    while await fold(connection):
        pass
    counted: dict[str, Counts] = {}
    by_status = select(workflows.c.source, workflows.c.status, func.count()).group_by(
        workflows.c.source, workflows.c.status
    )
    for name, status, count in await connection.execute(by_status):
        counted.setdefault(name, {})[f"status.{status}"] = count
    opened = attention.c.closed_at.is_(None)
    by_kind = select(attention.c.source, attention.c.kind, func.count()).where(opened)
    for name, kind, count in await connection.execute(by_kind.group_by(attention.c.source, attention.c.kind)):
        counted.setdefault(name, {})[f"attention.{kind}"] = count
    await connection.execute(delete(figures).where(figures.c.span == "total"))
    for name, counts in counted.items():
        await _add(connection, (name, "total", EPOCH), counts)

"""What all reconcilers must know of a source: its key is refused, it is too busy, its clock is off (R11, R18)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import attention
from receiver.ledger.attention import Concern
from receiver.ledger.operations import source_state
from receiver.ledger.records import JsonObject
from reconciler.brake import BELIEVED_FOR, UNREACHABLE

PROBE_EVERY = timedelta(seconds=30)
CREDENTIALS = "credentials"
# The `Date` header knows whole seconds; a smaller change than this is noise and not worth a write.
_WORTH_WRITING = 1.0


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What the database says of one source. `because` is why it is paused, `probe_at` when it may be asked once.

    `probes_failed` counts the probes of this pause. Until `believed_until` its 404s are believed, however many.
    `places` says which reconciler may send how many requests at once (`places`).
    """

    because: str | None = None
    probe_at: datetime | None = None
    clock_offset: float | None = None
    busy_until: datetime | None = None
    probes_failed: int = 0
    believed_until: datetime | None = None
    places: JsonObject | None = None

    @property
    def paused(self) -> bool:
        """Whether nothing but a probe may be sent."""
        return self.because is not None

    def busy(self, now: datetime) -> bool:
        """Whether upstream has asked to be left alone."""
        return self.busy_until is not None and self.busy_until > now

    def open(self, now: datetime) -> bool:
        """Whether anything may be asked now, a probe at least."""
        return not self.busy(now) and (not self.paused or self.may_probe(now))

    def may_probe(self, now: datetime) -> bool:
        """Whether the next due check of a paused source may go out, to see whether the key is taken again."""
        return self.probe_at is None or self.probe_at <= now


async def facts_of(connection: AsyncConnection, sources: Iterable[str]) -> Mapping[str, SourceFacts]:
    """Return what is known of sources; those nothing is known of are absent."""
    s = source_state.c
    facts = (s.paused_because, s.probe_at, s.clock_offset, s.busy_until, s.probes_failed, s.brake_off_until, s.places)
    query = select(s.source, *facts).where(s.source.in_(sorted(sources)))
    return {
        row.source: SourceFacts(
            row.paused_because,
            row.probe_at,
            row.clock_offset,
            row.busy_until,
            row.probes_failed or 0,
            row.brake_off_until,
            row.places,
        )
        for row in await connection.execute(query)
    }


async def lock(
    connection: AsyncConnection, sources: Collection[str], *, wait: bool = False
) -> dict[str, Row[Any, Any, Any]]:
    """Return `source`, `requests` and `places` of sources, with a lock on each that lasts as long as the transaction.

    Sources that another process has locked just now are absent, unless `wait`: one that is stuck holds up its own
    source and no other.
    """
    if not sources:
        return {}
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    s = source_state.c
    mine = s.source.in_(sorted(sources))
    known = set((await connection.execute(select(s.source).where(mine))).scalars())
    for name in sorted(set(sources) - known):
        await connection.execute(insert(source_state).values(source=name, hint_count=0).on_conflict_do_nothing())
    query = select(s.source, s.requests, s.places).where(mine).order_by(s.source)
    return {row.source: row for row in await connection.execute(query.with_for_update(skip_locked=not wait))}


async def reserve_probe(connection: AsyncConnection, source: str, now: datetime, wait: timedelta) -> bool:
    """Take the one probe for ourselves, the next being due after `wait`; False when another process was quicker."""
    statement = (
        update(source_state)
        .where(
            source_state.c.source == source,
            source_state.c.paused_because.is_not(None),
            or_(source_state.c.probe_at.is_(None), source_state.c.probe_at <= now),
        )
        .values(
            probe_at=now + wait,
            paused_until=now + wait,
            probes_failed=func.coalesce(source_state.c.probes_failed, 0) + 1,
        )
        .returning(source_state.c.source)
    )
    return (await connection.execute(statement)).first() is not None


async def release_probe(connection: AsyncConnection, source: str, now: datetime) -> None:
    """Give the probe back: there was nothing due to send it with."""
    await connection.execute(
        update(source_state)
        .where(source_state.c.source == source, source_state.c.paused_because.is_not(None))
        .values(probe_at=now, paused_until=now, probes_failed=func.coalesce(source_state.c.probes_failed, 1) - 1)
    )


async def pause(
    connection: AsyncConnection,
    source: str,
    note: str,
    now: datetime,
    *,
    because: str = CREDENTIALS,
    wait: timedelta = PROBE_EVERY,
) -> None:
    """Stop asking a source, and tell a person once. The first probe is due after `wait`."""
    values = {"paused_because": because, "paused_until": now + wait, "probe_at": now + wait, "probes_failed": 0}
    await put(connection, source, values)
    kind = UNREACHABLE if because == UNREACHABLE else CREDENTIALS
    concern = Concern("source", source, "", kind, note=note)
    await attention.raise_concerns(connection, [concern], now)


async def resume(connection: AsyncConnection, source: str, now: datetime, *, believe: bool = False) -> None:
    """Ask a source again: a probe got through. `believe` lets 404s count as what they are for a while."""
    values = {"paused_because": None, "paused_until": None, "probe_at": None, "probes_failed": None}
    until: dict[str, object] = {"brake_off_until": now + BELIEVED_FOR} if believe else {}
    await put(connection, source, {**values, **until})
    await attention.close(connection, "source", source, "", [CREDENTIALS, UNREACHABLE], now)


async def note_busy(connection: AsyncConnection, source: str, until: datetime) -> None:
    """Leave a source alone, in every process, until upstream has had the time it asked for (429)."""
    await put(connection, source, {})
    busy = source_state.c.busy_until
    later = (source_state.c.source == source, or_(busy.is_(None), busy < until))
    await connection.execute(update(source_state).where(*later).values(busy_until=until))


async def note_clock(connection: AsyncConnection, source: str, offset: float) -> None:
    """Keep by how many seconds upstream's clock is ahead of ours."""
    await put(connection, source, {"clock_offset": offset})


async def put(connection: AsyncConnection, source: str, values: Mapping[str, object]) -> None:
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(source_state).values(source=source, hint_count=0, **values)
    if values:
        statement = statement.on_conflict_do_update(index_elements=["source"], set_=dict(values))
    else:
        statement = statement.on_conflict_do_nothing()
    await connection.execute(statement)


class ClockOffset:
    """How far upstream's clock is ahead of ours, told by the `Date` headers of its answers.

    A header is cut to whole seconds, so the truth lies up to a second above it: the middle of that is taken, and then
    the middle of the last few readings.
    """

    def __init__(self) -> None:
        self._readings: list[float] = []

    def read(self, sent_at: datetime, received_at: datetime, date: datetime | None) -> None:
        """Take in one answer."""
        if date is not None:
            middle = sent_at + (received_at - sent_at) / 2
            self._readings = [*self._readings[-8:], (date - middle).total_seconds() + 0.5]

    def worth_writing(self, known: float | None) -> float | None:
        """Return the offset when it differs from what is known enough to be written down, else None."""
        if len(self._readings) < 3 and known is not None:
            return None
        if not self._readings:
            return None
        offset = round(sorted(self._readings)[len(self._readings) // 2], 3)
        return offset if known is None or abs(offset - known) > _WORTH_WRITING else None

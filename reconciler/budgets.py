"""How many requests a source may still be sent: counted in the database, for all processes of all machines together.

A sliding window, and strict at upstream's end of the wire, however long a request takes to get there: it is counted as
on its way from the claim that reserves it, and as sent at the instant its answer was known here. So a request that
leaves the window has arrived at least `per` before the one that takes its place is even claimed. Spacing requests
evenly (GCRA) would need no list, but would let a burst of callbacks wait for no reason, and would still be off by
however much two requests differ in how long they travel.

All instants are the database's clock (R14).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Self

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.config import Budget
from receiver.ledger.operations import source_state
from receiver.ledger.records import JsonObject
from reconciler import pauses
from reconciler.pace import HINT_SHARE

# A claimed request is sent within this or not at all, so that a process which froze cannot send it in a later window.
SEND_WITHIN = timedelta(seconds=5)
# SQLite's clock is cut to milliseconds.
_GRAIN = timedelta(milliseconds=2)
# A larger budget's window is counted in this many slices, each as if all of it were sent at the slice's end.
_SLICES = 64
_EPOCH = datetime.fromisoformat("2000-01-01T00:00:00+00:00")


@dataclass(slots=True)
class Counted:
    """Some requests: how many there are, and how many of them serve hints alone."""

    requests: int
    hints: int


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many requests may be sent now, how many of them for hints, and how many are kept for who waits for one."""

    requests: int
    hints: int
    kept: int


@dataclass(slots=True)
class RequestLog:
    """The requests of one source that still count. `under_way` is by token of the claim, with the instant by which
    they will have arrived in any case; `sent` by the instant they had arrived at the latest."""

    budget: Budget
    under_way: dict[str, tuple[datetime, Counted]] = field(default_factory=dict)
    sent: dict[datetime, Counted] = field(default_factory=dict)

    @classmethod
    def of(cls, budget: Budget, kept: JsonObject | None) -> Self:
        """Read what the database holds; None is nothing."""
        held = kept or {}
        return cls(
            budget,
            {token: (_instant(at), Counted(*counts)) for token, (at, *counts) in held.get("under_way", {}).items()},
            {_instant(at): Counted(*counts) for at, *counts in held.get("sent", [])},
        )

    def as_json(self) -> JsonObject:
        """Return what the database is to hold."""
        return {
            "under_way": {token: [at.isoformat(), one.requests, one.hints] for token, (at, one) in self._sorted()},
            "sent": [[at.isoformat(), one.requests, one.hints] for at, one in sorted(self.sent.items())],
        }

    def _sorted(self) -> list[tuple[str, tuple[datetime, Counted]]]:
        return sorted(self.under_way.items())

    def allowance(self, now: datetime) -> Allowance:
        """Return what may be sent now. Of five or more requests one is kept for who waits for an answer."""
        most, per = self.budget.requests, self.budget.per
        left = max(most - sum(one.requests for at, one in self._all() if at + per + _GRAIN > now), 0)
        used = sum(one.hints for at, one in self._all() if at + self._hints_per + _GRAIN > now)
        hints = max(max(most // HINT_SHARE, 1) - used, 0)
        return Allowance(left, min(hints, left), min(left, 1) if most >= HINT_SHARE else 0)

    def reserve(self, token: str, counted: Counted, arrived_by: datetime) -> None:
        """Count requests that a claim is about to send."""
        if counted.requests:
            self.under_way[token] = (arrived_by, counted)

    def settle(self, token: str, *, hint: bool, sent: bool, now: datetime) -> None:
        """Count one request of a claim as over; one that was not `sent` after all counts no more."""
        if token not in self.under_way:
            return
        at, left = self.under_way.pop(token)
        left = Counted(left.requests - 1, left.hints - hint)
        if left.requests > 0:
            self.under_way[token] = (at, left)
        if sent:
            place = self._slice(now)
            before = self.sent.get(place, Counted(0, 0))
            self.sent[place] = Counted(before.requests + 1, before.hints + hint)

    def forget(self, now: datetime) -> None:
        """Leave out what counts no more."""
        span = max(self.budget.per, self._hints_per) + _GRAIN
        self.under_way = {token: one for token, one in self.under_way.items() if one[0] + span > now}
        self.sent = {at: one for at, one in self.sent.items() if at + span > now}

    @property
    def _hints_per(self) -> timedelta:
        # A budget of less than five has room for one hint in several windows only.
        return self.budget.per * max(HINT_SHARE / self.budget.requests, 1.0)

    def _all(self) -> Iterable[tuple[datetime, Counted]]:
        yield from self.under_way.values()
        yield from self.sent.items()

    def _slice(self, now: datetime) -> datetime:
        if self.budget.requests <= _SLICES:
            return now
        width = self.budget.per / _SLICES
        return _EPOCH + width * (-((_EPOCH - now) // width))


def _instant(text: Any) -> datetime:
    return datetime.fromisoformat(text)


async def read(connection: AsyncConnection, budgets: Mapping[str, Budget]) -> dict[str, RequestLog]:
    """Return what is counted of these sources, as it is: to look before taking a lock."""
    s = source_state.c
    query = select(s.source, s.requests).where(s.source.in_(sorted(budgets)))
    kept = {row.source: row.requests for row in await connection.execute(query)}
    return {name: RequestLog.of(budget, kept.get(name)) for name, budget in budgets.items()}


async def lock(
    connection: AsyncConnection, budgets: Mapping[str, Budget], *, wait: bool = False
) -> dict[str, RequestLog]:
    """Return what is counted of these sources, locked as by `pauses.lock`."""
    rows = await pauses.lock(connection, budgets, wait=wait)
    return {name: RequestLog.of(budgets[name], row.requests) for name, row in rows.items()}


async def save(connection: AsyncConnection, source: str, log: RequestLog, now: datetime) -> None:
    """Write down what is counted of a locked source."""
    log.forget(now)
    await connection.execute(update(source_state).where(source_state.c.source == source).values(requests=log.as_json()))
